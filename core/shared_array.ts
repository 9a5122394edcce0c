/**
 * SharedArray and SharedView: TypedArrays over pool memory.
 *
 * For each element type there are two subclasses, whose prototypes say that their constructor is the base class: so
 * `map`, `slice` and `filter` give ordinary arrays, and libraries take them for what they are.
 *
 *     Float64Array ← View (slices) ← Owner (alloc, from, attach, unpack, retain)
 *
 * What is ours stands in one private field, the Place: elements are reached exactly as in the base class. It is a field of a
 * class of its own, `Placed`, which no array is an instance of.
 */

import { AP_UNINITIALIZED, AP_ZEROED } from "./abi.ts";
import { checkShareOptions, describe, type Descriptor, type ShareOptions } from "./descriptor.ts";
import { type DType, ELEMENT_TYPES, type ElementType, type OnArrayBuffer, type TypedArray } from "./dtype.ts";
import { PoolError, quote } from "./errors.ts";
import { bufferOf, Hold, type Place, wordAt } from "./hold.ts";
import { inspectArray, showAs } from "./inspect.ts";
import type { Member } from "./member.ts";
import type { Pool } from "./pool.ts";
import { type Shape, shapeLength } from "./shape.ts";

/** What SharedArrays and their slices have besides the members of their TypedArray. */
export interface ViewMembers<T extends TypedArray> {
  /** Length of each axis, row-major. */
  readonly shape: readonly number[];
  /** Element type. */
  readonly dtype: DType;
  /** The pool whose memory it is. */
  readonly pool: Pool;
  /** The array that holds the memory: itself, or for a slice the array it was cut from. */
  readonly base: SharedArray<T>;
  /** True from `release()` on, also where `length` cannot tell (an empty array). */
  readonly released: boolean;
  /**
   * A slice on the same `buffer`: cheap to make, nothing to release, dead when its `base` is released. Negative indices count
   * from the end.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using prices = pool.from(Float64Array.of(1, 2, 3, 4));
   * prices.subarray(1, -1).fill(0); // the same memory; `slice()` would be a copy
   * console.log([...prices]); // [ 1, 0, 0, 4 ]
   * ```
   */
  subarray(begin?: number, end?: number): SharedView<T>;
  /**
   * The `index`-th entry along the first axis (NumPy's `x[i]`), a slice with the other axes as its shape.
   *
   * @param index From 0 on.
   * @throws {RangeError} if there is no such entry.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using film = pool.alloc(Uint8Array, [24, 480, 640]);
   * const frame = film.slab(7); // 480 × 640
   * console.log(frame.shape, frame.slab(0).length); // [ 480, 640 ] 640
   * ```
   */
  slab(index: number): SharedView<T>;
  /**
   * The same elements under another shape, a slice.
   *
   * @param shape The length of each axis, with as many elements in all.
   * @throws {RangeError} if the shape has another number of elements.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using flat = pool.from(Int32Array.of(1, 2, 3, 4, 5, 6));
   * const table = flat.reshape([2, 3]);
   * console.log([...table.slab(1)]); // [ 4, 5, 6 ]
   * ```
   */
  reshape(shape: readonly number[]): SharedView<T>;
  /**
   * A hold of its own on these elements only, which outlives `base`.
   *
   * @returns An array of the same shape, on the same memory, held until it is released.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * const matrix = pool.from(Float64Array.of(1, 2, 3, 4), [2, 2]);
   * using row = matrix.slab(1).retain();
   * matrix.release();
   * console.log([...row]); // [ 3, 4 ]
   * ```
   */
  retain(): SharedArray<T>;
  /**
   * Makes the first write over all of these elements take about half the time: their pages are entered into this process at once,
   * instead of by a fault each. For large arrays (64 KiB and more) that another process has made, once, before they are filled
   * here for the first time; to read them it is no gain. What `allocUnsafe` and `from` take needs none. Linux from 5.14 on;
   * elsewhere it does nothing.
   *
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { attach, Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using image = pool.alloc(Uint8Array, [1080, 1920, 4]);
   * const descriptor = image.share({ claims: 0 }); // for a Worker, in which
   * using got = attach(descriptor, Uint8Array);
   * got.prefault();
   * got.fill(255);
   * ```
   */
  prefault(): void;
  /**
   * A descriptor good for `claims` attaches within `ttlMs`; with `claims: 0`, for as long as somebody holds the array (argv, logs).
   *
   * @param options For how many receivers it is, and how long the array is kept for them.
   * @throws {TypeError | RangeError} for an option that is none.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`, `ERR_POOL_FULL`, `ERR_POOL_BUSY`
   *
   * @example
   * ```ts
   * import { attach, Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * using prices = pool.from(Float64Array.of(1, 2, 3));
   * const descriptor = prices.share({ claims: 0 });
   * using same = attach(descriptor);
   * console.log(descriptor.dtype, descriptor.length, same.length); // float64 3 3
   * ```
   */
  share(options?: ShareOptions): Descriptor;
  /**
   * What `JSON.stringify` calls: `share()`.
   *
   * @throws {PoolError} As `share`.
   *
   * @example
   * ```ts
   * import { Pool, unpack } from "arraypool";
   *
   * using pool = Pool.create();
   * using prices = pool.from(Float64Array.of(1, 2, 3));
   * const text = JSON.stringify({ prices }); // as JSON.stringify(pack({ prices }))
   * using got = unpack<{ prices: Float64Array }>(JSON.parse(text));
   * console.log(got.prices[2]); // 3
   * ```
   */
  toJSON(): Descriptor;
}

