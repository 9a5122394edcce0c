/* The first touch of 64 MiB of a pool by a second process: by plain faults, and with its pages mapped ahead (MADV_POPULATE_READ,
 * MADV_POPULATE_WRITE), the call included. Each time by a new process, in turn. Prints one JSON object a line.
 *
 *     {"name": "touch", "what": "read", "read 1 of 16 pages" or "write", "plain_ms", "ahead_ms"}     medians
 *
 *     zig cc -O2 -I libpool bench/touch.c -o /tmp/touch -L lib/linux-x64 -larraypool
 *     LD_LIBRARY_PATH=lib/linux-x64 /tmp/touch [name]
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arraypool.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

enum { ROUNDS = 9, BYTES = 64 << 20, PAGE = 4096 };
typedef enum { READ, READ_FEW, WRITE, WAYS } way;
static const char *const names[WAYS] = {"read", "read 1 of 16 pages", "write"};

static const char *name;
static double *took; /* by the child, shared with it */

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void touch(volatile char *bytes, way way) {
  if (way == WRITE) {
    memset((void *)bytes, 7, BYTES);
    return;
  }
  uint64_t sum = 0;
  if (way == READ) {
    for (size_t i = 0; i < BYTES; i += 8) sum += *(volatile uint64_t *)(bytes + i);
  } else {
    for (size_t i = 0; i < BYTES; i += 16 * PAGE) sum += bytes[i];
  }
  if (sum == 0) _exit(4); /* it was filled */
}

static void in_child(int32_t block, double generation, way way, int ahead) {
  ap_pool *pool = ap_pool_open(name, NULL, AP_RUNTIME_NATIVE, NULL);
  if (!pool || ap_block_attach(pool, block, generation, 0) < 0) _exit(2);
  char *bytes = (char *)(uintptr_t)ap_pool_record(pool)[AP_RECORD_ADDRESS];
  double begun = now_ms();
  if (ahead) {
    uintptr_t from = (uintptr_t)bytes & ~(uintptr_t)(PAGE - 1);
    size_t length = ((uintptr_t)bytes + BYTES - from + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (madvise((void *)from, length, way == WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) != 0) _exit(3);
  }
  touch(bytes, way);
  *took = now_ms() - begun;
  ap_pool_close(pool, 0);
  _exit(0);
}

static int by_number(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int count, char **arguments) {
  name = count > 1 ? arguments[1] : "bench-touch";
  took = mmap(NULL, sizeof *took, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double report[AP_REPORT_LENGTH];
  ap_pool *pool = ap_pool_create(name, 128 << 20, 0, AP_RUNTIME_NATIVE, report);
  if (took == MAP_FAILED || !pool) return fprintf(stderr, "no pool: error %g\n", report[AP_REPORT_CODE]), 1;
  int32_t block = ap_block_alloc(pool, BYTES, AP_UINT8, AP_UNINITIALIZED);
  if (block < 0) return ap_pool_close(pool, 0), 1;
  const double *record = ap_pool_record(pool);
  double generation = record[AP_RECORD_GENERATION];
  memset((void *)(uintptr_t)record[AP_RECORD_ADDRESS], 1, BYTES);
  ap_block_share(pool, block);
  int failed = 0;
  for (way way = READ; way < WAYS; way++) {
    double times[2][ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
      for (int ahead = 0; ahead < 2; ahead++) {
        int status;
        pid_t child = fork();
        if (child == 0) in_child(block, generation, way, ahead);
        waitpid(child, &status, 0);
        if (status != 0) failed = 1;
        times[ahead][round] = *took;
      }
    }
    for (int ahead = 0; ahead < 2; ahead++) qsort(times[ahead], ROUNDS, sizeof(double), by_number);
    printf("{\"name\": \"touch\", \"what\": \"%s\", \"plain_ms\": %.2f, \"ahead_ms\": %.2f}\n", names[way], times[0][ROUNDS / 2],
           times[1][ROUNDS / 2]);
  }
  ap_pool_close(pool, 0);
  return failed;
}
