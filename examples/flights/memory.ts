/** What a set of processes takes of the machine's memory, each page counted once however many of them share it. */

import { readFileSync } from "node:fs";

const sampleEveryMs = 250;

/** The most that the processes took together at any sample. */
export class PeakMemory {
  readonly #pids: () => number[];
  #sampledAt = -Infinity;
  #bytes: number | undefined;

  constructor(pids: () => number[]) {
    this.#pids = pids;
  }

  /** Undefined where there is no /proc (macOS). */
  get bytes(): number | undefined {
    return this.#bytes;
  }

  sample(): void {
    if (performance.now() - this.#sampledAt < sampleEveryMs) return;
    this.#sampledAt = performance.now();
    const bytes = memoryBytes(this.#pids());
    if (bytes !== undefined) this.#bytes = Math.max(bytes, this.#bytes ?? 0);
  }
}

/**
 * The proportional set size (PSS) of all processes together: a page that n of them share counts as 1/n for each, so
 * that the sum is what they really take.
 */
export function memoryBytes(pids: number[]): number | undefined {
  try {
    return pids.reduce((sum, pid) => sum + pssBytes(pid), 0);
  } catch {
    return undefined; // no /proc, or a process has just gone
  }
}

function pssBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss: +(\d+) kB$/m.exec(rollup)![1]) * 1024;
}
