/**
 * Pools as they look from outside: read without joining, so without a slot, a lock or a write (libpool/look.zig).
 */

import {
  AP_BLOCK_INFO,
  AP_ERR_BUSY,
  AP_ERR_CORRUPT,
  AP_ERR_NOT_FOUND,
  AP_KIND_ARRAY,
  AP_KIND_CHANNEL,
  AP_KIND_MESSAGE,
  AP_KIND_TRACE,
  AP_LOCK_FREE,
  AP_LOCK_HELD,
  AP_LOOK_ARRAYS,
  AP_LOOK_BLOCKS,
  AP_LOOK_BLOCKS_MADE,
  AP_LOOK_CAPACITY,
  AP_LOOK_CHANNEL,
  AP_LOOK_CLAIM,
  AP_LOOK_CLAIM_TTL_MS,
  AP_LOOK_CLAIMED,
  AP_LOOK_CLAIMS,
  AP_LOOK_CLAIMS_MADE,
  AP_LOOK_CORRUPT,
  AP_LOOK_CREATED_AT_MS,
  AP_LOOK_CREATOR_PID,
  AP_LOOK_CREATOR_RUNTIME,
  AP_LOOK_DEAD,
  AP_LOOK_FILE,
  AP_LOOK_FREE_BACKED,
  AP_LOOK_FREE_RUNS,
  AP_LOOK_LARGEST_FREE,
  AP_LOOK_LENGTH,
  AP_LOOK_LIVE,
  AP_LOOK_LOCK,
  AP_LOOK_LOCK_PID,
  AP_LOOK_MEMBER,
  AP_LOOK_MEMBERS,
  AP_LOOK_METADATA,
  AP_LOOK_MOVING,
  AP_LOOK_NAME,
  AP_LOOK_NAMED,
  AP_LOOK_NOW_MS,
  AP_LOOK_REACH,
  AP_LOOK_RECOVERIES,
  AP_LOOK_RESERVED,
  AP_LOOK_STATE,
  AP_LOOK_STILL,
  AP_LOOK_TAKEN,
  AP_LOOK_USED,
  AP_LOOK_VERSION,
  AP_LOOK_WAITS_MS,
  AP_MEMBER_DEAD,
  AP_MEMBER_JOINING,
  AP_MEMBERS_MAX,
  AP_NO_SHAPE,
  AP_REPORT_CODE,
  AP_REPORT_DETAIL,
  AP_REPORT_ERRNO,
  AP_REPORT_LENGTH,
  AP_RUNTIME_BUN,
  AP_RUNTIME_DENO,
  AP_RUNTIME_NODE,
  AP_STATE_DAMAGED,
  AP_STATE_POOL,
  AP_TAIL_BYTES_MAX,
} from "../core/abi.ts";
import { type DType, elementTypeCoded } from "../core/dtype.ts";
import { failure } from "../core/failure.ts";
import { native, type Pointer } from "../core/native.ts";
import { readNote } from "../core/shape_note.ts";
import { readTraceLog } from "../core/trace_log.ts";
import { lookLibrary } from "./library.ts";

/** How often a copy is made anew when the pool moved meanwhile. */
const TRIES = 8;
const CHECK_TRIES = 200;

/** What is known of a pool. Times are in milliseconds since 1970. */
export interface Facts {
  name: string;
  /** Damaged: its header is none. Other version: no more is known than what all versions share. */
  state: "pool" | "damaged" | "other version";
  version: number;
  /** Somebody is in it; nobody, but something sent waits in it; neither. */
  life: "live" | "waiting" | "dead";
  waitsMs: number;
  /** It was unlinked, or its name is another one's by now. */
  unlinked: boolean;
  fileBytes: number;
  takenBytes: number;
  metadataBytes: number;
  capacityBytes: number;
  createdAt: number;
  /** The process that made it, and its runtime. */
  creatorPid: number;
  creatorRuntime: string;
  now: number;
  claimTtlMs: number;
  /** Not `still`: so many entries changed while it was read. */
  still: boolean;
  moving: number;
  lock: "free" | "held" | "orphaned";
  lockPid: number;
  corrupt: boolean;
  recoveries: number;
  backedBytes: number;
  usedBytes: number;
  claimedBytes: number;
  reservedBytes: number;
  freeBackedBytes: number;
  largestFreeBytes: number;
  freeRuns: number;
  /** Beyond it, the heap is free and takes no memory. */
  reachBytes: number;
  arrays: number;
  /** In use, arrays and others. */
  blocks: number;
  claims: number;
  members: number;
  /** Dead, and not yet reaped. */
  deadMembers: number;
  /** Since the pool was made. */
  blocksMade: number;
  claimsMade: number;
}

