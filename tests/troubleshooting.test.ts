/**
 * docs/troubleshooting.md: a section for every error code, and in it every message as the library prints it. In a block of
 * `text` there, … stands for anything, lines may break anywhere, and every pool is called "prices".
 */

import { attach, pack, Pool, type PoolError, release, unpack } from "arraypool";
import * as abi from "../core/abi.ts";
import { failure } from "../core/failure.ts";
import type { setLoader } from "../core/native.ts";
import { bun } from "../bun/ffi.ts";
import { deno } from "../deno/ffi.ts";
import { node } from "../node/ffi.ts";
import { loadLibrary } from "../library/load.ts";
import { platformHere } from "../library/platform.ts";
import { assert, runtime, test, withCopyOfPackage, withName, withPool } from "./support/harness.ts";
import { type Block, blocksOf, filesIn, placeOf, textOf } from "./support/markdown.ts";
import { BLOCKS_AT, readU32, writeU32 } from "./support/segment.ts";

const PAGE = "docs/troubleshooting.md";
const text = textOf(PAGE);
const blocks = blocksOf(PAGE).filter(({ language }) => language === "text");

const joined = (lines: string): string => lines.replaceAll(/\s+/g, " ").trim();

/** What a block promises, as an expression. */
function expressionOf({ code }: Block): RegExp {
  const parts = joined(code).split("…").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[^]*")}$`);
}

