/**
 * A hold: one ArrayBuffer on one block of a pool, and how it ends.
 *
 *     held ──release()──> detached ──> let go
 *       │                    │
 *       │                    ├ a native call pins the buffer, or the pool is busy: tried again later
 *       │                    └ a native call may use the memory though it does not keep the buffer: kept for it
 *       └─ its owner is garbage, or its buffer was transferred away: let go
 *
 * What the collector watches is the owner, the SharedArray, which its slices keep. Its memory may be seen longer than that:
 * by a plain view on `array.buffer`, by the new owner of a transferred buffer, by a native call in flight. The runtime tells
 * the library when a buffer's memory is not seen any more, wherever it went; until then the library keeps the block (lent).
 *
 * In Node, calls in flight keep the array or its buffer as objects, but not the memory behind them. So while any call is in
 * flight, what is released is detached by a transfer to a buffer of ours, until no call is in flight or, since that may not
 * happen for long, the collector says that nothing has the array's own buffer any more.
 *
 * In Bun, what is released is detached by a transfer to a spare buffer, which shows the next array at that place (spares.ts).
 */

import type { ElementType } from "./dtype.ts";
import type { Member } from "./member.ts";
import { native } from "./native.ts";

/** Where an array or a slice has its memory from. */
export interface Place {
  readonly hold: Hold;
  /** The array that a slice was cut from; undefined for the array itself. */
  readonly base: object | undefined;
  /** Elements, also after the end. */
  readonly length: number;
  /** Which 32-bit word of the segment it begins with, modulo 2^32. */
  readonly word: number;
  /** Of its hold: the member's, as soon as a notify for it may look there by itself, until it is released. */
  readonly counts: Int32Array | undefined;
  /** Undefined stands for `[length]`. */
  shape: readonly number[] | undefined;
}

/** Of the word that is `byteOffset` bytes behind the one of that number. */
export function wordAt(word: number, byteOffset: number): number {
  return (word + byteOffset / 4) | 0;
}

const readBuffer = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "buffer")!.get!;

/** The buffer of a TypedArray, whatever its class makes of the property. */
export function bufferOf(view: object): ArrayBuffer {
  return readBuffer.call(view);
}

/** The hold of one SharedArray, and the array's Place. */
export class Hold implements Place {
  readonly hold: Hold = this;
  readonly base: undefined = undefined;
  /** Undefined where there is no array: a channel's. */
  type: ElementType | undefined = undefined;
  length = 0;
  word = 0;
  counts: Int32Array | undefined = undefined;
  shape: readonly number[] | undefined = undefined;

  readonly member: Member;
  readonly block: number;
  readonly generation: number;
  /** Bytes from the start of the block to the start of the buffer. */
  readonly offset: number;
  /** Bytes of the buffer, also after it was detached. */
  readonly byteLength: number;
  /** Of the buffer, where its memory may be taken over for another one (spares.ts); else 0. */
  address = 0;

  /** The buffer, and the array, as long as they must not be garbage; see `watch`. */
  buffer: ArrayBuffer | undefined;
  owner: object | undefined = undefined;
  /** The array, where it may be garbage. */
  watched: WeakRef<object> | undefined = undefined;
  /** Calls of `use()` without their `used()`. */
  uses = 0;
  /** `release()` was called, or the pool closed. */
  released = false;
  /** No array shows the memory any more. */
  ended = false;
  /** Its buffer was detached here: who still sees the memory through it is a native call in flight. */
  detached = false;
  /** Its buffer was seen to go as it was detached: there is no call in flight. */
  freed = false;
  /** The memory, for native calls that may use it. */
  #kept: ArrayBuffer | undefined = undefined;
  /** Called at release, while somebody waits for an element. */
  onRelease: (() => void) | undefined = undefined;
  /** Called before it is let go of since its owner is garbage, with nothing of which it may hold the owner. */
  onAbandoned: (() => void) | undefined = undefined;
  /** Where it was made, and its record in the member's log, with ARRAYPOOL_TRACE=1. */
  origin: string | undefined = undefined;
  traced = -1;

  // The member's list.
  next: Hold | undefined = undefined;
  previous: Hold | undefined = undefined;

  constructor(
    member: Member,
    block: number,
    generation: number,
    offset: number,
    byteLength: number,
    buffer: ArrayBuffer,
  ) {
    this.member = member;
    this.block = block;
    this.generation = generation;
    this.offset = offset;
    this.byteLength = byteLength;
    this.buffer = buffer;
  }

  /** Lets go, once no use is left. Also where it was said before, and the stack was too full for all of this. */
  release(): void {
    if (this.ended || (this.released && this.member.hasPostponed(this))) return;
    this.released = true;
    this.counts = undefined;
    this.onRelease?.();
    if (this.uses === 0) this.end();
  }

  /** Puts off a release until `use` has settled. */
  holdUntil<R>(use: PromiseLike<R>, owner: object): Promise<R> {
    const settled = Promise.resolve(use);
    this.use(owner);
    const done = () => this.used();
    settled.then(done, done);
    return settled;
  }

