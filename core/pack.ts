/**
 * pack, unpack and release: messages with arrays anywhere inside.
 *
 * A message is walked through plain objects, arrays, Maps and Sets; everything else passes through as it is. The walk makes
 * new containers and never changes the ones it gets. A message that came from elsewhere is read by own data properties
 * only, so none of its code runs.
 */

import { attachParsed } from "./attach.ts";
import { attachChannel, Channel, claimedChannel } from "./channel.ts";
import {
  type ChannelDescriptor,
  checkShareOptions,
  isChannelDescriptor,
  isPoolReference,
  markOf,
  parseChannelDescriptor,
  type Parsed,
  parseDescriptor,
  parsePoolReference,
  type ShareOptions,
  UNMARKED,
} from "./descriptor.ts";
import { PoolError, quote } from "./errors.ts";
import type { Hold } from "./hold.ts";
import type { Member } from "./member.ts";
import { memberFor, openReference, Pool } from "./pool.ts";
import { claimOn, describeView, isOfAnotherVersion, isSharedArray, ownHoldOf } from "./shared_array.ts";
import { anyProperty, copyMessage, isContainer, ownData, UNTOUCHED, walkMessage } from "./walk.ts";

declare const message: unique symbol;
/** A message in which each array is its descriptor; plain data that clones, serialises, and queues. */
export interface Packed<T> {
  /** Of the compiler only: what `unpack()` makes of it. */
  readonly [message]: T;
}

/** What was unpacked, itself disposable where it may hold arrays: `using job = unpack(message)` releases all of them. */
export type Unpacked<T> = T extends Date | RegExp | Error ? T : T extends object ? T & Disposable : T;

/** A claim that a message takes along. */
interface Made {
  readonly hold: Hold;
  readonly claim: number;
  /** On a block of the same number, in another pool. */
  readonly next: Made | undefined;
}

/** An array or a channel that a message brought. */
interface Arrival {
  readonly parsed: Parsed | ChannelDescriptor;
  readonly array: { release(): void };
  /** Of a block of the same number: another slice, another claim, another pool. */
  readonly next: Arrival | undefined;
}

/** Claims made here for more than one attach: what `release()` has to take back. */
const claimsOfDescriptor = new WeakMap<object, number>();

/**
 * Makes a message ready to be sent: every pool array and slice in it becomes its descriptor, with a claim that keeps it
 * until it is unpacked or `ttlMs` are over. Channels and pools become theirs.
 *
 * @param message Anything. Plain objects, arrays, Maps and Sets are looked through; what else there is passes as it is.
 * @param options For how many receivers it is, and how long it is kept for them.
 * @returns A copy of the containers, with descriptors in it: plain data as far as the message was. The message is left alone.
 * @throws {PoolError} `ERR_RELEASED` for an array that was released, `ERR_POOL_FULL`, `ERR_POOL_BUSY`
 * @throws {TypeError} for a message that contains itself, an array of another version of the package, or an object of a
 * class that has pool arrays: they would be copied.
 * @throws {RangeError} for one that is nested more than 1024 deep.
 *
 * @example
 * ```ts
 * import { pack, Pool, unpack } from "arraypool";
 *
 * using pool = Pool.create();
 * using cube = pool.alloc(Float64Array, [4, 5, 6]);
 * const packed = pack({ cube, row: 3 }); // child.send(packed), worker.postMessage(packed), JSON.stringify(packed) …
 *
 * using job = unpack(packed);
 * job.cube.slab(job.row).fill(7);
 * console.log(cube[3 * 5 * 6]); // 7
 * ```
 */
export function pack<T>(message: T, options?: ShareOptions): Packed<T> {
  const checked = checkShareOptions(options);
  // One claim for an array, however often it and its slices occur: who unpacks it holds it from the first one on.
  const made = new Map<number, Made>();
  const claimOnce = (hold: Hold): number => {
    const first = made.get(hold.block);
    for (let known = first; known !== undefined; known = known.next) {
      // A getter in the message may have released it, and its block be another's by now.
      if (known.hold.member === hold.member && known.hold.generation === hold.generation) return known.claim;
    }
    const claim = claimOn(hold, checked);
    made.set(hold.block, { hold, claim, next: first });
    return claim;
  };
  const packOne = (value: object): unknown => {
    if (isSharedArray(value)) {
      const descriptor = describeView(value, claimOnce);
      if (checked.claims > 1) claimsOfDescriptor.set(descriptor, checked.claims);
      return descriptor;
    }
    if (value instanceof Channel) {
      const descriptor = claimedChannel(value, claimOnce);
      if (checked.claims > 1) claimsOfDescriptor.set(descriptor, checked.claims);
      return descriptor;
    }
    if (isOfAnotherVersion(value)) {
      throw new TypeError(
        "the message has an array of another version of arraypool, which this program has besides: pack() it with that version, or install one version for both",
      );
    }
    return value instanceof Pool ? value.toJSON() : UNTOUCHED;
  };
  try {
    return copyMessage(message, packOne, anyProperty, assertHoldsNoArray) as Packed<T>;
  } catch (error) {
    for (const first of made.values()) {
      for (let known: Made | undefined = first; known !== undefined; known = known.next) {
        const { hold: { member, block, generation }, claim } = known;
        // What cannot be dropped expires. The error is the one that was first.
        if (claim !== 0) failureOf(() => member.dropClaim(block, generation, claim, checked.claims));
      }
    }
    throw error;
  }
}

