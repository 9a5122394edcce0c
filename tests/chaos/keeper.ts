/**
 * The keeper of a round makes the pool, and is the one member that nobody stops or kills. It looks at the pool as a whole,
 * again and again; when all others have left it sees that nothing is left of them.
 */

import process from "node:process";
import { readdirSync } from "node:fs";
import { type Channel, Pool, PoolError, type Unpacked } from "arraypool";
import { Board, type Event, type Orders, RECORD, report, startClock } from "./folder.ts";
import { audit, BURSTS, CHANNELS, enter, LETTER_BYTES_MAX, letterOf, type Wire, WORDS, wrongIn } from "./letters.ts";
import { firstWrong, keyOf } from "./pattern.ts";
import { Draws, roundOf, TTL_MAX_MS } from "./plan.ts";

const orders = JSON.parse(process.argv[2]!) as Orders;
const { folder, seed } = orders;
const { capacityBytes, claimTtlMs } = roundOf(seed);
const board = new Board(folder);
const record = new Float64Array(16);
record[RECORD.id] = 1;
const draws = new Draws(seed, 5);
const now = startClock();
const say = (event: Event) => report(folder, { ...event, id: 1 });

function broken(what: string): never {
  say({ kind: "broken", what: `keeper: ${what}` });
  const forEver = new Int32Array(new SharedArrayBuffer(4));
  for (;;) Atomics.wait(forEver, 0, 0, 1000);
}

