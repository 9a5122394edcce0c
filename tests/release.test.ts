/** How arrays end: by release(), by `using`, by the collector, and while somebody else still uses the memory. */

import { execFileSync } from "node:child_process";
import { closeSync, existsSync, openSync, read, readFileSync, rmSync, write, writeSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { attach, type Channel, isSharedArray, pack, Pool, release, type SharedArray, unpack } from "arraypool";
import {
  assert,
  fileOf,
  newName,
  runtime,
  sleep,
  test,
  throwsPoolError,
  until,
  untilCollected,
  withFolder,
  withName,
  withPool,
} from "./support/harness.ts";

import { Hold } from "../core/hold.ts";
import { native } from "../core/native.ts";

const MIB = 2 ** 20;

declare const Bun: { gc(force: boolean): void };

/** Bun's collector takes whatever looks like a pointer on the stack for one. */
const LEFT_ON_STACK = 3;

/** Runs `use` with a path for a file. */
function withFile(use: (path: string) => unknown): Promise<void> {
  return withFolder((folder) => use(join(folder, "file")));
}

/** Takes all that is free in the pool, and overwrites it: whoever still reads released memory reads 0xee. */
function overwriteFreeMemory(pool: Pool): void {
  using all = pool.allocUnsafe(Uint8Array, pool.stats().largestFreeBytes);
  all.fill(0xee);
}

test("release() detaches the array and gives the memory back at once; later calls do nothing", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    const { buffer } = array;
    array.release();
    assert.deepEqual([array.length, array.byteLength, buffer.byteLength, buffer.detached], [0, 0, 0, true]);
    assert.equal(array[0], undefined);
    assert.deepEqual([pool.stats().arrays, pool.stats().usedBytes], [0, 0]);
    using other = pool.alloc(Float64Array, 3);
    array.release();
    array[Symbol.dispose]();
    assert.equal(other.length, 3);
    assert.equal(pool.stats().arrays, 1);
  }));

test("what the stack was too full to release is released by the next call, or with its pool", () =>
  withName((name, file) => {
    const pool = Pool.create({ name, capacity: "1M" });
    const makes: (() => SharedArray | Channel)[] = [
      () => pool.alloc(Uint8Array, 100),
      () => pool.channel({ capacity: 1, maxMessageBytes: 100 }),
    ];
    const failedToRelease = (what: { released: boolean; release(): void }, round: number) => {
      let failed = false;
      const descend = () => {
        try {
          descend();
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
        }
        if (failed || what.released) return;
        try {
          what.release();
        } catch {
          failed = true;
        }
      };
      // So that each time it is full at another place.
      const begin = (..._: number[]) => descend();
      begin(...new Array<number>(round));
      return failed;
    };
    for (const make of makes) {
      for (let round = 0; round < 100; round++) {
        const what = make();
        failedToRelease(what, round);
        what.release();
        if (isSharedArray(what)) assert.equal(what.length, 0);
      }
    }
    // It may also be full after the last thing that can be done again, though that is rare.
    assert.ok(pool.blocks().length < 5);
    const kept = makes.flatMap((make) => Array.from({ length: 40 }, () => make()));
    assert.ok(kept.filter((what, i) => failedToRelease(what, i % 40)).length > 0);
    pool.close();
    for (const what of kept) if (isSharedArray(what)) assert.equal(what.length, 0);
    assert.equal(existsSync(file), false);
  }));

test("an array where a released one was has a buffer of its own: of the released one all stays empty", () =>
  withPool((pool) => {
    const released: { array: Uint8Array; slice: Uint8Array; plain: Uint8Array; buffer: ArrayBuffer }[] = [];
    for (let round = 0; round < 200; round++) {
      const array = pool.alloc(Uint8Array, [1, 1000, 65536][round % 3]!);
      const { buffer } = array;
      assert.ok(!("mark" in buffer) && released.every((one) => one.buffer !== buffer));
      assert.ok(array.every((byte) => byte === 0));
      released.push({ array, slice: array.subarray(), plain: new Uint8Array(buffer), buffer });
      Object.assign(buffer, { mark: round });
      array.fill(7).release();
      for (const { array, slice, plain, buffer } of released) {
        assert.deepEqual([array.length, slice.length, plain.length, buffer.byteLength, buffer.detached], [
          0,
          0,
          0,
          0,
          true,
        ]);
      }
    }
  }));

