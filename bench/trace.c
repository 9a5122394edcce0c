/* Replays the allocations of a real program, as trace_recorder.c has recorded them, with libarraypool or with malloc: the C
 * library's, or whichever LD_PRELOAD puts in its place. Prints one JSON object a line.
 *
 *     trace FILE HOW NAME [least]     only what is at least that large; NAME: the pool's
 *
 *     time            {"records", "pool_ns", "malloc_ns", "ratio"}: in turn, per record, nothing written
 *     pool, malloc    {"peak_bytes", "live_bytes"}: each byte that is asked for is written once; what the allocator
 *                                 has at the peak, and what the program has asked for then. Of the pool that is the
 *                                 segment, and what the process has beside it to remember what it holds
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "arraypool.h"

enum { ROUNDS = 7 };
typedef struct {
  uint32_t number, size;
} record;

static record *records;
static size_t count;
static uint32_t numbers;
static ap_pool *pool;
static int32_t *blocks;
static void **pointers;

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}
static int by_number(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double median(double *values) {
  qsort(values, ROUNDS, sizeof *values, by_number);
  return values[ROUNDS / 2];
}

static double by_pool(void) {
  double begun = now_ns();
  for (size_t i = 0; i < count; i++) {
    record r = records[i];
    if (r.size) {
      blocks[r.number] = ap_block_alloc(pool, r.size, AP_UINT8, AP_UNINITIALIZED);
      if (blocks[r.number] < 0) fprintf(stderr, "full\n"), exit(1);
    } else ap_block_release(pool, blocks[r.number], 1), blocks[r.number] = -1;
  }
  double took = now_ns() - begun;
  for (uint32_t i = 1; i <= numbers; i++)
    if (blocks[i] >= 0) ap_block_release(pool, blocks[i], 1), blocks[i] = -1;
  return took / count;
}

static double by_malloc(void) {
  double begun = now_ns();
  for (size_t i = 0; i < count; i++) {
    record r = records[i];
    if (r.size) pointers[r.number] = malloc(r.size);
    else free(pointers[r.number]), pointers[r.number] = NULL;
  }
  double took = now_ns() - begun;
  for (uint32_t i = 1; i <= numbers; i++) free(pointers[i]), pointers[i] = NULL;
  return took / count;
}

/* What the process has of its own. No page of a segment is in this. */
static size_t private_bytes(void) {
  char text[4096], *at;
  int file = open("/proc/self/smaps_rollup", O_RDONLY);
  ssize_t n = read(file, text, sizeof text - 1);
  close(file);
  if (n <= 0) exit(1);
  text[n] = 0;
  size_t bytes = 0;
  if ((at = strstr(text, "Anonymous:"))) bytes += strtoull(at + 10, NULL, 10) << 10;
  return bytes;
}

static int make_pool(const char *name) {
  double report[AP_REPORT_LENGTH];
  pool = ap_pool_create(name, 2.0 * (1 << 30), 0, AP_RUNTIME_NATIVE, report);
  return pool ? 0 : (fprintf(stderr, "no pool: error %g\n", report[AP_REPORT_CODE]), 1);
}

/* What the allocator has, looked at whenever the program has more than ever, in steps of 1/64. */
static int peak(int is_pool, const char *name) {
  uint32_t *sizes = mmap(NULL, (numbers + 1) * sizeof *sizes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  size_t before = private_bytes();
  if (is_pool && make_pool(name)) return 1;
  const double *stats = pool ? ap_pool_record(pool) : NULL;
  size_t live = 0, most = 0, looked = 0, peak_bytes = 0;
  for (size_t i = 0; i < count; i++) {
    record r = records[i];
    if (r.size) {
      void *bytes;
      if (is_pool) {
        blocks[r.number] = ap_block_alloc(pool, r.size, AP_UINT8, AP_UNINITIALIZED);
        if (blocks[r.number] < 0) return fprintf(stderr, "full\n"), 1;
        bytes = (void *)(uintptr_t)stats[AP_RECORD_ADDRESS];
      } else bytes = pointers[r.number] = malloc(r.size);
      memset(bytes, 1, r.size);
      sizes[r.number] = r.size, live += r.size;
    } else {
      if (is_pool) ap_block_release(pool, blocks[r.number], 1);
      else free(pointers[r.number]);
      live -= sizes[r.number];
    }
    if (live > most) most = live;
    if (live < most || live < looked + looked / 64) continue;
    looked = live;
    size_t has = private_bytes() - before;
    if (is_pool) ap_pool_stats(pool), has += (size_t)(stats[AP_STATS_BACKED] + stats[AP_STATS_METADATA]);
    if (has > peak_bytes) peak_bytes = has;
  }
  printf("{\"peak_bytes\": %zu, \"live_bytes\": %zu}\n", peak_bytes, most);
  return 0;
}

/* Drops what is smaller, and its ends. */
static void keep(uint32_t least) {
  char *dropped = mmap(NULL, numbers + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (records[i].size && records[i].size < least) dropped[records[i].number] = 1;
    if (!dropped[records[i].number]) records[kept++] = records[i];
  }
  count = kept;
}

static void *sleep_on(void *unused) {
  for (;;) pause();
  return unused;
}

int main(int argc, char **arguments) {
  if (argc < 3) return 2;
  int file = open(arguments[1], O_RDONLY);
  struct stat status;
  if (file < 0 || fstat(file, &status)) return perror(arguments[1]), 1;
  records = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, file, 0);
  count = status.st_size / sizeof *records;
  for (size_t i = 0; i < count; i++) {
    if (records[i].number == 0) count = i;
    else if (records[i].number > numbers) numbers = records[i].number;
  }
  keep(argc > 4 ? (uint32_t)atoi(arguments[4]) : 0);
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
  blocks = mmap(NULL, (numbers + 1) * sizeof *blocks, PROT_READ | PROT_WRITE, flags, -1, 0);
  pointers = mmap(NULL, (numbers + 1) * sizeof *pointers, PROT_READ | PROT_WRITE, flags, -1, 0);
  for (uint32_t i = 0; i <= numbers; i++) blocks[i] = -1;
  const char *name = argc > 3 ? arguments[3] : NULL;
  if (strcmp(arguments[2], "time")) {
    int failed = peak(strcmp(arguments[2], "malloc") != 0, name);
    if (pool) ap_pool_close(pool, 0);
    return failed;
  }
  if (make_pool(name)) return 1;
  pthread_t thread; /* as every process of Bun and Deno has: glibc takes locks then */
  if (pthread_create(&thread, NULL, sleep_on, NULL)) return 1;
  double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
  by_malloc(), by_pool();
  for (int i = 0; i < ROUNDS; i++) theirs[i] = by_malloc(), ours[i] = by_pool(), ratios[i] = ours[i] / theirs[i];
  printf("{\"records\": %zu, \"pool_ns\": %.1f, \"malloc_ns\": %.1f, \"ratio\": %.3f}\n", count, median(ours), median(theirs), median(ratios));
  ap_pool_close(pool, 0);
  return 0;
}
