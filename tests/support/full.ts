/**
 * What the tests of a full /dev/shm run, each in a process with a small /dev/shm of its own. Prints one line of JSON, and ends
 * in good order: a touch of memory that is not there would be a SIGBUS.
 *
 *     full.ts <scenario> [command of a second member …]
 */

import { spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, statSync, truncateSync, unlinkSync } from "node:fs";
import process from "node:process";
import { attach, type Descriptor, Pool, PoolError, release, type SharedArray } from "arraypool";
import { content, isContent } from "./content.ts";

const FILLER = "/dev/shm/filler";
const KiB = 1024;
const MiB = 1024 * KiB;

function check(ok: unknown, what: string): asserts ok {
  if (!ok) throw new Error(what);
}

/** Another program: writes into /dev/shm until nothing more fits, then gives `leaveBytes` back. */
function fill(leaveBytes = 0): void {
  spawnSync("sh", ["-c", `cat /dev/zero >> ${FILLER}`], { stdio: "ignore" });
  leave(leaveBytes);
}

function leave(bytes: number): void {
  truncateSync(FILLER, Math.max(0, statSync(FILLER).size - bytes));
}

/** The message of the PoolError that `call` throws. */
function refusal(call: () => unknown, code = "ERR_POOL_FULL"): string {
  try {
    call();
  } catch (error) {
    if (error instanceof PoolError && error.code === code) return error.message;
    throw error;
  }
  throw new Error(`expected ${code}`);
}

type Doubles = SharedArray<Float64Array>;

/** As many arrays as fit; none of them touched. */
function fillPool(pool: Pool, length: number): { arrays: Doubles[]; message: string } {
  const arrays: Doubles[] = [];
  const message = refusal(() => {
    for (;;) arrays.push(pool.allocUnsafe(Float64Array, length));
  });
  return { arrays, message };
}

/** Each gets content of its own, and has it. */
function use(arrays: Doubles[]): void {
  arrays.forEach((array, i) => content(array, i));
  arrays.forEach((array, i) => check(isContent(array, i), `array ${i} has another's content`));
}

/** Runs a second member, which is killed. */
function victim(name: string, bytes: number): void {
  const [program, ...args] = process.argv.slice(3);
  const { signal, stderr } = spawnSync(program!, [...args, "die", name, String(bytes)], { encoding: "utf8" });
  check(signal === "SIGKILL", `the victim was not killed: ${stderr}`);
}

