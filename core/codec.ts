/**
 * How a message lies in a channel: one byte says what follows, numbers are little-endian.
 *
 *     00 … 7f   the integers 0 to 127            80 … 91   what KIND says, with what follows it
 *     a0 … bf   a string of 0 to 31 ASCII characters        c0 … df   an object of 0 to 31 properties
 *     e0 … ff   an array of 0 to 31 items
 *
 * Not JSON: small messages take half the time, and a number, a Map or a Date arrives as what it was. Only data goes in; what
 * cannot be sent is an error at the sender. What comes out of a channel may be anything, since any process of the user can
 * write there: each length is compared with what is left, and nothing of a message runs.
 */

import { PoolError, quote } from "./errors.ts";
import { DEPTH_MAX, isMap, isPlain, isSet, nestedTooDeeply } from "./walk.ts";

const KIND = {
  null: 0x80,
  undefined: 0x81,
  false: 0x82,
  true: 0x83,
  /** Four bytes. */
  int32: 0x84,
  /** Eight bytes. */
  float64: 0x85,
  /** A length of four bytes, and as many. */
  ascii: 0x86,
  /** A length of four bytes, and as many units of two bytes. */
  utf16: 0x87,
  /** A length of four bytes, and as many items; properties and entries are two items each. */
  array: 0x88,
  object: 0x89,
  map: 0x8a,
  set: 0x8b,
  /** An object without a prototype. */
  bare: 0x8c,
  /** A string of digits. */
  bigint: 0x8d,
  /** Eight bytes: milliseconds. */
  date: 0x8e,
  /** Four bytes: which one of those that come along with the message; and one item that says as what. */
  shared: 0x8f,
  /** An object: what `toJSON()` of a pool, or of an array of another pool, gives. */
  reference: 0x90,
} as const;

const SHORT_STRING = 0xa0;
const SHORT_OBJECT = 0xc0;
const SHORT_ARRAY = 0xe0;
const SHORT_MAX = 31;

/** An array or a channel that goes along with a message: its number among them, and as what it is to arrive. */
export interface Shared {
  readonly index: number;
  readonly as: readonly unknown[] | null;
}

/** What the codec leaves to who sends: things that are more than data. */
export interface Outgoing {
  /** What goes along, or a plain reference to something that does not; undefined: it is neither. */
  encode(value: object): Shared | { readonly reference: object } | undefined;
}

/** What the codec leaves to who receives. */
export interface Incoming {
  /** What came along under that number. */
  shared(index: number, as: unknown): unknown;
  /** What a reference names. */
  reference(value: object): unknown;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Room at the end of the buffer for the fixed part of whatever comes next. */
const SLACK = 16;

/** Encodes into, and decodes from, a buffer of its own, which grows as needed. */
export class Codec {
  bytes: Uint8Array<ArrayBuffer>;
  #view: DataView<ArrayBuffer>;
  #at = 0;
  #end = 0;
  #max = 0;
  #outgoing: Outgoing | undefined;
  #incoming: Incoming | undefined;
  readonly #path: object[] = [];

