/**
 * Those in this realm who wait at one side of a channel, and do not block: they stand in line, and only the first one tries. All
 * Channel objects of one channel have one line: to the others a member is one who waits, and the bell is rung once for it.
 *
 *     tries ──not yet──> looks, turn by turn of the event loop ──nothing for a while──> sleeps until the bell is rung ──> tries
 *
 * A bell can be rung by one who dies before anybody is woken, and nobody rings when the receiver of a message dies before
 * he has acknowledged it; so who sleeps looks by himself now and then.
 */

import {
  AP_CHANNEL_ACKNOWLEDGERS,
  AP_CHANNEL_RECEIVERS,
  AP_CHANNEL_SENDERS,
  AP_ERR_WAIT,
  AP_RECORD_WORD,
  AP_RECORD_WORD_OFFSET,
} from "./abi.ts";
import type { Hold } from "./hold.ts";
import type { Member } from "./member.ts";
import { native } from "./native.ts";
import { Waits } from "./wait_async.ts";

/** Who waits for a message. */
export const RECEIVERS: 0 = AP_CHANNEL_RECEIVERS;
/** Who waits for room. */
export const SENDERS: 1 = AP_CHANNEL_SENDERS;
/** Who waits for a message, in the line of receivers, and is to acknowledge it. */
export const ACKNOWLEDGERS: 2 = AP_CHANNEL_ACKNOWLEDGERS;

/** What a line needs of the Channel for which somebody waits. */
export interface Ends {
  readonly hold: Hold;
  /** @throws if it has ended here. */
  assertLive(): void;
  /** The error for a negative result, for one who waits on that side. */
  failed(result: number, side: 0 | 1 | 2): Error;
}

/**
 * Milliseconds of looking before sleeping: as long as it takes to wake somebody who sleeps, and for him to answer, or two who
 * talk to each other would both sleep each time once one of them did. Less where it was in vain time after time, but for a try
 * now and then.
 */
const LOOK_MS = 0.3;
const LOOK_LEAST_MS = 0.02;
/**
 * Of that without letting others run. An answer from another processor takes some 2 µs. With 10 µs those who happen to share one
 * take 33 µs for each turn, with 4 µs 21; with none 13, but then they stay on one for longer now and then, as no time in which
 * both want to run is seen by whoever spreads them.
 */
const ALONE_MS = 0.004;
const VAIN_MOST = 8;
const TRY_EVERY = 16;
/** The longest sleep. */
const SLEEP_MS = 1000;

/** Tries to do what one waits for: calls `settle` and returns true, or returns false if it is not time yet. */
type Attempt<R> = (settle: (value: R) => void) => boolean;

/** Of one channel in one member, by side. */
export type Lines = [Line | undefined, Line | undefined];

interface Waiting {
  readonly ends: Ends;
  readonly side: 0 | 1 | 2;
  readonly deadline: number;
  attempt(): boolean;
  fail(error: unknown): void;
}

/** See above. */
export class Line {
  readonly #member: Member;
  readonly #waiting: Waiting[] = [];
  #runs = false;
  /** Times in a row that looking was in vain. */
  #vain = 0;
  /** When it last stopped looking, by performance.now(). */
  #lookedAt = 0;
  /** Ends the sleep. */
  #alarm: AbortController | undefined;
  /** The one by whose hold it sleeps. */
  #sleeper: Waiting | undefined;

  /** That of a channel in a member. */
  static of(member: Member, block: number, side: 0 | 1): Line {
    let lines = member.lines.get(block);
    if (lines === undefined) member.lines.set(block, lines = [undefined, undefined]);
    return lines[side] ??= new Line(member);
  }

  private constructor(member: Member) {
    this.#member = member;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Ends the sleep, if it sleeps: one who blocked has waited for the same, and heard the bell. */
  look(): void {
    this.#alarm?.abort();
  }

  /**
   * Before `hold` (or whichever it is) is let go of: who sleeps by it waits no more, and if the bell was rung for him, it is rung
   * for the next one. Later the channel could not be told.
   */
  leave(hold?: Hold): void {
    const sleeper = this.#sleeper;
    if (sleeper === undefined || (hold !== undefined && sleeper.ends.hold !== hold)) return;
    this.#sleeper = undefined;
    const member = this.#member;
    member.library.ap_channel_stop_waiting(member.ready(), sleeper.ends.hold.block, sleeper.side);
  }

  /** Waits until `attempt` has done what it is for. */
  wait<R>(
    ends: Ends,
    side: 0 | 1 | 2,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    attempt: Attempt<R>,
  ): Promise<R> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted(); // a getter in the message may have done it
      const settle = (value: R) => {
        signal?.removeEventListener("abort", onAbort);
        resolve(value);
      };
      const waiting: Waiting = {
        ends,
        side,
        deadline: performance.now() + timeoutMs,
        attempt: () => attempt(settle),
        fail: (error) => {
          signal?.removeEventListener("abort", onAbort);
          reject(error);
        },
      };
      const onAbort = () => {
        const at = this.#waiting.indexOf(waiting);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal!.reason);
        this.#alarm?.abort();
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(waiting);
      if (!this.#runs) void this.#run();
      else if (timeoutMs < SLEEP_MS) this.#alarm?.abort();
    });
  }

