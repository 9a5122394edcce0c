/** A Worker of `workers.ts`: counts the dice it is given into the row it is given. */

import { parentPort } from "node:worker_threads";
import { unpack } from "../mod.ts";

interface Job {
  dice: Uint8Array;
  counts: Uint32Array;
}

parentPort!.on("message", (message) => {
  using job = unpack<Job>(message);
  for (const face of job.dice) job.counts[face]!++;
  parentPort!.postMessage("done");
});
