/** What is sent to a child process by `ipc.ts`, for each way in the form that suits it best, and what it is to answer. */

import { pack, type SharedArray } from "../mod.ts";
import { HEAD_BYTES } from "./channels.ts";

/** The answer of a child: of doubles at the beginning, in the middle and at the end, so that all must have arrived. */
export function sumOfFew(numbers: ArrayLike<number>): number {
  return numbers[0]! + numbers[numbers.length >> 1]! + numbers[numbers.length - 1]!;
}

/** The same doubles, once in the pool and once in ordinary memory. */
export class Doubles {
  readonly shared: SharedArray<Float64Array>;
  readonly plain: Float64Array;
  readonly #frame: Uint8Array;
  #count = 0;

  /** Takes `shared` and fills it. */
  constructor(shared: SharedArray<Float64Array>) {
    this.shared = shared;
    const frame = new ArrayBuffer(HEAD_BYTES + shared.byteLength);
    new Float64Array(frame)[0] = shared.byteLength;
    this.#frame = new Uint8Array(frame);
    this.plain = new Float64Array(frame, HEAD_BYTES);
    const random = Float64Array.from({ length: Math.min(shared.length, 2 ** 17) }, Math.random);
    for (let i = 0; i < shared.length; i += random.length) this.plain.set(random, i);
    shared.set(this.plain);
  }

  /** Changes them, so that an answer to an older request is wrong. Returns the right one. */
  change(): number {
    this.shared[0] = this.plain[0] = ++this.#count;
    return sumOfFew(this.plain);
  }

  message = (): object => ({ numbers: this.plain });
  // JSON knows no Float64Array.
  jsonMessage = (): object => ({ numbers: Array.from(this.plain) });
  frame = (): Uint8Array => this.#frame;

  packed = (): object => pack({ numbers: this.shared });
  packedFrame = (): Uint8Array => {
    const text = JSON.stringify(pack({ numbers: this.shared }));
    const frame = new Uint8Array(HEAD_BYTES + text.length);
    new Float64Array(frame.buffer, 0, 1)[0] = new TextEncoder().encodeInto(text, frame.subarray(HEAD_BYTES)).written;
    return frame;
  };
}
