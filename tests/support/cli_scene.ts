/**
 * What the command line shows in docs/cli.md: `load NAME` fills a pool, `work NAME DESCRIPTOR` uses it, `idle NAME` has one
 * array, `busy NAME` allocates and attaches all the time. Each says one line of JSON, and goes on until it is killed.
 */

import process from "node:process";
import { attach, pack, Pool } from "arraypool";

const [role, name, descriptor] = process.argv.slice(2);
const pool = Pool.openOrCreate({ name: name!, capacity: "256M" });
const kept: unknown[] = [];

function readTable(): unknown {
  const table = pool.alloc(Float64Array, [1000, 1000]);
  pool.set("closing", table);
  kept.push(table);
  return table.share({ claims: 0 });
}

function readFrame(): void {
  const frame = pool.alloc(Uint8Array, [480, 640, 3]);
  kept.push(frame);
}

if (role === "load") {
  const table = readTable();
  const done = [1, 2, 3, 4].map(() => pool.alloc(Uint8Array, [480, 640, 3]));
  for (let i = 0; i < 12; i++) readFrame();
  for (const frame of done) frame.release();
  const result = pool.alloc(Float32Array, 10_000);
  pack({ result }, { ttlMs: 3_600_000 });
  result.release();
  console.log(JSON.stringify(table));
} else if (role === "work") {
  kept.push(attach(JSON.parse(descriptor!)), pool.alloc(Float32Array, 50_000));
  console.log("{}");
} else if (role === "idle") {
  kept.push(pool.alloc(Float32Array, 50_000));
  console.log("{}");
} else {
  setInterval(() => {
    for (let i = 0; i < 20; i++) {
      const array = pool.alloc(Uint8Array, 10_000);
      attach(array.share({ claims: 0 })).release(); // it is killed at any time: no claim is to be left
      array.release();
    }
  });
  console.log("{}");
}
// The collector must not take what is still to be seen.
setInterval(() => void kept.length, 1000);
