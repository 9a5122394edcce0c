/** A Worker of the tests that makes something for ever, under a name of a pool. */

import { Pool } from "arraypool";

interface Scope {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { data: { pool: string; name: string } }) => void): void;
}
const scope = globalThis as unknown as Scope;

scope.addEventListener("message", ({ data }) => {
  const pool = Pool.open(data.pool);
  void pool.onceAsync(data.name, (pool) => {
    pool.alloc(Float64Array, 1000);
    scope.postMessage("making");
    return new Promise(() => {});
  });
});
