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

import { setLoader } from "./core/native.ts";
import { runtimeHere } from "./library/here.ts";
import { loadLibrary } from "./library/load.ts";

export * from "./realm.ts";

setLoader(() => loadLibrary(runtimeHere()));
