/** pack, unpack and release: messages with arrays anywhere inside. */

import {
  attach,
  type Descriptor,
  isSharedArray,
  pack,
  type Packed,
  Pool,
  release,
  type SharedArray,
  unpack,
} from "arraypool";
import { existsSync } from "node:fs";
import { runInNewContext } from "node:vm";
import { assert, fileOf, test, throwsPoolError, until, untilCollected, withPool } from "./support/harness.ts";

/** The ways in which a message may come. */
const transports: [string, <T>(packed: Packed<T>) => Packed<T>][] = [
  ["as it is", (packed) => packed],
  ["through JSON", (packed) => JSON.parse(JSON.stringify(packed))],
  ["through structured clone", (packed) => structuredClone(packed)],
];

for (const [how, send] of transports) {
  test(`a message unpacks ${how}`, () =>
    withPool((pool) => {
      using array = pool.from(Float64Array.of(1, 2, 3, 4), [2, 2]);
      const message = { array, row: array.slab(1), list: [1, "two", { deep: [array] }], none: null, yes: true };
      using got = unpack(send(pack(message)));
      assert.deepStrictEqual([...got.array], [1, 2, 3, 4]);
      assert.deepEqual(got.array.shape, [2, 2]);
      assert.notEqual(got.array, array);
      got.array[2] = 42;
      assert.deepEqual([...got.row], [42, 4]);
      assert.equal((got.list[2] as { deep: unknown[] }).deep[0], got.array);
      assert.deepEqual([got.none, got.yes, got.list[0], got.list[1]], [null, true, 1, "two"]);
      assert.equal(array[2], 42);
    }));
}

test("Maps and Sets are walked, keys and values", () =>
  withPool((pool) => {
    using a = pool.from(Uint8Array.of(1));
    using b = pool.from(Uint8Array.of(2));
    const message = new Map<unknown, unknown>([["a", a], [b, new Set([a, 5])]]);
    using got = unpack(structuredClone(pack(message)));
    const [[, first], [key, set]] = [...got] as [[string, Uint8Array], [Uint8Array, Set<unknown>]];
    assert.deepEqual([...first], [1]);
    assert.deepEqual([...key], [2]);
    assert.deepEqual([...set], [first, 5]);
    assert.equal([...set][0], first);
  }));

test("the same array is one claim and one array, however often it and its slices occur", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3, 4));
    const packed = pack([array, array, array.subarray(1), { array }]);
    assert.equal(pool.stats().claims, 1);
    const got = unpack(JSON.parse(JSON.stringify(packed))) as unknown as [
      SharedArray,
      SharedArray,
      SharedArray,
      { array: SharedArray },
    ];
    assert.equal(pool.stats().claims, 0);
    assert.equal(got[0], got[1]);
    assert.equal(got[0], got[3].array);
    assert.notEqual(got[0], got[2]);
    release(got);
    // The same elements under another shape are another slice.
    {
      const { flat, table } = { flat: array, table: array.reshape([2, 2]) };
      using both = unpack<{ flat: SharedArray; table: SharedArray; again: SharedArray }>(
        JSON.parse(JSON.stringify(pack({ flat, table, again: table }))),
      );
      assert.deepEqual([both.flat.shape, both.table.shape, both.again.shape], [[4], [2, 2], [2, 2]]);
      assert.equal(pool.stats().claims, 0);
    }
    array.release();
    assert.equal(pool.stats().arrays, 0);
  }));

test("arrays of two pools that have the same number there are two", () =>
  withPool((pool) =>
    withPool((other) => {
      const one = pool.from(Uint8Array.of(1));
      const two = other.from(Uint8Array.of(2));
      assert.equal(one.share({ claims: 0 }).block, two.share({ claims: 0 }).block);
      const packed = pack([one, two, one, two.subarray(0)]);
      assert.deepEqual([pool.stats().claims, other.stats().claims], [1, 1]);
      const got = unpack(packed);
      assert.deepEqual([pool.stats().claims, other.stats().claims], [0, 0]);
      assert.deepEqual(got.map(([first]) => first), [1, 2, 1, 2]);
      assert.equal(got[0], got[2]);
      release([got, one, two]);
      assert.deepEqual([pool.stats().arrays, other.stats().arrays], [0, 0]);
    })
  ));

