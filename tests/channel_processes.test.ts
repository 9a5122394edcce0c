/** Channels between processes of all runtimes, and Workers: who waits, and who dies. */

import { pack } from "arraypool";
import { assert, peers, runtime, runtimes, sleep, start, test, testOnce, until, withPool } from "./support/harness.ts";
import type { Order, Start } from "./support/channel_child.ts";
import { assertLeavesNothing, Servant } from "./support/servant.ts";
import { startWorker } from "./support/web_worker.ts";

test(`a process of ${runtime} with a channel that nobody waits for ends by itself, and waits if somebody does`, () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    for (const mode of ["idle", "waiting"]) {
      const child = start(runtime, "./channel_idle.ts", { args: [JSON.stringify(pack({ channel })), mode] });
      assert.deepEqual(await child.next(), { mode });
      if (mode === "waiting") {
        await until(() => channel.stats().waitingReceivers === 1, "the child waits");
        await sleep(200); // or it would end before it gets it
        channel.send(5);
        assert.deepEqual(await child.next(), { got: 5 });
      }
      assert.equal(await child.exited, 0, child.errors);
    }
  }));

test(`a receiver in ${runtime} that is killed while it waits hinders nobody`, () =>
  withPool(async (pool) => {
    using servant = new Servant(pool, runtime);
    using channel = pool.channel<number>();
    servant.tell({ do: "wait", channel, count: 60_000 });
    await until(() => channel.stats().waitingReceivers === 1, "the child waits");
    await servant.child.kill();
    assert.equal(channel.stats().waitingReceivers, 0);
    for (let i = 0; i < 100; i++) channel.send(i);
    for (let i = 0; i < 100; i++) assert.equal(channel.receive(), i);
    pool.reap();
    pool.check();
  }));

test(`what ${runtime} had received with ack and not acknowledged comes back when it is killed`, () =>
  withPool(async (pool) => {
    {
      using arrays = pool.channel<{ array: Float64Array; value: number }>();
      for (const value of [1, 2]) {
        arrays.send({ array: pool.alloc(Float64Array, 100).fill(value), value }, { move: true });
      }
      for (let round = 0; round < 2; round++) {
        using servant = new Servant(pool, runtime);
        servant.tell({ do: "take with ack", arrays });
        assert.equal(await servant.answer(), 1);
        await servant.child.kill();
      }
      for (const value of [1, 2]) {
        using delivery = arrays.receive({ ack: true, timeoutMs: 10_000 });
        assert.equal(delivery.message.value, value);
        assert.ok(delivery.message.array.every((element) => element === value));
        delivery.ack();
      }
    }
    assertLeavesNothing(pool);
  }));

test(`when ${runtime} closes the pool, the channels that it alone holds go, and what is queued there`, () =>
  withPool(async (pool) => {
    {
      using servant = new Servant(pool, runtime);
      servant.tell({ do: "leave" });
      assert.equal(await servant.child.exited, 0, servant.child.errors);
    }
    assertLeavesNothing(pool);
  }));

for (const other of peers) {
  test(`questions and answers with ${other} without blocking`, () =>
    withPool(async (pool) => {
      using servant = new Servant(pool, other);
      using there = pool.channel<number>({ capacity: 16 });
      using back = pool.channel<number>({ capacity: 16 });
      servant.tell({ do: "echo", channel: there, back, count: 300 });
      for (let i = 0; i < 300; i++) {
        if (i % 50 === 0) await sleep(2);
        await there.sendAsync(i);
        assert.equal(await back.receiveAsync({ timeoutMs: 30_000 }), i);
      }
      await servant.end();
    }));

  test(`numbers go to ${other} and back, each once and in order`, () =>
    withPool(async (pool) => {
      {
        using servant = new Servant(pool, other);
        using there = pool.channel<number>({ capacity: 16 });
        using back = pool.channel<number>({ capacity: 16 });
        servant.tell({ do: "echo", channel: there, back, count: 5000 });
        for (let i = 0; i < 5000; i++) {
          there.send(i);
          if (i % 10 === 9) { for (let j = i - 9; j <= i; j++) assert.equal(back.receive({ timeoutMs: 30_000 }), j); }
        }
        assert.equal(await servant.answer(), 5000);
        await servant.end();
      }
      assertLeavesNothing(pool);
    }));
}

