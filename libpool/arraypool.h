/* arraypool.h: the C interface of libarraypool.
 *
 * A pool is one POSIX shared-memory segment in which every process of one user allocates and frees numeric arrays.
 *
 *     double report[AP_REPORT_LENGTH];
 *     ap_pool *pool = ap_pool_create("prices", 64 << 20, 0, AP_RUNTIME_NATIVE, report);
 *     const double *record = ap_pool_record(pool);
 *     int32_t block = ap_block_alloc(pool, 1000 * sizeof(double), AP_FLOAT64, AP_ZEROED);
 *     double *prices = (double *)(uintptr_t)record[AP_RECORD_ADDRESS];
 *     ap_block_release(pool, block, 1);
 *     ap_pool_close(pool, 0);
 *
 * Rules that hold for every call:
 *   - A member (`ap_pool`) belongs to the thread that made it. One call at a time.
 *   - Negative results are error codes (AP_ERR_*); no input aborts the host.
 *   - What does not fit into the result is written to the member's record, valid until the next call of that member.
 *   - No call but create, open and close allocates; hot calls (ap_block_*, ap_claim_*) make no system call unless they
 *     have to back memory, wait for the lock, or read the clock.
 */
#ifndef ARRAYPOOL_H
#define ARRAYPOOL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a signature or a constant in this file does. */
#define AP_ABI_VERSION 5u

typedef struct ap_pool ap_pool;

/* ------------------------------------------------------------------ errors */

enum {
  AP_OK = 0,
  AP_ERR_STALE = -1,         /* the generation is gone, or the claim has expired and nobody holds the block */
  AP_ERR_FULL = -2,          /* no room: record[AP_SHORT_*] says how much of what */
  AP_ERR_BUSY = -3,          /* a live member kept the lock beyond the deadline: record[AP_RECORD_PID] */
  AP_ERR_MEMBERS = -4,       /* all 256 slots are taken */
  AP_ERR_CORRUPT = -5,       /* not a segment, or one that breaks an invariant */
  AP_ERR_NOT_FOUND = -6,     /* no pool of that name; no array under that key */
  AP_ERR_EXISTS = -7,        /* a pool of that name exists */
  AP_ERR_PERMISSION = -8,    /* another user's, a mode other than 0600, or a symlink */
  AP_ERR_VERSION = -9,       /* made by another layout version: report[AP_REPORT_DETAIL] is its version */
  AP_ERR_ARGUMENT = -10,     /* an argument out of its range */
  AP_ERR_TOO_LARGE = -11,    /* more than this pool's whole capacity */
  AP_ERR_NOT_HELD = -12,     /* this member does not hold that block */
  AP_ERR_SYSTEM = -13,       /* a system call failed: record[AP_RECORD_ERRNO] */
  AP_ERR_ADDRESS_SPACE = -14, /* the segment cannot be mapped (RLIMIT_AS, or no address space) */
  AP_ERR_NONCE = -15,        /* the pool of that name is not the one the nonce names */
  AP_ERR_WAIT = -16,         /* no message, or no room for one, in the time given */
  AP_ERR_CLOSED = -17,       /* the channel was closed; for a receiver: and is empty */
  AP_ERR_MORE = -18          /* a message needs more room: record[AP_RECORD_NEEDED] bytes */
};

/* ------------------------------------------------------------------ constants */

/* Element types, in the order of the TypeScript `DType`. */
enum {
  AP_INT8 = 1, AP_UINT8, AP_UINT8CLAMPED, AP_INT16, AP_UINT16, AP_INT32, AP_UINT32,
  AP_FLOAT16, AP_FLOAT32, AP_FLOAT64, AP_INT64, AP_UINT64
};

enum { AP_RUNTIME_NATIVE = 0, AP_RUNTIME_BUN = 1, AP_RUNTIME_DENO = 2, AP_RUNTIME_NODE = 3 };

/* Or'ed to the runtime of create and open: the host calls ap_buffer_gone() for every buffer it made on a block, and a
 * block stays held until it did. Bun does so by the deallocator of an
 * ArrayBuffer, Deno by way of Node-API: the library is a Node-API module, too (node_api.zig). */
#define AP_COUNTS_BUFFERS 256u

#define AP_MEMBERS_MAX 256u
#define AP_GRANULE_BYTES 64u
#define AP_FIRST_BYTES 86016u /* what a pool takes of /dev/shm before its first array */
#define AP_NAME_BYTES_MAX 30u /* without the terminating nul */
#define AP_NONCE_BYTES 16u    /* lower-case hexadecimal digits, without the terminating nul */
#define AP_CLAIM_ATTACHES_MAX 16777215u
#define AP_KEY_BYTES_MAX 128u
#define AP_AXES_MAX 64u
#define AP_NO_SHAPE 4294967295u /* axes of a shape that is just the length */

/* ap_block_alloc: how the memory is to be; or'ed with AP_TAIL times the number of bytes that are to stand behind it. */
enum { AP_UNINITIALIZED = 0, AP_ZEROED = 1, AP_TAIL = 2 };
#define AP_TAIL_BYTES_MAX 80u

