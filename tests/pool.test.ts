/** Pools: making, finding, looking into and leaving them. */

import { existsSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { attach, pack, Pool, PoolError, release, unpack } from "arraypool";
import {
  assert,
  fileOf,
  newName,
  poolsLeft,
  runtimes,
  start,
  test,
  throwsPoolError,
  until,
  withCopyOfPackage,
  withPool,
} from "./support/harness.ts";

test("create() makes a segment of mode 0600, and close() takes it away", () => {
  const pool = Pool.create({ name: newName(), capacity: "1M" });
  assert.equal(statSync(fileOf(pool.name)).mode & 0o777, 0o600);
  assert.equal(pool.closed, false);
  pool.close();
  assert.equal(pool.closed, true);
  assert.ok(!existsSync(fileOf(pool.name)));
});

test("a pool without a name gets a random one", () => {
  using one = Pool.create({ capacity: "1M" });
  using two = Pool.create({ capacity: "1M" });
  assert.notEqual(one.name, two.name);
  assert.ok(existsSync(fileOf(one.name)));
});

test("capacity is bytes, or a number with K, M or G", () => {
  const cases: [number | `${number}${"" | "K" | "M" | "G"}`, number][] = [
    [2 ** 20, 2 ** 20],
    [2 ** 20 + 1, 2 ** 20 + 2 ** 16],
    [2 ** 20 + 0.5, 2 ** 20 + 2 ** 16],
    ["1M", 2 ** 20],
    ["1.5M", 1.5 * 2 ** 20],
    ["2048K", 2 ** 21],
    ["1G", 2 ** 30],
    ["3145728", 3 * 2 ** 20],
  ];
  for (const [capacity, bytes] of cases) {
    using pool = Pool.create({ name: newName(), capacity });
    assert.equal(pool.capacityBytes, bytes);
    assert.equal(pool.stats().capacityBytes, bytes);
  }
});

test("a pool can be filled to its last byte", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, pool.capacityBytes);
    assert.equal(array.length, pool.capacityBytes);
    assert.equal(pool.stats().largestFreeBytes, 0);
    array.release();
    // Also where nothing is left for what those who look are told of its shape.
    using table = pool.alloc(Uint8Array, [pool.capacityBytes / 2, 2]);
    assert.deepEqual(table.shape, [pool.capacityBytes / 2, 2]);
  }, { capacity: "1M" }));

test("a name is taken once: create() says so, open() and openOrCreate() find it", () =>
  withPool((pool) => {
    throwsPoolError(() => Pool.create({ name: pool.name }), "ERR_ALREADY_EXISTS", /openOrCreate/);
    assert.equal(Pool.open(pool.name), pool);
    assert.equal(Pool.openOrCreate({ name: pool.name }), pool);
  }));

test("openOrCreate() makes the pool where there is none, with the options", () => {
  using pool = Pool.openOrCreate({ name: newName(), capacity: "3M" });
  assert.equal(pool.capacityBytes, 3 * 2 ** 20);
});

test("open() of a pool that nobody has is ERR_NOT_FOUND, also after close()", () => {
  const name = newName();
  throwsPoolError(() => Pool.open(name), "ERR_NOT_FOUND", /create it first/);
  Pool.create({ name, capacity: "1M" }).close();
  throwsPoolError(() => Pool.open(name), "ERR_NOT_FOUND");
});

test("a pool that was closed here is not found again, and does not hide the next one of its name", async () => {
  const name = newName();
  const first = Pool.create({ name, capacity: "1M" });
  first.close();
  using second = Pool.create({ name, capacity: "1M" });
  first.close();
  assert.equal(Pool.open(name), second);
  // Joined by a descriptor alone, it is left with its last array.
  const descriptor = second.alloc(Uint8Array, 1).share();
  second.close();
  attach(descriptor).release();
  await until(() => !existsSync(fileOf(name)), "the pool is left");
  throwsPoolError(() => Pool.open(name), "ERR_NOT_FOUND");
  throwsPoolError(() => attach(descriptor), "ERR_STALE_DESCRIPTOR");
  using third = Pool.openOrCreate({ name, capacity: "2M" });
  assert.deepEqual([third.capacityBytes, third.closed], [2 ** 21, false]);
});