test("arrays that come and go in any order, of any size, held once or more, whole or in part, show just their own bytes", () =>
  withPool((pool) => {
    let state = 12345;
    const random = (below: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % 65521 % below;
    const lengths = [1, 64, 64, 1000, 4096, 4096, 65536, 200_000];
    /** Of one block each: who holds it, and what all of its bytes are. */
    const groups: { value: number; arrays: SharedArray<Uint8Array>[] }[] = [];
    for (let step = 0; step < 5000; step++) {
      const at = random(groups.length + 1);
      const group = groups[at];
      if (group === undefined) {
        const array = pool.allocUnsafe(Uint8Array, lengths[random(lengths.length)]!);
        if (groups.length < 60) groups.push({ value: step & 255, arrays: [array.fill(step)] });
        else array.release();
        continue;
      }
      const { arrays } = group;
      const place = random(arrays.length);
      const array = arrays[place]!;
      for (const view of arrays) {
        if (view[0] !== group.value || view.at(-1) !== group.value) assert.fail(`${view[0]}, not ${group.value}`);
      }
      switch (random(4)) {
        case 0:
          group.value = step & 255;
          for (const view of arrays) view.fill(step);
          break;
        case 1: {
          const part = array.subarray(random(2) * random(array.length));
          arrays.push(random(2) === 0 ? part.retain() : attach(part.share({ claims: 0 }), Uint8Array));
          break;
        }
        default:
          array.release();
          arrays.splice(place, 1);
          if (arrays.length === 0) groups.splice(at, 1);
      }
    }
    for (const { arrays } of groups) for (const array of arrays) array.release();
    assert.deepEqual([pool.stats().arrays, pool.stats().usedBytes, pool.stats().lentBytes], [0, 0, 0]);
  }));

test("parts of an array that are held for themselves, one after the other, are each shown where they are", () =>
  withPool((pool) => {
    using array = pool.from(Uint8Array.from({ length: 256 }, (_, i) => i));
    for (const from of [0, 64, 0, 0, 3, 200, 64, 0]) {
      using part = array.subarray(from, from + 32).retain();
      assert.deepEqual([part[0], part.at(-1)], [from, from + 31]);
    }
  }));

test("an empty array is released, too", () =>
  withPool((pool) => {
    const array = pool.alloc(Float64Array, 0);
    assert.equal(array.released, false);
    assert.equal(pool.stats().arrays, 1);
    array.release();
    assert.equal(array.released, true);
    assert.equal(pool.stats().arrays, 0);
  }));

test("whatever is done to a released array is ERR_RELEASED", () =>
  withPool((pool) => {
    const array = pool.from(Float64Array.of(1, 2, 3));
    array.release();
    const calls = [
      () => array.share(),
      () => JSON.stringify(array),
      () => array.subarray(),
      () => array.slab(0),
      () => array.reshape([3]),
      () => array.retain(),
      () => array.holdUntil(Promise.resolve()),
      () => pack({ array }),
      () => pool.from(array),
    ];
    for (const call of calls) throwsPoolError(call, "ERR_RELEASED", /release it later/, /retain\(\)/);
    assert.deepEqual([array.shape, array.dtype, array.base, array.pool], [[3], "float64", array, pool]);
  }));

test("`using` releases at the end of its scope, also by an exception", () =>
  withPool((pool) => {
    let seen: SharedArray | undefined;
    assert.throws(() => {
      using array = pool.alloc(Uint8Array, 1);
      seen = array;
      throw new Error("thrown");
    }, /thrown/);
    assert.equal(seen!.released, true);
    assert.equal(pool.stats().arrays, 0);
  }));

test("the collector releases arrays that nobody refers to", () =>
  withPool(async (pool) => {
    (() => {
      for (let i = 0; i < 1000; i++) pool.alloc(Uint8Array, 1000);
      for (let i = 0; i < 10; i++) attach(pool.alloc(Uint8Array, 1000).share());
      for (let i = 0; i < 10; i++) pool.alloc(Float64Array, [2, 2]).slab(1);
      for (let i = 0; i < 10; i++) pool.alloc(Float64Array, 0);
      for (let i = 0; i < 50; i++) {
        const first = pool.alloc(Uint8Array, 1000);
        pool.alloc(Uint8Array, 1000);
        first.release();
      }
    })();
    await untilCollected(() => pool.stats().arrays <= LEFT_ON_STACK, "nearly all are collected");
    assert.equal(pool.stats().claims, 0);
  }));

test("slices keep their base from the collector", () =>
  withPool(async (pool) => {
    const slices = (() =>
      Array.from({ length: 50 }, (_, i) => pool.from(Float64Array.of(1, 2, i, 4)).subarray(1).subarray(1)))();
    const witness = witnessOf(pool);
    await untilCollected(() => witness.gone, "the collector has run");
    assert.ok(slices.every((slice, i) => slice[0] === i));
    slices.length = 0;
    await untilCollected(() => pool.stats().arrays <= LEFT_ON_STACK, "the slices are collected");
  }));

test("a plain view on the buffer keeps the memory, though not the array", () =>
  withPool(async (pool) => {
    const view = (() => new Uint8Array(pool.alloc(Uint8Array, 4096).fill(7).buffer))();
    // What a runtime makes by itself does not go by the property `buffer` of the array.
    const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), "buffer")!;
    const hidden = (() => new Uint8Array(get!.call(pool.alloc(Uint8Array, 4096).fill(7))))();
    for (let i = 0; i < 3; i++) {
      const witness = witnessOf(pool);
      await untilCollected(() => witness.gone, "the collector has run");
    }
    overwriteFreeMemory(pool);
    for (const one of [view, hidden]) assert.ok(one.every((byte) => byte === 7));
  }, { capacity: "1M" }));

