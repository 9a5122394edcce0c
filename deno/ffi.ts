/** Deno: the interface of `core/native.ts` over `Deno.dlopen`. */

import { AP_RUNTIME_DENO } from "../core/abi.ts";
import { openLazily } from "../core/lazily.ts";
import type { AsyncContext, Doorbell, Library, Native, Pointer, Signatures } from "../core/native.ts";
import type { Functions } from "../library/libc.ts";
import type { Runtime } from "../library/load.ts";

// What is used of Deno, written out: so that neither Bun nor a program's own compiler needs Deno's types.
interface DenoFfi {
  readonly env: { get(name: string): string | undefined };
  readonly permissions: { querySync(descriptor: { name: "env"; variable: string }): { readonly state: string } };
  readonly UnsafePointer: { value(pointer: Pointer): bigint; create(address: bigint): Pointer };
  /** Deno's own way into itself: see `Core`. */
  readonly internal: symbol;
  dlopen(
    path: string,
    symbols: Record<string, DenoSymbol>,
  ): { symbols: Record<string, unknown> };
  unrefTimer(id: unknown): void;
}
interface DenoSymbol {
  readonly parameters: readonly string[];
  readonly result: string;
  readonly nonblocking?: boolean;
}
/** What is used of Deno's inside. None of it is promised: each use has another way, or does without. */
interface Core {
  readonly ops?: { op_napi_open?(path: string, global: unknown, ...functions: (() => void)[]): object };
  unrefOpPromise?(promise: unknown): void;
}
interface DenoProcess {
  getBuiltinModule(id: "node:async_hooks"): { AsyncLocalStorage: new <T>() => AsyncContext<T> };
  dlopen(module: { exports: object }, path: string): void;
}
/** The library as a Node-API module: see libpool/node_api.zig. */
interface Module {
  buffer(address: number, byteLength: number, context: number): ArrayBuffer;
  wakeAtEnd(): void;
  ringAtEnd(doorbell: number): void;
  closeAtEnd(doorbell: number): void;
}
declare function setInterval(callback: () => void, delayMs: number): unknown;
declare function clearInterval(id: unknown): void;
declare function setImmediate(callback: () => void): void;
declare function setTimeout(callback: () => void, delayMs: number): unknown;
declare function addEventListener(type: "unload", listener: () => void): void;

/** What is not in Library, since not every runtime can call it. */
interface Sleeper extends Library {
  ap_doorbell_sleep(address: Pointer): Promise<number>;
}

/** Deno. */
export const deno: Runtime = { name: "Deno", isHere: () => "Deno" in globalThis, open, functions };

/** The types have the same names here. */
function symbolsOf(signatures: Signatures): Record<string, DenoSymbol> {
  return Object.fromEntries(
    Object.entries(signatures).map(([name, { args, returns }]) => [
      name,
      { parameters: args, result: returns, nonblocking: name === "ap_doorbell_sleep" },
    ]),
  );
}

function functions(path: string, signatures: Signatures): Functions {
  return ffi().dlopen(path, symbolsOf(signatures)).symbols as Functions;
}

function ffi(): DenoFfi {
  return (globalThis as unknown as { Deno: DenoFfi }).Deno;
}

function core(): Core | undefined {
  const Deno = ffi();
  return (Deno as unknown as Record<symbol, { readonly core?: Core } | undefined>)[Deno.internal]?.core;
}

/** Of Deno's part of Node, which the mere sight of it loads: that takes 12 ms and more. */
function process(): DenoProcess {
  return (globalThis as unknown as { process: DenoProcess }).process;
}

/**
 * The library as a Node-API module. `process.dlopen` is the way to it; what that calls is called here, and takes a hundredth
 * of the time. Where Deno has it in another form, it is by `process` after all.
 */
function openModule(path: string): Module {
  // For modules that make Buffers, throw outside of calls, and count their asynchronous work: this one does not.
  const unused = () => {};
  try {
    const module = core()?.ops?.op_napi_open?.(path, globalThis, ...Array(6).fill(unused));
    if (module !== undefined && "wakeAtEnd" in module) return module as Module;
  } catch { /* process.dlopen says what is wrong, if it is not the form */ }
  const module = { exports: {} };
  process().dlopen(module, path);
  return module.exports as Module;
}

function open(path: string): Native {
  const Deno = ffi();
  const library = openLazily((signatures) => functions(path, signatures));
  // Not Deno.UnsafePointerView: it does not tell when its buffers are gone, and Node-API does.
  const module = openModule(path);
  const { buffer, wakeAtEnd } = module;
  wakeAtEnd(); // or two descriptors would stay open for each Worker that has ended

  return {
    library: library as unknown as Library,
    runtime: AP_RUNTIME_DENO,
    largestBufferBytes: Infinity,
    isMainThread: !("WorkerGlobalScope" in globalThis),
    address: (pointer) => Number(Deno.UnsafePointer.value(pointer)),
    buffer,
    // A call in flight keeps the memory of what is detached, and so that is not to be used again.
    takeOver: undefined,
    callsInFlight: () => false,
    // V8 does not feel foreign memory. An ArrayBuffer of the same size, made and dropped, weighs the same. It costs no
    // memory if its pages are never touched: from 32 MiB on, calloc() always maps fresh ones.
    weigh: (bytes) => {
      try {
        void new ArrayBuffer(bytes);
      } catch { /* without the address space for it (ulimit -v) V8 has collected all it could before it gave up */ }
    },
    later: (callback, delayMs) => Deno.unrefTimer(setTimeout(callback, delayMs)),
    // Fires at every end but an uncaught error: the program's own, `Deno.exit` and `process.exit`.
    // The sight of it, too, loads Deno's part of Node: that is for those who need it.
    nextTurn: (callback) => setImmediate(callback),
    keepAlive: () => {
      const timer = setInterval(() => {}, 2 ** 31 - 1);
      return () => clearInterval(timer);
    },
    openDoorbell: (pool, address, onRing) =>
      openDoorbell(core()?.unrefOpPromise, library as unknown as Sleeper, module, pool, address, onRing),
    atExit: (callback) => addEventListener("unload", callback),
    asyncContext: <T>() => new (process().getBuiltinModule("node:async_hooks").AsyncLocalStorage)<T>(),
    environment: (name) =>
      Deno.permissions.querySync({ name: "env", variable: name }).state === "granted" ? Deno.env.get(name) : undefined,
  };
}

/** Deno has 32 threads for calls that block, which its file system needs, too. Whoever has no doorbell looks by itself. */
const DOORBELLS_MAX = 8;
let doorbells = 0;

/**
 * A call on a thread of its own, which sleeps until somebody rings. It does not keep the process alive; when a Worker is
 * terminated, the library ends it (node_api.zig), since the Worker's thread would wait for it.
 */
function openDoorbell(
  unrefOpPromise: Core["unrefOpPromise"],
  library: Sleeper,
  module: Module,
  pool: Pointer,
  address: number,
  onRing: () => void,
): Doorbell | undefined {
  if (unrefOpPromise === undefined || doorbells >= DOORBELLS_MAX) return undefined;
  doorbells++;
  const word = ffi().UnsafePointer.create(BigInt(address));
  module.ringAtEnd(address);
  let sleeps = false;
  const woken = () => {
    sleeps = false;
    onRing();
  };
  return {
    sleep: () => {
      if (sleeps) return; // since before, and not woken
      sleeps = true;
      const call = library.ap_doorbell_sleep(word);
      unrefOpPromise(call);
      void call.then(woken);
    },
    close: () => {
      doorbells--;
      module.closeAtEnd(address);
      library.ap_doorbell_ring(pool);
    },
  };
}
