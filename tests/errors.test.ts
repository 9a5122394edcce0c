/** Every error code: how it comes about, and that its message says what to do. */

import { chmodSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { attach, pack, Pool, PoolError, release, unpack } from "arraypool";
import { AP_CAUSE_BLOCKS, AP_CAUSE_DEVICE, AP_ERR_FULL, AP_ERR_SYSTEM, AP_RECORD_LENGTH } from "../core/abi.ts";
import * as abi from "../core/abi.ts";
import { Codec, garbled } from "../core/codec.ts";
import { failure } from "../core/failure.ts";
import {
  assert,
  commandOf,
  fileOf,
  runtime,
  start,
  test,
  testOnce,
  throwsPoolError,
  until,
  withName,
  withPool,
} from "./support/harness.ts";
import { inSmallShm, mayMount, withoutShm } from "./support/small_shm.ts";
import {
  BLOCKS_AT,
  CLAIMS_UNTIL_AT,
  holdLock,
  joinDirectly,
  native,
  readU32,
  VERSION_AT,
  writeU32,
} from "./support/segment.ts";

test("ERR_POOL_FULL says what was asked, what is free, and who holds the rest", () =>
  withPool((pool) => {
    const kept = pool.alloc(Uint8Array, 2 ** 20);
    const sent = pool.alloc(Uint8Array, 2 ** 19);
    const packed = pack(sent);
    sent.release();
    throwsPoolError(
      () => pool.alloc(Uint8Array, 2 ** 20),
      "ERR_POOL_FULL",
      /is full/,
      /Asked for 1 MiB/,
      /largest free run has 512 KiB/,
      /1 MiB are held by arrays that were not released \(1 MiB of them here\)/,
      /512 KiB only by claims that were not attached, the oldest \d+ s old/,
      /release\(\)/,
      /using/,
      /trim\(\)/,
      /capacity/,
      /--shm-size/,
    );
    release(packed);
    pool.alloc(Uint8Array, 2 ** 20).release();
    kept.release();
  }, { capacity: "2M" }));

test("ERR_POOL_FULL says how much was released here and is still seen: each array once, and all of it", () =>
  withPool((pool) => {
    const array = pool.alloc(Uint8Array, 256 << 10);
    const descriptor = array.share({ claims: 0 });
    const slice = attach(array.subarray(0, 1024).share(), Uint8Array);
    const seen: ArrayBuffer[] = [];
    for (const one of [array, slice, attach(descriptor), attach(descriptor)]) {
      seen.push(structuredClone(one.buffer, { transfer: [one.buffer as ArrayBuffer] }));
      one.release();
    }
    assert.equal(pool.stats().lentBytes, 256 << 10);
    throwsPoolError(
      () => pool.alloc(Uint8Array, 2 << 20),
      "ERR_POOL_FULL",
      /still seen \(256 KiB\)/,
      /Asked for 2 MiB/,
    );
    assert.equal(seen.length, 4);
  }, { capacity: "2M" }));

test("ERR_POOL_FULL tells a full table of arrays, too many claims, and a full /dev/shm from a full pool", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 1);
    const descriptors: unknown[] = [];
    throwsPoolError(
      () => {
        for (;;) descriptors.push(array.share());
      },
      "ERR_POOL_FULL",
      /no room for another claim/,
    );
    release(descriptors);
    assert.equal(pool.stats().claims, 0);
    // These two take more than a test should; only what is made of them.
    const record = new Float64Array(AP_RECORD_LENGTH);
    record[abi.AP_SHORT_CAUSE] = AP_CAUSE_BLOCKS;
    assert.match(failure(AP_ERR_FULL, { pool: "p", record }).message, /table of arrays is full/);
    record[abi.AP_SHORT_CAUSE] = AP_CAUSE_DEVICE;
    record[abi.AP_SHORT_DEVICE_FREE] = 4096;
    assert.match(failure(AP_ERR_FULL, { pool: "p", record }).message, /\/dev\/shm has only 4 KiB left.*--shm-size/);
  }, { capacity: "1M" }));

test("ERR_POOL_FULL leaves the pool as it was", () =>
  withPool((pool) => {
    using array = pool.from(Uint8Array.of(1, 2, 3));
    const before = pool.stats();
    for (let i = 0; i < 100; i++) throwsPoolError(() => pool.alloc(Uint8Array, pool.capacityBytes), "ERR_POOL_FULL");
    assert.deepEqual(pool.stats(), before);
    assert.deepEqual([...array], [1, 2, 3]);
  }, { capacity: "1M" }));

