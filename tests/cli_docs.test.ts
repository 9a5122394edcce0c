/**
 * docs/cli.md shows what the command line prints: each block of `text` that begins with `$ arraypool` is run on the pool that
 * it describes (support/cli_scene.ts), and compared but for numbers, gaps, paths and the picture of the heap.
 *
 *     ARRAYPOOL_WRITE_DOCS=1 bun test tests/cli_docs.test.ts     writes what they print into the page
 */

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assert, type Child, programOf, runtime, start, testOnce, until, withName } from "./support/harness.ts";
import { root } from "./support/programs.ts";

const page = join(root, "docs/cli.md");
const text = readFileSync(page, "utf8");
const writes = process.env.ARRAYPOOL_WRITE_DOCS === "1";

function arraypool(...args: string[]): string {
  const flags = runtime !== "deno" ? [] : ["run", "--allow-ffi", "--no-prompt", "--no-check"];
  const { FORCE_COLOR: _, ...env } = process.env;
  return spawnSync(programOf(runtime), [...flags, join(root, "cli/main.ts"), ...args], { encoding: "utf8", env })
    .stdout;
}

/** As it would be in a folder of the reader's own. */
function readable(output: string, name: string): string {
  const script = join(root, "tests/support/cli_scene.ts");
  const command = new RegExp(`${programOf(runtime)} .*${script} (\\w+).*`, "g");
  return output
    .replaceAll(command, `${runtime} $1.ts`)
    .replaceAll(new RegExp(`(?:file://)?${script}`, "g"), "/home/me/load.ts")
    .replaceAll(`NAME${" ".repeat(name.length - "NAME".length)}`, "NAME".padEnd("prices".length))
    .replaceAll(name, "prices")
    .replaceAll(/ +$/gm, "");
}

/** What must be the same wherever it is run. */
function essence(output: string): string {
  return output
    .replaceAll(/[█▄▒░·]{3,}(\n[█▄▒░·]+)*/g, "PICTURE")
    .replaceAll(/\b(?:bun|deno|node)\b/g, "RUNTIME")
    .replaceAll(/^ +at .*$/gm, "  at CALL")
    .replaceAll(/(\n {2}at CALL)+/g, "$1")
    .replaceAll(/\d[\d.,]*[kMG]?\b/g, "N")
    .replaceAll(/[ \t]+/g, " ");
}

const BLOCK = /```text\n((?:\$ arraypool .*\n)[\s\S]*?)```/g;

/** The page's blocks: commands, each with what it prints. */
function shown(): { block: string; parts: { args: string[]; output: string }[] }[] {
  return [...text.matchAll(BLOCK)].map(([, block]) => ({
    block: block!,
    parts: block!.split(/^\$ arraypool /m).slice(1).map((part) => {
      const [command, ...rest] = part.split("\n");
      return { args: command!.split(" "), output: rest.join("\n") };
    }),
  }));
}

testOnce("docs/cli.md shows what the command line prints", () =>
  withName(async (name) => {
    const children: Child[] = [];
    const enter = (role: string, descriptor: string[] = [], env: Record<string, string> = {}) => {
      const child = start(runtime, "./cli_scene.ts", { args: [role, name, ...descriptor], env });
      children.push(child);
      return child.next();
    };
    const leave = () => Promise.all(children.splice(0).map((child) => child.kill()));
    let written = text;
    let compared = 0;
    try {
      const descriptor = await enter("load", [], { ARRAYPOOL_TRACE: "1" });
      await enter("work", [JSON.stringify(descriptor)]);
      for (const { block, parts } of shown()) {
        let now = "";
        for (const { args, output } of parts) {
          if (parts.some((part) => part.args[0] === "gc") && children.length > 0) {
            // It waits an hour for what was sent: as if that were over.
            arraypool("rm", name, "--force");
            await leave();
            await enter("idle");
            await leave();
            await until(() => /dead/.test(arraypool("ls")), "it is seen to be dead");
          }
          const busy = args[0] === "top" ? start(runtime, "./cli_scene.ts", { args: ["busy", name] }) : undefined;
          await busy?.next();
          const printed = readable(arraypool(...args.map((arg) => arg === "prices" ? name : arg)), name);
          await busy?.kill();
          if (busy !== undefined) await until(() => !/dead/.test(arraypool("reap", name)), "it is reaped");
          now += `$ arraypool ${args.join(" ")}\n${printed}`;
          compared++;
          if (writes) continue;
          // In motion, only the titles are certain.
          if (args[0] === "top") {
            for (const line of essence(output).match(/^[A-Z/s ]*[A-Z]{4}[A-Z/s ]*$/gm)!) {
              assert.ok(essence(printed).includes(line), `${line}\n${printed}`);
            }
          } else assert.equal(essence(printed), essence(output), printed);
        }
        written = written.replace(block, () => now);
      }
      assert.ok(compared >= 10);
      if (writes) writeFileSync(page, written);
    } finally {
      await leave();
    }
  }));