const scenarios: Record<string, () => unknown> = {
  /** Of a pool with much capacity in a /dev/shm with little room; size=4m. */
  device() {
    using pool = Pool.create({ capacity: "64M" });
    const { arrays, message } = fillPool(pool, 40_000);
    const small = fillPool(pool, 100).arrays;
    use([...arrays, ...small]);
    refusal(() => pool.alloc(Float64Array, 40_000));
    arrays.shift()!.release();
    const again = pool.alloc(Float64Array, 40_000);
    check(again.every((x) => x === 0), "not zeroed");
    use([...arrays, ...small, again]);
    pool.check();
    return { message, count: arrays.length };
  },

  /** Another program takes the rest, and gives it back. */
  other() {
    using pool = Pool.create({ capacity: "64M" });
    const arrays = [pool.allocUnsafe(Float64Array, 40_000), pool.allocUnsafe(Float64Array, 100)];
    fill();
    const message = refusal(() => pool.alloc(Float64Array, 2 * MiB / 8));
    use(arrays); // for the first time
    // All else goes on, too.
    check(pool.blocks().length === 2 && pool.members().length === 1 && pool.reap() === 0, "the pool works");
    using same = attach(arrays[0]!.share({ claims: 1 }));
    check(isContent(same as Float64Array, 0), "attached");
    leave(2.5 * MiB);
    arrays.push(pool.alloc(Float64Array, 2 * MiB / 8));
    use(arrays);
    pool.check();
    return { message };
  },

  /** Pools that are made with any amount of room between none and enough; size=1m. */
  create() {
    const messages: string[] = [];
    let made = 0;
    fill();
    for (let kib = 0; kib <= 280; kib += 4) {
      try {
        using pool = Pool.create({ capacity: "1M" });
        made++;
        use(fillPool(pool, 1000).arrays);
        pool.check();
      } catch (error) {
        if (!(error instanceof PoolError && error.code === "ERR_POOL_FULL")) throw error;
        messages.push(error.message);
      }
      leave(4 * KiB);
    }
    return { made, refused: messages.length, first: messages[0], last: messages.at(-1) };
  },

  /** The tables cannot grow; size=2m. */
  tables() {
    using pool = Pool.create({ capacity: "64M" });
    pool.allocUnsafe(Uint8Array, 400 * KiB).release();
    fill(40 * KiB);
    const { arrays, message } = fillPool(pool, 1);
    use(arrays);
    // Each page of them is one that /dev/shm had.
    const descriptors: Descriptor[] = [];
    const claimMessage = refusal(() => {
      for (;;) descriptors.push(arrays[0]!.share());
    });
    release(descriptors.splice(0));
    release(arrays[0]!.share());
    pool.check();
    const count = arrays.length;
    leave(500 * KiB);
    arrays.push(...fillPool(pool, 1).arrays);
    use(arrays);
    leave(Infinity);
    for (let i = 0; i < 3 * 2048; i++) descriptors.push(arrays[0]!.share());
    release(descriptors);
    pool.check();
    return { message, claimMessage, count, grown: arrays.length };
  },

  /** What one pool trims, another one can use; size=4m. */
  trim() {
    using one = Pool.create({ capacity: "64M" });
    using two = Pool.create({ capacity: "64M" });
    const { arrays } = fillPool(one, 10_000);
    const kept = arrays.splice(0, 3);
    use(kept);
    release(arrays);
    const message = refusal(() => two.alloc(Float64Array, 300_000));
    const bytes = one.trim();
    const { backedBytes } = one.stats();
    const array = two.alloc(Float64Array, 300_000);
    use([array]);
    check(kept.every((array, i) => isContent(array, i)), "trim() left what is in use alone");
    const denied = refusal(() => one.alloc(Float64Array, 300_000));
    array.release();
    two.trim();
    const back = one.alloc(Float64Array, 300_000);
    use([...kept, back]);
    one.check();
    two.check();
    return { message, denied, bytes, backedBytes };
  },

  /** What a dead member held is taken back first; size=4m. */
  reap() {
    // Once /dev/shm is too small, once the capacity.
    for (const capacity of ["64M", "3M"] as const) {
      using pool = Pool.create({ capacity });
      victim(pool.name, 2 * MiB);
      check(pool.stats().arrays === 1 && pool.stats().claims === 0, "the victim held an array");
      const array = pool.alloc(Float64Array, 2.5 * MiB / 8);
      check(array.every((x) => x === 0), "not zeroed");
      check(pool.stats().members === 1, "the victim was not reaped");
      pool.check();
    }
    return {};
  },

  /** What only expired claims hold is taken back first; size=4m. */
  expire() {
    let message = "";
    for (const capacity of ["64M", "3M"] as const) {
      using pool = Pool.create({ capacity });
      const live = pool.alloc(Float64Array, 2 * MiB / 8);
      const descriptor = live.share();
      live.release();
      message = refusal(() => pool.alloc(Float64Array, 2.5 * MiB / 8));
      release(descriptor);
      const late = pool.alloc(Float64Array, 2 * MiB / 8);
      late.share({ ttlMs: 1 });
      late.release();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      check(pool.stats().claims === 1 && pool.stats().members === 1, "nobody has looked yet");
      pool.alloc(Float64Array, 2.5 * MiB / 8).release();
      pool.check();
    }
    return { message };
  },

  /** No more files; nr_inodes=8. */
  files() {
    const names: string[] = [];
    try {
      for (;;) {
        closeSync(openSync(`/dev/shm/f${names.length}`, "w"));
        names.push(`/dev/shm/f${names.length}`);
      }
    } catch { /* none is left */ }
    const message = refusal(() => Pool.create({ capacity: "1M" }));
    unlinkSync(names[0]!);
    using pool = Pool.create({ capacity: "1M" });
    pool.alloc(Float64Array, 1000);
    return { message };
  },

  /** Too little address space: a limit that is set while the process runs; size=64m. */
  addresses() {
    const large = Pool.create({ capacity: "8G" });
    const array = large.alloc(Float64Array, 1000);
    content(array);
    const descriptor = array.share({ claims: 2 });
    large.close(); // the claim keeps it
    const status = readFileSync("/proc/self/status", "utf8");
    const now = Number(/VmSize:\s+(\d+)/.exec(status)![1]) * KiB;
    const limit = (bytes: number | "unlimited") =>
      check(
        spawnSync("prlimit", ["--pid", String(process.pid), `--as=${bytes}:`]).status === 0,
        "prlimit failed",
      );
    // Enough for the runtime itself.
    limit(now + 1024 * MiB);
    const messages = [
      refusal(() => Pool.create({ capacity: "8G" }), "ERR_SYSTEM"),
      refusal(() => Pool.openOrCreate({ name: large.name, capacity: "8G" }), "ERR_SYSTEM"),
      refusal(() => attach(descriptor), "ERR_SYSTEM"),
    ];
    {
      using small = Pool.create({ capacity: "1M" });
      use([small.alloc(Float64Array, 1000)]);
    }
    limit("unlimited");
    using got = attach(descriptor);
    check(isContent(got as Float64Array), "attached");
    release(descriptor);
    return { messages };
  },

  /** The second member: dies with an array. */
  die() {
    const [name, bytes] = process.argv.slice(3);
    Pool.open(name!).alloc(Uint8Array, Number(bytes));
    process.kill(process.pid, "SIGKILL");
  },
};

console.log(JSON.stringify(scenarios[process.argv[2]!]!()));
