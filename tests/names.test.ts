/** Names: arrays that a pool keeps under a key, for every process, until they are deleted or the pool ends. */

import {
  type Channel,
  isSharedArray,
  Pool,
  release,
  type SharedArray,
  type TypedArray,
  type TypedArrayClass,
} from "arraypool";
import {
  assert,
  type Child,
  newName,
  type Runtime,
  runtime,
  runtimes,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withPool,
} from "./support/harness.ts";
import type { NamerOrder } from "./support/namer.ts";

function namer(other: Runtime, order: NamerOrder): Child {
  return start(other, "./namer.ts", { args: [JSON.stringify(order)] });
}

const classes = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float16Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
] as unknown as TypedArrayClass<TypedArray>[];

test("what is set under a name is got under it: the same memory, its type and its shape", () =>
  withPool((pool) => {
    for (const type of classes) {
      using array = pool.alloc(type, [2, 3]);
      pool.set("it", array);
      using got = pool.get("it", type)!;
      assert.ok(isSharedArray(got));
      assert.deepEqual([got.dtype, got.shape, got.length, got.base], [array.dtype, [2, 3], 6, got]);
      new Uint8Array(array.buffer).fill(1);
      assert.deepEqual([...got], [...array]);
      assert.ok(pool.has("it"));
    }
    assert.deepEqual(pool.names(), ["it"]);
    assert.equal(pool.stats().arrays, 1);
    assert.equal(pool.delete("it"), true);
    assert.equal(pool.delete("it"), false);
    assert.equal(pool.get("it"), undefined);
    assert.equal(pool.has("it"), false);
    assert.deepEqual(pool.names(), []);
    assert.equal(pool.stats().arrays, 0);
  }));

test("the name has a hold of its own: the caller's array is his, and the name's stays when he lets go", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    pool.set("it", array);
    array[0] = 7;
    array.release();
    const { arrays, claims, claimedBytes, usedBytes } = pool.stats();
    assert.deepEqual({ arrays, claims, claimedBytes, usedBytes }, {
      arrays: 1,
      claims: 0,
      claimedBytes: 0,
      usedBytes: 64,
    });
    {
      using first = pool.get("it", Float64Array)!;
      using second = pool.get("it", Float64Array)!;
      first.release();
      assert.deepEqual([...second], [7, 2, 3]);
      // What was got may go on when the name is gone.
      assert.ok(pool.delete("it"));
      assert.deepEqual([...second], [7, 2, 3]);
    }
    assert.equal(pool.stats().arrays, 0);
  }));

test("a slice under a name is just that slice, in its shape", () =>
  withPool((pool) => {
    const cube = pool.from(Float64Array.from({ length: 24 }, (_, i) => i), [2, 3, 4]);
    pool.set("slab", cube.slab(1));
    pool.set("row", cube.slab(1).slab(2));
    pool.set("some", cube.subarray(5, 8));
    pool.set("flat", cube.reshape([4, 1, 6]));
    pool.set("one", cube.subarray(3, 4).reshape([]));
    pool.set("none", cube.subarray(2, 2));
    pool.set("deep", cube.subarray(0, 8).reshape([...Array(61).fill(1), 2, 2, 2]));
    cube.release();
    const shapes: Record<string, number[]> = {
      slab: [3, 4],
      row: [4],
      some: [3],
      flat: [4, 1, 6],
      one: [],
      none: [0],
      deep: [...Array(61).fill(1), 2, 2, 2],
    };
    const first: Record<string, number> = { slab: 12, row: 20, some: 5, flat: 0, one: 3, deep: 0 };
    for (const [name, shape] of Object.entries(shapes)) {
      using got = pool.get(name, Float64Array)!;
      assert.deepEqual(got.shape, shape, name);
      assert.equal(got.length, shape.reduce((a, b) => a * b, 1), name);
      assert.equal(got[0], first[name], name);
      assert.equal(got.byteOffset, 0); // of it one sees nothing but itself
      assert.equal(got.buffer.byteLength, got.byteLength);
    }
    assert.equal(pool.stats().arrays, 1);
    for (const name of pool.names()) pool.delete(name);
    assert.equal(pool.stats().arrays, 0);
  }));

test("an empty array may have a name, and keeps its shape", () =>
  withPool((pool) => {
    for (const shape of [0, [0], [0, 5], [3, 0, 7], [0, 2 ** 52, 2 ** 40]]) {
      pool.set("empty", pool.alloc(Int16Array, shape));
      using got = pool.get("empty", Int16Array)!;
      assert.deepEqual([got.length, got.shape], [0, typeof shape === "number" ? [shape] : shape]);
    }
    using monster = pool.alloc(Int16Array, [0, ...Array(20).fill(2 ** 50)]);
    assert.throws(() => pool.set("empty", monster), /RangeError: .*reshape/);
  }));

