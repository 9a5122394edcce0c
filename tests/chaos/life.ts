/**
 * The life of a member that runs JavaScript, in a process of its own or in a Worker: it allocates, fills, sends, attaches,
 * slices, verifies and releases by the draws of its plan, and looks at the pool's promises on the way. What is broken it
 * reports, and then it stands still, so that the segment can be looked at.
 */

import {
  type Channel,
  type Delivery,
  type Descriptor,
  pack,
  Pool,
  PoolError,
  type PoolErrorCode,
  release,
  type SharedArray,
  type SharedView,
  type TypedArray,
  type TypedArrayClass,
  unpack,
  type Unpacked,
  type WaitResult,
} from "arraypool";
import {
  Board,
  CLOCK_SLACK_MS,
  type Event,
  idOf,
  type Orders,
  PLACES,
  post,
  RECORD,
  report,
  startClock,
  take,
} from "./folder.ts";
import { runtime } from "../support/programs.ts";
import {
  CHANNELS,
  enter,
  type Letter,
  letterOf,
  TEXT_MAX,
  textOf,
  type Wire,
  wireOf,
  WORDS,
  wrongIn,
} from "./letters.ts";
import { fill, firstNotZero, firstWrong, keyOf, type Plain } from "./pattern.ts";
import { Draws, type Round, roundOf, TTL_MAX_MS } from "./plan.ts";

/** An array of the pool, as far as this member knows. */
interface Block {
  readonly block: number;
  readonly generation: number;
  readonly key: number;
  /** Arrays by which this member holds it. */
  holds: number;
  /** Somebody else may hold it, or the collector may let go of it at any time. */
  shared: boolean;
}

interface Held {
  readonly array: SharedArray;
  readonly block: Block;
  /** Bytes from the start of the block. */
  readonly offset: number;
}

/** A buffer that was transferred away. */
interface Moved {
  readonly buffer: ArrayBuffer;
  readonly key: number;
}

interface Message {
  /** Until then at least the claims live. */
  readonly deadline: number;
  readonly arrays: SharedView[];
}

const HELD_MAX = 24;
const MOVED_MAX = 3;
const SLOW_MS = 100;
const SIDE_POOLS = 4;
/** Of those that are set, and as many of those that are asked for once. member.c has the same. */
const NAMES = 4;
const TYPES: readonly TypedArrayClass<TypedArray>[] = [
  ...Array(6).fill(Uint8Array),
  ...Array(6).fill(Uint32Array),
  Int16Array,
  Float64Array,
  BigInt64Array,
];

export class Life {
  readonly record = new Float64Array(16);
  readonly draws: Draws;
  readonly now = startClock();
  readonly #orders: Orders;
  readonly #round: Round;
  readonly #board: Board;
  readonly #recordIndex: number;
  readonly #id: number;
  readonly #leavesAt: number;
  readonly #actions: readonly (() => void | Promise<void>)[];
  #pool: Pool | undefined;
  #held: Held[] = [];
  #moved: Moved[] = [];
  // Of arrays that nobody held any more.
  #stale: Descriptor[] = [];
  // As they are needed; anew in each pool.
  #channels: (Channel<Wire> | undefined)[] = [];
  #words: SharedArray<Int32Array> | undefined;
  #letters = 0;
  // By channel and sender: the number of the last letter from there.
  readonly #lastLetters = new Map<string, number>();
  #step = 0;
  /** The run is over. */
  isFinish = false;

