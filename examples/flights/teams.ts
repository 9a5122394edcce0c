/**
 * The ways to spread the resamples over processes. A team is some processes with a seat each: a function that has its
 * process compute one batch, and is done when the means are in the result.
 */

import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { Tinypool } from "tinypool";
import { pack, type Pool } from "../../mod.ts";
import { command, type Runtime, runtime } from "../runtime.ts";
import { type Arrays, fillRows, type Flights } from "./bootstrap.ts";
import type { Post, Task } from "./worker.ts";

export type Batch = Omit<Task, "arrays">;
export type Seat = (batch: Batch) => Promise<void>;

export interface Team extends AsyncDisposable {
  readonly seats: readonly Seat[];
  /** Resolves when every process has started, loaded its code and answered. */
  readonly started: Promise<unknown>;
  /** Its processes, this one included. */
  pids(): number[];
  /** What went over IPC so far, both ways. */
  sentBytes(): number;
}

/** This process alone. */
export function alone(arrays: Arrays): Team {
  const compute: Seat = async ({ first, last }) => {
    fillRows(arrays, first, last);
    await new Promise(setImmediate); // lets Ctrl-C through
  };
  return {
    seats: [compute],
    started: Promise.resolve(),
    pids: () => [process.pid],
    sentBytes: () => 0,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A tinypool of `size` processes of this runtime, and a process of each of the `guests`, all on the same arrays. */
export function overPool(arrays: Arrays, size: number, guests: Runtime[] = []): Team {
  const file = new URL("worker.ts", import.meta.url);
  const tinypool = size > 0
    ? new Tinypool({ filename: file.href, runtime: "child_process", minThreads: size, maxThreads: size })
    : undefined;
  // Of a process that has no task: the others' errors are those of their tasks.
  const failed = new Promise<never>((_, reject) => tinypool?.on("error", reject));
  failed.catch(() => {});
  const children = guests.map((guest) => {
    const [runtime, ...args] = command(guest);
    return spawn(runtime, [...args, file.pathname], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization: "json", // the one format that all runtimes share
    });
  });

  // Our caller holds the arrays until all is done, so their descriptors need no claims of their own.
  const packed = pack(arrays, { claims: 0 });
  let sentBytes = 0;
  const work = async (send: (task: Task) => Promise<unknown>, batch: Batch): Promise<unknown> => {
    const task = { arrays: packed, ...batch };
    sentBytes += JSON.stringify(task).length;
    return await Promise.race([send(task), failed]);
  };
  const toTinypool = (batch: Batch) => work((task) => tinypool!.run(task), batch);
  const toChild = (child: ChildProcess) => (batch: Batch) => work((task) => ask(child, task), batch);
  const nothing = { first: 0, last: 0 };
  // Tinypool gives a task to whichever process is free: the first that has started would do those of all.
  const allOfTinypool = async (): Promise<void> => {
    const seen = new Set<unknown>();
    while (seen.size < size) {
      for (const pid of await Promise.all(Array.from({ length: size }, () => toTinypool(nothing)))) seen.add(pid);
    }
  };
  const seat = (send: (batch: Batch) => Promise<unknown>): Seat => async (batch) => {
    await send(batch);
  };
  return {
    seats: [...Array.from({ length: size }, () => seat(toTinypool)), ...children.map((child) => seat(toChild(child)))],
    started: Promise.all([allOfTinypool(), ...children.map((child) => toChild(child)(nothing))]),
    pids: () => [process.pid, ...tinypool?.threads.map((thread) => thread.threadId) ?? [], ...children.map(pidOf)],
    sentBytes: () => sentBytes,
    async [Symbol.asyncDispose]() {
      await tinypool?.destroy();
      await Promise.all(children.map(stop));
    },
  };
}

/** `size` processes of this runtime on the same arrays, which take their jobs from one channel of the pool. */
export function overChannel(pool: Pool, arrays: Arrays, size: number): Team {
  const jobs: Post["jobs"] = pool.channel();
  const done: Post["done"] = pool.channel();
  const packed = JSON.stringify(pack({ arrays, jobs, done }, { claims: size }));
  const [program, ...args] = command(runtime);
  const file = `${import.meta.dirname}/worker.ts`;
  const children = Array.from(
    { length: size },
    () => spawn(program, [...args, file, packed], { stdio: ["ignore", "inherit", "inherit"] }),
  );
  const failed = Promise.race(children.map(async (child) => {
    const [code, signal] = await once(child, "exit");
    throw new Error(`a child process exited with ${signal ?? code}`);
  }));
  failed.catch(() => {}); // at the end they are to exit

  const waiting = new Map<number, () => void>();
  let ready = 0;
  const allReady = Promise.withResolvers<void>();
  const listening = (async () => {
    for await (const id of done) {
      if (id >= 0) waiting.get(id)!();
      else if (++ready === size) allReady.resolve();
    }
  })();
  let count = 0;
  const seat: Seat = async ({ first, last }) => {
    const id = count++;
    const answer = new Promise<void>((resolve) => waiting.set(id, resolve));
    await jobs.sendAsync({ id, first, last });
    await Promise.race([answer, failed]);
  };
  return {
    seats: children.map(() => seat),
    started: Promise.race([allReady.promise, failed]),
    pids: () => [process.pid, ...children.map(pidOf)],
    sentBytes: () => jobs.stats().bytes + done.stats().bytes,
    async [Symbol.asyncDispose]() {
      const exits = children.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit"));
      jobs.close();
      await Promise.all(exits);
      done.close();
      await listening;
      jobs.release();
      done.release();
    },
  };
}

/** `size` processes of this runtime without a pool: each is sent its own copy of the arrays, and sends its means back. */
export function overPlainIpc(flights: Flights, means: Float64Array, size: number): Team {
  const origins = flights.starts.length - 1;
  const children = Array.from(
    { length: size },
    () => fork(`${import.meta.dirname}/plain.ts`, { serialization: "advanced" }),
  );
  let sentBytes = 0;
  const seat = (child: ChildProcess): Seat => {
    let hasFlights = false;
    return async (batch) => {
      if (!hasFlights) {
        await ask(child, { flights });
        sentBytes += flights.delays.byteLength + flights.starts.byteLength;
        hasFlights = true;
      }
      const reply = await ask<{ means: Float64Array }>(child, batch);
      sentBytes += reply.means.byteLength;
      means.set(reply.means, batch.first * origins);
    };
  };
  return {
    seats: children.map(seat),
    started: Promise.all(children.map((child) => ask(child, {}))),
    pids: () => [process.pid, ...children.map(pidOf)],
    sentBytes: () => sentBytes,
    async [Symbol.asyncDispose]() {
      await Promise.all(children.map(stop));
    },
  };
}

/** Sends a message and resolves with the answer. */
export async function ask<T = unknown>(child: ChildProcess, message: object): Promise<T> {
  // With a callback, a child that has just died is an error here, and no event of its own.
  const sent = new Promise<void>((resolve, reject) => {
    child.send(message, (error) => error ? reject(error) : resolve());
  });
  const [answer] = await Promise.all([receive<T>(child), sent]);
  return answer;
}

/** The next message of a child; an error if it exits instead. */
export async function receive<T = unknown>(child: ChildProcess): Promise<T> {
  const settled = new AbortController();
  try {
    const [message] = await Promise.race([
      once(child, "message", settled),
      once(child, "exit", settled).then(([code, signal]) => {
        throw new Error(`a child process exited with ${signal ?? code}`);
      }),
    ]);
    return message;
  } finally {
    settled.abort();
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill();
  await exit;
}

const pidOf = (child: ChildProcess): number => child.pid!;
