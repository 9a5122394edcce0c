/** arraypool top [NAME] */

import process from "node:process";
import { type Command, EXIT, seconds, wholeNumber } from "./command.ts";
import { commandOf, conditionOf, holderNames, namesByBlock, paintedCondition, typeOf } from "./describe.ts";
import { formatAge, formatBytes, formatRate, type Paint, plural, shorten, table } from "./format.ts";
import { memberJson, remarks, unreadable } from "./inspect.ts";
import { type Facts, Look, lookAt, type Member, poolNames } from "./look.ts";
import { poolJson } from "./ls.ts";
import { drawHeap } from "./picture.ts";
import { page } from "./screen.ts";

/** See its help. */
export const top: Command = {
  name: "top",
  takes: "[NAME]",
  summary: "all pools, or one, live, with rates",
  help:
    `Shows all pools, or one of them, over and over: how full it is, and how many arrays are allocated, freed and attached
each second, how many claims are made, and how often a member found the lock taken. q or Ctrl-C ends it, Ctrl-Z stops it
until it is to go on (fg), any other key looks again at once.

Without a terminal it prints one look after another: with --json each as one line of JSON. Rates are over the time since
the look before. Allocations are counted by the blocks' generations, which the pool keeps anyway; only attaches and lock
waits are counted for this.

It only reads: no pool is joined, locked or changed.`,
  options: { interval: { type: "string" }, count: { type: "string" } },
  optionHelp: {
    "interval S": "seconds between two looks (default 1)",
    "count N": "end after so many looks (without a terminal, default 1)",
  },
  async run(context) {
    const name = context.args[0];
    const intervalMs = seconds(context, "interval", 1);
    const terminal = process.stdout.isTTY === true && !context.json;
    const count = wholeNumber(context, "count", terminal ? 0 : 1);
    if (name !== undefined) lookAt(name, () => {}); // it must be there to begin with
    const sampler = new Sampler();
    try {
      if (terminal) {
        return await page(
          intervalMs,
          count,
          (width, height) => frame(sampler, name, { width, height, lineWidth: width }, context.paint),
        );
      }
      sampler.take(name);
      for (let i = 0; i < count; i++) {
        await new Promise((resolve) => setTimeout(resolve, intervalMs));
        if (context.json) context.print(JSON.stringify(sampleJson(sampler.take(name))));
        else context.print(...frame(sampler, name, { ...context, height: Infinity }, context.paint));
      }
      return EXIT.done;
    } finally {
      sampler.close();
    }
  },
};

// ---------------------------------------------------------------- sampling

/** Each second. */
interface Rates {
  allocs: number;
  frees: number;
  attaches: number;
  claims: number;
  lockWaits: number;
}

interface Sample {
  facts: Facts;
  members: Member[];
  /** Undefined at the first look. */
  rates: Rates | undefined;
  memberRates: Map<number, { attaches: number; lockWaits: number }>;
  look: Look;
}

class Sampler {
  readonly #looks = new Map<string, Look>();
  readonly #before = new Map<string, Sample>();

