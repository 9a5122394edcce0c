/**
 * One round of chaos: starts the processes, stops, kills and replaces them as their fates say, and watches that all who
 * live go on. At the end everybody leaves, and nothing may be left.
 *
 * It is no member of the pool: so it can neither be blocked by it nor hide what happens in it.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { flagsOf, installed, root, runtimes } from "../support/programs.ts";
import { Board, type Event, idOf, type Orders, RECORD, RECORDS, startClock } from "./folder.ts";
import { type Chair, chairs, type Fate, fateOf, type Kind, roundOf } from "./plan.ts";

/** A live member that makes no progress for so long hangs. */
const HUNG_MS = 20_000;
/** One that makes none for so long is not killed: that would hide that it hangs. */
const SUSPECT_MS = 3_000;
/** If the supervisor itself was away for so long, so was everybody: the machine was suspended, or frozen. */
const ASLEEP_MS = 1_000;
/** How long the library waits for the lock, and as much again for a noisy machine as a hundredth. */
const BUSY_AFTER_MS = 2_000;

/** What happened, summed up. */
export class Tally {
  rounds = 0;
  kills = { bun: 0, deno: 0, node: 0, native: 0 };
  killsStopped = 0;
  killsStarting = 0;
  killsWithWorkers = 0;
  terminated = 0;
  stops = 0;
  left = 0;
  calls = 0;
  allocated = 0;
  attached = 0;
  sent = 0;
  verifiedBytes = 0;
  full = 0;
  busy = 0;
  expired = 0;
  /** Letters, and those of them that were acknowledged. */
  received = 0;
  acked = 0;
  joins = 0;
  checks = 0;
  takeovers = 0;
  /** Longest call while nobody was stopped, and in all. */
  longestMs = 0;
  longestStoppedMs = 0;
  longestWhat = "";
  slow = 0;

  get killed(): number {
    return this.kills.bun + this.kills.deno + this.kills.node + this.kills.native;
  }
}

/** A chair, and the process that sits on it. */
interface Seat {
  readonly chair: Chair;
  readonly index: number;
  /** Its first record on the board. */
  readonly record: number;
  number: number;
  child: ChildProcess | undefined;
  fate: Fate | undefined;
  startedAt: number;
  killed: boolean;
  stoppedAt: number | undefined;
  timers: NodeJS.Timeout[];
  /** Of the process and its Workers: id, progress, and since when it is so. */
  progress: { id: number; value: number; since: number; seenAt: number }[];
}

/** The machine slept. */
const EVERYBODY = -1;

interface Stop {
  readonly pid: number;
  readonly from: number;
  to: number;
}

export class Broken extends Error {}

export class Round {
  readonly #seed: number;
  readonly #tally: Tally;
  readonly #now = startClock();
  readonly #folder = mkdtempSync(join(tmpdir(), "arraypool-chaos-"));
  readonly #pool: string;
  readonly #board: Board;
  readonly #errors: number;
  readonly #seats: Seat[];
  #keeper: ChildProcess | undefined;
  #keeperLeft = false;
  #stops: Stop[] = [];
  /** When the supervisor was seen awake last, and how long it, and so everybody, has slept. */
  #awakeAt = this.#now();
  #sleptMs = 0;
  #eventsAt = 0;
  #rest = "";
  /** Nobody takes the place of who is gone. */
  #isOver = false;
  /** The board is closed. */
  #isStopped = false;
  #failure: string | undefined;
  #end: (Event & { kind: "end" }) | undefined;

  constructor(seed: number, members: number, tally: Tally) {
    this.#seed = seed;
    this.#tally = tally;
    this.#pool = `chaos-${process.pid}-${seed}`.slice(0, 26);
    mkdirSync(join(this.#folder, "mail"));
    this.#seats = chairs(members).map((chair, index) => ({
      chair,
      index,
      record: 1 + index * RECORDS,
      number: -1,
      child: undefined,
      fate: undefined,
      startedAt: 0,
      killed: false,
      stoppedAt: undefined,
      timers: [],
      progress: [],
    }));
    Board.create(this.#folder, 1 + members * RECORDS);
    this.#board = new Board(this.#folder);
    this.#errors = openSync(join(this.#folder, "errors"), "a");
  }

