/**
 * A child of `Deno.Command` gets a descriptor on its stdin, and answers on its stdout with one of its own: an array that
 * it made, and that outlives it. No permission but FFI is needed to share memory.
 *
 *     deno run --allow-ffi --allow-run examples/deno-command.ts
 *
 * In Deno only, since `Deno.Command` is Deno's. `child_process.spawn`, as in jobs.ts, is in all runtimes.
 */

import { pack, Pool, type SharedArray, unpack } from "../mod.ts";

interface Question {
  steps: SharedArray<Float64Array>;
}

interface Answer {
  path: Float64Array;
}

if (Deno.args[0] === "child") {
  using question = unpack<Question>(await new Response(Deno.stdin.readable).json());
  const path = question.steps.pool.alloc(Float64Array, question.steps.length);
  let position = 0;
  for (let i = 0; i < path.length; i++) path[i] = position += question.steps[i]!;
  console.log(JSON.stringify(pack({ path })));
} else {
  using pool = Pool.create();
  using steps = pool.alloc(Float64Array, 1_000_000);
  for (let i = 0; i < steps.length; i++) steps[i] = i % 2 === 0 ? 3 : -1;

  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-ffi", import.meta.filename!, "child"],
    stdin: "piped",
    stdout: "piped",
  });
  const child = command.spawn();
  const stdin = child.stdin.getWriter();
  await stdin.write(new TextEncoder().encode(JSON.stringify(pack({ steps }))));
  await stdin.close();

  const { path } = unpack<Answer>(await new Response(child.stdout).json());
  await child.status;
  console.log(`the child has exited, its array is here: ${path.length} positions, the last one is ${path.at(-1)}`);
}