  /** A look at that pool, or at all; without those that are not there. */
  take(name: string | undefined): Sample[] {
    const names = name === undefined ? poolNames() : [name];
    for (const known of [...this.#looks.keys()]) if (!names.includes(known)) this.#forget(known);
    return names.map((one) => this.#takeOne(one)).filter((sample) => sample !== undefined);
  }

  close(): void {
    for (const name of [...this.#looks.keys()]) this.#forget(name);
  }

  #forget(name: string): void {
    this.#looks.get(name)?.close();
    this.#looks.delete(name);
    this.#before.delete(name);
  }

  #takeOne(name: string): Sample | undefined {
    let facts = this.#looks.get(name)?.take();
    if (facts === undefined || facts.unlinked || facts.state !== "pool") {
      this.#forget(name);
      try {
        const look = Look.openIfThere(name);
        if (look === undefined) return undefined;
        this.#looks.set(name, look);
        facts = look.take();
      } catch {
        return undefined; // not ours
      }
    }
    const look = this.#looks.get(name)!;
    const sample = withRates({ facts, members: look.members(), look }, this.#before.get(name));
    this.#before.set(name, sample);
    return sample;
  }
}

function withRates(now: Pick<Sample, "facts" | "members" | "look">, before: Sample | undefined): Sample {
  const memberRates: Sample["memberRates"] = new Map();
  const elapsed = before === undefined ? 0 : (now.facts.now - before.facts.now) / 1000;
  if (before === undefined || elapsed <= 0) return { ...now, rates: undefined, memberRates };
  const sums = { attaches: 0, lockWaits: 0 };
  for (const member of now.members) {
    const known = before.members.find(({ slot, joinedAt, threadId }) =>
      slot === member.slot && joinedAt === member.joinedAt && threadId === member.threadId
    );
    // Counted round at 2^32, from 0 when it joined.
    const attaches = ((member.attaches - (known?.attaches ?? 0)) >>> 0) / elapsed;
    const lockWaits = ((member.lockWaits - (known?.lockWaits ?? 0)) >>> 0) / elapsed;
    memberRates.set(member.slot, { attaches, lockWaits });
    sums.attaches += attaches;
    sums.lockWaits += lockWaits;
  }
  const allocs = Math.max(0, now.facts.blocksMade - before.facts.blocksMade) / elapsed;
  const frees = Math.max(0, allocs - (now.facts.blocks - before.facts.blocks) / elapsed);
  const claims = Math.max(0, now.facts.claimsMade - before.facts.claimsMade) / elapsed;
  return { ...now, rates: { allocs, frees, claims, ...sums }, memberRates };
}

function sampleJson(samples: Sample[]): unknown {
  return {
    at: new Date().toISOString(),
    pools: samples.map(({ facts, members, rates, memberRates }) => ({
      ...poolJson(facts),
      rates: rates ?? null,
      memberInfos: members.map((member) => ({ ...memberJson(member), rates: memberRates.get(member.slot) ?? null })),
    })),
  };
}

// ---------------------------------------------------------------- drawing

/** Room on the page: for pictures, and for tables, which without a terminal are as wide as they need. */
interface Room {
  width: number;
  lineWidth: number;
  height: number;
}

function frame(sampler: Sampler, name: string | undefined, room: Room, paint: Paint): string[] {
  const { width } = room;
  const below = { ...room, height: room.height - 1 };
  const samples = sampler.take(name);
  const time = new Date().toTimeString().slice(0, 8);
  const title = paint.bold(shorten(`arraypool top${name === undefined ? "" : ` ${name}`}`, width - 20)) +
    paint.dim(`  ${time}  q quits`);
  if (name === undefined) return [title, ...poolsFrame(samples, below, paint)];
  const [sample] = samples;
  if (sample === undefined) return [title, `there is no pool ${name} any more`];
  return [title, ...poolFrame(sample, below, paint)];
}

function poolsFrame(samples: Sample[], { lineWidth, height }: Room, paint: Paint): string[] {
  if (samples.length === 0) return ["no pools"];
  const rate = (sample: Sample, key: keyof Rates) => sample.rates === undefined ? "" : formatRate(sample.rates[key]);
  const rows = samples.sort((a, b) => (b.rates?.allocs ?? 0) - (a.rates?.allocs ?? 0)).map((sample) => {
    const { facts } = sample;
    const known = facts.state === "pool";
    return [
      { text: facts.name, paint: (text: string) => paint.bold(text) },
      formatBytes(facts.takenBytes),
      known ? formatBytes(facts.usedBytes) : "",
      known ? String(facts.arrays) : "",
      known ? String(facts.members) : "",
      rate(sample, "allocs"),
      rate(sample, "frees"),
      rate(sample, "attaches"),
      rate(sample, "lockWaits"),
      paintedCondition(facts, paint),
    ];
  });
  const lines = table(
    [
      { title: "NAME" },
      ...["BACKED", "USED", "ARRAYS", "MEMBERS", "ALLOC/s", "FREE/s", "ATTACH/s", "WAITS/s"].map((title) => ({
        title,
        right: true,
      })),
      { title: "STATE" },
    ],
    rows,
    lineWidth,
    paint,
  );
  return fit(lines, height);
}

function poolFrame(sample: Sample, { width, lineWidth, height }: Room, paint: Paint): string[] {
  const { facts, members, rates, memberRates, look } = sample;
  if (facts.state !== "pool") return unreadable(facts).map((line) => shorten(line, width));
  const condition = conditionOf(facts);
  const head = [
    `${formatBytes(facts.usedBytes)} of ${formatBytes(facts.capacityBytes)} in ${plural(facts.arrays, "array")}, ${
      plural(facts.claims, "claim")
    }; takes ${formatBytes(facts.takenBytes)}; ${formatAge(facts.now - facts.createdAt)} old`,
    rates === undefined
      ? "…"
      : `alloc ${formatRate(rates.allocs)}/s  free ${formatRate(rates.frees)}/s  attach ${
        formatRate(rates.attaches)
      }/s  claim ${formatRate(rates.claims)}/s  lock waits ${formatRate(rates.lockWaits)}/s`,
  ].map((line) => shorten(line, width));
  const notes = [...(condition === "" ? [] : [condition]), ...remarks(facts).filter((line) => !/^in motion/.test(line))]
    .slice(0, 2).map((line) => paint.yellow(shorten(line, width)));
  const heap = drawHeap(look, facts, width, height > 20 ? 4 : 2, paint);
  const used = head.length + notes.length + heap.length + 2;
  const memberLines = fit(
    table(
      [
        { title: "PROCESS", right: true },
        { title: "THREAD", right: true },
        { title: "STATE" },
        { title: "ARRAYS", right: true },
        { title: "BYTES", right: true },
        { title: "ATTACH/s", right: true },
        { title: "WAITS/s", right: true },
        { title: "COMMAND" },
      ],
      [...members].sort((a, b) => b.bytes - a.bytes).map((member) => {
        const own = memberRates.get(member.slot);
        return [
          String(member.pid),
          member.threadId === member.pid ? "main" : String(member.threadId),
          member.state,
          String(member.arrays),
          formatBytes(member.bytes),
          own === undefined ? "" : formatRate(own.attaches),
          own === undefined ? "" : formatRate(own.lockWaits),
          commandOf(member),
        ];
      }),
      lineWidth,
      paint,
    ),
    Math.max(3, Math.ceil((height - used) / 2)),
  );
  const arrays = look.arrays().sort((a, b) => b.bytes - a.bytes || b.ageMs - a.ageMs);
  const named = namesByBlock(look.names(), arrays);
  const arrayLines = table(
    [{ title: "BYTES", right: true }, { title: "TYPE" }, { title: "AGE", right: true }, { title: "HELD BY PROCESS" }],
    arrays.slice(0, Number.isFinite(height) ? height : 10).map((block) => [
      formatBytes(block.bytes),
      typeOf(look, block, named.get(block)),
      formatAge(block.ageMs),
      holderNames(block.holders, members) || (named.has(block) ? "only a name" : "only claims or messages"),
    ]),
    lineWidth,
    paint,
  );
  const lines = [...head, ...notes, ...heap, "", ...memberLines, ...(arrays.length > 0 ? ["", ...arrayLines] : [])];
  return fit(lines, height, false);
}

/** At most `height` lines; says how many more there are. */
function fit(lines: string[], height: number, count = true): string[] {
  if (lines.length <= height) return lines;
  return count ? [...lines.slice(0, height - 1), `and ${lines.length - height + 1} more`] : lines.slice(0, height);
}
