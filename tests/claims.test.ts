/** Arrays in flight: sent by pack(), not yet attached, with senders and receivers that are killed on the way. */

import { existsSync } from "node:fs";
import { pack, type Packed, Pool, unpack } from "arraypool";
import { content, isContent } from "./support/content.ts";
import type { ReceiveOrder, SendOrder } from "./support/courier.ts";
import {
  assert,
  type Child,
  type Runtime,
  runtime,
  runtimes,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withName,
  withPool,
} from "./support/harness.ts";

type Message = Packed<{ array: Float64Array }>;

const COURIER = "./courier.ts";
const LENGTH = 50_000;
const EXACT = { length: LENGTH, exact: true };

function sender(other: Runtime, order: SendOrder): Child {
  return start(other, COURIER, { args: ["send", JSON.stringify(order)] });
}

function receiver(other: Runtime, order: ReceiveOrder): Child {
  return start(other, COURIER, { args: ["receive", JSON.stringify(order)] });
}

/** What a killed sender has sent. */
async function sentByTheDead(other: Runtime, order: Omit<SendOrder, "end">): Promise<Message> {
  const child = sender(other, { ...order, end: "killed" });
  try {
    const message = await child.next<Message>();
    await child.exited;
    return message;
  } finally {
    await child.kill();
  }
}

async function received(other: Runtime, message: Message): Promise<unknown> {
  const child = receiver(other, { message, end: "wait" });
  try {
    const got = await child.next();
    await child.end();
    return got;
  } finally {
    await child.kill();
  }
}

/** Nothing holds memory of `pool` any more, and all of it can be had. */
function assertAllFree(pool: Pool): void {
  const { arrays, claims, usedBytes, claimedBytes, largestFreeBytes } = pool.stats();
  assert.deepEqual({ arrays, claims, usedBytes, claimedBytes }, {
    arrays: 0,
    claims: 0,
    usedBytes: 0,
    claimedBytes: 0,
  });
  assert.equal(largestFreeBytes, pool.capacityBytes);
  pool.allocUnsafe(Uint8Array, pool.capacityBytes).release();
  pool.check();
}

for (const to of runtimes) {
  test(`what a killed ${runtime} process has sent comes to ${to}, every element of it`, () =>
    withPool(async (pool) => {
      const message = await sentByTheDead(runtime, { name: pool.name, length: LENGTH });
      assert.equal(pool.reap(), 1);
      assert.deepEqual([pool.stats().arrays, pool.stats().claims], [1, 1]);
      assert.deepEqual(await received(to, message), EXACT);
      pool.reap();
      assertAllFree(pool);
    }, { capacity: "4M" }));
}

test(`what a killed ${runtime} process has sent comes also when it was alone in its pool, and other pools are made`, () =>
  withName(async (name, file) => {
    const message = await sentByTheDead(runtime, { name, create: true, length: LENGTH });
    Pool.create({ capacity: "1M" }).close(); // sweeps
    {
      using got = unpack(message);
      assert.ok(isContent(got.array));
    }
    await until(() => !existsSync(file), "the last one out takes the pool away");
  }));

test(`what a killed ${runtime} process has sent and nobody attaches is free again, and stale`, () =>
  withPool(async (pool) => {
    const options = { ttlMs: 200 };
    const message = await sentByTheDead(runtime, { name: pool.name, length: LENGTH, options });
    await until(() => (pool.reap(), pool.stats().arrays === 0), "the claim has expired");
    assertAllFree(pool);
    throwsPoolError(() => unpack(message), "ERR_STALE_DESCRIPTOR", /expired/, /ttlMs/);
    const got = await received(runtime, message) as { code: string };
    assert.equal(got.code, "ERR_STALE_DESCRIPTOR");
  }, { capacity: "4M" }));