test("ERR_ARRAY_TOO_LARGE says how large the pool is", () =>
  withPool((pool) => {
    throwsPoolError(() => pool.alloc(Float64Array, 2 ** 20), "ERR_ARRAY_TOO_LARGE", /1 MiB/, /larger capacity/);
  }, { capacity: "1M" }));

test("ERR_POOL_BUSY names the process that keeps the lock, and release() is done later", () =>
  withPool(async (pool) => {
    const array = pool.alloc(Uint8Array, 100);
    const child = start("bun", "./child.ts");
    let unlock = () => {};
    try {
      child.write({ do: "open", name: pool.name });
      await child.next();
      const slot = pool.members().find((member) => !member.self)!.slot;
      unlock = holdLock(pool.name, slot);
      throwsPoolError(
        () => pool.alloc(Uint8Array, 1),
        "ERR_POOL_BUSY",
        new RegExp(`process ${child.process.pid} `),
        new RegExp(`kill -CONT ${child.process.pid}`),
      );
      array.release();
      assert.equal(array.length, 0);
      unlock();
      await until(() => pool.stats().arrays === 0, "the release is done");
      await child.end();
    } finally {
      unlock();
      await child.kill();
    }
  }));

testOnce(
  "an acknowledgement for which the pool was too busy can be made again, and a message given back again",
  () =>
    withPool(async (pool) => {
      using channel = pool.channel<{ array: Uint8Array }>();
      using array = pool.from(Uint8Array.of(1, 2, 3));
      for (let i = 0; i < 2; i++) channel.send({ array });
      const child = start("bun", "./child.ts");
      let unlock = () => {};
      try {
        child.write({ do: "open", name: pool.name });
        await child.next();
        const delivery = channel.tryReceive({ ack: true })!;
        unlock = holdLock(pool.name, pool.members().find((member) => !member.self)!.slot);
        throwsPoolError(() => delivery.ack(), "ERR_POOL_BUSY");
        unlock();
        assert.equal(channel.stats().unacknowledged, 1);
        delivery.ack();
        assert.equal(channel.stats().unacknowledged, 0);
        const second = channel.tryReceive({ ack: true })!;
        unlock = holdLock(pool.name, pool.members().find((member) => !member.self)!.slot);
        throwsPoolError(() => second.ack(), "ERR_POOL_BUSY");
        unlock();
        second[Symbol.dispose]();
        assert.deepEqual([channel.stats().depth, channel.stats().unacknowledged], [1, 0]);
        await child.end();
      } finally {
        unlock();
        await child.kill();
      }
    }),
);

testOnce(
  "a wait that was notified ends with ok, though the pool is closed, and was too busy to say so before",
  () =>
    withName(async (name) => {
      const pool = Pool.create({ name, capacity: "1M" });
      const words = pool.alloc(Int32Array, 8);
      const child = start("bun", "./child.ts");
      let unlock = () => {};
      try {
        child.write({ do: "open", name });
        await child.next();
        const { slot } = pool.members().find((member) => !member.self)!;
        const waiting = pool.waitAsync(words, 0, 0);
        assert.equal(pool.notify(words, 0), 1);
        unlock = holdLock(name, slot);
        pool.close();
        assert.equal(await waiting, "ok");
      } finally {
        unlock();
        await child.kill();
      }
    }),
);

testOnce(
  "a message that cannot be read is done with, though the pool was too busy for that at first",
  () =>
    withPool(async (pool) => {
      const channel = pool.channel<{ array: Uint8Array }>();
      using array = pool.from(Uint8Array.of(1, 2, 3));
      const child = start("bun", "./child.ts");
      let unlock = () => {};
      const { decode } = Codec.prototype;
      try {
        child.write({ do: "open", name: pool.name });
        await child.next();
        const slot = pool.members().find((member) => !member.self)!.slot;
        for (const isReleased of [false, true]) {
          const other = attach<{ array: Uint8Array }>(channel.toJSON());
          channel.send({ array });
          // Just after it was received, and as if something had written over it.
          Codec.prototype.decode = () => {
            unlock = holdLock(pool.name, slot);
            throw garbled();
          };
          throwsPoolError(() => other.receive({ ack: true }), "ERR_CORRUPT_SEGMENT");
          Codec.prototype.decode = decode;
          // It holds the channel until it has said so.
          if (isReleased) other.release();
          unlock();
          await until(() => channel.stats().unacknowledged === 0, "the message is done with");
          assert.equal(channel.stats().depth, 0);
          other.release();
        }
        channel.release();
        await until(() => pool.stats().arrays === 1, "the channel is let go of, and only the array is left");
        await child.end();
      } finally {
        Codec.prototype.decode = decode;
        unlock();
        await child.kill();
      }
    }),
);

