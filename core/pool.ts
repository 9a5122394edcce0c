/**
 * Pool: the public face of a member, and the register of the pools that this realm has open.
 *
 * A realm is in a pool at most once: whoever opens it again, or attaches a descriptor of it, gets the same Pool.
 */

import {
  AP_BLOCK_INFO,
  AP_ERR_CORRUPT,
  AP_ERR_NONCE,
  AP_KIND_ARRAY,
  AP_KIND_CHANNEL,
  AP_KIND_MESSAGE,
  AP_MEMBER_INFO,
  AP_MEMBERS_MAX,
  AP_STATS_ARRAYS,
  AP_STATS_BACKED,
  AP_STATS_CAPACITY,
  AP_STATS_CLAIMED,
  AP_STATS_CLAIMS,
  AP_STATS_LARGEST_FREE,
  AP_STATS_MEMBERS,
  AP_STATS_USED,
} from "./abi.ts";
import { type Channel, type ChannelOptions, createChannel } from "./channel.ts";
import { checkMilliseconds, checkName, type PoolReference } from "./descriptor.ts";
import {
  type DType,
  elementTypeCoded,
  elementTypeNamed,
  elementTypeOf,
  elementTypeOfClass,
  type TypedArray,
  type TypedArrayClass,
} from "./dtype.ts";
import { checkOptions, PoolError, quote } from "./errors.ts";
import { failure, staleDescriptor } from "./failure.ts";
import { showAs } from "./inspect.ts";
import { join, Member, type Way } from "./member.ts";
import { deleteName, getName, hasName, listNames, once, onceAsync, setName } from "./names.ts";
import {
  allocate,
  assertNotReleased,
  isSharedArray,
  shapeOf,
  type SharedArray,
  type SharedView,
} from "./shared_array.ts";
import { type Shape, shapeLength } from "./shape.ts";
import { guardClones, tracing } from "./trace.ts";
import { type WaitAsyncOptions, waitInEventLoop } from "./wait_async.ts";
import { checkSignal, notify, waitBlocking, type WaitOptions, type WaitResult } from "./wait.ts";

/** How a pool is made. */
export interface PoolOptions {
  /** 1 to 30 of `A-Z a-z 0-9 . _ -`, a letter or digit first. Default random. */
  name?: string;
  /** Bytes, or a number with K, M, G (powers of 1024). Default the least of the machine's memory, the cgroup's limit and the size of /dev/shm. */
  capacity?: number | `${number}${"" | "K" | "M" | "G"}`;
  /** Milliseconds that a sent array is kept for who is to attach it. Default 60,000. */
  claimTtlMs?: number;
}

/** How much of a pool is used, and by what. */
export interface PoolStats {
  /** What arrays can take in all: the pool's capacity. */
  readonly capacityBytes: number;
  /** What the pool takes of /dev/shm now for arrays, used and free. */
  readonly backedBytes: number;
  /** What arrays take, each rounded up to a multiple of 64 bytes. */
  readonly usedBytes: number;
  /** The largest array for which there is room in the pool; /dev/shm may have less. */
  readonly largestFreeBytes: number;
  /** Of arrays that nobody holds: they are kept for messages that were not unpacked yet. */
  readonly claimedBytes: number;
  /**
   * Of arrays that this realm has let go of while somebody still sees their memory: the new owner of a buffer that was
   * transferred away, a plain view, a native call in flight. It is kept until nobody does, or this realm leaves.
   */
  readonly lentBytes: number;
  /** How many arrays. */
  readonly arrays: number;
  /** How many claims: one for each array in each message that was not unpacked yet. */
  readonly claims: number;
  /** How many members: processes, and Workers of their own, this one too. */
  readonly members: number;
}

/** One array of a pool, or something else that takes memory there. */
export interface BlockInfo {
  /** `"message"`: what a message in a channel carries that is too large for the channel itself. */
  readonly kind: "array" | "channel" | "message";
  /** Its place in the pool's table. */
  readonly block: number;
  /** Tells it from others that had its place before. */
  readonly generation: number;
  /** Bytes, as they were asked for. */
  readonly byteLength: number;
  /** Element type. */
  readonly dtype: DType;
  /** Slots of the members that hold it. */
  readonly holders: readonly number[];
  /** Claims and messages that keep it. */
  readonly claims: number;
  /** The name under which the pool keeps it; of several, the first in order. */
  readonly name?: string;
}

