/**
 * The examples in the documentation run, and print what they say: each block of ts in the README, in docs/ and in the
 * comments of mod.ts and core/. `console.log(x); // text` must print that text; in it, … stands for anything.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert, programOf, runtime, test } from "./support/harness.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

interface Example {
  where: string;
  code: string;
}

function examplesIn(file: string): Example[] {
  const text = readFileSync(join(root, file), "utf8");
  const found: Example[] = [];
  for (const block of text.matchAll(/^([ ]*\*? ?)```ts\n([\s\S]*?)^\1```/gm)) {
    const line = text.slice(0, block.index).split("\n").length;
    const code = block[2]!.split("\n").map((codeLine) =>
      codeLine.startsWith(block[1]!.trimEnd()) ? codeLine.slice(block[1]!.length) : codeLine
    );
    found.push({ where: `${file}:${line}`, code: code.join("\n") });
  }
  return found;
}

function filesIn(folder: string, extension: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder)).filter((name) => name.endsWith(extension)).map((name) => `${folder}/${name}`);
}

const sources = ["mod.ts", ...filesIn("core", ".ts")];
const examples = ["README.md", ...filesIn("docs", ".md"), ...sources].flatMap(examplesIn);

/** Runs `use` with the examples as files in the package's folder, so that they find it by its name. */
function withFiles(use: (paths: string[]) => void): void {
  const folder = mkdtempSync(join(root, "tests/examples-"));
  try {
    use(examples.map(({ code }, i) => {
      const path = join(folder, `example${i}.ts`);
      writeFileSync(path, code);
      return path;
    }));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(programOf(runtime), args, { encoding: "utf8", cwd: root, env: { ...process.env, NO_COLOR: "1" } });
}

/** What the comments behind `console.log` promise, as one expression per line. */
function promised(code: string): RegExp[] {
  const lines = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text!);
  return lines.map((text) => {
    const parts = text.split("…").map((part) =>
      part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/\s+/g, "\\s+")
    );
    return new RegExp(`^${parts.join("[^]*")}$`, "m");
  });
}

test("every example in the documentation runs, and prints what it says", () => {
  assert.ok(examples.length > 15);
  withFiles((paths) => {
    paths.forEach((path, i) => {
      const { where, code } = examples[i]!;
      const { status, stdout, stderr } = run(...(runtime === "deno" ? ["run", "-A", "--no-check"] : []), path);
      assert.equal(status, 0, `${where}\n${stderr}`);
      for (const line of promised(code)) assert.match(stdout, line, `${where} printed\n${stdout}`);
    });
  });
});

if (runtime === "deno") {
  test("every example in the comments passes the type check", () =>
    withFiles((paths) => {
      const { status, stderr } = run(
        "check",
        ...paths.filter((_, i) => sources.includes(examples[i]!.where.split(":")[0]!)),
      );
      assert.equal(status, 0, stderr);
    }));
}

test("every public name has a documentation comment", () => {
  const bare: string[] = [];
  for (const file of sources.filter((name) => name !== "core/abi.ts")) {
    const lines = readFileSync(join(root, file), "utf8").split("\n");
    lines.forEach((line, i) => {
      if (/^export type \{| from "/.test(line)) return;
      if (/^export (?:declare )?(?:async )?(?:function|class|interface|type|const|let) /.test(line)) {
        const isOverload = /^export function (\w+)/.exec(line)?.[1];
        const isFurtherOverload = isOverload !== undefined && lines[i - 1]!.startsWith(`export function ${isOverload}`);
        if (!lines[i - 1]!.endsWith("*/") && !isFurtherOverload) bare.push(`${file}:${i + 1} ${line}`);
      }
    });
  }
  assert.deepEqual(bare, []);
});
