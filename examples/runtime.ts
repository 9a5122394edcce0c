/** Which runtime this is, and how to start either one as a child process. Shared by the examples. */

import { execFileSync } from "node:child_process";
import process from "node:process";

export type Runtime = "bun" | "deno";

export const runtime: Runtime = process.versions.bun ? "bun" : "deno";
export const otherRuntime: Runtime = runtime === "bun" ? "deno" : "bun";

/** "Bun" or "Deno", for people. */
export const title = (name: Runtime): string => name === "bun" ? "Bun" : "Deno";

/**
 * The command that runs a script in `name`, with the permissions a child of an example needs.
 *
 * The runtime itself is asked for the path of its binary: installed by npm, `deno` is a script that starts the binary
 * and would keep an IPC channel to itself.
 */
export function command(name: Runtime): [file: string, ...args: string[]] {
  return name === "bun" ? [binary("bun", "-p", "process.execPath")] : [
    binary("deno", "eval", "console.log(Deno.execPath())"),
    "run",
    "--quiet",
    "--allow-ffi",
  ];
}

function binary(name: Runtime, ...question: string[]): string {
  if (name === runtime) return process.execPath;
  // Behind PATH the binaries that npm installed, so that an example also runs without an npm script around it.
  const PATH = `${process.env.PATH}:${new URL("../node_modules/.bin", import.meta.url).pathname}`;
  return execFileSync(name, question, { encoding: "utf8", env: { ...process.env, PATH } }).trim();
}
