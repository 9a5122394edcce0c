/**
 * Calls that work on an array's memory, for tests/native_calls.test.ts: each can be started on an array, and says what
 * came out of it. Where it can be, a call is kept from ending until `go`: by a pipe or a socket that nobody reads.
 */

import { type ChildProcess, spawn } from "node:child_process";
import * as nodeCrypto from "node:crypto";
import * as dgram from "node:dgram";
import * as fs from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import * as zlib from "node:zlib";
import { type Runtime, runtimes } from "./programs.ts";

/** A call in flight. */
export interface Begun {
  /** Settles with the call. For one that reads the array: the bytes it has read. */
  done: Promise<Uint8Array | void>;
  /** Lets the call go on. */
  go?: () => void;
}

/** What a call needs, made beforehand and ended afterwards. */
export interface Scene {
  /** A folder for files. */
  folder: string;
  /** Done after the call, last one first. */
  defer(end: () => unknown): void;
  /** The bytes of the array. */
  original: Uint8Array<ArrayBuffer>;
}

export interface Call {
  /** As in docs/native-calls.md. */
  name: string;
  /** Where it exists; everywhere if not said. */
  in?: Runtime;
  /** Whether it reads the array or writes it. */
  does: "read" | "write";
  /** Where it does not end, not even with an error, once its array is detached. */
  neverEnds?: readonly Runtime[];
  /** How many bytes of the array it takes, if not all. */
  length?: number;
  prepare(
    scene: Scene,
  ): Promise<(array: Uint8Array<ArrayBuffer>) => Begun> | ((array: Uint8Array<ArrayBuffer>) => Begun);
}

type Bytes = Uint8Array<ArrayBuffer>;

interface BunApi {
  write(path: string, data: Uint8Array): Promise<number>;
  file(path: string): { writer(): { write(data: Uint8Array): number; end(): Promise<number> } };
  zstdCompress(data: Uint8Array): Promise<Uint8Array>;
  zstdDecompressSync(data: Uint8Array): Uint8Array;
  connect(options: object): Promise<{ write(data: Uint8Array): number; end(): void; terminate(): void }>;
  serve(options: object): { port: number; stop(now: boolean): Promise<void> };
  spawn(options: object): { stdout: ReadableStream<Uint8Array>; exited: Promise<number> };
}
interface DenoFile {
  write(data: Uint8Array): Promise<number>;
  read(into: Uint8Array): Promise<number | null>;
  close(): void;
}
interface DenoApi {
  writeFile(path: string, data: Uint8Array): Promise<void>;
  open(path: string, options: object): Promise<DenoFile>;
  connect(options: object): Promise<DenoFile>;
  serve(
    options: object,
    handler: (request: Request) => Response | Promise<Response>,
  ): { addr: { port: number }; shutdown(): Promise<void> };
  UnsafePointer: { of(array: Uint8Array): unknown };
  Command: new (program: string, options: object) => {
    spawn(): {
      stdin: WritableStream<Uint8Array>;
      stdout: ReadableStream<Uint8Array>;
      status: Promise<unknown>;
    };
  };
  dlopen(
    path: string,
    symbols: object,
  ): { symbols: Record<string, (...args: unknown[]) => Promise<number>>; close(): void };
}
interface WasmApi {
  compile(bytes: Uint8Array): Promise<object>;
  Module: { customSections(module: object, name: string): ArrayBuffer[] };
}
const { Bun, Deno, WebAssembly } = globalThis as unknown as { Bun: BunApi; Deno: DenoApi; WebAssembly: WasmApi };

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A promise for what a function with a callback says. */
function called<T>(call: (callback: (error: Error | null, value?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, value) => error ? reject(error) : resolve(value as T)));
}

async function bytesOf(stream: AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>): Promise<Bytes> {
  const parts: Uint8Array[] = [];
  for await (const part of stream as AsyncIterable<Uint8Array>) parts.push(part.slice());
  return joined(parts);
}

