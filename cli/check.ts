/** arraypool check NAME */

import { Pool, PoolError } from "../mod.ts";
import { type Command, EXIT } from "./command.ts";
import { lookAt, type Verdict } from "./look.ts";
import { unreadable } from "./inspect.ts";

/** See its help. */
export const check: Command = {
  name: "check",
  takes: "NAME",
  summary: "walk all metadata, and say what is broken",
  help:
    `Walks all metadata of a pool and compares it with itself: the chain of blocks, the free lists, holders, claims and
counts. Exit code 0: sound. 1: damaged; it says what was found, and what to do.

It walks a copy, made without joining the pool. If the pool never stands still for as long as it takes to copy it, the
walk is done from inside instead: it joins as any program does, holds the lock for the walk, and leaves. With --no-join it
does not, and ends with exit code 5.`,
  options: { "no-join": { type: "boolean" } },
  optionHelp: { "no-join": "never join, though the answer may be that it could not be told" },
  run({ args, options, json, print, printJson, paint }) {
    const name = args[0]!;
    const { facts, verdict, from } = lookAt(name, (look) => {
      const verdict = look.check();
      const facts = look.take(1);
      if (verdict.result !== "unsure" || options["no-join"] === true) return { facts, verdict, from: "outside" };
      return { facts, verdict: checkInside(name), from: "inside" };
    });
    const advice = adviceFor(verdict, name, facts.life === "live");
    if (json) {
      printJson({
        name,
        result: verdict.result,
        finding: verdict.result === "damaged" ? verdict.finding : null,
        advice: advice.length > 0 ? advice.join(" ") : null,
        joined: from === "inside",
      });
    } else if (facts.state === "other version") {
      print(...unreadable(facts));
    } else {
      const paints = { sound: paint.green, repairable: paint.yellow, unsure: paint.yellow, damaged: paint.red };
      const says = verdict.result === "damaged" ? `damaged: ${verdict.finding}` : verdict.result;
      print(`pool ${name} is ${paints[verdict.result].call(paint, says)}`, ...advice);
    }
    if (facts.state === "other version") return EXIT.notOurs;
    return verdict.result === "damaged" ? EXIT.no : verdict.result === "unsure" ? EXIT.busy : EXIT.done;
  },
};

function checkInside(name: string): Verdict {
  const pool = Pool.open(name); // not `using`: an old Node is to get as far as saying that it is too old
  try {
    pool.check();
    return { result: "sound" };
  } catch (error) {
    if (!(error instanceof PoolError)) throw error;
    if (error.code === "ERR_CORRUPT_SEGMENT") return { result: "damaged", finding: findingIn(error.message) };
    throw error;
  } finally {
    pool.close();
  }
}

function findingIn(message: string): string {
  return /is damaged: (.*)\. End the programs/.exec(message)?.[1] ?? message;
}

function adviceFor(verdict: Verdict, name: string, live: boolean): string[] {
  switch (verdict.result) {
    case "sound":
      return [];
    case "repairable":
      return [
        "A member died in the middle of a change. Nothing is lost: the next one to allocate, attach or release in it",
        "takes the lock over and repairs that.",
      ];
    case "unsure":
      return ["It did not stand still while it was read: try again, without --no-join, or when it is less busy."];
    case "damaged":
      return live
        ? [
          "Something has written over its metadata. Arrays that members hold stay as they are, but do not trust new ones:",
          "save what you need, end the programs that use the pool (arraypool inspect shows them), and create it anew.",
          "A native library that writes beyond its array cannot reach the metadata: look for what maps the segment itself.",
        ]
        : [`Something has written over its metadata, and nobody uses it: arraypool rm ${name} removes it.`];
  }
}
