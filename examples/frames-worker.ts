/** The Worker of `frames.ts`: draws one frame of the film. */

import { unpack } from "../mod.ts";

declare const self: Worker; // for the type checker: what a Worker calls `self`

export interface Job {
  pixels: Uint8Array;
  width: number;
  /** 0 at the start of the film, 1 at its end. */
  time: number;
}

self.onmessage = ({ data }: MessageEvent) => {
  using job = unpack<Job>(data);
  const { pixels, width, time } = job;
  const height = pixels.length / width;
  const zoom = 3 * 0.7 ** (time * 24);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      pixels[y * width + x] = mandelbrot(-0.7436 + (x / width - 0.5) * zoom, 0.1318 + (y / height - 0.5) * zoom);
    }
  }
  self.postMessage("drawn");
};

/** How fast the point runs away, from 0 (never) to 255. */
function mandelbrot(re: number, im: number): number {
  let x = 0;
  let y = 0;
  for (let left = 255; left > 0; left--) {
    const next = x * x - y * y + re;
    y = 2 * x * y + im;
    x = next;
    if (x * x + y * y > 4) return left;
  }
  return 0;
}
