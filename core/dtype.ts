/**
 * The twelve element types: one table, and the ways into it.
 *
 * A TypedArray is recognised by its internal slot (the getter of `Symbol.toStringTag`), so a Buffer is a `Uint8Array`,
 * an array of another realm is what it is, and no object can pretend to be one.
 */

import {
  AP_FLOAT16,
  AP_FLOAT32,
  AP_FLOAT64,
  AP_INT16,
  AP_INT32,
  AP_INT64,
  AP_INT8,
  AP_UINT16,
  AP_UINT32,
  AP_UINT64,
  AP_UINT8,
  AP_UINT8CLAMPED,
} from "./abi.ts";
import { quote } from "./errors.ts";

/** Every TypedArray a pool can hold, by class name. Always on an `ArrayBuffer`, never a `SharedArrayBuffer`. */
export interface TypedArrays {
  /** Element type `int8`. */
  Int8Array: Int8Array<ArrayBuffer>;
  /** Element type `uint8`. */
  Uint8Array: Uint8Array<ArrayBuffer>;
  /** Element type `uint8clamped`. */
  Uint8ClampedArray: Uint8ClampedArray<ArrayBuffer>;
  /** Element type `int16`. */
  Int16Array: Int16Array<ArrayBuffer>;
  /** Element type `uint16`. */
  Uint16Array: Uint16Array<ArrayBuffer>;
  /** Element type `int32`. */
  Int32Array: Int32Array<ArrayBuffer>;
  /** Element type `uint32`. */
  Uint32Array: Uint32Array<ArrayBuffer>;
  /** Element type `float16`. */
  Float16Array: Float16Array<ArrayBuffer>;
  /** Element type `float32`. */
  Float32Array: Float32Array<ArrayBuffer>;
  /** Element type `float64`. */
  Float64Array: Float64Array<ArrayBuffer>;
  /** Element type `int64`. */
  BigInt64Array: BigInt64Array<ArrayBuffer>;
  /** Element type `uint64`. */
  BigUint64Array: BigUint64Array<ArrayBuffer>;
}

/** Element types by NumPy's names; they stand in descriptors and in errors. */
export type DType =
  | "int8"
  | "uint8"
  | "uint8clamped"
  | "int16"
  | "uint16"
  | "int32"
  | "uint32"
  | "float16"
  | "float32"
  | "float64"
  | "int64"
  | "uint64";

/** Any TypedArray, whatever its buffer: what users write (`Float64Array`). */
export type TypedArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float16Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** The class of `T`: `Float64Array` itself, as a value. */
export interface TypedArrayClass<T extends TypedArray> {
  /** What an instance has. */
  readonly prototype: T;
  /** Bytes of one element. */
  readonly BYTES_PER_ELEMENT: number;
}

/** `T` on an `ArrayBuffer`. */
export type OnArrayBuffer<T extends TypedArray> = TypedArrays[T[typeof Symbol.toStringTag]];

/** Constructors of TypedArrays as the package uses them: over a buffer. `Uint8Array` stands for all twelve. */
export type ViewConstructor = new (buffer: ArrayBuffer, byteOffset: number, length: number) => Uint8Array<ArrayBuffer>;

/** What the package knows of an element type. */
export interface ElementType {
  readonly dtype: DType;
  /** `AP_*`, as it stands in the segment. */
  readonly code: number;
  readonly bytes: number;
  /** Whether its elements are 32-bit integers, for which one can wait. */
  readonly isWord: boolean;
  readonly className: keyof TypedArrays;
  readonly class: ViewConstructor;
}

function elementType(
  dtype: DType,
  code: number,
  arrayClass: TypedArrayClass<TypedArray> & { name: string },
): ElementType {
  return {
    dtype,
    code,
    bytes: arrayClass.BYTES_PER_ELEMENT,
    isWord: code === AP_INT32 || code === AP_UINT32,
    className: arrayClass.name as keyof TypedArrays,
    class: arrayClass as unknown as ViewConstructor,
  };
}

/** All twelve. */
export const ELEMENT_TYPES: readonly ElementType[] = [
  elementType("int8", AP_INT8, Int8Array),
  elementType("uint8", AP_UINT8, Uint8Array),
  elementType("uint8clamped", AP_UINT8CLAMPED, Uint8ClampedArray),
  elementType("int16", AP_INT16, Int16Array),
  elementType("uint16", AP_UINT16, Uint16Array),
  elementType("int32", AP_INT32, Int32Array),
  elementType("uint32", AP_UINT32, Uint32Array),
  // Where it is missing, the library says in a moment which versions of a runtime it needs.
  elementType("float16", AP_FLOAT16, globalThis.Float16Array ?? Uint16Array),
  elementType("float32", AP_FLOAT32, Float32Array),
  elementType("float64", AP_FLOAT64, Float64Array),
  elementType("int64", AP_INT64, BigInt64Array),
  elementType("uint64", AP_UINT64, BigUint64Array),
];

const byClass = new Map<unknown, ElementType>(ELEMENT_TYPES.map((type) => [type.class, type]));
const byDType = new Map<unknown, ElementType>(ELEMENT_TYPES.map((type) => [type.dtype, type]));
const byCode = new Map<number, ElementType>(ELEMENT_TYPES.map((type) => [type.code, type]));
const byTag = new Map<unknown, ElementType>(ELEMENT_TYPES.map((type) => [type.className, type]));

const readTag = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get!;

/** The element type of a TypedArray class. @throws {TypeError} for anything else. */
export function elementTypeOfClass(arrayClass: unknown): ElementType {
  const type = byClass.get(arrayClass);
  if (type === undefined) {
    throw new TypeError(`expected a TypedArray class, such as Float64Array, instead of ${quote(arrayClass)}`);
  }
  return type;
}

/** The element type of a TypedArray; undefined for anything else. */
export function elementTypeOf(value: unknown): ElementType | undefined {
  return byTag.get(readTag.call(value));
}

/** The element type of that name; undefined if there is none. */
export function elementTypeNamed(dtype: unknown): ElementType | undefined {
  return byDType.get(dtype);
}

/** The element type that stands as `code` in a segment; undefined if there is none. */
export function elementTypeCoded(code: number): ElementType | undefined {
  return byCode.get(code);
}
