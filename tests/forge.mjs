// npm run forge [-- --count N --seed S]: a million forged descriptors in each runtime, which must have been built.
import { spawnSync } from "node:child_process";

const script = "tests/support/forge.ts";
const programs = [["bun", script], ["deno", "run", "-A", "--no-check", script]];
let failed = false;
for (const [program, ...args] of programs) {
  const { status } = spawnSync(program, [...args, ...process.argv.slice(2)], { stdio: "inherit" });
  failed ||= status !== 0;
}
process.exit(failed ? 1 : 0);
