/**
 * arraypool shares numeric arrays between Bun, Deno and Node processes and Workers without copying them.
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
 * This file lets the runtime be found when it runs. Those who know it start at `bun/mod.ts`, `deno/mod.ts`, `node/mod.ts`.
 *
 * @module
 */

import { bun } from "./bun/ffi.ts";
import { setLoader } from "./core/native.ts";
import { deno } from "./deno/ffi.ts";
import { PoolError } from "./core/errors.ts";
import { loadLibrary, type Runtime } from "./library/load.ts";
import { node } from "./node/ffi.ts";

export * from "./realm.ts";

setLoader(() => loadLibrary(runtimeHere()));

function runtimeHere(): Runtime {
  const found = [deno, bun, node].find((runtime) => runtime.isHere());
  if (found !== undefined) return found;
  throw new PoolError("ERR_LIBRARY", "arraypool runs in Bun, Deno and Node: this is none of them");
}
