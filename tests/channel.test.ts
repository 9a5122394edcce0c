/** Channels: what is sent is received, once and in order, by whoever receives; what a message holds, and who acknowledges it. */

import { attach, type Channel, isSharedArray, pack, Pool, type PoolError, type SharedArray, unpack } from "arraypool";
import { AP_FLOAT64, AP_KIND_ARRAY, AP_KIND_CHANNEL, AP_RECEIVED_ARRAY, AP_UINT8 } from "../core/abi.ts";
import { Codec, HOME } from "../core/codec.ts";
import { Unloading } from "../core/parcel.ts";
import {
  assert,
  rejectsPoolError,
  sleep,
  test,
  testOnce,
  throwsPoolError,
  until,
  untilCollected,
  withName,
  withPool,
} from "./support/harness.ts";
import { assertLeavesNothing } from "./support/servant.ts";

// ---------------------------------------------------------------- what is sent is received

test("what is sent is received as it was, first in first out", () =>
  withPool((pool) => {
    {
      using channel = pool.channel({ capacity: 40 });
      const messages: unknown[] = [
        0,
        -0,
        127,
        128,
        -1,
        2 ** 31,
        1.5,
        NaN,
        -Infinity,
        2 ** 53,
        "",
        "a",
        "x".repeat(31),
        "x".repeat(32),
        "äöü",
        "€ and 😀",
        "\ud800 alone",
        "long € ".repeat(100),
        null,
        true,
        false,
        12345678901234567890n,
        -1n,
        [],
        [1, [2, [3]]],
        new Array(100).fill("item"),
        {},
        { zero: -0, one: 1 },
        { a: 1, b: { c: [undefined, null] }, "": 0, "ключ": 1 },
        Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`key ${i}`, i])),
        new Map<unknown, unknown>([[1, "one"], ["two", { three: 3 }]]),
        new Set([1, "1", [1]]),
        new Date(1234567890123),
        new Date(NaN),
        JSON.parse('{"__proto__": {"polluted": true}}'),
        Object.assign(Object.create(null), { bare: true }),
      ];
      for (const message of messages) channel.send(message);
      for (const message of messages) assert.deepEqual(plain(channel.receive()), message);
      assert.equal(({} as { polluted?: boolean }).polluted, undefined);
      assert.equal(channel.tryReceive(), undefined);
    }
    assertLeavesNothing(pool);
  }));

testOnce(
  "a message is read as it was sent wherever it ends in the buffer, and what was cut off or changed is none",
  () => {
    const bare = { encode: () => undefined, shared: () => null, reference: (value: object) => value };
    // What most messages are read and written in, and what it takes for the others.
    const codec = new Codec(HOME);
    const other = new Codec(new Uint8Array(512));
    const sent = (length: number) => ({
      text: "x".repeat(length),
      id: 1000,
      a: 0,
      longer_than_seven: "and more than 7",
      "": -0.5,
      ["__proto__"]: [true, null],
      kind: "job",
      n: 5,
    });
    for (let length = 380; length < 480; length++) {
      const message = sent(length);
      const bytes = codec.encode(message, 1 << 20, () => bare);
      assert.equal(other.encode(message, 1 << 20, () => bare), bytes);
      assert.deepEqual(other.bytes.subarray(0, bytes), codec.bytes.subarray(0, bytes));
      const exact = new Codec(codec.bytes.slice(0, bytes));
      for (const reader of [codec, other, exact]) {
        const read = reader.decode(bytes, bare) as typeof message;
        assert.deepEqual(Object.entries(read), Object.entries(message));
      }
      const cut = bytes - 1 - (length % 60);
      for (const reader of [codec, other, exact]) {
        throwsPoolError(() => reader.decode(cut, bare), "ERR_CORRUPT_SEGMENT");
      }
    }
    const bytes = codec.encode(sent(3), 1 << 20, () => bare);
    const image = codec.bytes.slice(0, bytes);
    for (const reader of [codec, other]) {
      let read = 0;
      for (let at = 0; at < bytes; at++) {
        for (let value = 0; value < 256; value++) {
          reader.bytes.set(image);
          reader.bytes[at] = value;
          try {
            reader.decode(bytes, bare);
            read++;
          } catch (error) {
            assert.equal((error as PoolError).code, "ERR_CORRUPT_SEGMENT", `${error}`);
          }
        }
      }
      assert.ok(read > bytes);
      // Deeper than anything that can be sent.
      reader.reserve(2001, 0);
      reader.bytes.fill(0xe1, 0, 2000)[2000] = 0;
      throwsPoolError(() => reader.decode(2001, bare), "ERR_CORRUPT_SEGMENT");
    }
  },
);

