/** arraypool leaks NAME */

import { type Command, type Context, EXIT, seconds, wholeNumber } from "./command.ts";
import { commandOf, namesByBlock, typeOf } from "./describe.ts";
import { formatAge, formatBytes, plural, printable, shorten } from "./format.ts";
import { type Block, type Claim, type Facts, Look, type Member, type Name, type TraceOf } from "./look.ts";
import { unreadable } from "./inspect.ts";

/** See its help. */
export const leaks: Command = {
  name: "leaks",
  takes: "NAME",
  summary: "arrays by who holds them, from where, and since when",
  help:
    `Shows who holds how much of a pool, to find out who forgot to release: arrays grouped by member, the most bytes first. An
array with several holders is counted at each of them.

Of programs that were started with ARRAYPOOL_TRACE=1 it knows from which line of the program each array was taken hold of,
and since when, and groups by that. Of others it groups by element type and shape, and knows how old the arrays are: held for
that long at most. --for tells what grows: it shows only what was there all the time.

It only reads: the pool is not joined, locked or changed.`,
  options: { for: { type: "string" }, "older-than": { type: "string" }, limit: { type: "string" } },
  optionHelp: {
    "for S": "look twice, S seconds apart: only what was there both times, and by how much each group grew",
    "older-than S": "only what is held longer than that; or, of programs that are not traced, what is older than that",
    "limit N": "how many groups of each member to show (default 10)",
  },
  async run(context) {
    const watchedMs = context.options.for === undefined ? 0 : seconds(context, "for", 0);
    const olderThanMs = context.options["older-than"] === undefined ? 0 : seconds(context, "older-than", 0);
    const limit = wholeNumber(context, "limit", 10);
    const look = Look.open(context.args[0]!);
    try {
      let seen = observe(look);
      if (seen.facts.state !== "pool") {
        if (context.json) context.printJson({ name: seen.facts.name, state: seen.facts.state });
        else context.print(...unreadable(seen.facts));
        return seen.facts.state === "damaged" ? EXIT.no : EXIT.notOurs;
      }
      const before = watchedMs > 0 ? seen : undefined;
      if (before !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, watchedMs));
        seen = observe(look);
      }
      const holders = group(seen, before, olderThanMs);
      if (context.json) printAsJson(context, seen, holders, watchedMs);
      else printForPeople(context, seen, holders, limit, watchedMs);
      return EXIT.done;
    } finally {
      look.close();
    }
  },
};

interface Seen {
  facts: Facts;
  arrays: Block[];
  members: Member[];
  claims: Claim[];
  /** Blocks that names keep. */
  named: Map<Block, Name[]>;
  /** Element type and shape. */
  types: Map<Block, string>;
  traces: Map<number, TraceOf>;
}

function observe(look: Look): Seen {
  const facts = look.take();
  const arrays = look.arrays();
  const named = namesByBlock(look.names(), arrays);
  return {
    facts,
    arrays,
    members: look.members(),
    claims: look.claims(),
    named,
    types: new Map(arrays.map((array) => [array, typeOf(look, array, named.get(array))])),
    traces: look.traces(),
  };
}

interface Group {
  /** Of a traced member; otherwise its arrays are grouped by type. */
  stack: string | undefined;
  type: string | undefined;
  arrays: Block[];
  bytes: number;
  /** Milliseconds for which the oldest is held; for which it is there, where that is not known. */
  oldestMs: number;
  grew: number | undefined;
}

interface Holder {
  /** Or what holds it where no member does. */
  slot: number | "names" | "claims" | "messages";
  groups: Group[];
  arrays: number;
  bytes: number;
  /** Holds for which there was no room in the member's log. */
  leftOut: number;
}

const keyOf = ({ block, generation }: { block: number; generation: number }) => `${block}:${generation}`;

/** Each holding of an array: who, from where, for how long. */
function* holdings(seen: Seen): Generator<{ array: Block; slot: Holder["slot"]; stack?: string; ageMs: number }> {
  const traced = new Map<number, Map<string, { stack: string; since: number }>>();
  for (const [slot, { holds }] of seen.traces) {
    const byBlock = new Map<string, { stack: string; since: number }>();
    for (const hold of holds) {
      const known = byBlock.get(keyOf(hold));
      if (known === undefined || hold.since < known.since) byBlock.set(keyOf(hold), hold);
    }
    traced.set(slot, byBlock);
  }
  const claimed = new Set(seen.claims.map(keyOf));
  for (const array of seen.arrays) {
    const { ageMs } = array;
    if (array.holders.length === 0) yield { array, slot: heldBy(seen, claimed, array), ageMs };
    for (const slot of array.holders) {
      const hold = traced.get(slot)?.get(keyOf(array));
      yield hold === undefined
        ? { array, slot, ageMs }
        : { array, slot, stack: hold.stack, ageMs: Math.max(0, seen.facts.now - hold.since) };
    }
  }
}

/** What holds an array that no member holds. */
function heldBy(seen: Seen, claimed: ReadonlySet<string>, array: Block): Holder["slot"] {
  return seen.named.has(array) ? "names" : claimed.has(keyOf(array)) ? "claims" : "messages";
}

