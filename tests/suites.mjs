// The suites of `npm test`, in the order in which they begin: long ones first, so that two at a time end at about the same time.
// Each is a command, and how what it prints says how many tests passed and failed.
import { resolve } from "node:path";

const counted = (passed, failed) => (output) => {
  const read = (pattern) => [...output.matchAll(pattern)].reduce((sum, match) => sum + Number(match[1]), 0);
  return { passed: read(passed), failed: read(failed) };
};
const byZig = counted(/; (\d+)\/\d+ tests passed/g, /\((\d+) failed\)/g);
const byBun = counted(/^\s*(\d+) pass$/gm, /^\s*(\d+) fail$/gm);
/** As those end that are written here. */
const byLastLine = counted(/^(\d+) passed, \d+ failed$/gm, /^\d+ passed, (\d+) failed$/gm);
/** So that none of the many processes in Node need strip and compile all files anew, which takes most of their time. */
const cached = { NODE_COMPILE_CACHE: resolve("node_modules/.cache/node") };

export const suites = {
  lint: { command: ["node", "tests/lint.mjs"], count: byLastLine },
  // A rescuer dies at some of its points; `zig build test-crash` tries all of them.
  crash: { command: ["zig", "build", "test-crash", "-Dbrief", "--summary", "all"], count: byZig },
  deno: {
    command: ["deno", "test", "-A", "--no-check", "tests", "examples"],
    env: cached,
    count: counted(/(\d+) passed(?: \(|\s*\|)/g, /\| (\d+) failed/g),
  },
  // One file after the other: some of them look at all that is in /dev/shm.
  node: {
    command: [
      "node",
      "--disable-warning=ExperimentalWarning",
      "--import=./tests/support/node_globals.ts",
      "--test",
      "--test-concurrency=1",
      "{tests,examples}/*.test.ts",
    ],
    env: cached,
    count: counted(/^ℹ pass (\d+)$/gm, /^ℹ (?:fail|cancelled) (\d+)$/gm),
  },
  bun: { command: ["bun", "test", "./tests", "./examples"], env: cached, count: byBun },
  // The folders that are published, installed and used.
  package: {
    prepare: ["npm", "run", "--silent", "build"],
    command: [
      "bun",
      "test",
      ...["npm", "jsr", "single_file", "in_use", "getting_started"].map((name) => `./tests/package/${name}.ts`),
    ],
    count: byBun,
  },
  arm64: {
    command: ["zig", "build", "test-arm64", "-fqemu", "-Dbrief", "--summary", "all"],
    count: byZig,
    needs: ["qemu-aarch64", "--version", "qemu-user"],
  },
  // `npm run model` also breaks the models on purpose, and sees each break found.
  model: { command: ["node", "docs/model/run.mjs", "--models"], count: byLastLine, needs: ["spin", "-V", "spin"] },
  native: { command: ["zig", "build", "test", "--summary", "all"], count: byZig },
  // A few seconds of it; `npm run fuzz -- --seconds N` is for more.
  fuzz: {
    command: ["zig", "build", "fuzz", "--", "--seconds", "5"],
    count: (output) => ({
      passed: /; 0 findings$/m.test(output) ? 1 : 0,
      failed: Number(/; (\d+) findings$/m.exec(output)?.[1] ?? 1),
    }),
  },
  tsan: { command: ["zig", "build", "test-tsan", "--summary", "all"], count: byZig },
  // Short, and with another seed each time, which it prints. `npm run chaos` runs it for longer.
  chaos: { command: ["node", "tests/chaos/run.mjs", "--seconds", "10"], count: byLastLine },
  c: { command: ["node", "tests/native/share.mjs"], count: byLastLine },
};
