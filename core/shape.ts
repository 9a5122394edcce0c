/** Shapes: the length of each axis, row-major. `[]` is a scalar (one element), a zero makes the array empty. */

import { quote } from "./errors.ts";

/** A length, or the length of each axis, row-major. A zero is allowed. */
export type Shape = number | readonly number[];

/** NumPy's limit on axes, and a bound for shapes that come in messages. */
export const AXES_MAX = 64;

/** The number of elements of `shape`. @throws {TypeError | RangeError} if it is no shape. */
export function shapeLength(shape: unknown): number {
  if (typeof shape === "number") return checkLength(shape, "a length");
  if (!Array.isArray(shape)) {
    throw new TypeError(`a shape must be a length or an array of lengths, not ${quote(shape)}`);
  }
  if (shape.length > AXES_MAX) throw new RangeError(`a shape has at most ${AXES_MAX} axes, not ${shape.length}`);
  let length = 1;
  for (let axis = 0; axis < shape.length; axis++) length *= checkLength(shape[axis], `axis ${axis} of a shape`);
  return checkLength(length, "the product of a shape");
}

function checkLength(length: unknown, what: string): number {
  if (typeof length !== "number") throw new TypeError(`${what} must be a number, not ${quote(length)}`);
  // JavaScriptCore calls its own code for Number.isSafeInteger, and compiles this one where it stands.
  if (!(length >= 0 && length <= Number.MAX_SAFE_INTEGER && Number.isInteger(length))) {
    throw new RangeError(`${what} must be an integer from 0 to 2^53 - 1, not ${length}`);
  }
  return length;
}
