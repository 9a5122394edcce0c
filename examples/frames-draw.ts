/** What the processes of `frames.ts` do: cut one frame out of the photograph, and draw it as with a pencil. */

import { type Packed, type SharedArray, unpack } from "../mod.ts";

export interface Images {
  /** Rows × columns × red, green, blue. */
  photo: SharedArray<Uint8Array>;
  frame: SharedArray<Uint8Array>;
}

export interface Task {
  images: Packed<Images>;
  /** Where in the photograph the frame begins. */
  top: number;
  left: number;
}

export default function draw({ images, top, left }: Task): void {
  using shared = unpack(images);
  const { photo, frame } = shared;
  const [rows, columns] = frame.shape as [number, number, number];
  const stride = photo.shape[1]! * 3;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (top + row) * stride + (left + column) * 3;
      const shade = 255 - steepness(photo, at, stride);
      frame.fill(shade, (row * columns + column) * 3, (row * columns + column + 1) * 3);
    }
  }
}

/** How steeply the brightness changes around the pixel at `at`, from 0 to 255: the filter of Sobel. */
export function steepness(photo: Uint8Array, at: number, stride: number): number {
  const [up, here, down] = [at - stride, at, at + stride];
  const across = 2 * (bright(photo, here + 3) - bright(photo, here - 3)) +
    bright(photo, up + 3) - bright(photo, up - 3) + bright(photo, down + 3) - bright(photo, down - 3);
  const along = 2 * (bright(photo, down) - bright(photo, up)) +
    bright(photo, down - 3) - bright(photo, up - 3) + bright(photo, down + 3) - bright(photo, up + 3);
  return Math.min(255, Math.round(Math.hypot(across, along)));
}

function bright(photo: Uint8Array, at: number): number {
  return 0.3 * photo[at]! + 0.6 * photo[at + 1]! + 0.1 * photo[at + 2]!;
}