testOnce(
  "short strings that begin alike, or differ in their last character, are told apart, as keys and as values",
  () => {
    const bare = { encode: () => undefined, shared: () => null, reference: (value: object) => value };
    const codecs = [new Codec(HOME), new Codec(new Uint8Array(512))];
    const texts = Array.from({ length: 12 }, (_, length) => ["a", "b"].map((last) => "a".repeat(length) + last)).flat();
    const messages = [texts, texts.toReversed()].flatMap((order) => [
      Object.fromEntries(order.map((text, i) => [text, order.at(-1 - i)])),
      { [order[0]!]: { [order[1]!]: order[2] }, [order[3]!]: order[4] },
      ...order.map((text) => ({ [text]: text })),
    ]);
    // At first they are made, and then known.
    for (let time = 0; time < 3; time++) {
      for (const message of messages) {
        for (const codec of codecs) {
          const read = codec.decode(codec.encode(message, 1 << 20, () => bare), bare);
          assert.equal(JSON.stringify(read), JSON.stringify(message));
        }
      }
    }
  },
);

testOnce("a message that outgrows the buffer anywhere is whole, and so is a small one after it", () => {
  const bare = { encode: () => undefined, shared: () => null, reference: (value: object) => value };
  const small = { id: 1000, kind: "job" };
  const reads = (codec: Codec, message: unknown) => {
    const read = codec.decode(codec.encode(message, 1 << 24, () => bare), bare);
    assert.equal(JSON.stringify(read), JSON.stringify(message));
  };
  const codecs = [new Codec(HOME), new Codec(new Uint8Array(512))];
  for (const codec of codecs) {
    const long = "x".repeat(codec.bytes.length);
    const messages = [
      { id: 1, [long]: 1000, kind: "job", last: "short" },
      { id: 1, text: long, kind: "job", n: 1000 },
      { id: 1, inner: { text: long, kind: "job" }, kind: "stop", n: 1000 },
      { id: 1, inner: { kind: "job", n: [{ kind: long }, small] }, kind: "stop", [`${long}\u00e4`]: small },
      long,
    ];
    for (const message of messages) {
      for (let time = 0; time < 2; time++) {
        reads(codec, small);
        reads(codec, message);
      }
    }
    // An object begins at each of the last bytes of the first buffer, and ends in it or not.
    const last = { text: "x".repeat(31), longer_than_seven: 5, b: -0.5, "\u00e4": "\u00e4", id: 1000, kind: "job" };
    for (let left = 0; left < 160; left++) {
      const message: unknown[] = [];
      let room = HOME.length - 5 - left;
      if (codec !== codecs[0]) room = 512 - 5 - left;
      for (; room > 3000; room -= 1005) message.push("x".repeat(1000));
      for (; room > 40; room -= 21) message.push("x".repeat(20));
      for (; room > 0; room--) message.push(1);
      message.push(last);
      const bytes = codec.encode(message, 1 << 24, () => bare);
      const image = codec.bytes.slice(0, bytes);
      const read = [codec.decode(bytes, bare)];
      // As it is received: up to the very last byte.
      if (bytes <= codec.begin().length) {
        codec.bytes.set(image);
        read.push(codec.decode(bytes, bare));
      }
      for (const items of read as unknown[][]) {
        assert.equal(items.length, message.length);
        assert.equal(JSON.stringify(items.at(-1)), JSON.stringify(last));
      }
    }
    reads(codec, small);
  }
  const [home] = codecs;
  assert.equal(home!.encode({ id: 1, text: "x".repeat(HOME.length) }, 1000, () => bare), -1);
  assert.equal(home!.encode(small, 10, () => bare), -1);
});

test("a received object is like any other, and can be disposed of, sent on and packed", () =>
  withPool((pool) => {
    using channel = pool.channel<{ id: number; inner: { kind: string } }>();
    const sent = { id: 7, inner: { kind: "job" } };
    channel.send(sent);
    {
      using got = channel.receive();
      assert.equal(got.constructor, Object);
      assert.equal(String(got), "[object Object]");
      assert.deepEqual(Reflect.ownKeys(got), ["id", "inner"]);
      assert.deepEqual({ ...got }, sent);
      assert.deepEqual(structuredClone(got), sent);
      assert.equal(JSON.stringify(got), JSON.stringify(sent));
      assert.equal(Object.getPrototypeOf(got.inner), Object.prototype);
      channel.send(got);
      assert.deepEqual(pack(got), sent);
    }
    using again = channel.receive();
    assert.equal(JSON.stringify(again), JSON.stringify(sent));

    // More than one byte can count, keys with names of their own, and an Object.prototype with something on it.
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`key ${i}`, i]));
    using others = pool.channel<unknown>();
    for (const message of [many, [many], JSON.parse('{"__proto__":1,"constructor":2,"a":3}')]) others.send(message);
    assert.equal(JSON.stringify(others.receive()), JSON.stringify(many));
    assert.equal(JSON.stringify(others.receive()), JSON.stringify([many]));
    assert.equal(JSON.stringify(others.receive()), '{"__proto__":1,"constructor":2,"a":3}');
    Object.defineProperty(Object.prototype, "inherited", { value: 1, enumerable: true, configurable: true });
    try {
      others.send({ own: 2 });
      assert.deepEqual(Object.keys(others.receive() as object), ["own"]);
    } finally {
      delete (Object.prototype as { inherited?: number }).inherited;
    }
  }));

