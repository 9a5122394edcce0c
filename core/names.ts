/**
 * Names of a pool: keys under which it keeps arrays, and slices of them, for every process.
 *
 * A name holds its array by itself: it outlives whoever set it, and ends with the pool. `once` adds who makes it: the
 * library records that in the segment, so the others wait for a maker that lives, and take over from one that died.
 */

import {
  AP_ERR_CORRUPT,
  AP_KEY_BYTES_MAX,
  AP_NAME_INFO,
  AP_NAME_VALUE,
  AP_NO_SHAPE,
  AP_ONCE_MAKE,
  AP_ONCE_OTHERS,
  AP_ONCE_THERE,
  AP_RECORD_DTYPE,
} from "./abi.ts";
import { Channel, claimedChannel, enteredChannel, holdOfChannel } from "./channel.ts";
import { type ElementType, elementTypeCoded } from "./dtype.ts";
import { quote } from "./errors.ts";
import type { Hold } from "./hold.ts";
import type { Making, Member } from "./member.ts";
import { type AsyncContext, native } from "./native.ts";
import type { Pool } from "./pool.ts";
import { AXES_MAX } from "./shape.ts";
import {
  assertNotReleased,
  describeView,
  isSharedArray,
  makeOwner,
  ownHoldOf,
  type SharedArray,
  type SharedView,
} from "./shared_array.ts";
import { Waits } from "./wait_async.ts";

// What goes to the library and comes from it: each call is over before the next one begins.
const keyBytes = new Uint8Array(AP_KEY_BYTES_MAX);
const valueBytes = new Uint8Array(AP_NAME_VALUE.BYTES);
const value = new DataView(valueBytes.buffer);
const encoder = new TextEncoder();
// A name may begin with what would be a mark of the byte order.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Puts a name into `keyBytes`, and says how many bytes it has there. @throws {TypeError | RangeError} */
function encodeKey(name: unknown): number {
  if (typeof name !== "string") throw new TypeError(`a name must be a string, not ${quote(name)}`);
  if (name === "") throw new RangeError("a name must not be empty");
  if (!name.isWellFormed()) {
    throw new RangeError(
      `a name must be well-formed Unicode, and ${quote(name.toWellFormed())} has half a surrogate pair`,
    );
  }
  const { read, written } = encoder.encodeInto(name, keyBytes);
  if (read === name.length) return written;
  throw new RangeError(
    `a name has at most ${AP_KEY_BYTES_MAX} bytes of UTF-8, not ${encoder.encode(name).length}: ${quote(name)}`,
  );
}

// ------------------------------------------------------------------ named arrays

/** Gives a name to an array, a slice, or a channel. */
export function setName(member: Member, name: string, named: unknown): void {
  const length = encodeKey(name);
  const hold = named instanceof Channel
    ? holdOfChannel(named)
    : isSharedArray(named)
    ? ownHoldOf(named.base)!
    : undefined;
  if (hold === undefined) {
    throw new TypeError(
      `a name is for an array of the pool, a slice of one, or a channel, not for ${
        quote(named)
      }: copy an array in with pool.from()`,
    );
  }
  if (!(named instanceof Channel)) assertNotReleased(named as SharedView);
  if (hold.member !== member) {
    throw new TypeError(
      named instanceof Channel
        ? `the channel is one of pool "${hold.member.name}", not of "${member.name}"`
        : `the array is in pool "${hold.member.name}", not in "${member.name}": copy it in with pool.from()`,
    );
  }
  writeValue(named as SharedView | Channel);
  member.call((library, pool) => library.ap_name_set(pool, keyBytes, length, valueBytes));
}

/** Holds what a name names; undefined if it names nothing. `wanted` undefined: of any type, also a channel. */
export function getName(
  member: Member,
  name: string,
  wanted: ElementType | undefined,
): SharedArray | Channel | undefined {
  const length = encodeKey(name);
  let type: ElementType | undefined;
  let shape: readonly number[] | undefined;
  const hold = member.attachNamed(keyBytes, length, valueBytes, () => {
    type = elementTypeCoded(member.record[AP_RECORD_DTYPE]!);
    if (wanted !== undefined && wanted !== type) {
      const what = type === undefined
        ? `a channel, not an array of ${wanted.dtype}: get it without a type`
        : `an array of ${type.dtype}, not of ${wanted.dtype}: get it as ${type.className}`;
      throw new TypeError(`${JSON.stringify(name)} names ${what}`);
    }
    if (type === undefined) return "channel";
    shape = readShape(member, type);
    return {
      offset: value.getFloat64(AP_NAME_VALUE.offset, true),
      byteLength: value.getFloat64(AP_NAME_VALUE.length_bytes, true),
    };
  });
  if (hold === undefined) return undefined;
  if (type === undefined) return enteredChannel(hold);
  return makeOwner(type, hold, hold.byteLength / type.bytes, shape);
}

/** Whether a name names something. */
export function hasName(member: Member, name: string): boolean {
  const length = encodeKey(name);
  return member.call((library, pool) => library.ap_name_has(pool, keyBytes, length)) === 1;
}

