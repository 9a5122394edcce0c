/**
 * Computes resamples on the shared arrays, and writes their means into the shared result. Run by tinypool, which calls
 * the default export, and as a process of the other runtime, which is sent the same tasks over its IPC channel.
 */

import process from "node:process";
import { type Packed, unpack } from "../../mod.ts";
import { type Arrays, fillRows } from "./bootstrap.ts";

export interface Task {
  arrays: Packed<Arrays>;
  /** The resamples to compute: `first` up to, not including, `last`. */
  first: number;
  last: number;
}

export default function compute({ arrays, first, last }: Task): void {
  using shared = unpack(arrays);
  fillRows(shared, first, last);
}

// Ctrl-C goes to every process of the terminal: the one that started us decides what becomes of us.
process.on("SIGINT", () => {});

if (import.meta.main) {
  process.on("message", (task: Task) => {
    compute(task);
    process.send!("done");
  });
}
