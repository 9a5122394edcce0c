/**
 * Starts and terminates Workers, one after the other or a few at a time, each of which joins a pool of 1 GiB and allocates.
 * Prints what the process has before and afterwards.
 *
 *     bun tests/support/many_workers.ts 1000
 *     deno run -A tests/support/many_workers.ts 1000
 *     … 1000 alone      for comparison: Workers that join no pool
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { Pool } from "arraypool";
import { startWorker } from "./web_worker.ts";

const count = Number(process.argv[2] ?? 1000);
const joins = process.argv[3] !== "alone";
const AT_ONCE = 4;
/** The runtime's own share has been there once then: code, stacks, heaps. */
const WARM_UP = 12;

async function comeAndGo(): Promise<void> {
  const worker = startWorker("./brief_worker.ts");
  await new Promise((resolve) => {
    worker.onmessage = resolve;
    worker.postMessage(joins ? { name: pool.name } : {});
  });
  worker.terminate();
}

async function many(workers: number): Promise<void> {
  let left = workers;
  const lane = async () => {
    while (left-- > 0) await comeAndGo();
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  // Threads take their time to end.
  const end = Date.now() + 10_000;
  while (Date.now() < end && (pool.reap() > 0 || pool.members().length > 1 || pool.stats().arrays > 0)) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  pool.reap();
}

/** What the process has of everything that a Worker could leave. */
function census() {
  const maps = readFileSync("/proc/self/maps", "utf8").trim().split("\n");
  const descriptors = readdirSync("/proc/self/fd");
  const status = readFileSync("/proc/self/status", "utf8");
  return {
    maps: maps.length,
    mapsOfPool: maps.filter((line) => line.includes("/dev/shm/")).length,
    descriptors: descriptors.length,
    descriptorsOfPool: descriptors.filter((fd) => linkOf(`/proc/self/fd/${fd}`).includes("/dev/shm/")).length,
    virtualMb: Math.round(Number(/VmSize:\s+(\d+)/.exec(status)![1]) / 1024),
    members: pool.stats().members,
    arrays: pool.stats().arrays,
  };
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // that by which the folder itself was read
  }
}

using pool = Pool.create({ capacity: "1G" });
await many(WARM_UP);
const before = census();
const begun = Date.now();
await many(count);
console.log(JSON.stringify({ count, ms: Date.now() - begun, before, after: census() }));
