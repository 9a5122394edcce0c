/**
 * ARRAYPOOL_TRACE=1, seen from other processes: where a member took hold of the arrays that it holds now, and when.
 *
 * It stands in the pool itself, in a block that the member holds as any other: so it is gone with the member, however that
 * ends. Each member writes its own, and `arraypool leaks` reads it without joining. It is bounded: what does not fit is
 * counted, and nothing else.
 *
 *     0                  magic, version, how many places and records there can be, places in use, records that did not fit
 *     64                 places: stack traces, each once, at most 1 KiB of text
 *     after the places   records: block, place + 1 (0: vacant), generation, since when
 *
 * A record is whole once its place is there, which is written last and removed first. Its reader compares block and
 * generation with the pool's table, so a record that was torn by a death, or is older than its block, names nothing.
 */

import { AP_RECORD_ADDRESS, AP_RECORD_LENGTH } from "./abi.ts";
import type { Hold } from "./hold.ts";
import { native, type Pointer } from "./native.ts";

const MAGIC = 0x6370_7274; // "trpc"
const VERSION = 1;
const HEADER_BYTES = 64;
const PLACE_BYTES = 1024;
const RECORD_BYTES = 24;
const MOST_BYTES = 512 * 1024;

// Header
const MAGIC_AT = 0;
const VERSION_AT = 4;
const PLACES_MAX_AT = 8;
const RECORDS_MAX_AT = 12;
const PLACES_USED_AT = 16;
const LEFT_OUT_AT = 20;
// Record
const BLOCK_AT = 0;
const PLACE_AT = 4;
const GENERATION_AT = 8;
const SINCE_AT = 16;

/** Where the log of a member has what. */
function partsOf(bytes: number): { placesMax: number; recordsMax: number; recordsAt: number } {
  const placesMax = Math.floor((bytes - HEADER_BYTES) / 2 / PLACE_BYTES);
  const recordsAt = HEADER_BYTES + placesMax * PLACE_BYTES;
  return { placesMax, recordsMax: Math.floor((bytes - recordsAt) / RECORD_BYTES), recordsAt };
}

/** The log that a member writes. */
export class TraceLog {
  readonly #buffer: ArrayBuffer;
  readonly #view: DataView;
  readonly #recordsAt: number;
  readonly #placesMax: number;
  readonly #recordsMax: number;
  readonly #places = new Map<string, number>();
  readonly #vacant: number[] = [];
  #used = 0;
  #leftOut = 0;

  /** Undefined when the pool has no room for it. */
  static open(pool: Pointer, capacityBytes: number): TraceLog | undefined {
    const { library, address, buffer } = native();
    const bytes = Math.min(MOST_BYTES, Math.floor(capacityBytes / 64 / 1024) * 1024);
    if (library.ap_trace_open(pool, bytes) < 0) return undefined;
    const record = new Float64Array(buffer(address(library.ap_pool_record(pool)), AP_RECORD_LENGTH * 8, 0));
    return new TraceLog(buffer(record[AP_RECORD_ADDRESS]!, bytes, 0));
  }

  private constructor(buffer: ArrayBuffer) {
    this.#buffer = buffer;
    this.#view = new DataView(buffer);
    const { placesMax, recordsMax, recordsAt } = partsOf(buffer.byteLength);
    this.#placesMax = placesMax;
    this.#recordsMax = recordsMax;
    this.#recordsAt = recordsAt;
    this.#set(VERSION_AT, VERSION);
    this.#set(PLACES_MAX_AT, placesMax);
    this.#set(RECORDS_MAX_AT, recordsMax);
    this.#set(MAGIC_AT, MAGIC);
  }

  #set(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  /** Writes that `hold` was taken at `stack`. */
  add(hold: Hold, stack: string): void {
    const place = this.#placeOf(stack);
    const record = place === undefined ? undefined : this.#vacant.pop() ?? this.#fresh();
    if (record === undefined) return this.#set(LEFT_OUT_AT, ++this.#leftOut);
    const at = this.#recordsAt + record * RECORD_BYTES;
    this.#set(at + BLOCK_AT, hold.block);
    this.#view.setFloat64(at + GENERATION_AT, hold.generation, true);
    this.#view.setFloat64(at + SINCE_AT, Date.now(), true);
    this.#set(at + PLACE_AT, place! + 1);
    hold.traced = record;
  }

  /** The hold has ended. */
  remove(hold: Hold): void {
    if (hold.traced < 0) {
      if (this.#leftOut > 0) this.#set(LEFT_OUT_AT, --this.#leftOut);
      return;
    }
    this.#set(this.#recordsAt + hold.traced * RECORD_BYTES + PLACE_AT, 0);
    this.#vacant.push(hold.traced);
    hold.traced = -1;
  }

  #fresh(): number | undefined {
    return this.#used < this.#recordsMax ? this.#used++ : undefined;
  }

  #placeOf(stack: string): number | undefined {
    const known = this.#places.get(stack);
    if (known !== undefined) return known;
    const place = this.#places.size;
    if (place >= this.#placesMax) return undefined;
    const at = HEADER_BYTES + place * PLACE_BYTES;
    const room = new Uint8Array(this.#buffer, at + 4, PLACE_BYTES - 4);
    this.#set(at, new TextEncoder().encodeInto(stack, room).written);
    this.#places.set(stack, place);
    this.#set(PLACES_USED_AT, this.#places.size);
    return place;
  }

  /** The pool's memory goes away. */
  close(): void {
    this.#buffer.transfer(0);
  }
}

/** One hold of a traced member. */
export interface Traced {
  readonly block: number;
  readonly generation: number;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** One call a line, the innermost first. */
  readonly stack: string;
}

/** What a log says, whatever stands in it; `leftOut`: how many more holds there are. */
export function readTraceLog(bytes: Uint8Array): { readonly holds: readonly Traced[]; readonly leftOut: number } {
  const holds: Traced[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES) return { holds, leftOut: 0 };
  if (view.getUint32(MAGIC_AT, true) !== MAGIC || view.getUint32(VERSION_AT, true) !== VERSION) {
    return { holds, leftOut: 0 };
  }
  const { placesMax, recordsMax, recordsAt } = partsOf(bytes.length);
  const texts = new Map<number, string>();
  const textAt = (place: number): string | undefined => {
    if (place < 0 || place >= placesMax) return undefined;
    const known = texts.get(place);
    if (known !== undefined) return known;
    const at = HEADER_BYTES + place * PLACE_BYTES;
    const length = Math.min(view.getUint32(at, true), PLACE_BYTES - 4);
    const text = new TextDecoder().decode(bytes.subarray(at + 4, at + 4 + length));
    texts.set(place, text);
    return text;
  };
  for (let i = 0; i < recordsMax; i++) {
    const at = recordsAt + i * RECORD_BYTES;
    const stack = textAt(view.getUint32(at + PLACE_AT, true) - 1);
    if (stack === undefined) continue;
    holds.push({
      block: view.getUint32(at + BLOCK_AT, true),
      generation: view.getFloat64(at + GENERATION_AT, true),
      since: view.getFloat64(at + SINCE_AT, true),
      stack,
    });
  }
  return { holds, leftOut: view.getUint32(LEFT_OUT_AT, true) };
}
