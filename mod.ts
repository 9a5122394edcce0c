/**
 * arraypool shares numeric arrays between Bun and Deno processes and Workers without copying them.
 *
 * ```ts
 * import { pack, Pool, unpack } from "arraypool";
 *
 * using pool = Pool.create();
 * using prices = pool.from(Float64Array.of(1, 2, 3)); // an ordinary Float64Array, in shared memory
 * const message = JSON.stringify(pack({ prices })); // about 150 bytes, to any process or Worker
 *
 * using got = unpack<{ prices: Float64Array }>(JSON.parse(message)); // the same memory
 * got.prices[0] = 42;
 * console.log(prices[0]); // 42
 * ```
 *
 * This file picks the runtime and re-exports `core/`. A realm has the package once: a second copy of it, or the same one
 * loaded anew by `--hot`, hands out what the first one has, so that all of them know the same pools and arrays.
 *
 * @module
 */

import { loadBun } from "./bun/ffi.ts";
import * as core from "./core/mod.ts";
import { setLoader } from "./core/native.ts";
import { loadDeno } from "./deno/ffi.ts";

export type {
  BlockInfo,
  Descriptor,
  DType,
  MemberInfo,
  Packed,
  PoolErrorCode,
  PoolOptions,
  PoolStats,
  Shape,
  SharedArray,
  SharedView,
  ShareOptions,
  TypedArray,
  TypedArrayClass,
  TypedArrays,
  Unpacked,
} from "./core/mod.ts";

// The version of the package, so that different versions keep apart.
const KEY = Symbol.for("arraypool 0.1.0");

function firstCopy(): typeof core {
  const realm = globalThis as unknown as Record<symbol, typeof core | undefined>;
  const first = realm[KEY];
  if (first !== undefined) return first;
  const libraries = new URL("./lib/", import.meta.url);
  setLoader(() => {
    if ("Deno" in globalThis) return loadDeno(libraries);
    if ("Bun" in globalThis) return loadBun(libraries);
    throw new core.PoolError(
      "ERR_LIBRARY",
      "arraypool runs in Bun and in Deno: start the program with `bun` or `deno run --allow-ffi`",
    );
  });
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
