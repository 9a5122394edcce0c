/**
 * The waits of one member that do not block, and how its event loop is woken for them.
 *
 *     idle ──a wait begins──> looking ──nothing came for a while──> parked ──rung──> looking
 *       └───────────────────────┘ no wait is left
 *
 * Looking costs a native call in each turn of the event loop, for some ten microseconds: that is how fast an answer comes
 * from somebody who is awake, and to be woken takes longer. Parked, nothing runs: whoever notifies rings the doorbell (a
 * socket that the event loop watches, or a native call on a thread of its own, as the runtime has it). Where a realm has
 * no doorbell, it looks every few milliseconds instead; in a container, where others may be in another network, every second.
 *
 * A wait ends once: notified, its time over, aborted, its array released, or its pool closed. What was notified before one
 * of the others came ends with "ok": a wake is not lost.
 */

import { checkOptions, PoolError, quote } from "./errors.ts";
import type { Hold } from "./hold.ts";
import type { Member } from "./member.ts";
import { type Doorbell, type Library, native, type Pointer } from "./native.ts";
import {
  checkExpected,
  checkSignal,
  checkTimeout,
  checkWord,
  offsetOf,
  type WaitOptions,
  type WaitResult,
} from "./wait.ts";

/** How a wait that does not block may go. */
export interface WaitAsyncOptions extends WaitOptions {
  /** Ends the wait with its reason. */
  signal?: AbortSignal;
  /** Keep the process alive while waiting. Default false. */
  ref?: boolean;
}

/**
 * Milliseconds of looking before parking: about as long as it takes to be woken, so it never costs more than that again; less
 * where it does not help, but for a try now and then.
 */
const LOOK_MS = 0.1;
const LOOK_LEAST_MS = 0.01;
/** Between two looks where there is no doorbell. */
const POLL_MS = 5;
/** The same where there is one that not everybody can ring. */
const POLL_APART_MS = 1000;
const TIMER_MOST_MS = 2 ** 31 - 1;
const TAKEN_AT_ONCE = 256;

interface Wait {
  readonly waiter: number;
  /** Of the array, if it is for a word of one: so that the collector leaves it alone. */
  readonly array: object | undefined;
  readonly hold: Hold | undefined;
  /** By performance.now(). */
  readonly deadline: number;
  readonly keepsAlive: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  resolve(result: WaitResult): void;
  reject(reason: unknown): void;
}

/** Waits without blocking. @throws {TypeError | RangeError | PoolError} */
export function waitInEventLoop(
  member: Member,
  array: Int32Array | Uint32Array,
  index: number,
  expected: number,
  options: WaitAsyncOptions,
): Promise<WaitResult> {
  // Before the array: a getter in the options may release it, and its block may be another one's then.
  const { timeoutMs, signal, ref } = checkOptions(options, ["timeoutMs", "signal", "ref"]);
  const limitMs = checkTimeout(timeoutMs);
  if (ref !== undefined && typeof ref !== "boolean") {
    throw new TypeError(`ref must be true or false, not ${quote(ref)}`);
  }
  checkSignal(signal);
  const { hold } = checkWord(member, array, index);
  const word = checkExpected(array, expected);
  const waits = member.waits ??= new Waits(member);
  return waits.begin(array, hold, offsetOf(hold, array, index), word, limitMs, signal, ref ?? false);
}

/** See above. */
export class Waits {
  readonly #member: Member;
  readonly #pending = new Map<number, Wait>();
  readonly #byHold = new Map<Hold, Set<Wait>>();
  readonly #taken = new Uint32Array(TAKEN_AT_ONCE);

  #state: "idle" | "looking" | "parked" = "idle";
  #lookUntil = 0;
  /** Times in a row that looking was in vain. */
  #vain = 0;
  #doorbell: Doorbell | undefined;
  #willLook = false;
  #timerAt = Infinity;
  #refs = 0;
  #stopKeepingAlive: (() => void) | undefined;

  constructor(member: Member) {
    this.#member = member;
  }

  /** Begins a wait for a word of an array. @throws {PoolError} */
  begin(
    array: object,
    hold: Hold,
    offset: number,
    expected: number,
    limitMs: number,
    signal: AbortSignal | undefined,
    keepsAlive: boolean,
  ): Promise<WaitResult> {
    const waiter = this.#call((library, pool) => library.ap_word_watch(pool, hold.block, offset, expected));
    return this.#await(waiter, array, hold, limitMs, signal, keepsAlive);
  }

