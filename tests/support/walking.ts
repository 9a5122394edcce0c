/** Walks over its many arrays without end, so that it is likely to have the pool's lock when it is stopped. */

import { Pool } from "arraypool";

const pool = Pool.open(process.argv[2]!);
const arrays = Array.from({ length: 20_000 }, () => pool.allocUnsafe(Uint8Array, 64));
console.log(JSON.stringify({ walking: arrays.length }));
for (const end = Date.now() + 60_000; Date.now() < end;) pool.stats();