test("ERR_TOO_MANY_MEMBERS comes with the 257th member, and 256 can all hold the same array", () =>
  withPool(async (pool) => {
    using array = pool.from(Float64Array.of(42));
    const { library } = native;
    const { block, generation, claim } = array.share({ claims: 255 });
    const members = [];
    try {
      for (let i = 0; i < 255; i++) {
        const member = joinDirectly(pool.name);
        assert.ok(member !== null, `member ${i}`);
        members.push(member);
        assert.equal(library.ap_block_attach(member, block, generation, claim), 0);
      }
      assert.equal(joinDirectly(pool.name), null);
      assert.equal(pool.stats().members, 256);
      assert.equal(pool.members().length, 256);
      assert.equal(pool.blocks()[0]!.holders.length, 256);
      assert.equal(pool.stats().claims, 0);
      const child = start(runtime, "./child.ts");
      try {
        child.write({ do: "open", name: pool.name });
        const { code, message } = await child.next<{ code: string; message: string }>();
        assert.equal(code, "ERR_TOO_MANY_MEMBERS");
        assert.match(message, /256 members.*close it/);
        await child.end();
      } finally {
        await child.kill();
      }
    } finally {
      for (const member of members) library.ap_pool_close(member, 0);
    }
    assert.deepEqual(pool.blocks()[0]!.holders.length, 1);
    assert.equal(pool.stats().members, 1);
    assert.equal(array[0], 42);
  }));

test("ERR_CORRUPT_SEGMENT: a file that is no pool", () =>
  withName((name, file) => {
    writeFileSync(file, new Uint8Array(1 << 20), { mode: 0o600 });
    throwsPoolError(() => Pool.open(name), "ERR_CORRUPT_SEGMENT", /delete \/dev\/shm\/arraypool\./);
  }));

test("ERR_CORRUPT_SEGMENT: check() says what is broken in a pool", () =>
  withPool((pool) => {
    using array = pool.alloc(Uint8Array, 100);
    const { block } = array.share({ claims: 0 });
    const at = BLOCKS_AT + block * 64;
    const next = readU32(pool.name, at);
    writeU32(pool.name, at, 123_456);
    throwsPoolError(() => pool.check(), "ERR_CORRUPT_SEGMENT", /is damaged: \w+/, /create it anew/);
    writeU32(pool.name, at, next);
    pool.check();
  }));

test("ERR_PERMISSION: another mode, and a symlink", () => {
  withName((name, file) => {
    writeFileSync(file, new Uint8Array(1 << 20));
    chmodSync(file, 0o644);
    throwsPoolError(() => Pool.open(name), "ERR_PERMISSION", /0600/, /delete that file/);
  });
  return withPool((pool) =>
    withName((name, file) => {
      symlinkSync(fileOf(pool.name), file);
      throwsPoolError(() => Pool.open(name), "ERR_PERMISSION", /symlink/);
    })
  );
});

test("ERR_LAYOUT_VERSION names the version", () =>
  withPool((pool) =>
    withName((name, file) => {
      writeFileSync(file, readFileSync(fileOf(pool.name)), { mode: 0o600 });
      writeU32(name, CLAIMS_UNTIL_AT + 4, 1 << 30); // a claim waits in it: it is not swept
      writeU32(name, VERSION_AT, 77);
      throwsPoolError(() => Pool.open(name), "ERR_LAYOUT_VERSION", /layout 77/, /same version/);
    }), { capacity: "1M" }));

test("ERR_STALE_DESCRIPTOR: the pool is gone, or another one has its name", () =>
  withName((name) => {
    using first = Pool.create({ name, capacity: "1M" });
    const descriptor = first.alloc(Uint8Array, 1).share({ claims: 0 });
    const channel = first.channel();
    const queue = channel.toJSON();
    release(queue);
    first.close();
    throwsPoolError(
      () => attach(descriptor),
      "ERR_STALE_DESCRIPTOR",
      /^the array is gone/,
      /Keep it open/,
      /ttlMs/,
    );
    throwsPoolError(() => attach(queue), "ERR_STALE_DESCRIPTOR", /^the channel is gone/);
    throwsPoolError(() => unpack(first.toJSON()), "ERR_STALE_DESCRIPTOR", /^pool .* is gone/, /Keep it open/);
    using second = Pool.create({ name, capacity: "1M" });
    using array = second.alloc(Uint8Array, 1);
    throwsPoolError(() => attach(descriptor), "ERR_STALE_DESCRIPTOR", /later one of the same name/);
    assert.equal(array.length, 1);
  }));

