/** attach: from a descriptor to the array, or the channel, that it names. */

import { attachChannel, type Channel } from "./channel.ts";
import {
  type ChannelDescriptor,
  type Descriptor,
  isChannelDescriptor,
  markOfDescriptor,
  parseChannelDescriptor,
  type Parsed,
  parseDescriptor,
} from "./descriptor.ts";
import { elementTypeOfClass, type TypedArray, type TypedArrayClass } from "./dtype.ts";
import { memberFor } from "./pool.ts";
import { makeOwner, type SharedArray } from "./shared_array.ts";

/**
 * Attaches the array, the slice, or the channel that a descriptor names. With `type`, a descriptor of another element type is a `TypeError`.
 *
 * The pool is joined if need be.
 *
 * @param descriptor What `share()` or `toJSON()` of an array or a channel made, also through JSON.
 * @param type If given, the class that the array must have.
 * @returns An array or a channel, held here until it is released.
 * @throws {TypeError | RangeError} if it is no descriptor.
 * @throws {PoolError} `ERR_STALE_DESCRIPTOR`, `ERR_ARRAY_TOO_LARGE` (more than an ArrayBuffer of this runtime may have), and those of `Pool.open`
 *
 * @example
 * ```ts
 * import { attach, Pool } from "arraypool";
 *
 * using pool = Pool.create();
 * using prices = pool.from(Float64Array.of(1, 2, 3));
 * const text = JSON.stringify(prices.share()); // to another process, by argv, a file, a socket …
 * using same = attach(JSON.parse(text), Float64Array);
 * same[0] = 42;
 * console.log(prices[0]); // 42
 * ```
 */
export function attach<T extends TypedArray>(descriptor: Descriptor, type: TypedArrayClass<T>): SharedArray<T>;
export function attach(descriptor: Descriptor): SharedArray;
export function attach<T = unknown>(descriptor: ChannelDescriptor): Channel<T>;
export function attach(
  descriptor: Descriptor | ChannelDescriptor,
  type?: TypedArrayClass<TypedArray>,
): SharedArray | Channel {
  const wanted = type === undefined ? undefined : elementTypeOfClass(type);
  const mark = markOfDescriptor(descriptor);
  if (wanted === undefined && isChannelDescriptor(descriptor)) {
    return attachChannel(parseChannelDescriptor(descriptor, mark));
  }
  const parsed = parseDescriptor(descriptor, mark);
  if (wanted !== undefined && wanted !== parsed.type) {
    throw new TypeError(
      `the descriptor names an array of ${parsed.dtype}, not of ${wanted.dtype}: attach it as ${parsed.type.className}`,
    );
  }
  return attachParsed(parsed);
}

/** Attaches what a checked descriptor names. */
export function attachParsed(parsed: Parsed): SharedArray {
  const { type, block, generation, claim, offset, length, shape } = parsed;
  const hold = memberFor(parsed).attach(block, generation, claim, type.code, offset, length * type.bytes);
  return makeOwner(type, hold, length, shape);
}