/* ------------------------------------------------------------------ records (arrays of double) */

/* What create and open write when they fail, before there is a member. */
#define AP_REPORT_LENGTH 8
enum {
  AP_REPORT_CODE = 0,   /* AP_ERR_*, or 0 */
  AP_REPORT_ERRNO = 1,  /* the system's error number, or 0 */
  AP_REPORT_DETAIL = 2, /* see the error */
  AP_REPORT_PID = 3,    /* with AP_ERR_BUSY */
  AP_REPORT_CAUSE = 4   /* with AP_ERR_FULL: AP_CAUSE_DEVICE or AP_CAUSE_FILES */
};

/* The member's record. Which places a call writes is said at the call. */
#define AP_RECORD_LENGTH 32
enum {
  AP_RECORD_GENERATION = 0,
  AP_RECORD_OFFSET = 1,  /* bytes from the start of the heap */
  AP_RECORD_ADDRESS = 2, /* where this member sees it */
  AP_RECORD_BYTES = 3,
  AP_RECORD_DTYPE = 4,
  AP_RECORD_CLAIM = 5,
  AP_RECORD_ERRNO = 6, /* with AP_ERR_SYSTEM and AP_ERR_FULL */
  AP_RECORD_PID = 7,   /* with AP_ERR_BUSY */

  /* with AP_ERR_FULL */
  AP_SHORT_ASKED = 8,          /* bytes */
  AP_SHORT_LARGEST_FREE = 9,   /* bytes of the largest free run of the pool */
  AP_SHORT_DEVICE_FREE = 10,   /* bytes that /dev/shm has left */
  AP_SHORT_CLAIMED = 11,       /* bytes held by nothing but claims */
  AP_SHORT_OLDEST_CLAIM = 12,  /* seconds since the oldest of them was made */
  AP_SHORT_HELD = 13,          /* bytes of arrays that some member holds */
  AP_SHORT_HELD_BY_SELF = 14,  /* bytes of arrays that this member holds */
  AP_SHORT_CAUSE = 15,         /* AP_CAUSE_* */
  AP_SHORT_NAMED = 16,         /* bytes held by no member, but by a name */

  /* One more than the block that this member was told last to make a buffer on (AP_COUNTS_BUFFERS). Who has made it writes 0: what is
   * left here by a thread that was terminated was not made, and need not be waited for. No other call writes it. */
  AP_RECORD_UNMADE = 17,

  AP_RECORD_TAIL = 20          /* for ap_block_alloc: AP_TAIL_BYTES_MAX bytes, which no call writes */
};

enum {
  AP_CAUSE_HEAP = 1,   /* the pool's capacity is used up, or too fragmented */
  AP_CAUSE_DEVICE = 2, /* /dev/shm is full */
  AP_CAUSE_BLOCKS = 3, /* the block table is full */
  AP_CAUSE_CLAIMS = 4, /* the pin table is full */
  AP_CAUSE_FILES = 5,  /* /dev/shm takes no more files */
  AP_CAUSE_WAITERS = 6, /* the waiter table is full */
  AP_CAUSE_NAMES = 7   /* the name table is full */
};

/* ap_pool_info */
enum {
  AP_INFO_CAPACITY = 0,     /* bytes of heap */
  AP_INFO_HEAP_ADDRESS = 1, /* where this member sees the heap */
  AP_INFO_SLOT = 2,
  AP_INFO_CLAIM_TTL_MS = 3,
  AP_INFO_GONE_ADDRESS = 4, /* context of ap_buffer_gone for block b: this + b * AP_GONE_STRIDE */
  AP_INFO_BLOCKS_MAX = 5,
  AP_INFO_DOORBELL_ADDRESS = 6, /* for ap_doorbell_sleep */
  /* for ap_word_unfenced: 32-bit words from the start of the segment to the heap; where the buckets are */
  AP_INFO_HEAP_WORDS = 7,
  AP_INFO_BUCKETS_ADDRESS = 8
};
#define AP_GONE_STRIDE 16u

/* ap_pool_stats */
enum {
  AP_STATS_CAPACITY = 0,
  AP_STATS_BACKED = 1,       /* bytes of /dev/shm that the segment takes now, without its metadata */
  AP_STATS_USED = 2,         /* bytes of blocks in use, rounded up to granules */
  AP_STATS_LARGEST_FREE = 3, /* the largest array that fits without growing anything else */
  AP_STATS_CLAIMED = 4,      /* bytes held by nothing but claims */
  AP_STATS_ARRAYS = 5,
  AP_STATS_CLAIMS = 6,
  AP_STATS_MEMBERS = 7,
  AP_STATS_METADATA = 8, /* bytes of /dev/shm that the metadata takes now */
  AP_STATS_FREE_RUNS = 9,
  AP_STATS_LENT = 10, /* bytes of this member's blocks that are released, but still seen by a buffer (AP_COUNTS_BUFFERS) */
  AP_STATS_RECOVERIES = 11,
  AP_STATS_CHANNELS = 12
};

