/**
 * A command line, run: which command, with which options, and what becomes of its errors. Each command is a file. They look at
 * pools without joining them (look.ts), and change nothing unless that is what they are for.
 */

import { parseArgs } from "node:util";
import { AP_ABI_VERSION } from "../core/abi.ts";
import { checkName } from "../core/descriptor.ts";
import { PoolError, type PoolErrorCode } from "../mod.ts";
import { type Command, type Context, EXIT, UsageError } from "./command.ts";
import { gc, reap, rm, trim } from "./care.ts";
import { check } from "./check.ts";
import { inspect } from "./inspect.ts";
import { leaks } from "./leaks.ts";
import { ls } from "./ls.ts";
import { top } from "./top.ts";
import { Paint } from "./format.ts";

/** Of the package. */
const VERSION = "0.1.0";

const commands: readonly Command[] = [ls, inspect, top, leaks, check, reap, trim, rm, gc];

const common = { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;

/** Where a command writes to, and how. */
export interface Output {
  out(text: string): void;
  err(text: string): void;
  readonly color: boolean;
  /** Of the terminal; 0 where there is none. */
  readonly columns: number;
}

/** Runs a command line; returns the exit code. */
export async function run(argv: readonly string[], { out, err, color, columns }: Output): Promise<number> {
  const paint = new Paint(color);
  const print = (...lines: string[]) => out(lines.map((line) => line + "\n").join(""));
  const printJson = (value: unknown) => print(JSON.stringify(value, null, 2));
  const json = argv.includes("--json");
  const fail = (code: string, message: string) => {
    if (json) printJson({ error: { code, message } });
    else err(`arraypool: ${message}\n`);
  };
  try {
    const [word, ...rest] = argv;
    if (word === undefined || word === "--help" || word === "-h" || word === "help") {
      const about = word === "help" && rest.length > 0 ? named(rest[0]!) : undefined;
      print(about === undefined ? overview() : helpOf(about));
      return word === undefined ? EXIT.usage : EXIT.done;
    }
    if (word === "--version") {
      if (json) printJson({ version: VERSION, interface: AP_ABI_VERSION });
      else print(`arraypool ${VERSION}, interface ${AP_ABI_VERSION}`);
      return EXIT.done;
    }
    const command = named(word);
    const { values, positionals } = parse(command, rest);
    if (values.help === true) {
      print(helpOf(command));
      return EXIT.done;
    }
    const least = command.takes === "NAME" ? 1 : 0;
    const most = command.takes === "" ? 0 : 1;
    if (positionals.length < least) throw new UsageError(`${command.name} needs the name of a pool`);
    if (positionals.length > most) {
      throw new UsageError(`${command.name} takes ${most === 0 ? "no name" : "one name"}, not ${positionals.length}`);
    }
    for (const name of positionals) {
      try {
        checkName(name);
      } catch (error) {
        throw new UsageError((error as Error).message);
      }
    }
    const context: Context = {
      args: positionals,
      options: values as Context["options"],
      json: values.json === true,
      paint,
      width: columns || 80,
      lineWidth: columns || Infinity,
      print,
      printJson,
    };
    return await command.run(context);
  } catch (error) {
    if (error instanceof UsageError) {
      fail("USAGE", `${error.message}\nSee arraypool --help`);
      return EXIT.usage;
    }
    if (error instanceof PoolError) {
      // The library's advice is for programs.
      fail(error.code, error.code === "ERR_NOT_FOUND" ? error.message.replace(/: .*/s, LISTED) : error.message);
      return exitCodes[error.code] ?? EXIT.failed;
    }
    if (error instanceof Error && error.name === "NotCapable") {
      fail("PERMISSION", "arraypool needs a permission: deno run --allow-ffi npm:arraypool …");
      return EXIT.failed;
    }
    throw error;
  }
}

const LISTED = ": arraypool ls shows which there are";

const exitCodes: Partial<Record<PoolErrorCode, number>> = {
  ERR_NOT_FOUND: EXIT.notFound,
  ERR_PERMISSION: EXIT.notOurs,
  ERR_LAYOUT_VERSION: EXIT.notOurs,
  ERR_CORRUPT_SEGMENT: EXIT.no,
  ERR_POOL_BUSY: EXIT.busy,
  ERR_TOO_MANY_MEMBERS: EXIT.busy,
};

function named(word: string): Command {
  const command = commands.find(({ name }) => name === word);
  if (command !== undefined) return command;
  const meant = commands.find(({ name }) => name.startsWith(word) || word.startsWith(name));
  throw new UsageError(
    `there is no command ${JSON.stringify(word)}` + (meant === undefined ? "" : `; did you mean ${meant.name}?`),
  );
}

function parse(command: Command, args: string[]) {
  try {
    return parseArgs({ args, options: { ...common, ...command.options }, allowPositionals: true, strict: true });
  } catch (error) {
    // ERR_PARSE_ARGS_…: says which option.
    throw new UsageError((error as Error).message.split(". ")[0]!);
  }
}

function overview(): string {
  const widest = Math.max(...commands.map((command) => usageOf(command).length));
  return [
    "arraypool: the pools of shared memory of this user",
    "",
    "usage: arraypool COMMAND [NAME] [OPTIONS]",
    "",
    ...commands.map((command) => `  ${usageOf(command).padEnd(widest)}  ${command.summary}`),
    "",
    "  --json     print JSON",
    "  --help     help, also of one command: arraypool inspect --help",
    "  --version  the package's, and that of its interface",
    "",
    "Nothing is changed but by reap, trim, rm and gc. Colours appear on terminals; NO_COLOR and FORCE_COLOR decide.",
    "Exit codes: 0 done; 1 the answer is no (damaged, refused); 2 wrong usage; 3 no such pool; 4 not ours to read",
    "(another user's or version's); 5 busy; 6 the library or the system failed.",
  ].join("\n");
}

function usageOf({ name, takes }: Command): string {
  return takes === "" ? name : `${name} ${takes}`;
}

function helpOf(command: Command): string {
  const options = { ...command.optionHelp, json: "print JSON" };
  const widest = Math.max(...Object.keys(options).map((name) => name.length));
  return [
    `usage: arraypool ${usageOf(command)} [OPTIONS]`,
    "",
    command.help,
    "",
    ...Object.entries(options).map(([name, says]) => `  --${name.padEnd(widest)}  ${says}`),
  ].join("\n");
}
