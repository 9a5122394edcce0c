/**
 * How late do the flights of an airport leave? Three million flights, and for each airport the 95 % confidence interval
 * of its mean delay: two thousand resamples, six billion random draws, spread over processes that work on the same
 * arrays.
 *
 *     bun examples/flights/demo.ts  deno run -A examples/flights/demo.ts  node examples/flights/demo.ts
 *
 * `--workers N` sets the number of processes (default: the cores), `--resamples N` that of the resamples, and `--smoke`
 * makes it short.
 */

import { fork } from "node:child_process";
import { availableParallelism, constants } from "node:os";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Packed, Pool, unpack, type Unpacked } from "../../mod.ts";
import { otherRuntime, runtime, title } from "../runtime.ts";
import { estimate, type Flights } from "./bootstrap.ts";
import type { Loaded } from "./load.ts";
import { measure, type Measurement } from "./measure.ts";
import { printMeasurements, printWorst } from "./report.ts";
import { alone, overChannel, overPlainIpc, overPool, receive, type Team } from "./teams.ts";

const { values: options } = parseArgs({
  options: {
    workers: { type: "string", default: `${availableParallelism()}` },
    resamples: { type: "string" },
    smoke: { type: "boolean", default: false },
  },
});
const workers = Number(options.workers);
const resamples = Number(options.resamples ?? (options.smoke ? 40 : 2000));
if (![workers, resamples].every((count) => Number.isInteger(count) && count >= 1)) {
  throw new RangeError("--workers and --resamples must be 1 or more");
}

// On Ctrl-C everything is taken down in order, as at the end, and nothing is left in /dev/shm.
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    process.exitCode = 128 + constants.signals[signal];
    interrupt.abort(new Error(`stopped by ${signal}`));
  });
}

const run = (label: string, makeTeam: () => Team): Promise<Measurement> =>
  measure(label, makeTeam, { resamples, signal: interrupt.signal });

try {
  const { measurements, flights, means } = await withPool();
  measurements.push(await withoutPool(flights, means));
  printMeasurements(measurements);
  console.log(`
  All ${measurements.length} results are the same to the last bit.
  Time: from the first task to the last answer, the sending of the arrays included, the start-up not.
  Memory: of all processes together, what they share counted once.
`);
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  console.error(`\n${interrupt.signal.reason.message}`);
}

/** The result, how long each way took to it, and the flights in ordinary arrays for the way without a pool. */
async function withPool(): Promise<{ measurements: Measurement[]; flights: Flights; means: Float64Array }> {
  using pool = Pool.create();
  using loaded = await load(pool);
  const { codes, ...flights } = loaded;
  using means = pool.alloc(Float64Array, [resamples, codes.length]);
  const arrays = { ...flights, means };

  const measurements = [await run("1 process", () => alone(arrays))];
  const expected = means.slice();
  printWorst(estimate(flights, expected), codes, 5);

  const [mine, other] = [title(runtime), title(otherRuntime)];
  const teams: [label: string, makeTeam: () => Team][] = [
    [`${workers} × ${mine}, pool, jobs by tinypool`, () => overPool(arrays, workers)],
    [`${workers} × ${mine}, pool, jobs by a channel`, () => overChannel(pool, arrays, workers)],
    [`${workers - 1} × ${mine} + 1 × ${other}, pool`, () => overPool(arrays, workers - 1, [otherRuntime])],
  ];
  for (const [label, makeTeam] of teams) {
    means.fill(0);
    measurements.push(await run(label, makeTeam));
    checkSame(means, expected);
  }
  return { measurements, flights: { delays: flights.delays.slice(), starts: flights.starts.slice() }, means: expected };
}

async function withoutPool(flights: Flights, expected: Float64Array): Promise<Measurement> {
  const means = new Float64Array(expected.length);
  const label = `${workers} × ${title(runtime)}, plain IPC`;
  const measurement = await run(label, () => overPlainIpc(flights, means, workers));
  checkSame(means, expected);
  return measurement;
}

/** The flights, from a process that reads them into arrays of the pool, and exits. */
async function load(pool: Pool): Promise<Unpacked<Loaded>> {
  console.log(`\n${title(runtime)}, ${workers} processes, ${resamples.toLocaleString("en")} resamples`);
  const startedAt = performance.now();
  const loader = fork(`${import.meta.dirname}/load.ts`, [pool.name]);
  const loaded = unpack(await receive<Packed<Loaded>>(loader));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const { delays, codes } = loaded;
  console.log(`${delays.length.toLocaleString("en")} flights from ${codes.length} airports, read in ${seconds} s`);
  return loaded;
}

function checkSame(means: Float64Array, expected: Float64Array): void {
  if (!expected.every((mean, i) => mean === means[i])) throw new Error("the result differs from that of one process");
}