/** Takes a name away; false if there was none. */
export function deleteName(member: Member, name: string): boolean {
  const length = encodeKey(name);
  return member.call((library, pool) => library.ap_name_delete(pool, keyBytes, length)) === 1;
}

/** Every name, and which block it names. */
export function listNames(member: Member): { name: string; block: number; generation: number }[] {
  // All of them by one call, under one lock: a name that is set again moves to another place in the table.
  for (let most = 256;; most *= 4) {
    const infos = new DataView(new ArrayBuffer(most * AP_NAME_INFO.BYTES));
    const count = member.call((library, pool) => library.ap_name_list(pool, 0, new Uint8Array(infos.buffer), most));
    if (member.record[0]! >= 0) continue; // there are more
    return Array.from({ length: count }, (_, i) => {
      const at = i * AP_NAME_INFO.BYTES;
      const bytes = infos.getUint32(at + AP_NAME_INFO.key_bytes, true);
      return {
        name: decoder.decode(new Uint8Array(infos.buffer, at + AP_NAME_INFO.key, bytes)),
        block: infos.getUint32(at + AP_NAME_INFO.block, true),
        generation: infos.getFloat64(at + AP_NAME_INFO.generation, true),
      };
    });
  }
}

function writeValue(named: SharedView | Channel): void {
  if (named instanceof Channel) return writeChannel(named);
  const array = named;
  const { block, offset, length, shape } = describeView(array, () => 0);
  value.setUint32(AP_NAME_VALUE.block, block, true);
  value.setFloat64(AP_NAME_VALUE.offset, offset, true);
  value.setFloat64(AP_NAME_VALUE.length_bytes, length * array.BYTES_PER_ELEMENT, true);
  value.setUint32(AP_NAME_VALUE.axes, shape?.length ?? AP_NO_SHAPE, true);
  if (shape === undefined) return;
  if (length === 0) checkEmptyShape(shape);
  shape.forEach((axis, i) => value.setFloat64(AP_NAME_VALUE.shape + 8 * i, axis, true));
}

function writeChannel(channel: Channel): void {
  const { block } = claimedChannel(channel, () => 0);
  value.setUint32(AP_NAME_VALUE.block, block, true);
  value.setFloat64(AP_NAME_VALUE.offset, 0, true);
  value.setFloat64(AP_NAME_VALUE.length_bytes, 0, true);
  value.setUint32(AP_NAME_VALUE.axes, AP_NO_SHAPE, true);
}

/** The record of a name has 72 bytes for its shape, 7 bits in each. No array that is not empty needs more. */
function checkEmptyShape(shape: readonly number[]): void {
  const bytes = shape.reduce((sum, axis) => sum + Math.max(1, Math.ceil(Math.log2(axis + 1) / 7)), 0);
  if (bytes > 72) throw new RangeError("a name cannot keep so long a shape of an empty array: reshape it to [0]");
}

function readShape(member: Member, type: ElementType): readonly number[] | undefined {
  const length = value.getFloat64(AP_NAME_VALUE.length_bytes, true) / type.bytes;
  const offset = value.getFloat64(AP_NAME_VALUE.offset, true);
  const axes = value.getUint32(AP_NAME_VALUE.axes, true);
  const shape: number[] = [];
  if (axes !== AP_NO_SHAPE) {
    for (let i = 0; i < Math.min(axes, AXES_MAX); i++) shape.push(value.getFloat64(AP_NAME_VALUE.shape + 8 * i, true));
  }
  const fits = Number.isInteger(length) && offset % type.bytes === 0 &&
    (axes === AP_NO_SHAPE ||
      shape.every(Number.isSafeInteger) && shape.reduce((product, axis) => product * axis, 1) === length);
  if (!fits) throw member.failed(AP_ERR_CORRUPT);
  return axes === AP_NO_SHAPE ? undefined : Object.freeze(shape);
}

// ------------------------------------------------------------------ once

/** A native call is over after that time at the latest: until then the thread cannot be terminated in Deno. */
const WAIT_MS = 100;

/** What a name names; made by `make` where it names nothing, by one member of all. Blocks while another one makes it. */
export function once(member: Member, name: string, make: (pool: Pool) => unknown): SharedArray | Channel {
  checkMake(make);
  while (true) {
    switch (begin(member, name, WAIT_MS)) {
      case AP_ONCE_THERE: {
        const found = getName(member, name, undefined);
        if (found !== undefined) return found;
        break; // deleted in between
      }
      case AP_ONCE_OTHERS:
        break;
      case AP_ONCE_MAKE: {
        const making = startMaking(member, name);
        try {
          const made = make(member.pool!);
          if (isThenable(made)) throw new TypeError("make() returned a promise: use onceAsync()");
          if (finish(member, name, made)) return made as SharedArray | Channel;
        } catch (error) {
          member.giveUpMaking(name);
          throw error;
        } finally {
          making.end();
        }
        break;
      }
      default:
        throw selfWait(member, name);
    }
  }
}

