/** Bun: the interface of `core/native.ts` over `bun:ffi`. */

import { ballastFor } from "./ballast.ts";
import { AP_RUNTIME_BUN } from "../core/abi.ts";
import { PoolError } from "../core/errors.ts";
import { openLazily } from "../core/lazily.ts";
import type { AsyncContext, CType, Doorbell, Library, Native, Pointer, Signatures } from "../core/native.ts";
import type { Functions } from "../library/libc.ts";
import type { Runtime } from "../library/load.ts";

// What is used of Bun, written out: so that neither Deno nor a program's own compiler needs Bun's types.
interface BunFfi {
  dlopen(
    path: string,
    symbols: Record<string, { args: string[]; returns: string }>,
  ): { symbols: Record<string, { ptr: number }> };
  toArrayBuffer(
    address: number,
    byteOffset: number,
    byteLength: number,
    context?: number,
    deallocator?: number,
  ): ArrayBuffer;
  ptr(view: Uint32Array | ArrayBuffer): number;
}
interface BunProcess {
  readonly versions: { readonly bun: string };
  readonly env: Record<string, string | undefined>;
  getBuiltinModule(id: "bun:ffi"): BunFfi;
  getBuiltinModule(id: "node:fs"): { readlinkSync(path: string): string };
  getBuiltinModule(id: "node:async_hooks"): { AsyncLocalStorage: new <T>() => AsyncContext<T> };
  constrainedMemory(): number;
  on(event: "exit", listener: () => void): void;
}
interface BunSocket {
  unref(): void;
  terminate(): void;
}
interface BunSockets {
  connect(options: { fd: number; socket: { data(): void } }): Promise<BunSocket>;
}
declare function setInterval(callback: () => void, delayMs: number): unknown;
declare function clearInterval(id: unknown): void;
declare function setImmediate(callback: () => void): void;
declare function setTimeout(callback: () => void, delayMs: number): { unref(): void };

/** Bun. */
export const bun: Runtime = { name: "Bun", isHere: () => "Bun" in globalThis, open, functions };

/** What has another name here. */
const types: Partial<Record<CType, string>> = { pointer: "ptr", buffer: "ptr" };

function symbolsOf(signatures: Signatures): Record<string, { args: string[]; returns: string }> {
  return Object.fromEntries(
    Object.entries(signatures).map(([name, { args, returns }]) => [
      name,
      { args: args.map((arg) => types[arg] ?? arg), returns: types[returns] ?? returns },
    ]),
  );
}

function functions(path: string, signatures: Signatures): Functions {
  return builtin().ffi.dlopen(path, symbolsOf(signatures)).symbols as unknown as Functions;
}

function builtin(): { process: BunProcess; ffi: BunFfi } {
  const process = (globalThis as unknown as { process: BunProcess }).process;
  const version = process.versions.bun;
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major < 1 || (major === 1 && minor < 4)) {
    throw new PoolError("ERR_LIBRARY", `arraypool needs Bun 1.4 or later, and this is ${version}: run \`bun upgrade\``);
  }
  return { process, ffi: process.getBuiltinModule("bun:ffi") };
}

function open(path: string): Native {
  const { process, ffi } = builtin();
  const library = openLazily((signatures) => functions(path, signatures));
  const bufferGone = (library["ap_buffer_gone"] as { ptr: number }).ptr;
  const later = (callback: () => void, delayMs: number) => setTimeout(callback, delayMs).unref();
  const count = ballastFor(later, () => process.constrainedMemory());

  return {
    library: library as unknown as Library,
    runtime: AP_RUNTIME_BUN,
    largestBufferBytes: 2 ** 32,
    isMainThread: (globalThis as unknown as { Bun: { isMainThread: boolean } }).Bun.isMainThread,
    // In Bun a pointer is the address itself.
    address: (pointer) => pointer as unknown as number,
    buffer: (address, byteLength, context) => {
      count(byteLength);
      return context === 0
        ? ffi.toArrayBuffer(address, 0, byteLength)
        : ffi.toArrayBuffer(address, 0, byteLength, context, bufferGone);
    },
    takeOver: canTakeOver(ffi, bufferGone)
      ? (buffer, byteLength) => {
        count(byteLength);
        return buffer.transfer();
      }
      : undefined,
    callsInFlight: () => false,
    // Bun's collector feels every ArrayBuffer by itself, and more than is good: see ballast.ts.
    weigh: () => {},
    later,
    nextTurn: setImmediate,
    keepAlive: () => {
      const timer = setInterval(() => {}, 2 ** 31 - 1);
      return () => clearInterval(timer);
    },
    openDoorbell: (pool, _, onRing) => openDoorbell(library as unknown as Library, pool, onRing),
    atExit: (callback) => process.on("exit", callback),
    asyncContext: <T>() => new (process.getBuiltinModule("node:async_hooks").AsyncLocalStorage)<T>(),
    environment: (name) => process.env[name],
  };
}

/**
 * Whether a transfer hands the memory over as it is, and its deallocator with it, and an end of that calls it at once. No
 * standard says so, and a copy would be an array that nobody else sees.
 */
function canTakeOver(ffi: BunFfi, bufferGone: number): boolean {
  const words = new Uint32Array(4); // as the library counts the buffers of one block, of which the second word counts the ends
  const address = ffi.ptr(words);
  const buffer = ffi.toArrayBuffer(address, 0, words.byteLength, address + 4, bufferGone);
  const spare = buffer.transfer();
  const isMoved = buffer.detached && words[1] === 0 && ffi.ptr(spare) === address;
  spare.transfer(0);
  return isMoved && words[1] === 1;
}

/**
 * Bun has no native calls that do not block. But its event loop watches any socket by descriptor, also one of datagrams,
 * and closes it when a Worker is terminated.
 */
function openDoorbell(library: Library, pool: Pointer, onRing: () => void): Doorbell | undefined {
  const fd = library.ap_doorbell_open(pool);
  if (fd < 0) return undefined;
  const { Bun } = globalThis as unknown as { Bun: BunSockets };
  const opened = Bun.connect({ fd, socket: { data: onRing } });
  // Where it cannot, the member looks by itself.
  const use = (what: (socket: BunSocket) => void) => void opened.then(what, () => {});
  use((socket) => socket.unref());
  const close = () => use((socket) => socket.terminate());
  return {
    sleep: () => {},
    close,
  };
}
