/** Hostile bytes, seen from JavaScript: metadata that somebody corrupted, and files that are no pool of ours. */

import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { attach, Pool, PoolError, type PoolErrorCode } from "arraypool";
import { assert, fileOf, runtime, start, test, throwsPoolError, withName, withPool } from "./support/harness.ts";
import { CLAIMS_UNTIL_AT } from "./support/segment.ts";

test("every method gives a result or a PoolError while the metadata is corrupted, and nothing crashes or hangs", async () => {
  const child = start(runtime, "./hostile.ts", { args: ["--seconds", "4"] });
  try {
    const totals = await child.next<{ calls: number; errors: Record<string, number>; failures: string[] }>();
    assert.deepEqual(totals.failures, [], JSON.stringify(totals));
    assert.ok(totals.calls > 200 && totals.errors.ERR_CORRUPT_SEGMENT! > 0, JSON.stringify(totals));
    await child.end();
  } finally {
    await child.kill();
    // What it was at when it was killed.
    rmSync(fileOf(`test-${process.pid}-hostile-${child.process.pid}`), { force: true });
  }
});

/** Opens and attaches what stands under `name`, and sees that the file is left as it is. */
function isRefused(name: string, code: PoolErrorCode, ...says: RegExp[]): void {
  const file = fileOf(name);
  const look = () => {
    const { mode, size, uid, ino } = lstatSync(file);
    return [mode, size, uid, ino];
  };
  const before = look();
  throwsPoolError(() => Pool.open(name), code, ...says);
  throwsPoolError(() => Pool.openOrCreate({ name }), code, ...says);
  const descriptor = {
    $arraypool: 1,
    pool: name,
    nonce: "0123456789abcdef",
    block: 0,
    generation: 1,
    claim: 0,
    dtype: "uint8",
    offset: 0,
    length: 1,
  } as const;
  throwsPoolError(() => attach(descriptor), code);
  assert.deepEqual(look(), before);
}

/** As isRefused, for what is none of ours: not even the sweep of a new pool removes it. */
function isLeftAlone(name: string, code: PoolErrorCode, ...says: RegExp[]): void {
  isRefused(name, code, ...says);
  throwsPoolError(() => Pool.create({ name, capacity: "1M" }), "ERR_ALREADY_EXISTS");
  Pool.create({ capacity: "1M" }).close();
  isRefused(name, code);
}

/** The bytes of a pool's segment that was just made, in which a claim waits: who opens it does not sweep it as dead. */
async function segment(): Promise<Uint8Array> {
  let bytes = new Uint8Array();
  await withPool((pool) => bytes = new Uint8Array(readFileSync(fileOf(pool.name))), { capacity: "1M" });
  new DataView(bytes.buffer).setBigUint64(CLAIMS_UNTIL_AT, 2n ** 62n, true);
  return bytes;
}

const DAMAGED = [/no pool/, /delete \/dev\/shm\/arraypool\./] as const;

test("segments that are empty, cut off, too long, or of sizes that overflow are refused as damaged, and left alone", async () => {
  const whole = await segment();
  const set = (change: (view: DataView) => void): Uint8Array => {
    const bytes = whole.slice();
    change(new DataView(bytes.buffer));
    return bytes;
  };
  const magic = new DataView(whole.buffer).getBigUint64(0, true);
  const CAPACITY_AT = 24, SEGMENT_AT = 32, TTL_AT = 40, BLOCKS_MAX_AT = 56, MEMBER_BYTES_AT = 12;
  const files: [string, Uint8Array][] = [
    ["empty", new Uint8Array(0)],
    ["one byte", whole.subarray(0, 1)],
    ["half a header", whole.subarray(0, 2048)],
    ["a header less a byte", whole.subarray(0, 4095)],
    ["a header", whole.subarray(0, 4096)],
    ["less a byte", whole.subarray(0, whole.length - 1)],
    ["a page more", new Uint8Array([...whole, ...new Uint8Array(4096)])],
    ["zeros", new Uint8Array(whole.length)],
    ["noise", crypto.getRandomValues(new Uint8Array(65536))],
    ["the other byte order", set((v) => v.setBigUint64(0, magic, false))],
    ...[0n, 1n, 2n ** 64n - 1n, 2n ** 63n, 2n ** 64n - 65536n, 2n ** 38n + 1n, 2n ** 38n].map((capacity) =>
      [`capacity ${capacity}`, set((v) => v.setBigUint64(CAPACITY_AT, capacity, true))] as [string, Uint8Array]
    ),
    ["another segment size", set((v) => v.setBigUint64(SEGMENT_AT, 2n ** 64n - 1n, true))],
    ["no claim time", set((v) => v.setBigUint64(TTL_AT, 0n, true))],
    ["more blocks", set((v) => v.setUint32(BLOCKS_MAX_AT, 0xffffffff, true))],
    ["larger members", set((v) => v.setUint32(MEMBER_BYTES_AT, 128, true))],
  ];
  for (const [what, bytes] of files) {
    await withName((name, file) => {
      writeFileSync(file, bytes, { mode: 0o600 });
      if (bytes.length > whole.length / 2 && bytes.length <= whole.length && what.startsWith("cap")) {
        truncateSync(file, whole.length);
      }
      try {
        // What says that it is a pool of ours, and has neither a member nor a claim, is swept; anything else is not.
        const isOurs = bytes.length >= 4096 &&
          new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true) === magic;
        (isOurs ? isRefused : isLeftAlone)(name, "ERR_CORRUPT_SEGMENT", ...DAMAGED);
      } catch (error) {
        throw new Error(what, { cause: error });
      }
    });
  }
});

