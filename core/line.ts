/**
 * Those in this realm who wait at one side of a channel, and do not block: they stand in line, and only the first one tries.
 *
 *     tries ──not yet──> looks, turn by turn of the event loop ──nothing for a while──> sleeps until the bell is rung ──> tries
 *
 * A bell can be rung by one who dies before anybody is woken, and nobody rings when the receiver of a message dies before
 * he has acknowledged it; so who sleeps looks by himself now and then.
 */

import { AP_CHANNEL_RECEIVERS, AP_CHANNEL_SENDERS, AP_ERR_WAIT, AP_RECORD_WORD, AP_RECORD_WORD_OFFSET } from "./abi.ts";
import type { Hold } from "./hold.ts";
import type { Member } from "./member.ts";
import { native } from "./native.ts";
import { Waits } from "./wait_async.ts";

/** Who waits for a message. */
export const RECEIVERS: 0 = AP_CHANNEL_RECEIVERS;
/** Who waits for room. */
export const SENDERS: 1 = AP_CHANNEL_SENDERS;

/** Milliseconds of looking before sleeping: more where it helped. */
const LOOK_LEAST_MS = 0.02;
const LOOK_MOST_MS = 0.3;
/** The longest sleep. */
const SLEEP_MS = 500;

/** Tries to do what one waits for: calls `settle` and returns true, or returns false if it is not time yet. */
type Attempt<R> = (settle: (value: R) => void) => boolean;

interface Waiting {
  readonly deadline: number;
  attempt(): boolean;
  fail(error: unknown): void;
}

/** See above. */
export class Line {
  readonly #member: Member;
  readonly #hold: Hold;
  readonly #side: 0 | 1;
  readonly #assertLive: () => void;
  readonly #waiting: Waiting[] = [];
  #runs = false;
  #lookMs = LOOK_MOST_MS;
  /** Ends the sleep. */
  #alarm: AbortController | undefined;

  constructor(member: Member, hold: Hold, side: 0 | 1, assertLive: () => void) {
    this.#member = member;
    this.#hold = hold;
    this.#side = side;
    this.#assertLive = assertLive;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Waits until `attempt` has done what it is for. */
  wait<R>(timeoutMs: number, signal: AbortSignal | undefined, attempt: Attempt<R>): Promise<R> {
    return new Promise((resolve, reject) => {
      const settle = (value: R) => {
        signal?.removeEventListener("abort", onAbort);
        resolve(value);
      };
      const waiting: Waiting = {
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
      if (await this.#looked()) continue;
      const first = this.#waiting[0];
      if (first === undefined) break;
      await this.#sleep().catch((error) => this.#fail(first, error));
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
        this.#fail(first, error);
      }
    }
    const now = performance.now();
    for (const waiting of this.#waiting.filter(({ deadline }) => deadline <= now)) {
      this.#fail(waiting, this.#member.failed(AP_ERR_WAIT));
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

  /** Tries again, turn by turn of the event loop. Whether that was worth it. */
  async #looked(): Promise<boolean> {
    const until = performance.now() + this.#lookMs;
    do {
      await new Promise<void>((resolve) => native().nextTurn(resolve));
      const before = this.#waiting.length;
      if (!this.#serve()) return true;
      if (this.#waiting.length < before) {
        this.#lookMs = LOOK_MOST_MS;
        return true;
      }
    } while (performance.now() < until);
    this.#lookMs = Math.max(LOOK_LEAST_MS, this.#lookMs / 2);
    return false;
  }

  async #sleep(): Promise<void> {
    this.#assertLive();
    const member = this.#member;
    const { block } = this.#hold;
    const side = this.#side;
    if (member.call((library, pool) => library.ap_channel_start_waiting(pool, block, side)) === 1) return;
    const offset = member.record[AP_RECORD_WORD_OFFSET]!;
    const armed = member.record[AP_RECORD_WORD]!;
    const alarm = this.#alarm = new AbortController();
    let limitMs = SLEEP_MS;
    const now = performance.now();
    for (const { deadline } of this.#waiting) limitMs = Math.min(limitMs, Math.max(1, deadline - now));
    try {
      const waits = member.waits ??= new Waits(member);
      const result = await waits.begin(this, this.#hold, offset, armed, limitMs, alarm.signal, true);
      if (result === "ok") this.#lookMs = Math.min(LOOK_MOST_MS, 2 * this.#lookMs);
    } catch (error) {
      this.#assertLive(); // which says more of what has ended
      if (!alarm.signal.aborted) throw error;
    } finally {
      this.#alarm = undefined;
      if (!this.#hold.released && !member.closed) {
        // The one that we were woken for is taken first, so that nobody else is woken for it.
        this.#serve();
        member.call((library, pool) => library.ap_channel_stop_waiting(pool, block, side));
      }
    }
  }
}