  constructor(orders: Orders, worker = 0, workerNumber = 0) {
    const { folder, seed, chair, number } = orders;
    this.#orders = orders;
    this.#round = roundOf(seed);
    this.#board = new Board(folder);
    this.#recordIndex = orders.record + worker;
    this.#id = idOf(chair, number, worker, workerNumber);
    this.draws = new Draws(seed, 3, chair, number, worker, workerNumber);
    this.#leavesAt = worker === 0 && orders.leavesMs > 0 ? this.now() + orders.leavesMs : Infinity;
    // A Worker goes on counting where its predecessor stopped.
    if (worker > 0) this.record.set(this.#board.read(this.#recordIndex));
    this.record[RECORD.id] = this.#id;
    this.record[RECORD.progress] = 0;
    this.record[RECORD.leaves] = 0;
    const times: [number, () => void | Promise<void>][] = [
      [20, () => this.#alloc()],
      [18, () => this.#receive()],
      [12, () => this.#send()],
      [10, () => this.#verifyOne()],
      [12, () => this.#releaseOne()],
      [3, () => this.#dropOne()],
      [4, () => this.#retain()],
      [3, () => this.#packInVain()],
      [4, () => this.#attachStale()],
      [4, () => this.#setName()],
      [6, () => this.#getName()],
      [2, () => this.#deleteName()],
      [4, () => this.#once()],
      [10, () => this.#sendLetter()],
      [11, () => this.#receiveLetter()],
      [4, () => this.#sendLater()],
      [4, () => this.#receiveLater()],
      [2, () => this.#iterate()],
      [1, () => this.#lookAtChannel()],
      [4, () => this.#notify()],
      [2, () => this.#wait()],
      [2, () => this.#waitLater()],
      [1, () => this.#transfer()],
      [1, () => this.#care("trim", (pool) => pool.trim())],
      [1, () => this.#care("reap", (pool) => pool.reap())],
      [2, () => this.#look()],
      [1, () => this.#rejoin()],
      [2, () => this.#visitSidePool()],
    ];
    this.#actions = times.flatMap(([count, action]) => Array(count).fill(action));
  }

  /** Lives until the supervisor says "finish", or its own time is up. `between` is called between the steps. */
  async run(between: () => void = () => {}): Promise<void> {
    this.#show();
    while (this.#pool === undefined) this.#join();
    for (;; this.#step++) {
      this.draws.step(this.#step);
      const later = this.draws.pick(this.#actions)();
      if (later !== undefined) await later;
      this.#show();
      between();
      if (this.#step % 4 !== 0) continue;
      this.isFinish = this.#board.phase === "finish";
      if (this.isFinish || this.now() >= this.#leavesAt) break;
      await pause(this.draws.chance(0.5) ? 0 : this.draws.below(6));
    }
    for (const held of this.#held) this.#verify(held);
  }

  /** Leaves the pool. Nothing may be left that shows its memory. */
  leave(): void {
    this.#pool?.close();
    this.#seeThatNothingIsShown();
    this.record[RECORD.leaves] = 1;
    this.#show();
  }

  /** Is about to end without leaving. */
  announceExit(): void {
    this.record[RECORD.leaves] = 1;
    this.#show();
  }

  broken(what: string): never {
    this.#report({ kind: "broken", what: `${runtime}, step ${this.#step}: ${what}` });
    const forEver = new Int32Array(new SharedArrayBuffer(4));
    for (;;) Atomics.wait(forEver, 0, 0, 1000);
  }

  // ------------------------------------------------------------------ what a step may be

  #alloc(): void {
    const { draws } = this;
    const type = draws.pick(TYPES);
    const bytes = draws.chance(0.03) ? 0 : draws.size(this.#round.largestBytes);
    const length = Math.floor(bytes / type.BYTES_PER_ELEMENT);
    const shape = draws.chance(0.2) && length % 2 === 0 ? [2, length / 2] : length;
    const how = draws.below(4);
    if (this.#held.length >= HELD_MAX) return this.#releaseOne();
    const array = this.#try(
      "alloc",
      (pool) =>
        how === 0
          ? pool.allocUnsafe(type, shape)
          : how === 1 && length <= 4096
          ? pool.from(new (type as Uint8ArrayConstructor)(length))
          : pool.alloc(type, shape),
    );
    if (array === undefined) return this.#releaseOne();
    this.#add(RECORD.allocated, 1);
    const descriptor = this.#describe(array);
    if (descriptor === undefined) return void this.#try("release", () => array.release());
    const { block, generation, offset } = descriptor;
    if (offset !== 0 || array.length !== length) {
      this.broken(`an array of ${length} has ${array.length} elements at offset ${offset}`);
    }
    const bytesOf = plain(array);
    if (how !== 0) {
      const at = firstNotZero(bytesOf);
      if (at >= 0) this.broken(`a new array is not zero at byte ${at}: ${where(block, generation, array.byteLength)}`);
      this.#add(RECORD.verifiedBytes, array.byteLength);
    }
    const key = keyOf(this.#nonce, block, generation);
    fill(bytesOf, key, 0);
    this.#held.push({ array, block: { block, generation, key, holds: 1, shared: false }, offset: 0 });
  }

  #receive(): void {
    const text = take(this.#orders.folder, this.#id, this.draws.below(PLACES));
    const keeps = this.draws.chance(0.5);
    if (text === undefined) return;
    const message = JSON.parse(text) as { deadline: number; packed: { arrays: Descriptor[] } };
    const got = this.#try("attach", () => unpack<Message>(message.packed), (code, at) => {
      if (code !== "ERR_STALE_DESCRIPTOR") return false;
      if (at + CLOCK_SLACK_MS < message.deadline) {
        this.broken(`a claim that lives for ${message.deadline - at} ms more was stale: ${text}`);
      }
      this.#add(RECORD.expired, 1);
      return true;
    });
    if (got === undefined) return;
    const arrays = got.arrays as SharedArray[];
    this.#add(RECORD.attached, arrays.length);
    message.packed.arrays.forEach((descriptor, i) => {
      const { block, generation, offset, length } = descriptor;
      const array = arrays[i]!;
      // Twice the same descriptor is one array.
      if (arrays.indexOf(array) < i) return;
      if (array.length !== length) this.broken(`attached ${array.length} elements instead of ${length}: ${text}`);
      const known = this.#held.find((held) => held.block.block === block && held.block.generation === generation)
        ?.block;
      const key = keyOf(this.#nonce, block, generation);
      const held = { array, offset, block: known ?? { block, generation, key, holds: 0, shared: true } };
      held.block.holds++;
      held.block.shared = true;
      this.#verify(held);
      if (keeps && this.#held.length < HELD_MAX) this.#held.push(held);
      else this.#release(held);
    });
  }

  #send(): void {
    const { draws } = this;
    const claims = draws.chance(0.8) ? 1 : 1 + draws.below(3);
    const ttlMs = draws.pick([undefined, 1 + Math.floor(draws.exponential(100)), 1 + draws.below(TTL_MAX_MS)]);
    const places = Array.from({ length: claims }, () => draws.below(PLACES));
    const letsGo = draws.chance(0.5);
    const chosen = [this.#choose(), ...(draws.chance(0.2) ? [this.#choose()] : [])].filter((held) =>
      held !== undefined
    );
    if (chosen.length === 0) return;
    const arrays = chosen.map((held) => draws.chance(0.3) ? this.#slice(held.array) : held.array);
    for (const { block } of chosen) block.shared = true;
    const deadline = this.now() + (ttlMs ?? this.#round.claimTtlMs);
    const options = ttlMs === undefined ? { claims } : { claims, ttlMs };
    const packed = this.#try("send", () => pack({ arrays }, options));
    if (packed === undefined) return;
    const text = JSON.stringify({ deadline, packed });
    for (const place of places) post(this.#orders.folder, this.#id, place, text);
    this.#add(RECORD.sent, claims);
    if (letsGo) { for (const held of new Set(chosen)) this.#letGo(held); }
  }

  #packInVain(): void {
    const held = this.#choose();
    if (held === undefined) return;
    const packed = this.#try("pack", () => pack([held.array, held.array.subarray(1)]));
    // What the pool is too busy to drop expires.
    if (packed === undefined || this.#try("release", () => (release(packed), true)) === undefined) {
      held.block.shared = true;
    }
  }

  #verifyOne(): void {
    const held = this.#choose();
    if (held !== undefined) this.#verify(held);
    for (const { buffer, key } of this.#moved) {
      const at = firstWrong(new Uint8Array(buffer), key, 0);
      if (at >= 0) this.broken(`a buffer that was transferred away is wrong at byte ${at} of ${buffer.byteLength}`);
    }
  }

  #releaseOne(): void {
    const held = this.#choose();
    if (held === undefined) return;
    this.#verify(held);
    this.#letGo(held);
  }

  /** Leaves one to the collector. */
  #dropOne(): void {
    const held = this.#choose();
    if (held === undefined) return;
    held.block.shared = true;
    this.#held.splice(this.#held.indexOf(held), 1);
  }

  #retain(): void {
    const held = this.#choose();
    const slices = this.draws.chance(0.7);
    if (held === undefined || this.#held.length >= HELD_MAX) return;
    const view = slices ? this.#slice(held.array) : held.array;
    const array = this.#try("retain", () => view.retain());
    if (array === undefined) return;
    held.block.holds++;
    const again = { array, block: held.block, offset: held.offset + view.byteOffset };
    this.#held.push(again);
    this.#verify(again);
  }

  /** What nobody holds any more cannot be attached, whatever has taken its place. */
  #attachStale(): void {
    const descriptor = this.#stale[this.draws.below(this.#stale.length)];
    if (descriptor === undefined) return;
    const got = this.#try(
      "attach",
      () => unpack<{ array: TypedArray }>({ array: descriptor }),
      (code) => code === "ERR_STALE_DESCRIPTOR",
    );
    if (got !== undefined) this.broken(`a stale descriptor was attached: ${JSON.stringify(descriptor)}`);
  }

  /** Gives a name to an array, or a slice; what had it before is let go of. */
  #setName(): void {
    const held = this.#choose();
    const name = `set ${this.draws.below(NAMES)}`;
    const slices = this.draws.chance(0.4);
    if (held === undefined) return;
    held.block.shared = true;
    const view = slices ? this.#slice(held.array) : held.array;
    this.#try("set a name", (pool) => (pool.set(name, view), true));
  }

  #getName(): void {
    const name = this.draws.pick(["set", "once"]) + ` ${this.draws.below(NAMES)}`;
    const array = this.#try("get a name", (pool) => pool.get(name));
    if (array !== undefined) this.#take(array, this.draws.chance(0.5));
  }

  #deleteName(): void {
    const name = this.draws.pick(["set", "once"]) + ` ${this.draws.below(NAMES)}`;
    this.#try("delete a name", (pool) => (pool.delete(name), true));
  }

  /** Gets what somebody made, or makes it, and is perhaps killed meanwhile. */
  #once(): void {
    const { draws } = this;
    const name = `once ${draws.below(NAMES)}`;
    const length = Math.ceil(draws.size(this.#round.largestBytes) / 4);
    const deletes = draws.chance(0.5);
    const make = (pool: Pool) => {
      const array = pool.alloc(Uint32Array, length);
      const { block, generation } = array.share({ claims: 0 });
      fill(array, keyOf(this.#nonce, block, generation), 0);
      return array;
    };
    const array = this.#try("once", (pool) => pool.once(name, make));
    if (array === undefined) return;
    this.#take(array as SharedArray, draws.chance(0.5));
    if (deletes) this.#try("delete a name", (pool) => (pool.delete(name), true));
  }

  /** Verifies what others may hold, too, and holds it or lets go of it. */
  #take(array: SharedArray, keeps: boolean): void {
    const descriptor = this.#describe(array);
    if (descriptor === undefined) return void this.#try("release", () => array.release());
    const { block, generation, offset } = descriptor;
    const known = this.#held.find((held) => held.block.block === block && held.block.generation === generation)?.block;
    const key = keyOf(this.#nonce, block, generation);
    const held = { array, offset, block: known ?? { block, generation, key, holds: 0, shared: true } };
    held.block.holds++;
    held.block.shared = true;
    this.#verify(held);
    this.#add(RECORD.attached, 1);
    if (keeps && this.#held.length < HELD_MAX) this.#held.push(held);
    else this.#release(held);
  }

  // ------------------------------------------------------------------ letters

  /** Undefined while it cannot be had: the keeper has not made it, or has taken it away in the end. */
  #channel(index: number): Channel<Wire> | undefined {
    const known = this.#channels[index];
    if (known !== undefined && !known.released) return known;
    const { name } = CHANNELS[index]!;
    return this.#channels[index] = this.#try("get a channel", (pool) => pool.get<Channel<Wire>>(name));
  }

  /** What a call of a channel may end with: its time is over, or in the end the keeper has closed it. */
  #mayEnd(timeoutMs: number): (code: PoolErrorCode) => boolean {
    return (code) => code === "ERR_TIMEOUT" && timeoutMs > 0 || code === "ERR_CLOSED" && this.#board.phase === "finish";
  }

  /** A letter with some of the arrays that are held here; all of them are moved, or some are slices. */
  #write(channel: number, moves: boolean): { letter: Letter; chosen: Held[] } {
    const { draws } = this;
    const length = draws.chance(0.3) ? draws.below(100) : draws.size(TEXT_MAX);
    const chosen = Array.from({ length: draws.pick([0, 1, 1, 2, 3]) }, () => this.#choose()).filter((held) =>
      held !== undefined
    );
    const arrays = chosen.map((held) => !moves && draws.chance(0.3) ? this.#slice(held.array) : held.array);
    for (const { block } of chosen) block.shared = true;
    const [from, number] = [this.#id, ++this.#letters];
    const places = chosen.map(({ block, offset }, i) => {
      const { byteOffset, length, byteLength } = arrays[i]!;
      return [block.block, block.generation, offset + byteOffset, length, byteLength] as const;
    });
    const text = textOf(channel, from, number, length);
    return { letter: { channel, from, number, length, text, arrays, places }, chosen };
  }

  /** After a letter was sent (true), was not sent (false), or it is not known. */
  #written({ letter, chosen }: { letter: Letter; chosen: Held[] }, moves: boolean, sent: boolean | undefined): void {
    if (sent === true) {
      enter(this.#orders.folder, "sent", letter);
      this.#add(RECORD.sent, 1);
    }
    if (!moves) return;
    for (const held of new Set(chosen)) {
      // Empty in its own right, or moved.
      const isEmpty = letter.places[chosen.indexOf(held)]![3] === 0;
      if (sent === true && held.array.length > 0) this.broken("an array is still there after it was moved");
      if (sent === false && held.array.length === 0 && !isEmpty) {
        this.broken("an array has gone with a letter that was not sent");
      }
      if (sent === true || held.array.length === 0 && !isEmpty) {
        this.#held.splice(this.#held.indexOf(held), 1);
        held.block.holds--;
      } else this.#verify(held);
    }
  }

  #sendLetter(): void {
    const { draws } = this;
    const index = draws.below(CHANNELS.length);
    const timeoutMs = draws.chance(0.7) ? 0 : 1 + draws.below(150);
    const moves = draws.chance(0.4);
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const written = this.#write(index, moves);
    const wire = wireOf(written.letter);
    const sent = this.#try(
      "send a letter",
      () =>
        timeoutMs === 0
          ? channel.trySend(wire, { move: moves })
          : (channel.send(wire, { move: moves, timeoutMs }), true),
      this.#mayEnd(timeoutMs),
    );
    this.#written(written, moves, sent);
  }

  /** Some at once, which stand in line. */
  async #sendLater(): Promise<void> {
    const { draws } = this;
    const index = draws.below(CHANNELS.length);
    const timeoutMs = 1 + draws.below(100);
    const count = 1 + draws.below(3);
    const abortsMs = draws.chance(0.2) ? draws.below(30) : undefined;
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const { signal, given, done } = abortAfter(abortsMs);
    // Not moved: two of them may have the same array.
    await Promise.all(Array.from({ length: count }, async () => {
      const written = this.#write(index, false);
      const sent = await this.#tryLater(
        "send a letter later",
        async () => (await channel.sendAsync(wireOf(written.letter), { timeoutMs, ...given }), true),
        this.#mayEnd(timeoutMs),
        signal,
      );
      this.#written(written, false, sent);
    }));
    done();
  }

  #receiveLetter(): void {
    const { draws } = this;
    const index = draws.below(CHANNELS.length);
    const timeoutMs = draws.chance(0.7) ? 0 : 1 + draws.below(150);
    const keeps = draws.chance(0.5);
    const givesBack = draws.chance(0.25);
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const mayEnd = this.#mayEnd(timeoutMs);
    if (!CHANNELS[index]!.acks) {
      const wire = this.#try(
        "receive a letter",
        () => timeoutMs === 0 ? channel.tryReceive() : channel.receive({ timeoutMs }),
        mayEnd,
      );
      if (wire !== undefined) this.#got(wire, index, keeps);
      return;
    }
    const delivery = this.#try(
      "receive a letter",
      () => timeoutMs === 0 ? channel.tryReceive({ ack: true }) : channel.receive({ ack: true, timeoutMs }),
      mayEnd,
    );
    if (delivery !== undefined) this.#delivered(delivery, index, keeps, givesBack);
  }

  async #receiveLater(): Promise<void> {
    const { draws } = this;
    const index = draws.below(CHANNELS.length);
    const timeoutMs = 1 + draws.below(100);
    const count = 1 + draws.below(3);
    const abortsMs = draws.chance(0.2) ? draws.below(30) : undefined;
    const keeps = draws.chance(0.5);
    const givesBack = draws.chance(0.25);
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const mayEnd = this.#mayEnd(timeoutMs);
    const { signal, given, done } = abortAfter(abortsMs);
    const what = "receive a letter later";
    // Who asks first is served first.
    await Promise.all(Array.from({ length: count }, async () => {
      if (!CHANNELS[index]!.acks) {
        const wire = await this.#tryLater(what, () => channel.receiveAsync({ timeoutMs, ...given }), mayEnd, signal);
        if (wire !== undefined) this.#got(wire, index, keeps);
        return;
      }
      const options = { ack: true, timeoutMs, ...given } as const;
      const delivery = await this.#tryLater(what, () => channel.receiveAsync(options), mayEnd, signal);
      if (delivery !== undefined) this.#delivered(delivery, index, keeps, givesBack);
    }));
    done();
  }

  /** Takes letters as they come, until there were enough, or its hold of the channel ends under it. */
  async #iterate(): Promise<void> {
    const { draws } = this;
    const index = draws.pick(CHANNELS.flatMap(({ acks }, i) => acks ? [] : [i]));
    const keeps = draws.chance(0.5);
    const endsMs = 1 + draws.below(80);
    let left = 1 + draws.below(8);
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const timer = setTimeout(() => this.#try("release a channel", () => channel.release()), endsMs);
    const take = async () => {
      for await (const wire of channel) {
        this.#got(wire, index, keeps);
        if (--left === 0) break;
      }
    };
    await this.#tryLater("iterate over letters", take, (code) => code === "ERR_RELEASED" && channel.released);
    clearTimeout(timer);
    if (left > 0 && !channel.released && this.#board.phase === "run") this.broken("an iteration of letters has ended");
  }

  /** A letter of a channel that nobody acknowledges from. */
  #got(wire: Unpacked<Wire>, index: number, keeps: boolean): void {
    const letter = letterOf(wire as unknown as Wire);
    this.#read(letter, index);
    const sender = `${index} ${letter.from}`;
    const last = this.#lastLetters.get(sender) ?? 0;
    if (letter.number <= last) this.broken(`letter ${letter.number} of ${letter.from} came after its letter ${last}`);
    this.#lastLetters.set(sender, letter.number);
    this.#takeOut(letter, keeps);
  }

  #delivered(delivery: Delivery<Wire>, index: number, keeps: boolean, givesBack: boolean): void {
    const letter = letterOf(delivery.message as unknown as Wire);
    this.#read(letter, index);
    if (givesBack) {
      for (const held of this.#inside(letter)) this.#verify(held);
      return void this.#try("give a letter back", () => delivery[Symbol.dispose]());
    }
    enter(this.#orders.folder, "acking", letter);
    while (this.#try("acknowledge", () => (delivery.ack(), true)) === undefined) { /* who has the lock is stopped */ }
    enter(this.#orders.folder, "acked", letter);
    this.#takeOut(letter, keeps);
  }

  #read(letter: Letter, index: number): void {
    enter(this.#orders.folder, "received", letter);
    const wrong = wrongIn(letter, index);
    if (wrong !== undefined) this.broken(wrong);
  }

  /** What is in a letter; twice the same is one array. */
  #inside(letter: Letter): Held[] {
    const arrays = letter.arrays as SharedArray[];
    return letter.places.flatMap(([block, generation, offset, length], i) => {
      const array = arrays[i]!;
      if (array.length !== length) this.broken(`a letter brought ${array.length} elements instead of ${length}`);
      if (arrays.indexOf(array) < i) return [];
      const known = this.#held.find((held) => held.block.block === block && held.block.generation === generation)
        ?.block;
      const key = keyOf(this.#nonce, block, generation);
      return [{ array, offset, block: known ?? { block, generation, key, holds: 0, shared: true } }];
    });
  }

  #takeOut(letter: Letter, keeps: boolean): void {
    const inside = this.#inside(letter);
    this.#add(RECORD.attached, inside.length);
    for (const held of inside) {
      held.block.holds++;
      held.block.shared = true;
      this.#verify(held);
      if (keeps && this.#held.length < HELD_MAX) this.#held.push(held);
      else this.#release(held);
    }
  }

  // ------------------------------------------------------------------ waiting and notifying

  /** Words that all members count up, and one of them; undefined while they cannot be had. */
  #word(): { words: SharedArray<Int32Array>; at: number } | undefined {
    const at = this.draws.below(WORDS.count);
    if (this.#words === undefined || this.#words.length === 0) {
      this.#words = this.#try("get the words", (pool) => pool.get<SharedArray<Int32Array>>(WORDS.name));
    }
    return this.#words === undefined ? undefined : { words: this.#words, at };
  }

  #notify(): void {
    const count = this.draws.chance(0.5) ? undefined : 1 + this.draws.below(3);
    const word = this.#word();
    if (word === undefined) return;
    Atomics.add(word.words, word.at, 1);
    this.#try("notify", (pool) => pool.notify(word.words, word.at, count));
  }

  #wait(): void {
    const timeoutMs = this.draws.below(100);
    const word = this.#word();
    if (word === undefined) return;
    const { words, at } = word;
    const was = Atomics.load(words, at);
    this.#woken(words, at, was, this.#try("wait", (pool) => pool.wait(words, at, was, { timeoutMs })));
  }

  async #waitLater(): Promise<void> {
    const { draws } = this;
    const timeoutMs = draws.below(100);
    const abortsMs = draws.chance(0.2) ? draws.below(30) : undefined;
    const all = Array.from({ length: 1 + draws.below(3) }, () => this.#word());
    const { signal, given, done } = abortAfter(abortsMs);
    await Promise.all(all.map(async (word) => {
      if (word === undefined) return;
      const { words, at } = word;
      const was = Atomics.load(words, at);
      const options = { timeoutMs, ref: true, ...given };
      const wait = (pool: Pool) => pool.waitAsync(words, at, was, options);
      this.#woken(words, at, was, await this.#tryLater("wait later", wait, undefined, signal));
    }));
    done();
  }

  /** A wait may end with "ok" though its word is what it was: who notified may have counted up just before it began. */
  #woken(words: Int32Array, at: number, was: number, result: WaitResult | undefined): void {
    if (result === "not-equal" && Atomics.load(words, at) === was) {
      this.broken(`a wait ended with ${result}, and ${was} is ${was}`);
    }
  }

  #lookAtChannel(): void {
    const index = this.draws.below(CHANNELS.length);
    const channel = this.#channel(index);
    if (channel === undefined) return;
    const { capacity } = CHANNELS[index]!;
    if (channel.capacity !== capacity) this.broken(`a channel of ${channel.capacity} instead of ${capacity}`);
    const stats = this.#try("stats of a channel", () => channel.stats());
    if (stats !== undefined && stats.depth > 2 * capacity) {
      this.broken(`${stats.depth} messages in a channel of ${capacity}`);
    }
    if (this.draws.chance(0.5)) this.#try("release a channel", () => channel.release());
  }

  #transfer(): void {
    const held = this.#choose();
    if (held === undefined || held.offset !== 0 || held.array.length === 0) return;
    const { buffer } = held.array;
    this.#moved.push({ buffer: structuredClone(buffer, { transfer: [buffer] }), key: held.block.key });
    if (this.#moved.length > MOVED_MAX) this.#moved.shift();
    held.block.shared = true;
    this.#letGo(held);
  }

  #look(): void {
    const { draws } = this;
    switch (draws.below(4)) {
      case 0:
        this.#try("check", (pool) => (pool.check(), true));
        return this.#add(RECORD.checks, 1);
      case 1: {
        const stats = this.#try("stats", (pool) => pool.stats());
        if (stats !== undefined && stats.usedBytes > stats.capacityBytes) this.broken("more is used than there is");
        return;
      }
      case 2: {
        const self = this.#try("members", (pool) => pool.members().filter((member) => member.self));
        if (self !== undefined && self.length !== 1) this.broken(`this live member is listed ${self.length} times`);
        return;
      }
      case 3: {
        const listed = this.#try("blocks", (pool) => ({
          blocks: new Map(pool.blocks().map((info) => [`${info.block} ${info.generation}`, info.holders])),
          slot: pool.members().find((member) => member.self)?.slot ?? -1,
        }));
        if (listed === undefined) return;
        for (const { block: { block, generation }, array } of this.#held) {
          const isListed = listed.blocks.get(`${block} ${generation}`)?.includes(listed.slot) ?? false;
          if (!isListed) {
            this.broken(
              `this member holds an array that is not listed as held by it: ${
                where(block, generation, array.byteLength)
              }`,
            );
          }
        }
      }
    }
  }

  #rejoin(): void {
    for (const held of this.#held) this.#verify(held);
    this.#pool!.close();
    this.#seeThatNothingIsShown();
    this.#pool = undefined;
    this.#held = [];
    this.#moved = [];
    this.#stale = [];
    this.#channels = [];
    this.#words = undefined;
    while (this.#pool === undefined) this.#join();
  }

  #seeThatNothingIsShown(): void {
    for (const { array } of this.#held) if (array.length > 0) this.broken("an array outlives its pool");
    // Zeros; or still its own content, where leaving waits for what may be a native call that uses the same array.
    for (const { buffer, key } of this.#moved) {
      const bytes = new Uint8Array(buffer);
      if (firstNotZero(bytes) >= 0 && firstWrong(bytes, key, 0) >= 0) {
        this.broken("a buffer that was transferred away shows something else after its pool was closed");
      }
    }
  }

  /** Pools that come and go, and that nobody keeps. */
  #visitSidePool(): void {
    const { draws } = this;
    const index = draws.below(SIDE_POOLS);
    const name = `${this.#orders.pool}-s${index}`;
    const options = { name, capacity: (1 + index) * 2 ** 20, claimTtlMs: 200 };
    const how = draws.below(4);
    const sends = draws.chance(0.3);
    const sizes = Array.from({ length: draws.below(4) }, () => draws.size(2 ** 18));
    const pool = this.#try(
      "join a side pool",
      () => how === 0 ? Pool.create(options) : how === 1 ? Pool.open(name) : Pool.openOrCreate(options),
      (code) => code === "ERR_ALREADY_EXISTS" && how === 0 || code === "ERR_NOT_FOUND" && how === 1,
    );
    if (pool === undefined) return;
    this.#add(RECORD.joins, 1);
    const { nonce } = pool.toJSON();
    const kept: { array: SharedArray<Uint8Array>; key: number }[] = [];
    for (const size of sizes) {
      const array = this.#try("alloc", () => pool.alloc(Uint8Array, size));
      if (array === undefined) break;
      const at = firstNotZero(array);
      if (at >= 0) this.broken(`a new array of a side pool is not zero at byte ${at} of ${size}`);
      const descriptor = this.#describe(array);
      if (descriptor === undefined) break;
      const key = keyOf(nonce, descriptor.block, descriptor.generation);
      fill(array, key, 0);
      kept.push({ array, key });
    }
    // Nobody ever attaches it: the pool waits for it to expire.
    if (sends && kept.length > 0) this.#try("send", () => kept[0]!.array.share());
    for (const { array, key } of kept) {
      const at = firstWrong(array, key, 0);
      if (at >= 0) this.broken(`an array of a side pool is wrong at byte ${at} of ${array.length}`);
    }
    if (sizes.length > 1) this.#try("check", () => (pool.check(), true));
    pool.close();
  }

  #care(what: string, call: (pool: Pool) => number): void {
    this.#try(what, call);
  }

  // ------------------------------------------------------------------ what they are made of

  #join(): void {
    this.#pool = this.#try("join", () => Pool.open(this.#orders.pool), undefined, false);
    if (this.#pool !== undefined) this.#add(RECORD.joins, 1);
  }

  get #nonce(): string {
    return this.#pool!.toJSON().nonce;
  }

  #choose(): Held | undefined {
    return this.#held[this.draws.below(this.#held.length)];
  }

  #slice(array: SharedArray): SharedView {
    const { length } = array;
    const [a, b] = [this.draws.below(length + 1), this.draws.below(length + 1)];
    return array.subarray(Math.min(a, b), Math.max(a, b));
  }

  #verify({ array, block: { key, block, generation }, offset }: Held): void {
    const at = firstWrong(plain(array), key, offset);
    if (at >= 0) {
      const bytes = [...plain(array).subarray(0, 16)].map((value) => value.toString(16)).join(" ");
      this.broken(`wrong at byte ${at}: ${where(block, generation, array.byteLength)}, from ${offset} on: ${bytes}`);
    }
    this.#add(RECORD.verifiedBytes, array.byteLength);
  }

  #letGo(held: Held): void {
    this.#held.splice(this.#held.indexOf(held), 1);
    this.#release(held);
  }

  #release({ array, block }: Held): void {
    const isLast = block.holds === 1 && !block.shared;
    const descriptor = isLast ? this.#describe(array) : undefined;
    this.#try("release", () => array.release());
    if (array.length > 0) this.broken("an array outlives its release");
    block.holds--;
    if (descriptor === undefined) return;
    this.#stale.push(descriptor);
    if (this.#stale.length > 16) this.#stale.shift();
  }

  /** Undefined where the pool is busy. */
  #describe(array: SharedView): Descriptor | undefined {
    return this.#try("share", () => array.share({ claims: 0 }));
  }

  /** Calls the pool. Undefined for an error that may be; `mayBe` knows which others may. */
  #try<T>(
    what: string,
    call: (pool: Pool) => T,
    mayBe?: (code: PoolErrorCode, at: number) => boolean,
    needsPool = true,
  ): T | undefined {
    if (needsPool && this.#pool === undefined) this.broken("there is no pool");
    const from = this.now();
    let isBusy = false;
    try {
      return call(this.#pool!);
    } catch (error) {
      isBusy = this.#refused(what, error, from, mayBe);
      return undefined;
    } finally {
      const to = this.now();
      this.record[RECORD.longestMs] = Math.max(this.record[RECORD.longestMs]!, to - from);
      if (to - from > SLOW_MS) this.#report({ kind: "slow", from, to, what });
      if (!isBusy) this.#add(RECORD.progress, 1);
    }
  }

  /** The same for what does not block. It may end by its signal, too. */
  async #tryLater<T>(
    what: string,
    call: (pool: Pool) => Promise<T>,
    mayBe?: (code: PoolErrorCode, at: number) => boolean,
    signal?: AbortSignal,
  ): Promise<T | undefined> {
    const from = this.now();
    let isBusy = false;
    try {
      return await call(this.#pool!);
    } catch (error) {
      if (signal === undefined || error !== signal.reason) isBusy = this.#refused(what, error, from, mayBe);
      return undefined;
    } finally {
      if (!isBusy) this.#add(RECORD.progress, 1);
    }
  }

  /** Whether somebody kept the lock. What may not be is broken. */
  #refused(
    what: string,
    error: unknown,
    from: number,
    mayBe?: (code: PoolErrorCode, at: number) => boolean,
  ): boolean {
    if (!(error instanceof PoolError)) throw error;
    const to = this.now();
    if (mayBe?.(error.code, to)) return false;
    if (error.code === "ERR_POOL_FULL") {
      this.#add(RECORD.full, 1);
      return false;
    }
    if (error.code !== "ERR_POOL_BUSY") this.broken(`${what}: ${error.code} ${error.message}`);
    const pid = Number(/process (\d+)/.exec(error.message)?.[1] ?? 0);
    this.#add(RECORD.busy, 1);
    this.#report({ kind: "busy", from, to, pid, waitsForTwo: / letter|acknowledge|channel/.test(what) });
    return true;
  }

  #add(place: number, more: number): void {
    this.record[place]! += more;
  }

  #show(): void {
    this.#board.write(this.#recordIndex, this.record);
  }

  #report(event: Event): void {
    report(this.#orders.folder, { ...event, id: this.#id });
  }
}

/** A signal that is aborted after so long, if at all: itself, as it is given to a call, and how to forget it. */
function abortAfter(ms: number | undefined): { signal?: AbortSignal; given: { signal?: AbortSignal }; done(): void } {
  if (ms === undefined) return { given: {}, done: () => {} };
  const controller = new AbortController();
  const { signal } = controller;
  const timer = setTimeout(() => controller.abort(), ms);
  return { signal, given: { signal }, done: () => clearTimeout(timer) };
}

function where(block: number, generation: number, bytes: number): string {
  return `${bytes} bytes of block ${block}, generation ${generation}`;
}

/** The bytes of an array: itself, where that is simple, or a view on its buffer. */
function plain(array: SharedView): Plain {
  if (array instanceof Uint8Array || array instanceof Uint32Array) return array;
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms));
}
