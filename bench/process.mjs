// Runs a program to its end, together with whatever it starts.

import { spawn } from "node:child_process";

const running = new Set();

/**
 * Runs `command` and returns what it printed. It gets a process group of its own, which is killed at the end: so nothing
 * that it started outlives it. Throws when it fails or takes longer than `timeoutMs`; what it said of errors is shown, or
 * with `isQuiet` stands in what is thrown.
 */
export function run(command, args, environment = {}, { timeoutMs = 240_000, isQuiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "pipe", isQuiet ? "pipe" : "inherit"],
      env: { ...process.env, NO_COLOR: "1", ...environment },
      detached: true,
    });
    running.add(child);
    let output = "";
    let errors = "";
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child);
    }, timeoutMs);
    child.stdout.setEncoding("utf8").on("data", (text) => output += text);
    child.stderr?.setEncoding("utf8").on("data", (text) => errors += text);
    const end = (failure) => {
      clearTimeout(timer);
      running.delete(child);
      killGroup(child);
      if (failure === undefined) resolve(output);
      else reject(new Error(`${command} ${args.join(" ")}: ${failure}${errors && `\n${errors}`}`));
    };
    child.on("error", (error) => end(error.message));
    child.on("close", (code, signal) => {
      if (timedOut) end(`not done after ${timeoutMs / 1000} s`);
      else if (code !== 0) end(`ended with ${signal ?? `code ${code}`}`);
      else end(undefined);
    });
  });
}

/** Kills every program that runs. */
export function killAll() {
  for (const child of running) killGroup(child);
}

function killGroup({ pid }) {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}