function group(seen: Seen, before: Seen | undefined, olderThanMs: number): Holder[] {
  const groupKey = ({ types }: Seen, slot: Holder["slot"], stack: string | undefined, array: Block) =>
    `${slot} ${stack ?? types.get(array)}`;
  const counts = new Map<string, number>();
  for (const { array, slot, stack } of before === undefined ? [] : holdings(before)) {
    const key = groupKey(before!, slot, stack, array);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const then = before && new Set(before.arrays.map(keyOf));
  const groups = new Map<string, Group & { slot: Holder["slot"]; all: number }>();
  for (const { array, slot, stack, ageMs } of holdings(seen)) {
    const key = groupKey(seen, slot, stack, array);
    let found = groups.get(key);
    if (found === undefined) {
      const type = stack === undefined ? seen.types.get(array) : undefined;
      groups.set(key, found = { slot, stack, type, arrays: [], bytes: 0, oldestMs: 0, grew: undefined, all: 0 });
    }
    found.all++;
    if (then !== undefined && !then.has(keyOf(array))) continue;
    if (ageMs < olderThanMs) continue;
    found.arrays.push(array);
    found.bytes += array.bytes;
    found.oldestMs = Math.max(found.oldestMs, ageMs);
  }
  const holders = new Map<Holder["slot"], Holder>();
  for (const [key, { slot, all, ...rest }] of groups) {
    if (rest.arrays.length === 0) continue;
    if (before !== undefined) rest.grew = all - (counts.get(key) ?? 0);
    let holder = holders.get(slot);
    if (holder === undefined) {
      const leftOut = typeof slot === "string" ? 0 : seen.traces.get(slot)?.leftOut ?? 0;
      holders.set(slot, holder = { slot, groups: [], arrays: 0, bytes: 0, leftOut });
    }
    holder.groups.push(rest);
    holder.arrays += rest.arrays.length;
    holder.bytes += rest.bytes;
  }
  for (const { groups } of holders.values()) groups.sort((a, b) => b.bytes - a.bytes);
  return [...holders.values()].sort((a, b) => b.bytes - a.bytes);
}

function printAsJson({ printJson }: Context, seen: Seen, holders: Holder[], watchedMs: number): void {
  printJson({
    name: seen.facts.name,
    watchedMs,
    still: seen.facts.still,
    holders: holders.map(({ slot, groups, leftOut, ...sums }) => {
      const member = seen.members.find((one) => one.slot === slot);
      return {
        slot: typeof slot === "string" ? null : slot,
        pid: member?.pid ?? null,
        threadId: member?.threadId ?? null,
        runtime: member?.runtime ?? null,
        state: typeof slot === "string" ? slot : member?.state ?? "gone",
        command: member?.command ?? null,
        traced: typeof slot === "number" && seen.traces.has(slot),
        ...sums,
        untraced: leftOut,
        groups: groups.map(({ stack, type, arrays, bytes, oldestMs, grew }) => ({
          stack: stack?.split("\n") ?? null,
          type: type ?? null,
          arrays: arrays.length,
          bytes,
          oldestMs,
          grew: grew ?? null,
          blocks: arrays.map(({ block }) => block),
        })),
      };
    }),
  });
}

const FRAMES = 8;

function printForPeople(context: Context, seen: Seen, holders: Holder[], limit: number, watchedMs: number): void {
  const { print, paint, lineWidth } = context;
  const { facts, members, traces, claims } = seen;
  if (holders.length === 0) {
    print(`nobody holds anything in pool ${facts.name}` + (watchedMs > 0 ? ` for ${formatAge(watchedMs)}` : ""));
    return;
  }
  for (const { slot, groups, arrays, bytes, leftOut } of holders) {
    const member = members.find((one) => one.slot === slot);
    const who = slot === "claims"
      ? "in flight, held by nothing but claims"
      : slot === "names"
      ? "kept by names, held by nobody"
      : slot === "messages"
      ? "in messages of channels, held by nobody"
      : member === undefined
      ? `slot ${slot}`
      : `process ${member.pid}` + (member.threadId === member.pid ? "" : ` thread ${member.threadId}`) +
        ` (${member.runtime}${member.state === "live" ? "" : `, ${member.state}`})`;
    print(`${paint.bold(who)}: ${plural(arrays, "array")}, ${formatBytes(bytes)}`);
    if (member !== undefined) print(paint.dim(shorten(`  ${commandOf(member)}`, lineWidth)));
    for (const { stack, type, arrays, bytes, oldestMs, grew } of groups.slice(0, limit)) {
      const age = stack === undefined
        ? `, up to ${formatAge(oldestMs)} old`
        : `, the oldest for ${formatAge(oldestMs)}`;
      const growth = grew === undefined || grew === 0
        ? ""
        : ", " + paint.yellow(`${grew > 0 ? "+" : ""}${grew} in ${formatAge(watchedMs)}`);
      print(`  ${plural(arrays.length, "array")}, ${formatBytes(bytes)}${type ? ` of ${type}` : ""}${age}${growth}`);
      if (stack === undefined) continue;
      for (const frame of stack.split("\n").slice(0, FRAMES)) {
        print(`      ${shorten(printable(frame), lineWidth - 6)}`);
      }
    }
    if (groups.length > limit) print(paint.dim(`  and ${groups.length - limit} more places or types`));
    if (leftOut > 0) print(paint.dim(`  ${plural(leftOut, "hold")} more than its trace has room for`));
    if (slot === "claims") {
      const own = new Set(groups.flatMap((group) => group.arrays.map(keyOf)));
      const last = claims.reduce((last, claim) => own.has(keyOf(claim)) ? Math.max(last, claim.leftMs) : last, 0);
      if (last > 0) print(paint.dim(`  the last claim expires in ${formatAge(last)}`));
    }
    if (member?.state === "dead") print(paint.dim(`  arraypool reap ${facts.name} takes this back`));
  }
  const blind = holders.some(({ slot }) => typeof slot === "number" && !traces.has(slot));
  if (blind) print("", paint.dim("start programs with ARRAYPOOL_TRACE=1 to see where they took hold, and since when"));
}