/** Arrays that were dropped, and whether most of them have been collected. */
function witnessOf(pool: Pool): { readonly gone: boolean } {
  const descriptors = (() => Array.from({ length: 20 }, () => pool.alloc(Uint8Array, 1).share({ claims: 0 })))();
  const dropped = new Set(descriptors.map(({ block, generation }) => `${block} ${generation}`));
  return {
    get gone() {
      const left = pool.blocks().filter(({ block, generation }) => dropped.has(`${block} ${generation}`));
      return left.length <= LEFT_ON_STACK;
    },
  };
}

test("arrays left to the collector in a loop do not pile up", () =>
  withPool(async (pool) => {
    // 2 GiB in all, in a pool of 1 GiB, as a program allocates that never releases, and never forces the collector to run.
    let most = 0;
    for (let i = 0; i < 32_768; i++) {
      pool.allocUnsafe(Uint8Array, 65_536);
      if (i % 64 === 0) await sleep(0);
      if (i % 1024 === 0) most = Math.max(most, pool.stats().usedBytes);
    }
    assert.ok(most < 900 * MIB, `${most / MIB} MiB`);
  }, { capacity: "1G" }));

// ---------------------------------------------------------------- native calls in flight

test("holdUntil() puts a release off until the call is done, and returns its result", () =>
  withPool((pool) =>
    withFile(async (path) => {
      const frame = pool.alloc(Uint8Array, 16 * MIB).fill(7);
      const done = frame.holdUntil(writeFile(path, frame));
      frame.release();
      assert.equal(frame.released, true);
      assert.equal(frame.length, 16 * MIB);
      overwriteFreeMemory(pool);
      assert.equal(await done, undefined);
      assert.equal(frame.length, 0);
      assert.equal(pool.stats().arrays, 0);
      const written = readFileSync(path);
      assert.equal(written.length, 16 * MIB);
      assert.ok(written.every((byte) => byte === 7));
    })
  ));

