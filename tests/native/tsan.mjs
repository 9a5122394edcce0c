// node tests/native/tsan.mjs: that ThreadSanitizer would notice. Builds libpool with one order of memory taken away, and
// expects `zig build test-tsan` to report a data race. (The library as it is: `zig build test-tsan`.)
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const mutants = [
  [
    "layout.zig",
    "commit() does not release",
    "&cell.raw, toRaw(value), .release)",
    "&cell.raw, toRaw(value), .monotonic)",
  ],
  [
    "layout.zig",
    "compareAndSwap() does not acquire",
    ".acquire, .monotonic) == null",
    ".monotonic, .monotonic) == null",
  ],
  [
    "layout.zig",
    "commitLowest(), by which a block goes into the cache, does not release",
    "@truncate(toRaw(value)), .release)",
    "@truncate(toRaw(value)), .monotonic)",
  ],
  [
    "waiting.zig",
    "notify() does not release",
    "waiter.word.exchangeIf(word, .{ .state = .notified",
    "waiter.word.compareAndSwap(word, .{ .state = .notified",
  ],
];

let passed = 0;
for (const [name, what, order, none] of mutants) {
  const copy = mkdtempSync(join(tmpdir(), "arraypool-tsan-"));
  try {
    for (const part of ["build.zig", "libpool"]) cpSync(join(root, part), join(copy, part), { recursive: true });
    const file = join(copy, "libpool", name);
    const text = readFileSync(file, "utf8");
    if (text.split(order).length !== 2) throw new Error(`${name} does not say "${order}" once: correct this test`);
    writeFileSync(file, text.replace(order, none));
    const args = ["build", "test-tsan", "--cache-dir", join(root, ".zig-cache")];
    const { status, stdout, stderr } = spawnSync("zig", args, { cwd: copy, encoding: "utf8", maxBuffer: 1 << 28 });
    const races = (stdout + stderr).split("WARNING: ThreadSanitizer: data race").length - 1;
    const ok = status !== 0 && races > 0;
    if (ok) passed++;
    console.log(`${ok ? "ok    " : "FAILED"}  ${what}: ${races} data races reported`);
    if (!ok) console.log(stderr.slice(-3000));
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
console.log(`${passed} passed, ${mutants.length - passed} failed`);
process.exit(passed === mutants.length ? 0 : 1);
