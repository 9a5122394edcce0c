/**
 * The shape of an array, left behind it in the pool for those who look from outside (`arraypool inspect`). Members get it with
 * a descriptor, a name or a message.
 *
 *     0   checksum of all that follows, xor'ed by the library with the array's generation
 *     4   how many axes
 *     5   their lengths, 7 bits a byte, as many as each needs
 *
 * An array of one axis has none: its length says it all. Nobody relies on a note, so it is a plain write and no part of the
 * protocol. One that was torn by a death, is of the array before, or was overwritten by whoever writes beyond his array, does
 * not have the right checksum; and what has, must have as many elements as the array.
 */

import { AXES_MAX } from "./shape.ts";

const AXES_AT = 4;
const LENGTHS_AT = 5;

/** Writes the note of a shape. Returns how long it is, 0 if it is too long: of an empty array, perhaps. */
export function writeNote(shape: readonly number[], into: Uint8Array): number {
  let at = LENGTHS_AT;
  for (let length of shape) {
    for (; length > 0x7f; length = Math.floor(length / 0x80)) into[at++] = 0x80 | (length % 0x80);
    into[at++] = length;
    if (at > into.length) return 0;
  }
  into[AXES_AT] = shape.length;
  const sum = checksum(into, at);
  for (let i = 0; i < AXES_AT; i++) into[i] = sum >>> (8 * i);
  return at;
}

/** The shape that the bytes behind an array of `length` elements say; undefined if they say none. */
export function readNote(behind: Uint8Array, generation: number, length: number): readonly number[] | undefined {
  const axes = behind[AXES_AT] ?? 0;
  if (behind.length < LENGTHS_AT || axes > AXES_MAX) return undefined;
  const shape: number[] = [];
  let at = LENGTHS_AT;
  for (let axis = 0; axis < axes; axis++) {
    let axisLength = 0;
    for (let scale = 1, byte = 0x80; byte >= 0x80; scale *= 0x80) {
      if (at === behind.length) return undefined;
      byte = behind[at++]!;
      axisLength += (byte % 0x80) * scale;
    }
    shape.push(axisLength);
  }
  const said = new DataView(behind.buffer, behind.byteOffset).getInt32(0, true);
  if ((said ^ generation) !== checksum(behind, at)) return undefined;
  return shape.reduce((product, axisLength) => product * axisLength, 1) === length ? shape : undefined;
}

/** FNV-1a, with a sign. */
function checksum(note: Uint8Array, noteBytes: number): number {
  let hash = 0x811c9dc5;
  for (let at = AXES_AT; at < noteBytes; at++) hash = Math.imul(hash ^ note[at]!, 0x01000193);
  return hash | 0;
}
