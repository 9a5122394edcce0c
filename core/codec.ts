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
import { cyclic, DEPTH_MAX, isContainer, isMap, isPlain, isSet, Message, nestedTooDeeply } from "./walk.ts";

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

/** What the codec leaves to who sends: things that are more than data. Made when there is one: most messages have none. */
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

/**
 * Where the messages of a realm are encoded and decoded: a constant, so that an engine has its address and length in its code. The
 * usual properties of an object are written and read without a call for each only there. Twice what a message may have by default,
 * since a string is given room for two bytes a character; memory, the system gives to what of it is in use.
 */
export const HOME: Uint8Array<ArrayBuffer> = new Uint8Array(2 << 20);
const HOME_VIEW = new DataView(HOME.buffer);
/** Up to there, a short key and a short value fit. */
const HOME_END = HOME.length - 2 * (1 + SHORT_MAX) - SLACK;

/**
 * Encodes into, and decodes from, a buffer of its own, and a larger one for what does not fit.
 *
 * Its fields are private by TypeScript alone, and where the next byte goes is handed on as `at`: with `#` names a small message
 * took twice as long to encode in Deno, and half as long again in Bun.
 */
export class Codec<O extends Outgoing = Outgoing> {
  /** Where the message is. */
  bytes: Uint8Array<ArrayBuffer>;
  private view: DataView<ArrayBuffer>;
  private readonly first: Uint8Array<ArrayBuffer>;
  private readonly firstView: DataView<ArrayBuffer>;
  private larger: Uint8Array<ArrayBuffer>;
  private max = 0;
  /** What goes along with what was encoded; undefined: nothing. */
  outgoing: O | undefined;
  private open: (() => O) | undefined;
  private incoming: Incoming | undefined;
  // Of what is decoded: the next byte, and the first that is none of it.
  private at = 0;
  private end = 0;

  constructor(first: Uint8Array<ArrayBuffer>) {
    this.bytes = this.first = this.larger = first;
    this.view = this.firstView = first === HOME ? HOME_VIEW : new DataView(first.buffer);
  }

  /** The buffer for another message. */
  begin(): Uint8Array<ArrayBuffer> {
    if (this.bytes !== this.first) {
      this.bytes = this.first;
      this.view = this.firstView;
    }
    return this.bytes;
  }

  /** Makes room for `byteLength` bytes, and keeps the first `used`. */
  reserve(byteLength: number, used: number): void {
    if (byteLength <= this.bytes.length) return;
    const before = this.bytes;
    if (byteLength > this.larger.length) this.larger = new Uint8Array(Math.max(byteLength, 2 * this.larger.length));
    this.bytes = this.larger;
    this.view = new DataView(this.bytes.buffer);
    this.bytes.set(before.subarray(0, used));
  }

  // ------------------------------------------------------------------ encoding: each puts something at `at`, and returns its end

  /**
   * Encodes a message of at most `max` bytes at the start of the buffer, and returns its length; -1 if it has more.
   * @throws {TypeError} for what cannot be sent. @throws {RangeError} for what is nested too deeply.
   */
  encode(value: unknown, max: number, open: () => O): number {
    this.begin();
    this.max = max;
    this.open = open;
    this.outgoing = undefined;
    try {
      const end = this.put(value, 0, 0);
      this.open = undefined;
      return end > max ? -1 : end;
    } catch (error) {
      this.open = undefined;
      if (error === TOO_LONG) return -1;
      if (error !== TOO_DEEP) throw error;
      throw containsItself(value) ? cyclic() : nestedTooDeeply();
    }
  }

  private room(at: number, byteLength: number): void {
    if (at > this.max) throw TOO_LONG;
    this.reserve(at + byteLength + SLACK, at);
  }