function joined(parts: Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const read = (path: string) => new Uint8Array(fs.readFileSync(path));

/** What `write` writes to a file. */
function toFile(write: (path: string, array: Bytes) => Promise<unknown>): Call["prepare"] {
  return ({ folder }) => {
    const path = join(folder, "file");
    return (array) => ({ done: write(path, array).then(() => read(path)) });
  };
}

function withDescriptor(
  flags: string,
  use: (fd: number, array: Bytes, path: string) => Promise<Bytes | void>,
): Call["prepare"] {
  return ({ folder, defer, original }) => {
    const path = join(folder, "file");
    if (flags === "r") fs.writeFileSync(path, original);
    const fd = fs.openSync(path, flags);
    defer(() => fs.closeSync(fd));
    return (array) => ({ done: use(fd, array, path) });
  };
}

/** Copies its standard input to its standard output, after a while. */
const LATE_CAT = ["-c", "sleep 0.1; exec cat"];

/** A server on a socket of the folder, or on a port, that reads its one connection when told to. */
async function stalledServer(
  scene: Scene,
  port?: 0,
): Promise<{ path: string; port: number; received: Promise<Bytes>; go: () => void }> {
  const path = join(scene.folder, "socket");
  const connected = Promise.withResolvers<net.Socket>();
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    scene.defer(() => socket.destroy());
    connected.resolve(socket);
  });
  await new Promise<void>((resolve) =>
    server.listen(port === undefined ? { path } : { port, host: "127.0.0.1" }, resolve)
  );
  scene.defer(() => void server.close());
  const gate = Promise.withResolvers<void>();
  const received = connected.promise.then(async (socket) => {
    await gate.promise;
    const parts: Uint8Array[] = [];
    socket.on("data", (part: Uint8Array) => parts.push(part.slice()));
    const ended = new Promise((resolve) => socket.on("close", resolve).on("end", resolve));
    socket.resume();
    await ended;
    return joined(parts);
  });
  const address = server.address();
  return { path, port: typeof address === "object" ? address!.port : 0, received, go: gate.resolve };
}

/** What a socket of `node:net` sends, with `before` bytes before the array. */
function socketEnd(how: "unix" | "tcp", before: number): Call["prepare"] {
  return async (scene) => {
    const { path, port, received, go } = await stalledServer(scene, how === "tcp" ? 0 : undefined);
    const socket = net.connect(how === "tcp" ? { port, host: "127.0.0.1" } : { path });
    scene.defer(() => socket.destroy());
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    return (array) => {
      if (before > 0) socket.write(new Uint8Array(before));
      socket.end(array);
      return { done: received.then((data) => data.slice(before)), go };
    };
  };
}

/** An HTTP server that reads what it gets when told to, and a port to reach it. */
async function stalledHttp(scene: Scene): Promise<{ port: number; received: Promise<Bytes>; go: () => void }> {
  const gate = Promise.withResolvers<void>();
  const received = Promise.withResolvers<Bytes>();
  const server = http.createServer(async (request, response) => {
    await gate.promise;
    received.resolve(await bytesOf(request));
    response.end("ok");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  scene.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as net.AddressInfo).port, received: received.promise, go: gate.resolve };
}

