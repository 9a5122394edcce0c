/* Several processes that allocate and free in one pool at once, and what the death of one costs the others. Prints one JSON
 * object a line.
 *
 *     {"name": "processes", "kind", "count", "per_second", "p999_ns", "slowest_ns"}
 *         kind "own": arrays that nobody else hears of. "shared": each was told of, so it is let go of under the lock.
 *         "one processor": the same on one processor, where whoever is preempted with the lock keeps all others from it;
 *         "one processor each": and each in a pool of its own, where nobody waits for anybody
 *     {"name": "section", "ns"}     how long the lock is held for one alloc and release of a shared array, at most
 *     {"name": "reap", "ms"}        a member is killed that held 100,000 arrays: until reap() has freed them
 *     {"name": "takeover", "ms"}    a member is killed with the lock, in a pool of 1,000,000 arrays: the longest call of
 *                                   another one, which waits, takes the lock over, and makes the lists anew
 *
 *     zig cc -O2 -I libpool bench/processes.c -o /tmp/processes -L lib/linux-x64 -larraypool
 *     LD_LIBRARY_PATH=lib/linux-x64 /tmp/processes [name]
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arraypool.h"

enum { COUNT_MAX = 16, SAMPLES = 1 << 16, ROUNDS = 5 };
static const double ROUND_NS = 250e6;

typedef struct {
  volatile int ready, go, stop;
  uint64_t operations[COUNT_MAX];
  uint32_t samples[COUNT_MAX];
  uint32_t sample_ns[COUNT_MAX][SAMPLES];
  double slowest_ns[COUNT_MAX];
} board;

static board *shared;
static const char *name;

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static ap_pool *join(void) {
  ap_pool *pool = ap_pool_open(name, NULL, AP_RUNTIME_NATIVE, NULL);
  if (!pool) _exit(2);
  return pool;
}

static void pair(ap_pool *pool, uint32_t size, int is_shared) {
  int32_t block = ap_block_alloc(pool, size, AP_UINT8, AP_UNINITIALIZED);
  if (block < 0) _exit(3);
  if (is_shared) ap_block_share(pool, block);
  ap_block_release(pool, block, 1);
}

typedef enum { OWN, SHARED, ONE_PROCESSOR, ONE_PROCESSOR_EACH } kind;
static const char *const kinds[] = {"own", "shared", "one processor", "one processor each"};

static void work(int me, kind kind) {
  const int is_shared = kind != OWN;
  if (kind >= ONE_PROCESSOR) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) _exit(4);
  }
  ap_pool *pool = kind == ONE_PROCESSOR_EACH ? ap_pool_create(NULL, 64 << 20, 0, AP_RUNTIME_NATIVE, NULL) : join();
  if (!pool) _exit(2);
  uint64_t state = 88172645463325252ull + me, done = 0;
  uint32_t samples = 0;
  double slowest = 0;
  __atomic_add_fetch(&shared->ready, 1, __ATOMIC_SEQ_CST);
  while (!shared->go) usleep(100);
  while (!shared->stop) {
    for (int i = 0; i < 64; i++) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      uint32_t size = 64u << state % 10;
      if (i > 0) {
        pair(pool, size, is_shared);
        continue;
      }
      double begun = now_ns();
      pair(pool, size, is_shared);
      double took = now_ns() - begun;
      if (took > slowest) slowest = took;
      shared->sample_ns[me][samples++ % SAMPLES] = took > 4e9 ? 4000000000u : (uint32_t)took;
    }
    done += 64;
  }
  shared->operations[me] = done;
  shared->samples[me] = samples < SAMPLES ? samples : SAMPLES;
  shared->slowest_ns[me] = slowest;
  ap_pool_close(pool, 0);
  _exit(0);
}

static int by_number(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}
static int by_sample(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}
static double median(double *values, int count) {
  qsort(values, count, sizeof *values, by_number);
  return values[count / 2];
}

static uint32_t all[COUNT_MAX * SAMPLES];

static void at_once(kind kind, int count) {
  double rates[ROUNDS], p999[ROUNDS], slowest = 0;
  for (int round = 0; round < ROUNDS; round++) {
    memset(shared, 0, sizeof *shared);
    for (int i = 0; i < count; i++)
      if (fork() == 0) work(i, kind);
    while (shared->ready < count) usleep(100);
    double begun = now_ns();
    shared->go = 1;
    while (now_ns() - begun < ROUND_NS) usleep(1000);
    shared->stop = 1;
    double took = now_ns() - begun;
    for (int i = 0; i < count; i++) wait(NULL);
    uint64_t operations = 0, samples = 0;
    for (int i = 0; i < count; i++) {
      operations += shared->operations[i];
      for (uint32_t k = 0; k < shared->samples[i]; k++) all[samples++] = shared->sample_ns[i][k];
      if (shared->slowest_ns[i] > slowest) slowest = shared->slowest_ns[i];
    }
    qsort(all, samples, sizeof *all, by_sample);
    rates[round] = operations / took * 1e9;
    p999[round] = samples ? all[samples * 999 / 1000] : 0;
  }
  printf("{\"name\": \"processes\", \"kind\": \"%s\", \"count\": %d, \"per_second\": %.0f, \"p999_ns\": %.0f, \"slowest_ns\": %.0f}\n",
         kinds[kind], count, median(rates, ROUNDS), median(p999, ROUNDS), slowest);
  fflush(stdout);
}

/* One process alone: all of the time but what a call takes that takes no lock. */
static void section(ap_pool *pool) {
  double own[ROUNDS], told[ROUNDS];
  enum { TIMES = 200000 };
  for (int round = 0; round < ROUNDS; round++) {
    for (int is_shared = 0; is_shared < 2; is_shared++) {
      double begun = now_ns();
      for (int i = 0; i < TIMES; i++) pair(pool, 4096, is_shared);
      (is_shared ? told : own)[round] = (now_ns() - begun) / TIMES;
    }
  }
  printf("{\"name\": \"section\", \"ns\": %.1f, \"shared_ns\": %.1f}\n", median(told, ROUNDS) - median(own, ROUNDS), median(told, ROUNDS));
  fflush(stdout);
}

