/** once and onceAsync: an array that one of all processes makes, while the others wait for it. */

import { Pool, type SharedArray } from "arraypool";
import {
  assert,
  type Child,
  newName,
  rejectsPoolError,
  type Runtime,
  runtime,
  runtimes,
  sleep,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withChild,
  withPool,
} from "./support/harness.ts";
import type { NamerOrder } from "./support/namer.ts";
import { startWorker } from "./support/web_worker.ts";

function namer(other: Runtime, order: NamerOrder): Child {
  return start(other, "./namer.ts", { args: [JSON.stringify(order)] });
}

interface Answer {
  making?: true;
  made?: boolean;
  value?: number;
  error?: string;
  cpuMs?: number;
  ms?: number;
}

/** Children that all ask for one name once, each with a value of its own. */
function asking(
  pool: Pool,
  how: "make" | "throw" | "hang",
  others: readonly Runtime[],
  async: (i: number) => boolean,
): Child[] {
  return others.map((other, i) =>
    namer(other, { do: "once", pool: pool.name, name: "it", how, async: async(i), value: i + 1 })
  );
}

async function killed(children: Child[]): Promise<void> {
  for (const child of children) await child.kill();
}

const filled = (pool: Pool, value: number) => pool.alloc(Float64Array, 1000).fill(value);

/** What an asynchronous make() would return. */
const later = <T>(made: T) => Promise.resolve(made);

test("the first who asks makes it, and who asks again gets the same memory", () =>
  withPool(async (pool) => {
    let makes = 0;
    const make = (given: Pool) => {
      assert.equal(given, pool);
      makes++;
      return filled(given, 7);
    };
    using first = pool.once("it", make);
    using second = pool.once("it", make);
    using third = await pool.onceAsync("it", (given) => later(make(given)));
    first[3] = 8;
    assert.deepEqual([makes, second[3], third[3], first === second], [1, 8, 8, false]);
    assert.deepEqual([pool.names(), pool.stats().arrays], [["it"], 1]);
    pool.delete("it");
    using again = pool.once("it", make);
    assert.deepEqual([makes, again[3]], [2, 7]);
  }));

testOnce("of a dozen processes of all runtimes, one makes each, and all get it", () =>
  withPool(async (pool) => {
    const rounds = 100;
    using counter = pool.alloc(Int32Array, rounds);
    pool.set("counter", counter);
    const children = [...Array(12).keys()].map((i) =>
      namer(runtimes[i % runtimes.length]!, { do: "race", pool: pool.name, rounds, async: i % 4 > 1 })
    );
    try {
      let made = 0;
      for (const child of children) made += (await child.next<{ made: number }>()).made;
      for (const child of children) await child.end();
      assert.equal(made, rounds);
      assert.ok(counter.every((makes) => makes === 1));
      await until(() => pool.reap() + pool.members().length === 1, "they are gone");
      assert.equal(pool.names().length, rounds + 1);
    } finally {
      await killed(children);
    }
  }));

