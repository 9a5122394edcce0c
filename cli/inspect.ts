/** arraypool inspect NAME */

import { type Command, type Context, EXIT, wholeNumber } from "./command.ts";
import { commandOf, conditionOf, holderNames, namesByBlock, shapeOf, typeOf } from "./describe.ts";
import { formatAge, formatBytes, formatCount, plural, printable, table } from "./format.ts";
import {
  type Block,
  type ChannelOf,
  type Claim,
  type Facts,
  type Look,
  lookAt,
  type Member,
  type Name,
} from "./look.ts";
import { drawHeap } from "./picture.ts";
import { poolJson } from "./ls.ts";

const PICTURE_ROWS = 6;

/** See its help. */
export const inspect: Command = {
  name: "inspect",
  takes: "NAME",
  summary: "members, largest and oldest arrays, claims and a picture of the heap",
  help:
    `Shows one pool: who is in it, its largest and its oldest arrays with their element type, shape, age, names and holders,
what waits to be attached, and how its heap is used.

It only reads: the pool is not joined, locked or changed. Where members worked on it meanwhile, it says how many entries
of its tables changed while they were read.`,
  options: { arrays: { type: "string" } },
  optionHelp: { "arrays N": "how many of the largest arrays to show, and of the oldest (default 10)" },
  run(context) {
    const count = wholeNumber(context, "arrays", 10);
    return lookAt(context.args[0]!, (look) => {
      const facts = look.take();
      if (facts.state !== "pool") {
        if (context.json) context.printJson({ pool: poolJson(facts) });
        else context.print(...unreadable(facts));
        return facts.state === "damaged" ? EXIT.no : EXIT.notOurs;
      }
      const blocks = look.arrays().sort((a, b) => b.bytes - a.bytes || b.ageMs - a.ageMs);
      const found = {
        facts,
        blocks,
        members: look.members(),
        claims: look.claims(),
        names: look.names(),
        channels: look.channels(),
      };
      if (context.json) printAsJson(context, look, found, count);
      else printForPeople(context, look, found, count);
      return facts.corrupt ? EXIT.no : EXIT.done;
    });
  },
};

interface Found {
  facts: Facts;
  blocks: Block[];
  members: Member[];
  claims: Claim[];
  names: Name[];
  channels: ChannelOf[];
}

function printAsJson(
  { printJson }: Context,
  look: Look,
  { facts, blocks, members, claims, names, channels }: Found,
  count: number,
): void {
  const named = namesByBlock(names, blocks);
  printJson({
    pool: poolJson(facts),
    members: members.map(memberJson),
    arrays: blocks.slice(0, count).map((block) => arrayJson(look, block, named.get(block))),
    oldest: oldestOf(blocks).slice(0, count).map((block) => arrayJson(look, block, named.get(block))),
    names: names.map(({ madeBy, shape, ...name }) => ({ ...name, shape: shape ?? null, madeBy: madeBy ?? null })),
    channels,
    claims: claims.map((claim) => ({ ...claim })),
  });
}

/** A member as it stands in JSON. */
export function memberJson(member: Member): Record<string, unknown> {
  const { joinedAt, command, ...rest } = member;
  return { ...rest, joinedAt: new Date(joinedAt).toISOString(), command: command ?? null };
}

/** An array as it stands in JSON. */
export function arrayJson(look: Look, block: Block, names: readonly Name[] = []): Record<string, unknown> {
  const { dtype, kind: _, ...rest } = block;
  return {
    ...rest,
    dtype: dtype ?? null,
    shape: shapeOf(look, block, names),
    names: names.map(({ name }) => name),
  };
}

function oldestOf(blocks: readonly Block[]): Block[] {
  return [...blocks].sort((a, b) => b.ageMs - a.ageMs);
}

