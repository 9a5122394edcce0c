/**
 * Waiting and notifying: what a notify costs that wakes nobody, and how long somebody takes to wake, against what one would
 * use without the pool. With "child" it is the other side.
 */

import { type ChildProcess, fork } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { pack, Pool, type SharedArray, unpack } from "../mod.ts";
import { native } from "../core/native.ts";
import { compare, poolName, print } from "./rows.ts";

const ROUNDS = 15;

interface Order {
  words: SharedArray<Int32Array>;
  way: "blocking" | "async";
  turns: number;
}

if (process.argv[2] === "child") serve();
else await measure();

// ---------------------------------------------------------------- the other side

/** Answers each odd number with the next one, or each message with itself. */
function serve(): void {
  process.on("message", async (message: unknown) => {
    if (typeof message === "number") return process.send!(message);
    const { words, way, turns } = unpack<Order>(message);
    process.send!("ready");
    for (let turn = 0; turn < turns; turn++) {
      await until(words, 2 * turn + 1, way);
      say(words, 2 * turn + 2);
    }
    words.release();
  });
}

function say(words: SharedArray<Int32Array>, value: number): void {
  Atomics.store(words, 0, value);
  words.pool.notify(words, 0);
}

async function until(words: SharedArray<Int32Array>, value: number, way: Order["way"]): Promise<void> {
  for (let now = Atomics.load(words, 0); now !== value; now = Atomics.load(words, 0)) {
    if (way === "blocking") words.pool.wait(words, 0, now);
    else await words.pool.waitAsync(words, 0, now, { ref: true });
  }
}

// ---------------------------------------------------------------- this side

async function measure(): Promise<void> {
  using pool = Pool.create({ name: poolName("wait"), capacity: "16M" });
  notifyNobody(pool);
  const child = fork(fileURLToPath(import.meta.url), ["child"], { serialization: "advanced" });
  try {
    for (const way of ["blocking", "async"] as const) await roundTrips(pool, child, way);
    await idle(pool);
  } finally {
    child.kill();
  }
}

function notifyNobody(pool: Pool): void {
  using words = pool.alloc(Int32Array, 8);
  const { library, runtime } = native();
  // A member of its own, since that of a Pool is private.
  const other = library.ap_pool_create(null, 2 ** 20, 0, runtime, new Float64Array(8))!;
  const calls = 300_000;
  const theirs = new Int32Array(new SharedArrayBuffer(32));
  const ours: number[] = [];
  const plain: number[] = [];
  const engine: number[] = [];
  const timed = (into: number[], work: () => void) => {
    const begun = performance.now();
    work();
    into.push((performance.now() - begun) / calls * 1e6);
  };
  for (let round = 0; round < ROUNDS; round++) {
    timed(ours, () => {
      for (let i = 0; i < calls; i++) pool.notify(words, i & 7);
    });
    timed(plain, () => {
      for (let i = 0; i < calls; i++) library.ap_block_shown(other, i & 7);
    });
    timed(engine, () => {
      for (let i = 0; i < calls; i++) Atomics.notify(theirs, i & 7);
    });
  }
  library.ap_pool_close(other, 0);
  print(compare(
    { work: "notify when nobody waits", against: "a native call with two arguments", kind: "cost", goal: 2 },
    ours.slice(3),
    plain.slice(3),
  ));
  print(compare(
    { work: "notify when nobody waits", against: "Atomics.notify, within one process", kind: "cost" },
    ours.slice(3),
    engine.slice(3),
  ));
}

/** A question and its answer, each a small number; whoever waits for it sleeps, or looks for a moment first. */
async function roundTrips(pool: Pool, child: ChildProcess, way: Order["way"]): Promise<void> {
  using words = pool.alloc(Int32Array, 1);
  const answers: ((answer: unknown) => void)[] = [];
  const listener = (answer: unknown) => answers.shift()!(answer);
  child.on("message", listener);
  const next = () => new Promise((resolve) => answers.push(resolve));
  const turns = 500;
  const ready = next();
  child.send(pack({ words, way, turns: ROUNDS * turns }));
  await ready;
  const ours: number[] = [];
  for (let round = 0, value = 1; round < ROUNDS; round++) {
    const begun = performance.now();
    for (let turn = 0; turn < turns; turn++, value += 2) {
      say(words, value);
      await until(words, value + 1, way);
    }
    ours.push((performance.now() - begun) / turns * 1e6);
  }
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now();
    for (let turn = 0; turn < turns; turn++) {
      const answer = next();
      child.send(turn);
      await answer;
    }
    theirs.push((performance.now() - begun) / turns * 1e6);
  }
  child.off("message", listener);
  print(compare(
    {
      work: `a word there and back, ${way === "blocking" ? "wait" : "waitAsync"}`,
      against: "a message and its answer, fork",
      kind: "faster",
    },
    ours,
    theirs,
  ));
}

/** CPU time of ten seconds in which nothing comes, beyond that of ten seconds in which nobody waits. */
async function idle(pool: Pool): Promise<void> {
  using words = pool.alloc(Int32Array, 1);
  const seconds = 10;
  const cpuNs = async () => {
    await new Promise((resolve) => setTimeout(resolve, 500)); // parked, and what was before is over
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const used = process.cpuUsage(before);
    return (used.user + used.system) * 1000;
  };
  const without = await cpuNs();
  const wait = pool.waitAsync(words, 0, 0, { ref: true });
  const waiting = await cpuNs();
  pool.notify(words, 0);
  await wait;
  print(compare(
    {
      work: `CPU time that a waitAsync takes in ${seconds} s`,
      against: "these seconds",
      kind: "cost",
      goal: 0.001,
      notes: { waitingNs: waiting, idleNs: without },
    },
    [Math.max(0, waiting - without)],
    [seconds * 1e9],
  ));
}
