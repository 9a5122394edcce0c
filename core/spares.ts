/**
 * Spare buffers of one member: of arrays that were released, for the next ones at the same places.
 *
 *     shown ──release()──▶ its memory taken over by a new buffer: spare ──▶ shown by the next hold just there
 *                                                                  └──────▶ dropped: another needs its slot; or the pool closes
 *
 * To detach a buffer makes another one anyway. Where that is the next array's, none is made for nothing, and none on foreign
 * memory. Nobody but this table has a spare: so it does not matter whose the memory is meanwhile, and a block that has one is
 * let go of as any other. Only where nothing native can use what was detached; see `Native.takeOver`.
 */

import type { Hold } from "./hold.ts";
import type { Library, Native, Pointer } from "./native.ts";

const SLOTS = 32;
/** Of larger ones the collector would believe too much to be alive. */
const BYTES_MAX = 1 << 20;
/** How often another array finds the slot taken before it is given to it. */
const PATIENCE = 8;

/** What is known of a buffer. */
type Shown = Pick<Hold, "block" | "address" | "byteLength">;

class Slot {
  buffer: ArrayBuffer | undefined = undefined;
  block = 0;
  address = 0;
  byteLength = 0;
  passedOver = 0;
}

/** See above. */
export class Spares {
  readonly #library: Pick<Library, "ap_block_spare">;
  readonly #pool: Pointer;
  readonly #takeOver: NonNullable<Native["takeOver"]>;
  readonly #slots: readonly Slot[] = Array.from({ length: SLOTS }, () => new Slot());

  constructor(library: Pick<Library, "ap_block_spare">, pool: Pointer, takeOver: NonNullable<Native["takeOver"]>) {
    this.#library = library;
    this.#pool = pool;
    this.#takeOver = takeOver;
  }

  /** The buffer on just these bytes of a block, for its last hold. */
  take(block: number, address: number, byteLength: number): ArrayBuffer | undefined {
    const slot = this.#slots[block % SLOTS]!;
    const { buffer } = slot;
    if (buffer === undefined || slot.block !== block) return undefined;
    if (slot.address !== address || slot.byteLength !== byteLength) return undefined;
    this.#library.ap_block_spare(this.#pool, block, 1);
    slot.buffer = undefined;
    slot.passedOver = 0;
    return buffer;
  }

  /** Detaches the buffer of a hold. Returns the spare that has its memory, if there is to be one: for `put`. */
  detach(hold: Shown, buffer: ArrayBuffer): ArrayBuffer | undefined {
    if (this.#wants(hold)) return this.#takeOver(buffer, hold.byteLength);
    buffer.transfer(0);
    return undefined;
  }

  #wants({ block, address, byteLength }: Shown): boolean {
    if (address === 0 || byteLength > BYTES_MAX) return false;
    const slot = this.#slots[block % SLOTS]!;
    if (slot.buffer === undefined) return true;
    if (++slot.passedOver < PATIENCE) return false;
    this.#drop(slot);
    return true;
  }

  /** Once the library knows that the block has one. */
  put({ block, address, byteLength }: Shown, buffer: ArrayBuffer): void {
    const slot = this.#slots[block % SLOTS]!;
    slot.buffer = buffer;
    slot.block = block;
    slot.address = address;
    slot.byteLength = byteLength;
  }

  #drop(slot: Slot): void {
    this.#library.ap_block_spare(this.#pool, slot.block, 0);
    slot.buffer!.transfer(0);
    slot.buffer = undefined;
    slot.passedOver = 0;
  }

  /** No more: the pool is about to be left. */
  dropAll(): void {
    for (const slot of this.#slots) if (slot.buffer !== undefined) this.#drop(slot);
  }
}
