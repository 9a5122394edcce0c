/** Arrays between processes: every pair of runtimes, every way of sending, and every way of ending. */

import { existsSync } from "node:fs";
import { pack, type Packed, Pool, unpack } from "arraypool";
import {
  assert,
  type Child,
  peers,
  poolsLeft,
  runtime,
  runtimes,
  sleep,
  start,
  test,
  until,
  withChild,
  withName,
  withPool,
} from "./support/harness.ts";

const CHILD = "./child.ts";

for (const other of runtimes) {
  test(`arrays go to ${other} by argument, environment, standard input and IPC, and come back`, () =>
    withPool(async (pool) => {
      using array = pool.from(Float64Array.of(1, 2, 3));
      const options = {
        env: { TEST_MESSAGE: JSON.stringify(pack({ do: "sum", array })) },
        args: [JSON.stringify(pack({ do: "fill", array: array.subarray(0, 2), value: 7 }))],
        ipc: true,
      };
      await withChild(start(other, CHILD, options), async (child) => {
        assert.deepEqual(await child.next(), { sum: 6 });
        assert.deepEqual(await child.next(), { done: true });
        assert.deepEqual([...array], [7, 7, 3]);
        child.process.send(pack({ do: "fill", array: array.subarray(1), value: 9 }) as object);
        assert.deepEqual(await child.next(), { done: true });
        assert.deepEqual([...array], [7, 9, 9]);
        child.write({ do: "give", name: pool.name, value: 5 });
        using answer = unpack(await child.next<Packed<{ array: Float64Array }>>());
        assert.deepEqual([...answer.array], [5, 5, 5]);
        child.write(pack({ do: "sum", array: answer.array }));
        assert.deepEqual(await child.next(), { sum: 15 });
      });
    }));
}

test("an array goes from child to child without its maker touching it", () =>
  withPool(async (pool) => {
    await withChild(start("bun", CHILD), (one) =>
      withChild(start("deno", CHILD), async (two) => {
        one.write({ do: "give", name: pool.name, value: 4 });
        two.write({ do: "sum", ...await one.next<object>() });
        assert.deepEqual(await two.next(), { sum: 12 });
        assert.equal(pool.stats().arrays, 0);
      }));
  }));

for (const other of peers) {
  test(`Atomics count exactly between this process and ${other}`, () =>
    withPool(async (pool) => {
      await withChild(start(other, CHILD), async (child) => {
        using counter = pool.alloc(Int32Array, 1);
        child.write(pack({ do: "add", counter, value: 500_000 }));
        for (let i = 0; i < 500_000; i++) Atomics.add(counter, 0, 1);
        await child.next();
        assert.equal(counter[0], 1_000_000);
      });
    }));
}

test(`reap() frees the arrays of a killed ${runtime} process, and nobody else's`, () =>
  withPool(async (pool) => {
    const child = start(runtime, CHILD);
    try {
      using mine = pool.from(Float64Array.of(1, 2, 3));
      child.write(pack({ do: "hold", array: mine }));
      await child.next();
      for (let i = 1; i < 20; i++) {
        const array = pool.alloc(Float64Array, 1000);
        child.write(pack({ do: "hold", array }));
        array.release();
        await child.next();
      }
      assert.equal(pool.stats().arrays, 20);
      assert.equal(pool.stats().claims, 0);
      await child.kill();
      assert.equal(pool.reap(), 1);
      assert.deepEqual([pool.stats().arrays, pool.stats().members], [1, 1]);
      assert.deepEqual([...mine], [1, 2, 3]);
    } finally {
      await child.kill();
    }
  }));

test(`a slice that a ${runtime} process retains outlives the rest`, () =>
  withPool(async (pool) => {
    await withChild(start(runtime, CHILD), async (child) => {
      const array = pool.from(Float64Array.of(1, 2, 3));
      child.write(pack({ do: "retain", array }));
      array.release();
      await child.next();
      assert.equal(pool.stats().arrays, 1);
      child.write({ do: "drop" });
      await child.next();
      assert.equal(pool.stats().arrays, 0);
    });
  }));

test(`a ${runtime} process that only attaches leaves by itself, and the last one out takes the pool away`, () =>
  withName((name, file) =>
    withChild(start(runtime, CHILD), async (child) => {
      using pool = Pool.create({ name, capacity: "1M" });
      const array = pool.alloc(Float64Array, 1);
      child.write(pack({ do: "hold", array }));
      await child.next();
      pool.close();
      assert.ok(existsSync(file));
      child.write({ do: "drop" });
      await child.next();
      await until(() => !existsSync(file), "the child has left the pool");
    })
  ));

test(`a ${runtime} process that has opened the pool, or taken it from an array or a message, stays`, () =>
  withName(async (name) => {
    const children = Array.from({ length: 4 }, () => start(runtime, CHILD)) as [Child, Child, Child, Child];
    const [one, two, three, four] = children;
    const done = async (child: Child, order: unknown) => {
      child.write(order);
      assert.doesNotMatch(JSON.stringify(await child.next()), /"code"/);
    };
    try {
      using pool = Pool.create({ name, capacity: "1M" });
      using array = pool.alloc(Float64Array, 1);
      await done(one, pack({ do: "hold", array }));
      await done(one, { do: "open", name });
      await done(one, { do: "drop" });
      pool.close();
      // Long enough for one that only passes to have left.
      await sleep(300);
      using again = Pool.open(name);
      using other = again.alloc(Float64Array, 1);
      await done(two, pack({ do: "take pool", array: other }));
      using channel = again.channel();
      await done(three, pack({ do: "take pool", channel }));
      await done(four, pack({ do: "take pool", pool: again }));
      await one.end();
      again.close();
      for (const child of [two, three, four]) {
        await sleep(300);
        await done(child, { do: "use pool" });
        await child.end();
      }
    } finally {
      for (const child of children) await child.kill();
    }
  }));

for (const how of ["end", "process.exit", "Deno.exit", "throw"]) {
  if (how === "Deno.exit" && runtime !== "deno") continue;
  test(`a ${runtime} process that ends by ${how} leaves no pool behind`, () =>
    withName(async (name, file) => {
      const child = start(runtime, CHILD);
      try {
        child.write({ do: "create", name });
        await child.next();
        child.write({ do: "exit", how });
        child.process.stdin!.end();
        assert.equal(await child.exited, how === "throw" ? 1 : 0);
        // An uncaught error runs no hook in Deno: whoever makes the next pool sweeps this one.
        if (how === "throw" && runtime === "deno") Pool.create({ capacity: "1M" }).close();
        assert.ok(!existsSync(file));
      } finally {
        await child.kill();
      }
    }));
}

test(`a killed ${runtime} process leaves no pool behind once the next one is made`, () =>
  withName(async (name, file) => {
    const child = start(runtime, CHILD);
    child.write({ do: "create", name });
    await child.next();
    await child.kill();
    Pool.create({ capacity: "1M" }).close();
    assert.ok(!existsSync(file));
  }));

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));
