// npm test: builds the library, runs every suite, and ends with one line, `N passed, N failed`, summed over all of them.
// A suite that does not run to its end, or whose count cannot be read, counts as a failure.
//
//     npm test                 all suites
//     npm test -- bun deno     only these
import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { resolve } from "node:path";
import { lint } from "./lint.mjs";

const counted = (passed, failed) => (output) => {
  const read = (pattern) => [...output.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
  return { passed: read(passed), failed: read(failed) };
};

const suites = {
  native: {
    command: ["zig", "build", "test", "--summary", "all"],
    count: counted(/; (\d+)\/\d+ tests passed/g, /\((\d+) failed\)/g),
  },
  crash: {
    command: ["zig", "build", "test-crash", "--summary", "all"],
    count: counted(/; (\d+)\/\d+ tests passed/g, /\((\d+) failed\)/g),
  },
  // A few seconds of it; `npm run fuzz -- --seconds N` is for more.
  fuzz: {
    command: ["zig", "build", "fuzz", "--", "--seconds", "5"],
    count: (output) => ({
      passed: /; 0 findings$/m.test(output) ? 1 : 0,
      failed: Number(/; (\d+) findings$/m.exec(output)?.[1] ?? 1),
    }),
  },
  tsan: {
    command: ["zig", "build", "test-tsan", "--summary", "all"],
    count: counted(/; (\d+)\/\d+ tests passed/g, /\((\d+) failed\)/g),
  },
  arm64: {
    command: ["zig", "build", "test-arm64", "-fqemu", "-Dbrief", "--summary", "all"],
    count: counted(/; (\d+)\/\d+ tests passed/g, /\((\d+) failed\)/g),
    needs: ["qemu-aarch64", "--version", "qemu-user"],
  },
  // `npm run model` also breaks the models on purpose, and sees each break found.
  model: {
    command: ["node", "docs/model/run.mjs", "--models"],
    count: counted(/^(\d+) passed/gm, /(\d+) failed/g),
    needs: ["spin", "-V", "spin"],
  },
  c: { command: ["node", "tests/native/share.mjs"], count: counted(/^(\d+) passed/gm, /(\d+) failed/g) },
  bun: { command: ["bun", "test", "./tests", "./examples"], count: counted(/^\s*(\d+) pass$/gm, /^\s*(\d+) fail$/gm) },
  deno: {
    command: ["deno", "test", "-A", "--no-check", "tests", "examples"],
    count: counted(/(\d+) passed(?: \(|\s*\|)/g, /\| (\d+) failed/g),
  },
  // The folders that are published, installed and used.
  package: {
    prepare: ["npm", "run", "--silent", "build"],
    command: [
      "bun",
      "test",
      ...["npm", "jsr", "single_file", "in_use", "getting_started"].map((name) => `./tests/package/${name}.ts`),
    ],
    count: counted(/^\s*(\d+) pass$/gm, /^\s*(\d+) fail$/gm),
  },
  // One file after the other: some of them look at all that is in /dev/shm.
  node: {
    command: [
      "node",
      "--disable-warning=ExperimentalWarning",
      "--import=./tests/support/node_globals.ts",
      "--test",
      "--test-concurrency=1",
      "tests/*.test.ts",
    ],
    // So that each of the many processes need not compile all files anew.
    env: { NODE_COMPILE_CACHE: resolve("node_modules/.cache/node") },
    count: counted(/^ℹ pass (\d+)$/gm, /^ℹ (?:fail|cancelled) (\d+)$/gm),
  },
  // Short, and with another seed each time, which it prints. `npm run chaos` runs it for longer.
  chaos: {
    command: ["node", "tests/chaos/run.mjs", "--seconds", "10"],
    count: counted(/^(\d+) passed/gm, /^\d+ passed, (\d+) failed/gm),
  },
};

// Deno takes any FORCE_COLOR, also "0", for a yes.
const plain = { ...process.env, NO_COLOR: "1" };
delete plain.FORCE_COLOR;

const wanted = process.argv.slice(2);
const total = { passed: 0, failed: 0 };
const add = (name, passed, failed) => {
  total.passed += passed;
  total.failed += failed;
  console.log(`--- ${name}: ${passed} passed, ${failed} failed\n`);
};
const segments = () => readdirSync("/dev/shm").filter((name) => name.startsWith("arraypool."));

if (process.platform !== "linux") console.log("Only Linux is tested; what follows may fail elsewhere.");
const before = segments();

await run(["zig", "build", "--release=fast", "-Dnative", "--prefix", "."]);
if (wanted.length === 0 || wanted.includes("lint")) {
  console.log("=== lint");
  const { passed, failed } = lint();
  add("lint", passed, failed.length);
}
for (const [name, suite] of Object.entries(suites)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`=== ${name}: ${suite.command.join(" ")}`);
  if (suite.needs && spawnSync(suite.needs[0], [suite.needs[1]]).error) {
    console.log(`${name}: not run, ${suite.needs[0]} is not installed (apt-get install ${suite.needs[2]})\n`);
    continue;
  }
  if (suite.prepare && (await run(suite.prepare)).code !== 0) {
    add(name, 0, 1);
    continue;
  }
  const { code, output } = await run(suite.command, suite.env);
  const { passed, failed } = suite.count(output);
  const broken = (code !== 0 || passed === 0) && failed === 0;
  if (broken) console.log(`the suite ended with code ${code}, and no failure was counted`);
  add(name, passed, broken ? 1 : failed);
}

const left = segments().filter((name) => !before.includes(name));
console.log(left.length === 0 ? "/dev/shm is as empty as before" : `left in /dev/shm: ${left.join(", ")}`);
add("/dev/shm", left.length === 0 ? 1 : 0, left.length === 0 ? 0 : 1);

console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);

/** Runs a command, shows what it prints, and returns that and its exit code. */
function run([command, ...args], env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...plain, ...env },
    });
    let output = "";
    const take = (chunk) => {
      output += chunk;
      process.stdout.write(chunk);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", (error) => resolve({ code: error.message, output }));
    child.on("close", (code, signal) => resolve({ code: code ?? signal, output }));
  });
}
