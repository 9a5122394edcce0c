/** Content that tells whether a single element is another one's, or zero. */

const at = (i: number, seed: number) => (i + 1) * 0.37 + seed;

export function content(array: Float64Array, seed = 0): void {
  for (let i = 0; i < array.length; i++) array[i] = at(i, seed);
}

export function isContent(array: Float64Array, seed = 0): boolean {
  for (let i = 0; i < array.length; i++) if (array[i] !== at(i, seed)) return false;
  return true;
}
