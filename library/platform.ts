/** For which machines there is a native library. */

import { PoolError } from "../core/errors.ts";

/** As Node names them: `${process.platform}-${process.arch}`. */
export const platforms: readonly string[] = ["linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64"];

/** The platform of this machine. @throws {PoolError} `ERR_LIBRARY` if there is no library for it. */
export function platformHere(): string {
  const { process } = globalThis as { process?: { platform?: string; arch?: string } };
  const platform = `${process?.platform}-${process?.arch}`;
  if (platforms.includes(platform)) return platform;
  throw new PoolError(
    "ERR_LIBRARY",
    "arraypool runs in Bun, Deno and Node, on Linux and macOS, on x64 and arm64, but not " +
      (process?.platform === undefined ? "in a browser" : `on ${platform}`) +
      (process?.platform === "win32" ? ": on Windows, run the program in WSL 2" : ""),
  );
}
