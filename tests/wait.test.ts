/** wait, waitAsync and notify: as Atomics has them, between processes and Workers. */

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { pack, Pool, type SharedArray, type WaitAsyncOptions } from "arraypool";
import {
  assert,
  countListeners,
  peers,
  rejectsPoolError,
  runtime,
  sleep,
  start,
  test,
  throwsPoolError,
  until,
  withChild,
  withPool,
} from "./support/harness.ts";
import { DOORBELL_AT, DOORBELL_PARKED, readU32, writeU32 } from "./support/segment.ts";
import { startWorker } from "./support/web_worker.ts";

const WAITER = "./waiter.ts";

type Words = SharedArray<Int32Array>;

/** An order for a waiter. `words[index + 1]` is what it tells besides the result. */
function order(what: string, words: Words, index = 0, expected = 0, more: object = {}) {
  return pack({ do: what, words, index, expected, ...more });
}

/** Somebody who blocks cannot say when: notifies until `count` have woken. */
async function untilWoken(pool: Pool, words: Words, index: number, count: number): Promise<void> {
  let woken = 0;
  await until(() => (woken += pool.notify(words, index)) >= count, `${count} were waiting`);
  assert.equal(woken, count);
}

/** Who waits runs nothing, and looks for nothing: in no thread, but for what a runtime does by itself now and then. */
async function untilAsleep(pid: number): Promise<void> {
  if (process.platform !== "linux") return;
  // Tries, and no limit of time: whoever was stopped meanwhile wakes in each of its threads.
  for (let tries = 0; tries < 20; tries++) {
    const before = wakesOf(pid);
    await sleep(150);
    if (wakesOf(pid) - before < 8) return;
  }
  assert.fail(`process ${pid} does not sleep while it waits`);
}

/** How often its threads have gone to sleep so far. */
function wakesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8");
    return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)![1]);
  }).reduce((sum, wakes) => sum + wakes);
}

/** A Worker that waits. */
class Waiting {
  readonly #worker = startWorker("./waiter.ts");
  readonly #answers: unknown[] = [];

  constructor(message: unknown) {
    this.#worker.onmessage = ({ data }) => this.#answers.push(data);
    this.#worker.postMessage(message);
  }
  async next(): Promise<unknown> {
    await until(() => this.#answers.length > 0, "the Worker answers");
    return this.#answers.shift();
  }
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

// ---------------------------------------------------------------- what they are

test("wait begins only if the element is as expected, and ends when its time is over", () =>
  withPool(async (pool) => {
    using signed = pool.from(Int32Array.of(0, -1, 5));
    using unsigned = pool.from(Uint32Array.of(4_000_000_000));
    for (const timeoutMs of [0, 0.5, 20]) {
      const blocking = (...args: [Int32Array | Uint32Array, number, number]) => pool.wait(...args, { timeoutMs });
      const otherwise = (...args: [Int32Array | Uint32Array, number, number]) =>
        pool.waitAsync(...args, { timeoutMs, ref: true });
      for (const waits of [blocking, otherwise]) {
        assert.equal(await waits(signed, 0, 1), "not-equal");
        assert.equal(await waits(signed, 0, 0), "timed-out");
        assert.equal(await waits(signed, 1, -1), "timed-out");
        assert.equal(await waits(signed.subarray(2), 0, 5), "timed-out");
        assert.equal(await waits(signed.subarray(1, 2), 0, 5), "not-equal");
        assert.equal(await waits(signed.reshape([3, 1]).slab(2), 0, 5), "timed-out");
        assert.equal(await waits(unsigned, 0, 4_000_000_000), "timed-out");
      }
    }
    const begun = performance.now();
    assert.equal(pool.wait(signed, 0, 0, { timeoutMs: 250 }), "timed-out");
    assert.ok(performance.now() - begun >= 249);
    assert.equal(pool.notify(signed, 0), 0);
  }));

test("notify wakes those who came first, as many as asked for, and says how many", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 4);
    const order: number[] = [];
    const waits = Array.from(
      { length: 5 },
      (_, i) =>
        pool.waitAsync(i % 2 ? words.subarray(1) : words, i % 2 ? 0 : 1, 0, { ref: true }).then(() => order.push(i)),
    );
    assert.equal(pool.notify(words, 0), 0);
    assert.equal(pool.notify(words, 2), 0);
    assert.equal(pool.notify(words, 1, 0), 0);
    assert.equal(pool.notify(words, 1, 1), 1);
    await waits[0];
    assert.equal(pool.notify(words.subarray(1), 0, 2), 2);
    await waits[2];
    assert.equal(pool.notify(words, 1, Infinity), 2);
    await Promise.all(waits);
    assert.deepEqual(order, [0, 1, 2, 3, 4]);
    assert.equal(pool.notify(words, 1), 0);
  }));

