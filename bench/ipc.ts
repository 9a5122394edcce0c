/**
 * Doubles to a child process, and an answer back: over a pool, and by every way that the runtime has without one.
 *
 *     bun bench/ipc.ts                  deno run -A bench/ipc.ts
 *     taskset -c 0 bun bench/ipc.ts "on one CPU"                (8 MiB only)
 *
 * Over the pool only a packed message travels, by the way that is the fastest for few bytes, and by a channel of the pool,
 * at which both sides block. Without it the doubles travel themselves; whatever the way, the child ends up with numbers
 * that it can read. All take turns, and are compared round by round. What is much slower than the fastest takes no part
 * after the first round, but for the fastest `process.send`.
 *
 * With 1 GiB only bytes and the file take part, and few times. The last rows are of a child that has a large
 * heap, since what an engine counts for an ArrayBuffer could make it collect.
 *
 * A small round trip takes some 20 µs where parent and child run on one CPU, and 60 µs where each has to wake an idle one:
 * the scheduler moves them about. So 8 bytes and more are sent over the pool by turns, message by message.
 */

import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import process from "node:process";
import { pack, Pool, type PoolError, type SharedArray } from "../mod.ts";
import { byteWays, end, fileWay, messageWays, type Reads, startWith, threadWay } from "./channels.ts";
import { Doubles } from "./requests.ts";
import { compare, median, poolName, print } from "./rows.ts";

/** How often things take turns. */
interface Pace {
  readonly rounds: number;
  readonly warmUpMs: number;
  /** A turn takes as long as this, and at least so many questions. */
  readonly roundMs: number;
  readonly asksMin: number;
  /** Whose best time is longer than so many times the best of all is out. */
  readonly out: number;
}
const PACE: Pace = { rounds: 9, warmUpMs: 100, roundMs: 25, asksMin: 3, out: 6 };
const PACE_OF_64_MIB: Pace = { ...PACE, rounds: 5 };
/** One question a turn, but over the pool. */
const PACE_OF_1_GIB: Pace = { ...PACE, rounds: 3, asksMin: 1, out: 2 };
/** Long enough for a collection in most rounds. */
const PACE_BESIDE_HEAP: Pace = { ...PACE, rounds: 7, warmUpMs: 500, roundMs: 300 };
/** No turn is longer than that for the sake of `asksMin`. */
const ROUND_MOST_MS = 1000;
/** For what the turn before has left to do: sweeping its garbage, unmapping its memory. */
const PAUSE_MS = 10;

const MIB = 2 ** 20;
const LARGE = 1024 * MIB;
/** What the parent, the children and what is on its way take together: so many times the array. */
const COPIES = 9;
const ALL_SIZES: [bytes: number, name: string][] = [
  [8, "8 B"],
  [64 * 1024, "64 KiB"],
  [MIB, "1 MiB"],
  [8 * MIB, "8 MiB"],
  [64 * MIB, "64 MiB"],
  [LARGE, "1 GiB"],
];
const place = process.argv[2];
const sizes = place === undefined ? ALL_SIZES : ALL_SIZES.filter(([bytes]) => bytes === 8 * MIB);

type Kind = "message" | "bytes" | "file" | "thread" | "channel";

