// npm run docs: writes docs/api.md, the reference of everything public, from the comments at the source.
//
//   node scripts/docs.mjs           writes docs/api.md
//   node scripts/docs.mjs --check   exits with 1 if it is not current
//
// `deno doc` says what there is and what its comment says; the signature is cut from the source, as it stands there.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const target = join(root, "docs/api.md");

/** What is not exported by its name, but is what the exported types are made of. */
const MEMBERS_OF = { SharedView: "ViewMembers", SharedArray: "ArrayMembers" };
/** What an instance is called in headings. */
const INSTANCE = { ViewMembers: "array", ArrayMembers: "array", PoolError: "error" };

const lower = (name) => INSTANCE[name] ?? name[0].toLowerCase() + name.slice(1);

function describe(...files) {
  const text = execFileSync("deno", ["doc", "--quiet", "--json", ...files], {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "ignore"],
  });
  return Object.values(JSON.parse(text).nodes);
}

/** Name → its declarations, for all that the files of core/ declare and export. */
function declarations() {
  const found = new Map();
  const files = readdirSync(join(root, "core")).filter((name) => name.endsWith(".ts") && !/^(abi|mod)\.ts$/.test(name));
  for (const { symbols } of describe(...files.map((name) => `core/${name}`))) {
    for (const { name, declarations } of symbols) {
      const own = declarations.filter(({ kind, declarationKind }) => kind !== "reference" && declarationKind === "export");
      if (own.length > 0) found.set(name, own);
    }
  }
  return found;
}

