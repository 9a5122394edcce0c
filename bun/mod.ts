/** The package where it is known to run in Bun: the export condition `bun`. */

import { setLoader } from "../core/native.ts";
import { loadLibrary } from "../library/load.ts";
import { bun } from "./ffi.ts";

export * from "../realm.ts";

setLoader(() => loadLibrary(bun));
