#!/usr/bin/env node
/**
 * The command line: `bunx arraypool`, `npx arraypool`, `deno run --allow-ffi npm:arraypool`; here, `npm run arraypool --`.
 * Only `node:util` and `node:process` are used of the runtime, so it is the same in all of them.
 */

import process from "node:process";
import { EXIT } from "./command.ts";
import { quietNode, terminalColumns, wantsColor } from "./environment.ts";
import { run } from "./run.ts";

// A reader that has seen enough (`arraypool ls | head -1`) is no failure.
process.stdout.on("error", (error: Error & { code?: string }) => {
  if (error.code === "EPIPE") process.exit(EXIT.done);
  throw error;
});

quietNode();
process.exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  color: wantsColor(),
  columns: terminalColumns(),
});
