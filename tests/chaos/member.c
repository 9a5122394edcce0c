/* A member of a chaos run that is cheap to start, and so to kill: what life.ts does, through the C interface. Records, mail,
 * events and the content of arrays are those of folder.ts and pattern.ts.
 *
 *     chaos-member FOLDER POOL SEED CHAIR NUMBER RECORD LARGEST_BYTES CLAIM_TTL_MS LEAVES_MS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "arraypool.h"

enum {
  HELD_MAX = 32,
  PLACES = 48,
  SIDE_POOLS = 4,
  STALE_MAX = 16,
  SLOW_MS = 100,
  CLOCK_SLACK_MS = 4,
  TTL_MAX_MS = 3000,
  LISTED_MAX = 8192,
  /* As in letters.ts. */
  CHANNELS = 4,
  CHANNELS_THAT_ACK = 2, /* from this one on */
  WORDS = 4,
  LETTER_ARRAYS_MAX = 3,
  TEXT_MAX = 2500,
};

/* ------------------------------------------------------------------ what the supervisor said */

static const char *folder, *pool_name;
static uint32_t seed, chair, number, record_index;
static uint32_t largest_bytes;
static double claim_ttl_ms;

/* ------------------------------------------------------------------ chance */

static uint32_t mix(uint32_t hash, uint32_t value) {
  hash = (hash ^ value) * 0x85ebca6bu;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
  return hash ^ hash >> 16;
}

static uint32_t draws_state, draws_count, step;

static void draws_step(void) {
  uint32_t base = mix(mix(mix(mix(0x9e3779b9u, seed), 6), chair), number);
  draws_state = mix(base, step);
  draws_count = 0;
}
static double draw(void) { return mix(draws_state, ++draws_count) / 4294967296.0; }
static uint32_t below(uint32_t limit) { return (uint32_t)(draw() * limit); }
static bool chance(double probability) { return draw() < probability; }
static uint32_t size_up_to(uint32_t most) { return (uint32_t)exp2(draw() * log2(most)); }

/* ------------------------------------------------------------------ board, events, time */

/* As RECORD in folder.ts. */
enum {
  AT_ID, AT_PROGRESS, AT_ALLOCATED, AT_ATTACHED, AT_SENT, AT_VERIFIED, AT_FULL, AT_BUSY, AT_EXPIRED, AT_LONGEST, AT_CHECKS,
  AT_JOINS, AT_LEAVES = 15, RECORD_PLACES,
};

static double board_record[RECORD_PLACES];
static int board;

static void show(void) {
  if (pwrite(board, board_record, sizeof board_record, (off_t)sizeof board_record * (record_index + 1)) < 0) abort();
}

static bool is_finish(void) {
  char phase = 0;
  return pread(board, &phase, 1, 0) == 1 && phase != 0;
}

/* Milliseconds on the clock that folder.ts starts. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void report(const char *format, ...) {
  char line[1024], path[512];
  va_list arguments;
  va_start(arguments, format);
  int length = snprintf(line, sizeof line, "{\"id\":%.0f,", board_record[AT_ID]);
  length += vsnprintf(line + length, sizeof line - length - 3, format, arguments);
  va_end(arguments);
  if (length > (int)sizeof line - 3) length = sizeof line - 3;
  length += snprintf(line + length, 3, "}\n");
  snprintf(path, sizeof path, "%s/events", folder);
  int events = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (events < 0 || write(events, line, length) != length) abort();
  close(events);
}

/* Reports, and stands still so that the segment can be looked at. */
#define broken(...) (broken_at(__VA_ARGS__))
static _Noreturn void broken_at(const char *format, ...) {
  char what[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  report("\"kind\":\"broken\",\"what\":\"native, step %u: %s\"", step, what);
  for (;;) pause();
}

/* ------------------------------------------------------------------ calls */

static ap_pool *pool;
static const double *record;
static double call_from;

/* What a call returned; AP_ERR_FULL and AP_ERR_BUSY count here, the others are for the caller. */
static int32_t counted(const char *what, int32_t result, double pid) {
  double to = now();
  if (to - call_from > board_record[AT_LONGEST]) board_record[AT_LONGEST] = to - call_from;
  if (to - call_from > SLOW_MS)
    report("\"kind\":\"slow\",\"from\":%.3f,\"to\":%.3f,\"what\":\"%s\"", call_from, to, what);
  if (result == AP_ERR_BUSY) {
    /* Who has the lock of a channel may itself wait for the pool's lock. */
    bool waits_for_two = strstr(what, "letter") || strstr(what, "channel");
    board_record[AT_BUSY]++;
    report("\"kind\":\"busy\",\"from\":%.3f,\"to\":%.3f,\"pid\":%.0f,\"waitsForTwo\":%s", call_from, to, pid, waits_for_two ? "true" : "false");
  } else board_record[AT_PROGRESS]++;
  if (result == AP_ERR_FULL) board_record[AT_FULL]++;
  return result;
}
#define CALL(what, call) (call_from = now(), counted(what, call, record[AP_RECORD_PID]))

static bool is_refused(int32_t result) { return result == AP_ERR_FULL || result == AP_ERR_BUSY; }

static void expect_ok(const char *what, int32_t result) {
  if (result < 0 && !is_refused(result)) broken("%s: error %d, errno %.0f", what, result, record[AP_RECORD_ERRNO]);
}

static uint32_t nonce_high, nonce_low;
static double heap_address;

static void read_nonce(ap_pool *of) {
  char nonce[32];
  ap_pool_nonce(of, nonce);
  sscanf(nonce, "%8x%8x", &nonce_high, &nonce_low);
}

static void join_pool(void) {
  double why[AP_REPORT_LENGTH];
  do {
    call_from = now();
    pool = ap_pool_open(pool_name, NULL, AP_RUNTIME_NATIVE, why);
    int32_t result = counted("join", pool ? AP_OK : (int32_t)why[AP_REPORT_CODE], why[AP_REPORT_PID]);
    if (result != AP_OK && result != AP_ERR_BUSY) broken("join: error %d, errno %.0f", result, why[AP_REPORT_ERRNO]);
  } while (!pool);
  record = ap_pool_record(pool);
  read_nonce(pool);
  ap_pool_info(pool);
  heap_address = record[AP_INFO_HEAP_ADDRESS];
  board_record[AT_JOINS]++;
}

/* ------------------------------------------------------------------ content */

static uint32_t key_of(uint32_t block, double generation) {
  uint64_t whole = (uint64_t)generation;
  uint32_t key = mix(mix(mix(0x51ed270bu, nonce_high), nonce_low), block);
  return mix(mix(key, (uint32_t)whole), (uint32_t)(whole >> 32));
}

static uint32_t word_at(uint32_t key, uint32_t place) {
  uint32_t word = (key ^ place) * 0x9e3779b1u;
  return word ^ word >> 15;
}
static uint8_t byte_at(uint32_t key, uint32_t place) { return word_at(key, place >> 2) >> 8 * (place & 3); }

/* Volatile: what another process may write is read and written once, here and now. */
static void fill(volatile uint8_t *bytes, uint32_t length, uint32_t key) {
  volatile uint32_t *words = (volatile uint32_t *)bytes;
  for (uint32_t i = 0; i < length / 4; i++) words[i] = word_at(key, i);
  for (uint32_t i = length & ~3u; i < length; i++) bytes[i] = byte_at(key, i);
}

/* From byte `offset` of the array on; `bytes` is where that byte is. -1: all is as it must be. */
static int64_t first_wrong(const volatile uint8_t *bytes, uint32_t length, uint32_t key, uint32_t offset) {
  uint32_t i = 0;
  for (; i < length && (offset + i) % 4 != 0; i++) if (bytes[i] != byte_at(key, offset + i)) return offset + i;
  for (; i + 4 <= length; i += 4)
    if (*(const volatile uint32_t *)(bytes + i) != word_at(key, (offset + i) >> 2)) return offset + i;
  for (; i < length; i++) if (bytes[i] != byte_at(key, offset + i)) return offset + i;
  return -1;
}

static int64_t first_not_zero(const volatile uint8_t *bytes, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) if (bytes[i] != 0) return i;
  return -1;
}