  async #run(): Promise<void> {
    this.#runs = true;
    while (this.#serve()) {
      const cameWhileLooking = await this.#looked();
      this.#lookedAt = performance.now();
      if (cameWhileLooking) continue;
      const first = this.#waiting[0];
      if (first === undefined) break;
      await this.#sleep(first).catch((error) => this.#failFirst(first, error));
    }
    this.#runs = false;
  }

  /** Serves those whose time it is. Whether somebody still waits. */
  #serve(): boolean {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      try {
        if (!first.attempt()) break;
        this.#remove(first);
      } catch (error) {
        this.#failFirst(first, error);
      }
    }
    const now = performance.now();
    for (const waiting of this.#waiting.slice()) {
      const { ends, side, deadline } = waiting;
      try {
        ends.assertLive(); // not only the first one's: others may wait by another Channel on the same one
        if (deadline <= now) throw ends.failed(AP_ERR_WAIT, side);
      } catch (error) {
        this.#fail(waiting, error);
      }
    }
    return this.#waiting.length > 0;
  }

  #remove(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  #fail(waiting: Waiting, error: unknown): void {
    this.#remove(waiting);
    waiting.fail(error);
  }

  /**
   * Where the channel's pool is busy, each of the others would keep the event loop for as long again, to hear the same. That the
   * pool of an array in a message is says nothing of what the others get.
   */
  #failFirst(first: Waiting, error: unknown): void {
    this.#fail(first, error);
    if (error === undefined || error !== this.#member.busyError) return;
    for (const waiting of this.#waiting.slice()) if (waiting.side === first.side) this.#fail(waiting, error);
  }

  /** Tries again, turn by turn of the event loop. Whether that was worth it. */
  async #looked(): Promise<boolean> {
    const looksLong = this.#vain < VAIN_MOST || this.#vain % TRY_EVERY === 0;
    const begun = performance.now();
    const until = begun + (looksLong ? LOOK_MS : LOOK_LEAST_MS);
    const before = this.#waiting.length;
    // Whoever is to answer may be on this very processor: surely not yet, if it was awake a moment ago; but who was asleep by now
    // has often been put here by who woke it.
    const aloneUntil = begun - this.#lookedAt > LOOK_MS ? begun : begun + ALONE_MS;
    if (aloneUntil === begun) this.#letOthersRun();
    for (let now = begun; now < until; now = performance.now()) {
      await new Promise<void>((resolve) => native().nextTurn(resolve));
      if (!this.#serve() || this.#waiting.length < before) {
        this.#vain = 0;
        return true;
      }
      if (now > aloneUntil) this.#letOthersRun();
    }
    this.#vain++;
    return false;
  }

  #letOthersRun(): void {
    const member = this.#member;
    if (!member.closed) member.library.ap_doorbell_look(member.ready());
  }

  async #sleep(first: Waiting): Promise<void> {
    const { ends, side } = first;
    ends.assertLive();
    const member = this.#member;
    const { hold } = ends;
    const started = member.library.ap_channel_start_waiting(member.ready(), hold.block, side);
    if (started < 0) throw ends.failed(started, side);
    if (started === 1) return;
    const offset = member.record[AP_RECORD_WORD_OFFSET]!;
    const armed = member.record[AP_RECORD_WORD]!;
    const alarm = this.#alarm = new AbortController();
    let limitMs = SLEEP_MS;
    const now = performance.now();
    for (const { deadline } of this.#waiting) limitMs = Math.min(limitMs, Math.max(1, deadline - now));
    member.asleep++;
    this.#sleeper = first;
    try {
      const waits = member.waits ??= new Waits(member);
      await waits.begin(this, hold, offset, armed, limitMs, alarm.signal, true);
    } catch (error) {
      ends.assertLive(); // which says more of what has ended
      if (!alarm.signal.aborted) throw error;
    } finally {
      member.asleep--;
      this.#alarm = undefined;
      const isLeft = this.#sleeper === undefined;
      this.#sleeper = undefined;
      if (!isLeft && !hold.released && !member.closed) this.#awake(ends, side);
    }
  }

  #awake(ends: Ends, side: 0 | 1 | 2): void {
    // The one that we were woken for is taken first, so that nobody else is woken for it.
    this.#serve();
    const result = this.#member.library.ap_channel_stop_waiting(this.#member.ready(), ends.hold.block, side);
    if (result < 0) throw ends.failed(result, side);
  }
}
