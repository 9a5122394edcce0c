/** The one error class of the package, and what it says: what happened, and what to do about it. */

/** What went wrong, for programs. */
export type PoolErrorCode =
  | "ERR_STALE_DESCRIPTOR"
  | "ERR_POOL_FULL"
  | "ERR_POOL_BUSY"
  | "ERR_TOO_MANY_MEMBERS"
  | "ERR_CORRUPT_SEGMENT"
  | "ERR_NOT_FOUND"
  | "ERR_ALREADY_EXISTS"
  | "ERR_PERMISSION"
  | "ERR_LAYOUT_VERSION"
  | "ERR_CLOSED"
  | "ERR_TIMEOUT"
  | "ERR_RELEASED"
  | "ERR_ARRAY_TOO_LARGE"
  | "ERR_LIBRARY"
  | "ERR_SYSTEM";

/**
 * Thrown when a pool cannot do what was asked. Wrong arguments are a `TypeError` or a `RangeError` instead.
 *
 * @example
 * ```ts
 * import { Pool, PoolError } from "arraypool";
 *
 * try {
 *   Pool.open("no-such-pool");
 * } catch (error) {
 *   if (error instanceof PoolError && error.code === "ERR_NOT_FOUND") console.log(error.message);
 *   else throw error;
 * }
 * ```
 */
export class PoolError extends Error {
  /** Always `"PoolError"`. */
  override readonly name = "PoolError";
  /** What went wrong, for programs; `message` says it to people. */
  readonly code: PoolErrorCode;

  /** Made by the package; programs only catch it. */
  constructor(code: PoolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** `3 KiB`: `bytes` to read. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${Number(bytes.toFixed(1))} ${units[unit]}`;
}

/** A value as it may stand in an error message: short, and without running code of the value. */
export function quote(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? value.slice(0, 40) + "…" : value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return nameOfFunction(value);
  if (typeof value === "symbol") return "a symbol";
  if (Array.isArray(value)) return "an array";
  if (ArrayBuffer.isView(value)) return withArticle(tagOfView.call(value) ?? "DataView");
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/** Of a TypedArray its class's name, whatever its prototype; of anything else undefined. */
const tagOfView: (this: unknown) => string | undefined = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

function withArticle(noun: string): string {
  return `${/^[AEIO]/.test(noun) ? "an" : "a"} ${noun}`;
}

/** `the function Array`: a class is one, too. */
function nameOfFunction(value: object): string {
  const name = Object.getOwnPropertyDescriptor(value, "name")?.value;
  return typeof name === "string" && /^[\w$]{1,40}$/.test(name) ? `the function ${name}` : "a function";
}

/**
 * Sees that all options are there that a caller gives: a pool has the capacity that it was made with, and who has misspelt that
 * would find out when it is full; who has misspelt a `timeoutMs` would wait for ever. @throws {TypeError}
 */
export function checkNames(options: object, known: readonly string[]): void {
  // The quickest way to see each: messages are sent and received with options.
  for (const name in options) {
    if (!known.includes(name)) throw new TypeError(`there is no option ${quote(name)}: use ${known.join(", ")}`);
  }
}

/** Sees that options are an object, and all of them there. @throws {TypeError} */
export function checkOptions<O extends object>(options: O, known: readonly string[]): O {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`options must be an object, not ${quote(options)}`);
  }
  checkNames(options, known);
  return options;
}