  /** Puts off a release, and the collector, until `used()` was called as often. */
  use(owner: object): void {
    this.uses++;
    this.owner = owner;
  }

  used(): void {
    if (--this.uses > 0) return;
    if (this.watched !== undefined) this.owner = undefined;
    if (this.released) this.end();
  }

  /** Detaches the buffer and lets go of the block; what cannot be done now is done later. */
  end(): void {
    if (this.ended) return;
    const buffer = this.#bufferNow();
    let spare: ArrayBuffer | undefined;
    if (buffer !== undefined) {
      let isOurs = true;
      const seen = this.member.buffersSeen(this);
      try {
        if (native().callsInFlight()) this.#keep(buffer);
        else spare = this.member.detach(this, buffer);
      } catch {
        isOurs = false; // it was transferred away before
      }
      // A native call that has pinned the buffer can make the engine ignore the transfer, without a word.
      if (!buffer.detached) return this.member.postpone(this);
      this.detached = isOurs;
      this.freed = spare !== undefined || (seen !== undefined && this.member.buffersSeen(this)! < seen);
    }
    this.#finish();
    this.member.letGo(this, spare);
  }

  #keep(buffer: ArrayBuffer): void {
    this.#kept = buffer.transfer();
    kept.add(this);
    unused.register(buffer, this, this);
  }

  /** Gives up what is kept. */
  giveUp(): void {
    kept.delete(this);
    unused.unregister(this);
    this.#kept!.transfer(0);
    this.#kept = undefined;
    this.freed = true;
  }

  /** Whether an array may still show the memory. */
  get isShown(): boolean {
    return !this.ended && this.#bufferNow() !== undefined;
  }

  /** The array is garbage. */
  abandoned(): void {
    if (this.ended) return;
    this.onAbandoned?.();
    if (this.uses > 0) {
      // Something has to be done with it first that the pool was too busy for.
      this.released = true;
      return;
    }
    this.#finish();
    this.member.letGo(this);
  }

  /**
   * Lets the collector watch the array, from the end of this job on. Most arrays do not live that long, and to register
   * and unregister them would take as long as the rest of alloc and release.
   */
  watch(owner: object): void {
    this.owner = owner;
    if (!endsSoon) {
      endsSoon = true;
      nextJob.then(endOfJob);
    }
    if (young.push(this) === YOUNG_MAX) watchYoung();
  }

  /** For the end of the job in which it was made. */
  watchNow(): void {
    if (this.ended) return;
    const owner = this.owner!;
    this.watched = new WeakRef(owner);
    owners.register(owner, this, this);
    if (this.uses === 0) this.owner = undefined;
    // A channel has none by which to find it again.
    if (ArrayBuffer.isView(owner)) this.buffer = undefined;
    weigh(this.byteLength);
  }

  #bufferNow(): ArrayBuffer | undefined {
    if (this.buffer !== undefined) return this.buffer;
    const owner = this.watched?.deref();
    return owner === undefined ? undefined : bufferOf(owner);
  }

  #finish(): void {
    this.ended = true;
    this.buffer = undefined;
    this.owner = undefined;
    if (this.watched !== undefined) {
      owners.unregister(this);
      weigh(-this.byteLength);
      return;
    }
    // What was made last is often the first to end. The others are passed over when their turn comes.
    if (young[young.length - 1] === this) young.pop();
  }
}

const owners = new FinalizationRegistry<Hold>((hold) => hold.abandoned());

/** Holds that keep memory for native calls. */
const kept = new Set<Hold>();
/** Of their own buffers. */
const unused = new FinalizationRegistry<Hold>((hold) => hold.giveUp());

/** Whether anything is kept for native calls. */
export function isKeeping(): boolean {
  return kept.size > 0;
}

/** Gives up what is kept for native calls, if there are none in flight. Returns whether there was any. */
export function giveUpKept(): boolean {
  if (kept.size === 0 || native().callsInFlight()) return false;
  for (const hold of kept) hold.giveUp();
  return true;
}

const nextJob = Promise.resolve();
const YOUNG_MAX = 64;
const young: Hold[] = [];
/** Whether the end of this job is waited for. */
let endsSoon = false;

function endOfJob(): void {
  endsSoon = false;
  watchYoung();
}

function watchYoung(): void {
  for (const hold of young) hold.watchNow();
  young.length = 0;
}

/** How much may wait for the collector before it is told, and how much it is told of at once. */
const WEIGH_STEP_BYTES = 48 << 20;
const WEIGH_MOST_BYTES = 256 << 20;
let untoldBytes = 0;

function weigh(byteLength: number): void {
  untoldBytes = Math.max(0, untoldBytes + byteLength);
  if (untoldBytes < WEIGH_STEP_BYTES) return;
  native().weigh(Math.min(untoldBytes, WEIGH_MOST_BYTES));
  untoldBytes = 0;
}
