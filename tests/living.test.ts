/**
 * The living are never reaped, and what the dead leave comes back: processes that are stopped, in other namespaces, or have the
 * lock when they are stopped, and Workers that are terminated. The native tests (libpool/tests/living.zig, stop_points.zig,
 * leftovers.zig) try the same at every store.
 *
 *     TEST_WORKERS=1000 bun test ./tests/living.test.ts      a thousand Workers, instead of some
 */

import { spawnSync } from "node:child_process";
import { pack, type Pool, PoolError, release } from "arraypool";
import {
  assert,
  poolsLeft,
  runtime,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withPool,
} from "./support/harness.ts";
import { readU32 } from "./support/segment.ts";

const LOCK_AT = 128;
const apart = ["unshare", "--pid", "--fork", "--kill-child"];
const canUnshare = spawnSync("unshare", ["--pid", "--fork", "true"]).status === 0;
if (!canUnshare) console.log("no tests with PID namespaces: `unshare --pid` needs root");

/** Does for a while all that looks for dead members. */
function besiege(pool: Pool, ms: number): void {
  const { arrays, members } = pool.stats();
  for (const end = Date.now() + ms; Date.now() < end;) {
    assert.equal(pool.reap(), 0);
    throwsPoolError(() => pool.alloc(Uint8Array, pool.capacityBytes), "ERR_POOL_FULL");
    assert.equal(pool.members().length, members);
  }
  assert.deepEqual([pool.stats().arrays, pool.stats().members], [arrays, members]);
}

for (const namespace of canUnshare ? [false, true] : [false]) {
  const where = namespace ? " in another PID namespace" : "";
  test(`a ${runtime} process${where} is not taken for dead while it is stopped, and is when it is killed`, () =>
    withPool(async (pool) => {
      const child = start(runtime, "./child.ts", namespace ? { wrapper: apart } : {});
      try {
        const array = pool.from(Float64Array.of(1, 2, 3));
        child.write(pack({ do: "hold", array }));
        array.release();
        await child.next();
        besiege(pool, 200);
        // In a namespace the process is the wrapper's only child.
        const pid = namespace ? childOf(child.process.pid!) : child.process.pid!;
        process.kill(pid, "SIGSTOP");
        besiege(pool, 300);
        process.kill(pid, "SIGCONT");
        child.write({ do: "give", name: pool.name, value: 4 });
        const given = await child.next<object>();
        assert.equal(pool.stats().arrays, 2);
        process.kill(pid, "SIGKILL");
        await child.exited;
        await until(() => pool.reap() === 1, "the process is gone");
        // What it has sent is not its own any more.
        child.process.stdin!.destroy();
        assert.deepEqual([pool.stats().arrays, pool.stats().claims, pool.stats().members], [1, 1, 1]);
        release(given);
      } finally {
        await child.kill();
      }
    }));
}

test(`a terminated Worker of a ${runtime} process that is in no pool is reaped`, () =>
  withPool(async (pool) => {
    const child = start(runtime, "./with_brief_worker.ts");
    try {
      child.write({ do: "start", name: pool.name });
      await child.next();
      besiege(pool, 100);
      assert.deepEqual([pool.stats().members, pool.stats().arrays], [2, 2]);
      child.write({ do: "terminate" });
      await child.next();
      const begun = Date.now();
      await until(() => pool.reap() === 1, "the Worker is gone");
      console.log(`reaped ${Date.now() - begun} ms after terminate()`);
      assert.deepEqual([pool.stats().members, pool.stats().arrays], [1, 0]);
      await child.end();
    } finally {
      await child.kill();
    }
  }));

