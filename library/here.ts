/** The runtime of this program, where it has to be found out. */

import { bun } from "../bun/ffi.ts";
import { PoolError } from "../core/errors.ts";
import { deno } from "../deno/ffi.ts";
import { node } from "../node/ffi.ts";
import type { Runtime } from "./load.ts";

/** @throws {PoolError} `ERR_LIBRARY` if it is none of them. */
export function runtimeHere(): Runtime {
  const found = [deno, bun, node].find((runtime) => runtime.isHere());
  if (found !== undefined) return found;
  throw new PoolError("ERR_LIBRARY", "arraypool runs in Bun, Deno and Node: this is none of them");
}