/* ------------------------------------------------------------------ arrays */

typedef struct {
  uint32_t block;
  double generation;
  uint8_t *bytes; /* of the array, not of the slice */
  uint32_t offset, length, dtype;
  bool shared; /* somebody else may hold it */
} array;

static array held[HELD_MAX];
static uint32_t held_count;
static struct { uint32_t block; double generation; } stale[STALE_MAX];
static uint32_t stale_count;

static const struct { const char *name; uint32_t bytes; } dtypes[] = {
  [AP_INT8] = {"int8", 1}, [AP_UINT8] = {"uint8", 1}, [AP_UINT8CLAMPED] = {"uint8clamped", 1}, [AP_INT16] = {"int16", 2},
  [AP_UINT16] = {"uint16", 2}, [AP_INT32] = {"int32", 4}, [AP_UINT32] = {"uint32", 4}, [AP_FLOAT16] = {"float16", 2},
  [AP_FLOAT32] = {"float32", 4}, [AP_FLOAT64] = {"float64", 8}, [AP_INT64] = {"int64", 8}, [AP_UINT64] = {"uint64", 8},
};

static array *choose(void) {
  uint32_t index = below(held_count);
  return held_count == 0 ? NULL : &held[index];
}

static void verify(const array *a) {
  int64_t at = first_wrong(a->bytes + a->offset, a->length, key_of(a->block, a->generation), a->offset);
  if (at >= 0)
    broken("wrong at byte %lld: %u bytes of block %u, generation %.0f, from %u on: %08x %08x", (long long)at, a->length, a->block,
           a->generation, a->offset, ((uint32_t *)a->bytes)[0], ((uint32_t *)a->bytes)[1]);
  board_record[AT_VERIFIED] += a->length;
}

static bool is_held(uint32_t block, double generation) {
  for (uint32_t i = 0; i < held_count; i++)
    if (held[i].block == block && held[i].generation == generation) return true;
  return false;
}

/* From now on somebody else may hold the block. */
static void mark_shared(uint32_t block) {
  for (uint32_t i = 0; i < held_count; i++) if (held[i].block == block) held[i].shared = true;
}

static bool release(array a) {
  int32_t result = CALL("release", ap_block_release(pool, a.block, 1));
  expect_ok("release", result);
  if (result == AP_ERR_BUSY) return false;
  if (a.shared || result != 0) return true;
  uint32_t place = stale_count++ % STALE_MAX;
  stale[place].block = a.block;
  stale[place].generation = a.generation;
  return true;
}

static void release_one(void) {
  array *a = choose();
  if (!a) return;
  verify(a);
  if (release(*a)) *a = held[--held_count];
}

/* ------------------------------------------------------------------ what a step may be */

static void alloc(void) {
  uint32_t dtype = chance(0.5) ? AP_UINT8 : chance(0.8) ? AP_UINT32 : AP_FLOAT64;
  uint32_t length = (chance(0.03) ? 0 : size_up_to(largest_bytes)) / dtypes[dtype].bytes * dtypes[dtype].bytes;
  bool zeroed = chance(0.7);
  if (held_count == HELD_MAX) return release_one();
  int32_t block = CALL("alloc", ap_block_alloc(pool, length, dtype, zeroed ? AP_ZEROED : AP_UNINITIALIZED));
  expect_ok("alloc", block);
  if (block < 0) return release_one();
  board_record[AT_ALLOCATED]++;
  array a = {
    .block = block, .generation = record[AP_RECORD_GENERATION], .bytes = (uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS],
    .length = length, .dtype = dtype,
  };
  if (zeroed) {
    int64_t at = first_not_zero(a.bytes, length);
    if (at >= 0) broken("a new array is not zero at byte %lld: %u bytes of block %d, generation %.0f", (long long)at, length, block, a.generation);
    board_record[AT_VERIFIED] += length;
  }
  fill(a.bytes, length, key_of(block, a.generation));
  held[held_count++] = a;
}

