/**
 * A member for the tests of the command line: `NAME` and what it does besides keeping an array. Says its process, then goes on
 * until it is killed.
 *
 *     sends     sends the array, and leaves
 *     churn     allocates and releases all the time
 *     grows     keeps more and more
 *     many      keeps more arrays than a trace has room for
 *     shares    attaches to its own arrays
 */

import process from "node:process";
import { attach, pack, Pool } from "arraypool";

const [name, what] = process.argv.slice(2);
const pool = Pool.openOrCreate({ name: name!, capacity: "16M" });
const kept: unknown[] = [];

function load(): void {
  const array = pool.alloc(Float32Array, [100, 10]);
  kept.push(array);
}

load();
if (what === "sends") {
  pack({ kept }, { ttlMs: 3_600_000 });
  pool.close();
}
if (what === "many") { for (let i = 0; i < 12_000; i++) kept.push(pool.alloc(Uint8Array, 1)); }
if (what === "grows") setInterval(load, 5);
if (what === "churn") {
  setInterval(() => {
    for (let i = 1; i < 1000; i++) pool.allocUnsafe(Uint8Array, 1 + (i * 7919) % 40_000).release();
  });
}
if (what === "shares") {
  setInterval(() => {
    const array = pool.alloc(Uint8Array, 100);
    for (let i = 0; i < 10; i++) attach(array.share()).release();
    array.release();
  });
}
console.log(JSON.stringify({ pid: process.pid }));
// The collector must not take what is still to be seen.
setInterval(() => void kept.length, 1000);
