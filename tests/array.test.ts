/** What a SharedArray and a SharedView are: TypedArrays with a little more. */

import { inspect } from "node:util";
import {
  attach,
  type DType,
  isSharedArray,
  pack,
  Pool,
  type SharedArray,
  type TypedArray,
  type TypedArrayClass,
  unpack,
} from "arraypool";
import { native } from "../core/native.ts";
import { assert, runtime, test, throwsPoolError, withPool } from "./support/harness.ts";

const TYPES: [TypedArrayClass<TypedArray> & { name: string }, DType][] = [
  [Int8Array, "int8"],
  [Uint8Array, "uint8"],
  [Uint8ClampedArray, "uint8clamped"],
  [Int16Array, "int16"],
  [Uint16Array, "uint16"],
  [Int32Array, "int32"],
  [Uint32Array, "uint32"],
  [Float16Array, "float16"],
  [Float32Array, "float32"],
  [Float64Array, "float64"],
  [BigInt64Array, "int64"],
  [BigUint64Array, "uint64"],
];

/** Numbers or bigints, as the type has them. */
function elements(type: { name: string }, ...numbers: number[]): never {
  return numbers.map((number) => type.name.startsWith("Big") ? BigInt(number) : number) as never;
}

for (const [type, dtype] of TYPES) {
  test(`${type.name} is allocated, filled, sent and attached as itself`, () =>
    withPool((pool) => {
      using array = pool.alloc(type, 5) as SharedArray;
      assert.ok(array instanceof (type as unknown as typeof Uint8Array));
      assert.equal(Object.prototype.toString.call(array), `[object ${type.name}]`);
      assert.equal(array.constructor, type);
      assert.equal(array.dtype, dtype);
      assert.equal(array.length, 5);
      assert.equal(array.byteOffset, 0);
      assert.equal(array.buffer.byteLength, 5 * type.BYTES_PER_ELEMENT);
      assert.deepEqual([...array], elements(type, 0, 0, 0, 0, 0));
      array.set(elements(type, 1, 2, 3, 4, 5));

      const descriptor = array.share({ claims: 0 });
      assert.equal(descriptor.dtype, dtype);
      using same = attach(descriptor, type) as SharedArray;
      assert.deepEqual([...same], elements(type, 1, 2, 3, 4, 5));
      same.set(elements(type, 9), 4);
      assert.deepEqual([...array], elements(type, 1, 2, 3, 4, 9));

      using copy = pool.from(array as Uint8Array);
      assert.deepEqual([...copy], [...array]);
      assert.equal(copy.dtype, dtype);
    }));
}

test("alloc() gives zeros also in memory that was used before", () =>
  withPool((pool) => {
    const dirty = pool.allocUnsafe(Uint8Array, 100_000);
    dirty.fill(7);
    dirty.release();
    using array = pool.alloc(Uint8Array, 100_000);
    assert.ok(array.every((byte) => byte === 0));
  }));

test("a shape is a length, axes, a scalar, or empty", () =>
  withPool((pool) => {
    const cases: [number | number[], number[], number][] = [
      [3, [3], 3],
      [0, [0], 0],
      [[3], [3], 3],
      [[2, 3, 4], [2, 3, 4], 24],
      [[], [], 1],
      [[5, 0, 2], [5, 0, 2], 0],
      [[1, 1, 1], [1, 1, 1], 1],
    ];
    for (const [shape, axes, length] of cases) {
      using array = pool.alloc(Float64Array, shape);
      assert.deepEqual(array.shape, axes);
      assert.equal(array.length, length);
      using same = attach(array.share({ claims: 0 }), Float64Array);
      assert.deepEqual(same.shape, axes);
      assert.equal(same.length, length);
      assert.equal(same.base, same);
    }
  }));

test("a shape cannot be changed", () =>
  withPool((pool) => {
    using vector = pool.alloc(Uint8Array, 3);
    using matrix = pool.alloc(Uint8Array, [2, 3]);
    using attached = attach(JSON.parse(JSON.stringify(matrix)));
    using channel = pool.channel<SharedArray<Uint8Array>>();
    channel.send(matrix);
    using received = channel.receive();
    assert.deepEqual([attached.shape, received.shape], [[2, 3], [2, 3]]);
    for (const { shape } of [vector, matrix, matrix.slab(0), matrix.reshape([3, 2]), attached, received]) {
      assert.throws(() => (shape as number[])[0] = 100, TypeError);
    }
    const mine = [2, 3];
    using array = pool.alloc(Uint8Array, mine);
    mine[0] = 100;
    assert.deepEqual(array.shape, [2, 3]);
  }));

