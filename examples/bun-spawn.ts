/**
 * A child process of `Bun.spawn` works in place on 64 MB of its parent: only a descriptor goes over the IPC channel.
 *
 *     bun examples/bun-spawn.ts
 *
 * In Bun only, since `Bun.spawn` is Bun's. `child_process.fork`, as in slabs.ts, is in all runtimes.
 */

import process from "node:process";
import { pack, Pool, unpack } from "../mod.ts";

// What this needs of Bun's types, so that Deno's type checker can read it, too. Yours come with `@types/bun`.
declare const Bun: {
  spawn(command: string[], options: { ipc(message: unknown): void; onExit(): void }): {
    send(message: unknown): void;
    kill(): void;
    exited: Promise<number>;
  };
};

interface Job {
  signal: Float64Array;
  gain: number;
}

if (process.argv[2] === "child") {
  process.on("message", (message) => {
    using job = unpack<Job>(message);
    for (let i = 0; i < job.signal.length; i++) job.signal[i]! *= job.gain;
    process.send!("done");
  });
} else {
  using pool = Pool.create();
  using signal = pool.alloc(Float64Array, 8_000_000).fill(1.5);

  const answer = Promise.withResolvers<unknown>();
  const child = Bun.spawn([process.execPath, import.meta.filename!, "child"], {
    ipc: answer.resolve,
    onExit: () => answer.reject(new Error("the child exited without an answer")),
  });
  const message = pack({ signal, gain: 2 });
  child.send(message);
  await answer.promise;
  child.kill();
  await child.exited;

  console.log(`the child made 1.5 into ${signal[0]}, 8,000,000 times`);
  console.log(`${signal.byteLength} bytes shared, ${JSON.stringify(message).length} bytes sent`);
}