test("an array of another element type is a TypeError that says what it is, and nothing stays held", () =>
  withPool((pool) => {
    pool.set("it", pool.alloc(Float64Array, 4));
    assert.throws(
      () => pool.get("it", Int32Array),
      /TypeError: "it" names an array of float64, not of int32: .*Float64Array/,
    );
    assert.throws(() => pool.get("it", Array as never), TypeError);
    // The one that was allocated is not released.
    assert.deepEqual(pool.blocks().map(({ holders }) => holders.length), [1]);
    pool.get("it", Float64Array)!.release();
  }));

test("names are any well-formed text of 1 to 128 bytes", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(1));
    const good = ["a", "\0", "a\0b", "__proto__", "Preise, ä€😀", "x".repeat(128), "😀".repeat(32), " ", "../x"];
    for (const [i, name] of good.entries()) {
      using its = pool.from(Float64Array.of(i));
      pool.set(name, its);
    }
    for (const [i, name] of good.entries()) {
      using got = pool.get(name, Float64Array)!;
      assert.equal(got[0], i);
    }
    assert.deepEqual(pool.names(), [...good].sort());
    const bad: [unknown, RegExp][] = [
      ["", /RangeError: a name must not be empty/],
      ["x".repeat(129), /RangeError: .*at most 128 bytes of UTF-8, not 129/],
      ["😀".repeat(33), /RangeError: .*not 132/],
      ["a\ud800", /RangeError: .*well-formed/],
      [1, /TypeError: a name must be a string/],
      [undefined, /TypeError/],
      [Symbol("x"), /TypeError/],
      [{ toString: () => "a" }, /TypeError/],
    ];
    for (const [name, error] of bad) {
      assert.throws(() => pool.set(name as string, array), error);
      assert.throws(() => pool.get(name as string), error);
      assert.throws(() => pool.has(name as string), error);
      assert.throws(() => pool.delete(name as string), error);
      assert.throws(() => pool.once(name as string, () => array), error);
    }
    assert.equal(pool.names().length, good.length);
    for (const name of good) pool.delete(name);
  }));

test("what is no array of the pool gets no name", () =>
  withPool((pool) => {
    for (const wrong of [undefined, null, 1, [1], Float64Array.of(1), {}]) {
      assert.throws(() => pool.set("it", wrong as never), /TypeError: .*pool\.from\(\)/);
    }
    const released = pool.alloc(Float64Array, 1);
    released.release();
    throwsPoolError(() => pool.set("it", released), "ERR_RELEASED");
    using other = Pool.create({ name: newName(), capacity: "1M" });
    using theirs = other.alloc(Float64Array, 1);
    assert.throws(() => pool.set("it", theirs), /TypeError: the array is in pool .*pool\.from\(\)/);
    assert.throws(() => pool.set("it", theirs.subarray(0)), TypeError);
    assert.deepEqual(pool.names(), []);
    pool.close();
    for (const call of [() => pool.get("it"), () => pool.has("it"), () => pool.delete("it"), () => pool.names()]) {
      throwsPoolError(call, "ERR_CLOSED");
    }
    throwsPoolError(() => pool.once("it", () => theirs), "ERR_CLOSED");
  }));

test("a channel may have a name, which keeps it with what is in it", () =>
  withPool((pool) => {
    type Job = { row: Float64Array };
    const channel = pool.channel<Job>({ capacity: 4 });
    channel.send({ row: pool.from(Float64Array.of(1, 2, 3)) }, { move: true });
    pool.set("jobs", channel);
    channel.release();
    throwsPoolError(() => pool.set("others", channel), "ERR_RELEASED");
    assert.deepEqual(pool.blocks().map(({ kind, name }) => [kind, name]), [["channel", "jobs"], ["array", undefined]]);
    assert.throws(() => pool.get("jobs", Float64Array), /TypeError: "jobs" names a channel, .* get it without a type/);
    {
      using same = pool.get<Channel<Job>>("jobs")!;
      using job = same.receive();
      assert.deepEqual([same.capacity, ...job.row], [4, 1, 2, 3]);
      same.send({ row: pool.from(Float64Array.of(4)) }, { move: true });
    }
    using other = Pool.create({ name: newName(), capacity: "1M" });
    using theirs = other.channel();
    assert.throws(() => pool.set("jobs", theirs), /TypeError: the channel is one of pool/);
    assert.ok(pool.delete("jobs"));
    const { arrays, usedBytes } = pool.stats();
    assert.deepEqual([arrays, usedBytes], [0, 0]);
    {
      using once = pool.once("results", (pool) => pool.channel<number>());
      using again = pool.once("results", (pool) => pool.channel<number>());
      once.send(7);
      assert.equal(again.receive(), 7);
    }
    pool.delete("results");
    assert.equal(pool.blocks().length, 0);
  }));