/** A way, with a child at its other end. */
interface Contender {
  name: string;
  kind: Kind;
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
const pool = stack.use(Pool.create({ name: poolName("ipc"), capacity: "2G" }));
const few = new Doubles(pool.alloc(Float64Array, 1));
const overPool = await openAll("pool");
const channelOfPool = openChannel();
const plain = await openAll("doubles");

const ways = overPool.map((contender) => [new Entry(contender, few)]);
await race(ways, PACE);
const cheapest = fastest(ways.flat()).contender;
for (const [bytes, name] of sizes) await raceWith(bytes, name);
if (place === undefined) await raceBesideHeap();

/** All ways with that many bytes. */
async function raceWith(bytes: number, name: string): Promise<void> {
  const isLarge = bytes === LARGE;
  using shared = isLarge ? allocateLarge(name) : pool.alloc(Float64Array, bytes / 8);
  if (shared === undefined) return;
  const doubles = new Doubles(shared);
  const oursWithFew = new Entry(cheapest, few);
  const ours = new Entry(cheapest, doubles);
  const channelWithFew = new Entry(channelOfPool, few);
  const channel = new Entry(channelOfPool, doubles);
  // A gigabyte is more than a message of a runtime can have, or takes it half a minute.
  const able = plain.filter(({ kind }) => !isLarge || (kind !== "message" && kind !== "thread"));
  const theirs = able.map((way) => new Entry(way, doubles));
  const pace = isLarge ? PACE_OF_1_GIB : bytes === 64 * MIB ? PACE_OF_64_MIB : PACE;
  await race([[oursWithFew, ours], [channelWithFew, channel], ...theirs.map((entry) => [entry])], pace);

  const inside = theirs.filter(({ medians }) => medians.length === pace.rounds);
  const toProcess = inside.filter(({ contender }) => contender.kind !== "thread");
  const best = fastest(toProcess);
  const work = `${name} to a child and an answer${place === undefined ? "" : `, ${place}`}`;
  const notes = {
    bytes,
    place,
    poolOver: cheapest.name,
    poolMeanNs: median(ours.means),
    poolWith8BytesNs: oursWithFew.median,
    overChannelNs: channel.median,
    withoutNs: Object.fromEntries(theirs.map((entry) => [entry.contender.name, entry.median])),
  };
  const kind = "faster";
  const fastestOf = (kind: Kind) => fastest(inside.filter(({ contender }) => contender.kind === kind));
  const others = bytes === 8 * MIB ? [best, fastestOf("message"), fastestOf("thread")] : [best];
  for (const against of new Set(others)) {
    print(compare({ work, against: against.contender.name, kind, notes }, ours.medians, against.medians));
  }
  // A descriptor that travels by a way of the runtime's cannot be much faster than 8 bytes by that way.
  const goal = bytes === 8 * MIB && place === undefined ? { goal: 300 } : {};
  const overChannel = `${work}, over a channel`;
  print(compare({ work: overChannel, against: best.contender.name, kind, ...goal }, channel.medians, best.medians));
  if (bytes === 8) return;
  const flat = place === undefined && bytes >= 8 * MIB ? { goal: 1.5 } : {};
  print(compare({ work, against: "8 B", kind: "cost", ...flat }, ours.medians, oursWithFew.medians));
  print(compare({ work: overChannel, against: "8 B", kind: "cost", ...flat }, channel.medians, channelWithFew.medians));
  if (bytes !== 8 * MIB) return;
  print(compare({ work: `${work}, means`, against: best.contender.name, kind }, ours.means, best.means));
  print(compare({ work: `${work}, means`, against: "8 B, means", kind: "cost" }, ours.means, oursWithFew.means));
}

/** Whether what is attached for each message is felt by a collector that has much to look at. */
async function raceBesideHeap(): Promise<void> {
  const contender = await openCheapest("pool beside a heap");
  using shared = pool.alloc(Float64Array, 64 * MIB / 8);
  const ours = new Entry(contender, new Doubles(shared));
  const oursWithFew = new Entry(contender, few);
  await race([[oursWithFew, ours]], PACE_BESIDE_HEAP);
  const work = "64 MiB to a child with a heap of 1 GB, and an answer";
  print(compare({ work, against: "8 B", kind: "cost", goal: 1.5 }, ours.medians, oursWithFew.medians));
  print(compare({ work: `${work}, means`, against: "8 B, means", kind: "cost" }, ours.means, oursWithFew.means));
}

/** Room for the largest array; nothing, and a line that says so, where there is none. */
function allocateLarge(name: string): SharedArray<Float64Array> | undefined {
  if (memoryLeft() < COPIES * LARGE) {
    console.error(`${name} to a child: skipped, there are less than ${COPIES} GiB of memory left`);
    return undefined;
  }
  try {
    return pool.alloc(Float64Array, LARGE / 8);
  } catch (error) {
    if ((error as PoolError).code !== "ERR_POOL_FULL") throw error;
    console.error(`${name} to a child: skipped, ${(error as PoolError).message}`);
    return undefined;
  }
}

function memoryLeft(): number {
  if (process.platform !== "linux") return freemem();
  return Number(/^MemAvailable: +(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8"))![1]) * 1024;
}

/** Opens every way, each to a child of its own. */
async function openAll(reads: Reads): Promise<Contender[]> {
  const contenders: Contender[] = [];
  for (const way of messageWays) {
    const channel = stack.use(await way.open(reads));
    const request = (doubles: Doubles) =>
      reads !== "doubles" ? doubles.packed() : way.name.endsWith("json") ? doubles.jsonMessage() : doubles.message();
    contenders.push({ name: way.name, kind: "message", ask: (doubles) => channel.ask(request(doubles)) });
  }
  for (const way of byteWays) {
    const channel = stack.use(await way.open(reads));
    const request = (doubles: Doubles) => reads !== "doubles" ? doubles.packedFrame() : doubles.frame();
    contenders.push({ name: way.name, kind: "bytes", ask: (doubles) => channel.ask(request(doubles)) });
  }
  if (reads !== "doubles") return contenders;
  const file = stack.use(await fileWay.open(reads));
  contenders.push({ name: fileWay.name, kind: "file", ask: (doubles) => file.ask(doubles.frame()) });
  const thread = stack.use(await threadWay.open(reads));
  contenders.push({ name: threadWay.name, kind: "thread", ask: (doubles) => thread.ask(doubles.message()) });
  return contenders;
}

/** The way that is the cheapest for few bytes, once more. */
async function openCheapest(reads: Reads): Promise<Contender> {
  const message = messageWays.find(({ name }) => name === cheapest.name);
  if (message !== undefined) {
    const channel = stack.use(await message.open(reads));
    return { ...cheapest, ask: (doubles) => channel.ask(doubles.packed()) };
  }
  const channel = stack.use(await byteWays.find(({ name }) => name === cheapest.name)!.open(reads));
  return { ...cheapest, ask: (doubles) => channel.ask(doubles.packedFrame()) };
}

/** Two channels of the pool, one for each direction. */
function openChannel(): Contender {
  const requests = stack.use(pool.channel<{ numbers: SharedArray }>({ capacity: 4 }));
  const answers = stack.use(pool.channel<number>({ capacity: 4 }));
  const child = startWith(["channel", "pool", JSON.stringify(pack({ requests, answers }))], "inherit");
  stack.defer(() => end(child));
  const ask = (doubles: Doubles) => {
    requests.send({ numbers: doubles.shared });
    return Promise.resolve(answers.receive());
  };
  return { name: "a channel of the pool", kind: "channel", ask };
}

/** Lets groups take turns, and within a group its entries, message by message. What is out keeps its first figures. */
async function race(groups: Entry[][], pace: Pace): Promise<void> {
  for (const group of groups) await round(group, pace.warmUpMs, pace);
  const singles = groups.filter((group) => group.length === 1).flat();
  // By their best times: one slow round may be due to something else on the machine.
  const least = (entries: Entry[]) => Math.min(...entries.map(({ leastNs }) => leastNs));
  const messages = singles.filter(({ contender }) => contender.kind === "message");
  const limit = Math.max(pace.out * least(singles), messages.length === 0 ? 0 : least(messages));
  const inside = groups.filter((group) => group.length > 1 || group[0]!.leastNs <= limit || isWanted(group[0]!));
  for (const entry of inside.flat()) entry.medians.length = entry.means.length = 0;
  for (let i = 0; i < pace.rounds; i++) {
    for (const group of inside) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      // Wakes everyone up.
      if (pace.asksMin > 1 || group.length > 1) { for (const entry of group) await timeNs(entry); }
      await round(group, pace.roundMs, pace);
    }
  }
}

/** The Worker has a row of its own. */
function isWanted({ contender, doubles }: Entry): boolean {
  return contender.kind === "thread" && doubles.plain.byteLength === 8 * MIB;
}

async function round(group: Entry[], milliseconds: number, { asksMin }: Pace): Promise<void> {
  const times = group.map((): number[] => []);
  const startedAt = performance.now();
  const isOnce = asksMin === 1 && group.length === 1;
  let took = 0;
  do {
    for (const [i, entry] of group.entries()) times[i]!.push(await timeNs(entry));
    took = performance.now() - startedAt;
  } while (!isOnce && (took < milliseconds || (times[0]!.length < asksMin && took < ROUND_MOST_MS)));
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
