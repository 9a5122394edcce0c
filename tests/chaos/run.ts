/**
 * npm run chaos -- --seconds N --seed S --members M: see README.md.
 *
 * A run is rounds of a minute, each with a pool and a seed of its own: S, S + 1, … So a round that fails can be run again
 * by itself. Ends with a line `N passed, N failed` over what must hold.
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { Broken, Round, Tally } from "./round.ts";

const ROUND_SECONDS = 60;

const { values } = parseArgs({
  options: { seconds: { type: "string" }, seed: { type: "string" }, members: { type: "string" } },
});
const seconds = wholeNumber("seconds", values.seconds, 60);
const firstSeed = wholeNumber("seed", values.seed, Math.floor(Math.random() * 2 ** 31));
const members = wholeNumber("members", values.members, 12);

function wholeNumber(what: string, given: string | undefined, otherwise: number): number {
  const value = given === undefined ? otherwise : Number(given);
  if (!Number.isInteger(value) || value < 1) {
    console.error(`--${what} must be a whole number from 1 on, not ${given}`);
    process.exit(2);
  }
  return value;
}

const tally = new Tally();
let failure: { seed: number; seconds: number; what: string } | undefined;
let round: Round | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    round?.stop();
    process.exit(1);
  });
}

/** A run in which nothing happens proves nothing. */
function hasHappened(): boolean {
  const { killed, kills, attached, acked } = tally;
  return killed >= seconds && Object.values(kills).every((count) => count > 0) && attached > 0 && acked > 0;
}

const roundsMost = Math.ceil(seconds / ROUND_SECONDS) + 5;
const begun = Date.now();
console.log(`chaos: ${seconds} s, ${members} processes, seed ${firstSeed}`);
for (let left = seconds, seed = firstSeed; failure === undefined; left -= ROUND_SECONDS, seed++) {
  // On a busy machine it takes a few more rounds until enough has happened.
  if (left <= 0 && (hasHappened() || seed - firstSeed >= roundsMost)) break;
  const roundSeconds = Math.min(left > 0 ? left : seconds, ROUND_SECONDS);
  round = new Round(seed, members, tally);
  try {
    await round.run(roundSeconds * 1000);
    if (seconds > ROUND_SECONDS) console.log(`round ${tally.rounds}, seed ${seed}: ok, ${tally.killed} kills so far`);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    failure = { seed, seconds: roundSeconds, what: error.message };
  }
}

const { kills } = tally;
const number = (value: number) => Math.round(value).toLocaleString("en");
console.log(`
kills            ${number(tally.killed)}: ${number(kills.bun)} Bun, ${number(kills.deno)} Deno, ${
  number(kills.node)
} Node, ${number(kills.native)} native; of these ${number(tally.killsStarting)} while starting, ${
  number(tally.killsStopped)
} while stopped, ${number(tally.killsWithWorkers)} with Workers
                 and ${number(tally.terminated)} Workers terminated
stopped          ${number(tally.stops)} times; ${number(tally.left)} left in good order; ${
  number(tally.joins)
} joins of pools
calls            ${number(tally.calls)}: ${number(tally.allocated)} arrays allocated, ${number(tally.sent)} messages, ${
  number(tally.attached)
} arrays attached, ${number(tally.checks)} checks
letters          ${number(tally.received)} received from channels, ${number(tally.acked)} of them acknowledged
verified         ${number(tally.verifiedBytes / 2 ** 20)} MiB
refused          ${number(tally.full)} times full, ${number(tally.busy)} times busy, ${
  number(tally.expired)
} messages whose claim had expired
lock             taken over from a dead owner ${number(tally.takeovers)} times
longest call     ${number(tally.longestMs)} ms (${tally.longestWhat || "none over 100 ms"}) while nobody was stopped, ${
  number(tally.slow)
} over 100 ms; ${number(tally.longestStoppedMs)} ms while somebody was
time             ${number((Date.now() - begun) / 1000)} s
`);

let failed = 0;
for (
  const [what, holds] of [
    [
      "no wrong byte, no live claim stale, no letter twice or lost, nobody hung, nothing left, /dev/shm clean",
      failure === undefined,
    ],
    ["as many kills as seconds were asked for, Bun, Deno, Node and native", hasHappened()],
  ] as const
) {
  console.log(`${holds ? "ok    " : "FAILED"}  ${what}`);
  if (!holds) failed++;
}
if (failure !== undefined) {
  console.log(`\nseed ${failure.seed}: ${failure.what}\n
run it again:  npm run chaos -- --seconds ${failure.seconds} --seed ${failure.seed} --members ${members}`);
}
console.log(`${2 - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