static void send_one(void) {
  array *a = choose();
  uint32_t claims = chance(0.8) ? 1 : 1 + below(3);
  double ttl_ms = chance(0.4) ? 0 : 1 + below(chance(0.6) ? 200 : TTL_MAX_MS);
  bool lets_go = chance(0.5), slices = chance(0.3);
  double from_draw = draw(), to_draw = draw();
  uint32_t places[3] = {below(PLACES), below(PLACES), below(PLACES)};
  if (!a) return;
  double deadline = now() + (ttl_ms == 0 ? claim_ttl_ms : ttl_ms);
  mark_shared(a->block);
  int32_t result = CALL("send", ap_claim_create(pool, a->block, claims, ttl_ms));
  expect_ok("send", result);
  if (result < 0) return;
  uint32_t element = dtypes[a->dtype].bytes, elements = a->length / element;
  uint32_t first = slices ? from_draw * elements : 0, last = slices ? to_draw * (elements + 1) : elements;
  if (first > last) { uint32_t other = first; first = last; last = other; }
  char text[1024];
  int length = snprintf(text, sizeof text,
    "{\"deadline\":%.3f,\"packed\":{\"arrays\":[{\"$arraypool\":1,\"pool\":\"%s\",\"nonce\":\"%08x%08x\",\"block\":%u,"
    "\"generation\":%.0f,\"claim\":%.0f,\"dtype\":\"%s\",\"offset\":%u,\"length\":%u}]}}",
    deadline, pool_name, nonce_high, nonce_low, a->block, a->generation, record[AP_RECORD_CLAIM], dtypes[a->dtype].name,
    a->offset + first * element, last - first);
  for (uint32_t i = 0; i < claims; i++) {
    char draft[512], place[512];
    snprintf(draft, sizeof draft, "%s/mail/draft-%.0f", folder, board_record[AT_ID]);
    snprintf(place, sizeof place, "%s/mail/%u", folder, places[i]);
    int file = open(draft, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, text, length) != length || close(file) != 0 || rename(draft, place) != 0) abort();
    board_record[AT_SENT]++;
  }
  if (lets_go) {
    verify(a);
    if (release(*a)) *a = held[--held_count];
  }
}

static double number_after(const char *text, const char *key) {
  const char *at = strstr(text, key);
  if (!at) broken("no %s in a message", key + 1);
  return strtod(at + strlen(key), NULL);
}

/* Attaches one array of a message, whose claims live until `deadline` at least. False if there is nothing to let go of. */
static bool attach_one(const char *descriptor, double deadline, double *claim_before, array *got) {
  char dtype_name[16] = "";
  const char *dtype_at = strstr(descriptor, "\"dtype\":\"");
  if (!dtype_at || sscanf(dtype_at, "\"dtype\":\"%15[a-z0-9]", dtype_name) != 1) broken("no dtype in a message");
  uint32_t dtype = AP_INT8;
  while (strcmp(dtypes[dtype].name, dtype_name) != 0) if (++dtype > AP_UINT64) broken("unknown dtype %s", dtype_name);
  array a = {
    .block = number_after(descriptor, "\"block\":"), .generation = number_after(descriptor, "\"generation\":"),
    .offset = number_after(descriptor, "\"offset\":"), .dtype = dtype, .shared = true,
  };
  a.length = number_after(descriptor, "\"length\":") * dtypes[dtype].bytes;
  double claim = number_after(descriptor, "\"claim\":");
  int32_t result = CALL("attach", ap_block_attach(pool, a.block, a.generation, claim));
  if (result == AP_ERR_STALE) {
    if (now() + CLOCK_SLACK_MS < deadline)
      broken("a claim that lives for %.3f ms more was stale: block %u, generation %.0f, claim %.0f", deadline - now(), a.block, a.generation, claim);
    board_record[AT_EXPIRED]++;
    return false;
  }
  expect_ok("attach", result);
  if (result < 0) return false;
  if (record[AP_RECORD_DTYPE] != dtype || record[AP_RECORD_BYTES] < a.offset + a.length || record[AP_RECORD_GENERATION] != a.generation)
    broken("attached %.0f bytes of type %.0f, generation %.0f instead of %s", record[AP_RECORD_BYTES], record[AP_RECORD_DTYPE], record[AP_RECORD_GENERATION], dtype_name);
  board_record[AT_ATTACHED]++;
  a.bytes = (uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS];
  /* A member that holds the block uses up no claim by itself; one message uses up one. */
  if (result == 1 && claim != *claim_before) expect_ok("drop", CALL("drop", ap_claim_drop(pool, a.block, a.generation, claim, 1)));
  *claim_before = claim;
  *got = a;
  return true;
}

static void receive(void) {
  char place[512], taken[512], text[4096];
  snprintf(place, sizeof place, "%s/mail/%u", folder, below(PLACES));
  snprintf(taken, sizeof taken, "%s/mail/taken-%.0f", folder, board_record[AT_ID]);
  bool keeps = chance(0.5);
  if (rename(place, taken) != 0) {
    if (errno != ENOENT) abort();
    return;
  }
  int file = open(taken, O_RDONLY);
  ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
  if (length < 0) abort();
  close(file);
  text[length] = 0;
  double deadline = number_after(text, "\"deadline\":");
  /* Two of one array share a claim: all are held before the first is let go of. */
  array got[2];
  double claim_before = 0;
  uint32_t count = 0;
  for (const char *at = text; count < 2 && (at = strstr(at, "\"$arraypool\"")); at++) count += attach_one(at, deadline, &claim_before, &got[count]);
  for (uint32_t i = 0; i < count; i++) {
    verify(&got[i]);
    mark_shared(got[i].block);
    if (keeps && held_count < HELD_MAX) held[held_count++] = got[i];
    else while (!release(got[i])) {}
  }
}

static void retain_one(void) {
  array *a = choose();
  if (!a || held_count == HELD_MAX) return;
  expect_ok("retain", CALL("retain", ap_block_retain(pool, a->block)));
  held[held_count++] = *a;
}

static void claim_in_vain(void) {
  array *a = choose();
  if (!a) return;
  int32_t result = CALL("send", ap_claim_create(pool, a->block, 2, 0));
  expect_ok("send", result);
  if (result < 0) return;
  double claim = record[AP_RECORD_CLAIM];
  result = CALL("drop", ap_claim_drop(pool, a->block, a->generation, claim, 2));
  expect_ok("drop", result);
  if (result < 0) mark_shared(a->block); /* then it expires */
}

static void attach_stale(void) {
  uint32_t known = stale_count < STALE_MAX ? stale_count : STALE_MAX, place = below(known);
  if (known == 0 || is_held(stale[place].block, stale[place].generation)) return;
  int32_t result = CALL("attach", ap_block_attach(pool, stale[place].block, stale[place].generation, 0));
  if (result != AP_ERR_STALE && result != AP_ERR_BUSY)
    broken("a stale descriptor was attached, result %d: block %u, generation %.0f", result, stale[place].block, stale[place].generation);
}

/* ------------------------------------------------------------------ names */

/* One of those that are set, or of those that are asked for once; as in life.ts. */
static uint32_t name_one(char *name, const char *kind) { return snprintf(name, 32, "%s %u", kind, below(4)); }

static ap_name_value whole(const array *a) {
  return (ap_name_value){.block = a->block, .axes = AP_NO_SHAPE, .offset = a->offset, .length_bytes = a->length};
}

static void set_name(void) {
  char name[32];
  uint32_t bytes = name_one(name, "set");
  array *a = choose();
  if (!a) return;
  ap_name_value value = whole(a);
  mark_shared(a->block);
  expect_ok("set a name", CALL("set a name", ap_name_set(pool, name, bytes, &value)));
}

