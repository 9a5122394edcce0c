/**
 * For Node, which has no `Worker` of the Web: with `--import` of this, programs and their Workers find what Bun and Deno have
 * by themselves, as far as the tests use it.
 */

import { isMainThread, parentPort, Worker as Thread } from "node:worker_threads";

type Listener = (event: { data?: unknown; message?: string; preventDefault(): void }) => void;

/** Listeners, by `addEventListener` and by property. */
class Target {
  onmessage: Listener | null = null;
  onerror: Listener | null = null;
  readonly #listeners: Record<string, Listener[]> = {};

  addEventListener(type: string, listener: Listener): void {
    (this.#listeners[type] ??= []).push(listener);
  }

  /** Calls those of a kind. */
  dispatch(type: "message" | "error", event: { data?: unknown; message?: string }): void {
    const full = { ...event, preventDefault() {} };
    this[`on${type}`]?.(full);
    for (const listener of this.#listeners[type] ?? []) listener(full);
  }
}

class Worker extends Target {
  readonly #thread: Thread;

  constructor(url: URL) {
    super();
    this.#thread = new Thread(url);
    this.#thread.on("message", (data) => this.dispatch("message", { data }));
    this.#thread.on("error", ({ message }) => this.dispatch("error", { message }));
  }

  postMessage(message: unknown, transfer: ArrayBuffer[] = []): void {
    this.#thread.postMessage(message, transfer);
  }

  terminate(): void {
    void this.#thread.terminate();
  }
}

Object.assign(globalThis, { Worker });

if (!isMainThread && parentPort !== null) {
  const scope = new Target();
  const port = parentPort;
  Object.defineProperty(globalThis, "onmessage", {
    set: (listener: Listener) => {
      scope.onmessage = listener;
      listen();
    },
  });
  Object.assign(globalThis, {
    WorkerGlobalScope: Target,
    postMessage: (message: unknown, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer),
    addEventListener: (type: string, listener: Listener) => {
      scope.addEventListener(type, listener);
      listen();
    },
  });
  let listens = false;
  // Not before somebody wants to know: it keeps the Worker alive.
  const listen = () => {
    if (!listens) port.on("message", (data) => scope.dispatch("message", { data }));
    listens = true;
  };
}