test("each word has its own waiters, however many words there are", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Uint32Array, 3000);
    const results = Array.from(words, (_, i) => pool.waitAsync(words, i, 0, { ref: true }));
    let ended = 0;
    for (const result of results) void result.then(() => ended++);
    for (let i = 0; i < words.length; i += 2) assert.equal(pool.notify(words, i), 1);
    await until(() => ended >= words.length / 2, "half of them have ended");
    for (let i = 0; i < words.length; i++) assert.equal(pool.notify(words, i), i % 2);
    assert.deepEqual(new Set(await Promise.all(results)), new Set(["ok"]));
  }));

test("wrong arguments are a TypeError or a RangeError, and nothing begins", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 3);
    using unsigned = pool.alloc(Uint32Array, 3);
    using floats = pool.alloc(Float32Array, 3);
    using empty = pool.alloc(Int32Array, 0);
    using other = Pool.create({ capacity: "1M" });
    using foreign = other.alloc(Int32Array, 3);
    type Call = [unknown, unknown?, unknown?, unknown?];
    const wrong: [Call, typeof TypeError | typeof RangeError, RegExp][] = [
      [[floats, 0, 0], TypeError, /Int32Array or Uint32Array of a pool.*, not a Float32Array$/],
      [[new Int32Array(3), 0, 0], TypeError, /not an ordinary Int32Array/],
      [[words.slice(), 0, 0], TypeError, /not an ordinary Int32Array/],
      [[[0, 0], 0, 0], TypeError, /not an array/],
      [[undefined, 0, 0], TypeError, /not undefined/],
      [[foreign, 0, 0], TypeError, /use array\.pool/],
      [[words, "0", 0], TypeError, /index must be a number, not "0"/],
      [[words, undefined, 0], TypeError, /index must be a number/],
      [[words, 3, 0], RangeError, /from 0 to 2, not 3/],
      [[words, -1, 0], RangeError, /not -1/],
      [[words, 0.5, 0], RangeError, /not 0.5/],
      [[words, NaN, 0], RangeError, /not NaN/],
      [[words.subarray(1), 2, 0], RangeError, /from 0 to 1, not 2/],
      [[empty, 0, 0], RangeError, /empty array has no element 0/],
    ];
    const wrongWaits: typeof wrong = [
      [[words, 0], TypeError, /expected must be a number, not undefined/],
      [[words, 0, 0n], TypeError, /expected must be a number, not 0n/],
      [[words, 0, 0.5], RangeError, /expected must be an integer that fits an Int32/],
      [[words, 0, 2 ** 31], RangeError, /not 2147483648/],
      [[unsigned, 0, -1], RangeError, /integer that fits a Uint32, not -1/],
      [[words, 0, 0, { timeoutMs: -1 }], RangeError, /timeoutMs must be 0, more, or Infinity, not -1/],
      [[words, 0, 0, { timeoutMs: NaN }], RangeError, /not NaN/],
      [[words, 0, 0, { timeoutMs: "1" }], TypeError, /timeoutMs must be a number/],
      [[words, 0, 0, 5], TypeError, /options must be an object, not 5/],
      [[words, 0, 0, null], TypeError, /options must be an object, not null/],
    ];
    const wrongAsync: typeof wrong = [
      [[words, 0, 0, { signal: {} }], TypeError, /signal must be an AbortSignal, not an object/],
      [[words, 0, 0, { ref: 1 }], TypeError, /ref must be true or false, not 1/],
    ];
    const wrongCounts: typeof wrong = [
      [[words, 0, -1], RangeError, /count must be 0, a positive integer, or Infinity, not -1/],
      [[words, 0, 1.5], RangeError, /not 1.5/],
      [[words, 0, NaN], RangeError, /not NaN/],
      [[words, 0, "1"], TypeError, /count must be a number, not "1"/],
    ];
    for (const [call, type, message] of [...wrong, ...wrongWaits, ...wrongAsync]) {
      const expected = { name: type.name, message };
      if (!wrongAsync.some(([only]) => only === call)) {
        assert.throws(() => pool.wait(...call as Parameters<Pool["wait"]>), expected);
      }
      await assert.rejects(pool.waitAsync(...call as Parameters<Pool["waitAsync"]>), expected);
    }
    for (const [call, type, message] of [...wrong, ...wrongCounts]) {
      const [array, index, count] = call;
      const given = wrong.some(([only]) => only === call) ? undefined : count;
      const expected = { name: type.name, message };
      assert.throws(() => pool.notify(array as Int32Array, index as number, given as number), expected);
    }
    for (let i = 0; i < 3; i++) assert.equal(pool.notify(words, i), 0);
  }));