/** What SharedArrays have besides that. */
export interface ArrayMembers<T extends TypedArray> extends ViewMembers<T>, Disposable {
  /**
   * Lets go: detaches this array and its slices, whose length is 0 from then on. Later calls do nothing. At the end of a
   * scope, `using` does it.
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   *
   * using pool = Pool.create();
   * const prices = pool.from(Float64Array.of(1, 2, 3));
   * const first = prices.subarray(0, 1);
   * prices.release();
   * console.log(prices.length, first.length, pool.stats().arrays); // 0 0 0
   * ```
   */
  release(): void;
  /**
   * Puts off a release, by anyone, until `use` has settled, and returns it: for native calls in flight, which may read or
   * write the memory later than they were called.
   *
   * @param use What the call returns: it is done when that is settled.
   * @returns `use`. Await the one or the other: to the runtime it counts as handled, so nobody is told of its failure otherwise.
   * @throws {TypeError} for what is no promise.
   * @throws {PoolError} `ERR_RELEASED`, `ERR_CLOSED`
   *
   * @example
   * ```ts
   * import { Pool } from "arraypool";
   * import { rm, writeFile } from "node:fs/promises";
   *
   * using pool = Pool.create();
   * function save(path: string): Promise<void> {
   *   using frame = pool.alloc(Uint8Array, 1024).fill(7);
   *   return frame.holdUntil(writeFile(path, frame)); // released here, but not before it is written
   * }
   * await save("frame.bin");
   * await rm("frame.bin");
   * console.log(pool.stats().arrays); // 0
   * ```
   */
  holdUntil<R>(use: PromiseLike<R>): Promise<R>;
}

/**
 * `T` itself over a slice of a pool array.
 *
 * @example
 * ```ts
 * import { Pool, type SharedView } from "arraypool";
 *
 * using pool = Pool.create();
 * using image = pool.alloc(Uint8Array, [480, 640, 3]);
 * const row: SharedView<Uint8Array> = image.slab(7);
 * console.log(row.shape, row.length); // [ 640, 3 ] 1920
 * ```
 */
export type SharedView<T extends TypedArray = TypedArray> = ViewMembers<T> & OnArrayBuffer<T>;

/**
 * `T` itself in pool memory, held until `release()`, the end of its `using`, or garbage collection.
 *
 * @example
 * ```ts
 * import { Pool, type SharedArray } from "arraypool";
 *
 * using pool = Pool.create();
 * const prices: SharedArray<Float64Array> = pool.from(Float64Array.of(1, 2, 3));
 * console.log(prices instanceof Float64Array, prices.map((price) => 2 * price)); // true Float64Array(3) [ 2, 4, 6 ]
 * prices.release();
 * console.log(prices.length, prices.released); // 0 true
 * ```
 */
