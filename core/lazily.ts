/**
 * The library's functions, those that not every program calls at their first use.
 *
 * To look a function up takes a runtime 0.03 to 0.12 ms, for it compiles a way into each; all of them would be most of what
 * the first pool of a process takes.
 */

import { FUNCTIONS } from "./functions.ts";
import type { Signatures } from "./native.ts";

/** What takes part in any pool's life, and its arrays'. */
const AT_ONCE = new Set([
  ...["ap_abi_version", "ap_exit", "ap_buffer_gone", "ap_claim_create", "ap_claim_drop"],
  ...["create", "open", "open_or_create", "close", "record", "info", "name", "nonce"].map((name) => `ap_pool_${name}`),
  ...["alloc", "attach", "share", "retain", "release", "settle", "show", "show_nothing", "spare", "shown"].map((name) =>
    `ap_block_${name}`
  ),
]);

/** The library. `open` looks functions up in it: at once, and, all others together, when the first of them is needed. */
export function openLazily(open: (signatures: Signatures) => object): Record<string, unknown> {
  const signaturesOf = (isAtOnce: boolean): Signatures =>
    Object.fromEntries(Object.entries(FUNCTIONS).filter(([name]) => AT_ONCE.has(name) === isAtOnce));
  const later = signaturesOf(false);
  // Of the prototype, so that what is opened hides it.
  const openers = Object.create(null) as object;
  const library = Object.create(openers) as Record<string, unknown>;
  const openRest = (): void => {
    // Not by assignment: a prototype's getter would forbid it.
    for (const [name, value] of Object.entries(open(later))) Object.defineProperty(library, name, { value });
  };
  for (const name of Object.keys(later)) {
    Object.defineProperty(openers, name, {
      get: () => {
        openRest();
        return library[name];
      },
    });
  }
  Object.assign(library, open(signaturesOf(true)));
  // An object with so many properties is a dictionary to V8, unless it is a prototype.
  return Object.create(library) as Record<string, unknown>;
}