  private put(value: unknown, at: number, depth: number): number {
    if (at + SLACK > this.bytes.length) this.room(at, 0);
    switch (typeof value) {
      case "number":
        return this.putNumber(value, at);
      case "string":
        return this.putString(value, at);
      case "object":
        if (value !== null) return this.putObject(value, at, depth);
        this.bytes[at] = KIND.null;
        return at + 1;
      case "boolean":
        this.bytes[at] = value ? KIND.true : KIND.false;
        return at + 1;
      case "undefined":
        this.bytes[at] = KIND.undefined;
        return at + 1;
      case "bigint":
        this.bytes[at] = KIND.bigint;
        return this.putString(String(value), at + 1);
      default:
        throw new TypeError(`a message holds data, not ${quote(value)}`);
    }
  }

  private putNumber(value: number, at: number): number {
    const whole = value | 0;
    if (whole === value && (value !== 0 || 1 / value > 0)) {
      if (whole >= 0 && whole < 128) {
        this.bytes[at] = whole;
        return at + 1;
      }
      this.bytes[at] = KIND.int32;
      this.view.setInt32(at + 1, whole, true);
      return at + 5;
    }
    this.bytes[at] = KIND.float64;
    this.view.setFloat64(at + 1, value, true);
    return at + 9;
  }

