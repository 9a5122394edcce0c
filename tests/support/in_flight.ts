/**
 * Started by tests/native_calls.test.ts: releases an array while a call is in flight on it, gives the memory to another
 * array at once, and prints for each call a line of JSON that says what came of that.
 */

import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "arraypool";
import { runtime, untilCollected } from "./harness.ts";
import { type Call, calls, type Scene } from "./native_calls.ts";

/** What came of one call. */
export interface Outcome {
  call: string;
  held: boolean;
  result:
    /** What was read is the array; what was written went nowhere else. */
    | "safe"
    /** An error, or no end. */
    | "fails"
    /** Less was read than there was, and no error says so. */
    | "lost"
    /** Bytes of the other array were read or overwritten. */
    | "unsafe";
  /** For a message. */
  details: string;
}

const LENGTH = 2 ** 22;
const CANARY = 0xee;
/** Only there to fail instead of hanging. */
const LIMIT_MS = 20_000;
/** For calls that are known not to get over the array's detachment. */
const NO_END_MS = 500;

const original = new Uint8Array(LENGTH).map((_, i) => Math.imul(i, 2654435761) >>> 13 & 0x7f);

// Some calls throw where nobody can catch it.
let uncaught: (error: Error) => void = () => {};
process.on("uncaughtException", (error: Error) => uncaught(error));
process.on("unhandledRejection", (error: Error) => uncaught(error));

async function tryOut(call: Call, held: boolean): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "arraypool-"));
  const ends: (() => unknown)[] = [];
  using pool = Pool.create({ capacity: LENGTH + 2 ** 20 });
  try {
    return await releaseInFlight(call, held, pool, { folder, original, defer: (end) => ends.push(end) });
  } finally {
    for (const end of ends.reverse()) await end();
    rmSync(folder, { recursive: true });
    const isFree = () => pool.stats().arrays === 0;
    if (!isFree()) await untilCollected(isFree, `the memory comes back after ${call.name}`);
  }
}

async function releaseInFlight(call: Call, held: boolean, pool: Pool, scene: Scene): Promise<Outcome> {
  const begin = await call.prepare(scene);
  const array = pool.from(original);
  const { done, go } = begin(array as unknown as Uint8Array<ArrayBuffer>);
  let written: Uint8Array | undefined;
  const settled = done.finally(() => {
    if (held && !array.buffer.detached) written = array.slice();
  });
  // Some calls take the buffer away.
  if (held && !array.buffer.detached) array.holdUntil(settled).catch(() => {});
  array.release();
  using canary = pool.allocUnsafe(Uint8Array, pool.stats().largestFreeBytes).fill(CANARY);
  go?.();
  const got = await outcomeOf(settled, !held && call.neverEnds?.includes(runtime) ? NO_END_MS : LIMIT_MS);
  const untouched = Buffer.compare(canary, Buffer.alloc(canary.length, CANARY)) === 0;
  const harmed = untouched ? -1 : canary.findIndex((byte) => byte !== CANARY);
  const [result, details] = judge(call, got, written, held, harmed);
  return { call: call.name, held, result, details };
}

async function outcomeOf(done: Promise<Uint8Array | void>, limitMs: number): Promise<Uint8Array | string | void> {
  const failed = new Promise<string>((resolve) => uncaught = (error) => resolve(`not caught: ${error}`));
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<string>((resolve) => timer = setTimeout(() => resolve("no end"), limitMs));
  try {
    return await Promise.race([done.catch((error) => String(error)), failed, late]);
  } finally {
    clearTimeout(timer!);
    uncaught = () => {};
  }
}

function judge(
  call: Call,
  got: Uint8Array | string | void,
  written: Uint8Array | undefined,
  held: boolean,
  harmed: number,
): [Outcome["result"], string] {
  if (harmed >= 0) return ["unsafe", `the other array was overwritten from ${harmed} on`];
  if (typeof got === "string") return ["fails", got];
  if (call.does === "write") {
    if (!held || written!.some((byte) => byte > 0)) return ["safe", ""];
    return ["lost", "nothing was written to the array"];
  }
  if (got!.includes(CANARY)) return ["unsafe", `bytes of the other array were read from ${got!.indexOf(CANARY)} on`];
  const expected = call.length ?? LENGTH;
  const same = Buffer.compare(got!, original.subarray(0, got!.length)) === 0;
  if (same && got!.length === expected) return ["safe", ""];
  return ["lost", `${got!.length} of ${expected} bytes${same ? "" : ", and not the array's"}`];
}

const tried: Call[] = [];
try {
  for (const call of calls) {
    if (call.in !== undefined && call.in !== runtime) continue;
    if (process.argv[2] !== undefined && !call.name.includes(process.argv[2])) continue;
    console.log(JSON.stringify(await tryOut(call, false)));
    tried.push(call);
  }
  // Nothing is thrown here that is not caught, so several can run at once.
  const inTurn = async () => {
    for (let call = tried.pop(); call !== undefined; call = tried.pop()) {
      console.log(JSON.stringify(await tryOut(call, true)));
    }
  };
  await Promise.all([inTurn(), inTurn(), inTurn(), inTurn()]);
  process.exit(0);
} catch (error) {
  console.error(error);
  process.exit(1);
}