/* ------------------------------------------------------------------ pools */

uint32_t ap_abi_version(void);

/* Makes a pool and joins it. `name`: nul-terminated, 1 to 30 of A-Z a-z 0-9 . _ - with a letter or digit first, or
 * NULL for a random one. `capacity_bytes`: 1 MiB to 256 GiB, rounded up to pages of 64 KiB; 0 for the least of the
 * machine's memory, the cgroup's limit and the size of /dev/shm. `claim_ttl_ms`: 0 for 60,000. `runtime`:
 * AP_RUNTIME_*, or'ed with AP_COUNTS_BUFFERS. Dead pools of this user are swept first.
 * Returns NULL on failure, and says why in `report` (AP_REPORT_LENGTH doubles, or NULL). */
ap_pool *ap_pool_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);

/* Joins the pool of that name. `nonce`: NULL, or the 16 digits that it must have. One that dead members have left, in which
 * no claim waits, is swept, and not found. */
ap_pool *ap_pool_open(const char *name, const char *nonce, uint32_t runtime, double *report);

/* Joins the pool of that name, and makes it first where there is none; then the options count. */
ap_pool *ap_pool_open_or_create(const char *name, double capacity_bytes, double claim_ttl_ms, uint32_t runtime, double *report);

/* Leaves: gives up every hold of this member, and unlinks the segment if it was the last and no claim waits. The range
 * stays mapped, to pages of zeros, when `keep_range` is not 0: for hosts that may still have a view of it. After this
 * the member is gone; only ap_buffer_gone may still be called. Returns 1 if the segment was unlinked, else 0. */
int32_t ap_pool_close(ap_pool *pool, uint32_t keep_range);

/* The member's record: AP_RECORD_LENGTH doubles at an address that stays. */
double *ap_pool_record(ap_pool *pool);

/* record[AP_INFO_*] */
int32_t ap_pool_info(ap_pool *pool);

/* The name and the nonce, nul-terminated: at least 32 bytes each. */
int32_t ap_pool_name(ap_pool *pool, char *name);
int32_t ap_pool_nonce(ap_pool *pool, char *nonce);

/* How long a call waits for a live member that keeps the lock. Default 2,000 ms. */
int32_t ap_pool_set_lock_timeout(ap_pool *pool, double timeout_ms);

/* Unlinks every pool of this user that has neither a live member nor a live claim. Returns how many. */
int32_t ap_sweep(void);

/* For a process that is about to end: unlinks the pool of that name unless somebody outside this process is in it, or a
 * claim waits. Members of this process do not count: threads that still run end with it. Returns 1 if it was unlinked. */
int32_t ap_exit(const char *name);

/* ------------------------------------------------------------------ blocks */

/* Allocates, and holds it. `length_bytes` may be 0. Returns the block's index (>= 0).
 * What is to stand behind it, for those who look from outside, such as its shape (core/shape_note.ts), is taken from
 * record[AP_RECORD_TAIL] on, its first four bytes xor'ed with the generation. Nothing here reads it.
 * record: GENERATION, OFFSET, ADDRESS, BYTES. */
int32_t ap_block_alloc(ap_pool *pool, double length_bytes, uint32_t dtype, uint32_t how);

/* A zeroed block, held until this member leaves, in which the host writes for those who look from outside: AP_KIND_TRACE,
 * and no array. Returns its index. record: GENERATION, OFFSET, ADDRESS, BYTES. */
int32_t ap_trace_open(ap_pool *pool, double length_bytes);

/* Holds what a descriptor names. `claim`: the descriptor's, or 0. A member that holds the block already uses up no claim.
 * Returns 0, or 1 when this member held it before and took nothing off the claim.
 * record: GENERATION, OFFSET, ADDRESS, BYTES, DTYPE. */
int32_t ap_block_attach(ap_pool *pool, uint32_t block, double generation, double claim);

/* Lets others attach a block that this member holds, without a claim, as long as anybody holds it. Until this or a claim it
 * is this member's alone, and a descriptor of it is AP_ERR_STALE. */
int32_t ap_block_share(ap_pool *pool, uint32_t block);

/* Enters the whole pages of a part of a block that this member holds into the process's page tables, to be written to: in one call
 * instead of a fault for each page. For who is about to write for the first time over all of what another process has made; what
 * AP_UNINITIALIZED takes from the system needs none. A hint: macOS, and Linux before 5.14, do nothing. Returns 0. */
int32_t ap_block_prefault(ap_pool *pool, uint32_t block, double offset_bytes, double length_bytes);

/* Holds once more what this member holds. record: as attach. */
int32_t ap_block_retain(ap_pool *pool, uint32_t block);

/* Lets go once. `shown` only matters with AP_COUNTS_BUFFERS: 0 when no buffer was made for this hold; 1 when one was; 2 when
 * the host has taken its memory over into a spare one, through which nobody sees it, for a later hold on this block. A block
 * has one spare at most: ap_block_spare first says that there is none any more.
 * Returns 0: let go; 1: this member still holds it by another hold; 2: all holds are gone but a buffer is not, so the block is
 * lent and stays held until ap_block_settle. On AP_ERR_BUSY nothing has changed; on AP_ERR_CORRUPT this member has let go,
 * whatever became of the block. */
