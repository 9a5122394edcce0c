/**
 * Computes resamples on the shared arrays, and writes their means into the shared result. Run by tinypool, which calls
 * the default export, as a process of the other runtime, which is sent the same tasks over its IPC channel, and as a process
 * that takes them from a channel of the pool.
 */

import process from "node:process";
import { type Channel, type Packed, unpack } from "../../mod.ts";
import { type Arrays, fillRows } from "./bootstrap.ts";

export interface Task {
  arrays: Packed<Arrays>;
  /** The resamples to compute: `first` up to, not including, `last`. */
  first: number;
  last: number;
}

/**
 * Kept from the first task on: all tasks have the same arrays. And V8 reads arrays a little slower from when a program has
 * detached the first one, as a release does.
 */
let shared: Arrays | undefined;

/** Returns which process it was. */
export default function compute({ arrays, first, last }: Task): number {
  shared ??= unpack(arrays);
  fillRows(shared, first, last);
  return process.pid;
}

/** What a process gets that takes its jobs from a channel. */
export interface Post {
  arrays: Arrays;
  jobs: Channel<{ id: number; first: number; last: number }>;
  /** The number of each job that is done; -1 for a process that is ready. */
  done: Channel<number>;
}

function takeJobs(packed: string): void {
  using post = unpack<Post>(JSON.parse(packed));
  const { arrays, jobs, done } = post;
  done.send(-1);
  for (const { id, first, last } of jobs) {
    fillRows(arrays, first, last);
    done.send(id);
  }
}

// Ctrl-C goes to every process of the terminal: the one that started us decides what becomes of us.
process.on("SIGINT", () => {});

if (import.meta.main && process.argv[2] !== undefined) takeJobs(process.argv[2]);
else if (import.meta.main) {
  process.on("message", (task: Task) => {
    compute(task);
    process.send!("done");
  });
}
