// npm test: builds the library, runs every suite, and ends with one line, `N passed, N failed`, summed over all of them.
// A suite that does not run to its end, or whose count cannot be read, counts as a failure; one that hangs is ended.
//
//     npm test                 all suites
//     npm test -- bun deno     only these
//
// Two suites run at a time, each with a /dev/shm of its own, since some of them look at all that is in it; one after the
// other where this user may not mount. What they print comes suite by suite all the same.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { suites } from "./suites.mjs";
import { apart, endAll, lastLine, run as runCommand } from "./support/command.mjs";

/** Many times what any of them takes on a machine that is not busy. */
const LIMIT_MS = 20 * 60_000;

// Deno takes any FORCE_COLOR, also "0", for a yes.
const plain = { ...process.env, NO_COLOR: "1" };
delete plain.FORCE_COLOR;

/** What a suite prints: shown at once when it is the first of those that have not ended, and else when it is its turn. */
class Page {
  static #open = [];
  #text = "";
  #ended = false;

  constructor() {
    Page.#open.push(this);
  }
  write(text) {
    this.#text += text;
    Page.#show();
  }
  end(text) {
    this.#ended = true;
    this.write(text);
  }
  static #show() {
    for (let first; (first = Page.#open[0]) !== undefined; Page.#open.shift()) {
      process.stdout.write(first.#text);
      first.#text = "";
      if (!first.#ended) return;
    }
  }
}

const run = (command, write, env = {}) => runCommand(command, write, { ...plain, ...env }, LIMIT_MS);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    endAll();
    process.exit(1);
  });
}

const wanted = process.argv.slice(2);
const total = { passed: 0, failed: 0 };
const left = [];

if (process.platform !== "linux") console.log("Only Linux is tested; what follows may fail elsewhere.");
await run(["zig", "build", "--release=fast", "-Dnative", "--prefix", "."], (text) => process.stdout.write(text));

// As root alone: in a namespace of users, files would seem to be others' than they are.
const mayMount = process.getuid?.() === 0 && (await run([...apart, "true"], () => {})).code === 0;
const before = segments();
const queue = Object.entries(suites).filter(([name]) => wanted.length === 0 || wanted.includes(name)).values();
const lane = async () => {
  for (const [name, suite] of queue) await runSuite(name, suite, new Page());
};
await Promise.all(mayMount ? [lane(), lane()] : [lane()]);
left.push(...segments().filter((name) => !before.includes(name)));

console.log(left.length === 0 ? "/dev/shm is as empty as before" : `left in /dev/shm: ${left.join(", ")}`);
console.log(`${add("/dev/shm", left.length === 0 ? 1 : 0, left.length === 0 ? 0 : 1)}\n`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);

async function runSuite(name, suite, page) {
  const begun = Date.now();
  const end = (passed, failed) => {
    page.end(`${add(name, passed, failed)}, ${Math.round((Date.now() - begun) / 1000)} s\n\n`);
  };
  page.write(`=== ${name}: ${suite.command.join(" ")}\n`);
  if (suite.needs && spawnSync(suite.needs[0], [suite.needs[1]]).error) {
    return page.end(`${name}: not run, ${suite.needs[0]} is not installed (apt-get install ${suite.needs[2]})\n\n`);
  }
  const write = (text) => page.write(text);
  if (suite.prepare && (await run(suite.prepare, write)).code !== 0) return end(0, 1);
  const result = await run(mayMount ? [...apart, ...suite.command] : suite.command, write, suite.env);
  left.push(...result.left);
  if (result.ranOut) {
    if (!mayMount) spawnSync("bun", ["cli/main.ts", "gc"]); // what it had in the /dev/shm of all
    write(`the suite hung, and was ended at ${result.code}; it printed last: ${lastLine(result.output)}\n`);
  }
  const { passed, failed } = suite.count(result.output);
  const broken = (result.code !== 0 || passed === 0) && failed === 0;
  if (broken && !result.ranOut) write(`the suite ended with code ${result.code}, and no failure was counted\n`);
  end(passed, broken ? 1 : failed);
}

/** Adds to the total, and returns a line that says so. */
function add(name, passed, failed) {
  total.passed += passed;
  total.failed += failed;
  return `--- ${name}: ${passed} passed, ${failed} failed`;
}

function segments() {
  return readdirSync("/dev/shm").filter((name) => name.startsWith("arraypool."));
}