  /** @throws {Broken} */
  async run(ms: number): Promise<void> {
    try {
      await this.#chaos(ms);
      await this.#calm();
    } finally {
      this.stop();
    }
  }

  /** Ends everything, whatever state it is in. */
  stop(): void {
    this.#isOver = this.#isStopped = true;
    for (const seat of this.#seats) for (const timer of seat.timers) clearTimeout(timer);
    for (const child of this.#children()) child.kill("SIGKILL");
    this.#board.close();
    closeSync(this.#errors);
    for (const name of this.#segments()) rmSync(`/dev/shm/${name}`, { force: true });
    if (this.#failure === undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  async #chaos(ms: number): Promise<void> {
    this.#keeper = this.#start(runtimes[this.#seed % runtimes.length]!, "keeper.ts", this.#orders(0, 0, 0));
    this.#keeper.on("exit", (code, signal) => {
      this.#keeperLeft = true;
      if (!this.#isOver && code !== 0) this.#fail(`the keeper ended with ${code ?? signal}`);
    });
    const started = this.#now();
    await this.#until(() => this.#board.read(0)[RECORD.id] === 1, "the keeper has made the pool");
    for (const seat of this.#seats) this.#sit(seat);
    await this.#until(() => this.#now() - started > ms, "the time is up", Infinity);
  }

  /** All go on; then all leave. */
  async #calm(): Promise<void> {
    this.#isOver = true;
    for (const seat of this.#seats) {
      for (const timer of seat.timers) clearTimeout(timer);
      this.#continue(seat);
    }
    const begun = this.#now();
    await this.#until(
      () => this.#seats.every((seat) => this.#movedSince(seat, begun)),
      () => {
        const stuck = this.#seats.filter((seat) => !this.#movedSince(seat, begun));
        const seen = stuck.map((seat) => `${this.#nameOf(seat)} (${JSON.stringify(seat.progress)})`);
        return `everybody who was not killed goes on after the chaos: ${seen.join(", ")}`;
      },
    );
    this.#tally.takeovers += this.#takeovers();
    this.#board.phase = "finish";
    await this.#until(() => this.#seats.every((seat) => seat.child === undefined), "everybody leaves");
    await this.#until(() => this.#keeperLeft, "the keeper sees that nothing is left", 100_000);
    this.#readEvents();
    if (this.#end === undefined) throw this.#fail("the keeper ended without a word");
    const { checks, arrays, claims, bytes, received, acked } = this.#end;
    if (arrays + claims + bytes > 0) {
      throw this.#fail(`left in the end: ${arrays} arrays, ${claims} claims, ${bytes} bytes`);
    }
    if (this.#segments().length > 0) throw this.#fail(`left in /dev/shm: ${this.#segments().join(", ")}`);
    this.#tally.checks += checks;
    this.#tally.received += received;
    this.#tally.acked += acked;
    this.#tally.rounds++;
  }

  // ------------------------------------------------------------------ members

  #orders(record: number, chair: number, number: number, fate?: Fate, isHost = false): Orders {
    return {
      folder: this.#folder,
      pool: this.#pool,
      seed: this.#seed,
      chair,
      number,
      record,
      isHost,
      leavesMs: fate?.leavesMs ?? 0,
      how: fate?.how ?? "close",
    };
  }

  #start(kind: Kind, script: string, orders: Orders): ChildProcess {
    const { folder, pool, seed, chair, number, record, leavesMs } = orders;
    const { largestBytes, claimTtlMs } = roundOf(seed);
    const path = join(root, "tests/chaos", script);
    const [program, args] = kind === "native"
      ? [
        join(root, "zig-out/bin/chaos-member"),
        [folder, pool, seed, chair, number, record, Math.floor(largestBytes), claimTtlMs, leavesMs].map(String),
      ]
      : [installed(kind), [...flagsOf(kind), path, JSON.stringify(orders)]];
    const child = spawn(program, args, {
      cwd: root,
      stdio: ["ignore", "ignore", this.#errors],
      // The very library that the scripts load.
      env: {
        ...process.env,
        NO_COLOR: "1",
        // Node need not compile all files for each process anew.
        NODE_COMPILE_CACHE: join(root, "node_modules/.cache/node"),
        LD_LIBRARY_PATH: join(root, `lib/${process.platform}-${process.arch}`),
      },
    });
    child.on("error", (error) => this.#fail(`${program}: ${error.message}`));
    return child;
  }

  #sit(seat: Seat): void {
    seat.number++;
    const { chair, index, number, record } = seat;
    const fate = fateOf(this.#seed, index, number, chair);
    seat.fate = fate;
    seat.killed = false;
    seat.stoppedAt = undefined;
    seat.startedAt = this.#now();
    seat.progress = [];
    const child = this.#start(chair.kind, "member.ts", this.#orders(record, index, number, fate, chair.isHost));
    seat.child = child;
    child.on("exit", (code, signal) => this.#gone(seat, code, signal));
    const at = (ms: number, act: () => void) => seat.timers.push(setTimeout(act, ms));
    for (const stop of fate.stops) {
      at(stop.atMs, () => {
        this.#halt(seat);
        at(stop.forMs, () => this.#continue(seat));
      });
    }
    let dueAt = 0;
    const kill = () => {
      dueAt ||= this.#now();
      // Whoever may hang is watched until that is certain.
      this.#look(seat);
      const isMoving = !fate.diesMoving || seat.stoppedAt !== undefined || (seat.progress[0]?.since ?? 0) > dueAt;
      if (this.#stall(seat) > SUSPECT_MS || !isMoving) return at(10, kill);
      if (!fate.diesStopped) return this.#kill(seat);
      this.#halt(seat);
      return at(fate.lifeMs / 10, () => this.#kill(seat));
    };
    at(fate.lifeMs, kill);
  }

  #halt(seat: Seat): void {
    if (seat.child?.pid === undefined || seat.killed || seat.stoppedAt !== undefined) return;
    seat.stoppedAt = this.#now();
    this.#stops.push({ pid: seat.child.pid, from: seat.stoppedAt, to: Infinity });
    seat.child.kill("SIGSTOP");
    this.#tally.stops++;
  }

  #continue(seat: Seat): void {
    if (seat.stoppedAt === undefined || seat.killed) return;
    seat.child?.kill("SIGCONT");
    this.#endStop(seat);
    for (const progress of seat.progress) progress.since = this.#now();
  }

  #endStop(seat: Seat): void {
    const stop = this.#stops.findLast(({ pid, to }) => pid === seat.child?.pid && to === Infinity);
    if (stop !== undefined) stop.to = this.#now();
    seat.stoppedAt = undefined;
  }

  #kill(seat: Seat): void {
    if (seat.child === undefined || seat.killed) return;
    seat.killed = true;
    const { kills } = this.#tally;
    const record = this.#board.read(seat.record);
    const isStarting = record[RECORD.id] !== idOf(seat.index, seat.number, 0, 0) || record[RECORD.joins] === 0;
    // It may be gone by itself a moment ago.
    if (!seat.child.kill("SIGKILL")) return;
    kills[seat.chair.kind]++;
    if (seat.stoppedAt !== undefined) this.#tally.killsStopped++;
    if (isStarting) this.#tally.killsStarting++;
    if (record[RECORD.worker0]! + record[RECORD.worker1]! > 0) this.#tally.killsWithWorkers++;
  }

  #gone(seat: Seat, code: number | null, signal: NodeJS.Signals | null): void {
    for (const timer of seat.timers) clearTimeout(timer);
    seat.timers = [];
    if (seat.stoppedAt !== undefined) this.#endStop(seat);
    if (this.#isStopped) return;
    const id = idOf(seat.index, seat.number, 0, 0);
    const own = this.#board.read(seat.record);
    const hasLeft = own[RECORD.id] === id && own[RECORD.leaves] === 1;
    for (let i = 0; i < RECORDS; i++) this.#addUp(this.#board.read(seat.record + i));
    for (let i = 0; i < RECORDS; i++) this.#board.write(seat.record + i, new Float64Array(16));
    seat.child = undefined;
    if (this.#failure !== undefined) return;
    if (code === 0 && hasLeft) this.#tally.left++;
    else if (!(seat.killed && signal === "SIGKILL")) {
      this.#fail(`${this.#nameOf(seat)} ended with ${code ?? signal}, though nobody killed it`);
    }
    if (!this.#isOver) this.#sit(seat);
  }

  #addUp(record: Float64Array): void {
    const tally = this.#tally;
    const at = (place: number) => record[place]!;
    tally.calls += at(RECORD.progress) + at(RECORD.busy);
    tally.allocated += at(RECORD.allocated);
    tally.attached += at(RECORD.attached);
    tally.sent += at(RECORD.sent);
    tally.verifiedBytes += at(RECORD.verifiedBytes);
    tally.full += at(RECORD.full);
    tally.busy += at(RECORD.busy);
    tally.expired += at(RECORD.expired);
    tally.joins += at(RECORD.joins);
    tally.checks += at(RECORD.checks);
    tally.terminated += at(RECORD.terminated);
  }

  // ------------------------------------------------------------------ watching

  async #until(condition: () => boolean, what: string | (() => string), limitMs = 2 * HUNG_MS): Promise<void> {
    const begun = this.#now();
    const sleptBefore = this.#sleptMs;
    while (!condition()) {
      if (this.#failure !== undefined) throw new Broken(this.#failure);
      this.#noticeSleep();
      this.#readEvents();
      for (const seat of this.#seats) this.#watch(seat);
      if (this.#now() - begun - (this.#sleptMs - sleptBefore) > limitMs) {
        throw this.#fail(`waited in vain until ${typeof what === "string" ? what : what()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (this.#failure !== undefined) throw new Broken(this.#failure);
  }

  /** If nobody ran for a while, that is no hang, and whoever waited for the lock meanwhile may blame its owner. */
  #noticeSleep(): void {
    const now = this.#now();
    const [from, forMs] = [this.#awakeAt, now - this.#awakeAt];
    this.#awakeAt = now;
    if (forMs <= ASLEEP_MS) return;
    this.#sleptMs += forMs;
    for (const progress of this.#seats.flatMap((seat) => seat.progress)) {
      progress.since = Math.min(progress.since + forMs, now);
    }
    this.#stops.push({ pid: EVERYBODY, from, to: now });
  }

  #watch(seat: Seat): void {
    if (seat.child === undefined || seat.killed || seat.stoppedAt !== undefined) return;
    this.#noticeSleep();
    this.#look(seat);
    const stall = this.#stall(seat);
    if (stall <= HUNG_MS) return;
    const at = ["wchan", "syscall"].map((file) => {
      try {
        return `${file} ${readFileSync(`/proc/${seat.child?.pid}/${file}`, "utf8").trim()}`;
      } catch {
        return `${file} unknown`;
      }
    });
    const own = this.#board.read(seat.record);
    this.#fail(
      `${this.#nameOf(seat)} makes no progress for ${Math.round(stall)} ms (${at.join(", ")}; record ${own.join(" ")})`,
    );
  }

  /** Takes down how far a process and its Workers are. */
  #look(seat: Seat): void {
    const own = this.#board.read(seat.record);
    const id = idOf(seat.index, seat.number, 0, 0);
    const ids = [id, ...(own[RECORD.id] === id ? [own[RECORD.worker0]!, own[RECORD.worker1]!] : [0, 0])];
    seat.progress = ids.map((expected, i) => {
      const record = i === 0 ? own : this.#board.read(seat.record + i);
      const value = record[RECORD.id] === expected && record[RECORD.leaves] !== 1 ? record[RECORD.progress]! : -1;
      const known = seat.progress[i];
      const isKnown = known?.id === expected && expected !== 0;
      const isSame = isKnown && known.value === value;
      const now = this.#now();
      return { id: expected, value, since: isSame ? known.since : now, seenAt: isKnown ? known.seenAt : now };
    });
  }

  /** Since when a process, or a Worker of it, has not got on. */
  #stall(seat: Seat): number {
    if (seat.stoppedAt !== undefined) return 0;
    return Math.max(0, ...seat.progress.map(({ since }) => this.#now() - since));
  }

  /** A Worker that has begun since then has nothing to prove: hosts start and terminate them all the time. */
  #movedSince(seat: Seat, time: number): boolean {
    if (seat.child === undefined || seat.killed) return true;
    return seat.progress.length > 0 &&
      seat.progress.every(({ id, value, since, seenAt }, i) =>
        id === 0 || i > 0 && seenAt > time || value > 0 && since >= time
      );
  }

  #readEvents(): void {
    const path = join(this.#folder, "events");
    if (!existsSync(path) || statSync(path).size <= this.#eventsAt) return;
    const file = openSync(path, "r");
    const bytes = new Uint8Array(1 << 16);
    for (;;) {
      const got = readSync(file, bytes, 0, bytes.length, this.#eventsAt);
      if (got === 0) break;
      this.#eventsAt += got;
      const lines = (this.#rest + new TextDecoder().decode(bytes.subarray(0, got))).split("\n");
      this.#rest = lines.pop()!;
      for (const line of lines) this.#take(line);
    }
    closeSync(file);
  }

  #take(line: string): void {
    this.#noticeSleep();
    let event: Event & { id: number };
    try {
      event = JSON.parse(line);
    } catch {
      return; // the writer was killed
    }
    switch (event.kind) {
      case "broken":
        return void this.#fail(`member ${event.id}: ${event.what}`);
      case "end":
        this.#end = event;
        return;
      case "busy": {
        const stopped = this.#stopped(event.to - BUSY_AFTER_MS * 1.01, event.to);
        // Who has the lock of a channel may itself wait for the pool's lock, which somebody has who is stopped.
        const isNamed = event.pid === 0 || event.waitsForTwo ||
          stopped.some(({ pid }) => pid === event.pid || pid === EVERYBODY);
        if (isNamed && stopped.length > 0) return;
        const others = stopped.map(({ pid }) => pid).join(", ") || "nobody";
        return void this.#fail(
          `member ${event.id}: the pool was busy after ${
            Math.round(event.to - event.from)
          } ms because of process ${event.pid}; stopped was ${others}`,
        );
      }
      case "slow": {
        const ms = event.to - event.from;
        const tally = this.#tally;
        if (this.#stopped(event.from, event.to).length > 0) {
          return void (tally.longestStoppedMs = Math.max(tally.longestStoppedMs, ms));
        }
        tally.slow++;
        if (ms > tally.longestMs) [tally.longestMs, tally.longestWhat] = [ms, event.what];
      }
    }
  }

  /** Who was stopped at some time between. */
  #stopped(from: number, to: number): Stop[] {
    return this.#stops.filter((stop) => stop.from <= to && stop.to >= from);
  }

  /** Counted by the segment: how often somebody took the lock over from a dead owner. */
  #takeovers(): number {
    const file = openSync(`/dev/shm/arraypool.${this.#pool}`, "r");
    const bytes = new Uint8Array(4);
    readSync(file, bytes, 0, 4, RECOVERIES_AT);
    closeSync(file);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  // ------------------------------------------------------------------ failing

  /** Stops everybody, and keeps what there is to look at. Does not throw: most of it is called by timers and events. */
  #fail(what: string): Broken {
    if (this.#failure === undefined) {
      this.#isOver = true;
      for (const child of this.#children()) child.kill("SIGSTOP");
      for (const name of this.#segments()) {
        execFileSync("cp", ["--sparse=always", `/dev/shm/${name}`, join(this.#folder, name)]);
      }
      const errors = readFileSync(join(this.#folder, "errors"), "utf8").trim().slice(-2000);
      this.#failure = `${what}\n${errors === "" ? "" : `what processes wrote to stderr:\n${errors}\n`}` +
        `kept for inspection: ${this.#folder} (${readdirSync(this.#folder).join(", ")})`;
    }
    return new Broken(this.#failure);
  }

  #nameOf({ chair: { kind, isHost }, index, number, child }: Seat): string {
    return `${kind} member${isHost ? " with Workers" : ""}, chair ${index}, number ${number}, process ${child?.pid}`;
  }

  #children(): ChildProcess[] {
    return [this.#keeper, ...this.#seats.map(({ child }) => child)].filter((child) =>
      child !== undefined && child.exitCode === null && child.signalCode === null
    ) as ChildProcess[];
  }

  #segments(): string[] {
    return readdirSync("/dev/shm").filter((name) => name.startsWith(`arraypool.${this.#pool}`));
  }
}

/** `recoveries` in the header, see libpool/layout.zig. */
const RECOVERIES_AT = 220;
