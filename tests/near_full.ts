/**
 * Processes of all runtimes in a /dev/shm of a few MiB that is always nearly full: they allocate, release, trim, reap, check and
 * send at random, in one common pool and in a pool of their own each; now and then one is killed and another one started, and a
 * file takes and gives back room. Whatever they read must be what was written, nobody may die of a SIGBUS, and at the end
 * everything must have been given back.
 *
 *     bun tests/near_full.ts [--seed 1] [--seconds 60] [--size 4m] [--members 4]
 *
 * `driver` and `member` as first argument are for the processes that it starts.
 */

import { spawnSync } from "node:child_process";
import { readdirSync, statfsSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pack, Pool, PoolError, release, type SharedArray, unpack } from "arraypool";
import { content, isContent } from "./support/content.ts";
import { type Child, commandOf, runtime, runtimes, sleep, spawnCommand } from "./support/harness.ts";
import { inSmallShm, mayMount } from "./support/small_shm.ts";

const { values: options, positionals } = parseArgs({
  args: process.argv.slice(2),
  options: {
    seed: { type: "string", default: "1" },
    seconds: { type: "string", default: "10" },
    size: { type: "string", default: "4m" },
    members: { type: "string", default: "4" },
    name: { type: "string", default: "" },
  },
  allowPositionals: true,
});
const seed = Number(options.seed);
const until = Date.now() + Number(options.seconds) * 1000;

