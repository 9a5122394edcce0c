/** The other side of messages.ts: says by its first argument what it does with the channels of its second, or with IPC. */

import process from "node:process";
import { type Channel, unpack } from "../mod.ts";

const [what, packed, count] = process.argv.slice(2);

if (what === "ipc") {
  process.on("message", (message: { kind: string }) => {
    if (message.kind !== "job") process.send!(message);
  });
} else {
  const channels = unpack<Record<"there" | "back" | "messages" | "signals", Channel>>(JSON.parse(packed!));
  const { there, back, messages, signals } = channels;
  if (what === "echo") { for (const message of there) back.send(message); }
  else if (what === "echo async") { for await (const message of there) await back.sendAsync(message); }
  else if (what === "receive") {
    signals.send("ready");
    for (const _ of messages);
    signals.send("done");
  } else if (what === "send") {
    signals.send("ready");
    // All at once: when the first message has come.
    while (messages.stats().messages === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    for (let id = 0; id < Number(count); id++) messages.send({ id, kind: "job" });
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
