/** What the command line needs of the process, the same in each runtime, and without a permission that can be avoided. */

import process from "node:process";

interface DenoGlobals {
  readonly noColor: boolean;
  readonly permissions: { querySync(descriptor: { name: "env"; variable: string }): { readonly state: string } };
  readonly env: { get(name: string): string | undefined };
}

const deno = (globalThis as unknown as { Deno?: DenoGlobals }).Deno;

/** An environment variable; undefined also where Deno was not allowed to read it. Never asks. */
function environment(name: string): string | undefined {
  if (deno === undefined) return process.env[name];
  return deno.permissions.querySync({ name: "env", variable: name }).state === "granted"
    ? deno.env.get(name)
    : undefined;
}

/** Lets Node not say that its FFI is experimental: that is for those who write programs. */
export function quietNode(): void {
  const { emitWarning } = process;
  const quiet = (warning: string | Error, ...rest: unknown[]) => {
    if (!String(warning).startsWith("FFI is an experimental feature")) {
      (emitWarning as (...all: unknown[]) => void).call(process, warning, ...rest);
    }
  };
  process.emitWarning = quiet as typeof emitWarning;
}

/** Whether to colour: what FORCE_COLOR says, or else NO_COLOR, or else on terminals. */
export function wantsColor(): boolean {
  const forced = environment("FORCE_COLOR");
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  if (deno?.noColor === true || (environment("NO_COLOR") ?? "") !== "") return false;
  return process.stdout.isTTY === true && environment("TERM") !== "dumb";
}

/** Columns of the terminal; 0 where there is none. */
export function terminalColumns(): number {
  return process.stdout.isTTY === true ? Math.max(40, process.stdout.columns || 80) : 0;
}
