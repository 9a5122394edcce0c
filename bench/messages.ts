/**
 * Small messages between processes: over channels of a pool, and over the fastest way that the runtime has built in. There
 * and back (blocking and not, and to one who has slept), and in one direction (one to one, four to four). With `mixed`, the
 * other side is of the other runtime: then the messages that are built in are those of `fork` as JSON; there and back also a
 * pipe with a line of JSON for each. In one direction such a pipe is measured without a goal, with a write for each message,
 * and with the lines of many collected by hand for one write.
 *
 * Both sides are warm: whoever sends or receives has done so before it is measured, over channels as over the other ways.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import process from "node:process";
import { setTimeout as rest } from "node:timers/promises";
import { type Channel, pack, Pool } from "../mod.ts";
import { end } from "./channels.ts";
import { compare, poolName, print, runtime } from "./rows.ts";

const script = new URL("messages_child.ts", import.meta.url).pathname;
const flags = (program: string) => program.includes("deno") ? ["run", "-A", "--quiet", "--no-check"] : [];
const [mode = "same", other = process.execPath] = process.argv.slice(2);
const sides = mode === "same" ? "" : `, ${runtime} and ${runtime === "Bun" ? "Deno" : "Bun"}`;

const ROUNDS = 5;
const WARM_ROUNDS = 3;
/** Some 0.4 s: who has slept is on the waker's processor at first, for some 50 ms, which is none of a stream. */
const STREAMED = 6_400_000;
/** Characters. */
const COLLECTED = 16 << 10;
const message = (id: number) => ({ id, kind: "job" });

/** Nanoseconds of each. */
interface Sample {
  median: number;
  p99: number;
}

function sample(times: Float64Array): Sample {
  const sorted = times.slice().sort();
  return { median: sorted[sorted.length >> 1]!, p99: sorted[Math.floor(sorted.length * 0.99)]! };
}

// ------------------------------------------------------------------ the built-in ways

type Ways = Record<string, Way>;
interface Way extends AsyncDisposable {
  /** With a rest before each, in which the other side falls asleep. */
  thereAndBack(count: number, restMs?: number): Promise<Sample>;
  /** Nanoseconds of a message. */
  stream(count: number): Promise<number>;
}

class Ipc implements Way {
  readonly child: ChildProcess;
  constructor(serialization: "json" | "advanced") {
    // As fork() does it; but Deno's gives its own flags to whatever it starts.
    this.child = spawn(other, [...flags(other), script, "ipc"], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization,
    });
  }
  async ready(): Promise<this> {
    await this.#ask({ kind: "ready" });
    return this;
  }
  async #ask(question: object): Promise<void> {
    const answer = once(this.child, "message");
    this.child.send(question);
    await answer;
  }
  async thereAndBack(count: number, restMs = 0): Promise<Sample> {
    const times = new Float64Array(count);
    let resolve: () => void;
    const listener = () => resolve();
    this.child.on("message", listener);
    for (let i = 0; i < count; i++) {
      if (restMs > 0) await rest(restMs);
      const begun = performance.now();
      const answer = new Promise<void>((done) => resolve = done);
      this.child.send({ kind: "back", id: i });
      await answer;
      times[i] = (performance.now() - begun) * 1e6;
    }
    this.child.off("message", listener);
    return sample(times);
  }
  async stream(count: number): Promise<number> {
    const begun = performance.now();
    const done = once(this.child, "message");
    for (let i = 0; i < count; i++) this.child.send(message(i));
    this.child.send({ kind: "end" });
    await done;
    return (performance.now() - begun) * 1e6 / count;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return end(this.child);
  }
}

