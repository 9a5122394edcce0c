/** A process that was stopped while it has a lock: what the others must do without, and that nothing is lost by it. */

import { attach, type Channel, type Pool, type SharedArray } from "arraypool";
import {
  assert,
  rejectsPoolError,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  untilCollected,
  withChild,
  withPool,
} from "./support/harness.ts";
import { holdLock, holdReceiversLock, holdSendersLock } from "./support/segment.ts";

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
  "what is given back while a stopped process has the channel comes again, and the Channel that was released meanwhile goes",
  () =>
    withPool(async (pool) => {
      const jobs = pool.channel<number>();
      pool.set("jobs", jobs);
      jobs.send(7);
      await withOther(pool, async (slot) => {
        const delivery = jobs.receive({ ack: true });
        const { block } = pool.blocks().find(({ kind }) => kind === "channel")!;
        const goOn = holdReceiversLock(pool.name, block, slot);
        try {
          delivery[Symbol.dispose]();
          jobs.release();
        } finally {
          goOn();
        }
        await until(() => pool.blocks()[0]!.holders.length === 0, "the name alone keeps it");
        using again = pool.get("jobs") as Channel<number>;
        assert.equal(again.receive({ timeoutMs: 0 }), 7);
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

testOnce(
  "who waits by another Channel hears nothing of a message whose array's pool is busy",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        using jobs = pool.channel<unknown>();
        using same = attach<unknown>(jobs.toJSON());
        using far = other.from(Float64Array.of(7));
        await withOther(other, async (slot) => {
          const first = rejectsPoolError(() => jobs.receiveAsync(), "ERR_POOL_BUSY");
          const second = same.receiveAsync();
          jobs.send({ far });
          const goOn = holdLock(other.name, slot);
          try {
            await first;
          } finally {
            goOn();
          }
          jobs.send(5);
          assert.equal(await second, 5);
        });
      })
    ),
);

/** `jobs` has a message that was received and could not be read, as the pool of `near` was busy; it brought `far` and `own`, too. */
function withKept(
  use: (jobs: Channel<Brought>, pools: { pool: Pool; other: Pool; busy: Pool }) => unknown,
): Promise<void> {
  return withPool((pool) =>
    withPool((other) =>
      withPool(async (busy) => {
        const jobs = pool.channel<Brought>();
        const [own, far, near] = [pool, other, busy].map((of) => of.alloc(Uint8Array, 100)) as [Bytes, Bytes, Bytes];
        jobs.send({ own, far, near }, { move: true });
        await withOther(busy, async (slot) => {
          const goOn = holdLock(busy.name, slot);
          try {
            throwsPoolError(() => jobs.receive(), "ERR_POOL_BUSY");
          } finally {
            goOn();
          }
          await use(jobs, { pool, other, busy });
          await until(
            () => [other, busy].every((one) => one.stats().arrays + one.stats().claims === 0),
            "all is let go of",
          );
        });
      })
    )
  );
}

type Bytes = SharedArray<Uint8Array>;
type Brought = { own: Bytes; far: Bytes; near: Bytes };

testOnce("what could not be read, and is read later, is held once", () =>
  withKept((jobs, { pool }) => {
    const { own, far, near } = jobs.receive();
    for (const array of [own, far, near]) array.release();
    jobs.release();
    assert.equal(pool.stats().arrays, 0);
  }));

testOnce(
  "what could not be read is had at once by who asks for it, whoever waits in line",
  () =>
    withKept(async (jobs) => {
      using same = attach<Brought>(jobs.toJSON());
      const abort = new AbortController();
      const waits = assert.rejects(() => same.receiveAsync({ signal: abort.signal }), /no more/);
      using got = await jobs.receiveAsync({ timeoutMs: 0 });
      assert.equal(got.near.length, 100);
      abort.abort(new Error("no more"));
      await waits;
      jobs.release();
    }),
);

testOnce("what could not be read stays, though others are received with ack meanwhile", () =>
  withKept((jobs) => {
    const of = (own: Bytes) => jobs.send({ own } as Brought, { move: true });
    const { pool } = jobs;
    for (let i = 1; i <= 2; i++) of(pool.from(Uint8Array.of(i)));
    for (let i = 1; i <= 2; i++) {
      using delivery = jobs.receive({ ack: true });
      assert.equal(delivery.message.own[0], i);
      delivery.ack();
    }
    {
      using kept = jobs.receive();
      assert.equal(kept.near.length, 100);
    }
    throwsPoolError(() => jobs.receive({ timeoutMs: 0 }), "ERR_TIMEOUT");
    jobs.release();
  }));

testOnce("what could not be read is let go of with its pool", () => withKept((_, { pool }) => pool.close()));

testOnce(
  "what could not be read is let go of with its Channel, also if nobody refers to that any more",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        using jobs = pool.channel<object>();
        using far = other.from(Float64Array.of(7));
        const own = pool.alloc(Uint8Array, 1000);
        jobs.send({ far, own });
        own.release();
        await withOther(other, async (slot) => {
          const goOn = holdLock(other.name, slot);
          try {
            (() => throwsPoolError(() => attach<object>(jobs.toJSON()).receive(), "ERR_POOL_BUSY"))();
          } finally {
            goOn();
          }
          await untilCollected(() => pool.stats().arrays === 1, "the channel alone is left");
        });
      })
    ),
);

testOnce(
  "what is done with a message of many arrays of a busy pool takes about as long as one call",
  () =>
    withPool((pool) =>
      withPool(async (other) => {
        const jobs = pool.channel<object>({ capacity: 1 });
        const far = Array.from({ length: 6 }, () => other.alloc(Uint8Array, 4));
        const took = (work: () => unknown) => {
          const begun = performance.now();
          work();
          return performance.now() - begun;
        };
        await withOther(other, (slot) => {
          jobs.send({ far });
          const delivery = jobs.receive({ ack: true });
          jobs.send({ far });
          let goOn = holdLock(other.name, slot);
          try {
            const one = took(() => throwsPoolError(() => other.alloc(Uint8Array, 300_000), "ERR_POOL_BUSY"));
            assert.ok(took(() => delivery.ack()) < 3 * one);
            goOn();
            const late = {
              far,
              get last() {
                return goOn = holdLock(other.name, slot), 1;
              },
            };
            assert.ok(took(() => jobs.trySend(late)) < 3 * one);
            assert.ok(took(() => throwsPoolError(() => jobs.receive(), "ERR_POOL_BUSY")) < 3 * one);
            assert.ok(took(() => jobs.release()) < 3 * one); // each for itself: six times as long
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
