// npm run lint: formatters, linters and type checks of every language in the repository; exits 1 if one complains.
import { spawnSync } from "node:child_process";

const checks = [
  ["Zig format", "zig", "fmt", "--check", "build.zig", "libpool"],
  ["TypeScript format", "deno", "fmt", "--check"],
  ["TypeScript lint", "deno", "lint"],
  ["types, TypeScript 7", "tsc", "-p", "."],
  ["declarations, TypeScript 7", "tsc", "-p", "tsconfig.build.json", "--noEmit"],
  ["types of the examples, TypeScript 7", "tsc", "-p", "examples"],
  ["types, Deno", "deno", "check", "mod.ts", "cli", "examples", "tests"],
  ["no slow types (JSR)", "deno", "publish", "--dry-run", "--allow-dirty", "--quiet", "--set-version", "0.0.0"],
  ["core/abi.ts and core/functions.ts are current", "node", "scripts/abi.mjs", "--check"],
  ["docs/api.md is current", "node", "scripts/docs.mjs", "--check"],
];

let failed = 0;
for (const [name, command, ...args] of checks) {
  const result = spawnSync(command, args, { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } });
  const ok = result.status === 0;
  console.log(`${ok ? "ok    " : "FAILED"}  ${name}`);
  if (!ok) {
    console.log(result.error?.message ?? result.stdout + result.stderr);
    failed++;
  }
}
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
