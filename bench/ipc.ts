/**
 * Doubles to a child process, and an answer back: over a pool, and by every way that the runtime has without one.
 *
 *     bun bench/ipc.ts                  deno run -A bench/ipc.ts
 *     taskset -c 0 bun bench/ipc.ts "on one CPU"                (8 MiB only)
 *
 * Over the pool only a packed message travels, by the way that is the fastest for few bytes. Without it the doubles travel
 * themselves; whatever the way, the child ends up with numbers that it can read. All take turns, and are compared round by
 * round. What is much slower than the fastest takes no part after the first round, but for the fastest `process.send`.
 *
 * A small round trip takes some 20 µs where parent and child run on one CPU, and 60 µs where each has to wake an idle one:
 * the scheduler moves them about. So 8 bytes and more are sent over the pool by turns, message by message.
 */

import process from "node:process";
import { Pool } from "../mod.ts";
import { byteWays, messageWays, type Reads } from "./channels.ts";
import { Doubles } from "./requests.ts";
import { compare, median, poolName, print } from "./rows.ts";

const ROUNDS = 9;
const ROUND_MS = 25;
const WARM_UP_MS = 100;
const ASKS_MIN = 3;
/** For what the turn before has left to do: sweeping its garbage, unmapping its memory. */
const PAUSE_MS = 10;
/** Whose best time is longer than the best of all by this is out. */
const OUT = 6;

const MIB = 2 ** 20;
const ALL_SIZES: [bytes: number, name: string][] = [
  [8, "8 B"],
  [64 * 1024, "64 KiB"],
  [MIB, "1 MiB"],
  [8 * MIB, "8 MiB"],
  [64 * MIB, "64 MiB"],
];
const place = process.argv[2];
const sizes = place === undefined ? ALL_SIZES : ALL_SIZES.filter(([bytes]) => bytes === 8 * MIB);

/** A way, with a child at its other end. */
interface Contender {
  name: string;
  /** Whether it is `process.send`. */
  isMessage: boolean;
  ask(doubles: Doubles): Promise<number>;
}

/** What a contender sends, and what its rounds have measured, in nanoseconds. */
class Entry {
  readonly contender: Contender;
  readonly doubles: Doubles;
  readonly medians: number[] = [];
  readonly means: number[] = [];
  leastNs = Infinity;

  constructor(contender: Contender, doubles: Doubles) {
    this.contender = contender;
    this.doubles = doubles;
  }

  get median(): number {
    return median(this.medians);
  }
}

await using stack = new AsyncDisposableStack();
const pool = stack.use(Pool.create({ name: poolName("ipc"), capacity: "512M" }));
const few = new Doubles(pool.alloc(Float64Array, 1));
const overPool = await openAll("pool");
const plain = await openAll("doubles");

const ways = overPool.map((contender) => [new Entry(contender, few)]);
await race(ways);
const cheapest = fastest(ways.flat()).contender;
for (const [bytes, name] of sizes) await raceWith(bytes, name);

