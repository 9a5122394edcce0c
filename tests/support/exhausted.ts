/** Started with low limits, or without a /dev/shm: prints the error that they make of a pool. */

import { openSync } from "node:fs";
import { Pool, PoolError } from "arraypool";

try {
  if (process.argv[2] === "files") {
    Pool.create({ capacity: "1M" }).close(); // so that the library is loaded
    try {
      for (;;) openSync("/dev/null", "r");
    } catch { /* none is left */ }
    Pool.create({ capacity: "1M" });
  } else if (process.argv[2] === "addresses") Pool.create({ capacity: "256G" });
  else if (process.argv[2] === "create") Pool.create();
  else Pool.openOrCreate({ name: "prices" });
} catch (error) {
  console.log(error instanceof PoolError ? `${error.code} ${error.message}` : error);
  process.exit(0);
}
