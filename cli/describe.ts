/** What several commands say about a pool, its members and its arrays. */

import { formatAge, formatBytes, formatCommand, type Paint, plural, type TableCell } from "./format.ts";
import type { Block, Facts, Member, Name, TraceOf } from "./look.ts";

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

/** `float64[1000]`, or `float64[20 x 50]` where a name says its shape; otherwise that stands in descriptors only. */
export function typeOf({ dtype, length }: Block, shape: readonly number[] = [length]): string {
  return `${dtype ?? "?"}[${shape.join(" x ")}]`;
}

/** The names of arrays, and their shapes where a name says them, by block. */
export function namesByBlock(names: readonly Name[], arrays: readonly Block[]): Map<Block, Name[]> {
  const found = new Map<Block, Name[]>();
  const known = new Map(arrays.map((array) => [`${array.block}:${array.generation}`, array]));
  for (const name of names) {
    const array = name.madeBy === undefined ? known.get(`${name.block}:${name.generation}`) : undefined;
    if (array !== undefined) found.set(array, [...found.get(array) ?? [], name]);
  }
  return found;
}

/** The shape that a name of the whole array says, or a traced member that holds it. */
export function shapeOf(array: Block, names: readonly Name[] = [], traced?: Shapes): readonly number[] | undefined {
  const named = names.find(({ offset, bytes, shape }) => shape !== undefined && offset === 0 && bytes === array.bytes);
  return named?.shape ?? traced?.get(`${array.block}:${array.generation}:${array.length}`);
}

/** Shapes by block, generation and number of elements: of the whole array, and not of a part that somebody attached. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** What traced members say of the shapes of what they hold. */
export function shapesTraced(traces: Iterable<TraceOf>): Shapes {
  const found = new Map<string, readonly number[]>();
  for (const { holds } of traces) {
    for (const { block, generation, shape } of holds) {
      const length = shape?.reduce((product, axis) => product * axis, 1);
      if (shape !== undefined) found.set(`${block}:${generation}:${length}`, shape);
    }
  }
  return found;
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
