/** What several commands say about a pool, its members and its arrays. */

import { formatAge, formatBytes, formatCommand, type Paint, plural, type TableCell } from "./format.ts";
import type { Block, Facts, Look, Member, Name } from "./look.ts";

/** `dead`, `waits`, `damaged` …; empty for a pool in which somebody lives. */
export function conditionOf(facts: Facts): string {
  if (facts.state === "damaged") return facts.life === "live" ? "damaged" : "damaged, dead";
  if (facts.state === "other version") return `layout ${facts.version}` + (facts.life === "dead" ? ", dead" : "");
  if (facts.corrupt) return facts.life === "live" ? "damaged" : "damaged, dead";
  if (facts.life === "dead") return "dead";
  if (facts.life === "waiting") return `waits ${formatAge(facts.waitsMs)}`;
  return facts.lock === "orphaned" ? "lock orphaned" : "";
}

/** The same, in colour. */
export function paintedCondition(facts: Facts, paint: Paint): TableCell {
  const text = conditionOf(facts);
  return { text, paint: (shown) => /damaged/.test(text) ? paint.red(shown) : paint.yellow(shown) };
}

/** `float64[1000]`, or `float64[20 x 50]`. */
export function typeOf(look: Look, array: Block, names?: readonly Name[]): string {
  return `${array.dtype ?? "?"}[${shapeOf(look, array, names).join(" x ")}]`;
}

/** The names of arrays, by block. */
export function namesByBlock(names: readonly Name[], arrays: readonly Block[]): Map<Block, Name[]> {
  const found = new Map<Block, Name[]>();
  const known = new Map(arrays.map((array) => [`${array.block}:${array.generation}`, array]));
  for (const name of names) {
    const array = name.madeBy === undefined ? known.get(`${name.block}:${name.generation}`) : undefined;
    if (array !== undefined) found.set(array, [...found.get(array) ?? [], name]);
  }
  return found;
}

/** The shape that an array was made with, or that a name of the whole array says. */
export function shapeOf(look: Look, array: Block, names: readonly Name[] = []): readonly number[] {
  const isOfAll = ({ offset, bytes, shape }: Name) => shape !== undefined && offset === 0 && bytes === array.bytes;
  return look.shapeOf(array) ?? names.find(isOfAll)?.shape ?? [array.length];
}

/** `4 (bun 1234)`, or just the slot of one that is gone. */
export function holderNames(slots: readonly number[], members: readonly Member[]): string {
  const shown = slots.slice(0, 4).map((slot) => {
    const member = members.find((one) => one.slot === slot);
    return member === undefined ? `slot ${slot}` : `${member.pid}${member.state === "dead" ? " (dead)" : ""}`;
  });
  return shown.join(" ") + (slots.length > 4 ? ` and ${slots.length - 4} more` : "");
}

/** The command line of a member, or why there is none. */
export function commandOf(member: Member): string {
  if (member.command !== undefined) return formatCommand(member.command);
  return member.state === "dead" ? "(gone)" : "(in another PID namespace, or hidden)";
}

/** How full it is, in words. */
export function usage(facts: Facts): string {
  return `${formatBytes(facts.usedBytes)} used by ${plural(facts.arrays, "array")}, ` +
    `${formatBytes(facts.capacityBytes)} capacity, takes ${formatBytes(facts.takenBytes)} of /dev/shm`;
}
