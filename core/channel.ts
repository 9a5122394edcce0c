/**
 * Channels: queues of messages in a pool, between all processes and Workers that are in it.
 *
 *     send     encode (codec.ts) ──> one native call: wait for room, write, wake
 *     receive  one native call: wait, copy out, hold the arrays ──> decode
 *
 * What is received is decoded from a copy of this realm's own, since others can write to the pool. A native call waits for
 * 100 ms at most; longer waits are several of them.
 */

import {
  AP_CHANNEL_ARRAYS_MAX,
  AP_CHANNEL_BYTES,
  AP_CHANNEL_CAPACITY_MAX,
  AP_CHANNEL_CLOSED,
  AP_CHANNEL_DEPTH,
  AP_CHANNEL_MESSAGES,
  AP_CHANNEL_SLICE_MS,
  AP_CHANNEL_UNACKNOWLEDGED,
  AP_CHANNEL_WAITING_RECEIVERS,
  AP_CHANNEL_WAITING_SENDERS,
  AP_ERR_ARGUMENT,
  AP_ERR_CLOSED,
  AP_ERR_CORRUPT,
  AP_ERR_FULL,
  AP_ERR_MORE,
  AP_ERR_NOT_HELD,
  AP_ERR_WAIT,
  AP_RECEIVE,
  AP_RECEIVE_ACK,
  AP_RECORD_ARRAYS,
  AP_RECORD_CAPACITY,
  AP_RECORD_ENTRY,
  AP_RECORD_MESSAGE,
  AP_RECORD_MESSAGE_BYTES,
  AP_RECORD_NEEDED,
  AP_SENT_ARRAY,
} from "./abi.ts";
import { Codec, containsItself, HOME } from "./codec.ts";
import type { ChannelDescriptor } from "./descriptor.ts";
import { checkOptions, PoolError, quote } from "./errors.ts";
import { failure } from "./failure.ts";
import type { Hold } from "./hold.ts";
import { showAs } from "./inspect.ts";
import type { Member } from "./member.ts";
import type { Library, Pointer } from "./native.ts";
import { Parcel, Unloading } from "./parcel.ts";
import { failureOf, release, type Unpacked } from "./pack.ts";
import { memberFor, type Pool } from "./pool.ts";
import { claimOn } from "./shared_array.ts";
import { askedBy, traceStack } from "./trace.ts";
import { checkSignal, checkTimeout } from "./wait.ts";
import { ACKNOWLEDGERS, type Ends, Line, type Lines, RECEIVERS, SENDERS } from "./line.ts";
import { cyclic, isContainer, Message } from "./walk.ts";

/** What a channel is to be like. */
export interface ChannelOptions {
  /**
   * Messages that are in it at a time, 1 to 65,536; beyond that, senders wait. As many more may be received with `ack` and not
   * acknowledged. Default 256.
   */
  capacity?: number;
  /** Bytes of one message, without its arrays. Default 1 MiB. */
  maxMessageBytes?: number;
}

/** How a message is sent. */
export interface SendOptions {
  /** Milliseconds to wait for room. Default without limit. */
  timeoutMs?: number;
  /** Release the sender's arrays, once they are sent. */
  move?: boolean;
}

/** How a message is received. */
export interface ReceiveOptions {
  /** Milliseconds to wait for one. Default without limit. */
  timeoutMs?: number;
}

/** How a message is sent without blocking. */
export interface SendAsyncOptions extends SendOptions {
  /** Ends the waiting with its reason; then the message is not sent. */
  signal?: AbortSignal;
}

/** How a message is received without blocking. */
export interface ReceiveAsyncOptions extends ReceiveOptions {
  /** Ends the waiting with its reason; then no message is taken. */
  signal?: AbortSignal;
}

/** How much is in a channel, and was. */
export interface ChannelStats {
  /** Messages that can be received now. */
  readonly depth: number;
  /** Messages so far. */
  readonly messages: number;
  /** Bytes of all messages so far, without their arrays. */
  readonly bytes: number;
  /** Members that wait for room. */
  readonly waitingSenders: number;
  /** Members that wait for a message. */
  readonly waitingReceivers: number;
  /** Messages that were received with `ack` and are not acknowledged. */
  readonly unacknowledged: number;
}

/**
 * A message that stays in its channel until it is acknowledged. At the end of its `using` its arrays are released; without an
 * `ack()` before that, and when this process dies, another receiver gets the message.
 */
export interface Delivery<T> extends Disposable {
  /** What was sent. */
  readonly message: Unpacked<T>;
  /**
   * Says that the message is done with: nobody gets it any more. Later calls do nothing.
   *
   * @throws {PoolError} `ERR_RELEASED` if it is another receiver's by now; `ERR_POOL_BUSY`, then it can be called again.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using jobs = pool.channel<{ id: number }>();
   * jobs.send({ id: 7 });
   * using delivery = await jobs.receiveAsync({ ack: true });
   * console.log(delivery.message.id, jobs.stats().unacknowledged); // 7 1
   * delivery.ack();
   * console.log(jobs.stats().unacknowledged); // 0
   * ```
   */
  ack(): void;
}

