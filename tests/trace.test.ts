/** ARRAYPOOL_TRACE=1, in a child of its own. */

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { assert, commandOf, runtime, test } from "./support/harness.ts";

function run(trace: string): Record<string, string> {
  const [program, ...args] = commandOf(runtime, "./traced.ts");
  const { stdout, stderr } = spawnSync(program!, args, {
    encoding: "utf8",
    cwd: fileURLToPath(new URL("../", import.meta.url)),
    env: { ...process.env, ARRAYPOOL_TRACE: trace },
  });
  assert.ok(stdout.startsWith("{"), stdout + stderr);
  return JSON.parse(stdout);
}

test("ARRAYPOOL_TRACE=1 says where arrays were made", () => {
  const said = run("1");
  for (const shown of [said.alloc, said.from, said.attach, said.received, said.iterated]) {
    assert.match(shown!, /, made .*traced\.ts:\d+/);
  }
  assert.match(said.full!, /Not released here:\n {2}512 KiB .*traced\.ts:\d+/);
});

test("ARRAYPOOL_TRACE=1 makes a clone of a pool array an error", () => {
  const said = run("1");
  for (const message of [said.clone, said.deep, said.slice]) {
    assert.match(message!, /TypeError: structuredClone\(\) would copy a pool array: pack\(\)/);
  }
  for (const message of [said.port, said.broadcast]) {
    assert.match(message!, /TypeError: postMessage\(\) would copy a pool array/);
  }
  assert.equal(said.packed, "cloned");
  assert.equal(said.ordinary, "cloned");
});

test("without it nothing is recorded, and clones are copies", () => {
  const said = run("");
  assert.doesNotMatch(said.alloc!, /made/);
  assert.doesNotMatch(said.full!, /Not released here/);
  assert.deepEqual([said.clone, said.deep, said.port], ["cloned", "cloned", "cloned"]);
});