/** As once(), without blocking. */
export async function onceAsync(
  member: Member,
  name: string,
  make: (pool: Pool) => unknown,
  signal: AbortSignal | undefined,
): Promise<SharedArray | Channel> {
  checkMake(make);
  while (true) {
    signal?.throwIfAborted();
    switch (begin(member, name, 0)) {
      case AP_ONCE_THERE: {
        const found = getName(member, name, undefined);
        if (found !== undefined) return found;
        break;
      }
      case AP_ONCE_OTHERS:
        // Not for long: a maker that is killed wakes nobody.
        await (member.waits ??= new Waits(member)).beginOther(
          (library, pool) => library.ap_once_watch(pool),
          WAIT_MS,
          signal,
        );
        break;
      case AP_ONCE_MAKE: {
        const made = await makeAsync(member, name, make, signal);
        if (made !== undefined) return made;
        break;
      }
      default: {
        const making = member.makings.get(name);
        if (making === undefined || contexts().getStore()?.has(making)) throw selfWait(member, name);
        await unlessAborted(making.ended, signal);
      }
    }
  }
}

/** Undefined when others have set the name meanwhile. */
async function makeAsync(
  member: Member,
  name: string,
  make: (pool: Pool) => unknown,
  signal: AbortSignal | undefined,
): Promise<SharedArray | Channel | undefined> {
  const making = startMaking(member, name);
  let aborted = false;
  const closed = making.ended.then(() => {
    if (!member.closed) return undefined;
    aborted = true;
    return void member.ready(); // throws
  });
  const outer = contexts().getStore();
  let made: unknown;
  try {
    // What it awaits, and calls later, knows that it is part of this making.
    const inner = contexts().run(new Set(outer).add(making), async () => await make(member.pool!));
    inner.then((late) => {
      if (!aborted) return;
      if (late instanceof Channel) late.release();
      else ownHoldOf(late)?.release();
    }, () => {});
    made = await Promise.race([unlessAborted(inner, signal, () => aborted = true), closed]);
    return finish(member, name, made) ? made as SharedArray | Channel : undefined;
  } catch (error) {
    member.giveUpMaking(name);
    throw error;
  } finally {
    making.end();
  }
}

function begin(member: Member, name: string, timeoutMs: number): number {
  const length = encodeKey(name);
  member.giveUpUnmade();
  return member.call((library, pool) => library.ap_once_begin(pool, keyBytes, length, timeoutMs));
}

/** Says what was made; false if others have set the name meanwhile, and what was made is not needed. */
function finish(member: Member, name: string, made: unknown): boolean {
  checkMade(member, made);
  let isIt = false;
  try {
    writeValue(made);
    const length = encodeKey(name);
    isIt = member.call((library, pool) => library.ap_once_end(pool, keyBytes, length, valueBytes)) === AP_ONCE_THERE;
  } finally {
    if (!isIt) made.release();
  }
  return isIt;
}

function checkMake(make: unknown): void {
  if (typeof make !== "function") {
    throw new TypeError(`make must be a function that returns an array, not ${quote(make)}`);
  }
}

function checkMade(member: Member, made: unknown): asserts made is SharedArray | Channel {
  const wanted = `make() must return an array of pool "${member.name}", or a channel`;
  if (!(made instanceof Channel) && !isSharedArray(made)) {
    throw new TypeError(`${wanted}, not ${quote(made)}: pool.from() makes one of any array`);
  }
  const hold = holdOfMade(made);
  if (hold === undefined) throw new TypeError(`${wanted}, and this is a slice of one: return slice.retain()`);
  if (hold.member !== member) {
    throw new TypeError(`${wanted}, and this is one of pool "${hold.member.name}": copy it in with pool.from()`);
  }
  if (hold.released || !(made instanceof Channel) && made.buffer.detached) {
    throw new TypeError(`${wanted}, and this one was released, or its buffer transferred`);
  }
}

function holdOfMade(made: unknown): Hold | undefined {
  return made instanceof Channel ? holdOfChannel(made) : ownHoldOf(made);
}

function startMaking(member: Member, name: string): Making {
  const { promise, resolve } = Promise.withResolvers<void>();
  const making: Making = {
    ended: promise,
    end: () => {
      member.makings.delete(name);
      resolve();
    },
  };
  member.makings.set(name, making);
  return making;
}

function selfWait(member: Member, name: string): TypeError {
  return new TypeError(
    `${JSON.stringify(name)} of pool "${member.name}" is being made here already, and would wait for itself: ` +
      "do not ask for it inside its own make(), nor by once() before onceAsync() of it has settled",
  );
}

function isThenable(made: unknown): boolean {
  return typeof (made as PromiseLike<unknown> | null | undefined)?.then === "function";
}

let known: AsyncContext<ReadonlySet<Making>> | undefined;

/** Which makings the running code is part of, through whatever it awaits. */
function contexts(): AsyncContext<ReadonlySet<Making>> {
  return known ??= native().asyncContext<ReadonlySet<Making>>();
}

/** Settles as `promise`, or is rejected when `signal` is aborted. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, onAbort = () => {}): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      onAbort();
      reject(signal.reason);
    };
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
