/** Started by tests/teardown.test.ts: joins its parent's pool, makes one of its own, and ends in the way it is told. */

import { Pool, type SharedArray, unpack } from "arraypool";
import { startWorker } from "./web_worker.ts";

const { Deno } = globalThis as unknown as { Deno: { exit(code: number): void } };

const [how, name] = process.argv.slice(2);
const message = JSON.parse(process.env.TEST_MESSAGE!);
const say = (answer: unknown) => process.stdout.write(JSON.stringify(answer) + "\n");
const fail = () => {
  throw new Error("on purpose");
};
/** Until standard input ends; a terminal's does when it is closed, and then what is to end it is the signal. */
const stay = () => process.stdin.isTTY ? setTimeout(() => {}, 60_000) : process.stdin.resume();

async function inWorker(ending: string): Promise<void> {
  const worker = startWorker("./worker.ts");
  worker.onerror = (event) => event.preventDefault?.();
  const ask = (order: unknown) =>
    new Promise((resolve) => {
      worker.onmessage = resolve;
      worker.postMessage(order);
    });
  stay();
  await ask({ do: "create", name });
  await ask({ ...message, do: "hold" });
  say("joined");
  if (ending === "terminate") worker.terminate();
  else await ask({ do: ending });
}

const held: SharedArray[] = [];

function join(): Pool {
  const pool = Pool.create({ name: name!, capacity: "1M" });
  held.push(pool.alloc(Uint8Array, 1000));
  held.push(unpack<{ array: SharedArray }>(message).array);
  return pool;
}

if (how!.startsWith("Worker ")) {
  await inWorker(how!.slice("Worker ".length));
} else {
  const pool = join();
  const close = () => {
    pool.close();
    held[1]!.pool.close();
  };
  if (how === "close at exit") process.on("exit", close);
  if (how === "close at beforeExit") process.on("beforeExit", close);
  if (how === "handled signal") process.on("SIGTERM", () => process.exit(0));
  say("joined");
  if (how === "process.exit") process.exit(0);
  if (how === "Deno.exit") Deno.exit(0);
  if (how === "abort") process.abort();
  if (how === "uncaught error") setTimeout(fail);
  if (how === "unhandled rejection") setTimeout(() => void Promise.reject(new Error("on purpose")));
  // The others end by themselves.
  if (how!.endsWith("signal")) stay();
}
