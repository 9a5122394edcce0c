/**
 * The ways of a runtime to a child process and back. A request goes out, the child reads it as `channels_child.ts` says,
 * and answers with one number.
 *
 *     messages   process.send(): any value, as JSON or by structured clone ("advanced")
 *     bytes      a frame over stdin or a Unix socket: its length as a float64, and as many bytes
 *     file       a frame in a file in memory, and process.send() of its path; the child maps it, or reads it in Deno, which
 *                cannot map files by itself
 *     thread     postMessage(), which copies, to a Worker instead of a process
 *
 * Over stdin the child reads with blocking calls: that takes the fewest wakeups, and no other way to receive bytes was
 * faster in either runtime.
 */

import { type ChildProcess, fork, type SerializationType, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Worker } from "node:worker_threads";
import { poolName, runtime } from "./rows.ts";

/**
 * What the child does with what it gets: attaches arrays of a pool, or finds doubles in it. Beside a heap: when it has made
 * that many live objects.
 */
export type Reads = "pool" | "pool beside a heap" | "doubles";

/** A child process and the way to it. */
export interface Channel<Request> extends AsyncDisposable {
  /** Sends, and resolves with the answer. One request at a time. */
  ask(request: Request): Promise<number>;
}

/** A way, and how to open it. */
export interface Way<Request> {
  name: string;
  open(reads: Reads): Promise<Channel<Request>>;
}

/** Bytes in front of a frame. */
export const HEAD_BYTES = 8;
const ANSWER_BYTES = 8;

// What is used of the runtimes beyond Node's modules, written out: so that neither needs the other's types.
interface BunApi {
  spawn(options: object): {
    readonly stdin: { write(bytes: Uint8Array): void; flush(): unknown };
    readonly stdout: ReadableStream<Uint8Array>;
    readonly exited: Promise<unknown>;
    send(message: unknown): void;
    kill(): void;
  };
  listen(options: object): { stop(): void };
}
interface BunSocket {
  write(bytes: Uint8Array): number;
  end(): void;
}
const Bun = (globalThis as unknown as { Bun: BunApi }).Bun;

const script = new URL("channels_child.ts", import.meta.url).pathname;
const command = [process.execPath, ...(runtime === "Deno" ? ["run", "-A", "--quiet"] : []), script];

/** Ways that carry values. */
export const messageWays: Way<object>[] = (["advanced", "json"] as const).flatMap((serialization) => [
  ...(runtime === "Bun" ? [bunMessages(serialization)] : []),
  nodeMessages(serialization),
]);

/** Ways that carry bytes. */
export const byteWays: Way<Uint8Array>[] = [
  runtime === "Bun" ? bunBytes() : denoBytes(),
  nodeBytes(),
  runtime === "Bun" ? bunSocket() : denoSocket(),
];

/** The way of a file. */
export const fileWay: Way<Uint8Array> = {
  name: runtime === "Bun" ? "a file in memory, written and mapped" : "a file in memory, written and read",
  open: (reads) => {
    const child = fork(script, ["file", reads], { serialization: "advanced" });
    const answers = new Answers();
    child.on("message", (answer: number) => answers.give(answer));
    const path = join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), temporaryName());
    const file = openSync(path, "w");
    return Promise.resolve({
      ask: (frame) => {
        for (let at = 0; at < frame.length;) at += writeSync(file, frame, at, frame.length - at, at);
        child.send({ path, bytes: frame.length });
        return answers.next();
      },
      [Symbol.asyncDispose]: () => {
        closeSync(file);
        rmSync(path);
        return end(child);
      },
    });
  },
};

/** The way to a Worker. */
export const threadWay: Way<object> = {
  name: "Worker, postMessage",
  open: (reads) => {
    const worker = new Worker(script, { argv: ["thread", reads] });
    const answers = new Answers();
    worker.on("message", (answer: number) => answers.give(answer));
    return Promise.resolve({
      ask: (message) => {
        worker.postMessage(message);
        return answers.next();
      },
      [Symbol.asyncDispose]: async () => void await worker.terminate(),
    });
  },
};

// ------------------------------------------------------------------ messages

function nodeMessages(serialization: SerializationType): Way<object> {
  return {
    name: `fork, ${serialization}`,
    open: (reads) => {
      const child = fork(script, ["messages", reads], { serialization });
      const answers = new Answers();
      child.on("message", (answer: number) => answers.give(answer));
      return Promise.resolve({
        ask: (request) => {
          child.send(request);
          return answers.next();
        },
        [Symbol.asyncDispose]: () => end(child),
      });
    },
  };
}

function bunMessages(serialization: SerializationType): Way<object> {
  return {
    name: `Bun.spawn ipc, ${serialization}`,
    open: (reads) => {
      const answers = new Answers();
      const child = Bun.spawn({
        cmd: [...command, "messages", reads],
        stdio: ["ignore", "inherit", "inherit"],
        serialization,
        ipc: (answer: number) => answers.give(answer),
      });
      return Promise.resolve({
        ask: (request) => {
          child.send(request);
          return answers.next();
        },
        [Symbol.asyncDispose]: async () => {
          child.kill();
          await child.exited;
        },
      });
    },
  };
}

// ------------------------------------------------------------------ bytes over stdin and stdout

