/** A Worker of `workers.ts`: counts the dice it is given into the row it is given. */

import { unpack } from "../mod.ts";

declare const self: Worker; // for the type checker: what a Worker calls `self`

interface Job {
  dice: Uint8Array;
  counts: Uint32Array;
}

self.onmessage = ({ data }: MessageEvent) => {
  using job = unpack<Job>(data);
  for (const face of job.dice) job.counts[face]!++;
  self.postMessage("done");
};