  private putString(text: string, at: number): number {
    const { length } = text;
    if (length > SHORT_MAX) return this.putLongString(text, at);
    if (at + length + SLACK > this.bytes.length) this.room(at, length);
    const { bytes } = this;
    bytes[at] = SHORT_STRING + length;
    const from = at + 1;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127) return this.putLongString(text, at);
      bytes[from + i] = code;
    }
    return from + length;
  }

  private putLongString(text: string, at: number): number {
    const { length } = text;
    if (length > this.max) throw TOO_LONG;
    this.room(at, 2 * length);
    const from = at + 5;
    // Only ASCII fits there.
    const { read } = encoder.encodeInto(text, this.bytes.subarray(from, from + length));
    if (read === length) return this.putLength(KIND.ascii, length, at) + length;
    this.putLength(KIND.utf16, length, at);
    for (let i = 0; i < length; i++) this.view.setUint16(from + 2 * i, text.charCodeAt(i), true);
    return from + 2 * length;
  }

  private putLength(kind: number, length: number, at: number): number {
    this.bytes[at] = kind;
    this.view.setUint32(at + 1, length, true);
    return at + 5;
  }

  private putObject(value: object, at: number, depth: number): number {
    if (depth === DEPTH_MAX) throw TOO_DEEP;
    if (Array.isArray(value)) return this.putArray(value, at, depth + 1);
    const prototype = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || isPlain(value)) {
      return prototype === null
        ? this.putBare(value as Record<string, unknown>, at, depth + 1)
        : this.putProperties(value as Record<string, unknown>, prototype, at, depth + 1);
    }
    const special = (this.outgoing ??= this.open!()).encode(value);
    if (special === undefined) return this.putOther(value, at, depth + 1);
    // One deeper, as it is decoded.
    if ("index" in special) return this.put(special.as, this.putLength(KIND.shared, special.index, at), depth + 1);
    this.bytes[at] = KIND.reference;
    return this.put(special.reference, at + 1, depth + 1);
  }

  private putArray(value: readonly unknown[], at: number, depth: number): number {
    const { length } = value;
    if (length > SHORT_MAX) at = this.putLength(KIND.array, length, at);
    else this.bytes[at++] = SHORT_ARRAY + length;
    for (let i = 0; i < length; i++) at = this.put(value[i], at, depth);
    return at;
  }

  private putProperties(value: Record<string, unknown>, prototype: object, at: number, depth: number): number {
    // for-in is the fastest way by far, where only own properties come.
    for (const _ in prototype) return this.putKeys(Object.keys(value), value, at, depth);
    const head = at++;
    let count = 0;
    for (const key in value) {
      const item = value[key];
      count++;
      const keyEnd = at < HOME_END && this.bytes === HOME ? putHomeString(key, at) : NOT_SHORT;
      if (keyEnd === NOT_SHORT) at = this.putString(key, at);
      else {
        at = keyEnd;
        // What most values are, here and now; all else as anywhere.
        if (typeof item === "number") {
          const whole = item | 0;
          if (whole === item && (item !== 0 || 1 / item > 0)) {
            if (whole >= 0 && whole < 128) HOME[at++] = whole;
            else {
              HOME[at] = KIND.int32;
              HOME_VIEW.setInt32(at + 1, whole, true);
              at += 5;
            }
            continue;
          }
        } else if (typeof item === "string") {
          const itemEnd = putHomeString(item, at);
          if (itemEnd !== NOT_SHORT) {
            at = itemEnd;
            continue;
          }
        }
      }
      at = this.put(item, at, depth);
    }
    if (count > SHORT_MAX) return this.putCount(head, count, at);
    this.bytes[head] = SHORT_OBJECT + count;
    return at;
  }

  /**
   * For properties that are there already, and more than their first byte can say. They make room for it: put once more, those
   * of objects in such objects would be put twice as often at each level.
   */
  private putCount(head: number, count: number, end: number): number {
    this.room(end, 4);
    this.bytes.copyWithin(head + 5, head + 1, end);
    this.putLength(KIND.object, count, head);
    return end + 4;
  }

  private putKeys(keys: string[], value: Record<string, unknown>, at: number, depth: number): number {
    at = this.putLength(KIND.object, keys.length, at);
    for (const key of keys) at = this.put(value[key], this.putString(key, at), depth);
    return at;
  }

  private putBare(value: Record<string, unknown>, at: number, depth: number): number {
    const end = this.putKeys(Object.keys(value), value, at, depth);
    this.bytes[at] = KIND.bare;
    return end;
  }

  private putOther(value: object, at: number, depth: number): number {
    // How many there are is known at the end: a getter in one of them may add others.
    let count = 0;
    if (isMap(value)) {
      let end = this.putLength(KIND.map, 0, at);
      for (const [key, item] of value) {
        end = this.put(item, this.put(key, end, depth), depth);
        count++;
      }
      this.putLength(KIND.map, count, at);
      return end;
    }
    if (isSet(value)) {
      let end = this.putLength(KIND.set, 0, at);
      for (const item of value) {
        end = this.put(item, end, depth);
        count++;
      }
      this.putLength(KIND.set, count, at);
      return end;
    }
    if (!(value instanceof Date)) throw new TypeError(unsendable(value));
    this.bytes[at] = KIND.date;
    this.view.setFloat64(at + 1, value.getTime(), true);
    return at + 9;
  }

  // ------------------------------------------------------------------ decoding

  /**
   * The message in the first `byteLength` bytes of the buffer. If it is an object, it is a `Message`.
   * @throws {PoolError} `ERR_CORRUPT_SEGMENT` if it is none.
   */
  decode(byteLength: number, incoming: Incoming): unknown {
    this.at = 0;
    this.end = byteLength;
    this.incoming = incoming;
    const kind = this.bytes[0]!;
    let value: unknown;
    if (kind >= SHORT_OBJECT && kind < SHORT_ARRAY) {
      this.at = 1;
      value = this.getProperties(new Message(), kind - SHORT_OBJECT, 0);
    } else if (kind === KIND.object) {
      this.at = 1;
      value = this.getProperties(new Message(), this.getLength(2), 0);
    } else value = this.get(0);
    if (this.at !== byteLength) throw garbled();
    this.incoming = undefined;
    return value;
  }

  private get(depth: number): unknown {
    const kind = this.bytes[this.at++]!;
    if (kind < 0x80) return kind;
    if (kind >= SHORT_ARRAY) return this.getArray(kind - SHORT_ARRAY, depth);
    if (kind >= SHORT_OBJECT) return this.getProperties({}, kind - SHORT_OBJECT, depth);
    if (kind >= SHORT_STRING) return this.getShortString(kind - SHORT_STRING, values);
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
        return this.view.getInt32(this.skip(4), true);
      case KIND.float64:
        return this.view.getFloat64(this.skip(8), true);
      case KIND.ascii:
      case KIND.utf16:
        return this.getLongString(kind);
      case KIND.array:
        return this.getArray(this.getLength(1), depth);
      case KIND.object:
        return this.getProperties({}, this.getLength(2), depth);
      case KIND.bare:
        return this.getProperties(Object.create(null), this.getLength(2), depth);
      case KIND.map: {
        const map = new Map<unknown, unknown>();
        this.deeper(depth);
        for (let left = this.getLength(2); left > 0; left--) map.set(this.get(depth + 1), this.get(depth + 1));
        return map;
      }
      case KIND.set: {
        const set = new Set<unknown>();
        this.deeper(depth);
        for (let left = this.getLength(1); left > 0; left--) set.add(this.get(depth + 1));
        return set;
      }
      case KIND.bigint: {
        const digits = this.getString();
        if (!/^-?\d+$/.test(digits)) throw garbled();
        return BigInt(digits);
      }
      case KIND.date:
        return new Date(this.view.getFloat64(this.skip(8), true));
      case KIND.shared:
        return this.incoming!.shared(this.view.getUint32(this.skip(4), true), this.get(this.deeper(depth)));
      case KIND.reference: {
        this.deeper(depth);
        const value = this.get(depth + 1);
        if (typeof value !== "object" || value === null) throw garbled();
        return this.incoming!.reference(value);
      }
      default:
        throw garbled();
    }
  }

  /** Goes on behind `byteLength` bytes, and returns where they are. */
  private skip(byteLength: number): number {
    const at = this.at;
    this.at = at + byteLength;
    if (this.at > this.end) throw garbled();
    return at;
  }

  private getLength(itemBytes: number): number {
    const length = this.view.getUint32(this.skip(4), true);
    if (length * itemBytes > this.end - this.at) throw garbled();
    return length;
  }

  private deeper(depth: number): number {
    if (depth >= DEPTH_MAX || this.at > this.end) throw garbled();
    return depth + 1;
  }

  private getArray(length: number, depth: number): unknown[] {
    this.deeper(depth);
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.get(depth + 1));
    return array;
  }

  private getProperties(object: Record<string, unknown>, length: number, depth: number): object {
    this.deeper(depth);
    if (this.bytes !== HOME) return this.getPropertiesElsewhere(object, length, depth);
    // Up to there, whatever is looked at together is in HOME.
    const last = Math.min(this.end, HOME.length - 8);
    let at = this.at;
    const { words: keyWords, short: keyTexts } = keys;
    const { words: valueWords, short: valueTexts } = values;
    for (let i = 0; i < length; i++) {
      // As shortString() does it, twice: as calls they would take Bun half as long again as all the rest.
      let key: string;
      const keyBytes = HOME[at]! - SHORT_STRING;
      if (keyBytes > 0 && keyBytes < 8 && at + keyBytes < last) {
        const first = HOME_VIEW.getInt32(at, true) & FIRST[keyBytes]!;
        const second = HOME_VIEW.getInt32(at + 4, true) & SECOND[keyBytes]!;
        const place = placeOf(first, second);
        key = keyWords[2 * place] === first && keyWords[2 * place + 1] === second
          ? keyTexts[place]!
          : learn(HOME, at, keyBytes, first, second, place, keys);
        at += keyBytes + 1;
      } else {
        this.at = at;
        key = this.getKey();
        at = this.at;
      }
      // What most values are, here and now; all else, and what is not all there, as anywhere.
      let value: unknown;
      const kind = HOME[at]!;
      if (kind < 0x80 && at < last) {
        value = kind;
        at++;
      } else if (kind === KIND.int32 && at + 4 < last) {
        value = HOME_VIEW.getInt32(at + 1, true);
        at += 5;
      } else if (kind > SHORT_STRING && kind < SHORT_STRING + 8 && at + kind - SHORT_STRING < last) {
        const textBytes = kind - SHORT_STRING;
        const first = HOME_VIEW.getInt32(at, true) & FIRST[textBytes]!;
        const second = HOME_VIEW.getInt32(at + 4, true) & SECOND[textBytes]!;
        const place = placeOf(first, second);
        value = valueWords[2 * place] === first && valueWords[2 * place + 1] === second
          ? valueTexts[place]!
          : learn(HOME, at, textBytes, first, second, place, values);
        at += textBytes + 1;
      } else {
        this.at = at;
        value = this.get(depth + 1);
        at = this.at;
      }
      setAt(object, i, key, value);
    }
    this.at = at;
    return object;
  }

  private getPropertiesElsewhere(object: Record<string, unknown>, length: number, depth: number): object {
    for (let i = 0; i < length; i++) setAt(object, i, this.getKey(), this.get(depth + 1));
    return object;
  }

  private getKey(): string {
    const kind = this.bytes[this.at]!;
    if (kind < SHORT_STRING || kind >= SHORT_OBJECT) return this.getString();
    this.at++;
    return this.getShortString(kind - SHORT_STRING, keys);
  }

  private getString(): string {
    const kind = this.bytes[this.at++]!;
    if (kind >= SHORT_STRING && kind < SHORT_OBJECT) return this.getShortString(kind - SHORT_STRING, values);
    if (kind !== KIND.ascii && kind !== KIND.utf16) throw garbled();
    return this.getLongString(kind);
  }

  /** Most short strings were there before: `known` keeps one for each place, and comparing is faster than making. */
  private getShortString(length: number, known: Known): string {
    if (length === 0) return "";
    const at = this.skip(length);
    const { bytes } = this;
    if (length > 7 || at + 7 > bytes.length) return this.getLongerString(at, length, known);
    return shortString(bytes, this.view, at - 1, length, known);
  }

  private getLongerString(at: number, length: number, known: Known): string {
    const { bytes } = this;
    const place = (length * 31 + bytes[at]! * 7 + bytes[at + length - 1]! * 13 + bytes[at + (length >> 1)]!) &
      (KNOWN_MAX - 1);
    const text = known.longer[place]!;
    if (text.length === length) {
      let i = 0;
      while (i < length && text.charCodeAt(i) === bytes[at + i]) i++;
      if (i === length) return text;
    }
    return known.longer[place] = makeShortString(bytes, at, length, known);
  }

  private getLongString(kind: number): string {
    const length = this.getLength(kind === KIND.ascii ? 1 : 2);
    if (kind === KIND.ascii) {
      const at = this.skip(length);
      return decoder.decode(this.bytes.subarray(at, at + length));
    }
    const at = this.skip(2 * length);
    let text = "";
    for (let from = 0; from < length; from += CHUNK) {
      const units: number[] = [];
      for (let i = from; i < Math.min(length, from + CHUNK); i++) units.push(this.view.getUint16(at + 2 * i, true));
      text += String.fromCharCode(...units);
    }
    return text;
  }
}

