/**
 * A child of the tests: does what the messages say, one after the other, and answers each with a line of JSON. Messages
 * come by argument, by the variable TEST_MESSAGE, by lines on standard input, or by IPC.
 */

import { createInterface } from "node:readline";
import { type Channel, pack, Pool, PoolError, release, type SharedArray, unpack } from "arraypool";

export interface Order {
  /** What to do with `array`. */
  do:
    | "fill"
    | "sum"
    | "add"
    | "scribble"
    | "hold"
    | "take pool"
    | "use pool"
    | "drop"
    | "retain"
    | "give"
    | "open"
    | "create"
    | "take all"
    | "look"
    | "exit";
  array?: Float64Array;
  channel?: Channel;
  pool?: Pool;
  counter?: Int32Array;
  value?: number;
  name?: string;
  how?: "process.exit" | "Deno.exit" | "throw" | "end";
}

const held: SharedArray<Float64Array>[] = [];
const canaries: SharedArray<Uint8Array>[] = [];
let taken: Pool | undefined;

function obey(message: unknown): unknown {
  const order = unpack<Order>(message);
  const array = order.array as SharedArray<Float64Array> | undefined;
  switch (order.do) {
    case "fill":
      array!.fill(order.value!);
      order[Symbol.dispose]();
      return { done: true };
    case "sum": {
      const sum = array!.reduce((a, b) => a + b, 0);
      order[Symbol.dispose]();
      return { sum };
    }
    case "hold":
      held.push(array!);
      return { held: held.length };
    case "take pool":
      taken = order.pool ?? (array ?? order.channel!).pool;
      release(order);
      return { taken: taken.name };
    case "drop":
      release(held.splice(0));
      return { held: 0 };
    case "open":
      Pool.open(order.name!);
      return { open: true };
    case "give": {
      const pool = Pool.open(order.name!);
      const given = pool.alloc(Float64Array, 3).fill(order.value!);
      const packed = pack({ array: given });
      release(given);
      return packed;
    }
    case "retain":
      // Only a slice of what came is kept.
      held.push(array!.subarray(1).retain());
      array!.release();
      return { held: held.length };
    case "add":
      for (let i = 0; i < order.value!; i++) Atomics.add(order.counter!, 0, 1);
      order[Symbol.dispose]();
      return { done: true };
    case "scribble": {
      // Overwrites the array again and again, until the counter says stop.
      process.stdout.write(JSON.stringify({ scribbling: true }) + "\n");
      // Not for ever: whoever is to say stop may be gone.
      const end = Date.now() + 60_000;
      let next = 1;
      while (Atomics.load(order.counter!, 0) === 0 && Date.now() < end) {
        for (let i = 0; i < array!.length; i++) {
          next = next * 48271 % 2147483647;
          // Anything, or multiples of a value.
          array![i] = order.value === undefined ? next - 1e9 : (next % 10_000) * order.value;
        }
      }
      order[Symbol.dispose]();
      return { done: true };
    }
    case "use pool":
      taken!.alloc(Float64Array, 1).release();
      return { used: true };
    case "take all": {
      // Whoever still reads what was free reads 0xee from now on.
      const pool = Pool.open(order.name!);
      pool.reap();
      const bytes = pool.allocUnsafe(Uint8Array, pool.stats().largestFreeBytes).fill(0xee);
      canaries.push(bytes);
      return { taken: bytes.length };
    }
    case "look":
      return { unharmed: canaries.every((bytes) => bytes.every((byte) => byte === 0xee)) };
    case "create":
      Pool.create({ name: order.name!, capacity: "1M" }).from(Float64Array.of(1, 2, 3));
      return { created: true };
    case "exit":
      if (order.how === "process.exit") process.exit(0);
      if (order.how === "Deno.exit") (globalThis as unknown as { Deno: { exit(code: number): void } }).Deno.exit(0);
      if (order.how === "throw") {
        setTimeout(() => {
          throw new Error("on purpose");
        });
      }
      return { ending: true };
  }
}

function answer(message: unknown): void {
  process.stdout.write(JSON.stringify(tryToObey(message)) + "\n");
}

function tryToObey(message: unknown): unknown {
  try {
    return obey(message);
  } catch (error) {
    if (error instanceof PoolError) return { code: error.code, message: error.message };
    throw error;
  }
}

const { TEST_MESSAGE } = process.env;
if (TEST_MESSAGE !== undefined) answer(JSON.parse(TEST_MESSAGE));
for (const argument of process.argv.slice(2)) answer(JSON.parse(argument));
if (process.send !== undefined) process.on("message", answer);
createInterface({ input: process.stdin }).on("line", (line) => answer(JSON.parse(line)));
