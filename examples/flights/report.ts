/** Prints the answer, and what each way of computing it took. */

import { readFileSync } from "node:fs";
import type { Estimate } from "./bootstrap.ts";
import type { Measurement } from "./measure.ts";

/** The airports with the longest mean delay. */
export function printWorst(estimates: Estimate[], codes: string[], count: number): void {
  const cities = readCities();
  const worst = estimates.filter(({ flights }) => flights >= 1000).sort((a, b) => b.mean - a.mean).slice(0, count);
  console.log();
  printTable(
    ["airport", "", "flights", "mean delay", "95 % confidence"],
    worst.map(({ origin, flights, mean, low, high }) => [
      codes[origin]!,
      cities.get(codes[origin]!) ?? "",
      flights.toLocaleString("en"),
      `${mean.toFixed(1)} min`,
      `${low.toFixed(1)} to ${high.toFixed(1)} min`,
    ]),
    2,
  );
  console.log();
}

/** Compares with the first of them. */
export function printMeasurements(measurements: Measurement[]): void {
  console.log();
  printTable(
    ["", "time", "faster", "start-up", "sent over IPC", "memory"],
    measurements.map(({ label, seconds, startSeconds, sentBytes, memoryBytes }) => [
      label,
      `${seconds.toFixed(1)} s`,
      `${(measurements[0]!.seconds / seconds).toFixed(2)}×`,
      `${startSeconds.toFixed(2)} s`,
      megabytes(sentBytes),
      memoryBytes === undefined ? "unknown" : megabytes(memoryBytes),
    ]),
    1,
  );
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 0)} MB`;

/** Columns as wide as their content, the first `leftAligned` to the left and the others to the right. */
function printTable(head: string[], body: string[][], leftAligned: number): void {
  const rows = [head, ...body];
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column < leftAligned ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)
    );
    console.log(`  ${cells.join("   ")}`);
  }
}

function readCities(): Map<string, string> {
  const path = new URL("../../node_modules/vega-datasets/data/airports.csv", import.meta.url);
  const lines = readFileSync(path, "utf8").split("\n");
  return new Map(lines.map((line) => line.split(",")).map(([code, , city]) => [code!, city!]));
}
