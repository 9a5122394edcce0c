/** Channels: what is sent is received, once and in order, by whoever receives; what a message holds; who waits, and who dies. */

import { attach, type Channel, isSharedArray, pack, Pool, type PoolError, type SharedArray, unpack } from "arraypool";
import {
  AP_FLOAT64,
  AP_KIND_ARRAY,
  AP_KIND_CHANNEL,
  AP_RECEIVED_ARRAY,
  AP_RECORD_LENGTH,
  AP_STATS_ARRAYS,
  AP_UINT8,
} from "../core/abi.ts";
import { Codec } from "../core/codec.ts";
import { Unloading } from "../core/parcel.ts";
import {
  assert,
  type Child,
  peers,
  rejectsPoolError,
  runtime,
  runtimes,
  sleep,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  untilCollected,
  withName,
  withPool,
} from "./support/harness.ts";
import type { Order, Start } from "./support/channel_child.ts";
import { joinDirectly, native } from "./support/segment.ts";
import { startWorker } from "./support/web_worker.ts";

const CHILD = "./channel_child.ts";

/** A process that does what `tell` tells it. */
class Servant implements Disposable {
  readonly child: Child;
  readonly orders: Channel<Order>;
  readonly answers: Channel<unknown>;

  constructor(pool: Pool, other: (typeof runtimes)[number]) {
    this.orders = pool.channel<Order>({ capacity: 16 });
    this.answers = pool.channel({ capacity: 16 });
    const { orders, answers }: Start = this;
    this.child = start(other, CHILD, { args: [JSON.stringify(pack({ orders, answers }))] });
  }

  tell(order: Order): void {
    this.orders.send(order);
  }

  /** Without blocking: the children's standard error is read here. */
  async answer<T>(): Promise<T> {
    let answer: unknown;
    await until(
      () => {
        if (this.child.process.exitCode !== null) assert.fail(this.child.errors);
        return (answer = this.answers.tryReceive()) !== undefined;
      },
      "the child answers",
    );
    return answer as T;
  }

  async end(): Promise<void> {
    this.tell({ do: "stop" });
    await this.child.end();
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    void this.child.kill();
    this.orders.release();
    this.answers.release();
  }
}

function assertLeavesNothing(pool: Pool): void {
  pool.reap();
  pool.check();
  assert.equal(pool.stats().usedBytes, 0);
}

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
    const codec = new Codec(512);
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
      const bytes = codec.encode(message, 1 << 20, bare);
      const buffer = new Codec(bytes);
      buffer.bytes.set(codec.bytes.subarray(0, bytes));
      for (const reader of [codec, buffer]) {
        const read = reader.decode(bytes, bare) as typeof message;
        assert.deepEqual(Object.entries(read), Object.entries(message));
      }
      const cut = bytes - 1 - (length % 60);
      for (const reader of [codec, buffer]) throwsPoolError(() => reader.decode(cut, bare), "ERR_CORRUPT_SEGMENT");
    }
    const bytes = codec.encode(sent(3), 1 << 20, bare);
    const image = codec.bytes.slice(0, bytes);
    let read = 0;
    for (let at = 0; at < bytes; at++) {
      for (let value = 0; value < 256; value++) {
        codec.bytes.set(image);
        codec.bytes[at] = value;
        try {
          codec.decode(bytes, bare);
          read++;
        } catch (error) {
          assert.equal((error as PoolError).code, "ERR_CORRUPT_SEGMENT", `${error}`);
        }
      }
    }
    assert.ok(read > bytes);
  },
);

testOnce(
  "short strings that begin alike, or differ in their last character, are told apart, as keys and as values",
  () => {
    const bare = { encode: () => undefined, shared: () => null, reference: (value: object) => value };
    const codec = new Codec(512);
    const texts = Array.from({ length: 12 }, (_, length) => ["a", "b"].map((last) => "a".repeat(length) + last)).flat();
    const messages = [texts, texts.toReversed()].flatMap((order) => [
      Object.fromEntries(order.map((text, i) => [text, order.at(-1 - i)])),
      { [order[0]!]: { [order[1]!]: order[2] }, [order[3]!]: order[4] },
      ...order.map((text) => ({ [text]: text })),
    ]);
    // At first they are made, and then known.
    for (let time = 0; time < 3; time++) {
      for (const message of messages) {
        const read = codec.decode(codec.encode(message, 1 << 20, bare), bare);
        assert.equal(JSON.stringify(read), JSON.stringify(message));
      }
    }
  },
);

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
      get inner() {
        channel.send("inner");
        return channel.receive();
      },
    });
    assert.deepEqual(plain(channel.receive()), { inner: "inner" });
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
      // Once, however often it occurs, and though so many properties are looked at twice.
      channel.send({ array, again: array, ...Object.fromEntries(new Array(40).entries()) });
      assert.equal(other.stats().claims, 1);
      {
        using got = channel.receive() as { array: Int32Array; again: Int32Array } & Disposable;
        assert.deepEqual([got.array[0], got.again[0], other.stats().claims], [7, 7, 0]);
      }
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

// ---------------------------------------------------------------- without blocking

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
    try {
      const waiting = channel.receiveAsync();
      await until(() => channel.stats().waitingReceivers === 1, "somebody sleeps");
      servant.tell({ do: "wait", channel: silence, count: 200 });
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
    channel.send(2);
    for await (const message of channel) {
      assert.equal(message, 2);
      break;
    }
    channel.send(3);
    assert.equal(await channel.receiveAsync(), 3);
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

// ---------------------------------------------------------------- processes

test(`a process of ${runtime} with a channel that nobody waits for ends by itself, and waits if somebody does`, () =>
  withPool(async (pool) => {
    using channel = pool.channel<number>();
    for (const mode of ["idle", "waiting"]) {
      const child = start(runtime, "./channel_idle.ts", { args: [JSON.stringify(pack({ channel })), mode] });
      assert.deepEqual(await child.next(), { mode });
      if (mode === "waiting") {
        await until(() => channel.stats().waitingReceivers === 1, "the child waits");
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