const PROTO = "__proto__";

/** Each of the first properties has a line of its own, at which an engine then finds the same key message after message. */
function setAt(object: Record<string, unknown>, index: number, key: string, value: unknown): void {
  // To compare them takes longer than to look how long they are.
  if (key.length === PROTO.length && key === PROTO) {
    define(object, key, value);
    return;
  }
  try {
    if (index === 0) object[key] = value;
    else if (index === 1) object[key] = value;
    else if (index === 2) object[key] = value;
    else if (index === 3) object[key] = value;
    else object[key] = value;
  } catch {
    define(object, key, value); // Object.prototype is frozen, and has a property of that name
  }
}

function define(object: object, key: string, value: unknown): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

const CHUNK = 4096;
const KNOWN_BITS = 9;
const KNOWN_MAX = 1 << KNOWN_BITS;

/** Strings that came: of up to 7 characters, with the words that say so; and longer ones. */
class Known {
  readonly words = new Int32Array(2 * KNOWN_MAX);
  readonly short: string[] = new Array(KNOWN_MAX).fill("");
  readonly longer: string[] = new Array(KNOWN_MAX).fill("");
}
const keys = new Known();
const values = new Known();

// Of a string of so many characters with its length, in two words: which of their bits count.
const FIRST = Int32Array.of(0xff, 0xffff, 0xffffff, -1, -1, -1, -1, -1);
const SECOND = Int32Array.of(0, 0, 0, 0, 0xff, 0xffff, 0xffffff, -1);

