/** A process that was stopped while it has a lock: what the others must do without, and that nothing is lost by it. */

import type { Pool, SharedArray } from "arraypool";
import {
  assert,
  rejectsPoolError,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withChild,
  withPool,
} from "./support/harness.ts";
import { holdLock, holdSendersLock } from "./support/segment.ts";

/** With the slot of another member of `pool`, which the tests make look as if it had been stopped with a lock. */
function withOther(pool: Pool, use: (slot: number) => unknown): Promise<void> {
  return withChild(start("bun", "./child.ts"), async (child) => {
    child.write({ do: "open", name: pool.name });
    await child.next();
    await use(pool.members().find((member) => !member.self)!.slot);
  });
}

testOnce(
  "what is received with ack says ERR_TIMEOUT, though a stopped sender keeps what it would say more, and the line goes on",
  () =>
    withPool(async (pool) => {
      using channel = pool.channel<number>();
      await withOther(pool, async (slot) => {
        const { block } = pool.blocks().find(({ kind }) => kind === "channel")!;
        const goOn = holdSendersLock(pool.name, block, slot);
        try {
          throwsPoolError(() => channel.stats(), "ERR_POOL_BUSY");
          throwsPoolError(() => channel.receive({ ack: true, timeoutMs: 5 }), "ERR_TIMEOUT");
          const first = channel.receiveAsync();
          await rejectsPoolError(() => channel.receiveAsync({ ack: true, timeoutMs: 0 }), "ERR_TIMEOUT");
          goOn();
          channel.send(7);
          assert.equal(await first, 7);
        } finally {
          goOn();
        }
      });
    }),
);

testOnce(
  "a message whose array's pool is busy is not lost: who asks again gets it, and who lets go of the channel leaves no claim",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        using own = pool.from(Uint8Array.of(1, 2));
        for (const asksAgain of [true, false]) {
          const jobs = pool.channel<{ own: Uint8Array; first: Float64Array; second: Float64Array }>();
          using first = other.from(Float64Array.of(7));
          using second = other.from(Float64Array.of(8));
          jobs.send({ own, first, second });
          await withOther(other, async (slot) => {
            const goOn = holdLock(other.name, slot);
            try {
              throwsPoolError(() => jobs.receive(), "ERR_POOL_BUSY");
              await rejectsPoolError(() => jobs.receiveAsync(), "ERR_POOL_BUSY");
            } finally {
              goOn();
            }
            if (!asksAgain) return;
            using got = jobs.receive();
            assert.deepEqual([[...got.own], [...got.first], [...got.second]], [[1, 2], [7], [8]]);
            throwsPoolError(() => jobs.receive({ timeoutMs: 1 }), "ERR_TIMEOUT");
          });
          jobs.release();
          assert.equal(other.stats().claims, 0);
        }
      })
    ),
);

testOnce(
  "a message to be acknowledged, whose array's pool is busy, is not lost",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        using jobs = pool.channel<{ data: Float64Array }>();
        using data = other.from(Float64Array.of(7));
        jobs.send({ data });
        await withOther(other, (slot) => {
          const goOn = holdLock(other.name, slot);
          try {
            throwsPoolError(() => jobs.receive({ ack: true }), "ERR_POOL_BUSY");
          } finally {
            goOn();
          }
          assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [1, 0]);
          using again = jobs.receive({ ack: true });
          assert.equal(again.message.data[0], 7);
          again.ack();
        });
      })
    ),
);

testOnce(
  "a program with much to let go of waits for a stopped process about as long as one call does",
  () =>
    withPool(async (pool) => {
      using channel = pool.channel<number>();
      const arrays = Array.from({ length: 8 }, () => {
        const array = pool.alloc(Uint8Array, 200_000);
        array.share({ claims: 0 });
        return array;
      });
      const took = (work: () => void) => {
        const begun = performance.now();
        work();
        return performance.now() - begun;
      };
      await withOther(pool, (slot) => {
        const goOn = holdLock(pool.name, slot);
        try {
          const one = took(() => throwsPoolError(() => pool.alloc(Uint8Array, 300_000), "ERR_POOL_BUSY"));
          const all = took(() => {
            for (const array of arrays) array.release();
            for (let i = 0; i < 4; i++) channel.send(i);
            for (let i = 0; i < 4; i++) channel.receive();
          });
          assert.ok(all < 4 * one, `${all} ms, where one call takes ${one} ms`); // one for each would be eight times as long
          assert.deepEqual(arrays.map(({ length }) => length), arrays.map(() => 0));
        } finally {
          goOn();
        }
        // At once, since there is no room otherwise.
        pool.alloc(Uint8Array, 1_800_000).release();
        assert.equal(pool.stats().arrays, 0);
      });
    }, { capacity: "2M" }),
);

