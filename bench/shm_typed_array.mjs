// allocUnsafe and release in Node against shm-typed-array, a package that shares memory by an addon of its own. It is compiled
// when it is installed, and its latest version (0.1.1) does not compile for Node 26, which arraypool needs: V8 has no
// v8::Object::GetIsolate any more. So it is no dependency of this repository, and runs in an older Node, in turn:
//
//     (cd FOLDER && npm install shm-typed-array)                       with a Node 22 or older, and its headers
//     SHM_TYPED_ARRAY=FOLDER SHM_NODE=/usr/bin/node node bench/run.mjs arrays

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { root } from "./machine.mjs";

const script = join(root, "bench", "shm_typed_array.mjs");
const ROUNDS = 7;
const CALLS = 500;
const SIZES = [[64, "64 B"], [4096, "4 KiB"], [65536, "64 KiB"], [1 << 20, "1 MiB"]];

/** Its rows; none, and a line that says why, where it is missing. */
export async function measureShmTypedArray(mark) {
  const { SHM_TYPED_ARRAY: folder, SHM_NODE: node = process.execPath } = process.env;
  if (folder === undefined) {
    console.error("skipped: shm-typed-array: it does not compile for Node 26; bench/shm_typed_array.mjs says how to have it");
    return [];
  }
  const sides = [start(process.execPath, "ours", mark), start(node, "theirs", folder)];
  try {
    const rows = [];
    for (const [bytes, name] of SIZES) {
      const rounds = [];
      for (let i = 0; i <= ROUNDS; i++) {
        const times = [];
        for (const side of sides) times.push(await side.timeNs(bytes));
        if (i > 0) rounds.push(times); // the first one warms up
      }
      const middle = (of) => rounds.map(of).sort((a, b) => a - b)[ROUNDS >> 1];
      rows.push({
        where: "Node",
        work: `allocUnsafe to release, ${name}`,
        against: "shm-typed-array, create and detach",
        ours: middle(([ours]) => ours),
        theirs: middle(([, theirs]) => theirs),
        unit: "ns",
        kind: "faster",
        figure: middle(([ours, theirs]) => theirs / ours),
      });
    }
    return rows;
  } finally {
    for (const side of sides) side.end();
  }
}

/** A Node that times one of the two when it is told to: a line with the bytes for a line with the nanoseconds. */
function start(node, side, argument) {
  const child = spawn(node, [script, side, argument], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async timeNs(bytes) {
      child.stdin.write(`${bytes}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error(`${node} ${script} ${side} ended`);
      return Number(value);
    },
    end: () => child.stdin.end(),
  };
}

async function answer(call) {
  for await (const line of createInterface({ input: process.stdin })) {
    const bytes = Number(line);
    const startedAt = performance.now();
    for (let i = 0; i < CALLS; i++) call(bytes / 8);
    console.log((performance.now() - startedAt) * 1e6 / CALLS);
  }
}

if (process.argv[1] === script) {
  const [, , side, argument] = process.argv;
  if (side === "ours") {
    const { Pool } = await import("../mod.ts");
    const pool = Pool.create({ name: `${argument}-shm`, capacity: "64M" }); // `using` is too new for the other Node
    await answer((length) => pool.allocUnsafe(Float64Array, length).release());
    pool.close();
  } else {
    const { create, detach } = createRequire(join(argument, "_.js"))("shm-typed-array");
    await answer((length) => detach(create(length, "Float64Array").key, true));
  }
}