  /** Begins a wait that `watch` begins for the library. It keeps the process alive. @throws {PoolError} */
  beginOther(
    watch: (library: Library, pool: Pointer) => number,
    limitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<WaitResult> {
    return this.#await(this.#call(watch), undefined, undefined, limitMs, signal, true);
  }

  #await(
    waiter: number,
    array: object | undefined,
    hold: Hold | undefined,
    limitMs: number,
    signal: AbortSignal | undefined,
    keepsAlive: boolean,
  ): Promise<WaitResult> {
    if (waiter === 0) return Promise.resolve("not-equal");
    if (limitMs === 0 && this.#unwatch(waiter)) return Promise.resolve("timed-out");
    const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
    const onAbort = signal && (() => this.#giveUp(wait, () => reject(signal.reason)));
    const deadline = performance.now() + limitMs;
    const wait: Wait = { waiter, array, hold, deadline, keepsAlive, signal, onAbort, resolve, reject };
    this.#add(wait);
    this.#look();
    return promise;
  }

  #add(wait: Wait): void {
    this.#pending.set(wait.waiter, wait);
    if (wait.hold !== undefined) this.#addTo(wait.hold, wait);
    if (wait.onAbort !== undefined) wait.signal!.addEventListener("abort", wait.onAbort, { once: true });
    if (wait.keepsAlive && this.#refs++ === 0) this.#stopKeepingAlive = native().keepAlive();
    this.#wakeAt(wait.deadline);
  }

  #addTo(hold: Hold, wait: Wait): void {
    const others = this.#byHold.get(hold);
    if (others !== undefined) return void others.add(wait);
    this.#byHold.set(hold, new Set([wait]));
    hold.onRelease = () => this.#released(hold);
  }

  #removeFrom(hold: Hold, wait: Wait): void {
    const others = this.#byHold.get(hold)!;
    others.delete(wait);
    if (others.size > 0) return;
    this.#byHold.delete(hold);
    hold.onRelease = undefined;
  }

  #remove(wait: Wait): void {
    this.#pending.delete(wait.waiter);
    if (wait.hold !== undefined) this.#removeFrom(wait.hold, wait);
    if (wait.onAbort !== undefined) wait.signal!.removeEventListener("abort", wait.onAbort);
    if (wait.keepsAlive && --this.#refs === 0) this.#stopKeepingAlive!();
  }

  /** Ends a wait that nobody has notified. What was notified is taken soon, also where who did that has died before he rang. */
  #giveUp(wait: Wait, settle: () => void): void {
    if (!this.#unwatch(wait.waiter)) return this.#look();
    this.#remove(wait);
    settle();
  }

