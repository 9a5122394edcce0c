/** The command line: in this process, or as a program of its own in the same runtime; in Deno with nothing but --allow-ffi. */

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { pack, Pool, release, type SharedArray } from "arraypool";
import { Paint, table } from "../cli/format.ts";
import { run } from "../cli/run.ts";
import { AP_ABI_VERSION } from "../core/abi.ts";
import { readNote, writeNote } from "../core/shape_note.ts";
import { readTraceLog } from "../core/trace_log.ts";
import {
  assert,
  type Child,
  fileOf,
  newName,
  programOf,
  runtime,
  start,
  test,
  until,
  withName,
  withPool,
} from "./support/harness.ts";
import { flagsOf } from "./support/programs.ts";
import { BLOCKS_AT, holdLock, readU32, VERSION_AT, writeU32 } from "./support/segment.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));

interface Output {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs it with `env`, and without what this process has of NO_COLOR and FORCE_COLOR. */
function runWith(env: Record<string, string>, ...args: string[]): Output {
  const allowed = ["--allow-ffi", ...(Object.keys(env).length > 0 ? ["--allow-env"] : [])];
  const flags = flagsOf(runtime, allowed);
  const { FORCE_COLOR: _, NO_COLOR: __, ...plain } = process.env;
  return spawnSync(programOf(runtime), [...flags, main, ...args], { encoding: "utf8", env: { ...plain, ...env } });
}

// deno-lint-ignore no-explicit-any -- what was parsed from JSON
type Json = any;

/** Those that may join a pool, in which this process may be, or draw. */
const APART = ["check", "reap", "trim", "top"];

/** Runs it in this process, where that makes no difference: most of the time it takes is a runtime's start. */
async function arraypool(...args: string[]): Promise<Output> {
  if (APART.includes(args[0]!)) return runWith({}, ...args);
  const written = { stdout: "", stderr: "" };
  const status = await run(args, {
    out: (text) => written.stdout += text,
    err: (text) => written.stderr += text,
    color: false,
    columns: 0,
  });
  return { status, ...written };
}

/** What a command prints as JSON; fails unless it ends with that exit code. */
async function json(expected: number | number[], ...args: string[]): Promise<Json> {
  const { status, stdout, stderr } = await arraypool(...args, "--json");
  assert.ok([expected].flat().includes(status!), `${args.join(" ")} ended with ${status}: ${stdout}${stderr}`);
  assert.equal(stderr, "");
  return JSON.parse(stdout);
}

/** What a command prints for people; fails unless it ends with that exit code and says each of `patterns`. */
async function says(expected: number, args: string[], ...patterns: RegExp[]): Promise<string> {
  const { status, stdout, stderr } = await arraypool(...args);
  assert.equal(status, expected, `${args.join(" ")} ended with ${status}: ${stdout}${stderr}`);
  for (const pattern of patterns) assert.match(stdout + stderr, pattern);
  return stdout;
}

const listed = async (name: string): Promise<Json> =>
  (await json(0, "ls")).pools.find((pool: Json) => pool.name === name);

/** Runs `use` while a process of its own is in a pool, which then is killed. */
async function withMember(
  name: string,
  what: string[],
  use: (child: Child) => unknown,
  env: Record<string, string> = {},
): Promise<void> {
  const child = start(runtime, "./cli_member.ts", { args: [name, ...what], env });
  try {
    await child.next();
    await use(child);
  } finally {
    await child.kill();
  }
}

/** Runs `use` with the name of a pool that killed processes have left behind. */
function withDeadPool(what: string[], use: (name: string) => unknown): Promise<void> {
  return withName(async (name) => {
    await withMember(name, what, () => {});
    // The kernel lets go of the slot a moment after the process is gone.
    await until(async () => (await listed(name)).life !== "live", "the killed process is gone");
    await use(name);
  });
}

test("ls shows every pool with its size, memory, arrays, members, age and creator; inspect shows what is in one", () =>
  withPool(async (pool) => {
    using cube = pool.alloc(Float64Array, [10, 20, 30]);
    const sent = pool.from(Int16Array.of(1, 2, 3));
    const message = pack({ sent });
    sent.release();
    const row = await listed(pool.name);
    assert.deepEqual([row.state, row.life, row.still, row.moving, row.lock], ["pool", "live", true, 0, "free"]);
    assert.deepEqual([row.capacityBytes, row.usedBytes, row.claimedBytes], [2 ** 26, pool.stats().usedBytes, 64]);
    assert.deepEqual([row.backedBytes, row.largestFreeBytes], [
      pool.stats().backedBytes,
      pool.stats().largestFreeBytes,
    ]);
    assert.deepEqual([row.arrays, row.claims, row.members, row.deadMembers], [2, 1, 1, 0]);
    assert.deepEqual([row.creatorPid, row.creatorRuntime], [process.pid, runtime]);
    assert.ok(row.creatorCommand.length > 0);
    assert.ok(row.ageMs >= 0 && row.ageMs < 600_000);
    await says(
      0,
      ["ls"],
      /^NAME .*SIZE .*BACKED .*USED .*ARRAYS .*MEMBERS .*AGE .*CREATOR$/m,
      new RegExp(`^${pool.name} +64 MiB .* ${process.pid} `, "m"),
    );

    const seen = await json(0, "inspect", pool.name);
    assert.deepEqual(Object.keys(seen.pool), Object.keys(row).filter((key) => key !== "creatorCommand"));
    const [member] = seen.members;
    assert.deepEqual([seen.members.length, member.pid, member.state, member.arrays], [1, process.pid, "live", 1]);
    assert.deepEqual([member.runtime, member.bytes], [runtime, cube.byteLength + 64]); // its shape, behind it
    assert.deepEqual(
      seen.arrays.map((array: Json) => [array.dtype, array.length, array.bytes, array.holders, array.claims]),
      [["float64", 6000, 48000, [member.slot], 0], ["int16", 3, 6, [], 1]],
    );
    assert.deepEqual([seen.claims.length, seen.claims[0].attaches], [1, 1]);
    assert.ok(seen.claims[0].leftMs > 0);
    assert.equal((await json(0, "inspect", pool.name, "--arrays", "1")).arrays.length, 1);
    await says(
      0,
      ["inspect", pool.name],
      /float64\[10 x 20 x 30\] +\d+ s +0 +\d+$/m,
      /int16\[3\] +\d+ s +1 +only claims or messages/,
      /█/,
      /▒|▄/,
      /SLOT +PROCESS/,
    );
    assert.equal(seen.pool.lockPid, null);
    // The next to expire comes first, though it was made later.
    const sooner = pack(cube, { ttlMs: 100_000 });
    await says(0, ["inspect", pool.name], /^BLOCK +ATTACHES LEFT +EXPIRES IN\n.* \d+ s\n.* \d+ min$/m);
    release(sooner);
    release(message);
  }));

test("inspect and leaks know how old arrays are, the oldest first", () =>
  withPool(async (pool) => {
    const arrays = [0, 2, 50].map((hours, i) => makeOlder(pool.alloc(Float64Array, 10 - i), hours));
    makeOlder(pool.alloc(Float64Array, 7), 100).release();
    arrays.push(pool.alloc(Float64Array, 7)); // in the same block
    // Of two that are equally large the older one comes first.
    const twins = [1, 30].map((hours) => makeOlder(pool.alloc(Float64Array, 3), hours));
    const { arrays: all } = await json(0, "inspect", pool.name);
    assert.deepEqual(all.slice(-2).map(({ ageMs }: Json) => Math.round(ageMs / HOUR_MS)), [30, 1]);
    release(twins);
    const { arrays: largest, oldest } = await json(0, "inspect", pool.name, "--arrays", "2");
    assert.deepEqual(largest.map(({ length }: Json) => length), [10, 9]);
    assert.deepEqual(oldest.map(({ length }: Json) => length), [8, 9]);
    for (const [i, { ageMs }] of oldest.entries()) {
      assert.ok(Math.abs(ageMs - [50, 2][i]! * HOUR_MS) < 600_000, `${ageMs}`);
    }
    await says(
      0,
      ["inspect", pool.name, "--arrays", "2"],
      /The largest of 4 arrays\n.*AGE.*\n.*float64\[10\] +\d+ s .*\n.*float64\[9\] +(119|12\d) min|2 h/,
      /The oldest\n.*\n.*float64\[8\] +2 d .*\n.*float64\[9\]/,
    );
    const { holders: [{ groups }] } = await json(0, "leaks", pool.name, "--older-than", "5000");
    assert.deepEqual(groups.map(({ type }: Json) => type), ["float64[9]", "float64[8]"]);
    await says(0, ["leaks", pool.name], /1 array, 64 B of float64\[8\], up to 2 d old/);
    release(arrays);
  }));

const HOUR_MS = 3_600_000;

/** As if it had been allocated so long ago: layout.zig, Tail. */
function makeOlder<A extends SharedArray>(array: A, hours: number): A {
  const at = BLOCKS_AT + 64 * array.share({ claims: 0 }).block + 12;
  const [bytes, born] = [readU32(array.pool.name, at) & 0xff, readU32(array.pool.name, at) >>> 8];
  writeU32(array.pool.name, at, (((born - Math.floor((hours * HOUR_MS) / 1024)) << 8) | bytes) >>> 0);
  return array;
}

test("--version says the package's, and that of its interface", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  await says(0, ["--version"], new RegExp(`^arraypool ${version}, interface ${AP_ABI_VERSION}\n$`));
  assert.deepEqual(await json(0, "--version"), { version, interface: AP_ABI_VERSION });
});

