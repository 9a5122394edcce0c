/**
 * A tinypool of processes multiplies two matrices. Each task names the same three shared arrays and the rows it is to
 * compute; the product is written in place, so no task has anything to return.
 *
 *     bun examples/tinypool.ts                      deno run -A examples/tinypool.ts
 */

import { pack, type Packed, Pool, type SharedArray, unpack } from "../mod.ts";
import { Tinypool } from "tinypool";

interface Matrices {
  a: SharedArray<Float64Array>;
  b: SharedArray<Float64Array>;
  product: SharedArray<Float64Array>;
}

interface Task {
  matrices: Packed<Matrices>;
  firstRow: number;
  lastRow: number;
}

/** Runs in the processes of the tinypool. */
export default function multiply({ matrices, firstRow, lastRow }: Task): void {
  using shared = unpack(matrices);
  const { a, b, product } = shared;
  const size = product.shape[0]!;
  for (let row = firstRow; row < lastRow; row++) {
    const out = product.slab(row);
    for (let k = 0; k < size; k++) {
      const factor = a[row * size + k]!;
      for (let column = 0; column < size; column++) out[column]! += factor * b[k * size + column]!;
    }
  }
}

if (import.meta.main) {
  const size = 600;
  const rowsPerTask = 50;

  using pool = Pool.create();
  using a = pool.alloc(Float64Array, [size, size]);
  using b = pool.alloc(Float64Array, [size, size]);
  using product = pool.alloc(Float64Array, [size, size]);
  for (let i = 0; i < size; i++) {
    a.slab(i).fill(i);
    b.slab(i)[i] = 2; // twice the identity: the product is 2 × a
  }

  const tinypool = new Tinypool({ filename: import.meta.url, runtime: "child_process", maxThreads: 4 });
  // `using` holds the arrays until all tasks are done, so their descriptors need no claims of their own.
  const matrices = pack({ a, b, product }, { claims: 0 });
  const tasks: Task[] = [];
  for (let firstRow = 0; firstRow < size; firstRow += rowsPerTask) {
    tasks.push({ matrices, firstRow, lastRow: firstRow + rowsPerTask });
  }
  await Promise.all(tasks.map((task) => tinypool.run(task)));
  await tinypool.destroy();

  const correct = product.every((value, i) => value === 2 * a[i]!);
  console.log(`${tasks.length} tasks multiplied two ${size} × ${size} matrices: ${correct ? "correct" : "wrong"}`);
}
