/**
 * Everything that is public. A realm has the package once: a second copy of it, or the same one loaded anew by `--hot`,
 * hands out what the first one has, so that all of them know the same pools and arrays.
 */

import * as core from "./core/mod.ts";
import { platformHere } from "./library/platform.ts";

export type {
  BlockInfo,
  Channel,
  ChannelDescriptor,
  ChannelOptions,
  ChannelStats,
  Delivery,
  Descriptor,
  DType,
  MemberInfo,
  Packed,
  PoolErrorCode,
  PoolOptions,
  PoolStats,
  ReceiveAsyncOptions,
  ReceiveOptions,
  SendAsyncOptions,
  SendOptions,
  Shape,
  SharedArray,
  SharedView,
  ShareOptions,
  TypedArray,
  TypedArrayClass,
  TypedArrays,
  Unpacked,
  WaitAsyncOptions,
  WaitOptions,
  WaitResult,
} from "./core/mod.ts";

// Here and not at the first pool: a program that can never work should say so when it starts.
platformHere();

// The version of the package, so that different versions keep apart.
const KEY = Symbol.for("arraypool 0.1.0");

function firstCopy(): typeof core {
  const realm = globalThis as unknown as Record<symbol, typeof core | undefined>;
  const first = realm[KEY];
  if (first !== undefined) return first;
  Object.defineProperty(globalThis, KEY, { value: core });
  return core;
}

const first = firstCopy();

/** A pool of shared memory in which every process of one user allocates and frees arrays. */
export const Pool: typeof core.Pool = first.Pool;
/** A pool of shared memory in which every process of one user allocates and frees arrays. */
export type Pool = core.Pool;

/** Thrown when a pool cannot do what was asked; `code` says why, `message` what to do. */
export const PoolError: typeof core.PoolError = first.PoolError;
/** Thrown when a pool cannot do what was asked; `code` says why, `message` what to do. */
export type PoolError = core.PoolError;

/** Attaches the array that a descriptor names. */
export const attach: typeof core.attach = first.attach;
/** Whether a value is a pool array, or a slice of one. */
export const isSharedArray: typeof core.isSharedArray = first.isSharedArray;
/** Makes a message with arrays ready to be sent. */
export const pack: typeof core.pack = first.pack;
/** Lets go of every array in a message. */
export const release: typeof core.release = first.release;
/** Attaches the arrays in a message that `pack()` made. */
export const unpack: typeof core.unpack = first.unpack;
