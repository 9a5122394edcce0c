/** How members end, with arrays, buffers and native calls still alive: in order, by force, and all at once. */

import { spawn } from "node:child_process";
import { Buffer } from "node:buffer";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, write } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { inspect } from "node:util";
import { attach, pack, Pool, unpack } from "arraypool";
import {
  assert,
  type Child,
  fileOf,
  newName,
  poolsLeft,
  rejectsPoolError,
  type Runtime,
  runtime,
  runtimes,
  sleep,
  start,
  test,
  throwsPoolError,
  until,
  untilCollected,
  withChild,
  withFolder,
  withName,
  withPool,
} from "./support/harness.ts";
import { startWorker, type WebWorker } from "./support/web_worker.ts";

const MIB = 2 ** 20;

/** Sends a message to a Worker, and waits for `count` answers. */
async function ask<T extends unknown[]>(worker: WebWorker, message: unknown, count = 1): Promise<T> {
  const answers: unknown[] = [];
  worker.onmessage = ({ data }) => answers.push(data);
  worker.postMessage(message);
  await until(() => answers.length >= count, "the Worker answers");
  worker.onmessage = null;
  return answers as T;
}

const isFilledWith = (bytes: Uint8Array, value: number) => bytes.every((byte) => byte === value);

// ---------------------------------------------------------------- what a terminated Worker leaves behind

test("a buffer that a Worker has transferred shows its own bytes though the Worker was terminated, and another process takes all memory", () =>
  withPool((pool) =>
    withChild(start("bun", "./child.ts"), async (child) => {
      const worker = startWorker("./worker.ts");
      const lent = await ask<ArrayBuffer[]>(worker, { do: "lend", name: pool.name, value: 7 }, 2);
      worker.terminate();
      await until(() => pool.members().length === 1, "the Worker is gone");
      child.write({ do: "take all", name: pool.name });
      await child.next();
      assert.ok(isFilledWith(new Uint8Array(lent[0]!), 7));
      // Nor does this process give it away.
      pool.reap();
      assert.equal(pool.stats().arrays, 2);
      assert.ok(isFilledWith(new Uint8Array(lent[0]!), 7));
      lent.length = 0;
      await untilCollected(() => pool.reap() >= 0 && pool.stats().arrays === 1, "the buffer is collected");
    }), { capacity: "8M" }));

test("a file write that a Worker has begun writes its own bytes though the Worker was terminated, and another process takes all memory", () =>
  withPool((pool) =>
    withChild(start("bun", "./child.ts"), (child) =>
      withPipe(async (pipe) => {
        const worker = startWorker("./worker.ts");
        await ask(worker, { do: "write", name: pool.name, value: 7, path: pipe.path });
        await until(() => pipe.read(4096), "the write has begun");
        worker.terminate();
        // It need not be gone: Bun's waits for the write.
        await sleep(100);
        child.write({ do: "take all", name: pool.name });
        await child.next();
        while (await pipe.read(MIB) || (await sleep(50), pipe.read(MIB)));
        assert.ok(isFilledWith(pipe.bytes(), 7), "bytes of another array were written");
        await until(() => pool.reap() >= 0 && pool.members().length === 2, "the Worker is gone");
        await untilCollected(() => pool.reap() >= 0 && pool.stats().arrays === 1, "the array is free");
      })), { capacity: "8M" }));

// ---------------------------------------------------------------- the ways to end

/** Ways to end, as docs/lifetimes.md has them; for support/ending.ts, and what is done to it. */
const endings: { row: string; how: string; in?: Runtime; signal?: NodeJS.Signals; terminal?: true }[] = [
  { row: "the program's end", how: "end" },
  { row: "`process.exit()`", how: "process.exit" },
  { row: "`Deno.exit()`", how: "Deno.exit", in: "deno" },
  { row: '`pool.close()` in `process.on("exit")`', how: "close at exit" },
  { row: '`pool.close()` in `process.on("beforeExit")`', how: "close at beforeExit" },
  { row: "an uncaught error", how: "uncaught error" },
  { row: "an unhandled rejection", how: "unhandled rejection" },
  { row: "`process.abort()`", how: "abort" },
  { row: "SIGTERM with a handler that calls `process.exit()`", how: "handled signal", signal: "SIGTERM" },
  { row: "SIGINT", how: "signal", signal: "SIGINT" },
  { row: "SIGTERM", how: "signal", signal: "SIGTERM" },
  { row: "SIGHUP", how: "signal", signal: "SIGHUP" },
  { row: "SIGKILL", how: "signal", signal: "SIGKILL" },
  { row: "its terminal is closed", how: "signal", terminal: true },
  { row: "Worker: `worker.terminate()`", how: "Worker terminate" },
  { row: "Worker: `close()`, in Bun and Node `process.exit()`", how: "Worker close" },
  { row: "Worker: an uncaught error", how: "Worker throw" },
];