test("holdUntil() counts its uses, passes failures on, and takes any thenable", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Uint8Array, 1);
    const first = Promise.withResolvers<string>();
    const one = array.holdUntil(first.promise);
    const two = array.holdUntil(Promise.reject(new Error("failed")));
    const three = array.holdUntil({ then: (resolve: (value: number) => void) => resolve(3) } as PromiseLike<number>);
    array.release();
    await assert.rejects(two, /failed/);
    assert.equal(await three, 3);
    assert.equal(array.length, 1);
    first.resolve("one");
    assert.equal(await one, "one");
    assert.equal(array.length, 0);
    assert.equal(pool.stats().arrays, 0);
  }));

test("holdUntil() keeps arrays from the collector", () =>
  withPool(async (pool) => {
    const use = Promise.withResolvers<void>();
    await (async () => {
      const arrays = Array.from({ length: 25 }, () => pool.alloc(Uint8Array, 1000));
      await sleep(0);
      for (let i = 0; i < 25; i++) arrays.push(pool.alloc(Uint8Array, 1000));
      for (const array of arrays) array.holdUntil(use.promise);
    })();
    const held = () => pool.blocks().filter(({ byteLength }) => byteLength === 1000).length;
    const witness = witnessOf(pool);
    await untilCollected(() => witness.gone, "the collector has run");
    assert.equal(held(), 50);
    use.resolve();
    await untilCollected(() => held() <= LEFT_ON_STACK, "the arrays are collected");
  }));

test("holdUntil() puts close() off, too", async () => {
  using pool = Pool.create({ name: newName(), capacity: "1M" });
  const array = pool.alloc(Uint8Array, 1000).fill(7);
  const other = pool.alloc(Uint8Array, 1000);
  const use = Promise.withResolvers<void>();
  const done = array.holdUntil(use.promise);
  pool.close();
  assert.deepEqual([pool.closed, array.released, other.length], [true, true, 0]);
  assert.ok(array.every((byte) => byte === 7));
  use.resolve();
  await done;
  assert.equal(array.length, 0);
  throwsPoolError(() => Pool.open(pool.name), "ERR_NOT_FOUND");
});

if (runtime === "bun") {
  test(
    "an array that a native call has pinned is released when the call is done",
    () =>
      withPool((pool) =>
        withFile(async (path) => {
          const frame = pool.alloc(Uint8Array, 16 * MIB).fill(7);
          const done = writeFile(path, frame);
          frame.release();
          // Bun has ignored the transfer, and says so only in that nothing is detached.
          assert.equal(frame.released, true);
          assert.equal(frame.buffer.detached, false);
          // Each transfer that is ignored takes as long as a copy.
          const { transfer } = ArrayBuffer.prototype;
          let transfers = 0;
          ArrayBuffer.prototype.transfer = function (bytes) {
            transfers++;
            return transfer.call(this, bytes);
          };
          frame.release();
          ArrayBuffer.prototype.transfer = transfer;
          assert.equal(transfers, 0);
          overwriteFreeMemory(pool);
          await done;
          assert.ok(readFileSync(path).every((byte) => byte === 7));
          await until(() => pool.stats().arrays === 0, "the release is done");
          assert.equal(frame.length, 0);
        })
      ),
  );
}

if (runtime === "bun") {
  test(
    "a pool that a native call has pinned is left when the call is done",
    () =>
      withFile(async (path) => {
        using pool = Pool.create({ name: newName(), capacity: "32M" });
        const frame = pool.alloc(Uint8Array, 16 * MIB).fill(7);
        const done = writeFile(path, frame);
        pool.close();
        await done;
        assert.ok(readFileSync(path).every((byte) => byte === 7));
        await until(() => frame.length === 0, "the array is detached");
        throwsPoolError(() => Pool.open(pool.name), "ERR_NOT_FOUND");
      }),
  );
}