test("ERR_STALE_DESCRIPTOR: the place of the array is taken by another", () =>
  withPool((pool) => {
    const first = pool.alloc(Float64Array, 4);
    const old = first.share({ claims: 0 });
    first.release();
    for (let i = 0; i < 100; i++) {
      using next = pool.alloc(Float64Array, 4).fill(i);
      assert.ok(next.share({ claims: 0 }).generation > old.generation);
      throwsPoolError(() => attach(old), "ERR_STALE_DESCRIPTOR");
    }
  }));

test("ERR_STALE_DESCRIPTOR: a message that comes to where another /dev/shm is, as in another container", () =>
  withPool(async (pool) => {
    if (!mayMount) return console.log("skipped: this user cannot mount (needs root, or user namespaces)");
    const { spawnSync } = await import("node:child_process");
    using array = pool.alloc(Float64Array, 3);
    for (const message of [{ array }, { pool }]) {
      const command = [...commandOf(runtime, "./exhausted.ts"), JSON.stringify(pack(message, { claims: 0 }))];
      const [program, ...args] = inSmallShm("size=4m", command);
      const { stdout, stderr } = spawnSync(program!, args, { encoding: "utf8" });
      assert.match(stdout, /^ERR_STALE_DESCRIPTOR .*in this \/dev\/shm.*containers have to share one/, stdout + stderr);
    }
  }));

test("ERR_SYSTEM: no file descriptor, no address space, and no file so large", async () => {
  const { spawnSync } = await import("node:child_process");
  const program = commandOf(runtime, "./exhausted.ts");
  const run = (limits: string, what: string) => {
    const command = `${limits}; exec ${[...program, what].map((word) => `'${word}'`).join(" ")}`;
    const { stdout, stderr } = spawnSync("sh", ["-c", command], {
      encoding: "utf8",
      cwd: fileURLToPath(new URL("../", import.meta.url)),
    });
    assert.ok(stdout.startsWith("ERR_SYSTEM "), stdout + stderr);
    return stdout;
  };
  assert.match(run("ulimit -n 100", "files"), /errno 24.*ulimit -n/);
  assert.match(run(`ulimit -v ${200 * 2 ** 20}`, "addresses"), /address space.*smaller capacity/);
  assert.match(run("ulimit -f 100000", "addresses"), /larger than any file.*smaller capacity.*ulimit -f/);
});

test("ERR_SYSTEM: no /dev/shm, or a read-only one, whether the pool has a name or not", async () => {
  if (!mayMount) return console.log("skipped: this user cannot mount (needs root, or user namespaces)");
  const { spawnSync } = await import("node:child_process");
  const run = (inPlace: (command: string[]) => string[], what: string) => {
    const [program, ...args] = inPlace([...commandOf(runtime, "./exhausted.ts"), what]);
    const { stdout, stderr } = spawnSync(program!, args, { encoding: "utf8" });
    assert.match(stdout, /^ERR_SYSTEM /, stdout + stderr);
    return stdout;
  };
  for (const what of ["create", "openOrCreate"]) {
    assert.match(run(withoutShm, what), /there is no \/dev\/shm.*mount a tmpfs/);
    assert.match(run((command) => inSmallShm("size=4m,ro", command), what), /read-only.*mount a tmpfs/);
  }
});

test("every error code of the library becomes an error that says what to do", () => {
  const codes = Object.entries(abi).filter(([name]) => name.startsWith("AP_ERR_")) as [string, number][];
  assert.ok(codes.length >= 15);
  for (const [name, code] of codes) {
    const error = failure(code, {
      pool: "p",
      record: new Float64Array(AP_RECORD_LENGTH),
      errno: 24,
      pid: 1,
      detail: 2,
    });
    assert.ok(error instanceof PoolError || name === "AP_ERR_ARGUMENT", name);
    assert.match(error.message, /"p"/, name);
    assert.doesNotMatch(error.message, /undefined|NaN|answered/, name);
  }
  assert.match(failure(AP_ERR_SYSTEM, { pool: undefined, errno: 24 }).message, /the pool/);
  assert.match(failure(-99, { pool: "p" }).message, /npm run build/);
});