static void delete_name(void) {
  char name[32];
  uint32_t bytes = name_one(name, chance(0.5) ? "set" : "once");
  expect_ok("delete a name", CALL("delete a name", ap_name_delete(pool, name, bytes)));
}

/* Holds what a name names, and verifies it. */
static void get_by(const char *name, uint32_t bytes, bool keeps) {
  ap_name_value value;
  int32_t result = CALL("get a name", ap_name_get(pool, name, bytes, &value));
  if (result == AP_ERR_NOT_FOUND) return;
  expect_ok("get a name", result);
  if (result < 0) return;
  if (value.offset + value.length_bytes > record[AP_RECORD_BYTES])
    broken("%s names %.0f bytes from %.0f on, of %.0f", name, value.length_bytes, value.offset, record[AP_RECORD_BYTES]);
  array a = {
    .block = value.block, .generation = record[AP_RECORD_GENERATION], .bytes = (uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS],
    .offset = value.offset, .length = value.length_bytes, .dtype = record[AP_RECORD_DTYPE], .shared = true,
  };
  board_record[AT_ATTACHED]++;
  verify(&a);
  mark_shared(a.block);
  if (keeps && held_count < HELD_MAX) held[held_count++] = a;
  else while (!release(a)) {}
}

static void get_name(void) {
  char name[32];
  uint32_t bytes = name_one(name, chance(0.5) ? "set" : "once");
  get_by(name, bytes, chance(0.5));
}

/* Gets what somebody made, or makes it, and is perhaps killed meanwhile. */
static void once(void) {
  char name[32];
  uint32_t bytes = name_one(name, "once"), length = (size_up_to(largest_bytes) + 3) / 4 * 4;
  bool keeps = chance(0.5), deletes = chance(0.5);
  int32_t result = CALL("once", ap_once_begin(pool, name, bytes, 1000));
  expect_ok("once", result);
  if (result == AP_ONCE_OWN) broken("%s is being made here already", name);
  if (result == AP_ONCE_MAKE) {
    int32_t block = CALL("alloc", ap_block_alloc(pool, length, AP_UINT32, AP_ZEROED));
    expect_ok("alloc", block);
    array a = {.block = block, .length = length, .dtype = AP_UINT32, .shared = true};
    if (block >= 0) {
      a.generation = record[AP_RECORD_GENERATION];
      a.bytes = (uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS];
      fill(a.bytes, length, key_of(block, a.generation));
    }
    ap_name_value value = whole(&a);
    do result = CALL("end of once", ap_once_end(pool, name, bytes, block < 0 ? NULL : &value)); while (result == AP_ERR_BUSY);
    expect_ok("end of once", result);
    if (block >= 0) while (!release(a)) {}
  }
  if (result == AP_ONCE_THERE) get_by(name, bytes, keeps);
  if (deletes) expect_ok("delete a name", CALL("delete a name", ap_name_delete(pool, name, bytes)));
}

/* ------------------------------------------------------------------ letters */

/* The channels' blocks, and that of the words which all count up; as far as this member has them. */
static uint32_t channels[CHANNELS + 1], words_block;
static bool has[CHANNELS + 1];
static volatile uint32_t *words;
static uint32_t letters;

/* The last letter of a sender through a channel, as far as there is room to remember. */
static struct { double from, last; } senders[CHANNELS][1024];

typedef struct { uint32_t block; double generation; uint32_t offset, elements, bytes, index; } place;
typedef struct {
  uint32_t channel, number, length;
  double from;
  char text[TEXT_MAX + 1];
  uint32_t count;
  place places[32];
} letter;

/* Holds what a name names for good. */
static bool hold_named(const char *name, uint32_t *block) {
  ap_name_value value;
  int32_t result = CALL("get a channel", ap_name_get(pool, name, strlen(name), &value));
  if (result == AP_ERR_NOT_FOUND) return false;
  expect_ok("get a channel", result);
  *block = value.block;
  return result >= 0;
}

static bool has_channel(uint32_t index) {
  char name[32];
  if (has[index]) return true;
  snprintf(name, sizeof name, index == CHANNELS ? "bursts" : "channel %u", index);
  uint32_t block;
  if (!hold_named(name, &block)) return false;
  int32_t result = CALL("enter a channel", ap_channel_enter(pool, block));
  expect_ok("enter a channel", result);
  channels[index] = block;
  return has[index] = result >= 0;
}

static void letter_text(char *text, uint32_t channel, double from, uint32_t letter_number, uint32_t length) {
  uint64_t sender = (uint64_t)from;
  uint32_t key = mix(mix(mix(mix(0x2545f491u, channel), (uint32_t)sender), (uint32_t)(sender >> 32)), letter_number);
  for (uint32_t i = 0, at = 0; at < length; i++) {
    char digits[8];
    uint32_t value = mix(key, i), count = 0;
    do digits[count++] = "0123456789abcdefghijklmnopqrstuvwxyz"[value % 36]; while ((value /= 36) > 0);
    while (count > 0 && at < length) text[at++] = digits[--count];
  }
  text[length] = 0;
}

static void enter_in_ledger(const char *entry, const letter *l) {
  char path[512], line[128];
  snprintf(path, sizeof path, "%s/ledger", folder);
  int length = snprintf(line, sizeof line, "\n%s %u/%.0f/%u;\n", entry, l->channel, l->from, l->number);
  int ledger = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
  if (ledger < 0 || write(ledger, line, length) != length) abort();
  close(ledger);
}

/* In the end the keeper closes them. */
static bool may_end(int32_t result) {
  return result == AP_ERR_WAIT || (result == AP_ERR_CLOSED && is_finish()) || is_refused(result);
}

/* As core/codec.ts has it: an array of the head, the text, and the arrays, each with what it is to be shown as. */
static uint8_t *put_number(uint8_t *at, uint32_t number_) {
  if (number_ < 128) return *at = number_, at + 1;
  *at = 0x84;
  memcpy(at + 1, &number_, 4);
  return at + 5;
}
static uint8_t *put_text(uint8_t *at, const char *text, uint32_t length) {
  *at = 0x86;
  memcpy(at + 1, &length, 4);
  memcpy(at + 5, text, length);
  return at + 5 + length;
}

