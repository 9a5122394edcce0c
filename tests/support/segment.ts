/** Looks into and breaks segments from outside, by the places that libpool/layout.zig gives, and calls the library directly. */

import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { bun } from "../../bun/ffi.ts";
import { AP_REPORT_LENGTH } from "../../core/abi.ts";
import type { Native, Pointer } from "../../core/native.ts";
import { deno } from "../../deno/ffi.ts";
import { node } from "../../node/ffi.ts";
import { loadLibrary } from "../../library/load.ts";
import { fileOf, runtime } from "./harness.ts";

// Header
export const VERSION_AT = 8;
/** 64 bits: until then a claim may wait, and a segment without members is kept. */
export const CLAIMS_UNTIL_AT = 64;
const CAPACITY_BYTES_AT = 24;
const SEGMENT_BYTES_AT = 32;
const LOCK_AT = 128;
// Members and blocks
const MEMBERS_AT = 4096;
export const BLOCKS_AT = 65536;
/** Of the member in slot 0: whether it sleeps, and has to be woken. */
export const DOORBELL_AT = 49152;
export const DOORBELL_PARKED = 1;
const ENTRY_BYTES = 64;
const START_AT = 8;
const GRANULE_BYTES = 64;
// A channel
const SEND_LOCK_AT = 64;
const RECEIVE_LOCK_AT = 128;

function withFile<R>(name: string, use: (fd: number) => R): R {
  const fd = openSync(fileOf(name), "r+");
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}

export function readU32(name: string, at: number): number {
  const bytes = new Uint8Array(4);
  withFile(name, (fd) => readSync(fd, bytes, 0, 4, at));
  return new DataView(bytes.buffer).getUint32(0, true);
}

export function writeU32(name: string, at: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  withFile(name, (fd) => writeSync(fd, bytes, 0, 4, at));
}

/** Makes the pool's lock look held by the member in `slot`, as if it had been stopped there, and returns how to undo it. */
export function holdLock(name: string, slot: number): () => void {
  return holdLockAt(name, LOCK_AT, slot);
}

/** The same with the lock of those who send to the channel in `block`. */
export function holdSendersLock(name: string, block: number, slot: number): () => void {
  return holdChannelLock(name, block, slot, SEND_LOCK_AT);
}

/** And of those who receive from it. */
export function holdReceiversLock(name: string, block: number, slot: number): () => void {
  return holdChannelLock(name, block, slot, RECEIVE_LOCK_AT);
}

function holdChannelLock(name: string, block: number, slot: number, at: number): () => void {
  const heapStart = readU32(name, SEGMENT_BYTES_AT) - readU32(name, CAPACITY_BYTES_AT); // of a pool of less than 4 GiB
  const granule = readU32(name, BLOCKS_AT + block * ENTRY_BYTES + START_AT);
  return holdLockAt(name, heapStart + granule * GRANULE_BYTES + at, slot);
}

function holdLockAt(name: string, at: number, slot: number): () => void {
  const incarnation = readU32(name, MEMBERS_AT + slot * ENTRY_BYTES) & 0x7fffff;
  writeU32(name, at, (slot | incarnation << 9) >>> 0);
  return () => writeU32(name, at, 0);
}

/** The runtime's native side, apart from the package's own. */
export const native: Native = loadLibrary({ bun, deno, node }[runtime]);

/** Joins a pool once more in this realm, past the package; null if that fails. */
export function joinDirectly(name: string): Pointer | null {
  return native.library.ap_pool_open(
    new TextEncoder().encode(name + "\0"),
    null,
    native.runtime,
    new Float64Array(AP_REPORT_LENGTH),
  );
}