/** Without the Symbol.dispose, which is one of its own where it is no object. */
function plain(message: unknown): unknown {
  if (typeof message === "object" && message !== null) {
    delete (message as { [Symbol.dispose]?: unknown })[Symbol.dispose];
  }
  return message;
}

test("what is larger than the pool is named for what it is", () =>
  withPool((pool) => {
    const code = "ERR_ARRAY_TOO_LARGE";
    assert.throws(() => pool.channel({ capacity: 65_536 }), {
      code,
      message: /what was asked for is larger than pool/,
    });
    using channel = pool.channel<string>({ maxMessageBytes: 8 << 20 });
    assert.throws(() => channel.send("x".repeat(3 << 20)), { code, message: /the message is larger than pool/ });
  }, { capacity: "1M" }));

test("what is no data cannot be sent, and says so", () =>
  withPool((pool) => {
    using channel = pool.channel<unknown>({ maxMessageBytes: 1000 });
    assert.throws(() => channel.send(undefined), { name: "TypeError", message: /send null/ });
    assert.throws(() => channel.send({ f: () => 1 }), { name: "TypeError", message: /not the function f/ });
    assert.throws(() => channel.send(Symbol("s")), { name: "TypeError" });
    assert.throws(() => channel.send(new Float64Array(3)), { name: "TypeError", message: /pool\.from\(\)/ });
    assert.throws(() => channel.send([new URL("file:///x")]), { name: "TypeError", message: /class URL/ });
    const self: unknown[] = [];
    self.push({ self });
    assert.throws(() => channel.send(self), { name: "TypeError", message: /contains itself/ });
    // Also where it is too large before it is too deep; and what is only large, and in it many times, does not contain itself.
    const large: Record<string, unknown> = { text: "x".repeat(2000) };
    const many = Array.from({ length: 1000 }, () => large);
    assert.throws(() => channel.send([many, new Map([[many, many]])]), {
      name: "RangeError",
      message: /maxMessageBytes/,
    });
    large.self = large;
    assert.throws(() => channel.send(large), { name: "TypeError", message: /contains itself/ });
    let deep: unknown = 0;
    for (let i = 0; i < 1100; i++) deep = [deep];
    assert.throws(() => channel.send(deep), { name: "RangeError", message: /1024 deep/ });
    for (const large of ["x".repeat(1001), "€".repeat(600), new Array(1100).fill(1)]) {
      assert.throws(() => channel.send(large), { name: "RangeError", message: /maxMessageBytes \(1000\)/ });
    }
    channel.send("x".repeat(990));
    assert.equal((channel.receive() as string).length, 990);
    // A getter may use the channel while a message is made.
    channel.send({
      first: "first",
      get inner() {
        channel.send("inner");
        return channel.receive();
      },
      last: "last",
    });
    assert.deepEqual(plain(channel.receive()), { first: "first", inner: "inner", last: "last" });
    // And may change what is sent.
    const map = new Map<string, unknown>([["first", {
      get number() {
        map.set("second", 2);
        return 1;
      },
    }]]);
    const set = new Set<unknown>([{
      get number() {
        set.add("more");
        return 1;
      },
    }]);
    channel.send([map, set, "end"]);
    const changed = [
      new Map<string, unknown>([["first", { number: 1 }], ["second", 2]]),
      new Set([{ number: 1 }, "more"]),
    ];
    assert.deepEqual(plain(channel.receive()), [...changed, "end"]);
    // And may release it, and make another one, which gets the same block.
    const first = pool.channel<unknown>({ capacity: 4 });
    let second: Channel | undefined;
    const message = {
      get gone() {
        first.release();
        second = pool.channel({ capacity: 4 });
        return 1;
      },
    };
    throwsPoolError(() => first.send(message), "ERR_RELEASED");
    assert.equal(second!.tryReceive(), undefined);
    second!.release();
    channel.release();
    assertLeavesNothing(pool);
  }));

test("wrong arguments are typed errors before anything is done", () =>
  withPool((pool) => {
    const wrong = (value: unknown) => value as never;
    for (const options of [null, 5, "x", { size: 4 }]) assert.throws(() => pool.channel(wrong(options)), TypeError);
    for (const capacity of [0, -1, 1.5, 65537, NaN, Infinity]) {
      assert.throws(() => pool.channel({ capacity }), RangeError);
    }
    for (const maxMessageBytes of [0, -1, 0.5, 2 ** 31, NaN]) {
      assert.throws(() => pool.channel({ maxMessageBytes }), RangeError);
    }
    assert.throws(() => pool.channel({ capacity: wrong("4") }), TypeError);
    assert.throws(() => pool.channel({ maxMessageBytes: wrong(null) }), TypeError);
    assert.equal(pool.stats().usedBytes, 0);

    using channel = pool.channel<number>();
    for (const timeoutMs of [-1, NaN]) {
      assert.throws(() => channel.send(1, { timeoutMs }), RangeError);
      assert.throws(() => channel.receive({ timeoutMs }), RangeError);
    }
    assert.throws(() => channel.send(1, { timeoutMs: wrong("1") }), TypeError);
    assert.throws(() => channel.send(1, { move: wrong(1) }), TypeError);
    assert.throws(() => channel.trySend(1, { move: wrong("yes") }), TypeError);
    assert.throws(() => channel.send(1, wrong(null)), TypeError);
    assert.throws(() => channel.receive({ ack: wrong(1) }), TypeError);
    assert.throws(() => channel.tryReceive({ ack: wrong(1) }), TypeError);
    assert.equal(channel.stats().messages, 0);
    const Class = channel.constructor as new (...args: unknown[]) => unknown;
    assert.throws(() => new Class(), { name: "TypeError", message: /pool\.channel/ });
  }));

