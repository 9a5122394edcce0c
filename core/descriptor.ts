/**
 * Descriptors: the plain, JSON-safe value that names an array, or a slice of one, to another process.
 *
 * Whatever comes in is taken apart field by field: own data properties only, so that neither a prototype nor a getter has a
 * say, and each checked for type, range and what it must fit. That it fits the memory is checked when it is attached.
 */

import { AP_CLAIM_ATTACHES_MAX } from "./abi.ts";
import { type DType, type ElementType, elementTypeNamed, elementTypeOf } from "./dtype.ts";
import { checkOptions, quote } from "./errors.ts";
import type { Hold } from "./hold.ts";
import { AXES_MAX, shapeLength } from "./shape.ts";
import { isData, ownData } from "./walk.ts";

/** Plain JSON. `claim` names its claim (record and serial), 0 for none. */
export interface Descriptor {
  /** Marks a descriptor, and the version of its form. */
  readonly $arraypool: 1;
  /** The pool's name. */
  readonly pool: string;
  /** Tells this pool from others that had its name before. */
  readonly nonce: string;
  /** The array's place in the pool's table. */
  readonly block: number;
  /** Tells this array from others that had its place before. */
  readonly generation: number;
  /** The claim that keeps the array until it is attached; 0 for none. */
  readonly claim: number;
  /** Element type. */
  readonly dtype: DType;
  /** Bytes from the start of the array in the pool: not 0 only for slices. */
  readonly offset: number;
  /** Elements. */
  readonly length: number;
  /** Length of each axis, where it is not just `[length]`. */
  readonly shape?: readonly number[];
}

/** What names a channel: plain JSON, as `channel.toJSON()` makes it. */
export interface ChannelDescriptor {
  /** Marks a descriptor, and the version of its form. */
  readonly $arraypool: 1;
  /** What it names. */
  readonly kind: "channel";
  /** The pool's name. */
  readonly pool: string;
  /** Tells this pool from others that had its name before. */
  readonly nonce: string;
  /** The channel's place in the pool's table. */
  readonly block: number;
  /** Tells this channel from others that had its place before. */
  readonly generation: number;
  /** The claim that keeps the channel until it is attached; 0 for none. */
  readonly claim: number;
}

/** How an array is sent. */
export interface ShareOptions {
  /** How many members may attach before it is used up; the same member twice counts once. Default 1. */
  claims?: number;
  /** Milliseconds. Default the pool's `claimTtlMs`. */
  ttlMs?: number;
}

/** What names a pool: `pool.toJSON()`. */
export interface PoolReference {
  readonly $arraypool: 1;
  readonly pool: string;
  readonly nonce: string;
}

/** A checked descriptor. */
export interface Parsed extends Omit<Descriptor, "shape"> {
  readonly type: ElementType;
  readonly shape: readonly number[] | undefined;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,29}$/;
const NONCE = /^[0-9a-f]{16}$/;
const UINT32_MAX = 2 ** 32 - 1;

/** A pool's name. @throws {TypeError | RangeError} */
export function checkName(name: unknown): string {
  if (typeof name !== "string") throw new TypeError(`a pool's name must be a string, not ${quote(name)}`);
  if (!NAME.test(name)) {
    throw new RangeError(`a pool's name is 1 to 30 of A-Z a-z 0-9 . _ -, a letter or digit first, not ${quote(name)}`);
  }
  return name;
}

/** The options of `share` and `pack`, with their defaults; `ttlMs` 0 is the pool's. @throws {TypeError | RangeError} */
export function checkShareOptions(options: ShareOptions | undefined): { claims: number; ttlMs: number } {
  if (options === undefined) return DEFAULT_SHARE;
  const { claims = 1, ttlMs } = checkOptions(options, ["claims", "ttlMs"]);
  checkInteger(claims, "claims", AP_CLAIM_ATTACHES_MAX);
  if (ttlMs === undefined) return { claims, ttlMs: 0 };
  return { claims, ttlMs: checkMilliseconds(ttlMs, "ttlMs") };
}
const DEFAULT_SHARE = { claims: 1, ttlMs: 0 };