export type SharedArray<T extends TypedArray = TypedArray> = ArrayMembers<T> & OnArrayBuffer<T>;

/** The Place of a slice. That of an array is its hold. */
class Slice implements Place {
  readonly hold: Hold;
  readonly base: object;
  readonly length: number;
  readonly word: number;
  shape: readonly number[] | undefined;

  constructor(hold: Hold, base: object, byteOffset: number, length: number, shape: readonly number[] | undefined) {
    this.hold = hold;
    this.base = base;
    this.length = length;
    this.word = wordAt(hold.word, byteOffset);
    this.shape = shape;
  }

  get counts(): Int32Array | undefined {
    return this.hold.counts;
  }
}

/** A class whose `new` gives back the object that it is given: what extends it adds its fields to that. */
class Given {
  constructor(object: object) {
    return object;
  }
}

/**
 * The Places of arrays and slices: `new Placed(view, place)` puts one into `view`. There is one such class for all element
 * types, and it stands at the top of the module: so to the engines its private name is a constant, and asking for the Place
 * takes them less than a nanosecond.
 */
class Placed extends Given {
  readonly #place: Place;

  constructor(view: object, place: Place) {
    super(view);
    this.#place = place;
  }

  /** Undefined for what has none. */
  static find(value: object): Place | undefined {
    return #place in value ? value.#place : undefined;
  }

  /**
   * As `find`, for those who ask for words only: the engines keep in mind, for each place in the code, what came by there. And
   * to ask for the Place at once is one look, where to ask whether there is one is another.
   */
  static findOfWord(value: unknown): Place | undefined {
    try {
      return (value as Placed).#place;
    } catch {
      return undefined;
    }
  }

  /** @throws {TypeError} for what has none. */
  static of(view: object): Place {
    return (view as Placed).#place;
  }
}

type SharedClass = new (buffer: ArrayBuffer, byteOffset: number, length: number) => Uint8Array<ArrayBuffer>;

/** By which versions of the package know each other's arrays. */
const MARK = Symbol.for("arraypool array");