/** One member of a pool: a process's main thread, or a Worker. */
export interface MemberInfo {
  /** Its place in the pool's table. */
  readonly slot: number;
  /** Process. */
  readonly pid: number;
  /** Thread, as the operating system numbers it. */
  readonly threadId: number;
  /** When it joined. */
  readonly startedAt: Date;
  /** Whether it is this realm. */
  readonly self: boolean;
}

const BLOCK_KINDS: Readonly<Record<number, BlockInfo["kind"]>> = {
  [AP_KIND_ARRAY]: "array",
  [AP_KIND_CHANNEL]: "channel",
  [AP_KIND_MESSAGE]: "message",
};
const BYTES = elementTypeNamed("uint8");

const open = new Map<string, Pool>();

// Set by the class itself, whose constructor is private.
let poolOf: (member: Member) => Pool;
let memberOf: (pool: Pool) => Member;

/**
 * A pool of shared memory in which every process of one user allocates and frees arrays.
 *
 * @example
 * ```ts
 * import { Pool } from "arraypool";
 *
 * using pool = Pool.create({ capacity: "64M" });
 * using cube = pool.alloc(Float32Array, [10, 20, 30]);
 * cube.slab(3).fill(1);
 * console.log(pool.stats().arrays); // 1
 * ```
 */
export class Pool implements Disposable {
  readonly #member: Member;

  static {
    poolOf = (member) => new Pool(member);
    memberOf = (pool) => pool.#member;
  }

  private constructor(member: Member) {
    if (!(member instanceof Member)) throw new TypeError("use Pool.create(), Pool.open() or Pool.openOrCreate()");
    this.#member = member;
    member.pool = this;
    open.set(member.name, this);
    if (tracing()) guardClones(isSharedArray);
  }

  /**
   * Makes a pool and joins it. It takes memory as arrays are allocated, not before.
   *
   * @param options Its name, how large it may become, and how long what was sent is kept. All of them have defaults.
   * @throws {TypeError | RangeError} for an option that is none.
   * @throws {PoolError} `ERR_ALREADY_EXISTS`, `ERR_POOL_FULL`, `ERR_PERMISSION`, `ERR_SYSTEM`, `ERR_LIBRARY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create({ name: "prices", capacity: "16M", claimTtlMs: 10_000 });
   * console.log(pool.name, pool.capacityBytes); // prices 16777216
   * ```
   */
  static create(options: PoolOptions = {}): Pool {
    return poolOf(join({ how: "create", ...checkPoolOptions(options) }));
  }

  /**
   * Joins a pool that exists. In a realm that has it open already, gives that very Pool: whoever closes it, closes it for all
   * who have it there. So a program opens it once, and hands it on. What killed processes have left is no
   * pool any more, unless a message waits in it.
   *
   * @param name 1 to 30 of `A-Z a-z 0-9 . _ -`, a letter or digit first.
   * @throws {TypeError | RangeError} for a name that can be none.
   * @throws {PoolError} `ERR_NOT_FOUND`, `ERR_TOO_MANY_MEMBERS`, `ERR_POOL_BUSY`, `ERR_PERMISSION`, `ERR_LAYOUT_VERSION`, `ERR_CORRUPT_SEGMENT`, `ERR_SYSTEM`, `ERR_LIBRARY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * // In another process or Worker this is a member of its own; in the same one it is the same pool.
   * console.log(Pool.open(pool.name) === pool); // true
   * ```
   */
  static open(name: string): Pool {
    return opened(checkName(name)) ?? poolOf(join({ how: "open", name, nonce: undefined }));
  }

