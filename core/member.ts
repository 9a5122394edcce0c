/**
 * One realm's place in one pool: the library's `ap_pool`, the holds of the realm's arrays in it, and what is still to be
 * done for them (hold.ts says how a hold ends).
 *
 *     open ──close()──> closed ──every array is detached──> left
 *
 * A member that is closed takes nothing new. It leaves when no array shows its memory any more: at once, or when the uses
 * of `holdUntil` have settled and the native calls in flight are done. Nothing native is called after that.
 */

import {
  AP_BUCKET_BYTES,
  AP_BUCKETS,
  AP_COUNTS_BUFFERS,
  AP_ERR_ARGUMENT,
  AP_ERR_BUSY,
  AP_ERR_FULL,
  AP_ERR_NOT_FOUND,
  AP_ERR_TOO_LARGE,
  AP_GONE_STRIDE,
  AP_INFO_BUCKETS_ADDRESS,
  AP_INFO_CAPACITY,
  AP_INFO_CLAIM_TTL_MS,
  AP_INFO_DOORBELL_ADDRESS,
  AP_INFO_GONE_ADDRESS,
  AP_INFO_HEAP_ADDRESS,
  AP_INFO_HEAP_WORDS,
  AP_MEMBER_INFO,
  AP_MEMBERS_MAX,
  AP_NAME_VALUE,
  AP_RECORD_BYTES,
  AP_RECORD_CLAIM,
  AP_RECORD_DTYPE,
  AP_RECORD_ERRNO,
  AP_RECORD_GENERATION,
  AP_RECORD_LENGTH,
  AP_RECORD_OFFSET,
  AP_RECORD_PID,
  AP_RECORD_TAIL,
  AP_RECORD_UNMADE,
  AP_REPORT_CAUSE,
  AP_REPORT_CODE,
  AP_REPORT_DETAIL,
  AP_REPORT_ERRNO,
  AP_REPORT_LENGTH,
  AP_REPORT_PID,
  AP_STATS_LENT,
  AP_TAIL,
  AP_TAIL_BYTES_MAX,
} from "./abi.ts";
import { formatBytes, PoolError } from "./errors.ts";
import { type Facts, failure, staleDescriptor } from "./failure.ts";
import { giveUpKept, Hold, isKeeping, wordAt } from "./hold.ts";
import type { Lines } from "./line.ts";
import { type Doorbell, type Library, native, type Pointer } from "./native.ts";
import type { Pool } from "./pool.ts";
import { writeNote } from "./shape_note.ts";
import { Spares } from "./spares.ts";
import { originsOf, traceStack, tracing } from "./trace.ts";
import { TraceLog } from "./trace_log.ts";
import type { Waits } from "./wait_async.ts";

/** How to get to a segment. */
export type Way =
  | {
    readonly how: "create";
    readonly name: string | undefined;
    readonly capacityBytes: number;
    readonly claimTtlMs: number;
  }
  | { readonly how: "openOrCreate"; readonly name: string; readonly capacityBytes: number; readonly claimTtlMs: number }
  | { readonly how: "open"; readonly name: string; readonly nonce: string | undefined };

// What a hold was shown by: ap_block_release
const NO_BUFFER = 0;
const BUFFER = 1;
const SPARE = 2;
// ap_block_release and ap_block_settle
const GONE = 0;
const HELD = 1;
const LENT = 2;
// ap_block_attach
const AGAIN = 1;

/** Of one block: attaching one of that many messages again uses up nothing. */
const CLAIMS_REMEMBERED = 32;

/** See `Member.makings`. */
export interface Making {
  /** Settles when it has been made, or not, or when the pool is closed. */
  readonly ended: Promise<void>;
  end(): void;
}

/** Of a message that was received by a hold on its channel: where it waits, and which one it is. */
export interface Acknowledgement {
  readonly hold: Hold;
  readonly entry: number;
  readonly message: number;
  /** 1: it is the next receiver's; 0: it is done with. */
  readonly giveBack: number;
  /** Who is not to be collected before. */
  readonly channel: object;
}

const TEND_FIRST_MS = 10;
const TEND_LAST_MS = 1000;
/** About as long as a call waits for the lock, so that the thread has half of the time for others. */
const BUSY_APART_MS = 2000;

const members = new Set<Member>();
/** The names of all pools that this realm ever was in. */
const joined = new Set<string>();
let leavesAtExit = false;

