/** What the tests of channels share: a process that does what it is told by a channel, and that in the end nothing is left. */

import { type Channel, pack, type Pool } from "arraypool";
import type { Order, Start } from "./channel_child.ts";
import { assert, type Child, type runtimes, start, until } from "./harness.ts";

/** A process that does what `tell` tells it. */
export class Servant implements Disposable {
  readonly child: Child;
  readonly orders: Channel<Order>;
  readonly answers: Channel<unknown>;

  constructor(pool: Pool, other: (typeof runtimes)[number]) {
    this.orders = pool.channel<Order>({ capacity: 16 });
    this.answers = pool.channel({ capacity: 16 });
    const { orders, answers }: Start = this;
    this.child = start(other, "./channel_child.ts", { args: [JSON.stringify(pack({ orders, answers }))] });
  }

  tell(order: Order): void {
    this.orders.send(order);
  }

  /** Without blocking: the children's standard error is read here. */
  async answer<T>(): Promise<T> {
    let answer: unknown;
    await until(
      () => {
        if (this.child.process.exitCode !== null) assert.fail(this.child.errors);
        return (answer = this.answers.tryReceive()) !== undefined;
      },
      "the child answers",
    );
    return answer as T;
  }

  async end(): Promise<void> {
    this.tell({ do: "stop" });
    await this.child.end();
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    void this.child.kill();
    this.orders.release();
    this.answers.release();
  }
}

export function assertLeavesNothing(pool: Pool): void {
  pool.reap();
  pool.check();
  assert.equal(pool.stats().usedBytes, 0);
}
