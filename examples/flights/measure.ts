/** Has a team compute all resamples, and takes note of what that took. */

import { PeakMemory } from "./memory.ts";
import { Progress } from "./progress.ts";
import type { Batch, Team } from "./teams.ts";

export interface Measurement {
  label: string;
  /** From the first batch to the last answer; where the arrays have to be sent, with their sending. */
  seconds: number;
  /** Until every process had started and answered. */
  startSeconds: number;
  sentBytes: number;
  /** Of all processes together, at its highest. */
  memoryBytes: number | undefined;
}

export async function measure(
  label: string,
  makeTeam: () => Team,
  { resamples, signal }: { resamples: number; signal: AbortSignal },
): Promise<Measurement> {
  const startedAt = performance.now();
  await using team = makeTeam();
  await team.started;

  const beganAt = performance.now();
  const progress = new Progress(label, resamples);
  const memory = new PeakMemory(team.pids);
  const queue = batches(resamples, team.seats.length);
  await Promise.all(team.seats.map(async (seat) => {
    for (const batch of queue) { // one queue for all: each takes the next batch when it is free
      signal.throwIfAborted();
      await seat(batch);
      progress.step(batch.last - batch.first);
      memory.sample();
    }
  }));
  return {
    label,
    seconds: (performance.now() - beganAt) / 1000,
    startSeconds: (beganAt - startedAt) / 1000,
    sentBytes: team.sentBytes(),
    memoryBytes: memory.bytes,
  };
}

/**
 * Large enough that a message per batch is nothing, and smaller towards the end, so that the processes end at the same time.
 */
function* batches(resamples: number, seats: number): Generator<Batch> {
  for (let first = 0; first < resamples;) {
    const share = Math.ceil((resamples - first) / (2 * seats));
    const last = first + Math.min(8, share, Math.ceil(resamples / 8));
    yield { first, last };
    first = last;
  }
}
