/**
 * A child of the tests: uses every public method of the package while it corrupts the pool's metadata itself, for a while. Each
 * call has to give a result or a PoolError. Whether it crashed or hung sees the test that started it.
 *
 *     bun tests/support/hostile.ts --seconds 60 --seed 1       (deno run -A …)
 */

import process from "node:process";
import { closeSync, openSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import {
  attach,
  type Channel,
  type Descriptor,
  isSharedArray,
  pack,
  Pool,
  PoolError,
  release,
  type SharedArray,
  unpack,
} from "arraypool";
import { fileOf } from "./harness.ts";

function argument(name: string, fallback: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}

let state = argument("seed", Date.now() % 2 ** 31) >>> 0;
const seed = state;
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(state / 2 ** 32 * limit);
}
function of<T>(list: readonly T[]): T {
  return list[below(list.length)]!;
}

// As libpool/layout.zig has it; a header of 4 KiB, members, lists, blocks, and behind them pins, waiters and names.
const TOUCHING = 192, HEADER_END = 240, MEMBERS = 4096, LISTS = 20480, LISTS_END = 20480 + 9300, BLOCKS = 65536;
// Buckets, then the members' own waiters, then doorbells.
const WAITING = 32768, WAITING_OWN = 8192;
const CAPACITY = 1 << 20;
const PINS = BLOCKS + CAPACITY / 256 * 64;
// In the block of a channel: its mark, its locks, and where its cells begin.
const MARK = "pchannel", LOCKS = [64, 128], CELLS = 320;
/** Where the channel of the pool lies in the file. */
let channelAt = 0;
const NAMES_IN_HEADER = 320, NAMES = PINS + 2 * 4096 * 32;

function wild(): number {
  return of([0, 1, 2, 3, below(24), below(24), 0xffffffff, below(2 ** 32), 4096, 16384, 1 << below(31)]) >>> 0;
}

/** A place where a wild field hurts. */
function place(): number {
  switch (below(15)) {
    case 12:
      return channelWord(4 * below(CELLS / 4));
    case 13:
      return channelWord(CELLS + 64 * below(32) + 4 * below(8));
    case 14:
      return channelWord(4 * below(700));
    case 10:
      return WAITING + 4 * below(6148); // all of it
    case 11:
      return WAITING + WAITING_OWN + 4 * below(16);
    case 8:
      return NAMES_IN_HEADER + 4 * below(7);
    case 9:
      return NAMES + 256 * below(8) + 4 * below(20);
    case 0:
      return TOUCHING + 4 * below((HEADER_END - TOUCHING) / 4);
    case 1:
      return MEMBERS + 64 * below(2) + 4 * below(13);
    case 2:
      return LISTS + 4 * below(90);
    case 3:
      return LISTS + 4 * below((LISTS_END - LISTS) / 4);
    case 4:
      return PINS + 4 * below(64);
    default:
      return BLOCKS + 64 * below(24) + 4 * below(16);
  }
}

/** Not a lock: everybody would wait for it. */
function channelWord(at: number): number {
  return channelAt + (LOCKS.includes(at) ? 0 : at);
}

const totals = {
  seed,
  pools: 0,
  calls: 0,
  corruptions: 0,
  errors: {} as Record<string, number>,
  failures: [] as string[],
};

function dispose(message: Partial<Disposable> | null | undefined): void {
  message?.[Symbol.dispose]?.();
}

function tried<R>(what: string, call: () => R): R | undefined {
  totals.calls++;
  try {
    return call();
  } catch (error) {
    if (error instanceof PoolError) totals.errors[error.code] = (totals.errors[error.code] ?? 0) + 1;
    else if (totals.failures.length < 10) totals.failures.push(`${what}: ${(error as Error).stack}`);
    return undefined;
  }
}

/** A wild record may say that this very member makes it already. */
function onceOrOwn(pool: Pool, name: string): SharedArray | undefined {
  try {
    return pool.once(name, () => pool.alloc(Float64Array, 5));
  } catch (error) {
    if (error instanceof TypeError && /being made here already/.test(error.message)) return undefined;
    throw error;
  }
}

