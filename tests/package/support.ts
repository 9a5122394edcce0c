/** What the tests of the packages share: the packages themselves, empty projects, and servers that act as registries. */

import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { until } from "../support/harness.ts";
import { installed, root, type Runtime } from "../support/programs.ts";

export { root };
export const npmFolder: string = join(root, "dist/npm");
export const jsrFolder: string = join(root, "dist/jsr");
export const bun: string = installed("bun");
export const deno: string = installed("deno");
export const node: string = installed("node");
/** The commands that run a script of a project. */
export const commands: Readonly<Record<Runtime, readonly string[]>> = {
  bun: [bun],
  deno: [deno, "run", "-A", "--no-check"],
  node: [node],
};

export interface Result {
  code: number | null;
  output: string;
}

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  input?: string;
}

/** That programs print nothing but what they mean to. */
const quiet = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", NODE_OPTIONS: "--disable-warning=ExperimentalWarning" };

/** Runs a command to its end. Nothing blocks meanwhile: a server of this process may have to answer it. */
export function run(
  [program, ...args]: string[],
  { cwd = root, env = {}, input = "" }: RunOptions = {},
): Promise<Result> {
  const inherited = { ...process.env, ...quiet } as Record<string, string>;
  delete inherited["FORCE_COLOR"];
  return new Promise((resolve, reject) => {
    const child = spawn(program!, args, { cwd, env: { ...inherited, ...env } });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
    child.stderr.setEncoding("utf8").on("data", (text: string) => output += text);
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
    child.stdin.end(input);
  });
}

/** As run(); fails if the command does. Returns what it printed. */
export async function succeed(command: string[], options?: RunOptions): Promise<string> {
  const { code, output } = await run(command, options);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}:\n${output}`);
  return output;
}

/** A program that goes on, and prints lines of JSON among others. */
export class Program {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #output = "";
  #hasEnded = false;

  constructor([program, ...args]: string[], cwd: string) {
    this.#child = spawn(program!, args, {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...quiet },
    });
    this.#child.stdout!.setEncoding("utf8").on("data", (text: string) => this.#output += text);
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => this.#output += text);
    this.#ended = new Promise((resolve) => this.#child.on("close", resolve)).then(() => this.#hasEnded = true);
  }

  /** The line that is wanted, as soon as it is there. */
  async line<T>(isWanted: (line: T) => boolean): Promise<T> {
    let found: T | undefined;
    await until(
      () => {
        const lines = this.#output.split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"));
        found = lines.map((line) => JSON.parse(line) as T).find(isWanted);
        return found !== undefined || this.#hasEnded;
      },
      "the program prints it",
      60_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; so far:\n${this.#output}`);
    });
    if (found === undefined) throw new Error(`the program has ended:\n${this.#output}`);
    return found;
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#ended;
  }
}

// ---------------------------------------------------------------- projects

/** Runs `use` with an empty folder, in which there is nothing of the repository. */
export async function withProject(use: (folder: string) => Promise<unknown>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "arraypool-project-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes files by their names; what is not text is written as JSON. */
export function write(folder: string, files: Record<string, unknown>): void {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  }
}

/** The `ts` block of a file that has `text` in it. */
export function example(file: string, text: string): string {
  const blocks = readFileSync(join(root, file), "utf8").replaceAll(/^ \* ?/gm, "").matchAll(/```ts\n([^]*?)```/g);
  const found = [...blocks].map(([, code]) => code!).find((code) => code.includes(text));
  if (found === undefined) throw new Error(`no example with ${text} in ${file}`);
  return found;
}

/** Two processes, with the IPC of node:child_process. */
export const twoProcesses: string = example("README.md", "fork(");
export const TWO_PROCESSES_PRINT = "7 0\n";

/** One process, which needs no permission but FFI. */
export const oneProcess: string = example("mod.ts", "JSON.parse(message)");
export const ONE_PROCESS_PRINTS = "42\n";

// ---------------------------------------------------------------- the npm package

let packed: Promise<string> | undefined;
const tarballs = mkdtempSync(join(tmpdir(), "arraypool-tarballs-"));
process.on("exit", () => rmSync(tarballs, { recursive: true, force: true }));

/** The file of the npm package, made once. */
export function tarball(): Promise<string> {
  return packed ??= packFolder(npmFolder);
}

export async function packFolder(folder: string): Promise<string> {
  const output = await succeed(["npm", "pack", "--json", "--pack-destination", tarballs], { cwd: folder });
  const [{ filename }] = JSON.parse(output);
  return join(tarballs, filename);
}

