/** A progress bar on a terminal; on a pipe, one line when done. */

import process from "node:process";

const width = 28;

export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #startedAt = performance.now();
  #done = 0;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
    this.#draw();
  }

  step(count: number): void {
    this.#done += count;
    this.#draw();
  }

  #draw(): void {
    const label = this.#label.padEnd(24);
    const seconds = `${((performance.now() - this.#startedAt) / 1000).toFixed(1)} s`.padStart(7);
    const finished = this.#done === this.#total;
    if (process.stdout.isTTY) {
      const filled = Math.round(this.#done / this.#total * width);
      const bar = "█".repeat(filled) + "░".repeat(width - filled);
      const percent = `${Math.floor(this.#done / this.#total * 100)} %`.padStart(6);
      process.stdout.write(`\r${label} ${bar} ${percent} ${seconds}${finished ? "\n" : ""}`);
    } else if (finished) {
      console.log(`${label} ${seconds}`);
    }
  }
}