/** Joins a pool. @throws {PoolError} */
export function join(way: Way): Member {
  const { library, runtime } = native();
  const report = new Float64Array(AP_REPORT_LENGTH);
  const options = runtime | AP_COUNTS_BUFFERS;
  const name = way.name === undefined ? null : cString(way.name);
  const pool = way.how === "create"
    ? library.ap_pool_create(name, way.capacityBytes, way.claimTtlMs, options, report)
    : way.how === "open"
    ? library.ap_pool_open(name!, way.nonce === undefined ? null : cString(way.nonce), options, report)
    : library.ap_pool_open_or_create(name!, way.capacityBytes, way.claimTtlMs, options, report);
  if (pool === null) {
    throw failure(report[AP_REPORT_CODE]!, {
      pool: way.name,
      creating: way.how !== "open",
      errno: report[AP_REPORT_ERRNO]!,
      detail: report[AP_REPORT_DETAIL]!,
      cause: report[AP_REPORT_CAUSE]!,
      pid: report[AP_REPORT_PID]!,
    });
  }
  if (!leavesAtExit) native().atExit(leaveAll);
  leavesAtExit = true;
  return new Member(pool);
}

function leaveAll(): void {
  // A member whose memory is still in use does not leave: it ends with the process.
  for (const member of members) member.close(true);
  const { isMainThread, library } = native();
  if (!isMainThread) return;
  // Workers end with the process, and those that were terminated have not left: none of them is the last one out.
  for (const name of joined) library.ap_exit(cString(name));
}

const NOWHERE = new Int32Array(1);
const VAIN_MANY = 1000;

/** See above. */
export class Member {
  readonly name: string;
  readonly nonce: string;
  readonly capacityBytes: number;
  readonly claimTtlMs: number;
  /** What the last call of the library wrote. */
  readonly record: Float64Array;
  /** The part of it that the library writes behind an array. */
  readonly #note: Uint8Array;
  /** Joined only for what descriptors name: leaves by itself when it holds nothing and nobody else is there. */
  passing = false;
  closed = false;
  /** Its waits that do not block. */
  waits: Waits | undefined = undefined;
  /** The Pool that stands for it. */
  pool: Pool | undefined = undefined;

  /** Those who wait for channels and do not block, by the channel's block. */
  readonly lines: Map<number, Lines> = new Map();
  /** What says last that this pool is busy. */
  busyError: Error | undefined = undefined;
  /** How many of the lines are asleep. */
  asleep = 0;

  /** How many wait, by bucket (wait.ts); `NOWHERE` as long as that must not be looked at without a call. */
  counts: Int32Array = NOWHERE;
  /** How often it was since the last call. */
  looks = 0;
  /** Notifies that found nobody. */
  #vain = 0;

  /** What is being made under a name in this realm. */
  readonly makings: Map<string, Making> = new Map();

  readonly #library: Library;
  #pool: Pointer | undefined;
  readonly #heap: number;
  readonly #gone: number;
  readonly #doorbell: number;
  readonly #heapWords: number;
  readonly #buckets: number;

  #first: Hold | undefined = undefined;
  #count = 0;
  // Claims that were used up for a block while it is held: attaching the same message again uses up nothing.
  readonly #claimsUsed = new Map<number, number[]>();

  // To be done later: buffers to detach, blocks to let go of, blocks that somebody else sees.
  #pinned: Hold[] = [];
  #owed: Hold[] = [];
  #lent: Hold[] = [];
  /** Blocks with buffers that were transferred away, or that only a plain view has. */
  readonly #lost = new Set<number>();
  /** Blocks of which one of several holds has ended, for whose buffer there may be a call in flight. */
  readonly #doubtful = new Set<number>();
  // Blocks that were held and not shown, and what is said of their buffers when they are released.
  #unshown: { readonly block: number; readonly shown: number }[] = [];
  // Names whose making ended when the lock could not be had.
  #unmade: string[] = [];
  // Messages that are done with, or given back, for which it could not be had either.
  #unacknowledged: Acknowledgement[] = [];
  /** Whether there is anything to be done that #retry() may do. */
  #isLate = false;
  /** Until then it is not tried, since the lock could not be had: each try would keep the caller for as long as the last one. */
  #busyUntil = 0;
  readonly #spares: Spares | undefined;
  // With ARRAYPOOL_TRACE=1.
  readonly #traces: TraceLog | undefined;
  /** What lets go of all holds looks at the end whether any is left: each look walks over all of them. */
  #isClosing = false;
  #tending = false;
  #tendMs = TEND_FIRST_MS;

