/**
 * The terminal as a page that is drawn over and over: on the alternate screen, so that what was there before comes back,
 * however this ends.
 */

import process from "node:process";

const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"; // the alternate screen, without a cursor, long lines cut
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/** What asks a program to end. */
const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

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
  let code = 0;
  let wake = () => {};
  let done = false;
  const end = (withCode: number) => {
    code = withCode;
    done = true;
    wake();
  };
  const onKeys = (data: Uint8Array | string) => {
    for (const key of typeof data === "string" ? data : new TextDecoder().decode(data)) {
      if (key === "q" || key === "Q" || key === "\x03" || key === "\x04") return end(0);
    }
    wake(); // any other key: look again at once
  };
  const onResize = () => wake();
  const listeners = Object.entries(SIGNALS).map(([signal, number]) => {
    const listener = () => end(128 + number);
    process.on(signal as NodeJS.Signals, listener);
    return [signal, listener] as const;
  });
  const hasKeys = stdin.isTTY === true;
  try {
    stdout.write(ENTER);
    if (hasKeys) {
      stdin.setRawMode(true);
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
      stdin.setRawMode(false);
      stdin.pause();
    }
    stdout.write(LEAVE);
  }
  return code;
}