function placeOf(first: number, second: number): number {
  return (Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)) >>> (32 - KNOWN_BITS);
}

/** Of 1 to 7 characters; its length at `at`. */
function shortString(bytes: Uint8Array, view: DataView, at: number, length: number, known: Known): string {
  const first = view.getInt32(at, true) & FIRST[length]!;
  const second = view.getInt32(at + 4, true) & SECOND[length]!;
  const place = placeOf(first, second);
  const { words, short } = known;
  return words[2 * place] === first && words[2 * place + 1] === second
    ? short[place]!
    : learn(bytes, at, length, first, second, place, known);
}

function learn(
  bytes: Uint8Array,
  at: number,
  length: number,
  first: number,
  second: number,
  place: number,
  known: Known,
): string {
  const text = makeShortString(bytes, at + 1, length, known);
  known.words[2 * place] = first;
  known.words[2 * place + 1] = second;
  return known.short[place] = text;
}

function makeShortString(bytes: Uint8Array, at: number, length: number, known: Known): string {
  let text = "";
  for (let i = at; i < at + length; i++) {
    if (bytes[i]! > 127) throw garbled();
    text += String.fromCharCode(bytes[i]!);
  }
  if (known === values) return text;
  // As the engines have the names of properties: Deno would look for that each time.
  for (const key in { [text]: true }) return key;
  return text;
}

