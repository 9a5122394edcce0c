/** Turns the error codes of the C library into errors that say what happened and what to do. */

import {
  AP_CAUSE_BLOCKS,
  AP_CAUSE_CLAIMS,
  AP_CAUSE_DEVICE,
  AP_CAUSE_FILES,
  AP_CAUSE_NAMES,
  AP_CAUSE_WAITERS,
  AP_ERR_ADDRESS_SPACE,
  AP_ERR_ARGUMENT,
  AP_ERR_BUSY,
  AP_ERR_CLOSED,
  AP_ERR_CORRUPT,
  AP_ERR_EXISTS,
  AP_ERR_FULL,
  AP_ERR_MEMBERS,
  AP_ERR_MORE,
  AP_ERR_NONCE,
  AP_ERR_NOT_FOUND,
  AP_ERR_NOT_HELD,
  AP_ERR_PERMISSION,
  AP_ERR_STALE,
  AP_ERR_SYSTEM,
  AP_ERR_TOO_LARGE,
  AP_ERR_VERSION,
  AP_ERR_WAIT,
  AP_FIRST_BYTES,
  AP_MEMBERS_MAX,
  AP_SHORT_ASKED,
  AP_SHORT_CAUSE,
  AP_SHORT_CLAIMED,
  AP_SHORT_DEVICE_FREE,
  AP_SHORT_HELD,
  AP_SHORT_HELD_BY_SELF,
  AP_SHORT_LARGEST_FREE,
  AP_SHORT_NAMED,
  AP_SHORT_OLDEST_CLAIM,
} from "./abi.ts";
import { formatBytes, PoolError } from "./errors.ts";

/** What an error can tell besides its code. */
export interface Facts {
  /** The pool's name; undefined where the library was to choose one. */
  readonly pool: string | undefined;
  /** Whether it was to be made. */
  readonly creating?: boolean;
  /** Whether a message was to be sent, and not to be received. */
  readonly sending?: boolean;
  /** How many messages there were that are not acknowledged: as many as may be. */
  readonly unacknowledged?: number;
  readonly errno?: number;
  readonly pid?: number;
  /** The layout version of a segment that has another one; what /dev/shm has left for a new one. */
  readonly detail?: number;
  /** With AP_ERR_FULL, for a pool that was not made: AP_CAUSE_*. */
  readonly cause?: number;
  readonly capacityBytes?: number;
  /** The member's record, with AP_ERR_FULL. */
  readonly record?: Float64Array;
  /** Where unreleased arrays were made, with ARRAYPOOL_TRACE=1. */
  readonly origins?: string;
  /** Of what was released here and is still seen by something; with ERR_POOL_FULL. */
  readonly lentBytes?: number;
}

// Of Linux and of macOS.
const EFBIG = 27;
const EROFS = 30;

