/** Channels without blocking: sendAsync, receiveAsync and `for await` stand in line, end, and let nobody sleep on. */

import { attach, type Channel, pack, Pool, unpack } from "arraypool";
import { AP_RECORD_LENGTH, AP_STATS_ARRAYS } from "../core/abi.ts";
import {
  assert,
  countListeners,
  rejectsPoolError,
  runtime,
  sleep,
  test,
  until,
  withName,
  withPool,
} from "./support/harness.ts";
import { joinDirectly, native } from "./support/segment.ts";
import { assertLeavesNothing, Servant } from "./support/servant.ts";

test("sendAsync and receiveAsync keep their order, and wait for each other", () =>
  withPool(async (pool) => {
    {
      using channel = pool.channel<number>({ capacity: 2 });
      const received = Promise.all(Array.from({ length: 20 }, () => channel.receiveAsync()));
      const sent = Array.from({ length: 20 }, (_, i) => channel.sendAsync(i));
      assert.deepEqual(await received, Array.from({ length: 20 }, (_, i) => i));
      await Promise.all(sent);
      // More than there is room for, before anybody receives.
      const more = Array.from({ length: 10 }, (_, i) => channel.sendAsync(i));
      for (let i = 0; i < 10; i++) assert.equal(await channel.receiveAsync(), i);
      await Promise.all(more);
      using array = pool.alloc(Float64Array, 5);
      channel.send(0);
      channel.send(1);
      const moved = (channel as Channel<unknown>).sendAsync({ array }, { move: true });
      assert.equal(array.length, 5);
      for (let i = 0; i < 2; i++) await channel.receiveAsync();
      await moved;
      assert.equal(array.length, 0);
      using message = await channel.receiveAsync() as unknown as { array: Float64Array } & Disposable;
      assert.equal(message.array.length, 5);
    }
    assertLeavesNothing(pool);
  }));

test("what waits to be sent overtakes nobody, and comes whole", () =>
  withPool(async (pool) => {
    {
      using channel = pool.channel<unknown>({ capacity: 1 });
      channel.send(0);
      const sent = [channel.sendAsync(1)];
      assert.equal(channel.receive(), 0);
      sent.push(channel.sendAsync(2)); // there is room for it
      assert.deepEqual([await channel.receiveAsync(), await channel.receiveAsync()], [1, 2]);
      channel.send(3);
      const arrays = Array.from({ length: 100 }, (_, i) => pool.from(Int32Array.of(i)));
      sent.push(channel.sendAsync({ arrays }, { move: true }));
      assert.equal(channel.receive(), 3);
      using got = await channel.receiveAsync() as { arrays: Int32Array[] } & Disposable;
      assert.deepEqual(got.arrays.map((array) => array[0]), Array.from({ length: 100 }, (_, i) => i));
      await Promise.all(sent);
    }
    assertLeavesNothing(pool);
  }));

test("what waited to be sent, and was not, leaves no claim", () =>
  withPool((pool) =>
    withPool(async (other) => {
      using channel = pool.channel<unknown>({ capacity: 1 });
      using array = other.alloc(Uint8Array, 1);
      channel.send(0);
      await rejectsPoolError(() => channel.sendAsync({ array }, { timeoutMs: 20 }), "ERR_TIMEOUT");
      assert.equal(other.stats().claims, 0);
    })
  ));

test("who waits by a channel that is released has no part in the one that comes in its place", () =>
  withPool(async (pool) => {
    for (const sleeps of [false, true]) {
      const full = pool.channel<number>({ capacity: 1 });
      full.send(0);
      const sent = full.sendAsync(1);
      if (sleeps) await until(() => full.stats().waitingSenders === 1, "somebody sleeps");
      full.release();
      using next = pool.channel<number>({ capacity: 1 });
      await rejectsPoolError(() => sent, "ERR_RELEASED");
      assert.equal(next.stats().messages, 0);
      const empty = pool.channel<number>();
      const received = empty.receiveAsync();
      if (sleeps) await until(() => empty.stats().waitingReceivers === 1, "somebody sleeps");
      empty.release();
      using last = pool.channel<number>();
      last.send(5);
      await rejectsPoolError(() => received, "ERR_RELEASED");
      assert.equal(last.receive(), 5);
    }
  }));