test("from() copies, and keeps the shape of a pool array", () =>
  withPool((pool) => {
    const source = Float32Array.of(1, 2, 3, 4, 5, 6);
    using array = pool.from(source, [2, 3]);
    source[0] = 100;
    assert.deepEqual([...array], [1, 2, 3, 4, 5, 6]);
    using copy = pool.from(array);
    assert.deepEqual(copy.shape, [2, 3]);
    using row = pool.from(array.slab(1));
    assert.deepEqual([...row], [4, 5, 6]);
    array[3] = 100;
    assert.equal(row[0], 4);
    using bytes = pool.from(Buffer.from("abc"));
    assert.equal(bytes.constructor, Uint8Array);
    using shared = pool.from(new Uint8Array(new SharedArrayBuffer(3)));
    assert.equal(shared.length, 3);
  }));

test("subarray() has the indices of the ordinary one", () =>
  withPool((pool) => {
    using array = pool.from(Int16Array.of(0, 1, 2, 3, 4));
    const plain = Int16Array.of(0, 1, 2, 3, 4);
    const bounds: [number?, number?][] = [[], [1], [1, 3], [-2], [-4, -1], [3, 1], [0, 99], [-99, 2], [1.9, 3.9], [
      NaN,
      2,
    ]];
    for (const [begin, end] of bounds) {
      const slice = array.subarray(begin, end);
      assert.deepEqual([...slice], [...plain.subarray(begin, end)], `${begin}, ${end}`);
      assert.equal(slice.base, array);
      assert.deepEqual(slice.shape, [slice.length]);
    }
    for (const wrong of [1n, Symbol()] as never[]) assert.throws(() => array.subarray(wrong), TypeError);
    array.subarray(1, 3).fill(9);
    assert.deepEqual([...array], [0, 9, 9, 3, 4]);
  }));

test("slab() is an entry along the first axis, reshape() the same elements under another shape", () =>
  withPool((pool) => {
    using cube = pool.from(Int32Array.from({ length: 24 }, (_, i) => i), [2, 3, 4]);
    const slab = cube.slab(1);
    assert.deepEqual(slab.shape, [3, 4]);
    assert.deepEqual([...slab.slab(2)], [20, 21, 22, 23]);
    assert.deepEqual(slab.slab(2).slab(3).shape, []);
    assert.equal(slab.slab(2).slab(3)[0], 23);
    assert.throws(() => slab.slab(2).slab(3).slab(0), RangeError);
    const flat = cube.reshape([24]);
    assert.deepEqual(flat.shape, [24]);
    assert.deepEqual(cube.reshape([4, 6]).slab(3).shape, [6]);
    for (const slice of [slab, slab.slab(0), flat, flat.subarray(3).subarray(2)]) {
      assert.equal(slice.base, cube);
      assert.equal(slice.buffer, cube.buffer);
    }
    using empty = pool.alloc(Int32Array, [3, 0]);
    assert.deepEqual(empty.slab(2).shape, [0]);
    assert.throws(() => empty.slab(2).slab(0), { name: "RangeError", message: /first axis is empty/ });
    assert.deepEqual(empty.reshape([0, 7]).shape, [0, 7]);
  }));

test("a slice has nothing to release, and is dead with its base", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3, 4), [2, 2]);
    const slices = [array.subarray(1), array.slab(1), array.reshape([4]), array.slab(0).subarray(1)];
    for (const slice of slices) {
      assert.equal("release" in slice, false);
      assert.equal(Symbol.dispose in slice, false);
      assert.equal(slice.released, false);
    }
    array.release();
    for (const slice of slices) {
      assert.equal(slice.length, 0);
      assert.equal(slice.released, true);
      throwsPoolError(() => slice.slab(0), "ERR_RELEASED", /release it later/);
    }
  }));

test("retain() is a hold of its own on just these elements", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
    const row = array.slab(1).retain();
    assert.deepEqual(row.shape, [2]);
    assert.equal(row.base, row);
    assert.equal(row.buffer.byteLength, 16);
    const all = array.retain();
    assert.deepEqual(all.shape, [3, 2]);
    array.release();
    assert.deepEqual([...row], [3, 4]);
    row[0] = 42;
    assert.equal(all[2], 42);
    const again = row.retain();
    row.release();
    all.release();
    assert.equal(pool.stats().arrays, 1);
    assert.deepEqual([...again], [42, 4]);
    again.release();
    assert.equal(pool.stats().arrays, 0);
  }));

