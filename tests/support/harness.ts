/**
 * What the tests share. `node:test` and `node:assert` serve all runtimes, so the tests are written once:
 *
 *     bun test tests
 *     deno test -A --no-check tests
 *     node --import ./tests/support/node_globals.ts --test "tests/*.test.ts"
 *
 * What is said of a process of a runtime is tested in that runtime's suite, with a child of its own kind: in all of them together,
 * it is tested of each. Pairs of runtimes are tested where what two of them do together matters.
 *
 * Every pool of the tests has a name that starts with PREFIX, and every test leaves /dev/shm without one.
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test as nodeTest } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import v8 from "node:v8";
import vm from "node:vm";
import { Pool, PoolError, type PoolErrorCode, type PoolOptions } from "arraypool";
import { inSmallShm } from "./small_shm.ts";
import { flagsOf, installed, root, type Runtime, runtime, runtimes } from "./programs.ts";

export { assert };

/** Declares a test. The limit is only there to end one that hangs. */
export function test(sentence: string, body: () => unknown, limitMs = 180_000): void {
  nodeTest(sentence, { timeout: limitMs }, async () => void await body());
}

/** Declares a test for one of the suites: of what is the same in whatever runtime the process runs that only looks on. */
export const testOnce: typeof test = runtime === "bun" ? test : () => {};

/** For tests in which both sides do the same: the runtimes of the other side, so that each pair is in one of the suites. */
export const peers: readonly Runtime[] = runtimes.slice(runtimes.indexOf(runtime));

const globals = globalThis as unknown as { Bun?: { gc(force: boolean): void } };

export { type Runtime, runtime, runtimes };

// ---------------------------------------------------------------- pools

const PREFIX = `test-${process.pid}-`;
let count = 0;

/** A name that no other test has. */
export function newName(): string {
  return PREFIX + count++;
}

/** The file of a pool. */
export function fileOf(name: string): string {
  return `/dev/shm/arraypool.${name}`;
}

/** Runs `use` with a name for a pool, whose file is gone afterwards. */
export async function withName(use: (name: string, file: string) => unknown): Promise<void> {
  const name = newName();
  try {
    await use(name, fileOf(name));
  } finally {
    rmSync(fileOf(name), { force: true });
  }
}

/** Runs `use` with a pool of its own, and sees that it leaves nothing behind. */
export function withPool(use: (pool: Pool) => unknown, options: PoolOptions = {}): Promise<void> {
  return withName(async (name, file) => {
    // Not that claims expire while the machine is busy.
    using pool = Pool.create({ capacity: "64M", claimTtlMs: 600_000, ...options, name });
    await use(pool);
    if (!pool.closed) {
      pool.check();
      // A Worker that was terminated takes its time to end.
      await until(() => pool.reap() + pool.stats().members === 1, "everybody else has left");
    }
    pool.close();
    // If the kernel is late to let go of a process that was killed, it is for the next who makes a pool.
    await until(() => {
      if (existsSync(file)) Pool.create({ capacity: "1M" }).close();
      return !existsSync(file);
    }, "the pool is gone: an array was sent and neither attached nor released");
  });
}

/** The pools of these tests that are in /dev/shm. */
export function poolsLeft(): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`arraypool.${PREFIX}`));
}

/** Fails unless `call` throws a PoolError of that code whose message says each of `says`. */
export function throwsPoolError(call: () => unknown, code: PoolErrorCode, ...says: RegExp[]): void {
  assert.throws(call, (error: unknown) => isPoolError(error, code, says));
}

/** As throwsPoolError, for a promise. */
export function rejectsPoolError(call: () => Promise<unknown>, code: PoolErrorCode, ...says: RegExp[]): Promise<void> {
  return assert.rejects(call, (error: unknown) => isPoolError(error, code, says));
}

function isPoolError(error: unknown, code: PoolErrorCode, says: RegExp[]): true {
  if (!(error instanceof PoolError)) throw error;
  assert.equal(error.code, code, error.message);
  assert.equal(error.name, "PoolError");
  for (const pattern of says) assert.match(error.message, pattern);
  return true;
}

// ---------------------------------------------------------------- time

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Waits until `condition` holds. The limit is only there to fail instead of hanging, and counts the pauses alone: a machine that is
 * busy, or was suspended, makes nobody fail.
 */
export async function until(condition: () => unknown, what: string, limitMs = 60_000): Promise<void> {
  let pauseMs = 1;
  for (let waitedMs = 0; !(await condition()); waitedMs += pauseMs) {
    if (waitedMs > limitMs) assert.fail(`waited in vain until ${what}`);
    await sleep(pauseMs);
    pauseMs = Math.min(2 * pauseMs, 20);
  }
}

/** Waits until `condition` holds, and lets the garbage collector run in the meantime. */
export function untilCollected(condition: () => unknown, what: string): Promise<void> {
  return until(async () => {
    collectGarbage();
    await sleep(5);
    return condition();
  }, what);
}

let forcedGc: (() => void) | undefined;

export function collectGarbage(): void {
  if (globals.Bun !== undefined) return globals.Bun.gc(true);
  if (forcedGc === undefined) {
    v8.setFlagsFromString("--expose-gc");
    forcedGc = vm.runInNewContext("gc") as () => void;
  }
  forcedGc();
}

// ---------------------------------------------------------------- files

