/** A Worker of a member of the run. */

import type { Orders } from "./folder.ts";
import { Life } from "./life.ts";

interface Scope {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { data: WorkerOrders }) => void): void;
}
interface WorkerOrders {
  readonly orders: Orders;
  readonly worker: number;
  readonly number: number;
}

const scope = globalThis as unknown as Scope;
scope.addEventListener("message", async ({ data: { orders, worker, number } }) => {
  const life = new Life(orders, worker, number);
  await life.run();
  life.leave();
  scope.postMessage("done");
});