/** Puts what is in a tarball into a folder, as installing it does. */
export async function unpackInto(folder: string, file: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await succeed(["tar", "-xzf", file, "--strip-components=1", "-C", folder]);
}

/** The npm package with another version, as far as it shows: also in the key by which copies know each other. */
export function tarballOfVersion(version: string, change: (folder: string) => void = () => {}): Promise<string> {
  const folder = mkdtempSync(join(tarballs, "version-"));
  cpSync(npmFolder, folder, { recursive: true });
  const edit = (name: string, from: string, to: string): void => {
    const text = readFileSync(join(folder, name), "utf8");
    if (!text.includes(from)) throw new Error(`${name} does not have ${from}`);
    writeFileSync(join(folder, name), text.replace(from, to));
  };
  const { version: own } = JSON.parse(readFileSync(join(npmFolder, "package.json"), "utf8"));
  edit("package.json", `"version": "${own}"`, `"version": "${version}"`);
  edit("realm.js", `arraypool ${own}`, `arraypool ${version}`);
  change(folder);
  return packFolder(folder);
}

// ---------------------------------------------------------------- servers

type Answer = { type: string; content: string | Uint8Array } | undefined;

async function withServer(answer: (path: string, origin: string) => Answer, use: (origin: string) => Promise<unknown>) {
  let origin = "";
  const server = createServer((request, response) => {
    const found = answer(decodeURIComponent(new URL(request.url!, origin).pathname), origin);
    response.writeHead(found === undefined ? 404 : 200, { "content-type": found?.type ?? "text/plain" });
    response.end(found?.content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await use(origin);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** A package of a registry: its package.json, and the file of its tarball. */
export interface Published {
  readonly manifest: { readonly name: string; readonly version: string; readonly [key: string]: unknown };
  readonly file: string;
}

/** The manifest in a tarball. */
export async function published(file: string): Promise<Published> {
  return { file, manifest: JSON.parse(await succeed(["tar", "-xzOf", file, "package/package.json"])) };
}

/** An npm registry with just these packages. */
export function withRegistry(packages: Published[], use: (origin: string) => Promise<unknown>): Promise<void> {
  return withServer((path, origin) => {
    const asTarball = packages.find(({ manifest }) => path === `/${manifest.name}/-/${manifest.version}.tgz`);
    if (asTarball !== undefined) return { type: "application/octet-stream", content: readFileSync(asTarball.file) };
    const versions = packages.filter(({ manifest }) => path === `/${manifest.name}`);
    if (versions.length === 0) return undefined;
    const entries = versions.map(({ manifest, file }) => [manifest.version, {
      ...manifest,
      dist: {
        tarball: `${origin}/${manifest.name}/-/${manifest.version}.tgz`,
        integrity: "sha512-" + createHash("sha512").update(readFileSync(file)).digest("base64"),
        shasum: createHash("sha1").update(readFileSync(file)).digest("hex"),
      },
    }]);
    const latest = versions.at(-1)!.manifest;
    return {
      type: "application/json",
      content: JSON.stringify({
        name: latest.name,
        "dist-tags": { latest: latest.version },
        versions: Object.fromEntries(entries),
        time: Object.fromEntries(versions.map(({ manifest }) => [manifest.version, "2024-01-01T00:00:00.000Z"])),
      }),
    };
  }, use);
}

/** The JSR package, as JSR serves one: `meta.json`, `<version>_meta.json` with checksums, and modules. */
export function withJsr(use: (origin: string) => Promise<unknown>): Promise<void> {
  const { name, version, exports } = JSON.parse(readFileSync(join(jsrFolder, "deno.json"), "utf8"));
  const files = readdirSync(jsrFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(jsrFolder.length));
  const manifest = Object.fromEntries(files.map((file) => {
    const content = readFileSync(join(jsrFolder, file));
    return [file, { size: content.length, checksum: `sha256-${createHash("sha256").update(content).digest("hex")}` }];
  }));
  const json = (value: unknown): Answer => ({ type: "application/json", content: JSON.stringify(value) });
  return withServer((path) => {
    if (path === `/${name}/meta.json`) {
      return json({ scope: "arraypool", name: "arraypool", latest: version, versions: { [version]: {} } });
    }
    if (path === `/${name}/${version}_meta.json`) return json({ manifest, exports });
    const prefix = `/${name}/${version}`;
    const file = join(jsrFolder, path.slice(prefix.length));
    if (!path.startsWith(prefix) || !existsSync(file)) return undefined;
    return { type: file.endsWith(".ts") ? "text/typescript" : "text/plain", content: readFileSync(file) };
  }, use);
}