  constructor(pool: Pointer) {
    const { library, buffer, address, takeOver } = native();
    this.#library = library;
    this.#pool = pool;
    this.record = new Float64Array(buffer(address(library.ap_pool_record(pool)), AP_RECORD_LENGTH * 8, 0));
    this.#note = new Uint8Array(this.record.buffer, AP_RECORD_TAIL * 8, AP_TAIL_BYTES_MAX);
    library.ap_pool_info(pool);
    this.#heap = this.record[AP_INFO_HEAP_ADDRESS]!;
    this.#gone = this.record[AP_INFO_GONE_ADDRESS]!;
    this.#doorbell = this.record[AP_INFO_DOORBELL_ADDRESS]!;
    this.#heapWords = this.record[AP_INFO_HEAP_WORDS]!;
    this.#buckets = this.record[AP_INFO_BUCKETS_ADDRESS]!;
    this.capacityBytes = this.record[AP_INFO_CAPACITY]!;
    this.claimTtlMs = this.record[AP_INFO_CLAIM_TTL_MS]!;
    const text = new Uint8Array(64);
    library.ap_pool_name(pool, text);
    this.name = fromCString(text);
    library.ap_pool_nonce(pool, text);
    this.nonce = fromCString(text);
    this.#spares = takeOver && new Spares(library, pool, takeOver);
    this.#traces = tracing() ? TraceLog.open(pool, this.capacityBytes) : undefined;
    members.add(this);
    joined.add(this.name);
  }

  // ------------------------------------------------------------------ holds

  /** Allocates. `shape`: what those who look are to be told, where it is not just the length. */
  alloc(byteLength: number, dtype: number, how: number, shape?: readonly number[]): Hold {
    const pool = this.#ready();
    assertShowable(byteLength);
    const noteBytes = shape === undefined ? 0 : writeNote(shape, this.#note);
    const asked = how + noteBytes * AP_TAIL;
    let block = this.#library.ap_block_alloc(pool, byteLength, dtype, asked);
    if (block === AP_ERR_FULL && this.makeRoom()) block = this.#library.ap_block_alloc(pool, byteLength, dtype, asked);
    if (block < 0) {
      // Better without a word of its shape than not at all.
      const isShort = block === AP_ERR_FULL || block === AP_ERR_TOO_LARGE;
      if (isShort && noteBytes > 0) return this.alloc(byteLength, dtype, how);
      throw this.failed(block);
    }
    return this.#show(block, 0, byteLength);
  }

  /** Holds what a descriptor names, if it fits: `byteLength` bytes from `offset` on, of element type `dtype`. */
  attach(block: number, generation: number, claim: number, dtype: number, offset: number, byteLength: number): Hold {
    const pool = this.#ready();
    const result = this.#library.ap_block_attach(pool, block, generation, claim);
    if (result < 0) throw this.failed(result);
    try {
      this.#assertFits(dtype, offset + byteLength);
      assertShowable(byteLength);
    } catch (error) {
      this.#dropUnshown(block);
      throw error;
    }
    const hold = this.#show(block, offset, byteLength);
    if (claim !== 0) this.#useClaim(hold, claim, result === AGAIN);
    return hold;
  }

  #assertFits(dtype: number, end: number): void {
    if (this.record[AP_RECORD_DTYPE] === dtype && end <= this.record[AP_RECORD_BYTES]!) return;
    throw staleDescriptor(
      `the descriptor does not fit the array that it names in pool "${this.name}": it was altered on its way; send a new one`,
    );
  }

  /** Holds `byteLength` bytes of the block of `hold` once more, from `offset` on. */
  retain(hold: Hold, offset: number, byteLength: number): Hold {
    const result = this.#library.ap_block_retain(this.#ready(), hold.block);
    if (result < 0) throw this.failed(result);
    return this.#show(hold.block, offset, byteLength);
  }

  /** Enters `byteLength` bytes of the block of `hold` into this process's page tables, from `offset` on. */
  prefault(hold: Hold, offset: number, byteLength: number): void {
    const result = this.#library.ap_block_prefault(this.#ready(), hold.block, offset, byteLength);
    if (result < 0) throw this.failed(result);
  }

