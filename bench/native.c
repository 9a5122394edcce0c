/* Native cost of an allocation: libarraypool against malloc/free: the C library's, or whichever LD_PRELOAD puts in its place.
 * Both sides do the same work in turn, round by round, on the same random sizes; each round's cost is in nanoseconds per
 * alloc+free. Prints one JSON object a line: {"name", "threads", "pool_ns", "malloc_ns", "ratio"} with medians over the
 * rounds.
 *
 * All of it is measured twice: in a process of one thread, and after a second one was started, which only sleeps. glibc
 * takes no locks before that; but every process of Bun and Deno has threads.
 *
 *     zig cc -O2 -I libpool bench/native.c -o /tmp/native -L lib/linux-x64 -larraypool
 *     LD_LIBRARY_PATH=lib/linux-x64 /tmp/native [name of the pool] [threads: only in a process of two threads]
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arraypool.h"

enum { ROUNDS = 9, OPERATIONS = 200000, LIVE_MAX = 1000000 };

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static uint64_t state = 88172645463325252ull;
static uint64_t random64(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static int by_number(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static double median(double *values, int count) {
  qsort(values, count, sizeof *values, by_number);
  return values[count / 2];
}

/* Kept where the compiler cannot follow, so that no pair of malloc and free is optimised away. */
static void *volatile sink;

static ap_pool *pool;
static int threads = 1;
static int32_t blocks[LIVE_MAX];
static void *pointers[LIVE_MAX];
static uint32_t sizes[OPERATIONS], places[OPERATIONS];

static double pool_pairs(uint32_t size) {
  double begun = now_ns();
  for (int i = 0; i < OPERATIONS; i++) {
    int32_t block = ap_block_alloc(pool, size, AP_UINT8, AP_UNINITIALIZED);
    ap_block_release(pool, block, 1);
  }
  return (now_ns() - begun) / OPERATIONS;
}

static double malloc_pairs(uint32_t size) {
  double begun = now_ns();
  for (int i = 0; i < OPERATIONS; i++) {
    sink = malloc(size);
    free(sink);
  }
  return (now_ns() - begun) / OPERATIONS;
}

/* One of the live blocks is freed, and one of another size takes its place. */
static double pool_churn(void) {
  double begun = now_ns();
  for (int i = 0; i < OPERATIONS; i++) {
    ap_block_release(pool, blocks[places[i]], 1);
    blocks[places[i]] = ap_block_alloc(pool, sizes[i], AP_UINT8, AP_UNINITIALIZED);
  }
  return (now_ns() - begun) / OPERATIONS;
}

static double malloc_churn(void) {
  double begun = now_ns();
  for (int i = 0; i < OPERATIONS; i++) {
    free(pointers[places[i]]);
    pointers[places[i]] = malloc(sizes[i]);
  }
  return (now_ns() - begun) / OPERATIONS;
}

static void print(const char *name, double *pool_ns, double *malloc_ns) {
  double ratios[ROUNDS];
  for (int i = 0; i < ROUNDS; i++) ratios[i] = pool_ns[i] / malloc_ns[i];
  printf("{\"name\": \"%s\", \"threads\": %d, \"pool_ns\": %.1f, \"malloc_ns\": %.1f, \"ratio\": %.3f}\n", name, threads,
         median(pool_ns, ROUNDS), median(malloc_ns, ROUNDS), median(ratios, ROUNDS));
  fflush(stdout);
}

static uint32_t power_of_two(void) { return 64u << random64() % 10; }
static uint32_t uniform(void) { return 64 + random64() % (32768 - 64 + 1); }
/* A million of the above would take more memory than many machines have. */
static uint32_t small_power_of_two(void) { return 64u << random64() % 6; }
static uint32_t small_uniform(void) { return 64 + random64() % (2048 - 64 + 1); }

static void pairs(const char *name, uint32_t size) {
  double pool_ns[ROUNDS], malloc_ns[ROUNDS];
  for (int i = 0; i < ROUNDS; i++) {
    malloc_ns[i] = malloc_pairs(size);
    pool_ns[i] = pool_pairs(size);
  }
  print(name, pool_ns, malloc_ns);
}

static int churn(const char *name, int live, uint32_t (*size)(void)) {
  for (int i = 0; i < live; i++) {
    uint32_t bytes = size();
    blocks[i] = ap_block_alloc(pool, bytes, AP_UINT8, AP_UNINITIALIZED);
    pointers[i] = malloc(bytes);
    if (blocks[i] < 0 || !pointers[i]) return fprintf(stderr, "%s: out of memory\n", name), 1;
  }
  double pool_ns[ROUNDS], malloc_ns[ROUNDS];
  for (int round = -2; round < ROUNDS; round++) { /* two rounds to warm up */
    for (int i = 0; i < OPERATIONS; i++) sizes[i] = size(), places[i] = random64() % live;
    double theirs = malloc_churn();
    double ours = pool_churn();
    if (round >= 0) malloc_ns[round] = theirs, pool_ns[round] = ours;
  }
  for (int i = 0; i < live; i++) ap_block_release(pool, blocks[i], 1), free(pointers[i]);
  print(name, pool_ns, malloc_ns);
  return 0;
}

static int measure(void) {
  pairs("4 KB", 4096);
  return churn("powers of two, 64 B to 32 KiB, 1,000 live", 1000, power_of_two) ||
         churn("powers of two, 64 B to 32 KiB, 100,000 live", 100000, power_of_two) ||
         churn("any size, 64 B to 32 KiB, 1,000 live", 1000, uniform) ||
         churn("any size, 64 B to 32 KiB, 100,000 live", 100000, uniform) ||
         churn("powers of two, 64 B to 2 KiB, 1,000,000 live", 1000000, small_power_of_two) ||
         churn("any size, 64 B to 2 KiB, 1,000,000 live", 1000000, small_uniform);
}

static void *sleep_on(void *unused) {
  for (;;) pause();
  return unused;
}

static int start_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, sleep_on, NULL)) return fprintf(stderr, "no second thread\n"), 1;
  threads = 2;
  return 0;
}

int main(int count, char **arguments) {
  double report[AP_REPORT_LENGTH];
  pool = ap_pool_create(count > 1 ? arguments[1] : NULL, 6.0 * (1 << 30), 0, AP_RUNTIME_NATIVE, report);
  if (!pool) return fprintf(stderr, "no pool: error %g, errno %g\n", report[AP_REPORT_CODE], report[AP_REPORT_ERRNO]), 1;
  int only_threads = count > 2 && !strcmp(arguments[2], "threads");
  int failed = (!only_threads && measure()) || start_thread() || measure();
  ap_pool_close(pool, 0);
  return failed;
}
