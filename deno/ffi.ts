/** Deno: the symbol table of the C library, and the interface of `core/native.ts` over `Deno.dlopen`. */

import { AP_RUNTIME_DENO } from "../core/abi.ts";
import type { AsyncContext, Doorbell, Library, Native, Pointer } from "../core/native.ts";
import type { CType, Functions, Signatures } from "../library/libc.ts";
import type { Runtime } from "../library/load.ts";

// What is used of Deno, written out: so that neither Bun nor a program's own compiler needs Deno's types.
interface DenoFfi {
  readonly env: { get(name: string): string | undefined };
  readonly permissions: { querySync(descriptor: { name: "env"; variable: string }): { readonly state: string } };
  readonly UnsafePointer: { value(pointer: Pointer): bigint; create(address: bigint): Pointer };
  /** Deno's own way into itself. */
  readonly internal: symbol;
  dlopen(
    path: string,
    symbols: Record<string, { parameters: string[]; result: string; nonblocking?: boolean }>,
  ): { symbols: Record<string, unknown> };
  unrefTimer(id: unknown): void;
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

const symbols = {
  // uint32_t ap_abi_version(void);
  ap_abi_version: { parameters: [], result: "u32" },
  // ap_pool *ap_pool_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_create: { parameters: ["buffer", "f64", "f64", "u32", "buffer"], result: "pointer" },
  // ap_pool *ap_pool_open(const char *name, const char *nonce, uint32_t runtime, double *report);
  ap_pool_open: { parameters: ["buffer", "buffer", "u32", "buffer"], result: "pointer" },
  // ap_pool *ap_pool_open_or_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_open_or_create: { parameters: ["buffer", "f64", "f64", "u32", "buffer"], result: "pointer" },
  // int32_t ap_pool_close(ap_pool *pool, uint32_t keep_range);
  ap_pool_close: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_exit(const char *name);
  ap_exit: { parameters: ["buffer"], result: "i32" },
  // double *ap_pool_record(ap_pool *pool);
  ap_pool_record: { parameters: ["pointer"], result: "pointer" },
  // int32_t ap_pool_info(ap_pool *pool);
  ap_pool_info: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_pool_name(ap_pool *pool, char *name);
  ap_pool_name: { parameters: ["pointer", "buffer"], result: "i32" },
  // int32_t ap_pool_nonce(ap_pool *pool, char *nonce);
  ap_pool_nonce: { parameters: ["pointer", "buffer"], result: "i32" },
  // int32_t ap_block_alloc(ap_pool *pool, double length_bytes, uint32_t dtype, uint32_t how);
  ap_block_alloc: { parameters: ["pointer", "f64", "u32", "u32"], result: "i32" },
  // int32_t ap_trace_open(ap_pool *pool, double length_bytes);
  ap_trace_open: { parameters: ["pointer", "f64"], result: "i32" },
  // int32_t ap_block_attach(ap_pool *pool, uint32_t block, double generation, double claim);
  ap_block_attach: { parameters: ["pointer", "u32", "f64", "f64"], result: "i32" },
  // int32_t ap_block_share(ap_pool *pool, uint32_t block);
  ap_block_share: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_block_retain(ap_pool *pool, uint32_t block);
  ap_block_retain: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_block_release(ap_pool *pool, uint32_t block, uint32_t shown);
  ap_block_release: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int32_t ap_block_settle(ap_pool *pool, uint32_t block);
  ap_block_settle: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_block_show_nothing(ap_pool *pool, uint32_t block);
  ap_block_show_nothing: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_block_shown(ap_pool *pool, uint32_t block);
  ap_block_shown: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_claim_create(ap_pool *pool, uint32_t block, uint32_t attaches, double ttl_ms);
  ap_claim_create: { parameters: ["pointer", "u32", "u32", "f64"], result: "i32" },
  // int32_t ap_claim_drop(ap_pool *pool, uint32_t block, double generation, double claim, uint32_t attaches);
  ap_claim_drop: { parameters: ["pointer", "u32", "f64", "f64", "u32"], result: "i32" },
  // int32_t ap_word_wait(ap_pool *pool, uint32_t block, double offset, uint32_t expected, double timeout_ms);
  ap_word_wait: { parameters: ["pointer", "u32", "f64", "u32", "f64"], result: "i32" },
  // int32_t ap_word_wait_on(ap_pool *pool);
  ap_word_wait_on: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_word_notify(ap_pool *pool, uint32_t block, double offset, uint32_t count);
  ap_word_notify: { parameters: ["pointer", "u32", "f64", "u32"], result: "i32" },
  // int32_t ap_word_watch(ap_pool *pool, uint32_t block, double offset, uint32_t expected);
  ap_word_watch: { parameters: ["pointer", "u32", "f64", "u32"], result: "i32" },
  // int32_t ap_word_unwatch(ap_pool *pool, uint32_t waiter);
  ap_word_unwatch: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_doorbell_take(ap_pool *pool, uint32_t *waiters, uint32_t max);
  ap_doorbell_take: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int32_t ap_doorbell_look(ap_pool *pool);
  ap_doorbell_look: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_doorbell_park(ap_pool *pool);
  ap_doorbell_park: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_doorbell_unpark(ap_pool *pool);
  ap_doorbell_unpark: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_doorbell_sleep(void *address);
  ap_doorbell_sleep: { parameters: ["pointer"], result: "i32", nonblocking: true },
  // int32_t ap_doorbell_open(ap_pool *pool);
  ap_doorbell_open: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_doorbell_ring(ap_pool *pool);
  ap_doorbell_ring: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_name_set(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_name_set: { parameters: ["pointer", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_name_get(ap_pool *pool, const char *key, uint32_t key_bytes, ap_name_value *value);
  ap_name_get: { parameters: ["pointer", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_name_has(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_has: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int32_t ap_name_delete(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_delete: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int32_t ap_name_list(ap_pool *pool, uint32_t from, ap_name_info *names, uint32_t max);
  ap_name_list: { parameters: ["pointer", "u32", "buffer", "u32"], result: "i32" },
  // int32_t ap_once_begin(ap_pool *pool, const char *key, uint32_t key_bytes, double timeout_ms);
  ap_once_begin: { parameters: ["pointer", "buffer", "u32", "f64"], result: "i32" },
  // int32_t ap_once_watch(ap_pool *pool);
  ap_once_watch: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_once_end(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_once_end: { parameters: ["pointer", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_channel_create(ap_pool *pool, uint32_t capacity, uint32_t message_bytes_max);
  ap_channel_create: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int32_t ap_channel_enter(ap_pool *pool, uint32_t block);
  ap_channel_enter: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_channel_send(ap_pool *pool, uint32_t block, const uint8_t *image, uint32_t text_bytes, uint32_t arrays, uint32_t timeout_ms);
  ap_channel_send: { parameters: ["pointer", "u32", "buffer", "u32", "u32", "u32"], result: "i32" },
  // int32_t ap_channel_receive(ap_pool *pool, uint32_t block, uint8_t *into, uint32_t into_bytes, uint32_t how, uint32_t timeout_ms);
  ap_channel_receive: { parameters: ["pointer", "u32", "buffer", "u32", "u32", "u32"], result: "i32" },
  // int32_t ap_channel_acknowledge(ap_pool *pool, uint32_t block, uint32_t entry, double message, uint32_t give_back);
  ap_channel_acknowledge: { parameters: ["pointer", "u32", "u32", "f64", "u32"], result: "i32" },
  // int32_t ap_channel_start_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_start_waiting: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int32_t ap_channel_stop_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_stop_waiting: { parameters: ["pointer", "u32", "u32"], result: "i32" },
  // int32_t ap_channel_close(ap_pool *pool, uint32_t block);
  ap_channel_close: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_channel_stats(ap_pool *pool, uint32_t block);
  ap_channel_stats: { parameters: ["pointer", "u32"], result: "i32" },
  // int32_t ap_pool_reap(ap_pool *pool);
  ap_pool_reap: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_pool_trim(ap_pool *pool);
  ap_pool_trim: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_check(ap_pool *pool, char *text);
  ap_check: { parameters: ["pointer", "buffer"], result: "i32" },
  // int32_t ap_pool_stats(ap_pool *pool);
  ap_pool_stats: { parameters: ["pointer"], result: "i32" },
  // int32_t ap_block_list(ap_pool *pool, uint32_t from, ap_block_info *blocks, uint32_t max);
  ap_block_list: { parameters: ["pointer", "u32", "buffer", "u32"], result: "i32" },
  // int32_t ap_member_list(ap_pool *pool, ap_member_info *members, uint32_t max);
  ap_member_list: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int32_t ap_sweep(void);
  ap_sweep: { parameters: [], result: "i32" },
  // int32_t ap_pool_names(char *names, uint32_t max);
  ap_pool_names: { parameters: ["buffer", "u32"], result: "i32" },
  // int32_t ap_pool_remove(const char *name, uint32_t force, double *report);
  ap_pool_remove: { parameters: ["buffer", "u32", "buffer"], result: "i32" },
  // ap_look *ap_look_open(const char *name, double *report);
  ap_look_open: { parameters: ["buffer", "buffer"], result: "pointer" },
  // void ap_look_close(ap_look *look);
  ap_look_close: { parameters: ["pointer"], result: "void" },
  // int32_t ap_look_take(ap_look *look, uint32_t tries, double *facts);
  ap_look_take: { parameters: ["pointer", "u32", "buffer"], result: "i32" },
  // int32_t ap_look_blocks(ap_look *look, uint32_t from, ap_block_info *blocks, uint32_t max, double *next);
  ap_look_blocks: { parameters: ["pointer", "u32", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_look_members(ap_look *look, ap_look_member *members, uint32_t max);
  ap_look_members: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int32_t ap_look_read(ap_look *look, uint32_t block, double generation, double offset, void *into, uint32_t bytes);
  ap_look_read: { parameters: ["pointer", "u32", "f64", "f64", "buffer", "u32"], result: "i32" },
  // int32_t ap_look_command(ap_look *look, uint32_t slot, char *text, uint32_t bytes);
  ap_look_command: { parameters: ["pointer", "u32", "buffer", "u32"], result: "i32" },
  // int32_t ap_look_claims(ap_look *look, uint32_t from, ap_look_claim *claims, uint32_t max, double *next);
  ap_look_claims: { parameters: ["pointer", "u32", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_look_names(ap_look *look, uint32_t from, ap_look_name *names, uint32_t max, double *next);
  ap_look_names: { parameters: ["pointer", "u32", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_look_channels(ap_look *look, uint32_t from, ap_look_channel *channels, uint32_t max, double *next);
  ap_look_channels: { parameters: ["pointer", "u32", "buffer", "u32", "buffer"], result: "i32" },
  // int32_t ap_look_picture(ap_look *look, double first_bytes, double *cells, uint32_t count);
  ap_look_picture: { parameters: ["pointer", "f64", "buffer", "u32"], result: "i32" },
  // int32_t ap_look_check(ap_look *look, uint32_t tries, char *text);
  ap_look_check: { parameters: ["pointer", "u32", "buffer"], result: "i32" },
};

/** What is not in Library, since not every runtime can call it. */
interface Sleeper extends Library {
  ap_doorbell_sleep(address: Pointer): Promise<number>;
}

/** Deno. */
export const deno: Runtime = { name: "Deno", isHere: () => "Deno" in globalThis, open, functions };

const types: Record<CType, string> = { i32: "i32", u32: "u32", i64: "i64", usize: "usize", buffer: "buffer" };

function functions(path: string, signatures: Signatures): Functions {
  const wanted = Object.entries(signatures).map(([name, { args, returns }]) => [
    name,
    { parameters: args.map((arg) => types[arg]), result: types[returns] },
  ]);
  return ffi().dlopen(path, Object.fromEntries(wanted)).symbols as Functions;
}

function ffi(): DenoFfi {
  return (globalThis as unknown as { Deno: DenoFfi }).Deno;
}

function open(path: string): Native {
  const Deno = ffi();
  const library = Deno.dlopen(path, symbols).symbols;
  // Not Deno.UnsafePointerView: it does not tell when its buffers are gone, and Node-API does.
  const module = { exports: {} };
  const { process } = globalThis as unknown as { process: DenoProcess };
  process.dlopen(module, path);
  const { buffer, wakeAtEnd } = module.exports as Module;
  wakeAtEnd(); // or two descriptors would stay open for each Worker that has ended

  return {
    library: library as unknown as Library,
    runtime: AP_RUNTIME_DENO,
    largestBufferBytes: Infinity,
    isMainThread: !("WorkerGlobalScope" in globalThis),
    address: (pointer) => Number(Deno.UnsafePointer.value(pointer)),
    buffer,
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
    nextTurn: setImmediate,
    keepAlive: () => {
      const timer = setInterval(() => {}, 2 ** 31 - 1);
      return () => clearInterval(timer);
    },
    openDoorbell: (pool, address, onRing) =>
      openDoorbell(Deno, library as unknown as Sleeper, module.exports as Module, pool, address, onRing),
    atExit: (callback) => addEventListener("unload", callback),
    asyncContext: <T>() => new (process.getBuiltinModule("node:async_hooks").AsyncLocalStorage)<T>(),
    environment: (name) =>
      Deno.permissions.querySync({ name: "env", variable: name }).state === "granted" ? Deno.env.get(name) : undefined,
  };
}

/**
 * A call on a thread of its own, which sleeps until somebody rings. It does not keep the process alive; when a Worker is
 * terminated, the library ends it (node_api.zig), since the Worker's thread would wait for it.
 */
function openDoorbell(
  Deno: DenoFfi,
  library: Sleeper,
  module: Module,
  pool: Pointer,
  address: number,
  onRing: () => void,
): Doorbell | undefined {
  const { core } = (Deno as unknown as Record<symbol, { core?: { unrefOpPromise?(promise: unknown): void } }>)[
    Deno.internal
  ] ?? {};
  if (core?.unrefOpPromise === undefined) return undefined;
  const word = Deno.UnsafePointer.create(BigInt(address));
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
      core.unrefOpPromise!(call);
      void call.then(woken);
    },
    close: () => {
      module.closeAtEnd(address);
      library.ap_doorbell_ring(pool);
    },
  };
}
