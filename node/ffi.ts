/**
 * Node: the symbol table of the C library, and the interface of `core/native.ts` over `node:ffi` (Node 26.1 and later).
 *
 * Some things come from the library as a Node-API module (libpool/node_api.zig): ArrayBuffers, since those of `node:ffi` do
 * not tell when they are gone; the calls that are made for each array, which take a third of the time so; and, of the event
 * loop, the count of calls in flight, and the watching of a socket.
 */

import { AP_RUNTIME_NODE } from "../core/abi.ts";
import type { AsyncContext, Doorbell, Library, Native, Pointer } from "../core/native.ts";
import type { CType, Functions, Signatures } from "../library/libc.ts";
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

const symbols = {
  // uint32_t ap_abi_version(void);
  ap_abi_version: { arguments: [], return: "u32" },
  // ap_pool *ap_pool_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_create: { arguments: ["buffer", "f64", "f64", "u32", "buffer"], return: "pointer" },
  // ap_pool *ap_pool_open(const char *name, const char *nonce, uint32_t runtime, double *report);
  ap_pool_open: { arguments: ["buffer", "buffer", "u32", "buffer"], return: "pointer" },
  // ap_pool *ap_pool_open_or_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_open_or_create: { arguments: ["buffer", "f64", "f64", "u32", "buffer"], return: "pointer" },
  // int32_t ap_pool_close(ap_pool *pool, uint32_t keep_range);
  ap_pool_close: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_exit(const char *name);
  ap_exit: { arguments: ["buffer"], return: "i32" },
  // double *ap_pool_record(ap_pool *pool);
  ap_pool_record: { arguments: ["pointer"], return: "pointer" },
  // int32_t ap_pool_info(ap_pool *pool);
  ap_pool_info: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_pool_name(ap_pool *pool, char *name);
  ap_pool_name: { arguments: ["pointer", "buffer"], return: "i32" },
  // int32_t ap_pool_nonce(ap_pool *pool, char *nonce);
  ap_pool_nonce: { arguments: ["pointer", "buffer"], return: "i32" },
  // int32_t ap_block_alloc(ap_pool *pool, double length_bytes, uint32_t dtype, uint32_t how);
  ap_block_alloc: { arguments: ["pointer", "f64", "u32", "u32"], return: "i32" },
  // int32_t ap_trace_open(ap_pool *pool, double length_bytes);
  ap_trace_open: { arguments: ["pointer", "f64"], return: "i32" },
  // int32_t ap_block_attach(ap_pool *pool, uint32_t block, double generation, double claim);
  ap_block_attach: { arguments: ["pointer", "u32", "f64", "f64"], return: "i32" },
  // int32_t ap_block_share(ap_pool *pool, uint32_t block);
  ap_block_share: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_block_retain(ap_pool *pool, uint32_t block);
  ap_block_retain: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_block_release(ap_pool *pool, uint32_t block, uint32_t shown);
  ap_block_release: { arguments: ["pointer", "u32", "u32"], return: "i32" },
  // int32_t ap_block_settle(ap_pool *pool, uint32_t block);
  ap_block_settle: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_block_show_nothing(ap_pool *pool, uint32_t block);
  ap_block_show_nothing: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_block_shown(ap_pool *pool, uint32_t block);
  ap_block_shown: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_claim_create(ap_pool *pool, uint32_t block, uint32_t attaches, double ttl_ms);
  ap_claim_create: { arguments: ["pointer", "u32", "u32", "f64"], return: "i32" },
  // int32_t ap_claim_drop(ap_pool *pool, uint32_t block, double generation, double claim, uint32_t attaches);
  ap_claim_drop: { arguments: ["pointer", "u32", "f64", "f64", "u32"], return: "i32" },
  // int32_t ap_word_wait(ap_pool *pool, uint32_t block, double offset, uint32_t expected, double timeout_ms);
  ap_word_wait: { arguments: ["pointer", "u32", "f64", "u32", "f64"], return: "i32" },
  // int32_t ap_word_wait_on(ap_pool *pool);
  ap_word_wait_on: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_word_notify(ap_pool *pool, uint32_t block, double offset, uint32_t count);
  ap_word_notify: { arguments: ["pointer", "u32", "f64", "u32"], return: "i32" },
  // int32_t ap_word_watch(ap_pool *pool, uint32_t block, double offset, uint32_t expected);
  ap_word_watch: { arguments: ["pointer", "u32", "f64", "u32"], return: "i32" },
  // int32_t ap_word_unwatch(ap_pool *pool, uint32_t waiter);
  ap_word_unwatch: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_doorbell_take(ap_pool *pool, uint32_t *waiters, uint32_t max);
  ap_doorbell_take: { arguments: ["pointer", "buffer", "u32"], return: "i32" },
  // int32_t ap_doorbell_look(ap_pool *pool);
  ap_doorbell_look: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_doorbell_park(ap_pool *pool);
  ap_doorbell_park: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_doorbell_unpark(ap_pool *pool);
  ap_doorbell_unpark: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_doorbell_sleep(void *address);
  ap_doorbell_sleep: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_doorbell_open(ap_pool *pool);
  ap_doorbell_open: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_doorbell_ring(ap_pool *pool);
  ap_doorbell_ring: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_name_set(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_name_set: { arguments: ["pointer", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_name_get(ap_pool *pool, const char *key, uint32_t key_bytes, ap_name_value *value);
  ap_name_get: { arguments: ["pointer", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_name_has(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_has: { arguments: ["pointer", "buffer", "u32"], return: "i32" },
  // int32_t ap_name_delete(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_delete: { arguments: ["pointer", "buffer", "u32"], return: "i32" },
  // int32_t ap_name_list(ap_pool *pool, uint32_t from, ap_name_info *names, uint32_t max);
  ap_name_list: { arguments: ["pointer", "u32", "buffer", "u32"], return: "i32" },
  // int32_t ap_once_begin(ap_pool *pool, const char *key, uint32_t key_bytes, double timeout_ms);
  ap_once_begin: { arguments: ["pointer", "buffer", "u32", "f64"], return: "i32" },
  // int32_t ap_once_watch(ap_pool *pool);
  ap_once_watch: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_once_end(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_once_end: { arguments: ["pointer", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_channel_create(ap_pool *pool, uint32_t capacity, uint32_t message_bytes_max);
  ap_channel_create: { arguments: ["pointer", "u32", "u32"], return: "i32" },
  // int32_t ap_channel_enter(ap_pool *pool, uint32_t block);
  ap_channel_enter: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_channel_send(ap_pool *pool, uint32_t block, const uint8_t *image, uint32_t text_bytes, uint32_t arrays, uint32_t timeout_ms);
  ap_channel_send: { arguments: ["pointer", "u32", "buffer", "u32", "u32", "u32"], return: "i32" },
  // int32_t ap_channel_receive(ap_pool *pool, uint32_t block, uint8_t *into, uint32_t into_bytes, uint32_t how, uint32_t timeout_ms);
  ap_channel_receive: { arguments: ["pointer", "u32", "buffer", "u32", "u32", "u32"], return: "i32" },
  // int32_t ap_channel_acknowledge(ap_pool *pool, uint32_t block, uint32_t entry, double message, uint32_t give_back);
  ap_channel_acknowledge: { arguments: ["pointer", "u32", "u32", "f64", "u32"], return: "i32" },
  // int32_t ap_channel_start_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_start_waiting: { arguments: ["pointer", "u32", "u32"], return: "i32" },
  // int32_t ap_channel_stop_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_stop_waiting: { arguments: ["pointer", "u32", "u32"], return: "i32" },
  // int32_t ap_channel_close(ap_pool *pool, uint32_t block);
  ap_channel_close: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_channel_stats(ap_pool *pool, uint32_t block);
  ap_channel_stats: { arguments: ["pointer", "u32"], return: "i32" },
  // int32_t ap_pool_reap(ap_pool *pool);
  ap_pool_reap: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_pool_trim(ap_pool *pool);
  ap_pool_trim: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_check(ap_pool *pool, char *text);
  ap_check: { arguments: ["pointer", "buffer"], return: "i32" },
  // int32_t ap_pool_stats(ap_pool *pool);
  ap_pool_stats: { arguments: ["pointer"], return: "i32" },
  // int32_t ap_block_list(ap_pool *pool, uint32_t from, ap_block_info *blocks, uint32_t max);
  ap_block_list: { arguments: ["pointer", "u32", "buffer", "u32"], return: "i32" },
  // int32_t ap_member_list(ap_pool *pool, ap_member_info *members, uint32_t max);
  ap_member_list: { arguments: ["pointer", "buffer", "u32"], return: "i32" },
  // int32_t ap_sweep(void);
  ap_sweep: { arguments: [], return: "i32" },
  // int32_t ap_pool_names(char *names, uint32_t max);
  ap_pool_names: { arguments: ["buffer", "u32"], return: "i32" },
  // int32_t ap_pool_remove(const char *name, uint32_t force, double *report);
  ap_pool_remove: { arguments: ["buffer", "u32", "buffer"], return: "i32" },
  // ap_look *ap_look_open(const char *name, double *report);
  ap_look_open: { arguments: ["buffer", "buffer"], return: "pointer" },
  // void ap_look_close(ap_look *look);
  ap_look_close: { arguments: ["pointer"], return: "void" },
  // int32_t ap_look_take(ap_look *look, uint32_t tries, double *facts);
  ap_look_take: { arguments: ["pointer", "u32", "buffer"], return: "i32" },
  // int32_t ap_look_blocks(ap_look *look, uint32_t from, ap_block_info *blocks, uint32_t max, double *next);
  ap_look_blocks: { arguments: ["pointer", "u32", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_look_members(ap_look *look, ap_look_member *members, uint32_t max);
  ap_look_members: { arguments: ["pointer", "buffer", "u32"], return: "i32" },
  // int32_t ap_look_read(ap_look *look, uint32_t block, double generation, double offset, void *into, uint32_t bytes);
  ap_look_read: { arguments: ["pointer", "u32", "f64", "f64", "buffer", "u32"], return: "i32" },
  // int32_t ap_look_command(ap_look *look, uint32_t slot, char *text, uint32_t bytes);
  ap_look_command: { arguments: ["pointer", "u32", "buffer", "u32"], return: "i32" },
  // int32_t ap_look_claims(ap_look *look, uint32_t from, ap_look_claim *claims, uint32_t max, double *next);
  ap_look_claims: { arguments: ["pointer", "u32", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_look_names(ap_look *look, uint32_t from, ap_look_name *names, uint32_t max, double *next);
  ap_look_names: { arguments: ["pointer", "u32", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_look_channels(ap_look *look, uint32_t from, ap_look_channel *channels, uint32_t max, double *next);
  ap_look_channels: { arguments: ["pointer", "u32", "buffer", "u32", "buffer"], return: "i32" },
  // int32_t ap_look_picture(ap_look *look, double first_bytes, double *cells, uint32_t count);
  ap_look_picture: { arguments: ["pointer", "f64", "buffer", "u32"], return: "i32" },
  // int32_t ap_look_check(ap_look *look, uint32_t tries, char *text);
  ap_look_check: { arguments: ["pointer", "u32", "buffer"], return: "i32" },
};

/** Node. */
export const node: Runtime = { name: "Node", isHere, open, functions };

/** Bun and Deno call themselves Node, too. */
function isHere(): boolean {
  const { process } = globalThis as unknown as { process?: { versions?: { node?: string } } };
  return process?.versions?.node !== undefined && !("Bun" in globalThis) && !("Deno" in globalThis);
}

const types: Record<CType, string> = { i32: "i32", u32: "u32", i64: "i64", usize: "u64", buffer: "buffer" };

function functions(path: string, signatures: Signatures): Functions {
  const wanted = Object.entries(signatures).map(([name, { args, returns }]) => [
    name,
    { arguments: args.map((arg) => types[arg]), return: types[returns] },
  ]);
  const { functions } = ffi().dlopen(path, Object.fromEntries(wanted));
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
  throw new Error(
    `there is no node:ffi here: it needs Node 26.1 or later, and this is ${versions.node}; the first versions of 26 need --experimental-ffi, too`,
  );
}

/** The functions that return a pointer: `node:ffi` has 0n for none. */
function withNull(functions: NodeFunctions): NodeFunctions {
  const names = Object.entries(symbols).filter(([, symbol]) => symbol.return === "pointer").map(([name]) => name);
  return Object.fromEntries(names.map((name) => {
    const call = functions[name]!;
    return [name, (...values: unknown[]) => call(...values) || null];
  }));
}

/** Whether libpool/v8.zig is made for this Node. */
function assertTested(): void {
  const { versions, config } = process();
  const isCaged = Boolean(config.variables["v8_enable_sandbox"] || config.variables["v8_enable_pointer_compression"]);
  if (TESTED.includes(versions.modules) && !isCaged) return;
  throw new Error(
    isCaged
      ? "this Node was built so that its arrays cannot show foreign memory (V8's sandbox): use another build"
      : `this version of arraypool was tested with Node 26, not with ${versions.node}: use a version of it that was`,
  );
}

function open(path: string): Native {
  const { functions } = ffi().dlopen(path, symbols);
  assertTested();
  const module = { exports: {} };
  process().dlopen(module, path);
  const { bufferOfV8, requests, ...calls } = module.exports as Module;
  // The count itself, in the memory of this realm's event loop.
  const inFlight = bufferOfV8 && new Uint32Array(bufferOfV8(requests(), 4, 0));
  if (inFlight === undefined) {
    throw new Error("this build of Node lacks the functions of V8 that addons use: use the one of nodejs.org");
  }
  const fast = Object.fromEntries(hot.map((name) => [name, calls[name]]));

  const library = { ...functions, ...fast, ...withNull(functions) } as unknown as Library;

  return {
    library,
    runtime: AP_RUNTIME_NODE,
    largestBufferBytes: Infinity,
    isMainThread: process().getBuiltinModule("node:worker_threads").isMainThread,
    // In Node a pointer is a bigint.
    address: (pointer) => Number(pointer as unknown as bigint),
    buffer: bufferOfV8,
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
  return watch === undefined ? undefined : { sleep: () => {}, close: () => module.unwatch(watch) };
}
