/**
 * Node: the interface of `core/native.ts` over `node:ffi` (Node 26.1 and later).
 *
 * Some things come from the library as a Node-API module (libpool/node_api.zig): ArrayBuffers, since those of `node:ffi` do
 * not tell when they are gone; the calls that are made for each array, which take a third of the time so; and, of the event
 * loop, the count of calls in flight, and the watching of a socket.
 */

import { AP_RUNTIME_NODE } from "../core/abi.ts";
import { PoolError } from "../core/errors.ts";
import { openLazily } from "../core/lazily.ts";
import type { AsyncContext, CType, Doorbell, Library, Native, Pointer, Signatures } from "../core/native.ts";
import type { Functions } from "../library/libc.ts";
import type { Runtime } from "../library/load.ts";

// What is used of Node, written out: so that neither Bun nor Deno nor a program's own compiler needs Node's types.
interface NodeFfi {
  dlopen(
    path: string,
    symbols: Record<string, { arguments: string[]; return: string }>,
  ): { functions: NodeFunctions };
}
type NodeFunctions = Record<string, (...args: unknown[]) => unknown>;
interface NodeProcess {
  readonly env: Record<string, string | undefined>;
  readonly versions: { readonly node: string; readonly modules: string };
  readonly config: { readonly variables: Record<string, unknown> };
  getBuiltinModule(id: "node:ffi"): NodeFfi | undefined;
  getBuiltinModule(id: "node:fs"): { readlinkSync(path: string): string };
  getBuiltinModule(id: "node:async_hooks"): { AsyncLocalStorage: new <T>() => AsyncContext<T> };
  getBuiltinModule(id: "node:worker_threads"): { readonly isMainThread: boolean };
  dlopen(module: { exports: object }, path: string): void;
  on(event: "exit", listener: () => void): void;
}
declare function setInterval(callback: () => void, delayMs: number): unknown;
declare function clearInterval(id: unknown): void;
declare function setImmediate(callback: () => void): void;
declare function setTimeout(callback: () => void, delayMs: number): { unref(): void };

/** The library as a Node-API module: see libpool/node_api.zig. */
interface Module extends Pick<Library, (typeof hot)[number]> {
  requests(): number;
  bufferOfV8(address: number, byteLength: number, context: number): ArrayBuffer;
  watch(descriptor: number, onRing: () => void): number | undefined;
  unwatch(watch: number): void;
}
const hot = ["ap_block_alloc", "ap_block_attach", "ap_block_release", "ap_claim_create"] as const;

/** The interfaces for addons (`process.versions.modules`) for which libpool/v8.zig was tested. */
const TESTED = ["147"];

/** Node. */
export const node: Runtime = { name: "Node", isHere, open, functions };

/** Bun and Deno call themselves Node, too. */
function isHere(): boolean {
  const { process } = globalThis as unknown as { process?: { versions?: { node?: string } } };
  return process?.versions?.node !== undefined && !("Bun" in globalThis) && !("Deno" in globalThis);
}

/** What has another name here. */
const types: Partial<Record<CType, string>> = { usize: "u64" };

function symbolsOf(signatures: Signatures): Record<string, { arguments: string[]; return: string }> {
  return Object.fromEntries(
    Object.entries(signatures).map(([name, { args, returns }]) => [
      name,
      { arguments: args.map((arg) => types[arg] ?? arg), return: types[returns] ?? returns },
    ]),
  );
}

function functions(path: string, signatures: Signatures): Functions {
  const { functions } = opening(path, signatures);
  const called = Object.entries(signatures).map(([name, { args }]) => {
    // Up to Node 26.10 an integer of 64 bits must be a bigint.
    const isWide = args.map((arg) => arg === "i64" || arg === "usize");
    const call = (...values: (number | Uint8Array)[]) =>
      functions[name]!(...values.map((value, i) => isWide[i] ? BigInt(value as number) : value));
    return [name, call];
  });
  return Object.fromEntries(called) as Functions;
}

function process(): NodeProcess {
  return (globalThis as unknown as { process: NodeProcess }).process;
}

function ffi(): NodeFfi {
  const { getBuiltinModule, versions } = process();
  const ffi = getBuiltinModule("node:ffi");
  if (ffi !== undefined) return ffi;
  throw new PoolError(
    "ERR_LIBRARY",
    `arraypool needs Node 26, from 26.1 on, and this is ${versions.node}: run the program with that, and with --experimental-ffi where it is one of the first`,
  );
}

