/**
 * Jobs and results through channels: three processes take jobs from one queue, each with an array in it; one of them is killed
 * at work. What it had not acknowledged is done by the others.
 *
 *     bun examples/jobs.ts          deno run -A examples/jobs.ts          node examples/jobs.ts
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { type Channel, pack, Pool, release, unpack } from "../mod.ts";
import { command, runtime } from "./runtime.ts";

interface Job {
  id: number;
  numbers: Float64Array;
}
interface Channels {
  jobs: Channel<Job>;
  results: Channel<{ id: number; sum: number }>;
}

if (process.argv[2] === undefined) await lead();
else work(process.argv[2]);

async function lead(): Promise<void> {
  using pool = Pool.create({ capacity: "64M" });
  using jobs = pool.channel<Job>({ capacity: 20 });
  using results = pool.channel<{ id: number; sum: number }>();
  const [program, ...args] = command(runtime);
  const tickets = [1, 2, 3].map(() => pack({ jobs, results }));
  const workers = tickets.map((ticket) =>
    spawn(program, [...args, import.meta.filename!, JSON.stringify(ticket)], {
      stdio: ["ignore", "inherit", "inherit"],
    })
  );
  for (let id = 0; id < 20; id++) {
    // `move`: the array is the receiver's from now on.
    jobs.send({ id, numbers: pool.alloc(Float64Array, 100_000).fill(id) }, { move: true });
  }

  const sums = new Map<number, number>();
  for await (const { id, sum } of results) {
    sums.set(id, sum);
    if (sums.size === 3) workers[0]!.kill("SIGKILL");
    if (sums.size === 20) break;
  }
  jobs.close();
  await Promise.all(workers.map((worker) => worker.exitCode ?? worker.signalCode ?? once(worker, "exit")));
  release(tickets); // One that was killed before it came in would keep the pool until its claims expire.
  const missing = Array.from({ length: 20 }, (_, id) => id).filter((id) => sums.get(id) !== id * 100_000);
  console.log(
    `20 jobs sent, one worker killed: ${sums.size} results, ${missing.length === 0 ? "none" : missing} missing`,
  );
}

function work(packed: string): void {
  using channels = unpack<Channels>(JSON.parse(packed));
  const { jobs, results } = channels;
  try {
    while (true) {
      using job = jobs.receive({ ack: true });
      const { id, numbers } = job.message;
      results.send({ id, sum: numbers.reduce((a, b) => a + b, 0) });
      job.ack(); // Before this line the job is still in the channel: whoever dies here leaves it to another.
    }
  } catch (error) {
    if ((error as { code?: string }).code !== "ERR_CLOSED") throw error;
  }
}
