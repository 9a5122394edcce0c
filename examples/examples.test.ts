/** Every example runs in its runtimes, says what it is to say, and leaves nothing in /dev/shm. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { assert, programOf, runtime, test, until } from "../tests/support/harness.ts";

interface Example {
  file: string;
  args?: string[];
  /** By runtime, what Deno is allowed. */
  bun?: true;
  deno?: string[];
  prints: RegExp;
}

const examples: Example[] = [
  {
    file: "flights/demo.ts",
    args: ["--smoke", "--workers", "2"],
    bun: true,
    deno: ["-A"],
    prints: /JFK +New York +31,270 +12\.3 min[^]*All 4 results are the same to the last bit/,
  },
  { file: "slabs.ts", bun: true, deno: ["-A"], prints: /times as fast; both results are equal/ },
  {
    file: "bun-spawn.ts",
    bun: true,
    prints: /made 1\.5 into 3, 8,000,000 times\n64000000 bytes shared, \d{3} bytes sent/,
  },
  {
    file: "deno-command.ts",
    deno: ["--allow-ffi", "--allow-run"],
    prints: /1000000 positions, the last one is 1000000/,
  },
  {
    file: "workers.ts",
    bun: true,
    deno: ["--allow-ffi", "--allow-read"],
    prints: /12000000 dice counted by 4 Workers/,
  },
  { file: "two-runtimes.ts", bun: true, deno: ["-A"], prints: /together to 10000000/ },
  { file: "frames.ts", bun: true, deno: ["-A"], prints: /24 frames written/ },
  { file: "tinypool.ts", bun: true, deno: ["-A"], prints: /12 tasks multiplied two 600 × 600 matrices: correct/ },
];

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** Runs this runtime in a process group of its own; `onOutput` sees all that it has printed so far. */
async function run(args: string[], onOutput?: (pid: number, output: string) => void): Promise<Run> {
  const child = spawn(programOf(runtime), args, { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let output = "";
  const take = (chunk: string) => {
    output += chunk;
    onOutput?.(child.pid!, output);
  };
  child.stdout.setEncoding("utf8").on("data", take);
  child.stderr.setEncoding("utf8").on("data", take);
  // Only its own pools count: other programs on this machine may have some, too.
  const pools = new Set<number>();
  const watch = setInterval(() => mappedPools(child.pid!).forEach((inode) => pools.add(inode)), 10);
  const [code] = await once(child, "close");
  clearInterval(watch);
  return { code, output, pools };
}

interface Run {
  code: number | null;
  output: string;
  /** The inodes of the pools that it was seen to have: the maker of a pool has it mapped without a name. */
  pools: Set<number>;
}

function mappedPools(pid: number): number[] {
  try {
    const maps = readFileSync(`/proc/${pid}/maps`, "utf8");
    return [...maps.matchAll(/ (\d+) +\/dev\/shm\//g)].map((match) => Number(match[1]));
  } catch {
    return []; // it has just gone
  }
}

async function assertNothingLeft(pools: Set<number>): Promise<void> {
  assert.ok(pools.size > 0, "the example had no pool");
  const left = () => readdirSync("/dev/shm").filter((name) => pools.has(inodeOf(`/dev/shm/${name}`)));
  await until(() => left().length === 0, "its pool is gone", 3000);
}

const inodeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.ino ?? 0;

for (const { file, args = [], bun, deno, prints } of examples) {
  const flags = runtime === "bun" ? bun && [] : deno && ["run", "--no-prompt", ...deno];
  if (!flags) continue;
  test(`examples/${file} runs, and leaves nothing behind`, async () => {
    const { code, output, pools } = await run([...flags, pathOf(file), ...args]);
    assert.equal(code, 0, output);
    assert.match(output, prints);
    await assertNothingLeft(pools);
  });
}

test("Ctrl-C ends the demo in good order", async () => {
  const flags = runtime === "bun" ? [] : ["run", "-A"];
  let sent = false;
  const { code, output, pools } = await run(
    [...flags, pathOf("flights/demo.ts"), "--resamples", "300"],
    (pid, output) => {
      if (sent || !/95 % confidence/.test(output)) return;
      sent = true;
      // When the processes of the next run are at work; to all of them, as a terminal does it.
      setTimeout(() => process.kill(-pid, "SIGINT"), 300);
    },
  );
  assert.match(output, /stopped by SIGINT/);
  assert.equal(code, 130, output);
  await assertNothingLeft(pools);
});
