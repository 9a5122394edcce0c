/** Arrays between processes: every pair of runtimes, every way of sending, and every way of ending. */

import { existsSync } from "node:fs";
import { pack, type Packed, Pool, unpack } from "arraypool";
import {
  assert,
  type Child,
  poolsLeft,
  runtimes,
  sleep,
  start,
  test,
  until,
  withName,
  withPool,
} from "./support/harness.ts";

const CHILD = "./child.ts";

/** Runs `use` with a child that is gone afterwards, whatever happens. */
async function withChild(child: Child, use: (child: Child) => unknown): Promise<void> {
  try {
    await use(child);
    await child.end();
  } finally {
    await child.kill();
  }
}

for (const other of runtimes) {
  test(`an array goes to ${other} by argument`, () =>
    withPool(async (pool) => {
      using array = pool.alloc(Float64Array, 4);
      const packed = JSON.stringify(pack({ do: "fill", array, value: 7 }));
      await withChild(start(other, CHILD, { args: [packed] }), async (child) => {
        assert.deepEqual(await child.next(), { done: true });
        assert.deepEqual([...array], [7, 7, 7, 7]);
      });
    }));

  test(`an array goes to ${other} by environment`, () =>
    withPool(async (pool) => {
      using array = pool.from(Float64Array.of(1, 2, 3));
      const packed = JSON.stringify(pack({ do: "sum", array }));
      await withChild(start(other, CHILD, { env: { TEST_MESSAGE: packed } }), async (child) => {
        assert.deepEqual(await child.next(), { sum: 6 });
      });
    }));

  test(`an array goes to ${other} by standard input, and comes back`, () =>
    withPool(async (pool) => {
      await withChild(start(other, CHILD), async (child) => {
        child.write({ do: "give", name: pool.name, value: 5 });
        using answer = unpack(await child.next<Packed<{ array: Float64Array }>>());
        assert.deepEqual([...answer.array], [5, 5, 5]);
        child.write(pack({ do: "sum", array: answer.array }));
        assert.deepEqual(await child.next(), { sum: 15 });
      });
    }));

  test(`an array goes to ${other} by IPC`, () =>
    withPool(async (pool) => {
      using array = pool.from(Float64Array.of(1, 2, 3));
      await withChild(start(other, CHILD, { ipc: true }), async (child) => {
        child.process.send(pack({ do: "fill", array: array.subarray(1), value: 9 }) as object);
        assert.deepEqual(await child.next(), { done: true });
        assert.deepEqual([...array], [1, 9, 9]);
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

for (const other of runtimes) {
  test(`reap() frees the arrays of a killed ${other} process, and nobody else's`, () =>
    withPool(async (pool) => {
      const child = start(other, CHILD);
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

  test(`what a killed ${other} process has sent can still be attached`, () =>
    withPool(async (pool) => {
      const child = start(other, CHILD);
      try {
        child.write({ do: "give", name: pool.name, value: 6 });
        const packed = await child.next<Packed<{ array: Float64Array }>>();
        await child.kill();
        pool.reap();
        using got = unpack(packed);
        assert.deepEqual([...got.array], [6, 6, 6]);
      } finally {
        await child.kill();
      }
    }));

  test(`a slice that a ${other} process retains outlives the rest`, () =>
    withPool(async (pool) => {
      await withChild(start(other, CHILD), async (child) => {
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

  test(`sort() and decoding of a copy are safe while ${other} writes the array`, () =>
    withPool(async (pool) => {
      await withChild(start(other, CHILD), async (child) => {
        // Neighbours on both sides would show a sort that writes beyond its end.
        using before = pool.alloc(Float64Array, 1000).fill(5);
        using array = pool.alloc(Float64Array, 50_000);
        using after = pool.alloc(Float64Array, 1000).fill(5);
        using counter = pool.alloc(Int32Array, 1);
        child.write(pack({ do: "scribble", array, counter }));
        await child.next();
        for (let i = 0; i < 20; i++) {
          assert.equal(array.sort(), array);
          assert.equal(array.sort((a, b) => a - b), array);
          const bytes = new Uint8Array(array.buffer, 0, 10_000);
          assert.equal(typeof new TextDecoder().decode(bytes.slice()), "string");
        }
        Atomics.store(counter, 0, 1);
        assert.deepEqual(await child.next(), { done: true });
        assert.ok(before.every((x) => x === 5) && after.every((x) => x === 5));
      });
    }));

  test(`a ${other} process that only attaches leaves by itself, and the last one out takes the pool away`, () =>
    withName((name, file) =>
      withChild(start(other, CHILD), async (child) => {
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

  test(`a ${other} process that has opened the pool, or taken it from an array, stays`, () =>
    withName((name) =>
      withChild(start(other, CHILD), (one) =>
        withChild(start(other, CHILD), async (two) => {
          using pool = Pool.create({ name, capacity: "1M" });
          using array = pool.alloc(Float64Array, 1);
          const done = async (child: Child, order: unknown) => {
            child.write(order);
            assert.doesNotMatch(JSON.stringify(await child.next()), /"code"/);
          };
          await done(one, pack({ do: "hold", array }));
          await done(one, { do: "open", name });
          await done(one, { do: "drop" });
          pool.close();
          // Long enough for one that only passes to have left.
          await sleep(300);
          using again = Pool.open(name);
          using other = again.alloc(Float64Array, 1);
          await done(two, pack({ do: "take pool", array: other }));
          await one.end();
          again.close();
          await sleep(300);
          await done(two, { do: "use pool" });
        }))
    ));

  for (const how of ["end", "process.exit", "Deno.exit", "throw"]) {
    if (how === "Deno.exit" && other !== "deno") continue;
    test(`a ${other} process that ends by ${how} leaves no pool behind`, () =>
      withName(async (name, file) => {
        const child = start(other, CHILD);
        try {
          child.write({ do: "create", name });
          await child.next();
          child.write({ do: "exit", how });
          child.process.stdin!.end();
          assert.equal(await child.exited, how === "throw" ? 1 : 0);
          // An uncaught error runs no hook in Deno: whoever makes the next pool sweeps this one.
          if (how === "throw" && other === "deno") Pool.create({ capacity: "1M" }).close();
          assert.ok(!existsSync(file));
        } finally {
          await child.kill();
        }
      }));
  }

  test(`a killed ${other} process leaves no pool behind once the next one is made`, () =>
    withName(async (name, file) => {
      const child = start(other, CHILD);
      child.write({ do: "create", name });
      await child.next();
      await child.kill();
      Pool.create({ capacity: "1M" }).close();
      assert.ok(!existsSync(file));
    }));
}

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));