test("a full channel takes nothing more: trySend says so, send waits for its time", () =>
  withPool((pool) => {
    using channel = pool.channel<number>({ capacity: 3 });
    for (let i = 0; i < 3; i++) assert.equal(channel.trySend(i), true);
    assert.equal(channel.trySend(3), false);
    const begun = performance.now();
    throwsPoolError(
      () => channel.send(3, { timeoutMs: 150 }),
      "ERR_TIMEOUT",
      /had no room/,
      /larger capacity/,
      /timeoutMs/,
    );
    assert.ok(performance.now() - begun >= 145);
    assert.equal(channel.receive(), 0);
    channel.send(3);
    assert.deepEqual([channel.receive(), channel.receive(), channel.receive()], [1, 2, 3]);
    throwsPoolError(() => channel.receive({ timeoutMs: 0 }), "ERR_TIMEOUT");
    throwsPoolError(() => channel.receive({ timeoutMs: 120 }), "ERR_TIMEOUT", /had no message/, /timeoutMs/);
  }));

test("close() ends it after what is in it was received", () =>
  withPool((pool) => {
    using channel = pool.channel<number>();
    for (let i = 0; i < 5; i++) channel.send(i);
    assert.equal(channel.closed, false);
    channel.close();
    channel.close();
    assert.equal(channel.closed, true);
    throwsPoolError(() => channel.send(5), "ERR_CLOSED", /closed, so nothing more can be sent/);
    throwsPoolError(() => channel.trySend(5), "ERR_CLOSED", /nothing more can be sent/);
    assert.deepEqual([...channel], [0, 1, 2, 3, 4]);
    assert.deepEqual([...channel], []);
    throwsPoolError(() => channel.receive(), "ERR_CLOSED", /all that was in it has been received/);
    throwsPoolError(() => channel.tryReceive(), "ERR_CLOSED", /received/);
  }));

test("stats() counts messages and bytes; blocks() shows a channel as one", () =>
  withPool((pool) => {
    using channel = pool.channel<string>({ capacity: 8, maxMessageBytes: 100_000 });
    channel.send("12345");
    channel.send("x".repeat(10_000));
    const { depth, messages, bytes, waitingSenders, waitingReceivers, unacknowledged } = channel.stats();
    assert.deepEqual([depth, messages, waitingSenders, waitingReceivers, unacknowledged], [2, 2, 0, 0, 0]);
    assert.ok(bytes >= 10_005 && bytes < 10_030);
    assert.deepEqual(pool.blocks().map(({ kind }) => kind), ["channel", "message"]);
    assert.equal(pool.stats().arrays, 0);
    channel.receive();
    channel.receive();
    assert.deepEqual(pool.blocks().map(({ kind, holders }) => [kind, holders.length]), [["channel", 1]]);
    assert.equal(channel.capacity, 8);
    assert.equal(channel.maxMessageBytes, 100_000);
    assert.equal(channel.pool, pool);
  }));

// ---------------------------------------------------------------- arrays

