/** Prints what tracing says. */

import { inspect } from "node:util";
import { attach, pack, Pool, release } from "arraypool";

const pool = Pool.create({ capacity: "1M" });
const said = (call: () => unknown): string => {
  try {
    call();
    return "cloned";
  } catch (error) {
    return String(error);
  }
};

const array = pool.alloc(Uint8Array, 2 ** 19);
const small = pool.from(Float64Array.of(1, 2, 3));
const same = attach(small.share());
const { port1, port2 } = new MessageChannel();
const channel = new BroadcastChannel("arraypool");
const packed = pack({ array });
const frames = pool.channel<{ small: Float64Array }>();
const later = frames.receiveAsync(); // the array comes when none of the program's calls is running any more
setTimeout(() => frames.send({ small }));
const received = await later;
setTimeout(() => frames.send({ small }));
const iterated = (await frames[Symbol.asyncIterator]().next()).value;
console.log(JSON.stringify({
  alloc: inspect(array),
  from: inspect(small),
  attach: inspect(same),
  received: inspect(received.small),
  iterated: inspect(iterated.small),
  full: said(() => pool.alloc(Uint8Array, 2 ** 20 - 64)),
  clone: said(() => structuredClone(small)),
  deep: said(() => structuredClone({ a: [new Map([["b", small]])] })),
  slice: said(() => structuredClone(small.subarray(1))),
  port: said(() => port1.postMessage({ small })),
  broadcast: said(() => channel.postMessage([small])),
  packed: said(() => structuredClone(packed)),
  ordinary: said(() => structuredClone({ a: new Uint8Array(3) })),
}));
release(packed);
port1.close();
port2.close();
channel.close();
pool.close();