test("who waits for a short time does so beside one who sleeps, too", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    const first = channel.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
    const begun = performance.now();
    await rejectsPoolError(() => channel.receiveAsync({ timeoutMs: 20 }), "ERR_TIMEOUT");
    assert.ok(performance.now() - begun < 600); // no sleep is longer than 1000
    channel.send(1);
    assert.equal(await first, 1);
  }));

test("a signal has no part in what was sent and received with it", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>({ capacity: 1 });
    const { signal } = new AbortController();
    const listeners = countListeners(signal);
    const received = channel.receiveAsync({ signal });
    assert.equal(listeners(), 1);
    channel.send(1);
    assert.equal(await received, 1);
    channel.send(2);
    assert.equal(await channel.receiveAsync({ signal }), 2);
    await rejectsPoolError(() => channel.receiveAsync({ signal, timeoutMs: 1 }), "ERR_TIMEOUT");
    channel.send(3);
    const sent = channel.sendAsync(4, { signal });
    assert.equal(channel.receive(), 3);
    await sent;
    assert.equal(listeners(), 0);
  }));

test("all who wait for one channel stand in one line, whichever Channel they have", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    using other = unpack(pack({ channel })).channel as Channel<number>;
    assert.notEqual(other, channel);
    const first = channel.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
    channel.send(1);
    channel.send(2);
    const second = other.receiveAsync();
    assert.deepEqual(await Promise.all([first, second]), [1, 2]);

    // One of them lets go: the other one still gets what comes.
    const third = other.receiveAsync();
    const fourth = channel.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
    other.release();
    await rejectsPoolError(() => third, "ERR_RELEASED");
    channel.send(3);
    assert.equal(await fourth, 3);
  }));

test("a channel that is attached once more, or let go of, while somebody waits for it counts those who wait", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>({ capacity: 1 });
    const receiving = channel.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
    const other = attach(channel.toJSON()) as Channel<number>;
    assert.equal(channel.stats().waitingReceivers, 1);
    channel.send(1);
    assert.equal(await receiving, 1);
    assert.equal(channel.stats().waitingReceivers, 0);

    const sleeping = channel.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
    const behind = attach<number>(channel.toJSON());
    const rejected = rejectsPoolError(() => behind.receiveAsync(), "ERR_RELEASED");
    behind.release();
    assert.equal(channel.stats().waitingReceivers, 1);
    await rejected;
    channel.send(1);
    assert.equal(await sleeping, 1);

    channel.send(2);
    const [sending] = await Promise.allSettled([
      other.sendAsync(3),
      until(() => channel.stats().waitingSenders === 1, "somebody sleeps").then(() => {
        other.release();
        assert.equal(channel.stats().waitingSenders, 0);
      }),
    ]);
    assert.equal(sending.status, "rejected");
    assert.equal(channel.receive(), 2);
    assert.equal(channel.tryReceive(), undefined);
  }));

test("who blocks, and hears the bell, does not let those sleep on who wait in the same realm's event loop", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    using silence = pool.channel<number>();
    const servant = new Servant(pool, runtime);
    const { now } = performance;
    for (const ms of [20, 200]) { // a native call takes 100 at most
      try {
        const waiting = channel.receiveAsync();
        await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
        servant.tell({ do: "wait", channel: silence, count: ms });
        servant.tell({ do: "send", channel, from: 1, count: 1 });
        // From here on no sleep ends by its time.
        const frozen = performance.now();
        performance.now = () => frozen;
        assert.equal(channel.receive(), 1);
        channel.send(2);
        assert.equal(await waiting, 2);
      } finally {
        performance.now = now;
      }
    }
    await servant.end();
  }));

