/** The border to C: what stands on this side of it is what stands on the other. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { AP_ABI_VERSION, AP_BLOCK_INFO, AP_MEMBER_INFO } from "../core/abi.ts";
import { generate } from "../scripts/abi.mjs";
import { assert, runtimes, test } from "./support/harness.ts";
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

for (const runtime of runtimes) {
  test(`${runtime}/ffi.ts declares the functions as the header does`, () => {
    const source = read(`${runtime}/ffi.ts`);
    const prototypes = header.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/\s+/g, " ");
    const entries = [
      ...source.matchAll(
        /\/\/ (.*;)\n\s+(ap_\w+): \{\s*(?:args|parameters|arguments): \[([^\]]*)\],\s*(?:returns|result|return): "(\w+)",?(?: nonblocking: true)?\s*\}/g,
      ),
    ];
    const names = entries.map(([, , name]) => name!);
    for (const [, comment, name, parameters, result] of entries) {
      assert.ok(prototypes.includes(comment!), `${comment} is not in the header`);
      const [, returned, called, list] = /^(.*?)\b(ap_\w+)\((.*)\);$/.exec(comment!)!;
      assert.equal(called, name);
      const wanted = list === "void" ? [] : list!.split(",").map((part) => typeOf(part));
      const given = parameters!.split(",").map((part) => part.trim().replaceAll('"', "")).filter(Boolean);
      assert.deepEqual(given.map((type) => general(type)), wanted, name!);
      assert.equal(general(result!), typeOf(returned!), name!);
    }
    // Every function that the package's interface names.
    const used = [...read("core/native.ts").matchAll(/^\s+(ap_\w+)\(/gm)].map(([, name]) => name!);
    assert.ok(used.length > 20);
    assert.deepEqual(used.filter((name) => !names.includes(name)), []);
  });
}

/** A C type as the symbol tables have it. */
function typeOf(declaration: string): string {
  if (declaration.includes("*")) return "pointer";
  return { uint32_t: "u32", int32_t: "i32", double: "f64", void: "void" }[declaration.trim().split(" ")[0]!]!;
}

function general(type: string): string {
  return type === "ptr" || type === "buffer" ? "pointer" : type;
}