test("inspect shows the shape with which an array was made, whoever holds it", () =>
  withPool(async (pool) => {
    using film = pool.alloc(Uint8Array, [24, 48, 64]);
    using matrix = pool.from(Float64Array.from({ length: 64 }, Math.random), [8, 8]); // no rest in its last granule
    using row = matrix.slab(3).retain();
    using flat = pool.alloc(Int16Array, 4);
    using scalar = pool.alloc(Float32Array, []);
    using empty = pool.alloc(Float32Array, [3, 0]);
    using long = pool.alloc(Uint8Array, [...Array(63).fill(1), 7]);
    const sent = pool.alloc(Uint32Array, [5, 2]);
    const packed = pack({ sent });
    sent.release();
    const shapes = async () =>
      new Map(
        (await json(0, "inspect", pool.name)).arrays.map(({ dtype, shape }: Json) => [`${dtype}${shape}`, shape]),
      );
    const expected = [film, matrix, flat, scalar, empty, long, { dtype: "uint32", shape: [5, 2] }];
    assert.deepEqual(
      await shapes(),
      new Map(expected.map(({ dtype, shape }) => [`${dtype}${shape}`, [...shape]])),
    );
    await says(0, ["inspect", pool.name], /uint8\[24 x 48 x 64\]/, /float64\[8 x 8\]/, /int16\[4\]/, /float32\[\]/);
    await says(0, ["leaks", pool.name], /1 array, 512 B of float64\[8 x 8\]/);
    await says(0, ["top", pool.name], /uint8\[24 x 48 x 64\]/);
    // Memory that had another array's note in it.
    release(packed);
    using other = pool.alloc(Uint32Array, [2, 5]);
    using plain = pool.allocUnsafe(Uint32Array, 10);
    assert.ok((await shapes()).has(`uint32${other.shape}`));
    assert.ok((await shapes()).has(`uint32${plain.shape}`));
    assert.equal(row.length, 8);
    pool.check();
  }));

