/**
 * `Atomics.wait` and `Atomics.notify` for pool arrays: what they take, and the wait that blocks.
 *
 * A blocking wait is made of native calls of 100 ms at most: a Worker can be terminated in between. It stays one wait
 * meanwhile, at its place in the queue.
 */

import {
  AP_BUCKET_BYTES,
  AP_BUCKET_FACTOR,
  AP_BUCKETS,
  AP_NOTIFY_ALL,
  AP_WAIT_GOES_ON,
  AP_WAIT_NOT_EQUAL,
  AP_WAIT_OK,
  AP_WAIT_TIMED_OUT,
} from "./abi.ts";
import { checkOptions, quote } from "./errors.ts";
import type { Hold, Place } from "./hold.ts";
import type { Member } from "./member.ts";
import { assertNotReleased, isSharedArray, type SharedView, wordPlaceOf } from "./shared_array.ts";

/** How a wait ended: it was notified, the word was another already, or the time was over. */
export type WaitResult = "ok" | "not-equal" | "timed-out";

/** How long a wait may take. */
export interface WaitOptions {
  /** Milliseconds. Default without limit. */
  timeoutMs?: number;
}

/** By `AP_WAIT_*`. */
export const WAIT_RESULTS: Readonly<Record<number, WaitResult>> = {
  [AP_WAIT_OK]: "ok",
  [AP_WAIT_NOT_EQUAL]: "not-equal",
  [AP_WAIT_TIMED_OUT]: "timed-out",
};

/** An element of an Int32Array or Uint32Array of `member`. @throws {TypeError | RangeError | PoolError} */
export function checkWord(member: Member, array: Int32Array | Uint32Array, index: number): Place {
  const place = wordPlaceOf(array);
  if (place === undefined || !place.hold.type!.isWord) {
    throw new TypeError(
      `expected an Int32Array or Uint32Array of a pool (pool.alloc, attach, …), not ${nameOf(array)}`,
    );
  }
  if (place.hold.released || array.length !== place.length) assertNotReleased(array as unknown as SharedView);
  if (place.hold.member !== member) {
    throw new TypeError(
      `this array is one of pool "${place.hold.member.name}", not of "${member.name}": use array.pool`,
    );
  }
  if (typeof index !== "number") throw new TypeError(`index must be a number, not ${quote(index)}`);
  if (!Number.isInteger(index) || index < 0 || index >= array.length) {
    throw new RangeError(
      array.length === 0
        ? `an empty array has no element ${index}`
        : `index must be an integer from 0 to ${array.length - 1}, not ${index}`,
    );
  }
  return place;
}

function nameOf(value: unknown): string {
  const quoted = quote(value);
  return ArrayBuffer.isView(value) && !isSharedArray(value) ? quoted.replace(/^an? /, "an ordinary ") : quoted;
}

/** What the element is to be for a wait to begin. @throws {TypeError | RangeError} */
export function checkExpected(array: Int32Array | Uint32Array, expected: unknown): number {
  if (typeof expected !== "number") throw new TypeError(`expected must be a number, not ${quote(expected)}`);
  const signed = array instanceof Int32Array;
  if (!Number.isInteger(expected) || (signed ? expected | 0 : expected >>> 0) !== expected) {
    throw new RangeError(`expected must be an integer that fits ${signed ? "an Int32" : "a Uint32"}, not ${expected}`);
  }
  return expected >>> 0;
}

/** A time from 0 ms on; Infinity for none given. @throws {TypeError | RangeError} */
export function checkTimeout(timeoutMs: unknown): number {
  if (timeoutMs === undefined) return Infinity;
  if (typeof timeoutMs !== "number") {
    throw new TypeError(`timeoutMs must be a number of milliseconds, not ${quote(timeoutMs)}`);
  }
  if (!(timeoutMs >= 0)) throw new RangeError(`timeoutMs must be 0, more, or Infinity, not ${timeoutMs}`);
  return timeoutMs;
}

