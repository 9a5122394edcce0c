/**
 * A process that sends or receives one array, and is then killed if it is told to. It writes one line of JSON: the packed
 * message, or what it got.
 *
 *     courier.ts send {"name": pool, "length": 1000, "options": {}, "end": "killed"}
 *     courier.ts receive {"message": packed, "end": "before" | "after" | "wait"}
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { pack, Pool, PoolError, type ShareOptions, unpack } from "arraypool";
import { content, isContent } from "./content.ts";

export interface SendOrder {
  name: string;
  /** Makes the pool. */
  create?: boolean;
  length: number;
  options?: ShareOptions;
  /** How it ends: killed, or in good order. */
  end?: "killed";
}

export interface ReceiveOrder {
  message: unknown;
  /** Killed before it attaches, or after; or waits for the end of its standard input, and releases. */
  end: "before" | "after" | "wait";
}

function die(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("still alive");
}

function say(value: unknown): void {
  // Not by a stream, which a kill would cut off.
  writeSync(1, JSON.stringify(value) + "\n");
}

function send(order: SendOrder): void {
  const pool = order.create ? Pool.create({ name: order.name, capacity: "4M" }) : Pool.open(order.name);
  const array = pool.allocUnsafe(Float64Array, order.length);
  content(array);
  say(pack({ array }, order.options));
  if (order.end === "killed") die();
}

function receive(order: ReceiveOrder): void {
  if (order.end === "before") die();
  try {
    const message = unpack<{ array: Float64Array }>(order.message);
    say({ length: message.array.length, exact: isContent(message.array) });
    if (order.end === "after") die();
    process.stdin.on("end", () => message[Symbol.dispose]()).resume();
  } catch (error) {
    if (!(error instanceof PoolError)) throw error;
    say({ code: error.code, message: error.message });
  }
}

const [what, order] = process.argv.slice(2);
if (what === "send") send(JSON.parse(order!));
else receive(JSON.parse(order!));
