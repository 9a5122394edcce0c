/** Bundles and executables: one file, moved to where nothing of the package is, with the library in it. */

import { mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assert, test } from "../support/harness.ts";
import {
  bun,
  commands,
  deno,
  npmFolder,
  ONE_PROCESS_PRINTS,
  oneProcess,
  run,
  succeed,
  tarball,
  withProject,
  write,
} from "./support.ts";

const LIMIT_MS = 300_000;

/** Starts itself as a second process, which changes an array of the first. */
const program = `
  import { pack, Pool, unpack } from "arraypool";
  import { spawn } from "node:child_process";
  import process from "node:process";

  if (process.env.MESSAGE) {
    using got = unpack(JSON.parse(process.env.MESSAGE));
    got.array.fill(7);
  } else {
    using pool = Pool.create({ capacity: "16M" });
    using array = pool.alloc(Float64Array, 1000);
    const isExecutable = process.execPath.endsWith("/program");
    const env = { ...process.env, MESSAGE: JSON.stringify(pack({ array })) };
    const child = spawn(process.execPath, isExecutable ? [] : [import.meta.filename], { env, stdio: "inherit" });
    await new Promise((resolve) => child.on("close", resolve));
    console.log(array[999]);
  }
`;

/** Runs `use` with a project in which the package is installed, and the path of an empty folder outside of it. */
function withInstalled(use: (folder: string, elsewhere: string) => Promise<void>): Promise<void> {
  return withProject((parent) => {
    const [folder, elsewhere] = [join(parent, "project"), join(parent, "elsewhere")];
    mkdirSync(elsewhere);
    write(folder, {
      "package.json": { private: true, type: "module", dependencies: { arraypool: "*" } },
      "program.ts": program,
      "one.ts": oneProcess,
    });
    return tarball().then(async (file) => {
      mkdirSync(join(folder, "node_modules/arraypool"), { recursive: true });
      await succeed(["tar", "-xzf", file, "--strip-components=1", "-C", join(folder, "node_modules/arraypool")]);
      await use(folder, elsewhere);
    });
  });
}

test("bun build --compile makes an executable that runs on its own", () =>
  withInstalled(async (folder, elsewhere) => {
    await succeed([bun, "build", "--compile", "program.ts", "--outfile", "program"], { cwd: folder });
    renameSync(join(folder, "program"), join(elsewhere, "program"));
    rmSync(folder, { recursive: true });
    assert.equal(await succeed([join(elsewhere, "program")], { cwd: elsewhere }), "7\n");
  }), LIMIT_MS);

test(
  "a bundle of bun build runs on its own in every runtime, also minified",
  () =>
    withInstalled(async (folder, elsewhere) => {
      for (const [i, flags] of [["--target=bun"], ["--target=node"], ["--target=bun", "--minify"]].entries()) {
        await succeed([bun, "build", ...flags, "program.ts", "--outfile", join(elsewhere, `${i}.js`)], { cwd: folder });
      }
      rmSync(folder, { recursive: true });
      for (const name of ["0.js", "1.js", "2.js"]) {
        assert.equal(await succeed([bun, name], { cwd: elsewhere }), "7\n", name);
      }
      for (const command of [commands.deno, commands.node]) {
        assert.equal(await succeed([...command, "1.js"], { cwd: elsewhere }), "7\n");
      }
    }),
  LIMIT_MS,
);

test("a bundle that was made for one runtime says so in another", () =>
  withInstalled(async (folder) => {
    await succeed([bun, "build", "--target=bun", "one.ts", "--outfile", "one.js"], { cwd: folder });
    await assert.rejects(
      () => succeed([deno, "run", "-A", "one.js"], { cwd: folder }),
      /has the arraypool of Bun in it, but does not run in Bun/,
    );
  }), LIMIT_MS);

// Deno's executables need `denort`, which `deno compile` downloads where it can, or DENORT_BIN names.
test(
  "deno compile takes the library along, and the executable runs on its own where there is a denort",
  () =>
    withInstalled(async (folder, elsewhere) => {
      const path = join(elsewhere, "program");
      const compile = [deno, "compile", "--quiet", "--no-check", "-A", "--output", path, "program.ts"];
      const { code } = await run(["timeout", "100", ...compile], { cwd: folder });
      const hasDenort = code === 0;
      // The same of another program of Deno's, which runs nothing of it.
      if (!hasDenort) await succeed(compile, { cwd: folder, env: { DENORT_BIN: deno } });
      const module = readFileSync(join(npmFolder, "lib/linux-x64.js"));
      assert.ok(readFileSync(path).includes(module.subarray(100, 1000)), "the executable does not have the library");
      if (!hasDenort) {
        return console.log("not run: no denort was to be had; DENORT_BIN may name that of this version of Deno");
      }
      rmSync(folder, { recursive: true });
      assert.equal(await succeed([path], { cwd: elsewhere }), "7\n");
    }),
  LIMIT_MS,
);

test("require() finds the package, too", () =>
  withInstalled(async (folder) => {
    const code = oneProcess.replace(/import (.*) from (.*);/, "const $1 = require($2);").replaceAll(/<\{.*?\}>/g, "");
    write(folder, { "one.cjs": code });
    for (const command of Object.values(commands).map((start) => [...start, "one.cjs"])) {
      assert.equal(await succeed(command, { cwd: folder }), ONE_PROCESS_PRINTS);
    }
  }), LIMIT_MS);