/** The error for `code`, an AP_ERR_*. */
export function failure(code: number, facts: Facts): Error {
  const pool = facts.pool === undefined ? "the pool" : `pool "${facts.pool}"`;
  switch (code) {
    case AP_ERR_STALE:
      return staleDescriptor(
        `the array is gone from ${pool}: nobody held it any more when its claim had been used up or had expired. ` +
          "Keep it at the sender until it was attached, or send it with more claims or time: pack(message, { claims, ttlMs })",
      );
    case AP_ERR_FULL:
      return new PoolError(
        "ERR_POOL_FULL",
        facts.record === undefined ? noRoomMessage(pool, facts) : fullMessage(pool, facts.record, facts),
      );
    case AP_ERR_BUSY:
      return new PoolError(
        "ERR_POOL_BUSY",
        `${pool} is busy: process ${facts.pid} is alive and keeps its lock. If it was stopped (Ctrl-Z, SIGSTOP, a debugger), ` +
          `let it go on (kill -CONT ${facts.pid}) or end it, and try again`,
      );
    case AP_ERR_MEMBERS:
      return new PoolError(
        "ERR_TOO_MANY_MEMBERS",
        `${pool} has ${AP_MEMBERS_MAX} members already: close it in processes and Workers that are done with it, or share fewer arrays per Worker through one`,
      );
    case AP_ERR_CORRUPT:
      return new PoolError(
        "ERR_CORRUPT_SEGMENT",
        `${pool} is damaged, or the file of that name is no pool: end the programs that use it and delete /dev/shm/arraypool.${
          facts.pool ?? "*"
        }`,
      );
    case AP_ERR_NOT_FOUND:
      if (facts.creating) {
        return new PoolError(
          "ERR_SYSTEM",
          `there is no /dev/shm, where ${pool} has its memory: mount a tmpfs there, as container runtimes do unless they are told otherwise`,
        );
      }
      return new PoolError(
        "ERR_NOT_FOUND",
        `there is no ${pool}: create it first (Pool.create or Pool.openOrCreate), and keep it open while others are to find it`,
      );
    case AP_ERR_EXISTS:
      return new PoolError(
        "ERR_ALREADY_EXISTS",
        `${pool} exists already: if it is yours, use Pool.open or Pool.openOrCreate; else another name`,
      );
    case AP_ERR_PERMISSION:
      return new PoolError(
        "ERR_PERMISSION",
        `${pool} is not ours to open: its file in /dev/shm belongs to another user, is a symlink, a directory or the like, or has another mode than 0600. Use another name, or delete that file`,
      );
    case AP_ERR_VERSION:
      return new PoolError(
        "ERR_LAYOUT_VERSION",
        `${pool} was made by another version of arraypool (layout ${facts.detail}): use the same version in all programs that share a pool`,
      );
    case AP_ERR_TOO_LARGE:
      return new PoolError(
        "ERR_ARRAY_TOO_LARGE",
        `${facts.sending ? "the message" : "what was asked for"} is larger than ${pool} as a whole (${
          formatBytes(facts.capacityBytes ?? 0)
        }): create the pool with a larger capacity`,
      );
    case AP_ERR_NOT_HELD:
      return new PoolError(
        "ERR_RELEASED",
        `this realm does not hold that array of ${pool} any more: release it later (what sendAsync() sends, when its promise ` +
          "is fulfilled), or let { move: true } do it",
      );
    case AP_ERR_SYSTEM:
      return new PoolError(
        "ERR_SYSTEM",
        facts.errno === EFBIG
          ? `${pool} is larger than any file that this process may make: create it with a smaller capacity, or raise the limit (ulimit -f)`
          : facts.errno === EROFS
          ? `/dev/shm is mounted read-only, and ${pool} has its memory there: mount a tmpfs that may be written to`
          : `a system call for ${pool} failed with errno ${facts.errno}: see \`errno ${facts.errno}\`; the usual reason is too many open files (ulimit -n)`,
      );
    case AP_ERR_ADDRESS_SPACE:
      return new PoolError(
        "ERR_SYSTEM",
        `${pool} does not fit into the address space of this process: create it with a smaller capacity, or raise the limit (ulimit -v)`,
      );
    case AP_ERR_NONCE:
      return staleDescriptor(
        `${pool} is not the one that the descriptor names, but a later one of the same name: send a new descriptor`,
      );
    case AP_ERR_CLOSED:
      return new PoolError(
        "ERR_CLOSED",
        facts.sending
          ? `the channel in ${pool} was closed, so nothing more can be sent there: close() it when all is sent, or make another one`
          : `the channel in ${pool} was closed, and all that was in it has been received: a loop over it (for … of, for await) just ends there`,
      );
    case AP_ERR_MORE:
      return new PoolError("ERR_SYSTEM", `a message in ${pool} is too large to be received here: receive it elsewhere`);
    case AP_ERR_WAIT:
      return new PoolError(
        "ERR_TIMEOUT",
        facts.sending
          ? `the channel in ${pool} had no room within the time given: receive faster, give it a larger capacity, or wait longer (timeoutMs)`
          : facts.unacknowledged !== undefined
          ? `the channel in ${pool} has messages, but ${facts.unacknowledged} that were received with { ack: true } are not acknowledged, and it has room for no more of those: ack() some, or give it a larger capacity`
          : `the channel in ${pool} had no message within the time given: see that somebody sends, or wait longer (timeoutMs)`,
      );
    case AP_ERR_ARGUMENT:
      return new RangeError(`the native library refuses an argument for ${pool}`);
    default:
      return new PoolError(
        "ERR_LIBRARY",
        `the native library answered ${code} for ${pool}: run \`npm run build\` in the folder of arraypool`,
      );
  }
}