test(`a buffer that a ${runtime} Worker has transferred away never shows another's array, though the Worker was terminated`, () =>
  withPool(async (pool) => {
    const child = start(runtime, "./with_brief_worker.ts");
    const ask = <T>(order: object): Promise<T> => {
      child.write(order);
      return child.next<T>();
    };
    const values = async () => (await ask<{ values: number[] }>({ do: "look" })).values;
    try {
      await ask({ do: "start", name: pool.name, transfer: true });
      await ask({ do: "terminate" });
      await new Promise((resolve) => setTimeout(resolve, 300)); // the thread's end
      for (const end = Date.now() + 200; Date.now() < end;) assert.equal(pool.reap(), 0);
      assert.deepEqual([pool.stats().members, pool.stats().arrays], [2, 2]); // dead, and not to be reaped here
      using rest = pool.alloc(Uint8Array, pool.stats().largestFreeBytes).fill(0xee);
      assert.deepEqual(await values(), [7]);
      // Also when somebody else of that process joins.
      await ask({ do: "join", name: pool.name });
      assert.equal(pool.reap(), 0);
      await ask({ do: "write" });
      assert.deepEqual(await values(), [9]);
      assert.ok(rest.every((byte) => byte === 0xee));
      await ask({ do: "drop" });
      await until(
        async () => (await ask({ do: "collect" }), pool.reap() === 1),
        "the buffer is gone, and the Worker reaped",
      );
      rest.release();
      pool.alloc(Uint8Array, pool.capacityBytes - 64).release();
      await child.end();
    } finally {
      await child.kill();
    }
  }, { capacity: "8M" }));

testOnce(
  "a process that is stopped with the lock makes others wait for it in vain, and then goes on",
  () =>
    withPool(async (pool) => {
      const child = start("deno", "./walking.ts", { args: [pool.name] });
      try {
        assert.deepEqual(await child.next(), { walking: 20_000 });
        const pid = child.process.pid!;
        const array = pool.alloc(Uint8Array, 1000);
        // Sooner or later it is stopped where it has the lock.
        await until(async () => {
          process.kill(pid, "SIGCONT");
          await new Promise((resolve) => setTimeout(resolve, 1));
          process.kill(pid, "SIGSTOP");
          await new Promise((resolve) => setTimeout(resolve, 5));
          return readU32(pool.name, LOCK_AT) !== 0;
        }, "the child is stopped with the lock");
        throwsPoolError(() => pool.alloc(Uint8Array, 1), "ERR_POOL_BUSY", new RegExp(`process ${pid} `));
        array.release();
        assert.equal(array.length, 0);
        assert.equal(pool.members().length, 2);
        process.kill(pid, "SIGCONT");
        await until(() => {
          try {
            pool.alloc(Uint8Array, 1).release();
            return true;
          } catch (error) {
            if (error instanceof PoolError && error.code === "ERR_POOL_BUSY") return false;
            throw error;
          }
        }, "the child lets go of the lock");
        await until(
          () =>
            !pool.blocks().some(({ byteLength, holders }) => byteLength === 1000 && holders.includes(slotOfSelf(pool))),
          "the release is done",
        );
        assert.equal(pool.reap(), 0);
      } finally {
        await child.kill();
      }
    }),
);

test("Workers that come and are terminated use up no slot, descriptor or address space", async () => {
  const count = Number(process.env["TEST_WORKERS"] ?? 40);
  const child = start(runtime, "./many_workers.ts", { args: [String(count)] });
  try {
    type Census = Record<
      "maps" | "mapsOfPool" | "descriptors" | "descriptorsOfPool" | "virtualMb" | "members" | "arrays",
      number
    >;
    const { before, after, ms } = await child.next<{ before: Census; after: Census; ms: number }>(240_000);
    console.log(`${count} Workers in ${ms} ms, before and after:`, before, after);
    assert.deepEqual([after.members, after.arrays], [1, 0]);
    assert.deepEqual([after.mapsOfPool, after.descriptorsOfPool], [before.mapsOfPool, before.descriptorsOfPool]);
    // The runtime itself may still be busy with the last threads.
    assert.ok(after.descriptors <= before.descriptors + Math.min(32, count / 2), "descriptors");
    assert.ok(after.maps <= before.maps + 64, "mappings");
    // A pool of 1 GiB takes 1.4 GB of addresses for each member.
    assert.ok(after.virtualMb <= before.virtualMb + 1024, "addresses");
    await child.end();
  } finally {
    await child.kill();
  }
}, 300_000);

function slotOfSelf(pool: Pool): number {
  return pool.members().find(({ self }) => self)!.slot;
}

function childOf(pid: number): number {
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", String(pid)], { encoding: "utf8" });
  return Number(stdout.trim().split("\n")[0]);
}

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));
