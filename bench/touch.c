/* The first touch of 64 MiB of a pool: by plain faults, and with the pages mapped ahead, in turn. Prints one JSON object a
 * line, in each of the rounds.
 *
 *     {"what": "read" or "read 1 of 16 pages", …}   a second process, its pages mapped by MADV_POPULATE_READ
 *     {"what": "write", …}                          a second process, by ap_block_prefault
 *     {"what": "alloc and fill", …}                 whoever allocates: zeroed, and uninitialized, which maps them by itself
 *     … "plain_ms", "ahead_ms"
 *
 *     zig cc -O2 -I libpool bench/touch.c -o /tmp/touch -L lib/linux-x64 -larraypool
 *     LD_LIBRARY_PATH=lib/linux-x64 /tmp/touch [name [rounds]]
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
#endif

enum { BYTES = 64 << 20, PAGE = 4096 };
typedef enum { READ, READ_FEW, WRITE, FILL, WAYS } way;
static const char *const names[WAYS] = {"read", "read 1 of 16 pages", "write", "alloc and fill"};

static const char *name;
static double *took; /* by the child, shared with it */

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static char *bytes_of(ap_pool *pool) { return (char *)(uintptr_t)ap_pool_record(pool)[AP_RECORD_ADDRESS]; }

static void touch(volatile char *bytes, way way) {
  uint64_t sum = 0;
  switch (way) {
    case READ:
      for (size_t i = 0; i < BYTES; i += 8) sum += *(volatile uint64_t *)(bytes + i);
      break;
    case READ_FEW:
      for (size_t i = 0; i < BYTES; i += 16 * PAGE) sum += bytes[i];
      break;
    default:
      memset((void *)bytes, 7, BYTES);
      return;
  }
  if (sum == 0) _exit(4); /* it was filled */
}

static void map_ahead(ap_pool *pool, int32_t block, char *bytes, way way) {
  if (way == WRITE) {
    if (ap_block_prefault(pool, block, 0, BYTES) != 0) _exit(3);
    return;
  }
  uintptr_t from = (uintptr_t)bytes & ~(uintptr_t)(PAGE - 1);
  size_t length = ((uintptr_t)bytes + BYTES - from + PAGE - 1) & ~(size_t)(PAGE - 1);
  if (madvise((void *)from, length, MADV_POPULATE_READ) != 0) _exit(3);
}

static void in_child(int32_t block, double generation, way way, int ahead) {
  ap_pool *pool = ap_pool_open(name, NULL, AP_RUNTIME_NATIVE, NULL);
  if (!pool || ap_block_attach(pool, block, generation, 0) < 0) _exit(2);
  char *bytes = bytes_of(pool);
  double begun = now_ms();
  if (ahead) map_ahead(pool, block, bytes, way);
  touch(bytes, way);
  *took = now_ms() - begun;
  ap_pool_close(pool, 0);
  _exit(0);
}

static int by_second_process(int32_t block, double generation, way way, int ahead) {
  int status;
  pid_t child = fork();
  if (child == 0) in_child(block, generation, way, ahead);
  waitpid(child, &status, 0);
  return status;
}

/* In a new pool, whose memory is all new. */
static int by_maker(int ahead) {
  char other[64];
  snprintf(other, sizeof other, "%s-fill", name);
  ap_pool *pool = ap_pool_create(other, 128 << 20, 0, AP_RUNTIME_NATIVE, NULL);
  if (!pool) return 1;
  double begun = now_ms();
  int32_t block = ap_block_alloc(pool, BYTES, AP_UINT8, ahead ? AP_UNINITIALIZED : AP_ZEROED);
  if (block >= 0) touch(bytes_of(pool), FILL);
  *took = now_ms() - begun;
  ap_pool_close(pool, 0);
  return block < 0;
}

int main(int count, char **arguments) {
  name = count > 1 ? arguments[1] : "bench-touch";
  const int rounds = count > 2 ? atoi(arguments[2]) : 9;
  took = mmap(NULL, sizeof *took, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double report[AP_REPORT_LENGTH];
  ap_pool *pool = ap_pool_create(name, 128 << 20, 0, AP_RUNTIME_NATIVE, report);
  if (took == MAP_FAILED || !pool) return fprintf(stderr, "no pool: error %g\n", report[AP_REPORT_CODE]), 1;
  int32_t block = ap_block_alloc(pool, BYTES, AP_UINT8, AP_UNINITIALIZED);
  if (block < 0) return ap_pool_close(pool, 0), 1;
  double generation = ap_pool_record(pool)[AP_RECORD_GENERATION];
  memset(bytes_of(pool), 1, BYTES);
  ap_block_share(pool, block);
  int failed = 0;
  for (int round = 0; round < rounds; round++) {
    for (way way = READ; way < WAYS; way++) {
      double ms[2];
      for (int ahead = 0; ahead < 2; ahead++) {
        if ((way == FILL ? by_maker(ahead) : by_second_process(block, generation, way, ahead)) != 0) failed = 1;
        ms[ahead] = *took;
      }
      printf("{\"what\": \"%s\", \"plain_ms\": %.3f, \"ahead_ms\": %.3f}\n", names[way], ms[0], ms[1]);
    }
  }
  ap_pool_close(pool, 0);
  return failed;
}
