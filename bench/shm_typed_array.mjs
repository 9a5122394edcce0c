// allocUnsafe and release in Node against shm-typed-array, a package that shares memory by an addon of its own. It is compiled
// when it is installed, and its latest version (0.1.1) does not compile for Node 26, which arraypool needs: V8 has no
// v8::Object::GetIsolate any more. So it is no dependency of this repository; whoever has it beside it gets the row.
//
//     node bench/shm_typed_array.mjs

import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { root } from "./machine.mjs";
import { run } from "./process.mjs";

const script = join(root, "bench", "shm_typed_array.mjs");
const ROUNDS = 7;
const CALLS = 500;
const SIZES = [[64, "64 B"], [4096, "4 KiB"], [65536, "64 KiB"]];

/** Its rows; none, and a line that says why, where it is missing. */
export async function measureShmTypedArray(mark) {
  const output = await run(process.execPath, [script], { ARRAYPOOL_BENCH: mark });
  return output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

async function measure() {
  let theirs;
  try {
    theirs = createRequire(import.meta.url)("shm-typed-array");
  } catch (error) {
    const why = error.code === "MODULE_NOT_FOUND"
      ? "it is not installed: version 0.1.1 does not compile for Node 26"
      : error.message;
    console.error(`shm-typed-array: skipped, ${why}`);
    return;
  }
  const { Pool } = await import("../mod.ts");
  const pool = Pool.create({ name: `${process.env.ARRAYPOOL_BENCH ?? `bench-${process.pid}`}-shm`, capacity: "64M" });
  for (const [bytes, name] of SIZES) {
    const length = bytes / 8;
    const rounds = Array.from({ length: ROUNDS }, () => ({
      ours: timeNs(() => pool.allocUnsafe(Float64Array, length).release()),
      theirs: timeNs(() => theirs.detach(theirs.create(length, "Float64Array").key, true)),
    }));
    const middle = (of) => rounds.map(of).sort((a, b) => a - b)[ROUNDS >> 1];
    console.log(JSON.stringify({
      where: "Node",
      work: `allocUnsafe to release, ${name}`,
      against: "shm-typed-array, create and detach",
      ours: middle(({ ours }) => ours),
      theirs: middle(({ theirs }) => theirs),
      unit: "ns",
      kind: "faster",
      figure: middle(({ ours, theirs }) => theirs / ours),
    }));
  }
  pool.close();
}

function timeNs(call) {
  const startedAt = performance.now();
  for (let i = 0; i < CALLS; i++) call();
  return (performance.now() - startedAt) * 1e6 / CALLS;
}

if (process.argv[1] === script) await measure();
