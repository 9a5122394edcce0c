/**
 * What it takes to come into a pool that another process has made: `Pool.open` and `close`, against starting a process of
 * this runtime that does nothing; and what such a process takes longer when it imports arraypool and joins.
 *
 *     bun bench/joining.ts              deno run -A bench/joining.ts
 */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { promisify } from "node:util";
import { Pool } from "../mod.ts";
import { compare, median, poolName, print, type Row, runtime } from "./rows.ts";

const ROUNDS = 11;
const OPENS = 50;

const module = new URL("../mod.ts", import.meta.url).href;
const evaluate = (code: string) => runtime === "Bun" ? ["-e", code] : ["eval", code];
const name = poolName("joining");
const creator = `
  const { Pool } = await import(${JSON.stringify(module)});
  const pool = Pool.create({ name: ${JSON.stringify(name)}, capacity: "64M" });
  process.stdin.on("end", () => pool.close()).resume();
  console.log("ready");`;
const joiner = `
  const { Pool } = await import(${JSON.stringify(module)});
  Pool.open(${JSON.stringify(name)}).close();`;

const other = spawn(process.execPath, evaluate(creator), { stdio: ["pipe", "pipe", "inherit"] });
try {
  const exit = once(other, "exit").then(() => Promise.reject(new Error("the creator of the pool ended too early")));
  await Promise.race([once(other.stdout, "data"), exit]);
  exit.catch(() => {}); // at the end it is meant to exit
  const openNs: number[] = [];
  const processNs: number[] = [];
  const joiningProcessNs: number[] = [];
  const importNs: number[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const opening = timeOpens();
    const empty = await timeProcess("");
    const joining = await timeProcess(joiner);
    if (round < 0) continue; // the first one compiles and fills caches
    openNs.push(opening);
    processNs.push(empty);
    joiningProcessNs.push(joining);
    importNs.push(await timeImport());
  }
  print(compare({ work: "Pool.open and close", against: "an empty process", kind: "cost" }, openNs, processNs));
  print(atMost("Pool.open and close", openNs, 1e6));
  print(atMost("import of the package", importNs, 20e6));
  print(compare(
    { work: "a process: import, Pool.open, close", against: "an empty process", kind: "cost" },
    joiningProcessNs,
    processNs,
  ));
} finally {
  if (other.exitCode === null) {
    const exited = once(other, "exit");
    other.stdin.end();
    await exited;
  }
}

function timeOpens(): number {
  const startedAt = performance.now();
  for (let i = 0; i < OPENS; i++) Pool.open(name).close();
  return (performance.now() - startedAt) * 1e6 / OPENS;
}

/** As a fresh process sees it. */
async function timeImport(): Promise<number> {
  const code = `const at = performance.now(); await import(${
    JSON.stringify(module)
  }); console.log((performance.now() - at) * 1e6);`;
  const { stdout } = await promisify(execFile)(process.execPath, evaluate(code));
  return Number(stdout);
}

function atMost(work: string, ns: readonly number[], goal: number): Row {
  const figure = median(ns);
  return { where: runtime, work, against: "", ours: figure, unit: "ns", kind: "most", figure, goal };
}

async function timeProcess(code: string): Promise<number> {
  const startedAt = performance.now();
  await promisify(execFile)(process.execPath, evaluate(code));
  return (performance.now() - startedAt) * 1e6;
}
