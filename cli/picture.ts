/** The heap as a picture in the terminal: each character stands for an equal part of it, from its start on. */

import type { Paint } from "./format.ts";
import { formatBytes } from "./format.ts";
import type { Cell, Look } from "./look.ts";

const MARKS = {
  full: "█",
  part: "▄",
  claimed: "▒",
  free: "░",
  empty: "·",
} as const;

const PAGE_BYTES = 64 * 1024;

/** Which mark a cell of `bytes` gets. */
export function markOf({ used, claimed, free }: Cell, bytes: number): keyof typeof MARKS {
  const taken = used + claimed;
  if (claimed > used) return "claimed";
  if (taken >= bytes / 2) return "full";
  if (taken > 0) return "part";
  return free > 0 ? "free" : "empty";
}

/** The lines of the picture, at most `rows` of `width` characters, and its legend. */
export function drawHeap(
  look: Look,
  heap: { capacityBytes: number; reachBytes: number },
  width: number,
  rows: number,
  paint: Paint,
): string[] {
  if (heap.reachBytes === 0) return ["nothing in it yet"];
  // Up to where it was ever used: of a large heap that would be one character.
  const shownBytes = Math.min(heap.capacityBytes, Math.ceil(heap.reachBytes / PAGE_BYTES) * PAGE_BYTES);
  const count = Math.max(1, Math.min(width * rows, Math.ceil(shownBytes / 64)));
  const cellBytes = shownBytes / count;
  const painters: Record<keyof typeof MARKS, (text: string) => string> = {
    full: (text) => paint.green(text),
    part: (text) => paint.green(text),
    claimed: (text) => paint.yellow(text),
    free: (text) => paint.blue(text),
    empty: (text) => paint.dim(text),
  };
  const marks = look.picture(shownBytes, count).map((cell) => markOf(cell, cellBytes));
  const lines: string[] = [];
  for (let from = 0; from < marks.length; from += width) {
    let line = "";
    const row = marks.slice(from, from + width);
    for (let i = 0; i < row.length;) {
      let end = i;
      while (end < row.length && row[end] === row[i]) end++;
      line += painters[row[i]!](MARKS[row[i]!].repeat(end - i));
      i = end;
    }
    lines.push(line);
  }
  const beyond = heap.capacityBytes - shownBytes;
  lines.push(
    paint.dim(
      `${MARKS.full} used  ${MARKS.part} less than half used  ${MARKS.claimed} only claimed  ${MARKS.free} free  ` +
        `${MARKS.empty} free, takes no memory`,
    ),
    paint.dim(
      `one character is ${formatBytes(cellBytes)}` +
        (beyond > 0 ? `; ${formatBytes(beyond)} beyond it take no memory` : ""),
    ),
  );
  return lines;
}