test("prefault() changes no element, of arrays and slices of any length, and is refused after the release", () =>
  withPool((pool) => {
    const length = 1 << 20;
    const array = pool.from(new Float64Array(length).fill(7), [2, length / 2]);
    const slices = [array.slab(1), array.subarray(3, length - 5), array.subarray(5, 5), array.slab(0).retain()];
    using made = attach(array.share({ claims: 0 }), Float64Array);
    using empty = pool.alloc(Uint8Array, 0);
    for (const some of [array, ...slices, made, empty]) assert.equal(some.prefault(), undefined);
    assert.ok(array.every((value) => value === 7));
    array.release();
    for (const some of [array, slices[0]!]) throwsPoolError(() => some.prefault(), "ERR_RELEASED");
  }));

test("map, slice, filter and their like give ordinary arrays", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(3, 1, 2));
    const made = [
      array.map((x) => x),
      array.slice(),
      array.filter(() => true),
      array.toSorted(),
      array.toReversed(),
      array.with(0, 9),
    ];
    for (const result of made) {
      assert.equal(Object.getPrototypeOf(result), Float64Array.prototype);
      assert.equal(isSharedArray(result), false);
    }
    array.release();
    assert.equal(made[1]!.length, 3);
  }));

test("an array is deeply equal to an ordinary one with its elements", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(1, 2, 3));
    assert.deepStrictEqual(array, Float64Array.of(1, 2, 3));
    assert.deepStrictEqual(Float64Array.of(1, 2, 3), array);
    assert.deepStrictEqual(array.subarray(1), Float64Array.of(2, 3));
    assert.notDeepStrictEqual(array, Float64Array.of(1, 2, 4));
    assert.deepStrictEqual(Object.keys(array), ["0", "1", "2"]);
    assert.deepStrictEqual(Reflect.ownKeys(array), ["0", "1", "2"]);
  }));

test("sort() sorts, with and without a comparator, and returns the array", () =>
  withPool((pool) => {
    using array = pool.from(Float64Array.of(10, 9, NaN, -1, 0, -0));
    assert.equal(array.sort(), array);
    assert.deepEqual([...array], [-1, -0, 0, 9, 10, NaN]);
    assert.equal(array.sort((a, b) => b - a), array);
    using big = pool.from(BigInt64Array.of(3n, -1n, 2n));
    assert.deepEqual([...big.sort()], [-1n, 2n, 3n]);
    assert.deepEqual([...big.subarray(0, 2).sort((a, b) => (a < b ? 1 : -1))], [2n, -1n]);
    assert.throws(() => array.sort("up" as never), TypeError);
  }));

test("isSharedArray() knows arrays and slices, also released ones, and nothing else", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 3);
    const slice = array.subarray(1);
    for (const value of [array, slice]) assert.equal(isSharedArray(value), true);
    array.release();
    for (const value of [array, slice]) assert.equal(isSharedArray(value), true);
    const others = [
      new Uint8Array(3),
      {},
      [],
      null,
      undefined,
      1,
      "a",
      Object.create(array),
      new Proxy(array, {}),
      pool,
    ];
    for (const value of others) assert.equal(isSharedArray(value), false);
  }));

test("what makes an object an array of a pool can be neither given to it nor taken from it", () =>
  withPool((pool) => {
    using array = pool.alloc(Float64Array, [2, 3]);
    const owners = Object.getPrototypeOf(array);
    // Another object with the same methods: each of them refuses it.
    const pretender = Object.setPrototypeOf(new Float64Array(6), owners);
    assert.equal(isSharedArray(pretender), false);
    for (const other of [pretender, owners, Object.create(array), new Proxy(array, {})]) {
      for (const name of ["shape", "pool", "base", "released"]) {
        assert.throws(() => Reflect.get(owners, name, other), TypeError, name);
      }
      for (const name of ["prefault", "release", "retain", "share", "toJSON"]) {
        assert.throws(() => (array as unknown as Record<string, () => void>)[name]!.call(other), TypeError, name);
      }
      assert.throws(() => array.slab.call(other, 0), TypeError);
      assert.throws(() => array.reshape.call(other, [6]), TypeError);
      assert.throws(() => array.subarray.call(other, 0, 1), TypeError);
      assert.throws(() => array.holdUntil.call(other, Promise.resolve()), TypeError);
    }
    // A class of a program's own over what an array calls its constructor.
    class Mine extends (array.constructor as typeof Float64Array) {}
    assert.equal(isSharedArray(new Mine(6)), false);
    // The array itself, under another prototype: it is what it was.
    Object.setPrototypeOf(array, Uint8Array.prototype);
    assert.equal(isSharedArray(array), true);
    using same = unpack<Float64Array>(pack(array)) as SharedArray<Float64Array>;
    assert.equal(same.dtype, "float64");
    assert.deepEqual(same.shape, [2, 3]);
    Object.setPrototypeOf(array, owners);
    assert.equal(pool.stats().arrays, 1);
  }));

