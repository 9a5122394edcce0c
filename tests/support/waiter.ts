/**
 * Waits and notifies as it is told: a child of the tests (a line of JSON for each order and each answer), or a Worker of
 * theirs. With an argument it does that one thing, and ends by itself.
 */

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { type SharedArray, unpack, type WaitAsyncOptions } from "arraypool";

interface Order {
  do: "wait" | "waitAsync" | "notify" | "answer" | "hold" | "begin";
  words: SharedArray<Int32Array>;
  index: number;
  expected: number;
  options?: WaitAsyncOptions;
  /** Questions to answer. */
  rounds?: number;
}

interface Scope {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
}
const isWorker = "WorkerGlobalScope" in globalThis ||
  (globalThis as { Bun?: { isMainThread: boolean } }).Bun?.isMainThread === false;
const scope = globalThis as unknown as Scope;

// At once, also when this thread is about to block.
function say(answer: unknown): void {
  if (isWorker) scope.postMessage(answer);
  else writeSync(1, JSON.stringify(answer) + "\n");
}

async function obey(message: unknown): Promise<void> {
  const { do: what, words, index, expected, options, rounds } = unpack<Order>(message);
  const { pool } = words;
  switch (what) {
    case "hold":
      return say("held");
    case "wait":
      say("waiting");
      return say([pool.wait(words, index, expected, options), words[index + 1]]);
    case "waitAsync": {
      const result = pool.waitAsync(words, index, expected, options);
      say("waiting");
      return say([await result, words[index + 1]]);
    }
    case "notify":
      return say(pool.notify(words, index));
    case "answer":
      // Each odd number is answered by the next one.
      say("answering");
      for (let round = 0; round < rounds!; round++) {
        while (Atomics.load(words, index) !== 2 * round + 1) {
          await pool.waitAsync(words, index, 2 * round, { ref: true });
        }
        Atomics.store(words, index, 2 * round + 2);
        pool.notify(words, index);
      }
      return say("answered");
    case "begin": {
      // Begins to wait whenever it can, as long as the element is odd; the next ones say which round it is, which are done, how
      // often it was woken, and how often not.
      const ends = { "ok": 0, "not-equal": 0, "timed-out": 0 };
      say("beginning");
      for (let round = 1; Atomics.load(words, index + 1) >= 0;) {
        if (Atomics.load(words, index + 1) !== round) continue;
        while (words[index] === 2 * round - 1) {
          ends[pool.wait(words, index, 2 * round - 1, options)]++;
          words[index + 3] = ends.ok;
          words[index + 4] = ends["timed-out"];
        }
        Atomics.store(words, index + 2, round++);
      }
      return say(ends);
    }
  }
}

if (isWorker) scope.addEventListener("message", ({ data }) => void obey(data));
else if (process.argv[2] !== undefined) void obey(JSON.parse(process.argv[2]));
else createInterface({ input: process.stdin }).on("line", (line) => void obey(JSON.parse(line)));
