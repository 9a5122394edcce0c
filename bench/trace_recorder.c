/* Records the allocations of a program, to be replayed by trace.c: a library for LD_PRELOAD.
 *
 *     zig cc -O2 -shared -fPIC bench/trace_recorder.c -o /tmp/recorder.so -ldl
 *     ARRAYPOOL_TRACE_FILE=/tmp/trace LD_PRELOAD=/tmp/recorder.so git log
 *
 * One record is 8 bytes: the number of the allocation, and its size; size 0 says that it is freed. Of a program of several
 * threads it is one possible order. It stops after 2,000,000 records; after the last one the file has zeros. It is written to
 * through memory, since not every program lets libraries do something at its end. A child does not record.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RECORDS = 2000000, PLACES = 1 << 22 };
typedef struct {
  uint32_t number, size;
} record;

static record *records;
static uint32_t count, numbers;
static pid_t owner;
/* Which number an address has now: open addressing, and a gap stays where one was freed. */
static struct {
  void *pointer;
  uint32_t number;
} *places;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void *pages(size_t bytes, int flags, int file) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  return at == MAP_FAILED ? NULL : at;
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("ARRAYPOOL_TRACE_FILE"), *first = getenv("ARRAYPOOL_TRACE_PID");
  char pid[16];
  snprintf(pid, sizeof pid, "%d", getpid());
  if (!path || (first && strcmp(first, pid))) return;
  setenv("ARRAYPOOL_TRACE_PID", pid, 1); /* of a script that becomes another program, that one is recorded */
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0 || ftruncate(file, sizeof *records * RECORDS)) return;
  owner = getpid();
  places = pages(sizeof *places * PLACES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (places) records = pages(sizeof *records * RECORDS, MAP_SHARED, file);
  close(file);
}

static uint32_t place_of(void *pointer) {
  uint32_t at = (uint32_t)((uintptr_t)pointer >> 4) * 2654435761u % PLACES;
  while (places[at].pointer && places[at].pointer != pointer) at = (at + 1) % PLACES;
  return at;
}

static void note(void *pointer, size_t size) {
  if (!records || !pointer || getpid() != owner) return;
  pthread_mutex_lock(&lock);
  if (count < RECORDS) {
    uint32_t at = place_of(pointer);
    if (size) {
      places[at].pointer = pointer, places[at].number = ++numbers;
      records[count++] = (record){ numbers, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size };
    } else if (places[at].pointer && places[at].number) {
      records[count++] = (record){ places[at].number, 0 };
      places[at].number = 0;
    }
  }
  pthread_mutex_unlock(&lock);
}

void *malloc(size_t size) {
  void *pointer = __libc_malloc(size);
  note(pointer, size ? size : 1);
  return pointer;
}
void *calloc(size_t n, size_t size) {
  void *pointer = __libc_calloc(n, size);
  note(pointer, n * size ? n * size : 1);
  return pointer;
}
void *realloc(void *old, size_t size) {
  note(old, 0);
  void *pointer = __libc_realloc(old, size);
  note(pointer, size);
  return pointer;
}
void *memalign(size_t alignment, size_t size) {
  void *pointer = __libc_memalign(alignment, size);
  note(pointer, size ? size : 1);
  return pointer;
}
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **into, size_t alignment, size_t size) {
  *into = memalign(alignment, size);
  return *into ? 0 : 12;
}
void free(void *pointer) {
  note(pointer, 0);
  __libc_free(pointer);
}
