/** A process that ends while a Worker of it is, or was, in its pool. */

import { pack, Pool } from "arraypool";
import { startWorker } from "./web_worker.ts";

const [name, how] = process.argv.slice(2);
const worker = startWorker("./worker.ts");
const ask = (message: unknown) =>
  new Promise((resolve) => {
    worker.onmessage = resolve;
    worker.postMessage(message);
  });

const pool = Pool.create({ name: name!, capacity: "1M" });
const array = pool.alloc(Uint8Array, 10);
await ask(pack({ do: "hold", array }));
console.log(JSON.stringify({ members: pool.members().length }));
if (how!.startsWith("terminated")) worker.terminate();
if (how === "closed by itself") await ask({ do: "close" });
// Time for the thread to be gone.
if (how === "terminated and gone" || how === "closed by itself") {
  await new Promise((resolve) => setTimeout(resolve, 300));
}
process.exit(0);