static void send_letter(void) {
  static uint8_t image[1 << 14];
  uint32_t index = below(CHANNELS), length = chance(0.5) ? below(60) : size_up_to(TEXT_MAX), timeout_ms = chance(0.7) ? 0 : 1 + below(99);
  uint32_t counts[] = {0, 1, 1, 2, 3}, count = counts[below(5)];
  bool lets_go = chance(0.5), slices = chance(0.3);
  array *chosen[LETTER_ARRAYS_MAX];
  for (uint32_t i = 0; i < count; i++) if (!(chosen[i] = choose())) count = i;
  if (!has_channel(index)) return;
  static letter l;
  l.channel = index;
  l.from = board_record[AT_ID];
  l.number = ++letters;
  l.length = length;
  letter_text(l.text, index, l.from, l.number, length);
  char head[1024];
  int head_length = snprintf(head, sizeof head, "{\"channel\":%u,\"from\":%.0f,\"number\":%u,\"length\":%u,\"places\":[", index, l.from, l.number, length);
  uint8_t arrays[256], *arrays_at = arrays;
  ap_sent_array sent[LETTER_ARRAYS_MAX];
  for (uint32_t i = 0; i < count; i++) {
    array *a = chosen[i];
    uint32_t element = dtypes[a->dtype].bytes, elements = a->length / element;
    uint32_t first = slices ? below(elements + 1) : 0, last = slices ? first + below(elements - first + 1) : elements;
    mark_shared(a->block);
    head_length += snprintf(head + head_length, sizeof head - head_length, "%s[%u,%.0f,%u,%u,%u]", i == 0 ? "" : ",", a->block, a->generation,
      a->offset + first * element, last - first, (last - first) * element);
    sent[i] = (ap_sent_array){.block = a->block, .generation = (uint64_t)a->generation};
    *arrays_at++ = 0x8f;
    memcpy(arrays_at, &i, 4);
    arrays_at += 4;
    *arrays_at++ = 0xe4;
    arrays_at = put_number(arrays_at, a->dtype);
    arrays_at = put_number(arrays_at, a->offset + first * element);
    arrays_at = put_number(arrays_at, last - first);
    *arrays_at++ = 0x80; /* no shape */
  }
  head_length += snprintf(head + head_length, sizeof head - head_length, "]}");
  uint8_t *at = image;
  *at++ = 0xe3;
  at = put_text(at, head, head_length);
  at = put_text(at, l.text, length);
  *at++ = 0xe0 + count;
  memcpy(at, arrays, arrays_at - arrays);
  at += arrays_at - arrays;
  uint32_t text_bytes = at - image;
  memcpy(image + (text_bytes + 7) / 8 * 8, sent, count * sizeof sent[0]);
  int32_t result = CALL("send a letter", ap_channel_send(pool, channels[index], image, text_bytes, count, timeout_ms));
  if (result < 0 && !may_end(result)) broken("send a letter: error %d, errno %.0f", result, record[AP_RECORD_ERRNO]);
  if (result < 0) return;
  enter_in_ledger("sent", &l);
  board_record[AT_SENT]++;
  if (lets_go && count > 0) {
    verify(chosen[0]);
    if (release(*chosen[0])) *chosen[0] = held[--held_count];
  }
}

static const uint8_t *letter_end;

static uint32_t get_length(const uint8_t **at) {
  uint32_t length;
  if (*at + 4 > letter_end) broken("a letter ends too early");
  memcpy(&length, *at, 4);
  *at += 4;
  return length;
}

/* A string of ASCII. */
static uint32_t get_text(const uint8_t **at, const char **text) {
  uint8_t kind = *(*at)++;
  uint32_t length = kind >= 0xa0 && kind < 0xc0 ? kind - 0xa0u : kind == 0x86 ? get_length(at) : UINT32_MAX;
  if (length > (uint32_t)(letter_end - *at)) broken("there is no text in a letter, but %02x", kind);
  *text = (const char *)*at;
  *at += length;
  return length;
}

/* What an array is to be shown as, which its place says, too. */
static void skip_item(const uint8_t **at) {
  uint8_t kind = *(*at)++;
  if (kind >= 0xe0) for (uint32_t left = kind - 0xe0; left > 0; left--) skip_item(at);
  else if (kind == 0x84) *at += 4;
  else if (kind == 0x85) *at += 8;
  else if (kind > 0x80) broken("what is %02x in a letter?", kind);
  if (*at > letter_end) broken("a letter ends too early");
}

static void read_letter(letter *l, const uint8_t *bytes, uint32_t length, uint32_t through) {
  const uint8_t *at = bytes;
  const char *head_text, *text;
  static char head[8192], expected[TEXT_MAX + 1];
  letter_end = bytes + length;
  if (length < 4 || *at++ != 0xe3) broken("a letter of %u bytes that begins with %02x", length, bytes[0]);
  uint32_t head_length = get_text(&at, &head_text);
  if (head_length >= sizeof head) broken("a letter has a head of %u bytes", head_length);
  memcpy(head, head_text, head_length);
  head[head_length] = 0;
  l->channel = number_after(head, "\"channel\":");
  l->from = number_after(head, "\"from\":");
  l->number = number_after(head, "\"number\":");
  l->length = number_after(head, "\"length\":");
  if (l->channel != through || l->length > TEXT_MAX) broken("a letter of channel %u, with %u bytes, came through channel %u", l->channel, l->length, through);
  letter_text(expected, l->channel, l->from, l->number, l->length);
  if (get_text(&at, &text) != l->length || memcmp(text, expected, l->length) != 0)
    broken("letter %u of %.0f in channel %u is not as it was sent", l->number, l->from, l->channel);
  uint8_t kind = *at++;
  if (kind < 0xe0) broken("there are no arrays in a letter, but %02x", kind);
  l->count = kind - 0xe0;
  const char *places = strstr(head, "\"places\":[");
  if (!places) broken("no places in a letter");
  places += strlen("\"places\":[");
  for (uint32_t i = 0; i < l->count; i++) {
    place *p = &l->places[i];
    unsigned block, offset, elements, place_bytes;
    int used = 0;
    if (sscanf(places, "%*[,][%u,%lf,%u,%u,%u]%n", &block, &p->generation, &offset, &elements, &place_bytes, &used) != 5 &&
        sscanf(places, "[%u,%lf,%u,%u,%u]%n", &block, &p->generation, &offset, &elements, &place_bytes, &used) != 5) broken("a place is missing in a letter: %s", places);
    places += used;
    p->block = block, p->offset = offset, p->elements = elements, p->bytes = place_bytes;
    if (at >= letter_end || *at++ != 0x8f) broken("an array is missing in a letter");
    p->index = get_length(&at);
    skip_item(&at);
  }
  if (*places != ']' || at != letter_end) broken("a letter has more than it says");
}