for (const other of runtimes) {
  test(`arrays go to ${other}, and are the receiver's`, () =>
    withPool(async (pool) => {
      {
        using servant = new Servant(pool, other);
        using arrays = pool.channel<{ array: Float64Array; value: number }>({ capacity: 4 });
        servant.tell({ do: "sum arrays", arrays });
        for (let i = 1; i <= 200; i++) {
          arrays.send({ array: pool.alloc(Float64Array, 1000).fill(i), value: i }, { move: true, timeoutMs: 30_000 });
        }
        arrays.close();
        assert.equal(await servant.answer(), 200 * 201 / 2);
        // In Deno a moment later than the release.
        await until(() => pool.stats().arrays === 0, "the child has let go of all");
        await servant.end();
      }
      assertLeavesNothing(pool);
    }));
}

testOnce(
  "four senders and four receivers of all runtimes: each message is received once, each sender's in order",
  () =>
    withPool(async (pool) => {
      {
        using channel = pool.channel<number>({ capacity: 50 });
        const count = 2000;
        const senders = [0, 1, 2, 3].map((i) => new Servant(pool, runtimes[i % 3]!));
        const receivers = [0, 1, 2, 3].map((i) => new Servant(pool, runtimes[i % 3]!));
        try {
          senders.forEach((sender, i) => sender.tell({ do: "send", channel, from: i * count, count }));
          receivers.forEach((receiver) => receiver.tell({ do: "sum", channel }));
          for (const sender of senders) assert.equal(await sender.answer(), count);
          channel.close();
          const seen = new Set<number>();
          for (const receiver of receivers) {
            const numbers = await receiver.answer<number[]>();
            const last = [-1, -1, -1, -1];
            for (const number of numbers) {
              const sender = Math.floor(number / count);
              assert.ok(number > last[sender]!);
              last[sender] = number;
              seen.add(number);
            }
            assert.equal(new Set(numbers).size, numbers.length);
          }
          assert.equal(seen.size, 4 * count);
          for (const servant of [...senders, ...receivers]) await servant.end();
        } finally {
          for (const servant of [...senders, ...receivers]) servant[Symbol.dispose]();
        }
      }
      assertLeavesNothing(pool);
    }),
);

testOnce(
  "senders and receivers that are killed at any time leave whole messages, and no array too many or too few",
  () =>
    withPool(async (pool) => {
      {
        using arrays = pool.channel<{ array: Float64Array; value: number }>({ capacity: 8 });
        for (let round = 0; round < 6; round++) {
          using sender = new Servant(pool, runtimes[round % 3]!);
          using receiver = new Servant(pool, runtimes[(round + Math.floor(round / 3)) % 3]!);
          sender.tell({ do: "send arrays", arrays, from: 1, count: 1e9 });
          receiver.tell({ do: "sum arrays", arrays });
          const before = arrays.stats().messages;
          await until(() => arrays.stats().messages > before + 50, "messages flow");
          await sleep(Math.random() * 20);
          await sender.child.kill();
          await receiver.child.kill();
          pool.reap();
          pool.check();
          // What is left holds one array each, and nobody else holds any.
          assert.equal(pool.stats().arrays, arrays.stats().depth);
          for (let message = arrays.tryReceive(); message !== undefined; message = arrays.tryReceive()) {
            using _ = message;
            const { value } = message;
            assert.ok(message.array.every((element) => element === value));
          }
          pool.reap();
          assert.equal(pool.stats().arrays, 0);
        }
      }
      assertLeavesNothing(pool);
    }),
);

test("Workers send and receive, and may be terminated", () =>
  withPool(async (pool) => {
    {
      using orders = pool.channel<Order>();
      using answers = pool.channel<unknown>();
      using channel = pool.channel<number>({ capacity: 8 });
      const start: Start = { orders, answers };
      const worker = startWorker("./channel_child.ts");
      worker.postMessage(pack(start));
      orders.send({ do: "send", channel, from: 0, count: 1000 });
      for (let i = 0; i < 1000; i++) {
        let got: number | undefined;
        while ((got = channel.tryReceive()) === undefined) await sleep(0);
        assert.equal(got, i);
      }
      // Deno's terminate() ends no thread that is blocked, whatever blocks it.
      orders.send({ do: "wait", channel, count: runtime === "deno" ? 500 : 60_000 });
      await until(() => channel.stats().waitingReceivers === 1, "the Worker waits");
      orders.close();
      worker.terminate();
      await until(() => pool.reap() + pool.stats().members === 1, "the Worker is gone");
      channel.send(5);
      assert.equal(channel.receive(), 5);
      assert.equal(channel.stats().waitingReceivers, 0);
      answers.tryReceive();
    }
    assertLeavesNothing(pool);
  }));
