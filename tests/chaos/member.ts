/** A process of the run, in Bun, Deno or Node: a member, and where it is a host, the Workers that it starts and terminates. */

import process from "node:process";
import { Board, idOf, type Orders, RECORD, WORKERS } from "./folder.ts";
import { Life } from "./life.ts";
import { Draws } from "./plan.ts";

interface WebWorker {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: () => void): void;
  addEventListener(type: "error", listener: (event: { message: string; preventDefault(): void }) => void): void;
  terminate(): void;
}
declare const Worker: new (url: URL, options: { type: "module" }) => WebWorker;

const orders = JSON.parse(process.argv[2]!) as Orders;
const life = new Life(orders);
const board = new Board(orders.folder);

/** A Worker that is terminated when its time is up, and followed by the next. */
class Nest {
  readonly #worker: number;
  #number = 0;
  #thread: WebWorker | undefined;
  #endsAt = 0;
  // When its time was up.
  #progressDue: number | undefined;
  done = false;

  constructor(worker: number) {
    this.#worker = worker;
  }

  tend(): void {
    if (life.now() < this.#endsAt) return;
    // Every second Worker is only terminated when it has got on once more: or nobody would see that this ends a hang.
    if (this.#number % 2 === 1 && !this.#hasMoved()) return;
    if (this.#thread !== undefined) {
      this.#record(0);
      this.#thread.terminate();
      life.record[RECORD.terminated]!++;
    }
    const number = ++this.#number;
    this.#progressDue = undefined;
    const draws = new Draws(orders.seed, 4, orders.chair, orders.number, this.#worker, number);
    this.#endsAt = life.now() + draws.exponential(800);
    const thread = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    thread.addEventListener("message", () => this.done = true);
    thread.addEventListener("error", (event) => {
      event.preventDefault();
      if (this.#thread === thread) life.broken(`a Worker failed: ${event.message}`);
    });
    thread.postMessage({ orders, worker: this.#worker, number });
    this.#thread = thread;
    this.#record(number);
  }

  #hasMoved(): boolean {
    const record = board.read(orders.record + this.#worker);
    const isOwn = record[RECORD.id] === idOf(orders.chair, orders.number, this.#worker, this.#number);
    const progress = isOwn ? record[RECORD.progress]! : -1;
    this.#progressDue ??= progress;
    return progress > this.#progressDue;
  }

  /** Waits until the last Worker has left. */
  async end(): Promise<void> {
    while (this.#thread !== undefined && !this.done) await new Promise((resolve) => setTimeout(resolve, 5));
    this.#record(0);
    this.#thread?.terminate();
  }

  /** Tells the supervisor whether to wait for this Worker's progress. */
  #record(number: number): void {
    life.record[RECORD.worker0 + this.#worker - 1] = number === 0
      ? 0
      : idOf(orders.chair, orders.number, this.#worker, number);
  }
}

const nests = orders.isHost ? Array.from({ length: WORKERS }, (_, i) => new Nest(i + 1)) : [];
await life.run(() => {
  for (const nest of nests) nest.tend();
});

// At the end of the run the Workers leave like everybody; a host that ends by itself just takes them with it.
if (life.isFinish) { for (const nest of nests) await nest.end(); }
if (orders.how === "close" || life.isFinish) life.leave();
else life.announceExit();
if (orders.isHost || orders.how === "exit") process.exit(0);
