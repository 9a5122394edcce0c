/** What each works by itself, at once: as programs use them, and the tests of one part alone do not. */

import { attach, type Channel, pack, Pool, release, unpack } from "arraypool";
import { placeOf } from "../core/shared_array.ts";
import { assert, newName, sleep, test, throwsPoolError, untilCollected, withPool } from "./support/harness.ts";
import { assertLeavesNothing } from "./support/servant.ts";

test("objects of many properties in each other are looked at once each", () =>
  withPool((pool) => {
    using channel = pool.channel<Record<string, unknown>>();
    let looks = 0;
    let message: Record<string, unknown> = { is: "innermost" };
    for (let depth = 0; depth < 12; depth++) {
      const inner = message;
      message = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`property ${i}`, i]));
      Object.defineProperty(message, "inner", { enumerable: true, get: () => (looks++, inner) });
    }
    channel.send(message);
    assert.equal(looks, 12);
    assert.deepEqual(JSON.stringify(channel.receive()), JSON.stringify(message));
    // Also where the largest message just fits, and where it does not.
    const many = Object.fromEntries(Array.from({ length: 32 }, (_, i) => [String.fromCharCode(65 + i), i]));
    const bytes = 5 + 32 * 3;
    using exact = pool.channel<unknown>({ maxMessageBytes: bytes });
    using tight = pool.channel<unknown>({ maxMessageBytes: bytes - 1 });
    exact.send(many);
    assert.deepEqual({ ...exact.receive() as object }, many);
    assert.throws(() => tight.send(many), { name: "RangeError", message: /maxMessageBytes/ });
  }));

test("a channel cannot be sent through itself by another name either", () =>
  withPool((pool) => {
    const channel = pool.channel<unknown>();
    const same = attach(channel.toJSON());
    using another = pool.channel();
    for (const [through, sent] of [[channel, same], [same, channel]] as const) {
      assert.throws(() => through.send({ another, sent }), { name: "TypeError", message: /through itself/ });
    }
    channel.release();
    same.release();
    another.release();
    assertLeavesNothing(pool);
  }));

test("what comes back without an ack() has the arrays and channels of another pool with it still", () =>
  withPool((pool) =>
    withPool((other) => {
      type Job = { array: Int32Array; further: Channel<number> };
      using jobs = pool.channel<Job>();
      {
        using further = other.channel<number>();
        further.send(5);
        using array = other.from(Int32Array.of(7));
        jobs.send({ array, further });
      }
      for (let i = 0; i < 2; i++) {
        using given = jobs.receive({ ack: true });
        assert.equal(given.message.array[0], 7);
      }
      {
        using delivery = jobs.receive({ ack: true });
        assert.equal(delivery.message.further.receive(), 5);
        delivery.ack();
        assert.equal(other.stats().claims, 0);
        assert.equal(delivery.message.array[0], 7);
      }
      assertLeavesNothing(other);
      // Who can read only a part of it lets go of that, too.
      {
        using gone = Pool.create({ name: newName() });
        jobs.send({ array: other.from(Int32Array.of(8)), gone } as unknown as Job);
      }
      throwsPoolError(() => jobs.receive({ ack: true }), "ERR_STALE_DESCRIPTOR");
      assert.equal(other.stats().claims, 0);
    })
  ));

test("what is moved is released at the sender, also where it is of another pool", () =>
  withPool((pool) =>
    withPool((other) => {
      using channel = pool.channel<{ array: Int32Array } | number>({ capacity: 1 });
      const array = other.from(Int32Array.of(7));
      channel.send(0);
      assert.equal(channel.trySend({ array }, { move: true }), false);
      channel.receive();
      assert.throws(() => channel.send({ array: array.subarray(0) }, { move: true }), /a slice cannot be moved/);
      assert.deepEqual([array.released, other.stats().claims], [false, 0]);
      channel.send({ array }, { move: true });
      assert.equal(array.released, true);
      {
        using got = channel.receive() as { array: Int32Array } & Disposable;
        assert.equal(got.array[0], 7);
      }
      assertLeavesNothing(other);
    })
  ));