test("segments of an older and a newer layout are refused, by their version", async () => {
  const whole = await segment();
  const own = new DataView(whole.buffer, whole.byteOffset).getUint32(8, true);
  for (const version of [0, own - 1, own + 1, 77, 0xffffffff]) {
    const bytes = whole.slice();
    new DataView(bytes.buffer).setUint32(8, version, true);
    await withName((name, file) => {
      writeFileSync(file, bytes, { mode: 0o600 });
      throwsPoolError(() => Pool.open(name), "ERR_LAYOUT_VERSION", new RegExp(`layout ${version}`), /same version/);
      throwsPoolError(() => Pool.openOrCreate({ name }), "ERR_LAYOUT_VERSION");
      // Of one in which nobody is and nothing waits, nothing is left: an update need not wait for anybody to clean up.
      new DataView(bytes.buffer).setBigUint64(CLAIMS_UNTIL_AT, 0n, true);
      writeFileSync(file, bytes);
      throwsPoolError(() => Pool.open(name), "ERR_NOT_FOUND");
      writeFileSync(file, bytes, { mode: 0o600 });
      using pool = Pool.openOrCreate({ name, capacity: "2M" });
      assert.equal(pool.capacityBytes, 2 * 2 ** 20);
    });
  }
});

test("a file with a good header and nothing behind it opens, and every call says that it is damaged", async () => {
  const whole = await segment();
  await withName((name, file) => {
    writeFileSync(file, whole.subarray(0, 128), { mode: 0o600 });
    truncateSync(file, whole.length);
    const pool = Pool.open(name);
    for (const call of [() => pool.alloc(Uint8Array, 1), () => pool.check(), () => pool.stats(), () => pool.trim()]) {
      try {
        call();
      } catch (error) {
        assert.ok(error instanceof PoolError, String(error));
      }
    }
    throwsPoolError(() => pool.check(), "ERR_CORRUPT_SEGMENT");
    pool.close();
  });
});

test("other modes, symlinks, directories, FIFOs and other users' files are refused, and sweeping leaves them alone", async () => {
  const whole = await segment();
  const says = [/another user/, /symlink/, /0600/, /Use another name, or delete/] as const;
  for (const mode of [0o666, 0o660, 0o644, 0o640, 0o604, 0o700, 0o4600, 0o400]) {
    await withName((name, file) => {
      writeFileSync(file, whole);
      chmodSync(file, mode);
      // Without the right to write, not even root's open says more than that.
      isLeftAlone(name, "ERR_PERMISSION", ...says);
      assert.equal(lstatSync(file).mode & 0o7777, mode);
    });
  }
  await withPool((pool) =>
    withName((name, file) => {
      symlinkSync(fileOf(pool.name), file);
      isLeftAlone(name, "ERR_PERMISSION", ...says);
    })
  );
  await withName((name, file) => {
    symlinkSync("/dev/shm/nowhere", file);
    isLeftAlone(name, "ERR_PERMISSION", ...says);
  });
  await withName((name, file) => {
    mkdirSync(file, { mode: 0o600 });
    try {
      isLeftAlone(name, "ERR_PERMISSION", ...says);
    } finally {
      rmSync(file, { recursive: true });
    }
  });
  await withName((name, file) => {
    execFileSync("mkfifo", ["-m", "600", file]);
    isLeftAlone(name, "ERR_PERMISSION", ...says);
  });
  if (process.geteuid!() !== 0) return console.log("not root: other users' files were not tried");
  await withName((name, file) => {
    writeFileSync(file, whole, { mode: 0o600 });
    chownSync(file, 65534, 65534);
    isLeftAlone(name, "ERR_PERMISSION", ...says);
    assert.equal(lstatSync(file).uid, 65534);
  });
});
