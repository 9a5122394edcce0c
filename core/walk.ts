/**
 * Walks over messages: plain objects, arrays, Maps and Sets. Everything else is a leaf.
 *
 * A message may come from anywhere: `ownData` reads it without running any code of it, and a key `__proto__` is a key. How
 * long a walk takes, and what it makes, follows from what is in the message: not from the length that an array claims, and
 * not from the number of ways to a shared part. What is nested too deeply is refused before the engine's stack is full.
 */

/** Reads a property of a container. */
export type Read = (container: object, key: PropertyKey) => unknown;

/** Own data properties only: no getter runs, no prototype has a say. */
export const ownData: Read = (container, key) =>
  isData(container, key) ? (container as Record<PropertyKey, unknown>)[key] : undefined;

const lookupGetter = (Object.prototype as unknown as { __lookupGetter__(key: PropertyKey): unknown }).__lookupGetter__;

/**
 * Whether `container` has a property of its own that may be read without running code: it has no getter.
 *
 * A property descriptor would say so, too; but to make an object for each field takes twice as long in Bun, and in V8 the
 * garbage of one descriptor of an array is as much as the array itself.
 */
export function isData(container: object, key: PropertyKey): boolean {
  // In this order: the look for a getter would go on to the prototype.
  return Object.hasOwn(container, key) && lookupGetter.call(container, key) === undefined;
}

/** As the language has it: for our own messages, where a getter is what its author wrote. */
export const anyProperty: Read = (container, key) => (container as Record<PropertyKey, unknown>)[key];

/** What `replace` returns for a value that it leaves alone. */
export const UNTOUCHED: unique symbol = Symbol("untouched");

const UNFINISHED = Symbol("unfinished");

/** Containers in containers. Far less than what fits on the stack of any engine. */
export const DEPTH_MAX = 1024;

/** For a message that contains itself. */
export function cyclic(): TypeError {
  return new TypeError("the message contains itself: send it without the cycle");
}

/** What is thrown for what is nested too deeply. */
export function nestedTooDeeply(): RangeError {
  return new RangeError(`a message may be nested ${DEPTH_MAX} deep: send it flatter`);
}

/** Whether a value is walked through. */
export function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null &&
    (Array.isArray(value) || isMap(value) || isSet(value) || isPlain(value));
}

/**
 * A copy of a message in which `replace` has had its say on every object, and `look` on those that are left as they are, since
 * nothing looks into them. What occurs twice is one thing in the copy, too.
 * @throws {TypeError} if the message contains itself.
 * @throws {RangeError} if it is nested too deeply.
 */
export function copyMessage(
  message: unknown,
  replace: (value: object) => unknown,
  read: Read,
  look?: (leaf: object) => void,
): unknown {
  const copies = new Map<object, unknown>();
  let depth = 0;
  const copy = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null) return value;
    const known = copies.get(value);
    if (known === UNFINISHED) throw cyclic();
    if (known !== undefined) return known;
    const replaced = replace(value);
    if (replaced !== UNTOUCHED) {
      copies.set(value, replaced);
      return replaced;
    }
    if (!isContainer(value)) {
      look?.(value);
      return value;
    }
    if (depth === DEPTH_MAX) throw nestedTooDeeply();
    copies.set(value, UNFINISHED);
    depth++;
    const result = copyContainer(value, copy, read);
    depth--;
    copies.set(value, result);
    return result;
  };
  return copy(message);
}

