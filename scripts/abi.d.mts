/** The TypeScript text for the C header `text`. */
export function generate(text: string): string;
