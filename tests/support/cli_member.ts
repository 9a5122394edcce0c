/** A member for the tests of the command line: `NAME`, `NAME churn`. Says its process, then waits to be killed. */

import process from "node:process";
import { pack, Pool } from "arraypool";

const [name, what] = process.argv.slice(2);
const pool = Pool.openOrCreate({ name: name!, capacity: "16M" });
const kept = pool.alloc(Float32Array, [100, 10]);
if (what === "sends") {
  pack({ kept }, { ttlMs: 3_600_000 });
  pool.close();
}
console.log(JSON.stringify({ pid: process.pid, kept: kept.length }));
if (what === "churn") {
  for (;;) {
    for (let i = 1; i < 2000; i++) pool.allocUnsafe(Uint8Array, 1 + (i * 7919) % 40_000).release();
    await new Promise((resolve) => setTimeout(resolve));
  }
}
// The collector must not take what is still to be seen.
setInterval(() => void kept.length, 1000);
