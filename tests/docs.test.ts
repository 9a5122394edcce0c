/**
 * The documentation is true: each block of code in the pages (README.md, docs/, examples/README.md) and in the comments of
 * mod.ts and core/ is run or checked, and each link leads somewhere.
 *
 * - A block of `ts` is run in each runtime. `console.log(x); // text` must print that text; in it, … stands for anything.
 *   A first line `// main.ts` names the block's file; one that another file of its page names in quotes (`"./worker.ts"`) is
 *   run by that one alone. `// Bun only` in the first line leaves the other runtimes out.
 * - A block of `sh` is parsed, and what it names must be there: scripts, files, build steps. `bun main.ts` and
 *   `deno run … main.ts` of a page's own file are run as they stand, with the permissions that they say.
 * - `json` and `yaml` are parsed; `text` is a picture, or what the library prints: tests/troubleshooting.test.ts compares.
 * - Anything else has a paragraph above it that says "Not run by the tests: " and why.
 * - docs/api.md is written by `npm run docs`, and consists of the comments: its examples are theirs, `typescript` is a
 *   signature.
 */

import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, normalize } from "node:path";
import { assert, programOf, runtime, test, until } from "./support/harness.ts";
import {
  anchorsOf,
  type Block,
  blocksOf,
  commandsIn,
  filesIn,
  folderOf,
  linksOf,
  nameOf,
  pages,
  placeOf,
  promisedBy,
  quotedIn,
  textOf,
} from "./support/markdown.ts";
import { AP_MEMBERS_MAX } from "../core/abi.ts";
import { AXES_MAX } from "../core/shape.ts";
import { DEPTH_MAX } from "../core/walk.ts";
import { root } from "./support/programs.ts";

const REFERENCE = "docs/api.md";

const sources = ["mod.ts", "realm.ts", ...filesIn("core", ".ts"), ...filesIn("library", ".ts")];
const commented = sources.flatMap(blocksOf);
const written = pages().filter((page) => page !== REFERENCE).flatMap(blocksOf);
const runnable = [...written, ...commented].filter(({ language, notRun }) => language === "ts" && notRun === undefined);

/** A program of the documentation: a file that is started, and what else of its page it may start. */
interface Program {
  block: Block;
  path: string;
  /** With the arguments before it that a block of sh gives. */
  flags: string[];
}

const plain: Record<string, string | undefined> = { ...process.env, NO_COLOR: "1" };
delete plain.FORCE_COLOR;
const env = { ...plain };