/** The two classes of an element type. `Uint8Array` stands for its class in their types. */
function sharedClass(type: ElementType): SharedClass {
  // Not a private method: each array and slice would have a mark for it, which takes a quarter of the time to make one.
  function slice(
    view: View,
    from: number,
    length: number,
    shape: readonly number[] | undefined,
  ): SharedView<Uint8Array> {
    const { hold } = livePlaceOf(view);
    const byteOffset = view.byteOffset + from * type.bytes;
    const made = new View(view.buffer, byteOffset, length);
    return new Placed(made, new Slice(hold, view.base, byteOffset, length, shape)) as unknown as SharedView<Uint8Array>;
  }

  class View extends type.class {
    get shape(): readonly number[] {
      const place = Placed.of(this);
      return place.shape ??= Object.freeze([place.length]);
    }
    get dtype(): DType {
      return type.dtype;
    }
    get pool(): Pool {
      const { member } = Placed.of(this).hold;
      // Who asks for the pool may want to use it: no more leaving by itself.
      member.passing = false;
      return member.pool!;
    }
    get base(): SharedArray<Uint8Array> {
      return (Placed.of(this).base ?? this) as unknown as SharedArray<Uint8Array>;
    }
    get released(): boolean {
      return Placed.of(this).hold.released;
    }

    override subarray(begin = 0, end = this.length): SharedView<Uint8Array> {
      const from = clamp(begin, this.length);
      return slice(this, from, Math.max(0, clamp(end, this.length) - from), undefined);
    }
    slab(index: number): SharedView<Uint8Array> {
      const { shape } = this;
      const count = shape[0];
      if (count === undefined) throw new RangeError("slab() needs an array with an axis, and this one is a scalar");
      if (typeof index !== "number") throw new TypeError(`index must be a number, not ${quote(index)}`);
      if (!Number.isInteger(index) || index < 0 || index >= count) {
        throw new RangeError(
          count === 0
            ? `the first axis is empty, and has no entry ${index}`
            : `index must be an integer from 0 to ${count - 1}, not ${index}`,
        );
      }
      const length = Placed.of(this).length / count;
      return slice(this, index * length, length, axes(shape.slice(1)));
    }
    reshape(shape: readonly number[]): SharedView<Uint8Array> {
      const { length } = Placed.of(this);
      return slice(this, 0, length, checkShape(shape, length));
    }
    retain(): SharedArray<Uint8Array> {
      const { hold, length, shape } = livePlaceOf(this);
      const offset = hold.offset + this.byteOffset;
      return makeOwner(type, hold.member.retain(hold, offset, length * type.bytes), length, shape) as SharedArray<
        Uint8Array
      >;
    }
    prefault(): void {
      const { hold, length } = livePlaceOf(this);
      hold.member.prefault(hold, hold.offset + this.byteOffset, length * type.bytes);
    }
    share(options?: ShareOptions): Descriptor {
      const checked = checkShareOptions(options);
      return describeView(this as unknown as SharedView, (hold) => claimOn(hold, checked));
    }
    toJSON(): Descriptor {
      return this.share();
    }

    // The engines sort in place by comparing what they find. Memory that somebody else writes meanwhile crashes them, or
    // makes them write beyond its end. With a comparator they sort a copy by themselves.
    override sort(compare?: (a: number, b: number) => number): this {
      if (compare !== undefined) return super.sort(compare);
      const copy = this.slice();
      copy.sort();
      this.set(copy);
      return this;
    }
  }

  class Owner extends View {
    release(): void {
      Placed.of(this).hold.release();
    }
    [Symbol.dispose](): void {
      this.release();
    }
    holdUntil<R>(use: PromiseLike<R>): Promise<R> {
      if (typeof (use as PromiseLike<R> | undefined)?.then !== "function") {
        throw new TypeError(`holdUntil() needs a promise, not ${quote(use)}`);
      }
      return livePlaceOf(this).hold.holdUntil(use, this);
    }
  }

  showAs(View.prototype, (view) => {
    const place = placeOf(view);
    // Node asks a proxy, such as frameworks put around what they watch, and not what is behind it.
    if (place === undefined) return `Proxy(${type.className})`;
    const { hold } = place;
    return inspectArray(view, type.className, view.shape, hold.member.name, hold.released, hold.origin);
  });
  for (const { prototype } of [View, Owner]) {
    Object.defineProperty(prototype, "constructor", { value: type.class, writable: true, configurable: true });
  }
  Object.defineProperty(View.prototype, MARK, { value: true });
  return Owner;
}

/** The hold of arrays that nobody sees: that of another would keep its pool from the collector. */
const NOWHERE = new Hold(undefined as unknown as Member, 0, 0, 0, 0, new ArrayBuffer(0));

/** What there is of an element type. */
interface Shared {
  readonly class: SharedClass;
  /**
   * An empty array that nobody sees, from the first array of the type on. V8 forgets what arrays of a class look like when
   * a full collection finds none, and throws away all compiled code that knew it: so a program that has none between two
   * jobs would begin anew after each.
   */
  specimen: object | undefined;
}

const classes = new Map<ElementType, Shared>(
  ELEMENT_TYPES.map((type) => [type, { class: sharedClass(type), specimen: undefined }]),
);

/** Where an array or a slice has its memory from; undefined for anything else. */
export function placeOf(value: unknown): Place | undefined {
  return typeof value === "object" && value !== null ? Placed.find(value) : undefined;
}

/** The same for what should be an Int32Array or Uint32Array. */
export const wordPlaceOf = (value: unknown): Place | undefined => Placed.findOfWord(value);

/** The owner of a new hold. */
export function makeOwner(
  type: ElementType,
  hold: Hold,
  length: number,
  shape: readonly number[] | undefined,
): SharedArray {
  hold.type = type;
  hold.length = length;
  hold.shape = shape;
  const shared = classes.get(type)!;
  const owner = new Placed(new shared.class(hold.buffer!, 0, length), hold) as unknown as SharedArray;
  shared.specimen ??= new Placed(new shared.class(new ArrayBuffer(0), 0, 0), NOWHERE);
  hold.watch(owner);
  return owner;
}