const table = readFileSync(fileURLToPath(new URL("../docs/lifetimes.md", import.meta.url)), "utf8");

/** What the table says of this runtime. */
function documented(row: string): string | undefined {
  const rows = table.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  return rows.find((cells) => cells[1] === row)?.[2 + runtimes.indexOf(runtime)];
}

for (const { row, how, in: only, signal, terminal } of endings) {
  if (only !== undefined && only !== runtime) continue;
  test(`what docs/lifetimes.md says of: ${row}`, () =>
    withPool((pool) =>
      withName(async (name, file) => {
        const array = pool.alloc(Uint8Array, 10);
        const options = {
          args: [how, name],
          env: { TEST_MESSAGE: JSON.stringify(pack({ array })), DENO_NO_UPDATE_CHECK: "1" },
          // Whoever runs the tests may ignore signals, as nohup does, and hand that on.
          wrapper: ["env", "--default-signal"],
        };
        array.release();
        const child = start(runtime, "./ending.ts", { ...options, terminal: terminal === true });
        try {
          assert.equal(await child.next(), "joined");
          if (signal !== undefined) process.kill(child.process.pid!, signal);
          if (terminal) child.process.kill("SIGKILL");
          assert.equal(await endOf(pool, file, child, how.startsWith("Worker ")), documented(row));
        } finally {
          await child.kill();
        }
      })
    ));
}

/** What comes of a member that was told to end, in the words of the table. */
async function endOf(pool: Pool, file: string, child: Child, isWorker: boolean): Promise<string> {
  const left = () => pool.stats().arrays === 0 && !existsSync(file);
  if (!isWorker) await child.exited;
  // A Worker ends when it does; a terminal's processes, too.
  await until(() => left() || pool.members().length === 1, "the member is gone");
  if (left()) return "leaves";
  // Of a Worker though its process lives; not at once: it is dead before its last buffer is gone.
  await until(() => pool.reap() === 1, "it can be reaped");
  assert.deepEqual([pool.stats().arrays, pool.stats().members], [0, 1]);
  assert.ok(existsSync(file));
  if (isWorker) await child.end();
  await until(() => {
    Pool.create({ capacity: "1M" }).close();
    return !existsSync(file);
  }, "the next pool sweeps it away");
  return "reaped";
}

test("every way to end in docs/lifetimes.md was tried", () => {
  const rows = [...table.split("| how it ends")[1]!.matchAll(/^\| (.*?) +\|/gm)].map(([, row]) => row!).slice(1);
  assert.deepEqual(rows.sort(), endings.map(({ row }) => row).sort());
});

// ---------------------------------------------------------------- close()

