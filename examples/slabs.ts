/**
 * Eight processes fill an array of 100 × 200 × 500 doubles (80 MB), each its own slabs of it: in shared memory, and for
 * comparison by sending every slab over IPC.
 *
 *     bun examples/slabs.ts         deno run -A examples/slabs.ts         node examples/slabs.ts
 */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { pack, Pool, type SharedArray, unpack } from "../mod.ts";

const shape = [100, 200, 500] as const;
const slabLength = shape[1] * shape[2];
const processCount = 8;
const rounds = 6;

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
    () => fork(import.meta.filename!, ["child"], { serialization: "advanced" }), // the fastest there is
  );
  await Promise.all(children.map((child) => once(child, "message")));

  using shared = pool.allocUnsafe(Float64Array, shape);
  const sharedTimes = await time(() => children.map((child, i) => work(child, { cube: shared, slabs: slabsOf(i) })));
  const sent = new Float64Array(shared.length);
  const sentTimes = await time(() => children.map((child, i) => work(child, { slabs: slabsOf(i) }, sent)));
  await Promise.all(children.map((child) => (child.kill(), once(child, "exit"))));

  console.log(`${processCount} processes fill ${shared.byteLength / 1e6} MB      first   after that`);
  console.log(`  in shared memory              ${format(sharedTimes.first)}       ${format(sharedTimes.later)}`);
  console.log(`  sending their slabs over IPC  ${format(sentTimes.first)}       ${format(sentTimes.later)}`);
  const equal = shared.every((value, i) => value === sent[i]);
  const ratio = (sentTimes.later / sharedTimes.later).toFixed(1);
  console.log(`after the first time ${ratio} times as fast; both results are ${equal ? "equal" : "DIFFERENT"}`);
}

/** Slab `x` of a field: how far each point is from the centre. */
function fill(slab: Float64Array, x: number): void {
  const [xs, ys, zs] = shape;
  for (let y = 0, i = 0; y < ys; y++) {
    for (let z = 0; z < zs; z++) slab[i++] = Math.sqrt((x - xs / 2) ** 2 + (y - ys / 2) ** 2 + (z - zs / 2) ** 2);
  }
}

/** Milliseconds: of the first round, when the memory is new to everyone, and the median of the later ones. */
async function time(round: () => Promise<void>[]): Promise<{ first: number; later: number }> {
  const times: number[] = [];
  while (times.length < rounds) {
    const startedAt = performance.now();
    await Promise.all(round());
    times.push(performance.now() - startedAt);
  }
  const [first, ...later] = times;
  return { first: first!, later: later.sort((a, b) => a - b)[later.length >> 1]! };
}

function format(ms: number): string {
  return `${ms.toFixed(0).padStart(4)} ms`;
}

function slabsOf(child: number): number[] {
  return Array.from({ length: shape[0] }, (_, x) => x).filter((x) => x % processCount === child);
}

/** Resolves when the child is done; slabs that it sends go into `result`. */
function work(child: ChildProcess, job: Job, result?: Float64Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const onExit = () => reject(new Error("a child exited before it was done"));
    const onMessage = (message: "done" | { x: number; slab: Float64Array }) => {
      if (message !== "done") return void result!.set(message.slab, message.x * slabLength);
      child.off("message", onMessage).off("exit", onExit);
      resolve();
    };
    child.on("message", onMessage).on("exit", onExit);
    child.send(pack(job));
  });
}
