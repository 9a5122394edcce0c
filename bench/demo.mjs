// The demo with two workers against the demo in one process, as it says itself: see examples/flights/demo.ts.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "./machine.mjs";
import { run } from "./process.mjs";

const RUNS = 3;
const WORKERS = 2;
const RESAMPLES = 300;
const GOAL = 1.9;

const script = join(root, "examples", "flights", "demo.ts");

/** The row of the demo in a runtime; none, and a line that says so, where the demo is missing. */
export async function measureDemo(runtime, command) {
  if (!existsSync(script)) {
    console.error(`${runtime}: skipped, there is no examples/flights/demo.ts`);
    return [];
  }
  const runs = [];
  for (let i = 0; i < RUNS; i++) {
    const [binary, ...args] = command;
    const options = ["--workers", `${WORKERS}`, "--resamples", `${RESAMPLES}`];
    runs.push(read(await run(binary, [...args, script, ...options]), runtime));
  }
  const middle = (key) => runs.map((run) => run[key]).sort((a, b) => a - b)[RUNS >> 1];
  return [{
    where: runtime,
    work: `the demo with ${WORKERS} workers`,
    against: "in one process",
    ours: middle("ours") * 1e9,
    theirs: middle("theirs") * 1e9,
    unit: "ns",
    kind: "faster",
    figure: middle("figure"),
    goal: GOAL,
    notes: { resamples: RESAMPLES, runs },
  }];
}

/** The table at its end: `  2 × Bun, pool, jobs by tinypool   6.7 s   2.68×   …`. The seconds are rounded, the ratio is not of rounded ones. */
function read(output, runtime) {
  const row = (label) => new RegExp(`^\\s*${label}\\s+([\\d.]+) s\\s+([\\d.]+)×`, "m").exec(output);
  const one = row("1 process");
  const team = row(`${WORKERS} × ${runtime}, pool, jobs by tinypool`);
  if (one === null || team === null) throw new Error(`the demo has printed no such rows:\n${output}`);
  return { theirs: Number(one[1]), ours: Number(team[1]), figure: Number(team[2]) };
}
