/** Arrays between Workers of one process: each is a member of its own. */

import { existsSync } from "node:fs";
import { attach, pack, type Packed, Pool, release, unpack } from "arraypool";
import {
  assert,
  newName,
  poolsLeft,
  runtime,
  start,
  test,
  throwsPoolError,
  until,
  untilCollected,
  withName,
  withPool,
} from "./support/harness.ts";
import { startWorker, type WebWorker } from "./support/web_worker.ts";

/** A Worker that answers each message. */
class Helper {
  readonly worker: WebWorker;
  #answers: unknown[] = [];
  #failure: string | undefined;

  constructor() {
    this.worker = startWorker("./worker.ts");
    this.worker.addEventListener("message", ({ data }) => this.#answers.push(data));
    this.worker.addEventListener("error", ({ message }) => this.#failure = message);
  }

  async ask<T>(message: unknown, transfer: ArrayBuffer[] = []): Promise<T> {
    this.worker.postMessage(message, transfer);
    await until(() => this.#answers.length > 0 || this.#failure !== undefined, "the Worker answers");
    if (this.#answers.length === 0) assert.fail(this.#failure);
    return this.#answers.shift() as T;
  }

  [Symbol.dispose](): void {
    this.worker.terminate();
  }
}

test("a Worker fills an array, and it is a member of its own", () =>
  withPool(async (pool) => {
    using helper = new Helper();
    using array = pool.alloc(Uint8Array, 1000);
    assert.equal(await helper.ask(pack({ do: "hold", array })), 1);
    const [self, other] = [...pool.members()].sort((a, b) => Number(b.self) - Number(a.self));
    assert.equal(other!.pid, self!.pid);
    assert.notEqual(other!.threadId, self!.threadId);
    assert.deepEqual([...pool.blocks()[0]!.holders].sort(), [self!.slot, other!.slot].sort());
    await helper.ask(pack({ do: "fill", array, value: 9 }));
    assert.ok(array.every((byte) => byte === 9));
  }));

test("a Worker sends an array of its own", () =>
  withPool(async (pool) => {
    using helper = new Helper();
    using got = unpack(await helper.ask<Packed<{ given: Uint8Array }>>({ do: "give", name: pool.name, value: 3 }));
    assert.deepEqual([...got.given], [3, 3, 3]);
  }));

test("reap() frees the arrays of a terminated Worker", () =>
  withPool(async (pool) => {
    for (let round = 0; round < 3; round++) {
      using helper = new Helper();
      for (let i = 0; i < 10; i++) {
        const array = pool.alloc(Uint8Array, 1000);
        await helper.ask(pack({ do: "hold", array }));
        array.release();
      }
      assert.equal(pool.stats().arrays, 10);
      helper.worker.terminate();
      let dead = 0;
      await until(() => (dead += pool.reap()) > 0 || pool.stats().members === 1, "the Worker is gone");
      assert.deepEqual([pool.stats().arrays, pool.stats().members], [0, 1]);
    }
  }));

test("a Worker that closes itself leaves nothing", () =>
  withPool(async (pool) => {
    using helper = new Helper();
    const array = pool.alloc(Uint8Array, 1000);
    await helper.ask(pack({ do: "hold", array }));
    array.release();
    await helper.ask({ do: "close" });
    await until(() => {
      pool.reap();
      return pool.stats().arrays === 0;
    }, "the Worker is gone");
  }));

test("many Workers hold one array", () =>
  withPool(async (pool) => {
    const helpers = Array.from({ length: 12 }, () => new Helper());
    try {
      const array = pool.alloc(Uint8Array, 1000);
      const packed = pack({ do: "hold", array }, { claims: helpers.length });
      array.release();
      await Promise.all(helpers.map((helper) => helper.ask(packed)));
      assert.equal(pool.stats().claims, 0);
      assert.equal(pool.blocks()[0]!.holders.length, helpers.length);
      assert.equal(pool.members().length, helpers.length + 1);
      for (const helper of helpers) helper.worker.terminate();
      await until(() => {
        pool.reap();
        return pool.stats().members === 1;
      }, "the Workers are gone");
      assert.equal(pool.stats().arrays, 0);
    } finally {
      for (const helper of helpers) helper.worker.terminate();
    }
  }));

test("an array that is posted without pack() arrives as an ordinary copy", () =>
  withPool(async (pool) => {
    using helper = new Helper();
    using array = pool.alloc(Uint8Array, 100).fill(1);
    assert.deepEqual(await helper.ask({ do: "keep", array }), [false, 100]);
    array.fill(2);
    assert.equal(await helper.ask({ do: "sum" }), 100);
  }));

for (const drop of [false, true]) {
  test(`memory whose buffer was transferred to a Worker stays, though the array was ${drop ? "dropped" : "released"}`, async () => {
    using pool = Pool.create({ name: newName(), capacity: "4M" });
    using helper = new Helper();
    const asked = (() => {
      const array = pool.alloc(Uint8Array, 2 ** 20).fill(1);
      const answer = helper.ask({ do: "keep", array }, [array.buffer]);
      assert.equal(array.length, 0);
      if (!drop) array.release();
      return answer;
    })();
    assert.deepEqual(await asked, [false, 2 ** 20]);
    if (drop) await untilCollected(() => pool.stats().lentBytes > 0, "the array is collected");
    assert.equal(pool.stats().lentBytes, 2 ** 20);
    using all = pool.alloc(Uint8Array, pool.stats().largestFreeBytes).fill(0xee);
    assert.ok(all.length <= 3 * 2 ** 20);
    assert.equal(await helper.ask({ do: "sum" }), 2 ** 20);
    helper.worker.terminate();
    await untilCollected(() => pool.stats().lentBytes === 0, "the new owner is gone");
    assert.equal(pool.stats().arrays, 1);
  });
}

test("a claim is used up by Workers, each once", () =>
  withPool(async (pool) => {
    using one = new Helper();
    using two = new Helper();
    const array = pool.alloc(Uint8Array, 10);
    const packed = pack({ do: "fill", array, value: 1 }, { claims: 2 });
    array.release();
    await one.ask(packed);
    await two.ask(packed);
    assert.equal(pool.stats().arrays, 0);
    const { array: descriptor } = packed as unknown as { array: never };
    throwsPoolError(() => attach(descriptor), "ERR_STALE_DESCRIPTOR");
    release(packed);
  }));

for (const how of ["running", "terminated", "terminated and gone", "closed by itself"]) {
  test(`a ${runtime} process leaves no pool behind when it ends with a Worker ${how}`, () =>
    withName(async (name, file) => {
      const child = start(runtime, "./with_worker.ts", { args: [name, how] });
      try {
        assert.deepEqual(await child.next(), { members: 2 });
        await child.end();
        assert.ok(!existsSync(file));
      } finally {
        await child.kill();
      }
    }));
}

test("no pool of these tests is left", () => assert.deepEqual(poolsLeft(), []));
