// Before test, demo and bench: the npm package of Bun puts its binary in place by an install script, which npm can be told not
// to run (--ignore-scripts, or a policy). Then this does it: the binary itself came with the package.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const works = spawnSync("bun", ["--version"]).status === 0;
const script = "node_modules/bun/install.js";
if (!works && existsSync(script)) process.exit(spawnSync("node", [script], { stdio: "inherit" }).status ?? 1);