/** Asks for `/`, and reads the answer's body when called. */
function stalledRequest(scene: Scene, port: number): (length: number) => Promise<Bytes> {
  const socket = net.connect(port, "127.0.0.1");
  scene.defer(() => socket.destroy());
  socket.pause();
  socket.once("connect", () => socket.write("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
  return async (length) => {
    const parts: Uint8Array[] = [];
    let size = 0;
    await new Promise<void>((resolve) => {
      socket.on("data", (part: Uint8Array) => {
        parts.push(part.slice());
        // Bodies are sent with their length, so they are whole at the end.
        if ((size += part.length) > length) resolve();
      });
      socket.on("end", () => resolve()).on("close", () => resolve()).on("error", () => resolve());
      socket.resume();
    });
    const all = joined(parts);
    const start = new TextDecoder("latin1").decode(all.slice(0, 4096)).indexOf("\r\n\r\n") + 4;
    return all.slice(start, start + length);
  };
}

/** What an HTTP server sends that `serve` makes: its port, and for its one request the way to answer it. */
function served(
  serve: (scene: Scene, asked: (answer: (array: Bytes) => void) => void) => Promise<number> | number,
): Call["prepare"] {
  return async (scene) => {
    const asked = Promise.withResolvers<(array: Bytes) => void>();
    const port = await serve(scene, asked.resolve);
    const body = stalledRequest(scene, port);
    const answer = await asked.promise;
    return (array) => {
      const { length } = array;
      answer(array);
      return { done: sleep(30).then(() => body(length)) };
    };
  };
}

/** For a server that is given its answer by a promise. */
function promised(asked: (answer: (array: Bytes) => void) => void): () => Promise<Response> {
  return () => new Promise((resolve) => asked((array) => resolve(new Response(array))));
}

/** What `write` writes on a thread of its own, to a pipe that nobody reads before `go`. */
function toPipe(write: (fd: number, array: Bytes) => Promise<unknown>): Call["prepare"] {
  return async (scene) => {
    const pipe = join(scene.folder, "pipe");
    await ended(spawn("mkfifo", [pipe]));
    const fd = fs.openSync(pipe, "r+");
    scene.defer(() => fs.closeSync(fd));
    return (array) => {
      const { length } = array;
      const written = write(fd, array);
      const received = Promise.withResolvers<Bytes>();
      const go = () => {
        const reader = spawn("head", ["-c", `${length}`, pipe], { stdio: ["ignore", "pipe", "inherit"] });
        scene.defer(() => reader.kill("SIGKILL"));
        received.resolve(bytesOf(reader.stdout));
      };
      return { done: written.then(() => received.promise), go };
    };
  };
}

const ended = (child: ChildProcess) =>
  new Promise<void>((resolve, reject) =>
    child.on("error", reject).on(
      "close",
      (code) => code === 0 ? resolve() : reject(new Error(`${child.spawnfile} failed`)),
    )
  );

/** What `write()` of libc writes, called by FFI. */
function ffiWrite(type: "buffer" | "pointer"): Call["prepare"] {
  return toPipe((fd, array) => {
    const { symbols } = Deno.dlopen("libc.so.6", {
      write: { parameters: ["i32", type, "usize"], result: "isize", nonblocking: true },
    });
    return symbols["write"]!(fd, type === "buffer" ? array : Deno.UnsafePointer.of(array), BigInt(array.length));
  });
}

/** What the addon tests/native/addon.c writes. */
const addonWrite: Call["prepare"] = async (scene) => {
  const [source, addon] = [
    fileURLToPath(new URL("../native/addon.c", import.meta.url)),
    join(scene.folder, "addon.node"),
  ];
  const zig = fileURLToPath(new URL("../../node_modules/.bin/zig", import.meta.url));
  await ended(
    spawn(zig, ["cc", "-std=c11", "-shared", "-fPIC", "-Wl,-z,undefs", source, "-o", addon], { stdio: "inherit" }),
  );
  const module = { exports: {} };
  (process as unknown as { dlopen(module: object, path: string): void }).dlopen(module, addon);
  const { write } = module.exports as { write(fd: number, array: Bytes): Promise<void> };
  return toPipe(write)(scene);
};

const KEY = await crypto.subtle.generateKey({ name: "AES-CTR", length: 128 }, true, ["encrypt", "decrypt"]);
const AES = { name: "AES-CTR", counter: new Uint8Array(16), length: 64 };

export const calls: Call[] = [
  // ---------------------------------------------------------------- files
  {
    name: "`fs.write` (callback)",
    does: "read",
    prepare: withDescriptor("w", async (fd, array, path) => {
      const { length } = array;
      await called<number>((callback) => fs.write(fd, array, 0, length, 0, callback));
      return read(path);
    }),
  },
  {
    name: "`fs.writev` (callback)",
    does: "read",
    prepare: withDescriptor("w", async (fd, array, path) => {
      await called<number>((callback) => fs.writev(fd, [array], 0, callback));
      return read(path);
    }),
  },
  {
    name: "`fs.writeFile` (callback)",
    does: "read",
    prepare: toFile((path, array) => called((done) => fs.writeFile(path, array, done))),
  },
  {
    name: "`fs.promises.writeFile`",
    does: "read",
    prepare: toFile((path, array) => fs.promises.writeFile(path, array)),
  },
  {
    name: "`fs.promises.appendFile`",
    does: "read",
    prepare: toFile((path, array) => fs.promises.appendFile(path, array)),
  },
  {
    name: "`FileHandle.write`",
    does: "read",
    async prepare({ folder, defer }) {
      const path = join(folder, "file");
      const file = await fs.promises.open(path, "w");
      defer(() => file.close());
      return (array) => ({ done: file.write(array, 0, array.length, 0).then(() => read(path)) });
    },
  },
  {
    name: "`fs.createWriteStream().end`",
    does: "read",
    async prepare({ folder }) {
      const path = join(folder, "file");
      const stream = fs.createWriteStream(path);
      await new Promise<void>((resolve) => stream.once("ready", resolve));
      return (array) => ({
        done: called<void>((done) => stream.once("error", done).end(array, () => done(null))).then(() => read(path)),
      });
    },
  },
  {
    name: "`fs.read` (callback)",
    does: "write",
    prepare: withDescriptor("r", async (fd, array) => {
      await called<number>((callback) => fs.read(fd, array, 0, array.length, 0, callback));
    }),
  },
  {
    name: "`FileHandle.read`",
    does: "write",
    async prepare({ folder, defer, original }) {
      const path = join(folder, "file");
      fs.writeFileSync(path, original);
      const file = await fs.promises.open(path, "r");
      defer(() => file.close());
      return (array) => ({ done: file.read(array, 0, array.length, 0).then(() => {}) });
    },
  },
  { name: "`Bun.write`", in: "bun", does: "read", prepare: toFile((path, array) => Bun.write(path, array)) },
  {
    name: "`Bun.file().writer()`",
    in: "bun",
    does: "read",
    prepare: toFile((path, array) => {
      const writer = Bun.file(path).writer();
      writer.write(array);
      return Promise.resolve(writer.end());
    }),
  },
  { name: "`Deno.writeFile`", in: "deno", does: "read", prepare: toFile((path, array) => Deno.writeFile(path, array)) },
  {
    name: "`Deno.FsFile.write`",
    in: "deno",
    does: "read",
    async prepare({ folder, defer }) {
      const path = join(folder, "file");
      const file = await Deno.open(path, { write: true, create: true });
      defer(() => file.close());
      return (array) => ({ done: file.write(array).then(() => read(path)) });
    },
  },
  {
    name: "`Deno.FsFile.read`",
    in: "deno",
    does: "write",
    async prepare({ folder, defer, original }) {
      const path = join(folder, "file");
      fs.writeFileSync(path, original);
      const file = await Deno.open(path, { read: true });
      defer(() => file.close());
      return (array) => ({ done: file.read(array).then(() => {}) });
    },
  },
  // ---------------------------------------------------------------- compression, cryptography
  {
    name: "`zlib.gzip` (callback)",
    does: "read",
    prepare: () => (array) => ({
      done: called<Uint8Array>((done) => zlib.gzip(array, { level: 1 }, done)).then((data) => zlib.gunzipSync(data)),
    }),
  },
  {
    name: "`zlib.createGzip().end`",
    does: "read",
    prepare: () => (array) => {
      const gzip = zlib.createGzip({ level: 1 });
      gzip.end(array);
      return { done: bytesOf(gzip).then((data) => zlib.gunzipSync(data)) };
    },
  },
  {
    name: "`CompressionStream`",
    does: "read",
    prepare: () => (array) => {
      const stream = new CompressionStream("gzip");
      const writer = stream.writable.getWriter();
      const written = writer.write(array).then(() => writer.close());
      return { done: Promise.all([bytesOf(stream.readable), written]).then(([data]) => zlib.gunzipSync(data)) };
    },
  },
  {
    name: "`Bun.zstdCompress`",
    in: "bun",
    does: "read",
    prepare: () => (array) => ({ done: Bun.zstdCompress(array).then((data) => Bun.zstdDecompressSync(data)) }),
  },
  {
    name: "`subtle.digest`",
    does: "read",
    prepare: ({ original }) => (array) => ({
      done: crypto.subtle.digest("SHA-256", array).then((got) =>
        sameDigest(got, nodeCrypto.createHash("sha256").update(original).digest(), original)
      ),
    }),
  },
  {
    name: "`subtle.encrypt`",
    does: "read",
    prepare: () => (array) => ({
      done: crypto.subtle.encrypt(AES, KEY, array).then(async (data) =>
        new Uint8Array(await crypto.subtle.decrypt(AES, KEY, data))
      ),
    }),
  },
  {
    name: "`crypto.pbkdf2` (callback)",
    does: "read",
    prepare: ({ original }) => (array) => ({
      done: called<Uint8Array>((done) => nodeCrypto.pbkdf2("password", array, 1, 32, "sha256", done)).then((got) =>
        sameDigest(got, nodeCrypto.pbkdf2Sync("password", original, 1, 32, "sha256"), original)
      ),
    }),
  },
  {
    name: "`crypto.randomFill` (callback)",
    does: "write",
    prepare: () => (array) => ({ done: called<unknown>((done) => nodeCrypto.randomFill(array, done)).then(() => {}) }),
  },
  // ---------------------------------------------------------------- sockets
  { name: "`net.Socket.end`, Unix socket", does: "read", prepare: socketEnd("unix", 0) },
  { name: "`net.Socket.end`, TCP", does: "read", prepare: socketEnd("tcp", 0) },
  {
    name: "`net.Socket.end`, behind another write",
    does: "read",
    neverEnds: runtimes,
    prepare: socketEnd("unix", 2 ** 22),
  },
  {
    name: "`dgram.Socket.send`",
    does: "read",
    length: 32768,
    async prepare({ defer }) {
      const receiver = dgram.createSocket("udp4");
      await new Promise<void>((resolve) => receiver.bind(0, "127.0.0.1", resolve));
      const sender = dgram.createSocket("udp4");
      defer(() => (receiver.close(), sender.close()));
      const received = new Promise<Bytes>((resolve) =>
        receiver.once("message", (data: Uint8Array) => resolve(new Uint8Array(data)))
      );
      return (array) => {
        // A datagram holds no more.
        const part = array.subarray(0, 32768);
        sender.send(part, receiver.address().port, "127.0.0.1");
        return { done: received };
      };
    },
  },
  {
    name: "`fetch` body",
    does: "read",
    async prepare(scene) {
      const { port, received, go } = await stalledHttp(scene);
      return (array) => {
        const answer = fetch(`http://127.0.0.1:${port}/`, { method: "POST", body: array }).then((response) =>
          response.text()
        );
        return { done: Promise.all([received, answer]).then(([data]) => data), go };
      };
    },
  },
  {
    name: "`http.request().end`",
    does: "read",
    async prepare(scene) {
      const { port, received, go } = await stalledHttp(scene);
      return (array) => {
        const request = http.request({ port, host: "127.0.0.1", method: "POST" });
        request.on("error", () => {}).on("response", (response) => response.resume());
        request.end(array);
        return { done: received, go };
      };
    },
  },
  {
    name: "`http.ServerResponse.end`",
    does: "read",
    prepare: served(async (scene, asked) => {
      const server = http.createServer((_, response) => asked((array) => response.end(array)));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      scene.defer(() => (server.closeAllConnections(), server.close()));
      return (server.address() as net.AddressInfo).port;
    }),
  },
  {
    name: "`Bun.serve`, `new Response(array)`",
    in: "bun",
    does: "read",
    prepare: served((scene, asked) => {
      const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: promised(asked) });
      scene.defer(() => server.stop(true));
      return server.port;
    }),
  },
  {
    name: "`Deno.serve`, `new Response(array)`",
    in: "deno",
    does: "read",
    prepare: served((scene, asked) => {
      const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, promised(asked));
      scene.defer(() => void server.shutdown());
      return server.addr.port;
    }),
  },
  {
    name: "`Bun.connect`, `socket.write`",
    in: "bun",
    does: "read",
    async prepare(scene) {
      const { path, received, go } = await stalledServer(scene);
      const socket = await Bun.connect({ unix: path, socket: { data() {} } });
      return (array) => {
        const taken = socket.write(array);
        socket.end();
        return { done: received.then((data) => asFarAs(taken, data, scene.original)), go };
      };
    },
  },
  {
    name: "`Deno.Conn.write`",
    in: "deno",
    does: "read",
    async prepare(scene) {
      const { path, received, go } = await stalledServer(scene);
      const connection = await Deno.connect({ transport: "unix", path });
      return (array) => {
        const taken = connection.write(array).then((count) => (connection.close(), count));
        return {
          done: Promise.all([received, taken]).then(([data, count]) => asFarAs(count, data, scene.original)),
          go,
        };
      };
    },
  },
  {
    name: "`Deno.Conn.read`",
    in: "deno",
    does: "write",
    async prepare(scene) {
      const path = join(scene.folder, "socket");
      const accepted = Promise.withResolvers<net.Socket>();
      const server = net.createServer((socket) => accepted.resolve(socket.on("error", () => {})));
      await new Promise<void>((resolve) => server.listen(path, resolve));
      const connection = await Deno.connect({ transport: "unix", path });
      const socket = await accepted.promise;
      scene.defer(() => (connection.close(), socket.destroy(), server.close()));
      return (array) => ({
        done: connection.read(array).then(() => {}),
        go: () => void socket.write(scene.original.slice(0, 65536)),
      });
    },
  },
  {
    name: "`WebSocket.send`",
    does: "read",
    async prepare(scene) {
      const { port, received, go } = await stalledWebSocket(scene);
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
      socket.addEventListener("error", () => {});
      scene.defer(() => socket.close());
      await new Promise((resolve) => socket.addEventListener("open", resolve));
      return (array) => {
        socket.send(array);
        return { done: received(array.length), go };
      };
    },
  },
  // ---------------------------------------------------------------- processes
  {
    name: "`child.stdin.end` of `node:child_process`",
    does: "read",
    neverEnds: ["bun"],
    prepare(scene) {
      const child = spawn("sh", LATE_CAT, { stdio: ["pipe", "pipe", "inherit"] });
      scene.defer(() => child.kill("SIGKILL"));
      const received = bytesOf(child.stdout);
      child.stdin.on("error", () => {});
      return (array) => {
        child.stdin.end(array);
        return { done: received };
      };
    },
  },
  {
    name: "`Bun.spawn({ stdin: array })`",
    in: "bun",
    does: "read",
    prepare: () => (array) => {
      const child = Bun.spawn({ cmd: ["sh", ...LATE_CAT], stdin: array, stdout: "pipe" });
      return { done: bytesOf(child.stdout) };
    },
  },
  {
    name: "`Deno.Command`, `child.stdin`",
    in: "deno",
    does: "read",
    prepare: () => {
      const child = new Deno.Command("sh", { args: LATE_CAT, stdin: "piped", stdout: "piped" }).spawn();
      return (array) => {
        const writer = child.stdin.getWriter();
        const written = writer.write(array).then(() => writer.close());
        return { done: Promise.all([bytesOf(child.stdout), written]).then(([data]) => data) };
      };
    },
  },
  // ---------------------------------------------------------------- copies
  { name: "`new Blob([array])`", does: "read", prepare: () => (array) => ({ done: new Blob([array]).bytes() }) },
  { name: "`new Response(array)`", does: "read", prepare: () => (array) => ({ done: new Response(array).bytes() }) },
  {
    name: "`structuredClone`, `postMessage`, without a transfer",
    does: "read",
    prepare({ defer }) {
      const { port1, port2 } = new MessageChannel();
      defer(() => port1.close());
      return (array) => {
        const got = new Promise<Bytes>((resolve) => port2.onmessage = ({ data }) => resolve(new Uint8Array(data)));
        port1.postMessage(array);
        return { done: got };
      };
    },
  },
  {
    name: "`ReadableStream`, `controller.enqueue`",
    does: "read",
    prepare: () => (array) => {
      const stream = new ReadableStream<Bytes>({
        start(controller) {
          controller.enqueue(array);
          controller.close();
        },
      });
      return { done: bytesOf(stream) };
    },
  },
  {
    name: "`ReadableStream` of bytes, `controller.enqueue`",
    does: "read",
    prepare: () => (array) => {
      const stream = new ReadableStream<Bytes>({
        type: "bytes",
        start(controller) {
          controller.enqueue(array);
          controller.close();
        },
      });
      return { done: bytesOf(stream) };
    },
  },
  {
    name: "streams of `node:stream`",
    does: "read",
    prepare: () => (array) => {
      const parts: Uint8Array[] = [];
      const sink = new Writable({ write: (part: Uint8Array, _, done) => (parts.push(part.slice()), done()) });
      return {
        done: called<void>((done) => Readable.from([array]).pipe(sink).on("finish", () => done(null))).then(() =>
          joined(parts)
        ),
      };
    },
  },
  {
    name: "`WebAssembly.compile`",
    does: "read",
    prepare: ({ original }) => {
      // A module with a custom section that fills the rest of the array.
      const { length } = original;
      const size = length - 13;
      const leb = [0, 1, 2, 3].map((i) => size >>> 7 * i & 0x7f | (i < 3 ? 0x80 : 0));
      return (array) => {
        array.set([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0, ...leb, 4]);
        const done = WebAssembly.compile(array).then((module) => {
          const name = new TextDecoder().decode(original.slice(14, 18));
          const [section] = WebAssembly.Module.customSections(module, name);
          const data = original.slice();
          if (section !== undefined) data.set(new Uint8Array(section), 18);
          else data.fill(0);
          return data;
        });
        return { done };
      };
    },
  },
  // ---------------------------------------------------------------- native code of the caller
  { name: "a native addon (Node-API), on another thread", does: "read", prepare: addonWrite },
  { name: "a nonblocking call of `Deno.dlopen`, `buffer`", in: "deno", does: "read", prepare: ffiWrite("buffer") },
  { name: "a nonblocking call of `Deno.dlopen`, `pointer`", in: "deno", does: "read", prepare: ffiWrite("pointer") },
];