function printForPeople({ print, paint, width, lineWidth }: Context, look: Look, found: Found, count: number): void {
  const { facts, blocks, members, claims, names, channels } = found;
  const named = namesByBlock(names, blocks);
  const condition = conditionOf(facts);
  print(
    paint.bold(`pool ${facts.name}`) + (condition === "" ? "" : "  " + paint.yellow(condition)),
    `made ${formatAge(facts.now - facts.createdAt)} ago by process ${facts.creatorPid} (${facts.creatorRuntime})`,
    `${formatBytes(facts.usedBytes)} of ${formatBytes(facts.capacityBytes)} used by ${
      plural(facts.arrays, "array")
    }; ` +
      `takes ${formatBytes(facts.takenBytes)} of /dev/shm, ${formatBytes(facts.metadataBytes)} of it for its tables`,
    `free: ${formatBytes(facts.freeBackedBytes)} with memory, in all ${
      formatBytes(facts.capacityBytes - facts.usedBytes - facts.reservedBytes)
    } in ${plural(facts.freeRuns, "run")}, the largest ${formatBytes(facts.largestFreeBytes)}`,
    `${plural(facts.claims, "claim")}; ${formatBytes(facts.claimedBytes)} held by nothing but claims and messages; ` +
      `claims wait ${formatAge(facts.claimTtlMs)} unless they say otherwise`,
  );
  for (const line of remarks(facts)) print(paint.yellow(line));
  for (const { name, madeBy } of names) {
    if (madeBy !== undefined) print(paint.yellow(`process ${madeBy} makes what ${printable(name)} is to name`));
  }

  print("", paint.bold("Heap"), ...drawHeap(look, facts, width, PICTURE_ROWS, paint));

  print("", paint.bold("Members"));
  if (members.length === 0) print("nobody");
  else print(...memberTable(members, facts.now, lineWidth, paint));

  const listed = (some: readonly Block[]) =>
    table(
      [
        { title: "BLOCK", right: true },
        { title: "BYTES", right: true },
        { title: "TYPE" },
        { title: "AGE", right: true },
        { title: "CLAIMS", right: true },
        { title: "NAME" },
        { title: "HELD BY PROCESS" },
      ],
      some.slice(0, count).map((block) => [
        String(block.block),
        formatBytes(block.bytes),
        typeOf(look, block, named.get(block)),
        formatAge(block.ageMs),
        String(block.claims),
        (named.get(block) ?? []).map(({ name }) => printable(name)).join(", "),
        holderNames(block.holders, members) || (named.has(block) ? "nobody" : "only claims or messages"),
      ]),
      lineWidth,
      paint,
    ).join("\n"); // not spread: an engine takes some 100,000 arguments
  const areAll = count >= blocks.length;
  print("", paint.bold(areAll ? "Arrays" : `The largest of ${plural(blocks.length, "array")}`));
  print(blocks.length === 0 ? "none" : listed(blocks));
  if (!areAll) print("", paint.bold("The oldest"), listed(oldestOf(blocks)));

  if (channels.length > 0) {
    print(
      "",
      paint.bold(channels.length > count ? `The fullest of ${plural(channels.length, "channel")}` : "Channels"),
    );
    print(
      table(
        [
          { title: "BLOCK", right: true },
          { title: "MESSAGES", right: true },
          { title: "CAPACITY", right: true },
          { title: "SENT", right: true },
          { title: "STATE" },
        ],
        [...channels].sort((a, b) => b.depth - a.depth).slice(0, count).map((channel) => [
          String(channel.block),
          String(channel.depth),
          String(channel.capacity),
          formatCount(channel.sent),
          (channel.closed ? "closed" : "open") +
          (channel.unacknowledged > 0 ? `, ${channel.unacknowledged} not acknowledged` : ""),
        ]),
        lineWidth,
        paint,
      ).join("\n"),
    );
  }

  if (claims.length === 0) return;
  print("", paint.bold(claims.length > count ? `The next to expire of ${plural(claims.length, "claim")}` : "Claims"));
  print(
    table(
      [
        { title: "BLOCK", right: true },
        { title: "ATTACHES LEFT", right: true },
        { title: "EXPIRES IN" },
      ],
      claims.sort((a, b) => a.leftMs - b.leftMs).slice(0, count).map((claim) => [
        String(claim.block),
        String(claim.attaches),
        claim.leftMs > 0 ? formatAge(claim.leftMs) : "expired",
      ]),
      lineWidth,
      paint,
    ).join("\n"),
  );
}

/** Members as a table. */
export function memberTable(members: readonly Member[], now: number, width: number, paint: Context["paint"]): string[] {
  return table(
    [
      { title: "SLOT", right: true },
      { title: "PROCESS", right: true },
      { title: "THREAD", right: true },
      { title: "RUNTIME" },
      { title: "STATE" },
      { title: "ARRAYS", right: true },
      { title: "BYTES", right: true },
      { title: "JOINED", right: true },
      { title: "COMMAND" },
    ],
    members.map((member) => [
      String(member.slot),
      String(member.pid),
      member.threadId === member.pid ? "main" : String(member.threadId),
      member.runtime,
      {
        text: member.state,
        paint: (text: string) =>
          member.state === "live" ? text : member.state === "dead" ? paint.red(text) : paint.yellow(text),
      },
      String(member.arrays),
      formatBytes(member.bytes),
      formatAge(now - member.joinedAt),
      commandOf(member),
    ]),
    width,
    paint,
  );
}

/** What is unusual about a pool. */
export function remarks(facts: Facts): string[] {
  const lines: string[] = [];
  if (facts.corrupt) lines.push("a recovery has found it damaged: see arraypool check " + facts.name);
  if (facts.lock === "orphaned") {
    lines.push("a member died at work: whoever needs the lock next repairs the metadata and goes on");
  }
  if (facts.lock === "held" && facts.moving === 0) {
    lines.push(`process ${facts.lockPid} keeps the lock: if it is stopped, let it go on (kill -CONT ${facts.lockPid})`);
  }
  if (facts.deadMembers > 0) {
    lines.push(
      `${plural(facts.deadMembers, "member")} died and ${
        facts.deadMembers === 1 ? "was" : "were"
      } not reaped yet: arraypool reap ${facts.name}`,
    );
  }
  if (facts.recoveries > 0) lines.push(`repaired ${facts.recoveries} times after a member died at work`);
  if (facts.moving > 0) lines.push(`in motion: ${facts.moving} entries of its tables changed while they were read`);
  return lines;
}

/** What can be said of a pool that cannot be read. */
export function unreadable(facts: Facts): string[] {
  if (facts.state === "damaged") {
    return [
      `pool ${facts.name} is damaged: its header is not one of a pool, or does not fit its file`,
      `it takes ${formatBytes(facts.takenBytes)} of /dev/shm; ${
        facts.life === "live" ? "somebody is in it" : `nobody is in it: arraypool rm ${facts.name} removes it`
      }`,
    ];
  }
  return [
    `pool ${facts.name} was made by another version of arraypool (layout ${facts.version}): use its command line`,
    `${formatBytes(facts.capacityBytes)} capacity, takes ${formatBytes(facts.takenBytes)} of /dev/shm, ${
      facts.life === "live" ? "somebody is in it" : `nobody is in it: arraypool gc removes it`
    }`,
  ];
}
