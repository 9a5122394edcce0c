/** Everything that a program does with the package. Runs in Deno with `--allow-ffi` and no other permission. */

import { attach, isSharedArray, pack, Pool, PoolError, release, unpack } from "arraypool";

function check(ok: unknown, what: string): asserts ok {
  if (!ok) throw new Error(what);
}

const pool = Pool.create({ capacity: "16M" });
{
  using zeros = pool.alloc(Float64Array, [10, 20]);
  using copy = pool.from(Float32Array.of(3, 1, 2));
  using raw = pool.allocUnsafe(Uint8Array, 100);
  raw.fill(1);
  check(zeros.slab(3).reshape([4, 5]).shape.length === 2, "shapes");
  check([...copy.sort()].join() === "1,2,3", "sort");
  using same = attach(JSON.parse(JSON.stringify(copy)), Float32Array);
  check(same[2] === 3 && isSharedArray(same), "attach");
  using got = unpack<{ zeros: Float64Array }>(structuredClone(pack({ zeros })));
  got.zeros[0] = 7;
  check(zeros[0] === 7, "unpack");
  release(pack([zeros, raw]));
  using kept = zeros.retain();
  await kept.holdUntil(Promise.resolve(1));
  console.log(zeros, pool, pool.stats(), pool.blocks(), pool.members(), pool.reap(), pool.trim());
  using words = pool.alloc(Int32Array, 1);
  check(pool.wait(words, 0, 0, { timeoutMs: 1 }) === "timed-out", "wait");
  const woken = pool.waitAsync(words, 0, 0, { ref: true });
  await new Promise((resolve) => setTimeout(resolve, 20)); // its doorbell is there by then
  check(pool.notify(words, 0) === 1 && await woken === "ok", "notify");
  pool.check();
}
check(pool.stats().arrays === 0, "released");
for (let i = 0; i < 400; i++) pool.allocUnsafe(Uint8Array, 30_000); // the collector's share
check(Pool.open(pool.name) === pool && Pool.openOrCreate({ name: pool.name }) === pool, "open");
try {
  Pool.open("no-such-pool");
  check(false, "open");
} catch (error) {
  check(error instanceof PoolError && error.code === "ERR_NOT_FOUND", String(error));
}
const name = pool.name;
pool.close();
const second = Pool.create({ name, capacity: "1M" });
console.log("all done", second.name === name);
// `second` is left open for the end of the program to close.