function nodeBytes(): Way<Uint8Array> {
  return {
    name: "node:child_process stdin, bytes",
    open: (reads) => {
      const child = startWith(["stdin", reads], "pipe");
      const answers = new Answers();
      child.stdout!.on("data", (bytes: Uint8Array) => answers.giveBytes(bytes));
      return Promise.resolve({
        ask: (frame) => {
          child.stdin!.write(frame);
          return answers.next();
        },
        [Symbol.asyncDispose]: () => end(child),
      });
    },
  };
}

function bunBytes(): Way<Uint8Array> {
  return {
    name: "Bun.spawn stdin, bytes",
    open: (reads) => {
      const child = Bun.spawn({ cmd: [...command, "stdin", reads], stdio: ["pipe", "pipe", "inherit"] });
      const answers = new Answers();
      const reader = child.stdout.getReader();
      return Promise.resolve({
        ask: async (frame) => {
          child.stdin.write(frame);
          child.stdin.flush();
          return await answers.readFrom(reader);
        },
        [Symbol.asyncDispose]: async () => {
          child.kill();
          await child.exited;
        },
      });
    },
  };
}

function denoBytes(): Way<Uint8Array> {
  return {
    name: "Deno.Command stdin, bytes",
    open: (reads) => {
      const [binary, ...args] = [...command, "stdin", reads];
      const child = new Deno.Command(binary!, { args, stdin: "piped", stdout: "piped" }).spawn();
      const answers = new Answers();
      const writer = child.stdin.getWriter();
      const reader = child.stdout.getReader();
      return Promise.resolve({
        ask: async (frame) => {
          const written = writer.write(frame as Uint8Array<ArrayBuffer>);
          const answer = await answers.readFrom(reader);
          await written;
          return answer;
        },
        [Symbol.asyncDispose]: async () => {
          child.kill();
          await child.status;
          await reader.cancel();
        },
      });
    },
  };
}

// ------------------------------------------------------------------ bytes over a Unix socket

function bunSocket(): Way<Uint8Array> {
  return {
    name: "Unix socket, bytes",
    open: async (reads) => {
      const answers = new Answers();
      const connected = Promise.withResolvers<BunSocket>();
      let unsent = new Uint8Array() as Uint8Array;
      const drain = (socket: BunSocket) => {
        if (unsent.length > 0) unsent = unsent.subarray(socket.write(unsent));
      };
      const path = socketPath();
      const listener = Bun.listen({
        unix: path,
        socket: {
          open: connected.resolve,
          data: (_: BunSocket, bytes: Uint8Array) => answers.giveBytes(bytes),
          drain,
        },
      });
      const child = startWith(["socket", reads, path], "inherit");
      const socket = await firstOf(connected.promise, child);
      listener.stop();
      rmSync(path, { force: true });
      return {
        ask: (frame) => {
          unsent = frame;
          drain(socket);
          return answers.next();
        },
        [Symbol.asyncDispose]: () => end(child),
      };
    },
  };
}

function denoSocket(): Way<Uint8Array> {
  return {
    name: "Unix socket, bytes",
    open: async (reads) => {
      const path = socketPath();
      const listener = Deno.listen({ transport: "unix", path });
      const child = startWith(["socket", reads, path], "inherit");
      const socket = await firstOf(listener.accept(), child);
      listener.close();
      rmSync(path, { force: true });
      const answers = new Answers();
      const bytes = new Uint8Array(ANSWER_BYTES);
      return {
        ask: async (frame) => {
          for (let at = 0; at < frame.length;) at += await socket.write(frame.subarray(at));
          const answer = answers.next();
          while (answers.isAwaited) answers.giveBytes(bytes.subarray(0, await socket.read(bytes) ?? failed()));
          return answer;
        },
        [Symbol.asyncDispose]: async () => {
          socket.close();
          await end(child);
        },
      };
    },
  };
}

const temporaryName = () => `arraypool-${poolName("file")}-${process.pid}-${Math.random().toString(36).slice(2)}`;
const socketPath = () => join(tmpdir(), temporaryName());

// ------------------------------------------------------------------ help

/** The answers of a child: numbers, or float64s that come in pieces. */
class Answers {
  readonly #bytes = new Uint8Array(ANSWER_BYTES);
  readonly #answer = new Float64Array(this.#bytes.buffer);
  #got = 0;
  #resolve: ((answer: number) => void) | undefined;

  get isAwaited(): boolean {
    return this.#resolve !== undefined;
  }

  next(): Promise<number> {
    return new Promise((resolve) => this.#resolve = resolve);
  }

  give(answer: number): void {
    const resolve = this.#resolve!;
    this.#resolve = undefined;
    resolve(answer);
  }

  giveBytes(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#got);
    this.#got += bytes.length;
    if (this.#got < ANSWER_BYTES) return;
    this.#got = 0;
    this.give(this.#answer[0]!);
  }

  async readFrom(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<number> {
    const answer = this.next();
    while (this.isAwaited) this.giveBytes((await reader.read()).value ?? failed());
    return await answer;
  }
}

/** Starts the child that answers in this way, with these arguments. */
export function startWith(args: string[], stdio: "pipe" | "inherit"): ChildProcess {
  const [binary, ...more] = [...command, ...args];
  return spawn(binary!, more, { stdio: stdio === "pipe" ? ["pipe", "pipe", "inherit"] : "inherit" });
}

/** `promise`, unless the child exits before. */
function firstOf<T>(promise: Promise<T>, child: ChildProcess): Promise<T> {
  return Promise.race([promise, once(child, "exit").then(() => failed())]);
}

function failed(): never {
  throw new Error("a child process ended too early");
}

/** Ends a child. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill();
  await exited;
}
