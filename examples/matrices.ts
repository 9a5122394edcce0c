/**
 * A tinypool of processes multiplies two matrices, and one process does the same to compare. Each task names the same
 * three arrays and the rows that it is to compute; the product is written in place, so no task has anything to return.
 *
 * The arrays are read and written through `ndarray`, which takes them for the Float64Arrays that they are: its views know
 * shapes, transposes and strides.
 *
 *     bun examples/matrices.ts      deno run -A examples/matrices.ts      node examples/matrices.ts
 */

import ndarray, { type NdArray } from "ndarray";
import { Tinypool } from "tinypool";
import { pack, type Packed, Pool, type SharedArray, unpack } from "../mod.ts";

/** A matrix as ndarray sees it. */
type Matrix = NdArray<Float64Array>;

interface Matrices {
  a: SharedArray<Float64Array>;
  b: SharedArray<Float64Array>;
  product: SharedArray<Float64Array>;
}

interface Task {
  matrices: Packed<Matrices>;
  from: number;
  to: number;
}

/** Runs in the processes of the tinypool. */
export default function multiply({ matrices, from, to }: Task): void {
  using shared = unpack(matrices);
  multiplyRows(view(shared.a), view(shared.b), view(shared.product), from, to);
}

/** On the same memory. */
function view(matrix: SharedArray<Float64Array>): Matrix {
  return ndarray(matrix, [...matrix.shape]);
}

/** Rows `from` to `to` of a × b. */
function multiplyRows(a: Matrix, b: Matrix, product: Matrix, from: number, to: number): void {
  const [size, columns] = b.shape as [number, number];
  for (let row = from; row < to; row++) {
    const [factors, sums] = [a.pick(row, null), product.pick(row, null)];
    for (let column = 0; column < columns; column++) {
      let sum = 0;
      for (let k = 0; k < size; k++) sum += factors.get(k) * b.get(k, column);
      sums.set(column, sum);
    }
  }
}

if (import.meta.main) {
  const [size, rowsPerTask, processCount] = [300, 25, 3];
  using pool = Pool.create();
  using a = pool.alloc(Float64Array, [size, size]);
  using b = pool.alloc(Float64Array, [size, size]);
  using product = pool.alloc(Float64Array, [size, size]);
  for (let i = 0; i < a.length; i++) [a[i], b[i]] = [Math.sin(i), Math.cos(i)];

  const team = new Tinypool({ filename: import.meta.url, runtime: "child_process", maxThreads: processCount });
  // `using` holds the arrays until all tasks are done, so their descriptors need no claims of their own.
  const matrices = pack<Matrices>({ a, b, product }, { claims: 0 });
  const tasks: Task[] = [];
  for (let from = 0; from < size; from += rowsPerTask) tasks.push({ matrices, from, to: from + rowsPerTask });
  await Promise.all(tasks.map((task) => team.run(task)));
  await team.destroy();

  const alone = ndarray(new Float64Array(size * size), [size, size]);
  multiplyRows(view(a), view(b), alone, 0, size);
  const same = product.every((value, i) => value === alone.data[i]);
  console.log(`${processCount} processes multiplied two matrices of ${size} × ${size} in ${tasks.length} tasks`);
  console.log(`the product is ${same ? "the same as" : "DIFFERENT from"} that of one process`);
}
