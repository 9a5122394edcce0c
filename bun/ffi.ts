/** Bun: the symbol table of the C library, and the interface of `core/native.ts` over `bun:ffi`. */

import { ballastFor } from "./ballast.ts";
import { AP_RUNTIME_BUN } from "../core/abi.ts";
import type { AsyncContext, Doorbell, Library, Native, Pointer } from "../core/native.ts";
import type { CType, Functions, Signatures } from "../library/libc.ts";
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
}
interface BunProcess {
  readonly env: Record<string, string | undefined>;
  getBuiltinModule(id: "bun:ffi"): BunFfi;
  getBuiltinModule(id: "node:async_hooks"): { AsyncLocalStorage: new <T>() => AsyncContext<T> };
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

const symbols = {
  // uint32_t ap_abi_version(void);
  ap_abi_version: { args: [], returns: "u32" },
  // ap_pool *ap_pool_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_create: { args: ["ptr", "f64", "f64", "u32", "ptr"], returns: "ptr" },
  // ap_pool *ap_pool_open(const char *name, const char *nonce, uint32_t runtime, double *report);
  ap_pool_open: { args: ["ptr", "ptr", "u32", "ptr"], returns: "ptr" },
  // ap_pool *ap_pool_open_or_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);
  ap_pool_open_or_create: { args: ["ptr", "f64", "f64", "u32", "ptr"], returns: "ptr" },
  // int32_t ap_pool_close(ap_pool *pool, uint32_t keep_range);
  ap_pool_close: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_exit(const char *name);
  ap_exit: { args: ["ptr"], returns: "i32" },
  // double *ap_pool_record(ap_pool *pool);
  ap_pool_record: { args: ["ptr"], returns: "ptr" },
  // int32_t ap_pool_info(ap_pool *pool);
  ap_pool_info: { args: ["ptr"], returns: "i32" },
  // int32_t ap_pool_name(ap_pool *pool, char *name);
  ap_pool_name: { args: ["ptr", "ptr"], returns: "i32" },
  // int32_t ap_pool_nonce(ap_pool *pool, char *nonce);
  ap_pool_nonce: { args: ["ptr", "ptr"], returns: "i32" },
  // int32_t ap_block_alloc(ap_pool *pool, double length_bytes, uint32_t dtype, uint32_t how);
  ap_block_alloc: { args: ["ptr", "f64", "u32", "u32"], returns: "i32" },
  // int32_t ap_trace_open(ap_pool *pool, double length_bytes);
  ap_trace_open: { args: ["ptr", "f64"], returns: "i32" },
  // int32_t ap_block_attach(ap_pool *pool, uint32_t block, double generation, double claim);
  ap_block_attach: { args: ["ptr", "u32", "f64", "f64"], returns: "i32" },
  // int32_t ap_block_share(ap_pool *pool, uint32_t block);
  ap_block_share: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_block_retain(ap_pool *pool, uint32_t block);
  ap_block_retain: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_block_release(ap_pool *pool, uint32_t block, uint32_t shown);
  ap_block_release: { args: ["ptr", "u32", "u32"], returns: "i32" },
  // int32_t ap_block_settle(ap_pool *pool, uint32_t block);
  ap_block_settle: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_block_show_nothing(ap_pool *pool, uint32_t block);
  ap_block_show_nothing: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_block_shown(ap_pool *pool, uint32_t block);
  ap_block_shown: { args: ["ptr", "u32"], returns: "i32" },
  // void ap_buffer_gone(void *bytes, void *context);
  ap_buffer_gone: { args: ["ptr", "ptr"], returns: "void" },
  // int32_t ap_claim_create(ap_pool *pool, uint32_t block, uint32_t attaches, double ttl_ms);
  ap_claim_create: { args: ["ptr", "u32", "u32", "f64"], returns: "i32" },
  // int32_t ap_claim_drop(ap_pool *pool, uint32_t block, double generation, double claim, uint32_t attaches);
  ap_claim_drop: { args: ["ptr", "u32", "f64", "f64", "u32"], returns: "i32" },
  // int32_t ap_word_wait(ap_pool *pool, uint32_t block, double offset, uint32_t expected, double timeout_ms);
  ap_word_wait: { args: ["ptr", "u32", "f64", "u32", "f64"], returns: "i32" },
  // int32_t ap_word_wait_on(ap_pool *pool);
  ap_word_wait_on: { args: ["ptr"], returns: "i32" },
  // int32_t ap_word_notify(ap_pool *pool, uint32_t block, double offset, uint32_t count);
  ap_word_notify: { args: ["ptr", "u32", "f64", "u32"], returns: "i32" },
  // int32_t ap_word_watch(ap_pool *pool, uint32_t block, double offset, uint32_t expected);
  ap_word_watch: { args: ["ptr", "u32", "f64", "u32"], returns: "i32" },
  // int32_t ap_word_unwatch(ap_pool *pool, uint32_t waiter);
  ap_word_unwatch: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_doorbell_take(ap_pool *pool, uint32_t *waiters, uint32_t max);
  ap_doorbell_take: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  // int32_t ap_doorbell_look(ap_pool *pool);
  ap_doorbell_look: { args: ["ptr"], returns: "i32" },
  // int32_t ap_doorbell_park(ap_pool *pool);
  ap_doorbell_park: { args: ["ptr"], returns: "i32" },
  // int32_t ap_doorbell_unpark(ap_pool *pool);
  ap_doorbell_unpark: { args: ["ptr"], returns: "i32" },
  // int32_t ap_doorbell_open(ap_pool *pool);
  ap_doorbell_open: { args: ["ptr"], returns: "i32" },
  // int32_t ap_doorbell_ring(ap_pool *pool);
  ap_doorbell_ring: { args: ["ptr"], returns: "i32" },
  // int32_t ap_name_set(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_name_set: { args: ["ptr", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_name_get(ap_pool *pool, const char *key, uint32_t key_bytes, ap_name_value *value);
  ap_name_get: { args: ["ptr", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_name_has(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_has: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  // int32_t ap_name_delete(ap_pool *pool, const char *key, uint32_t key_bytes);
  ap_name_delete: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  // int32_t ap_name_list(ap_pool *pool, uint32_t from, ap_name_info *names, uint32_t max);
  ap_name_list: { args: ["ptr", "u32", "ptr", "u32"], returns: "i32" },
  // int32_t ap_once_begin(ap_pool *pool, const char *key, uint32_t key_bytes, double timeout_ms);
  ap_once_begin: { args: ["ptr", "ptr", "u32", "f64"], returns: "i32" },
  // int32_t ap_once_watch(ap_pool *pool);
  ap_once_watch: { args: ["ptr"], returns: "i32" },
  // int32_t ap_once_end(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);
  ap_once_end: { args: ["ptr", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_channel_create(ap_pool *pool, uint32_t capacity, uint32_t message_bytes_max);
  ap_channel_create: { args: ["ptr", "u32", "u32"], returns: "i32" },
  // int32_t ap_channel_enter(ap_pool *pool, uint32_t block);
  ap_channel_enter: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_channel_send(ap_pool *pool, uint32_t block, const uint8_t *image, uint32_t text_bytes, uint32_t arrays, uint32_t timeout_ms);
  ap_channel_send: { args: ["ptr", "u32", "ptr", "u32", "u32", "u32"], returns: "i32" },
  // int32_t ap_channel_receive(ap_pool *pool, uint32_t block, uint8_t *into, uint32_t into_bytes, uint32_t how, uint32_t timeout_ms);
  ap_channel_receive: { args: ["ptr", "u32", "ptr", "u32", "u32", "u32"], returns: "i32" },
  // int32_t ap_channel_acknowledge(ap_pool *pool, uint32_t block, uint32_t entry, double message, uint32_t give_back);
  ap_channel_acknowledge: { args: ["ptr", "u32", "u32", "f64", "u32"], returns: "i32" },
  // int32_t ap_channel_start_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_start_waiting: { args: ["ptr", "u32", "u32"], returns: "i32" },
  // int32_t ap_channel_stop_waiting(ap_pool *pool, uint32_t block, uint32_t side);
  ap_channel_stop_waiting: { args: ["ptr", "u32", "u32"], returns: "i32" },
  // int32_t ap_channel_close(ap_pool *pool, uint32_t block);
  ap_channel_close: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_channel_stats(ap_pool *pool, uint32_t block);
  ap_channel_stats: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_pool_reap(ap_pool *pool);
  ap_pool_reap: { args: ["ptr"], returns: "i32" },
  // int32_t ap_pool_trim(ap_pool *pool);
  ap_pool_trim: { args: ["ptr"], returns: "i32" },
  // int32_t ap_check(ap_pool *pool, char *text);
  ap_check: { args: ["ptr", "ptr"], returns: "i32" },
  // int32_t ap_pool_stats(ap_pool *pool);
  ap_pool_stats: { args: ["ptr"], returns: "i32" },
  // int32_t ap_block_list(ap_pool *pool, uint32_t from, ap_block_info *blocks, uint32_t max);
  ap_block_list: { args: ["ptr", "u32", "ptr", "u32"], returns: "i32" },
  // int32_t ap_member_list(ap_pool *pool, ap_member_info *members, uint32_t max);
  ap_member_list: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  // int32_t ap_sweep(void);
  ap_sweep: { args: [], returns: "i32" },
  // int32_t ap_pool_names(char *names, uint32_t max);
  ap_pool_names: { args: ["ptr", "u32"], returns: "i32" },
  // int32_t ap_pool_remove(const char *name, uint32_t force, double *report);
  ap_pool_remove: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  // ap_look *ap_look_open(const char *name, double *report);
  ap_look_open: { args: ["ptr", "ptr"], returns: "ptr" },
  // void ap_look_close(ap_look *look);
  ap_look_close: { args: ["ptr"], returns: "void" },
  // int32_t ap_look_take(ap_look *look, uint32_t tries, double *facts);
  ap_look_take: { args: ["ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_look_blocks(ap_look *look, uint32_t from, ap_block_info *blocks, uint32_t max, double *next);
  ap_look_blocks: { args: ["ptr", "u32", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_look_members(ap_look *look, ap_look_member *members, uint32_t max);
  ap_look_members: { args: ["ptr", "ptr", "u32"], returns: "i32" },
  // int32_t ap_look_read(ap_look *look, uint32_t block, double generation, double offset, void *into, uint32_t bytes);
  ap_look_read: { args: ["ptr", "u32", "f64", "f64", "ptr", "u32"], returns: "i32" },
  // int32_t ap_look_command(ap_look *look, uint32_t slot, char *text, uint32_t bytes);
  ap_look_command: { args: ["ptr", "u32", "ptr", "u32"], returns: "i32" },
  // int32_t ap_look_claims(ap_look *look, uint32_t from, ap_look_claim *claims, uint32_t max, double *next);
  ap_look_claims: { args: ["ptr", "u32", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_look_names(ap_look *look, uint32_t from, ap_look_name *names, uint32_t max, double *next);
  ap_look_names: { args: ["ptr", "u32", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_look_channels(ap_look *look, uint32_t from, ap_look_channel *channels, uint32_t max, double *next);
  ap_look_channels: { args: ["ptr", "u32", "ptr", "u32", "ptr"], returns: "i32" },
  // int32_t ap_look_picture(ap_look *look, double first_bytes, double *cells, uint32_t count);
  ap_look_picture: { args: ["ptr", "f64", "ptr", "u32"], returns: "i32" },
  // int32_t ap_look_check(ap_look *look, uint32_t tries, char *text);
  ap_look_check: { args: ["ptr", "u32", "ptr"], returns: "i32" },
};

/** Bun. */
export const bun: Runtime = { name: "Bun", isHere: () => "Bun" in globalThis, open, functions };

const types: Record<CType, string> = { i32: "i32", u32: "u32", i64: "i64", usize: "usize", buffer: "ptr" };

function functions(path: string, signatures: Signatures): Functions {
  const wanted = Object.entries(signatures).map(([name, { args, returns }]) => [
    name,
    { args: args.map((arg) => types[arg]), returns: types[returns] },
  ]);
  return builtin().ffi.dlopen(path, Object.fromEntries(wanted)).symbols as unknown as Functions;
}

function builtin(): { process: BunProcess; ffi: BunFfi } {
  const process = (globalThis as unknown as { process: BunProcess }).process;
  return { process, ffi: process.getBuiltinModule("bun:ffi") };
}

function open(path: string): Native {
  const { process, ffi } = builtin();
  const library = ffi.dlopen(path, symbols).symbols;
  const bufferGone = library["ap_buffer_gone"]!.ptr;
  const later = (callback: () => void, delayMs: number) => setTimeout(callback, delayMs).unref();
  const count = ballastFor(later);

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
 * Bun has no native calls that do not block. But its event loop watches any socket by descriptor, also one of datagrams,
 * and closes it when a Worker is terminated.
 */
function openDoorbell(library: Library, pool: Pointer, onRing: () => void): Doorbell | undefined {
  const fd = library.ap_doorbell_open(pool);
  if (fd < 0) return undefined;
  const { Bun } = globalThis as unknown as { Bun: BunSockets };
  const opened = Bun.connect({ fd, socket: { data: onRing } });
  void opened.then((socket) => socket.unref());
  return { sleep: () => {}, close: () => void opened.then((socket) => socket.terminate()) };
}