const texts = new Map();
/** The signature that stands at a location: up to the brace that opens a body, or the semicolon at its end. */
function signature({ filename, line, col }) {
  const path = fileURLToPath(filename);
  if (!texts.has(path)) texts.set(path, readFileSync(path, "utf8").split("\n"));
  const lines = [];
  for (let i = line; !/(;| \{)$/.test(lines.at(-1) ?? ""); i++) lines.push(texts.get(path)[i].slice(col));
  return lines.join("\n").replace(/^export (declare )?/, "").replace(/( \{|;)$/, "");
}

/** `name(a, b)`: what to call, for headings. */
function call(name, def) {
  const params = (def?.params ?? []).map((param) => {
    const inner = param.kind === "assign" ? param.left : param.kind === "rest" ? param.arg : param;
    return inner.name;
  });
  return `${name}(${params.join(", ")})`;
}

const code = (text) => ["```typescript", text, "```", ""];

/** A comment's text, its parameters, what it throws, and its examples. */
function comment(jsDoc) {
  const lines = jsDoc?.doc ? [jsDoc.doc.trim(), ""] : [];
  const tags = jsDoc?.tags ?? [];
  for (const { kind, name, doc } of tags) if (kind === "param") lines.push(`- \`${name}\`: ${inline(doc)}`);
  for (const { kind, doc } of tags) if (kind === "return") lines.push(`- Returns: ${inline(doc ?? "")}`);
  const thrown = tags.filter(({ kind }) => kind === "throws");
  for (const { tsType, type, doc } of thrown) {
    lines.push(`- Throws \`${tsType?.repr ?? type ?? "Error"}\`${doc ? `: ${inline(doc)}` : ""}`);
  }
  if (lines.at(-1)?.startsWith("- ")) lines.push("");
  for (const { kind, doc } of tags) if (kind === "example") lines.push(doc.trim(), "");
  return lines;
}

const inline = (text) =>
  linked(text.trim().replaceAll(/\s*\n\s*/g, " ").replaceAll(/@throws \{([^}]+)\}/g, "Throws `$1`:"));
/** Error codes lead to what to do about them. */
const linked = (text) => text.replaceAll(/`(ERR_\w+)`/g, (all, name) => `[${all}](troubleshooting.md#${name.toLowerCase()})`);

function properties(list) {
  if (list.length === 0) return [];
  const cell = (text) => text.replaceAll("|", "\\|");
  const quoted = (text) => text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
  return [
    "| property | |",
    "| --- | --- |",
    ...list.map(({ location, jsDoc }) => {
      const text = signature(location).replace(/^override /, "").replace(/^get (\w+)\(\)/, "readonly $1");
      return `| ${cell(quoted(text))} | ${cell(inline(jsDoc?.doc ?? ""))} |`;
    }),
    "",
  ];
}

function methods(owner, list, isStatic) {
  const lines = [];
  const named = new Map();
  for (const method of list) named.set(method.name, [...(named.get(method.name) ?? []), method]);
  for (const [name, overloads] of named) {
    const shown = overloads.length === 1 ? overloads : overloads.filter((one) => !(one.functionDef ?? one).hasBody);
    const title = name.startsWith("[") ? `${name}()` : call(name, shown[0].functionDef ?? shown[0]);
    const prefix = isStatic ? owner : lower(owner);
    lines.push(`#### ${prefix}${name.startsWith("[") ? "" : "."}${title}`, "");
    lines.push(...code(shown.map(({ location }) => signature(location).replace(/^(?:(?:static|override|async) )+/, "")).join("\n")));
    lines.push(...comment(overloads.find(({ jsDoc }) => jsDoc)?.jsDoc));
  }
  return lines;
}

function section(name, declared, all) {
  const [first] = declared;
  const { kind, def } = first;
  if (kind === "function") {
    const shown = declared.length === 1 ? declared : declared.filter((one) => !one.def.hasBody);
    return [
      `### ${call(name, first.def)}`,
      "",
      ...code(shown.map(({ location }) => signature(location)).join(";\n")),
      ...comment(declared.find(({ jsDoc }) => jsDoc)?.jsDoc),
    ];
  }
  const lines = [`### ${name}`, ""];
  if (kind === "typeAlias") {
    lines.push(...code(signature(first.location)), ...comment(first.jsDoc));
    const members = all.get(MEMBERS_OF[name])?.[0];
    if (members) lines.push(...inherited(members.def), ...body(MEMBERS_OF[name], members.def));
    return lines;
  }
  if (kind !== "class" && kind !== "interface") throw new Error(`${name}: a ${kind} has no place in the reference yet`);
  lines.push(...code(signature(first.location)), ...comment(first.jsDoc));
  return [...lines, ...body(name, def)];
}

/** That an array has what a slice has, too. */
function inherited({ extends: bases = [] }) {
  const names = bases.map(({ repr }) => Object.entries(MEMBERS_OF).find(([, members]) => repr.startsWith(members))?.[0]);
  return names.filter(Boolean).flatMap((name) => [`It has everything that a [\`${name}\`](#${name.toLowerCase()}) has, and:`, ""]);
}

function body(name, { properties: fields = [], methods: functions = [] }) {
  const isPublic = ({ accessibility }) => accessibility !== "private";
  const getters = functions.filter(({ kind }) => kind === "getter").map((one) => ({ ...one, isGetter: true }));
  const calls = functions.filter((one) => one.kind !== "getter" && isPublic(one));
  return [
    ...properties([...fields.filter(isPublic), ...getters]),
    ...methods(name, calls.filter(({ isStatic }) => isStatic), true),
    ...methods(name, calls.filter(({ isStatic }) => !isStatic), false),
  ];
}

/** The text of docs/api.md. */
function generate() {
  const all = declarations();
  const [{ symbols }] = describe("mod.ts");
  const names = [...new Set(symbols.map(({ name }) => name))];
  const missing = names.filter((name) => !all.has(name));
  if (missing.length > 0) throw new Error(`exported by mod.ts, and declared nowhere in core/: ${missing.join(", ")}`);
  const ofKind = (...kinds) => names.filter((name) => kinds.includes(all.get(name)[0].kind));
  const arrays = ["SharedArray", "SharedView"].filter((name) => names.includes(name));
  const groups = [
    ["Classes", ofKind("class").sort((a, b) => (a === "PoolError" ? 1 : 0) - (b === "PoolError" ? 1 : 0))],
    ["Arrays", arrays],
    ["Functions", ofKind("function")],
    ["Types", ofKind("interface", "typeAlias").filter((name) => !arrays.includes(name)).sort()],
  ];
  const anchor = (title) => title.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-");
  const titleOf = (name) => all.get(name)[0].kind === "function" ? call(name, all.get(name)[0].def) : name;
  const lines = [
    "# API reference",
    "",
    "<!-- Written by `npm run docs` from the comments in core/; do not edit. -->",
    "",
    "Everything that `import … from \"arraypool\"` gives. Wrong arguments are a `TypeError` or a `RangeError`; all else is a",
    "[`PoolError`](#poolerror), whose codes are explained in [troubleshooting](troubleshooting.md). All times are in",
    "milliseconds (their names end in `Ms`), all sizes in bytes (`Bytes`).",
    "",
    ...groups.map(([title, list]) =>
      `- **${title}**: ${list.map((name) => `[\`${titleOf(name)}\`](#${anchor(titleOf(name))})`).join(", ")}`
    ),
    "",
  ];
  for (const [title, list] of groups) {
    lines.push(`## ${title}`, "", ...list.flatMap((name) => section(name, all.get(name), all)));
  }
  return lines.join("\n").replaceAll(/\n{3,}/g, "\n\n").trimEnd() + "\n";
}

if (process.argv[1] === import.meta.filename) {
  const text = generate();
  if (process.argv.includes("--check")) {
    if (readFileSync(target, "utf8") !== text) {
      console.error(`docs/${basename(target)} is not current: run \`npm run docs\``);
      process.exitCode = 1;
    }
  } else writeFileSync(target, text);
}