int32_t ap_block_release(ap_pool *pool, uint32_t block, uint32_t shown);

/* Lets go of a lent block if its last buffer is gone. Returns 0: let go, now or before; 1: this member holds it again; 2: still
 * lent. */
int32_t ap_block_settle(ap_pool *pool, uint32_t block);

/* Counts a buffer that is about to be made for a hold for which none was counted: on what a message has brought
 * (AP_COUNTS_BUFFERS). So of several arrays one at most is counted and not made, whenever the host is terminated. */
int32_t ap_block_show(ap_pool *pool, uint32_t block);

/* Says that no buffer is made for the last hold on that block: it would be empty. Release that hold with `shown` 1. */
int32_t ap_block_show_nothing(ap_pool *pool, uint32_t block);

/* The spare buffer on a block is none any more. `is_used`: 1 when it is the one of the last hold, for which no other is made;
 * 0 when it is about to go, as all others do. Nothing happens where there is none. */
void ap_block_spare(ap_pool *pool, uint32_t block, uint32_t is_used);

/* Returns how many buffers that the host made on that block, for any hold, are not gone (AP_COUNTS_BUFFERS); a spare does not
 * count. */
int32_t ap_block_shown(ap_pool *pool, uint32_t block);

/* The host's buffer on a block is gone. Any thread, any time. `context`: see AP_INFO_GONE_ADDRESS. */
void ap_buffer_gone(void *bytes, void *context);

/* ------------------------------------------------------------------ claims */

/* Makes a claim on a held block, good for `attaches` attaches (1 to AP_CLAIM_ATTACHES_MAX) within `ttl_ms` (0: the pool's).
 * record: CLAIM (a positive integer below 2^53), GENERATION. */
int32_t ap_claim_create(ap_pool *pool, uint32_t block, uint32_t attaches, double ttl_ms);

/* Takes `attaches` off a claim that will not be used; frees the block if nothing else holds it.
 * Returns 0 also when the claim is gone already. */
int32_t ap_claim_drop(ap_pool *pool, uint32_t block, double generation, double claim, uint32_t attaches);

/* ------------------------------------------------------------------ waiting
 *
 * As Atomics.wait and Atomics.notify, for any 32-bit word of a held block, across processes: `offset` is in bytes from the
 * start of the block, a multiple of 4. The look at the word and the sleep are one, as far as ap_word_notify is concerned. */

enum {
  AP_WAIT_OK = 0,        /* somebody has notified */
  AP_WAIT_NOT_EQUAL = 1, /* the word was not `expected` */
  AP_WAIT_TIMED_OUT = 2,
  AP_WAIT_GOES_ON = 3 /* not over after 100 ms: call ap_word_wait_on */
};
#define AP_NOTIFY_ALL 2147483647u /* what a runtime passes as an integer without a detour */

/* Blocks while the word is `expected`, until it is notified. `timeout_ms`: INFINITY for no limit. Returns AP_WAIT_*. A wait
 * that goes on must be gone on with, or is replaced by the next one. On AP_ERR_BUSY it has not begun. */
int32_t ap_word_wait(ap_pool *pool, uint32_t block, double offset, uint32_t expected, double timeout_ms);
int32_t ap_word_wait_on(ap_pool *pool);

/* Wakes the first `count` who wait for that word, blocked or not. Returns how many. Makes no system call and takes no lock
 * when nobody waits. What the caller wrote before is seen by whom it woke. */
int32_t ap_word_notify(ap_pool *pool, uint32_t block, double offset, uint32_t count);

/* For who notifies often, and reads memory faster than it calls a function. Returns 1 if a notify may be left out where the count
 * of its bucket is 0: read after all that was written before, in the order of the program (no compiler may change it); the
 * processor may, no fence is needed. Returns 0 if that may not be done, or not yet: then it is worth another call some
 * milliseconds later, since the kernel has been asked for what it takes.
 * The buckets (AP_INFO_BUCKETS_ADDRESS, until the member closes) are AP_BUCKETS times AP_BUCKET_BYTES, and begin with their count, a
 * uint32_t. A word's is the one whose number are the highest AP_BUCKET_BITS bits of n * AP_BUCKET_FACTOR modulo 2^32, if it is the
 * n-th word of the segment (AP_INFO_HEAP_WORDS). */
int32_t ap_word_unfenced(ap_pool *pool);
#define AP_BUCKETS 512u
#define AP_BUCKET_BYTES 16u
#define AP_BUCKET_BITS 9u
#define AP_BUCKET_FACTOR 2654435761u

/* The same without blocking, for hosts with an event loop. ap_word_watch begins to wait: returns the waiter's number (> 0),
 * or 0 if the word is not `expected`. When it was notified, ap_doorbell_take gives that number, once. ap_word_unwatch ends it
 * before that: returns 0, or 1 if it was notified first, and will be given. */
