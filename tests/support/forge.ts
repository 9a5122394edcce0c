/**
 * Forges descriptors: random, mutated, stale and foreign ones, alone and inside of messages, and sees what attach() and
 * unpack() make of them. What they should make of one is decided here a second time, in another way than the library does.
 *
 *     bun tests/support/forge.ts --count 1000000 --seed 1       (deno run -A … ; both: npm run forge)
 */

import process from "node:process";
import { attach, type Descriptor, Pool, PoolError, type SharedArray, unpack } from "arraypool";
import { runtime } from "./programs.ts";

const CLASSES = {
  int8: Int8Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
  bigint64: BigInt64Array,
} as const;
const NAMES = ["int8", "uint8", "uint8clamped", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"];

/** What a report says; `failures` holds the first few. */
export interface Report {
  descriptors: number;
  attached: number;
  typeErrors: number;
  rangeErrors: number;
  poolErrors: Record<string, number>;
  failures: string[];
}

type Loose = Record<string, unknown>;

/** A small generator of its own: the same seed gives the same descriptors in every runtime. */
class Chance {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  next(): number {
    let t = this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

/** Arrays that are there, and descriptors of some that are not any more. */
class World {
  readonly pools: Pool[];
  readonly arrays = new Map<string, SharedArray>();
  readonly valid: Descriptor[] = [];
  readonly stale: Descriptor[] = [];

  constructor(prefix: string) {
    this.pools = [1, 2].map((n) => Pool.create({ name: `${prefix}-${n}`, capacity: "8M" }));
    let fill = 1;
    for (const pool of this.pools) {
      for (const type of Object.values(CLASSES)) {
        for (const shape of [[0], [7], [3, 4], [2, 3, 5]]) {
          const array = pool.alloc(type as typeof Float64Array, shape);
          for (let i = 0; i < array.length; i++) {
            array[i] = (typeof array[i] === "bigint" ? BigInt(fill) : fill % 100) as number;
            fill++;
          }
          const descriptor = array.share({ claims: 0 });
          this.arrays.set(key(descriptor), array);
          this.valid.push(descriptor);
          if (array.length > 4) this.valid.push(array.subarray(2, 4).share({ claims: 0 }));
        }
      }
      for (let i = 0; i < 20; i++) {
        const array = pool.alloc(Float64Array, i);
        this.stale.push(array.share({ claims: 0 }));
        array.release();
      }
    }
    const gone = Pool.create({ name: `${prefix}-gone`, capacity: "1M" });
    this.stale.push(gone.alloc(Uint8Array, 5).share({ claims: 0 }));
    gone.close();
  }

  /** The array that a value names, to the letter; undefined if it names none. */
  named(value: unknown): { base: SharedArray; from: number; length: number } | undefined {
    const get = (of: object, key: PropertyKey) => Reflect.getOwnPropertyDescriptor(of, key)?.value;
    const whole = (x: unknown): x is number => typeof x === "number" && Number.isSafeInteger(x) && x >= 0;
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined;
    const d = value;
    if (get(d, "$arraypool") !== 1) return undefined;
    const base = this.arrays.get(
      [get(d, "pool"), get(d, "nonce"), get(d, "block"), get(d, "generation")].map((x) =>
        typeof x + String(Object(x) === x ? "" : x === 0 ? 0 : String(x))
      ).join(),
    );
    if (base === undefined || base.dtype !== get(d, "dtype")) return undefined;
    const [offset, length, claim, shape] = ["offset", "length", "claim", "shape"].map((k) => get(d, k));
    if (!whole(offset) || !whole(length) || !whole(claim)) return undefined;
    const bytes = base.BYTES_PER_ELEMENT;
    if (offset % bytes !== 0 || offset + length * bytes > base.length * bytes) return undefined;
    if (shape !== undefined) {
      if (!Array.isArray(shape) || shape.length > 64) return undefined;
      let product = 1;
      for (let axis = 0; axis < shape.length; axis++) {
        const axisLength = get(shape, axis);
        if (!whole(axisLength)) return undefined;
        product *= axisLength;
      }
      if (product !== length) return undefined;
    }
    return { base, from: offset / bytes, length };
  }

  close(): void {
    for (const pool of this.pools) pool.close();
  }
}

function key(d: Descriptor): string {
  return [d.pool, d.nonce, d.block, d.generation].map((x) => typeof x + String(x)).join();
}

const KEYS = ["$arraypool", "pool", "nonce", "block", "generation", "claim", "dtype", "offset", "length", "shape"];

function wildNumber(chance: Chance): number {
  return chance.of([
    0,
    -0,
    1,
    -1,
    0.5,
    NaN,
    Infinity,
    -Infinity,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
    2 ** 60,
    1e300,
    5e-324,
    chance.below(100),
    chance.below(2 ** 31),
    -chance.below(2 ** 31),
    chance.next() * 2 ** 53,
  ]);
}

function wildValue(chance: Chance, world: World, was: unknown): unknown {
  switch (chance.below(16)) {
    case 0:
      return undefined;
    case 1:
      return null;
    case 2:
      return String(was);
    case 3:
      return chance.of([true, false, "", "a".repeat(200), "../../x", "\0", "__proto__", "constructor"]);
    case 4:
      return chance.of([1n, 2n ** 64n, Symbol("s"), () => 1, new Date(), /x/, new Number(1), new String("x")]);
    case 5:
      return [was];
    case 6:
      return { valueOf: () => was, toString: () => was, toJSON: () => was };
    case 7:
      return (world.valid[chance.below(world.valid.length)] as unknown as Loose)[chance.of(KEYS)];
    case 8:
      return typeof was === "number" ? was + chance.of([1, -1, 8, -8, 64, 0.5, 2 ** 32]) : was;
    case 9:
      return chance.of(NAMES);
    case 10:
      return Array.from({ length: chance.below(70) }, () => chance.of([0, 1, 1, 1, 2, 3, 2 ** 27, wildNumber(chance)]));
    case 11:
      return chance.of([new Float64Array([1, 2]), new Array(2 ** 32 - 1), Object.freeze([1]), new Proxy([2, 3], {})]);
    default:
      return wildNumber(chance);
  }
}

/** A descriptor that somebody made up, or changed. */
function forged(chance: Chance, world: World): unknown {
  if (chance.below(30) === 0) return wildValue(chance, world, 1);
  const from = chance.below(6) === 0 ? chance.of(world.stale) : chance.of(world.valid);
  const made: Loose = { ...from };
  for (let n = chance.of([0, 1, 1, 1, 2, 3]); n > 0; n--) {
    const field = chance.of(KEYS);
    switch (chance.below(12)) {
      case 0:
        delete made[field];
        break;
      case 1:
        // An accessor is no data, whatever it would say.
        Object.defineProperty(made, field, {
          get: () => {
            throw new Error("code of a message ran");
          },
          enumerable: true,
          configurable: true,
        });
        break;
      case 2: { // parts of two arrays
        const other = chance.of(world.valid) as unknown as Loose;
        Object.defineProperty(made, field, {
          value: other[field],
          enumerable: true,
          configurable: true,
          writable: true,
        });
        break;
      }
      default: {
        const was = (from as unknown as Loose)[field];
        Object.defineProperty(made, field, {
          value: wildValue(chance, world, was),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
    }
  }
  switch (chance.below(12)) {
    case 0:
      return Object.create(made);
    case 1:
      return new Proxy(made, {});
    case 2:
      return Object.freeze(made);
    case 3:
      return Object.assign(
        Object.create(null),
        Object.fromEntries(Object.keys(made).map((k) => [k, Reflect.getOwnPropertyDescriptor(made, k)!.value])),
      );
    case 4:
      return Object.defineProperty(made, "__proto__", { value: { polluted: 1, block: 0 }, enumerable: true });
    case 5:
      return Object.defineProperties(made, {
        toJSON: { value: null },
        then: { value: null },
        [Symbol.iterator]: { value: null },
      });
    case 6:
      return Object.seal(made);
    default:
      return made;
  }
}

/** A message with forged descriptors, and perhaps good ones. */
function message(chance: Chance, world: World, inside: unknown[]): unknown {
  switch (chance.below(7)) {
    case 0:
      return inside[0];
    case 1:
      return inside;
    case 2:
      return { a: inside[0], b: { c: [inside] }, "__proto__": null };
    case 3:
      return new Map<unknown, unknown>([[1, inside[0]], [{}, inside]]);
    case 4:
      return new Set(inside);
    case 5: {
      const sparse: unknown[] = [inside[0]];
      sparse[2 ** 32 - 2] = chance.of(world.valid);
      return sparse;
    }
    default: {
      const deep: Loose = { inside };
      return Object.freeze({ deep, again: deep });
    }
  }
}

/** Forges `count` descriptors. `prefix`: of the names of the pools it makes. */
export function forge(prefix: string, count: number, seed: number): Report {
  const chance = new Chance(seed);
  const world = new World(prefix);
  const report: Report = { descriptors: 0, attached: 0, typeErrors: 0, rangeErrors: 0, poolErrors: {}, failures: [] };
  const fail = (what: string): void =>
    void (report.failures.length < 20 && report.failures.push(`#${report.descriptors}: ${what}`));
  const stats = () => JSON.stringify(world.pools.map((pool) => [pool.stats(), pool.blocks()]));
  const before = stats();

  const typed = (error: unknown): boolean => {
    if (error instanceof PoolError) report.poolErrors[error.code] = (report.poolErrors[error.code] ?? 0) + 1;
    else if (error instanceof TypeError) report.typeErrors++;
    else if (error instanceof RangeError) report.rangeErrors++;
    else return false;
    return true;
  };
  const isRight = (array: SharedArray, value: unknown): boolean => {
    const named = world.named(value);
    if (named === undefined || array.length !== named.length || array.dtype !== named.base.dtype) return false;
    for (let i = 0; i < array.length; i++) if (array[i] !== named.base[named.from + i]) return false;
    return array.pool === named.base.pool && array.shape.reduce((a, b) => a * b, 1) === named.length;
  };
  try {
    while (report.descriptors < count) {
      const values = Array.from({ length: chance.of([1, 1, 2, 3]) }, () => forged(chance, world));
      report.descriptors += values.length;
      if (chance.below(2) === 0) {
        for (const value of values) {
          try {
            const array = attach(value as Descriptor);
            report.attached++;
            if (!isRight(array, value)) {
              fail(`attached ${JSON.stringify(array.shape)} of ${array.dtype} for ${show(value)}`);
            }
            array.release();
          } catch (error) {
            if (!typed(error)) fail(`${error} for ${show(value)}`);
            else if (world.named(value) !== undefined) fail(`refused (${error}) ${show(value)}`);
          }
        }
      } else {
        const packed = message(chance, world, values);
        try {
          const got = unpack(packed) as Partial<Disposable> | undefined;
          // What names a pool gives that pool.
          if (!(got instanceof Pool)) got?.[Symbol.dispose]?.();
        } catch (error) {
          if (!typed(error)) fail(`${error} for a message with ${values.map(show)}`);
        }
      }
      if (report.descriptors % 4096 < 3 && stats() !== before) fail("something of it stayed in the pool");
    }
    if (stats() !== before) fail("something of it stayed in the pool");
    for (const pool of world.pools) pool.check();
    for (const name of Object.getOwnPropertyNames(Object.prototype)) {
      if (!KNOWN.has(name)) fail(`Object.prototype has ${name}`);
    }
  } finally {
    world.close();
  }
  return report;
}

const KNOWN = new Set(Object.getOwnPropertyNames(Object.prototype));

function show(value: unknown): string {
  try {
    return JSON.stringify(value, (_, v) => typeof v === "bigint" ? `${v}n` : v)?.slice(0, 300) ?? String(value);
  } catch {
    return "a value that cannot be shown";
  }
}

function argument(name: string, fallback: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}

if (import.meta.main) {
  const [count, seed] = [argument("count", 1e6), argument("seed", Date.now() % 2 ** 31)];
  const started = performance.now();
  const report = forge(`forge-${process.pid}`, count, seed);
  const seconds = (performance.now() - started) / 1000;
  console.log(
    JSON.stringify({ runtime, seed, seconds: Math.round(seconds), ...report }),
  );
  process.exit(report.failures.length === 0 ? 0 : 1);
}
