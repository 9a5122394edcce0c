/** arraypool reap NAME, trim NAME, rm NAME and gc: the commands that change something. */

import { Pool } from "../mod.ts";
import { type Command, type Context, EXIT } from "./command.ts";
import { formatAge, formatBytes, plural } from "./format.ts";
import { type Facts, ifThere, lookAt, poolNames, removePool, sweep } from "./look.ts";
import { unreadable } from "./inspect.ts";

/** See its help. */
export const reap: Command = {
  name: "reap",
  takes: "NAME",
  summary: "take back what dead members and expired claims held",
  help:
    `Takes back what dead members and expired claims held, at once. Pools do so by themselves where memory runs short, and
where somebody joins. It joins the pool for that, and leaves.`,
  run(context) {
    const name = context.args[0]!;
    const before = lookAt(name, (look) => look.take());
    const refused = refuse(context, before);
    if (refused !== undefined) return refused;
    const after = inside(name, (pool) => pool.reap());
    const freed = {
      members: before.deadMembers,
      claims: Math.max(0, before.claims - after.claims),
      arrays: Math.max(0, before.arrays - after.arrays),
      bytes: Math.max(0, before.usedBytes - after.usedBytes),
    };
    if (context.json) context.printJson({ name, reaped: freed });
    else if (freed.members + freed.claims + freed.arrays === 0) context.print("nothing to reap");
    else {
      context.print(
        `reaped ${plural(freed.members, "dead member")} and ${plural(freed.claims, "claim")}: ` +
          `${plural(freed.arrays, "array")}, ${formatBytes(freed.bytes)}`,
      );
    }
    return EXIT.done;
  },
};

/** See its help. */
export const trim: Command = {
  name: "trim",
  takes: "NAME",
  summary: "give free memory back to the system",
  help:
    `Gives the memory behind free parts of the heap back to the system. The pool takes it again when it needs it. It joins
the pool for that, and leaves.`,
  run(context) {
    const name = context.args[0]!;
    const refused = refuse(context, lookAt(name, (look) => look.take()));
    if (refused !== undefined) return refused;
    let bytes = 0;
    const after = inside(name, (pool) => bytes = pool.trim());
    if (context.json) context.printJson({ name, trimmedBytes: bytes, takenBytes: after.takenBytes });
    else context.print(`gave ${formatBytes(bytes)} back; takes ${formatBytes(after.takenBytes)} of /dev/shm`);
    return EXIT.done;
  },
};

/** Joins, and looks from outside once more before it leaves. */
function inside(name: string, use: (pool: Pool) => void): Facts {
  const pool = Pool.open(name); // not `using`: an old Node is to get as far as saying that it is too old
  try {
    use(pool);
    return lookAt(name, (look) => look.take());
  } finally {
    pool.close();
  }
}

/** Only where somebody is: the last one to leave a pool removes it. */
function refuse(context: Context, facts: Facts): number | undefined {
  const { name, state, life } = facts;
  const lines = state !== "pool"
    ? unreadable(facts)
    : life === "live"
    ? undefined
    : life === "dead"
    ? [`nobody is in pool ${name}: arraypool gc removes it`]
    : [`nobody is in pool ${name}; something that was sent waits in it for ${formatAge(facts.waitsMs)}`];
  if (lines === undefined) return undefined;
  if (context.json) context.printJson({ name, refused: lines.join("; ") });
  else context.print(...lines);
  return state === "other version" ? EXIT.notOurs : EXIT.no;
}

/** See its help. */
export const rm: Command = {
  name: "rm",
  takes: "NAME",
  summary: "remove one pool",
  help:
    `Removes a pool, if nobody is in it and nothing that was sent waits in it. With --force, also then: its members go on
with the memory that they have, which is given back when the last of them ends, and nobody finds the pool any more.`,
  options: { force: { type: "boolean" } },
  optionHelp: { force: "also while members live in it, or something waits" },
  run({ args, options, json, print, printJson }) {
    const name = args[0]!;
    const facts = lookAt(name, (look) => look.take());
    const force = options.force === true;
    // It looks again for itself: somebody may have come since, or gone.
    const became = removePool(name, force);
    const removed = became === "removed";
    const why = became === "waiting"
      ? `something that was sent waits in it${facts.waitsMs > 0 ? ` for ${formatAge(facts.waitsMs)}` : ""}`
      : `${facts.members > 0 ? plural(facts.members, "member") : "somebody"} ${
        facts.members > 1 ? "live" : "lives"
      } in it`;
    if (json) printJson({ name, removed, refused: removed ? null : why, freedBytes: removed ? facts.takenBytes : 0 });
    else if (removed) {
      print(
        facts.life === "live"
          ? `removed the name of pool ${name}; ${formatBytes(facts.takenBytes)} come back when its members end`
          : `removed pool ${name}: ${formatBytes(facts.takenBytes)}`,
      );
    } else print(`pool ${name} was not removed: ${why}. arraypool rm ${name} --force removes it all the same`);
    return removed ? EXIT.done : EXIT.no;
  },
};

/** See its help. */
export const gc: Command = {
  name: "gc",
  takes: "",
  summary: "remove all dead pools",
  help:
    `Removes every pool of this user that nobody is in and nothing waits in: what is left of programs that were killed. A
new pool does the same. Files that are no pool are left alone.`,
  run({ json, print, printJson }) {
    const before = poolNames().map((name) => factsOf(name)).filter((facts) => facts !== undefined);
    sweep();
    const removed = before.filter(({ name, life }) => life !== "live" && factsOf(name) === undefined)
      .map(({ name, takenBytes }) => ({ name, takenBytes }));
    if (json) printJson({ removed });
    else {
      for (const { name, takenBytes } of removed) print(`removed pool ${name}: ${formatBytes(takenBytes)}`);
      if (removed.length === 0) print("no dead pools");
    }
    return EXIT.done;
  },
};

function factsOf(name: string): Facts | undefined {
  try {
    return ifThere(name, (look) => look.take(1));
  } catch {
    return undefined; // not ours, or no pool
  }
}