/* Verifies what a letter has brought, and keeps it or lets go of it. */
static void take_out(const letter *l, const ap_received_array *brought, uint32_t count, bool keeps) {
  for (uint32_t i = 0; i < count; i++) {
    const place *p = NULL;
    for (uint32_t k = 0; k < l->count; k++) if (l->places[k].index == i) p = &l->places[k];
    if (!p) broken("letter %u of %.0f has brought an array that it does not tell of", l->number, l->from);
    const ap_received_array *b = &brought[i];
    if (b->kind != AP_KIND_ARRAY || b->block != p->block || b->generation != p->generation || b->length_bytes < p->offset + (double)p->bytes)
      broken("letter %u of %.0f has brought block %.0f, generation %.0f, %.0f bytes instead of block %u, generation %.0f, %u bytes from %u on",
             l->number, l->from, b->block, b->generation, b->length_bytes, p->block, p->generation, p->bytes, p->offset);
    array a = {
      .block = p->block, .generation = p->generation, .bytes = (uint8_t *)(uintptr_t)(heap_address + b->offset),
      .offset = p->offset, .length = p->bytes, .dtype = b->dtype, .shared = true,
    };
    board_record[AT_ATTACHED]++;
    verify(&a);
    mark_shared(a.block);
    if (keeps && held_count < HELD_MAX) held[held_count++] = a;
    else while (!release(a)) {}
  }
}

static void expect_in_order(const letter *l) {
  for (uint32_t i = 0; i < 1024; i++) {
    uint32_t at = ((uint32_t)l->from * 2654435761u + i) % 1024;
    if (senders[l->channel][at].from != 0 && senders[l->channel][at].from != l->from) continue;
    if (l->number <= senders[l->channel][at].last) broken("letter %u of %.0f came after its letter %.0f", l->number, l->from, senders[l->channel][at].last);
    senders[l->channel][at].from = l->from;
    senders[l->channel][at].last = l->number;
    return;
  }
}

static void receive_letter(void) {
  static uint8_t into[1 << 15] __attribute__((aligned(8)));
  static letter l;
  uint32_t index = below(CHANNELS), timeout_ms = chance(0.7) ? 0 : 1 + below(99);
  bool acks = index >= CHANNELS_THAT_ACK, keeps = chance(0.5), gives_back = chance(0.25), has_little_room = chance(0.1);
  if (!has_channel(index)) return;
  int32_t result = CALL("receive a letter", ap_channel_receive(pool, channels[index], into, has_little_room ? 64 : sizeof into, acks ? AP_RECEIVE_ACK : AP_RECEIVE, timeout_ms));
  if (result == AP_ERR_MORE && has_little_room) return;
  if (result < 0 && !may_end(result)) broken("receive a letter: error %d, errno %.0f", result, record[AP_RECORD_ERRNO]);
  if (result < 0) return;
  uint32_t count = record[AP_RECORD_ARRAYS], entry = record[AP_RECORD_ENTRY];
  double message = record[AP_RECORD_MESSAGE];
  const ap_received_array *brought = (const void *)(into + (result + 7) / 8 * 8);
  read_letter(&l, into, result, index);
  enter_in_ledger("received", &l);
  if (!acks) expect_in_order(&l);
  else if (!gives_back) enter_in_ledger("acking", &l);
  if (acks) {
    do result = CALL("acknowledge a letter", ap_channel_acknowledge(pool, channels[index], entry, message, gives_back)); while (result == AP_ERR_BUSY);
    expect_ok("acknowledge a letter", result);
    if (!gives_back) enter_in_ledger("acked", &l);
  }
  take_out(&l, brought, count, keeps);
}

/* Nothing but messages with small arrays through a channel with two cells, from native members to each other: so that all meet at
 * its cells. Who finds no room several times receives, who finds nothing sends. What is in an array is verified, a message says how many it has; what is left in the end goes with the channel. */
static void letter_burst(void) {
  enum { TIMES = 3000, LARGE = 300, BURST_MS = 50 };
  static uint8_t image[4096] __attribute__((aligned(8))), into[8192] __attribute__((aligned(8)));
  if (!has_channel(CHANNELS)) return;
  uint32_t channel = channels[CHANNELS], made = 0;
  bool sends = chance(0.5);
  double until = now() + BURST_MS;
  for (uint32_t i = 0; i < TIMES && now() < until; i++) {
    uint32_t chosen = mix(draws_state, i);
    if (sends) {
      uint32_t count = chosen % 4, text_bytes = chosen % 16 == 0 ? LARGE : 8;
      ap_sent_array *sent = (void *)(image + (text_bytes + 7) / 8 * 8);
      memset(image, count, text_bytes);
      for (uint32_t k = 0; k < count; k++) {
        int32_t block = ap_block_alloc(pool, 4 + (chosen >> 8) % 300, AP_UINT8, AP_UNINITIALIZED);
        if (block < 0) { count = k; memset(image, count, text_bytes); expect_ok("alloc", block); break; }
        made++;
        sent[k] = (ap_sent_array){.block = block, .generation = (uint64_t)record[AP_RECORD_GENERATION]};
        fill((uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS], record[AP_RECORD_BYTES], key_of(block, record[AP_RECORD_GENERATION]));
      }
      int32_t result = CALL("send letters", ap_channel_send(pool, channel, image, text_bytes, count, 0));
      if (result < 0 && !may_end(result)) broken("send letters: error %d", result);
      for (uint32_t k = 0; k < count; k++) {
        int32_t released;
        do released = ap_block_release(pool, sent[k].block, 1); while (released == AP_ERR_BUSY);
        expect_ok("release", released);
      }
      if (result == AP_ERR_CLOSED) break;
      if (result == AP_ERR_WAIT) sends = chosen >> 16 & 15;
    } else {
      bool acks = chosen % 2 == 0;
      int32_t text_bytes = CALL("receive letters", ap_channel_receive(pool, channel, into, sizeof into, acks, 0));
      if (text_bytes < 0 && !may_end(text_bytes)) broken("receive letters: error %d", text_bytes);
      if (text_bytes == AP_ERR_CLOSED) break;
      if (text_bytes == AP_ERR_WAIT) sends = !(chosen >> 16 & 15);
      if (text_bytes < 0) continue;
      uint32_t count = record[AP_RECORD_ARRAYS], entry = record[AP_RECORD_ENTRY];
      double message = record[AP_RECORD_MESSAGE];
      for (int32_t k = 0; k < text_bytes; k++) if (into[k] != count) broken("a message of %d bytes with %u arrays says %u at %d", text_bytes, count, into[k], k);
      const ap_received_array *brought = (const void *)(into + (text_bytes + 7) / 8 * 8);
      for (uint32_t k = 0; k < count; k++) {
        const uint8_t *bytes = (const uint8_t *)(uintptr_t)(heap_address + brought[k].offset);
        int64_t wrong = first_wrong(bytes, brought[k].length_bytes, key_of(brought[k].block, brought[k].generation), 0);
        if (wrong >= 0) broken("an array of a message is wrong at byte %lld of %.0f: block %.0f, generation %.0f", (long long)wrong, brought[k].length_bytes, brought[k].block, brought[k].generation);
        int32_t released;
        do released = ap_block_release(pool, brought[k].block, 1); while (released == AP_ERR_BUSY);
        expect_ok("release", released);
      }
      board_record[AT_ATTACHED] += count;
      if (acks) {
        int32_t done;
        do done = CALL("acknowledge letters", ap_channel_acknowledge(pool, channel, entry, message, chosen >> 8 & 1)); while (done == AP_ERR_BUSY);
        expect_ok("acknowledge letters", done);
      }
    }
  }
  board_record[AT_ALLOCATED] += made;
}

