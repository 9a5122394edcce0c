/**
 * Eight processes fill an array of 100 × 200 × 500 doubles (80 MB), each its own slabs of it: in shared memory, and for
 * comparison by sending every slab over IPC.
 *
 *     bun examples/slabs.ts                         deno run -A examples/slabs.ts
 */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { pack, Pool, type SharedArray, unpack } from "../mod.ts";

const shape = [100, 200, 500] as const;
const slabLength = shape[1] * shape[2];
const processCount = 8;

/** What a process is sent: the slabs to fill, and the array they are in; without it, it is to send them back. */
interface Job {
  cube?: SharedArray<Float64Array>;
  slabs: number[];
}

if (process.argv[2] === "child") {
  process.on("message", (message) => {
    using job = unpack<Job>(message);
    for (const x of job.slabs) {
      if (job.cube) {
        fill(job.cube.slab(x), x);
      } else {
        const slab = new Float64Array(slabLength);
        fill(slab, x);
        process.send!({ x, slab });
      }
    }
    process.send!("done");
  });
  process.send!("ready");
} else {
  using pool = Pool.create();
  const children = Array.from(
    { length: processCount },
    () => fork(new URL(import.meta.url).pathname, ["child"], { serialization: "advanced" }), // the fastest there is
  );
  await Promise.all(children.map((child) => once(child, "message")));

  const sharedStart = performance.now();
  using shared = pool.allocUnsafe(Float64Array, shape);
  await Promise.all(children.map((child, i) => work(child, { cube: shared, slabs: slabsOf(i) })));
  const sharedMs = performance.now() - sharedStart;

  const sentStart = performance.now();
  const sent = new Float64Array(shared.length);
  await Promise.all(children.map((child, i) => work(child, { slabs: slabsOf(i) }, sent)));
  const sentMs = performance.now() - sentStart;
  await Promise.all(children.map((child) => (child.kill(), once(child, "exit"))));

  console.log(`${processCount} processes fill ${shared.byteLength / 1e6} MB`);
  console.log(`  in shared memory                ${sharedMs.toFixed(0).padStart(6)} ms`);
  console.log(`  sending their slabs over IPC    ${sentMs.toFixed(0).padStart(6)} ms`);
  const equal = shared.every((value, i) => value === sent[i]);
  console.log(`${(sentMs / sharedMs).toFixed(1)} times as fast; both results are ${equal ? "equal" : "DIFFERENT"}`);
}

/** Slab `x` of a field: how far each point is from the centre. */
function fill(slab: Float64Array, x: number): void {
  const [xs, ys, zs] = shape;
  for (let y = 0, i = 0; y < ys; y++) {
    for (let z = 0; z < zs; z++) slab[i++] = Math.sqrt((x - xs / 2) ** 2 + (y - ys / 2) ** 2 + (z - zs / 2) ** 2);
  }
}

function slabsOf(child: number): number[] {
  return Array.from({ length: shape[0] }, (_, x) => x).filter((x) => x % processCount === child);
}

/** Resolves when the child is done; slabs that it sends go into `result`. */
function work(child: ChildProcess, job: Job, result?: Float64Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: "done" | { x: number; slab: Float64Array }) => {
      if (message !== "done") return void result!.set(message.slab, message.x * slabLength);
      child.off("message", onMessage);
      resolve();
    };
    child.on("message", onMessage);
    child.once("exit", () => reject(new Error("a child exited before it was done")));
    child.send(pack(job));
  });
}