const TRY_SEND_OPTIONS = ["move"];
const SEND_OPTIONS = ["timeoutMs", "move"];
const SEND_ASYNC_OPTIONS = [...SEND_OPTIONS, "signal"];
const TRY_RECEIVE_OPTIONS = ["ack"];
const RECEIVE_OPTIONS = ["timeoutMs", "ack"];
const RECEIVE_ASYNC_OPTIONS = [...RECEIVE_OPTIONS, "signal"];
const CAPACITY_DEFAULT = 256;
const MESSAGE_BYTES_DEFAULT = 1 << 20;
const MESSAGE_BYTES_MAX = 2 ** 31 - 1;
const BUFFER_BYTES = 64 << 10;
/** Of a message that is too large, whether that is since it contains itself is looked for among its first values only. */
const CYCLE_LOOKS_MAX = 100_000;
/** Of a message that waits for room. */
const BUFFER_BYTES_LATER = 512;

// A loop of calls that never has to wait is to give lent memory back all the same.
const CALLS_BETWEEN = 1024;

// One for all channels of a realm: what a call puts there is done with when it returns. Undefined while it is in use.
const home = new Codec<Parcel>(HOME);
let buffer: Codec<Parcel> | undefined = home;

let make: (hold: Hold, capacity: number, maxMessageBytes: number) => Channel;
let holdOf: (channel: Channel) => Hold;

/**
 * A queue of messages in a pool: many members send, many receive, first in, first out. Made by `pool.channel()`; it travels
 * like an array, in `pack()`, `JSON.stringify()` and in messages. It is a type: `import { type Channel } from "arraypool"`.
 *
 * A message is plain data (objects, arrays, strings, numbers, bigints, Maps, Sets, Dates) with pool arrays and channels anywhere inside.
 * It is sent as it is: a channel needs no `pack()`. Its arrays are held by the message until it is received, and then by the
 * receiver: the sender can release them at once.
 *
 * @example
 * ```ts
 * import { Pool } from "arraypool";
 *
 * using pool = Pool.create();
 * using jobs = pool.channel<{ row: Float64Array; factor: number }>({ capacity: 16 });
 * jobs.send({ row: pool.from(Float64Array.of(1, 2, 3)), factor: 10 }, { move: true });
 * jobs.close(); // nothing more comes
 *
 * // In any process or Worker that has the channel:
 * for (using job of jobs) { // its array is released at the end of each turn
 *   console.log(job.row.map((value) => value * job.factor)); // Float64Array(3) [ 10, 20, 30 ]
 * }
 * ```
 */
export class Channel<T = unknown> implements Iterable<Unpacked<T>>, AsyncIterable<Unpacked<T>>, Disposable {
  /** How many messages fit. */
  readonly capacity: number;
  /** Bytes that a message may have, without its arrays. */
  readonly maxMessageBytes: number;
  readonly #hold: Hold;
  readonly #member: Member;
  readonly #lines: Lines = [undefined, undefined];
  readonly #ends: Ends;
  /** For a message with which something goes along. */
  readonly #open = (): Parcel => new Parcel(this.#hold.block, this.#member);
  // By itself: calls that alternate between channels of two pools would leave one of these out.
  #calls = 0;
  #unloading: Unloading | undefined = undefined;
  /** What was received here and is not done with. */
  readonly #received = new Received();

  static {
    make = (hold, capacity, maxMessageBytes) => new Channel(MAKING, hold, capacity, maxMessageBytes);
    holdOf = (channel) => channel.#hold;
  }

  /** See `pool.channel()`. */
  private constructor(making: symbol, hold: Hold, capacity: number, maxMessageBytes: number) {
    if (making !== MAKING) throw new TypeError("use pool.channel(), unpack() or attach()");
    this.#hold = hold;
    this.#member = hold.member;
    this.capacity = capacity;
    this.maxMessageBytes = maxMessageBytes;
    this.#ends = { hold, assertLive: () => this.#live(), failed: (result, side) => this.#failed(result, side) };
    hold.watch(this);
  }

  /** The pool that it is in. */
  get pool(): Pool {
    // Who asks for the pool may want to use it: no more leaving by itself.
    this.#member.passing = false;
    return this.#member.pool!;
  }

  /** Whether this realm has let go of it. */
  get released(): boolean {
    return this.#hold.released;
  }

  /**
   * Sends a message; blocks the thread while the channel is full.
   *
   * @param message Plain data, not packed, with arrays and channels anywhere inside.
   * @param options How long to wait for room, and whether the sender's arrays are released with it.
   * @throws {TypeError} for what is no data, and for wrong options.
   * @throws {RangeError} for more than `maxMessageBytes`.
   * @throws {PoolError} `ERR_TIMEOUT`, `ERR_CLOSED`, `ERR_RELEASED`, `ERR_POOL_FULL`, `ERR_ARRAY_TOO_LARGE` (a message larger
   * than the pool), `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool, PoolError } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>({ capacity: 1 });
   * numbers.send(1);
   * try {
   *   numbers.send(2, { timeoutMs: 20 });
   * } catch (error) {
   *   console.log((error as PoolError).code); // ERR_TIMEOUT
   * }
   * ```
   */
  send(message: T, options?: SendOptions): void {
    const timeoutMs = options === undefined ? Infinity : checkTimeout(checkOptions(options, SEND_OPTIONS).timeoutMs);
    const result = this.#send(message, timeoutMs, options !== undefined && checkFlag(options.move, "move"));
    if (result < 0) throw this.#failed(result, SENDERS);
  }