/** Runs `use` with a folder in the package's, so that the files in it find the package by its name. */
async function withFiles(use: (programs: Program[]) => unknown): Promise<void> {
  const folder = mkdtempSync(join(root, "tests/examples-"));
  // What `bun` and `deno` in a block of sh mean.
  mkdirSync(join(folder, "bin"));
  symlinkSync(programOf(runtime), join(folder, "bin", runtime));
  env.PATH = `${join(folder, "bin")}:${plain.PATH}`;
  try {
    await use(programsIn(folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Writes the blocks to files. Returns those to start in this runtime. */
function programsIn(folder: string): Program[] {
  const programs = runnable.map((block, i): Program => {
    const named = nameOf(block);
    const home = join(folder, named === undefined ? "unnamed" : folderOf(block.page));
    mkdirSync(home, { recursive: true });
    const path = join(home, named ?? `example${i}.ts`);
    assert.ok(!existsSync(path), `${placeOf(block)}: another block of this page has the name ${named}`);
    writeFileSync(path, block.code);
    return { block, path, flags: flagsOf(block) ?? (runtime === "deno" ? ["run", "-A"] : []) };
  });
  return programs.filter(({ block }) => !isPartOfAnother(block) && !isForAnotherRuntime(block));
}

function isPartOfAnother(block: Block): boolean {
  const name = nameOf(block);
  if (name === undefined) return false;
  return runnable.some((other) => other !== block && other.page === block.page && namesFile(other, name));
}

const namesFile = ({ code }: Block, name: string): boolean =>
  [`"./${name}"`, `"${name}"`, `/${name}\``].some((quoted) => code.includes(quoted));

function isForAnotherRuntime({ code }: Block): boolean {
  const only = /^\/\/ .*\b(Bun|Deno|Node) only\b/.exec(code)?.[1];
  // Node has no Worker of the Web.
  const isForNode = !/\bnew Worker\(/.test(code) || code.includes("node:worker_threads");
  return only === undefined ? runtime === "node" && !isForNode : only.toLowerCase() !== runtime;
}

/** What stands before the file's name where a block of sh starts it in this runtime. */
function flagsOf(block: Block): string[] | undefined {
  const name = nameOf(block);
  if (name === undefined) return undefined;
  for (const shell of written.filter(({ page, language }) => page === block.page && language === "sh")) {
    for (const [program, ...args] of commandsIn(shell)) {
      if (program === runtime && args.includes(name)) return args.slice(0, args.indexOf(name));
    }
  }
  return undefined;
}

/** A block, and those of its page that it starts. */
function withParts(block: Block): Block[] {
  const parts = runnable.filter((other) =>
    other !== block && other.page === block.page && nameOf(other) !== undefined && namesFile(block, nameOf(other)!)
  );
  return [block, ...parts];
}

const segments = () => readdirSync("/dev/shm").filter((name) => name.startsWith("arraypool."));

test("every example in the documentation runs, prints what it says, and leaves nothing behind", async () => {
  assert.ok(runnable.length > 15);
  const before = segments();
  await withFiles(async (programs) => {
    for (const { block, path, flags } of programs) {
      // By way of a shell: Deno adds -A where it sees that a program starts Deno.
      const command = [programOf(runtime), ...flags, ...(runtime === "deno" ? ["--no-prompt"] : []), path];
      const { status, stdout, stderr } = spawnSync(
        "sh",
        ["-c", `exec ${command.map((word) => `'${word}'`).join(" ")}`],
        { encoding: "utf8", cwd: nameOf(block) === undefined ? root : dirname(path), env },
      );
      assert.equal(status, 0, `${placeOf(block)}\n${stdout}${stderr}`);
      for (const line of withParts(block).flatMap(promisedBy)) {
        assert.match(stdout, line, `${placeOf(block)} printed\n${stdout}`);
      }
      // A child may take a moment longer to end than its parent.
      const left = () => segments().filter((name) => !before.includes(name));
      await until(() => left().length === 0, `${placeOf(block)} leaves nothing behind`);
    }
  });
});

if (runtime === "deno") {
  test("every example passes the type check", () =>
    withFiles((programs) => {
      const paths = programs.filter(({ block }) => !/\b(Bun|Node) only\b/.test(block.code)).map(({ path }) => path);
      const { status, stderr } = spawnSync(programOf("deno"), ["check", ...paths], {
        encoding: "utf8",
        cwd: root,
        env: plain,
      });
      assert.equal(status, 0, stderr);
    }));
}

// ---------------------------------------------------------------- what is not run

test("every block of the documentation is run or checked, or says why not", () => {
  for (const page of pages()) {
    const fences = [...textOf(page).matchAll(/^\s*(?:```|~~~)/gm)].length;
    assert.equal(fences, 2 * blocksOf(page).length, `${page} has a block of code that this test does not read`);
  }
  for (const block of written) {
    const { language, code, notRun } = block;
    const place = placeOf(block);
    if (notRun !== undefined) {
      assert.ok(notRun.length > 10, `${place}: say why`);
      if (language === "yaml") parseYaml(code);
      if (language === "sh") parseShell(block);
      continue;
    }
    assert.ok(["ts", "sh", "json", "text"].includes(language), `${place}: nobody runs ${language || "this"}: say why`);
    if (language === "json") JSON.parse(code);
    if (language === "sh") {
      parseShell(block);
      for (const command of commandsIn(block)) checkCommand(command, block);
    }
  }
});

function parseYaml(code: string): void {
  // Bun brings a parser, and one runtime that parses it is enough.
  (globalThis as unknown as { Bun?: { YAML?: { parse(text: string): unknown } } }).Bun?.YAML?.parse(code);
}

function parseShell(block: Block): void {
  const { status, stderr } = spawnSync("sh", ["-n", "-c", block.code], { encoding: "utf8" });
  assert.equal(status, 0, `${placeOf(block)}: ${stderr}`);
}

const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };

/** Sees that what a command names is there. */
function checkCommand(words: string[], block: Block): void {
  const place = `${placeOf(block)}: ${words.join(" ")}`;
  if (words[0] === "npx") words = words.slice(1);
  const [program, verb, ...args] = words as [string, string?, ...string[]];
  if (program === "npm") {
    if (verb === "run") return assert.ok(Object.hasOwn(scripts, args[0]!), `${place}: no such script`);
    if (verb === "test") {
      const suites = textOf("tests/suites.mjs");
      for (const suite of args.slice(1)) assert.match(suites, new RegExp(`\\b${suite}\\b`), `${place}: no such suite`);
      return;
    }
    return assert.ok(["ci", "init", "install", "pack"].includes(verb!), place);
  }
  if (program === "zig") {
    assert.equal(verb, "build", place);
    const step = args.find((word) => /^[a-z]/.test(word));
    return assert.ok(step === undefined || textOf("build.zig").includes(`b.step("${step}"`), `${place}: no such step`);
  }
  if ((program === "bun" || program === "deno") && (verb === "add" || verb === "init")) return;
  if (program === "bun" || program === "deno" || program === "node") {
    const file = words.find((word) => /\.(m?[jt]s)$/.test(word));
    assert.ok(file !== undefined, `${place}: which file?`);
    const isOfPage = written.some((other) => other.page === block.page && nameOf(other) === file);
    return assert.ok(isOfPage || existsSync(join(root, file)), `${place}: no such file`);
  }
  if (program === "mkdir" || program === "cd") return;
  if (program === "apt-get") {
    const needed = textOf("tests/suites.mjs");
    for (const name of args) assert.ok(needed.includes(`"${name}"`), `${place}: no suite needs this package`);
    return;
  }
  assert.fail(`${place}: nobody checks this command: say why in a paragraph above it, "Not run by the tests: …"`);
}

test("the reference consists of the comments and the signatures", () => {
  const examples = new Set(commented.map(({ code }) => code.trim()));
  assert.ok(blocksOf(REFERENCE).filter(({ language }) => language === "ts").length > 50);
  for (const block of blocksOf(REFERENCE)) {
    if (block.language === "ts") assert.ok(examples.has(block.code.trim()), `${placeOf(block)}: run \`npm run docs\``);
    else assert.equal(block.language, "typescript", placeOf(block));
  }
});

// ---------------------------------------------------------------- what it names

test("every link between the pages leads somewhere", () => {
  let count = 0;
  for (const page of pages()) {
    for (const link of linksOf(page)) {
      count++;
      const [path, anchor] = link.split("#") as [string, string?];
      const target = path === "" ? page : normalize(join(dirname(page), path));
      assert.ok(existsSync(join(root, target)), `${page}: ${link} leads nowhere`);
      if (anchor === undefined || !target.endsWith(".md")) continue;
      assert.ok(anchorsOf(target).has(anchor), `${page}: ${target} has no heading for #${anchor}`);
    }
  }
  assert.ok(count > 100, `${count} links`);
});

test("every file, script and error code that a page names is there", () => {
  const codes = textOf("core/errors.ts");
  let [files, names] = [0, 0];
  for (const page of pages()) {
    for (const quoted of quotedIn(page)) {
      if (/^(?:bench|bun|core|deno|docs|examples|libpool|node|scripts|tests)\/[\w./-]+$/.test(quoted)) {
        assert.ok(existsSync(join(root, quoted)) || quoted === "bench/results/", `${page}: there is no ${quoted}`);
        files++;
      }
      const script = /^npm run ([\w:-]+)/.exec(quoted)?.[1];
      assert.ok(script === undefined || Object.hasOwn(scripts, script), `${page}: there is no ${quoted}`);
      const code = /^ERR_[A-Z_]+$/.exec(quoted)?.[0];
      assert.ok(code === undefined || codes.includes(`"${code}"`), `${page}: there is no ${quoted}`);
      if ((script ?? code) !== undefined) names++;
    }
  }
  assert.ok(files > 30 && names > 20, `${files} files, ${names} names`);
});

test("the page of limits has the numbers of the source", () => {
  const rows = Object.fromEntries(
    [...textOf("docs/limits.md").matchAll(/^\| ([^|]+?) +\| (.+?) +\|$/gm)].map(([, what, limit]) => [what, limit!]),
  );
  assert.match(rows["members of a pool"]!, new RegExp(`^${AP_MEMBERS_MAX}\\b`));
  assert.match(rows["axes of a shape"]!, new RegExp(`^${AXES_MAX}$`));
  assert.match(rows["a message"]!, new RegExp(`\\b${DEPTH_MAX}\\b`));
  assert.match(textOf("core/pool.ts"), /CAPACITY_MIN = 2 \*\* 20;\nconst CAPACITY_MAX = 2 \*\* 38;/);
  assert.match(rows["capacity"]!, /^1 MiB to 256 GiB/);
});

test("the speed that the README states is that of the page of figures", () => {
  const { rows } = JSON.parse(textOf("docs/plots/figures.json")) as {
    rows: { where: string; work: string; against: string; kind: string; figure: number }[];
  };
  /** Against the fastest other way, which comes first, or against this one. */
  const ratio = (where: string, how: string, against?: RegExp) => {
    const row = rows.find((row) =>
      row.where === where && row.work === `8 MiB to a child and an answer${how}` && row.kind === "faster" &&
      (against === undefined || against.test(row.against))
    );
    return Math.round(row!.figure).toLocaleString("en");
  };
  const both = (how: string, against?: RegExp) => [ratio("Bun", how, against), ratio("Deno", how, against)] as const;
  const cells = (text: string) => text.replaceAll("\n", " ").split("|").map((cell) => cell.trim()).join("|");
  const stated = cells(textOf("README.md"));
  // Started by fork(), or by Bun.spawn().
  const advanced = both("", /^(fork|.* ipc), advanced$/);
  for (
    const [row, figures] of [
      ["over a channel of the pool|the fastest other way", both(", over a channel")],
      ["by the runtime's fastest way for few bytes|the doubles themselves, by IPC (`advanced`)", advanced],
      ["by the runtime's fastest way for few bytes|the fastest other way", both("")],
    ] as const
  ) assert.ok(stated.includes(`${row}|${figures.join("|")}|`), `${row}: ${figures.join(", ")}`);
  const least = Math.min(...advanced.map((text) => Number(text.replaceAll(",", ""))));
  assert.ok(
    stated.includes("more than a hundred times as fast as over the runtime's own IPC") && least > 100,
    `${least}`,
  );
});

test("the list of examples has every example", () => {
  const listed = textOf("examples/README.md");
  const helpers = /-(worker|draw)\.ts$|\.test\.ts$|\/runtime\.ts$/;
  for (const file of filesIn("examples", ".ts").filter((name) => !helpers.test(name))) {
    const name = file.slice("examples/".length);
    const shown = name.includes("/") ? name.slice(0, name.indexOf("/") + 1) : name;
    assert.ok(listed.includes(`[${shown}]`), `examples/README.md does not name ${shown}`);
  }
});

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

test("the figures of docs/performance.md are those of docs/plots/figures.json", async () => {
  const { withFigures } = await import(new URL("../bench/report.mjs", import.meta.url).href);
  const page = textOf("docs/performance.md");
  // Columns may be aligned by the formatter.
  const plain = (text: string) => text.replaceAll(/ +/g, " ").replaceAll(/-+/g, "-");
  assert.equal(plain(page), plain(withFigures(page, JSON.parse(textOf("docs/plots/figures.json")))));
});
