/** As embedded.ts, the library of the command line. */

import type { Embedded } from "./embedded.ts";

/** By `${process.platform}-${process.arch}`. */
export const embedded: { readonly [platform: string]: Embedded | undefined } = {};