  /**
   * Sends a message if there is room for it now.
   *
   * @param message As for `send`.
   * @param options Whether the sender's arrays are released with it.
   * @returns Whether it was sent.
   * @throws {TypeError | RangeError | PoolError} As `send`.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>({ capacity: 1 });
   * console.log(numbers.trySend(1), numbers.trySend(2)); // true false
   * ```
   */
  trySend(message: T, options?: { move?: boolean }): boolean {
    const result = this.#send(
      message,
      0,
      options !== undefined && checkFlag(checkOptions(options, TRY_SEND_OPTIONS).move, "move"),
    );
    if (result === AP_ERR_WAIT) return false;
    if (result < 0) throw this.#failed(result, SENDERS);
    return true;
  }

  /**
   * As `send`, without blocking the thread. What is sent so is sent in the order of the calls. The message is encoded at once; its arrays
   * have to be held until it is sent. Waiting keeps the process alive.
   *
   * @param message As for `send`.
   * @param options As for `send`, and a signal that ends the waiting.
   * @returns A promise that is fulfilled when the message is in the channel.
   * @throws {TypeError | RangeError | PoolError} As `send`.
   * @throws The reason of `signal` when it is aborted.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>({ capacity: 1 });
   * const sent = [1, 2, 3].map((number) => numbers.sendAsync(number));
   * console.log(await numbers.receiveAsync(), await numbers.receiveAsync()); // 1 2
   * await Promise.all(sent);
   * ```
   */
  async sendAsync(message: T, options: SendAsyncOptions = {}): Promise<void> {
    const timeoutMs = checkTimeout(checkOptions(options, SEND_ASYNC_OPTIONS).timeoutMs);
    const move = checkFlag(options.move, "move");
    const signal = checkSignal(options.signal);
    const line = this.#line(SENDERS);
    if (line.isEmpty) {
      const result = this.#send(message, 0, move);
      if (result === 0) return;
      if (result !== AP_ERR_WAIT) throw this.#failed(result, SENDERS);
    }
    await this.#sendLater(line, message, timeoutMs, move, signal);
  }

  async #sendLater(
    line: Line,
    message: T,
    timeoutMs: number,
    move: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const codec = new Codec<Parcel>(new Uint8Array(BUFFER_BYTES_LATER));
    try {
      this.#live();
      const bytes = codec.encode(message, this.maxMessageBytes, this.#open);
      const arrays = this.#load(codec, bytes, message, move);
      await line.wait(this.#ends, SENDERS, timeoutMs, signal, (settle) => {
        this.#live();
        const { library } = this.#member;
        const { block } = this.#hold;
        const send = () => library.ap_channel_send(this.#member.ready(), block, codec.bytes, bytes, arrays, 0);
        let result = send();
        if (result === AP_ERR_FULL && this.#member.makeRoom()) result = send();
        if (result === AP_ERR_WAIT) return false;
        if (result < 0) throw this.#failed(result, SENDERS);
        settle(undefined);
        return true;
      });
    } catch (error) {
      codec.outgoing?.undo();
      throw error;
    }
    if (move) codec.outgoing?.release();
  }

  /**
   * Receives the next message; blocks the thread until there is one. Its arrays are this realm's from then on:
   * `using job = channel.receive()` releases them. An object that comes inherits what that needs, so its prototype is another one
   * than `Object.prototype`; its `constructor` is `Object`.
   *
   * With `ack: true` the message stays in the channel until it is acknowledged: should this process die before, another
   * receiver gets it. Without, it is lost with who has received it. As many may be unacknowledged at a time as the channel's
   * capacity (the next power of two); who receives one more waits until one of them is acknowledged.
   *
   * @param options How long to wait, and whether the message is to be acknowledged.
   * @returns The message; with `ack: true` a Delivery, which has it.
   * @throws {PoolError} `ERR_TIMEOUT`; `ERR_CLOSED` when the channel was closed and is empty; `ERR_RELEASED`; `ERR_POOL_BUSY`: the
   * next call on this Channel without `ack` gets what was to be received
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using jobs = pool.channel<{ id: number }>();
   * jobs.send({ id: 7 });
   * {
   *   using delivery = jobs.receive({ ack: true });
   *   console.log(delivery.message.id); // 7
   *   // Without delivery.ack() it goes back here.
   * }
   * console.log(jobs.receive().id); // 7
   * ```
   */
  receive(options: ReceiveOptions & { ack: true }): Delivery<T>;
  receive(options?: ReceiveOptions): Unpacked<T>;
  receive(options?: ReceiveOptions & { ack?: boolean }): Unpacked<T> | Delivery<T> {
    const timeoutMs = options === undefined ? Infinity : checkTimeout(checkOptions(options, RECEIVE_OPTIONS).timeoutMs);
    const how = options !== undefined && checkFlag(options.ack, "ack") ? AP_RECEIVE_ACK : AP_RECEIVE;
    const next = this.#next(how, timeoutMs);
    if (next === NONE) throw this.#failed(AP_ERR_WAIT, how === AP_RECEIVE_ACK ? ACKNOWLEDGERS : RECEIVERS);
    if (next === OVER) throw this.#failed(AP_ERR_CLOSED);
    return next;
  }

  /**
   * Receives the next message if there is one.
   *
   * @param options Whether the message is to be acknowledged.
   * @returns As `receive`; undefined if there is none now.
   * @throws {PoolError} As `receive`.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * numbers.send(1);
   * console.log(numbers.tryReceive(), numbers.tryReceive()); // 1 undefined
   * ```
   */
  tryReceive(options: { ack: true }): Delivery<T> | undefined;
  tryReceive(): Unpacked<T> | undefined;
  tryReceive(options?: { ack?: boolean }): Unpacked<T> | Delivery<T> | undefined {
    const how = options !== undefined && checkFlag(checkOptions(options, TRY_RECEIVE_OPTIONS).ack, "ack")
      ? AP_RECEIVE_ACK
      : AP_RECEIVE;
    const next = this.#next(how, 0);
    if (next === NONE) return undefined;
    if (next === OVER) throw this.#failed(AP_ERR_CLOSED);
    return next;
  }

  /**
   * As `receive`, without blocking the thread. Who asks first is served first. Waiting keeps the process alive.
   *
   * @param options As for `receive`, and a signal that ends the waiting.
   * @returns A promise for what `receive` returns.
   * @throws {PoolError} As `receive`.
   * @throws The reason of `signal` when it is aborted.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * const first = numbers.receiveAsync();
   * numbers.send(1);
   * console.log(await first); // 1
   * ```
   */
  receiveAsync(options: ReceiveAsyncOptions & { ack: true }): Promise<Delivery<T>>;
  receiveAsync(options?: ReceiveAsyncOptions): Promise<Unpacked<T>>;
  async receiveAsync(options: ReceiveAsyncOptions & { ack?: boolean } = {}): Promise<Unpacked<T> | Delivery<T>> {
    const timeoutMs = checkTimeout(checkOptions(options, RECEIVE_ASYNC_OPTIONS).timeoutMs);
    const how = checkFlag(options.ack, "ack") ? AP_RECEIVE_ACK : AP_RECEIVE;
    const signal = checkSignal(options.signal);
    return await this.#receiveLater(how, timeoutMs, signal);
  }

  #receiveLater(
    how: number,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    hasLeft: () => boolean = never,
  ): Promise<Unpacked<T> | Delivery<T>> {
    // It is here: no reason to stand behind those who wait for another one.
    if (this.#received.kept !== undefined && how === AP_RECEIVE) {
      const next = this.#next(how, 0);
      if (next !== NONE && next !== OVER) return Promise.resolve(next);
    }
    const side = how === AP_RECEIVE_ACK ? ACKNOWLEDGERS : RECEIVERS;
    const asked = traceStack();
    return this.#line(RECEIVERS).wait(this.#ends, side, timeoutMs, signal, (settle) => {
      if (hasLeft()) throw this.#failed(AP_ERR_CLOSED);
      const next = asked === undefined ? this.#next(how, 0) : askedBy(asked, () => this.#next(how, 0));
      if (next === NONE) return false;
      if (next === OVER) throw this.#failed(AP_ERR_CLOSED);
      settle(next);
      return true;
    });
  }

  /**
   * Messages as they come, until the channel is closed and empty; does not block the thread. Who leaves the loop takes no message more.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED` (the pool), `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using frames = pool.channel<{ id: number; frame: Uint8Array }>();
   * frames.send({ id: 7, frame: pool.alloc(Uint8Array, 1000) }, { move: true });
   * frames.close();
   * for await (using message of frames) { // its arrays are released at the end of each turn
   *   console.log(message.id, message.frame.length); // 7 1000
   * }
   * ```
   */
  [Symbol.asyncIterator](): AsyncIterator<Unpacked<T>> {
    // Whoever asks for the next and then goes (a stream that is destroyed, say) takes no message with him.
    let hasLeft = false;
    const left = () => hasLeft;
    return {
      next: async () => {
        if (hasLeft) return { done: true, value: undefined };
        try {
          return { done: false, value: await this.#receiveLater(AP_RECEIVE, Infinity, undefined, left) as Unpacked<T> };
        } catch (error) {
          if (!hasLeft && (this.#hold.released || !isClosed(error))) throw error;
          return { done: true, value: undefined };
        }
      },
      return: () => {
        hasLeft = true;
        this.#lines[RECEIVERS]?.look();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  #line(side: 0 | 1): Line {
    return this.#lines[side] ??= Line.of(this.#member, this.#hold.block, side);
  }

  /** After a call that may have blocked: then it has heard the bell for those of this realm who sleep in its event loop, too. */
  #stir(side: 0 | 1): void {
    if (this.#member.asleep > 0) this.#member.lines.get(this.#hold.block)?.[side]?.look();
  }

  /**
   * Messages as they come, until the channel is closed and empty. Blocks the thread: for a Worker or a process that only computes.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED` (the pool), `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * for (const number of [1, 2, 3]) numbers.send(number);
   * numbers.close();
   * console.log([...numbers]); // [ 1, 2, 3 ]
   * ```
   */
  [Symbol.iterator](): Iterator<Unpacked<T>> {
    return {
      next: () => {
        const next = this.#next(AP_RECEIVE, Infinity);
        if (next === OVER) return { done: true, value: undefined };
        if (next === NONE) throw this.#failed(AP_ERR_WAIT);
        return { done: false, value: next as Unpacked<T> };
      },
    };
  }

  /**
   * How much is in it, and was.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * numbers.send(1);
   * numbers.send(2);
   * numbers.receive();
   * const { depth, messages } = numbers.stats();
   * console.log(depth, messages); // 1 2
   * ```
   */
  stats(): ChannelStats {
    this.#live();
    const { record } = this.#member;
    this.#call((library, pool) => library.ap_channel_stats(pool, this.#hold.block));
    return {
      depth: record[AP_CHANNEL_DEPTH]!,
      messages: record[AP_CHANNEL_MESSAGES]!,
      bytes: record[AP_CHANNEL_BYTES]!,
      waitingSenders: record[AP_CHANNEL_WAITING_SENDERS]!,
      waitingReceivers: record[AP_CHANNEL_WAITING_RECEIVERS]!,
      unacknowledged: record[AP_CHANNEL_UNACKNOWLEDGED]!,
    };
  }

  /** Whether it was closed, by anyone. What is in it may still be received. @throws {PoolError} `ERR_RELEASED`, `ERR_POOL_BUSY` */
  get closed(): boolean {
    this.stats();
    return this.#member.record[AP_CHANNEL_CLOSED] !== 0;
  }

  /**
   * Ends the channel for everybody: nothing more is sent, what is in it can still be received, and then iterations end. They do
   * not wait for what others have received with `ack` and not acknowledged; where that comes back, it can be received again.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * numbers.send(1);
   * numbers.close();
   * console.log(numbers.closed, numbers.receive()); // true 1
   * ```
   */
  close(): void {
    this.#live();
    this.#call((library, pool) => library.ap_channel_close(pool, this.#hold.block));
  }

  /**
   * Lets go of it in this realm; for the others it goes on, and what was received here and not acknowledged is theirs. When
   * nobody has it any more, what is in it is let go of. Later calls do nothing. At the end of a scope, `using` does it.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * const numbers = pool.channel<number>();
   * numbers.release();
   * console.log(numbers.released, pool.blocks().length); // true 0
   * ```
   */
  release(): void {
    if (this.#hold.ended) return;
    for (const place of this.#received.unacknowledged) this.#giveBack(place);
    this.#received.dropAll(this.#hold, this);
    for (const line of this.#lines) line?.leave(this.#hold);
    this.#hold.release();
    for (const line of this.#lines) line?.look(); // who waits there by this one waits no more
  }

  /** `release()`, at the end of its `using`. */
  [Symbol.dispose](): void {
    this.release();
  }

  /**
   * What `JSON.stringify` calls.
   *
   * @returns A descriptor, good for one attach within the pool's `claimTtlMs`.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_POOL_FULL`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { attach, Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using numbers = pool.channel<number>();
   * using same = attach<number>(JSON.parse(JSON.stringify(numbers)));
   * numbers.send(1);
   * console.log(same.receive()); // 1
   * ```
   */
  toJSON(): ChannelDescriptor {
    return claimedChannel(this, (hold) => claimOn(hold, { claims: 1, ttlMs: 0 }));
  }

  // ------------------------------------------------------------------ one message

  /**
   * In one piece, as is #next(): where each step was a function of its own, a small message took a third more time. What is rare
   * is out of line.
   */
  #send(message: T, timeoutMs: number, move: boolean): number {
    const hold = this.#hold;
    const member = this.#member;
    if (hold.released) throw this.#ended();
    if (++this.#calls === CALLS_BETWEEN) this.#tidy();
    const codec = buffer ?? new Codec(new Uint8Array(BUFFER_BYTES));
    // A getter in the message may send another one.
    buffer = undefined;
    let result: number;
    try {
      const bytes = codec.encode(message, this.maxMessageBytes, this.#open);
      const arrays = bytes < 0 || codec.outgoing !== undefined || message === undefined
        ? this.#load(codec, bytes, message, move)
        : 0;
      // Once more: a getter in the message may have released the channel, and its block may be another one's by now.
      if (hold.released) throw this.#ended();
      const sliceMs = timeoutMs >= AP_CHANNEL_SLICE_MS ? AP_CHANNEL_SLICE_MS : Math.ceil(timeoutMs);
      result = member.library.ap_channel_send(member.ready(), hold.block, codec.bytes, bytes, arrays, sliceMs);
      if (result !== 0) result = this.#sendAgain(result, codec.bytes, bytes, arrays, timeoutMs, sliceMs);
      else if (member.asleep > 0 && sliceMs > 0) this.#stir(SENDERS);
    } catch (error) {
      codec.outgoing?.undo();
      codec.outgoing = undefined;
      buffer = codec;
      throw error;
    }
    buffer = codec;
    const parcel = codec.outgoing;
    if (parcel !== undefined) {
      codec.outgoing = undefined;
      if (result !== 0) parcel.undo();
      else if (move) parcel.release();
    }
    return result;
  }

  /** Puts what goes along behind the encoded message, and returns how many that are. @throws if it cannot be sent. */
  #load(codec: Codec<Parcel>, bytes: number, message: T, move: boolean): number {
    if (message === undefined) throw new TypeError("a message must not be undefined: send null, or an object");
    if (bytes < 0) {
      if (containsItself(message, { left: CYCLE_LOOKS_MAX })) throw cyclic();
      throw new RangeError(
        `the message is larger than this channel's maxMessageBytes (${this.maxMessageBytes}): put large data into arrays, or make the channel with more, pool.channel({ maxMessageBytes })`,
      );
    }
    const parcel = codec.outgoing;
    if (parcel === undefined) return 0;
    if (move) parcel.assertMovable();
    if (parcel.count === 0) return 0;
    if (parcel.count > AP_CHANNEL_ARRAYS_MAX) {
      throw new RangeError(`a message may have ${AP_CHANNEL_ARRAYS_MAX} arrays`);
    }
    const from = alignUp(bytes);
    codec.reserve(from + parcel.count * AP_SENT_ARRAY.BYTES, bytes);
    parcel.writeTo(new DataView(codec.bytes.buffer), from);
    return parcel.count;
  }

  /** After a first slice, in which it could not be sent. */
  #sendAgain(
    result: number,
    image: Uint8Array,
    bytes: number,
    arrays: number,
    timeoutMs: number,
    sliceMs: number,
  ): number {
    const member = this.#member;
    if (result === AP_ERR_FULL && member.makeRoom()) result = this.#sendSlice(image, bytes, arrays, 0);
    if (sliceMs === 0) return result;
    this.#stir(SENDERS);
    if (result !== AP_ERR_WAIT) return result;
    for (const left = countdown(timeoutMs - sliceMs); result === AP_ERR_WAIT;) {
      const sliceMs = left();
      if (sliceMs === 0) break;
      member.tidy();
      result = this.#sendSlice(image, bytes, arrays, sliceMs);
    }
    return result;
  }

  #sendSlice(image: Uint8Array, bytes: number, arrays: number, sliceMs: number): number {
    const member = this.#member;
    return member.library.ap_channel_send(member.ready(), this.#hold.block, image, bytes, arrays, sliceMs);
  }

  /** The next message; `NONE` if there was none in that time, `OVER` if there will be none. */
  #next(how: number, timeoutMs: number): Unpacked<T> | Delivery<T> | typeof NONE | typeof OVER {
    const hold = this.#hold;
    const member = this.#member;
    if (hold.released) throw this.#ended();
    if (++this.#calls === CALLS_BETWEEN) this.#tidy();
    const received = this.#received;
    if (received.kept !== undefined) {
      if (received.kept.place !== undefined) received.drop(hold, this);
      if (received.kept !== undefined && how === AP_RECEIVE) return this.#readKept() as Unpacked<T>;
    }
    const codec = buffer ??= new Codec(new Uint8Array(BUFFER_BYTES));
    const sliceMs = timeoutMs >= AP_CHANNEL_SLICE_MS ? AP_CHANNEL_SLICE_MS : Math.ceil(timeoutMs);
    const into = codec.begin();
    let bytes = member.library.ap_channel_receive(member.ready(), hold.block, into, into.length, how, sliceMs);
    if (bytes < 0) {
      bytes = this.#receiveAgain(bytes, codec, how, timeoutMs, sliceMs);
      if (bytes === AP_ERR_WAIT) return NONE;
      if (bytes === AP_ERR_CLOSED) return OVER;
      if (bytes < 0) throw this.#failed(bytes);
    } else if (member.asleep > 0 && sliceMs > 0) this.#stir(RECEIVERS);
    const unloading = this.#unloading;
    // While it is decoded, channels may come into being.
    buffer = undefined;
    if (how !== AP_RECEIVE || unloading === undefined || member.record[AP_RECORD_ARRAYS] !== 0) {
      const { record } = member;
      // First, and without a call: there may be no stack left for one.
      received.kept = {
        codec,
        bytes,
        arrays: record[AP_RECORD_ARRAYS]!,
        place: how === AP_RECEIVE
          ? undefined
          : { entry: record[AP_RECORD_ENTRY]!, message: record[AP_RECORD_MESSAGE]! },
        unloading: undefined,
        before: received.kept,
      };
      return this.#readKept();
    }
    let message: unknown;
    try {
      message = codec.decode(bytes, unloading);
      if (unloading.hasBrought) {
        this.#unloading = undefined;
        makeDisposable(message, () => unloading.release());
      } else if (!(message instanceof Message)) makeDisposable(message, nothing);
    } catch (error) {
      this.#unloading = undefined;
      received.kept = { codec, bytes, arrays: 0, place: undefined, unloading, before: undefined };
      this.#unread(error);
      throw error;
    }
    buffer = codec;
    return message as Unpacked<T>;
  }

  /** After a first slice, in which nothing could be received. */
  #receiveAgain(
    result: number,
    codec: Codec<Parcel>,
    how: number,
    timeoutMs: number,
    sliceMs: number,
  ): number {
    const member = this.#member;
    if (result === AP_ERR_MORE) result = this.#receiveSlice(codec, how, sliceMs);
    if (sliceMs === 0) return result;
    this.#stir(RECEIVERS);
    if (result !== AP_ERR_WAIT) return result;
    for (const left = countdown(timeoutMs - sliceMs); result === AP_ERR_WAIT;) {
      const sliceMs = left();
      if (sliceMs === 0) break;
      member.tidy();
      result = this.#receiveSlice(codec, how, sliceMs);
    }
    return result;
  }

  #receiveSlice(codec: Codec<Parcel>, how: number, sliceMs: number): number {
    const { library, record } = this.#member;
    const { block } = this.#hold;
    while (true) {
      const { bytes } = codec;
      const result = library.ap_channel_receive(this.#member.ready(), block, bytes, bytes.length, how, sliceMs);
      if (result !== AP_ERR_MORE) return result;
      codec.reserve(record[AP_RECORD_NEEDED]!, 0);
    }
  }

  /** Reads what is kept: also what has arrays, or is to be acknowledged. What cannot be read now stays. */
  #readKept(): Unpacked<T> | Delivery<T> {
    const received = this.#received;
    const kept = received.kept!;
    try {
      const { codec, bytes, place } = kept;
      const unloading = kept.unloading ??= unloadingOf(this.#member, kept);
      unloading.again();
      const message = codec.decode(bytes, unloading);
      let release = nothing;
      if (unloading.hasBrought) {
        unloading.dropUnshown();
        release = () => unloading.release();
      } else if (place === undefined) this.#unloading = unloading;
      makeDisposable(message, release);
      const result = place === undefined
        ? message as Unpacked<T>
        : this.#delivery(message as Unpacked<T>, place, release, unloading);
      if (buffer === undefined || codec === home) buffer = codec;
      received.kept = kept.before;
      return result;
    } catch (error) {
      this.#unread(error);
      throw error;
    }
  }

  /** What is kept could not be read. Where that passes, whoever asks here next gets it. */
  #unread(error: unknown): void {
    const kept = this.#received.kept!;
    this.#hold.onAbandoned ??= giverBack(this.#hold, this.#received);
    if (kept.place !== undefined || !isPassing(error)) {
      this.#received.drop(this.#hold, this, isUnreadable(error));
    }
  }

  #delivery(message: Unpacked<T>, place: Place, release: () => void, unloading: Unloading): Delivery<T> {
    const { unacknowledged } = this.#received;
    if (unacknowledged.size === 0) this.#hold.onAbandoned ??= giverBack(this.#hold, this.#received);
    unacknowledged.add(place);
    let acknowledged = false;
    return {
      message,
      ack: () => {
        if (acknowledged) return;
        if (!this.#received.unacknowledged.has(place)) throw givenBack();
        this.#live();
        const member = this.#member;
        const { entry, message } = place;
        const result = member.library.ap_channel_acknowledge(member.ready(), this.#hold.block, entry, message, 0);
        // Where the pool was busy it can be tried again, or given back.
        if (result < 0) throw result === AP_ERR_NOT_HELD ? givenBack() : this.#failed(result);
        this.#received.unacknowledged.delete(place);
        acknowledged = true;
        unloading.dropClaims();
      },
      [Symbol.dispose]: () => {
        release();
        this.#giveBack(place);
      },
    };
  }

  #giveBack(place: Place): void {
    if (this.#hold.released || !this.#received.unacknowledged.delete(place)) return;
    this.#acknowledgeSoon(place, 1);
  }

  #acknowledgeSoon({ entry, message }: Place, giveBack: number): void {
    this.#member.acknowledge({ hold: this.#hold, entry, message, giveBack, channel: this });
  }

  #tidy(): void {
    this.#calls = 0;
    this.#member.tidy();
  }

  #live(): void {
    if (this.#hold.released) throw this.#ended();
  }

  #ended(): PoolError {
    const { closed, name } = this.#member;
    return closed
      ? new PoolError("ERR_CLOSED", `this channel ended here when pool "${name}" was closed here: close the pool later`)
      : new PoolError("ERR_RELEASED", "this channel was released here: release it later, or attach it anew");
  }

  #call(call: (library: Library, pool: Pointer) => number): void {
    const result = call(this.#member.library, this.#member.ready());
    if (result < 0) throw this.#failed(result);
  }

  /** What was a channel when it was made or attached, and is none now, is damaged: no caller's fault. */
  #failed(result: number, side: 0 | 1 | 2 = RECEIVERS): Error {
    if (result === AP_ERR_WAIT && side === ACKNOWLEDGERS && !this.#hold.released) {
      const { library, record, name } = this.#member;
      // Busy or not, nothing was received in time.
      if (library.ap_channel_stats(this.#member.ready(), this.#hold.block) === 0 && record[AP_CHANNEL_DEPTH]! > 0) {
        const unacknowledged = record[AP_CHANNEL_UNACKNOWLEDGED]!;
        if (unacknowledged >= 2 ** Math.ceil(Math.log2(this.capacity))) {
          return failure(result, { pool: name, unacknowledged });
        }
      }
    }
    return this.#member.failed(result === AP_ERR_ARGUMENT ? AP_ERR_CORRUPT : result, side === SENDERS);
  }
}

/** Where a message waits for its acknowledgement, and which one it is. */
interface Place {
  readonly entry: number;
  readonly message: number;
}

/** A message that is out of the channel, and was not read to its end. */
interface Kept {
  /** Not in use by others until it is read. */
  readonly codec: Codec<Parcel>;
  readonly bytes: number;
  readonly arrays: number;
  /** Of one that is to be acknowledged. */
  readonly place: Place | undefined;
  unloading: Unloading | undefined;
  /** One that waits for the next call without `ack`, while this one is read that is to be acknowledged. */
  readonly before: Kept | undefined;
}

/** What was received by a Channel, and is not done with. Holds nothing of the Channel. */
class Received {
  kept: Kept | undefined = undefined;
  /** Where messages are that were received here and not acknowledged. */
  readonly unacknowledged: Set<Place> = new Set();

  /**
   * Of what is kept: lets go of what it brought. One that is to be acknowledged is the next receiver's, if it can be read; what is
   * nobody's any more has claims in other pools.
   */
  drop(hold: Hold, channel: object, isUnreadable = false): void {
    const { kept } = this;
    if (kept === undefined) return;
    const { codec, bytes, place } = kept;
    const unloading = kept.unloading ??= unloadingOf(hold.member, kept);
    unloading.release();
    unloading.dropUnshown();
    if (place !== undefined) {
      hold.member.acknowledge({ hold, ...place, giveBack: isUnreadable ? 0 : 1, channel });
    }
    if (place === undefined || isUnreadable) {
      const references: object[] = [];
      failureOf(() =>
        void codec.decode(bytes, { shared: () => null, reference: (value) => void references.push(value) })
      );
      failureOf(() => release(references)); // the rest expires
    }
    if (buffer === undefined || codec === home) buffer = codec;
    this.kept = kept.before;
  }

  dropAll(hold: Hold, channel: object): void {
    while (this.kept !== undefined) this.drop(hold, channel);
  }
}

function unloadingOf(member: Member, { codec, bytes, arrays, place }: Kept): Unloading {
  return arrays === 0
    ? new Unloading(member, undefined, 0, 0, place !== undefined)
    : new Unloading(member, new DataView(codec.bytes.buffer), alignUp(bytes), arrays, place !== undefined);
}

/** For a Channel that is garbage, and all its deliveries: what it has received and not acknowledged is the next one's. */
function giverBack(hold: Hold, received: Received): () => void {
  return () => {
    for (const { entry, message } of received.unacknowledged) {
      hold.member.acknowledge({ hold, entry, message, giveBack: 1, channel: hold });
    }
    received.dropAll(hold, hold);
  };
}

const MAKING = Symbol("making");
const NONE = Symbol("none");
const OVER = Symbol("over");

showAs(
  Channel.prototype as Channel,
  (channel) =>
    `Channel(capacity ${channel.capacity})${channel.released ? " (released)" : ""} in pool ${
      JSON.stringify(holdOf(channel).member.name)
    }`,
);

/** Makes a channel in the pool of `member`. */
export function createChannel(member: Member, options: ChannelOptions): Channel {
  const { capacity = CAPACITY_DEFAULT, maxMessageBytes = MESSAGE_BYTES_DEFAULT } = checkOptions(options, [
    "capacity",
    "maxMessageBytes",
  ]);
  checkCount(capacity, "capacity", AP_CHANNEL_CAPACITY_MAX);
  checkCount(maxMessageBytes, "maxMessageBytes", MESSAGE_BYTES_MAX);
  return make(member.createChannel(capacity, maxMessageBytes), capacity, maxMessageBytes);
}

/** Attaches the channel that a checked descriptor names. */
export function attachChannel(descriptor: ChannelDescriptor): Channel {
  const member = memberFor(descriptor, "channel");
  return enteredChannel(member.attachChannel(descriptor.block, descriptor.generation, descriptor.claim));
}

/** The channel that a message has brought. */
export function receivedChannel(member: Member, block: number, generation: number): Channel {
  return enteredChannel(member.showReceivedChannel(block, generation));
}

/** The channel that was held a moment ago: the record says what it is like. */
export function enteredChannel(hold: Hold): Channel {
  const { record } = hold.member;
  return make(hold, record[AP_RECORD_CAPACITY]!, record[AP_RECORD_MESSAGE_BYTES]!);
}

/** What a channel is held by. */
export function holdOfChannel(channel: Channel): Hold {
  return holdOf(channel);
}

/** A descriptor of a channel. `claimOn` makes its claim. @throws {PoolError} `ERR_RELEASED` */
export function claimedChannel(channel: Channel, claimOn: (hold: Hold) => number): ChannelDescriptor {
  const hold = holdOf(channel);
  if (hold.released) throw new PoolError("ERR_RELEASED", "this channel was released here: send it before that");
  const { name, nonce } = hold.member;
  return {
    $arraypool: 1,
    kind: "channel",
    pool: name,
    nonce,
    block: hold.block,
    generation: hold.generation,
    claim: claimOn(hold),
  };
}

// ------------------------------------------------------------------ odds and ends

/** Milliseconds of the next slice, 0 when the time is over. */
function countdown(timeoutMs: number): () => number {
  const until = performance.now() + timeoutMs;
  return () => Math.min(AP_CHANNEL_SLICE_MS, Math.max(0, Math.ceil(until - performance.now())));
}

function alignUp(bytes: number): number {
  return bytes + (-bytes & 7); // also from 2^31 on
}

function nothing(): void {}

function never(): boolean {
  return false;
}

/** An object inherits a Symbol.dispose that does nothing; one with something to do is a message's own. */
function makeDisposable(message: unknown, release: () => void): void {
  if (release === nothing && message instanceof Message) return;
  if (!isContainer(message)) return;
  Object.defineProperty(message, Symbol.dispose, { value: release, writable: true, configurable: true });
}

function givenBack(): PoolError {
  return new PoolError(
    "ERR_RELEASED",
    "this message is another receiver's by now: acknowledge it before its using ends or its channel is released",
  );
}

/** Whether what was thrown for a message would be thrown anywhere, and at any time. */
function isUnreadable(error: unknown): boolean {
  if (!(error instanceof PoolError)) return !isStackFull(error);
  return error.code === "ERR_CORRUPT_SEGMENT" || error.code === "ERR_STALE_DESCRIPTOR";
}

/** Whether it is over some time, and the message can then be read here. */
function isPassing(error: unknown): boolean {
  return error instanceof PoolError ? error.code === "ERR_POOL_BUSY" : isStackFull(error);
}

/** Of whoever calls: a message may be as deep as its sender's stack. */
function isStackFull(error: unknown): boolean {
  return error instanceof RangeError && /call stack/i.test(error.message); // as all engines say it
}

function isClosed(error: unknown): boolean {
  return error instanceof PoolError && error.code === "ERR_CLOSED";
}

function checkFlag(value: unknown, what: string): boolean {
  if (value === undefined) return false;
  if (typeof value !== "boolean") throw new TypeError(`${what} must be true or false, not ${quote(value)}`);
  return value;
}

function checkCount(value: unknown, what: string, max: number): void {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not ${quote(value)}`);
  if (!Number.isInteger(value) || value < 1 || value > max) {
    throw new RangeError(`${what} must be an integer from 1 to ${max}, not ${value}`);
  }
}
