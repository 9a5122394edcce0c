/** A suite of `npm test` that hangs is ended, with all that it has started, and fails. */

import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { apart, lastLine, run } from "./support/command.mjs";
import { assert, fileOf, newName, test, until } from "./support/harness.ts";

const mayMount = process.getuid?.() === 0 && (await run([...apart, "true"], () => {}, process.env)).code === 0;

/** Says which processes it has, one of them in a session of its own; and hangs. */
const HANGS = 'echo "first test: ok"; sleep 1000 & echo "pid $!"; setsid sleep 1000 & echo "pid $!"; wait';

test("a command that hangs is ended at its limit, and says what it printed last", async () => {
  let seen = "";
  const { code, ranOut, output } = await run(
    [...(mayMount ? apart : []), "sh", "-c", mayMount ? HANGS : HANGS.replace("setsid ", "")],
    (text) => seen += text,
    process.env,
    1000,
  );
  assert.deepEqual([code, ranOut, output], ["its limit of 1 s", true, seen]);
  const pids = [...seen.matchAll(/pid (\d+)/g)].map((match) => match[1]!);
  assert.equal(pids.length, 2);
  await until(() => pids.every((pid) => !existsSync(`/proc/${pid}/cwd/.`)), "all are gone");
  assert.equal(lastLine(seen), `pid ${pids[1]}`);
  assert.equal(lastLine(""), "nothing");
});

test("a command that ends by itself says how, and what is left in its /dev/shm", async () => {
  const { code, ranOut, output } = await run(
    ["sh", "-c", "echo it; echo says >&2; exit 3"],
    () => {},
    process.env,
    60_000,
  );
  assert.deepEqual([code, ranOut, output.split("\n").sort()], [3, false, ["", "it", "says"]]);
  if (!mayMount) return;
  const name = newName();
  writeFileSync(`/tmp/${name}`, "");
  const script = `touch ${fileOf(name)}; rm /tmp/${name}`;
  const { left } = await run([...apart, "sh", "-c", script], () => {}, process.env);
  assert.deepEqual(left, [`arraypool.${name}`]);
  assert.ok(!existsSync(fileOf(name)) && !existsSync(`/tmp/${name}`));
});