test("pack() changes nothing in what it gets, nor does unpack()", () =>
  withPool((pool) => {
    using array = pool.from(Uint8Array.of(1));
    const inner = Object.freeze({ array, list: Object.freeze([array]) });
    const message = Object.freeze({ inner });
    const packed = pack(message);
    assert.equal(message.inner, inner);
    assert.equal(inner.array, array);
    const before = JSON.stringify(packed);
    using got = unpack(packed);
    assert.equal(JSON.stringify(packed), before);
    assert.equal(Symbol.dispose in packed, false);
    assert.equal(got.inner.array[0], 1);
  }));

test("everything else passes through as it is", () => {
  class Job {
    id = 1;
  }
  const symbol = Symbol("s");
  const values = [
    1,
    "a",
    true,
    null,
    undefined,
    10n,
    symbol,
    NaN,
    () => 1,
    new Date(5),
    /x/,
    new Job(),
    new Error("e"),
    new URL("x:y"),
  ];
  const binary = [
    new Float64Array(3),
    Buffer.from("abc"),
    new ArrayBuffer(8),
    new DataView(new ArrayBuffer(1)),
    new SharedArrayBuffer(8),
  ];
  for (const value of [...values, ...binary]) {
    assert.equal(pack(value), value);
    assert.ok(Object.is((pack({ value }) as unknown as { value: unknown }).value, value));
    using got = unpack({ value }) as { value: unknown } & Disposable;
    assert.ok(Object.is(got.value, value));
  }
  assert.deepEqual(unpack({ a: [1, { b: 2 }] }), { a: [1, { b: 2 }] });
  assert.equal(unpack(5), 5);
  assert.equal(unpack(undefined), undefined);
});

test("an array inside of an object with a class is a TypeError, and not copied in silence", () =>
  withPool((pool) => {
    class Frame {
      readonly pixels: unknown;
      constructor(pixels: unknown) {
        this.pixels = pixels;
      }
    }
    class Told extends Frame {
      toJSON(): unknown {
        return { pixels: this.pixels };
      }
    }
    using pixels = pool.alloc(Uint8Array, 4);
    using channel = pool.channel();
    for (const inside of [pixels, pixels.subarray(1), channel]) {
      for (const message of [new Frame(inside), { first: pixels, frames: [new Frame(inside)] }]) {
        assert.throws(() => pack(message), { name: "TypeError", message: /"pixels" .* class.* \.\.\.object/ });
      }
      assert.equal(pool.stats().claims, 0);
      const frame = new Frame(inside);
      release(pack({ ...frame }));
      // It says itself what is to be sent.
      const told = JSON.stringify(pack({ frame: new Told(pixels) }));
      using got = unpack<{ frame: { pixels: Uint8Array } }>(JSON.parse(told));
      assert.equal(got.frame.pixels.length, 4);
    }
    const getter = Object.defineProperty(new Frame(1), "trap", {
      enumerable: true,
      get: () => assert.fail("it was read"),
    });
    assert.equal(pack(getter), getter);
  }));

test("unpack() of a message's text, or of the event that brought it, says what is to be unpacked", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 4);
    const packed = pack({ array });
    assert.throws(() => unpack(JSON.stringify(packed)), {
      name: "TypeError",
      message: /unpack\(JSON\.parse\(text\)\)/,
    });
    const event = new MessageEvent("message", { data: packed });
    assert.throws(() => unpack(event), { name: "TypeError", message: /unpack\(event\.data\)/ });
    // Neither has used up its claim.
    using got = unpack<{ array: Uint8Array }>(event.data);
    assert.equal(got.array.length, 4);
    for (const other of ["text", '{"a":1}', ""]) assert.equal(unpack(other), other);
  }));

test("sparse arrays, objects without a prototype, and shared parts keep their form", () => {
  // A property that only looks like an index is none.
  const sparse: unknown[] = Object.assign([1, , 3], { "1.5": "no element", "02": "nor this" });
  const bare = Object.assign(Object.create(null), { a: 1 });
  const shared = { x: 1 };
  const got = unpack(pack({ sparse, bare, one: shared, two: shared })) as unknown as Record<string, unknown>;
  assert.equal(1 in (got.sparse as unknown[]), false);
  assert.equal((got.sparse as unknown[]).length, 3);
  assert.deepEqual(Object.keys(got.sparse as unknown[]), ["0", "2"]);
  assert.equal(Object.getPrototypeOf(got.bare), null);
  assert.equal(got.one, got.two);
  assert.notEqual(got.one, shared);
});

