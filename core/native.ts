/**
 * What a runtime has to provide: the C library's functions, and five things that JavaScript has no common word for.
 * `bun/ffi.ts`, `deno/ffi.ts` and `node/ffi.ts` are the implementations.
 */

/** An address, as the runtime's FFI passes it. */
export type Pointer = { readonly __pointer: unique symbol };

/** A type as C names it: a `pointer` is an address that C gave, a `buffer` bytes of JavaScript. */
export type CType = "i32" | "u32" | "i64" | "usize" | "f64" | "pointer" | "buffer" | "void";

/** What functions of a library take and return, by their names there. */
export type Signatures = Readonly<Record<string, { readonly args: readonly CType[]; readonly returns: CType }>>;

/** The functions of libpool/arraypool.h but for those that look from outside, by their names there. */
export interface Library {
  ap_abi_version(): number;
  ap_pool_create(
    name: Uint8Array | null,
    capacityBytes: number,
    claimTtlMs: number,
    runtime: number,
    report: Float64Array,
  ): Pointer | null;
  ap_pool_open(name: Uint8Array, nonce: Uint8Array | null, runtime: number, report: Float64Array): Pointer | null;
  ap_pool_open_or_create(
    name: Uint8Array,
    capacityBytes: number,
    claimTtlMs: number,
    runtime: number,
    report: Float64Array,
  ): Pointer | null;
  ap_pool_close(pool: Pointer, keepRange: number): number;
  ap_exit(name: Uint8Array): number;
  ap_pool_record(pool: Pointer): Pointer;
  ap_pool_info(pool: Pointer): number;
  ap_pool_name(pool: Pointer, name: Uint8Array): number;
  ap_pool_nonce(pool: Pointer, nonce: Uint8Array): number;
  ap_block_alloc(pool: Pointer, lengthBytes: number, dtype: number, how: number): number;
  ap_trace_open(pool: Pointer, lengthBytes: number): number;
  ap_block_attach(pool: Pointer, block: number, generation: number, claim: number): number;
  ap_block_share(pool: Pointer, block: number): number;
  ap_block_prefault(pool: Pointer, block: number, offsetBytes: number, lengthBytes: number): number;
  ap_block_retain(pool: Pointer, block: number): number;
  ap_block_release(pool: Pointer, block: number, shown: number): number;
  ap_block_settle(pool: Pointer, block: number): number;
  ap_block_show(pool: Pointer, block: number): number;
  ap_block_show_nothing(pool: Pointer, block: number): number;
  ap_block_spare(pool: Pointer, block: number, isUsed: number): void;
  ap_block_shown(pool: Pointer, block: number): number;
  ap_claim_create(pool: Pointer, block: number, attaches: number, ttlMs: number): number;
  ap_claim_drop(pool: Pointer, block: number, generation: number, claim: number, attaches: number): number;
  ap_word_wait(pool: Pointer, block: number, offset: number, expected: number, timeoutMs: number): number;
  ap_word_wait_on(pool: Pointer): number;
  ap_word_notify(pool: Pointer, block: number, offset: number, count: number): number;
  ap_word_unfenced(pool: Pointer): number;
  ap_word_watch(pool: Pointer, block: number, offset: number, expected: number): number;
  ap_word_unwatch(pool: Pointer, waiter: number): number;
  ap_doorbell_take(pool: Pointer, waiters: Uint32Array, max: number): number;
  ap_doorbell_look(pool: Pointer): number;
  ap_doorbell_park(pool: Pointer): number;
  ap_doorbell_unpark(pool: Pointer): number;
  ap_doorbell_open(pool: Pointer): number;
  ap_doorbell_ring(pool: Pointer): number;
  ap_name_set(pool: Pointer, key: Uint8Array, keyBytes: number, value: Uint8Array): number;
  ap_name_get(pool: Pointer, key: Uint8Array, keyBytes: number, value: Uint8Array): number;
  ap_name_has(pool: Pointer, key: Uint8Array, keyBytes: number): number;
  ap_name_delete(pool: Pointer, key: Uint8Array, keyBytes: number): number;
  ap_name_list(pool: Pointer, from: number, names: Uint8Array, max: number): number;
  ap_once_begin(pool: Pointer, key: Uint8Array, keyBytes: number, timeoutMs: number): number;
  ap_once_watch(pool: Pointer): number;
  ap_once_end(pool: Pointer, key: Uint8Array, keyBytes: number, value: Uint8Array | null): number;
  ap_channel_create(pool: Pointer, capacity: number, messageBytesMax: number): number;
  ap_channel_enter(pool: Pointer, block: number): number;
  ap_channel_send(
    pool: Pointer,
    block: number,
    image: Uint8Array,
    textBytes: number,
    arrays: number,
    timeoutMs: number,
  ): number;
  ap_channel_receive(
    pool: Pointer,
    block: number,
    into: Uint8Array,
    intoBytes: number,
    how: number,
    timeoutMs: number,
  ): number;
  ap_channel_acknowledge(pool: Pointer, block: number, entry: number, message: number, giveBack: number): number;
  ap_channel_start_waiting(pool: Pointer, block: number, side: number): number;
  ap_channel_stop_waiting(pool: Pointer, block: number, side: number): number;
  ap_channel_close(pool: Pointer, block: number): number;
  ap_channel_stats(pool: Pointer, block: number): number;
  ap_pool_reap(pool: Pointer): number;
  ap_pool_trim(pool: Pointer): number;
  ap_check(pool: Pointer, text: Uint8Array): number;
  ap_pool_stats(pool: Pointer): number;
  ap_block_list(pool: Pointer, from: number, blocks: Uint8Array, max: number): number;
  ap_member_list(pool: Pointer, members: Uint8Array, max: number): number;
  ap_sweep(): number;
}

