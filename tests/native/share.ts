// The JavaScript side of share.c: takes a descriptor from stdin, doubles the array, and answers with an array of its own.
import { attach, type Descriptor } from "../../mod.ts";
import { createInterface } from "node:readline";
import process from "node:process";

for await (const line of createInterface({ input: process.stdin })) {
  const descriptor = JSON.parse(line) as Descriptor;
  using numbers = attach(descriptor, Float64Array);
  for (let i = 0; i < numbers.length; i++) numbers[i]! *= 2;
  using answer = numbers.pool.from(Float32Array.of(0.5, 1.5, 2.5));
  const { block, generation, claim } = answer.share();
  console.log(`${block} ${generation} ${claim}`);
  break;
}
process.exit(0);