test("after close() every method of Pool, of its arrays and slices is ERR_CLOSED, and whatever ends them does nothing", async () => {
  const pool = Pool.create({ name: newName(), capacity: "1M" });
  const array = pool.from(Float64Array.of(1, 2, 3, 4), [2, 2]);
  const words = pool.alloc(Int32Array, 1);
  const slice = array.slab(1);
  const own = slice.retain();
  const packed = pack({ array });
  pool.close();
  for (const view of [array, slice, own]) {
    assert.deepEqual([view.length, view.released, view.pool], [0, true, pool]);
    const calls = [
      () => view.subarray(),
      () => view.slab(0),
      () => view.reshape(view.shape),
      () => view.retain(),
      () => view.share(),
      () => view.toJSON(),
      () => pack(view),
      () => pool.from(view),
    ];
    for (const call of calls) throwsPoolError(call, "ERR_CLOSED", /closed/);
    // What TypedArrays do by themselves they do as for any detached one.
    assert.equal(view[0], undefined);
    assert.doesNotThrow(() => inspect(view));
  }
  for (const owner of [array, own]) {
    throwsPoolError(() => owner.holdUntil(Promise.resolve()), "ERR_CLOSED");
    owner.release();
    owner[Symbol.dispose]();
  }
  const ends = new Set(["constructor", "close", "toJSON", "name", "capacityBytes", "closed"]);
  const methods = Object.getOwnPropertyNames(Pool.prototype).filter((name) => !ends.has(name));
  assert.deepEqual(methods.sort(), [
    "alloc",
    "allocUnsafe",
    "blocks",
    "channel",
    "check",
    "delete",
    "from",
    "get",
    "has",
    "members",
    "names",
    "notify",
    "once",
    "onceAsync",
    "reap",
    "set",
    "stats",
    "trim",
    "wait",
    "waitAsync",
  ]);
  const made: Record<string, unknown[]> = {
    alloc: [Uint8Array, 1],
    allocUnsafe: [Uint8Array, 1],
    from: [Uint8Array.of(1)],
    get: ["name"],
    has: ["name"],
    delete: ["name"],
    set: ["name", array],
    once: ["name", () => array],
    onceAsync: ["name", () => array],
    wait: [words, 0, 0],
    waitAsync: [words, 0, 0],
    notify: [words, 0],
  };
  for (const name of methods) {
    const method = (pool as unknown as Record<string, (...args: unknown[]) => unknown>)[name]!;
    // Some reject.
    await rejectsPoolError(async () => await method.call(pool, ...(made[name] ?? [])), "ERR_CLOSED", /closed/);
  }
  assert.deepEqual([pool.closed, pool.capacityBytes, pool.toJSON().pool], [true, MIB, pool.name]);
  pool.close();
  pool[Symbol.dispose]();
  // The claim still keeps the pool: whoever gets the message joins anew.
  using got = unpack(packed);
  assert.deepEqual([...got.array], [1, 2, 3, 4]);
  got.array.pool.close();
});

test("what a terminated Worker has released keeps neither memory nor its place in the pool, nor its addresses", () =>
  withPool(async (pool) => {
    const mappings = () => readFileSync("/proc/self/maps", "utf8").split(fileOf(pool.name)).length;
    const before = mappings();
    const worker = startWorker("./worker.ts");
    try {
      await ask(worker, { do: "come and go", name: pool.name });
      assert.deepEqual([pool.stats().members, pool.stats().arrays], [2, 0]);
      assert.ok(mappings() > before);
      worker.terminate();
      await until(() => pool.reap() + pool.stats().members === 1, "the Worker is reaped");
    } finally {
      worker.terminate();
    }
    await until(() => pool.reap() === 0 && mappings() === before, "its addresses are given back");
    using all = pool.alloc(Uint8Array, pool.stats().largestFreeBytes);
    assert.ok(all.length > 7 * MIB);
  }, { capacity: "8M" }));

// Deno 2.9 does not end a Worker that is busy, whatever it does.
if (runtime !== "deno") {
  const churns: [string, object[]][] = [
    ["allocating", [{ keeps: 0, receives: 0 }, { keeps: 50, receives: 0 }]],
    ["receiving arrays", [{ keeps: 0, receives: 8 }, { keeps: 0, receives: 1 }, { keeps: 0, receives: 8 }]],
  ];
  for (const [what, orders] of churns) {
    test(`Workers that are terminated in the middle of ${what} keep neither memory nor their places in the pool`, () =>
      withPool(async (pool) => {
        // At random instructions: between the call that counts a buffer and the one that makes it, too.
        for (let i = 0; i < (runtime === "bun" ? 40 : 8); i++) {
          const worker = startWorker("./churner.ts");
          try {
            await ask(worker, { name: pool.name, ...orders[i % orders.length] });
            await sleep(Math.random() * 5);
          } finally {
            worker.terminate();
          }
        }
        await until(() => pool.reap() + pool.stats().members === 1, "the Workers are reaped");
        assert.equal(pool.stats().usedBytes, 0);
      }, { capacity: "64M" }));
  }
}

