/** What people do with a package: several copies and versions at once, Workers first, reloading, read-only machines, others. */

import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { assert, test, until } from "../support/harness.ts";
import { flagsOf } from "../support/programs.ts";
import { mayMount } from "../support/small_shm.ts";
import {
  bun,
  commands,
  deno,
  jsrFolder,
  node,
  ONE_PROCESS_PRINTS,
  oneProcess,
  packFolder,
  Program,
  published,
  root,
  run,
  succeed,
  tarball,
  tarballOfVersion,
  unpackInto,
  withProject,
  withRegistry,
  write,
} from "./support.ts";

const LIMIT_MS = 300_000;

/** A project with the package installed. */
function withInstalled(files: Record<string, unknown>, use: (folder: string) => Promise<unknown>): Promise<void> {
  return withProject(async (folder) => {
    write(folder, {
      "package.json": { private: true, type: "module" },
      "deno.json": { nodeModulesDir: "manual" },
      ...files,
    });
    await unpackInto(join(folder, "node_modules/arraypool"), await tarball());
    await use(folder);
  });
}

// ---------------------------------------------------------------- copies and versions

const library = `
  export { Pool, PoolError } from "arraypool";
  import { isSharedArray, pack, Pool, unpack } from "arraypool";
  export const knows = isSharedArray;
  export const open = (name) => Pool.open(name);
  export const send = (message) => JSON.stringify(pack(message));
  export const receive = (text) => unpack(JSON.parse(text));
`;

test(
  "a dependency's own dependency is the same package, and so is a second copy of the same version",
  () =>
    withInstalled({
      "node_modules/shares/package.json": { name: "shares", type: "module", exports: "./index.js" },
      "node_modules/shares/index.js": library,
      "node_modules/has-own/package.json": { name: "has-own", type: "module", exports: "./index.js" },
      "node_modules/has-own/index.js": library,
      "main.js": `
      import { Pool } from "arraypool";
      import * as shares from "shares";
      import * as hasOwn from "has-own";
      using pool = Pool.create({ capacity: "4M" });
      using array = pool.alloc(Uint8Array, 10);
      for (const { open, knows, receive, send } of [shares, hasOwn]) {
        if (open(pool.name) !== pool || !knows(array)) throw new Error("another copy");
        using got = receive(send({ array }));
        got.array[0]++;
      }
      console.log(array[0], pool.stats().members);
    `,
    }, async (folder) => {
      await unpackInto(join(folder, "node_modules/has-own/node_modules/arraypool"), await tarball());
      for (const command of Object.values(commands)) {
        assert.equal(await succeed([...command, "main.js"], { cwd: folder }), "2 1\n");
      }
    }),
  LIMIT_MS,
);

/** The library with another layout, as a later version might have it. */
async function libraryOfLayout77(): Promise<string> {
  // Always the same folder, with a cache of its own: only the first time takes seconds.
  const folder = join(root, "zig-out/layout-77");
  for (const part of ["build.zig", "libpool", "tests/chaos"]) {
    rmSync(join(folder, part), { recursive: true, force: true });
    cpSync(join(root, part), join(folder, part), { recursive: true });
  }
  const path = join(folder, "libpool/layout.zig");
  const text = readFileSync(path, "utf8");
  const changed = text.replace(/^(pub const version\b.*= )\d+;/m, "$177;");
  assert.notEqual(changed, text);
  writeFileSync(path, changed);
  await succeed(["zig", "build", "--release=small", "-Dnative", "--prefix", "out"], { cwd: folder });
  return join(folder, "out/lib");
}

