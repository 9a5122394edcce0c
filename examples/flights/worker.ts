/**
 * Computes resamples on the shared arrays, and writes their means into the shared result. Run by tinypool, which calls
 * the default export, and as a process of the other runtime, which is sent the same tasks over its IPC channel.
 */

import process from "node:process";
import { type Packed, type SharedArray, unpack } from "../../mod.ts";
import { type Flights, resample } from "./bootstrap.ts";

export interface Arrays extends Flights {
  /** One row per resample, one column per airport. */
  means: SharedArray<Float64Array>;
}

export interface Task {
  arrays: Packed<Arrays>;
  /** The resamples to compute: `first` up to, not including, `last`. */
  first: number;
  last: number;
}

export default function compute({ arrays, first, last }: Task): void {
  using shared = unpack(arrays);
  for (let number = first; number < last; number++) resample(shared, number, shared.means.slab(number));
}

// Ctrl-C goes to every process of the terminal: the one that started us decides what becomes of us.
process.on("SIGINT", () => {});

if (import.meta.main) {
  process.on("message", (task: Task) => {
    compute(task);
    process.send!("done");
  });
}