/** See `Native.asyncContext`. */
export interface AsyncContext<T> {
  run<R>(store: T, callback: () => R): R;
  getStore(): T | undefined;
}

/** What wakes a member's event loop, and does not keep it alive. */
export interface Doorbell {
  /** The member is parked: `onRing` is to be called when somebody rings, perhaps also without. */
  sleep(): void;
  /** No more. The member is about to leave. */
  close(): void;
}

/** A runtime. */
export interface Native {
  readonly library: Library;
  /** `AP_RUNTIME_*`, as other members see it. */
  readonly runtime: number;
  /** The most that `buffer()` can show. */
  readonly largestBufferBytes: number;
  /** Whether this realm is that of the process, and no Worker's. */
  readonly isMainThread: boolean;

  /** A pointer as a number. */
  address(pointer: Pointer): number;
  /**
   * The memory at `address` as an ArrayBuffer. When nothing sees it through that any more, wherever the buffer was
   * transferred to and whatever native call uses it, `ap_buffer_gone(address, context)` is called; not if `context` is 0.
   */
  buffer(address: number, byteLength: number, context: number): ArrayBuffer;
  /**
   * Detaches what `buffer()` has made, unless it is pinned, and returns a new ArrayBuffer on the same memory, for which
   * `ap_buffer_gone` is called instead. Undefined where a native call may then still use the memory, and nothing tells.
   */
  readonly takeOver: ((buffer: ArrayBuffer, byteLength: number) => ArrayBuffer) | undefined;
  /**
   * Whether a native call of this realm is in flight that may use the memory of an array without keeping its buffer; false
   * where the runtime's calls keep it.
   */
  callsInFlight(): boolean;
  /** Lets the garbage collector feel that `bytes` of foreign memory wait for it. */
  weigh(bytes: number): void;
  /** Calls `callback` once after `delayMs`, without keeping the process alive for it. */
  later(callback: () => void, delayMs: number): void;
  /** Calls `callback` in the next turn of the event loop. */
  nextTurn(callback: () => void): void;
  /** Keeps the process alive until the function it returns is called. */
  keepAlive(): () => void;
  /**
   * How a member's event loop is woken. `address`: of the word on which ap_doorbell_sleep sleeps. Undefined if it cannot be
   * woken.
   */
  openDoorbell(pool: Pointer, address: number, onRing: () => void): Doorbell | undefined;
  /** Calls `callback` when this realm ends in good order. */
  atExit(callback: () => void): void;
  /** A value that code knows which was called with it, through whatever it awaits: `AsyncLocalStorage`. */
  asyncContext<T>(): AsyncContext<T>;
  /** An environment variable; undefined also where reading it would need a permission that was not granted. */
  environment(name: string): string | undefined;
}

let load: (() => Native) | undefined;
let loaded: Native | undefined;

/** Tells how to load the runtime; called once, by the module that a program imports. */
export function setLoader(loader: () => Native): void {
  load = loader;
}

/** The runtime, loaded at the first call. @throws {PoolError} `ERR_LIBRARY` if the library is missing or another version. */
export function native(): Native {
  return loaded ??= load!();
}
