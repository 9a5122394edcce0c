/** Forged descriptors and crafted messages: typed errors, nothing attached that was not named, nothing left behind. */

import { attach, type Descriptor, pack, release, type SharedArray, unpack } from "arraypool";
import { assert, newName, test, withPool } from "./support/harness.ts";
import { forge } from "./support/forge.ts";

test("of 20,000 forged descriptors attach() and unpack() attach just what is named to the letter (npm run forge: 10^6)", () => {
  const report = forge(newName(), 20_000, Date.now() % 2 ** 31);
  assert.deepEqual(report.failures, [], JSON.stringify(report));
  assert.ok(report.attached > 500 && report.typeErrors > 500 && report.rangeErrors > 500, JSON.stringify(report));
});

test("an array that claims a length of 2^32 - 1 takes no time and no memory", () =>
  withPool((pool) => {
    using array = pool.from(Uint8Array.of(7));
    const sparse: unknown[] = [1];
    sparse[2 ** 32 - 2] = array;
    const began = Date.now();
    const packed = pack(sparse) as unknown as unknown[];
    assert.deepEqual([packed.length, Object.keys(packed)], [2 ** 32 - 1, ["0", "4294967294"]]);
    using got = unpack<SharedArray[]>(packed);
    assert.deepEqual([got.length, got[0], got[2 ** 32 - 2]![0]], [2 ** 32 - 1, 1, 7]);
    release(got);
    // Each of its holes would take some nanoseconds.
    assert.ok(Date.now() - began < 5000);
    // Only indices are elements.
    const odd = Object.assign([], { 2: "two", 4294967295: "no index", "01": "neither" });
    assert.deepEqual(Object.entries(unpack(odd) as object), [["2", "two"]]);
  }));

test("a message that is nested too deeply is a RangeError, and its claims are dropped", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    for (
      const wrap of [(x: unknown) => [x], (x: unknown) => ({ x }), (x: unknown) =>
        new Map([[x, 1]]), (x: unknown) =>
        new Set([x])]
    ) {
      let deep: unknown = 1;
      for (let i = 0; i < 200_000; i++) {
        deep = wrap(deep);
      }
      assert.throws(() =>
        pack({ array, deep, after: array }), { name: "RangeError", message: /1024 deep/ });
      const message = { first: array.share(), deep, last: array.share() };
      assert.throws(() =>
        unpack(message), { name: "RangeError", message: /1024 deep/ });
      assert.deepEqual([pool.stats().claims, pool.stats().arrays], [0, 1]);
      assert.throws(() => release({ first: array.share(), deep, last: array.share() }), RangeError);
      assert.deepEqual([pool.stats().claims, pool.stats().arrays], [0, 1]);
    }
  }));

test("a message with code in it that throws leaves nothing attached", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    const trap = () => {
      throw new Error("a trap");
    };
    for (const handler of [{ getOwnPropertyDescriptor: trap }, { ownKeys: trap }, { getPrototypeOf: trap }]) {
      const hostile = new Proxy({ $arraypool: 1, x: 1 }, handler);
      for (const value of [hostile, [hostile], { hostile }, new Map([[hostile, 1]])]) {
        assert.throws(() => unpack({ array: array.share(), value, again: array.share() }), (e) => e instanceof Error);
        assert.throws(() => attach(value as unknown as Descriptor), (e) => e instanceof Error);
        assert.equal(pool.blocks()[0]!.holders.length, 1);
      }
    }
    assert.equal(pool.stats().arrays, 1);
    release(array);
    // Claims that could not be read are not dropped; they expire.
    const wait = () => pool.reap() + pool.stats().arrays;
    const end = Date.now() + 5000;
    while (wait() > 0 && Date.now() < end);
    assert.equal(pool.stats().arrays, 0);
  }, { claimTtlMs: 50 }));

test("a message of 100,000 descriptors, of one array or of none, takes a time that is proportional", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 8);
    const descriptor = array.share({ claims: 0 });
    const measure = (message: unknown): number => {
      const began = performance.now();
      try {
        release(unpack(message));
      } catch (error) {
        assert.ok((error as Error).message.length < 500);
      }
      return performance.now() - began;
    };
    const many = (n: number, change: object) => Array.from({ length: n }, () => ({ ...descriptor, ...change }));
    for (const change of [{}, { generation: 7 }, { nonce: "0123456789abcdef" }, { length: 9 }, { pool: "nowhere" }]) {
      measure(many(1000, change));
      const [small, large] = [measure(many(10_000, change)), measure(many(100_000, change))];
      // Ten times as much, if it is; a hundred times as much, if it were not.
      assert.ok(large < 40 * small + 2000, `${small} ms, then ${large} ms for ${JSON.stringify(change)}`);
    }
    assert.equal(pool.blocks()[0]!.holders.length, 1);
  }));

test("-0 in a descriptor is 0", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 0);
    using got = attach({ ...array.share({ claims: 0 }), offset: -0, length: -0, claim: -0, shape: [-0, 3] });
    assert.ok(Object.is(got.length, 0) && Object.is(got.shape[0], 0));
    assert.ok(Object.is(got.share({ claims: 0 }).offset, 0));
  }));
