/** The JSR package: it may be published, and works where only its modules are served, with no permission but FFI. */

import { assert, test } from "../support/harness.ts";
import {
  deno,
  jsrFolder,
  ONE_PROCESS_PRINTS,
  oneProcess,
  run,
  succeed,
  withJsr,
  withProject,
  write,
} from "./support.ts";

const LIMIT_MS = 300_000;

/** By way of a shell: Deno adds -A where it sees that a program starts Deno. */
const denoRun = (
  flags: string,
  file: string,
): string[] => ["sh", "-c", `exec ${deno} run --no-prompt ${flags} ${file}`];

/** A Worker has the package, too; prints how many files in memory this process has for it. */
const withWorkers = `
  import { Pool, pack, unpack } from "jsr:@arraypool/arraypool";
  if (!("WorkerGlobalScope" in globalThis)) {
    using pool = Pool.create({ capacity: "16M" });
    using array = pool.alloc(Int32Array, 1);
    for (let i = 0; i < 5; i++) {
      const worker = new Worker(import.meta.url, { type: "module" });
      worker.postMessage(pack({ array }));
      await new Promise((resolve) => worker.onmessage = resolve);
      worker.terminate();
    }
    const { symbols } = Deno.dlopen("libc.so.6", { readlink: { parameters: ["buffer", "buffer", "usize"], result: "i64" } });
    const into = new Uint8Array(200);
    const links = Array.from({ length: 200 }, (_, fd) => {
      const length = Number(symbols.readlink(new TextEncoder().encode("/proc/self/fd/" + fd + "\\0"), into, 200n));
      return new TextDecoder().decode(into.subarray(0, Math.max(length, 0)));
    });
    console.log(array[0], links.filter((link) => link.startsWith("/memfd:arraypool ")).length);
  } else {
    self.onmessage = ({ data }) => {
      using got = unpack(data);
      got.array[0]++;
      self.postMessage(0);
    };
  }
`;

test("deno publish accepts the package, without slow types", async () => {
  const output = await succeed([deno, "publish", "--dry-run", "--allow-dirty"], { cwd: jsrFolder });
  assert.match(output, /Success/);
  assert.doesNotMatch(output, /warning|slow-type|missing/i);
});

test("jsr:@arraypool/arraypool runs with --allow-ffi alone", () =>
  withJsr((registry) =>
    withProject(async (folder) => {
      write(folder, {
        "one.ts": oneProcess.replace('"arraypool"', '"jsr:@arraypool/arraypool"'),
        "workers.ts": withWorkers,
      });
      const options = { cwd: folder, env: { JSR_URL: registry, DENO_DIR: `${folder}/cache` } };
      assert.match(
        await succeed(denoRun("--allow-ffi --quiet", "one.ts"), options),
        new RegExp(`^${ONE_PROCESS_PRINTS}$`),
      );
      // The command line looks at pools with a library of its own.
      const cli = `exec ${deno} run --no-prompt --quiet --allow-ffi jsr:@arraypool/arraypool/cli ls --json`;
      assert.ok(Array.isArray(JSON.parse(await succeed(["sh", "-c", cli], options)).pools));
      // Without, it says what is missing.
      const { code, output } = await run(denoRun("--quiet", "one.ts"), options);
      assert.equal(code, 1);
      assert.match(output, /NotCapable.*--allow-ffi/);
      // All Workers of a process open the same file in memory.
      assert.equal(
        await succeed(denoRun("--allow-ffi --quiet --allow-import --allow-read", "workers.ts"), options),
        "5 1\n",
      );
    })
  ), LIMIT_MS);

test(
  "the modules run from any server, with --allow-ffi and the right to import from it",
  () =>
    withJsr((server) =>
      withProject(async (folder) => {
        const url = `${server}/@arraypool/arraypool/0.1.0/mod.ts`;
        write(folder, { "one.ts": oneProcess.replace('"arraypool"', JSON.stringify(url)) });
        const options = { cwd: folder, env: { DENO_DIR: `${folder}/cache` } };
        const flags = `--quiet --allow-ffi --allow-import=${new URL(server).host}`;
        assert.equal(await succeed(denoRun(flags, "one.ts"), options), ONE_PROCESS_PRINTS);
      })
    ),
  LIMIT_MS,
);