/** The heading under which a block stands. */
function headingOf({ line }: Block): string {
  return [...text.split("\n").slice(0, line).join("\n").matchAll(/^## (.+)$/gm)].at(-1)![1]!;
}

interface Message {
  heading: string;
  message: string;
}

/** What `call` throws, as if the pool of that name were called "prices". */
async function messageOf(call: () => unknown, name: string, heading?: string): Promise<Message> {
  try {
    await call();
  } catch (error) {
    const { message } = error as Error;
    const { code } = error as Partial<PoolError>;
    return { heading: code ?? heading!, message: joined(message.replaceAll(name, "prices")) };
  }
  assert.fail("nothing was thrown");
}

/** Every message of the library, each brought about, or made of what the library would report. */
async function messages(): Promise<Message[]> {
  const found: Message[] = [];
  const made = async (code: number, facts: Partial<Parameters<typeof failure>[1]> = {}) =>
    found.push(await messageOf(() => Promise.reject(failure(code, { pool: "prices", ...facts })), "prices"));
  const full = (cause: number) => {
    const record = new Float64Array(abi.AP_RECORD_LENGTH);
    record[abi.AP_SHORT_CAUSE] = cause;
    record[abi.AP_SHORT_DEVICE_FREE] = 4096;
    return { record };
  };
  await made(abi.AP_ERR_STALE);
  await made(abi.AP_ERR_NONCE);
  await made(abi.AP_ERR_NOT_HELD);
  await made(abi.AP_ERR_BUSY, { pid: 4711 });
  await made(abi.AP_ERR_CLOSED);
  await made(abi.AP_ERR_MORE);
  await made(abi.AP_ERR_WAIT);
  await made(abi.AP_ERR_WAIT, { unacknowledged: 256 });
  await made(abi.AP_ERR_MEMBERS);
  await made(abi.AP_ERR_CORRUPT);
  await made(abi.AP_ERR_PERMISSION);
  await made(abi.AP_ERR_VERSION, { detail: 77 });
  await made(abi.AP_ERR_SYSTEM, { errno: 24 });
  await made(abi.AP_ERR_SYSTEM, { errno: 27 });
  await made(abi.AP_ERR_SYSTEM, { errno: 30 });
  await made(abi.AP_ERR_NOT_FOUND, { creating: true });
  await made(abi.AP_ERR_ADDRESS_SPACE);
  await made(-99);
  await made(abi.AP_ERR_FULL, full(abi.AP_CAUSE_DEVICE));
  await made(abi.AP_ERR_FULL, full(abi.AP_CAUSE_BLOCKS));
  await made(abi.AP_ERR_FULL, full(abi.AP_CAUSE_CLAIMS));
  await made(abi.AP_ERR_FULL, full(abi.AP_CAUSE_WAITERS));
  await made(abi.AP_ERR_FULL, full(abi.AP_CAUSE_NAMES));
  await made(abi.AP_ERR_FULL, { cause: abi.AP_CAUSE_DEVICE, detail: 4096 });
  await made(abi.AP_ERR_FULL, { cause: abi.AP_CAUSE_FILES });

  await withPool(async (pool) => {
    const { name } = pool;
    const thrown = async (call: () => unknown) => void found.push(await messageOf(call, name));
    await thrown(() => Pool.create({ name }));
    await thrown(() => pool.alloc(Uint8Array, 2 ** 22));
    const kept = pool.alloc(Uint8Array, 2 ** 20);
    const sent = pool.alloc(Uint8Array, 2 ** 19);
    const packed = pack(sent);
    sent.release();
    await thrown(() => pool.alloc(Uint8Array, 2 ** 20));
    release(packed);
    const shown = pool.alloc(Uint8Array, 2 ** 19);
    const elsewhere = shown.buffer.transfer();
    shown.release();
    await thrown(() => pool.alloc(Uint8Array, 2 ** 20));
    assert.equal(elsewhere.byteLength, 2 ** 19);
    await thrown(() => attach({ ...kept.share({ claims: 0 }), length: 2 ** 21 }));
    kept.release();
    const prices = pool.alloc(Float64Array, 3);
    prices.release();
    await thrown(() => prices.share());
    const moved = pool.alloc(Float64Array, 3);
    structuredClone(moved.buffer, { transfer: [moved.buffer] });
    await thrown(() => moved.share());
    moved.release();
    const channel = pool.channel();
    channel.release();
    await thrown(() => channel.send(1));
    await thrown(() => channel.toJSON());
    const jobs = pool.channel();
    jobs.send(1);
    const delivery = jobs.receive({ ack: true });
    delivery[Symbol.dispose]();
    await thrown(() => delivery.ack());
    jobs.release();
    using damaged = pool.alloc(Uint8Array, 100);
    const at = BLOCKS_AT + damaged.share({ claims: 0 }).block * 64;
    const next = readU32(name, at);
    writeU32(name, at, 123_456);
    await thrown(() => pool.check());
    writeU32(name, at, next);
  }, { capacity: "2M" });

  await withName(async (name) => {
    found.push(await messageOf(() => Pool.open(name), name));
    using pool = Pool.create({ name, capacity: "1M" });
    const prices = pool.alloc(Float64Array, 3);
    const descriptor = prices.share({ claims: 0 });
    const channel = pool.channel();
    pool.close();
    found.push(await messageOf(() => channel.send(1), name));
    found.push(await messageOf(() => prices.share(), name));
    found.push(await messageOf(() => pool.alloc(Uint8Array, 1), name));
    found.push(await messageOf(() => attach(descriptor), name));
    found.push(await messageOf(() => unpack(pool.toJSON()), name));
  });

  const libraryMessage = (loader: () => unknown) =>
    withCopyOfPackage(async (url) => {
      const load = (path: string) => import(new URL(path, url).href);
      const { Pool }: typeof import("../core/mod.ts") = await load("core/mod.ts");
      const copy: { setLoader: typeof setLoader } = await load("core/native.ts");
      copy.setLoader(loader as Parameters<typeof setLoader>[0]);
      found.push(await messageOf(() => Pool.create(), "prices"));
    });
  await libraryMessage(() => loadLibrary({ bun, deno, node }[runtime], new URL("file:///nowhere/")));
  found.push(await messageOf(() => loadLibrary({ ...bun, isHere: () => false }), "prices"));
  found.push(await messageOf(() => platformHere({ platform: "win32", arch: "x64" }), "prices"));

  const noDescriptor = () => attach(Float64Array.of(1) as never);
  found.push(await messageOf(noDescriptor, "prices", "No error, but not what you expected"));
  return found;
}

test("troubleshooting has every error code, in order, and no other", () => {
  const codes = [...textOf("core/errors.ts").matchAll(/^ {2}\| "(ERR_\w+)"/gm)].map(([, code]) => code!);
  assert.ok(codes.length >= 14);
  const headings = [...text.matchAll(/^## (ERR_\w+)$/gm)].map(([, code]) => code!);
  assert.deepEqual(headings, codes.sort());
});

test("troubleshooting has every message as the library prints it, under its code", async () => {
  const all = await messages();
  for (const { heading, message } of all) {
    const fits = blocks.some((block) => headingOf(block) === heading && expressionOf(block).test(message));
    assert.ok(fits, `missing in ${PAGE} under ${heading}:\n${message}`);
  }
});

test("troubleshooting has nothing that the library does not say", async () => {
  const [said, brought] = [sentences(), await messages()];
  for (const block of blocks) {
    if (brought.some(({ message }) => expressionOf(block).test(message))) continue;
    const shown = joined(block.code);
    assert.ok(said.some((sentence) => shown.includes(sentence)), `${placeOf(block)}: nobody says this:\n${shown}`);
  }
});

test("troubleshooting has every sentence that stands in the source as an error's message", () => {
  const shown = joined(text);
  assert.deepEqual(sentences(true).filter((sentence) => !shown.includes(sentence)), [], `missing in ${PAGE}`);
});

/** The longest fixed piece of each message in the source: of those of PoolErrors alone, or of all. */
function sentences(onlyPoolErrors = false): string[] {
  const found: string[] = [];
  for (
    const file of [
      "mod.ts",
      ...["core", "library", "bun", "deno", "node"].flatMap((folder) => filesIn(folder, ".ts")),
    ]
  ) {
    const source = textOf(file).replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
    const said = onlyPoolErrors && file !== "core/failure.ts"
      ? [...source.matchAll(/(?:new (?:core\.)?PoolError|staleDescriptor)\(([\s\S]*?)\n? *\);$/gm)].map(([, call]) =>
        call!
      )
      : [source.replaceAll(/new RangeError\([^)]*\)/g, "")];
    for (const literal of said.join("\n").matchAll(/`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\\n])*"/g)) {
      const fixed = literal[0].slice(1, -1).replaceAll("\\`", "`").replaceAll("\\n", " ").split(/\$\{[^}]*\}/);
      const longest = joined(fixed.reduce((a, b) => (b.length > a.length ? b : a)));
      if (longest.length > 15 && longest.includes(" ") && !/[;{}]/.test(longest)) found.push(longest);
    }
  }
  return found;
}
