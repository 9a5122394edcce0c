/**
 * A child in Python works on arrays of this process, and answers with some of its own; only descriptors go through its stdin
 * and stdout. arraypool.py is all it takes, with Python's own ctypes; it needs Python 3.8 and no package.
 *
 *     bun examples/python.ts  deno run -A examples/python.ts  node examples/python.ts
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { pack, Pool, unpack } from "../mod.ts";

// In a program that has installed the package: node_modules/arraypool/lib/….
const suffix = process.platform === "darwin" ? "dylib" : "so";
const library = fileURLToPath(
  new URL(`../lib/${process.platform}-${process.arch}/libarraypool.${suffix}`, import.meta.url),
);

using pool = Pool.create({ capacity: "16M" });
const python = spawn("python3", ["-B", `${import.meta.dirname}/python_child.py`, library], {
  stdio: ["pipe", "pipe", "inherit"],
});
const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();

let total = 0;
for (let round = 1; round <= 10; round++) {
  using matrix = pool.alloc(Float64Array, [20, 500]).fill(round);
  python.stdin.write(JSON.stringify(pack({ matrix })) + "\n");
  const { value, done } = await answers.next();
  if (done) throw new Error("Python has ended");
  using answer = unpack<{ sums: Float64Array }>(JSON.parse(value));
  if (answer.sums.some((sum) => sum !== 500 * round) || matrix.some((value) => value !== -round)) {
    throw new Error(`wrong in round ${round}`);
  }
  total += answer.sums.length;
}
python.stdin.end();
await once(python, "exit");
console.log(`Python has summed up ${total} rows; ${pool.stats().arrays} arrays are left`);
