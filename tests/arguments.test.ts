/** Wrong arguments of every public function: a typed error before anything native, and nothing changed. */

import { attach, type Descriptor, pack, Pool, release, type SharedArray, unpack } from "arraypool";
import { assert, newName, poolsLeft, test, throwsPoolError, withPool } from "./support/harness.ts";

const NOT_STRINGS = [undefined, null, 5, {}, [], true, Symbol("x"), 1n, () => 1];
const NOT_NUMBERS = ["5", null, {}, [], true, Symbol("x"), 1n, () => 1];
const NOT_COUNTS = [-1, 1.5, NaN, Infinity, 2 ** 53];
const NOT_OBJECTS = ["text", 5, null, true, 1n, Symbol("x")];
const NAMES = ["", "-a", ".a", "_a", "a/b", "../a", "a b", "ä", "a".repeat(31), "a\0b", "a\n"];

type Call = (pool: Pool, array: SharedArray<Float64Array>) => unknown;

const wrong: [string, typeof TypeError | typeof RangeError, Call[]][] = [
  ["Pool.create: options", TypeError, NOT_OBJECTS.map((options) => () => Pool.create(options as never))],
  [
    "Pool.create: names of options",
    TypeError,
    ["size", "capacityBytes", "Capacity", "claimTTLMs", "constructor", ""].flatMap((option): Call[] => [
      () => Pool.create({ [option]: "1M" } as never),
      () => Pool.openOrCreate({ name: "prices", [option]: "1M" } as never),
    ]),
  ],
  ["Pool.create: name", TypeError, NOT_STRINGS.slice(1).map((name) => () => Pool.create({ name } as never))],
  ["Pool.create: name", RangeError, NAMES.map((name) => () => Pool.create({ name }))],
  [
    "Pool.create: capacity",
    TypeError,
    [null, {}, [], true, 1n].map((capacity) => () => Pool.create({ capacity } as never)),
  ],
  [
    "Pool.create: capacity",
    RangeError,
    [-1, 0, 1, NaN, Infinity, 2 ** 39, "", "4", "4T", "M", "1e9", " 4G", "4 G", "-4G", "0x10G", "512K"].map(
      (capacity) => () => Pool.create({ capacity } as never),
    ),
  ],
  ["Pool.create: claimTtlMs", TypeError, NOT_NUMBERS.map((claimTtlMs) => () => Pool.create({ claimTtlMs } as never))],
  [
    "Pool.create: claimTtlMs",
    RangeError,
    [0, -1, NaN, Infinity, 2 ** 54].map((claimTtlMs) => () => Pool.create({ claimTtlMs })),
  ],
  ["Pool.open: name", TypeError, NOT_STRINGS.map((name) => () => Pool.open(name as never))],
  ["Pool.open: name", RangeError, NAMES.map((name) => () => Pool.open(name))],
  [
    "Pool.openOrCreate: options",
    TypeError,
    [...NOT_OBJECTS, undefined, {}].map((options) => () => Pool.openOrCreate(options as never)),
  ],
  ["Pool.openOrCreate: name", RangeError, NAMES.map((name) => () => Pool.openOrCreate({ name }))],
  [
    "alloc: type",
    TypeError,
    [undefined, null, "float64", Array, ArrayBuffer, DataView, Buffer, Object, {}, new Float64Array(1)].flatMap((
      type,
    ): Call[] => [
      (pool) => pool.alloc(type as never, 1),
      (pool) => pool.allocUnsafe(type as never, 1),
    ]),
  ],
  [
    "alloc: shape",
    TypeError,
    [...NOT_NUMBERS.filter((shape) => !Array.isArray(shape)), undefined, ["5"], [null], [1n], [, 1], Float64Array.of(2)]
      .flatMap((shape): Call[] => [
        (pool) => pool.alloc(Float64Array, shape as never),
        (pool) => pool.allocUnsafe(Float64Array, shape as never),
      ]),
  ],
  [
    "alloc: shape",
    RangeError,
    [...NOT_COUNTS, ...NOT_COUNTS.map((count) => [2, count]), [2 ** 30, 2 ** 30], [1e200, 1e200], new Array(65).fill(1)]
      .flatMap(
        (shape): Call[] => [(pool) => pool.alloc(Float64Array, shape), (pool) => pool.allocUnsafe(Float64Array, shape)],
      ),
  ],
  ["alloc: more bytes than are countable", RangeError, [(pool) => pool.alloc(Float64Array, 2 ** 53 - 1)]],
  [
    "from: array",
    TypeError,
    [undefined, null, [1, 2], new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), "text", 5, {}].map(
      (array): Call => (pool) => pool.from(array as never),
    ),
  ],
  ["from: a detached array", TypeError, [(pool) => {
    const detached = new Uint8Array(4);
    detached.buffer.transfer();
    pool.from(detached);
  }]],
  [
    "from: shape",
    TypeError,
    [4, "4", null, {}].map((shape): Call => (pool) => pool.from(new Uint8Array(4), shape as never)),
  ],
  [
    "from: shape",
    RangeError,
    [[5], [2, 3], [], [-4], [4, NaN]].map((shape): Call => (pool) => pool.from(new Uint8Array(4), shape)),
  ],
  [
    "slab: index",
    TypeError,
    NOT_NUMBERS.concat(undefined as never).map((index): Call => (_, array) => array.slab(index as never)),
  ],
  ["slab: index", RangeError, [-1, 2, 0.5, NaN, Infinity].map((index): Call => (_, array) => array.slab(index))],
  [
    "reshape: shape",
    TypeError,
    [6, "6", null, undefined, {}, ["6"]].map((shape): Call => (_, array) => array.reshape(shape as never)),
  ],
  [
    "reshape: shape",
    RangeError,
    [[5], [], [2, 4], [-6], [6, 0]].map((shape): Call => (_, array) => array.reshape(shape)),
  ],
  ["share: options", TypeError, NOT_OBJECTS.map((options): Call => (_, array) => array.share(options as never))],
  ["share: claims", TypeError, NOT_NUMBERS.map((claims): Call => (_, array) => array.share({ claims } as never))],
  ["share: claims", RangeError, [...NOT_COUNTS, 2 ** 24].map((claims): Call => (_, array) => array.share({ claims }))],
  ["share: ttlMs", TypeError, NOT_NUMBERS.map((ttlMs): Call => (_, array) => array.share({ ttlMs } as never))],
  ["share: ttlMs", RangeError, [0, -5, NaN, Infinity].map((ttlMs): Call => (_, array) => array.share({ ttlMs }))],
  ["pack: options", TypeError, NOT_OBJECTS.map((options): Call => (_, array) => pack(array, options as never))],
  ["pack: claims", RangeError, NOT_COUNTS.map((claims): Call => (_, array) => pack({ array }, { claims }))],
  [
    "holdUntil: use",
    TypeError,
    [undefined, null, 5, {}, { then: 1 }, () => 1].map((use): Call => (_, array) => array.holdUntil(use as never)),
  ],
  [
    "attach: descriptor",
    TypeError,
    [undefined, null, 5, "text", {}, [], new Uint8Array(1), { $arraypool: 2 }, { $arraypool: "1" }, { $arraypool: 1 }]
      .map((descriptor): Call => () => attach(descriptor as never)),
  ],
  [
    "attach: type",
    TypeError,
    [null, "float64", Array, {}].map((type): Call => (_, array) => attach(array.share({ claims: 0 }), type as never)),
  ],
];

