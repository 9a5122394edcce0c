/**
 * The child process of `channels.ts`: reads requests as they come over its way, and answers each with the sum of a few of
 * the doubles that it was sent.
 *
 *     channels_child.ts messages|stdin|socket|file|thread|channel  READS  [path of the socket, or the channels]
 */

import { readFileSync, readSync, writeSync } from "node:fs";
import { createConnection } from "node:net";
import process from "node:process";
import { parentPort } from "node:worker_threads";
import { type Channel, unpack } from "../mod.ts";
import { HEAD_BYTES, type Reads } from "./channels.ts";
import { sumOfFew } from "./requests.ts";

type Message = { numbers: ArrayLike<number> };

const [way, reads, path] = process.argv.slice(2) as [string, Reads, string?];
/** Of the largest frame. */
const BYTES_MAX = 2 ** 30;
/** Some 1 GB in either runtime. */
const HEAP_OBJECTS = 10_000_000;

const sumOf = (message: Message) => reads === "doubles" ? sumOfFew(message.numbers) : sumInPool(message);

function answerMessages(): void {
  process.on("message", (message: Message) => void process.send!(sumOf(message)));
  process.on("disconnect", () => process.exit());
}

function answerThread(): void {
  parentPort!.on("message", (message: Message) => parentPort!.postMessage(sumOf(message)));
}

function answerFile(): void {
  const { Bun } = globalThis as unknown as { Bun?: { mmap(path: string): Uint8Array<ArrayBuffer> } };
  process.on("message", ({ path, bytes }: { path: string; bytes: number }) => {
    const frame = Bun === undefined ? readFileSync(path) : Bun.mmap(path);
    const numbers = new Float64Array(frame.buffer, frame.byteOffset + HEAD_BYTES, bytes / 8 - 1);
    process.send!(sumOfFew(numbers));
  });
  process.on("disconnect", () => process.exit());
}

function answerChannel(packed: string): void {
  const { requests, answers } = unpack<{ requests: Channel<Message>; answers: Channel<number> }>(JSON.parse(packed));
  for (const job of requests) {
    answers.send(sumOfFew(job.numbers));
    job[Symbol.dispose]();
  }
}

function answerStdin(): void {
  const frames = new Frames();
  while (true) {
    const length = read(frames.room());
    if (length === 0) process.exit();
    const answer = frames.take(length);
    if (answer !== undefined) writeSync(1, answer);
  }
}

/** Waits for bytes; also where the runtime's pipes do not block. */
function read(room: Uint8Array): number {
  while (true) {
    try {
      return readSync(0, room, 0, room.length, null);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
    }
  }
}

function answerSocket(path: string): void {
  const frames = new Frames();
  const socket = createConnection(path);
  socket.on("data", (bytes: Uint8Array) => {
    frames.room().set(bytes);
    const answer = frames.take(bytes.length);
    if (answer !== undefined) socket.write(answer.slice());
  });
  socket.on("close", () => process.exit());
}

function sumInPool(message: unknown): number {
  using job = unpack<{ numbers: Float64Array }>(message);
  return sumOfFew(job.numbers);
}

/** Collects the bytes of one frame, where they stay, aligned for doubles. */
class Frames {
  // As long as the longest frame; what is not written to takes no memory.
  readonly #bytes = new Uint8Array(HEAD_BYTES + BYTES_MAX);
  readonly #doubles = new Float64Array(this.#bytes.buffer);
  readonly #answer = new Float64Array(1);
  readonly #text = new TextDecoder();
  #got = 0;

  /** Where the next bytes go. */
  room(): Uint8Array {
    return this.#bytes.subarray(this.#got);
  }

  /** Takes note of `length` new bytes; returns the answer when the frame is complete. */
  take(length: number): Uint8Array | undefined {
    this.#got += length;
    if (this.#got < HEAD_BYTES || this.#got < HEAD_BYTES + this.#doubles[0]!) return undefined;
    const end = this.#got;
    this.#got = 0;
    this.#answer[0] = reads === "doubles"
      ? sumOfFew(this.#doubles.subarray(1, end / 8))
      : sumInPool(JSON.parse(this.#text.decode(this.#bytes.subarray(HEAD_BYTES, end))));
    return new Uint8Array(this.#answer.buffer);
  }
}

const heap: object[] = [];
if (reads === "pool beside a heap") {
  for (let i = 0; i < HEAP_OBJECTS; i++) heap.push({ i, half: i / 2, next: heap[i - 1] });
}

if (way === "messages") answerMessages();
else if (way === "stdin") answerStdin();
else if (way === "socket") answerSocket(path!);
else if (way === "file") answerFile();
else if (way === "thread") answerThread();
else answerChannel(path!);
