/**
 * Finds a native library for this machine and lets a runtime open it: the first of these that works.
 *
 *     lib/<platform>/ beside the package's modules    in the repository, and in the npm package
 *     a file in memory (memfd), on Linux              the library travels inside a module: packages that came over http
 *     a file in /tmp, removed as soon as it is open   (JSR), bundles, executables of `bun build --compile`
 *
 * The files are written by way of the C library, so that FFI is the only permission that is needed.
 *
 * A process has one file in memory, whatever the number of its Workers: it is kept open, and found again by its name, which
 * names its content. It must stay open, since the dynamic loader takes two libraries of one path for the same.
 */

import { AP_ABI_VERSION } from "../core/abi.ts";
import { PoolError } from "../core/errors.ts";
import type { Native, Signatures } from "../core/native.ts";
import { type Embedded, embedded } from "./embedded.ts";
import { type Functions, Libc } from "./libc.ts";
import { platformHere } from "./platform.ts";

/** What a runtime does to load a library. */
export interface Runtime {
  /** What it is called. */
  readonly name: string;
  /** Whether this program runs in it. */
  isHere(): boolean;
  /** Opens the library of arraypool. Throws if it cannot be loaded, or lacks a function. */
  open(path: string): Native;
  /** Looks functions up in any library. Throws if it cannot be loaded, or lacks one of them. */
  functions(path: string, signatures: Signatures): Functions;
}

/** Where the libraries of the package are, if its modules are files. */
// Put together, since bundlers would take a literal for a file. What they turn into CommonJS has no URL.
const folder = new URL(["..", "lib", ""].join("/"), import.meta.url ?? "bundle:/");

/** Where a file may be put for a moment, if there can be none in memory. */
const TEMPORARY = ["/tmp", "/var/tmp", "/dev/shm"];

/** So many descriptors are searched for the file in memory of another Worker. */
const DESCRIPTORS_SEARCHED = 256;

/** A library of the package. */
export interface Kind<L> {
  /** Of its files, without the suffix. */
  readonly name: string;
  /** What of it travels inside of modules. */
  readonly embedded: { readonly [platform: string]: Embedded | undefined };
  /** Opens it. Throws if it cannot be loaded, or lacks a function. */
  open(path: string): L;
  /** The function that tells its version. */
  readonly versionName: string;
  versionOf(library: L): number;
}

/** Loads the library. @throws {PoolError} `ERR_LIBRARY`, or what says that a permission is missing. */
export function loadLibrary(runtime: Runtime, libraries?: URL): Native {
  return load(runtime, {
    name: "libarraypool",
    embedded,
    open: runtime.open,
    versionName: "ap_abi_version",
    versionOf: ({ library }) => library.ap_abi_version(),
  }, libraries);
}

/** Loads any of the package's. Throws as loadLibrary does. */
export function load<L>(runtime: Runtime, kind: Kind<L>, libraries: URL = folder): L {
  const platform = platformHere();
  if (!runtime.isHere()) {
    throw new PoolError(
      "ERR_LIBRARY",
      `this program has the arraypool of ${runtime.name} in it, but does not run in ${runtime.name}: bundle it for the runtime that runs it, or for Node, which suits all of them`,
    );
  }
  const tried: string[] = [];
  const attempt = (path: string): L | undefined => {
    try {
      return openChecked(runtime, kind, path);
    } catch (error) {
      throwIfForbidden(error);
      tried.push(`${path}: ${(error as Error).message}`);
      return undefined;
    }
  };
  let libc: Libc | undefined;
  try {
    libc = new Libc(platform, runtime.functions);
  } catch (error) {
    throwIfForbidden(error);
    tried.push((error as Error).message);
  }
  const inFolder = `${platform}/${kind.name}.${platform.startsWith("darwin") ? "dylib" : "so"}`;
  const found =
    (libraries.protocol === "file:"
      ? fromFile(new URL(inFolder, libraries), platform, libc, attempt, tried)
      : undefined) ?? fromModule(kind.embedded[platform], libc, attempt, tried);
  if (found !== undefined) return found;
  throw new PoolError(
    "ERR_LIBRARY",
    `the native library for ${platform} cannot be loaded: install arraypool anew, or, in its repository, run \`npm run build\` (${
      tried.join("; ")
    })`,
  );
}

/** What is forbidden to this program, it is at every place. @throws what says which permission is missing. */
function throwIfForbidden(error: unknown): void {
  const { name, code, message } = error as Error & { code?: string };
  // Deno's, and of a Node that is too old, too new, or another build: they say what to do.
  if (name === "NotCapable" || error instanceof PoolError) throw error;
  // Bun's, with BUN_JSC_useJIT=0, and where it finds too little address space for its JIT.
  if (message.includes("requires the JIT")) {
    throw new PoolError(
      "ERR_LIBRARY",
      `Bun loads no native library while its JIT is off: start it without BUN_JSC_useJIT=0, and with more address space (ulimit -v) (${message})`,
    );
  }
  if (code !== "ERR_ACCESS_DENIED" && code !== "ERR_DLOPEN_DISABLED") return;
  throw new PoolError(
    "ERR_LIBRARY",
    `Node may not load the native library here: with --permission, start it with --allow-ffi and --allow-addons, and without --no-addons (${message})`,
  );
}