for (const async of [false, true]) {
  const call = async ? "onceAsync" : "once";
  test(
    `when a process is killed while it makes something in ${call}, another makes it, and the rest get that`,
    () =>
      withPool(async (pool) => {
        const maker = asking(pool, "hang", [runtime], () => async)[0]!;
        let waiters: Child[] = [];
        try {
          await maker.next();
          waiters = asking(pool, "make", runtimes, (i) => i > 0);
          await until(() => pool.members().length === 2 + waiters.length, "all have joined");
          assert.equal(pool.get("it"), undefined);
          await maker.kill();
          const answers: Answer[] = [];
          for (const child of waiters) {
            let answer = await child.next<Answer>();
            if (answer.making) answer = await child.next<Answer>();
            answers.push(answer);
            await child.end();
          }
          assert.equal(answers.filter(({ made }) => made).length, 1);
          assert.equal(new Set(answers.map(({ value }) => value)).size, 1);
          assert.equal(pool.reap() >= 0 && pool.stats().arrays, 1);
        } finally {
          await killed([maker, ...waiters]);
        }
      }),
  );

  test(
    `a process that is stopped while it makes something in ${call} is waited for, without work for the processor`,
    () =>
      withPool(async (pool) => {
        const maker = asking(pool, "hang", [runtime === "bun" ? "deno" : "bun"], () => async)[0]!;
        let waiters: Child[] = [];
        try {
          await maker.next();
          process.kill(maker.process.pid!, "SIGSTOP");
          waiters = asking(pool, "make", [runtime, runtime], (i) => i === 0);
          await until(() => pool.members().length === 2 + waiters.length, "they have joined");
          // A way out for one who does not want to wait.
          const signal = AbortSignal.timeout(100);
          await assert.rejects(pool.onceAsync("it", () => later(filled(pool, 5)), { signal }), {
            name: "TimeoutError",
          });
          await sleep(500);
          assert.equal(pool.has("it"), false);
          process.kill(maker.process.pid!, "SIGCONT");
          if (async) maker.process.stdin!.write("go on\n");
          else pool.set("go on", filled(pool, 0));
          assert.deepEqual([(await maker.next<Answer>()).value], [1]);
          for (const child of waiters) {
            const { made, value, cpuMs, ms } = await child.next<Answer>();
            assert.deepEqual([made, value], [false, 1]);
            assert.ok(cpuMs! < ms! / 2, `${cpuMs} ms of ${ms}`);
            await child.end();
          }
          await maker.end();
        } finally {
          await killed([maker, ...waiters]);
        }
      }),
  );

  test(
    `when make() throws in ${call}, that process gets the error, and another makes it`,
    () =>
      withPool(async (pool) => {
        const children = asking(pool, "throw", [runtime, runtime], () => async);
        try {
          for (const child of children) {
            assert.deepEqual(await child.next(), { making: true });
            assert.deepEqual(await child.next(), { error: "on purpose" });
            await child.end();
          }
        } finally {
          await killed(children);
        }
        using mine = pool.once("it", () => filled(pool, 4));
        assert.equal(mine[0], 4);
      }),
  );
}

test("a Worker that is terminated while it makes something is replaced", () =>
  withPool(async (pool) => {
    const worker = startWorker("./making_worker.ts");
    try {
      const making = new Promise<void>((resolve) => worker.addEventListener("message", () => resolve()));
      worker.postMessage({ pool: pool.name, name: "it" });
      await making;
      const waiting = pool.onceAsync("it", () => later(filled(pool, 6)));
      assert.equal(await Promise.race([waiting, sleep(50)]), undefined);
      worker.terminate();
      using mine = await waiting;
      assert.equal(mine[0], 6);
    } finally {
      worker.terminate();
    }
  }));

test("what make() returns must be an array of the pool, and nothing else; after that the name is free for the next", () =>
  withPool(async (pool) => {
    using other = Pool.create({ name: newName(), capacity: "1M" });
    using theirs = other.alloc(Float64Array, 1);
    using mine = pool.alloc(Float64Array, 4);
    const released = pool.alloc(Float64Array, 1);
    released.release();
    const wrong: [unknown, RegExp][] = [
      [undefined, /make\(\) must return an array of pool ".*", or a channel, not undefined/],
      [Float64Array.of(1), /pool\.from\(\)/],
      [theirs, /this is one of pool ".*": copy it in with pool\.from\(\)/],
      [mine.subarray(1), /slice.*retain\(\)/],
      [released, /was released/],
    ];
    for (const [made, message] of wrong) {
      assert.throws(() => pool.once("it", () => made as SharedArray), { name: "TypeError", message });
      await assert.rejects(pool.onceAsync("it", () => later(made as SharedArray)), { name: "TypeError", message });
    }
    assert.throws(() => pool.once("it", (() => later(mine)) as never), /TypeError: .*onceAsync/);
    for (const make of [undefined, null, mine, 1]) {
      assert.throws(() => pool.once("it", make as never), /TypeError: make must be a function/);
      await assert.rejects(pool.onceAsync("it", make as never), /TypeError: make must be a function/);
    }
    for (const options of [null, 1, { signal: 1 }, { signal: {} }]) {
      await assert.rejects(pool.onceAsync("it", () => later(mine), options as never), TypeError);
    }
    assert.equal(pool.has("it"), false);
    using atLast = pool.once("it", () => filled(pool, 1));
    assert.equal(atLast[0], 1);
  }));