/** The array's bytes if the digest is that of the original. */
function sameDigest(got: ArrayBuffer | Uint8Array, expected: Uint8Array, original: Bytes): Bytes {
  return new Uint8Array(got).join() === new Uint8Array(expected).join() ? original : new Uint8Array(0);
}

/** What a call has sent that says how much it takes, and leaves the rest to its caller: as if that had sent it. */
function asFarAs(taken: number, sent: Bytes, original: Bytes): Bytes {
  return sent.length === taken ? joined([sent, original.subarray(taken)]) : sent;
}

/** A server that takes a WebSocket, and reads its first message when told to. */
async function stalledWebSocket(
  scene: Scene,
): Promise<{ port: number; received: (length: number) => Promise<Bytes>; go: () => void }> {
  const gate = Promise.withResolvers<void>();
  const upgraded = Promise.withResolvers<net.Socket>();
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    scene.defer(() => socket.destroy());
    socket.once("data", (head: Uint8Array) => {
      socket.pause();
      const key = /sec-websocket-key: (.*)\r\n/i.exec(new TextDecoder().decode(head))![1]!;
      const accept = nodeCrypto.createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest(
        "base64",
      );
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
      upgraded.resolve(socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  scene.defer(() => void server.close());
  const received = async (length: number) => {
    const socket = await upgraded.promise;
    await gate.promise;
    let data: Bytes = new Uint8Array(0);
    const parts: Uint8Array[] = [];
    let size = 0;
    await new Promise<void>((resolve) => {
      // Header of 14 bytes: a message of more than 64 KiB, masked, in one frame.
      socket.on(
        "data",
        (part: Uint8Array) => (parts.push(part.slice()), (size += part.length) >= length + 14 && resolve()),
      );
      socket.on("close", () => resolve());
      socket.resume();
    });
    data = joined(parts);
    const mask = data.slice(10, 14);
    return data.slice(14, 14 + length).map((byte, i) => byte ^ mask[i & 3]!);
  };
  return { port: (server.address() as net.AddressInfo).port, received, go: gate.resolve };
}
