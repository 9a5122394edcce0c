/**
 * Two runtimes count in the same array at the same time, and lose nothing: whichever runs this starts another one as its
 * child (Bun Deno, Deno Node, Node Bun), with an IPC channel that speaks JSON, the one format that all know.
 *
 *     bun examples/two-runtimes.ts  deno run -A examples/two-runtimes.ts  node examples/two-runtimes.ts
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { pack, Pool, unpack } from "../mod.ts";
import { command, otherRuntime, runtime, title } from "./runtime.ts";

const times = 5_000_000;

interface Job {
  counter: Int32Array;
}

function count(counter: Int32Array): void {
  for (let i = 0; i < times; i++) Atomics.add(counter, 0, 1);
}

if (process.argv[2] === "child") {
  process.on("message", (message) => {
    using job = unpack<Job>(message);
    process.send!("ready");
    count(job.counter);
    process.send!("done");
  });
} else {
  using pool = Pool.create();
  using counter = pool.alloc(Int32Array, 1);

  const [file, ...args] = command(otherRuntime);
  const child = spawn(file, [...args, import.meta.filename!, "child"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    serialization: "json",
  });
  child.send(pack({ counter }));
  await once(child, "message");
  const done = once(child, "message");
  count(counter);
  await done;
  child.kill();
  await once(child, "exit");

  console.log(`${title(runtime)} and ${title(otherRuntime)} counted to ${times} each, together to ${counter[0]}`);
}