test("who asks for a name inside its own make() gets an error instead of waiting for himself; other names nest", () =>
  withPool(async (pool) => {
    const itself = /TypeError: "it" of pool ".*" is being made here already/;
    assert.throws(() => pool.once("it", () => pool.once("it", () => filled(pool, 1))), itself);
    assert.throws(
      () => pool.once("it", () => pool.once("other", () => pool.once("it", () => filled(pool, 1)))),
      itself,
    );
    await assert.rejects(
      pool.onceAsync("it", async () => {
        await sleep(1);
        return await pool.onceAsync("it", () => later(filled(pool, 1)));
      }),
      itself,
    );
    await assert.rejects(pool.onceAsync("it", () => later(pool.once("it", () => filled(pool, 1)))), itself);
    assert.deepEqual(pool.names(), []);
    using it = pool.once("it", () => {
      using part = pool.once("part", () => filled(pool, 2));
      return filled(pool, part[0]! + 1);
    });
    using that = await pool.onceAsync("that", async () => {
      using first = await pool.onceAsync("first", () => later(filled(pool, 4)));
      using second = pool.once("second", () => filled(pool, 5));
      return filled(pool, first[0]! + second[0]!);
    });
    assert.deepEqual([it[0], that[0]], [3, 9]);
  }));

test("two that ask at once in one realm wait for each other, and the thread does not wait for itself", () =>
  withPool(async (pool) => {
    let makes = 0;
    let goOn = () => {};
    const make = async () => {
      makes++;
      await new Promise<void>((resolve) => goOn = resolve);
      return filled(pool, makes);
    };
    const both = [pool.onceAsync("it", make), pool.onceAsync("it", make)];
    await until(() => makes === 1, "it is being made");
    assert.throws(() => pool.once("it", () => filled(pool, 9)), /TypeError: .*before onceAsync\(\) of it has settled/);
    goOn();
    const [first, second] = await Promise.all(both);
    assert.deepEqual([makes, first![0], second![0]], [1, 1, 1]);
    first!.release();
    second!.release();
  }));

test("an abort ends the making: the next one makes it, and what comes late is released", () =>
  withPool(async (pool) => {
    const controller = new AbortController();
    let goOn = () => {};
    const slow = pool.onceAsync("it", async () => {
      await new Promise<void>((resolve) => goOn = resolve);
      return filled(pool, 1);
    }, { signal: controller.signal });
    await sleep(1);
    controller.abort(new Error("enough"));
    await assert.rejects(slow, /enough/);
    using mine = pool.once("it", () => filled(pool, 2));
    goOn();
    await sleep(1);
    assert.deepEqual([mine[0], pool.stats().arrays], [2, 1]);
    await assert.rejects(pool.onceAsync("it", () => later(mine), { signal: AbortSignal.abort() }), {
      name: "AbortError",
    });
  }));

test("who sets the name, or closes the pool, while it is made comes first", () =>
  withPool(async (pool) => {
    using found = pool.once("it", () => {
      using theirs = filled(pool, 5);
      pool.set("it", theirs);
      return filled(pool, 6);
    });
    assert.deepEqual([found[0], pool.stats().arrays], [5, 1]);
    throwsPoolError(() => pool.once("that", (pool) => (pool.close(), filled(pool, 1))), "ERR_CLOSED");
    await rejectsPoolError(() => pool.onceAsync("that", () => later(filled(pool, 1))), "ERR_CLOSED");
  }));

test("nobody waits for what is made in a pool that was closed", () =>
  withPool(async (pool) => {
    const making = pool.onceAsync("it", () => new Promise<never>(() => {}));
    const waiting = pool.onceAsync("it", () => later(filled(pool, 1)));
    const both = Promise.all([making, waiting].map((promise) => rejectsPoolError(() => promise, "ERR_CLOSED")));
    await sleep(1);
    pool.close();
    await both;
  }));

testOnce("a program may end while it makes something", async () => {
  for (const other of runtimes) await withChild(start(other, "./ends_making.ts"), (child) => child.exited);
});