/* ------------------------------------------------------------------ waiting and notifying */

static bool has_words(void) {
  ap_name_value value;
  if (words) return true;
  int32_t result = CALL("get the words", ap_name_get(pool, "words", 5, &value));
  if (result == AP_ERR_NOT_FOUND) return false;
  expect_ok("get the words", result);
  if (result < 0) return false;
  words_block = value.block;
  words = (volatile uint32_t *)(uintptr_t)record[AP_RECORD_ADDRESS];
  return true;
}

static void notify_one(void) {
  uint32_t at = below(WORDS), count = chance(0.5) ? AP_NOTIFY_ALL : 1 + below(3);
  if (!has_words()) return;
  __atomic_add_fetch(&words[at], 1, __ATOMIC_SEQ_CST);
  expect_ok("notify", CALL("notify", ap_word_notify(pool, words_block, at * 4.0, count)));
}

/* "ok" though the word is what it was is right: who notified may have counted up just before the wait began. */
static void wait_one(void) {
  uint32_t at = below(WORDS), timeout_ms = below(60);
  if (!has_words()) return;
  uint32_t was = __atomic_load_n(&words[at], __ATOMIC_SEQ_CST);
  int32_t result = CALL("wait", ap_word_wait(pool, words_block, at * 4.0, was, timeout_ms));
  expect_ok("wait", result);
  bool is_other = __atomic_load_n(&words[at], __ATOMIC_SEQ_CST) != was;
  if (result == AP_WAIT_NOT_EQUAL && !is_other) broken("a wait ended with %d, and %u is %u", result, was, was);
  if (result == AP_WAIT_GOES_ON) broken("a wait of %u ms goes on", timeout_ms);
}

static int by_offset(const void *a, const void *b) {
  double x = ((const ap_block_info *)a)->offset, y = ((const ap_block_info *)b)->offset;
  return (x > y) - (x < y);
}

/* Blocks in use do not overlap, and what this member holds is listed so. */
static void look_at_blocks(void) {
  static ap_block_info listed[LISTED_MAX];
  if (CALL("info", ap_pool_info(pool)) < 0) return;
  uint32_t slot = record[AP_INFO_SLOT];
  double capacity = record[AP_INFO_CAPACITY];
  int32_t count = CALL("list", ap_block_list(pool, 0, listed, LISTED_MAX));
  expect_ok("list", count);
  if (count < 0 || record[0] >= 0) return;
  for (uint32_t i = 0; i < held_count; i++) {
    bool found = false;
    for (int32_t k = 0; k < count && !found; k++)
      found = listed[k].block == held[i].block && listed[k].generation == held[i].generation && (listed[k].holders[slot / 64] >> slot % 64 & 1);
    if (!found) broken("held and not listed so: block %u, generation %.0f, slot %u", held[i].block, held[i].generation, slot);
  }
  qsort(listed, count, sizeof listed[0], by_offset);
  for (int32_t k = 0; k < count; k++) {
    double end = k + 1 < count ? listed[k + 1].offset : capacity;
    if (listed[k].offset + listed[k].length_bytes > end) broken("blocks %u and the next overlap", listed[k].block);
  }
}

static void look_at_members(void) {
  ap_member_info members[AP_MEMBERS_MAX];
  int32_t count = CALL("members", ap_member_list(pool, members, AP_MEMBERS_MAX));
  expect_ok("members", count);
  int self = 0;
  for (int32_t i = 0; i < count; i++) self += members[i].self && members[i].alive && members[i].pid == (uint32_t)getpid();
  if (self != 1) broken("this live member is listed %d times", self);
}

static void look(void) {
  char text[256] = "";
  switch (below(4)) {
    case 0:
      if (CALL("check", ap_check(pool, text)) == AP_ERR_CORRUPT) broken("check: %s", text);
      board_record[AT_CHECKS]++;
      return;
    case 1: return expect_ok("stats", CALL("stats", ap_pool_stats(pool)));
    case 2: return look_at_blocks();
    case 3: return look_at_members();
  }
}

static void leave(void) {
  for (uint32_t i = 0; i < held_count; i++) verify(&held[i]);
  held_count = stale_count = 0;
  words = NULL;
  memset(has, 0, sizeof has);
  call_from = now();
  ap_pool_close(pool, 0);
  counted("close", AP_OK, 0);
  pool = NULL;
}