test("a message that contains itself is a TypeError, and leaves no claim", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    const object: Record<string, unknown> = { array };
    object.self = object;
    const list: unknown[] = [array];
    list.push({ list });
    const map = new Map<unknown, unknown>([[1, array]]);
    map.set(map, 1);
    for (const message of [object, list, map]) {
      assert.throws(() => pack(message, { claims: 3 }), { name: "TypeError", message: /contains itself/ });
    }
    assert.throws(() => unpack(object), { name: "TypeError", message: /contains itself/ });
    assert.equal(pool.stats().claims, 0);
  }));

test("pack() of a released array makes no claim on the others", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    const gone = pool.alloc(Uint8Array, 1);
    gone.release();
    throwsPoolError(() => pack([array, gone]), "ERR_RELEASED", /retain\(\)/);
    throwsPoolError(() =>
      pack([array, {
        get bad(): unknown {
          return gone.share();
        },
      }]), "ERR_RELEASED");
    assert.equal(pool.stats().claims, 0);
  }));

test("unpack() is all or nothing: what was attached is released, and the other claims are dropped", () =>
  withPool((pool) => {
    const arrays = [1, 2, 3].map((i) => pool.from(Uint8Array.of(i)));
    const packed = pack(arrays) as unknown as Descriptor[];
    release(arrays);
    assert.equal(pool.stats().arrays, 3);
    const forged = { ...packed[1], generation: 1e15 };
    throwsPoolError(() => unpack([packed[0], forged, packed[2], { more: packed[0] }]), "ERR_STALE_DESCRIPTOR");
    // The forged one took its claim along.
    assert.deepEqual([pool.stats().arrays, pool.stats().claims], [1, 1]);
    release(packed[1]);
    assert.equal(pool.stats().arrays, 0);
  }));

test("pack() refuses objects of a class with arrays anywhere inside, and takes those without", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(1));
    class Batch {
      inside: unknown;
      constructor(inside: unknown) {
        this.inside = inside;
      }
    }
    class Table extends Map<unknown, unknown> {}
    class Bag extends Set<unknown> {}
    const holders = [
      new Batch(array),
      new Batch([array]),
      new Batch({ deep: new Map([["key", new Batch(new Set([array]))]]) }),
      new Table([["key", array]]),
      new Table([[[array], 1]]),
      new Bag([array]),
      new Error("with a cause", { cause: { array } }),
      new Batch(pool.channel()),
    ];
    for (const holder of holders) assert.throws(() => pack({ holder }), TypeError);
    const cyclic = new Batch(undefined as unknown) as { inside: unknown };
    cyclic.inside = [cyclic];
    for (
      const free of [
        new Batch([1, { a: "b" }]),
        new Table([[1, 2]]),
        cyclic,
        new Date(0),
        new Batch(new Float64Array(2)),
      ]
    ) {
      assert.equal((pack({ free }) as unknown as { free: unknown }).free, free);
    }
    assert.equal(pool.stats().claims, 0);
  }));

test("Maps and Sets of another realm are those of a message, as objects and arrays are", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(7));
    const [OtherMap, OtherSet] = runInNewContext("[Map, Set]") as [MapConstructor, SetConstructor];
    const message = { map: new OtherMap([["key", array]]), set: new OtherSet([array]) };
    using got = unpack<typeof message>(pack(message));
    assert.equal(got.map.get("key")![0], 7);
    assert.ok(isSharedArray([...got.set][0]));
    using channel = pool.channel<typeof message>();
    channel.send(message);
    using received = channel.receive();
    assert.equal(received.map.get("key")![0], 7);
    assert.equal(received.set.size, 1);
    release(pack(message));
  }));

test("unpack() that fails takes no other receiver's share", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    const packed = pack({ extra: null as unknown, array }, { claims: 3 });
    const others = JSON.stringify(packed);
    (packed as unknown as { extra: unknown }).extra = {
      $arraypool: 1,
      pool: pool.name,
      nonce: "0".repeat(16),
      block: 1,
    };
    assert.throws(() => unpack(packed)); // the sender's own object
    const mine = unpack<{ array: Float64Array }>(JSON.parse(others));
    const damaged = JSON.parse(others) as { array: object; extra: unknown };
    damaged.extra = { ...damaged.array, dtype: "none" };
    assert.throws(() => unpack(damaged)); // once more by one who has it
    array.release();
    mine[Symbol.dispose]();
    using last = unpack<{ array: Float64Array }>(JSON.parse(others));
    assert.equal(last.array[2], 3);
    assert.equal(pool.stats().claims, 0);
  }));