int32_t ap_word_watch(ap_pool *pool, uint32_t block, double offset, uint32_t expected);
int32_t ap_word_unwatch(ap_pool *pool, uint32_t waiter);

/* Writes the numbers of notified waiters, at most `max`. Returns how many. */
int32_t ap_doorbell_take(ap_pool *pool, uint32_t *waiters, uint32_t max);

/* For one who looks again and again before it parks: returns 1 if there is something to take, else 0, having let others run on
 * this processor. */
int32_t ap_doorbell_look(ap_pool *pool);

/* How a member that waits for notified waiters is woken: once after each ap_doorbell_park that returned 0 (1: there is
 * something to take first), and ap_doorbell_unpark when it looks by itself again.
 *   - By default some thread of the process has to be in ap_doorbell_sleep, with the address that ap_pool_info tells: it returns
 *     when it is time to take (or before), and touches nothing else of the member.
 *   - After ap_doorbell_open, which has to come before the first ap_doorbell_park, a datagram arrives at the socket whose descriptor that returns (nonblocking, the caller's to
 *     close). Datagrams without the member's secret are dropped by the kernel.
 * ap_doorbell_ring makes the member's own ap_doorbell_sleep return. */
int32_t ap_doorbell_park(ap_pool *pool);
int32_t ap_doorbell_unpark(ap_pool *pool);
int32_t ap_doorbell_sleep(void *address);
int32_t ap_doorbell_open(ap_pool *pool);
int32_t ap_doorbell_ring(ap_pool *pool);
/* ------------------------------------------------------------------ channels */

/* A channel is a queue of messages in a block of the pool: many members send, many receive, first in, first out. It is
 * held, attached and released like an array (ap_block_*). A message is text (any bytes) and arrays; these it holds until
 * it is received. Who dies leaves a message whole or not at all. */

#define AP_CHANNEL_CAPACITY_MAX 65536u
#define AP_CHANNEL_ARRAYS_MAX 1048575u /* in one message */
#define AP_CHANNEL_SLICE_MS 100u       /* no call waits longer */

/* ap_channel_receive: whether the message is done with, or stays until it is acknowledged. */
enum { AP_RECEIVE = 0, AP_RECEIVE_ACK = 1 };

enum {
  AP_RECORD_CAPACITY = 0,      /* ap_channel_enter */
  AP_RECORD_MESSAGE_BYTES = 1,
  AP_RECORD_ARRAYS = 0,        /* ap_channel_receive */
  AP_RECORD_ENTRY = 1,         /* with AP_RECEIVE_ACK: names the message to ap_channel_acknowledge */
  AP_RECORD_MESSAGE = 2,
  AP_RECORD_NEEDED = 3,        /* with AP_ERR_MORE */
  AP_RECORD_WORD_OFFSET = 0,   /* ap_channel_start_waiting */
  AP_RECORD_WORD = 1
};

/* ap_channel_stats */
enum {
  AP_CHANNEL_DEPTH = 0,
  AP_CHANNEL_MESSAGES = 1,
  AP_CHANNEL_BYTES = 2,
  AP_CHANNEL_WAITING_SENDERS = 3,
  AP_CHANNEL_WAITING_RECEIVERS = 4,
  AP_CHANNEL_UNACKNOWLEDGED = 5,
  AP_CHANNEL_CLOSED = 6
};

/* After the text of a message, from the next multiple of 8 on: for each array that is sent … */
typedef struct {
  uint32_t block;
  uint32_t zero;
  uint64_t generation;
} ap_sent_array; /* 16 bytes */

/* … and for each that was received, and is now held once more by the receiver. No buffer is counted for it: see ap_block_show. To
 * let go of one for which none was made, release it with `shown` 1. */
typedef struct {
  double block;
  double generation;
  double offset; /* bytes from the start of the heap */
  double length_bytes;
  double dtype;
  double kind; /* AP_KIND_* */
} ap_received_array; /* 48 bytes */

/* Makes a channel for at most `capacity` messages (1 to AP_CHANNEL_CAPACITY_MAX) with at most `message_bytes_max` bytes of
 * text each, and holds it. Returns its block. record: GENERATION. */
int32_t ap_channel_create(ap_pool *pool, uint32_t capacity, uint32_t message_bytes_max);

/* To be called once after a channel was attached. AP_ERR_ARGUMENT: that block is none. record: CAPACITY, MESSAGE_BYTES. */
int32_t ap_channel_enter(ap_pool *pool, uint32_t block);

/* Sends a message: `text_bytes` at `image`, and its arrays after them. AP_ERR_WAIT when there was no room for `timeout_ms`. */
int32_t ap_channel_send(ap_pool *pool, uint32_t block, const uint8_t *image, uint32_t text_bytes, uint32_t arrays, uint32_t timeout_ms);

/* Receives the next message into `into`. Returns the bytes of its text. AP_ERR_WAIT when there was none for `timeout_ms`;
 * AP_ERR_MORE when it needs more than `into_bytes`: it stays, then. record: ARRAYS; with `how` AP_RECEIVE_ACK: ENTRY, MESSAGE. */
