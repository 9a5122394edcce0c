/**
 * A child of the tests of channels: does what each message on a channel of orders says, and answers on another. Started
 * with both as its argument, in a process or as a Worker (by its first message).
 */

import { type Channel, type Delivery, type Pool, type PoolError, type SharedArray, unpack } from "arraypool";

export interface Order {
  /** Send `count` numbers from `from` on; receive until closed; wait for `count` milliseconds; and so on. */
  do:
    | "send"
    | "send arrays"
    | "sum"
    | "echo"
    | "echo later"
    | "take"
    | "take with ack"
    | "receive and hold"
    | "sum arrays"
    | "wait"
    | "leave"
    | "stop";
  channel?: Channel<number>;
  arrays?: Channel<{ array: Float64Array; value: number }>;
  back?: Channel<number>;
  from?: number;
  count?: number;
}

export interface Start {
  orders: Channel<Order>;
  answers: Channel<unknown>;
}

const kept: unknown[] = [];

function obey(order: Order): unknown {
  const { channel, arrays, back, from = 0, count = 0 } = order;
  switch (order.do) {
    case "send":
      for (let i = from; i < from + count; i++) channel!.send(i);
      return count;
    case "send arrays":
      for (let i = from; i < from + count; i++) {
        const array = arrays!.pool.alloc(Float64Array, 100).fill(i);
        arrays!.send({ array, value: i }, { move: true });
        if (array.length !== 0) throw new Error("a moved array is not detached");
      }
      return count;
    case "sum": {
      const seen: number[] = [];
      for (const value of channel!) seen.push(value);
      return seen;
    }
    case "sum arrays": {
      let sum = 0;
      for (const message of arrays!) {
        using _ = message;
        if (!message.array.every((value) => value === message.value)) throw new Error("wrong data");
        sum += message.value;
      }
      return sum;
    }
    case "echo":
      for (let i = 0; i < count; i++) back!.send(channel!.receive());
      return count;
    case "take":
      return channel!.receive({ timeoutMs: 10_000 });
    case "take with ack": {
      const delivery = (arrays ?? channel)!.receive({ ack: true, timeoutMs: 10_000 }) as Delivery<unknown>;
      kept.push(delivery);
      return typeof delivery.message === "number" ? delivery.message : (delivery.message as { value: number }).value;
    }
    case "receive and hold": {
      const message = arrays!.receive({ timeoutMs: 10_000 });
      kept.push(message);
      return (message.array as SharedArray<Float64Array>).reduce((a, b) => a + b, 0);
    }
    case "wait":
      try {
        return channel!.receive({ timeoutMs: count });
      } catch (error) {
        return (error as PoolError).code;
      }
    default:
      return undefined;
  }
}

/** With a channel that nobody else holds, and what is queued there: arrays, one of them beside more text than fits in a cell. */
function leave(pool: Pool): void {
  const own = pool.channel<unknown>();
  for (const text of ["", "x".repeat(1000)]) {
    own.send({ text, array: pool.alloc(Float64Array, 100) }, { move: true });
  }
  pool.close();
}

function work(message: unknown): void {
  const { orders, answers } = unpack<Start>(message);
  for (const order of orders) {
    if (order.do === "stop") break;
    if (order.do === "leave") return leave(orders.pool);
    answers.send(obey(order));
    if (order.do !== "take with ack" && order.do !== "receive and hold") order[Symbol.dispose]();
  }
}

interface Scope {
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
}

const argument = process.argv[2];
if (argument !== undefined && argument.startsWith("{")) work(JSON.parse(argument));
else (globalThis as unknown as Scope).addEventListener("message", ({ data }) => work(data));