for (const [what, kind, calls] of wrong) {
  test(`${what}: wrong ones are a ${kind.name}, and change nothing`, () =>
    withPool((pool) => {
      using array = pool.alloc(Float64Array, [2, 3]);
      const before = pool.stats();
      const left = poolsLeft();
      for (const call of calls) {
        assert.throws(() => call(pool, array), (error: unknown) => {
          assert.equal((error as Error).constructor, kind, `${call}: ${error}`);
          assert.ok((error as Error).message.length > 10);
          return true;
        });
      }
      assert.deepEqual(pool.stats(), before);
      assert.deepEqual(poolsLeft(), left);
    }));
}

/** Each field of a descriptor, with what it must not be. */
const forged: [keyof Descriptor, typeof TypeError | typeof RangeError, unknown[]][] = [
  ["$arraypool", TypeError, [0, 2, "1", true, null]],
  ["pool", TypeError, NOT_STRINGS],
  ["pool", RangeError, NAMES],
  ["nonce", TypeError, NOT_STRINGS],
  ["nonce", RangeError, ["", "x", "0".repeat(15), "0".repeat(17), "G".repeat(16), "A".repeat(16)]],
  ["block", TypeError, [...NOT_NUMBERS, undefined]],
  ["block", RangeError, [-1, 0.5, NaN, 2 ** 32]],
  ["generation", TypeError, [...NOT_NUMBERS, undefined]],
  ["generation", RangeError, NOT_COUNTS],
  ["claim", TypeError, [...NOT_NUMBERS, undefined]],
  ["claim", RangeError, NOT_COUNTS],
  ["dtype", TypeError, NOT_STRINGS],
  ["dtype", RangeError, ["", "float128", "Float64Array", "__proto__", "constructor", "toString"]],
  ["offset", TypeError, [...NOT_NUMBERS, undefined]],
  ["offset", RangeError, [...NOT_COUNTS, 1, 4, 7, 9]],
  ["length", TypeError, [...NOT_NUMBERS, undefined]],
  ["length", RangeError, [...NOT_COUNTS, 2 ** 52]],
  ["shape", TypeError, [null, 6, "6", {}, ["6"], [2, null], [[2], [3]], new Uint8Array([2, 3])]],
  ["shape", RangeError, [
    [],
    [5],
    [2, 4],
    [-2, -3],
    [2, 3, 0],
    [1.5, 4],
    [NaN, 1],
    [Infinity, 0],
    new Array(10_000).fill(1),
    // One axis more than there may be, and as many elements as the array has.
    [2, 3, ...new Array(63).fill(1)],
  ]],
];