test("an array in a message is held until it is received, then by the receiver alone", () =>
  withPool((pool) => {
    {
      using channel = pool.channel<{ name: string; cube: Float64Array; again: Float64Array; row: Float64Array }>();
      const cube = pool.from(Float64Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
      channel.send({ name: "cube", cube, again: cube, row: cube.slab(1) });
      cube.release();
      assert.equal(pool.stats().arrays, 1);
      pool.reap();
      pool.check();
      {
        using message = channel.receive();
        assert.ok(isSharedArray(message.cube) && message.cube === message.again);
        assert.deepEqual((message.cube as SharedArray).shape, [2, 3]);
        assert.deepEqual([...message.row], [4, 5, 6]);
        message.cube[3] = 40;
        assert.equal(message.row[0], 40);
        assert.equal(pool.stats().arrays, 1);
      }
      assert.equal(pool.stats().arrays, 0);
    }
    assertLeavesNothing(pool);
  }));

test("move lets go of the sender's arrays, and detaches them and their slices", () =>
  withPool((pool) => {
    using channel = pool.channel<unknown>({ capacity: 1 });
    const array = pool.alloc(Float64Array, 10).fill(1);
    const slice = array.subarray(2);
    channel.send([array, slice], { move: true });
    assert.deepEqual([array.length, slice.length, array.released], [0, 0, true]);
    assert.equal(pool.stats().arrays, 1);

    // Only what was sent is let go of.
    const other = pool.alloc(Float64Array, 3);
    assert.equal(channel.trySend({ other }, { move: true }), false);
    throwsPoolError(() => channel.send({ other }, { move: true, timeoutMs: 10 }), "ERR_TIMEOUT");
    assert.equal(other.length, 3);
    {
      using got = channel.receive() as Float64Array[] & Disposable;
      assert.deepEqual([got[0]!.length, got[1]!.length], [10, 8]);
    }
    assert.throws(() => channel.send({ row: other.subarray(1) }, { move: true }), {
      name: "TypeError",
      message: /retain/,
    });
    assert.equal(channel.stats().depth, 0);
    other.release();
    throwsPoolError(() => channel.send({ other }), "ERR_RELEASED");
    channel.release();
    assertLeavesNothing(pool);
  }));

test("many arrays in one message, empty ones, and every element type", () =>
  withPool((pool) => {
    {
      using channel = pool.channel<unknown>();
      const types = [
        Int8Array,
        Uint8ClampedArray,
        Float16Array,
        Float32Array,
        BigInt64Array,
        Uint32Array,
        Float64Array,
      ];
      const arrays = Array.from(
        { length: 300 },
        (_, i) => pool.alloc(types[i % types.length]! as unknown as Uint8ArrayConstructor, i % 50),
      );
      channel.send(arrays, { move: true });
      assert.equal(pool.stats().arrays, 300);
      pool.check();
      using got = channel.receive() as SharedArray[] & Disposable;
      got.forEach((array, i) => {
        assert.equal(array.length, i % 50);
        assert.ok(array instanceof types[i % types.length]!);
      });
    }
    assertLeavesNothing(pool);
  }));

test("what is queued is let go of with the channel, also channels in it, and what those hold", () =>
  withPool((pool) => {
    const outer = pool.channel<unknown>();
    for (let i = 0; i < 10; i++) {
      using inner = pool.channel<unknown>();
      inner.send({ array: pool.alloc(Float64Array, 1000) }, { move: true });
      outer.send({ inner, array: pool.alloc(Float64Array, 1000) }, { move: true });
    }
    assert.throws(() => outer.send({ outer }), { name: "TypeError", message: /through itself/ });
    assert.equal(pool.stats().arrays, 20);
    {
      using one = outer.receive() as { inner: Channel<{ array: Float64Array }> } & Disposable;
      using message = one.inner.receive();
      assert.equal(message.array.length, 1000);
    }
    assert.equal(pool.stats().arrays, 18);
    outer.release();
    outer.release();
    throwsPoolError(() => outer.send(1), "ERR_RELEASED");
    assertLeavesNothing(pool);
  }));

test("a channel that nobody refers to any more is let go of", () =>
  withPool(async (pool) => {
    (() => void pool.channel().send(pool.alloc(Float64Array, 100), { move: true }))();
    await untilCollected(() => pool.stats().usedBytes === 0, "the channel is collected");
  }));

test("what was received by a channel that is collected, and not acknowledged, is the next receiver's", () =>
  withPool(async (pool) => {
    using jobs = pool.channel<{ id: number; numbers: SharedArray<Int32Array> }>();
    for (const id of [1, 2, 3]) jobs.send({ id, numbers: pool.from(Int32Array.of(id)) }, { move: true });
    (() => {
      const same = unpack<Channel<{ id: number; numbers: SharedArray<Int32Array> }>>(pack(jobs));
      same.receive({ ack: true }).ack();
      for (const id of [2, 3]) assert.equal(same.receive({ ack: true }).message.id, id);
      assert.equal(jobs.stats().unacknowledged, 2);
    })();
    await untilCollected(() => jobs.stats().depth === 2, "the messages are given back");
    for (const id of [2, 3]) {
      using job = jobs.receive();
      assert.deepEqual([job.id, job.numbers[0]], [id, id]);
    }
    assert.equal(jobs.stats().unacknowledged, 0);
  }));

test("what a message says of an array is compared with the array that came, and refused if it is another one", () => {
  const table = new DataView(new ArrayBuffer(2 * AP_RECEIVED_ARRAY.BYTES));
  const put = (index: number, fields: Partial<Record<keyof typeof AP_RECEIVED_ARRAY, number>>) => {
    for (const [field, value] of Object.entries(fields)) {
      const at = AP_RECEIVED_ARRAY[field as keyof typeof AP_RECEIVED_ARRAY];
      table.setFloat64(index * AP_RECEIVED_ARRAY.BYTES + at, value, true);
    }
  };
  put(0, { block: 5, generation: 1, offset: 0, length_bytes: 48, dtype: AP_FLOAT64, kind: AP_KIND_ARRAY });
  put(1, { block: 7, generation: 1, offset: 0, length_bytes: 48, dtype: AP_UINT8, kind: AP_KIND_CHANNEL });
  const shown: number[] = [];
  const dropped: number[] = [];
  const shows = (block: number): never => {
    shown.push(block);
    throw new Error("shown");
  };
  const member = {
    showReceived: shows,
    showReceivedChannel: shows,
    dropReceived: (block: number) => dropped.push(block),
  };
  const unloading = new Unloading(member as never, table, 0, 2);
  // As they came.
  assert.throws(() => unloading.shared(0, [AP_FLOAT64, 0, 6, [2, 3]]), /shown/);
  assert.throws(() => unloading.shared(0, [AP_FLOAT64, 16, 4, null]), /shown/);
  assert.throws(() => unloading.shared(1, null), /shown/);
  assert.deepEqual(shown.splice(0), [5, 5, 7]);
  // Anything else: [what, which, as].
  const wrong: [string, number, unknown][] = [
    ["an array as a channel", 0, null],
    ["a channel as an array", 1, [AP_UINT8, 0, 48, null]],
    ["another element type", 0, [AP_UINT8, 0, 48, null]],
    ["no element type", 0, [99, 0, 6, null]],
    ["more elements", 0, [AP_FLOAT64, 0, 7, null]],
    ["elements behind its end", 0, [AP_FLOAT64, 8, 6, null]],
    ["an offset between two elements", 0, [AP_FLOAT64, 4, 5, null]],
    ["an offset before it", 0, [AP_FLOAT64, -8, 6, null]],
    ["half an element", 0, [AP_FLOAT64, 0, 0.5, null]],
    ["a shape of more elements", 0, [AP_FLOAT64, 0, 6, [2, 4]]],
    ["a shape of fewer elements", 0, [AP_FLOAT64, 0, 6, [2, 2]]],
    ["a shape that is none", 0, [AP_FLOAT64, 0, 6, "2 x 3"]],
    ["a number", 0, 5],
    ["one that did not come", 2, [AP_FLOAT64, 0, 6, null]],
  ];
  for (const [what, index, as] of wrong) {
    throwsPoolError(
      () => {
        unloading.shared(index, as);
        assert.fail(`${what} was taken`);
      },
      "ERR_CORRUPT_SEGMENT",
      /not as it was sent/,
    );
  }
  assert.deepEqual(shown, []);
  // What the message does not mention is let go of.
  unloading.dropUnshown();
  assert.deepEqual(dropped, [5, 7]);
});

test("a channel that was released cannot be sent, and the message says so", () =>
  withPool((pool) => {
    using channel = pool.channel<unknown>();
    const gone = pool.channel();
    gone.release();
    throwsPoolError(
      () => channel.send({ gone }),
      "ERR_RELEASED",
      /this channel was released here: send it before that/,
    );
    assert.equal(channel.stats().depth, 0);
  }));

test("arrays and channels of another pool go along as claims", () =>
  withPool((pool) =>
    withPool((other) => {
      using channel = pool.channel<unknown>();
      using array = other.from(Int32Array.of(7));
      using further = other.channel<number>();
      channel.send({ array, further, other });
      {
        using got = channel.receive() as { array: Int32Array; further: Channel<number>; other: Pool } & Disposable;
        assert.equal(got.array[0], 7);
        assert.equal(got.other, other);
        got.further.send(5);
        assert.equal(further.receive(), 5);
      }
      using full = pool.channel<unknown>({ capacity: 1 });
      full.send(0);
      assert.equal(full.trySend({ array }), false);
      assert.equal(other.stats().claims, 0);
      // Once, however often it occurs.
      channel.send({ array, again: array, ...Object.fromEntries(new Array(40).entries()) });
      assert.equal(other.stats().claims, 1);
      {
        using got = channel.receive() as { array: Int32Array; again: Int32Array } & Disposable;
        assert.deepEqual([got.array[0], got.again[0], other.stats().claims], [7, 7, 0]);
      }
    })
  ));

test("each message has its own arrays of another pool, for as long as it is used", () =>
  withPool((pool) =>
    withPool((other) => {
      using channel = pool.channel<unknown>();
      using arrays = other.channel<Int32Array>();
      channel.send({});
      channel.receive();
      for (const value of [1, 2]) channel.send({ array: other.from(Int32Array.of(value)), arrays }, { move: true });
      type Got = { array: Int32Array; arrays: Channel } & Disposable;
      const first = channel.receive() as Got;
      const second = channel.receive() as Got;
      assert.deepEqual([first.array[0], second.array[0]], [1, 2]);
      first[Symbol.dispose]();
      assert.deepEqual([first.array.length, second.array[0], second.arrays.released], [0, 2, false]);
      second[Symbol.dispose]();
      assert.equal(other.stats().arrays, 0);
    })
  ));

test("arrays of another pool come back with a message that is not acknowledged, and then leave no claim", () =>
  withPool((pool) =>
    withPool((other) => {
      using channel = pool.channel<{ array: Int32Array }>();
      channel.send({ array: other.from(Int32Array.of(7)) }, { move: true });
      for (const isDone of [false, true]) {
        using delivery = channel.receive({ ack: true });
        assert.equal(delivery.message.array[0], 7);
        if (isDone) delivery.ack();
      }
      assert.deepEqual([other.stats().arrays, other.stats().claims], [0, 0]);
    })
  ));

test("what can be sent can be received, however deep in a message an array is", () =>
  withPool((pool) =>
    withPool((other) => {
      using channel = pool.channel<unknown>();
      using inner = pool.channel();
      const leaves = [
        pool.alloc(Float64Array, 4),
        pool.alloc(Float64Array, [2, 2]),
        other.alloc(Float64Array, 4),
        inner,
        new Map([[1, [2]]]),
      ];
      for (const leaf of leaves) {
        let message: unknown = leaf;
        for (let depth = 0; depth < 1015; depth++) message = [message];
        let received = 0;
        const sendDeeper = () => {
          for (let depth = 1015; depth < 1030; depth++) {
            channel.send(message);
            using _ = channel.receive() as unknown[] & Disposable;
            received++;
            message = [message];
          }
        };
        assert.throws(sendDeeper, { name: "RangeError", message: /1024 deep/ });
        assert.ok(received > 0);
      }
    })
  ));

test("a channel travels by JSON, by pack, and in itself's pool by attach", () =>
  withPool((pool) => {
    {
      using channel = pool.channel<number>({ capacity: 7 });
      using same = attach<number>(JSON.parse(JSON.stringify(channel)));
      same.send(1);
      assert.equal(channel.receive(), 1);
      assert.equal(same.capacity, 7);
      using message = unpack<{ channel: Channel<number> }>(structuredClone(pack({ channel })));
      message.channel.send(2);
      assert.equal(same.receive(), 2);
      const descriptor = channel.toJSON();
      assert.deepEqual([descriptor.kind, descriptor.pool], ["channel", pool.name]);
      using array = pool.alloc(Uint8Array, 3000);
      const { block, generation } = array.share({ claims: 0 });
      throwsPoolError(() => attach({ ...descriptor, block, generation, claim: 0 }), "ERR_STALE_DESCRIPTOR", /no/);
      throwsPoolError(() => attach({ ...descriptor, generation: 12345 }), "ERR_STALE_DESCRIPTOR");
      assert.throws(() => attach(descriptor as never, Float64Array), { name: "TypeError", message: /channel/ });
      assert.throws(() => attach({ ...descriptor, block: -1 }), RangeError);
      attach(descriptor).release();
    }
    assertLeavesNothing(pool);
  }));

test("a closed pool ends its channels", async () => {
  await withName((name) => {
    const pool = Pool.create({ name, capacity: "1M" });
    const channel = pool.channel<number>();
    channel.send(1);
    pool.close();
    throwsPoolError(() => channel.receive(), "ERR_CLOSED");
    throwsPoolError(() => channel.stats(), "ERR_CLOSED");
    channel.release();
  });
  // A loop ends with its channel; that the pool was closed under it is an error.
  await withName(async (name) => {
    const pool = Pool.create({ name, capacity: "1M" });
    const channel = pool.channel<number>();
    const loop = (async () => {
      for await (const message of channel) assert.fail(`${message} was never sent`);
    })();
    await sleep(0);
    pool.close();
    await rejectsPoolError(() => loop, "ERR_CLOSED", /pool ".*" was closed here/);
    assert.throws(() => [...channel], { code: "ERR_CLOSED" });
  });
});

// ---------------------------------------------------------------- acknowledging

test("who has as many unacknowledged as there is room for is told to acknowledge", () =>
  withPool(async (pool) => {
    using jobs = pool.channel<number>({ capacity: 2 });
    jobs.send(1), jobs.send(2);
    using first = jobs.receive({ ack: true });
    using _second = jobs.receive({ ack: true });
    const full = /2 that were received with \{ ack: true \} are not acknowledged/;
    assert.throws(() => jobs.receive({ ack: true, timeoutMs: 1 }), { code: "ERR_TIMEOUT", message: /had no message/ });
    jobs.send(3);
    assert.throws(() => jobs.receive({ ack: true, timeoutMs: 1 }), { code: "ERR_TIMEOUT", message: full });
    await assert.rejects(jobs.receiveAsync({ ack: true, timeoutMs: 1 }), { code: "ERR_TIMEOUT", message: full });
    assert.equal(jobs.tryReceive({ ack: true }), undefined);
    first.ack();
    using third = jobs.receive({ ack: true, timeoutMs: 1000 });
    assert.equal(third.message, 3);
  }));

test("a message with ack stays until it is acknowledged, and comes back if it is not", () =>
  withPool((pool) => {
    {
      using jobs = pool.channel<{ id: number; array: Float64Array }>({ capacity: 4 });
      for (const id of [1, 2]) jobs.send({ id, array: pool.alloc(Float64Array, 10).fill(id) }, { move: true });
      let first: { ack(): void };
      {
        using delivery = jobs.receive({ ack: true });
        first = delivery;
        assert.equal(delivery.message.id, 1);
        assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [1, 1]);
        // Not acknowledged: the first is the first again.
      }
      assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [2, 0]);
      pool.check();
      {
        using delivery = jobs.receive({ ack: true });
        assert.equal(delivery.message.id, 1);
        assert.equal(delivery.message.array[9], 1);
        throwsPoolError(() => first.ack(), "ERR_RELEASED", /another receiver's/);
        delivery.ack();
        delivery.ack();
      }
      assert.equal(pool.stats().arrays, 1);
      {
        using delivery = jobs.tryReceive({ ack: true })!;
        assert.equal(delivery.message.id, 2);
        assert.equal(jobs.tryReceive({ ack: true }), undefined);
      }
      {
        // Without ack, too.
        using message = jobs.receive();
        assert.equal(message.id, 2);
      }
      assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [0, 0]);
      // Also if the channel is released before.
      jobs.send({ id: 3, array: pool.alloc(Float64Array, 10) }, { move: true });
      const again = attach(jobs.toJSON()) as typeof jobs;
      const delivery = again.receive({ ack: true });
      again.release();
      assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [1, 0]);
      throwsPoolError(() => delivery.ack(), "ERR_RELEASED", /another receiver's/);
      delivery[Symbol.dispose]();
      using last = jobs.receive();
      assert.equal(last.id, 3);
    }
    assertLeavesNothing(pool);
  }));

