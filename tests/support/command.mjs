// @ts-self-types="./command.d.mts"
// Runs a suite's command to its end, or to the end of its time, with what it has started, however that has detached itself.
import { spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";

/** What runs a command with an empty /dev/shm, and lists on descriptor 3 what is left in it. */
export const apart = [
  ...["unshare", "--mount", "sh", "-c"],
  'mount -t tmpfs -o mode=1777 none /dev/shm && "$@" 3>&-; code=$?; ls /dev/shm >&3; exit $code',
  "sh",
];

/** The leaders of what runs now, each of a process group. */
const running = new Set();

/**
 * Runs a command, hands what it prints to `write`, and returns that, its exit code, and what `apart` has listed. After
 * `limitMs` it is ended, and `code` says so.
 */
export function run([command, ...args], write, env = {}, limitMs = 2 ** 31 - 1) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe", "pipe"], env, detached: true });
    if (child.pid !== undefined) running.add(child.pid);
    const [output, listed] = [[], []];
    const collect = (stream, into) => stream.setEncoding("utf8").on("data", (text) => into.push(text));
    for (const stream of [child.stdout, child.stderr]) collect(stream, output).on("data", write);
    collect(child.stdio[3], listed);
    let ranOut = false;
    const limit = setTimeout(() => {
      ranOut = true;
      end(child.pid);
    }, limitMs);
    const settle = (code) => {
      clearTimeout(limit);
      running.delete(child.pid);
      const left = listed.join("").split("\n").filter((name) => name.startsWith("arraypool."));
      resolve({ code: ranOut ? `its limit of ${limitMs / 1000} s` : code, ranOut, output: output.join(""), left });
    };
    child.on("error", (error) => settle(error.message));
    child.on("close", (code, signal) => settle(code ?? signal));
  });
}

/** Ends everything that run() runs: a command in a process group of its own does not hear of Ctrl-C. */
export function endAll() {
  for (const pid of running) end(pid);
}

/** Ends the process group, and all that sees the same /dev/shm if that is one of its own. */
function end(leader) {
  const mounts = mountsOf(leader);
  const isApart = mounts !== undefined && mounts !== mountsOf("self");
  // Twice: what is being started meanwhile.
  for (let time = 0; time < 2; time++) {
    for (
      const pid of isApart ? readdirSync("/proc").filter((name) => /^\d+$/.test(name) && mountsOf(name) === mounts) : []
    ) {
      kill(Number(pid));
    }
    kill(-leader);
  }
}

function mountsOf(pid) {
  try {
    return readlinkSync(`/proc/${pid}/ns/mnt`);
  } catch {
    return undefined; // gone, or another user's
  }
}

function kill(pid) {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it has gone by itself
  }
}

/** What a command printed last that says anything: a runner names the test that has just ended. */
export function lastLine(output) {
  return output.trimEnd().split("\n").at(-1).trim() || "nothing";
}