test("fs.write() with a callback is safe under holdUntil()", () =>
  withPool((pool) =>
    withFile(async (path) => {
      const frame = pool.alloc(Uint8Array, 4 * MIB).fill(5);
      const fd = openSync(path, "w");
      const use = Promise.withResolvers<number>();
      write(fd, frame, 0, frame.length, 0, (error, count) => error ? use.reject(error) : use.resolve(count));
      const done = frame.holdUntil(use.promise);
      frame.release();
      overwriteFreeMemory(pool);
      assert.equal(await done, 4 * MIB);
      closeSync(fd);
      assert.ok(readFileSync(path).every((byte) => byte === 5));
      assert.equal(pool.stats().arrays, 0);
    })
  ));

if (runtime === "node") {
  test("a native call that does not end keeps what is released meanwhile only until the collector has been there", () =>
    withPool((pool) =>
      withFile(async (path) => {
        execFileSync("mkfifo", [path]);
        const fd = openSync(path, "r+");
        const ended = Promise.withResolvers<void>();
        // In a function of its own, so that nothing on this one's stack has an array.
        (() => {
          const into = pool.alloc(Uint8Array, 10);
          read(fd, into, 0, 10, null, () => ended.resolve());
          for (let i = 0; i < 10; i++) pool.alloc(Uint8Array, MIB).release();
          into.release();
        })();
        try {
          assert.equal(pool.stats().arrays, 11);
          assert.ok(pool.stats().lentBytes > 10 * MIB);
          await untilCollected(() => pool.stats().arrays === 1, "the others are free");
          overwriteFreeMemory(pool);
        } finally {
          writeSync(fd, new Uint8Array(10)); // the call goes on, with what it was given
          await ended.promise;
          closeSync(fd);
        }
        await until(() => pool.stats().arrays === 0, "the call has ended");
      })
    ));
}

test("bytes that are taken at the call survive a release right after it", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Uint8Array, MIB).fill(7);
    const digest = crypto.subtle.digest("SHA-256", array);
    const response = new Response(array).arrayBuffer();
    const blob = new Blob([array]).arrayBuffer();
    array.release();
    overwriteFreeMemory(pool);
    const expected = new Uint8Array(MIB).fill(7);
    assert.deepEqual(new Uint8Array(await digest), new Uint8Array(await crypto.subtle.digest("SHA-256", expected)));
    assert.deepEqual(new Uint8Array(await response), expected);
    assert.deepEqual(new Uint8Array(await blob), expected);
    await until(() => pool.stats().arrays === 0, "the release is done");
  }));

// ---------------------------------------------------------------- buffers transferred away

for (const drop of [false, true]) {
  const how = drop ? "dropped" : "released";
  test(`memory whose buffer was transferred away stays, though the array was ${how}`, async () => {
    using pool = Pool.create({ name: newName(), capacity: "4M" });
    const taken = { buffer: undefined as ArrayBuffer | undefined };
    (() => {
      const array = pool.alloc(Uint8Array, MIB).fill(7);
      taken.buffer = structuredClone(array.buffer, { transfer: [array.buffer] });
      assert.equal(array.length, 0);
      assert.equal(array.released, false);
      throwsPoolError(() => array.share(), "ERR_RELEASED", /transferred away.*pack\(array\)/);
      if (!drop) array.release();
    })();
    if (drop) await untilCollected(() => pool.stats().lentBytes === MIB, "the array is collected");
    assert.equal(pool.stats().lentBytes, MIB);
    assert.equal(pool.stats().arrays, 1);
    overwriteFreeMemory(pool);
    assert.ok(new Uint8Array(taken.buffer!).every((byte) => byte === 7));
    taken.buffer = undefined;
    await untilCollected(() => pool.stats().arrays === 0, "the new owner is gone");
    pool.close();
    throwsPoolError(() => Pool.open(pool.name), "ERR_NOT_FOUND");
  });
}