/** All ways with that many bytes. */
async function raceWith(bytes: number, name: string): Promise<void> {
  using shared = pool.alloc(Float64Array, bytes / 8);
  const doubles = new Doubles(shared);
  const oursWithFew = new Entry(cheapest, few);
  const ours = new Entry(cheapest, doubles);
  const theirs = plain.map((contender) => new Entry(contender, doubles));
  await race([[oursWithFew, ours], ...theirs.map((entry) => [entry])]);

  const isGoal = bytes === 8 * MIB && place === undefined;
  const inside = theirs.filter(({ medians }) => medians.length === ROUNDS);
  const best = fastest(inside);
  const bestMessage = fastest(inside.filter(({ contender }) => contender.isMessage));
  const work = `${name} to a child and an answer${place === undefined ? "" : `, ${place}`}`;
  const notes = {
    bytes,
    place,
    poolOver: cheapest.name,
    poolMeanNs: median(ours.means),
    poolWith8BytesNs: oursWithFew.median,
    withoutNs: Object.fromEntries(theirs.map((entry) => [entry.contender.name, entry.median])),
  };
  const kind = "faster";
  for (const against of new Set(bytes === 8 * MIB ? [best, bestMessage] : [best])) {
    const goal = isGoal ? { goal: 50, notes } : { notes };
    print(compare({ work, against: against.contender.name, kind, ...goal }, ours.medians, against.medians));
  }
  if (bytes === 8) return;
  const goal = isGoal || (bytes === 64 * MIB && place === undefined) ? { goal: 1.5 } : {};
  print(compare({ work, against: "8 B", kind: "cost", ...goal }, ours.medians, oursWithFew.medians));
  if (bytes !== 8 * MIB) return;
  print(compare({ work: `${work}, means`, against: best.contender.name, kind }, ours.means, best.means));
  print(compare({ work: `${work}, means`, against: "8 B, means", kind: "cost" }, ours.means, oursWithFew.means));
}

/** Opens every way, each to a child of its own. */
async function openAll(reads: Reads): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const way of messageWays) {
    const channel = stack.use(await way.open(reads));
    const request = (doubles: Doubles) =>
      reads === "pool" ? doubles.packed() : way.name.endsWith("json") ? doubles.jsonMessage() : doubles.message();
    contenders.push({ name: way.name, isMessage: true, ask: (doubles) => channel.ask(request(doubles)) });
  }
  for (const way of byteWays) {
    const channel = stack.use(await way.open(reads));
    const request = (doubles: Doubles) => reads === "pool" ? doubles.packedFrame() : doubles.frame();
    contenders.push({ name: way.name, isMessage: false, ask: (doubles) => channel.ask(request(doubles)) });
  }
  return contenders;
}

/** Lets groups take turns, and within a group its entries, message by message. What is out keeps its first figures. */
async function race(groups: Entry[][]): Promise<void> {
  for (const group of groups) await round(group, WARM_UP_MS);
  const singles = groups.filter((group) => group.length === 1).flat();
  // By their best times: one slow round may be due to something else on the machine.
  const least = (entries: Entry[]) => Math.min(...entries.map(({ leastNs }) => leastNs));
  const messages = singles.filter(({ contender }) => contender.isMessage);
  const limit = Math.max(OUT * least(singles), least(messages));
  const inside = groups.filter((group) => group.length > 1 || group[0]!.leastNs <= limit);
  for (const entry of inside.flat()) entry.medians.length = entry.means.length = 0;
  for (let i = 0; i < ROUNDS; i++) {
    for (const group of inside) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      for (const entry of group) await timeNs(entry); // wakes everyone up
      await round(group, ROUND_MS);
    }
  }
}

async function round(group: Entry[], milliseconds: number): Promise<void> {
  const times = group.map((): number[] => []);
  const startedAt = performance.now();
  while (times[0]!.length < ASKS_MIN || performance.now() - startedAt < milliseconds) {
    for (const [i, entry] of group.entries()) times[i]!.push(await timeNs(entry));
  }
  for (const [i, entry] of group.entries()) {
    entry.medians.push(median(times[i]!));
    entry.means.push(times[i]!.reduce((sum, time) => sum + time, 0) / times[i]!.length);
    entry.leastNs = Math.min(entry.leastNs, ...times[i]!);
  }
}

async function timeNs({ contender, doubles }: Entry): Promise<number> {
  const right = doubles.change();
  const askedAt = performance.now();
  const answer = await contender.ask(doubles);
  const time = (performance.now() - askedAt) * 1e6;
  if (answer !== right) throw new Error(`${contender.name}: the child answered ${answer} instead of ${right}`);
  return time;
}

function fastest(entries: Entry[]): Entry {
  return entries.reduce((best, entry) => entry.median < best.median ? entry : best);
}
