/**
 * The library that looks at pools from outside (libpool/look_exports.zig). It is one of its own, since no program needs it; and is
 * found as the other one is.
 */

import { LOOK_FUNCTIONS } from "../core/functions.ts";
import type { Pointer } from "../core/native.ts";
import { embedded } from "../library/embedded_look.ts";
import { runtimeHere } from "../library/here.ts";
import { load, type Runtime } from "../library/load.ts";

/** Its functions, by their names in libpool/arraypool.h. */
export interface LookLibrary {
  ap_look_abi_version(): number;
  ap_look_pools(names: Uint8Array, max: number): number;
  ap_look_remove(name: Uint8Array, force: number, report: Float64Array): number;
  /** No pool: null, or what is as false, 0n. */
  ap_look_open(name: Uint8Array, report: Float64Array): Pointer | null;
  ap_look_close(look: Pointer): void;
  ap_look_take(look: Pointer, tries: number, facts: Float64Array): number;
  ap_look_blocks(look: Pointer, from: number, blocks: Uint8Array, max: number, next: Float64Array): number;
  ap_look_members(look: Pointer, members: Uint8Array, max: number): number;
  ap_look_read(
    look: Pointer,
    block: number,
    generation: number,
    offset: number,
    into: Uint8Array,
    bytes: number,
  ): number;
  ap_look_command(look: Pointer, slot: number, text: Uint8Array, bytes: number): number;
  ap_look_claims(look: Pointer, from: number, claims: Uint8Array, max: number, next: Float64Array): number;
  ap_look_names(look: Pointer, from: number, names: Uint8Array, max: number, next: Float64Array): number;
  ap_look_channels(look: Pointer, from: number, channels: Uint8Array, max: number, next: Float64Array): number;
  ap_look_picture(look: Pointer, firstBytes: number, cells: Float64Array, count: number): number;
  ap_look_check(look: Pointer, tries: number, text: Uint8Array): number;
}

let loaded: LookLibrary | undefined;

/** The library, loaded at the first call. @throws {PoolError} `ERR_LIBRARY` if it is missing or another version. */
export function lookLibrary(): LookLibrary {
  return loaded ??= loadLookLibrary(runtimeHere());
}

/** Loads it. `libraries`: where its file is, if not beside the package's modules. */
export function loadLookLibrary(runtime: Runtime, libraries?: URL): LookLibrary {
  return load(runtime, {
    name: "libarraypool-look",
    embedded,
    open: (path) => runtime.functions(path, LOOK_FUNCTIONS) as unknown as LookLibrary,
    versionName: "ap_look_abi_version",
    versionOf: (library) => library.ap_look_abi_version(),
  }, libraries);
}
