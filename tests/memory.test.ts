/** No memory: a full /dev/shm, a full pool, no files, no address space. Every one is an error that says what helps. */

import { test as nodeTest } from "node:test";
import { assert, type ChildOptions, commandOf, runtime, start, test, testOnce } from "./support/harness.ts";
import { mayMount } from "./support/small_shm.ts";
import { native } from "./support/segment.ts";

/** As test(), where a small /dev/shm can be mounted. */
const testInSmallShm: typeof test = mayMount ? test : (sentence) => nodeTest(sentence, { skip: true }, () => {});
const testOnceInSmallShm = mayMount ? testOnce : testInSmallShm;
if (!mayMount) console.log("skipped: this user cannot mount a small /dev/shm (needs root, or user namespaces)");

const PROGRAM = "./full.ts";

/** What a scenario of full.ts says, run with a /dev/shm of its own. */
async function run<T>(scenario: string, shm: string, args: string[] = []): Promise<T> {
  const options: ChildOptions = { args: [scenario, ...args], shm };
  const child = start(runtime, PROGRAM, options);
  try {
    const result = await child.next<T>();
    await child.end();
    return result;
  } finally {
    await child.kill();
  }
}

/** What every ERR_POOL_FULL tells. */
function assertSays(message: string, ...says: RegExp[]): void {
  const always = [
    /Asked for [\d.]+ (B|KiB|MiB);/,
    /the largest free run has [\d.]+ (B|KiB|MiB)/,
    /\/dev\/shm has [\d.]+ (B|KiB|MiB) left/,
    /release\(\)/,
    /trim\(\)/,
    /a larger capacity/,
    /--shm-size/,
  ];
  for (const pattern of [...always, ...says]) assert.match(message, pattern);
}

testInSmallShm(
  "a full /dev/shm is ERR_POOL_FULL, what was allocated is all there, and after a release it goes on",
  async () => {
    const { message, count } = await run<{ message: string; count: number }>("device", "size=4m");
    assertSays(message, /^\/dev\/shm has only /, /Asked for 312\.5 KiB/);
    assert.ok(count >= 11, `${count} arrays of 312.5 KiB fit into 4 MiB`);
  },
);

testInSmallShm(
  "what another program takes of /dev/shm is missing, and is used again when it is given back",
  async () => {
    const { message } = await run<{ message: string }>("other", "size=4m");
    assertSays(message, /^\/dev\/shm has only /);
  },
);

testInSmallShm(
  "a pool is made, or refused with ERR_POOL_FULL, whatever room /dev/shm has: none, too little, just enough",
  async () => {
    const result = await run<{ made: number; refused: number; first: string; last: string }>("create", "size=1m");
    for (const message of [result.first, result.last]) {
      assert.match(message, /needs 84 KiB before its first array.*trim\(\).*--shm-size/);
    }
    assert.match(result.first, /has only 0 B left/);
    assert.match(result.last, /has only 80 KiB left/);
    assert.deepEqual([result.refused, result.made], [21, 50]);
  },
);

testInSmallShm(
  "tables of arrays and of claims that cannot grow are ERR_POOL_FULL, and grow when there is room",
  async () => {
    const result = await run<{ message: string; claimMessage: string; count: number; grown: number }>(
      "tables",
      "size=2m",
    );
    assertSays(result.message);
    assertSays(result.claimMessage, /^\/dev\/shm has only /, /Asked for 32 B/);
    assert.ok(result.count > 1000, `${result.count} arrays`);
    assert.ok(result.grown > result.count + 3000, `${result.grown} arrays`);
  },
);

testInSmallShm("what trim() gives back, another pool can use", async () => {
  const result = await run<{ message: string; denied: string; bytes: number; backedBytes: number }>("trim", "size=4m");
  assertSays(result.message, /^\/dev\/shm has only /);
  assertSays(result.denied);
  assert.ok(result.bytes > 3 << 20, `${result.bytes} bytes`);
  assert.ok(result.backedBytes < 400 << 10, `${result.backedBytes} bytes are kept for 240 KiB of arrays`);
});

testInSmallShm("an allocation that runs short takes back what a killed process held", async () => {
  await run("reap", "size=4m", commandOf(runtime, PROGRAM));
});

testInSmallShm(
  "an allocation that runs short takes back what only expired claims hold, and no live claim",
  async () => {
    const { message } = await run<{ message: string }>("expire", "size=4m");
    assertSays(message, / 2 MiB only by claims that were not attached, the oldest \d+ s old/);
  },
);

testInSmallShm("a /dev/shm without a free inode is an error that says so", async () => {
  const { message } = await run<{ message: string }>("files", "size=4m,nr_inodes=8");
  assert.match(message, /takes no more files.*nr_inodes/);
});

testInSmallShm(
  "a limit on the address space (RLIMIT_AS), set at any time, is an error that says what to do",
  async () => {
    const { messages } = await run<{ messages: string[] }>("addresses", "size=64m");
    for (const message of messages) assert.match(message, /address space.*smaller capacity.*ulimit -v/);
  },
);

test("without address space the garbage collector is told nothing, and nothing fails for it", () => {
  native.weigh(Number.MAX_SAFE_INTEGER);
});

testOnceInSmallShm(
  "processes of all runtimes in a /dev/shm that is always nearly full: a few seconds of near_full.ts",
  async () => {
    const args = ["driver", "--seed", String(Date.now() % 1_000_000), "--seconds", "4"];
    const child = start(runtime, "../near_full.ts", { args, shm: "size=4m" });
    try {
      const result = await child.next<Record<string, number>>();
      for (const what of ["allocated", "full", "received"]) assert.ok(result[what]! > 0, JSON.stringify(result));
      await child.end();
    } finally {
      await child.kill();
    }
  },
);