test("an array that fits just without its shape is made, and the note behind it is nobody's", () =>
  withPool(async (pool) => {
    const { capacityBytes } = pool;
    const all = pool.alloc(Uint8Array, [2, capacityBytes / 2]);
    assert.deepEqual((await json(0, "inspect", pool.name)).arrays[0].shape, [capacityBytes]);
    all.release();
    // Whoever writes to all that an array has does not write to the note, and the other way round.
    using matrix = pool.alloc(Uint8Array, [4, 16]);
    matrix.fill(255);
    using next = pool.alloc(Uint8Array, [4, 16]);
    assert.ok(next.every((byte) => byte === 0) && matrix.every((byte) => byte === 255));
    assert.deepEqual((await json(0, "inspect", pool.name)).arrays.map(({ shape }: Json) => shape), [[4, 16], [4, 16]]);
  }, { capacity: "1M" }));

test("what stands behind an array is believed only if it is the note of this very array", () => {
  const note = new Uint8Array(80);
  const shape = [3, 1, 1000, 2 ** 20];
  const noteBytes = writeNote(shape, note);
  assert.equal(noteBytes, 5 + 1 + 1 + 2 + 3);
  const generation = 2 ** 40 + 77;
  new DataView(note.buffer).setInt32(0, new DataView(note.buffer).getInt32(0, true) ^ generation, true); // as the library does
  const length = shape.reduce((product, axis) => product * axis);
  assert.deepEqual(readNote(note, generation, length), shape);
  assert.deepEqual(readNote(note.subarray(0, noteBytes), generation, length), shape);
  assert.equal(readNote(note, generation + 1, length), undefined);
  assert.equal(readNote(note, generation, length + 1), undefined);
  for (let cut = 0; cut < noteBytes; cut++) {
    assert.equal(readNote(note.subarray(0, cut), generation, length), undefined);
    for (let bit = 1; bit < 256; bit *= 2) {
      const wild = note.slice();
      wild[cut]! ^= bit;
      assert.equal(readNote(wild, generation, length), undefined, `${cut} ${bit}`);
    }
  }
  assert.equal(writeNote(Array(16).fill(2 ** 53 - 1), note), 0);
  assert.equal(readNote(note.fill(255), generation, length), undefined);
});