test("what was released or closed cannot be waited for", () =>
  withPool(async (pool) => {
    const words = pool.alloc(Int32Array, 3);
    const slice = words.subarray(1);
    words.release();
    for (const array of [words, slice]) {
      throwsPoolError(() => pool.wait(array, 0, 0), "ERR_RELEASED");
      throwsPoolError(() => pool.notify(array, 0), "ERR_RELEASED");
      await rejectsPoolError(() => pool.waitAsync(array, 0, 0), "ERR_RELEASED");
    }
    const other = Pool.create({ capacity: "1M" });
    const closed = other.alloc(Int32Array, 3);
    other.close();
    throwsPoolError(() => other.wait(closed, 0, 0), "ERR_CLOSED");
    throwsPoolError(() => other.notify(closed, 0), "ERR_CLOSED");
    await rejectsPoolError(() => other.waitAsync(closed, 0, 0), "ERR_CLOSED");
  }));

test("notify sees each time what has become of an array, also in code that the engine has compiled", async () => {
  await withPool((pool) => notifyInVain(pool.alloc(Int32Array, 8))); // from here on nobody needs a call for it
  const calls = 200_000;
  const ends: [string, RegExp, (words: SharedArray<Int32Array>) => void][] = [
    ["ERR_RELEASED", /was released/, (words) => words.release()],
    ["ERR_RELEASED", /was released/, (words) => {
      void words.holdUntil(Promise.resolve()); // so it is not detached yet
      words.release();
    }],
    ["ERR_RELEASED", /was transferred away/, (words) => structuredClone(0, { transfer: [words.buffer] })],
    ["ERR_CLOSED", /was closed here/, (words) => words.pool.close()],
  ];
  for (const [code, message, end] of ends) {
    for (const what of ["array", "slice"]) {
      const pool = Pool.create({ capacity: "1M" });
      const words = pool.alloc(Int32Array, 8);
      const array = what === "array" ? words : words.subarray(0);
      let done = 0;
      const notify = () => {
        for (; done < calls; done++) {
          if (done === calls - 10) end(words);
          pool.notify(array, done & 7);
        }
      };
      assert.throws(notify, { code, message });
      assert.equal(done, calls - 10);
      pool.close();
    }
  }
});

/** Notifies so often in vain that this process may look by itself whether anybody waits, where the kernel lets it. */
async function notifyInVain(words: Words): Promise<void> {
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 5000; i++) assert.equal(words.pool.notify(words, i % words.length), 0);
    await sleep(30);
  }
}

test("who has notified in vain many times finds whoever waits, whichever word it is", () =>
  withPool(async (pool) => {
    using first = pool.alloc(Int32Array, 8);
    await notifyInVain(first);
    const arrays = Array.from({ length: 200 }, (_, i) => pool.alloc(Int32Array, 1 + 37 * i));
    const waits: Promise<string>[] = [];
    for (const [i, array] of arrays.entries()) {
      const words = i % 2 === 0 ? array : array.subarray(i % array.length);
      const index = (i * 11) % words.length;
      assert.equal(pool.notify(words, index), 0, `array ${i}: it is looked at without a call from here on`);
      waits.push(pool.waitAsync(words, index, 0, { ref: true }));
      assert.equal(pool.notify(words, index), 1, `array ${i}`);
      assert.equal(pool.notify(words, index), 0, `array ${i}`);
    }
    assert.deepEqual(new Set(await Promise.all(waits)), new Set(["ok"]));
    await withChild(start(runtime, WAITER), async (child) => {
      for (let round = 0; round < 10; round++) {
        const how = round % 2 === 0 ? "wait" : "waitAsync";
        child.write(order(how, first, 3));
        assert.equal(await child.next(), "waiting");
        first[4] = round;
        await untilWoken(pool, first, 3, 1);
        assert.deepEqual(await child.next(), ["ok", round]);
        // In code that the engine has compiled, too.
        await notifyInVain(first);
      }
    });
  }));

