/** What goes along with a message: its arrays and channels, at the sender and at the receiver. */

import { AP_KIND_ARRAY, AP_KIND_CHANNEL, AP_RECEIVED_ARRAY, AP_SENT_ARRAY } from "./abi.ts";
import { attachParsed } from "./attach.ts";
import { attachChannel, Channel, holdOfChannel, receivedChannel } from "./channel.ts";
import { garbled, type Incoming, type Outgoing, type Shared } from "./codec.ts";
import {
  isChannelDescriptor,
  isPoolReference,
  markOf,
  parseChannelDescriptor,
  parseDescriptor,
  parsePoolReference,
} from "./descriptor.ts";
import { elementTypeCoded } from "./dtype.ts";
import type { Hold, Place } from "./hold.ts";
import type { Member } from "./member.ts";
import { failureOf, pack, release } from "./pack.ts";
import { openReference, Pool } from "./pool.ts";
import { assertNotReleased, isOfAnotherVersion, makeOwner, placeOf, type SharedView } from "./shared_array.ts";
import { shapeLength } from "./shape.ts";

const NO_HOLDS: Hold[] = [];
const NO_PLACES: Place[] = [];

/** At the sender. */
export class Parcel implements Outgoing {
  /** How many go along. */
  count = 0;
  /** Of the channel that it goes through. */
  readonly #block: number;
  readonly #member: Member;
  // Made when there is something: most messages have nothing.
  #holds = NO_HOLDS;
  #places = NO_PLACES;
  #known: Map<object, Shared | { readonly reference: object }> | undefined;
  /** Of arrays of other pools, which no message here can hold: they travel as claims. */
  #references: object[] | undefined;

  constructor(block: number, member: Member) {
    this.#block = block;
    this.#member = member;
  }

