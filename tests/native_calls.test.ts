/**
 * An array is released while a call works on its memory, which at once becomes another array's. support/in_flight.ts does
 * so, in a process of its own, with each call of support/native_calls.ts; docs/native-calls.md says what comes of it.
 */

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { assert, commandOf, runtime, test } from "./support/harness.ts";
import type { Outcome } from "./support/in_flight.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

async function outcomes(): Promise<Outcome[]> {
  const [program, ...args] = commandOf(runtime, "./in_flight.ts");
  const child = spawn(program!, args, {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [lines, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => lines += text);
  child.stderr.setEncoding("utf8").on("data", (text: string) => errors += text);
  try {
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 0, errors);
  } finally {
    child.kill("SIGKILL");
  }
  return lines.trim().split("\n").map((line) => JSON.parse(line));
}

/** What the table says, by call: `bare` in this runtime, and `held`. */
function documented(): Map<string, { bare: string; held: string }> {
  const rows = new Map<string, { bare: string; held: string }>();
  for (const line of readFileSync(path("../docs/native-calls.md"), "utf8").split("\n")) {
    const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
    if (cells.length !== 5 || cells[0] === "call" || cells[0]!.startsWith("--")) continue;
    const [call, bun, deno, node, held] = cells as [string, string, string, string, string];
    const bare = { bun, deno, node }[runtime];
    if (bare !== "–") rows.set(call, { bare, held });
  }
  return rows;
}

test("a release during a native call does what docs/native-calls.md says, and nothing under holdUntil()", async () => {
  const rows = documented();
  const wrong: string[] = [];
  for (const { call, held, result, details } of await outcomes()) {
    const row = rows.get(call);
    const said = row?.[held ? "held" : "bare"];
    const how = held ? "with holdUntil" : "without holdUntil";
    if (said !== result) wrong.push(`${call} ${how}: ${result} (${details}), but the table says ${said}`);
    // Whatever the table says.
    if (held && result !== "safe") wrong.push(`${call} is not safe under holdUntil: ${details}`);
    if (held) rows.delete(call);
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual([...rows.keys()], [], "calls in the table that were not tried");
});
