/** Where the runtimes are that `npm ci` has installed. */

import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The root of the repository. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

/** The program of a runtime. */
export function installed(runtime: "bun" | "deno"): string {
  if (runtime === "bun") return `${root}node_modules/bun/bin/bun.exe`;
  // Not node_modules/.bin/deno: that is a wrapper, which would get our signals.
  const folder = `${root}node_modules/@deno/`;
  const found = readdirSync(folder).map((name) => `${folder}${name}/deno`).find((path) => existsSync(path));
  if (found === undefined) throw new Error(`no deno in ${folder}: run npm install`);
  return found;
}