test("closed or not, a channel whose messages all wait for an acknowledgement is not at its end while more was sent", () =>
  withPool((pool) => {
    using jobs = pool.channel<number>({ capacity: 1 });
    jobs.send(1);
    using first = jobs.receive({ ack: true });
    jobs.send(2);
    jobs.close();
    assert.equal(jobs.tryReceive({ ack: true }), undefined);
    throwsPoolError(() => jobs.receive({ ack: true, timeoutMs: 1 }), "ERR_TIMEOUT");
    first.ack();
    using second = jobs.receive({ ack: true });
    assert.equal(second.message, 2);
    second.ack();
    throwsPoolError(() => jobs.receive({ ack: true }), "ERR_CLOSED");
  }));

test("a message that is deeper than what is left of the stack is not lost", () =>
  withPool((pool) =>
    withPool((other) => {
      {
        using jobs = pool.channel<unknown>();
        // What is received first is decoded by the way of what has arrays.
        jobs.send(0);
        jobs.receive();
        let deep: unknown = [];
        for (let i = 0; i < 1000; i++) deep = [deep];
        for (const hasArrays of [false, true]) {
          for (const ack of [false, true]) {
            const array = () => hasArrays ? pool.alloc(Uint8Array, 1) : 0;
            const message = [array(), hasArrays ? other.alloc(Uint8Array, 1) : 0, deep, array()];
            jobs.send(message, { move: true });
            let got: unknown[] | undefined;
            const receive = () => {
              if (!ack) return void (got = jobs.receive({ timeoutMs: 0 }) as unknown[]);
              const delivery = jobs.receive({ ack: true, timeoutMs: 0 });
              got = delivery.message as unknown[];
              delivery.ack();
            };
            // Where there is hardly any stack left, then where there is some more, until it is enough.
            const step = hasArrays ? 50 : 1; // which takes longer
            let risen = 0;
            const descend = () => {
              try {
                descend();
                if (++risen > 1000 && risen % step === 0 && got === undefined) receive();
              } catch (error) {
                if (!(error instanceof RangeError)) throw error;
              }
            };
            descend();
            assert.deepEqual(got![2], deep);
            if (hasArrays) { for (const at of [0, 1, 3]) assert.equal((got![at] as Uint8Array).length, 1); }
            (got as unknown as Disposable)[Symbol.dispose]();
            assert.deepEqual([jobs.stats().depth, jobs.stats().unacknowledged], [0, 0]);
            assert.deepEqual([pool, other].map((one) => one.stats().arrays + one.stats().claims), [0, 0]);
          }
        }
      }
      assertLeavesNothing(pool);
    })
  ));