/** Stores and notifies, with fewer looks than there are between two of the library. */
function storeAndNotify(pool: Pool, words: Words, first: number): number {
  let sum = first;
  for (let i = 0; i < 1000; i++) {
    words[0] = i < 999 ? first : first + 1;
    pool.notify(words, 0);
    // Long enough for somebody to begin to wait, and nothing for which an engine would have to look at memory again.
    for (let j = 0; j < 800; j++) sum = Math.imul(sum, 48271) + j | 0;
  }
  return sum;
}

test("a loop that does nothing but store and notify sees who begins to wait while it runs", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 8);
    await notifyInVain(words);
    await withChild(start(runtime, WAITER), async (child) => {
      // Were a look taken out of the loop, somebody would sleep until his time is over.
      child.write(order("begin", words, 0, 0, { options: { timeoutMs: 100_000 } }));
      assert.equal(await child.next(), "beginning");
      // Often enough for the engine to compile the loop as well as it can.
      for (let round = 1; words[4] === 0 && (round <= 100 || (words[3]! < 100 && round < 2000)); round++) {
        words[0] = 2 * round - 1;
        pool.notify(words, 0, 1); // by the library
        Atomics.store(words, 1, round);
        storeAndNotify(pool, words, 2 * round - 1);
        while (Atomics.load(words, 2) < round);
      }
      Atomics.store(words, 1, -1);
      const ends = await child.next() as Record<string, number>;
      assert.equal(ends["timed-out"], 0);
      assert.ok(ends["ok"]! > 0, "somebody was woken in the middle of it");
    });
  }));

test("an array that is released, or whose pool is closed, while the options are read is not waited for", async () => {
  for (const end of ["release", "close"] as const) {
    const pool = Pool.create({ capacity: "1M" });
    const words = pool.alloc(Int32Array, 16);
    const options = {
      get timeoutMs() {
        if (end === "close") pool.close();
        else {
          words.release();
          pool.alloc(Int32Array, 16); // in the same memory
        }
        return 1;
      },
    };
    throwsPoolError(() => pool.wait(words, 0, 0, options), end === "close" ? "ERR_CLOSED" : "ERR_RELEASED");
    pool.close();
  }
  for (const end of ["release", "close"] as const) {
    const pool = Pool.create({ capacity: "1M" });
    const words = pool.alloc(Int32Array, 16);
    const options = {
      get ref() {
        if (end === "close") pool.close();
        else {
          words.release();
          pool.alloc(Int32Array, 16);
        }
        return true;
      },
      timeoutMs: 1,
    };
    await rejectsPoolError(() => pool.waitAsync(words, 0, 0, options), end === "close" ? "ERR_CLOSED" : "ERR_RELEASED");
    pool.close();
  }
});

// ---------------------------------------------------------------- how else a wait ends

test("an aborted wait ends with the signal's reason, and takes no wake with it", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 3);
    const reason = new Error("on purpose");
    await assert.rejects(pool.waitAsync(words, 0, 0, { signal: AbortSignal.abort(reason) }), reason);
    await assert.rejects(pool.waitAsync(words, 0, 1, { signal: AbortSignal.abort() }), { name: "AbortError" });
    assert.equal(pool.notify(words, 0), 0);

    const controller = new AbortController();
    const { signal } = controller;
    const first = pool.waitAsync(words, 0, 0, { signal });
    const second = pool.waitAsync(words, 0, 0, { ref: true });
    const notified = pool.waitAsync(words, 1, 0, { signal, ref: true });
    assert.equal(pool.notify(words, 1), 1);
    controller.abort(reason);
    await assert.rejects(first, reason);
    assert.equal(await notified, "ok", "it was counted as woken before the abort");
    assert.equal(pool.notify(words, 0, 1), 1);
    assert.equal(await second, "ok");
  }));