test("a loop that never waits gives back what others have seen of its arrays", () =>
  withPool((pool) => {
    using channel = pool.channel<{ array?: Float64Array }>();
    using array = pool.alloc(Float64Array, 8192);
    channel.send({ array });
    array.release();
    const message = channel.receive();
    const moved = (message.array!.buffer as ArrayBuffer).transfer();
    message[Symbol.dispose]();
    moved.transfer(0); // the last who sees it
    const member = joinDirectly(pool.name)!;
    const { library } = native;
    try {
      // By turns with a channel of another pool, as one does who passes messages on.
      using another = Pool.create();
      using next = another.channel();
      for (let i = 0; i < 1000; i++) {
        channel.send({});
        next.send({});
        channel.receive();
        next.receive();
      }
      // Not by this member, which would give it back just for looking.
      library.ap_pool_stats(member);
      const record = new Float64Array(
        native.buffer(native.address(library.ap_pool_record(member)), 8 * AP_RECORD_LENGTH, 0),
      );
      assert.equal(record[AP_STATS_ARRAYS], 0);
    } finally {
      library.ap_pool_close(member, 0);
    }
  }));

test("who lets go of a channel while it sleeps for a message waits no more, for others either", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    const other = attach<number>(channel.toJSON());
    const message = other.receiveAsync();
    await until(() => channel.stats().waitingReceivers === 1, "it sleeps");
    other.release();
    await rejectsPoolError(() => message, "ERR_RELEASED");
    await until(() => channel.stats().waitingReceivers === 0, "it waits no more");
    channel.send(1);
    assert.equal(channel.receive(), 1);
  }));

test("who is to acknowledge sleeps in its event loop while all entries are taken, until one is free or given back", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>({ capacity: 1 });
    for (const isGivenBack of [false, true]) {
      channel.send(1);
      const first = channel.receive({ ack: true });
      channel.send(2);
      const second = channel.receiveAsync({ ack: true });
      // It waits, though there is a message; who is not to acknowledge would get it.
      await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
      if (!isGivenBack) first.ack();
      first[Symbol.dispose]();
      {
        using got = await second;
        assert.equal(got.message, isGivenBack ? 1 : 2);
        got.ack();
      }
      if (isGivenBack) assert.equal(channel.receive(), 2);
      assert.deepEqual(channel.stats().unacknowledged + channel.stats().depth, 0);
    }
  }));

test("what waits without blocking ends with its signal, its time, its channel and its pool", async () => {
  await withPool(async (pool) => {
    const channel = pool.channel<number>({ capacity: 1 });
    const abort = new AbortController();
    const waits = [channel.receiveAsync({ signal: abort.signal }), channel.receiveAsync()];
    await sleep(20);
    abort.abort(new Error("enough"));
    await assert.rejects(waits[0]!, { message: "enough" });
    channel.send(7);
    assert.equal(await waits[1], 7);
    await assert.rejects(channel.receiveAsync({ signal: AbortSignal.abort(new Error("before")) }), {
      message: "before",
    });
    await rejectsPoolError(() => channel.receiveAsync({ timeoutMs: 30 }), "ERR_TIMEOUT");
    await rejectsPoolError(() => channel.receiveAsync({ timeoutMs: 700 }), "ERR_TIMEOUT");
    channel.send(1);
    await rejectsPoolError(() => channel.sendAsync(2, { timeoutMs: 30 }), "ERR_TIMEOUT");
    const aborting = new AbortController();
    const message = {
      get number() {
        aborting.abort(new Error("meanwhile"));
        return 2;
      },
    };
    await assert.rejects(
      (channel as Channel<unknown>).sendAsync(message, { signal: aborting.signal, timeoutMs: 10_000 }),
      { message: "meanwhile" },
    );
    await assert.rejects(channel.receiveAsync({ timeoutMs: -1 }), RangeError);
    await assert.rejects(channel.sendAsync(1, { signal: 5 as never }), TypeError);
    assert.equal(channel.stats().messages, 2);

    assert.equal(await channel.receiveAsync(), 1);
    const closed = channel.receiveAsync();
    const released = pool.channel<number>();
    const waiting = released.receiveAsync();
    await sleep(20);
    channel.close();
    await rejectsPoolError(() => closed, "ERR_CLOSED");
    released.release();
    await rejectsPoolError(() => waiting, "ERR_RELEASED");
    await rejectsPoolError(() => channel.sendAsync(1), "ERR_CLOSED");
    channel.release();
    assertLeavesNothing(pool);
  });
  await withName(async (name) => {
    const pool = Pool.create({ name, capacity: "1M" });
    const waiting = pool.channel().receiveAsync();
    await sleep(20);
    pool.close();
    await rejectsPoolError(() => waiting, "ERR_CLOSED");
  });
});

