/** The border to C: what stands on this side of it is what stands on the other. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AP_ABI_VERSION, AP_BLOCK_INFO, AP_MEMBER_INFO } from "../core/abi.ts";
import { FUNCTIONS, LOOK_FUNCTIONS } from "../core/functions.ts";
import { generate, generateFunctions } from "../scripts/abi.mjs";
import { assert, test } from "./support/harness.ts";
import { native } from "./support/segment.ts";

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8");
const header = read("libpool/arraypool.h");

test("core/abi.ts is what the header makes it", () => {
  // The formatter may have broken lines.
  const plain = (text: string) => text.replaceAll(/\s+/g, " ");
  assert.equal(plain(read("core/abi.ts")), plain(generate(header)));
  assert.deepEqual([AP_BLOCK_INFO.BYTES, AP_MEMBER_INFO.BYTES], [80, 32]);
});

test("the library has the interface that the package was made for", () => {
  assert.equal(native.library.ap_abi_version(), AP_ABI_VERSION);
});

test("core/functions.ts is what the header makes it, and has what the package calls, with as many arguments", () => {
  const plain = (text: string) => text.replaceAll(/\s+/g, "").replaceAll(/,(?=[\]}])/g, "");
  assert.equal(plain(read("core/functions.ts")), plain(generateFunctions(header)));
  const prototypes = header.replaceAll(/\/\*[\s\S]*?\*\//g, "");
  assert.equal(
    Object.keys(FUNCTIONS).length + Object.keys(LOOK_FUNCTIONS).length,
    [...prototypes.matchAll(/\bap_\w+\([^()]*\);/g)].length,
  );
  const all = { ...FUNCTIONS, ...LOOK_FUNCTIONS };
  const { ap_block_alloc: alloc, ap_look_open: open, ap_word_wait: wait } = all;
  assert.deepEqual(alloc, { args: ["pointer", "f64", "u32", "u32"], returns: "i32" });
  assert.deepEqual(open, { args: ["buffer", "buffer"], returns: "pointer" });
  assert.deepEqual(wait, { args: ["pointer", "u32", "f64", "u32", "f64"], returns: "i32" });
  const source = read("core/native.ts") + read("cli/library.ts");
  const used = [...source.matchAll(/^ {2}(ap_\w+)\(([^()]*)\):/gm)];
  assert.ok(used.length > 20);
  for (const [, name, list] of used) {
    const given = list!.split(",").filter((parameter) => parameter.trim() !== "");
    assert.equal(all[name!]?.args.length, given.length, name!);
  }
});
