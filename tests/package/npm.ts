/** The npm package: what is in it, and that it works in an empty project, however it came there. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { AP_ABI_VERSION } from "../../core/abi.ts";
import { assert, test } from "../support/harness.ts";
import {
  bun,
  commands,
  deno,
  npmFolder,
  ONE_PROCESS_PRINTS,
  oneProcess,
  published,
  root,
  run,
  succeed,
  tarball,
  TWO_PROCESSES_PRINT,
  twoProcesses,
  withProject,
  withRegistry,
  write,
} from "./support.ts";

const LIMIT_MS = 300_000;
const bin = (name: string) => join(root, "node_modules/.bin", name);
const npmInstall = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];

test("the package has what is needed and nothing else", async () => {
  const files = (await succeed(["tar", "-tzf", await tarball()])).trim().split("\n").map((name) =>
    name.replace("package/", "")
  );
  const other = files.filter((name) =>
    !/^(mod|realm|(core|library|bun|deno|node|cli)\/[\w/]+)\.(js|d\.ts)$/.test(name) &&
    !/^lib\/(linux|darwin)-(x64|arm64)(-look\.js|\.js|\/libarraypool(-look)?\.(so|dylib))$/.test(name)
  );
  assert.deepEqual(other.sort(), ["CHANGELOG.md", "LICENSE", "README.md", "include/arraypool.h", "package.json"]);
  assert.equal(files.filter((name) => name.endsWith(".so")).length, 4);
  assert.equal(files.filter((name) => name.endsWith(".dylib")).length, 4);
  const manifest = JSON.parse(readFileSync(join(root, "dist/npm/package.json"), "utf8"));
  assert.deepEqual(Object.keys(manifest.dependencies ?? {}), []);
  assert.equal(manifest.scripts, undefined);
  // The specific ones before the one that is always right.
  assert.deepEqual(Object.keys(manifest.exports["."]).at(-1), "default");
  assert.equal(Object.keys(manifest.exports["."])[0], "types");
});

test("no library is larger than it was made to be: who needs more says so here", () => {
  // A library of macOS is whole pages, of 16 KiB on arm64.
  const most = {
    "linux-x64/libarraypool.so": 98_000,
    "linux-arm64/libarraypool.so": 94_700,
    "darwin-x64/libarraypool.dylib": 102_400,
    "darwin-arm64/libarraypool.dylib": 148_000,
    "linux-x64/libarraypool-look.so": 36_000,
    "linux-arm64/libarraypool-look.so": 36_000,
    "darwin-x64/libarraypool-look.dylib": 46_000,
    "darwin-arm64/libarraypool-look.dylib": 71_000,
  };
  for (const [name, bytes] of Object.entries(most)) {
    const file = join(npmFolder, "lib", name);
    const { size } = statSync(file);
    assert.ok(size <= bytes, `${file} has ${size} bytes, and is to have ${bytes} at most (docs/design.md, Size)`);
  }
});

test("publint and attw have nothing to say", async () => {
  const file = await tarball();
  assert.match(await succeed([bin("publint"), "run", file, "--strict"]), /All good!/);
  await succeed([bin("attw"), file, "--profile", "esm-only", "--no-emoji"]);
}, LIMIT_MS);

test("the libraries for Linux need no libc, of any kind and version", async () => {
  const names = { libarraypool: "ap_abi_version", "libarraypool-look": "ap_look_abi_version" };
  for (
    const [file, version] of ["linux-x64", "linux-arm64"].flatMap((platform) =>
      Object.entries(names).map(([name, version]) => [join(npmFolder, "lib", platform, `${name}.so`), version] as const)
    )
  ) {
    const dynamic = await succeed(["readelf", "--wide", "--dynamic", "--version-info", "--segments", file]);
    assert.doesNotMatch(dynamic, /NEEDED|GLIBC|INTERP/);
    const symbols = (await succeed(["readelf", "--wide", "--dyn-syms", file])).split("\n");
    // Only what the host's libc has or has not: a clock, and what finds all else that a host has.
    for (const line of symbols.filter((symbol) => / UND \w/.test(symbol))) {
      assert.match(line, / WEAK .* UND (dlsym|clock_gettime)$/);
    }
    assert.ok(symbols.some((line) => line.includes("GLOBAL") && line.endsWith(` ${version}`)));
  }
});

test("the libraries for macOS are signed where they must be, and run from macOS 13 on", () => {
  const [CODE_SIGNATURE, BUILD_VERSION] = [0x1d, 0x32];
  const names = ["libarraypool.dylib", "libarraypool-look.dylib"];
  for (const path of ["darwin-arm64", "darwin-x64"].flatMap((platform) => names.map((name) => join(platform, name)))) {
    const { buffer, byteOffset } = readFileSync(join(npmFolder, "lib", path));
    const file = new DataView(buffer, byteOffset);
    assert.equal(file.getUint32(0, true), 0xfeedfacf);
    // From 32 on, the load commands: what it is, its size, and more.
    const commands = new Map<number, number>();
    for (let i = 0, at = 32; i < file.getUint32(16, true); i++, at += file.getUint32(at + 4, true)) {
      commands.set(file.getUint32(at, true), at);
    }
    assert.ok(
      commands.has(CODE_SIGNATURE) || !path.startsWith("darwin-arm64"),
      "macOS on arm64 loads nothing unsigned",
    );
    assert.equal(file.getUint32(commands.get(BUILD_VERSION)! + 12, true) >> 16, 13);
  }
});

test("npm install --ignore-scripts, and it runs in every runtime", () =>
  withProject(async (folder) => {
    write(folder, { "package.json": { private: true, type: "module" }, "main.ts": twoProcesses, "one.ts": oneProcess });
    await succeed([...npmInstall, "--offline", await tarball()], { cwd: folder });
    const options = { cwd: folder };
    assert.equal(await succeed([bun, "main.ts"], options), TWO_PROCESSES_PRINT);
    assert.equal(await succeed([deno, "run", "-A", "main.ts"], options), TWO_PROCESSES_PRINT);
    assert.equal(await succeed([...commands.node, "main.ts"], options), TWO_PROCESSES_PRINT);
    assert.equal(
      await succeed(["sh", "-c", `exec ${deno} run --no-prompt --allow-ffi one.ts`], options),
      ONE_PROCESS_PRINTS,
    );
  }), LIMIT_MS);

test("bun add, and it runs", () =>
  withProject(async (folder) => {
    write(folder, { "package.json": { private: true }, "main.ts": twoProcesses });
    const options = { cwd: folder, env: { BUN_INSTALL_CACHE_DIR: join(folder, "cache") } };
    await succeed([bun, "add", "--ignore-scripts", await tarball()], options);
    assert.equal(await succeed([bun, "main.ts"], options), TWO_PROCESSES_PRINT);
  }), LIMIT_MS);

test("deno add npm:arraypool from a registry, and --allow-ffi is all it needs", async () => {
  const packages = [await published(await tarball())];
  await withRegistry(packages, (registry) =>
    withProject(async (folder) => {
      write(folder, { "deno.json": {}, "main.ts": twoProcesses, "one.ts": oneProcess });
      const options = { cwd: folder, env: { NPM_CONFIG_REGISTRY: registry, DENO_DIR: join(folder, "cache") } };
      await succeed([deno, "add", "npm:arraypool"], options);
      const command = `exec ${deno} run --no-prompt --allow-ffi one.ts`;
      assert.equal(await succeed(["sh", "-c", command], options), ONE_PROCESS_PRINTS);
      assert.equal(await succeed([deno, "run", "-A", "main.ts"], options), TWO_PROCESSES_PRINT);
    }));
}, LIMIT_MS);

test(
  "TypeScript finds the declarations, and needs no newer libraries than the program has",
  () =>
    withProject(async (folder) => {
      write(folder, { "package.json": { private: true, type: "module" }, "one.ts": oneProcess });
      await succeed([...npmInstall, "--offline", await tarball()], { cwd: folder });
      const strict = {
        strict: true,
        noEmit: true,
        skipLibCheck: false,
        target: "es2022",
        types: [],
        exactOptionalPropertyTypes: true,
      };
      for (const [module, moduleResolution] of [["nodenext", "nodenext"], ["esnext", "bundler"]]) {
        // The example itself uses console and `using`.
        const compilerOptions = { ...strict, module, moduleResolution, lib: ["es2022", "dom", "esnext.disposable"] };
        write(folder, { "tsconfig.json": { compilerOptions, include: ["one.ts"] } });
        await succeed([bin("tsc"), "-p", "."], { cwd: folder });
        write(folder, {
          "tsconfig.json": { compilerOptions: { ...compilerOptions, lib: ["es2022", "dom"] }, include: ["types.ts"] },
          "types.ts":
            'import { Pool, type SharedArray } from "arraypool";\nexport const a: SharedArray<Float64Array> = Pool.create().alloc(Float64Array, 3);\n// @ts-expect-error: a shape is no string\nPool.create().alloc(Float64Array, "3");\n',
        });
        await succeed([bin("tsc"), "-p", "."], { cwd: folder });
        // A program's own declarations, of what it infers.
        write(folder, {
          "tsconfig.json": {
            compilerOptions: { ...compilerOptions, lib: ["es2022", "dom"], declaration: true },
            include: ["inferred.ts"],
          },
          "inferred.ts":
            'import { attach, Pool, unpack } from "arraypool";\nexport const pool = Pool.create();\nexport const array = pool.alloc(Float64Array, 3);\nexport const channel = pool.channel<number>();\nexport const got = () => [attach(array.share()), unpack<{ a: number }>("")];\n',
        });
        await succeed([bin("tsc"), "-p", "."], { cwd: folder });
      }
    }),
  LIMIT_MS,
);

test(
  "a damaged library in the package is no obstacle: the one that travels in a module is used",
  () =>
    withProject(async (folder) => {
      write(folder, { "package.json": { private: true, type: "module" }, "one.ts": oneProcess });
      await succeed([...npmInstall, "--offline", await tarball()], { cwd: folder });
      await succeed(["sh", "-c", "for f in node_modules/arraypool/lib/*/*; do truncate -s 5000 $f; done"], {
        cwd: folder,
      });
      assert.equal(await succeed([bun, "one.ts"], { cwd: folder }), ONE_PROCESS_PRINTS);
      for (const command of [commands.deno, commands.node]) {
        assert.equal(await succeed([...command, "one.ts"], { cwd: folder }), ONE_PROCESS_PRINTS);
      }
      // So does the command line's.
      for (const command of Object.values(commands)) {
        const list = [...command, "node_modules/.bin/arraypool", "ls", "--json"];
        assert.ok(Array.isArray(JSON.parse(await succeed(list, { cwd: folder })).pools));
      }
      // Without any, the error says what helps.
      await succeed(["sh", "-c", "rm -r node_modules/arraypool/lib/linux*/"], { cwd: folder });
      write(folder, { "node_modules/arraypool/library/embedded.js": "export const embedded = {};" });
      for (const command of Object.values(commands).map((start) => [...start, "one.ts"])) {
        const { code, output } = await run(command, { cwd: folder });
        assert.equal(code, 1);
        assert.match(output, /install arraypool anew.*there is no such file/);
      }
    }),
  LIMIT_MS,
);