  constructor(byteLength: number) {
    this.bytes = new Uint8Array(byteLength);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Makes room for `byteLength` bytes, and keeps what is there. */
  reserve(byteLength: number): void {
    if (byteLength <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(byteLength, 2 * this.bytes.length));
    larger.set(this.bytes);
    this.bytes = larger;
    this.#view = new DataView(larger.buffer);
  }

  // ------------------------------------------------------------------ encoding

  /**
   * Encodes a message of at most `max` bytes at the start of the buffer, and returns its length; -1 if it has more.
   * @throws {TypeError} for what cannot be sent. @throws {RangeError} for what is nested too deeply.
   */
  encode(value: unknown, max: number, outgoing: Outgoing): number {
    this.#at = 0;
    this.#max = max;
    this.#outgoing = outgoing;
    try {
      this.#put(value);
      return this.#at > max ? -1 : this.#at;
    } catch (error) {
      if (error === TOO_LONG) return -1;
      throw error;
    } finally {
      this.#path.length = 0;
      this.#outgoing = undefined;
    }
  }

  #room(byteLength: number): void {
    if (this.#at > this.#max) throw TOO_LONG;
    if (this.#at + byteLength + SLACK > this.bytes.length) this.reserve(this.#at + byteLength + SLACK);
  }

  #put(value: unknown): void {
    if (this.#at + SLACK > this.bytes.length) this.#room(0);
    switch (typeof value) {
      case "number":
        return this.#putNumber(value);
      case "string":
        return this.#putString(value);
      case "object":
        if (value !== null) return this.#putObject(value);
        this.bytes[this.#at++] = KIND.null;
        return;
      case "boolean":
        this.bytes[this.#at++] = value ? KIND.true : KIND.false;
        return;
      case "undefined":
        this.bytes[this.#at++] = KIND.undefined;
        return;
      case "bigint":
        this.bytes[this.#at++] = KIND.bigint;
        return this.#putString(String(value));
      default:
        throw new TypeError(`a message holds data, not ${quote(value)}`);
    }
  }

  #putNumber(value: number): void {
    const whole = value | 0;
    if (whole === value && (value !== 0 || 1 / value > 0)) {
      if (whole >= 0 && whole < 128) {
        this.bytes[this.#at++] = whole;
        return;
      }
      this.bytes[this.#at] = KIND.int32;
      this.#view.setInt32(this.#at + 1, whole, true);
      this.#at += 5;
      return;
    }
    this.bytes[this.#at] = KIND.float64;
    this.#view.setFloat64(this.#at + 1, value, true);
    this.#at += 9;
  }

  #putString(text: string): void {
    const { length } = text;
    if (length > SHORT_MAX) return this.#putLongString(text);
    if (this.#at + length + SLACK > this.bytes.length) this.#room(length);
    const { bytes } = this;
    let at = this.#at;
    bytes[at++] = SHORT_STRING + length;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) return this.#putLongString(text);
      bytes[at++] = code;
    }
    this.#at = at;
  }

  #putLongString(text: string): void {
    const { length } = text;
    if (length > this.#max) throw TOO_LONG;
    this.#room(2 * length);
    const from = this.#at + 5;
    // Only of ASCII, as many bytes as characters.
    const { read, written } = encoder.encodeInto(text, this.bytes.subarray(from, from + length));
    if (read === length && written === length) {
      this.#putLength(KIND.ascii, length);
      this.#at += length;
      return;
    }
    this.#putLength(KIND.utf16, length);
    for (let i = 0; i < length; i++) this.#view.setUint16(from + 2 * i, text.charCodeAt(i), true);
    this.#at += 2 * length;
  }

  #putLength(kind: number, length: number): void {
    this.bytes[this.#at] = kind;
    this.#view.setUint32(this.#at + 1, length, true);
    this.#at += 5;
  }

  #putShortLength(short: number, kind: number, length: number): void {
    if (length <= SHORT_MAX) this.bytes[this.#at++] = short + length;
    else this.#putLength(kind, length);
  }

  #putObject(value: object): void {
    const path = this.#path;
    if (path.length === DEPTH_MAX) {
      throw path.includes(value)
        ? new TypeError("the message contains itself: send it without the cycle")
        : nestedTooDeeply();
    }
    if (Array.isArray(value)) {
      path.push(value);
      this.#putShortLength(SHORT_ARRAY, KIND.array, value.length);
      for (let i = 0; i < value.length; i++) this.#put(value[i]);
      path.pop();
      return;
    }
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || isPlain(value)) {
      path.push(value);
      this.#putProperties(value as Record<string, unknown>, prototype === null);
      path.pop();
      return;
    }
    const special = this.#outgoing!.encode(value);
    if (special !== undefined) {
      if ("index" in special) {
        this.#putLength(KIND.shared, special.index);
        return this.#put(special.as);
      }
      this.bytes[this.#at++] = KIND.reference;
      return this.#put(special.reference);
    }
    path.push(value);
    if (isMap(value)) {
      this.#putLength(KIND.map, value.size);
      for (const [key, item] of value) {
        this.#put(key);
        this.#put(item);
      }
    } else if (isSet(value)) {
      this.#putLength(KIND.set, value.size);
      for (const item of value) this.#put(item);
    } else if (value instanceof Date) {
      this.bytes[this.#at] = KIND.date;
      this.#view.setFloat64(this.#at + 1, value.getTime(), true);
      this.#at += 9;
    } else {
      throw new TypeError(unsendable(value));
    }
    path.pop();
  }

  #putProperties(value: Record<string, unknown>, bare: boolean): void {
    const keys = Object.keys(value);
    if (bare) this.#putLength(KIND.bare, keys.length);
    else this.#putShortLength(SHORT_OBJECT, KIND.object, keys.length);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i]!;
      this.#putString(key);
      this.#put(value[key]);
    }
  }

  // ------------------------------------------------------------------ decoding

  /** The message in the first `byteLength` bytes of the buffer. @throws {PoolError} `ERR_CORRUPT_SEGMENT` if it is none. */
  decode(byteLength: number, incoming: Incoming): unknown {
    this.#at = 0;
    this.#end = byteLength;
    this.#incoming = incoming;
    const value = this.#get(0);
    if (this.#at !== byteLength) throw garbled();
    this.#incoming = undefined;
    return value;
  }

  #get(depth: number): unknown {
    const kind = this.bytes[this.#at++]!;
    if (kind < 0x80) return kind;
    if (kind >= SHORT_ARRAY) return this.#getArray(kind - SHORT_ARRAY, depth);
    if (kind >= SHORT_OBJECT) return this.#getProperties({}, kind - SHORT_OBJECT, depth);
    if (kind >= SHORT_STRING) return this.#getShortString(kind - SHORT_STRING, values);
    switch (kind) {
      case KIND.null:
        return null;
      case KIND.undefined:
        return undefined;
      case KIND.false:
        return false;
      case KIND.true:
        return true;
      case KIND.int32:
        return this.#view.getInt32(this.#skip(4), true);
      case KIND.float64:
        return this.#view.getFloat64(this.#skip(8), true);
      case KIND.ascii:
      case KIND.utf16:
        return this.#getLongString(kind);
      case KIND.array:
        return this.#getArray(this.#getLength(1), depth);
      case KIND.object:
        return this.#getProperties({}, this.#getLength(2), depth);
      case KIND.bare:
        return this.#getProperties(Object.create(null), this.#getLength(2), depth);
      case KIND.map: {
        const map = new Map<unknown, unknown>();
        this.#deeper(depth);
        for (let left = this.#getLength(2); left > 0; left--) map.set(this.#get(depth + 1), this.#get(depth + 1));
        return map;
      }
      case KIND.set: {
        const set = new Set<unknown>();
        this.#deeper(depth);
        for (let left = this.#getLength(1); left > 0; left--) set.add(this.#get(depth + 1));
        return set;
      }
      case KIND.bigint: {
        const digits = this.#getString();
        if (!/^-?\d+$/.test(digits)) throw garbled();
        return BigInt(digits);
      }
      case KIND.date:
        return new Date(this.#view.getFloat64(this.#skip(8), true));
      case KIND.shared:
        return this.#incoming!.shared(this.#view.getUint32(this.#skip(4), true), this.#get(this.#deeper(depth)));
      case KIND.reference: {
        this.#deeper(depth);
        const value = this.#get(depth + 1);
        if (typeof value !== "object" || value === null) throw garbled();
        return this.#incoming!.reference(value);
      }
      default:
        throw garbled();
    }
  }

  /** Goes on behind `byteLength` bytes, and returns where they are. */
  #skip(byteLength: number): number {
    const at = this.#at;
    this.#at = at + byteLength;
    if (this.#at > this.#end) throw garbled();
    return at;
  }

  #getLength(itemBytes: number): number {
    const length = this.#view.getUint32(this.#skip(4), true);
    if (length * itemBytes > this.#end - this.#at) throw garbled();
    return length;
  }

  #deeper(depth: number): number {
    if (depth >= DEPTH_MAX || this.#at > this.#end) throw garbled();
    return depth + 1;
  }

  #getArray(length: number, depth: number): unknown[] {
    this.#deeper(depth);
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.#get(depth + 1));
    return array;
  }

  #getProperties(object: Record<string, unknown>, length: number, depth: number): object {
    this.#deeper(depth);
    for (let i = 0; i < length; i++) {
      const key = this.#getKey();
      const value = this.#get(depth + 1);
      if (key !== "__proto__") object[key] = value;
      else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
    }
    return object;
  }

  #getKey(): string {
    const kind = this.bytes[this.#at]!;
    if (kind < SHORT_STRING || kind >= SHORT_OBJECT) return this.#getString();
    this.#at++;
    return this.#getShortString(kind - SHORT_STRING, keys);
  }

  #getString(): string {
    const kind = this.bytes[this.#at++]!;
    if (kind >= SHORT_STRING && kind < SHORT_OBJECT) return this.#getShortString(kind - SHORT_STRING, values);
    if (kind !== KIND.ascii && kind !== KIND.utf16) throw garbled();
    return this.#getLongString(kind);
  }

  /** Most short strings were there before: `known` keeps one for each place, and comparing is faster than making. */
  #getShortString(length: number, known: string[]): string {
    if (length === 0) return "";
    const at = this.#skip(length);
    const { bytes } = this;
    const place = (length * 31 + bytes[at]! * 7 + bytes[at + length - 1]! * 13 + bytes[at + (length >> 1)]!) &
      (KNOWN_MAX - 1);
    const text = known[place]!;
    if (text.length === length) {
      let i = 0;
      while (i < length && text.charCodeAt(i) === bytes[at + i]) i++;
      if (i === length) return text;
    }
    return known[place] = makeShortString(bytes, at, length);
  }

  #getLongString(kind: number): string {
    const length = this.#getLength(kind === KIND.ascii ? 1 : 2);
    if (kind === KIND.ascii) {
      const at = this.#skip(length);
      return decoder.decode(this.bytes.subarray(at, at + length));
    }
    const at = this.#skip(2 * length);
    let text = "";
    for (let from = 0; from < length; from += CHUNK) {
      const units: number[] = [];
      for (let i = from; i < Math.min(length, from + CHUNK); i++) units.push(this.#view.getUint16(at + 2 * i, true));
      text += String.fromCharCode(...units);
    }
    return text;
  }
}

const CHUNK = 4096;
const KNOWN_MAX = 512;
const keys: string[] = new Array(KNOWN_MAX).fill("");
const values: string[] = new Array(KNOWN_MAX).fill("");

function makeShortString(bytes: Uint8Array, at: number, length: number): string {
  let text = "";
  for (let i = at; i < at + length; i++) {
    if (bytes[i]! > 127) throw garbled();
    text += String.fromCharCode(bytes[i]!);
  }
  return text;
}

const TOO_LONG = Symbol("too long");

/** For a message that is none. */
export function garbled(): PoolError {
  return new PoolError(
    "ERR_CORRUPT_SEGMENT",
    "a message in the channel is not as it was sent: something else writes into the pool. End the programs that use it, and create it anew",
  );
}

function unsendable(value: object): string {
  const name = value.constructor?.name ?? "object";
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer
    ? `a message holds arrays of a pool, not this ${name}: copy it in with pool.from() first`
    : `a message holds plain data, no object of class ${name}: send its properties`;
}