/**
 * Attaches what it finds in a message that `pack()` made, however it came: as it is, cloned, or through JSON. The same
 * claim gives the same array. Pools are joined if need be. All or nothing: on an error what was attached is released, and
 * the message's other claims are dropped.
 *
 * @param message What `pack()` made: an object, not its text.
 * @returns A copy with arrays, channels and pools in it. `using` it, or `release()`, lets go of all.
 * @throws {TypeError | RangeError} for a descriptor that is none, for the text or the event that a message is in, and for a message
 * that contains itself, or is nested more than 1024 deep.
 * @throws {PoolError} As `attach`.
 *
 * @example
 * ```ts
 * import { pack, Pool, unpack } from "arraypool";
 *
 * using pool = Pool.create();
 * using frame = pool.alloc(Uint8Array, [480, 640, 3]);
 * const line = JSON.stringify(pack({ id: 7, frame }));
 *
 * using job = unpack<{ id: number; frame: Uint8Array }>(JSON.parse(line));
 * job.frame.fill(255);
 * console.log(frame[0]); // 255
 * ```
 */
export function unpack<T>(message: Packed<T>): Unpacked<T>;
export function unpack<T = unknown>(message: unknown): Unpacked<T>;
export function unpack(message: unknown): unknown {
  const arrivals = new Map<number, Arrival>();
  const unpackOne = (value: object): unknown => {
    const mark = markOf(value);
    if (mark === UNMARKED) return UNTOUCHED;
    if (isPoolReference(value)) return openReference(parsePoolReference(value, mark));
    const parsed = parseAny(value, mark);
    const key = keyOf(parsed);
    const first = arrivals.get(key);
    for (let known = first; known !== undefined; known = known.next) {
      if (isSame(known.parsed, parsed)) return known.array;
    }
    const array = "type" in parsed ? attachParsed(parsed) : attachChannel(parsed);
    arrivals.set(key, { parsed, array, next: first });
    return array;
  };
  const forEach = (visit: (arrival: Arrival) => void): void => {
    for (const first of arrivals.values()) {
      for (let arrival: Arrival | undefined = first; arrival !== undefined; arrival = arrival.next) visit(arrival);
    }
  };
  const releaseAll = (): void => forEach(({ array }) => array.release());
  let result: unknown;
  try {
    result = copyMessage(message, unpackOne, ownData);
  } catch (error) {
    releaseAll();
    const claimsUsed = new Set<string>();
    forEach(({ parsed }) => claimsUsed.add(claimKeyOf(parsed)));
    dropClaims(message, claimsUsed, true);
    throw error;
  }
  if (isContainer(result)) {
    Object.defineProperty(result, Symbol.dispose, { value: releaseAll, writable: true, configurable: true });
  } else if (result === message) assertIsMessage(message);
  return result;
}

/**
 * Lets go of every array in a message: attached ones are released, a packed one's claims are dropped (it was not sent after all).
 * Slices have nothing to release.
 *
 * @param message What was packed, unpacked, or is still to be packed.
 * @throws {PoolError} `ERR_POOL_BUSY`; what could be let go of, was.
 *
 * @example
 * ```ts
 * import { pack, Pool, release } from "arraypool";
 *
 * using pool = Pool.create();
 * const message = { frames: [pool.alloc(Uint8Array, 10), pool.alloc(Uint8Array, 20)] };
 * const packed = pack(message);
 * release(message);
 * console.log(pool.stats().arrays, pool.stats().claims); // 2 2
 * release(packed);
 * console.log(pool.stats().arrays); // 0
 * ```
 */
export function release(message: unknown): void {
  const unwalkable = failureOf(() =>
    walkMessage(message, (value) => {
      if (isSharedArray(value)) ownHoldOf(value)?.release();
      else if (value instanceof Channel) value.release();
    })
  );
  const failure = dropClaims(message, new Set()) ?? unwalkable;
  if (failure !== undefined) throw failure;
}

/** How many values are looked at in an object that has a class. */
const LOOKS_MAX = 1000;

/**
 * What has a class passes as it is, and a structured clone of it would copy its arrays, silently: also those further inside. One
 * that says by `toJSON` what it is in a message knows what it does.
 */