test("blocks() says names, and does not take them for claims", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, 3);
    using other = pool.alloc(Float64Array, 4);
    const blocks = () => pool.blocks().map(({ byteLength, name, claims }) => [byteLength, name, claims]);
    for (const name of ["b", "a", "c"]) pool.set(name, array.subarray(1));
    const descriptor = array.share();
    assert.deepEqual(blocks(), [[24, "a", 1], [32, undefined, 0]]);
    pool.set("a", other);
    assert.deepEqual(blocks(), [[24, "b", 1], [32, "a", 0]]);
    for (const name of pool.names()) pool.delete(name);
    assert.deepEqual(blocks(), [[24, undefined, 1], [32, undefined, 0]]);
    assert.ok(!("name" in pool.blocks()[0]!));
    release(descriptor);
    assert.deepEqual(blocks()[0], [24, undefined, 0]);
  }));

test("thousands of names are found, listed and deleted", () =>
  withPool((pool) => {
    const names = Array.from({ length: 3000 }, (_, i) => `name ${i}`);
    const arrays = names.map((_, i) => pool.from(Int32Array.of(i)));
    names.forEach((name, i) => pool.set(name, arrays[i]!));
    assert.deepEqual(pool.names(), [...names].sort());
    assert.equal(pool.blocks().filter(({ name }) => name !== undefined).length, names.length);
    for (const [i, name] of names.entries()) {
      using got = pool.get(name, Int32Array)!;
      assert.equal(got[0], i);
    }
    for (const name of names) assert.ok(pool.delete(name));
    assert.deepEqual(pool.names(), []);
    for (const array of arrays) array.release();
  }));

test("a pool has no room for more names than it says, and says what to do; setting one again works all the same", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, 1);
    let count = 0;
    throwsPoolError(
      () => {
        while (true) pool.set(`name ${count}`, array), count++;
      },
      "ERR_POOL_FULL",
      /no room for another name: delete\(\) some/,
    );
    assert.equal(count, 4095);
    using other = pool.from(Float64Array.of(5));
    pool.set("name 7", other);
    assert.equal(pool.get("name 7", Float64Array)![0], 5);
    pool.delete("name 8");
    pool.set("new", array);
  }, { capacity: "1M" }));

test("a full pool says what only names hold, and how old the oldest claim is", () =>
  withPool((pool) => {
    const named = pool.alloc(Uint8Array, 512 * 1024);
    pool.set("it", named);
    named.release();
    // A claim that lives longer, or shorter, than the pool's own is not older or younger for that.
    const sent = [5_000, 3_600_000].map((ttlMs) => {
      using array = pool.alloc(Uint8Array, 1024);
      return array.share({ ttlMs });
    });
    throwsPoolError(
      () => pool.alloc(Uint8Array, 900 * 1024),
      "ERR_POOL_FULL",
      /the oldest [0-9] s old, 512 KiB only by names/,
    );
    release(sent);
  }, { capacity: "1M" }));

for (const end of ["leave", "killed"] as const) {
  const what = end === "killed" ? "is killed" : "ends";
  test(`what a ${runtime} process has set stays when it ${what}, until the last member leaves`, () =>
    withPool(async (pool) => {
      const child = namer(runtime, { do: "set", pool: pool.name, name: "theirs", value: 3, end });
      try {
        await child.next();
        await child.exited;
        await until(() => pool.reap() + pool.members().length === 1, "it is gone");
        assert.equal(pool.stats().claimedBytes, 0);
        using got = pool.get("theirs", Float64Array)!;
        assert.ok(got.length === 1000 && got.every((value) => value === 3));
        // Still there: withPool() sees that the file goes with the last member.
      } finally {
        await child.kill();
      }
    }));
}

testOnce(
  "who gets a name that is set again and again finds the old array or the new one, in every process",
  () =>
    withPool(async (pool) => {
      const set = (value: number) => {
        using array: SharedArray<Float64Array> = pool.alloc(Float64Array, 1000).fill(value);
        pool.set("it", array);
      };
      set(0);
      const readers = runtimes.map((other) => namer(other, { do: "read", pool: pool.name, name: "it" }));
      try {
        for (const reader of readers) await reader.next();
        for (let value = 1; value <= 1000; value++) set(value);
        pool.delete("it");
        for (const reader of readers) {
          const { last, reads } = await reader.next<{ last: number; reads: number }>();
          assert.ok(last <= 1000 && reads > 0);
          await reader.end();
        }
        await until(() => pool.reap() + pool.members().length === 1, "they are gone");
        assert.equal(pool.stats().arrays, 0);
      } finally {
        for (const reader of readers) await reader.kill();
      }
    }),
);

test("a name may begin with any character", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    pool.set("\uFEFFit", array);
    assert.deepEqual(pool.names(), ["\uFEFFit"]);
    assert.equal(pool.blocks()[0]!.name, "\uFEFFit");
    assert.deepEqual(pool.names().map((name) => pool.delete(name)), [true]);
  }));