test("the command line comes with it", () =>
  withProject(async (folder) => {
    const hold = `
      import { Pool } from "arraypool";
      import { execFileSync } from "node:child_process";
      using pool = Pool.create({ name: "with-cli-" + process.pid, capacity: "4M" });
      const [program, ...args] = process.argv.slice(2);
      console.log(execFileSync(program, args, { encoding: "utf8" }).includes(pool.name));
    `;
    write(folder, { "package.json": { private: true, type: "module" }, "hold.js": hold });
    await succeed([...npmInstall, "--offline", await tarball()], { cwd: folder });
    const cli = "node_modules/.bin/arraypool";
    const byBunx = [bun, "x", "--bun", "arraypool", "ls"];
    const all = Object.values(commands).map((command) => [...command, cli, "ls", "--json"]);
    for (const command of [...all, byBunx]) {
      assert.equal(await succeed([bun, "hold.js", ...command], { cwd: folder }), "true\n", command.join(" "));
    }
  }), LIMIT_MS);

test("the changelog begins with this version, its layout and its interface", () => {
  const read = (path: string) => readFileSync(join(root, path), "utf8");
  const { version } = JSON.parse(read("package.json"));
  const layout = /^pub const version\b.* = (\d+);/m.exec(read("libpool/layout.zig"))![1];
  const heading = `## ${version} (layout ${layout}, interface ${AP_ABI_VERSION})`;
  assert.equal(/^## .*$/m.exec(read("CHANGELOG.md"))![0], heading);
});
