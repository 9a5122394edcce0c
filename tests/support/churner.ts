/** A Worker that allocates and releases without end, until it is terminated. */

import { Pool } from "arraypool";

interface Order {
  name: string;
  /** How many arrays it keeps before it releases the oldest. */
  keeps: number;
}
interface Scope {
  postMessage(message: unknown): void;
  onmessage: ((event: { data: Order }) => void) | null;
}
const scope = globalThis as unknown as Scope;

scope.onmessage = ({ data: { name, keeps } }) => {
  const pool = Pool.open(name);
  const kept: { release(): void }[] = [];
  scope.postMessage("joined");
  while (true) {
    kept.push(pool.allocUnsafe(Float64Array, 512).fill(1));
    if (kept.length > keeps) kept.shift()!.release();
  }
};