function onePool(poolName: string): void {
  const pool = Pool.create({ name: poolName, capacity: CAPACITY, claimTtlMs: 1000 });
  const fd = openSync(fileOf(poolName), "r+");
  const word = new Uint8Array(4);
  const view = new DataView(word.buffer);
  const corrupt = () => {
    totals.corruptions++;
    const at = place();
    // Most often only a little.
    readSync(fd, word, 0, 4, at);
    const before = view.getUint32(0, true);
    view.setUint32(
      0,
      below(3) === 0 ? before ^ (1 << below(31)) : below(3) === 0 ? before + below(64) - 32 : wild(),
      true,
    );
    writeSync(fd, word, 0, 4, at);
  };
  const words = pool.alloc(Int32Array, 4);
  const channel: Channel<{ text: string; array?: unknown }> = pool.channel({ capacity: 4, maxMessageBytes: 5000 });
  channelAt = readFileSync(fd).indexOf(MARK);
  if (channelAt < 0) throw new Error("where is the channel?");
  const held: SharedArray[] = [];
  const sent: unknown[] = [];
  const keep = (array: SharedArray | undefined) => {
    if (array === undefined) return;
    // A wild word may say of an array that it is a channel.
    if (!isSharedArray(array)) return void tried("release", () => (array as SharedArray).release());
    held.push(array);
    // Whatever the table says by now, it is memory of this pool.
    if (array.length > 0) array[array.length - 1] = array[0]!;
  };
  const some = () => held.length > 0 ? of(held) : undefined;
  for (let step = 0; step < 200; step++) {
    if (step > 10 && below(8) === 0) corrupt();
    const array = some();
    const name = `name ${below(8)}`;
    switch (below(34)) {
      case 27:
      case 28:
      case 29: {
        const text = "x".repeat(below(2) === 0 ? below(40) : below(4000));
        const message = array !== undefined && below(2) === 0 ? { text, array } : { text };
        if (below(2) === 0) tried("trySend", () => channel.trySend(message));
        else tried("send", () => channel.send(message, { timeoutMs: 1 }));
        break;
      }
      case 30:
        // What was an object may be a number, or a date, by now.
        tried("tryReceive", () => dispose(channel.tryReceive()));
        break;
      case 31:
        tried("tryReceive with ack", () => {
          using delivery = channel.tryReceive({ ack: true });
          if (below(2) === 0) delivery?.ack();
        });
        break;
      case 32:
        tried("stats of a channel", () => channel.stats());
        break;
      case 33:
        if (below(20) === 0) tried("close of a channel", () => channel.close());
        else tried("receive", () => dispose(channel.receive({ timeoutMs: 1 })));
        break;
      case 24:
        tried("wait", () => pool.wait(words, below(4), 0, { timeoutMs: 0 }));
        break;
      case 25:
        pool.waitAsync(words, below(4), 0).catch((error) =>
          tried("waitAsync", () => {
            throw error;
          })
        );
        break;
      case 26:
        tried("notify", () => pool.notify(words, below(4)));
        break;
      case 0:
      case 1:
      case 2:
        keep(tried("alloc", () => pool.alloc(Float64Array, [below(40), below(20)])));
        break;
      case 3:
        keep(tried("allocUnsafe", () => pool.allocUnsafe(Uint8Array, below(20_000))));
        break;
      case 4:
        keep(tried("from", () => pool.from(Uint16Array.of(1, 2, 3))));
        break;
      case 5:
      case 6: {
        const at = below(held.length);
        const one = held.splice(at, 1)[0];
        if (one !== undefined) tried("release", () => one.release());
        break;
      }
      case 7:
        if (array !== undefined) keep(tried("retain", () => array.retain()));
        break;
      case 8:
        if (array !== undefined) sent.push(tried("share", () => array.share()));
        break;
      case 9:
        if (array !== undefined) sent.push(tried("pack", () => pack({ array, slice: array.subarray(1) })));
        break;
      case 10:
      case 11: {
        const message = sent.splice(below(sent.length), 1)[0];
        if (message === undefined) break;
        if ("block" in (message as object)) keep(tried("attach", () => attach(message as Descriptor)));
        else tried("unpack", () => release(unpack(message)));
        break;
      }
      case 12:
        tried("stats", () => pool.stats());
        break;
      case 13:
        tried("blocks", () => pool.blocks());
        break;
      case 14:
        tried("members", () => pool.members());
        break;
      case 15:
        tried("check", () => pool.check());
        break;
      case 16:
        tried("reap", () => below(2) === 0 ? pool.reap() : pool.trim());
        break;
      case 18:
      case 19:
        if (array !== undefined) tried("set", () => pool.set(name, below(2) === 0 ? array : array.subarray(1)));
        break;
      case 20:
        keep(tried("get", () => pool.get(name)));
        break;
      case 21:
        tried("has", () => pool.has(name) && pool.delete(name));
        break;
      case 22:
        tried("names", () => pool.names());
        break;
      case 23:
        keep(tried("once", () => onceOrOwn(pool, name)));
        break;
      case 17:
        tried("release of a message", () => release(sent.pop()));
        break;
    }
  }
  tried("close", () => pool.close());
  for (const array of held) if (array.length !== 0) totals.failures.push("an array outlived its pool");
  closeSync(fd);
  rmSync(fileOf(poolName), { force: true });
}

const end = Date.now() + 1000 * argument("seconds", 10);
for (; Date.now() < end; totals.pools++) {
  onePool(`test-${process.ppid}-hostile-${process.pid}`);
  // A member leaves when the runtime has said that its last buffer is gone.
  if (totals.pools % 32 === 31) await new Promise((resolve) => setTimeout(resolve, 40));
}
process.stdout.write(JSON.stringify(totals) + "\n");