test("unpack() that fails after it has attached an array leaves the others their shares", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    const packed = JSON.stringify(pack({ array }, { claims: 2 }));
    array.release();
    const damaged = JSON.parse(packed) as { array: object; extra: unknown };
    damaged.extra = { ...damaged.array, dtype: "none" };
    assert.throws(() => unpack(damaged), RangeError);
    using last = unpack<{ array: Float64Array }>(JSON.parse(packed));
    assert.equal(last.array[2], 3);
    assert.equal(pool.stats().claims, 0);
  }));

test("pack() claims what it describes, though a getter has let its memory become another array's", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1));
    let other: SharedArray<Float64Array> | undefined;
    const packed = pack({
      array,
      get other() {
        array.release();
        return other = pool.from(Float64Array.of(2));
      },
    }, { claims: 0 });
    using got = attach((packed as unknown as { other: Descriptor }).other, Float64Array);
    assert.equal(got[0], 2);
    other!.release();
  }));

test("unpack() drops all claims of a message with a malformed descriptor", () =>
  withPool((pool) => {
    const arrays = [1, 2].map((i) => pool.from(Uint8Array.of(i)));
    const packed = pack(arrays) as unknown as Descriptor[];
    release(arrays);
    assert.throws(() => unpack([packed[0], { ...packed[0], length: "3" }, packed[1]]), TypeError);
    assert.deepEqual([pool.stats().arrays, pool.stats().claims], [0, 0]);
  }));

test("unpack() runs no code of the message", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    let ran = 0;
    const run = () => {
      ran++;
      return array.share({ claims: 0 });
    };
    const descriptor = array.share({ claims: 0 });
    const list = [1, 2];
    Object.defineProperty(list, 0, { get: run, enumerable: true });
    Object.defineProperty(list, Symbol.iterator, { value: run });
    const got = unpack({
      get getter() {
        return run();
      },
      toJSON: run,
      then: run,
      list,
      inherited: Object.create(descriptor),
    }) as Record<string, unknown>;
    assert.equal(ran, 0);
    assert.equal(got.getter, undefined);
    assert.deepEqual(got.list, [undefined, 2]);
    assert.equal(isSharedArray(got.inherited), false);
    const accessor = Object.defineProperty({ ...descriptor }, "block", { get: run, enumerable: true });
    assert.throws(() => unpack(accessor), TypeError);
    assert.equal(ran, 0);
  }));

test("a key __proto__ is a key", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    const text = `{"__proto__": {"polluted": true, "array": ${JSON.stringify(array)}}, "a": 1}`;
    using got = unpack<Record<string, unknown>>(JSON.parse(text));
    assert.equal(Object.getPrototypeOf(got), Object.prototype);
    assert.equal(got.polluted, undefined);
    const own = Object.getOwnPropertyDescriptor(got, "__proto__")!.value;
    assert.equal(own.polluted, true);
    assert.ok(isSharedArray(own.array));
    const packed = pack(got);
    assert.equal(Object.getPrototypeOf(packed), Object.prototype);
    release(packed);
    assert.equal(({} as Record<string, unknown>).polluted, undefined);
  }));

test("JSON.stringify of an array makes a descriptor by itself", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(1, 2));
    using got = unpack<{ a: Float64Array }>(JSON.parse(JSON.stringify({ a: array })));
    assert.deepEqual([...got.a], [1, 2]);
  }));

test("a descriptor takes about 150 bytes, whatever the size of the array", () =>
  withPool((pool) => {
    for (const shape of [1, 1000, [100, 100, 100]]) {
      using array = pool.alloc(Float32Array, shape);
      const packed = pack(array);
      assert.ok(JSON.stringify(packed).length < 200, JSON.stringify(packed));
      release(packed);
    }
  }));