function assertHoldsNoArray(value: object): void {
  const looks: Looks = { seen: new Set(), left: LOOKS_MAX };
  for (const [key, item] of partsOf(value)) {
    if (!holdsArray(item, looks)) continue;
    throw new TypeError(
      `a message holds plain objects, and ${
        quote(key)
      } is of one with a class, where pack() does not look: send { ...object }, or its properties`,
    );
  }
}

interface Looks {
  readonly seen: Set<object>;
  left: number;
}

function holdsArray(value: unknown, looks: Looks): boolean {
  looks.left--;
  if (typeof value !== "object" || value === null || looks.seen.has(value)) return false;
  if (isSharedArray(value) || value instanceof Channel) return true;
  looks.seen.add(value);
  for (const [, item] of partsOf(value)) {
    if (looks.left <= 0) return false;
    if (holdsArray(item, looks)) return true;
  }
  return false;
}

/** What a structured clone would copy of an object, with what it is called there. No code of it runs. */
function* partsOf(value: object): Generator<[key: unknown, item: unknown]> {
  if (ArrayBuffer.isView(value) || "toJSON" in value) return;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) yield [i, ownData(value, i)];
    return;
  }
  if (value instanceof Map) {
    for (const [key, item] of Map.prototype.entries.call(value)) yield [key, key], yield [key, item];
  } else if (value instanceof Set) { for (const item of Set.prototype.values.call(value)) yield ["a Set", item]; }
  if (value instanceof Error) yield ["cause", ownData(value, "cause")];
  for (const key of Object.keys(value)) yield [key, ownData(value, key)];
}

/** What is given to `unpack()` instead of the message in it. @throws {TypeError} */
function assertIsMessage(message: unknown): void {
  if (typeof message === "string" && message.includes('"$arraypool"')) {
    throw new TypeError("this is the text of a message: unpack(JSON.parse(text))");
  }
  if (typeof MessageEvent === "function" && message instanceof MessageEvent) {
    throw new TypeError("this is the event that brought a message: unpack(event.data)");
  }
}

/**
 * Drops the claims in a message, but for those in `done`; as a receiver only its own share of each. Goes on after a failure,
 * and returns the first.
 */
function dropClaims(message: unknown, done: Set<string>, asReceiver = false): unknown {
  let failure: unknown;
  // Each call for a pool that is busy would take as long.
  const busy = new Set<Member>();
  const dropOne = (value: object): void => {
    const mark = markOf(value);
    if (mark === UNMARKED || isPoolReference(value)) return;
    const parsed = parseAny(value, mark);
    const key = claimKeyOf(parsed);
    if (parsed.claim === 0 || done.has(key)) return;
    done.add(key);
    const member = memberFor(parsed);
    if (busy.has(member) || (asReceiver && member.hasUsed(parsed.block, parsed.claim))) return;
    try {
      const share = asReceiver ? 1 : claimsOfDescriptor.get(value) ?? 1;
      member.dropClaim(parsed.block, parsed.generation, parsed.claim, share);
    } catch (error) {
      if (error instanceof PoolError && error.code === "ERR_POOL_BUSY") busy.add(member);
      throw error;
    }
  };
  const unwalkable = failureOf(() =>
    walkMessage(message, (value) => {
      const error = failureOf(() => dropOne(value));
      // What is gone needs no dropping.
      if (!(error instanceof PoolError && error.code === "ERR_STALE_DESCRIPTOR")) failure ??= error;
    })
  );
  return failure ?? unwalkable;
}

/** What `call` throws. */
export function failureOf(call: () => void): unknown {
  try {
    call();
    return undefined;
  } catch (error) {
    return error;
  }
}

/**
 * The same for all that say the same. Of the others hardly any: a text that says all of a descriptor would take longer to make
 * than the rest.
 */
function keyOf(parsed: Parsed | ChannelDescriptor): number {
  const key = Math.imul(parsed.block, 0x9e3779b1) ^ Math.imul(parsed.claim, 0x85ebca6b);
  return "type" in parsed ? key ^ Math.imul(parsed.offset, 0xc2b2ae35) ^ Math.imul(parsed.length, 0x27d4eb2f) : key;
}

/** Whether two descriptors say the same. */
function isSame(one: Parsed | ChannelDescriptor, other: Parsed | ChannelDescriptor): boolean {
  if (one.claim !== other.claim || one.generation !== other.generation || one.block !== other.block) return false;
  if (one.nonce !== other.nonce || one.pool !== other.pool) return false;
  if (!("type" in one && "type" in other)) return "type" in one === "type" in other;
  return one.type === other.type && one.offset === other.offset && one.length === other.length &&
    one.shape?.join() === other.shape?.join();
}

function parseAny(value: object, mark: unknown): Parsed | ChannelDescriptor {
  return isChannelDescriptor(value) ? parseChannelDescriptor(value, mark) : parseDescriptor(value, mark);
}

function claimKeyOf({ pool, nonce, block, generation, claim }: Parsed | ChannelDescriptor): string {
  return [pool, nonce, block, generation, claim].join(" ");
}