  /** Detaches the buffer of a hold. Returns the spare that is left of it, if one is: for `letGo`. */
  detach(hold: Hold, buffer: ArrayBuffer): ArrayBuffer | undefined {
    if (this.#spares !== undefined && !this.closed && !this.#isBusy()) return this.#spares.detach(hold, buffer);
    buffer.transfer(0);
    return undefined;
  }

  /** Lets go of the block of a hold whose buffer is detached, or not ours to see any more. */
  letGo(hold: Hold, spare?: ArrayBuffer): void {
    if (this.#pool === undefined) return;
    if (this.closed) {
      // The library lets go of all blocks at once when this member leaves.
      this.#unlink(hold);
      if (this.#isInFlight(hold)) this.#lent.push(hold);
      return this.#isClosing ? undefined : this.#leaveIfDone();
    }
    const result = spare === undefined && this.#isBusy()
      ? AP_ERR_BUSY
      : this.#library.ap_block_release(this.#pool, hold.block, spare === undefined ? BUFFER : SPARE);
    // Whatever the result is: also what has to be let go of later has it.
    if (spare !== undefined) this.#spares!.put(hold, spare);
    if (result === AP_ERR_BUSY) {
      this.#owed.push(hold);
      return this.#tryLater();
    }
    // Whatever else the library says, there is nothing left to let go of; and a release must not throw.
    this.#unlink(hold);
    if (result === LENT || result === HELD) this.#seen(hold, result);
    else this.#forget(hold.block, result);
  }

  /** Somebody else sees the block of a hold that has ended. */
  #seen(hold: Hold, result: number): void {
    if (!hold.detached) this.#lost.add(hold.block);
    else if (result === HELD && !hold.freed) this.#doubtful.add(hold.block);
    if (result === HELD) return;
    this.#lent.push(hold);
    this.#tendSoon();
  }

  /**
   * Through how many buffers the block of a hold is seen; undefined where it need not be known. It need where this one has to be
   * told from those that were transferred away, for which nobody waits with leaving.
   */
  buffersSeen({ block }: Hold): number | undefined {
    if (!this.closed && (this.#lost.size === 0 || !this.#lost.has(block))) return undefined;
    return this.#pool === undefined ? undefined : this.#library.ap_block_shown(this.#pool, block);
  }

  /** Lets go of what is held and was not shown. */
  #dropUnshown(block: number, shown = NO_BUFFER): void {
    if (this.#pool === undefined || this.closed) return; // leaving lets go of all
    if (!this.#isBusy() && this.#library.ap_block_release(this.#pool, block, shown) !== AP_ERR_BUSY) return;
    this.#unshown.push({ block, shown });
    this.#tryLater();
  }

  /** Detaches the buffer of `hold` later: a native call has pinned it. */
  postpone(hold: Hold): void {
    // To take its memory over copies it, as long as it is pinned.
    hold.address = 0;
    this.#pinned.push(hold);
    this.#isLate = true;
    this.#tendSoon();
  }

  /** Whether it is tried again anyway. Each try copies, as long as it is pinned. */
  hasPostponed(hold: Hold): boolean {
    return this.#pinned.includes(hold);
  }

  #show(block: number, offset: number, byteLength: number): Hold {
    const { record } = this;
    return this.#showAt(block, record[AP_RECORD_GENERATION]!, record[AP_RECORD_OFFSET]!, offset, byteLength);
  }

  #showAt(block: number, generation: number, heapOffset: number, offset: number, byteLength: number): Hold {
    let buffer: ArrayBuffer;
    let address = 0;
    if (byteLength > 0) {
      address = this.#heap + heapOffset + offset;
      buffer = this.#spares?.take(block, address, byteLength) ??
        native().buffer(address, byteLength, this.#gone + block * AP_GONE_STRIDE);
      // Before anybody sees it.
      this.record[AP_RECORD_UNMADE] = 0;
    } else {
      // Not every runtime makes an ArrayBuffer of length 0 on foreign memory.
      buffer = new ArrayBuffer(0);
      this.#library.ap_block_show_nothing(this.#pool!, block);
    }
    const hold = new Hold(this, block, generation, offset, byteLength, buffer);
    hold.word = wordAt(this.#heapWords, heapOffset + offset);
    if (this.#spares !== undefined) hold.address = address;
    const stack = traceStack();
    if (stack !== undefined) {
      hold.origin = stack[0];
      this.#traces?.add(hold, stack.join("\n"));
    }
    this.#link(hold);
    return hold;
  }

  #link(hold: Hold): void {
    const first = this.#first;
    hold.next = first;
    if (first !== undefined) first.previous = hold;
    this.#first = hold;
    this.#count++;
  }

  #unlink(hold: Hold): void {
    this.#traces?.remove(hold);
    const { next, previous } = hold;
    if (previous !== undefined) previous.next = next;
    else this.#first = next;
    if (next !== undefined) next.previous = previous;
    // Or one array that is kept would keep all that came after it.
    hold.next = hold.previous = undefined;
    if (--this.#count === 0 && this.passing) this.#tendSoon();
  }

  // ------------------------------------------------------------------ names

  /**
   * Holds what a name names, which the library writes to `value`; undefined if it names nothing. `accept` says which part
   * is to be shown, or throws.
   */
  attachNamed(
    key: Uint8Array,
    keyBytes: number,
    value: Uint8Array,
    accept: () => { offset: number; byteLength: number } | "channel",
  ): Hold | undefined {
    const pool = this.#ready();
    const result = this.#library.ap_name_get(pool, key, keyBytes, value);
    if (result === AP_ERR_NOT_FOUND) return undefined;
    if (result < 0) throw this.failed(result);
    const block = new DataView(value.buffer).getUint32(AP_NAME_VALUE.block, true);
    const generation = this.record[AP_RECORD_GENERATION]!;
    let part: { offset: number; byteLength: number } | "channel";
    try {
      part = accept();
      if (part === "channel") this.#enterChannel(block);
      else assertShowable(part.byteLength);
    } catch (error) {
      this.#dropUnshown(block);
      throw error;
    }
    if (part === "channel") return this.#showAt(block, generation, 0, 0, 0);
    return this.#show(block, part.offset, part.byteLength);
  }

  /** Says that this member does not make what it was making under a name; the next one that asks makes it. */
  giveUpMaking(name: string): void {
    if (this.#pool === undefined || this.closed) return; // leaving says so, too
    const key = new TextEncoder().encode(name);
    if (!this.#isBusy() && this.#library.ap_once_end(this.#pool, key, key.length, null) !== AP_ERR_BUSY) return;
    this.#unmade.push(name);
    this.#tryLater();
  }

  /** Before a making begins: what is still to be given up is tried now, or this member would be said to wait for itself. */
  giveUpUnmade(): void {
    if (this.#unmade.length > 0) this.#busyUntil = 0;
  }

  // ------------------------------------------------------------------ channels

  /** Makes a channel. */
  createChannel(capacity: number, messageBytesMax: number): Hold {
    const create = () => this.#library.ap_channel_create(this.#ready(), capacity, messageBytesMax);
    let block = create();
    if (block === AP_ERR_FULL && this.makeRoom()) block = create();
    if (block < 0) throw this.failed(block);
    // A hold shows nothing: what is in a channel is not for JavaScript.
    return this.#showAt(block, this.record[AP_RECORD_GENERATION]!, 0, 0, 0);
  }

  /** Holds the channel that a descriptor names; the record then says what it is like. */
  attachChannel(block: number, generation: number, claim: number): Hold {
    const result = this.#library.ap_block_attach(this.#ready(), block, generation, claim);
    if (result < 0) throw this.failed(result);
    try {
      this.#enterChannel(block);
    } catch (error) {
      this.#dropUnshown(block);
      throw error;
    }
    const hold = this.#showAt(block, generation, 0, 0, 0);
    if (claim !== 0) this.#useClaim(hold, claim, result === AGAIN);
    return hold;
  }

  #enterChannel(block: number): void {
    const result = this.#library.ap_channel_enter(this.#pool!, block);
    if (result === 0) return;
    throw result === AP_ERR_ARGUMENT
      ? staleDescriptor(
        `the descriptor names a channel of pool "${this.name}" where there is none: it was altered on its way; send a new one`,
      )
      : this.failed(result);
  }

  /** Shows what a message has brought, which is held already: an array … */
  showReceived(block: number, generation: number, heapOffset: number, offset: number, byteLength: number): Hold {
    assertShowable(byteLength);
    // Of a message's arrays each is counted for itself: whenever this Worker is terminated, one at most is counted and not made.
    this.#library.ap_block_show(this.#ready(), block);
    try {
      return this.#showAt(block, generation, heapOffset, offset, byteLength);
    } catch (error) {
      this.#library.ap_block_show_nothing(this.#pool!, block);
      throw error;
    }
  }

  /** … or a channel. */
  showReceivedChannel(block: number, generation: number): Hold {
    this.#enterChannel(block);
    return this.#showAt(block, generation, 0, 0, 0);
  }

  /** Lets go of what a message has brought and nobody has shown. */
  dropReceived(block: number): void {
    this.#dropUnshown(block, BUFFER); // none was counted that would have to be taken off again
  }

  /** Acknowledges a message, now or later: its channel is held until then. */
  acknowledge(what: Acknowledgement): void {
    if (this.#pool === undefined || this.closed) return; // leaving gives it back
    const { hold, entry, message, giveBack } = what;
    const acknowledge = () => this.#library.ap_channel_acknowledge(this.#pool!, hold.block, entry, message, giveBack);
    if (!this.#isBusy() && acknowledge() !== AP_ERR_BUSY) return;
    hold.use(what.channel);
    this.#unacknowledged.push(what);
    this.#tryLater();
  }

  // ------------------------------------------------------------------ claims

  /** Lets others attach the block of `hold` without a claim. Returns what stands for none. */
  share(hold: Hold): 0 {
    const result = this.#library.ap_block_share(this.#ready(), hold.block);
    if (result < 0) throw this.failed(result);
    return 0;
  }

  /** Makes a claim on the block of `hold`. */
  claim(hold: Hold, attaches: number, ttlMs: number): number {
    const result = this.#library.ap_claim_create(this.#ready(), hold.block, attaches, ttlMs);
    if (result < 0) throw this.failed(result);
    return this.record[AP_RECORD_CLAIM]!;
  }

  /** Whether this member has used up its share of a claim, for a block that it holds. */
  hasUsed(block: number, claim: number): boolean {
    return this.#claimsUsed.get(block)?.includes(claim) === true;
  }

  /** Takes `attaches` off a claim that will not be used. */
  dropClaim(block: number, generation: number, claim: number, attaches: number): void {
    const result = this.#library.ap_claim_drop(this.#ready(), block, generation, claim, attaches);
    if (result < 0) throw this.failed(result);
  }

  #useClaim(hold: Hold, claim: number, heldBefore: boolean): void {
    const used = this.#claimsUsed.get(hold.block);
    if (!heldBefore || used === undefined) this.#claimsUsed.set(hold.block, [claim]);
    else if (used.includes(claim)) return;
    // The oldest are forgotten: an array that goes back and forth all day must not leave a trace for each time.
    else if (used.push(claim) > CLAIMS_REMEMBERED) used.shift();
    // The library has taken nothing off the claim of a block that was held already; this message has arrived all the same.
    if (heldBefore) this.#library.ap_claim_drop(this.#pool!, hold.block, hold.generation, claim, 1);
  }

  /** When `released` says that the block is not held any more. */
  #forget(block: number, released: number): void {
    if (released !== GONE) return;
    if (this.#claimsUsed.size > 0) this.#claimsUsed.delete(block);
    if (this.lines.size > 0) this.lines.delete(block);
    if (this.#lost.size > 0) this.#lost.delete(block);
    if (this.#doubtful.size > 0) this.#doubtful.delete(block);
  }

  // ------------------------------------------------------------------ waiting

  /** Wakes `count` who wait for the word at `offset` of the block of `hold`. */
  notify(hold: Hold, offset: number, count: number): number {
    // What is owed is done by calls that take longer than this one.
    const pool = this.closed ? this.#ready() : this.#pool!;
    const result = this.#library.ap_word_notify(pool, hold.block, offset, count);
    if (result < 0) throw this.failed(result);
    this.looks = 0;
    if (this.counts !== NOWHERE) hold.counts = this.counts;
    if (result === 0 && ++this.#vain % VAIN_MANY === 0) this.#lookUnfenced();
    return result;
  }

  /** Who notifies that often without need does so without a fence, and without a call, once the kernel has seen to it. */
  #lookUnfenced(): void {
    if (this.counts !== NOWHERE || this.#library.ap_word_unfenced(this.#pool!) !== 1) return;
    this.counts = new Int32Array(native().buffer(this.#buckets, AP_BUCKETS * AP_BUCKET_BYTES, 0));
  }

  /** See Native. */
  openDoorbell(onRing: () => void): Doorbell | undefined {
    return native().openDoorbell(this.#pool!, this.#doorbell, onRing);
  }

  // ------------------------------------------------------------------ calls

  /** Calls `use` with the library and the pool. @throws {PoolError} if the member is closed or the result negative. */
  call(use: (library: Library, pool: Pointer) => number): number {
    const result = use(this.#library, this.#ready());
    if (result < 0) throw this.failed(result);
    return result;
  }

  /** The error for a negative result, with what the record says. */
  failed(code: number, sending = false): Error {
    const isFull = code === AP_ERR_FULL;
    // What the library counts next goes there, too.
    const record = isFull ? this.record.slice() : this.record;
    const origins = isFull ? originsOf(this.#holds()) : undefined;
    const facts: Facts = {
      pool: this.name,
      sending,
      lentBytes: isFull && this.#lent.length > 0 && this.#library.ap_pool_stats(this.#pool!) === 0 ? this.lentBytes : 0,
      capacityBytes: this.capacityBytes,
      record,
      errno: record[AP_RECORD_ERRNO]!,
      pid: record[AP_RECORD_PID]!,
    };
    const error = failure(code, origins === undefined ? facts : { ...facts, origins });
    if (code === AP_ERR_BUSY) this.busyError = error;
    return error;
  }

  /** Bytes that somebody else sees though this realm has let go; after ap_pool_stats. */
  get lentBytes(): number {
    return this.record[AP_STATS_LENT]!;
  }

  /** What every call of the library needs, for those for whom a call() is too slow. @throws {PoolError} `ERR_CLOSED` */
  ready(): Pointer {
    return this.closed || this.#isLate || isKeeping() ? this.#ready() : this.#pool!;
  }

  get library(): Library {
    return this.#library;
  }

  /** Does what the event loop would do, for one who keeps it waiting. Whether there was anything. */
  tidy(): boolean {
    if (this.#lent.length === 0 || this.#pool === undefined) return false;
    this.settle();
    return true;
  }

  /** Before the pool is said to be full: what this member is done with is let go of. Whether there was anything. */
  makeRoom(): boolean {
    const isLate = this.#isLate;
    if (isLate) {
      this.#busyUntil = 0; // who says that it is full has had the lock
      this.#retry();
    }
    return this.tidy() || isLate;
  }

  #ready(): Pointer {
    if (this.closed) {
      throw new PoolError(
        "ERR_CLOSED",
        `pool "${this.name}" was closed here: close it later; while others have it open, Pool.open(${
          JSON.stringify(this.name)
        }) joins it again`,
      );
    }
    if (this.#isLate && !this.#isBusy()) this.#retry();
    if (giveUpKept()) this.settle();
    return this.#pool!;
  }

  *#holds(): Generator<Hold> {
    for (let hold = this.#first; hold !== undefined; hold = hold.next) yield hold;
  }

  // ------------------------------------------------------------------ later

  #tendSoon(): void {
    this.#tendMs = TEND_FIRST_MS;
    this.#tendLater();
  }

  #tendLater(): void {
    if (this.#tending || this.#pool === undefined) return;
    this.#tending = true;
    native().later(() => this.#tend(), this.#tendMs);
    this.#tendMs = Math.min(2 * this.#tendMs, TEND_LAST_MS);
  }

  #tend(): void {
    this.#tending = false;
    if (this.#pool === undefined) return;
    if (!this.#isBusy()) this.#retry();
    if (this.closed) return this.#leaveIfDone();
    this.settle();
    const idle = this.passing && this.#count === 0 && this.#lent.length === 0;
    // By its Pool, which would stay in the register of those that are open.
    if (idle && this.#isAlone()) return this.pool!.close();
    const waiting = this.#pinned.length + this.#owed.length + this.#unshown.length + this.#lent.length +
      this.#unmade.length + this.#unacknowledged.length;
    if (idle || waiting > 0) this.#tendLater();
  }

  /** The lock could not be had. */
  #tryLater(): void {
    this.#isLate = true;
    if (!this.#isBusy()) this.#busyUntil = performance.now() + BUSY_APART_MS;
    this.#tendSoon();
  }

  /** Whether it could not be had a moment ago. */
  #isBusy(): boolean {
    return this.#isLate && performance.now() < this.#busyUntil;
  }

  #retry(): void {
    this.#isLate = false;
    const pinned = this.#pinned;
    const owed = this.#owed;
    this.#pinned = [];
    this.#owed = [];
    for (const hold of pinned) hold.end();
    for (const hold of owed) this.letGo(hold);
    const unshown = this.#unshown;
    this.#unshown = [];
    for (const { block, shown } of unshown) this.#dropUnshown(block, shown);
    const unmade = this.#unmade;
    this.#unmade = [];
    for (const name of unmade) this.giveUpMaking(name);
    const unacknowledged = this.#unacknowledged;
    this.#unacknowledged = [];
    for (const what of unacknowledged) {
      this.acknowledge(what);
      what.hold.used();
    }
  }

  /** Lets go of what was lent and is seen by nobody any more. */
  settle(): void {
    if (this.#lent.length === 0 || this.closed) return;
    giveUpKept();
    const lent = this.#lent;
    this.#lent = [];
    let isBusy = false;
    for (const hold of lent) {
      const result: number = isBusy ? AP_ERR_BUSY : this.#library.ap_block_settle(this.#pool!, hold.block);
      isBusy = result === AP_ERR_BUSY;
      if (result === LENT || isBusy) this.#lent.push(hold);
      else this.#forget(hold.block, result);
    }
  }

  #isAlone(): boolean {
    const infos = new Uint8Array(AP_MEMBERS_MAX * AP_MEMBER_INFO.BYTES);
    const count = this.#library.ap_member_list(this.#pool!, infos, AP_MEMBERS_MAX);
    const view = new DataView(infos.buffer);
    let alive = 0;
    for (let i = 0; i < count; i++) alive += view.getUint32(i * AP_MEMBER_INFO.BYTES + AP_MEMBER_INFO.alive, true);
    return alive === 1;
  }

  // ------------------------------------------------------------------ leaving

  /** See `passing`. */
  startPassing(): void {
    this.passing = true;
    this.#tendSoon();
  }

  /** Detaches every array, and leaves. */
  close(atExit = false): void {
    if (this.closed) return;
    this.waits?.close(atExit);
    for (const lines of this.lines.values()) for (const line of lines) line?.leave();
    // What others wait for: to leave may take as long as a use.
    for (const name of this.makings.keys()) this.giveUpMaking(name);
    for (const hold of this.#holds()) hold.onAbandoned?.();
    this.closed = true;
    // At the end of the program nobody hears of it.
    if (!atExit) { for (const making of this.makings.values()) making.end(); }
    this.#spares?.dropAll();
    this.counts = NOWHERE;
    for (const { hold } of this.#unacknowledged) hold.used();
    this.#unacknowledged = [];
    this.#isClosing = true;
    // A hold may unlink itself, and only itself.
    for (let hold = this.#first; hold !== undefined;) {
      const next: Hold | undefined = hold.next;
      hold.release();
      hold = next;
    }
    this.#isClosing = false;
    this.#leaveIfDone();
  }

  /** What was transferred away, or a plain view on an array that is garbage, does not count: it shows zeros from here on. */
  #leaveIfDone(): void {
    const pool = this.#pool;
    if (!this.closed || pool === undefined) return;
    for (const hold of this.#holds()) {
      if (hold.isShown) return this.#pinned.length > 0 ? this.#tendLater() : undefined;
    }
    this.#lent = this.#lent.filter((hold) => this.#isInFlight(hold));
    if (this.#lent.length > 0) return this.#tendLater();
    this.#pool = undefined;
    members.delete(this);
    // These lie in memory that goes away, too.
    (this.record.buffer as ArrayBuffer).transfer(0);
    this.#traces?.close();
    if (this.#library.ap_pool_close(pool, 0) === 1) joined.delete(this.name);
  }

  /** Whether a native call still uses the memory of a hold that has ended. */
  #isInFlight(hold: Hold): boolean {
    giveUpKept();
    if (!hold.detached || (hold.freed && !this.#doubtful.has(hold.block))) return false;
    return this.#library.ap_block_shown(this.#pool!, hold.block) > 0;
  }
}

function assertShowable(byteLength: number): void {
  const { largestBufferBytes } = native();
  if (byteLength <= largestBufferBytes) return;
  const [most, asked] = [formatBytes(largestBufferBytes), formatBytes(byteLength)];
  throw new PoolError(
    "ERR_ARRAY_TOO_LARGE",
    `an ArrayBuffer of this runtime has at most ${most}, not ${asked}: use several smaller arrays, or attach slices`,
  );
}

function cString(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length + 1);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function fromCString(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)));
}
