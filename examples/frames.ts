/**
 * A film: a Worker draws frames into arrays of the pool, and each is written to its file while the next one is drawn.
 * `holdUntil` keeps a frame until it is written, and no longer: however long the film, only a few are in memory.
 *
 *     bun examples/frames.ts [directory]            deno run -A examples/frames.ts [directory]
 */

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pack, Pool, type SharedArray } from "../mod.ts";
import type { Job } from "./frames-worker.ts";

const [width, height, frameCount] = [640, 480, 24];
const header = new TextEncoder().encode(`P5\n${width} ${height}\n255\n`); // of a portable graymap

const worker = new Worker(new URL("frames-worker.ts", import.meta.url), { type: "module" });
const directory = process.argv[2] ?? await mkdtemp(join(tmpdir(), "frames-"));

using pool = Pool.create();
const saved: Promise<void>[] = [];
let mostInMemory = 0;
for (let number = 0; number < frameCount; number++) {
  const frame = pool.allocUnsafe(Uint8Array, header.length + width * height);
  frame.set(header);
  await draw({ pixels: frame.subarray(header.length), width, time: number / frameCount });
  saved.push(save(frame, join(directory, `${number}.pgm`)));
  mostInMemory = Math.max(mostInMemory, pool.stats().arrays);
}
await Promise.all(saved);
worker.terminate();

const files = await readdir(directory);
console.log(`${files.length} frames written, at most ${mostInMemory} in memory at a time`);
if (!process.argv[2]) await rm(directory, { recursive: true });

function draw(job: Job): Promise<unknown> {
  const drawn = new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = reject;
  });
  worker.postMessage(pack(job));
  return drawn;
}

/** Releases the frame as it returns, which takes effect when the file is written. */
function save(drawn: SharedArray<Uint8Array>, path: string): Promise<void> {
  using frame = drawn;
  return frame.holdUntil(writeFile(path, frame));
}
