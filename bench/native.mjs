// The native cost of an allocation: compiles the C programs of this folder against this machine's library, and runs them
// against the allocators that this machine has. What is missing is said, and left out.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { libraryFolder, root } from "./machine.mjs";
import { run } from "./process.mjs";
import { simulate } from "./simulation.mjs";

const environment = { LD_LIBRARY_PATH: libraryFolder, DYLD_LIBRARY_PATH: libraryFolder };
const LIVE = /(.*), ([\d,]+) live$/;

/** The rows of native.c, against each allocator; boost.cpp's, processes.c's, touch.c's and trace.c's. */
export async function measureNative(poolName) {
  const folder = mkdtempSync(join(tmpdir(), "arraypool-bench-"));
  try {
    return [
      ...await measureAllocators(folder, poolName),
      ...await measureBoost(folder, poolName),
      ...await measureProcesses(folder, poolName),
      ...await measureTouch(folder, poolName),
      ...await measureTraces(folder, poolName),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const lines = (output) => output.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));

async function compile(folder, source, ...more) {
  const program = join(folder, source.replace(/\..*/, ""));
  const compiler = source.endsWith(".cpp") ? ["c++", "-w"] : ["cc"];
  const from = ["-O2", "-I", join(root, "libpool"), join(root, "bench", source), "-o", program];
  // Quiet: for C++ Zig first builds a library of its own, once, and says a thousand warnings of it.
  const to = ["-L", libraryFolder, "-larraypool", "-lpthread", ...more];
  await run("zig", [...compiler, ...from, ...to], {}, { timeoutMs: 300_000, isQuiet: true });
  return program;
}

function skip(what, why) {
  console.error(`skipped: ${what}: ${why}`);
  return [];
}

// ---------------------------------------------------------------- malloc, by several hands

/** Libraries that take the place of malloc, where a Linux distribution puts them. */
function findLibrary(name) {
  const folders = [`/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`, "/usr/lib64", "/usr/lib"];
  for (const folder of folders) {
    const file = existsSync(folder) && readdirSync(folder).find((entry) => entry.startsWith(`${name}.so`));
    if (file) return join(folder, file);
  }
  return undefined;
}

async function measureAllocators(folder, poolName) {
  const program = await compile(folder, "native.c");
  const rows = (await ask(program, poolName)).map((line) => allocationRow(line, "glibc"));
  for (const [allocator, library, packaged] of peers) {
    const preload = findLibrary(library);
    if (preload === undefined) {
      skip(allocator, `no ${library}.so (Debian: ${packaged})`);
      continue;
    }
    rows.push(...(await ask(program, poolName, preload)).map((line) => allocationRow(line, allocator)));
  }
  return rows;
}

const peers = [["mimalloc", "libmimalloc", "libmimalloc2.0"], ["jemalloc", "libjemalloc", "libjemalloc2"]];

async function ask(program, poolName, preload) {
  const name = `${poolName}-native`;
  return preload === undefined
    ? lines(await run(program, [name], environment))
    : lines(await run(program, [name, "threads"], { ...environment, LD_PRELOAD: preload }));
}

function allocationRow({ name, threads, pool_ns, malloc_ns, ratio }, allocator) {
  const live = LIVE.exec(name);
  const count = live === null ? 1 : Number(live[2].replaceAll(",", ""));
  return {
    where: "C",
    work: `alloc and free of ${name}`,
    against: `malloc of ${allocator}; ${threads === 1 ? "one thread" : `${threads} threads`}`,
    ours: pool_ns,
    theirs: malloc_ns,
    unit: "ns",
    kind: "cost",
    figure: ratio,
    goal: goalOf(allocator, count),
    series: { plot: "allocation", sizes: live === null ? name : live[1], live: count, allocator, threads },
  };
}

function goalOf(allocator, live) {
  if (allocator === "glibc") return live === 1 ? 0.4 : 0.7;
  return live === 1 ? 0.7 : live < 100_000 ? 2 : 1;
}

// ---------------------------------------------------------------- Boost

async function measureBoost(folder, poolName) {
  const header = "/usr/include/boost/interprocess/managed_shared_memory.hpp";
  if (!existsSync(header)) return skip("Boost.Interprocess", `no ${header} (Debian: libboost-dev)`);
  // Of /usr/include only Boost: the rest is not for this compiler.
  const include = join(folder, "include");
  mkdirSync(include);
  symlinkSync("/usr/include/boost", join(include, "boost"));
  const program = await compile(folder, "boost.cpp", "-I", include);
  return lines(await run(program, [`${poolName}-boost`], environment)).map(({ name, pool_ns, boost_ns, ratio }) => ({
    where: "C",
    work: `alloc and free of ${name}`,
    against: "Boost managed_shared_memory",
    ours: pool_ns,
    theirs: boost_ns,
    unit: "ns",
    kind: "faster",
    figure: ratio,
    goal: 5,
    series: {
      plot: "allocation",
      sizes: LIVE.exec(name)?.[1] ?? name,
      live: Number((LIVE.exec(name)?.[2] ?? "1").replaceAll(",", "")),
      allocator: "Boost",
      threads: 1,
    },
  }));
}

// ---------------------------------------------------------------- a cache line

/** The row of line.c: without a goal, and beside figures of two processes, which depend on it. */
export async function measureLine(when) {
  if (availableParallelism() < 2) return skip("a cache line to the other processor", "there is one processor");
  const folder = mkdtempSync(join(tmpdir(), "arraypool-bench-"));
  try {
    const [{ ns, least_ns, most_ns }] = lines(await run(await compile(folder, "line.c"), [], environment));
    const work = `a cache line from one processor to the other, ${when}`;
    const notes = { leastNs: least_ns, mostNs: most_ns };
    return [{ where: "C", work, against: "", ours: ns, unit: "ns", kind: "most", figure: ns, notes }];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// ---------------------------------------------------------------- the first touch

/** Without a goal: whether it pays to map pages ahead, and what huge pages do. */
async function measureTouch(folder, poolName) {
  if (process.platform !== "linux") return skip("pages mapped ahead", "there is no MADV_POPULATE_WRITE");
  const program = await compile(folder, "touch.c");
  const timesMs = {};
  const measure = async (pages, command, ...args) => {
    const output = await run(command, [...args, `${poolName}-touch`, "3"], environment, { isQuiet: true });
    for (const { what, plain_ms, ahead_ms } of lines(output)) {
      const all = timesMs[what] ??= { small: [], huge: [], ahead: [] };
      all[pages].push(plain_ms);
      if (pages === "small") all.ahead.push(ahead_ms);
    }
  };
  // With a /dev/shm of its own, for this program alone.
  const mounts = 'mount -t tmpfs -o huge=advise tmpfs /dev/shm && exec "$@"';
  let failed;
  for (let i = 0; i < 3; i++) {
    await measure("small", program);
    if (failed === undefined) {
      await measure("huge", "unshare", "-rm", "sh", "-c", mounts, "sh", program).catch((error) => failed = error);
    }
  }
  if (failed !== undefined) skip("huge pages", `no /dev/shm with them: ${failed.message.split("\n")[0]}`);
  return Object.entries(timesMs).flatMap(([what, { small, huge, ahead }]) => {
    const plain = median(small);
    const row = (ms, how) => ({
      where: "C",
      work: `first touch of 64 MiB: ${TOUCHES[what]}, ${how}`,
      against: "plain faults",
      ours: ms * 1e6,
      theirs: plain * 1e6,
      unit: "ns",
      kind: "cost",
      figure: ms / plain,
    });
    return [row(median(ahead), "mapped ahead"), ...(huge.length > 0 ? [row(median(huge), "huge pages")] : [])];
  });
}

const TOUCHES = {
  "read": "a second process reads all",
  "read 1 of 16 pages": "a second process reads one page of 16",
  "write": "a second process writes all",
  "alloc and fill": "alloc and fill",
};

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

// ---------------------------------------------------------------- processes

async function measureProcesses(folder, poolName) {
  const program = await compile(folder, "processes.c");
  const results = lines(await run(program, [`${poolName}-processes`], environment));
  const rows = [];
  const kinds = { own: "not shared", shared: "shared, so under the lock" };
  for (const [kind, what] of Object.entries(kinds)) {
    const all = results.filter((result) => result.name === "processes" && result.kind === kind);
    const [one] = all;
    for (const { count, per_second, p999_ns, slowest_ns } of all) {
      rows.push({
        where: "C",
        work: `alloc and release by ${count} ${count === 1 ? "process" : "processes"}, ${what}: all together`,
        against: "1 process",
        ours: 1e9 / per_second,
        theirs: 1e9 / one.per_second,
        unit: "ns",
        kind: "faster",
        figure: per_second / one.per_second,
        ...(count === 8 ? { goal: 0.8 } : {}),
        notes: { p999Ns: p999_ns, slowestNs: slowest_ns },
        series: { plot: "processes", kind: what, count, perSecond: per_second, p999Ns: p999_ns },
      });
    }
  }
  // If all others waited as long as whoever has the lock is preempted, one pool would be several times slower.
  const [together, apart] = ["one processor", "one processor each"].map((kind) => results.find((row) => row.kind === kind));
  rows.push({
    where: "C",
    work: "alloc and release by 8 processes on one processor, shared, so under the lock: all together",
    against: "8 processes, each with a pool of its own",
    ours: 1e9 / together.per_second,
    theirs: 1e9 / apart.per_second,
    unit: "ns",
    kind: "faster",
    figure: together.per_second / apart.per_second,
    goal: 0.8,
    notes: { p999Ns: together.p999_ns, slowestNs: together.slowest_ns },
  });
  const section = results.find(({ name }) => name === "section");
  rows.push(simulate(section.ns));
  const most = (name, work, goal) => {
    const found = results.find((result) => result.name === name);
    if (found === undefined) return skip(work, "no process died with the lock");
    const ns = found.ms * 1e6;
    return [{ where: "C", work, against: "", ours: ns, unit: "ns", kind: "most", figure: ns, goal: goal * 1e6 }];
  };
  rows.push(...most("reap", "reap of a member that held 100,000 arrays", 50));
  rows.push(...most("takeover", "takeover of a dead owner's lock, 1,000,000 arrays", 100));
  return rows;
}

// ---------------------------------------------------------------- real programs

const json = "JSON.parse(JSON.stringify(Array.from({ length: 1e5 }, (_, i) => ({ i }))))";

/** The last is how often one is recorded. Node's and Bun's threads never do the same twice: whether glibc gives its memory back
 * again and again meanwhile depends on what lies at its end just then. So each figure is the median one of several starts. */
const programs = [
  ["git", "git log of 100 commits", "git", ["log", "-p", "--stat", "-100"], 1],
  ["python", "Python: JSON of 20,000 objects", "python3", [
    "-c",
    "import json; json.loads(json.dumps([{'a': i, 'b': [str(j) for j in range(i % 30)]} for i in range(20000)]))",
  ], 1],
  ["node", "Node: start", process.execPath, ["-e", json], 7],
  // Since 1.2.20 or so Bun has its allocators within itself, where nothing can be recorded:
  // (cd FOLDER && npm pack @oven/bun-linux-x64@1.2.19 && tar xf *.tgz), and OLD_BUN=FOLDER/package/bin/bun.
  ["bun", "Bun: start", process.env.OLD_BUN, ["-e", json], 7],
];

async function measureTraces(folder, poolName) {
  if (process.platform !== "linux") return skip("allocations of real programs", "they are recorded by LD_PRELOAD");
  const recorder = join(folder, "recorder.so");
  const source = join(root, "bench", "trace_recorder.c");
  await run("zig", ["cc", "-O2", "-shared", "-fPIC", source, "-o", recorder]);
  const program = await compile(folder, "trace.c");
  const rows = [];
  for (const [name, work, command, args, times] of programs) {
    const file = join(folder, `${name}.trace`);
    if (command === undefined) {
      skip(work, "OLD_BUN names none whose allocations can be recorded; bench/native.mjs says how to have one");
      continue;
    }
    // Malloc: what JavaScriptCore asks for by itself, too.
    const ways = { PYTHONMALLOC: "malloc", Malloc: "1", GIT_PAGER: "cat" };
    const recording = { ARRAYPOOL_TRACE_FILE: file, LD_PRELOAD: recorder, ...ways };
    const measured = [];
    try {
      for (let i = 0; i < times; i++) {
        await run(command, args, recording, { timeoutMs: 60_000 });
        if (!existsSync(file)) throw new Error("it has recorded nothing");
        measured.push(await measureTrace(program, file, work, `${poolName}-trace`));
      }
    } catch (error) {
      skip(work, error.message);
      continue;
    }
    rows.push(...measured[0].map((_, i) => medianOf(measured.map((some) => some[i]))));
  }
  return rows;
}

/** Of rows that say the same of several starts, the one with the median figure. */
function medianOf(rows) {
  const sorted = rows.toSorted((a, b) => a.figure - b.figure);
  return {
    ...sorted[rows.length >> 1],
    work: rows[0].work,
    notes: { ...rows[0].notes, figures: sorted.map((row) => row.figure) },
  };
}

async function measureTrace(program, file, work, name) {
  const once = async (how, least, more = {}) =>
    lines(await run(program, [file, how, name, `${least}`], { ...environment, ...more }))[0];
  const rows = [];
  // All of them, most of which are a few bytes long; and those that could be arrays.
  for (const [least, which] of [[0, "all allocations"], [1024, "those of 1 KiB and more"]]) {
    const time = await once("time", least);
    if (least === 0 && time.records < 1000) throw new Error("its allocator is within itself: hardly anything was recorded");
    const about = `${work}, ${which} (${(1000 * Math.round(time.records / 1000)).toLocaleString("en")} calls)`;
    const row = { where: "C", unit: "ns", kind: "cost" };
    rows.push({
      ...row,
      work: about,
      against: "malloc of glibc; 2 threads",
      ours: time.pool_ns,
      theirs: time.malloc_ns,
      figure: time.ratio,
      goal: 0.7,
    });
    const pool = await once("pool", least);
    for (const [allocator, library] of [["glibc"], ...peers.slice(0, 1)]) {
      const preload = library && findLibrary(library);
      if (library && preload === undefined) continue;
      const other = await once("malloc", least, preload ? { LD_PRELOAD: preload } : {});
      rows.push({
        ...row,
        work: `${about}: peak memory`,
        against: `malloc of ${allocator}`,
        ours: pool.peak_bytes,
        theirs: other.peak_bytes,
        unit: "bytes",
        figure: pool.peak_bytes / other.peak_bytes,
        goal: 1.15,
        notes: { askedForBytes: pool.live_bytes },
      });
    }
  }
  return rows;
}
