/**
 * The package by the export condition `node`. Bundlers choose it for programs that run in Node, and those may run in Bun and
 * Deno, too: so this finds out where it is, as mod.ts does.
 */

export * from "../mod.ts";