test("a wait that was notified ends with ok when its time is over, though whoever did that never rang", () =>
  withPool(async (pool) => {
    const words = pool.alloc(Int32Array, 1);
    const waiting = pool.waitAsync(words, 0, 0, { timeoutMs: 200, ref: true });
    await until(() => readU32(pool.name, DOORBELL_AT) === DOORBELL_PARKED, "it sleeps");
    // As it is between two stores of one who dies there.
    writeU32(pool.name, DOORBELL_AT, 0);
    assert.equal(pool.notify(words, 0), 1);
    let result: string | undefined;
    void waiting.then((ok) => result = ok);
    await until(() => result !== undefined, "the wait ends");
    assert.equal(result, "ok");
  }));

test("a signal has no part in a wait that is over, nor in one that comes after it", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 1);
    const controller = new AbortController();
    const { signal } = controller;
    const listeners = countListeners(signal);
    for (let i = 0; i < 10; i++) {
      const wait = pool.waitAsync(words, 0, 0, { signal, ref: true });
      assert.equal(listeners(), 1);
      assert.equal(pool.notify(words, 0), 1);
      assert.equal(await wait, "ok");
    }
    assert.equal(await pool.waitAsync(words, 0, 0, { signal, ref: true, timeoutMs: 1 }), "timed-out");
    assert.equal(listeners(), 0);
    const next = pool.waitAsync(words, 0, 0, { ref: true });
    controller.abort();
    assert.equal(pool.notify(words, 0), 1);
    assert.equal(await next, "ok");
  }));

test("a closed pool leaves open nothing by which it was woken", async () => {
  if (process.platform !== "linux") return;
  const open = () => readdirSync("/proc/self/fd").length;
  const waitAndClose = async () => {
    using pool = Pool.create({ capacity: "1M" });
    const words = pool.alloc(Int32Array, 1);
    // Long enough to be parked.
    assert.equal(await pool.waitAsync(words, 0, 0, { timeoutMs: 20, ref: true }), "timed-out");
  };
  await waitAndClose(); // what stays open for good is open then
  const before = open();
  for (let i = 0; i < 10; i++) await waitAndClose();
  await until(() => open() < before + 5, "the descriptors are closed");
});

test("releasing the array ends the waits for it, and no others", () =>
  withPool(async (pool) => {
    const words = pool.alloc(Int32Array, 3);
    using kept = words.retain();
    const ended = [pool.waitAsync(words, 0, 0), pool.waitAsync(words.subarray(1), 0, 0)];
    const goesOn = pool.waitAsync(kept, 0, 0, { ref: true });
    words.release();
    for (const wait of ended) await rejectsPoolError(() => wait, "ERR_RELEASED", /released while somebody waited/);
    assert.equal(pool.notify(kept, 0), 1);
    assert.equal(await goesOn, "ok");
  }));

test("closing the pool ends all waits, also those of which nobody knows", () =>
  withPool(async (pool) => {
    const words = pool.alloc(Int32Array, 3);
    const waits = [pool.waitAsync(words, 0, 0), pool.waitAsync(words, 1, 0, { timeoutMs: 1e6, ref: true })];
    await sleep(20); // parked
    waits.push(pool.waitAsync(words, 2, 0));
    pool.close();
    for (const wait of waits) await rejectsPoolError(() => wait, "ERR_CLOSED", /closed here while somebody waited/);
  }));

test("a time that no timer can hold is waited all the same", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 1);
    const wait = pool.waitAsync(words, 0, 0, { timeoutMs: 2 ** 33, ref: true });
    assert.equal(await Promise.race([wait, sleep(20)]), undefined);
    assert.equal(pool.notify(words, 0), 1);
    assert.equal(await wait, "ok");
  }));

test("thousands of waits leave nothing behind", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 64);
    const backed = () => statSync(`/dev/shm/arraypool.${pool.name}`).blocks;
    let after = 0;
    for (let round = 0; round < 4; round++) {
      const controller = new AbortController();
      const ends: Promise<unknown>[] = [];
      const begin = (i: number, options: WaitAsyncOptions) =>
        ends.push(pool.waitAsync(words, i % 64, 0, options).catch(() => {}));
      for (let i = 0; i < 1500; i++) begin(i, { ref: true });
      for (let i = 0; i < 1500; i++) begin(i, { signal: controller.signal });
      for (let i = 0; i < 1500; i++) begin(i, { timeoutMs: 1 + i % 7, ref: true });
      controller.abort();
      await sleep(10);
      let woken = 0;
      for (let i = 0; i < 64; i++) woken += pool.notify(words, i);
      assert.ok(woken >= 1500 && woken <= 3000, `${woken} woke`);
      await Promise.all(ends);
      pool.check();
      if (round === 0) after = backed();
    }
    assert.equal(backed(), after);
  }));