for (const [field, kind, values] of forged) {
  test(`a descriptor with a wrong ${field} is a ${kind.name}, and changes nothing`, () =>
    withPool((pool) => {
      using array = pool.alloc(Float64Array, [2, 3]);
      const good = array.share({ claims: 0 });
      const before = pool.stats();
      for (const value of values) {
        const bad = { ...good, [field]: value };
        for (const call of [() => attach(bad as never), () => unpack({ deep: [good, bad] })]) {
          // A descriptor without its mark is an ordinary object to unpack().
          if (field === "$arraypool" && value === undefined) continue;
          assert.throws(call, (error: unknown) => {
            assert.equal((error as Error).constructor, kind, `${String(value)}: ${error}`);
            assert.match((error as Error).message, new RegExp(field === "pool" ? "name" : field.replace("$", "\\$")));
            return true;
          });
        }
      }
      assert.deepEqual(pool.stats(), before);
    }));
}

test("a well-formed descriptor that names nothing is ERR_STALE_DESCRIPTOR, and changes nothing", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, [2, 3]);
    const other = pool.alloc(Float64Array, 6);
    other.release();
    const good = array.share({ claims: 0 });
    const before = pool.stats();
    const changes: Partial<Descriptor>[] = [
      { block: good.block + 1 },
      { block: 2 ** 32 - 1 },
      { generation: good.generation + 1 },
      { generation: 0 },
      { generation: Number.MAX_SAFE_INTEGER },
      { nonce: "0".repeat(16) },
      { pool: newName() },
      { dtype: "int64" },
      { dtype: "float32" },
      { dtype: "uint8", length: 48, shape: [48] },
      { length: 7, shape: [7] },
      { length: 2 ** 40, shape: [2 ** 40] },
      { offset: 8 },
      { offset: 48, length: 1, shape: [1] },
      { offset: 2 ** 50 },
    ];
    for (const change of changes) {
      throwsPoolError(() => attach({ ...good, ...change }), "ERR_STALE_DESCRIPTOR", /send|keep/i);
    }
    assert.deepEqual(pool.stats(), before);
    using end = attach({ ...good, offset: 48, length: 0, shape: [0] });
    assert.equal(end.length, 0);
  }));