/** A descriptor that names nothing (any more). */
export function staleDescriptor(message: string): PoolError {
  return new PoolError("ERR_STALE_DESCRIPTOR", message);
}

/** For a pool that cannot even be made. */
function noRoomMessage(pool: string, facts: Facts): string {
  if (facts.cause === AP_CAUSE_FILES) {
    return `/dev/shm takes no more files, so there is no place for ${pool}. ` +
      "What helps: end programs that use other pools, delete files there that nobody uses, a /dev/shm with more inodes " +
      "(mount -o remount,nr_inodes=... /dev/shm)";
  }
  return `/dev/shm has only ${formatBytes(facts.detail ?? 0)} left, and ${pool} needs ${
    formatBytes(AP_FIRST_BYTES)
  } before its first array. ` +
    "What helps: end programs that use other pools, trim() them, a larger /dev/shm (Docker: --shm-size)";
}

function lentMessage(bytes: number): string {
  return `, or were released here and are still seen (${
    formatBytes(bytes)
  }): by a buffer that was transferred away, a plain view, ` +
    "or a native call in flight (what helps: let the event loop run until those are done)";
}

function fullMessage(pool: string, record: Float64Array, { pool: poolName, origins, lentBytes = 0 }: Facts): string {
  const bytes = (index: number) => formatBytes(record[index]!);
  const causes: Record<number, string> = {
    [AP_CAUSE_DEVICE]: `/dev/shm has only ${bytes(AP_SHORT_DEVICE_FREE)} left for ${pool}`,
    [AP_CAUSE_BLOCKS]: `${pool} has no room for another array: its table of arrays is full`,
    [AP_CAUSE_WAITERS]: `${pool} has no room for another waitAsync(): its table of waits is full`,
    [AP_CAUSE_CLAIMS]: `${pool} has no room for another claim: too many descriptors were sent and not attached`,
    [AP_CAUSE_NAMES]: `${pool} has no room for another name: delete() some`,
  };
  const cause = causes[record[AP_SHORT_CAUSE]!] ?? `${pool} is full`;
  const oldest = record[AP_SHORT_CLAIMED]! > 0
    ? `, the oldest ${Math.round(record[AP_SHORT_OLDEST_CLAIM]!)} s old`
    : "";
  return `${cause}. Asked for ${bytes(AP_SHORT_ASKED)}; the largest free run has ${
    bytes(AP_SHORT_LARGEST_FREE)
  }, /dev/shm has ${bytes(AP_SHORT_DEVICE_FREE)} left; ` +
    `${bytes(AP_SHORT_HELD)} are held by arrays that were not released (${bytes(AP_SHORT_HELD_BY_SELF)} of them here)${
      lentBytes === 0 ? "" : lentMessage(lentBytes)
    }, ` +
    `${bytes(AP_SHORT_CLAIMED)} only by claims that were not attached${oldest}, ${
      bytes(AP_SHORT_NAMED)
    } only by names. ` +
    "What helps: release() arrays or declare them with `using`, attach or release() what was sent, delete() names, trim() other pools, " +
    "a larger capacity, a larger /dev/shm (Docker: --shm-size)" +
    (poolName === undefined ? "" : `. Who holds what, in all processes: arraypool leaks ${poolName}`) +
    (origins === undefined ? "" : `\nNot released here:\n${origins}`);
}
