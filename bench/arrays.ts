/**
 * What an array costs within one process: to make and to let go of, to attach, to pack and unpack; against what a program
 * would do without a pool, a SharedArrayBuffer or a copy.
 *
 *     bun bench/arrays.ts                  deno run -A --v8-flags=--expose-gc bench/arrays.ts
 *
 * In Bun a side that makes ordinary buffers is measured in a process of its own: while pool arrays churn, its collector is told
 * to run less often (bun/ballast.ts), and that would slow the other side down.
 *
 * A round's figure is the mean over some thousand calls, with the garbage collector's share in it. The first rounds
 * are not counted: the collectors take a while to find their pace, in V8 at the cost of the SharedArrayBuffer.
 */

import { do_not_optimize, measure } from "mitata";
import { attach, pack, Pool, release, unpack } from "../mod.ts";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { native } from "../core/native.ts";
import { compare, poolName, print, runtime } from "./rows.ts";

const ROUNDS = 7;
const WARM_UP_ROUNDS = 2;
const ROUND_NS = 60e6;
const KIB = 1024;

type Call = () => unknown;

const sharedBuffer = (bytes: number) => () => do_not_optimize(new Uint8Array(new SharedArrayBuffer(bytes)));
const ordinary = (bytes: number) => () => do_not_optimize(new Float64Array(bytes / 8));

if (process.argv[2] === "--shared" || process.argv[2] === "--ordinary") {
  const call = (process.argv[2] === "--shared" ? sharedBuffer : ordinary)(Number(process.argv[3]));
  await timeNs(call);
  console.log(await timeNs(call));
  process.exit(0);
}

/** The same in a process of its own. */
function apart(what: "--shared" | "--ordinary", bytes: number): number {
  const script = fileURLToPath(import.meta.url);
  const options = runtime === "Bun" ? [] : ["run", "-A", "--quiet", "--no-check", "--v8-flags=--expose-gc"];
  return Number(execFileSync(process.execPath, [...options, script, what, `${bytes}`], { encoding: "utf8" }));
}

using pool = Pool.create({ name: poolName("arrays"), capacity: "1G" });

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
    apart: () => apart("--shared", bytes),
    ...(bytes === 64 * KIB ? { goal: 5 } : {}),
  });
}
for (const [bytes, name] of sizes.slice(0, 3)) {
  await race(`allocUnsafe to release, ${name}`, "new Float64Array", {
    ours: allocation(bytes),
    theirs: ordinary(bytes),
    apart: () => apart("--ordinary", bytes),
  });
}

{
  const array = pool.alloc(Uint8Array, 64 * KIB);
  const address = addressOf(array);
  const make = native().buffer;
  const descriptor = array.share({ claims: 0 });
  const packed = pack({ array }, { claims: 0 });
  // What no way to foreign memory is without: the floor of each step that makes an array.
  const foreign = () => do_not_optimize(make(address, 64 * KIB, 0).transfer(0));
  const against = "one foreign ArrayBuffer, made and detached";
  const kind = "cost";
  await race("allocUnsafe to release, 64 KiB", against, { ours: allocation(64 * KIB), theirs: foreign, kind, goal: 3 });
  await race("attach to release, 64 KiB", against, {
    ours: () => {
      const attached = attach(descriptor);
      do_not_optimize(attached);
      attached.release();
    },
    theirs: foreign,
    kind,
  });
  await race("pack, without a claim", against, {
    ours: () => do_not_optimize(pack({ array }, { claims: 0 })),
    theirs: foreign,
    kind,
  });
  await race("unpack and release, 64 KiB, without a claim", against, {
    ours: () => {
      using unpacked = unpack(packed);
      do_not_optimize(unpacked);
    },
    theirs: foreign,
    kind,
  });
  array.release();
}

for (const [bytes, name] of [[KIB * KIB, "1 MiB"], [64 * KIB * KIB, "64 MiB"]] as const) {
  const warm = new Uint8Array(bytes);
  await race(`allocUnsafe, fill and release, ${name}`, "fill of warm ordinary memory", {
    ours: () => {
      const array = pool.allocUnsafe(Uint8Array, bytes).fill(7);
      do_not_optimize(array);
      array.release();
    },
    theirs: () => do_not_optimize(warm.fill(7)),
    kind: "cost",
    goal: 1.2,
  });
  using held = pool.alloc(Uint8Array, bytes);
  await race(`fill of a pool array that is held, ${name}`, "fill of warm ordinary memory", {
    ours: () => do_not_optimize(held.fill(7)),
    theirs: () => do_not_optimize(warm.fill(7)),
    kind: "cost",
  });
}

await race("alloc (zero-filled) to release, 64 KiB", "SharedArrayBuffer and a view", {
  ours: () => {
    const array = pool.alloc(Uint8Array, 64 * KIB);
    do_not_optimize(array);
    array.release();
  },
  theirs: sharedBuffer(64 * KIB),
  apart: () => apart("--shared", 64 * KIB),
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
  // The same message, its arrays left out: what a message costs anyway.
  const text = JSON.stringify({ job: 7, names: Array.from({ length: count }, (_, i) => `array ${i}`) });
  await race(`pack, unpack and release ${count} × 64 KiB`, "JSON.parse of a message without arrays", {
    ours: () => {
      using unpacked = unpack(pack(message));
      do_not_optimize(unpacked);
    },
    theirs: () => do_not_optimize(JSON.parse(text)),
    kind: "cost",
  });
  release(message);
}

/** Measures two sides in turn, and prints the row. */
async function race(
  work: string,
  against: string,
  sides: { ours: Call; theirs: Call; apart?: () => number; kind?: "faster" | "cost"; goal?: number },
): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    const oursNs = await timeNs(sides.ours);
    const theirsNs = runtime === "Bun" && sides.apart !== undefined ? sides.apart() : await timeNs(sides.theirs);
    if (round < 0) continue;
    ours.push(oursNs);
    theirs.push(theirsNs);
  }
  const goal = sides.goal === undefined ? {} : { goal: sides.goal };
  print(compare({ work, against, kind: sides.kind ?? "faster", ...goal }, ours, theirs));
}

function addressOf(array: Uint8Array): number {
  if (runtime === "Bun") {
    return (process.getBuiltinModule("bun:ffi" as "fs") as unknown as { ptr(a: Uint8Array): number }).ptr(array);
  }
  const { UnsafePointer } =
    (globalThis as unknown as { Deno: { UnsafePointer: { of(a: Uint8Array): unknown; value(p: unknown): bigint } } })
      .Deno;
  return Number(UnsafePointer.value(UnsafePointer.of(array)));
}

async function timeNs(call: Call): Promise<number> {
  const { avg } = await measure(call, { min_cpu_time: ROUND_NS, min_samples: 5, batch_samples: 512 });
  return avg;
}