test("release() of a packed message drops its claims, of an unpacked one its arrays", () =>
  withPool((pool) => {
    const message = { a: pool.alloc(Uint8Array, 10), deep: [new Map([["b", pool.alloc(Uint8Array, 20)]])] };
    using channel = pool.channel();
    const packed = pack({ ...message, channel }, { claims: 5 });
    release(packed);
    release(packed);
    assert.deepEqual([pool.stats().claims, pool.stats().arrays], [0, 2]);
    const again = pack(message);
    release(message);
    assert.equal(message.a.released, true);
    assert.equal(pool.stats().arrays, 2);
    const got = unpack(again);
    release(got);
    assert.equal(pool.stats().arrays, 0);
    release(got);
    release(undefined);
    release("text");
    release({ a: [new Date(), 5n, new Uint8Array(2)] });
  }));

test("release() leaves slices and their base alone", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 10);
    release({ slice: array.subarray(1) });
    assert.equal(array.released, false);
  }));

test("release() of a packed message does nothing to what is gone already, array or pool", () =>
  withPool(async (pool) => {
    const arrays = [pool.from(Float64Array.of(1)), pool.from(Float64Array.of(2))];
    const packed = pack(arrays);
    release(arrays);
    release(unpack(packed));
    assert.equal(pool.stats().arrays, 0);
    release(packed);
    const other = Pool.create({ capacity: "1M" });
    using array = other.alloc(Uint8Array, 1);
    const further = pack({ array }, { ttlMs: 1 });
    other.close();
    await until(() => {
      Pool.create({ capacity: "1M" }).close(); // which sweeps
      return !existsSync(fileOf(other.name));
    }, "its pool is gone");
    release([packed, further]);
    assert.equal(pool.stats().claims, 0);
  }));

test("release() of what is nested too deeply lets go of what it reaches, and says so", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 1);
    let deep: unknown = [array];
    for (let i = 0; i < 1100; i++) deep = [deep];
    const near = pool.alloc(Uint8Array, 1);
    assert.throws(() => release([near, deep]), { name: "RangeError", message: /1024 deep/ });
    assert.deepEqual([near.released, array.released], [true, false]);
    array.release();
  }));

test("release() of a message that contains itself ends", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 10);
    const message: Record<string, unknown> = { array };
    message.self = message;
    release(message);
    assert.equal(array.released, true);
  }));

test("release() of a descriptor from elsewhere takes one attach off its claim", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 10);
    const sent = JSON.parse(JSON.stringify(pack(array, { claims: 2 })));
    array.release();
    release(sent);
    assert.equal(pool.stats().arrays, 1);
    release(sent);
    assert.equal(pool.stats().arrays, 0);
  }));

test("a claim is good for as many members as it says, and the same member counts once", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(7));
    const descriptor = array.share({ claims: 2 });
    array.release();
    const first = attach(descriptor);
    const second = attach(descriptor);
    assert.equal(pool.stats().claims, 1);
    release([first, second]);
    assert.equal(pool.stats().arrays, 1);
    attach(descriptor).release();
    assert.equal(pool.stats().arrays, 0);
    throwsPoolError(() => attach(descriptor), "ERR_STALE_DESCRIPTOR", /claims/);
  }));

test("a new claim on an array that is held already is used up when it arrives", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(7));
    for (let i = 0; i < 3; i++) {
      using got = unpack(pack({ array }));
      assert.equal(got.array[0], 7);
      assert.equal(pool.stats().claims, 0);
    }
    array.release();
    assert.equal(pool.stats().arrays, 0);
  }));

test("the sender may let go between two attaches of one message", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(7));
    const descriptor = array.share({ claims: 2 });
    const first = attach(descriptor);
    array.release();
    const second = attach(descriptor);
    first.release();
    assert.equal(second[0], 7);
    second.release();
    // One of the two attaches is left.
    release(descriptor);
    release(JSON.parse(JSON.stringify(descriptor)));
    assert.equal(pool.stats().arrays, 0);
  }));

test("a sender's garbage collection between two attaches loses nothing", () =>
  withPool(async (pool) => {
    const descriptor = (() => pool.from(Uint8Array.of(7)).share({ claims: 2 }))();
    const others = new Set(
      (() => Array.from({ length: 20 }, () => pool.alloc(Uint8Array, 1).share({ claims: 0 }).block))(),
    );
    await untilCollected(
      () => pool.blocks().filter(({ block }) => others.has(block)).length < 5,
      "the sender's arrays are collected",
    );
    const first = attach(descriptor, Uint8Array);
    assert.equal(first[0], 7);
    first.release();
    await untilCollected(() => true, "the collector has run");
    using second = attach(descriptor, Uint8Array);
    assert.equal(second[0], 7);
    release(descriptor);
  }));

