/** Workers of the Web, as far as the tests use them, in all runtimes: Node has them by node_globals.ts. */

export interface WebWorker {
  postMessage(message: unknown, transfer?: ArrayBuffer[]): void;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: { preventDefault?(): void }) => void) | null;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "error", listener: (event: { message: string }) => void): void;
  terminate(): void;
}
declare const Worker: new (url: URL, options: { type: "module" }) => WebWorker;

/** Starts a script of tests/support in a Worker. */
export function startWorker(script: string): WebWorker {
  return new Worker(new URL(script, import.meta.url), { type: "module" });
}
