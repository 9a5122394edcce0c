/** A Worker that allocates and releases, or receives, without end, until it is terminated. */

import { Pool } from "arraypool";

interface Order {
  name: string;
  /** How many arrays it keeps before it releases the oldest. */
  keeps: number;
  /** How many arrays each message has that it receives; 0: it receives none. */
  receives: number;
}
interface Scope {
  postMessage(message: unknown): void;
  onmessage: ((event: { data: Order }) => void) | null;
}
const scope = globalThis as unknown as Scope;

scope.onmessage = ({ data: { name, keeps, receives } }) => {
  const pool = Pool.open(name);
  const kept: { release(): void }[] = [];
  const channel = pool.channel<{ arrays: { release(): void }[] }>({ capacity: 2 });
  scope.postMessage("joined");
  while (receives > 0) {
    const arrays = Array.from({ length: receives }, () => pool.allocUnsafe(Float64Array, 512));
    channel.send({ arrays }, { move: true });
    for (const array of channel.receive()!.arrays) array.release();
  }
  while (true) {
    kept.push(pool.allocUnsafe(Float64Array, 512).fill(1));
    if (kept.length > keeps) kept.shift()!.release();
  }
};