test("empty arrays and slices do not keep a pool, nor a terminated Worker's memory", async () => {
  const pool = Pool.create({ name: newName(), capacity: "1M" });
  const [empty, array] = [pool.alloc(Uint8Array, 0), pool.alloc(Uint8Array, 10)];
  const slices = [empty.retain(), array.subarray(3, 3).retain(), attach(array.subarray(5, 5).share())];
  assert.deepEqual(slices.map(({ length }) => length), [0, 0, 0]);
  const worker = startWorker("./worker.ts");
  try {
    await ask(worker, pack({ do: "hold", array: empty }));
    await ask(worker, pack({ do: "hold", array: array.subarray(1, 1) }));
    worker.terminate();
    await until(() => pool.reap() + pool.stats().members === 1, "the Worker is reaped");
  } finally {
    worker.terminate();
  }
  slices[1]!.release();
  assert.equal(pool.stats().lentBytes, 0);
  pool.close();
  assert.ok(!existsSync(fileOf(pool.name)));
});

test("close() from a callback of holdUntil(), from a job, from a finalizer, and within a turn of itself", async () => {
  const uses = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const first = Pool.create({ name: newName(), capacity: "1M" });
  const arrays = uses.map(({ promise }) => {
    const array = first.alloc(Uint8Array, 1000).fill(7);
    array.holdUntil(promise).then(() => first.close());
    return array;
  });
  uses[0]!.resolve();
  await until(() => first.closed, "the callback has closed the pool");
  assert.deepEqual(arrays.map(({ length }) => length), [0, 1000]);
  assert.ok(existsSync(fileOf(first.name)), "the other use is not done");
  uses[1]!.resolve();
  await until(() => arrays[1]!.length === 0, "the other use is done");
  assert.ok(!existsSync(fileOf(first.name)));

  const second = Pool.create({ name: newName(), capacity: "1M" });
  const finalizers = new FinalizationRegistry(() => second.close());
  (() => {
    for (let i = 0; i < 50; i++) finalizers.register(second.alloc(Uint8Array, 1000), undefined);
  })();
  await untilCollected(() => second.closed, "a finalizer has closed the pool");
  await until(() => !existsSync(fileOf(second.name)), "it has left");

  const third = Pool.create({ name: newName(), capacity: "1M" });
  const array = third.alloc(Uint8Array, 1000);
  const done = array.holdUntil(Promise.resolve().then(() => third.close()));
  third.close();
  third.close();
  await done;
  await until(() => !existsSync(fileOf(third.name)), "it has left");
});

test("close() waits for a native call in flight, which writes what it was given", () =>
  withPipe(async (pipe) => {
    const pool = Pool.create({ name: newName(), capacity: "2M" });
    const [array, released] = [pool.alloc(Uint8Array, MIB).fill(7), pool.alloc(Uint8Array, 4096).fill(6)];
    const done = writeLater(pipe.path, array);
    released.release();
    pool.close();
    pool.close();
    assert.ok(existsSync(fileOf(pool.name)));
    let ended = false;
    done.then(() => ended = true);
    while (!ended) if (!pipe.read(MIB)) await sleep(1);
    while (pipe.read(MIB));
    assert.equal(pipe.bytes().length, MIB);
    assert.ok(isFilledWith(pipe.bytes(), 7), "the pool was left, and the write has read zeros");
    await until(() => !existsSync(fileOf(pool.name)), "the pool is left");
    assert.equal(array.length, 0);
  }));

test("close() in one thread does not concern another: each is a member of its own", () =>
  withPool(async (pool) => {
    const worker = startWorker("./worker.ts");
    try {
      using array = pool.alloc(Uint8Array, 1000);
      await ask(worker, pack({ do: "hold", array }));
      array.fill(3);
      await ask(worker, { do: "leave", name: pool.name });
      assert.equal(pool.members().length, 1);
      assert.ok(isFilledWith(array, 3));
      await ask(worker, pack({ do: "hold", array }));
      const packed = pack({ do: "fill", array, value: 5 });
      const { name } = pool;
      pool.close();
      assert.equal(array.length, 0);
      // The Worker goes on, and its array is what it was.
      await ask(worker, packed);
      using again = Pool.open(name);
      assert.equal(again.stats().arrays, 1);
      assert.equal((await ask<number[]>(worker, { do: "held sum" }))[0], 5000);
      await ask(worker, { do: "leave", name });
    } finally {
      worker.terminate();
    }
  }));

// ---------------------------------------------------------------- buffers and views that live on