/** Runs `use` with a folder for files. */
export async function withFolder(use: (folder: string) => unknown): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "arraypool-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs `use` with the URL of a folder with a second copy of the package. */
export function withCopyOfPackage(use: (url: URL) => unknown): Promise<void> {
  return withFolder((folder) => {
    for (const part of ["mod.ts", "realm.ts", "library", "core", "bun", "deno", "node"]) {
      cpSync(join(root, part), join(folder, part), { recursive: true });
    }
    return use(pathToFileURL(folder + "/"));
  });
}

// ---------------------------------------------------------------- processes

/** The program of a runtime. */
export function programOf(wanted: Runtime): string {
  return wanted === runtime ? process.execPath : installed(wanted);
}

export interface ChildOptions {
  args?: string[];
  env?: Record<string, string>;
  /** With a channel for `child.send`. */
  ipc?: boolean;
  /** Instead of `-A`. */
  permissions?: string[];
  /** A program, with its arguments, that runs the command. */
  wrapper?: string[];
  /** With a /dev/shm of its own, mounted with these options, such as "size=4m". Only where `mayMount`. */
  shm?: string;
  /** In a terminal of its own, which is closed when the child (`script`, and not the program) is killed. */
  terminal?: boolean;
}

/** What runs a script of tests/support in `wanted`. */
export function commandOf(wanted: Runtime, script: string, permissions = ["-A"]): string[] {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return [programOf(wanted), ...flagsOf(wanted, permissions), path];
}

/** Starts a script of tests/support in `wanted`. Its lines of JSON are read with `next`. */
export function start(wanted: Runtime, script: string, options: ChildOptions = {}): Child {
  const plain = [
    ...(options.wrapper ?? []),
    ...commandOf(wanted, script, options.permissions),
    ...(options.args ?? []),
  ];
  const command = options.terminal ? inTerminal(plain) : plain;
  return spawnCommand(options.shm === undefined ? command : inSmallShm(options.shm, command), options);
}

/** Starts any command. */
export function spawnCommand([program, ...args]: string[], options: ChildOptions = {}): Child {
  const child = spawn(program!, args, {
    cwd: root,
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe", ...(options.ipc ? ["ipc" as const] : [])],
    ...(options.ipc ? { serialization: "json" as const } : {}),
  });
  return new Child(child);
}

/** Runs `use` with a child that is gone afterwards, whatever happens. */
export async function withChild(child: Child, use: (child: Child) => unknown): Promise<void> {
  try {
    await use(child);
    await child.end();
  } finally {
    await child.kill();
  }
}

function inTerminal(command: string[]): string[] {
  const quoted = command.map((part) => `'${part.replaceAll("'", "'\\''")}'`);
  return ["script", "-qec", quoted.join(" "), "/dev/null"];
}

/** A child process that speaks in lines of JSON. */
export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<number | null>;
  #lines: unknown[] = [];
  #errors = "";
  #ended = false;

  constructor(child: ChildProcess) {
    this.process = child;
    let rest = "";
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) if (line !== "") this.#lines.push(JSON.parse(line));
    });
    child.stderr!.setEncoding("utf8").on("data", (text: string) => this.#errors += text);
    this.exited = new Promise((resolve, reject) => {
      child.on("error", reject);
      const ended = (code: number | null) => {
        this.#ended = true;
        resolve(code);
      };
      child.on("close", ended);
      // Node emits no "close" for a child whose IPC channel the parent has disconnected.
      const isRead = [child.stdout!, child.stderr!].map((stream) => new Promise((done) => stream.on("end", done)));
      child.on("exit", (code: number | null) => void Promise.all(isRead).then(() => ended(code)));
    });
  }

  /** What it has written to its standard error. */
  get errors(): string {
    return this.#errors;
  }

  /** The next line that the child writes. */
  async next<T>(limitMs?: number): Promise<T> {
    await until(() => this.#lines.length > 0 || this.#ended, "the child answers", limitMs);
    if (this.#lines.length === 0) assert.fail(`the child ended:\n${this.#errors}`);
    return this.#lines.shift() as T;
  }

  /** As next(), without a limit; undefined when the child has ended. */
  async nextOrEnd<T>(): Promise<T | undefined> {
    while (this.#lines.length === 0) {
      if (this.#ended) return undefined;
      await sleep(2);
    }
    return this.#lines.shift() as T;
  }

  /** Writes a line to its standard input. */
  write(message: unknown): void {
    this.process.stdin!.write(JSON.stringify(message) + "\n");
  }

  /** Its end, in good order: closes its standard input and waits. */
  async end(): Promise<void> {
    this.process.stdin!.end();
    if (this.process.connected) this.process.disconnect();
    assert.equal(await this.exited, 0, this.#errors);
  }

  /** Its sudden end. */
  async kill(): Promise<void> {
    // Not `this.process.kill()`: Deno's closes the pipes first, at which the child may end in good order.
    try {
      if (!this.#ended) process.kill(this.process.pid!, "SIGKILL");
    } catch { /* it has just ended */ }
    await this.exited;
  }
}

/** How many listeners a signal has that were added from now on. */
export function countListeners(signal: AbortSignal): () => number {
  let listeners = 0;
  for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]] as const) {
    const method = signal[name] as (...args: unknown[]) => void;
    Object.defineProperty(signal, name, {
      value: (...args: unknown[]) => {
        listeners += step;
        method.apply(signal, args);
      },
    });
  }
  return () => listeners;
}