test("names are shown, with the shapes that they say, and what nobody but they hold", () =>
  withPool(async (pool) => {
    using table = pool.alloc(Float64Array, [20, 50]);
    pool.set("prices", table);
    const frame = pool.alloc(Uint8Array, [4, 6]);
    pool.set("frame \u001b[31m", frame);
    pool.set("a row", frame.slab(1));
    frame.release();
    using flat = pool.alloc(Uint8Array, 10);
    pool.set("flat", flat);
    const { arrays, names } = await json(0, "inspect", pool.name);
    assert.deepEqual(
      arrays.map(({ shape, names, holders }: Json) => [shape, names, holders.length]),
      [[[20, 50], ["prices"], 1], [[4, 6], ["a row", "frame \u001b[31m"], 0], [[10], ["flat"], 1]],
    );
    assert.deepEqual(
      names.map(({ name, offset, bytes, shape }: Json) => [name, offset, bytes, shape]),
      [
        ["a row", 6, 6, null],
        ["flat", 0, 10, null],
        ["frame \u001b[31m", 0, 24, [4, 6]],
        ["prices", 0, 8000, [20, 50]],
      ],
    );
    await says(
      0,
      ["inspect", pool.name],
      /float64\[20 x 50\] +\d+ s +0 +prices/,
      /uint8\[4 x 6\] +\d+ s +0 +a row, frame \?\[31m +nobody/,
    );
    assert.equal((await json(0, "leaks", pool.name)).holders.find(({ state }: Json) => state === "names").bytes, 24);
    await says(0, ["leaks", pool.name], /kept by names, held by nobody: 1 array, 24 B/);
    assert.equal((await json(0, "check", pool.name)).result, "sound");
    for (const name of pool.names()) pool.delete(name);
  }));

test("channels are shown, with what waits in them", () =>
  withPool(async (pool) => {
    const jobs = pool.channel<unknown>({ capacity: 8 });
    using frame = pool.alloc(Uint8Array, 1000);
    jobs.send({ frame });
    jobs.send("x".repeat(100_000));
    frame.release();
    const { arrays, channels, pool: { arrays: count } } = await json(0, "inspect", pool.name);
    assert.deepEqual(
      channels.map(({ depth, capacity, sent, closed }: Json) => [depth, capacity, sent, closed]),
      [[2, 8, 2, false]],
    );
    assert.deepEqual(arrays.map(({ dtype, holders }: Json) => [dtype, holders.length]), [["uint8", 0]]);
    assert.equal(count, 1);
    await says(
      0,
      ["inspect", pool.name],
      /MESSAGES +CAPACITY +SENT +STATE\n +\d+ +2 +8 +2 +open/,
      /only claims or messages/,
    );
    await says(0, ["leaks", pool.name], /in messages of channels, held by nobody: 1 array, 1000 B/);
    await says(0, ["top", pool.name], /uint8\[1000\] +\d+ s +only claims or messages/);
    {
      using table = pool.alloc(Float64Array, [5, 6]);
      pool.set("table", table);
    }
    await says(0, ["top", pool.name], /float64\[5 x 6\] +\d+ s +only a name/);
    pool.delete("table");
    for (const command of [["check", pool.name], ["check", pool.name, "--no-join"]]) {
      await says(0, command, /is sound/);
    }
    release(jobs.tryReceive());
    jobs.tryReceive();
    jobs.close();
    assert.equal((await json(0, "inspect", pool.name)).channels[0].closed, true);
    jobs[Symbol.dispose]();
  }));

test("looking changes nothing: not a byte, not a time, not the memory that the pool takes", () =>
  withPool(async (pool) => {
    using _array = pool.alloc(Float64Array, 1000);
    const fingerprint = () => {
      const bytes = readFileSync(fileOf(pool.name)).subarray(0, 2 ** 17);
      const { mtimeMs, ctimeMs, atimeMs, blocks, ino } = statSync(fileOf(pool.name));
      return { bytes: [...bytes], stat: [mtimeMs, ctimeMs, blocks, ino], atimeMs };
    };
    const before = fingerprint();
    for (const args of [["ls"], ["inspect", pool.name], ["check", pool.name], ["check", pool.name, "--no-join"]]) {
      await says(0, args);
    }
    assert.equal(statSync(fileOf(pool.name)).atimeMs, before.atimeMs);
    assert.deepEqual(fingerprint(), { ...before, atimeMs: statSync(fileOf(pool.name)).atimeMs });
  }, { capacity: "1M" }));

test("a pool in use is read while its members work on", () =>
  withPool((pool) =>
    withMember(pool.name, ["churn"], async () => {
      const first = await json(0, "inspect", pool.name);
      assert.equal(first.pool.members, 2);
      assert.ok(first.arrays.some((array: Json) => array.dtype === "float32" && array.length === 1000));
      await until(async () => (await listed(pool.name)).blocksMade > first.pool.blocksMade, "they work on");
      assert.equal((await json(0, "check", pool.name)).result, "sound");
      const outside = await json([0, 5], "check", pool.name, "--no-join");
      assert.ok(outside.result === "sound" || outside.result === "unsure", outside.result);
      assert.equal(outside.joined, false);
    })
  ));

test("a dead pool is marked, is nothing to reap or trim, and gc removes it and says so", () =>
  withDeadPool([], async (name) => {
    assert.deepEqual([(await listed(name)).life, (await listed(name)).members, (await listed(name)).deadMembers], [
      "dead",
      0,
      1,
    ]);
    await says(0, ["ls"], new RegExp(`^${name} .* dead `, "m"), /arraypool gc/);
    assert.equal((await json(0, "inspect", name)).members[0].state, "dead");
    await says(1, ["reap", name], /nobody is in pool .* arraypool gc/);
    await says(1, ["trim", name], /nobody is in pool/);
    assert.match((await json(1, "trim", name)).refused, /nobody/);
    assert.equal((await json(0, "check", name)).result, "sound");
    assert.ok(existsSync(fileOf(name)));
    assert.ok((await json(0, "gc")).removed.some((pool: Json) => pool.name === name && pool.takenBytes > 0));
    assert.ok(!existsSync(fileOf(name)));
    await says(0, ["gc"], /no dead pools|removed/);
  }));

test("a pool in which something sent waits is neither dead nor removed, unless it is forced", () =>
  withDeadPool(["sends"], async (name) => {
    const row = await listed(name);
    assert.deepEqual([row.life, row.claims], ["waiting", 1]);
    assert.ok(row.waitsMs > 60_000);
    await says(0, ["ls"], new RegExp(`^${name} .* waits `, "m"));
    assert.ok(!(await json(0, "gc")).removed.some((pool: Json) => pool.name === name));
    await says(1, ["reap", name], /something that was sent waits/);
    await says(1, ["rm", name], /not removed: something that was sent waits .* --force/);
    assert.ok(existsSync(fileOf(name)));
    assert.deepEqual([(await json(0, "rm", name, "--force")).removed, existsSync(fileOf(name))], [true, false]);
  }));

test("rm refuses while members live, unless it is forced; then they keep what they have", () =>
  withName(async (name) => {
    using pool = Pool.create({ name, capacity: "16M" });
    using array = pool.from(Float64Array.of(1, 2, 3));
    await says(1, ["rm", name], /not removed: 1 member lives in it/);
    assert.equal((await json(1, "rm", name)).removed, false);
    assert.ok(existsSync(fileOf(name)));
    await says(0, ["rm", name, "--force"], /come back when its members end/);
    assert.ok(!existsSync(fileOf(name)));
    assert.equal(array[2], 3);
    await says(3, ["rm", name], /there is no pool/);
  }));

test("reap takes back what a killed member held, and trim what is free", () =>
  withPool(async (pool) => {
    await withMember(pool.name, [], async () => assert.equal((await listed(pool.name)).arrays, 1));
    await until(async () => (await listed(pool.name)).deadMembers === 1, "it is seen to be dead");
    assert.deepEqual([(await listed(pool.name)).members, (await listed(pool.name)).arrays], [1, 1]);
    const { reaped } = await json(0, "reap", pool.name);
    assert.deepEqual([reaped.members, reaped.arrays, reaped.bytes], [1, 1, 4032]);
    await says(0, ["reap", pool.name], /nothing to reap/);
    const { trimmedBytes } = await json(0, "trim", pool.name);
    assert.ok(trimmedBytes > 0);
    await says(0, ["trim", pool.name], /gave 0 B back/);
    assert.equal(pool.stats().members, 1);
  }));

test("check says what is broken and what to do; a lock that a dead member left is no damage; a stopped one is", () =>
  withPool(async (pool) => {
    using _array = pool.alloc(Float64Array, 1000);
    const pinsOfBlock = BLOCKS_AT + 24;
    writeU32(pool.name, pinsOfBlock, 5);
    const { finding, advice, result } = await json(1, "check", pool.name);
    assert.deepEqual([result, finding], ["damaged", "the blocks' counts of pins do not add up to the pins (5)"]);
    assert.match(advice, /end the programs that use the pool/);
    await says(1, ["check", pool.name], /is damaged: the blocks' counts/, /create it anew/);
    writeU32(pool.name, pinsOfBlock, 0);
    await says(0, ["check", pool.name], /is sound/);

    const undo = holdLock(pool.name, 0);
    await says(5, ["check", pool.name, "--no-join"], /is unsure/);
    await says(5, ["check", pool.name], new RegExp(`kill -CONT ${process.pid}`));
    await says(0, ["inspect", pool.name], new RegExp(`process ${process.pid} keeps the lock`));
    undo();

    await withMember(pool.name, [], () => holdLock(pool.name, 1));
    await until(async () => (await listed(pool.name)).lock === "orphaned", "its owner is seen to be dead");
    await says(0, ["check", pool.name], /is repairable/, /takes the lock over/);
    await says(0, ["inspect", pool.name], /a member died at work/);
    assert.equal((await listed(pool.name)).lock, "orphaned");
    pool.reap();
    assert.deepEqual([(await listed(pool.name)).lock, (await listed(pool.name)).recoveries], ["free", 1]);
  }));

test("files that are damaged, cut short, of another version or not ours are told apart, and left alone", async () => {
  await withName(async (name, file) => {
    for (const bytes of [0, 5000, 200_000]) {
      writeFileSync(file, new Uint8Array(bytes).fill(7), { mode: 0o600 });
      assert.deepEqual([(await listed(name)).state, (await listed(name)).life, (await listed(name)).fileBytes], [
        "damaged",
        "dead",
        bytes,
      ]);
    }
    await says(0, ["ls"], new RegExp(`^${name} .*damaged, dead`, "m"));
    await says(1, ["inspect", name], /is damaged/, /arraypool rm/);
    await says(1, ["check", name], /is damaged/, /arraypool rm/);
    await says(1, ["reap", name], /is damaged/);
    await says(0, ["gc"]);
    assert.ok(existsSync(file));
    chmodSync(file, 0o644);
    for (const command of ["inspect", "check", "rm", "trim"]) await says(4, [command, name], /not ours to open/);
    assert.equal((await json(4, "inspect", name)).error.code, "ERR_PERMISSION");
    assert.deepEqual((await json(0, "ls")).unreadable, [{ name, error: "ERR_PERMISSION" }]);
    chmodSync(file, 0o600);
    await says(0, ["rm", name], /removed pool/);
    symlinkSync("/etc/passwd", file);
    await says(4, ["inspect", name], /symlink/);
    await says(4, ["rm", name, "--force"], /symlink/);
    rmSync(file);
  });
  await withPool(async (pool) => {
    const version = readU32(pool.name, VERSION_AT);
    writeU32(pool.name, VERSION_AT, 77);
    await says(0, ["ls"], new RegExp(`^${pool.name} .*layout 77`, "m"));
    await says(4, ["inspect", pool.name], /another version of arraypool \(layout 77\)/);
    await says(4, ["check", pool.name], /layout 77/);
    await says(4, ["trim", pool.name], /layout 77/);
    writeU32(pool.name, VERSION_AT, version);
  });
  await withName(async (name, file) => {
    Pool.create({ name, capacity: "1M" });
    truncateSync(file, 70_000);
    assert.equal((await listed(name)).state, "damaged");
    await says(0, ["rm", name, "--force"]);
  });
});

test("a pool that is not there is exit code 3, and wrong usage 2 with what is wrong", async () => {
  const name = newName();
  for (const command of ["inspect", "top", "leaks", "check", "reap", "trim", "rm"]) {
    await says(3, [command, name], /there is no pool/);
    assert.equal((await json(3, command, name)).error.code, "ERR_NOT_FOUND");
  }
  await says(2, [], /usage: arraypool COMMAND/);
  await says(2, ["lss"], /no command "lss"; did you mean ls\?/);
  await says(2, ["frobnicate"], /no command "frobnicate"/);
  await says(2, ["inspect"], /inspect needs the name of a pool/);
  await says(2, ["ls", "a"], /ls takes no name/);
  await says(2, ["check", "a", "b"], /check takes one name/);
  await says(2, ["ls", "--wrong"], /Unknown option '--wrong'/);
  await says(2, ["inspect", "a", "--arrays", "many"], /--arrays needs a whole number/);
  await says(2, ["leaks", "a", "--for", "0"], /--for needs a number of seconds above 0/);
  await says(2, ["rm", "../../etc/passwd"], /a pool's name is/);
  assert.equal((await json(2, "inspect")).error.code, "USAGE");
});

test("each command has help, which is no error", async () => {
  const overview = await says(0, ["--help"], /Exit codes/);
  for (const command of ["ls", "inspect", "top", "leaks", "check", "reap", "trim", "rm", "gc"]) {
    assert.match(overview, new RegExp(`^  ${command}\\b`, "m"));
    await says(0, [command, "--help"], new RegExp(`^usage: arraypool ${command}`), /--json/);
  }
  await says(0, ["help", "rm"], /--force/);
});

test("colours appear on terminals, and otherwise only where they are forced", () =>
  withPool((pool) => {
    // deno-lint-ignore no-control-regex
    const colour = /\x1b\[/;
    assert.doesNotMatch(runWith({}, "ls").stdout, colour);
    assert.match(runWith({ FORCE_COLOR: "1" }, "inspect", pool.name).stdout, colour);
    assert.doesNotMatch(runWith({ FORCE_COLOR: "0" }, "ls").stdout, colour);
    assert.doesNotMatch(runWith({ FORCE_COLOR: "1" }, "ls", "--json").stdout, colour);
    if (process.platform === "linux") {
      const ls = (env: Record<string, string>) => {
        const flags = runtime !== "deno" ? "" : "run -A --no-check";
        // By env: what is left out of the environment here, Deno hands on all the same.
        const unset = ["NO_COLOR", "FORCE_COLOR"].map((name) => name in env ? "" : `-u ${name}`).join(" ");
        const command = `env ${unset} ${programOf(runtime)} ${flags} ${main} ls`;
        const options = { encoding: "utf8", env: { ...process.env, TERM: "xterm", ...env } } as const;
        return spawnSync("script", ["-qec", command, "/dev/null"], options).stdout;
      };
      assert.match(ls({}), colour);
      assert.doesNotMatch(ls({ NO_COLOR: "1" }), colour);
    }
  }));

// ---------------------------------------------------------------- leaks

test("leaks shows who holds how much; of traced programs, from where and since when", () =>
  withPool(async (pool) => {
    using mine = pool.alloc(Float64Array, 100);
    await withMember(pool.name, [], async (child) => {
      const { holders } = await json(0, "leaks", pool.name);
      const theirs = holders.find(({ pid }: Json) => pid === child.process.pid);
      const ours = holders.find(({ pid }: Json) => pid === process.pid);
      assert.deepEqual([theirs.arrays, theirs.bytes, theirs.traced, theirs.state], [1, 4000, true, "live"]);
      assert.match(theirs.groups[0].stack.join(" "), /cli_member\.ts:\d+/);
      assert.ok(theirs.groups[0].oldestMs >= 0 && theirs.groups[0].oldestMs < 600_000);
      assert.deepEqual([ours.arrays, ours.traced, ours.groups[0].type], [1, false, `float64[${mine.length}]`]);
      assert.equal(ours.groups[0].stack, null);
      assert.ok(ours.groups[0].oldestMs < 600_000);
      await says(
        0,
        ["leaks", pool.name],
        new RegExp(`process ${child.process.pid} \\(${runtime}\\): 1 array, 3.9 KiB`),
        /1 array, 3.9 KiB, the oldest for \d+ s\n +at .*cli_member\.ts:\d+/,
        /start programs with ARRAYPOOL_TRACE=1/,
      );
      assert.deepEqual((await json(0, "leaks", pool.name, "--older-than", "3600")).holders, []);
      await says(0, ["leaks", pool.name, "--older-than", "3600"], /nobody holds anything/);
      // What is written for it is no array; and it knows the shape.
      const { arrays } = await json(0, "inspect", pool.name);
      assert.deepEqual(arrays.map(({ shape }: Json) => shape), [[100, 10], [100]]);
      await says(0, ["inspect", pool.name], /float32\[100 x 10\]/);
      assert.equal(pool.stats().arrays, 2);
      assert.equal(pool.blocks().length, 2);
    }, { ARRAYPOOL_TRACE: "1" });
  }));

test("leaks --for shows what was there all the time, and what grows", () =>
  withPool((pool) =>
    withMember(pool.name, ["grows"], async (child) => {
      const { holders, watchedMs } = await json(0, "leaks", pool.name, "--for", "0.5");
      const { groups, arrays } = holders.find(({ pid }: Json) => pid === child.process.pid);
      assert.equal(watchedMs, 500);
      assert.ok(groups[0].grew > 0 && groups[0].arrays === arrays, JSON.stringify(groups));
      // What came meanwhile is counted as growth, and not as there.
      const now = pool.stats().arrays;
      assert.ok(groups[0].arrays + groups[0].grew <= now, `${now} now, and ${JSON.stringify(groups)}`);
      await says(0, ["leaks", pool.name, "--for", "0.5"], /of float32\[100 x 10\].*, \+\d+ in 0 s/);
    })
  ));

test("a trace is bounded, and gone with its member", () =>
  withPool(async (pool) => {
    await withMember(pool.name, ["many"], async (child) => {
      const { holders } = await json(0, "leaks", pool.name);
      const theirs = holders.find(({ pid }: Json) => pid === child.process.pid);
      assert.equal(theirs.arrays, 12_001);
      const traced = theirs.groups.filter(({ stack }: Json) => stack !== null)
        .reduce((sum: number, { arrays }: Json) => sum + arrays, 0);
      assert.deepEqual([theirs.untraced, traced + theirs.untraced], [12_001 - traced, 12_001]);
      assert.ok(traced > 100 && theirs.untraced > 0);
    }, { ARRAYPOOL_TRACE: "1" });
    await until(() => pool.reap() === 1, "it is reaped");
    assert.deepEqual([pool.stats().arrays, pool.stats().usedBytes], [0, 0]);
  }));

test("a trace that says anything names nothing that is not there", () => {
  assert.deepEqual(readTraceLog(new Uint8Array(0)), { holds: [], leftOut: 0 });
  const bytes = new Uint8Array(8192);
  const words = new Uint32Array(bytes.buffer);
  const kinds = [() => 0xffff_ffff, () => Math.random() * 2 ** 32, () => Math.random() * 8, () => Math.random() * 1200];
  let [seen, longest] = [0, 0];
  for (let round = 0; round < 400; round++) {
    for (let i = 0; i < words.length; i++) words[i] = kinds[round < 4 ? round : Math.floor(Math.random() * 4)]!();
    words[0] = 0x6370_7274;
    words[1] = 1;
    const { holds } = readTraceLog(bytes.subarray(0, Math.floor(Math.random() * 8192)));
    assert.ok(holds.length < 8192 / 32);
    for (const { stack } of holds) {
      assert.ok(stack.length <= 1020);
      longest = Math.max(longest, stack.length);
    }
    seen += holds.length;
  }
  assert.ok(seen > 100 && longest > 100, `${seen} holds, ${longest}`);
});

// ---------------------------------------------------------------- top

test("top tells rates: allocations, frees, attaches, claims", () =>
  withPool(async (pool) => {
    await withMember(pool.name, ["shares"], async (child) => {
      const { stdout, status } = runWith({}, "top", pool.name, "--json", "--count", "2", "--interval", "0.4");
      assert.equal(status, 0);
      const samples = stdout.trim().split("\n").map((line) => JSON.parse(line) as Json);
      assert.equal(samples.length, 2);
      for (const { pools: [{ rates, memberInfos }] } of samples) {
        assert.ok(rates.allocs > 1 && rates.frees > 1, JSON.stringify(rates));
        // Each is attached ten times; a look may come in between.
        assert.ok(rates.attaches > 5 * rates.allocs && rates.claims > 5 * rates.allocs, JSON.stringify(rates));
        assert.ok(rates.lockWaits >= 0);
        const theirs = memberInfos.find(({ pid }: Json) => pid === child.process.pid);
        assert.ok(theirs.rates.attaches > 1);
      }
      const all = runWith({}, "top", "--json", "--interval", "0.1").stdout;
      assert.ok(JSON.parse(all).pools.some(({ name }: Json) => name === pool.name));
      await says(0, ["top", "--interval", "0.1"], /ALLOC\/s/, new RegExp(`^${pool.name} `, "m"));
      await says(0, ["top", pool.name, "--interval", "0.1"], /alloc .*\/s {2}free/, /ATTACH\/s/);
    });
    // It may have been killed between a claim and its attach.
    await until(() => pool.reap() >= 0 && pool.stats().claims === 0, "its claims are over");
  }, { claimTtlMs: 500 }));

/** Runs `top` in a terminal of 80 x 24, does something to it, and returns what was written and the terminal's state. */
async function inTerminal(
  args: string[],
  act: (write: (keys: string) => void, pid: number, written: () => string) => unknown,
) {
  const flags = runtime !== "deno" ? "" : "run --allow-ffi --no-prompt --no-check";
  const shell = `stty rows 24 cols 80; stty -g; sh -c 'echo PID=$$; exec ${programOf(runtime)} ${flags} ${main} ${
    args.join(" ")
  }'; echo CODE=$?; stty -g`;
  const { NO_COLOR: _, FORCE_COLOR: __, ...plain } = process.env;
  const child = spawn("script", ["-qec", shell, "/dev/null"], { env: { ...plain, TERM: "xterm" } });
  let written = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => written += text);
  const closed = new Promise((resolve) => child.on("close", resolve));
  try {
    await until(() => written.includes(ENTER) && written.includes("q quits"), "top draws");
    await act((keys) => child.stdin.write(keys), Number(/PID=(\d+)/.exec(written)![1]), () => written);
    await until(() => written.includes("CODE="), "top ends");
    await closed;
  } finally {
    child.kill("SIGKILL");
  }
  const settings = written.split(/\r?\n/).filter((line) => /^[0-9a-f]+(:[0-9a-f]+)+$/.test(line));
  return { written, code: Number(/CODE=(\d+)/.exec(written)![1]), settings };
}

const ENTER = "\x1b[?1049h";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

if (process.platform === "linux") {
  const ends: Record<string, [number, (write: (keys: string) => void, pid: number) => unknown]> = {
    "q": [0, (write) => write("q")],
    "Ctrl-C": [0, (write) => write("\x03")],
    "SIGTERM": [143, (_, pid) => process.kill(pid, "SIGTERM")],
  };
  for (const [how, [code, act]] of Object.entries(ends)) {
    test(`top draws a page of 80 x 24, and leaves the terminal as it found it: ${how}`, () =>
      withPool(async (pool) => {
        using _array = pool.alloc(Float64Array, 1000);
        const result = await inTerminal(["top", pool.name, "--interval", "0.1"], act);
        assert.equal(result.code, code, result.written);
        assert.equal(result.settings.length, 2);
        assert.equal(result.settings[0], result.settings[1]);
        assert.ok(result.written.lastIndexOf(LEAVE) > result.written.lastIndexOf("q quits"));
        const page = result.written.split("\x1b[H")[1]!.split("\x1b[J")[0]!;
        // deno-lint-ignore no-control-regex
        const lines = page.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]/g, "").split(/\r+\n/);
        assert.ok(lines.length <= 24 && lines.length > 8);
        for (const line of lines) assert.ok([...line].length <= 80, `${line} has ${[...line].length}`);
        assert.match(lines.join("\n"), /float64\[1000\]/);
      }));
  }

  test("top that is stopped gives the terminal back, and draws anew when it goes on", () =>
    withPool(async (pool) => {
      const leaves = (text: string) => text.split(LEAVE).length - 1;
      for (
        const stop of [
          (_: unknown, pid: number) => process.kill(pid, "SIGTSTP"),
          (write: (keys: string) => void) => write("\x1a"),
        ]
      ) {
        const result = await inTerminal(["top", pool.name, "--interval", "0.1"], async (write, pid, written) => {
          stop(write, pid);
          await until(() => /^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, "utf8")), "it is stopped");
          await until(() => leaves(written()) === 1, "the terminal is as it was");
          const before = written().length;
          process.kill(pid, "SIGCONT");
          await until(() => written().slice(before).includes(ENTER), "it is on the other screen again");
          await until(() => written().slice(before).includes("q quits"), "it draws");
          write("q");
        });
        assert.deepEqual([result.code, leaves(result.written), result.settings[0]], [0, 2, result.settings[1]]);
      }
    }));

  test("top says so when its pool is gone, and ends as ever", async () => {
    await withName(async (name, file) => {
      {
        using _pool = Pool.create({ name, capacity: "1M" });
        const result = await inTerminal(["top", name, "--interval", "0.1"], (write) => {
          rmSync(file);
          setTimeout(() => write("q"), 500);
        });
        assert.match(result.written, /there is no pool .* any more/);
        assert.deepEqual([result.code, result.settings[0]], [0, result.settings[1]]);
      }
    });
  });
}

