/** Words, numbers and tables for people. */

import { formatBytes } from "../core/errors.ts";

export { formatBytes };

const styles = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const;

/** Marks text with colours, or not. */
export class Paint {
  readonly #on: boolean;

  constructor(on: boolean) {
    this.#on = on;
  }

  text(style: keyof typeof styles, text: string): string {
    return this.#on && text !== "" ? `\x1b[${styles[style]}m${text}\x1b[0m` : text;
  }
  bold(text: string): string {
    return this.text("bold", text);
  }
  dim(text: string): string {
    return this.text("dim", text);
  }
  red(text: string): string {
    return this.text("red", text);
  }
  green(text: string): string {
    return this.text("green", text);
  }
  yellow(text: string): string {
    return this.text("yellow", text);
  }
  blue(text: string): string {
    return this.text("blue", text);
  }
}

/** `5 min`: how long something took or is ago. */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

/** `1 array`, `2 arrays`. */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** `1.2k`: a number that has little room. */
export function formatRate(perSecond: number): string {
  if (perSecond < 0.05) return "0";
  if (perSecond < 10) return perSecond.toFixed(1);
  const units = ["", "k", "M", "G"];
  let unit = 0;
  while (perSecond >= 1000 && unit < units.length - 1) {
    perSecond /= 1000;
    unit++;
  }
  return `${perSecond < 10 && unit > 0 ? perSecond.toFixed(1) : Math.round(perSecond)}${units[unit]}`;
}

/** Text of others as it may be printed: no control characters, which could move a terminal's cursor. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "?");
}

/** A command line, with quotes where they are needed. */
export function formatCommand(parts: readonly string[]): string {
  return parts.map((part) => {
    const clean = printable(part);
    return /^[\w@%+=:,./-]+$/.test(clean) ? clean : `'${clean.replaceAll("'", "'\\''")}'`;
  }).join(" ");
}

/** Cut to `width` characters, with an ellipsis for what is gone. */
export function shorten(text: string, width: number): string {
  const characters = [...text];
  return characters.length <= width ? text : characters.slice(0, Math.max(0, width - 1)).join("") + "…";
}

/** A column of a table. The last one takes what room is left. */
export interface Column {
  title: string;
  right?: boolean;
}

/** A cell: its text, and what paints it. */
export type TableCell = string | { text: string; paint: (text: string) => string };

/** A table without borders, no line wider than `width`, and without the columns in which nothing stands. */
export function table(
  all: readonly Column[],
  allRows: readonly TableCell[][],
  width: number,
  paint: Paint,
): string[] {
  const text = (cell: TableCell | undefined) => cell === undefined ? "" : typeof cell === "string" ? cell : cell.text;
  const kept = all.map((_, i) => allRows.some((row) => text(row[i]) !== ""));
  const columns = all.filter((_, i) => kept[i]);
  const rows = allRows.map((row) => row.filter((_, i) => kept[i]));
  const widths = columns.map((column, i) =>
    rows.reduce((widest, row) => Math.max(widest, [...text(row[i])].length), column.title.length)
  );
  const before = widths.slice(0, -1).reduce((sum, one) => sum + one + 2, 0);
  widths[widths.length - 1] = Math.max(8, width - before);
  const line = (cells: readonly TableCell[], title: boolean) =>
    columns.map((column, i) => {
      const cell = cells[i];
      const shown = shorten(text(cell), widths[i]!);
      const painted = title ? paint.dim(shown) : typeof cell === "object" ? cell.paint(shown) : shown;
      if (i === columns.length - 1) return painted;
      const gap = " ".repeat(widths[i]! - [...shown].length);
      return column.right ? gap + painted : painted + gap;
    }).join("  ").trimEnd();
  return [line(columns.map(({ title }) => title), true), ...rows.map((row) => line(row, false))];
}