for (
  const [how, end] of [
    ["released before the other hold", (first, second) => (first.release(), second.release())],
    ["released after the other hold", (first, second) => (second.release(), first.release())],
    ["not released", () => {}],
  ] satisfies [string, (first: SharedArray, second: SharedArray) => void][]
) {
  test(`close() leaves at once though the buffer of one of two holds was transferred away, ${how}`, () => {
    using pool = Pool.create({ name: newName(), capacity: "4M" });
    const array = pool.alloc(Uint8Array, 1000).fill(7);
    const same = array.retain();
    const moved = new Uint8Array(structuredClone(array.buffer, { transfer: [array.buffer] }));
    end(array, same);
    assert.equal(moved[999], 7);
    pool.close();
    assert.equal(same.length, 0);
    throwsPoolError(() => Pool.open(pool.name), "ERR_NOT_FOUND");
    assert.ok(moved.every((byte) => byte === 0));
  });
}

// In Deno such a write blocks the thread.
if (runtime !== "deno") {
  test("close() waits for a call that writes one of two holds to a pipe, whichever was released", () =>
    withFile(async (path) => {
      execFileSync("mkfifo", [path]);
      for (const early of [0, 1]) {
        using pool = Pool.create({ name: newName(), capacity: "4M" });
        const array = pool.alloc(Uint8Array, MIB).fill(7);
        const holds = [array, array.retain()];
        const [fd, other] = [openSync(path, "r+"), openSync(path, "r")];
        const written = Promise.withResolvers<number>();
        // More than a pipe takes: the call goes on until it is read.
        write(fd, holds[1]!, 0, MIB, null, (error, count) => error ? written.reject(error) : written.resolve(count));
        const got = new Uint8Array(MIB);
        const readSome = (count: number) =>
          new Promise<number>((resolve, reject) =>
            read(other, got, count, MIB - count, null, (error, more) => error ? reject(error) : resolve(count + more))
          );
        let count = await readSome(0); // the call is under way
        holds[early]!.release();
        pool.close();
        while (count < MIB) count = await readSome(count);
        assert.equal(await written.promise, MIB);
        for (const each of [fd, other]) closeSync(each);
        assert.ok(got.every((byte) => byte === 7));
        await until(() => !existsSync(fileOf(pool.name)), "it has left");
      }
    }));
}

test("memory of a buffer that was taken from an array, and transferred after that was dropped, stays", async () => {
  using pool = Pool.create({ name: newName(), capacity: "4M" });
  const taken = { buffer: (() => pool.alloc(Uint8Array, MIB).fill(7).buffer)() as ArrayBuffer | undefined };
  let witness = witnessOf(pool);
  await untilCollected(() => witness.gone, "the array is collected");
  const moved = (() => new Uint8Array(taken.buffer!.transfer()))();
  taken.buffer = undefined;
  for (let i = 0; i < 3; i++) {
    witness = witnessOf(pool);
    await untilCollected(() => witness.gone, "the first buffer is collected");
  }
  overwriteFreeMemory(pool);
  assert.ok(moved.every((byte) => byte === 7));
});

if (runtime === "bun") {
  test("a pool that is full takes back at once what was lent, and is not seen any more", () =>
    withPool(async (pool) => {
      const taken = (() => {
        const arrays = Array.from({ length: 20 }, () => pool.alloc(Uint8Array, MIB));
        const buffers = arrays.map(({ buffer }) => structuredClone(buffer, { transfer: [buffer] }));
        release(arrays);
        return buffers;
      })();
      assert.equal(pool.stats().lentBytes, 20 * MIB);
      await sleep(0);
      taken.length = 0;
      Bun.gc(true);
      // No turn of the event loop in between, so no timer has looked.
      pool.alloc(Uint8Array, pool.capacityBytes - 3 * MIB).release();
    }, { capacity: "24M" }));
}

test("a BYOB reader takes the buffer away, and the memory stays", async () => {
  using pool = Pool.create({ name: newName(), capacity: "4M" });
  const array = pool.alloc(Uint8Array, 4096);
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const { view } = controller.byobRequest!;
      new Uint8Array(view!.buffer, view!.byteOffset, view!.byteLength).fill(9);
      controller.byobRequest!.respond(view!.byteLength);
    },
  });
  const reader = stream.getReader({ mode: "byob" });
  const { value } = await reader.read(array as Uint8Array<ArrayBuffer>);
  assert.equal(array.length, 0);
  array.release();
  overwriteFreeMemory(pool);
  assert.deepEqual([value!.length, value![0], value![4095]], [4096, 9, 9]);
});

