/**
 * What a part of the benchmark prints: one row of the table as a line of JSON. `run.mjs` reads them, adds the verdict and
 * prints the table. Every figure is a ratio of two things that were measured in turn, round by round, in the same run.
 */

import process from "node:process";

/** Two things side by side, or one size. */
export interface Row {
  /** Where: "Bun", "Deno", "native" … */
  where: string;
  work: string;
  against: string;
  /** Medians over the rounds. */
  ours: number;
  theirs?: number;
  unit: "ns" | "bytes";
  /** "faster": `figure` is how often ours fits into theirs. "cost": the other way round. "size", "most": `ours` itself. */
  kind: "faster" | "cost" | "size" | "most";
  /** Median of the rounds' ratios. */
  figure: number;
  /** At least for "faster", at most for the others. */
  goal?: number;
  /** More for the file of results. */
  notes?: Record<string, unknown>;
}

/** This runtime, as the table names it. */
export const runtime: "Bun" | "Deno" = process.versions.bun ? "Bun" : "Deno";

/** Makes the row of two sides, from what each round measured of them. */
export function compare(
  row: Omit<Row, "where" | "ours" | "theirs" | "unit" | "figure">,
  oursNs: readonly number[],
  theirsNs: readonly number[],
): Row {
  if (oursNs.length !== theirsNs.length) throw new Error(`${row.work}: the sides have not taken turns`);
  const ratios = oursNs.map((ours, round) => row.kind === "cost" ? ours / theirsNs[round]! : theirsNs[round]! / ours);
  return {
    where: runtime,
    ...row,
    ours: median(oursNs),
    theirs: median(theirsNs),
    unit: "ns",
    figure: median(ratios),
  };
}

/** Hands a row to `run.mjs`. */
export function print(row: Row): void {
  console.log(JSON.stringify(row));
}

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A name for a pool of this run: `run.mjs` looks for what is left of it. */
export function poolName(suffix: string): string {
  return `${process.env.ARRAYPOOL_BENCH ?? `bench-${process.pid}`}-${suffix}`;
}
