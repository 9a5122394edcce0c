#!/usr/bin/env node
/**
 * The command line: `bunx arraypool`, `npx arraypool`, `deno run --allow-ffi npm:arraypool`; here, `npm run arraypool --`.
 * Only `node:util` and `node:process` are used of the runtime, so it is the same in all of them.
 */

import process from "node:process";
import { EXIT } from "./command.ts";
import { quietNode, terminalColumns, wantsColor } from "./environment.ts";
import { run } from "./run.ts";

/** A reader that has seen enough (`arraypool ls | head -1`) is no failure; a disk that is full is one. */
function onUnwritten(error: Error & { code?: string }): never {
  if (error.code === "EPIPE") process.exit(EXIT.done);
  try {
    process.stderr.write(`arraypool: cannot write: ${error.message}\n`);
  } catch { /* there neither */ }
  process.exit(EXIT.failed);
}

// Some runtimes tell it later, others throw at once. Of errors there is nowhere to say it.
process.stdout.on("error", onUnwritten);
process.stderr.on("error", () => {});

quietNode();
process.exitCode = await run(process.argv.slice(2), {
  out: (text) => {
    try {
      process.stdout.write(text);
    } catch (error) {
      onUnwritten(error as Error);
    }
  },
  err: (text) => {
    try {
      process.stderr.write(text);
    } catch { /* as above */ }
  },
  color: wantsColor(),
  columns: terminalColumns(),
});
