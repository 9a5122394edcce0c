/**
 * What an array costs within one process: to make and to let go of, to attach, to pack and unpack; against what a program
 * would do without a pool, a SharedArrayBuffer or a copy.
 *
 *     bun bench/arrays.ts                  deno run -A --v8-flags=--expose-gc bench/arrays.ts
 *
 * A round's figure is the mean over some thousand calls, with the garbage collector's share in it. The first rounds
 * are not counted: the collectors take a while to find their pace, in V8 at the cost of the SharedArrayBuffer.
 */

import { do_not_optimize, measure } from "mitata";
import { attach, pack, Pool, release, unpack } from "../mod.ts";
import { compare, poolName, print } from "./rows.ts";

const ROUNDS = 7;
const WARM_UP_ROUNDS = 2;
const ROUND_NS = 60e6;
const KIB = 1024;

type Call = () => unknown;

using pool = Pool.create({ name: poolName("arrays"), capacity: "1G" });

const sharedBuffer = (bytes: number) => () => do_not_optimize(new Uint8Array(new SharedArrayBuffer(bytes)));
const allocation = (bytes: number) => () => {
  const array = pool.allocUnsafe(Uint8Array, bytes);
  do_not_optimize(array);
  array.release();
};

const sizes: [bytes: number, name: string][] = [
  [64, "64 B"],
  [4 * KIB, "4 KiB"],
  [64 * KIB, "64 KiB"],
  [KIB * KIB, "1 MiB"],
];
for (const [bytes, name] of sizes) {
  await race(`allocUnsafe to release, ${name}`, "SharedArrayBuffer and a view", {
    ours: allocation(bytes),
    theirs: sharedBuffer(bytes),
    ...(bytes === 64 * KIB ? { goal: 3 } : {}),
  });
}

await race("alloc (zero-filled) to release, 64 KiB", "SharedArrayBuffer and a view", {
  ours: () => {
    const array = pool.alloc(Uint8Array, 64 * KIB);
    do_not_optimize(array);
    array.release();
  },
  theirs: sharedBuffer(64 * KIB),
});

await race("allocUnsafe to release, 64 KiB, over an await", "SharedArrayBuffer and a view", {
  ours: async () => {
    const array = pool.allocUnsafe(Uint8Array, 64 * KIB);
    await undefined;
    do_not_optimize(array);
    array.release();
  },
  theirs: async () => {
    const array = new Uint8Array(new SharedArrayBuffer(64 * KIB));
    await undefined;
    do_not_optimize(array);
  },
});

for (const [bytes, name] of sizes.slice(2)) {
  using array = pool.alloc(Uint8Array, bytes);
  const descriptor = array.share({ claims: 0 });
  const plain = new Uint8Array(bytes);
  await race(`attach to release, ${name}`, "structuredClone", {
    ours: () => {
      const attached = attach(descriptor);
      do_not_optimize(attached);
      attached.release();
    },
    theirs: () => do_not_optimize(structuredClone(plain)),
  });
}

for (const count of [1, 100]) {
  const message = { arrays: Array.from({ length: count }, () => pool.alloc(Uint8Array, 64 * KIB)) };
  const plain = { arrays: Array.from({ length: count }, () => new Uint8Array(64 * KIB)) };
  await race(`pack, unpack and release ${count} × 64 KiB`, "structuredClone", {
    ours: () => {
      using unpacked = unpack(pack(message));
      do_not_optimize(unpacked);
    },
    theirs: () => do_not_optimize(structuredClone(plain)),
  });
  release(message);
}

/** Measures two sides in turn, and prints the row. */
async function race(work: string, against: string, sides: { ours: Call; theirs: Call; goal?: number }): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    const oursNs = await timeNs(sides.ours);
    const theirsNs = await timeNs(sides.theirs);
    if (round < 0) continue;
    ours.push(oursNs);
    theirs.push(theirsNs);
  }
  const goal = sides.goal === undefined ? {} : { goal: sides.goal };
  print(compare({ work, against, kind: "faster", ...goal }, ours, theirs));
}

async function timeNs(call: Call): Promise<number> {
  const { avg } = await measure(call, { min_cpu_time: ROUND_NS, min_samples: 5, batch_samples: 512 });
  return avg;
}
