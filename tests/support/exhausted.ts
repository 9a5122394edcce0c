/** Started with low limits, without a /dev/shm, or with another one: prints the error that they make of a pool, or of a message. */

import { openSync } from "node:fs";
import { Pool, PoolError, unpack } from "arraypool";

try {
  if (process.argv[2] === "files") {
    Pool.create({ capacity: "1M" }).close(); // so that the library is loaded
    try {
      for (;;) openSync("/dev/null", "r");
    } catch { /* none is left */ }
    Pool.create({ capacity: "1M" });
  } else if (process.argv[2] === "addresses") Pool.create({ capacity: "256G" });
  else if (process.argv[2] === "create") Pool.create();
  else if (process.argv[2] === "openOrCreate") Pool.openOrCreate({ name: "prices" });
  else unpack(JSON.parse(process.argv[2]!));
} catch (error) {
  console.log(error instanceof PoolError ? `${error.code} ${error.message}` : error);
  process.exit(0);
}
