// npm run chaos: builds the library and the native member, and starts run.ts in Bun with the same arguments.
import { spawn, spawnSync } from "node:child_process";

const built = [
  ["zig", "build", "--release=fast", "-Dnative", "--prefix", "."],
  ["zig", "build", "--release=fast", "-Dnative", "chaos-member"],
].every(([command, ...args]) => spawnSync(command, args, { stdio: "inherit" }).status === 0);
if (!built) process.exit(1);

const run = spawn("bun", ["tests/chaos/run.ts", ...process.argv.slice(2)], { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => run.kill(signal));
run.on("close", (code, signal) => {
  if (signal !== null) console.log(`ended by ${signal}`);
  process.exit(code ?? 1);
});