const takers: Record<string, (buffer: ArrayBuffer) => unknown> = {
  "transfer()": (buffer) => buffer.transfer(),
  "transferToFixedLength()": (buffer) => (buffer as { transferToFixedLength?(): ArrayBuffer }).transferToFixedLength!(),
  "structuredClone()": (buffer) => structuredClone(buffer, { transfer: [buffer] }),
  "structuredClone() of a structuredClone()": (buffer) => {
    const once = structuredClone(buffer, { transfer: [buffer] });
    return structuredClone(once, { transfer: [once] });
  },
};

test("however a buffer is transferred, its memory stays until the new owner is gone, and lentBytes counts it", () =>
  withPool(async (pool) => {
    const taken: [string, ArrayBuffer][] = [];
    (() => {
      for (const [how, take] of Object.entries(takers)) {
        const array = pool.alloc(Uint8Array, MIB).fill(7);
        taken.push([how, take(array.buffer) as ArrayBuffer]);
        array.release();
      }
    })();
    // A message that nobody has taken out yet.
    const { port1, port2 } = new MessageChannel();
    (() => {
      const array = pool.alloc(Uint8Array, MIB).fill(7);
      port1.postMessage(array.buffer, [array.buffer]);
      array.release();
    })();
    assert.equal(pool.stats().lentBytes, 5 * MIB);
    using rest = pool.allocUnsafe(Uint8Array, pool.stats().largestFreeBytes).fill(0xee);
    assert.equal(rest.length, 3 * MIB);
    // Functions of their own: what a function has in its registers is not garbage before it returns.
    const assertFilled = (value: number) => {
      for (const [how, buffer] of taken) assert.ok(isFilledWith(new Uint8Array(buffer), value), how);
    };
    const fill = (value: number) => {
      for (const [, buffer] of taken) new Uint8Array(buffer).fill(value);
    };
    assertFilled(7);
    const received = new Promise<void>((resolve) =>
      port2.onmessage = ({ data }) => {
        taken.push(["postMessage()", data]);
        resolve();
      }
    );
    await received;
    assertFilled(7);
    fill(9);
    assertFilled(9);
    assert.ok(isFilledWith(rest, 0xee));
    port1.close();
    taken.length = 0;
    await untilCollected(() => pool.stats().arrays === 1, "the new owners are gone");
    assert.equal(pool.stats().lentBytes, 0);
  }, { capacity: "8M" }));

test("plain views keep the memory when their array is garbage, each kind of them", () =>
  withPool(async (pool) => {
    const views = (() => {
      const make = () => pool.alloc(Uint8Array, 4096).fill(7);
      return [
        new Uint8Array(make().buffer, 8, 16),
        new Float32Array(make().buffer),
        new DataView(make().buffer, 100),
        Buffer.from(make().buffer),
        Buffer.from(make().buffer, 64, 64),
        make().subarray(10),
        { buffer: make().buffer, byteOffset: 0, byteLength: 4096 },
        new Uint8Array(new Uint8Array(make().buffer).subarray(5).buffer),
      ];
    })();
    // Others that are dropped later are collected: so these have been.
    for (let round = 1; round <= 3; round++) {
      (() => {
        for (let i = 0; i < 30; i++) pool.alloc(Uint8Array, round);
      })();
      const left = () => pool.blocks().filter(({ byteLength }) => byteLength === round).length;
      await untilCollected(() => left() <= 3, "the collector has run");
    }
    assert.equal(pool.blocks().filter(({ byteLength }) => byteLength === 4096).length, views.length);
    using rest = pool.allocUnsafe(Uint8Array, pool.stats().largestFreeBytes).fill(0xee);
    for (const { buffer, byteOffset, byteLength } of views) {
      assert.ok(isFilledWith(new Uint8Array(buffer, byteOffset, byteLength), 7));
      new Uint8Array(buffer).fill(9);
    }
    assert.ok(isFilledWith(rest, 0xee));
    views.length = 0;
    await untilCollected(
      () => pool.blocks().filter(({ byteLength }) => byteLength === 4096).length <= 2,
      "they are collected",
    );
  }, { capacity: "1M" }));

test("a pool that was closed is left to the collector, also the one that had the first array of its type here", async () => {
  const closed = (() =>
    Array.from({ length: 4 }, () => {
      const pool = Pool.create({ capacity: "1M" });
      pool.alloc(BigUint64Array, 10).release();
      pool.close();
      return new WeakRef(pool);
    }))();
  await untilCollected(() => closed[0]!.deref() === undefined, "it is collected");
});

