/** A Worker of the tests: does what the messages say, one after the other, and answers each. */

import { openSync, write } from "node:fs";
import { isSharedArray, pack, Pool, type SharedArray, unpack } from "arraypool";

interface Scope {
  postMessage(message: unknown, transfer?: ArrayBuffer[]): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  /** Not in Bun, where `process.exit` ends a Worker. */
  close?(): void;
}
const scope = globalThis as unknown as Scope;
const { Deno } = globalThis as unknown as {
  Deno?: { openSync(path: string, options: object): { write(data: Uint8Array): Promise<number> } };
};

interface Order {
  do:
    | "fill"
    | "hold"
    | "give"
    | "keep"
    | "sum"
    | "drop"
    | "close"
    | "throw"
    | "lend"
    | "come and go"
    | "write"
    | "create"
    | "leave"
    | "held sum";
  array?: Uint8Array;
  value?: number;
  name?: string;
  /** Of the file to write to. */
  path?: string;
}

const held: SharedArray[] = [];
let kept: Uint8Array | undefined;

function obey(message: unknown): unknown {
  const order = unpack<Order>(message);
  switch (order.do) {
    case "fill":
      order.array!.fill(order.value!);
      order[Symbol.dispose]();
      return "done";
    case "hold":
      held.push(order.array as unknown as SharedArray);
      return held.length;
    case "give": {
      using given = Pool.open(order.name!).alloc(Uint8Array, 3);
      given.fill(order.value!);
      return pack({ given });
    }
    case "keep":
      // What came without pack(): an ordinary array.
      kept = order.array;
      return [isSharedArray(kept), kept!.length];
    case "sum":
      return kept!.reduce((a, b) => a + b, 0);
    case "drop":
      kept = undefined;
      return "dropped";
    case "lend": {
      const lent = Pool.open(order.name!).alloc(Uint8Array, 4096).fill(order.value!);
      scope.postMessage(lent.buffer, [lent.buffer]);
      return "lent";
    }
    case "come and go": {
      const pool = Pool.open(order.name!);
      for (const length of [1, 1000, 100_000]) {
        const arrays = Array.from({ length: 50 }, () => pool.alloc(Uint8Array, length));
        for (const array of arrays) array.release();
      }
      return "gone";
    }
    case "write": {
      // More than a pipe takes at once. The array is left to the pool.
      const written = Pool.open(order.name!).alloc(Uint8Array, 2 ** 20).fill(order.value!);
      // In Deno `fs.write` is over when it returns.
      if (Deno !== undefined) Deno.openSync(order.path!, { write: true }).write(written);
      else write(openSync(order.path!, "w"), written, 0, written.length, null, () => {});
      return "writing";
    }
    case "create": {
      const pool = Pool.create({ name: order.name!, capacity: "1M" });
      held.push(pool.alloc(Uint8Array, 1000));
      return pool.name;
    }
    case "leave":
      Pool.open(order.name!).close();
      return "left";
    case "held sum":
      return (held.at(-1) as unknown as Uint8Array).reduce((a, b) => a + b, 0);
    case "throw":
      setTimeout(() => {
        throw new Error("on purpose");
      });
      return "throwing";
    case "close":
      setTimeout(() => scope.close === undefined ? process.exit() : scope.close(), 10);
      return "closing";
  }
}

scope.addEventListener("message", ({ data }) => scope.postMessage(obey(data)));
