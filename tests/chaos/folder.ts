/**
 * What the members and the supervisor of a chaos run share besides the pool: files in a folder of the run. None of them
 * can be left in a state that hurts by a killed writer.
 *
 *     board      one record for each member, written over in place: what it has done, and that it goes on
 *     events     lines of JSON, appended: what must be looked at; a torn line is skipped
 *     mail/      places for messages. A sender puts one there by a rename, and what was there is lost; a receiver takes
 *                it by a rename. So each message is whole, and has one receiver at most
 *     ledger     what happened to the letters that went through channels: see letters.ts
 *     errors     what the processes write to their standard error
 */

import {
  appendFileSync,
  closeSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

export const PLACES = 48;

/** Places in a record: 16 doubles. member.c has the same. */
export const RECORD = {
  /** Which member: see `idOf`. */
  id: 0,
  /** Calls of the library that did what was asked or were refused for a good reason. Others wait for it to rise. */
  progress: 1,
  allocated: 2,
  attached: 3,
  sent: 4,
  verifiedBytes: 5,
  full: 6,
  busy: 7,
  expired: 8,
  /** The longest call, in milliseconds. */
  longestMs: 9,
  checks: 10,
  joins: 11,
  /** Of a host: ids of the Workers that it has not terminated, and how many it has. */
  worker0: 12,
  worker1: 13,
  terminated: 14,
  leaves: 15,
} as const;
export const WORKERS = 2;
const RECORD_BYTES = 128;
/** A process has a record for itself and one for each Worker. */
export const RECORDS = 1 + WORKERS;

/** One number for a member: chair, number of the process on that chair, Worker (0: the main thread) and its number. */
export function idOf(chair: number, number: number, worker: number, workerNumber: number): number {
  return ((chair * 2 ** 20 + number) * 4 + worker) * 4096 + workerNumber;
}

export type Phase = "run" | "finish";

/** All records, and the phase that the supervisor gives out. */
export class Board {
  readonly #fd: number;
  readonly #first = new Uint8Array(1);

  constructor(folder: string) {
    this.#fd = openSync(join(folder, "board"), "r+");
  }

  static create(folder: string, records: number): void {
    writeFileSync(join(folder, "board"), new Uint8Array(RECORD_BYTES * (records + 1)));
  }

  get phase(): Phase {
    readSync(this.#fd, this.#first, 0, 1, 0);
    return this.#first[0] === 0 ? "run" : "finish";
  }
  set phase(phase: Phase) {
    writeSync(this.#fd, new Uint8Array([phase === "run" ? 0 : 1]), 0, 1, 0);
  }

  write(index: number, record: Float64Array): void {
    writeSync(this.#fd, new Uint8Array(record.buffer), 0, RECORD_BYTES, RECORD_BYTES * (index + 1));
  }

  read(index: number): Float64Array {
    const record = new Float64Array(16);
    readSync(this.#fd, new Uint8Array(record.buffer), 0, RECORD_BYTES, RECORD_BYTES * (index + 1));
    return record;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

export type Event =
  /** The pool broke a promise: ends the run. */
  | { kind: "broken"; what: string }
  /** Somebody kept the lock, from one time to another. */
  | { kind: "busy"; from: number; to: number; pid: number; waitsForTwo?: boolean }
  /** A call that took long. */
  | { kind: "slow"; from: number; to: number; what: string }
  /** From the keeper, at the end. */
  | { kind: "end"; checks: number; arrays: number; claims: number; bytes: number; received: number; acked: number };

export function report(folder: string, event: Event & { id: number }): void {
  appendFileSync(join(folder, "events"), JSON.stringify(event) + "\n");
}

/** Puts a message into a place. `id` tells senders apart. */
export function post(folder: string, id: number, place: number, text: string): void {
  const draft = join(folder, "mail", `draft-${id}`);
  writeFileSync(draft, text);
  renameSync(draft, join(folder, "mail", String(place)));
}

/** Takes the message of a place; undefined if there is none. */
export function take(folder: string, id: number, place: number): string | undefined {
  const taken = join(folder, "mail", `taken-${id}`);
  try {
    renameSync(join(folder, "mail", String(place)), taken);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined;
    throw error;
  }
  return readFileSync(taken, "utf8");
}

/**
 * Milliseconds on a clock that all processes of the machine share, at most 1 behind it. `performance.now()` begins with
 * the process or Worker, and /proc/uptime goes in steps of 10 ms: so it is read until it steps.
 */
export function startClock(): () => number {
  const uptime = () => Math.round(1000 * Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]));
  for (;;) {
    let begun = performance.now();
    const before = uptime();
    for (;;) {
      const now = performance.now();
      const read = uptime();
      const done = performance.now();
      if (read !== before) {
        if (done - begun > 1) break;
        return () => performance.now() - done + read;
      }
      begun = now;
    }
  }
}
/** How exact that makes a comparison of two such times, together with the library's whole milliseconds. */
export const CLOCK_SLACK_MS = 4;

/** What a process of the run is told. */
export interface Orders {
  readonly folder: string;
  readonly pool: string;
  readonly seed: number;
  readonly chair: number;
  readonly number: number;
  /** Its first record. */
  readonly record: number;
  readonly isHost: boolean;
  readonly leavesMs: number;
  readonly how: "close" | "exit";
}