function copyContainer(value: object, copy: (value: unknown) => unknown, read: Read): object {
  if (Array.isArray(value)) {
    const result: unknown[] = [];
    const { length } = value;
    let i = 0;
    for (; i < length && Object.hasOwn(value, i); i++) result[i] = copy(read(value, i));
    for (const index of indicesFrom(i, value)) result[index] = copy(read(value, index));
    result.length = length;
    return result;
  }
  if (isMap(value)) {
    const result = new Map<unknown, unknown>();
    Map.prototype.forEach.call(value, (item, key) => result.set(copy(key), copy(item)));
    return result;
  }
  if (isSet(value)) {
    const result = new Set<unknown>();
    Set.prototype.forEach.call(value, (item) => result.add(copy(item)));
    return result;
  }
  const result: Record<string, unknown> = Object.getPrototypeOf(value) === null ? Object.create(null) : {};
  for (const key of Object.keys(value)) {
    const item = copy(read(value, key));
    try {
      if (key !== "__proto__") {
        result[key] = item;
        continue;
      }
    } catch { /* Object.prototype is frozen, and has a property of that name */ }
    Object.defineProperty(result, key, { value: item, writable: true, enumerable: true, configurable: true });
  }
  return result;
}

/** The indices from a hole on at which there is something: an array of one element may claim a length of 2^32 - 1. */
function indicesFrom(hole: number, array: unknown[]): number[] {
  if (hole === array.length) return [];
  const indices: number[] = [];
  // Indices come first, and in order.
  for (const key of Object.keys(array)) {
    const index = Number(key);
    if (String(index >>> 0) !== key || index >= array.length) break;
    if (index > hole) indices.push(index);
  }
  return indices;
}

/**
 * Calls `visit` once for every object in a message, containers and leaves.
 * @throws {RangeError} in the end, if something was nested too deeply to be visited.
 */
export function walkMessage(message: unknown, visit: (value: object) => void): void {
  const seen = new Set<object>();
  let depth = 0;
  let tooDeep = false;
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    visit(value);
    if (depth === DEPTH_MAX) {
      tooDeep ||= isContainer(value);
      return;
    }
    depth++;
    if (Array.isArray(value)) {
      let i = 0;
      for (; i < value.length && Object.hasOwn(value, i); i++) walk(ownData(value, i));
      for (const index of indicesFrom(i, value)) walk(ownData(value, index));
    } else if (isMap(value)) {
      Map.prototype.forEach.call(value, (item, key) => {
        walk(key);
        walk(item);
      });
    } else if (isSet(value)) Set.prototype.forEach.call(value, walk);
    else if (isPlain(value)) { for (const key of Object.keys(value)) walk(ownData(value, key)); }
    depth--;
  };
  walk(message);
  if (tooDeep) throw nestedTooDeeply();
}

/** A Map of any realm, and of no class of its own. */
export function isMap(value: object): value is Map<unknown, unknown> {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Map.prototype ? value instanceof Map : isForeign(value, prototype, mapSize);
}

/** A Set of any realm, and of no class of its own. */
export function isSet(value: object): value is Set<unknown> {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Set.prototype ? value instanceof Set : isForeign(value, prototype, setSize);
}

const sizeOf = (of: object) => Object.getOwnPropertyDescriptor(of, "size")!.get!;
const mapSize = sizeOf(Map.prototype);
const setSize = sizeOf(Set.prototype);

/** Of another realm, such as a test runner makes: what it has inside tells, for which it is asked only if it looks like one. */
function isForeign(value: object, prototype: object | null, size: (this: unknown) => number): boolean {
  if (prototype === null || prototype === Object.prototype || !Object.hasOwn(prototype, "size")) return false;
  const next = Object.getPrototypeOf(prototype);
  if (next === null || Object.getPrototypeOf(next) !== null) return false;
  try {
    size.call(value);
    return true;
  } catch {
    return false;
  }
}

/** An object literal, of any realm, one without a prototype, or a `Message`. */
export function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Message.prototype || Object.getPrototypeOf(prototype) === null;
}

/**
 * What a channel makes of an object that was sent: one like any other, but for a `Symbol.dispose` that it inherits. To define
 * one of its own for each message takes several times as long as the rest of receiving it. What asks for its `constructor` gets
 * `Object`.
 */
export const Message = function () {} as unknown as {
  new (): Record<string, unknown>;
  readonly prototype: object;
};
Object.defineProperties(Message.prototype, {
  constructor: { value: Object, writable: true, configurable: true },
  [Symbol.dispose]: { value: () => {}, writable: true, configurable: true },
});
