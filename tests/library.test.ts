/** How the native library is found, and what is said where it cannot be. */

import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bun } from "../bun/ffi.ts";
import { deno } from "../deno/ffi.ts";
import { node } from "../node/ffi.ts";
import { loadLookLibrary } from "../cli/library.ts";
import { loadLibrary, type Runtime } from "../library/load.ts";
import { assert, runtime, test, withFolder } from "./support/harness.ts";
import { root } from "./support/programs.ts";

const here = { bun, deno, node }[runtime];
const platform = `${process.platform}-${process.arch}`;
const suffix = process.platform === "darwin" ? "dylib" : "so";
const inFolder = join(platform, `libarraypool.${suffix}`);
const lookInFolder = join(platform, `libarraypool-look.${suffix}`);
const built = join(root, "lib", inFolder);
const lookBuilt = join(root, "lib", lookInFolder);

/** Loads from a folder in which `prepare` has put something in the library's place. */
function loadPrepared(prepare: (file: string) => void, by: Runtime = here): Promise<void> {
  return withPrepared(inFolder, prepare, (libraries) => loadLibrary(by, libraries));
}

/** The same with the library that looks from outside. */
function loadLookPrepared(prepare: (file: string) => void, by: Runtime = here): Promise<void> {
  return withPrepared(lookInFolder, prepare, (libraries) => loadLookLibrary(by, libraries));
}

function withPrepared(path: string, prepare: (file: string) => void, load: (libraries: URL) => void): Promise<void> {
  return withFolder((folder) => {
    // A path that must be escaped in a URL.
    const libraries = join(folder, "100% lib/");
    const file = join(libraries, path);
    mkdirSync(dirname(file), { recursive: true });
    prepare(file);
    load(new URL(`file://${libraries.replaceAll("%", "%25")}`));
  });
}

const refuses = (why: RegExp) => ({ name: "PoolError", code: "ERR_LIBRARY", message: why });

test("the library is found beside the package, whatever the folder's name", () =>
  loadPrepared((file) => copyFileSync(built, file)));

test("a function that is looked up at its first use is one of the library that was opened, whatever its path names by then", async () => {
  for (const replace of [(file: string) => rmSync(file), (file: string) => renameSync(`${file}.new`, file)]) {
    await withPrepared(inFolder, (file) => copyFileSync(built, file), (libraries) => {
      const { library } = loadLibrary(here, libraries);
      const file = fileURLToPath(new URL(inFolder, libraries));
      writeFileSync(`${file}.new`, "no library");
      replace(file);
      assert.ok(library.ap_sweep() >= 0);
    });
  }
});

test("ERR_LIBRARY: the library was not built", () =>
  assert.rejects(
    () => loadPrepared(() => {}),
    refuses(/install arraypool anew.*`npm run build`.*there is no such file/),
  ));

test("ERR_LIBRARY: the library is truncated, at whatever byte", async () => {
  const bytes = readFileSync(built);
  for (const length of [0, 1, 63, 64, 4096, bytes.length >> 1, bytes.length - 1]) {
    await assert.rejects(
      () => loadPrepared((file) => writeFileSync(file, bytes.subarray(0, length))),
      refuses(/`npm run build`.*truncated/),
      `${length} bytes`,
    );
  }
});

test("ERR_LIBRARY: the library is something else", async () => {
  const bytes = readFileSync(built);
  const otherMachine = Uint8Array.from(bytes);
  otherMachine[18] = 0xf3; // RISC-V
  for (
    const [content, why] of [["no library at all".repeat(10), /no library/], [
      otherMachine,
      /another machine/,
    ]] as const
  ) {
    await assert.rejects(() => loadPrepared((file) => writeFileSync(file, content)), refuses(why));
  }
});

test("ERR_LIBRARY: the library has another interface", () => {
  const wrong: Runtime = {
    ...here,
    open: (path) => {
      const native = here.open(path);
      return { ...native, library: { ...native.library, ap_abi_version: () => 99 } };
    },
  };
  return assert.rejects(
    () => loadPrepared((file) => copyFileSync(built, file), wrong),
    refuses(/interface 99, but this version of arraypool needs \d+.*npm run build|npm run build.*interface 99/),
  );
});

test("ERR_LIBRARY: Bun is older than what arraypool needs of it", async () => {
  const versions = Object.getOwnPropertyDescriptor(process, "versions")!;
  try {
    for (const version of ["0.9.0", "1.3.14"]) {
      Object.defineProperty(process, "versions", { ...versions, value: { ...process.versions, bun: version } });
      const why = refuses(
        new RegExp(`^arraypool needs Bun 1.4 or later, and this is ${version}: run \`bun upgrade\`$`),
      );
      await assert.rejects(
        () => loadPrepared((file) => copyFileSync(built, file), { ...bun, isHere: () => true }),
        why,
      );
    }
  } finally {
    Object.defineProperty(process, "versions", versions);
  }
});

test("the library that looks from outside is found and checked in the same way", async () => {
  await loadLookPrepared((file) => copyFileSync(lookBuilt, file));
  const isMissing = refuses(/libarraypool-look.*there is no such file/);
  await assert.rejects(() => loadLookPrepared(() => {}), isMissing);
  const isTruncated = refuses(/truncated/);
  await assert.rejects(
    () => loadLookPrepared((file) => writeFileSync(file, readFileSync(lookBuilt).subarray(0, 9000))),
    isTruncated,
  );
  // The other library in its place has none of its functions.
  await assert.rejects(() => loadLookPrepared((file) => copyFileSync(built, file)), refuses(/ap_look_/));
  const wrong: Runtime = {
    ...here,
    functions: (path, signatures) => {
      const functions = here.functions(path, signatures);
      return "ap_look_abi_version" in signatures ? { ...functions, ap_look_abi_version: () => 99 } : functions;
    },
  };
  const isOther = refuses(/interface 99, but this version of arraypool needs \d+/);
  await assert.rejects(() => loadLookPrepared((file) => copyFileSync(lookBuilt, file), wrong), isOther);
});

test("the package's own place for the library is the folder lib beside its modules", () => {
  assert.equal(fileURLToPath(new URL("../lib/", import.meta.url)), join(root, "lib/"));
  assert.ok(loadLibrary(here).library.ap_abi_version() > 0);
});