/** Lines of JSON over stdin and stdout; in one direction `collected` until they have so many characters. */
class Lines implements Way {
  readonly child: ChildProcess;
  readonly #collected: number;
  constructor(collected: number) {
    this.#collected = collected;
    this.child = spawn(other, [...flags(other), script, "lines"], { stdio: ["pipe", "pipe", "inherit"] });
  }
  async ready(): Promise<this> {
    await this.thereAndBack(1);
    return this;
  }
  async thereAndBack(count: number, restMs = 0): Promise<Sample> {
    const times = new Float64Array(count);
    let resolve: () => void;
    const listener = (bytes: Uint8Array) => {
      for (const line of String(bytes).trimEnd().split("\n")) JSON.parse(line);
      resolve();
    };
    this.child.stdout!.on("data", listener);
    for (let i = 0; i < count; i++) {
      if (restMs > 0) await rest(restMs);
      const begun = performance.now();
      const answer = new Promise<void>((done) => resolve = done);
      this.child.stdin!.write(JSON.stringify({ kind: "back", id: i }) + "\n");
      await answer;
      times[i] = (performance.now() - begun) * 1e6;
    }
    this.child.stdout!.off("data", listener);
    return sample(times);
  }
  async stream(count: number): Promise<number> {
    const begun = performance.now();
    const done = once(this.child.stdout!, "data");
    let lines = "";
    for (let i = 0; i < count; i++) {
      lines += JSON.stringify(message(i)) + "\n";
      if (lines.length < this.#collected) continue;
      if (!this.child.stdin!.write(lines)) await once(this.child.stdin!, "drain");
      lines = "";
    }
    this.child.stdin!.write(lines + JSON.stringify({ kind: "end" }) + "\n");
    await done;
    return (performance.now() - begun) * 1e6 / count;
  }
  [Symbol.asyncDispose](): Promise<void> {
    return end(this.child);
  }
}

// ------------------------------------------------------------------ channels

function start(program: string, ...args: string[]): ChildProcess {
  return spawn(program, [...flags(program), script, ...args], { stdio: ["ignore", "inherit", "inherit"] });
}

async function withEcho<R>(
  pool: Pool,
  how: string,
  use: (there: Channel, back: Channel) => Promise<R> | R,
): Promise<R> {
  using there = pool.channel();
  using back = pool.channel();
  const child = start(other, how, JSON.stringify(pack({ there, back })));
  const ended = once(child, "exit");
  await there.sendAsync(message(0));
  await back.receiveAsync();
  try {
    return await use(there, back);
  } finally {
    there.close();
    await ended;
  }
}

function thereAndBack(there: Channel, back: Channel, count: number): Sample {
  const times = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    there.send(message(i));
    back.receive();
    times[i] = (performance.now() - begun) * 1e6;
  }
  return sample(times);
}

async function thereAndBackAsync(there: Channel, back: Channel, count: number, restMs = 0): Promise<Sample> {
  const times = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    if (restMs > 0) await rest(restMs);
    const begun = performance.now();
    await there.sendAsync(message(i));
    await back.receiveAsync();
    times[i] = (performance.now() - begun) * 1e6;
  }
  return sample(times);
}

/** Processes that send (this one, if it is one) and receive, round by round. */
class Stream implements AsyncDisposable {
  readonly #senders: number;
  readonly #receivers: number;
  readonly #messages: Channel;
  readonly #orders: Channel<number>;
  readonly #next: Channel<string>;
  readonly #signals: Channel<string>;
  readonly #ends: Promise<unknown>[];

