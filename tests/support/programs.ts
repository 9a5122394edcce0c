/** The runtimes, and where they are that `npm ci` has installed. */

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The root of the repository. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

export type Runtime = "bun" | "deno" | "node";
export const runtimes: readonly Runtime[] = ["bun", "deno", "node"];

/** The runtime that runs this. */
export const runtime: Runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";

/** What a runtime needs before the path of a script; `permissions` are Deno's. */
export function flagsOf(wanted: Runtime, permissions: readonly string[] = ["-A"]): string[] {
  switch (wanted) {
    case "bun":
      return [];
    case "deno":
      return ["run", "--no-check", "--no-prompt", ...permissions];
    case "node":
      return ["--disable-warning=ExperimentalWarning", "--import", `${root}tests/support/node_globals.ts`];
  }
}

/** The program of a runtime. */
export function installed(runtime: Runtime): string {
  if (runtime === "bun") return `${root}node_modules/bun/bin/bun.exe`;
  if (runtime === "node") return `${root}node_modules/node/bin/node`;
  // Not node_modules/.bin/deno: that is a wrapper, which would get our signals.
  const folder = `${root}node_modules/@deno/`;
  const found = readdirSync(folder).map((name) => `${folder}${name}/deno`).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`no deno in ${folder}: run npm install`);
  return found;
}