/* Pools that come and go, and that nobody keeps. */
static void visit_side_pool(void) {
  char name[64], text[256];
  double why[AP_REPORT_LENGTH];
  uint32_t index = below(SIDE_POOLS), how = below(5), count = below(4);
  uint32_t sizes[3] = {size_up_to(1 << 18), size_up_to(1 << 18), size_up_to(1 << 18)};
  bool sends = chance(0.3), by_exit = chance(0.2);
  snprintf(name, sizeof name, "%s-s%u", pool_name, index);
  double capacity = (1 + index) * (1 << 20);
  call_from = now();
  if (how == 4) {
    counted("sweep", ap_sweep(), 0);
    return;
  }
  ap_pool *side = how == 0 ? ap_pool_create(name, capacity, 200, AP_RUNTIME_NATIVE, why)
    : how == 1 ? ap_pool_open(name, NULL, AP_RUNTIME_NATIVE, why)
    : ap_pool_open_or_create(name, capacity, 200, AP_RUNTIME_NATIVE, why);
  int32_t result = counted("join a side pool", side ? AP_OK : (int32_t)why[AP_REPORT_CODE], side ? 0 : why[AP_REPORT_PID]);
  if (!side) {
    if (is_refused(result) || (how == 0 && result == AP_ERR_EXISTS) || (how == 1 && result == AP_ERR_NOT_FOUND)) return;
    broken("join a side pool: error %d, errno %.0f", result, why[AP_REPORT_ERRNO]);
  }
  board_record[AT_JOINS]++;
  const double *main_record = record;
  record = ap_pool_record(side);
  read_nonce(side);
  array kept[3];
  uint32_t kept_count = 0;
  for (uint32_t i = 0; i < count; i++) {
    int32_t block = CALL("alloc", ap_block_alloc(side, sizes[i], AP_UINT8, AP_ZEROED));
    expect_ok("alloc in a side pool", block);
    if (block < 0) break;
    array a = {.block = block, .generation = record[AP_RECORD_GENERATION], .bytes = (uint8_t *)(uintptr_t)record[AP_RECORD_ADDRESS], .length = sizes[i]};
    int64_t at = first_not_zero(a.bytes, a.length);
    if (at >= 0) broken("a new array of a side pool is not zero at byte %lld of %u", (long long)at, a.length);
    fill(a.bytes, a.length, key_of(block, a.generation));
    kept[kept_count++] = a;
  }
  if (sends && kept_count > 0) expect_ok("send in a side pool", CALL("send", ap_claim_create(side, kept[0].block, 1, 0)));
  for (uint32_t i = 0; i < kept_count; i++) verify(&kept[i]);
  if (count > 1 && CALL("check", ap_check(side, text)) == AP_ERR_CORRUPT) broken("check of a side pool: %s", text);
  /* Another may have removed it by its exit in the meantime, as far as only this process is in it. */
  if (by_exit) ap_exit(name);
  call_from = now();
  ap_pool_close(side, 0);
  counted("close", AP_OK, 0);
  record = main_record;
  read_nonce(pool);
}

/* Nothing but the lock, so that kills meet its owner. Each array has its first word to itself. */
static void burst(void) {
  enum { RING = 8, TIMES = 4000 };
  struct { int32_t block; volatile uint32_t *word; uint32_t value; } ring[RING];
  int32_t result = 0;
  uint32_t made = 0, gone = 0;
  call_from = now();
  for (uint32_t i = 0; i < TIMES && result >= 0; i++) {
    if (made - gone == RING) {
      uint32_t at = gone++ % RING;
      if (*ring[at].word != ring[at].value) broken("an array of a burst has %08x instead of %08x", *ring[at].word, ring[at].value);
      while ((result = ap_block_release(pool, ring[at].block, 1)) == AP_ERR_BUSY) counted("release", result, record[AP_RECORD_PID]);
    }
    if ((result = ap_block_alloc(pool, 4 + i * 37 % 400, AP_UINT8, AP_UNINITIALIZED)) < 0) break;
    uint32_t at = made++ % RING;
    ring[at].block = result;
    ring[at].word = (volatile uint32_t *)(uintptr_t)record[AP_RECORD_ADDRESS];
    ring[at].value = *ring[at].word = mix(number << 8 ^ chair, step << 10 ^ i);
  }
  expect_ok("burst", counted("burst", result, record[AP_RECORD_PID]));
  board_record[AT_ALLOCATED] += made;
  board_record[AT_PROGRESS] += made * 2;
  while (gone < made) {
    uint32_t at = gone++ % RING;
    if (*ring[at].word != ring[at].value) broken("an array of a burst has %08x instead of %08x", *ring[at].word, ring[at].value);
    do result = CALL("release", ap_block_release(pool, ring[at].block, 1)); while (result == AP_ERR_BUSY);
    expect_ok("release", result);
  }
}

static void rest(void) {
  struct timespec time = {.tv_nsec = below(2000) * 1000};
  nanosleep(&time, NULL);
}

static void (*const actions[])(void) = {
  alloc, alloc, alloc, alloc, alloc, alloc, alloc, alloc, alloc, alloc, receive, receive, receive, receive, receive, receive,
  send_one, send_one, send_one, send_one, release_one, release_one, release_one, release_one, release_one, retain_one,
  retain_one, claim_in_vain, attach_stale, attach_stale, set_name, set_name, get_name, get_name, delete_name, once, once, look,
  burst, rest, rest, rest, rest, send_letter, send_letter, send_letter, send_letter, send_letter, send_letter, receive_letter, receive_letter,
  receive_letter, receive_letter, receive_letter, receive_letter, receive_letter, notify_one, notify_one, wait_one, letter_burst,
};

static void act(void) {
  /* Every fourth comes and goes all the time, another hardly does anything but allocate, another is always at its letters. */
  bool is_restless = number % 4 == 3, is_greedy = number % 4 == 1, is_talkative = number % 4 == 2;
  double care = draw();
  if (is_talkative && care < 0.8) return care < 0.4 ? letter_burst() : care < 0.6 ? send_letter() : receive_letter();
  if (is_talkative) care = (care - 0.8) / 0.2;
  if (is_greedy) care = care < 0.7 ? 0.5 : care / 20;
  if (care < 0.004) expect_ok("trim", CALL("trim", ap_pool_trim(pool)));
  else if (care < 0.008) expect_ok("reap", CALL("reap", ap_pool_reap(pool)));
  else if (care < (is_restless ? 0.15 : 0.012)) { leave(); join_pool(); }
  else if (care < (is_restless ? 0.4 : 0.020)) visit_side_pool();
  else if (is_greedy && care >= 0.5) burst();
  else actions[below(sizeof actions / sizeof actions[0])]();
}

int main(int count, char **arguments) {
  if (count != 10) return fprintf(stderr, "nine arguments, please\n"), 2;
  folder = arguments[1];
  pool_name = arguments[2];
  seed = strtoul(arguments[3], NULL, 10);
  chair = strtoul(arguments[4], NULL, 10);
  number = strtoul(arguments[5], NULL, 10);
  record_index = strtoul(arguments[6], NULL, 10);
  largest_bytes = strtoul(arguments[7], NULL, 10);
  claim_ttl_ms = strtod(arguments[8], NULL);
  double leaves_ms = strtod(arguments[9], NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);

  char path[512];
  snprintf(path, sizeof path, "%s/board", folder);
  board = open(path, O_RDWR);
  if (board < 0) return perror(path), 2;
  board_record[AT_ID] = (chair * 1048576.0 + number) * 4 * 4096;
  show();
  double leaves_at = leaves_ms > 0 ? now() + leaves_ms : INFINITY;

  join_pool();
  for (; !is_finish() && now() < leaves_at; step++) {
    draws_step();
    act();
    show();
  }
  leave();
  board_record[AT_LEAVES] = 1;
  show();
  return 0;
}
