// What the figures depend on: the machine and the versions of everything; and where things are.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The repository. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** The library of this machine. */
export const libraryFolder = join(root, "lib", `${process.platform}-${process.arch}`);

/** What the command prints, or undefined where it fails. */
function ask(command, ...args) {
  try {
    const output = execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return output.trim().split("\n")[0];
  } catch {
    return undefined;
  }
}

/**
 * The binaries of the runtimes, to be started without the scripts that npm may have put around them: those would not pass
 * on a signal.
 */
export const runtimes = {
  Bun: ask("bun", "-p", "process.execPath"),
  Deno: ask("deno", "eval", "console.log(Deno.execPath())"),
};

/** Machine and versions, for the file of results. */
export function describeMachine() {
  return {
    cpu: os.cpus()[0]?.model,
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
    libc: ask("ldd", "--version"),
    loadAverage: os.loadavg(),
    versions: {
      arraypool: JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version,
      commit: ask("git", "describe", "--always", "--dirty"),
      node: process.version,
      bun: ask("bun", "--version"),
      deno: ask("deno", "--version")?.split(" ")[1],
      zig: ask("zig", "version"),
    },
  };
}
