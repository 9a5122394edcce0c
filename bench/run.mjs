// npm run bench: measures arraypool against what one would use without it, prints a table, and writes the figures to
// bench/results/. Exits with 1 if something fails; a goal that is missed only says so.
//
//     npm run bench                          everything, about eight minutes
//     npm run bench -- --docs                and writes the figures and plots of docs/performance.md
//     node bench/run.mjs native arrays       only these parts (the library must be built)
//
// Every figure is a ratio of two things measured in turn in the same run. Compare figures, not times, between machines.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { measureDemo } from "./demo.mjs";
import { measureLibraries } from "./libraries.mjs";
import { describeMachine, root, runtimes } from "./machine.mjs";
import { measureLine, measureNative } from "./native.mjs";
import { killAll, run } from "./process.mjs";
import { report } from "./report.mjs";
import { measureShmTypedArray } from "./shm_typed_array.mjs";
import { isMet, table } from "./table.mjs";

// Pools of this run have it in their names.
const mark = `bench-${process.pid}`;

const commands = {
  Bun: [runtimes.Bun],
  // The collector is called before each measurement, as in Bun.
  Deno: [runtimes.Deno, "run", "-A", "--quiet", "--no-check", "--v8-flags=--expose-gc"],
};

// Each part is one or more measurements, each of which gives rows.
const inBoth = (measure) =>
  Object.entries(commands).map(([runtime, command]) => () => {
    if (command[0] === undefined) throw new Error(`${runtime} was not found: run \`npm ci\``);
    return measure(runtime, command);
  });

const parts = {
  libraries: [measureLibraries],
  native: [() => measureNative(mark)],
  arrays: [...inBoth((_, command) => script(command, "arrays.ts")), () => measureShmTypedArray(mark)],
  joining: inBoth((_, command) => script(command, "joining.ts")),
  wait: inBoth((_, command) => script(command, "wait.ts")),
  ipc: [
    ...inBoth((_, command) => script(command, "ipc.ts")),
    ...(hasTaskset() ? inBoth((_, command) => script(["taskset", "-c", "0", ...command], "ipc.ts", "on one CPU")) : []),
  ],
  messages: [
    () => measureLine("before messages"),
    ...inBoth((_, command) => script(command, "messages.ts")),
    () => measureLine("between messages"),
    ...inBoth((runtime, command) =>
      script(command, "messages.ts", "mixed", runtimes[runtime === "Bun" ? "Deno" : "Bun"])
    ),
    () => measureLine("after messages"),
  ],
  demo: inBoth(measureDemo),
};

const wanted = process.argv.slice(2).filter((argument) => argument !== "--docs");
const forDocs = process.argv.includes("--docs");
for (const part of wanted) {
  if (!Object.hasOwn(parts, part)) throw new RangeError(`there is ${Object.keys(parts).join(", ")}, but no ${part}`);
}
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    killAll();
    removeLeftovers();
    process.exit(1);
  });
}

const startedAt = performance.now();
const machine = describeMachine();
const rows = [];
const failures = [];
for (const [part, measurements] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(part)) continue;
  const begunAt = performance.now();
  process.stderr.write(`${part} … `);
  for (const measure of measurements) {
    try {
      rows.push(...(await measure()).map((row) => ({ part, ...row, met: isMet(row) })));
    } catch (error) {
      failures.push(`${part}: ${error.message}`);
    }
  }
  process.stderr.write(`${seconds(begunAt)} s\n`);
}
const left = removeLeftovers();
if (left.length > 0 && failures.length === 0) failures.push(`left in /dev/shm: ${left.join(", ")}`);

console.log(`\n${machine.cpu}, ${machine.cores} cores, ${machine.kernel}; ${machine.libc ?? ""}`);
console.log(Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`).join(", "));
console.log(`\n${table(rows)}\n`);
if (machine.loadAverage[0] > machine.cores / 4) {
  console.log(
    `Others were busy here (load ${machine.loadAverage[0].toFixed(1)}): what needs all cores is measured too low.`,
  );
}
const file = write();
const goals = rows.filter(({ met }) => met !== undefined);
console.log(`${goals.filter(({ met }) => met).length} of ${goals.length} goals met; all figures are in ${file}`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
if (forDocs) await report(join(root, file));
process.exit(failures.length > 0 ? 1 : 0);

/** The rows that a script of this folder prints. */
async function script([binary, ...args], name, ...more) {
  const output = await run(binary, [...args, join(root, "bench", name), ...more], { ARRAYPOOL_BENCH: mark });
  return output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

function hasTaskset() {
  try {
    execFileSync("taskset", ["-c", "0", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Removes what a part that was killed has left in /dev/shm, and returns its names. */
function removeLeftovers() {
  if (process.platform !== "linux") return [];
  const starts = [`arraypool.${mark}-`, `arraypool-${mark}-`]; // pools, and the files of channels.ts
  const names = readdirSync("/dev/shm").filter((name) => starts.some((start) => name.startsWith(start)));
  for (const name of names) rmSync(join("/dev/shm", name));
  return names;
}

function write() {
  const time = new Date().toISOString();
  const folder = join(root, "bench", "results");
  const file = join(folder, `${time.slice(0, 19).replaceAll(":", "-")}.json`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    file,
    `${JSON.stringify({ time, seconds: Number(seconds(startedAt)), machine, rows, failures }, null, 2)}\n`,
  );
  return file.slice(root.length);
}

function seconds(since) {
  return ((performance.now() - since) / 1000).toFixed(1);
}