// ---------------------------------------------------------------- copies

test("a structured clone is an ordinary copy, of the whole buffer", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1000);
    const clone = structuredClone(array.subarray(10, 20));
    assert.equal(Object.getPrototypeOf(clone), Uint8Array.prototype);
    assert.equal(clone.buffer.byteLength, 1000);
    clone.fill(1);
    assert.equal(array[15], 0);
  }));

test("what leaves the pool by slice() outlives it", () => {
  using pool = Pool.create({ name: newName(), capacity: "1M" });
  const copy = pool.from(Uint8Array.of(1, 2, 3)).slice();
  pool.close();
  assert.deepEqual([...copy], [1, 2, 3]);
});

test("a claim keeps an array that its sender has released", () =>
  withPool((pool) => {
    const array = pool.from(Uint8Array.of(1, 2, 3));
    const packed = pack({ array });
    array.release();
    overwriteFreeMemory(pool);
    using got = unpack(packed);
    assert.deepEqual([...got.array], [1, 2, 3]);
  }));

test("a claim keeps the pool when its last member leaves", () => {
  const name = newName();
  try {
    const pool = Pool.create({ name, capacity: "1M" });
    const packed = pack(pool.from(Uint8Array.of(1, 2, 3)));
    pool.close();
    const array = unpack(packed);
    assert.deepEqual([...array], [1, 2, 3]);
    const again = array.pool;
    release(array);
    again.close();
    throwsPoolError(() => Pool.open(name), "ERR_NOT_FOUND");
  } finally {
    rmSync(fileOf(name), { force: true });
  }
});

test("the collector is not told of arrays that were released, however many there were", async () => {
  const told: number[] = [];
  const side = native() as { weigh(bytes: number): void };
  const { weigh } = side;
  side.weigh = (bytes) => void told.push(bytes);
  try {
    await withPool(async (pool) => {
      // Of those that it may have to find it is; then the count begins anew.
      const kept: SharedArray[] = [];
      while (told.length === 0 && kept.length < 100) {
        kept.push(pool.allocUnsafe(Uint8Array, MIB));
        await null; // from the end of the job on it is the collector's
      }
      assert.equal(told.length, 1);
      for (let i = 0; i < 100; i++) {
        const array = pool.allocUnsafe(Uint8Array, MIB);
        await null;
        array.release();
      }
      assert.equal(told.length, 1);
      for (const array of kept) array.release();
    }, { capacity: "128M" });
  } finally {
    side.weigh = weigh;
  }
});

test("arrays that are dropped in a loop come back while it goes on: the collector hears what they weigh", () =>
  withPool(async (pool) => {
    let most = 0;
    for (let i = 0; i < 64; i++) {
      pool.allocUnsafe(Uint8Array, 8 * MIB);
      await sleep(0);
      most = Math.max(most, pool.stats().usedBytes / MIB);
    }
    assert.ok(most < 384, `${most} of 512 MiB at a time`);
    await untilCollected(() => pool.stats().arrays <= LEFT_ON_STACK, "they are collected");
  }, { capacity: "1G" }));

test("a hold whose owner is garbage, and with which something is still to be done, is let go of after that, once", () => {
  const letGo: Hold[] = [];
  const member = { letGo: (hold: Hold) => letGo.push(hold) };
  const hold = new Hold(member as never, 1, 1, 0, 0, new ArrayBuffer(0));
  hold.buffer = undefined;
  hold.onAbandoned = () => hold.use({});
  hold.abandoned();
  assert.deepEqual([letGo.length, hold.released, hold.ended], [0, true, false]);
  hold.used();
  assert.deepEqual([letGo.length, hold.ended], [1, true]);
  hold.release();
  hold.abandoned();
  assert.equal(letGo.length, 1);
});