test(`an array that was sent and let go of is kept until its claim expires, and no longer (${runtime} comes late)`, () =>
  withPool(async (pool) => {
    const array = pool.alloc(Float64Array, LENGTH);
    content(array);
    const early = pack({ array });
    const late = pack({ array }, { ttlMs: 1 });
    array.release();
    await until(() => (pool.reap(), pool.stats().claims === 1), "the short claim has expired");
    assert.deepEqual(await received(runtime, early), EXACT);
    assert.equal((await received(runtime, late) as { code: string }).code, "ERR_STALE_DESCRIPTOR");
    assertAllFree(pool);
  }, { capacity: "4M" }));

testOnce(
  "a message for three reaches three, in three runtimes, and the fourth comes too late",
  () =>
    withPool(async (pool) => {
      const array = pool.alloc(Float64Array, LENGTH);
      content(array);
      const message: Message = pack({ array }, { claims: 3 });
      array.release();
      const children = runtimes.map((other) => receiver(other, { message, end: "wait" }));
      try {
        for (const child of children) assert.deepEqual(await child.next(), EXACT);
        assert.deepEqual([pool.stats().arrays, pool.stats().claims], [1, 0]);
        for (const child of children) await child.end();
        await until(() => (pool.reap(), pool.stats().arrays === 0), "all three have let go");
        throwsPoolError(() => unpack(message), "ERR_STALE_DESCRIPTOR", /used up/, /claims/);
        assertAllFree(pool);
      } finally {
        for (const child of children) await child.kill();
      }
    }, { capacity: "4M" }),
);

testOnce("a message for one more than it reaches: what is left of its claim expires", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Float64Array, LENGTH);
    content(array);
    const descriptor = array.share({ claims: runtimes.length + 1, ttlMs: 2000 });
    const message = { array: descriptor } as unknown as Message;
    const started = Date.now();
    const children = runtimes.map((other) => receiver(other, { message, end: "wait" }));
    try {
      for (const child of children) assert.deepEqual(await child.next(), EXACT);
      array.release();
      for (const child of children) await child.end();
      pool.reap();
      // Not before its time.
      if (Date.now() - started < 1500) assert.deepEqual([pool.stats().arrays, pool.stats().claims], [1, 1]);
      await until(() => (pool.reap(), pool.stats().arrays === 0), "the rest has expired");
      assertAllFree(pool);
    } finally {
      for (const child of children) await child.kill();
    }
  }, { capacity: "4M" }));

testOnce(
  "sending in a loop to receivers that are killed, before or after they attach, never fills the pool for good",
  () =>
    withPool(async (pool) => {
      // Six times what fits.
      for (let i = 0; i < 12; i++) {
        let array = undefined as unknown as Float64Array & Disposable;
        const alloc = () => {
          try {
            return array = pool.alloc(Float64Array, 2 ** 17);
          } catch (error) {
            if ((error as { code?: string }).code !== "ERR_POOL_FULL") throw error;
          }
        };
        await until(alloc, "claims and the dead make room");
        content(array, i);
        const message = pack({ array }, { ttlMs: 1000 }) as Message;
        array[Symbol.dispose]();
        const child = receiver(runtimes[i % 2]!, { message, end: i % 4 < 2 ? "before" : "after" });
        assert.notEqual(await child.exited, 0);
      }
      await until(() => (pool.reap(), pool.stats().arrays === 0), "all claims have expired");
      assertAllFree(pool);
    }, { capacity: "2M" }),
);

test("a part of a millisecond is a time, too, and not the pool's own", () =>
  withPool(async (pool) => {
    using array = pool.alloc(Uint8Array, 1);
    array.share({ ttlMs: 0.25 });
    await until(() => (pool.reap(), pool.stats().claims === 0), "the claim is over");
    assert.equal(array.length, 1);
  }));

test("sending in a loop what nobody attaches never fills the pin table for good", () =>
  withPool(async (pool) => {
    using array = pool.alloc(Float64Array, 1);
    for (let i = 0; i < 10_000; i++) {
      const send = () => {
        try {
          return pack({ array }, { ttlMs: 20 });
        } catch (error) {
          if ((error as { code?: string }).code !== "ERR_POOL_FULL") throw error;
        }
      };
      if (send() === undefined) await until(send, "claims expire");
    }
    await until(() => (pool.reap(), pool.stats().claims === 0), "all claims have expired");
  }, { capacity: "1M" }));
