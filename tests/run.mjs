// npm test: builds the library, runs every suite, and ends with one line, `N passed, N failed`, summed over all of them.
// A suite that does not run to its end, or whose count cannot be read, counts as a failure.
//
//     npm test                 all suites
//     npm test -- bun deno     only these
//
// Two suites run at a time, each with a /dev/shm of its own, since some of them look at all that is in it; one after the
// other where this user may not mount. What they print comes suite by suite all the same.
import { spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { suites } from "./suites.mjs";

// Deno takes any FORCE_COLOR, also "0", for a yes.
const plain = { ...process.env, NO_COLOR: "1" };
delete plain.FORCE_COLOR;

/** What runs a command with an empty /dev/shm, and lists on descriptor 3 what is left in it. */
const apart = [
  ...["unshare", "--mount", "sh", "-c"],
  'mount -t tmpfs -o mode=1777 none /dev/shm && "$@" 3>&-; code=$?; ls /dev/shm >&3; exit $code',
  "sh",
];

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
  const { passed, failed } = suite.count(result.output);
  const broken = (result.code !== 0 || passed === 0) && failed === 0;
  if (broken) write(`the suite ended with code ${result.code}, and no failure was counted\n`);
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

/** Runs a command, hands what it prints to `write`, and returns that, its exit code, and what `apart` has listed. */
function run([command, ...args], write, env = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      env: { ...plain, ...env },
    });
    const [output, listed] = [[], []];
    const collect = (stream, into) => stream.setEncoding("utf8").on("data", (text) => into.push(text));
    for (const stream of [child.stdout, child.stderr]) collect(stream, output).on("data", write);
    collect(child.stdio[3], listed);
    const end = (code) => {
      const left = listed.join("").split("\n").filter((name) => name.startsWith("arraypool."));
      resolve({ code, output: output.join(""), left });
    };
    child.on("error", (error) => end(error.message));
    child.on("close", (code, signal) => end(code ?? signal));
  });
}