test("console.log shows type, shape, pool and elements, and makes no claim", () =>
  withPool((pool) => {
    using matrix = pool.from(Float64Array.of(1, 2.5, 3, 4, 5, -0), [2, 3]);
    const runtimes = globalThis as unknown as Record<string, { inspect(value: unknown): string } | undefined>;
    for (const show of [inspect, runtimes.Bun?.inspect, runtimes.Deno?.inspect]) {
      if (show === undefined) continue;
      assert.equal(show(matrix), `Float64Array(2 x 3) [ 1, 2.5, 3, 4, 5, -0 ] in pool "${pool.name}"`);
      assert.match(show({ deep: { row: matrix.slab(0) } }), /Float64Array\(3\) \[ 1, 2\.5, 3 \]/);
      assert.equal(show(pool), `Pool "${pool.name}"`);
    }
    using big = pool.alloc(BigInt64Array, 1000);
    assert.match(inspect(big), /^BigInt64Array\(1000\) \[ 0n, .*… 968 more \]/);
    assert.equal(pool.stats().claims, 0);
    // Who shows a proxy shows it or what is behind it, and does not fail.
    assert.match(inspect({ watched: new Proxy(matrix, {}) }), /Float64Array/);
    matrix.release();
    assert.equal(inspect(matrix), `Float64Array(2 x 3) (released) in pool "${pool.name}"`);
  }));

test("arrays lie apart, and end exactly at their last byte", () =>
  withPool((pool) => {
    const arrays = Array.from({ length: 50 }, (_, i) => pool.alloc(Uint8Array, i * 13));
    arrays.forEach((array, i) => array.fill(i));
    arrays.forEach((array, i) => {
      assert.equal(array.buffer.byteLength, i * 13);
      assert.ok(array.every((byte) => byte === i));
      array.release();
    });
  }));

test("an array larger than the runtime can show is an error, and leaves nothing", () =>
  withPool((pool) => {
    const before = pool.stats().usedBytes;
    // Of the runtime in Bun (4 GiB), of the pool in Deno.
    throwsPoolError(
      () => pool.allocUnsafe(Uint8Array, 2 ** 32 + 1),
      "ERR_ARRAY_TOO_LARGE",
      /smaller arrays|larger capacity/,
    );
    assert.equal(pool.stats().usedBytes, before);
  }, { capacity: runtime === "bun" ? "6G" : "4G" }));

test("what another runtime has made larger than this one can show is an error however it comes, and leaves nothing", () =>
  withPool((pool) => {
    const made = pool.alloc(Uint8Array, 2000);
    using channel = pool.channel<unknown>();
    const side = native() as { largestBufferBytes: number };
    const { largestBufferBytes } = side;
    const packed = pack({ made });
    const descriptor = made.share();
    pool.set("it", made);
    channel.send({ made });
    made.release();
    side.largestBufferBytes = 1000;
    try {
      const says = /at most 1000 B, not 2 KiB: use several smaller arrays, or attach slices/;
      throwsPoolError(() => pool.alloc(Uint8Array, 2000), "ERR_ARRAY_TOO_LARGE", says);
      throwsPoolError(() => attach(descriptor), "ERR_ARRAY_TOO_LARGE", says);
      throwsPoolError(() => unpack(packed), "ERR_ARRAY_TOO_LARGE", says);
      throwsPoolError(() => pool.get("it"), "ERR_ARRAY_TOO_LARGE", says);
      throwsPoolError(() => channel.receive(), "ERR_ARRAY_TOO_LARGE", says);
      // Only the name holds it still.
      const blocks = pool.blocks().filter(({ kind }) => kind === "array");
      assert.deepEqual(blocks.map(({ holders, claims }) => [holders.length, claims]), [[0, 0]]);
      using slice = pool.alloc(Uint8Array, 1000);
      assert.equal(slice.length, 1000);
    } finally {
      side.largestBufferBytes = largestBufferBytes;
    }
    assert.equal(pool.get("it", Uint8Array)!.length, 2000);
    pool.delete("it");
  }));

test("the public names are there, and Pool cannot be constructed", () => {
  assert.throws(() => Reflect.construct(Pool, []), { name: "TypeError", message: /Pool\.create/ });
  assert.throws(() => Reflect.construct(Pool, [{}]), TypeError);
});
