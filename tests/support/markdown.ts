/** Reads the repository's Markdown: its blocks of code, its links, its headings. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./programs.ts";

/** A block of code, in a page or in a comment. */
export interface Block {
  /** The file it stands in, from the root of the repository. */
  page: string;
  /** Its first line there. */
  line: number;
  /** `ts`, `sh` … */
  language: string;
  code: string;
  /** Why it is not run: what "Not run by the tests: …" in the paragraph above it says. */
  notRun: string | undefined;
}

/** Where a block stands, to read. */
export const placeOf = ({ page, line }: Block): string => `${page}:${line}`;

/** A file's text. */
export const textOf = (file: string): string => readFileSync(join(root, file), "utf8");

/** The files of a folder, and of those in it, that end so; none if it is not there. */
export function filesIn(folder: string, extension: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(extension)
  ).map((name) => `${folder}/${name}`).sort();
}

/** All pages that people read. */
export function pages(): string[] {
  return [
    ...readdirSync(root).filter((name) => name.endsWith(".md")),
    ...filesIn("docs", ".md"),
    "examples/README.md",
  ];
}

/** The blocks of a page, or of the comments of a source file. */
export function blocksOf(page: string): Block[] {
  const text = textOf(page);
  const found: Block[] = [];
  for (const match of text.matchAll(/^([ ]*\*? ?)```(\w*)\n([\s\S]*?)^\1```/gm)) {
    const [, margin, language, body] = match as unknown as [string, string, string, string];
    const code = body.split("\n").map((line) => line.startsWith(margin.trimEnd()) ? line.slice(margin.length) : line);
    const before = text.slice(0, match.index).trimEnd().split(/\n\s*\n/).at(-1)!.replaceAll(/\s+/g, " ");
    found.push({
      page,
      line: text.slice(0, match.index).split("\n").length,
      language,
      code: code.join("\n"),
      notRun: /Not run by the tests: (.+?)\.?_?$/.exec(before)?.[1],
    });
  }
  return found;
}

/** The name that a block gives itself, `// main.ts` in its first line: other blocks of its page find it under that. */
export function nameOf({ code }: Block): string | undefined {
  return /^\/\/ ([\w-]+\.ts)\b/.exec(code)?.[1];
}

/** What the comments behind `console.log` promise that it prints, as one expression per line. */
export function promisedBy({ code }: Block): RegExp[] {
  const lines = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text!);
  return lines.map((text) => {
    const parts = text.split("…").map((part) =>
      part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll(/\s+/g, "\\s+")
        .replaceAll('"', "[\"']") // Bun and Deno show strings in these, Node in those
    );
    return new RegExp(`^${parts.join("[^]*")}$`, "m");
  });
}

/** The commands of a block of `sh`, as words. */
export function commandsIn({ code }: Block): string[][] {
  const lines = code.replaceAll(/\\\n\s*/g, " ").split("\n").map((line) => line.replace(/(^|\s)#.*$/, ""));
  return lines.flatMap((line) => line.split(/&&|;/)).map((command) => command.trim().split(/\s+/)).filter(([first]) =>
    first !== ""
  );
}

/** The text of a page without its blocks of code, whose lines stay, empty. */
function prose(page: string): string {
  return textOf(page).replaceAll(/^```[\s\S]*?^```/gm, (block) => block.replaceAll(/[^\n]/g, ""));
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title] of prose(page).matchAll(/^#{1,6} (.+)$/gm)) {
    const plain = title!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    const anchor = plain.trim().toLowerCase().replaceAll(/[^\p{L}\p{N}_\- ]/gu, "").replaceAll(" ", "-");
    let unique = anchor;
    for (let i = 1; anchors.has(unique); i++) unique = `${anchor}-${i}`;
    anchors.add(unique);
  }
  return anchors;
}

/** Where a page's links and pictures lead to, within the repository. */
export function linksOf(page: string): string[] {
  const text = prose(page).replaceAll(/`[^`\n]*`/g, "");
  const links = [
    ...text.matchAll(/\]\(([^)\s]+)[^)]*\)/g),
    ...text.matchAll(/\b(?:src|srcset|href)="([^"]+)"/g),
  ].map(([, target]) => target!);
  return links.filter((target) => !/^[a-z]+:/.test(target));
}

/** What stands in backquotes in a page, outside its blocks. */
export function quotedIn(page: string): string[] {
  return [...prose(page).matchAll(/`([^`\n]+)`/g)].map(([, text]) => text!);
}

/** A name for a page's folder. */
export const folderOf = (page: string): string => basename(page).replace(/\W+/g, "-");
