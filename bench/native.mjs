// The native cost of an allocation: compiles native.c against this machine's library, and runs it.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { libraryFolder, root } from "./machine.mjs";
import { run } from "./process.mjs";

/** Measured by native.c, and what the goal is: at most the time of malloc and free. */
const GOALS = ["4 KB", "powers of two, 64 B to 32 KiB, 100,000 live", "any size, 64 B to 32 KiB, 100,000 live"];

/** The rows of native.c. `poolName`: of the pool that it makes. */
export async function measureNative(poolName) {
  const folder = mkdtempSync(join(tmpdir(), "arraypool-bench-"));
  try {
    const program = join(folder, "native");
    const source = join(root, "bench", "native.c");
    const include = join(root, "libpool");
    await run("zig", [
      "cc",
      "-O2",
      "-I",
      include,
      source,
      "-o",
      program,
      "-L",
      libraryFolder,
      "-larraypool",
      "-lpthread",
    ]);
    const output = await run(program, [`${poolName}-native`], {
      LD_LIBRARY_PATH: libraryFolder,
      DYLD_LIBRARY_PATH: libraryFolder,
    });
    return output.trim().split("\n").map((line) => rowOf(JSON.parse(line)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function rowOf({ name, threads, pool_ns, malloc_ns, ratio }) {
  return {
    where: "C",
    work: `alloc and free of ${name}`,
    against: `malloc, free; ${threads === 1 ? "one thread" : `${threads} threads`}`,
    ours: pool_ns,
    theirs: malloc_ns,
    unit: "ns",
    kind: "cost",
    figure: ratio,
    ...(GOALS.includes(name) ? { goal: 1 } : {}),
  };
}
