/**
 * Everything random of a chaos run, derived from its seed: what a round is like, how long each member lives and how it
 * ends, and what a member decides at each of its steps. Each step draws from numbers of its own, so a decision does not
 * depend on how the ones before it turned out. Only the times at which things really happen cannot be repeated.
 *
 * A process sits on a chair, which says of what kind it is; when it is gone, the next one takes its place.
 */

import { type Runtime, runtimes } from "../support/programs.ts";

/** One step of a hash of 32-bit numbers. member.c has the same. */
export function mix(hash: number, value: number): number {
  hash = Math.imul(hash ^ value, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Numbers that follow from the keys and the step. */
export class Draws {
  readonly #base: number;
  #state = 0;
  #count = 0;

  constructor(...keys: number[]) {
    this.#base = keys.reduce(mix, 0x9e3779b9);
    this.step(0);
  }

  /** Goes to the numbers of a step. */
  step(step: number): void {
    this.#state = mix(this.#base, step);
    this.#count = 0;
  }

  /** From 0 to below 1. */
  next(): number {
    return mix(this.#state, ++this.#count) / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** With this mean, and 6 times that at most. */
  exponential(mean: number): number {
    return Math.min(6, -Math.log(1 - this.next())) * mean;
  }

  /** From 1 to `most`, small ones as often as large ones. */
  size(most: number): number {
    return Math.floor(2 ** (this.next() * Math.log2(most)));
  }
}

export type Kind = Runtime | "native";

export interface Chair {
  readonly kind: Kind;
  /** Has Workers, and terminates them. */
  readonly isHost: boolean;
}

/** A third of the members is native, the others are Bun, Deno and Node in turn; three of eight of those have Workers. */
export function chairs(members: number): Chair[] {
  const scripts = members - Math.floor(members / 3);
  return Array.from({ length: members }, (_, i) => ({
    kind: i >= scripts ? "native" : runtimes[i % runtimes.length]!,
    isHost: i < scripts && i % 8 < 3,
  }));
}

/** What one round is like. */
export interface Round {
  readonly capacityBytes: number;
  readonly claimTtlMs: number;
  /** The largest array that is asked for. */
  readonly largestBytes: number;
}

export function roundOf(seed: number): Round {
  const draws = new Draws(seed, 1);
  const capacityBytes = draws.pick([1, 2, 4, 8, 32]) * 2 ** 20;
  return {
    capacityBytes,
    claimTtlMs: 200 + draws.below(1800),
    largestBytes: Math.min(capacityBytes / draws.pick([3, 8, 32]), 2 ** 21),
  };
}

/** The longest time for which a claim is made. */
export const TTL_MAX_MS = 3000;

/** What happens to one member. */
export interface Fate {
  /** From its start to its kill. */
  readonly lifeMs: number;
  /** It is stopped at these times, and goes on after a while. */
  readonly stops: readonly { readonly atMs: number; readonly forMs: number }[];
  /** Is only killed when it has got on once more: or nobody would see that the kill ends a hang. */
  readonly diesMoving: boolean;
  /** Is stopped once more just before the kill. */
  readonly diesStopped: boolean;
  /** Leaves by itself at that time; 0: never. */
  readonly leavesMs: number;
  readonly how: "close" | "exit";
}

const LIFE_MS = { bun: 2500, deno: 2500, node: 2500, native: 120 };
const STOP_CHANCE = { bun: 0.3, deno: 0.3, node: 0.3, native: 0.05 };

export function fateOf(seed: number, chair: number, number: number, { kind }: Chair): Fate {
  const draws = new Draws(seed, 2, chair, number);
  const lifeMs = draws.exponential(LIFE_MS[kind]);
  const diesStopped = draws.chance(STOP_CHANCE[kind] / 2);
  const leavesMs = draws.chance(0.15) ? 1 + draws.next() * lifeMs : 0;
  const how = draws.pick(["close", "exit"] as const);
  // A long stop makes the others run into the deadline of the lock, if it hits its owner.
  const forMs = draws.chance(kind === "native" ? 0.2 : 0.1) ? 2500 : draws.exponential(200);
  const stops = draws.chance(STOP_CHANCE[kind]) ? [{ atMs: draws.next() * lifeMs, forMs }] : [];
  return { lifeMs, stops, diesMoving: draws.chance(0.5), diesStopped, leavesMs, how };
}
