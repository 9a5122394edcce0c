/** A Worker that joins a pool, holds two arrays of it, and waits to be terminated. */

import { Pool } from "arraypool";

interface Order {
  /** Without a pool it only waits. */
  name?: string;
  /** Whether to transfer the buffer of the larger array, which is full of sevens, to the main thread. */
  transfer?: boolean;
}
interface Scope {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  onmessage: ((event: { data: Order }) => void) | null;
}
const scope = globalThis as unknown as Scope;

const held: unknown[] = [];

scope.onmessage = ({ data: { name, transfer } }) => {
  if (name === undefined) return scope.postMessage("idle", []);
  const pool = Pool.open(name);
  const array = pool.alloc(Uint8Array, 2 ** 20).fill(7);
  held.push(array, pool.alloc(Float64Array, 1000).fill(1));
  if (transfer) scope.postMessage(array.buffer, [array.buffer]);
  else scope.postMessage("joined", []);
};