type Attempt<L> = (path: string) => L | undefined;

function fromFile<L>(
  at: URL,
  platform: string,
  libc: Libc | undefined,
  attempt: Attempt<L>,
  tried: string[],
): L | undefined {
  const path = decodeURIComponent(at.pathname);
  const file = libc?.look(path);
  const wrong = libc === undefined ? undefined : whatIsWrong(file, platform);
  if (wrong === undefined) return attempt(path);
  tried.push(`${path}: ${wrong}`);
  return undefined;
}

/** By the number in an ELF file's header. */
const MACHINES: Readonly<Record<string, number>> = { "linux-x64": 62, "linux-arm64": 183 };

/** What the loader of Linux does not say, or crashes at: it maps what a truncated file lacks, and reads it. */
function whatIsWrong(file: { bytes: number; start: Uint8Array } | undefined, platform: string): string | undefined {
  if (file === undefined) return "there is no such file";
  const machine = MACHINES[platform];
  if (machine === undefined) return undefined;
  if (file.start.length < 64) return "the file is truncated";
  const header = new DataView(file.start.buffer);
  if (header.getUint32(0) !== 0x7f454c46) return "the file is no library";
  if (header.getUint16(18, true) !== machine) return "the library is for another machine";
  // The section headers are the last thing in it.
  const end = Number(header.getBigUint64(40, true)) + header.getUint16(58, true) * header.getUint16(60, true);
  return file.bytes < end ? "the file is truncated" : undefined;
}

function fromModule<L>(
  library: Embedded | undefined,
  libc: Libc | undefined,
  attempt: Attempt<L>,
  tried: string[],
): L | undefined {
  if (library === undefined || libc === undefined) return undefined;
  try {
    libc.openForWriting();
  } catch (error) {
    tried.push((error as Error).message);
    return undefined;
  }
  let content: Uint8Array | undefined;
  const unpacked = () => content ??= decompress(library);

  const name = `arraypool ${library.id}`;
  const fd = openInMemory(libc, name, library.bytes) ?? libc.writeInMemory(name, unpacked());
  const opened = fd === undefined ? undefined : attempt(`/proc/self/fd/${fd}`);
  if (opened !== undefined) return opened;

  for (const temporary of TEMPORARY) {
    const path = libc.writeInFolder(temporary, unpacked());
    if (path === undefined) tried.push(`${temporary}: no file can be written there`);
    else {
      try {
        const opened = attempt(path);
        if (opened !== undefined) return opened;
      } finally {
        libc.unlink(path);
      }
    }
  }
  return undefined;
}

/** The descriptor of the file that this process has already; not while another Worker still writes it. */
function openInMemory(libc: Libc, name: string, bytes: number): number | undefined {
  for (let fd = 3; fd < DESCRIPTORS_SEARCHED; fd++) {
    const path = `/proc/self/fd/${fd}`;
    if (libc.readLink(path) === `/memfd:${name} (deleted)` && libc.look(path)?.bytes === bytes) return fd;
  }
  return undefined;
}

// Newer than the libraries that some compilers know.
const { fromBase64 } = Uint8Array as unknown as { fromBase64(text: string): Uint8Array };

interface Zlib {
  brotliDecompressSync(bytes: Uint8Array): Uint8Array;
}

function decompress({ brotli }: Embedded): Uint8Array {
  const { process } = globalThis as unknown as { process: { getBuiltinModule(id: "node:zlib"): Zlib } };
  return process.getBuiltinModule("node:zlib").brotliDecompressSync(fromBase64(brotli));
}

function openChecked<L>(runtime: Runtime, kind: Kind<L>, path: string): L {
  let library: L;
  try {
    library = kind.open(path);
  } catch (error) {
    // Of another version it may lack a function: then that is what to say.
    assertVersion(versionAt(runtime, path, kind.versionName));
    throw error;
  }
  assertVersion(kind.versionOf(library));
  return library;
}

function versionAt(runtime: Runtime, path: string, name: string): number {
  try {
    return Number(runtime.functions(path, { [name]: { args: [], returns: "i32" } })[name]!());
  } catch {
    return AP_ABI_VERSION; // no version at all: what was wrong before says more
  }
}

function assertVersion(version: number): void {
  if (version === AP_ABI_VERSION) return;
  throw new Error(`the library has interface ${version}, but this version of arraypool needs ${AP_ABI_VERSION}`);
}
