// Compiles share.c against the C header with `zig cc`, and lets it share arrays with Bun and with Deno.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "arraypool-c-"));
const library = resolve(`lib/${process.platform}-${process.arch}`);
const program = join(folder, "share");
let failed = 0;
try {
  const flags = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-I",
    "libpool",
    "-L",
    library,
    "-larraypool",
    `-Wl,-rpath,${library}`,
  ];
  const compiled = spawnSync("zig", ["cc", "tests/native/share.c", "-o", program, ...flags], { stdio: "inherit" });
  report("a C program compiles against the header without a warning", compiled.status === 0);
  for (const runtime of [["bun"], ["deno", "run", "--allow-ffi"]]) {
    const c = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
    const script = spawn(runtime[0], [...runtime.slice(1), "tests/native/share.ts"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    c.stdout.pipe(script.stdin).on("error", () => {});
    script.stdout.pipe(c.stdin).on("error", () => {});
    const ended = new Promise((done) => script.on("close", done));
    const code = await new Promise((done) => c.on("close", done));
    // It leaves by itself; killed before, it would leave its pool behind.
    const limit = setTimeout(() => script.kill(), 30_000);
    await ended;
    clearTimeout(limit);
    report(`a C program and ${runtime[0]} share arrays in both directions`, code === 0);
  }
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${3 - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

function report(what, ok) {
  console.log(`${ok ? "ok    " : "FAILED"}  ${what}`);
  if (!ok) failed++;
}
