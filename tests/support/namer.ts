/**
 * A child of the tests of names: does what its argument says, and answers with lines of JSON.
 *
 *     set       sets a name, and ends or is killed
 *     read      gets a name again and again, until it is deleted; what it finds must not go back
 *     race      asks for names once, each made by one of all who race
 *     once      asks for one name once; `make` does what `how` says
 */

import { once as happens } from "node:events";
import { Pool, type SharedArray } from "arraypool";

export type NamerOrder =
  | { do: "set"; pool: string; name: string; value: number; end: "leave" | "killed" }
  | { do: "read"; pool: string; name: string }
  | { do: "race"; pool: string; rounds: number; async: boolean }
  | { do: "once"; pool: string; name: string; how: "make" | "throw" | "hang"; async: boolean; value: number };

const LENGTH = 1000;
const order = JSON.parse(process.argv[2]!) as NamerOrder;
const pool = Pool.open(order.pool);

function say(answer: unknown): void {
  process.stdout.write(JSON.stringify(answer) + "\n");
}

function array(value: number): SharedArray<Float64Array> {
  return pool.alloc(Float64Array, LENGTH).fill(value);
}

/** The one value that all elements have. */
function valueOf(found: SharedArray<Float64Array>): number {
  if (found.length !== LENGTH || !found.every((element) => element === found[0])) throw new Error("torn");
  return found[0]!;
}

function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

async function race({ rounds, async }: Extract<NamerOrder, { do: "race" }>): Promise<void> {
  using counter = pool.get("counter", Int32Array)!;
  let made = 0;
  for (let round = 0; round < rounds; round++) {
    const make = () => {
      made++;
      Atomics.add(counter, round, 1);
      // Some of them take their time.
      if (round % 4 === 0) sleepSync(2);
      return array(round);
    };
    const name = `round ${round}`;
    using found = async ? await pool.onceAsync(name, () => Promise.resolve(make())) : pool.once(name, make);
    if (valueOf(found) !== round) throw new Error(`round ${round} gave ${found[0]}`);
  }
  say({ made });
}

async function makeOne({ name, how, async, value }: Extract<NamerOrder, { do: "once" }>): Promise<void> {
  let made = false;
  const make = () => {
    say({ making: true });
    if (how === "throw") throw new Error("on purpose");
    made = true;
    return array(value);
  };
  const cpu = process.cpuUsage();
  const begun = performance.now();
  try {
    using found = async
      ? await pool.onceAsync(name, async () => {
        const mine = make();
        if (how === "hang") await happens(process.stdin, "data");
        return mine;
      })
      : pool.once(name, () => {
        const mine = make();
        if (how === "hang") { while (!pool.has("go on")) sleepSync(5); }
        return mine;
      });
    const { user, system } = process.cpuUsage(cpu);
    say({ made, value: valueOf(found), cpuMs: (user + system) / 1000, ms: performance.now() - begun });
  } catch (error) {
    say({ error: (error as Error).message });
  }
}

switch (order.do) {
  case "set": {
    const mine = array(order.value);
    pool.set(order.name, mine);
    say({ set: true });
    if (order.end === "killed") process.kill(process.pid, "SIGKILL");
    break;
  }
  case "read": {
    let last = 0;
    let reads = 0;
    while (true) {
      using found = pool.get(order.name, Float64Array);
      if (found === undefined) break;
      const value = valueOf(found);
      if (value < last) throw new Error(`${value} after ${last}`);
      last = value;
      if (reads++ === 0) say({ reading: true });
    }
    say({ last, reads });
    break;
  }
  case "race":
    await race(order);
    break;
  case "once":
    await makeOne(order);
    process.stdin.destroy();
    break;
}