test("share({ claims: 0 }) names an array for as long as somebody holds it", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(7));
    const descriptor = array.share({ claims: 0 });
    assert.equal(descriptor.claim, 0);
    assert.equal(pool.stats().claims, 0);
    for (let i = 0; i < 100; i++) attach(descriptor).release();
    array.release();
    throwsPoolError(() => attach(descriptor), "ERR_STALE_DESCRIPTOR");
  }));

test("the same descriptor attached many times gives arrays of their own", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(1, 2, 3));
    const descriptor = array.share();
    const many = Array.from({ length: 300 }, () => attach(descriptor, Uint8Array));
    array.release();
    assert.equal(new Set(many.map((one) => one.buffer)).size, 300);
    many[0]!.fill(9);
    many.splice(0, 299).forEach((one) => one.release());
    assert.deepEqual([...many[0]!], [9, 9, 9]);
    release(many);
    assert.equal(pool.stats().arrays, 0);
  }));

test("a slice of a slice of a sent array attaches to just that slice", () =>
  withPool((pool) => {
    const cube = pool.from(Int16Array.from({ length: 24 }, (_, i) => i), [2, 3, 4]);
    const once = unpack(pack(cube.slab(1)));
    assert.equal(once.buffer.byteLength, 24);
    const twice = unpack(pack(once.slab(2)));
    const thrice = unpack(pack(twice.subarray(1, 3)));
    release([cube, once, twice]);
    assert.deepEqual([...thrice], [21, 22]);
    assert.equal(thrice.byteOffset, 0);
    assert.equal(thrice.buffer.byteLength, 4);
    release(thrice);
    assert.equal(pool.stats().arrays, 0);
  }));

test("`using` releases every array of an unpacked message, also of a list, a Map and an array itself", () =>
  withPool((pool) => {
    const seen: SharedArray[] = [];
    {
      using array = pool.alloc(Uint8Array, 1);
      using object = unpack(pack({ array }));
      using list = unpack(pack([array]));
      using map = unpack(pack(new Map([["a", array]])));
      using one = unpack(pack(array));
      seen.push(object.array, list[0]!, map.get("a")!, one);
      assert.deepEqual(seen.map((array) => array.released), [false, false, false, false]);
    }
    assert.deepEqual(seen.map((array) => array.released), [true, true, true, true]);
    assert.equal(pool.stats().arrays, 0);
  }));

test("a message may hold a hundred thousand numbers, and be nested deeply", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    let deep: unknown = array;
    for (let i = 0; i < 500; i++) deep = [{ deep }];
    const message = { numbers: Array.from({ length: 100_000 }, (_, i) => i), deep };
    using got = unpack(pack(message));
    assert.equal(got.numbers.length, 100_000);
    // What occurs twice is walked once: 2^60 ways lead through this one.
    let wide: unknown = array;
    for (let i = 0; i < 60; i++) wide = [wide, wide];
    release(unpack(pack(wide)));
  }));

test("attach() of what is no descriptor says what to do", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, 3);
    const copy = structuredClone(array);
    assert.equal(isSharedArray(copy), false);
    assert.throws(() => attach(copy as never), { name: "TypeError", message: /Float64Array.*pack\(\).*unpack\(\)/ });
    assert.throws(() => attach(array as never), { name: "TypeError", message: /pack\(\)/ });
    const packed = pack({ array });
    assert.throws(() => attach(packed as never), { name: "TypeError", message: /unpack\(\)/ });
    release(packed);
    assert.throws(() => attach(array.share({ claims: 0 }), Float32Array as never), {
      name: "TypeError",
      message: /float64.*float32/,
    });
    assert.ok(pool instanceof Pool);
  }));

test("an array of another version of the package is not copied in silence", () =>
  withPool((pool) => {
    const theirs = Object.defineProperty(new Float64Array(3), Symbol.for("arraypool array"), { value: true });
    using channel = pool.channel();
    for (const send of [pack, (message: unknown) => channel.send(message)]) {
      assert.throws(() => send({ list: [theirs] }), {
        name: "TypeError",
        message: /another version.*one version for both/,
      });
    }
  }));