test("a message that comes again uses up nothing, also where its array was lent and held again in between", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 100);
    const message = pack({ array }, { claims: 2 });
    array.release();
    const lend = () => {
      using got = unpack(message);
      return structuredClone(got.array.buffer, { transfer: [got.array.buffer] });
    };
    const lent = lend();
    assert.equal(pool.stats().lentBytes, 128);
    for (let i = 0; i < 2; i++) {
      const again = unpack(message);
      assert.deepEqual([pool.stats().claims, pool.stats().lentBytes], [1, 0]);
      if (i === 0) continue;
      assert.equal(again.array.length, 100);
      again[Symbol.dispose]();
    }
    release(message);
    assert.equal(lent.byteLength, 100);
    lent.transfer(0);
  }));

test("what others wait for goes on when a pool is closed, though the use of an array puts off that it is left", async () => {
  using pool = Pool.create({ name: newName(), capacity: "1M" });
  const jobs = pool.channel<number>();
  pool.set("jobs", jobs);
  jobs.send(1);
  const delivery = jobs.receive({ ack: true });
  const making = pool.onceAsync("it", () => new Promise<never>(() => {}));
  let done = () => {};
  void pool.alloc(Uint8Array, 8).holdUntil(new Promise<void>((resolve) => done = resolve));
  await null;
  pool.close();
  await assert.rejects(Promise.race([making, Promise.reject(new Error("waits still"))]), /waits still/);
  {
    using anew = Pool.open(pool.name);
    using same = anew.get<Channel<number>>("jobs")!;
    assert.equal(same.tryReceive(), 1);
    throwsPoolError(() => delivery.ack(), "ERR_CLOSED");
    using it = await anew.onceAsync("it", () => Promise.resolve(anew.from(Int8Array.of(7))), {
      signal: AbortSignal.timeout(60_000),
    });
    assert.equal(it[0], 7);
  }
  done();
  await sleep(1);
});

test("a getter that closes a pool and throws leaves no claims in another one, and it is its error that comes", () =>
  withPool((pool) =>
    withPool((other) => {
      const message = {
        first: pool.alloc(Int8Array, 8),
        others: [other.alloc(Int8Array, 8), other.alloc(Int8Array, 8)],
        get last() {
          pool.close();
          throw new Error("no last one");
        },
      };
      assert.throws(() => pack(message), /no last one/);
      assert.equal(other.stats().claims, 0);
    }), { claimTtlMs: 1 }));

test("a channel that is made too late is released as any: nobody waits for it, and what it has received goes back", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>({ capacity: 3 });
    channel.send(1);
    const controller = new AbortController();
    const { promise: until, resolve: goOn } = Promise.withResolvers<void>();
    let received: unknown;
    const slow = pool.onceAsync("it", async () => {
      await until;
      const late = attach(channel.toJSON()) as Channel<number>;
      received = late.receive({ ack: true });
      return late;
    }, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(slow, /enough/);
    goOn();
    await sleep(1);
    assert.ok(received);
    assert.equal(channel.stats().unacknowledged, 0);
    assert.equal(channel.tryReceive(), 1);
  }));

test("a pool that was joined for what a message named leaves no trace in the program when it has left by itself", async () => {
  const come = (): WeakRef<object> => {
    const pool = Pool.create({ name: newName(), capacity: "1M" });
    const message = pack({ array: pool.alloc(Int8Array, 8) });
    pool.close();
    using got = unpack<{ array: Int8Array }>(message);
    return new WeakRef(placeOf(got.array)!.hold.member);
  };
  const members = Array.from({ length: 5 }, come);
  // The last ones may lie on the stack.
  await untilCollected(() => members.slice(0, 3).every((member) => member.deref() === undefined), "they are garbage");
});