  /**
   * Joins the pool of that name, and makes it where there is none. The other options count only for who makes it: one that
   * is there keeps its capacity.
   *
   * @param options As for `create`, with a name.
   * @throws {PoolError} As `create` and `open`.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.openOrCreate({ name: "prices", capacity: "16M" });
   * using same = Pool.openOrCreate({ name: "prices", capacity: "4G" });
   * console.log(same === pool, same.capacityBytes); // true 16777216
   * ```
   */
  static openOrCreate(options: PoolOptions & { name: string }): Pool {
    const checked = checkPoolOptions(options);
    const name = checkName(checked.name);
    return opened(name) ?? poolOf(join({ how: "openOrCreate", ...checked, name }));
  }

  /** Its name, by which others open it. */
  get name(): string {
    return this.#member.name;
  }
  /** What arrays can take in all, in bytes. */
  get capacityBytes(): number {
    return this.#member.capacityBytes;
  }
  /** Whether it was closed in this realm. */
  get closed(): boolean {
    return this.#member.closed;
  }

  /**
   * Allocates an array of zeros.
   *
   * @param type The class, such as `Float64Array`.
   * @param shape Elements, or the length of each axis.
   * @returns The array, held here until it is released.
   * @throws {TypeError | RangeError} for what is no class of TypedArray, or no shape.
   * @throws {PoolError} `ERR_POOL_FULL`, `ERR_ARRAY_TOO_LARGE`, `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using cube = pool.alloc(Float64Array, [10, 20, 50]);
   * cube[0] = 42;
   * console.log(cube.length, cube.shape); // 10000 [ 10, 20, 50 ]
   * ```
   */
  alloc<T extends TypedArray>(type: TypedArrayClass<T>, shape: Shape): SharedArray<T> {
    return allocate(this.#member, elementTypeOfClass(type), shape, true) as SharedArray<T>;
  }

  /**
   * Allocates an array with whatever was in its memory before: for arrays that are overwritten at once.
   *
   * @param type The class, such as `Float64Array`.
   * @param shape Elements, or the length of each axis.
   * @returns The array, held here until it is released.
   * @throws {PoolError} As `alloc`.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using noise = pool.allocUnsafe(Uint8Array, 1024);
   * crypto.getRandomValues(noise);
   * ```
   */
  allocUnsafe<T extends TypedArray>(type: TypedArrayClass<T>, shape: Shape): SharedArray<T> {
    return allocate(this.#member, elementTypeOfClass(type), shape, false) as SharedArray<T>;
  }

  /**
   * Copies an array in. A pool array, or a slice of one, keeps its shape.
   *
   * @param array Any TypedArray.
   * @param shape The length of each axis, with as many elements in all as the array has.
   * @returns A copy, held here until it is released.
   * @throws {TypeError | RangeError} for what is no TypedArray, or a shape that does not fit.
   * @throws {PoolError} As `alloc`; `ERR_RELEASED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using matrix = pool.from(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
   * console.log(matrix.slab(1)); // Float64Array(3) [ 4, 5, 6 ] in pool …
   * ```
   */
  from<T extends TypedArray>(array: T, shape?: readonly number[]): SharedArray<T> {
    const type = elementTypeOf(array);
    if (type === undefined) {
      throw new TypeError(`expected a TypedArray, such as Float64Array.from(values), instead of ${quote(array)}`);
    }
    if (isSharedArray(array)) assertNotReleased(array);
    else if (isDetached(array)) {
      throw new TypeError(`this ${type.className} is detached: its buffer was transferred away`);
    }
    const { length } = array;
    const wanted = shape ?? shapeOf(array) ?? length;
    if (shape !== undefined && !Array.isArray(shape)) {
      throw new TypeError(`a shape must be an array of lengths, not ${quote(shape)}`);
    }
    const elements = shapeLength(wanted);
    if (elements !== length) throw new RangeError(`a shape of ${elements} elements does not fit an array of ${length}`);
    const copy = allocate(this.#member, type, wanted, false);
    (copy as Uint8Array).set(array as unknown as Uint8Array);
    return copy as SharedArray<T>;
  }

  /**
   * Blocks the thread while an element is `expected`, until it is notified: `Atomics.wait`, across processes. The look at
   * the element and the sleep are one as far as `notify` is concerned, and what was written before `notify` is seen after.
   *
   * @param array An Int32Array or Uint32Array of this pool, or a slice of one.
   * @param index Which element.
   * @param expected What it is to be for the wait to begin.
   * @returns `"ok"` when notified, `"not-equal"` when the element was something else, `"timed-out"`.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using state = pool.alloc(Int32Array, 1);
   * console.log(pool.wait(state, 0, 1)); // not-equal
   * console.log(pool.wait(state, 0, 0, { timeoutMs: 10 })); // timed-out
   * ```
   */
  wait(
    array: Int32Array | Uint32Array,
    index: number,
    expected: number,
    options: WaitOptions = {},
  ): WaitResult {
    return waitBlocking(this.#member, array, index, expected, options);
  }

  /**
   * As `wait`, without blocking: a promise. It does not keep the process alive, unless `ref` is true, and costs nothing
   * while nothing happens.
   *
   * @param array An Int32Array or Uint32Array of this pool, or a slice of one.
   * @param index Which element.
   * @param expected What it is to be for the wait to begin.
   * @returns As `wait`. It is rejected with the reason of `signal` when that is aborted, and with a PoolError when the array is
   * released or the pool closed (`ERR_RELEASED`, `ERR_CLOSED`).
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using state = pool.alloc(Int32Array, 1);
   * const woken = pool.waitAsync(state, 0, 0, { timeoutMs: 60_000, ref: true });
   * Atomics.store(state, 0, 1);
   * console.log(pool.notify(state, 0), await woken); // 1 ok
   * ```
   */
  // deno-lint-ignore require-await -- so that wrong arguments reject
  async waitAsync(
    array: Int32Array | Uint32Array,
    index: number,
    expected: number,
    options: WaitAsyncOptions = {},
  ): Promise<WaitResult> {
    return waitInEventLoop(this.#member, array, index, expected, options);
  }

  /**
   * Wakes those who wait for an element, those first who came first: `Atomics.notify`, across processes. Where nobody waits it
   * costs a few nanoseconds.
   *
   * @param array An Int32Array or Uint32Array of this pool, or a slice of one.
   * @param index Which element.
   * @param count How many at most. Default all.
   * @returns How many woke.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using state = pool.alloc(Int32Array, 1);
   * Atomics.store(state, 0, 1);
   * console.log(pool.notify(state, 0)); // 0
   * ```
   */
  notify(array: Int32Array | Uint32Array, index: number, count?: number): number {
    return notify(this.#member, array, index, count);
  }

  /**
   * Gives a name to an array, a slice, or a channel, for every process to `get`. The name takes a hold of its own, the caller keeps
   * his: so the array stays when all who held it have let go, left or died, until the name is deleted, set again, or the
   * last member leaves the pool. Whoever gets a name that is set again finds the old array or the new one.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @param array What is to have it.
   * @throws {TypeError | RangeError} for what is no name, and no array of this pool.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_POOL_FULL`, `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * const matrix = pool.from(Float64Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
   * pool.set("matrix", matrix);
   * pool.set("its last row", matrix.slab(2));
   * matrix.release();
   * using row = pool.get("its last row", Float64Array);
   * console.log(row); // Float64Array(2) [ 5, 6 ] in pool …
   * ```
   */
  set(name: string, array: SharedView | Channel): void {
    setName(this.#member, name, array);
  }

  /**
   * Holds the array, the slice, or the channel, that was set under a name.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @param type If given, the class that it must have.
   * @returns What has the name, held here until it is released; undefined if nothing has it.
   * @throws {TypeError} if its elements are of another type.
   * @throws {PoolError} `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using prices = pool.from(Float64Array.of(1, 2, 3));
   * pool.set("prices", prices);
   * // In another process or Worker it is the same memory, too.
   * using same = pool.get("prices", Float64Array)!;
   * same[0] = 42;
   * console.log(prices[0], pool.get("costs")); // 42 undefined
   * ```
   *
   * @example
   * ```ts
   * import { type Channel, Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * pool.set("jobs", pool.channel<{ id: number }>());
   * using jobs = pool.get<Channel<{ id: number }>>("jobs")!;
   * jobs.send({ id: 7 });
   * console.log(jobs.receive().id); // 7
   * ```
   */
  get<T extends TypedArray>(name: string, type: TypedArrayClass<T>): SharedArray<T> | undefined;
  get<T extends SharedArray | Channel = SharedArray>(name: string): T | undefined;
  get(name: string, type?: TypedArrayClass<TypedArray>): SharedArray | Channel | undefined {
    return getName(this.#member, name, type === undefined ? undefined : elementTypeOfClass(type));
  }

  /**
   * Whether an array, or a channel, is set under a name.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @throws {TypeError | RangeError} for what is no name.
   * @throws {PoolError} `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * pool.set("prices", pool.from(Float64Array.of(1, 2, 3)));
   * console.log(pool.has("prices"), pool.has("costs")); // true false
   * ```
   */
  has(name: string): boolean {
    return hasName(this.#member, name);
  }

  /**
   * Lets go of what is set under a name.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @returns Whether there was something.
   * @throws {PoolError} `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * pool.set("prices", pool.from(Float64Array.of(1, 2, 3)));
   * console.log(pool.has("prices"), pool.delete("prices"), pool.delete("prices")); // true true false
   * ```
   */
  delete(name: string): boolean {
    return deleteName(this.#member, name);
  }

  /**
   * Every name under which an array is set, in order.
   *
   * @throws {PoolError} `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using both = pool.from(Int32Array.of(1, 2));
   * for (const name of ["b", "a"]) pool.set(name, both);
   * console.log(pool.names()); // [ "a", "b" ]
   * ```
   */
  names(): string[] {
    return listNames(this.#member).map(({ name }) => name).sort();
  }

  /**
   * The array under a name, which `make` makes if there is none: by the first who asks, of all processes. The others wait
   * for it, asleep, and get it, too. If `make` throws, or its process dies, the next one makes it. A process that was only
   * stopped is waited for.
   *
   * Blocks the thread while another one makes it. Inside `make`, ask for other names only if nobody asks for them the
   * other way round: who waits for each other waits for ever.
   *
   * What has the name already is given as it is. That it has the element type that `make` would give it, TypeScript
   * takes for granted; where programs may differ, look at `array.dtype`, or use a name of its own for each type.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @param make Makes an array, or a channel, of the pool that it is given.
   * @returns What has the name, held here until it is released.
   * @throws {TypeError} if `make` returns something else than an array of this pool, or asks for the same name.
   * @throws {PoolError} `ERR_POOL_FULL`, `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.openOrCreate({ name: "tables" });
   * // In however many processes: computed once.
   * using squares = pool.once("squares", (pool) => {
   *   const table = pool.allocUnsafe(Float64Array, 1000);
   *   for (let i = 0; i < table.length; i++) table[i] = i * i;
   *   return table;
   * });
   * console.log(squares[30]); // 900
   * ```
   */
  once<T extends TypedArray>(name: string, make: (pool: Pool) => SharedArray<T>): SharedArray<T>;
  once<T>(name: string, make: (pool: Pool) => Channel<T>): Channel<T>;
  once(name: string, make: (pool: Pool) => SharedArray | Channel): SharedArray | Channel {
    return once(this.#member, name, make);
  }

  /**
   * `once()` for a `make` that is asynchronous; does not block the thread. An abort ends the waiting, or the making: then
   * the next one makes it, and what `make` still returns is released.
   *
   * @param name 1 to 128 bytes of UTF-8.
   * @param make As for `once`, with a promise.
   * @param options A signal, which ends the waiting, or the making, with its reason.
   * @returns A promise for what has the name, held here until it is released.
   * @throws {TypeError} As `once`.
   * @throws {PoolError} As `once`.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   * import { readFile } from "node:fs/promises";
   *
   * using pool = Pool.openOrCreate({ name: "files" });
   * const signal = AbortSignal.timeout(10_000);
   * using bytes = await pool.onceAsync("package", async (pool) => pool.from(await readFile("package.json")), { signal });
   * console.log(bytes[0]); // 123
   * ```
   */
  onceAsync<T extends TypedArray>(
    name: string,
    make: (pool: Pool) => PromiseLike<SharedArray<T>>,
    options?: { signal?: AbortSignal },
  ): Promise<SharedArray<T>>;
  onceAsync<T>(
    name: string,
    make: (pool: Pool) => PromiseLike<Channel<T>>,
    options?: { signal?: AbortSignal },
  ): Promise<Channel<T>>;
  async onceAsync(
    name: string,
    make: (pool: Pool) => PromiseLike<SharedArray | Channel>,
    options: { signal?: AbortSignal } = {},
  ): Promise<SharedArray | Channel> {
    const signal = checkSignal(checkOptions(options, ["signal"]).signal);
    return await onceAsync(this.#member, name, make, signal);
  }

  /**
   * Makes a channel: a queue of messages between all that are in the pool.
   *
   * @param options How many messages fit, and how many bytes each may have.
   * @returns The channel, held here until it is released.
   * @throws {TypeError | RangeError} for an option that is none.
   * @throws {PoolError} `ERR_POOL_FULL`, `ERR_ARRAY_TOO_LARGE` (for this pool), `ERR_POOL_BUSY`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using results = pool.channel<{ id: number; sum: number }>({ capacity: 100 });
   * results.send({ id: 1, sum: 6 });
   * console.log(results.receive().sum); // 6
   * ```
   */
  channel<T = unknown>(options: ChannelOptions = {}): Channel<T> {
    return createChannel(this.#member, options) as Channel<T>;
  }

  /**
   * How much of the pool is used, and by what.
   *
   * @throws {PoolError} `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create({ capacity: "16M" });
   * using array = pool.alloc(Uint8Array, 1024);
   * const { usedBytes, capacityBytes, arrays } = pool.stats();
   * console.log(usedBytes, capacityBytes, arrays, array.length); // 1024 16777216 1 1024
   * ```
   */
  stats(): PoolStats {
    const member = this.#member;
    member.settle();
    member.call((library, pool) => library.ap_pool_stats(pool));
    const at = (index: number) => member.record[index]!;
    return {
      capacityBytes: at(AP_STATS_CAPACITY),
      backedBytes: at(AP_STATS_BACKED),
      usedBytes: at(AP_STATS_USED),
      largestFreeBytes: at(AP_STATS_LARGEST_FREE),
      claimedBytes: at(AP_STATS_CLAIMED),
      lentBytes: member.lentBytes,
      arrays: at(AP_STATS_ARRAYS),
      claims: at(AP_STATS_CLAIMS),
      members: at(AP_STATS_MEMBERS),
    };
  }

  /**
   * Every array of the pool, by whomever it was made, and every channel.
   *
   * @throws {PoolError} `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using array = pool.alloc(Float32Array, [2, 3]);
   * for (const { dtype, byteLength, holders } of pool.blocks()) {
   *   console.log(dtype, byteLength, holders.length, array.shape); // float32 24 1 [ 2, 3 ]
   * }
   * ```
   */
  blocks(): BlockInfo[] {
    const member = this.#member;
    member.settle();
    const found: BlockInfo[] = [];
    const names = new Map<string, string>();
    for (const { name, block, generation } of listNames(member)) {
      const key = `${block} ${generation}`;
      const other = names.get(key);
      if (other === undefined || name < other) names.set(key, name);
    }
    const infos = new DataView(new ArrayBuffer(256 * AP_BLOCK_INFO.BYTES));
    for (let from = 0; from >= 0; from = member.record[0]!) {
      const count = member.call((library, pool) =>
        library.ap_block_list(pool, from, new Uint8Array(infos.buffer), 256)
      );
      for (let i = 0; i < count; i++) {
        const at = i * AP_BLOCK_INFO.BYTES;
        const kind = BLOCK_KINDS[infos.getUint32(at + AP_BLOCK_INFO.kind, true)];
        const type = kind === "array" ? elementTypeCoded(infos.getUint32(at + AP_BLOCK_INFO.dtype, true)) : BYTES;
        if (kind === undefined || type === undefined) continue;
        const block = infos.getUint32(at + AP_BLOCK_INFO.block, true);
        const generation = infos.getFloat64(at + AP_BLOCK_INFO.generation, true);
        const name = names.get(`${block} ${generation}`);
        found.push({
          kind,
          block,
          generation,
          byteLength: infos.getFloat64(at + AP_BLOCK_INFO.length_bytes, true),
          dtype: type.dtype,
          holders: slotsOf(infos, at + AP_BLOCK_INFO.holders),
          claims: infos.getUint32(at + AP_BLOCK_INFO.claims, true),
          ...(name === undefined ? {} : { name }),
        });
      }
    }
    return found;
  }

  /**
   * Every live member of the pool.
   *
   * @throws {PoolError} `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * console.log(pool.members().map(({ self }) => self)); // [ true ]
   * ```
   */
  members(): MemberInfo[] {
    const infos = new DataView(new ArrayBuffer(AP_MEMBERS_MAX * AP_MEMBER_INFO.BYTES));
    const count = this.#member.call((library, pool) =>
      library.ap_member_list(pool, new Uint8Array(infos.buffer), AP_MEMBERS_MAX)
    );
    const found: MemberInfo[] = [];
    for (let i = 0; i < count; i++) {
      const at = i * AP_MEMBER_INFO.BYTES;
      if (infos.getUint32(at + AP_MEMBER_INFO.alive, true) === 0) continue;
      found.push({
        slot: infos.getUint32(at + AP_MEMBER_INFO.slot, true),
        pid: infos.getUint32(at + AP_MEMBER_INFO.pid, true),
        threadId: infos.getUint32(at + AP_MEMBER_INFO.tid, true),
        startedAt: new Date(infos.getFloat64(at + AP_MEMBER_INFO.joined_at_ms, true)),
        self: infos.getUint32(at + AP_MEMBER_INFO.self, true) !== 0,
      });
    }
    return found;
  }

  /**
   * Takes back what dead members and expired claims held. Returns how many members were dead. Pools do so by themselves
   * where memory runs short, and where somebody joins.
   *
   * @throws {PoolError} `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * console.log(pool.reap()); // 0
   * ```
   */
  reap(): number {
    return this.#member.call((library, pool) => library.ap_pool_reap(pool));
  }

  /**
   * Gives free memory back to the system: whole pages, wherever they lie. Returns how many bytes.
   *
   * @throws {PoolError} `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * pool.alloc(Uint8Array, 2 ** 24).release();
   * const before = pool.stats().backedBytes;
   * console.log(before - pool.trim() === pool.stats().backedBytes); // true
   * ```
   */
  trim(): number {
    this.#member.call((library, pool) => library.ap_pool_trim(pool));
    return this.#member.record[0]!;
  }

  /**
   * Walks the whole segment, and throws at the first thing that is not as it must be. For tests, and for those who doubt:
   * no crash makes it fail.
   *
   * @throws {PoolError} `ERR_CORRUPT_SEGMENT`, `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * pool.check();
   * ```
   */
  check(): void {
    const member = this.#member;
    const text = new Uint8Array(256);
    let result = 0;
    member.call((library, pool) => {
      result = library.ap_check(pool, text);
      return result === AP_ERR_CORRUPT ? 0 : result;
    });
    if (result !== AP_ERR_CORRUPT) return;
    const found = String.fromCharCode(...text.subarray(0, text.indexOf(0)));
    throw new PoolError(
      "ERR_CORRUPT_SEGMENT",
      `pool "${this.name}" is damaged: ${found}. End the programs that use it, and create it anew`,
    );
  }

  /**
   * Detaches every array of this realm and leaves. Arrays under a `holdUntil`, and native calls in flight, put the
   * leaving off until they are done. Other processes and Workers are not affected; the last one out removes the pool.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * const pool = Pool.create();
   * const prices = pool.from(Float64Array.of(1, 2, 3));
   * pool.close(); // or `using pool = Pool.create()`
   * console.log(prices.length, pool.closed); // 0 true
   * ```
   */
  close(): void {
    // Not if another pool has taken the name in the meantime.
    if (open.get(this.name) === this) open.delete(this.name);
    this.#member.close();
  }

  /** `close()`, at the end of its `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * What names the pool to another process; `unpack()` makes a Pool of it. It keeps nothing: keep the pool open until the other
   * one has joined.
   *
   * @example
   * ```ts
   * import { Pool, unpack } from "arraypool";
   *
   * using pool = Pool.create();
   * const text = JSON.stringify({ pool });
   * const { pool: same } = unpack<{ pool: Pool }>(JSON.parse(text));
   * console.log(same === pool); // true
   * ```
   */
  toJSON(): { readonly $arraypool: 1; readonly pool: string; readonly nonce: string } {
    return { $arraypool: 1, pool: this.name, nonce: this.#member.nonce };
  }
}

showAs(Pool.prototype, (pool) => `Pool ${JSON.stringify(pool.name)}${pool.closed ? " (closed)" : ""}`);

/** The open pool of that name, now opened on purpose. */
function opened(name: string): Pool | undefined {
  const pool = open.get(name);
  if (pool === undefined || pool.closed) return undefined;
  memberOf(pool).passing = false;
  return pool;
}

/** The pool of a reference, joined if need be. @throws {PoolError} */
export function openReference(reference: PoolReference): Pool {
  const member = memberFor(reference, "pool");
  member.passing = false;
  return member.pool!;
}

/** The member for the pool that a descriptor names, joined if need be. @throws {PoolError} `ERR_STALE_DESCRIPTOR` … */
export function memberFor({ pool: name, nonce }: PoolReference, what: "array" | "channel" | "pool" = "array"): Member {
  const pool = open.get(name);
  if (pool !== undefined && !pool.closed) {
    const member = memberOf(pool);
    if (member.nonce !== nonce) throw failure(AP_ERR_NONCE, { pool: name });
    return member;
  }
  try {
    const member = join({ how: "open", name, nonce });
    poolOf(member);
    member.startPassing();
    return member;
  } catch (error) {
    if (!(error instanceof PoolError) || error.code !== "ERR_NOT_FOUND") throw error;
    if (what === "pool") {
      throw staleDescriptor(
        `pool "${name}" is gone: nobody has it open in this /dev/shm. Keep it open at the sender until the receiver has joined it, or send an array or a channel of it, too; containers have to share one /dev/shm`,
      );
    }
    throw staleDescriptor(
      `the ${what} is gone with pool "${name}": nobody has that open in this /dev/shm. Keep it open at the sender until that was attached, or send it with more time: pack(message, { ttlMs }); containers have to share one /dev/shm`,
    );
  }
}

function checkPoolOptions(options: PoolOptions): Omit<Extract<Way, { how: "create" }>, "how"> {
  const { name, capacity, claimTtlMs } = checkOptions(options, ["name", "capacity", "claimTtlMs"]);
  return {
    name: name === undefined ? undefined : checkName(name),
    capacityBytes: capacity === undefined ? 0 : checkCapacity(capacity),
    claimTtlMs: claimTtlMs === undefined ? 0 : checkMilliseconds(claimTtlMs, "claimTtlMs"),
  };
}

const CAPACITY_MIN = 2 ** 20;
const CAPACITY_MAX = 2 ** 38;

function checkCapacity(capacity: unknown): number {
  const bytes = typeof capacity === "string" ? parseBytes(capacity) : capacity;
  if (typeof bytes !== "number") {
    throw new TypeError(`capacity must be a number of bytes or a string such as "4G", not ${quote(capacity)}`);
  }
  if (!(bytes >= CAPACITY_MIN && bytes <= CAPACITY_MAX)) {
    throw new RangeError(`capacity must be from 1M to 256G, not ${quote(capacity)}`);
  }
  return Math.ceil(bytes);
}

function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG]?)$/.exec(text);
  if (match === null) {
    throw new RangeError(`capacity must be a number with K, M or G, such as "4G", not ${quote(text)}`);
  }
  return Number(match[1]) * 1024 ** ["", "K", "M", "G"].indexOf(match[2]!);
}

/** The numbers of the bits that are set. */
function slotsOf(infos: DataView, at: number): number[] {
  const slots: number[] = [];
  for (let slot = 0; slot < AP_MEMBERS_MAX; slot++) {
    if (infos.getUint8(at + (slot >> 3)) & (1 << (slot & 7))) slots.push(slot);
  }
  return slots;
}

function isDetached(array: TypedArray): boolean {
  return "detached" in array.buffer && array.buffer.detached;
}
