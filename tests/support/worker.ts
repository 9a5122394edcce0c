/** A Worker of the tests: does what the messages say, one after the other, and answers each. */

import { isSharedArray, pack, Pool, type SharedArray, unpack } from "arraypool";

interface Scope {
  postMessage(message: unknown): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  /** Not in Bun, where `process.exit` ends a Worker. */
  close?(): void;
}
const scope = globalThis as unknown as Scope;

interface Order {
  do: "fill" | "hold" | "give" | "keep" | "sum" | "drop" | "close";
  array?: Uint8Array;
  value?: number;
  name?: string;
}

const held: SharedArray[] = [];
let kept: Uint8Array | undefined;

function obey(message: unknown): unknown {
  const order = unpack<Order>(message);
  switch (order.do) {
    case "fill":
      order.array!.fill(order.value!);
      order[Symbol.dispose]();
      return "done";
    case "hold":
      held.push(order.array as unknown as SharedArray);
      return held.length;
    case "give": {
      using given = Pool.open(order.name!).alloc(Uint8Array, 3);
      given.fill(order.value!);
      return pack({ given });
    }
    case "keep":
      // What came without pack(): an ordinary array.
      kept = order.array;
      return [isSharedArray(kept), kept!.length];
    case "sum":
      return kept!.reduce((a, b) => a + b, 0);
    case "drop":
      kept = undefined;
      return "dropped";
    case "close":
      setTimeout(() => scope.close === undefined ? process.exit() : scope.close(), 10);
      return "closing";
  }
}

scope.addEventListener("message", ({ data }) => scope.postMessage(obey(data)));
