// From a file of results to what the documentation shows: the plots, and the table in docs/performance.md.
//
//     npm run bench -- --docs          measures, and does this at the end
//     node bench/report.mjs FILE       does it with the results of an earlier run
//     node bench/report.mjs            once more with those that the documentation shows (docs/plots/figures.json)

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { root } from "./machine.mjs";
import { table } from "./table.mjs";

const folder = join(root, "docs", "plots");
const kept = join(folder, "figures.json");
const page = join(root, "docs", "performance.md");
const begin = "<!-- figures: written by bench/report.mjs -->";
const end = "<!-- /figures -->";

/** Writes the plots and the table from a file of results. */
export async function report(file = kept) {
  mkdirSync(folder, { recursive: true });
  if (resolve(file) !== kept) copyFileSync(file, kept);
  const results = JSON.parse(readFileSync(kept, "utf8"));
  for (const [name, plot] of Object.entries(plots(results.rows))) {
    writeFileSync(join(folder, `${name}.svg`), await draw(plot));
  }
  writeFileSync(page, withFigures(readFileSync(page, "utf8"), results));
}

/** The page with the table of these results in it. */
export function withFigures(text, results) {
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/performance.md has no place for the figures: ${begin} … ${end}`);
  return `${text.slice(0, from + begin.length)}\n\n${figures(results)}\n${text.slice(to)}`;
}

function figures({ time, machine, rows }) {
  const versions = Object.entries(machine.versions).filter(([name, version]) => version && name !== "commit");
  const goals = rows.filter(({ met }) => met !== undefined);
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.kernel}, ${machine.libc}; ${time.slice(0, 10)}.`,
    `${versions.map(([name, version]) => `${name} ${version}`).join(", ")}.`,
    `${goals.filter(({ met }) => met).length} of ${goals.length} goals met.`,
    "",
    table(rows),
    "",
  ].join("\n");
}

// ---------------------------------------------------------------- plots, as Vega-Lite has them

function plots(rows) {
  const series = rows.flatMap((row) => row.series ? [{ ...row, ...row.series }] : []);
  const all = {
    transfer: transfer(rows.filter(({ part, notes }) => part === "ipc" && notes?.withoutNs)),
    allocation: allocation(series.filter(({ plot }) => plot === "allocation")),
    processes: processes(series.filter(({ plot }) => plot === "processes")),
    members: members(series.filter(({ plot }) => plot === "simulation").flatMap(({ points }) => points)),
  };
  return Object.fromEntries(Object.entries(all).filter(([, plot]) => plot.data.values.length > 0));
}

const common = {
  config: {
    background: "white",
    font: "sans-serif",
    axis: { labelFontSize: 11, titleFontSize: 12 },
    legend: { labelFontSize: 11, labelLimit: 260 },
  },
};
const log = (title, format) => ({
  type: "quantitative",
  scale: { type: "log" },
  title,
  axis: { format, gridOpacity: 0.4 },
});

/** Per way and size the median time to a child and back. */
function transfer(rows) {
  const seen = new Set();
  const values = [];
  const point = (where, way, bytes, ns) => {
    if (ns === undefined) return;
    if (seen.has(`${where} ${way} ${bytes}`)) return;
    seen.add(`${where} ${way} ${bytes}`);
    values.push({ where, way, bytes, ms: ns / 1e6 });
  };
  for (const { where, ours, notes } of rows) {
    if (notes.place !== undefined) continue;
    point(where, "arraypool", notes.bytes, ours);
    point(where, "arraypool, over a channel", notes.bytes, notes.overChannelNs);
    for (const [way, ns] of Object.entries(notes.withoutNs)) point(where, way, notes.bytes, ns);
  }
  return {
    ...common,
    data: { values },
    facet: { column: { field: "where", title: null, header: { labelFontSize: 13 } } },
    spec: {
      width: 320,
      height: 300,
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "bytes", ...log("bytes of the array", "~s") },
        y: { field: "ms", ...log("milliseconds to a child and back", "~g") },
        color: { field: "way", type: "nominal", title: null },
        strokeWidth: { condition: { test: "indexof(datum.way, 'arraypool') === 0", value: 3.5 }, value: 1.5 },
      },
    },
  };
}

function allocation(rows) {
  const values = [];
  const seen = new Set();
  for (const { sizes, live, allocator, threads, ours, theirs } of rows) {
    if (live === 1 || !sizes.includes("32 KiB")) continue;
    if (allocator === "glibc" && threads === 1) continue;
    const point = (name, ns) => {
      if (seen.has(`${name} ${sizes} ${live}`)) return;
      seen.add(`${name} ${sizes} ${live}`);
      values.push({ allocator: name, sizes, live, ns });
    };
    point("arraypool", ours);
    point(allocator, theirs);
  }
  return {
    ...common,
    data: { values },
    facet: { column: { field: "sizes", title: null, header: { labelFontSize: 13 } } },
    spec: {
      width: 260,
      height: 260,
      mark: { type: "line", point: true },
      encoding: {
        x: { field: "live", ...log("live blocks", "~s") },
        y: { field: "ns", ...log("nanoseconds per alloc and free", "~g") },
        color: { field: "allocator", type: "nominal", title: null },
        strokeWidth: { condition: { test: "datum.allocator === 'arraypool'", value: 3.5 }, value: 1.5 },
      },
    },
  };
}

function processes(rows) {
  return {
    ...common,
    data: { values: rows.map(({ kind, count, perSecond }) => ({ kind, count, perSecond })) },
    width: 360,
    height: 240,
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "count", type: "ordinal", title: "processes at once" },
      y: {
        field: "perSecond",
        type: "quantitative",
        title: "alloc and release per second, all together",
        axis: { format: "~s" },
      },
      color: { field: "kind", type: "nominal", title: "arrays" },
    },
  };
}

function members(values) {
  return {
    ...common,
    data: { values },
    width: 360,
    height: 240,
    mark: "line",
    encoding: {
      x: { field: "members", type: "quantitative", title: "members (simulated, one core each)" },
      y: { field: "perSecond", ...log("rounds per second, all together", "~s") },
      color: { field: "work", type: "nominal", title: null },
    },
  };
}

async function draw(plot) {
  const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")]);
  const view = new vega.View(vega.parse(vegaLite.compile(plot).spec), { renderer: "none" });
  return `${await view.toSVG()}\n`;
}

if (resolve(process.argv[1] ?? "") === join(root, "bench", "report.mjs")) await report(process.argv[2]);