test("several pools at once are apart from each other", () =>
  withPool((one) =>
    withPool((two) => {
      using a = one.alloc(Uint8Array, 1000).fill(1);
      using b = two.alloc(Uint8Array, 1000).fill(2);
      assert.equal(a.pool, one);
      assert.equal(b.pool, two);
      using both = unpack(pack({ a, b }));
      assert.equal(both.a[0], 1);
      assert.equal(both.b[0], 2);
      assert.equal(one.stats().arrays, 1);
      one.close();
      assert.equal(a.length, 0);
      assert.equal(both.b[999], 2);
    })
  ));

test("stats() counts bytes, arrays, claims and members", () =>
  withPool((pool) => {
    const empty = pool.stats();
    assert.deepEqual(
      [empty.usedBytes, empty.claimedBytes, empty.lentBytes, empty.arrays, empty.claims, empty.members],
      [0, 0, 0, 0, 0, 1],
    );
    assert.equal(empty.largestFreeBytes, pool.capacityBytes);
    const array = pool.alloc(Uint8Array, 1_000_000);
    const packed = pack(array, { claims: 3 });
    const used = pool.stats();
    assert.ok(used.usedBytes >= 1_000_000 && used.usedBytes < 1_001_000);
    assert.ok(used.backedBytes >= used.usedBytes);
    assert.equal(used.largestFreeBytes, pool.capacityBytes - used.usedBytes);
    assert.deepEqual([used.arrays, used.claims, used.claimedBytes], [1, 1, 0]);
    array.release();
    assert.equal(pool.stats().claimedBytes, used.usedBytes);
    release(packed);
    assert.deepEqual({ ...pool.stats(), backedBytes: 0 }, { ...empty, backedBytes: 0 });
  }));

test("blocks() lists every array with its holders and claims", () =>
  withPool((pool) => {
    const arrays = Array.from({ length: 600 }, (_, i) => pool.alloc(Float32Array, i));
    const packed = arrays[7]!.share();
    const self = pool.members()[0]!.slot;
    const blocks = pool.blocks();
    assert.equal(blocks.length, 600);
    assert.deepEqual(
      blocks.map((block) => block.byteLength).sort((a, b) => a - b),
      arrays.map((array) => array.byteLength),
    );
    const seventh = blocks.find((block) => block.block === packed.block)!;
    assert.deepEqual(seventh, {
      kind: "array",
      block: packed.block,
      generation: packed.generation,
      byteLength: 28,
      dtype: "float32",
      holders: [self],
      claims: 1,
    });
    release(packed);
    release(arrays);
    assert.deepEqual(pool.blocks(), []);
  }));

for (const other of runtimes) {
  test(`members() lists this realm and a child in ${other}, until it has left`, () =>
    withPool(async (pool) => {
      const child = start(other, "./child.ts");
      try {
        child.write({ do: "open", name: pool.name });
        await child.next();
        const members = pool.members();
        assert.equal(members.length, 2);
        assert.equal(pool.stats().members, 2);
        const [self] = members.filter((member) => member.self);
        const [found] = members.filter((member) => !member.self);
        assert.equal(self!.pid, process.pid);
        assert.equal(found!.pid, child.process.pid);
        assert.equal(found!.threadId, child.process.pid);
        assert.ok(Math.abs(found!.startedAt.getTime() - Date.now()) < 60_000);
        await child.end();
        assert.deepEqual(pool.members().map((member) => member.self), [true]);
      } finally {
        await child.kill();
      }
    }));
}

test("trim() makes room in /dev/shm of what was released", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 8 * 2 ** 20).fill(1);
    release(array);
    const before = pool.stats().backedBytes;
    const freed = pool.trim();
    assert.ok(freed >= 8 * 2 ** 20 - 2 ** 16, `${freed}`);
    assert.equal(pool.stats().backedBytes, before - freed);
    using again = pool.alloc(Uint8Array, 8 * 2 ** 20);
    assert.ok(again.every((byte) => byte === 0));
  }));

test("reap() takes back nothing of the living", () =>
  withPool((pool) => {
    using array = pool.from(Uint8Array.of(1, 2, 3));
    assert.equal(pool.reap(), 0);
    assert.deepEqual([...array], [1, 2, 3]);
  }));

test("expired claims are taken back", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Uint8Array, 1000);
    const packed = pack(array, { ttlMs: 1 });
    array.release();
    await until(() => {
      pool.reap();
      return pool.stats().arrays === 0;
    }, "the claim has expired");
    throwsPoolError(() => unpack(packed), "ERR_STALE_DESCRIPTOR", /ttlMs/);
  }));