/** What was opened: a function alone does not keep its library open. */
const opened: object[] = [];

function opening(path: string, signatures: Signatures): { functions: NodeFunctions } {
  const library = ffi().dlopen(path, symbolsOf(signatures));
  opened.push(library);
  return library;
}

/**
 * Those of the library. What returns a pointer has 0n for none in `node:ffi`.
 *
 * Each is called through a cell, all of them from one place in the code: so V8 does not know which one it is, and compiles no
 * way of its own to it. For that it reads, in a thread of its own, what Node frees as soon as a program or a Worker ends; up to
 * Node 26.10 one in twenty programs that ended right after many calls crashed there.
 */
function functionsOf(path: string, signatures: Signatures): NodeFunctions {
  const { functions } = opening(path, signatures);
  return Object.fromEntries(
    Object.entries(signatures).map(([name, { returns }]) => {
      const cell = [functions[name]!];
      const isPointer = returns === "pointer";
      const call = (...values: unknown[]) => {
        const result = cell[0]!(...values);
        return isPointer && result === 0n ? null : result;
      };
      return [name, call];
    }),
  );
}

/** Whether libpool/v8.zig is made for this Node. */
function assertTested(): void {
  const { versions, config } = process();
  const isCaged = Boolean(config.variables["v8_enable_sandbox"] || config.variables["v8_enable_pointer_compression"]);
  if (TESTED.includes(versions.modules) && !isCaged) return;
  throw new PoolError(
    "ERR_LIBRARY",
    isCaged
      ? "this Node was built so that its arrays cannot show foreign memory (V8's sandbox): use another build"
      : `this version of arraypool was tested with Node 26, not with ${versions.node}: use a version of it that was`,
  );
}

function open(path: string): Native {
  const functions = openLazily((signatures) => functionsOf(path, signatures));
  assertTested();
  const module = { exports: {} };
  process().dlopen(module, path);
  const { bufferOfV8, requests, ...calls } = module.exports as Module;
  // The count itself, in the memory of this realm's event loop.
  const inFlight = bufferOfV8 && new Uint32Array(bufferOfV8(requests(), 4, 0));
  if (inFlight === undefined) {
    throw new Error("this build of Node lacks the functions of V8 that addons use: use the one of nodejs.org");
  }
  const library = Object.assign(
    functions,
    Object.fromEntries(hot.map((name) => [name, calls[name]])),
  ) as unknown as Library;

  return {
    library,
    runtime: AP_RUNTIME_NODE,
    largestBufferBytes: Infinity,
    isMainThread: process().getBuiltinModule("node:worker_threads").isMainThread,
    // In Node a pointer is a bigint.
    address: (pointer) => Number(pointer as unknown as bigint),
    buffer: bufferOfV8,
    // What addons do in threads of their own is no call in flight, and may keep the memory of what is detached.
    takeOver: undefined,
    // Files, sockets, zlib, crypto, DNS, work that addons queue. A call in flight keeps its array from the collector, but not
    // from being detached.
    callsInFlight: () => inFlight[0]! > 0,
    // As in Deno: V8 does not feel foreign memory.
    weigh: (bytes) => {
      try {
        void new ArrayBuffer(bytes);
      } catch { /* without the address space for it (ulimit -v) V8 has collected all it could before it gave up */ }
    },
    later: (callback, delayMs) => setTimeout(callback, delayMs).unref(),
    nextTurn: setImmediate,
    keepAlive: () => {
      const timer = setInterval(() => {}, 2 ** 31 - 1);
      return () => clearInterval(timer);
    },
    openDoorbell: (pool, _, onRing) => openDoorbell(library, module.exports as Module, pool, onRing),
    atExit: (callback) => process().on("exit", callback),
    asyncContext: <T>() => new (process().getBuiltinModule("node:async_hooks").AsyncLocalStorage)<T>(),
    environment: (name) => process().env[name],
  };
}

/**
 * As in Bun, a socket that the event loop watches; but only addons can ask for that in Node, and of libuv itself. It is closed
 * when a Worker is terminated.
 */
function openDoorbell(library: Library, module: Module, pool: Pointer, onRing: () => void): Doorbell | undefined {
  const fd = library.ap_doorbell_open(pool);
  if (fd < 0) return undefined;
  const watch = module.watch(fd, onRing);
  if (watch === undefined) return undefined;
  return { sleep: () => {}, close: () => module.unwatch(watch) };
}