/** What a block in use is for. */
export type Kind = "array" | "channel" | "message" | "trace" | "other";

/** A block in use. */
export interface Block {
  block: number;
  generation: number;
  dtype: DType | undefined;
  /** Elements. */
  length: number;
  bytes: number;
  offset: number;
  /** Since it was allocated. */
  ageMs: number;
  /** Slots. */
  holders: number[];
  claims: number;
  kind: Kind;
}

/** A member, or what is left of a dead one. */
export interface Member {
  slot: number;
  pid: number;
  threadId: number;
  runtime: string;
  state: "live" | "stopped" | "joining" | "dead";
  joinedAt: number;
  arrays: number;
  bytes: number;
  /** So far, counted round at 2^32. */
  attaches: number;
  lockWaits: number;
  /** Undefined when it is dead, in another PID namespace, or another user's. */
  command: string[] | undefined;
}

/** A descriptor on its way. */
export interface Claim {
  block: number;
  generation: number;
  attaches: number;
  leftMs: number;
}

/** A name. */
export interface Name {
  name: string;
  block: number;
  generation: number;
  /** Of which part of the array: from where, and how much. */
  offset: number;
  bytes: number;
  /** Undefined: it is just the length. */
  shape: number[] | undefined;
  /** It names nothing yet: that process makes the array. */
  madeBy: number | undefined;
}

/** A channel. */
export interface ChannelOf {
  block: number;
  generation: number;
  /** Messages: how many there may be, how many wait, and how many were ever sent. */
  capacity: number;
  depth: number;
  sent: number;
  unacknowledged: number;
  closed: boolean;
}

/** Bytes of a part of the heap. What is left of it is free and takes no memory. */
export interface Cell {
  used: number;
  claimed: number;
  free: number;
}

/** What a traced member says. */
export type TraceOf = ReturnType<typeof readTraceLog>;

/** What the walk over all metadata has found. */
export type Verdict =
  | { result: "sound" | "repairable" | "unsure" }
  | { result: "damaged"; finding: string };

const NAME_BYTES = 32;
/** Of a name of an array, which may begin with what would be a mark of the byte order. */
const NAME = new TextDecoder("utf-8", { ignoreBOM: true });
const TRACE_BYTES_MAX = 2 ** 20;

const kindNames: Record<number, Kind> = {
  [AP_KIND_ARRAY]: "array",
  [AP_KIND_CHANNEL]: "channel",
  [AP_KIND_MESSAGE]: "message",
  [AP_KIND_TRACE]: "trace",
};

/** The names of this user's pools, sorted. */
export function poolNames(): string[] {
  const library = lookLibrary();
  for (let max = 256;; max *= 2) {
    const bytes = new Uint8Array(max * NAME_BYTES);
    const count = library.ap_look_pools(bytes, max);
    if (count > max) continue;
    const names = Array.from({ length: count }, (_, i) => textOf(bytes.subarray(i * NAME_BYTES, (i + 1) * NAME_BYTES)));
    return names.sort();
  }
}

/** Removes a pool; where it is not forced, not if members live in it or something waits. Says which it was. */
export function removePool(name: string, force: boolean): "removed" | "live" | "waiting" {
  const report = new Float64Array(AP_REPORT_LENGTH);
  const result = lookLibrary().ap_look_remove(cString(name), force ? 1 : 0, report);
  if (result < 0) throw failure(result, { pool: name, errno: report[AP_REPORT_ERRNO]! });
  return result === 1 ? "removed" : result === 0 ? "live" : "waiting";
}

/** Removes every pool in which nobody lives and nothing waits. Returns how many. */
export function sweep(): number {
  return native().library.ap_sweep();
}

/** Runs `use` with a look at a pool; undefined if there is none of that name. */
export function ifThere<R>(name: string, use: (look: Look) => R): R | undefined {
  const look = Look.openIfThere(name);
  if (look === undefined) return undefined;
  try {
    return use(look);
  } finally {
    look.close();
  }
}

/** Runs `use` with a look at a pool. @throws {PoolError} */
export function lookAt<R>(name: string, use: (look: Look) => R): R {
  const look = Look.open(name);
  try {
    return use(look);
  } finally {
    look.close();
  }
}

/** A look at one pool, and the last copy that was made of its metadata. */
export class Look {
  readonly name: string;
  readonly #look: Pointer;

