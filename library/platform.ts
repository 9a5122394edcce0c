/** For which machines there is a native library. */

import { PoolError } from "../core/errors.ts";

/** As Node names them: `${process.platform}-${process.arch}`. */
export const platforms: readonly string[] = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"];

/** A machine, in Node's words. */
interface Machine {
  readonly platform?: string;
  readonly arch?: string;
}

/** The platform of this machine. @throws {PoolError} `ERR_LIBRARY` if there is no library for it. */
export function platformHere(here: Machine | undefined = machineHere()): string {
  const platform = `${here?.platform}-${here?.arch}`;
  if (platforms.includes(platform)) return platform;
  throw new PoolError(
    "ERR_LIBRARY",
    "arraypool runs in Bun, Deno and Node, on Linux and macOS, on x64 and arm64, but not " +
      (here?.platform === undefined ? "in a browser" : `on ${platform}`) +
      (here?.platform === "win32" ? ": on Windows, run the program in WSL 2" : ""),
  );
}

/** Where Deno's words for a machine are not Node's. */
const NODE_WORDS: Readonly<Record<string, string>> = { windows: "win32", x86_64: "x64", aarch64: "arm64" };

function machineHere(): Machine | undefined {
  const { Deno } = globalThis as { Deno?: { build?: { os: string; arch: string } } };
  // Asked first, since the mere sight of `process` makes Deno load its part of Node: half of what an import would take.
  if (Deno?.build === undefined) return (globalThis as { process?: Machine }).process;
  const { os, arch } = Deno.build;
  return { platform: NODE_WORDS[os] ?? os, arch: NODE_WORDS[arch] ?? arch };
}
