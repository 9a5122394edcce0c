/**
 * The terminal as a page that is drawn over and over: on the alternate screen, so that what was there before comes back,
 * however this ends, or is stopped (Ctrl-Z).
 */

import process from "node:process";

const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"; // the alternate screen, without a cursor, long lines cut
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** What asks a program to end. */
const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

const CTRL_C = "\x03";
const CTRL_D = "\x04";
const CTRL_Z = "\x1a";

/**
 * Shows what `draw` gives every `intervalMs`, `count` times (0: without end), or until somebody wants it to end. Returns the
 * exit code. Restores the terminal before.
 */
export async function page(
  intervalMs: number,
  count: number,
  draw: (width: number, height: number) => string[],
): Promise<number> {
  const { stdin, stdout } = process;
  const hasKeys = stdin.isTTY === true;
  let code = 0;
  let wake = () => {};
  let done = false;
  const end = (withCode: number) => {
    code = withCode;
    done = true;
    wake();
  };
  const enter = () => {
    // Off first: whoever had the terminal meanwhile has changed it, which the runtime does not know.
    if (hasKeys) stdin.setRawMode(false).setRawMode(true);
    stdout.write(ENTER);
  };
  const leave = () => {
    if (hasKeys) stdin.setRawMode(false);
    stdout.write(LEAVE);
  };
  const stop = () => {
    leave();
    process.kill(process.pid, "SIGSTOP"); // what SIGTSTP does where nobody listens
  };
  const goOn = () => {
    enter();
    wake();
  };
  const onKeys = (data: Uint8Array | string) => {
    for (const key of typeof data === "string" ? data : new TextDecoder().decode(data)) {
      if (key === "q" || key === "Q" || key === CTRL_C || key === CTRL_D) return end(0);
      if (key === CTRL_Z) return stopAll(stop);
    }
    wake(); // any other key: look again at once
  };
  const onResize = () => wake();
  const listeners: [NodeJS.Signals, () => void][] = [
    ...Object.entries(SIGNALS).map(([signal, number]): [NodeJS.Signals, () => void] => [
      signal as NodeJS.Signals,
      () => end(128 + number),
    ]),
    ["SIGTSTP", stop],
    ["SIGCONT", goOn],
  ];
  for (const [signal, listener] of listeners) process.on(signal, listener);
  try {
    enter();
    if (hasKeys) {
      stdin.on("data", onKeys);
      stdin.resume();
    }
    stdout.on("resize", onResize);
    for (let drawn = 0; !done && (count === 0 || drawn < count); drawn++) {
      const { columns = 80, rows = 24 } = stdout;
      const lines = draw(columns || 80, rows || 24).slice(0, Math.max(1, rows || 24));
      stdout.write("\x1b[H" + lines.map((line) => line + "\x1b[K").join("\r\n") + "\x1b[J");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, intervalMs);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (done) wake();
      });
    }
  } finally {
    for (const [signal, listener] of listeners) process.off(signal, listener);
    stdout.off("resize", onResize);
    if (hasKeys) {
      stdin.off("data", onKeys);
      stdin.pause();
    }
    leave();
  }
  return code;
}

/** As the terminal does it for Ctrl-Z: this program, and what has started it (npx, a script). */
function stopAll(stopThis: () => void): void {
  try {
    process.kill(0, "SIGTSTP");
  } catch {
    stopThis(); // Deno lets a program signal others only with --allow-run
  }
}
