/** Permissions. Deno's: `--allow-ffi` is enough for everything, and asks for nothing else. Node's: which it takes. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { assert, fileOf, programOf, testOnce } from "./support/harness.ts";

function run(
  script: string,
  permissions: string[] = [],
  args: string[] = [],
): { status: number | null; output: string } {
  const path = fileURLToPath(new URL(script, import.meta.url));
  // By way of a shell: Deno adds -A where it sees that a program starts Deno.
  const command = [programOf("deno"), "run", "--no-check", "--no-prompt", ...permissions, path, ...args];
  const { status, stdout, stderr } = spawnSync("sh", ["-c", `exec ${command.map((word) => `'${word}'`).join(" ")}`], {
    encoding: "utf8",
    cwd: fileURLToPath(new URL("../", import.meta.url)),
    env: { ...process.env, ARRAYPOOL_TRACE: "1", NO_COLOR: "1" },
  });
  return { status, output: stdout + stderr };
}

testOnce("deno run --allow-ffi is enough for everything", () => {
  const { status, output } = run("./support/only_ffi.ts", ["--allow-ffi"]);
  assert.equal(status, 0, output);
  assert.match(output, /all done true/);
  // Without the permission to read the environment there is no tracing, and no question.
  assert.doesNotMatch(output, /, made /);
  const name = /Pool "([^"]+)"/.exec(output)![1]!;
  assert.ok(!existsSync(fileOf(name)));
});

testOnce("tracing is on where the permission to read its variable was granted", () => {
  const { status, output } = run("./support/only_ffi.ts", ["--allow-ffi", "--allow-env=ARRAYPOOL_TRACE"]);
  // A structured clone of packed data is no clone of an array.
  assert.equal(status, 0, output);
  assert.match(output, /, made .*only_ffi\.ts:\d+/);
});

testOnce("without --allow-ffi the error says which permission is missing", () => {
  const { status, output } = run("./support/only_ffi.ts");
  assert.equal(status, 1);
  assert.match(output, /NotCapable.*--allow-ffi/);
});

testOnce("the first pool does not load Deno's part of Node", () => {
  const { status, output } = run("./support/first_pool.ts", ["--allow-ffi"]);
  assert.equal(status, 0, output);
  assert.match(output, /^seen: ; arrays: 0$/m);
});

testOnce("without Deno's own way to load a Node-API module, process.dlopen is the way", () => {
  for (const how of ["none", "throws", "other"]) {
    const { status, output } = run("./support/first_pool.ts", ["--allow-ffi"], [how]);
    assert.equal(status, 0, output);
    assert.match(output, /^seen: process; arrays: 0$/m);
  }
});

testOnce("node --permission: with two flags all works, and without one of them the error names it", () => {
  const folder = fileURLToPath(new URL("../", import.meta.url));
  const script = `import { Pool } from "${folder}mod.ts";
    using pool = Pool.create({ capacity: "1M" });
    console.log(pool.alloc(Uint8Array, 5).length);`;
  const flags = ["--allow-ffi", "--allow-addons"];
  const runs = [
    { flags: ["--permission", "--allow-fs-read=*", ...flags], says: /^5$/m },
    { flags: ["--permission", "--allow-fs-read=*", flags[0]!], says: /--allow-ffi and --allow-addons/ },
    { flags: ["--permission", "--allow-fs-read=*", flags[1]!], says: /--allow-ffi and --allow-addons/ },
    { flags: ["--no-addons"], says: /without --no-addons/ },
  ];
  for (const { flags, says } of runs) {
    const { stdout, stderr } = spawnSync(programOf("node"), [...flags, "--input-type=module", "-e", script], {
      encoding: "utf8",
    });
    assert.match(stdout + stderr, says, flags.join(" "));
    // Not that something were broken.
    assert.doesNotMatch(stdout + stderr, /install arraypool anew/);
  }
});

testOnce("Bun without its JIT: the error says so, and not that the package is broken", () => {
  const folder = fileURLToPath(new URL("../", import.meta.url));
  const script = `import { Pool } from "${folder}mod.ts"; Pool.create({ capacity: "1M" });`;
  const { stderr } = spawnSync(programOf("bun"), ["-e", script], {
    encoding: "utf8",
    env: { ...process.env, BUN_JSC_useJIT: "0" },
  });
  assert.match(stderr, /Bun loads no native library while its JIT is off/);
  assert.doesNotMatch(stderr, /install arraypool anew/);
});