// ---------------------------------------------------------------- sorting what another process writes

test("sorting an array, a slice or a copy while another process writes it crashes nothing, and gives only values that were written", () =>
  withPool((pool) =>
    withChild(start("bun", "./child.ts"), async (child) => {
      using before = pool.alloc(Float64Array, 1000).fill(0.5);
      using array = pool.alloc(Float64Array, 20_000);
      using after = pool.alloc(Float64Array, 1000).fill(0.5);
      using counter = pool.alloc(Int32Array, 1);
      // Multiples of 997 only: anything else was not there.
      child.write(pack({ do: "scribble", array, counter, value: 997 }));
      await child.next();
      const [down, slice] = [(a: number, b: number) => b - a, array.subarray(5000, 15_000)];
      const isRight = (values: Float64Array) => values.every((value) => value % 997 === 0);
      const isSorted = (values: Float64Array, sign: number) =>
        values.every((value, i) => i === 0 || sign * (value - values[i - 1]!) >= 0);
      for (let i = 0; i < 15; i++) {
        for (const view of [array, slice]) {
          assert.equal(view.sort(), view);
          assert.equal(view.sort(down), view);
          const [up, back] = [view.toSorted(), view.toSorted(down)];
          for (const [copy, sign] of [[up, 1], [back, -1]] as const) {
            assert.equal(copy.length, view.length);
            assert.ok(isRight(copy) && isSorted(copy, sign));
          }
          // The values that sort() found are those that it has put back: a permutation.
          const [found, put] = sortedBy(view);
          assert.deepEqual(found.sort(), put);
        }
        assert.ok(isRight(array.slice()));
        // Of a copy: decoding what another one writes can crash Deno.
        assert.equal(typeof new TextDecoder().decode(new Uint8Array(array.buffer, 0, 10_000).slice()), "string");
      }
      Atomics.store(counter, 0, 1);
      assert.deepEqual(await child.next(), { done: true });
      assert.ok(before.every((x) => x === 0.5) && after.every((x) => x === 0.5));
    })
  ));

/** What sort() copies out of a view, and what it puts back. */
function sortedBy(view: Float64Array): [Float64Array, Float64Array] {
  let found = new Float64Array(0) as Float64Array;
  let put = found;
  const { slice, set } = Float64Array.prototype;
  const own = { configurable: true };
  Object.defineProperty(view, "slice", {
    ...own,
    value: () => {
      const copy = slice.call(view);
      found = copy.slice();
      return copy;
    },
  });
  Object.defineProperty(view, "set", { ...own, value: (copy: Float64Array) => set.call(view, put = copy) });
  view.sort();
  for (const name of ["slice", "set"]) delete (view as unknown as Record<string, unknown>)[name];
  return [found, put];
}

/** Runs `use` with a pipe: `read` takes as many bytes at most, and says whether there were any. */
function withPipe(
  use: (pipe: { path: string; read(most: number): boolean; bytes(): Uint8Array }) => unknown,
): Promise<void> {
  return withFolder(async (folder) => {
    const path = join(folder, "pipe");
    await new Promise((resolve) => spawn("mkfifo", [path]).on("close", resolve));
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const parts: Uint8Array[] = [];
    const read = (most: number) => {
      const part = new Uint8Array(most);
      try {
        const count = readSync(reader, part);
        parts.push(part.subarray(0, count));
        return count > 0;
      } catch {
        return false; // it is empty
      }
    };
    try {
      await use({ path, read, bytes: () => Buffer.concat(parts) });
    } finally {
      closeSync(reader);
    }
  });
}

/** Writes an array to a pipe, on another thread. */
function writeLater(path: string, array: Uint8Array): Promise<unknown> {
  const { Deno } = globalThis as unknown as {
    Deno?: { openSync(path: string, options: object): { write(data: Uint8Array): Promise<number>; close(): void } };
  };
  if (Deno !== undefined) {
    // In Deno `fs.write` is over when it returns.
    const file = Deno.openSync(path, { write: true });
    return file.write(array).finally(() => file.close());
  }
  const fd = openSync(path, "w");
  return new Promise((resolve) => write(fd, array, 0, array.length, null, resolve)).finally(() => closeSync(fd));
}

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));
