/** How arrays and pools show themselves in `console.log`: type, shape, pool and the first elements. Makes no claim. */

const ELEMENTS_MAX = 32;

/** The methods by which runtimes ask an object how it wants to be shown. */
const HOOKS = [Symbol.for("nodejs.util.inspect.custom"), Symbol.for("Deno.customInspect")];

/** Makes the objects of a prototype show themselves as `show` says. */
export function showAs<T extends object>(prototype: T, show: (object: T) => string): void {
  const value = function (this: T): string {
    return show(this);
  };
  for (const hook of HOOKS) Object.defineProperty(prototype, hook, { value, writable: true, configurable: true });
}

/** `Float64Array(2 x 3) [ 1, 2, 3, 4, 5, 6 ] in pool "prices"` */
export function inspectArray(
  array: ArrayLike<number | bigint>,
  className: string,
  shape: readonly number[],
  pool: string,
  released: boolean,
  origin: string | undefined,
): string {
  const elements = released ? " (released)" : ` [ ${elementsOf(array)} ]`;
  const made = origin === undefined ? "" : `, made ${origin}`;
  return `${className}(${shape.join(" x ")})${elements} in pool ${JSON.stringify(pool)}${made}`;
}

function elementsOf(array: ArrayLike<number | bigint>): string {
  const shown: string[] = [];
  for (let i = 0; i < Math.min(array.length, ELEMENTS_MAX); i++) {
    const element = array[i]!;
    shown.push(Object.is(element, -0) ? "-0" : typeof element === "bigint" ? `${element}n` : String(element));
  }
  if (array.length > ELEMENTS_MAX) shown.push(`… ${array.length - ELEMENTS_MAX} more`);
  return shown.join(", ");
}
