/* How long a cache line takes from one processor to another: half of there and back, between two threads that spin. What two
 * processes tell each other cannot be faster, and on a virtual machine it depends on where its processors are at the moment.
 * Prints one JSON object.
 *
 *     {"name": "line", "ns", "least_ns", "most_ns"}     median, least and most of 300 samples, in 3 s and more
 *
 *     zig cc -O2 bench/line.c -o /tmp/line -lpthread && /tmp/line
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

enum { SAMPLES = 300, TURNS = 1000, LINE_BYTES = 256 };

static _Alignas(LINE_BYTES) struct {
  atomic_uint word;
  char rest[LINE_BYTES - sizeof(atomic_uint)];
} line;

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Two threads on one processor would measure the scheduler. */
static void stay_on(int which) {
#ifdef __linux__
  cpu_set_t all, one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (CPU_ISSET(cpu, &all) && which-- == 0) {
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
  }
#else
  (void)which;
#endif
}

static void expect(uint32_t value) {
  while (atomic_load_explicit(&line.word, memory_order_acquire) != value) {}
}

static void say(uint32_t value) { atomic_store_explicit(&line.word, value, memory_order_release); }

static void *answer(void *unused) {
  stay_on(1);
  for (uint32_t turn = 0; turn < SAMPLES * TURNS; turn++) {
    expect(2 * turn + 1);
    say(2 * turn + 2);
  }
  return unused;
}

static int by_size(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

int main(void) {
  static double ns[SAMPLES];
  pthread_t other;
  if (pthread_create(&other, NULL, answer, NULL) != 0) return 1;
  stay_on(0);
  uint32_t turn = 0;
  for (int sample = 0; sample < SAMPLES; sample++) {
    double begun = now_ns();
    for (int i = 0; i < TURNS; i++, turn++) {
      say(2 * turn + 1);
      expect(2 * turn + 2);
    }
    ns[sample] = (now_ns() - begun) / TURNS / 2;
    usleep(10000);
  }
  pthread_join(other, NULL);
  qsort(ns, SAMPLES, sizeof *ns, by_size);
  printf("{\"name\": \"line\", \"ns\": %.1f, \"least_ns\": %.1f, \"most_ns\": %.1f}\n", ns[SAMPLES / 2], ns[0], ns[SAMPLES - 1]);
}