test("a getter or a prototype has no say in a descriptor", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, 6);
    const good = array.share({ claims: 0 });
    assert.throws(() => attach(Object.create(good)), TypeError);
    for (const key of Object.keys(good)) {
      const { [key as "block"]: value, ...rest } = good;
      assert.throws(() => attach(Object.assign(Object.create({ [key]: value }), rest)), TypeError, key);
    }
    for (const key of Object.keys(good)) {
      const fail = () => assert.fail(`code of ${key} ran`);
      for (const accessor of [{ get: fail }, { set: fail }, { get: fail, set: fail }]) {
        const bad = Object.defineProperty({ ...good }, key, { ...accessor, enumerable: true });
        assert.throws(() => attach(bad), TypeError, key);
      }
      // What a prototype says is not even looked at.
      const { [key as "block"]: _, ...rest } = good;
      const over = new Proxy({}, { get: fail, getOwnPropertyDescriptor: fail, getPrototypeOf: fail });
      assert.throws(() => attach(Object.assign(Object.create(over), rest)), TypeError, key);
    }
    assert.equal(attach(Object.freeze({ ...good, extra: 1 })).length, 6);
    release(pool.blocks());
    pool.close();
  }));

test("an error says what it was given: classes and views by their names, and runs none of its code", () =>
  withPool((pool) => {
    const trap = Object.defineProperty(() => 1, "name", { get: () => assert.fail("it was read") });
    const given: [unknown, string][] = [
      [Array, "the function Array"],
      [DataView, "the function DataView"],
      [class Matrix {}, "the function Matrix"],
      [trap, "a function"],
      [{ ["a name".repeat(20)]: () => 1 }["a name".repeat(20)], "a function"],
      [Int8Array.of(1), "an Int8Array"],
      [Object.setPrototypeOf(new Float64Array(1), null), "a Float64Array"],
      [new DataView(new ArrayBuffer(1)), "a DataView"],
      [[], "an array"],
      [null, "null"],
    ];
    for (const [value, name] of given) {
      assert.throws(() => pool.alloc(value as never, 1), (error: Error) => error.message.endsWith(` ${name}`), name);
    }
    assert.throws(() => Pool.create({ size: "4G" } as never), /no option "size": use name, capacity, claimTtlMs$/);
    assert.throws(() => pool.channel({ size: 4 } as never), /no option "size": use capacity, maxMessageBytes$/);
  }));

test("an option that there is not is an error that says which there are: a misspelt timeoutMs would be a wait for ever", () =>
  withPool(async (pool) => {
    using channel = pool.channel();
    using words = pool.alloc(Int32Array, 1);
    // Each of these would wait for ever, or keep what was sent for too short a time.
    const timeout = { timeout: 1 } as never;
    assert.throws(() => pool.wait(words, 0, 0, timeout), /no option "timeout": use timeoutMs$/);
    assert.throws(() => channel.send(1, timeout), /no option "timeout": use timeoutMs, move$/);
    assert.throws(() => channel.trySend(1, timeout), /no option "timeout": use move$/);
    assert.throws(() => channel.receive(timeout), /no option "timeout": use timeoutMs, ack$/);
    assert.throws(() => channel.tryReceive(timeout), /no option "timeout": use ack$/);
    assert.throws(() => pack(words, { ttl: 1 } as never), /no option "ttl": use claims, ttlMs$/);
    assert.throws(() => words.share({ ttl: 1 } as never), /no option "ttl": use claims, ttlMs$/);
    await assert.rejects(pool.waitAsync(words, 0, 0, timeout), /no option "timeout": use timeoutMs, signal, ref$/);
    await assert.rejects(channel.sendAsync(1, timeout), /no option "timeout": use timeoutMs, move, signal$/);
    await assert.rejects(channel.receiveAsync(timeout), /no option "timeout": use timeoutMs, ack, signal$/);
    await assert.rejects(
      pool.onceAsync("name", () => Promise.resolve(words), timeout),
      /no option "timeout": use signal$/,
    );
  }));