test("more waits than a pool has room for are an error, and those before go on", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 1);
    const waits: Promise<unknown>[] = [];
    let full: unknown;
    for (let i = 0; i < 10_000 && full === undefined; i++) {
      const wait = pool.waitAsync(words, 0, 0, { ref: true });
      waits.push(wait);
      // Wrong arguments and full tables reject at once.
      await Promise.race([wait, undefined]).catch((error) => full = error);
    }
    await rejectsPoolError(() => waits.pop()!, "ERR_POOL_FULL", /no room for another waitAsync/);
    assert.ok(waits.length >= 4096);
    assert.equal(pool.notify(words, 0), waits.length);
    await Promise.all(waits);
    assert.equal(await pool.waitAsync(words, 0, 0, { timeoutMs: 0 }), "timed-out");
  }, { capacity: "1M" }));

// ---------------------------------------------------------------- between processes and Workers

test(`somebody in ${runtime} who waits is woken, blocked or not, and sees what was written before`, () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    await withChild(start(runtime, WAITER), async (child) => {
      child.write(order("wait", words));
      assert.equal(await child.next(), "waiting");
      words[1] = 41;
      await untilWoken(pool, words, 0, 1);
      assert.deepEqual(await child.next(), ["ok", 41]);

      for (const pauseMs of [0, 30]) {
        child.write(order("waitAsync", words));
        assert.equal(await child.next(), "waiting");
        await sleep(pauseMs); // parked, after that
        words[1] = 42 + pauseMs;
        assert.equal(pool.notify(words, 0), 1);
        assert.deepEqual(await child.next(), ["ok", 42 + pauseMs]);
      }
      child.write(order("wait", words, 0, 0, { options: { timeoutMs: 150 } }));
      assert.equal(await child.next(), "waiting");
      assert.deepEqual(await child.next(), ["timed-out", 72]);
    });
  }));

test(`${runtime} wakes this process, blocked or not`, () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    await withChild(start(runtime, WAITER), async (child) => {
      child.write(order("answer", words, 0, 0, { rounds: 3 }));
      assert.equal(await child.next(), "answering");
      Atomics.store(words, 0, 1);
      pool.notify(words, 0);
      // It comes whether this thread sleeps already or not.
      assert.match(pool.wait(words, 0, 1), /^(ok|not-equal)$/);
      for (const round of [1, 2]) {
        Atomics.store(words, 0, 2 * round + 1);
        pool.notify(words, 0);
        const result = await pool.waitAsync(words, 0, 2 * round + 1, { ref: true });
        assert.match(result, /^(ok|not-equal)$/);
        assert.equal(words[0], 2 * round + 2);
      }
      assert.equal(await child.next(), "answered");
    });
  }));

test(`one who is killed in ${runtime} takes no wake with it, and is not waited for`, () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    for (const way of ["wait", "waitAsync"]) {
      const child = start(runtime, WAITER);
      try {
        child.write(order(way, words));
        assert.equal(await child.next(), "waiting");
        await sleep(50); // blocked, or parked; if not yet, the test shows less
      } finally {
        await child.kill();
      }
      // Behind the dead one in the queue.
      const wait = pool.waitAsync(words, 0, 0, { ref: true });
      assert.equal(pool.notify(words, 0, 1), 1);
      assert.equal(await wait, "ok");
      assert.equal(pool.reap(), 1);
      pool.check();
      assert.equal(pool.notify(words, 0), 0);
    }
  }));

test(`a process of ${runtime} that nothing else keeps ends by itself, unless it is told to wait, and then it sleeps`, () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    const idle = start(runtime, WAITER, { args: [JSON.stringify(order("waitAsync", words))] });
    assert.equal(await idle.next(), "waiting");
    assert.equal(await idle.exited, 0, idle.errors);
    assert.equal(pool.notify(words, 0), 0, "it has left");

    const options = { ref: true };
    const waiting = start(runtime, WAITER, { args: [JSON.stringify(order("waitAsync", words, 0, 0, { options }))] });
    try {
      assert.equal(await waiting.next(), "waiting");
      assert.equal(await Promise.race([waiting.exited, sleep(50)]), undefined);
      await untilAsleep(waiting.process.pid!);
      assert.equal(pool.notify(words, 0), 1);
      assert.deepEqual(await waiting.next(), ["ok", 0]);
      assert.equal(await waiting.exited, 0, waiting.errors);
    } finally {
      await waiting.kill();
    }
  }));