static void reap(ap_pool *pool) {
  double took[ROUNDS];
  for (int round = 0; round < ROUNDS; round++) {
    pid_t child = fork();
    if (child == 0) {
      ap_pool *member = join();
      for (int i = 0; i < 100000; i++)
        if (ap_block_alloc(member, 64 + i % 1000, AP_UINT8, AP_UNINITIALIZED) < 0) _exit(3);
      kill(getpid(), SIGKILL);
    }
    waitpid(child, NULL, 0);
    const double *record = ap_pool_record(pool);
    double begun = now_ns();
    int members = ap_pool_reap(pool);
    took[round] = (now_ns() - begun) / 1e6;
    if (members != 1 || record[0] != 100000) fprintf(stderr, "reaped %d members, %g arrays\n", members, record[0]), exit(1);
  }
  printf("{\"name\": \"reap\", \"ms\": %.3f}\n", median(took, ROUNDS));
  fflush(stdout);
}

static void takeover(ap_pool *pool) {
  for (int i = 0; i < 1000000; i++)
    if (ap_block_alloc(pool, 64, AP_UINT8, AP_UNINITIALIZED) < 0) exit(3);
  const double *record = ap_pool_record(pool);
  double took[ROUNDS];
  int found = 0;
  for (int tries = 0; found < ROUNDS && tries < 3000; tries++) {
    ap_pool_stats(pool);
    double recoveries = record[AP_STATS_RECOVERIES];
    pid_t child = fork();
    if (child == 0) {
      ap_pool *member = join();
      shared->ready = 1;
      for (;;) pair(member, 4096, 1); /* most of that with the lock */
    }
    while (!shared->ready) usleep(50);
    shared->ready = 0;
    usleep(200 + rand() % 500);
    kill(child, SIGKILL);
    double begun = now_ns();
    int32_t block = ap_block_alloc(pool, 200000, AP_UINT8, AP_UNINITIALIZED); /* of no size that a cache has */
    double ms = (now_ns() - begun) / 1e6;
    waitpid(child, NULL, 0);
    if (block < 0) exit(3);
    ap_block_share(pool, block);
    ap_block_release(pool, block, 1);
    ap_pool_stats(pool);
    if (record[AP_STATS_RECOVERIES] > recoveries) took[found++] = ms;
    ap_pool_reap(pool);
  }
  if (found == 0) return;
  printf("{\"name\": \"takeover\", \"ms\": %.3f, \"times\": %d}\n", median(took, found), found);
  fflush(stdout);
}

int main(int count, char **arguments) {
  name = count > 1 ? arguments[1] : "bench-processes";
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double report[AP_REPORT_LENGTH];
  ap_pool *pool = ap_pool_create(name, 1 << 30, 0, AP_RUNTIME_NATIVE, report);
  if (shared == MAP_FAILED || !pool) return fprintf(stderr, "no pool: error %g\n", report[AP_REPORT_CODE]), 1;
  for (int n = 1; n <= COUNT_MAX; n *= 2) at_once(OWN, n), at_once(SHARED, n);
  at_once(ONE_PROCESSOR, 8), at_once(ONE_PROCESSOR_EACH, 8);
  section(pool);
  reap(pool);
  takeover(pool);
  ap_pool_close(pool, 0);
  return 0;
}
