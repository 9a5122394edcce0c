/** bun/ballast.ts: when there is a ballast, and how large. What it is good for is measured by `npm run bench`. */

import { ballastFor } from "../bun/ballast.ts";
import { assert, test } from "./support/harness.ts";

const MIB = 1 << 20;

/** A ballast over a clock of its own. */
function trial(memoryBytes = 8192 * MIB) {
  const looks: (() => void)[] = [];
  const made: number[] = [];
  let nowMs = 0;
  const later = (callback: () => void) => looks.push(callback);
  const make = (byteLength: number) => {
    made.push(byteLength / MIB);
    return new ArrayBuffer(byteLength);
  };
  const count = ballastFor(later, () => memoryBytes, () => nowMs, make);
  /** Makes buffers of 1 MiB at that rate. */
  const churn = (bytes: number, bytesPerMs: number) => {
    for (let done = 0; done < bytes; done += MIB) {
      nowMs += MIB / bytesPerMs;
      count(MIB);
    }
  };
  return { looks, made, count, churn, sleep: (ms: number) => nowMs += ms };
}

test("arrays that are made in a large number at once make a ballast, which is looked at until they are no more", () => {
  const { looks, made, churn, sleep } = trial();
  churn(100 * MIB, 2 * MIB);
  assert.equal(looks.length, 0);
  churn(500 * MIB, 2 * MIB);
  assert.deepEqual([looks.length, made.length], [1, 1], "one ballast, however long it goes on");
  looks.pop()!();
  assert.equal(looks.length, 1, "the churn may go on: it is looked at once more");
  sleep(600);
  looks.pop()!();
  assert.equal(looks.length, 0, "it is over");
  churn(500 * MIB, 2 * MIB);
  assert.deepEqual([looks.length, made.length], [1, 2], "and the next one begins anew");
});

test("a ballast is what is made in 10 ms, from 32 to 256 MiB, and grows with the churn", () => {
  const { looks, made, churn } = trial();
  churn(512 * MIB, 2 * MIB);
  assert.deepEqual(made, [32]);
  churn(512 * MIB, 6.4 * MIB);
  assert.deepEqual(made, [32, 64]);
  churn(512 * MIB, 8 * MIB);
  assert.deepEqual(made, [32, 64], "a little faster is not worth another one");
  churn(1024 * MIB, 1000 * MIB);
  assert.deepEqual(made, [32, 64, 256]);
  assert.equal(looks.length, 1);
  churn(512 * MIB, 4 * MIB);
  assert.deepEqual(made, [32, 64, 256]);
  looks.pop()!();
  assert.deepEqual(made, [32, 64, 256, 40], "it shrinks with the churn, too");
  assert.equal(looks.length, 1);
});

test("where memory is short a ballast is a sixteenth of it, and 32 MiB where that is less", () => {
  for (const [memory, most] of [[1024, 64], [2048, 128], [4096, 256], [16384, 256], [256, 32]] as const) {
    const { made, churn } = trial(memory * MIB);
    churn(1024 * MIB, 1000 * MIB);
    assert.deepEqual(made, [most]);
  }
});

test("a few large arrays now and then are no churn", () => {
  const { looks, count, sleep } = trial();
  for (let i = 0; i < 4; i++) {
    count(200 * MIB);
    sleep(150);
  }
  assert.equal(looks.length, 0);
});

test("without the addresses for a ballast there is none", () => {
  const looks: unknown[] = [];
  const count = ballastFor((look) => looks.push(look), () => 8192 * MIB, () => 0, () => {
    throw new RangeError("no addresses");
  });
  for (let i = 0; i < 1000; i++) count(MIB);
  assert.equal(looks.length, 0);
});
