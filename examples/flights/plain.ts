/**
 * The same work without a pool, for comparison: the process is sent a copy of the arrays, over the best IPC its runtime
 * has (`serialization: "advanced"`), and sends the means of each batch back.
 */

import process from "node:process";
import { type Flights, resample } from "./bootstrap.ts";

interface Message {
  flights?: Flights;
  first?: number;
  last?: number;
}

let flights: Flights;

process.on("message", (message: Message) => {
  const { first = 0, last = 0 } = message;
  flights = message.flights ?? flights;
  const origins = flights ? flights.starts.length - 1 : 0;
  const means = new Float64Array((last - first) * origins);
  if (last > first) resample(flights, first, last, means);
  process.send!({ means });
});

process.on("SIGINT", () => {}); // as in worker.ts
