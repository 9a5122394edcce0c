/* A C program in a pool with a JavaScript one: makes a pool and an array, prints a descriptor, waits for a line on stdin, and
 * checks what the other side has written. Exit code 0 when everything was as it should be. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "arraypool.h"

enum { LENGTH = 1000 };

int main(void) {
  double report[AP_REPORT_LENGTH];
  if (ap_abi_version() != AP_ABI_VERSION) return fprintf(stderr, "another version of the library\n"), 2;
  ap_pool *pool = ap_pool_create(NULL, 16 << 20, 0, AP_RUNTIME_NATIVE, report);
  if (!pool) return fprintf(stderr, "no pool: error %g, errno %g\n", report[AP_REPORT_CODE], report[AP_REPORT_ERRNO]), 2;
  const double *record = ap_pool_record(pool);

  int32_t block = ap_block_alloc(pool, LENGTH * sizeof(double), AP_FLOAT64, AP_ZEROED);
  if (block < 0) return fprintf(stderr, "no array: error %d\n", block), 2;
  double *numbers = (double *)(uintptr_t)record[AP_RECORD_ADDRESS];
  for (int i = 0; i < LENGTH; i++) numbers[i] = i;

  char name[32], nonce[32];
  ap_pool_name(pool, name);
  ap_pool_nonce(pool, nonce);
  if (ap_claim_create(pool, block, 1, 0) != AP_OK) return 2;
  printf("{\"$arraypool\": 1, \"pool\": \"%s\", \"nonce\": \"%s\", \"block\": %d, \"generation\": %.0f, \"claim\": %.0f, "
         "\"dtype\": \"float64\", \"offset\": 0, \"length\": %d}\n",
         name, nonce, block, record[AP_RECORD_GENERATION], record[AP_RECORD_CLAIM], LENGTH);
  fflush(stdout);

  char line[512];
  if (!fgets(line, sizeof line, stdin)) return fprintf(stderr, "no answer\n"), 3;
  for (int i = 0; i < LENGTH; i++)
    if (numbers[i] != 2.0 * i) return fprintf(stderr, "numbers[%d] is %g\n", i, numbers[i]), 4;

  /* The answer is a descriptor of an array that the other side made: block, generation and claim. */
  unsigned other;
  double generation, claim;
  if (sscanf(line, "%u %lf %lf", &other, &generation, &claim) != 3) return 5;
  int32_t status = ap_block_attach(pool, other, generation, claim);
  if (status < 0) return fprintf(stderr, "attach: error %d\n", status), 6;
  const float *floats = (const float *)(uintptr_t)record[AP_RECORD_ADDRESS];
  if (record[AP_RECORD_DTYPE] != AP_FLOAT32 || record[AP_RECORD_BYTES] != 3 * sizeof(float)) return 7;
  if (floats[0] != 0.5f || floats[1] != 1.5f || floats[2] != 2.5f) return 8;
  if (ap_block_attach(pool, other, generation + 1, 0) != AP_ERR_STALE) return 9;

  char text[256] = "";
  if (ap_check(pool, text) != AP_OK) return fprintf(stderr, "%s\n", text), 10;
  ap_block_release(pool, other, 1);
  ap_block_release(pool, block, 1);
  ap_pool_close(pool, 0);
  puts("ok");
  return 0;
}