  #unwatch(waiter: number): boolean {
    return this.#call((library, pool) => library.ap_word_unwatch(pool, waiter)) === 0;
  }

  #call(use: (library: Library, pool: Pointer) => number): number {
    return this.#member.call(use);
  }

  // ------------------------------------------------------------------ looking and being woken

  #look(): void {
    this.#lookLonger();
    if (this.#state === "looking") return;
    if (this.#state === "parked") this.#call((library, pool) => library.ap_doorbell_unpark(pool));
    this.#state = "looking";
    this.#turnSoon();
  }

  #lookLonger(): void {
    this.#lookUntil = performance.now() + (this.#looksLong ? LOOK_MS : LOOK_LEAST_MS);
  }

  get #looksLong(): boolean {
    return this.#vain < 8 || this.#vain % 16 === 0;
  }

  #turnSoon(): void {
    native().nextTurn(() => this.#guard(() => this.#turn()));
  }

  /** What is called by the event loop has nobody to throw to but those who wait. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (this.#member.closed) return;
      this.#state = "looking";
      if (error instanceof PoolError && error.code === "ERR_POOL_BUSY") {
        return native().later(() => this.#guard(() => this.#turn()), POLL_MS);
      }
      this.#state = "idle";
      for (const wait of [...this.#pending.values()]) {
        this.#remove(wait);
        wait.reject(error);
      }
    }
  }

  #turn(): void {
    if (this.#member.closed || this.#state !== "looking") return;
    const mayTake = !this.#looksLong || this.#call((library, pool) => library.ap_doorbell_look(pool)) === 1;
    if (mayTake && this.#take()) this.#vain = 0;
    if (this.#pending.size === 0) this.#state = "idle";
    else if (performance.now() < this.#lookUntil) this.#turnSoon();
    else this.#park();
  }

  #park(): void {
    this.#vain++;
    // Before: who finds the member parked must know how to wake it.
    const doorbell = this.#doorbell ??= this.#open();
    if (this.#call((library, pool) => library.ap_doorbell_park(pool)) === 1) {
      this.#take();
      this.#afterTaking();
    } else {
      this.#state = "parked";
      doorbell.sleep();
      this.#lookInAWhile();
    }
  }

  #open(): Doorbell {
    const onRing = () => this.#guard(() => this.#rung());
    const looks = { sleep: () => native().later(onRing, POLL_MS), close: () => {} };
    return this.#member.openDoorbell(onRing) ?? looks;
  }

  /** Whoever should have rung may have been killed before, have no descriptor left for it, or be in another network namespace. */
  #lookInAWhile(): void {
    if (this.#willLook) return;
    this.#willLook = true;
    native().later(() => {
      this.#willLook = false;
      if (this.#state !== "parked" || this.#member.closed) return;
      this.#guard(() => {
        if (this.#call((library, pool) => library.ap_doorbell_look(pool)) === 1) this.#rung();
        else this.#lookInAWhile();
      });
    }, POLL_APART_MS);
  }

  #rung(): void {
    if (this.#member.closed || this.#state !== "parked") return;
    this.#call((library, pool) => library.ap_doorbell_unpark(pool));
    this.#state = "looking";
    this.#take();
    this.#afterTaking();
  }

  #afterTaking(): void {
    if (this.#pending.size === 0) this.#state = "idle";
    else {
      this.#state = "looking";
      this.#lookLonger();
      this.#turnSoon();
    }
  }

  /** Ends the waits that were notified. */
  #take(): boolean {
    let came = false;
    for (let count = TAKEN_AT_ONCE; count === TAKEN_AT_ONCE;) {
      count = this.#call((library, pool) => library.ap_doorbell_take(pool, this.#taken, TAKEN_AT_ONCE));
      for (let i = 0; i < count; i++) {
        const wait = this.#pending.get(this.#taken[i]!);
        if (wait === undefined) continue;
        this.#remove(wait);
        wait.resolve("ok");
        came = true;
      }
    }
    return came;
  }

  // ------------------------------------------------------------------ ends that nobody notified

  #wakeAt(deadline: number): void {
    if (deadline >= this.#timerAt) return;
    this.#timerAt = deadline;
    const delay = Math.max(0, deadline - performance.now());
    native().later(() => this.#timer(deadline), Math.min(delay, TIMER_MOST_MS));
  }

  #timer(deadline: number): void {
    if (this.#timerAt !== deadline || this.#member.closed) return; // an earlier one came after it
    this.#timerAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const wait of [...this.#pending.values()]) {
      if (wait.deadline > now) next = Math.min(next, wait.deadline);
      else this.#giveUp(wait, () => wait.resolve("timed-out"));
    }
    if (next < Infinity) this.#wakeAt(next);
  }

  #released(hold: Hold): void {
    for (const wait of [...this.#byHold.get(hold)!]) {
      this.#giveUp(wait, () =>
        wait.reject(
          new PoolError(
            "ERR_RELEASED",
            "the array was released while somebody waited for one of its elements: end the wait first, by notify() or its signal",
          ),
        ));
    }
  }

  /** Ends all waits: the member closes. */
  close(atExit: boolean): void {
    try {
      this.#take();
    } catch { /* whatever the segment says: the waits end */ }
    for (const wait of [...this.#pending.values()]) {
      const isOver = this.#unwatch(wait.waiter);
      this.#remove(wait);
      // Nobody hears of it any more, but Node would say that nobody has caught it.
      if (atExit) continue;
      // Notified a moment ago: somebody has counted it as woken.
      if (isOver) wait.reject(closedMeanwhile(this.#member));
      else wait.resolve("ok");
    }
    this.#doorbell?.close();
  }
}

function closedMeanwhile({ name }: Member): PoolError {
  return new PoolError("ERR_CLOSED", `pool "${name}" was closed here while somebody waited: close it later`);
}
