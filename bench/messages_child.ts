/** The other side of messages.ts: says by its first argument what it does with the channels of its second, or with IPC. */

import process from "node:process";
import { type Channel, unpack } from "../mod.ts";

const [what, packed] = process.argv.slice(2);

if (what === "ipc") {
  process.on("message", (message: { kind: string }) => {
    if (message.kind !== "job") process.send!(message);
  });
} else if (what === "lines") {
  const decoder = new TextDecoder();
  let rest = "";
  process.stdin.on("data", (bytes: Uint8Array) => {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const message = JSON.parse(line) as { kind: string };
      if (message.kind !== "job") process.stdout.write(JSON.stringify(message) + "\n");
    }
  });
} else {
  const channels = unpack<Record<"there" | "back" | "messages" | "orders" | "next" | "signals", Channel>>(
    JSON.parse(packed!),
  );
  const { there, back, messages, orders, next, signals } = channels;
  if (what === "echo") { for (const message of there) back.send(message); }
  else if (what === "echo async") { for await (const message of there) await back.sendAsync(message); }
  else if (what === "receive") {
    signals.send("ready");
    const rounds = next[Symbol.iterator]();
    for (const message of messages as Channel<{ kind: string }>) {
      if (message.kind === "job") continue;
      signals.send("end");
      if (rounds.next().done) break;
    }
  } else if (what === "send") {
    signals.send("ready");
    for (const count of orders as Channel<number>) {
      for (let id = 0; id < count; id++) messages.send({ id, kind: "job" });
      signals.send("sent");
    }
  } else {
    signals.send(0);
    // What happens once, such as opening a doorbell, is not of this.
    const waiting = what === "idle" ? undefined : messages.receiveAsync();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const before = process.cpuUsage();
    if (waiting === undefined) messages.receive();
    else await waiting;
    const { user, system } = process.cpuUsage(before);
    signals.send((user + system) * 1000);
  }
  channels[Symbol.dispose]();
}