int32_t ap_channel_receive(ap_pool *pool, uint32_t block, uint8_t *into, uint32_t into_bytes, uint32_t how, uint32_t timeout_ms);

/* A message that was received with AP_RECEIVE_ACK is done with; or, if `give_back` is not 0, the next receiver's.
 * AP_ERR_NOT_HELD when it is this member's no longer. */
int32_t ap_channel_acknowledge(ap_pool *pool, uint32_t block, uint32_t entry, double message, uint32_t give_back);

/* To wait for a message (AP_CHANNEL_RECEIVERS), for one that is to be acknowledged (AP_CHANNEL_ACKNOWLEDGERS: there has to be an
 * entry for it, too), or for room for one (AP_CHANNEL_SENDERS), without blocking. Returns 1 if there is perhaps one now; or 0, and then a word of the block (record: WORD_OFFSET, in bytes) differs from record: WORD when there is:
 * see ap_word_watch, which is notified. After that wait, however it ended, and after the message was taken,
 * ap_channel_stop_waiting is to be called. */
enum { AP_CHANNEL_RECEIVERS = 0, AP_CHANNEL_SENDERS = 1, AP_CHANNEL_ACKNOWLEDGERS = 2 };
int32_t ap_channel_start_waiting(ap_pool *pool, uint32_t block, uint32_t side);
int32_t ap_channel_stop_waiting(ap_pool *pool, uint32_t block, uint32_t side);

/* Nothing more is sent; what is in it can be received. */
int32_t ap_channel_close(ap_pool *pool, uint32_t block);

/* record[AP_CHANNEL_*] */
int32_t ap_channel_stats(ap_pool *pool, uint32_t block);

/* ------------------------------------------------------------------ names */

/* A key is `key_bytes` bytes (1 to AP_KEY_BYTES_MAX) of UTF-8; no nul is needed, and one counts like any other byte. */

/* What a name names: a part of a block. */
typedef struct {
  uint32_t block;
  uint32_t axes;  /* of the shape, up to AP_AXES_MAX, or AP_NO_SHAPE */
  double offset;  /* bytes from the start of the block */
  double length_bytes;
  double shape[64];
} ap_name_value; /* 536 bytes */

/* Gives a name to a part of a held block. The name holds the block until the name is deleted, set again, or the pool ends.
 * Others find the old array or the new one, never none. AP_ERR_ARGUMENT also for an empty array whose shape takes more than
 * 72 bytes, 7 bits a byte. */
int32_t ap_name_set(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);

/* Holds what a name names. Returns 0 or 1 as ap_block_attach, or AP_ERR_NOT_FOUND. record: as attach. */
int32_t ap_name_get(ap_pool *pool, const char *key, uint32_t key_bytes, ap_name_value *value);

/* Returns 1 if the name names something, else 0. */
int32_t ap_name_has(ap_pool *pool, const char *key, uint32_t key_bytes);

/* Lets go of what a name names. Returns 1, or 0 if it named nothing. */
int32_t ap_name_delete(ap_pool *pool, const char *key, uint32_t key_bytes);

typedef struct {
  uint32_t block;
  uint32_t key_bytes;
  double generation;
  uint8_t key[128];
} ap_name_info; /* 144 bytes */

/* Names, from record `from` on, at most `max` of them. Returns how many were written.
 * record[0]: the record to go on from, or -1 at the end. */
int32_t ap_name_list(ap_pool *pool, uint32_t from, ap_name_info *names, uint32_t max);

enum {
  AP_ONCE_THERE = 0,  /* the name names something: ap_name_get */
  AP_ONCE_MAKE = 1,   /* this member is to make it, and then to call ap_once_end; the others wait for it */
  AP_ONCE_OTHERS = 2, /* another member makes it, still after `timeout_ms` */
  AP_ONCE_OWN = 3     /* this member makes it already */
};

/* Sees to it that one member makes what a name is to name, and the others wait for it, asleep. When it dies, or says that it
 * has not made it, the next one that asks is to. Returns AP_ONCE_*; record: PID of the maker with AP_ONCE_OTHERS. */
int32_t ap_once_begin(ap_pool *pool, const char *key, uint32_t key_bytes, double timeout_ms);

/* Begins a wait, as ap_word_watch, for the maker that the last ap_once_begin answered AP_ONCE_OTHERS for: until it has made it,
 * or says that it has not. One that dies says nothing. Returns 0 if that has happened already. */
int32_t ap_once_watch(ap_pool *pool);

/* What was made; NULL: it was not. Returns AP_ONCE_THERE, or AP_ONCE_OTHERS if the name was set by others meanwhile. */
int32_t ap_once_end(ap_pool *pool, const char *key, uint32_t key_bytes, const ap_name_value *value);

/* ------------------------------------------------------------------ care */

/* Takes back what dead members and expired claims held. Returns how many members were dead. record[0]: blocks freed,
 * record[1]: their bytes. */
int32_t ap_pool_reap(ap_pool *pool);

/* Gives free memory back to the system. record[0]: bytes. */
int32_t ap_pool_trim(ap_pool *pool);