test("waits that nobody notifies end in time where the pool is busy", () =>
  withPool(async (pool) => {
    using words = pool.alloc(Int32Array, 16);
    await withOther(pool, async (slot) => {
      const waits = Array.from(words, (_, i) => pool.waitAsync(words, i, 0, { timeoutMs: 50, ref: true }));
      const goOn = holdLock(pool.name, slot);
      try {
        assert.deepEqual(await Promise.all(waits), waits.map(() => "timed-out"));
      } finally {
        goOn();
      }
    });
  }));

testOnce("once() keeps nothing that it could not give its name", () =>
  withPool(async (pool) => {
    await withOther(pool, async (slot) => {
      let goOn = () => {};
      const make = (): SharedArray<Uint8Array> => {
        const made = pool.alloc(Uint8Array, 1000);
        goOn = holdLock(pool.name, slot);
        return made;
      };
      for (
        const call of [
          () => Promise.resolve().then(() => pool.once("x", make)),
          () => pool.onceAsync("x", () => Promise.resolve(make())),
        ]
      ) {
        try {
          await rejectsPoolError(call, "ERR_POOL_BUSY");
        } finally {
          goOn();
        }
        await until(() => pool.stats().arrays === 0, "what was made is let go of");
        assert.deepEqual(pool.names(), []);
      }
    });
  }));

testOnce(
  "a message that was not sent says why, though its claims in a busy pool cannot be dropped",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        using channel = pool.channel<unknown>({ capacity: 1 });
        channel.send(1);
        using array = other.from(Float64Array.of(1));
        await withOther(other, async (slot) => {
          const abort = new AbortController();
          const sent = channel.sendAsync({ array }, { signal: abort.signal });
          let goOn = holdLock(other.name, slot);
          try {
            abort.abort(new Error("no more"));
            await assert.rejects(() => sent, /no more/);
            goOn();
            const late = {
              array,
              get last() {
                return goOn = holdLock(other.name, slot), 1;
              },
            };
            assert.equal(channel.trySend(late), false);
          } finally {
            goOn();
          }
        });
      }, { claimTtlMs: 100 })
    ),
);

/** The longest that the event loop stood while `use` went on, in turns of a timer that it missed altogether. */
async function longestStop(use: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const timer = setInterval(look, 5);
  try {
    await use();
    look();
  } finally {
    clearInterval(timer);
  }
  return longest;
}

testOnce(
  "where a stopped process has a lock, many that wait in one line keep the event loop as long as one call does",
  () =>
    withPool(async (pool) => {
      using channel = pool.channel<number>({ capacity: 1 });
      channel.send(0);
      using idle = pool.channel<number>();
      await withOther(pool, async (slot) => {
        const { block } = pool.blocks().find(({ kind }) => kind === "channel")!;
        const one = performance.now();
        let goOn = holdSendersLock(pool.name, block, slot);
        try {
          throwsPoolError(() => channel.trySend(1), "ERR_POOL_BUSY");
          const once = performance.now() - one;
          goOn();
          const sent = Array.from(
            { length: 6 },
            (_, i) => rejectsPoolError(() => channel.sendAsync(i), "ERR_POOL_BUSY"),
          );
          goOn = holdSendersLock(pool.name, block, slot);
          const sending = await longestStop(() => Promise.all(sent)); // each for itself: six times as long
          assert.ok(sending < 3 * once, `${sending} ms, where one call takes ${once} ms`);
          goOn();
          const received = Array.from(
            { length: 6 },
            () => rejectsPoolError(() => idle.receiveAsync(), "ERR_POOL_BUSY"),
          );
          await new Promise((resolve) => setTimeout(resolve, 20));
          goOn = holdLock(pool.name, slot);
          const receiving = await longestStop(() => Promise.all(received));
          assert.ok(receiving < 3 * once, `${receiving} ms, where one call takes ${once} ms`);
        } finally {
          goOn();
        }
        channel.receive();
        await channel.sendAsync(9);
        assert.equal(await channel.receiveAsync(), 9);
      });
    }),
);