test(
  "two versions in one program share a pool as two processes do; one of another layout refuses, and changes nothing",
  async () => {
    const libraries = await libraryOfLayout77();
    const versions = [
      await tarball(),
      await tarballOfVersion("0.1.9"),
      await tarballOfVersion("7.7.7", (folder) => {
        cpSync(libraries, join(folder, "lib"), { recursive: true });
        writeFileSync(join(folder, "library/embedded.js"), "export const embedded = {};");
      }),
    ];
    const dependents = await Promise.all(
      [["like-ours", "0.1.9"], ["unlike-ours", "7.7.7"]].map(([name, version]) =>
        withManifest({
          name: name!,
          version: "1.0.0",
          type: "module",
          exports: "./index.js",
          dependencies: { arraypool: version! },
        })
      ),
    );
    await withRegistry(
      await Promise.all([...versions, ...dependents].map(published)),
      (registry) =>
        withProject(async (folder) => {
          write(folder, {
            "package.json": {
              private: true,
              type: "module",
              dependencies: { arraypool: "0.1.0", "like-ours": "1", "unlike-ours": "1" },
            },
            "main.js": `
          import { Pool, PoolError } from "arraypool";
          import * as like from "like-ours";
          import * as unlike from "unlike-ours";
          using pool = Pool.create({ capacity: "4M" });
          using array = pool.alloc(Uint8Array, 10);
          {
            using same = like.open(pool.name);
            if (same === pool || pool.stats().members !== 2) throw new Error("one version for the other");
            // Of the one that made it; to the other it is an ordinary array.
            if (like.knows(array)) throw new Error("an array of two versions");
            try {
              like.send({ array });
            } catch (error) {
              console.log(error.name, /another version.*with that version/.test(error.message));
            }
            const text = JSON.stringify((await import("arraypool")).pack({ array }));
            using got = like.receive(text);
            got.array[0] = 5;
          }
          try {
            unlike.open(pool.name);
          } catch (error) {
            console.log(error.code, error instanceof unlike.PoolError, error instanceof PoolError, /layout \\d+.*same version/.test(error.message));
          }
          pool.check();
          using theirs = unlike.Pool.create({ capacity: "4M" });
          try {
            Pool.open(theirs.name);
          } catch (error) {
            console.log(error.code, error.message.includes("layout 77"), array[0], pool.stats().members);
          }
        `,
          });
          const cache = ["--cache", join(folder, "cache"), "--registry", registry];
          await succeed(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", ...cache], { cwd: folder });
          for (const command of Object.values(commands)) {
            assert.equal(
              await succeed([...command, "main.js"], { cwd: folder }),
              "TypeError true\nERR_LAYOUT_VERSION true false true\nERR_LAYOUT_VERSION true 5 1\n",
            );
          }
        }),
    );
  },
  LIMIT_MS,
);

async function withManifest(manifest: Record<string, unknown>): Promise<string> {
  let file = "";
  await withProject(async (folder) => {
    write(folder, { "package.json": manifest, "index.js": library });
    file = await packFolder(folder);
  });
  return file;
}

// ---------------------------------------------------------------- Workers

test("the package is imported in Workers, and never in the main thread", () =>
  withInstalled({
    "main.js": `
      const start = () => {
        const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
        const next = () => new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = reject;
        });
        return { worker, next };
      };
      const first = start();
      const ready = first.next();
      first.worker.postMessage("make");
      const message = await ready;
      const second = start();
      const done = second.next();
      second.worker.postMessage(message);
      await done;
      const answer = first.next();
      first.worker.postMessage("read");
      console.log(await answer);
      first.worker.terminate();
      second.worker.terminate();
    `,
    "worker.js": `
      import { pack, Pool, unpack } from "arraypool";
      let pool, array;
      globalThis.onmessage = ({ data }) => {
        if (data === "make") {
          pool = Pool.create({ capacity: "4M" });
          array = pool.alloc(Float32Array, 4);
          postMessage(pack({ array }));
        } else if (data === "read") {
          postMessage(array[0]);
          pool.close();
        } else {
          using got = unpack(data);
          got.array[0] = 2.5;
          postMessage("done");
        }
      };
    `,
  }, async (folder) => {
    for (const command of [commands.bun, commands.deno, [node, ...flagsOf("node")]]) {
      assert.equal(await succeed([...command, "main.js"], { cwd: folder }), "2.5\n");
    }
  }), LIMIT_MS);

// Other programs of this machine may have pools, too.
const PREFIX = `in-use-${process.pid}-`;
/** A new name, in the programs of these tests. */
const NAME = `"${PREFIX}" + Math.random().toString(36).slice(2, 10)`;

test("a test runner gives each file a Worker of its own, and ends it with its pools open", () => {
  const file = `
    import { expect, test } from "vitest";
    import { pack, Pool, unpack } from "arraypool";
    test("shares", () => {
      const pool = Pool.create({ name: ${NAME}, capacity: "4M" }); // and never closed
      const array = pool.from(Float64Array.of(1, 2, 3));
      using got = unpack(structuredClone(pack({ array })));
      got.array[0] = 9;
      expect([...array]).toEqual([9, 2, 3]);
      expect(pool.members().length).toBe(1);
    });
  `;
  const files = Object.fromEntries([1, 2, 3].map((i) => [`${i}.test.js`, file]));
  return withInstalled(files, async (folder) => {
    symlinkSync(join(root, "node_modules/vitest"), join(folder, "node_modules/vitest"));
    const vitest = join(root, "node_modules/vitest/vitest.mjs");
    const output = await succeed([bun, "--bun", vitest, "run", "--pool=threads"], { cwd: folder });
    assert.match(output, /Tests +3 passed/);
    await sweep(folder);
  });
}, LIMIT_MS);

/** The next pool takes away what the dead have left. */
async function sweep(folder: string): Promise<void> {
  await until(async () => {
    await succeed([bun, "-e", 'import { Pool } from "arraypool"; Pool.create({ capacity: "1M" }).close();'], {
      cwd: folder,
    });
    return segments().length === 0;
  }, "all pools are gone");
}

const segments = (): string[] => readdirSync("/dev/shm").filter((name) => name.startsWith(`arraypool.${PREFIX}`));

// ---------------------------------------------------------------- reloading

const RELOADS = 8;

/** Prints what this process has at each load: pools mapped, descriptors open, arrays of the pool, members, all pools in /dev/shm. */
const reloaded = (make: string) => `
  import { Pool } from "arraypool";
  import { readdirSync, readFileSync } from "node:fs";
  const generation = 0;
  const pool = ${make};
  const kept = pool.alloc(Float64Array, 1000);
  globalThis.Bun?.gc(true);
  const maps = readFileSync("/proc/self/maps", "utf8").split("\\n").filter((line) => line.includes("/dev/shm/"));
  const descriptors = readdirSync("/proc/self/fd").length;
  const segments = readdirSync("/dev/shm").filter((name) => name.startsWith("arraypool.${PREFIX}")).length;
  const { members } = pool.stats();
  console.log(JSON.stringify({ generation, maps: maps.length, descriptors, segments, members }));
  setInterval(() => kept[0]++, 1000);
`;

interface Load {
  generation: number;
  maps: number;
  descriptors: number;
  segments: number;
  members: number;
}

for (
  const [what, command, make] of [
    [
      "bun --hot, with a named pool",
      [bun, "--hot", "--no-clear-screen"],
      `Pool.openOrCreate({ name: "${PREFIX}hot", capacity: "4M" })`,
    ],
    [
      "bun --hot, with a pool that is kept",
      [bun, "--hot", "--no-clear-screen"],
      `globalThis.pool ??= Pool.create({ name: ${NAME}, capacity: "4M" })`,
    ],
    ["node --watch", [node, "--watch", "--watch-preserve-output"], `Pool.create({ name: ${NAME}, capacity: "4M" })`],
    ["bun --watch", [bun, "--watch", "--no-clear-screen"], `Pool.create({ name: ${NAME}, capacity: "4M" })`],
    [
      "deno run --watch",
      [deno, "run", "-A", "--no-check", "--watch", "--no-clear-screen"],
      `Pool.create({ name: ${NAME}, capacity: "4M" })`,
    ],
  ] as const
) {
  test(
    `reloading leaves nothing behind: ${what}`,
    () =>
      withInstalled({ "main.js": reloaded(make) }, async (folder) => {
        const program = new Program([...command, "main.js"], folder);
        const loads: Load[] = [];
        try {
          for (let generation = 0; generation <= RELOADS; generation++) {
            const seen = program.line((load: Load) => load.generation === generation);
            let isOver = false;
            void seen.catch(() => {}).then(() => isOver = true);
            // Again after a while: the program may have printed before it began to watch.
            while (generation > 0 && !isOver) {
              const text = reloaded(make).replace("generation = 0", `generation = ${generation}`);
              if (command[0] === node) write(folder, { "main.js": text }); // Node loses sight of a file that is replaced
              else {
                // As editors save: a new file in the old one's place.
                write(folder, { "main.new": text });
                renameSync(join(folder, "main.new"), join(folder, "main.js"));
              }
              await until(() => isOver, "it is loaded", 2000).catch(() => {});
            }
            loads.push(await seen);
          }
        } finally {
          await program.stop("SIGINT");
        }
        // The first few may open files of their own.
        const [early, last] = [loads[3]!, loads.at(-1)!];
        // Not one for each: runtimes open and close descriptors when they like.
        assert.ok(last.descriptors - early.descriptors < last.generation - early.generation, JSON.stringify(loads));
        assert.deepEqual([early.maps, early.segments, early.members], [1, 1, 1]);
        assert.deepEqual([last.maps, last.segments, last.members], [1, 1, 1]);
        await sweep(folder); // it was stopped by a signal
      }),
    LIMIT_MS,
  );
}

// ---------------------------------------------------------------- machines

test("a read-only machine is no obstacle: nothing is written but to /dev/shm", () => {
  if (!mayMount) return console.log("skipped: this user cannot mount (needs root, or user namespaces)");
  return withInstalled({ "one.ts": oneProcess }, async (folder) => {
    await succeed([bun, "build", "--target=node", "one.ts", "--outfile", "elsewhere/one.js"], { cwd: folder });
    const readOnly = 'mount -o remount,bind,ro / && ! touch "$0/x" 2>/dev/null && exec "$@"';
    const inside = (...command: string[]) =>
      succeed(["unshare", process.getuid!() === 0 ? "-m" : "-rm", "sh", "-c", readOnly, folder, ...command], {
        cwd: folder,
      });
    for (const file of ["one.ts", "elsewhere/one.js"]) {
      for (const command of Object.values(commands)) assert.equal(await inside(...command, file), ONE_PROCESS_PRINTS);
    }
  });
}, LIMIT_MS);

test("Windows, and processors for which there is no library: the import says what works", () =>
  withInstalled({
    "on.js": `
      const [platform, arch] = process.argv.slice(2);
      Object.defineProperty(process, "platform", { value: platform });
      Object.defineProperty(process, "arch", { value: arch });
      const words = { win32: "windows", x64: "x86_64", arm64: "aarch64" };
      const build = { os: words[platform] ?? platform, arch: words[arch] ?? arch };
      if (globalThis.Deno) Object.defineProperty(Deno, "build", { value: build });
      await import("arraypool");
    `,
  }, async (folder) => {
    for (const command of Object.values(commands)) {
      for (
        const [platform, arch, says] of [
          ["win32", "x64", /PoolError: arraypool runs in .* on Linux and macOS.*not on win32-x64: .*WSL 2/],
          ["linux", "riscv64", /PoolError: .*on x64 and arm64, but not on linux-riscv64/],
          ["freebsd", "arm64", /PoolError: .*but not on freebsd-arm64/],
        ] as const
      ) {
        const { code, output } = await run([...command, "on.js", platform, arch], { cwd: folder });
        assert.equal(code, 1, output);
        assert.match(output, says);
      }
    }
  }), LIMIT_MS);

test("where there can be no file in memory, the library is loaded from one that is gone at once", () => {
  const at = (path: string) => JSON.stringify(pathToFileURL(join(jsrFolder, path)));
  const script = `
    import { bun } from ${at("bun/ffi.ts")};
    import { deno } from ${at("deno/ffi.ts")};
    import { node } from ${at("node/ffi.ts")};
    import { loadLibrary } from ${at("library/load.ts")};
    const here = [bun, deno, node].find((runtime) => runtime.isHere());
    let path = "";
    const native = loadLibrary({
      ...here,
      functions: (library, signatures) => ({ ...here.functions(library, signatures), memfd_create: () => -1 }),
      open: (from) => here.open(path = from),
    }, new URL("file:///nowhere/"));
    console.log(native.library.ap_abi_version() > 0, path.replace(/\\w{6}$/, "XXXXXX"));
  `;
  const temporary = () =>
    readdirSync("/tmp", { withFileTypes: true })
      .filter((entry) => entry.isFile() && /^arraypool-\w{6}$/.test(entry.name)).map(({ name }) => name);
  return withProject(async (folder) => {
    write(folder, { "script.js": script });
    const before = temporary();
    for (
      const command of [
        [bun, "script.js"],
        [...commands.node, "script.js"],
        ["sh", "-c", `exec ${deno} run --no-prompt --allow-ffi script.js`],
      ]
    ) {
      assert.equal(await succeed(command, { cwd: folder }), "true /tmp/arraypool-XXXXXX\n");
    }
    assert.deepEqual(temporary().filter((name) => !before.includes(name)), []);
  });
});

test("musl: the same library, loaded by musl's dynamic loader", async () => {
  if (process.arch !== "x64" || !existsSync("/lib/ld-musl-x86_64.so.1")) {
    return console.log("skipped: there is no musl here (apt-get install musl)");
  }
  await withInstalled({}, async (folder) => {
    const source = join(root, "tests/package/musl.c");
    const program = join(folder, "program");
    const include = join(folder, "node_modules/arraypool/include");
    const compile = ["zig", "cc", "-target", "x86_64-linux-musl", "-dynamic", "-O2"];
    await succeed([...compile, "-I", include, "-o", program, source]);
    assert.ok(readFileSync(program).includes("/lib/ld-musl-x86_64.so.1"), "it names its loader");
    const file = join(folder, "node_modules/arraypool/lib/linux-x64/libarraypool.so");
    assert.match(await succeed([program, file]), /^musl: alloc, fill, share, attach, release, check: ok$/m);
  });
}, LIMIT_MS);