  encode(value: object): Shared | { readonly reference: object } | undefined {
    const known = this.#known?.get(value);
    if (known !== undefined) return known;
    const place = placeOf(value);
    if (place !== undefined) {
      const view = value as SharedView;
      assertNotReleased(view);
      const { hold, length, shape } = place;
      if (this.#places === NO_PLACES) this.#places = [];
      this.#places.push(place);
      if (hold.member !== this.#member) return this.#refer(view);
      return this.#add(value, hold, [hold.type!.code, hold.offset + view.byteOffset, length, shape ?? null]);
    }
    if (value instanceof Channel) {
      const hold = holdOfChannel(value);
      if (hold.member !== this.#member || hold.released) return this.#refer(value);
      if (hold.block === this.#block) {
        throw new TypeError("a channel cannot be sent through itself: nobody would free it");
      }
      return this.#add(value, hold, null);
    }
    if (isOfAnotherVersion(value)) return this.#refer(value); // pack() says what is wrong
    return value instanceof Pool ? { reference: value.toJSON() } : undefined;
  }

  #add(value: object, hold: Hold, as: readonly unknown[] | null): Shared {
    const shared = { index: this.count++, as };
    if (this.#holds === NO_HOLDS) this.#holds = [];
    this.#holds.push(hold);
    (this.#known ??= new Map()).set(value, shared);
    return shared;
  }

  #refer(value: object): { readonly reference: object } {
    const reference = pack(value) as object;
    (this.#references ??= []).push(reference);
    // However often it occurs, and is encoded: one claim.
    const referred = { reference };
    (this.#known ??= new Map()).set(value, referred);
    return referred;
  }

  /** Writes an ap_sent_array for each. */
  writeTo(view: DataView, from: number): void {
    for (const { block, generation } of this.#holds) {
      view.setUint32(from, block, true);
      view.setUint32(from + 4, 0, true);
      view.setUint32(from + 8, generation % 2 ** 32, true);
      view.setUint32(from + 12, Math.floor(generation / 2 ** 32), true);
      from += AP_SENT_ARRAY.BYTES;
    }
  }

  /** @throws {TypeError} if a slice is to be moved whose array is not. */
  assertMovable(): void {
    const moved: Set<Place> = new Set(this.#places);
    for (const { base, hold } of this.#places) {
      if (base === undefined || moved.has(hold)) continue;
      throw new TypeError(
        "a slice cannot be moved, since others may show the rest of its array: retain() it first, or move the array",
      );
    }
  }

  /** The message was sent, and the sender is done with its arrays. */
  release(): void {
    for (const { hold } of this.#places) hold.release(); // a slice is moved with its array only
  }

  /** It was not sent. What cannot be dropped now expires: why it was not sent is to be heard. */
  undo(): void {
    // All at once: each call for a pool that is busy would take as long.
    if (this.#references !== undefined) failureOf(() => release(this.#references));
  }
}

/** At the receiver, who holds already what came along: each has to be shown, or dropped. */
export class Unloading implements Incoming {
  readonly #member: Member;
  /** An ap_received_array for each, from `#from` on. */
  readonly #table: DataView | undefined;
  readonly #from: number;
  readonly #shown: (({ release(): void }) | undefined)[];
  #referred: { readonly released: boolean; release(): void }[] | undefined;
  /** Which of them comes next, as it is read. */
  #next = 0;
  /** References whose claims are left as they are, for the next receiver: the message may come back. */
  readonly #unclaimed: object[] | undefined;

  constructor(member: Member, table: DataView | undefined, from: number, count: number, mayComeBack = false) {
    this.#member = member;
    this.#table = table;
    this.#from = from;
    this.#unclaimed = mayComeBack ? [] : undefined;
    this.#shown = count === 0 ? NONE : new Array(count).fill(undefined);
  }

  shared(index: number, as: unknown): unknown {
    if (index >= this.#shown.length) throw garbled();
    return this.#shown[index] ??= this.#show(index, as);
  }

  #field(index: number, offset: number): number {
    return this.#table!.getFloat64(this.#from + index * AP_RECEIVED_ARRAY.BYTES + offset, true);
  }

  #show(index: number, as: unknown): { release(): void } {
    const block = this.#field(index, AP_RECEIVED_ARRAY.block);
    const generation = this.#field(index, AP_RECEIVED_ARRAY.generation);
    const kind = this.#field(index, AP_RECEIVED_ARRAY.kind);
    if (as === null) {
      if (kind !== AP_KIND_CHANNEL) throw garbled();
      return receivedChannel(this.#member, block, generation);
    }
    if (!Array.isArray(as) || kind !== AP_KIND_ARRAY) throw garbled();
    const [code, offset, length, shape] = as as unknown[];
    const type = elementTypeCoded(code as number);
    if (type === undefined || code !== this.#field(index, AP_RECEIVED_ARRAY.dtype)) throw garbled();
    if (!isCount(offset) || !isCount(length) || offset % type.bytes !== 0) throw garbled();
    const byteLength = length * type.bytes;
    if (offset + byteLength > this.#field(index, AP_RECEIVED_ARRAY.length_bytes)) throw garbled();
    const heapOffset = this.#field(index, AP_RECEIVED_ARRAY.offset);
    const axes = shape === null ? undefined : checkedShape(shape, length);
    const hold = this.#member.showReceived(block, generation, heapOffset, offset, byteLength);
    return makeOwner(type, hold, length, axes);
  }

  /** Before it is read once more, which could not be read. */
  again(): void {
    this.#next = 0;
  }

  reference(value: object): unknown {
    const mark = markOf(value);
    if (isPoolReference(value)) return openReference(sound(() => parsePoolReference(value, mark)));
    const parsed = sound(() =>
      isChannelDescriptor(value) ? parseChannelDescriptor(value, mark) : parseDescriptor(value, mark)
    );
    const at = this.#next++;
    const before = this.#referred?.[at];
    if (before !== undefined && !before.released) return before;
    const wanted = this.#unclaimed === undefined ? parsed : { ...parsed, claim: 0 };
    const attached = "type" in wanted ? attachParsed(wanted) : attachChannel(wanted);
    (this.#referred ??= [])[at] = attached;
    this.#unclaimed?.push(value);
    return attached;
  }

  /** The message does not come back. */
  dropClaims(): void {
    if (this.#unclaimed !== undefined) failureOf(() => release(this.#unclaimed)); // or they expire
  }

  /** Lets go of what the message does not mention, or what could not be shown. */
  dropUnshown(): void {
    for (let i = 0; i < this.#shown.length; i++) {
      if (this.#shown[i] !== undefined) continue;
      this.#shown[i] = DROPPED; // once, whatever comes
      this.#member.dropReceived(this.#field(i, AP_RECEIVED_ARRAY.block));
    }
  }

  /** Whether there is anything to release. */
  get hasBrought(): boolean {
    return this.#shown.length > 0 || this.#referred !== undefined;
  }

  release(): void {
    for (const shown of this.#shown) shown?.release();
    for (const attached of this.#referred ?? []) attached.release();
  }
}

const NONE: undefined[] = [];
const DROPPED = { release: () => {} };

/** What says of a descriptor that it is none says of a message that it is not as it was sent. */
function sound<T>(parse: () => T): T {
  try {
    return parse();
  } catch {
    throw garbled();
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkedShape(shape: unknown, length: number): readonly number[] {
  let product: number | undefined;
  try {
    product = Array.isArray(shape) ? shapeLength(shape) : undefined;
  } catch { /* no shape */ }
  if (product !== length) throw garbled();
  return Object.freeze(shape as number[]);
}
