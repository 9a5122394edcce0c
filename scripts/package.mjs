// Second half of `npm run build`: makes the folders that are published, from the sources and from lib/.
//
//     dist/npm/   the npm package: JavaScript with declarations, the libraries of all platforms, the C header
//     dist/jsr/   the JSR package: the same sources as TypeScript
//
// Both have the layout of the repository, so that each file finds the others where it does here. In both, the libraries also
// travel as modules (`lib/<platform>.js`): for where a module is all there is, as library/load.ts says.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

const root = fileURLToPath(new URL("../", import.meta.url));
const npm = join(root, "dist/npm");
const jsr = join(root, "dist/jsr");
const own = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const SOURCES = ["mod.ts", "realm.ts", "core", "library", "bun", "deno", "node", "cli"].filter((name) =>
  existsSync(join(root, name))
);
const DOCUMENTS = ["README.md", "LICENSE", "CHANGELOG.md"];

// What the realm hands out is core's. Its own constants and types of the same names are to the compiler another thing than these: the
// declarations of a program that exports what it has inferred (`export const pool = Pool.create()`) could not name them (TS2883).
const REALM = '/// <reference lib="esnext.float16" />\n/// <reference lib="esnext.disposable" />\nexport * from "./core/mod.js";\n';

const PLATFORMS = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64"];
const built = existsSync(join(root, "lib")) ? readdirSync(join(root, "lib")).sort() : [];
if (built.join() !== PLATFORMS.join()) {
  throw new Error(`the packages need the libraries of ${PLATFORMS.join(", ")}: use \`npm run build\``);
}
const libraries = built.flatMap((platform) =>
  ["libarraypool", "libarraypool-look"].map((name) => {
    const file = `${name}.${platform.startsWith("darwin") ? "dylib" : "so"}`;
    return { name, platform, file, content: readFileSync(join(root, "lib", platform, file)) };
  })
);

rmSync(join(root, "dist"), { recursive: true, force: true });
makeNpm();
makeJsr();

function makeNpm() {
  compile();
  for (const path of filesUnder(npm, ".d.ts")) {
    // TypeScript leaves the names in declarations as they are.
    const text = readFileSync(path, "utf8").replaceAll(/(from "\.{1,2}\/[^"]*|import\("\.{1,2}\/[^"]*)\.ts"/g, '$1.js"');
    writeFileSync(path, path.endsWith("realm.d.ts") ? REALM : text);
  }
  embed(npm, "js");
  for (const { platform, file, content } of libraries) write(join(npm, "lib", platform, file), content);
  write(join(npm, "include/arraypool.h"), readFileSync(join(root, "libpool/arraypool.h")));
  for (const name of DOCUMENTS) cpSync(join(root, name), join(npm, name));
  write(join(npm, "package.json"), JSON.stringify(packageJson(), null, 2) + "\n");
}

function makeJsr() {
  for (const name of SOURCES) cpSync(join(root, name), join(jsr, name), { recursive: true });
  embed(jsr, "ts");
  for (const name of DOCUMENTS) cpSync(join(root, name), join(jsr, name));
  const { name, license, exports: main, compilerOptions } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  const exports = { ".": main, "./cli": own.bin.arraypool.replace(/^(\.\/)?/, "./") };
  write(
    join(jsr, "deno.json"),
    JSON.stringify({ name, version: own.version, license, exports, compilerOptions }, null, 2) + "\n",
  );
}

function compile() {
  const { status, error } = spawnSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit",
  });
  if (status !== 0) throw error ?? new Error("the sources do not compile");
}

/** Writes the libraries as modules, and `library/embedded` and `embedded_look` so that they import them. */
function embed(folder, extension) {
  embedOne(folder, extension, "libarraypool", "embedded");
  embedOne(folder, extension, "libarraypool-look", "embedded_look");
}

function embedOne(folder, extension, name, module) {
  const imports = [];
  const entries = [];
  for (const { platform, file, content } of libraries.filter((library) => library.name === name)) {
    const id = createHash("sha256").update(content).digest("hex").slice(0, 16);
    const brotli = brotliCompressSync(content, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
        [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
        [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
      },
    });
    const path = `lib/${platform}${name.replace("libarraypool", "")}.${extension}`;
    write(
      join(folder, path),
      `/** ${file} for ${platform}: brotli, in base64. */\nexport default "${brotli.toString("base64")}";\n`,
    );
    const variable = platform.replace("-", "_");
    imports.push(`import ${variable} from "../${path}";`);
    entries.push(`  "${platform}": { id: "${id}", bytes: ${content.length}, brotli: ${variable} },`);
  }
  // What stands in the source between its first comment and its constant.
  const source = readFileSync(join(root, `library/${module}.ts`), "utf8");
  const [, declared] = /^\/\*\*.*?\*\/\n(.*)\/\*\* By [^\n]*\nexport const/s.exec(source);
  const type = extension === "ts" ? ": { readonly [platform: string]: Embedded | undefined }" : "";
  write(
    join(folder, `library/${module}.${extension}`),
    `/** ${name}, as it travels inside the package's modules, by platform. Made by \`npm run build\`. */\n\n` +
      `${imports.join("\n")}\n${extension === "ts" ? declared : "\n"}/** By \`\${process.platform}-\${process.arch}\`. */\n` +
      `export const embedded${type} = {\n${entries.join("\n")}\n};\n`,
  );
}

function packageJson() {
  const compiled = (path) => path.replace(/\.ts$/, ".js");
  const { name, version, description, keywords, license, type, bin, dependencies } = own;
  return {
    name,
    version,
    description,
    keywords,
    license,
    type,
    exports: {
      ".": {
        types: "./mod.d.ts",
        bun: "./bun/mod.js",
        deno: "./deno/mod.js",
        node: "./node/mod.js",
        default: "./mod.js",
      },
      "./package.json": "./package.json",
    },
    engines: { bun: ">=1.4", deno: ">=2.9", node: ">=26.1" },
    bin: bin && Object.fromEntries(Object.entries(bin).map(([command, path]) => [command, compiled(path)])),
    dependencies,
  };
}

function filesUnder(folder, suffix) {
  return readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(suffix)).map((name) =>
    join(folder, name)
  );
}

function write(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}