test("a message may have any key, also one that Object.prototype has and does not let be assigned to", () =>
  withPool((pool) => {
    using jobs = pool.channel<object>();
    using array = pool.from(Uint8Array.of(1));
    const key = "isFrozenByATest";
    Object.defineProperty(Object.prototype, key, { value: 0, writable: false, enumerable: false, configurable: true });
    try {
      const message = JSON.parse(`{"${key}": {"${key}": 2}, "last": 3}`);
      jobs.send(message);
      assert.equal(JSON.stringify(jobs.receive()), JSON.stringify(message));
      using got = unpack(pack({ ...message, array }));
      assert.deepEqual(Object.keys(got), [key, "last", "array"]);
    } finally {
      delete (Object.prototype as Record<string, unknown>)[key];
    }
  }));

test("of a message that cannot be read no claim is left", () =>
  withPool((pool) =>
    withPool((other) =>
      withPool(async (brief) => {
        using jobs = pool.channel<object>();
        for (const receive of [() => jobs.receive(), () => jobs.receive({ ack: true })]) {
          const [first, expires, last] = [other, brief, other].map((of) => of.alloc(Uint8Array, 4));
          jobs.send({ first, expires, last }, { move: true });
          assert.equal(other.stats().claims, 2);
          await until(() => brief.reap() === 0 && brief.stats().claims === 0, "the claim expires");
          throwsPoolError(receive, "ERR_STALE_DESCRIPTOR");
          assert.deepEqual([other.stats().claims, other.stats().arrays, jobs.stats().unacknowledged], [0, 0, 0]);
        }
      }, { claimTtlMs: 1 })
    )
  ));
