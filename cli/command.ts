/** What a command is, and how it ends. */

import type { ParseArgsOptionsConfig } from "node:util";
import type { Paint } from "./format.ts";

/** Exit codes, as docs/cli.md explains them. */
export const EXIT = {
  done: 0,
  /** The answer is no: damage was found, members live there, nobody does. */
  no: 1,
  usage: 2,
  notFound: 3,
  /** Another user's, another version's, or no pool at all. */
  notOurs: 4,
  /** It could not be told, since the pool never stood still, or somebody keeps its lock. */
  busy: 5,
  /** The library, or the system. */
  failed: 6,
} as const;

/** What a command gets. */
export interface Context {
  /** Positional arguments. */
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly json: boolean;
  readonly paint: Paint;
  /** Columns for a picture. */
  readonly width: number;
  /** The longest line of a table: without a terminal nothing is cut. */
  readonly lineWidth: number;
  /** Writes lines to standard output. */
  print(...lines: string[]): void;
  /** Writes a value as JSON to standard output. */
  printJson(value: unknown): void;
}

/** A command. */
export interface Command {
  readonly name: string;
  /** Positional arguments, as they stand in its help: `NAME`, `[NAME]`. */
  readonly takes: "" | "NAME" | "[NAME]";
  /** One line for the list of commands. */
  readonly summary: string;
  /** The rest of its help. */
  readonly help: string;
  readonly options?: ParseArgsOptionsConfig;
  /** What each option does. */
  readonly optionHelp?: Readonly<Record<string, string>>;
  run(context: Context): number | Promise<number>;
}

/** Wrong usage: says what is wrong and where help is. */
export class UsageError extends Error {}

/** An option that is a whole number. */
export function wholeNumber(context: Context, option: string, fallback: number): number {
  const text = context.options[option];
  if (text === undefined) return fallback;
  if (typeof text !== "string" || !/^\d{1,9}$/.test(text)) {
    throw new UsageError(`--${option} needs a whole number, not ${JSON.stringify(text)}`);
  }
  return Number(text);
}

/** An option that is a time in seconds, as milliseconds. */
export function seconds(context: Context, option: string, fallback: number): number {
  const text = context.options[option];
  if (text === undefined) return fallback * 1000;
  if (typeof text !== "string" || !/^\d{1,6}(\.\d{1,3})?$/.test(text) || Number(text) === 0) {
    throw new UsageError(`--${option} needs a number of seconds above 0, not ${JSON.stringify(text)}`);
  }
  return Number(text) * 1000;
}