test("a disk that is full is a failure of the system, and is said in a line", () => {
  if (!existsSync("/dev/full")) return;
  const full = openSync("/dev/full", "w");
  try {
    const program = [...flagsOf(runtime, ["--allow-ffi"]), main];
    const out = spawnSync(programOf(runtime), [...program, "ls"], {
      encoding: "utf8",
      stdio: ["ignore", full, "pipe"],
    });
    assert.equal(out.status, 6, out.stderr);
    assert.match(out.stderr, /^arraypool: cannot write: [^\n]+\n$/);
    const err = spawnSync(programOf(runtime), [...program, "inspect", "nope"], { stdio: ["ignore", "pipe", full] });
    assert.equal(err.status, 3);
  } finally {
    closeSync(full);
  }
});

test("a table has as many rows as there are", () => {
  const rows = Array.from({ length: 250_000 }, (_, i) => [`${i}`, "x"]);
  const columns = [{ title: "A", right: true }, { title: "B" }];
  assert.equal(table(columns, rows, 80, new Paint(false)).length, rows.length + 1);
});

test("of arrays in flight the last claim is the last of theirs", () =>
  withPool(async (pool) => {
    using held = pool.alloc(Uint8Array, 8);
    const sent = pool.alloc(Uint8Array, 40);
    const all = [held.share({ ttlMs: HOUR_MS }), sent.share({ ttlMs: 30_000 })];
    sent.release();
    await says(0, ["leaks", pool.name], /the last claim expires in (?:2\d|30) s/);
    release(all);
  }));
