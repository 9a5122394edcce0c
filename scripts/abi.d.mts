/** The text of core/abi.ts for the C header `text`: its numbers. */
export function generate(text: string): string;
/** The text of core/functions.ts for the C header `text`: what its functions take and return. */
export function generateFunctions(text: string): string;
