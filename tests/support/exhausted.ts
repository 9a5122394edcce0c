/** Started with low limits: prints the error that they make of a pool. */

import { openSync } from "node:fs";
import { Pool, PoolError } from "arraypool";

try {
  if (process.argv[2] === "files") {
    Pool.create({ capacity: "1M" }).close(); // so that the library is loaded
    try {
      for (;;) openSync("/dev/null", "r");
    } catch { /* none is left */ }
    Pool.create({ capacity: "1M" });
  } else Pool.create({ capacity: "256G" });
} catch (error) {
  console.log(error instanceof PoolError ? `${error.code} ${error.message}` : error);
  process.exit(0);
}
