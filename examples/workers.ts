/**
 * Four Workers count the values of one shared array, each its quarter, each into its own row of a shared table. They are
 * those of `node:worker_threads`, which are in all runtimes; the Web's, in Bun and Deno, are used in the same way.
 *
 *     bun examples/workers.ts
 *     deno run --allow-ffi --allow-read examples/workers.ts
 *     node examples/workers.ts
 */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { pack, Pool } from "../mod.ts";

const workerCount = 4;

using pool = Pool.create();
using dice = pool.alloc(Uint8Array, 12_000_000);
for (let i = 0; i < dice.length; i++) dice[i] = 1 + Math.floor(Math.random() * 6);
using counts = pool.alloc(Uint32Array, [workerCount, 7]);

await Promise.all(Array.from({ length: workerCount }, async (_, i) => {
  const worker = new Worker(new URL("workers-worker.ts", import.meta.url));
  const quarter = dice.length / workerCount;
  worker.postMessage(pack({ dice: dice.subarray(i * quarter, (i + 1) * quarter), counts: counts.slab(i) }));
  await once(worker, "message"); // or fails, if the Worker does
  await worker.terminate();
}));

let total = 0;
for (let face = 1; face <= 6; face++) {
  let count = 0;
  for (let i = 0; i < workerCount; i++) count += counts.slab(i)[face]!;
  console.log(`${face}: ${count}`);
  total += count;
}
console.log(`${total} dice counted by ${workerCount} Workers`);
