/**
 * The content of an array, which anyone who attaches it can check: the word at each place follows from the pool's nonce,
 * the block, the generation and the place. No other array has the same, so a byte from elsewhere, or from another time, is
 * found. member.c has the same.
 */

import { mix } from "./plan.ts";

/** What the content of one array follows from. */
export function keyOf(nonce: string, block: number, generation: number): number {
  return [
    parseInt(nonce.slice(0, 8), 16),
    parseInt(nonce.slice(8), 16),
    block,
    generation >>> 0,
    Math.floor(generation / 2 ** 32),
  ].reduce(mix, 0x51ed270b);
}

function wordAt(key: number, place: number): number {
  const word = Math.imul(key ^ place, 0x9e3779b1);
  return (word ^ (word >>> 15)) >>> 0;
}

function byteAt(key: number, place: number): number {
  return wordAt(key, place >>> 2) >>> (8 * (place & 3)) & 255;
}

export type Plain = Uint8Array | Uint32Array;

/** Writes the content, from byte `offset` of the array on. */
export function fill(view: Plain, key: number, offset: number): void {
  if (view instanceof Uint32Array) {
    for (let i = 0; i < view.length; i++) view[i] = wordAt(key, (offset >>> 2) + i);
  } else {
    for (let i = 0; i < view.length; i++) view[i] = byteAt(key, offset + i);
  }
}

/** The first byte that is not as it must be, from byte `offset` of the array on; -1 if there is none. */
export function firstWrong(view: Plain, key: number, offset: number): number {
  if (view instanceof Uint32Array) {
    for (let i = 0; i < view.length; i++) if (view[i] !== wordAt(key, (offset >>> 2) + i)) return offset + 4 * i;
  } else {
    for (let i = 0; i < view.length; i++) if (view[i] !== byteAt(key, offset + i)) return offset + i;
  }
  return -1;
}

/** The first byte that is not zero; -1 if there is none. */
export function firstNotZero(view: Plain): number {
  for (let i = 0; i < view.length; i++) if (view[i] !== 0) return i * view.BYTES_PER_ELEMENT;
  return -1;
}