/** 0 ≤ x < `below`, the same for the same seed. */
function chance(of: number): (below: number) => number {
  let state = of * 2654435761 >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function check(ok: unknown, what: string): asserts ok {
  if (!ok) throw new Error(`seed ${seed}: ${what}`);
}

const codeOf = (error: unknown) => error instanceof PoolError ? error.code : "";

// ---------------------------------------------------------------- a member

interface Letter {
  message: unknown;
  seed: number;
}

const counts = { steps: 0, allocated: 0, full: 0, sent: 0, received: 0, late: 0, trimmedBytes: 0 };

async function member(): Promise<void> {
  const random = chance(seed);
  const pools = [Pool.open(options.name)];
  const held: { array: SharedArray<Float64Array>; seed: number }[] = [];
  let next = seed * 1e6;
  let done = false;
  createInterface({ input: process.stdin })
    .on("line", (line) => {
      const letter = JSON.parse(line) as Letter;
      try {
        const { array } = unpack<{ array: Float64Array }>(letter.message);
        check(isContent(array, letter.seed), "what was received is not what was sent");
        counts.received++;
        held.push({ array: array as SharedArray<Float64Array>, seed: letter.seed });
      } catch (error) {
        if (codeOf(error) !== "ERR_STALE_DESCRIPTOR") throw error;
        counts.late++;
      }
    })
    .on("close", () => done = true);

  const pool = () => pools[random(pools.length)]!;
  const alloc = () => {
    const bytes = [64, 3000, 40_000, 300_000][random(4)]! + random(30_000);
    const length = Math.ceil(bytes / 8);
    let array: SharedArray<Float64Array>;
    if (random(2) === 0) {
      array = pool().alloc(Float64Array, length);
      check(isZero(array), "alloc() is not zero");
    } else array = pool().allocUnsafe(Float64Array, length);
    // Some are not touched before much else has happened.
    if (random(4) === 0) untouched.push(array);
    else {
      content(array, ++next);
      held.push({ array, seed: next });
    }
    counts.allocated++;
  };
  const untouched: SharedArray<Float64Array>[] = [];
  const touch = () => {
    const array = untouched.shift();
    if (array === undefined) return;
    content(array, ++next);
    held.push({ array, seed: next });
  };
  const verify = () => {
    const it = held[random(held.length)];
    if (it !== undefined) check(isContent(it.array, it.seed), "an array has another's content");
  };
  const letGo = () => {
    const [it] = held.splice(random(held.length), 1);
    if (it === undefined) return;
    check(isContent(it.array, it.seed), "an array has another's content");
    it.array.release();
  };
  const send = () => {
    const it = held[random(held.length)];
    if (it === undefined) return;
    const message = pack({ array: it.array }, { ttlMs: 2000 });
    // Pools of its own are gone with it.
    console.log(JSON.stringify({ message, seed: it.seed }));
    counts.sent++;
  };
  const care = () => {
    const one = pool();
    [
      () => counts.trimmedBytes += one.trim(),
      () => one.reap(),
      () => one.check(),
      () => one.stats(),
      () => one.blocks(),
    ][
      random(5)
    ]!();
  };
  const acts = [alloc, alloc, alloc, alloc, touch, verify, letGo, letGo, send, care];

  while (!done && Date.now() < until) {
    for (let i = 0; i < 50; i++) {
      counts.steps++;
      try {
        if (pools.length === 1) pools.push(Pool.create({ capacity: "16M" }));
        acts[random(acts.length)]!();
      } catch (error) {
        if (codeOf(error) !== "ERR_POOL_FULL") throw error;
        counts.full++;
        if (random(2) === 0) letGo();
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  for (const { array, seed } of held) check(isContent(array, seed), "an array has another's content");
  while (untouched.length > 0) touch();
  release(held.map(({ array }) => array));
  for (const one of pools) one.close();
  console.log(JSON.stringify({ counts }));
  process.exit(0);
}

function isZero(array: Float64Array): boolean {
  for (let i = 0; i < array.length; i++) if (array[i] !== 0) return false;
  return true;
}

// ---------------------------------------------------------------- the driver

async function driver(): Promise<void> {
  const random = chance(seed);
  const free = () => Number(statfsSync("/dev/shm").bavail) * 4096;
  const freeAtFirst = free();
  const pool = Pool.create({ capacity: "64M" });
  const living = new Set<Child>();
  const sums: Record<string, number> = { killed: 0 };
  let started = 0;
  let ended = false;

  const begin = () => {
    const mine = ++started;
    const args = ["member", "--name", pool.name, "--seed", String(seed * 1000 + mine)];
    args.push("--seconds", String(Math.max(0, (until - Date.now()) / 1000)));
    const child = spawnCommand([...commandOf(runtimes[mine % runtimes.length]!, "../near_full.ts"), ...args]);
    living.add(child);
    void pass(child);
    return child;
  };
  /** Passes on what a member sends, to any of them. */
  const pass = async (child: Child) => {
    while (living.has(child)) {
      const line = await child.nextOrEnd<Letter | { counts: typeof counts }>();
      if (line === undefined) return;
      if ("counts" in line) {
        for (const [key, value] of Object.entries(line.counts)) sums[key] = (sums[key] ?? 0) + value;
        continue;
      }
      const others = [...living];
      const to = others[random(others.length)];
      if (to !== undefined && !ended) to.write(line);
    }
  };
  const expectEnd = async (child: Child) => {
    const code = await child.exited;
    check(code === 0, `a member ended with ${child.process.signalCode ?? code}:\n${child.errors}`);
  };

  try {
    writeFileSync("/dev/shm/filler", "");
    for (let i = 0; i < Number(options.members); i++) begin();
    while (Date.now() < until) {
      await sleep(20 + random(60));
      try {
        if (random(3) === 0) truncateSync("/dev/shm/filler", 0);
        else writeFileSync("/dev/shm/filler", new Uint8Array(random(freeAtFirst / 2)));
      } catch { /* full, as it shall be */ }
      for (const child of living) {
        if (child.process.exitCode !== null || child.process.signalCode !== null) await expectEnd(child);
      }
      if (random(8) === 0 && Date.now() + 500 < until) {
        const victim = [...living][random(living.size)]!;
        living.delete(victim);
        await victim.kill();
        sums["killed"]!++;
        begin();
      }
    }
    ended = true;
    for (const child of living) await expectEnd(child);
    unlinkSync("/dev/shm/filler");
    for (const end = Date.now() + 20_000; pool.reap() + pool.stats().arrays > 0;) {
      check(Date.now() < end, `${pool.stats().arrays} arrays are left: ${JSON.stringify(pool.blocks().slice(0, 3))}`);
      await sleep(50);
    }
    pool.check();
    pool.trim();
    const { backedBytes, members, claims } = pool.stats();
    // With huge pages (--size 16m,huge=always) the metadata's reach into the heap.
    const gaveBack = backedBytes === 0 || options.size.includes("huge");
    check(gaveBack && members === 1 && claims === 0, JSON.stringify(pool.stats()));
    pool.close();
    for (const end = Date.now() + 20_000; readdirSync("/dev/shm").length > 0;) {
      check(Date.now() < end, `left in /dev/shm: ${readdirSync("/dev/shm")}`);
      Pool.create({ capacity: "1M" }).close(); // sweeps the pools of those that were killed, when their claims have expired
      await sleep(50);
    }
    check(free() === freeAtFirst, `${freeAtFirst - free()} bytes of /dev/shm were not given back`);
  } finally {
    ended = true;
    for (const child of living) await child.kill();
  }
  console.log(JSON.stringify({ seed, ...sums }));
}

if (positionals[0] === "member") await member();
else if (positionals[0] === "driver") await driver();
else if (mayMount) {
  const command = [...commandOf(runtime, "../near_full.ts"), "driver", ...process.argv.slice(2)];
  const [program, ...args] = inSmallShm(`size=${options.size}`, command);
  const { status } = spawnSync(program!, args, {
    stdio: "inherit",
    cwd: fileURLToPath(new URL("../", import.meta.url)),
  });
  process.exitCode = status ?? 1;
} else console.log("skipped: this user cannot mount a small /dev/shm (needs root, or user namespaces)");