test("for await ends when the channel is closed and empty", () =>
  withPool(async (pool) => {
    {
      using channel = pool.channel<{ id: number }>({ capacity: 3 });
      const seen: number[] = [];
      const receiving = (async () => {
        for await (const { id } of channel) seen.push(id);
      })();
      for (let id = 0; id < 30; id++) await channel.sendAsync({ id });
      await sleep(30);
      await channel.sendAsync({ id: 30 });
      channel.close();
      await receiving;
      assert.deepEqual(seen, Array.from({ length: 31 }, (_, i) => i));
    }
    assertLeavesNothing(pool);
  }));

test("who leaves an iteration while the next message is waited for takes none with him", () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    for (const sleeps of [false, true]) {
      const messages = channel[Symbol.asyncIterator]();
      const next = messages.next();
      if (sleeps) await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
      assert.deepEqual(await messages.return!(), { done: true, value: undefined });
      channel.send(1);
      assert.equal(channel.tryReceive(), 1);
      assert.deepEqual(await next, { done: true, value: undefined });
      assert.deepEqual(await messages.next(), { done: true, value: undefined });
    }
    // Though the channel is let go of at once: nobody is there who would hear of an error.
    const same = attach<number>(channel.toJSON());
    const messages = same[Symbol.asyncIterator]();
    const next = messages.next();
    await messages.return!();
    same.release();
    assert.deepEqual(await next, { done: true, value: undefined });
    channel.send(2);
    for await (const message of channel) {
      assert.equal(message, 2);
      break;
    }
    channel.send(3);
    assert.equal(await channel.receiveAsync(), 3);
  }));

test("who sleeps in its event loop gets what a dead receiver had not acknowledged", () =>
  withPool(async (pool) => {
    using arrays = pool.channel<{ array: Float64Array; value: number }>();
    using servant = new Servant(pool, "bun");
    arrays.send({ array: pool.alloc(Float64Array, 100).fill(9), value: 9 }, { move: true });
    servant.tell({ do: "take with ack", arrays });
    assert.equal(await servant.answer(), 9);
    const again = arrays.receiveAsync({ ack: true, timeoutMs: 30_000 });
    await sleep(50);
    await servant.child.kill();
    using delivery = await again;
    assert.equal(delivery.message.array[99], 9);
    delivery.ack();
  }));

test("who waits by a Channel that is released waits no more, also behind another one on the same channel", () =>
  withPool(async (pool) => {
    using first = pool.channel<number>({ capacity: 1 });
    const second = attach<number>(first.toJSON());
    const received = first.receiveAsync();
    const behind = second.receiveAsync();
    second.release();
    await rejectsPoolError(() => behind, "ERR_RELEASED");
    first.send(1);
    assert.equal(await received, 1);
    first.send(2);
    const third = attach<number>(first.toJSON());
    const sent = first.sendAsync(3);
    const late = third.sendAsync(4);
    await sleep(20); // asleep
    third.release();
    await rejectsPoolError(() => late, "ERR_RELEASED");
    assert.deepEqual([first.receive(), await first.receiveAsync()], [2, 3]);
    await sent;
  }));
