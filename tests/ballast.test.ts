/** bun/ballast.ts: when there is a ballast, and when not. What it is good for is measured by `npm run bench`. */

import { ballastFor } from "../bun/ballast.ts";
import { assert, sleep, test } from "./support/harness.ts";

const MIB = 1 << 20;

test("arrays that are made in a large number at once make a ballast, which is looked at until they are no more", async () => {
  const looks: (() => void)[] = [];
  const count = ballastFor((callback) => looks.push(callback));
  for (let i = 0; i < 100; i++) count(MIB);
  assert.equal(looks.length, 0);
  for (let i = 0; i < 500; i++) count(MIB);
  assert.equal(looks.length, 1, "one ballast, however long it goes on");
  looks.pop()!();
  assert.equal(looks.length, 1, "the churn may go on: it is looked at once more");
  await sleep(600);
  looks.pop()!();
  assert.equal(looks.length, 0, "it is over");
  for (let i = 0; i < 500; i++) count(MIB);
  assert.equal(looks.length, 1, "and the next one begins anew");
});

test("a few large arrays now and then are no churn", async () => {
  const looks: unknown[] = [];
  const count = ballastFor((callback) => looks.push(callback));
  for (let i = 0; i < 4; i++) {
    count(200 * MIB);
    await sleep(150);
  }
  assert.equal(looks.length, 0);
});