/** A time from 1 ms on, in whole ones. @throws {TypeError | RangeError} */
export function checkMilliseconds(value: unknown, what: string): number {
  if (typeof value !== "number") throw new TypeError(`${what} must be a number of milliseconds, not ${quote(value)}`);
  if (!(value > 0 && value <= Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${what} must be a positive, finite number of milliseconds, not ${value}`);
  }
  return Math.ceil(value);
}

function checkInteger(value: unknown, what: string, max: number): number {
  if (isCount(value, max)) return value + 0; // -0 is 0
  if (typeof value !== "number") throw new TypeError(`${what} must be a number, not ${quote(value)}`);
  throw new RangeError(`${what} must be an integer from 0 to ${max}, not ${value}`);
}

function isCount(value: unknown, max: number): value is number {
  return typeof value === "number" && value >= 0 && value <= max && Number.isInteger(value);
}

/** What may be in a descriptor: each is to be read once, and only if it `isData()`. */
type Untrusted = { readonly [Key in keyof Descriptor | "kind"]?: unknown };

/** The mark of what has none. */
export const UNMARKED: unique symbol = Symbol("unmarked");

/**
 * What `value` has under `$arraypool`, by which it claims to be ours: a descriptor, or the reference of a pool. It is looked up
 * once and handed on, as to look up a field takes longer than to check what is in it.
 */
export function markOf(value: Untrusted): unknown {
  return isData(value, "$arraypool") ? value.$arraypool : UNMARKED;
}

/** Whether a marked value names a pool only. */
export function isPoolReference(value: object): boolean {
  return !Object.hasOwn(value, "block");
}

/** Whether a marked value names a channel. */
export function isChannelDescriptor(value: Untrusted): boolean {
  return isData(value, "kind") && value.kind === "channel";
}

/** Checks the descriptor of a channel; `mark` is its `markOf`. @throws {TypeError | RangeError} */
export function parseChannelDescriptor(value: Untrusted, mark: unknown): ChannelDescriptor {
  const { pool, nonce } = parsePoolReference(value, mark);
  const block = parseBlock(value);
  const generation = parseGeneration(value);
  return { $arraypool: 1, kind: "channel", pool, nonce, block, generation, claim: parseClaim(value) };
}

// The names and nonces of what is open here come again and again.
let lastName: string | undefined;
let lastNonce: string | undefined;

/** Checks the reference of a pool; `mark` is its `markOf`. @throws {TypeError | RangeError} */
export function parsePoolReference(value: Untrusted, mark: unknown): PoolReference {
  if (mark !== 1) {
    const found = mark === UNMARKED ? undefined : mark;
    throw new TypeError(
      `a descriptor has $arraypool: 1, not ${quote(found)}: use the same version of arraypool on both sides`,
    );
  }
  const nonce = isData(value, "nonce") ? value.nonce : undefined;
  if (typeof nonce !== "string") throw new TypeError(`nonce in a descriptor must be a string, not ${quote(nonce)}`);
  if (nonce !== lastNonce && !NONCE.test(nonce)) {
    throw new RangeError(`nonce in a descriptor must be 16 hexadecimal digits, not ${quote(nonce)}`);
  }
  lastNonce = nonce;
  const pool = isData(value, "pool") ? value.pool : undefined;
  if (pool !== lastName || pool === undefined) lastName = checkName(pool);
  return { $arraypool: 1, pool: lastName!, nonce };
}

function parseBlock(value: Untrusted): number {
  return checkField(isData(value, "block") ? value.block : undefined, "block", UINT32_MAX);
}

function parseGeneration(value: Untrusted): number {
  return checkField(isData(value, "generation") ? value.generation : undefined, "generation", Number.MAX_SAFE_INTEGER);
}

function parseClaim(value: Untrusted): number {
  return checkField(isData(value, "claim") ? value.claim : undefined, "claim", Number.MAX_SAFE_INTEGER);
}

function checkField(value: unknown, key: keyof Descriptor, max: number): number {
  return isCount(value, max) ? value + 0 : checkInteger(value, `${key} in a descriptor`, max);
}

/** Checks a descriptor; `mark` is its `markOf`. @throws {TypeError | RangeError} */
export function parseDescriptor(given: Untrusted, mark: unknown): Parsed {
  const { pool, nonce } = parsePoolReference(given, mark);
  if (isPoolReference(given)) {
    throw new TypeError(`this names pool "${pool}" and no array: use unpack() or Pool.open()`);
  }
  if (isChannelDescriptor(given)) {
    throw new TypeError("this names a channel and no array: use unpack(), or attach() without a type");
  }
  const dtype = isData(given, "dtype") ? given.dtype : undefined;
  if (typeof dtype !== "string") throw new TypeError(`dtype in a descriptor must be a string, not ${quote(dtype)}`);
  const type = elementTypeNamed(dtype);
  if (type === undefined) throw new RangeError(`dtype in a descriptor must be an element type, not ${quote(dtype)}`);
  const offset = checkField(isData(given, "offset") ? given.offset : undefined, "offset", Number.MAX_SAFE_INTEGER);
  const length = checkField(isData(given, "length") ? given.length : undefined, "length", Number.MAX_SAFE_INTEGER);
  if (offset % type.bytes !== 0) {
    throw new RangeError(`offset in a descriptor must be a multiple of ${type.bytes}, not ${offset}`);
  }
  // Whole it is.
  if (offset + length * type.bytes > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`length in a descriptor is too large: ${length}`);
  }
  return {
    $arraypool: 1,
    pool,
    nonce,
    block: parseBlock(given),
    generation: parseGeneration(given),
    claim: parseClaim(given),
    dtype: type.dtype,
    type,
    offset,
    length,
    shape: parseShape(isData(given, "shape") ? given.shape : undefined, length),
  };
}

/** The mark of what should be a descriptor. @throws {TypeError} for what does not claim to be one. */
export function markOfDescriptor(value: unknown): unknown {
  if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
    const mark = markOf(value);
    if (mark !== UNMARKED) return mark;
  }
  const array = elementTypeOf(value);
  throw new TypeError(
    array !== undefined
      ? `this is a ${array.className} and no descriptor, perhaps a copy of an array that was sent: pack() what you send, and unpack() what you get`
      : `expected a descriptor, as array.share() makes it, instead of ${
        quote(value)
      }; what pack() made is for unpack()`,
  );
}

function parseShape(given: unknown, length: number): readonly number[] | undefined {
  if (given === undefined) return undefined;
  if (!Array.isArray(given)) throw new TypeError(`shape in a descriptor must be an array, not ${quote(given)}`);
  const shape: unknown[] = [];
  // One more than there may be, so that shapeLength() sees it.
  for (let axis = 0; axis < Math.min(given.length, AXES_MAX + 1); axis++) {
    const axisLength = ownData(given, axis);
    shape.push(axisLength === 0 ? 0 : axisLength); // -0 is 0
  }
  if (shapeLength(shape) !== length) throw new RangeError(`shape in a descriptor must have the product ${length}`);
  return Object.freeze(shape as number[]);
}

/** The descriptor of `length` elements from `offset` bytes on in the block of `hold`. */
export function describe(
  hold: Hold,
  type: ElementType,
  offset: number,
  length: number,
  shape: readonly number[] | undefined,
  claim: number,
): Descriptor {
  const { name, nonce } = hold.member;
  const descriptor = {
    $arraypool: 1,
    pool: name,
    nonce,
    block: hold.block,
    generation: hold.generation,
    claim,
    dtype: type.dtype,
    offset,
    length,
  } as const;
  return shape === undefined ? descriptor : { ...descriptor, shape: [...shape] };
}
