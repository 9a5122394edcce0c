/** A process that is in no pool, with a Worker that is. Does what the lines on standard input say, and answers each. */

import { createInterface } from "node:readline";
import { Pool } from "arraypool";
import { collectGarbage } from "./harness.ts";
import { startWorker } from "./web_worker.ts";

const worker = startWorker("./brief_worker.ts");
let bytes: Uint8Array | undefined;

async function obey(order: { do: string; name: string; transfer?: boolean }): Promise<unknown> {
  switch (order.do) {
    case "start": {
      const got = await new Promise((resolve) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.postMessage(order);
      });
      if (got instanceof ArrayBuffer) bytes = new Uint8Array(got);
      return { started: true };
    }
    case "terminate":
      worker.terminate();
      return { terminated: true };
    case "look":
      return { values: [...new Set(bytes)] };
    case "write":
      bytes!.fill(9);
      return { written: true };
    case "drop":
      bytes = undefined;
      worker.onmessage = null;
      return { dropped: true };
    case "collect":
      collectGarbage();
      return { collected: true };
    case "join":
      Pool.open(order.name).close();
      return { joined: true };
  }
}

createInterface({ input: process.stdin }).on("line", async (line) => {
  process.stdout.write(JSON.stringify(await obey(JSON.parse(line))) + "\n");
}).on("close", () => process.exit(0));