/* Walks the whole segment. AP_OK, or AP_ERR_CORRUPT and the first broken invariant as text in `text` (at least 256
 * bytes, or NULL). */
int32_t ap_check(ap_pool *pool, char *text);

/* record[AP_STATS_*] */
int32_t ap_pool_stats(ap_pool *pool);

typedef struct {
  uint32_t block;
  uint32_t dtype;
  double generation;
  double length_bytes;
  double offset; /* bytes from the start of the heap */
  double age_ms; /* since it was allocated; to a second, and to half a year */
  uint32_t claims;
  uint32_t kind;       /* AP_KIND_* */
  uint64_t holders[4]; /* bit s: the member in slot s */
} ap_block_info; /* 80 bytes */

/* AP_KIND_MESSAGE: what a message carries that is too large for its channel. */
enum { AP_KIND_ARRAY = 0, AP_KIND_CHANNEL = 1, AP_KIND_MESSAGE = 2, AP_KIND_TRACE = 15 };

/* Blocks in use, from index `from` on, at most `max` of them. Returns how many were written.
 * record[0]: the index to go on from, or -1 at the end. */
int32_t ap_block_list(ap_pool *pool, uint32_t from, ap_block_info *blocks, uint32_t max);

typedef struct {
  uint32_t slot;
  uint32_t pid;
  uint32_t tid;
  uint32_t runtime;
  double joined_at_ms; /* since 1970 */
  uint32_t self;       /* 1 for the caller */
  uint32_t alive;      /* 0: dead, and not yet reaped */
} ap_member_info; /* 32 bytes */

/* Members, at most `max` of them (AP_MEMBERS_MAX holds all). Returns how many were written. */
int32_t ap_member_list(ap_pool *pool, ap_member_info *members, uint32_t max);

/* ------------------------------------------------------------------ looking from outside */

/* These are in a library of their own, libarraypool-look, since only those who look at pools need them; it has all functions
 * ap_look_*, and no other.
 *
 * A look at a pool by one who is no member: it takes no slot and no lock, and writes nothing. It reads a copy of the
 * metadata; all ap_look_* functions that take an ap_look work on the last copy, but ap_look_close. A segment may be damaged
 * in any way. */
typedef struct ap_look ap_look;

/* The AP_ABI_VERSION of that library. */
uint32_t ap_look_abi_version(void);

/* The names of this user's pools, whatever state they are in: the first `max`, each nul-terminated in 32 bytes. Returns
 * how many there are. */
int32_t ap_look_pools(char *names, uint32_t max);

/* Unlinks the pool of that name. Returns 1; or, with `force` 0, does nothing and returns 0 when members live in it, and 2 when
 * claims wait in it. With `force` members keep the memory, and nobody finds it any more. `report`: as create, or NULL. */
int32_t ap_look_remove(const char *name, uint32_t force, double *report);

/* Returns NULL on failure, and says why in `report`, as create does. A segment that is damaged, or of another version, is
 * no failure. */
ap_look *ap_look_open(const char *name, double *report);
void ap_look_close(ap_look *look);

#define AP_LOOK_LENGTH 40
enum {
  AP_LOOK_STATE = 0, /* AP_STATE_*. Only with AP_STATE_POOL there is more than the next 15 */
  AP_LOOK_VERSION = 1,
  AP_LOOK_FILE = 2,     /* bytes of addresses */
  AP_LOOK_TAKEN = 3,    /* bytes of /dev/shm, metadata included */
  AP_LOOK_METADATA = 4, /* bytes of /dev/shm that the metadata takes */
  AP_LOOK_NAMED = 5,    /* 0: it was unlinked, or the name is another pool's by now */
  AP_LOOK_LIVE = 6,     /* 1: somebody owns a slot */
  AP_LOOK_WAITS_MS = 7, /* without anybody living in it, it waits that long for what was sent */
  AP_LOOK_STILL = 8,    /* 1: the copy is what the pool was at one moment. 0: some of it changed meanwhile */
  AP_LOOK_MOVING = 9,   /* how much of it: entries of tables */
  AP_LOOK_LOCK = 10,    /* AP_LOCK_* */
  AP_LOOK_LOCK_SLOT = 11,
  AP_LOOK_LOCK_PID = 12,
  AP_LOOK_NOW_MS = 13, /* since 1970 */
  AP_LOOK_CAPACITY = 14,
  AP_LOOK_CREATED_AT_MS = 15, /* since 1970 */
  AP_LOOK_CLAIM_TTL_MS = 16,
  AP_LOOK_CORRUPT = 17, /* 1: a recovery has found it broken */
  AP_LOOK_RECOVERIES = 18,
  AP_LOOK_USED = 19, /* bytes of blocks in use, rounded up to granules */
  AP_LOOK_ARRAYS = 20,
  AP_LOOK_CLAIMED = 21, /* bytes held by nothing but claims */
  AP_LOOK_CLAIMS = 22,
  AP_LOOK_FREE_BACKED = 23, /* bytes that are free and take memory */
  AP_LOOK_RESERVED = 24,    /* bytes that somebody is backing or giving back */
  AP_LOOK_LARGEST_FREE = 25,
  AP_LOOK_FREE_RUNS = 26,
  AP_LOOK_MEMBERS = 27,
  AP_LOOK_DEAD = 28,        /* members that are dead and not yet reaped */
  AP_LOOK_BLOCKS_MADE = 29, /* since the pool was made; only ever rises */
  AP_LOOK_CLAIMS_MADE = 30, /* the same */
  AP_LOOK_ENTRIES = 31,     /* of the block table that were ever used */
  AP_LOOK_REACH = 32,       /* bytes: beyond it, the heap is free and takes no memory */
  AP_LOOK_CREATOR_PID = 33,
  AP_LOOK_CREATOR_RUNTIME = 34,
  AP_LOOK_BLOCKS = 35 /* in use, arrays and others */
};
enum { AP_STATE_POOL = 0, AP_STATE_DAMAGED = 1, AP_STATE_OTHER_VERSION = 2 };
enum { AP_LOCK_FREE = 0, AP_LOCK_HELD = 1, AP_LOCK_ORPHANED = 2 };

