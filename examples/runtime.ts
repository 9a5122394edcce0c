/** Which runtime this is, and how to start each of them as a child process. Shared by the examples. */

import { execFileSync } from "node:child_process";
import process from "node:process";

export type Runtime = "bun" | "deno" | "node";

export const runtime: Runtime = process.versions.bun ? "bun" : process.versions.deno ? "deno" : "node";
/** The next one, so that each has its turn. */
export const otherRuntime: Runtime = ({ bun: "deno", deno: "node", node: "bun" } as const)[runtime];

/** "Bun", "Deno" or "Node", for people. */
export const title = (name: Runtime): string => ({ bun: "Bun", deno: "Deno", node: "Node" })[name];

/**
 * The command that runs a script in `name`, with the permissions a child of an example needs.
 *
 * The runtime itself is asked for the path of its binary: installed by npm, `deno` is a script that starts the binary
 * and would keep an IPC channel to itself. Node says that its FFI is experimental, to each child, if it is not told not to.
 */
export function command(name: Runtime): [file: string, ...args: string[]] {
  switch (name) {
    case "bun":
      return [binary("bun", "-p", "process.execPath")];
    case "deno":
      return [binary("deno", "eval", "console.log(Deno.execPath())"), "run", "--quiet", "--allow-ffi"];
    case "node":
      return [binary("node", "-p", "process.execPath"), "--disable-warning=ExperimentalWarning"];
  }
}

function binary(name: Runtime, ...question: string[]): string {
  if (name === runtime) return process.execPath;
  // Behind PATH the binaries that npm installed, so that an example also runs without an npm script around it.
  const PATH = `${process.env.PATH}:${import.meta.dirname}/../node_modules/.bin`;
  return execFileSync(name, question, { encoding: "utf8", env: { ...process.env, PATH } }).trim();
}
