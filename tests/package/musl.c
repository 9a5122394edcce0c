/* Opens the library as a runtime does, from a program that musl's dynamic loader has started. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

#include "arraypool.h"

#define LOOK_UP(name) __typeof__(&name) call_##name = (__typeof__(&name))dlsym(library, #name)
#define CHECK(condition) \
  if (!(condition)) return fprintf(stderr, "line %d: %s\n", __LINE__, #condition), 1

int main(int count, char **arguments) {
  CHECK(count == 2);
  void *library = dlopen(arguments[1], RTLD_NOW);
  if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
  LOOK_UP(ap_abi_version);
  LOOK_UP(ap_pool_create);
  LOOK_UP(ap_pool_record);
  LOOK_UP(ap_block_alloc);
  LOOK_UP(ap_claim_create);
  LOOK_UP(ap_block_attach);
  LOOK_UP(ap_claim_drop);
  LOOK_UP(ap_block_release);
  LOOK_UP(ap_check);
  LOOK_UP(ap_pool_close);
  CHECK(call_ap_abi_version() == AP_ABI_VERSION);

  double report[AP_REPORT_LENGTH];
  ap_pool *pool = call_ap_pool_create(0, 16 << 20, 0, AP_RUNTIME_NATIVE, report);
  CHECK(pool);
  const double *record = call_ap_pool_record(pool);
  int32_t block = call_ap_block_alloc(pool, 1000 * sizeof(double), AP_FLOAT64, AP_ZEROED);
  CHECK(block >= 0);
  double *numbers = (double *)(uintptr_t)record[AP_RECORD_ADDRESS];
  for (int i = 0; i < 1000; i++) CHECK(numbers[i] == 0);
  for (int i = 0; i < 1000; i++) numbers[i] = i;
  double generation = record[AP_RECORD_GENERATION];
  CHECK(call_ap_claim_create(pool, block, 1, 0) == AP_OK);
  double claim = record[AP_RECORD_CLAIM];
  CHECK(call_ap_block_attach(pool, block, generation, claim) >= 0);
  /* Who holds the array already does not use the claim up, and a claim would keep the pool's file. */
  CHECK(call_ap_claim_drop(pool, block, generation, claim, 1) == AP_OK);
  CHECK(numbers[999] == 999);
  call_ap_block_release(pool, block, 1);
  call_ap_block_release(pool, block, 1);
  char text[256] = "";
  CHECK(call_ap_check(pool, text) == AP_OK);
  CHECK(call_ap_pool_close(pool, 0) >= 0);
  puts("musl: alloc, fill, share, attach, release, check: ok");
  return 0;
}