const NOT_SHORT = -1;

/** Puts a short string of ASCII at `at` in HOME, and returns its end; `NOT_SHORT` if it is none. */
const putHomeString = (text: string, at: number): number => {
  const { length } = text;
  if (length > SHORT_MAX) return NOT_SHORT;
  HOME[at] = SHORT_STRING + length;
  const from = at + 1;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return NOT_SHORT;
    HOME[from + i] = code;
  }
  return from + length;
};

/**
 * Of a message that is nested too deeply, or too large: whether that is since it contains itself. Goes the way that the encoder went,
 * and into everything once, but into no more than `budget.left` values. False where it is nested too deeply, undefined where it is
 * neither.
 */
export function containsItself(
  value: unknown,
  budget: { left: number } = { left: Infinity },
  path: Set<unknown> = new Set(),
  seen: Set<unknown> = new Set(),
): boolean | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (path.has(value)) return true;
  if (seen.has(value)) return undefined;
  if (path.size === DEPTH_MAX) return false;
  const items: Iterable<unknown> = isMap(value)
    ? keysAndValues(value)
    : isSet(value) || Array.isArray(value)
    ? value
    : isContainer(value)
    ? Object.values(value)
    : [];
  path.add(value);
  for (const item of items) {
    if (budget.left-- <= 0) break;
    const found = containsItself(item, budget, path, seen);
    if (found !== undefined) return found;
  }
  path.delete(value);
  seen.add(value);
  return undefined;
}

function* keysAndValues(map: Map<unknown, unknown>): Iterable<unknown> {
  for (const [key, value] of map) {
    yield key;
    yield value;
  }
}

const TOO_LONG = Symbol("too long");
const TOO_DEEP = Symbol("too deep");

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