/** Undefined when a stopped member keeps the lock. */
function attempt<T>(what: string, call: () => T, mayBe?: string): T | undefined {
  const from = now();
  try {
    const result = call();
    record[RECORD.progress]!++;
    return result;
  } catch (error) {
    if (error instanceof PoolError && error.code === mayBe) return undefined;
    if (!(error instanceof PoolError) || error.code !== "ERR_POOL_BUSY") broken(`${what}: ${error}`);
    record[RECORD.busy]!++;
    say({
      kind: "busy",
      from,
      to: now(),
      pid: Number(/process (\d+)/.exec(error.message)?.[1] ?? 0),
      waitsForTwo: board.phase === "finish",
    });
    return undefined;
  } finally {
    const to = now();
    record[RECORD.longestMs] = Math.max(record[RECORD.longestMs]!, to - from);
    if (to - from > 100) say({ kind: "slow", from, to, what });
    board.write(orders.record, record);
  }
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** What may be backed in the end: parts of pages, and what somebody was backing of the tables when he died. */
const REST_BYTES = 2 ** 18;

/** Holders of a block that are no members: for how long, and how many looks, they may be so, before they count as leaked. */
const ORPHAN_MS = 15_000;
const ORPHAN_LOOKS = 10;
const orphans = new Map<string, { since: number; looks: number }>();

/** A member that died is taken for one until it is reaped, and one that joins is not yet listed: so only what stays counts. */
function lookForLeaks(pool: Pool): void {
  const seen = attempt(
    "blocks",
    () => ({ blocks: pool.blocks(), slots: new Set(pool.members().map(({ slot }) => slot)) }),
  );
  if (seen === undefined) return;
  const still = new Set<string>();
  for (const { block, generation, holders } of seen.blocks) {
    for (const slot of holders) {
      if (!seen.slots.has(slot)) still.add(`block ${block}, generation ${generation}, slot ${slot}`);
    }
  }
  for (const known of orphans.keys()) if (!still.has(known)) orphans.delete(known);
  for (const orphan of still) {
    const known = orphans.get(orphan) ?? { since: now(), looks: 0 };
    orphans.set(orphan, known);
    // The machine may have slept between two looks.
    if (++known.looks > ORPHAN_LOOKS && now() - known.since > ORPHAN_MS) {
      broken(`held by nobody for ${ORPHAN_MS} ms: ${orphan}`);
    }
  }
}

/** Receives one letter, and checks it. Whether there was one. */
function receive(channel: Channel<Wire>, index: number): boolean {
  const check = (wire: Unpacked<Wire>) => {
    const letter = letterOf(wire as unknown as Wire);
    enter(folder, "received", letter);
    const wrong = wrongIn(letter, index);
    if (wrong !== undefined) broken(wrong);
    letter.arrays.forEach(({ buffer, byteOffset, byteLength, length }, i) => {
      const [block, generation, offset, expected] = letter.places[i]!;
      const bytes = new Uint8Array(buffer, byteOffset, byteLength);
      const at = firstWrong(bytes, keyOf(pool.toJSON().nonce, block, generation), offset);
      if (length !== expected || at >= 0) {
        broken(`an array of a letter of ${letter.from} is wrong at ${at} of ${length}`);
      }
    });
    return letter;
  };
  if (!CHANNELS[index]!.acks) {
    const wire = attempt("receive", () => channel.tryReceive(), "ERR_CLOSED");
    if (wire === undefined) return false;
    check(wire);
    attempt("release", () => wire[Symbol.dispose]());
    return true;
  }
  const delivery = attempt("receive", () => channel.tryReceive({ ack: true }), "ERR_CLOSED");
  if (delivery === undefined) return false;
  const letter = check(delivery.message);
  enter(folder, "acking", letter);
  while (attempt("acknowledge", () => (delivery.ack(), true)) === undefined) { /* who has the lock is stopped */ }
  enter(folder, "acked", letter);
  attempt("release", () => delivery[Symbol.dispose]());
  return true;
}

/** Nobody sends any more, and nothing is in them: neither in their rings nor taken by somebody who died with it. */
function areEmpty(channels: Channel<Wire>[]): boolean {
  return channels.every((channel, index) => {
    if (channel.released) return true;
    attempt("close", () => channel.close());
    // In every second round what is in those that nobody acknowledges from goes with them.
    if (!CHANNELS[index]!.acks && seed % 2 === 0) return true;
    while (receive(channel, index)) { /* the next */ }
    const stats = attempt("stats of a channel", () => channel.stats());
    return stats !== undefined && stats.depth + stats.unacknowledged === 0;
  });
}

const pool = Pool.create({ name: orders.pool, capacity: capacityBytes, claimTtlMs });
const channels = CHANNELS.map(({ name, capacity }) => {
  const channel = pool.channel<Wire>({ capacity, maxMessageBytes: LETTER_BYTES_MAX });
  pool.set(name, channel);
  return channel;
});
const bursts = pool.channel({ capacity: BURSTS.capacity, maxMessageBytes: LETTER_BYTES_MAX });
pool.set(BURSTS.name, bursts);
{
  using words = pool.alloc(Int32Array, WORDS.count);
  pool.set(WORDS.name, words);
}
board.write(orders.record, record);
let checks = 0;
for (let step = 0; board.phase === "run"; step++) {
  draws.step(step);
  if (attempt("check", () => (pool.check(), true))) checks++;
  if (draws.chance(0.2)) attempt("reap", () => pool.reap());
  if (draws.chance(0.1)) lookForLeaks(pool);
  await pause(draws.below(60));
}

// The others leave; the last claims expire. What has not gone by then has leaked.
let leftMs = TTL_MAX_MS + 60_000;
let last = now();
const sidePools = () => readdirSync("/dev/shm").filter((name) => name.startsWith(`arraypool.${orders.pool}-s`));
for (;;) {
  attempt("delete names", () => pool.names().map((name) => pool.delete(name)));
  attempt("reap", () => pool.reap());
  const stats = attempt("stats", () => pool.stats());
  // Making any pool sweeps those that are dead.
  attempt("sweep", () => Pool.create({ capacity: "1M" }).close());
  if (stats !== undefined && stats.members === 1 && areEmpty(channels)) {
    for (const channel of [...channels, bursts]) attempt("release", () => channel.release());
  }
  if (stats !== undefined && stats.members === 1 && stats.arrays + stats.claims === 0 && sidePools().length === 0) {
    break;
  }
  // Time during which the machine slept does not count.
  leftMs -= Math.min(now() - last, 1000);
  last = now();
  // Held by nobody, and in no message: what counts pins that are none.
  if (leftMs < 0) {
    broken(`what is left in the end: ${JSON.stringify({ ...stats, blocks: pool.blocks(), sidePools: sidePools() })}`);
  }
  await pause(50);
}
pool.check();
checks++;
pool.trim();
const { arrays, claims, usedBytes, backedBytes, largestFreeBytes } = pool.stats();
if (usedBytes > 0 || backedBytes > REST_BYTES || largestFreeBytes !== capacityBytes) {
  broken(`bytes have leaked: ${JSON.stringify(pool.stats())}`);
}
pool.close();
const letters = audit(folder);
if (letters.broken !== undefined) broken(`a letter was ${letters.broken}`);
say({ kind: "end", checks, arrays, claims, bytes: usedBytes, received: letters.received, acked: letters.acked });
record[RECORD.leaves] = 1;
board.write(orders.record, record);
