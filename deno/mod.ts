/** The package where it is known to run in Deno: the export condition `deno`. */

import { setLoader } from "../core/native.ts";
import { loadLibrary } from "../library/load.ts";
import { deno } from "./ffi.ts";

export * from "../realm.ts";

setLoader(() => loadLibrary(deno));
