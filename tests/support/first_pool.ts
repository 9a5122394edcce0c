/**
 * In Deno: a first pool and an array, and whether that has loaded Deno's part of Node. With `--without`, where Deno has not
 * the way into itself that does without, or has it in another form.
 */

import { Pool } from "../../mod.ts";

const { Deno } = globalThis as unknown as {
  Deno: Record<symbol, { core: { ops: Record<string, unknown> } }> & { internal: symbol; args: string[] };
};
const seen = new Set<string>();
for (const name of ["process", "setImmediate", "Buffer"]) {
  const { get, value } = Object.getOwnPropertyDescriptor(globalThis, name)!;
  Object.defineProperty(globalThis, name, {
    configurable: true,
    get: () => {
      seen.add(name);
      return get === undefined ? value : get.call(globalThis);
    },
  });
}
const without: Record<string, unknown> = {
  none: undefined,
  throws: () => {
    throw new TypeError("another form");
  },
  other: () => ({}),
};
if (Deno.args.length > 0) {
  Deno[Deno.internal]!.core.ops["op_napi_open"] = without[Deno.args[0]!];
}

using pool = Pool.create();
const array = pool.alloc(Uint8Array, 5);
array.release();
console.log(`seen: ${[...seen].join(" ")}; arrays: ${pool.stats().arrays}`);