  private constructor(name: string, look: Pointer) {
    this.name = name;
    this.#look = look;
  }

  static open(name: string): Look {
    const report = new Float64Array(AP_REPORT_LENGTH);
    const look = lookLibrary().ap_look_open(cString(name), report);
    if (look) return new Look(name, look);
    throw failure(report[AP_REPORT_CODE]!, {
      pool: name,
      errno: report[AP_REPORT_ERRNO]!,
      detail: report[AP_REPORT_DETAIL]!,
    });
  }

  static openIfThere(name: string): Look | undefined {
    const report = new Float64Array(AP_REPORT_LENGTH);
    const look = lookLibrary().ap_look_open(cString(name), report);
    if (look) return new Look(name, look);
    return report[AP_REPORT_CODE] === AP_ERR_NOT_FOUND ? undefined : Look.open(name);
  }

  close(): void {
    lookLibrary().ap_look_close(this.#look);
  }

  /** Makes a copy, of one moment if the pool stands still for long enough. */
  take(tries: number = TRIES): Facts {
    const facts = new Float64Array(AP_LOOK_LENGTH);
    lookLibrary().ap_look_take(this.#look, tries, facts);
    const at = (index: number) => facts[index]!;
    const state = at(AP_LOOK_STATE);
    const waitsMs = at(AP_LOOK_WAITS_MS);
    const still = at(AP_LOOK_STILL) === 1;
    const capacityBytes = at(AP_LOOK_CAPACITY);
    const backedBytes = Math.max(0, at(AP_LOOK_TAKEN) - at(AP_LOOK_METADATA));
    // Entries that change while they are read count for anything: together for more than there is.
    const sum = (index: number, most: number) => still ? at(index) : Math.min(at(index), most);
    return {
      name: this.name,
      state: state === AP_STATE_POOL ? "pool" : state === AP_STATE_DAMAGED ? "damaged" : "other version",
      version: at(AP_LOOK_VERSION),
      life: at(AP_LOOK_LIVE) === 1 ? "live" : waitsMs > 0 ? "waiting" : "dead",
      waitsMs,
      unlinked: at(AP_LOOK_NAMED) === 0,
      fileBytes: at(AP_LOOK_FILE),
      takenBytes: at(AP_LOOK_TAKEN),
      metadataBytes: at(AP_LOOK_METADATA),
      capacityBytes,
      createdAt: at(AP_LOOK_CREATED_AT_MS),
      creatorPid: at(AP_LOOK_CREATOR_PID),
      creatorRuntime: runtimeName(at(AP_LOOK_CREATOR_RUNTIME)),
      now: at(AP_LOOK_NOW_MS),
      claimTtlMs: at(AP_LOOK_CLAIM_TTL_MS),
      still,
      moving: at(AP_LOOK_MOVING),
      lock: at(AP_LOOK_LOCK) === AP_LOCK_FREE ? "free" : at(AP_LOOK_LOCK) === AP_LOCK_HELD ? "held" : "orphaned",
      lockPid: at(AP_LOOK_LOCK_PID),
      corrupt: at(AP_LOOK_CORRUPT) === 1,
      recoveries: at(AP_LOOK_RECOVERIES),
      backedBytes,
      usedBytes: sum(AP_LOOK_USED, backedBytes),
      claimedBytes: sum(AP_LOOK_CLAIMED, backedBytes),
      reservedBytes: sum(AP_LOOK_RESERVED, capacityBytes),
      freeBackedBytes: sum(AP_LOOK_FREE_BACKED, backedBytes),
      largestFreeBytes: sum(AP_LOOK_LARGEST_FREE, capacityBytes),
      freeRuns: at(AP_LOOK_FREE_RUNS),
      reachBytes: sum(AP_LOOK_REACH, capacityBytes),
      arrays: at(AP_LOOK_ARRAYS),
      blocks: at(AP_LOOK_BLOCKS),
      claims: at(AP_LOOK_CLAIMS),
      members: at(AP_LOOK_MEMBERS),
      deadMembers: at(AP_LOOK_DEAD),
      blocksMade: at(AP_LOOK_BLOCKS_MADE),
      claimsMade: at(AP_LOOK_CLAIMS_MADE),
    };
  }

  /** Every array. */
  arrays(): Block[] {
    return this.blocks().filter(({ kind }) => kind === "array");
  }

  /** Every block in use. */
  blocks(): Block[] {
    const found: Block[] = [];
    this.#list(AP_BLOCK_INFO.BYTES, "ap_look_blocks", (view, at) => {
      const type = elementTypeCoded(view.getUint32(at + AP_BLOCK_INFO.dtype, true));
      const bytes = view.getFloat64(at + AP_BLOCK_INFO.length_bytes, true);
      found.push({
        block: view.getUint32(at + AP_BLOCK_INFO.block, true),
        generation: view.getFloat64(at + AP_BLOCK_INFO.generation, true),
        dtype: type?.dtype,
        length: bytes / (type?.bytes ?? 1),
        bytes,
        offset: view.getFloat64(at + AP_BLOCK_INFO.offset, true),
        ageMs: view.getFloat64(at + AP_BLOCK_INFO.age_ms, true),
        holders: slotsOf(view, at + AP_BLOCK_INFO.holders),
        claims: view.getUint32(at + AP_BLOCK_INFO.claims, true),
        kind: kindNames[view.getUint32(at + AP_BLOCK_INFO.kind, true)] ?? "other",
      });
    });
    return found;
  }