test("claimTtlMs is how long a claim lasts where share() says nothing else", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Uint8Array, 1000);
    const short = array.share();
    const long = pool.alloc(Uint8Array, 1000);
    const kept = long.share({ ttlMs: 60_000 });
    release([array, long]);
    await until(() => {
      pool.reap();
      return pool.stats().arrays === 1;
    }, "the claim has expired");
    throwsPoolError(() => attach(short), "ERR_STALE_DESCRIPTOR");
    attach(kept).release();
  }, { claimTtlMs: 5 }));

test("close() detaches every array of the realm, and can be called twice", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    const slice = array.subarray(1);
    const attached = attach(array.share());
    pool.close();
    pool.close();
    for (const view of [array, slice, attached]) {
      assert.equal(view.length, 0);
      assert.equal(view.released, true);
    }
    array.release();
    throwsPoolError(() => array.share(), "ERR_CLOSED", /closed/);
    for (
      const call of [
        () => pool.alloc(Uint8Array, 1),
        () => pool.allocUnsafe(Uint8Array, 1),
        () => pool.from(Uint8Array.of(1)),
        () => pool.stats(),
        () => pool.blocks(),
        () => pool.members(),
        () => pool.reap(),
        () => pool.trim(),
        () => pool.check(),
      ]
    ) throwsPoolError(call, "ERR_CLOSED", /Pool\.open\("/);
  }));

test("a pool that was closed can be opened again where somebody else has it", () =>
  withPool(async (pool) => {
    const child = start("bun", "./child.ts");
    try {
      child.write({ do: "open", name: pool.name });
      await child.next();
      pool.close();
      using again = Pool.open(pool.name);
      assert.notEqual(again, pool);
      assert.equal(again.members().length, 2);
      await child.end();
    } finally {
      await child.kill();
    }
  }));

test("a pool goes with a message", () =>
  withPool((pool) => {
    const text = JSON.stringify({ pool });
    assert.deepEqual(Object.keys(JSON.parse(text).pool), ["$arraypool", "pool", "nonce"]);
    assert.equal(unpack<{ pool: Pool }>(JSON.parse(text)).pool, pool);
    assert.equal(unpack(pack([pool]))[0], pool);
    assert.throws(() => attach(JSON.parse(text).pool), { name: "TypeError", message: /Pool\.open/ });
    release(JSON.parse(text));
    assert.equal(pool.closed, false);
  }));

test("a second copy of the package has the same pools, arrays and errors", () =>
  withPool((pool) =>
    withCopyOfPackage(async (url) => {
      const copy: typeof import("arraypool") = await import(new URL("mod.ts", url).href);
      assert.equal(copy.Pool, Pool);
      assert.equal(copy.PoolError, PoolError);
      assert.equal(copy.Pool.open(pool.name), pool);
      using array = pool.alloc(Uint8Array, 3);
      assert.ok(copy.isSharedArray(array));
      using message = copy.unpack(pack({ array }));
      assert.equal(message.array.length, 3);
    })
  ));

test("the version by which copies know each other is that of the package", () => {
  const root = new URL("../", import.meta.url);
  const read = (name: string) => readFileSync(fileURLToPath(new URL(name, root)), "utf8");
  const { version } = JSON.parse(read("package.json"));
  assert.match(read("realm.ts"), new RegExp(`Symbol\\.for\\("arraypool ${version.replaceAll(".", "\\.")}"\\)`));
});

test("pools that come and go take no addresses with them", () => {
  const addressesKiB = () => Number(/VmSize:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);
  const capacityKiB = 64 * 2 ** 20;
  const before = addressesKiB();
  for (let i = 0; i < 30; i++) {
    const pool = Pool.create({ capacity: "64G" });
    pool.alloc(Float64Array, 1000).fill(1);
    pool.close();
  }
  assert.ok(addressesKiB() - before < 15 * capacityKiB, "closed pools stay mapped");
});

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));

test("a pool that is closed with empty arrays in it is left, too", async () => {
  for (let i = 0; i < 3; i++) {
    await withPool((pool) => {
      const array = pool.alloc(Float64Array, 10);
      const kept = [pool.alloc(Uint8Array, 0), array.subarray(0, 0).retain(), array.subarray(3, 3).retain()];
      if (i > 0) array.release();
      if (i > 1) kept[1]!.release();
    });
  }
});