/** Allocates an array of `shape` in the pool of `member`, zero-filled or not. */
export function allocate(member: Member, type: ElementType, shape: unknown, zeroed: boolean): SharedArray {
  const length = shapeLength(shape);
  const byteLength = length * type.bytes;
  if (byteLength > Number.MAX_SAFE_INTEGER) throw new RangeError(`an array of ${length} elements is too large`);
  const kept = axes(shape as Shape);
  const hold = member.alloc(byteLength, type.code, zeroed ? AP_ZEROED : AP_UNINITIALIZED, kept);
  return makeOwner(type, hold, length, kept);
}

/**
 * Whether a value is a pool array, or a slice of one; also once it was released.
 *
 * @example
 * ```ts
 * import { isSharedArray, Pool } from "arraypool";
 *
 * using pool = Pool.create();
 * using prices = pool.from(Float64Array.of(1, 2, 3));
 * console.log(isSharedArray(prices), isSharedArray(prices.subarray(1)), isSharedArray(prices.slice(1))); // true true false
 * ```
 */
export function isSharedArray(value: unknown): value is SharedView {
  return placeOf(value) !== undefined;
}

/** Whether a value is an array of another version of the package, which this program has besides. */
export function isOfAnotherVersion(value: object): boolean {
  return ArrayBuffer.isView(value) && MARK in value && !isSharedArray(value);
}

/** The hold of a SharedArray; undefined for slices, and for anything else. */
export function ownHoldOf(value: unknown): Hold | undefined {
  const place = placeOf(value);
  return place?.base === undefined ? place?.hold : undefined;
}

/** The shape of a pool array or a slice; undefined for anything else, and where it is just the length. */
export function shapeOf(value: unknown): readonly number[] | undefined {
  return placeOf(value)?.shape;
}

/** A descriptor of a pool array or a slice. `claimOn` makes its claim. @throws {PoolError} `ERR_RELEASED` */
export function describeView(view: SharedView, claimOn: (hold: Hold) => number): Descriptor {
  const { hold, length, shape } = livePlaceOf(view);
  return describe(hold, hold.type!, hold.offset + view.byteOffset, length, shape, claimOn(hold));
}

/** @throws {PoolError} `ERR_RELEASED` */
export function assertNotReleased(view: SharedView): void {
  livePlaceOf(view);
}

/** Makes a claim on a held block, or for `claims: 0` lets others attach it without one. */
export function claimOn(hold: Hold, { claims, ttlMs }: { claims: number; ttlMs: number }): number {
  return claims === 0 ? hold.member.share(hold) : hold.member.claim(hold, claims, ttlMs);
}

/** @throws {PoolError} `ERR_RELEASED` */
function livePlaceOf(view: object): Place {
  const place = Placed.of(view);
  const { hold, length } = place;
  if (!hold.released && !bufferOf(view).detached) return place;
  const what = `this ${hold.type!.className} of ${length} ${length === 1 ? "element" : "elements"}`;
  const { closed, name } = hold.member;
  throw new PoolError(
    hold.released && closed ? "ERR_CLOSED" : "ERR_RELEASED",
    !hold.released
      ? `the buffer of ${what} was transferred away: send pack(array) instead of the buffer`
      : closed
      ? `${what} ended when pool "${name}" was closed here: close the pool later`
      : `${what} was released: release it later, or use retain() for a hold of your own before that`,
  );
}

function checkShape(shape: readonly number[], length: number): readonly number[] | undefined {
  if (!Array.isArray(shape)) throw new TypeError(`a shape must be an array of lengths, not ${quote(shape)}`);
  const wanted = shapeLength(shape);
  if (wanted !== length) throw new RangeError(`a shape of ${wanted} elements does not fit an array of ${length}`);
  return axes(shape);
}

/** A shape as it is kept: frozen, and nothing where it says no more than the length. */
function axes(shape: Shape): readonly number[] | undefined {
  return typeof shape === "number" || shape.length === 1 ? undefined : Object.freeze([...shape]);
}

/** An index as `subarray` of the engines takes it: towards zero, and negative ones from the end. */
function clamp(index: number, length: number): number {
  const whole = Math.trunc(+index) || 0; // unlike Number(), no bigint
  return whole < 0 ? Math.max(0, length + whole) : Math.min(whole, length);
}