  /** The shape with which an array was made; undefined where it is just the length, or was not left with it. */
  shapeOf({ block, generation, bytes, length }: Block): readonly number[] | undefined {
    const behind = new Uint8Array(AP_TAIL_BYTES_MAX);
    const read = lookLibrary().ap_look_read(this.#look, block, generation, bytes, behind, behind.length);
    return read > 0 ? readNote(behind.subarray(0, read), generation, length) : undefined;
  }

  /** Every claim. */
  claims(): Claim[] {
    const found: Claim[] = [];
    this.#list(AP_LOOK_CLAIM.BYTES, "ap_look_claims", (view, at) => {
      found.push({
        block: view.getUint32(at + AP_LOOK_CLAIM.block, true),
        generation: view.getFloat64(at + AP_LOOK_CLAIM.generation, true),
        attaches: view.getUint32(at + AP_LOOK_CLAIM.attaches, true),
        leftMs: view.getFloat64(at + AP_LOOK_CLAIM.left_ms, true),
      });
    });
    return found;
  }

  /** Every name. */
  names(): Name[] {
    const found: Name[] = [];
    this.#list(AP_LOOK_NAME.BYTES, "ap_look_names", (view, at) => {
      const axes = view.getUint32(at + AP_LOOK_NAME.axes, true);
      const makerPid = view.getUint32(at + AP_LOOK_NAME.maker_pid, true);
      const keyBytes = view.getUint32(at + AP_LOOK_NAME.key_bytes, true);
      found.push({
        name: NAME.decode(new Uint8Array(view.buffer, at + AP_LOOK_NAME.key, keyBytes)),
        block: view.getUint32(at + AP_LOOK_NAME.block, true),
        generation: view.getFloat64(at + AP_LOOK_NAME.generation, true),
        offset: view.getFloat64(at + AP_LOOK_NAME.offset, true),
        bytes: view.getFloat64(at + AP_LOOK_NAME.length_bytes, true),
        shape: axes === AP_NO_SHAPE
          ? undefined
          : Array.from({ length: axes }, (_, i) => view.getFloat64(at + AP_LOOK_NAME.shape + 8 * i, true)),
        madeBy: makerPid === 0 ? undefined : makerPid,
      });
    });
    return found.sort((a, b) => a.name < b.name ? -1 : 1);
  }

  /** Every channel. */
  channels(): ChannelOf[] {
    const found: ChannelOf[] = [];
    this.#list(AP_LOOK_CHANNEL.BYTES, "ap_look_channels", (view, at) => {
      found.push({
        block: view.getUint32(at + AP_LOOK_CHANNEL.block, true),
        generation: view.getFloat64(at + AP_LOOK_CHANNEL.generation, true),
        capacity: view.getUint32(at + AP_LOOK_CHANNEL.capacity, true),
        depth: view.getFloat64(at + AP_LOOK_CHANNEL.depth, true),
        sent: view.getFloat64(at + AP_LOOK_CHANNEL.messages, true),
        unacknowledged: view.getUint32(at + AP_LOOK_CHANNEL.unacknowledged, true),
        closed: view.getUint32(at + AP_LOOK_CHANNEL.closed, true) !== 0,
      });
    });
    return found;
  }

  #list(
    entryBytes: number,
    call: "ap_look_blocks" | "ap_look_claims" | "ap_look_names" | "ap_look_channels",
    take: (view: DataView, at: number) => void,
  ) {
    const max = 1024;
    const view = new DataView(new ArrayBuffer(max * entryBytes));
    const next = new Float64Array(1);
    for (let from = 0; from >= 0; from = next[0]!) {
      const count = lookLibrary()[call](this.#look, from, new Uint8Array(view.buffer), max, next);
      for (let i = 0; i < count; i++) take(view, i * entryBytes);
    }
  }

  /** Every member, also dead ones that were not reaped yet. */
  members(): Member[] {
    const view = new DataView(new ArrayBuffer(AP_MEMBERS_MAX * AP_LOOK_MEMBER.BYTES));
    const count = lookLibrary().ap_look_members(this.#look, new Uint8Array(view.buffer), AP_MEMBERS_MAX);
    return Array.from({ length: count }, (_, i) => {
      const at = i * AP_LOOK_MEMBER.BYTES;
      const u32 = (field: number) => view.getUint32(at + field, true);
      const slot = u32(AP_LOOK_MEMBER.slot);
      const condition = u32(AP_LOOK_MEMBER.condition);
      const running = String.fromCharCode(u32(AP_LOOK_MEMBER.running));
      return {
        slot,
        pid: u32(AP_LOOK_MEMBER.pid),
        threadId: u32(AP_LOOK_MEMBER.tid),
        runtime: runtimeName(u32(AP_LOOK_MEMBER.runtime)),
        state: condition === AP_MEMBER_DEAD
          ? "dead"
          : condition === AP_MEMBER_JOINING
          ? "joining"
          : running === "T" || running === "t"
          ? "stopped"
          : "live",
        joinedAt: view.getFloat64(at + AP_LOOK_MEMBER.joined_at_ms, true),
        arrays: u32(AP_LOOK_MEMBER.arrays),
        bytes: view.getFloat64(at + AP_LOOK_MEMBER.bytes, true),
        attaches: u32(AP_LOOK_MEMBER.attaches),
        lockWaits: u32(AP_LOOK_MEMBER.lock_waits),
        command: this.#command(slot),
      };
    });
  }

  #command(slot: number): string[] | undefined {
    const text = new Uint8Array(4096);
    const length = lookLibrary().ap_look_command(this.#look, slot, text, text.length);
    if (length === 0) return undefined;
    const parts = new TextDecoder().decode(text.subarray(0, length)).split("\0");
    if (parts.at(-1) === "") parts.pop();
    return parts;
  }

  /** What traced members say of what they hold, by their slots: see core/trace_log.ts. */
  traces(): Map<number, TraceOf> {
    const found = new Map<number, TraceOf>();
    for (const { kind, holders, bytes, block, generation } of this.blocks()) {
      const [slot] = holders;
      if (kind !== "trace" || slot === undefined || holders.length !== 1 || bytes > TRACE_BYTES_MAX) continue;
      const text = new Uint8Array(bytes);
      const read = lookLibrary().ap_look_read(this.#look, block, generation, 0, text, bytes);
      if (read === bytes) found.set(slot, readTraceLog(text));
    }
    return found;
  }

  /** The first bytes of the heap in `count` equal parts. */
  picture(firstBytes: number, count: number): Cell[] {
    const cells = new Float64Array(3 * count);
    lookLibrary().ap_look_picture(this.#look, firstBytes, cells, count);
    return Array.from({ length: count }, (_, i) => ({
      used: cells[3 * i]!,
      claimed: cells[3 * i + 1]!,
      free: cells[3 * i + 2]!,
    }));
  }

  /** Walks a copy of all metadata, and looks for anything that is not as it must be. */
  check(tries: number = CHECK_TRIES): Verdict {
    const text = new Uint8Array(256);
    const result = lookLibrary().ap_look_check(this.#look, tries, text);
    if (result === AP_ERR_CORRUPT) return { result: "damaged", finding: textOf(text) };
    return { result: result === AP_ERR_BUSY ? "unsure" : result === 1 ? "repairable" : "sound" };
  }
}

function runtimeName(code: number): string {
  const names: Record<number, string> = {
    [AP_RUNTIME_BUN]: "bun",
    [AP_RUNTIME_DENO]: "deno",
    [AP_RUNTIME_NODE]: "node",
  };
  return names[code & 0xff] ?? "native";
}

function slotsOf(view: DataView, at: number): number[] {
  const slots: number[] = [];
  for (let slot = 0; slot < AP_MEMBERS_MAX; slot++) {
    if (view.getUint8(at + (slot >> 3)) & (1 << (slot & 7))) slots.push(slot);
  }
  return slots;
}

function cString(text: string): Uint8Array {
  return new TextEncoder().encode(text + "\0");
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}
