/** docs/getting-started.md, followed to the letter in an empty project, with the package as it is published. */

import { basename } from "node:path";
import { assert, test } from "../support/harness.ts";
import { type Block, blocksOf, commandsIn, nameOf, placeOf, promisedBy } from "../support/markdown.ts";
import { bun, deno, node, published, succeed, tarball, withProject, withRegistry, write } from "./support.ts";

const blocks = blocksOf("docs/getting-started.md");
const files = Object.fromEntries(blocks.filter(nameOf).map((block) => [nameOf(block)!, block.code]));
const manifest = blocks.find(({ language }) => language === "json")!.code;
const commands = blocks.filter(({ language }) => language === "sh").flatMap(commandsIn);

const LIMIT_MS = 300_000;

/** The commands of the page that start `program` with one of its files, and the block of that file. */
function starts(program: string): { command: string[]; block: Block }[] {
  return commands.flatMap(([first, ...args]) => {
    const block = blocks.find((one) => nameOf(one) !== undefined && args.includes(nameOf(one)!));
    return first === program && block !== undefined ? [{ command: args, block }] : [];
  });
}

/** Runs what the page says, in a project that has the package. */
async function follow(folder: string, program: string, path: string, env: Record<string, string> = {}): Promise<void> {
  write(folder, files);
  const all = starts(program);
  assert.ok(all.length >= 3, "the page starts at least three programs in each runtime");
  for (const { command, block } of all) {
    // By way of a shell: Deno adds -A where it sees that a program starts Deno.
    const output = await succeed(["sh", "-c", `exec ${path} ${command.join(" ")}`], { cwd: folder, env });
    for (const line of promisedBy(block)) assert.match(output, line, placeOf(block));
  }
}

function saysToRun(...words: string[]): void {
  assert.ok(commands.some((command) => command.join(" ") === words.join(" ")), `the page says: ${words.join(" ")}`);
}

test("getting started with the file of the package, in Bun", () =>
  withProject(async (folder) => {
    const file = await tarball();
    saysToRun("bun", "add", `../arraypool/${basename(file)}`);
    write(folder, { "package.json": manifest });
    await succeed([bun, "add", file], { cwd: folder });
    await follow(folder, "bun", bun);
  }), LIMIT_MS);

test("getting started with the file of the package, in Deno and in Node", () =>
  withProject(async (folder) => {
    const file = await tarball();
    saysToRun("npm", "install", `../arraypool/${basename(file)}`);
    write(folder, { "package.json": manifest });
    await succeed(["npm", "install", file, "--offline", "--no-audit", "--no-fund"], { cwd: folder });
    await follow(folder, "deno", deno);
    await follow(folder, "node", node);
  }), LIMIT_MS);

test("getting started with the package from a registry", async () => {
  saysToRun("bun", "add", "arraypool");
  saysToRun("deno", "add", "npm:arraypool");
  await withRegistry([await published(await tarball())], async (registry) => {
    const env = { NPM_CONFIG_REGISTRY: registry };
    await withProject(async (folder) => {
      write(folder, { "package.json": manifest });
      await succeed([bun, "add", "arraypool"], {
        cwd: folder,
        env: { ...env, BUN_INSTALL_CACHE_DIR: `${folder}/cache` },
      });
      await follow(folder, "bun", bun);
    });
    await withProject(async (folder) => {
      const ofDeno = { ...env, DENO_DIR: `${folder}/cache` };
      write(folder, { "deno.json": {} });
      await succeed([deno, "add", "npm:arraypool"], { cwd: folder, env: ofDeno });
      await follow(folder, "deno", deno, ofDeno);
    });
  });
}, LIMIT_MS);
