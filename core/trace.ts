/**
 * ARRAYPOOL_TRACE=1: where arrays were made, and an error where one is about to be copied instead of sent.
 *
 * A structured clone of a pool array is an ordinary copy, and nothing says so. Tracing wraps the functions that clone.
 */

import { formatBytes } from "./errors.ts";
import type { Hold } from "./hold.ts";
import { native } from "./native.ts";
import { walkMessage } from "./walk.ts";

let enabled: boolean | undefined;

/** Whether ARRAYPOOL_TRACE=1; looked up once. */
export function tracing(): boolean {
  return enabled ??= native().environment("ARRAYPOOL_TRACE") === "1";
}

/** The calls by which the program asked for the array that is being made, the innermost first; undefined without tracing. */
export function traceStack(): string[] | undefined {
  if (!(enabled ?? tracing())) return undefined;
  if (asker !== undefined) return asker;
  // In a bundle, the library's calls and the program's are in one file: then it says nothing.
  const folder = new URL(".", import.meta.url ?? "bundle:/").href;
  const path = decodeURIComponent(new URL(folder).pathname);
  const lines = (new Error().stack ?? "").split("\n").slice(1).map((line) => line.trim());
  return lines.filter((line) => !line.includes(folder) && !line.includes(path));
}

let asker: string[] | undefined;

/** What `take` makes was asked for some time ago, by the calls that traceStack() has told then. */
export function askedBy<R>(stack: string[], take: () => R): R {
  asker = stack;
  try {
    return take();
  } finally {
    asker = undefined;
  }
}

/** Origins of unreleased arrays with their bytes, the most first; undefined without tracing. */
export function originsOf(holds: Iterable<Hold>): string | undefined {
  if (!tracing()) return undefined;
  const bytes = new Map<string, number>();
  for (const { origin, byteLength } of holds) {
    if (origin !== undefined) bytes.set(origin, (bytes.get(origin) ?? 0) + byteLength);
  }
  const sorted = [...bytes].sort((a, b) => b[1] - a[1]).slice(0, 10);
  return sorted.map(([origin, sum]) => `  ${formatBytes(sum)} ${origin}`).join("\n");
}

type Function = (this: unknown, ...args: unknown[]) => unknown;

let guarded = false;

/** Makes the functions that clone refuse messages with arrays in them; `isArray` tells those. */
export function guardClones(isArray: (value: unknown) => boolean): void {
  if (guarded) return;
  guarded = true;
  const scope = globalThis as unknown as Record<string, { prototype?: object } | undefined>;
  guard(scope, "structuredClone", isArray);
  guard(scope, "postMessage", isArray);
  for (const name of ["Worker", "MessagePort", "BroadcastChannel"]) {
    guard(scope[name]?.prototype, "postMessage", isArray);
  }
}

function guard(owner: object | undefined, name: string, isArray: (value: unknown) => boolean): void {
  const holder = owner as Record<string, Function | undefined> | undefined;
  const original = holder?.[name];
  if (holder === undefined || original === undefined) return;
  holder[name] = function (message, ...rest) {
    let hasArray = false;
    try {
      walkMessage(message, (value) => hasArray ||= isArray(value));
    } catch { /* nested more deeply than pack() takes it: but this function may */ }
    if (hasArray) {
      throw new TypeError(`${name}() would copy a pool array: pack() what you send, and unpack() what you get`);
    }
    return original.call(this, message, ...rest);
  };
}