for (const other of peers) {
  test(`hundreds of questions and answers between this process and ${other}, none of them lost`, () =>
    withPool(async (pool) => {
      using words = pool.alloc(Int32Array, 2);
      const rounds = 400;
      await withChild(start(other, WAITER), async (child) => {
        child.write(order("answer", words, 0, 0, { rounds }));
        assert.equal(await child.next(), "answering");
        for (let round = 0; round < rounds; round++) {
          // Now and then both sides are parked.
          if (round % 50 === 0) await sleep(5);
          Atomics.store(words, 0, 2 * round + 1);
          pool.notify(words, 0);
          while (Atomics.load(words, 0) !== 2 * round + 2) {
            await pool.waitAsync(words, 0, 2 * round + 1, { ref: true });
          }
        }
        assert.equal(await child.next(), "answered");
      });
    }));
}

test(`one in ${runtime} who does not block hears of others in another network`, async () => {
  const wrapper = ["unshare", "--net"];
  if (spawnSync(wrapper[0]!, [...wrapper.slice(1), "true"]).status !== 0) return console.log("skipped: needs root");
  await withPool((pool) =>
    withChild(start(runtime, WAITER, { wrapper }), async (child) => {
      using words = pool.alloc(Int32Array, 2);
      child.write(order("waitAsync", words));
      assert.equal(await child.next(), "waiting");
      await sleep(100); // parked, after that
      assert.equal(pool.notify(words, 0), 1);
      assert.deepEqual(await child.next(), ["ok", 0]);
    })
  );
});

test("a program that waits in more pools than a runtime has threads is woken in each, and may read files meanwhile", () =>
  withPool(async (last) => {
    const pools = Array.from({ length: 40 }, () => Pool.create({ capacity: "1M" }));
    const waits = [...pools, last].map((pool) => {
      const words = pool.alloc(Int32Array, 1);
      return { words, result: pool.waitAsync(words, 0, 0, { ref: true }) };
    });
    await withChild(start("bun", WAITER), async (child) => {
      await sleep(100); // parked
      assert.match(await readFile(new URL(import.meta.url), "utf8"), /may read files meanwhile/);
      for (const { words, result } of waits) {
        child.write(order("notify", words));
        assert.equal(await child.next(), 1);
        assert.equal(await result, "ok");
      }
    });
    for (const pool of pools) pool.close();
  }));

test("those who block and those who do not stand in one queue", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    await withChild(start("bun", WAITER), async (child) => {
      child.write(order("wait", words));
      assert.equal(await child.next(), "waiting");
      await sleep(100);
      const waits = [pool.waitAsync(words, 0, 0, { ref: true }), pool.waitAsync(words, 0, 0, { ref: true })];
      let woken = 0;
      await until(() => (woken += pool.notify(words, 0)) === 3, "all three have woken");
      assert.deepEqual(await child.next(), ["ok", 0]);
      assert.deepEqual(await Promise.all(waits), ["ok", "ok"]);
    });
  }));

test("a Worker is woken, blocked or not; one that is terminated meanwhile is no hindrance", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 2);
    for (const way of ["wait", "waitAsync"]) {
      {
        using worker = new Waiting(order(way, words));
        assert.equal(await worker.next(), "waiting");
        await untilWoken(pool, words, 0, 1);
        assert.deepEqual(await worker.next(), ["ok", 0]);
      }
      // Deno's terminate() ends no thread that is busy or blocked, whatever blocks it.
      const options = runtime === "deno" && way === "wait" ? { timeoutMs: 300 } : {};
      for (let i = 0; i < 3; i++) {
        using worker = new Waiting(order(way, words, 0, 0, { options }));
        assert.equal(await worker.next(), "waiting");
        await sleep(10 * i);
      }
      await until(() => pool.reap() + pool.stats().members === 1, "the terminated Workers are gone");
      pool.check();
      assert.equal(pool.notify(words, 0), 0);
    }
  }));
