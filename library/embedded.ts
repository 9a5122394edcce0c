/**
 * The native libraries that travel inside the package's modules, by platform. In the repository there are none, for the
 * library lies in `lib/`; `npm run build` writes this file anew for the packages.
 */

/** One library. */
export interface Embedded {
  /** Names its content. */
  readonly id: string;
  /** Its size. */
  readonly bytes: number;
  /** The library itself, compressed by brotli, in base64. */
  readonly brotli: string;
}

/** By `${process.platform}-${process.arch}`. */
export const embedded: { readonly [platform: string]: Embedded | undefined } = {};