/* Makes a new copy: until the pool stood still meanwhile, at most `tries` times. facts[AP_LOOK_*] */
int32_t ap_look_take(ap_look *look, uint32_t tries, double *facts);

/* As ap_block_list. *next: the index to go on from, or -1 at the end. */
int32_t ap_look_blocks(ap_look *look, uint32_t from, ap_block_info *blocks, uint32_t max, double *next);

typedef struct {
  uint32_t slot;
  uint32_t pid;
  uint32_t tid;
  uint32_t runtime;
  double joined_at_ms;
  double bytes; /* of arrays that it holds */
  uint32_t arrays;
  uint32_t condition; /* AP_MEMBER_* */
  uint32_t here;      /* 1: pid and tid are numbers of the caller's PID namespace */
  uint32_t running;   /* what the thread is at, a letter as in /proc ('R', 'S', 'T' for stopped); 0: not known */
  uint32_t buffers;   /* that its host has on its blocks */
  uint32_t attaches;   /* so far, counted round */
  uint32_t lock_waits; /* how often it found the lock taken, counted round */
  uint32_t unused;
} ap_look_member; /* 64 bytes */
enum { AP_MEMBER_DEAD = 0, AP_MEMBER_JOINING = 1, AP_MEMBER_JOINED = 2 };

/* Members, at most `max` of them, also dead ones that were not reaped yet. Returns how many were written. */
int32_t ap_look_members(ap_look *look, ap_look_member *members, uint32_t max);

/* Reads bytes of a block that was in use when the copy was made, and of what stands behind its array. Returns how many, or
 * AP_ERR_STALE if it is not there any more. */
int32_t ap_look_read(ap_look *look, uint32_t block, double generation, double offset, uint8_t *into, uint32_t bytes);

/* The command line of the process in a slot, its parts separated by nul. Returns how many bytes, 0 if it is not to be had. */
int32_t ap_look_command(ap_look *look, uint32_t slot, char *text, uint32_t bytes);

typedef struct {
  uint32_t block;
  uint32_t attaches; /* that are left */
  double generation;
  double left_ms; /* negative: it has expired */
} ap_look_claim; /* 24 bytes */

int32_t ap_look_claims(ap_look *look, uint32_t from, ap_look_claim *claims, uint32_t max, double *next);

typedef struct {
  uint32_t block;
  uint32_t axes;       /* of the shape, or AP_NO_SHAPE */
  double generation;
  double offset;       /* bytes from the start of the block */
  double length_bytes;
  uint32_t key_bytes;
  uint32_t maker_pid;  /* not 0: it names nothing yet, that process makes it */
  double shape[64];
  uint8_t key[128];
} ap_look_name; /* 680 bytes */

int32_t ap_look_names(ap_look *look, uint32_t from, ap_look_name *names, uint32_t max, double *next);

typedef struct {
  uint32_t block;
  uint32_t capacity; /* messages */
  double generation;
  double depth;      /* messages that wait */
  double messages;   /* that were ever sent */
  uint32_t closed;
  uint32_t unacknowledged;
} ap_look_channel; /* 40 bytes */

int32_t ap_look_channels(ap_look *look, uint32_t from, ap_look_channel *channels, uint32_t max, double *next);

/* The first bytes of the heap, cut into `count` equal cells. Three doubles each: bytes in use, bytes held by nothing but
 * claims, bytes that are free and take memory. The rest of a cell is free and takes none. */
int32_t ap_look_picture(ap_look *look, double first_bytes, double *cells, uint32_t count);

/* Makes new copies, and walks them as ap_check does. AP_OK; 1 if it is sound once somebody has taken the lock over from its
 * dead owner; AP_ERR_CORRUPT and `text`; or AP_ERR_BUSY if it never stood still in `tries` tries. */
int32_t ap_look_check(ap_look *look, uint32_t tries, char *text);

#ifdef __cplusplus
}
#endif

#endif
