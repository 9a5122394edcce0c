/**
 * Keeps Bun's collector from running for memory that is not its own.
 *
 * JavaScriptCore counts every ArrayBuffer on foreign memory at its full size when it is made, and in a small heap collects
 * after some 8 MB of them: where arrays of a pool come and go, that is all the time, for nothing, since they are
 * let go of without it. How much it lets pass between two collections grows with what is alive. So while arrays churn there
 * is a ballast: one ArrayBuffer that nobody touches, so it takes addresses and no memory. A program is then collected as if
 * its heap were that much larger, and no longer than the churn lasts.
 *
 * It is as large as what is made within `BALLAST_MS`. So what waits to be collected is never more than a program makes in
 * about that time, however much of it is real. A program that makes nothing but real garbage right after a churn has up to
 * twice the ballast of it, so it is never larger than a small part of the memory.
 */

const BALLAST_MS = 10;
const BALLAST_MIN_BYTES = 32 << 20;
/** With twice as much hardly faster, and far more garbage. */
const BALLAST_MAX_BYTES = 256 << 20;
/** Of the memory of the machine, or of what a container may have of it. */
const BALLAST_MAX_SHARE = 1 / 16;
/** A churn: so much within that time. At this rate there would be more than a hundred collections a second. */
const STEP_BYTES = 128 << 20;
const STEP_MS = 100;
/** By less than that it is not worth a larger one, or a smaller one: what was there before waits to be collected, too. */
const GROWTH = 1.5;
const SHRINKAGE = 2;
/** Looked at that often whether it goes on. */
const LOOK_MS = 500;

/** What counts the buffers made, by their bytes. `later`, `now`: see `Native`, and `performance`. */
export function ballastFor(
  later: (callback: () => void, delayMs: number) => void,
  memoryBytes: () => number,
  now: () => number = () => performance.now(),
  make: (byteLength: number) => ArrayBuffer = (byteLength) => new ArrayBuffer(byteLength),
): (byteLength: number) => void {
  let ballast: ArrayBuffer | undefined;
  let bytes = 0;
  let since = -Infinity;
  let wanted = 0;
  let most: number | undefined;

  function share(): number {
    return Math.floor(memoryBytes() * BALLAST_MAX_SHARE);
  }

  function step(): void {
    const at = now();
    const tookMs = at - since;
    since = at;
    wanted = Math.round(bytes * BALLAST_MS / tookMs);
    wanted = Math.max(BALLAST_MIN_BYTES, Math.min(wanted, most ??= Math.min(BALLAST_MAX_BYTES, share())));
    bytes = 0;
    if (tookMs > STEP_MS) return;
    if (ballast === undefined) {
      fit();
      if (ballast !== undefined) later(look, LOOK_MS);
    } else if (wanted >= GROWTH * ballast.byteLength) fit();
  }

  function fit(): void {
    try {
      ballast = make(wanted);
    } catch { /* without the addresses for it (ulimit -v), it is as it was */ }
  }

  function look(): void {
    if (now() - since > LOOK_MS) {
      ballast = undefined;
      return;
    }
    if (SHRINKAGE * wanted <= ballast!.byteLength) fit();
    later(look, LOOK_MS);
  }

  return (byteLength) => {
    bytes += byteLength;
    if (bytes >= STEP_BYTES) step();
  };
}
