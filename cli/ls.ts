/** arraypool ls */

import { PoolError } from "../core/errors.ts";
import { type Command, EXIT } from "./command.ts";
import { conditionOf, paintedCondition } from "./describe.ts";
import { formatAge, formatBytes, formatCommand, table } from "./format.ts";
import { type Facts, ifThere, type Member, poolNames } from "./look.ts";

interface Row {
  facts: Facts;
  creator: Member | undefined;
}

/** See its help. */
export const ls: Command = {
  name: "ls",
  takes: "",
  summary: "every pool of this user",
  help:
    `Lists every pool of this user in /dev/shm: its capacity, the memory that it takes there, how much of that is used
by how many arrays, its members, its age, and the process that made it. STATE is empty for a pool that somebody uses;
"dead" is one that nobody uses and nothing waits in (arraypool gc removes it), "waits" one in which something that was
sent waits for its receiver, "damaged" one that cannot be read, "layout N" one of another version.

It only reads: no pool is joined, locked or changed.`,
  run({ json, paint, print, printJson, lineWidth }) {
    const rows: Row[] = [];
    const unreadable: { name: string; error: string }[] = [];
    for (const name of poolNames()) {
      try {
        const row = ifThere(name, (look) => {
          const facts = look.take();
          // Its slot is the first; it may be another's by now.
          const creator = look.members().find(({ pid, state }) => pid === facts.creatorPid && state !== "dead");
          return { facts, creator };
        });
        if (row !== undefined) rows.push(row); // gone meanwhile
      } catch (error) {
        if (!(error instanceof PoolError)) throw error;
        unreadable.push({ name, error: error.code });
      }
    }
    if (json) {
      printJson({
        pools: rows.map(({ facts, creator }) => ({ ...poolJson(facts), creatorCommand: creator?.command ?? null })),
        unreadable,
      });
      return EXIT.done;
    }
    if (rows.length + unreadable.length === 0) {
      print("no pools");
      return EXIT.done;
    }
    const lines = table(
      [
        { title: "NAME" },
        { title: "SIZE", right: true },
        { title: "BACKED", right: true },
        { title: "USED", right: true },
        { title: "ARRAYS", right: true },
        { title: "MEMBERS", right: true },
        { title: "AGE", right: true },
        { title: "STATE" },
        { title: "CREATOR" },
      ],
      [
        ...rows.map(({ facts, creator }) => {
          const known = facts.state === "pool";
          const there = facts.state !== "damaged";
          return [
            { text: facts.name, paint: (text: string) => paint.bold(text) },
            there ? formatBytes(facts.capacityBytes) : "",
            formatBytes(facts.takenBytes),
            known ? formatBytes(facts.usedBytes) : "",
            known ? String(facts.arrays) : "",
            known ? memberCount(facts) : "",
            there ? formatAge(facts.now - facts.createdAt) : "",
            paintedCondition(facts, paint),
            known ? creatorOf(facts, creator) : "",
          ];
        }),
        ...unreadable.map(({ name, error }) => [
          { text: name, paint: (text: string) => paint.bold(text) },
          ...["", "", "", "", "", ""],
          { text: error === "ERR_PERMISSION" ? "not 0600" : error, paint: (text: string) => paint.red(text) },
          "",
        ]),
      ],
      lineWidth,
      paint,
    );
    print(...lines);
    const dead = rows.filter(({ facts }) => conditionOf(facts) === "dead");
    if (dead.length > 0) print("", paint.dim("arraypool gc removes the dead ones"));
    return EXIT.done;
  },
};

function memberCount({ members, deadMembers }: Facts): string {
  return deadMembers > 0 ? `${members} +${deadMembers} dead` : String(members);
}

function creatorOf({ creatorPid, creatorRuntime }: Facts, creator: Member | undefined): string {
  return `${creatorPid} ` +
    (creator?.command === undefined ? `${creatorRuntime}, gone` : formatCommand(creator.command));
}

/** A pool as it stands in JSON. */
export function poolJson(facts: Facts): Record<string, unknown> {
  const { name, state, life, version, fileBytes, takenBytes, unlinked, ...rest } = facts;
  const always = { name, state, life, layoutVersion: version, fileBytes, takenBytes };
  if (state === "damaged") return always;
  const dates = { createdAt: new Date(facts.createdAt).toISOString(), ageMs: Math.max(0, facts.now - facts.createdAt) };
  if (state === "other version") return { ...always, capacityBytes: facts.capacityBytes, ...dates };
  const { now: _, createdAt: __, lockPid, corrupt, ...numbers } = rest;
  return {
    ...always,
    unlinked,
    ...numbers,
    damaged: corrupt,
    lockPid: facts.lock === "free" ? null : lockPid,
    ...dates,
  };
}
