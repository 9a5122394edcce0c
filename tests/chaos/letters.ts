/**
 * What goes through the channels of a round, so that everybody who receives a letter can check it, and the keeper in the end
 * all of them: its text follows from who sent it and its number, and it says which arrays are in it. member.c writes and
 * reads the same: in a channel a letter is a head (JSON), its text, and its arrays. What happened to it stands in a file of the run, the ledger, written before or after the call, whichever makes it a proof.
 *
 *     sent      after the send: it is in the channel, whoever dies
 *     received  after the receive
 *     acking    before the acknowledgement: from now on it may be gone
 *     acked     after it: nobody receives it any more
 */

import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SharedView } from "arraypool";
import { mix } from "./plan.ts";

/** The keeper makes them, and gives them these names: small ones, whose cells are written over at once. member.c has the same. */
export const CHANNELS = [
  { name: "channel 0", capacity: 4, acks: false },
  { name: "channel 1", capacity: 2, acks: false },
  { name: "channel 2", capacity: 4, acks: true },
  { name: "channel 3", capacity: 2, acks: true },
] as const;
/** Another, for native members alone, who send each other as many messages as they can. What is in it nobody else reads. */
export const BURSTS = { name: "bursts", capacity: 2 } as const;
/** An array, also made by the keeper, whose words only rise: for who waits and notifies. */
export const WORDS = { name: "words", count: 4 } as const;
/** Some letters fit into their cell, larger ones need a block of their own. */
export const LETTER_BYTES_MAX = 4096;
export const TEXT_MAX = 2500;

export interface Letter {
  readonly channel: number;
  readonly from: number;
  /** Of those of its sender: rises. */
  readonly number: number;
  readonly length: number;
  readonly text: string;
  readonly arrays: SharedView[];
  /** For each array: block, generation, bytes from the start of the block, elements, bytes. */
  readonly places: readonly (readonly [number, number, number, number, number])[];
}

/** A letter in a channel. */
export type Wire = [head: string, text: string, arrays: SharedView[]];

export function wireOf({ channel, from, number, length, text, arrays, places }: Letter): Wire {
  return [JSON.stringify({ channel, from, number, length, places }), text, arrays];
}

export function letterOf([head, text, arrays]: Wire): Letter {
  return { ...JSON.parse(head), text, arrays };
}

export function textOf(channel: number, from: number, number: number, length: number): string {
  const key = [channel, from >>> 0, Math.floor(from / 2 ** 32), number].reduce(mix, 0x2545f491);
  let text = "";
  for (let i = 0; text.length < length; i++) text += mix(key, i).toString(36);
  return text.slice(0, length);
}

/** What is wrong with a letter's text; undefined if nothing is. */
export function wrongIn(
  { channel, from, number, length, text, arrays, places }: Letter,
  through: number,
): string | undefined {
  const what = `letter ${number} of ${from} in channel ${channel}`;
  if (channel !== through) return `${what} came through channel ${through}`;
  if (text !== textOf(channel, from, number, length)) return `${what} is not as it was sent: ${text}`;
  if (arrays.length !== places.length) return `${what} has ${arrays.length} arrays instead of ${places.length}`;
  return undefined;
}

export type Entry = "sent" | "received" | "acking" | "acked";

/** Only a line with its end counts: who was killed while he wrote one has not done what comes after it. */
export function enter(folder: string, entry: Entry, { channel, from, number }: Letter): void {
  appendFileSync(join(folder, "ledger"), `\n${entry} ${channel}/${from}/${number};\n`);
}

/** What the ledger says that must not be, when all channels are empty; and how many letters were received. */
export function audit(folder: string): { broken: string | undefined; received: number; acked: number } {
  const was: Record<Entry, Set<string>> = { sent: new Set(), received: new Set(), acking: new Set(), acked: new Set() };
  let broken: string | undefined;
  for (const line of readFileSync(join(folder, "ledger"), "utf8").split("\n")) {
    const [, entry, letter, channel] = /^(sent|received|acking|acked) ((\d+)\/\d+\/\d+);$/.exec(line) ?? [];
    if (letter === undefined) continue;
    const acks = CHANNELS[Number(channel)]!.acks;
    if (entry === "received" && !acks && was.received.has(letter)) broken ??= `received twice: ${letter}`;
    if (entry === "received" && was.acked.has(letter)) broken ??= `received after it was acknowledged: ${letter}`;
    if (entry === "acked" && was.acked.has(letter)) broken ??= `acknowledged twice: ${letter}`;
    was[entry as Entry].add(letter);
  }
  for (const letter of was.sent) {
    // A receiver that does not acknowledge takes what it has received with it when it dies.
    const acks = CHANNELS[Number(letter.split("/")[0])]!.acks;
    if (acks && !was.acking.has(letter)) broken ??= `sent, and nobody has acknowledged it: ${letter}`;
  }
  return { broken, received: was.received.size, acked: was.acked.size };
}