  constructor(pool: Pool, senders: number, receivers: number) {
    this.#senders = senders;
    this.#receivers = receivers;
    const messages = this.#messages = pool.channel({ capacity: 1024 });
    const orders = this.#orders = pool.channel<number>();
    const next = this.#next = pool.channel<string>();
    const signals = this.#signals = pool.channel<string>();
    const packed = () => JSON.stringify(pack({ messages, orders, next, signals }));
    const children = [
      ...Array.from({ length: receivers }, () => start(other, "receive", packed())),
      ...(senders === 1 ? [] : Array.from({ length: senders }, () => start(process.execPath, "send", packed()))),
    ];
    this.#ends = children.map((child) => once(child, "exit"));
  }
  async ready(): Promise<this> {
    await this.#hear(this.#ends.length);
    return this;
  }
  async #hear(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.#signals.receiveAsync();
  }
  /** Nanoseconds of a message. */
  async run(count: number): Promise<number> {
    const begun = performance.now();
    if (this.#senders === 1) { for (let i = 0; i < count; i++) this.#messages.send(message(i)); }
    else {
      for (let i = 0; i < this.#senders; i++) this.#orders.send(count / this.#senders);
      await this.#hear(this.#senders);
    }
    // Each receiver takes one of these, and waits until all have.
    for (let i = 0; i < this.#receivers; i++) this.#messages.send({ kind: "end" });
    await this.#hear(this.#receivers);
    const ns = (performance.now() - begun) * 1e6 / count;
    for (let i = 0; i < this.#receivers; i++) this.#next.send("go on");
    return ns;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const channel of [this.#messages, this.#orders, this.#next]) channel.close();
    await Promise.all(this.#ends);
    for (const channel of [this.#messages, this.#orders, this.#next, this.#signals]) channel.release();
  }
}

// ------------------------------------------------------------------ the rows

using pool = Pool.create({ name: poolName(`messages-${process.pid}`), capacity: "64M" });
// The other serialization works only between two of the same runtime.
const ipc: Ways = mode === "same"
  ? { "fork, json": await new Ipc("json").ready(), "fork, advanced": await new Ipc("advanced").ready() }
  : { "fork, json": await new Ipc("json").ready() };
const pipes: Ways = {
  "a pipe, JSON lines": await new Lines(0).ready(),
  "a pipe, JSON lines collected": await new Lines(COLLECTED).ready(),
};
const answering: Ways = mode === "same" ? ipc : { ...ipc, "a pipe, JSON lines": pipes["a pipe, JSON lines"]! };

async function fastest<R>(
  ways: Ways,
  measure: (way: Way) => Promise<R>,
  ns: (result: R) => number,
): Promise<[string, R]> {
  let best: [string, R] | undefined;
  for (const [name, way] of Object.entries(ways)) {
    const result = await measure(way);
    if (best === undefined || ns(result) < ns(best[1])) best = [name, result];
  }
  return best!;
}

for (
  const [work, how, goal, restMs] of [
    ["blocking", "echo", 10, 0],
    ["not blocking", "echo async", 3, 0],
    ["not blocking, once each millisecond", "echo async", undefined, 1],
  ] as const
) {
  if (restMs > 0 && mode !== "same") continue;
  const [ownCount, theirCount] = restMs > 0 ? [100, 100] : [20_000, 2000];
  const ours: Sample[] = [];
  const theirs: Sample[] = [];
  let against = "";
  await withEcho(pool, how, async (there, back) => {
    for (let round = -WARM_ROUNDS; round < ROUNDS; round++) {
      const sample = how === "echo"
        ? thereAndBack(there, back, ownCount)
        : await thereAndBackAsync(there, back, ownCount, restMs);
      const [name, result] = await fastest(
        answering,
        (way) => way.thereAndBack(theirCount, restMs),
        ({ median }) => median,
      );
      if (round < 0) continue;
      ours.push(sample);
      theirs.push(result);
      against = name;
    }
  });
  for (const part of restMs > 0 ? ["median"] as const : ["median", "p99"] as const) {
    print(compare(
      {
        work: `a message there and back, ${work}, ${part}${sides}`,
        against,
        kind: "faster",
        ...(goal === undefined ? {} : { goal }),
      },
      ours.map((sample) => sample[part]),
      theirs.map((sample) => sample[part]),
    ));
  }
}

for (const [senders, receivers, goal] of [[1, 1, 20], [4, 4, 10]] as const) {
  const ours: number[] = [];
  const theirs: number[] = [];
  const piped: Record<string, number[]> = Object.fromEntries(Object.keys(pipes).map((name) => [name, []]));
  let against = "";
  await using stream = await new Stream(pool, senders, receivers).ready();
  for (let round = 0; round < WARM_ROUNDS; round++) await stream.run(400_000);
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await stream.run(STREAMED));
    const [name, result] = await fastest(ipc, (way) => way.stream(100_000), (ns) => ns);
    theirs.push(result);
    against = name;
    for (const [name, way] of Object.entries(pipes)) piped[name]!.push(await way.stream(100_000));
  }
  const work = `messages from ${senders} to ${receivers}, ${availableParallelism()} cores${sides}`;
  print(compare({ work, against: `${against}, from 1 to 1`, kind: "faster", goal }, ours, theirs));
  for (const [name, times] of Object.entries(piped)) {
    print(compare({ work, against: `${name}, from 1 to 1`, kind: "faster" }, ours, times));
  }
}

/** Nanoseconds of processor time that a child takes while it waits 10 s for a message. */
async function idle(how: "idle" | "idle async"): Promise<number> {
  using messages = pool.channel();
  using signals = pool.channel<number>();
  const child = start(other, how, JSON.stringify(pack({ messages, signals })));
  const ended = once(child, "exit");
  await signals.receiveAsync();
  await rest(10_000);
  messages.send(0);
  const usedNs = await signals.receiveAsync();
  await ended;
  return usedNs;
}

if (mode === "same") {
  // At the same time: neither has anything to do.
  const used = await Promise.all([idle("idle"), idle("idle async")]);
  for (const [i, work] of ["blocking", "not blocking"].entries()) {
    print(compare(
      {
        work: `processor time of who waits for a message, ${work}, 10 s`,
        against: "the time that passed",
        kind: "cost",
        goal: 0.005,
      },
      [used[i]!],
      [1e10],
    ));
  }
}

for (const way of Object.values({ ...ipc, ...pipes })) await way[Symbol.asyncDispose]();
