/**
 * Keeps Bun's collector from running for memory that is not its own.
 *
 * JavaScriptCore counts every ArrayBuffer on foreign memory at its full size when it is made, and in a small heap collects
 * after some 8 MB of them: where arrays of a pool come and go, that is all the time, for nothing, since they are
 * let go of without it. How much it lets pass between two collections grows with what is alive. So while arrays churn there
 * is a ballast: one ArrayBuffer that nobody touches, so it takes addresses and no memory. A program is then collected as if
 * its heap were that much larger, and no longer than the churn lasts.
 */

/** With twice as much, hardly faster; and no more than this may real garbage wait. */
const BALLAST_BYTES = 32 << 20;
/** A churn: so much within that time. At this rate there would be more than a hundred collections a second. */
const STEP_BYTES = 128 << 20;
const STEP_MS = 100;
/** Looked at that often whether it goes on. */
const LOOK_MS = 500;

/** What counts the buffers made, by their bytes. `later`: see `Native`. */
export function ballastFor(later: (callback: () => void, delayMs: number) => void): (byteLength: number) => void {
  let ballast: ArrayBuffer | undefined;
  let bytes = 0;
  let since = -Infinity;

  function step(): void {
    bytes = 0;
    const now = performance.now();
    const churns = now - since <= STEP_MS;
    since = now;
    if (!churns || ballast !== undefined) return;
    try {
      ballast = new ArrayBuffer(BALLAST_BYTES);
    } catch {
      return; // without the addresses for it (ulimit -v), it is as it was
    }
    later(look, LOOK_MS);
  }

  function look(): void {
    if (performance.now() - since <= LOOK_MS) later(look, LOOK_MS);
    else ballast = undefined;
  }

  return (byteLength) => {
    bytes += byteLength;
    if (bytes >= STEP_BYTES) step();
  };
}
