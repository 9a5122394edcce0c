/**
 * Eight HTTP servers, each a process of its own, answer from one table that was made once: the smallest prime factor of
 * every number, 500 MB of them. Whoever starts first makes it, the others get it by its name.
 *
 *     bun examples/load-once.ts [MEGABYTES]
 *     deno run -A examples/load-once.ts [MEGABYTES]
 *     node examples/load-once.ts [MEGABYTES]
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Pool } from "../mod.ts";
import { memoryBytes } from "./flights/memory.ts";
import { command, runtime } from "./runtime.ts";

const WORKERS = 8;
const HOST = "127.0.0.1";

// ---------------------------------------------------------------- a server

/** Fills a table of zeros: the smallest prime factor of its index, or 0 for a prime number. */
function sieve<T extends Uint32Array>(factors: T): T {
  for (let prime = 2; prime * prime < factors.length; prime++) {
    if (factors[prime] !== 0) continue;
    for (let n = prime * prime; n < factors.length; n += prime) if (factors[n] === 0) factors[n] = prime;
  }
  return factors;
}

function factorsOf(number: number, table: Uint32Array): number[] {
  const factors: number[] = [];
  while (table[number]) {
    factors.push(table[number]!);
    number /= table[number]!;
  }
  return [...factors, number];
}

function serve(poolName: string, length: number): void {
  const table = poolName === "none" ? sieve(new Uint32Array(length)) : Pool.open(poolName).once(
    `smallest prime factors below ${length}`,
    (pool) => sieve(pool.alloc(Uint32Array, length)),
  );
  const server = createServer(({ url }, response) => {
    const number = Number(url!.slice(1));
    if (!Number.isInteger(number) || number < 2 || number >= length) response.writeHead(404).end();
    else response.end(JSON.stringify(factorsOf(number, table)));
  });
  server.listen(0, HOST, () => console.log((server.address() as AddressInfo).port));
  process.stdin.resume().on("end", () => process.exit());
}

// ---------------------------------------------------------------- who starts them

interface Worker {
  child: ChildProcess;
  port: number;
  /** From its start to its first answer. */
  startMs: number;
}

async function start(poolName: string, length: number): Promise<Worker> {
  const begun = performance.now();
  const [file, ...flags] = command(runtime);
  if (runtime === "deno") flags.push(`--allow-net=${HOST}`);
  const child = spawn(file, [...flags, fileURLToPath(import.meta.url), "serve", poolName, String(length)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await once(createInterface({ input: child.stdout! }), "line") as [string];
  const worker = { child, port: Number(line), startMs: 0 };
  await check(worker, length - 1);
  return { ...worker, startMs: performance.now() - begun };
}

/** Asks a server for the factors of a number, and multiplies them. */
async function check({ port }: Worker, number: number): Promise<void> {
  const response = await fetch(`http://${HOST}:${port}/${number}`, { headers: { connection: "close" } });
  const factors = await response.json() as number[];
  const product = factors.reduce((a, b) => a * b, 1);
  if (product !== number) throw new Error(`${factors.join(" × ")} is ${product}, and not ${number}`);
}

async function end({ child }: Worker): Promise<void> {
  child.stdin!.end();
  if (child.exitCode === null) await once(child, "exit");
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 0 })} MB`;
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;

async function compare(tableBytes: number): Promise<void> {
  const length = tableBytes / 4;
  // Its own table in its own memory, for comparison.
  const alone = await start("none", length);
  const aloneBytes = memoryBytes([alone.child.pid!]);
  await end(alone);

  using pool = Pool.create({ capacity: tableBytes + 2 ** 20 });
  const workers = [await start(pool.name, length)];
  workers.push(...await Promise.all(Array.from({ length: WORKERS - 2 }, () => start(pool.name, length))));
  workers.push(await start(pool.name, length));
  const answers = workers.flatMap((worker) =>
    Array.from({ length: 20 }, () => check(worker, 2 + Math.floor(Math.random() * (length - 2))))
  );
  await Promise.all(answers);
  const bytes = memoryBytes(workers.map(({ child }) => child.pid!));
  await Promise.all(workers.map(end));

  const [first, last] = [workers[0]!.startMs, workers.at(-1)!.startMs];
  console.log(`${answers.length} answers of ${WORKERS} processes, from one table of ${megabytes(tableBytes)}`);
  console.log(
    `to its first answer, the first process took ${seconds(first)}, the last one ${seconds(last)}: ` +
      `${(first / last).toFixed(1)} × as fast`,
  );
  if (bytes === undefined || aloneBytes === undefined) return console.log("no /proc here to measure memory");
  const apart = WORKERS * aloneBytes;
  console.log(
    `all together take ${megabytes(bytes)}, with a table each it would be ${megabytes(apart)}: ` +
      `${(apart / bytes).toFixed(1)} × as much`,
  );
}

const [what, ...rest] = process.argv.slice(2);
if (what === "serve") serve(rest[0]!, Number(rest[1]));
else await compare(Math.round(Number(what ?? 500) * 250_000) * 4);