/** @throws {TypeError} for what is no signal. @throws The reason of one that is aborted. */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  if (!(signal instanceof AbortSignal)) throw new TypeError(`signal must be an AbortSignal, not ${quote(signal)}`);
  signal.throwIfAborted();
  return signal;
}

/** How many to wake. @throws {TypeError | RangeError} */
export function checkCount(count: unknown): number {
  if (count === undefined) return AP_NOTIFY_ALL;
  if (typeof count !== "number") throw new TypeError(`count must be a number, not ${quote(count)}`);
  if (!(count >= 0) || (!Number.isInteger(count) && count !== Infinity)) {
    throw new RangeError(`count must be 0, a positive integer, or Infinity, not ${count}`);
  }
  return Math.min(count, AP_NOTIFY_ALL);
}

/** Bytes from the start of the block to an element. */
export function offsetOf(hold: Hold, array: Int32Array | Uint32Array, index: number): number {
  return hold.offset + array.byteOffset + 4 * index;
}

/** Blocks. @throws {PoolError} */
export function waitBlocking(
  member: Member,
  array: Int32Array | Uint32Array,
  index: number,
  expected: number,
  options: WaitOptions,
): WaitResult {
  // Before the array: a getter in the options may release it, and its block may be another one's then.
  const timeoutMs = checkTimeout(checkOptions(options, ["timeoutMs"]).timeoutMs);
  const place = checkWord(member, array, index);
  const word = checkExpected(array, expected);
  const offset = offsetOf(place.hold, array, index);
  let result = member.call((library, pool) => library.ap_word_wait(pool, place.hold.block, offset, word, timeoutMs));
  while (result === AP_WAIT_GOES_ON) result = member.call((library, pool) => library.ap_word_wait_on(pool));
  return WAIT_RESULTS[result]!;
}

/**
 * Wakes. @throws {TypeError | RangeError | PoolError}
 *
 * What is called here is a `const` each: to JavaScriptCore that is a constant, where it looks up a function's name at each call.
 */
export const notify = (member: Member, array: Int32Array | Uint32Array, index: number, count: unknown): number => {
  const place = wordPlaceOf(array);
  // The usual case. What engines put where it is called must be short: hence two functions, neither of 170 in JavaScriptCore's
  // count of bytecodes.
  if (
    place !== undefined && index >>> 0 === index && index < array.length && count === undefined &&
    isInVain(member, place, index)
  ) {
    return 0;
  }
  return notifyChecked(member, array, index, count);
};

/** Whether it is seen without a call that nobody waits. Who has `counts` is held, and has words. */
const isInVain = (member: Member, place: Place, index: number): boolean => {
  const { counts } = member;
  return place.counts === counts && counts[countOf(place.word, index)] === 0 && ++member.looks < LOOKS_MOST;
};

function notifyChecked(member: Member, array: Int32Array | Uint32Array, index: number, count: unknown): number {
  const most = count === undefined ? AP_NOTIFY_ALL : checkCount(count);
  const { hold } = checkWord(member, array, index);
  return member.notify(hold, offsetOf(hold, array, index), most);
}

/**
 * Looks without a call of the library, one after the other. They are no `Atomics.load`, which V8 makes a call of that takes longer
 * than one of the library. No engine puts a read of an array before a write to one, as any two may share their memory: so what
 * was written before `notify` is written before that look. What it may do is to leave out looks between which nothing is written
 * at all; so one in so many is the library's.
 */
const LOOKS_MOST = 1024;

// As V8 computes with them fastest: integers of 32 bits, and known where they are used.
const FACTOR = AP_BUCKET_FACTOR | 0;
const BUCKET_WORDS = AP_BUCKET_BYTES / 4;
const BUCKETS_SHIFT = 32 - Math.log2(AP_BUCKETS * BUCKET_WORDS);
const BUCKETS_MASK = (AP_BUCKETS - 1) * BUCKET_WORDS;

/** Where `Member.counts` says how many wait for the word that is `index` words behind that one, or for others of its bucket. */
const countOf = (word: number, index: number): number =>
  (Math.imul((word + index) | 0, FACTOR) >>> BUCKETS_SHIFT) & BUCKETS_MASK;
