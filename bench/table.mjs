// Rows as text: work | against | figure | goal | met?

/** A table of Markdown, with its columns aligned. */
export function table(rows) {
  const lines = [["", "work", "against", "figure", "goal", "met?"], ...rows.map(cellsOf)];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((cells) => cells[column].length)));
  const text = lines.map((cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`);
  text.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`);
  return text.join("\n");
}

/** Whether a row is as good as its goal; undefined where it has none. */
export function isMet({ kind, figure, goal }) {
  if (goal === undefined) return undefined;
  return kind === "faster" || kind === "least" ? figure >= goal : figure <= goal;
}

function cellsOf(row) {
  const met = isMet(row);
  return [row.where, row.work, row.against, figureOf(row), goalOf(row), met === undefined ? "" : met ? "yes" : "NO"];
}

export function figureOf({ kind, figure, goal, unit, ours, theirs, notes }) {
  if (kind === "size") return bytes(figure);
  if (kind === "most") return time(figure);
  if (kind === "least") return `${figure}`;
  if (unit === "bytes") return `${number(figure)} × the memory (${bytes(ours)}, ${bytes(theirs)})`;
  // Where there is a goal, the figure is to be compared with it.
  const isSlower = kind === "faster" && goal === undefined && figure < 1;
  const ratio = isSlower
    ? `${number(1 / figure)} × slower`
    : `${number(figure)} × ${kind === "faster" ? "faster" : "the time"}`;
  const slowest = notes?.p999Ns === undefined ? "" : `; p99.9 ${time(notes.p999Ns)}, slowest ${time(notes.slowestNs)}`;
  return `${ratio} (${time(ours)}, ${time(theirs)})${slowest}`;
}

export function goalOf({ kind, goal }) {
  if (goal === undefined) return "";
  if (kind === "size") return `below ${bytes(goal)}`;
  if (kind === "most") return `at most ${time(goal)}`;
  return kind === "faster" || kind === "least" ? `at least ${goal}` : `at most ${goal}`;
}

const number = (value) => value < 0.1 ? value.toPrecision(1) : value < 10 ? value.toFixed(2) : value.toFixed(0);

const bytes = (value) => `${(value / 1024).toFixed(1)} KiB`;

function time(ns) {
  const [unit, factor] = ns < 1e3 ? ["ns", 1] : ns < 1e6 ? ["µs", 1e3] : ns < 1e9 ? ["ms", 1e6] : ["s", 1e9];
  const value = ns / factor;
  return `${value < 100 ? value.toFixed(1) : value.toFixed(0)} ${unit}`;
}
