// npm run model: checks the models of the protocol exhaustively with Spin, and that broken ones are found to be broken.
//
//     npm run model                every model, at a size that takes seconds, and every mutant
//     npm run model -- --models    only the models
//     npm run model -- --mutants   only the mutants
//     npm run model -- --long      larger ones, too: minutes, and up to 6 GB of memory
//
// Exits with 1 if a model does not hold, or a mutant does. Without Spin it says so, and exits with 0 and nothing counted.
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const here = import.meta.dirname;

/** What is checked: file, size, and how. `stuck`: that somebody always gets on, under weak fairness (no cycle without progress). */
const models = [
  { file: "lock", size: "THREADS=3 SLOTS=3 LIVES=3 DEATHS=1" },
  { file: "lock", size: "THREADS=3 SLOTS=2 LIVES=4 DEATHS=1" },
  { file: "lock", size: "THREADS=2 SLOTS=2 LIVES=3 DEATHS=2 FINE" },
  { file: "wake", size: "THREADS=3 DEATHS=1" },
  { file: "wake", size: "THREADS=3 DEATHS=1", stuck: true },
  { file: "wake", size: "THREADS=3 DEATHS=0 NO_NAP ALWAYS_EXCHANGE" },
  { file: "notify", size: "WITH_FUTEX DEATHS=2" },
  { file: "notify", size: "WITH_FUTEX STALE DEATHS=2" },
  { file: "notify", size: "WITH_SOCKET DEATHS=2" },
  { file: "notify", size: "WITH_BLOCKING DEATHS=2" },
  { file: "notify", size: "WITH_FUTEX WITH_BLOCKING DEATHS=1" },
  { file: "notify", size: "WITH_FUTEX WITH_SOCKET ONE_EACH DEATHS=1" },
  { file: "notify", size: "WITH_FUTEX UNFENCED DEATHS=2" },
  { file: "notify", size: "WITH_BLOCKING UNFENCED DEATHS=2" },
  { file: "holders", size: "THREADS=2 LIVES=3 DEATHS=1 CLAIMS=1 GENERATIONS=1" },
  { file: "holders", size: "THREADS=3 LIVES=3 DEATHS=0 CLAIMS=1 GENERATIONS=1" },
  { file: "cache", size: "MEMBERS=3 DEATHS=0 GENERATIONS=2" },
  { file: "cache", size: "MEMBERS=2 DEATHS=1 GENERATIONS=5" },
  { file: "gate", size: "PROCESSES=3 LIVES=3 DEATHS=0" },
  { file: "gate", size: "PROCESSES=2 LIVES=3 DEATHS=1" },
  { file: "leftovers", size: "" },
  { file: "once", size: "LIVES=3 SLOTS=2 DEATHS=1 CHANGES=1" },
  { file: "once", size: "LIVES=2 SLOTS=2 DEATHS=1 CHANGES=0 SURE", stuck: true },
  { file: "channel", size: "ARRAYS FIRST=1 SECOND=1 RECEIVERS=2 ACKS=0 DEATHS=1" },
  { file: "channel", size: "ARRAYS FIRST=2 SECOND=1 RECEIVERS=1 ACKS=1 DEATHS=1" },
  { file: "channel", size: "CLOSES SLOTS=1 FIRST=1 SECOND=1 RECEIVERS=1 ACKS=1 DEATHS=1" },
  { file: "channel", size: "CLOSES SLOTS=1 FIRST=1 SECOND=1 RECEIVERS=2 ACKS=2 DEATHS=0 GIVES=0" },
  { file: "pins", size: "SLOTS=1 MESSAGES=2 RECEIVERS=1 DEATHS=1" },
  { file: "pins", size: "SLOTS=2 MESSAGES=2 RECEIVERS=1 DEATHS=0" },
  { file: "bell", size: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE" },
  { file: "bell", size: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE ENTRIES=1 MOD=4" },
];
const large = [
  { file: "lock", size: "THREADS=3 SLOTS=3 LIVES=3 DEATHS=2" },
  { file: "lock", size: "THREADS=3 SLOTS=3 LIVES=4 DEATHS=1" },
  { file: "lock", size: "THREADS=2 SLOTS=2 LIVES=4 DEATHS=2 FINE" },
  { file: "holders", size: "THREADS=3 LIVES=3 DEATHS=1 CLAIMS=1 GENERATIONS=1" },
  { file: "holders", size: "THREADS=2 LIVES=3 DEATHS=1 CLAIMS=2 GENERATIONS=2" },
  { file: "holders", size: "THREADS=2 LIVES=3 DEATHS=1 CLAIMS=2 GENERATIONS=1 PINS=2 FIRST_SENT" },
  { file: "cache", size: "MEMBERS=3 DEATHS=1 GENERATIONS=2" },
  { file: "cache", size: "MEMBERS=3 DEATHS=1 GENERATIONS=4" },
  { file: "gate", size: "PROCESSES=3 LIVES=4 DEATHS=1" },
  { file: "once", size: "LIVES=3 SLOTS=2 DEATHS=2 CHANGES=2" },
  { file: "once", size: "LIVES=3 SLOTS=2 DEATHS=1 CHANGES=0 SURE", stuck: true },
  { file: "notify", size: "WITH_FUTEX WITH_SOCKET DEATHS=1" },
  { file: "channel", size: "ARRAYS FIRST=1 SECOND=1 RECEIVERS=2 ACKS=1 DEATHS=1" },
  { file: "pins", size: "SLOTS=1 MESSAGES=3 RECEIVERS=1 DEATHS=1" },
  { file: "pins", size: "SLOTS=2 MESSAGES=2 RECEIVERS=1 DEATHS=1" },
  { file: "pins", size: "SLOTS=1 MESSAGES=2 RECEIVERS=2 DEATHS=0" },
  { file: "bell", size: "EACH=2 CAPACITY=1 DEATHS=0 NO_SLICE" },
  { file: "bell", size: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE ENTRIES=1 GIFTS=1 MOD=4" },
  { file: "bell", size: "EACH=1 CAPACITY=1 DEATHS=1 ENTRIES=1 MOD=4" },
];
const mutants = [
  { file: "lock", mutant: "ROB_BY_SLOT", what: "takeover compares the slot alone" },
  { file: "lock", mutant: "SAME_INCARNATION", what: "a slot's new owner keeps its incarnation", size: "THREADS=3 SLOTS=3 LIVES=4 DEATHS=1" },
  { file: "lock", mutant: "VACATE_BY_STORE", what: "reap makes a slot vacant without comparing its word again" },
  { file: "lock", mutant: "NO_RECOVERY", what: "takeover without recovery" },
  { file: "lock", mutant: "JUDGE_UNSURE", what: "who is not known to live is dead" },
  { file: "lock", mutant: "JUDGE_JOINING", what: "who joins is judged by the predecessor's thread", size: "THREADS=3 SLOTS=3 LIVES=4 DEATHS=1" },
  { file: "wake", mutant: "NO_NAP", what: "no limit to a nap" },
  { file: "wake", mutant: "NO_NAP NO_WAKE ALWAYS_EXCHANGE", what: "unlock without a wake, no limit to a nap", size: "THREADS=3 DEATHS=0" },
  { file: "wake", mutant: "NO_NAP ALWAYS_EXCHANGE", what: "no limit to a nap, unlock always by exchange, a waker that dies" },
  { file: "wake", mutant: "NO_NAP ALWAYS_EXCHANGE FORGET_OTHERS", what: "who has waited forgets that others do", size: "THREADS=3 DEATHS=0" },
  { file: "wake", mutant: "NO_TAKEOVER", what: "nobody takes over from the dead", stuck: true },
  { file: "notify", mutant: "NO_FENCE", what: "neither who notifies nor who waits makes sure that its store is seen" },
  { file: "notify", mutant: "NO_SETTLE", what: "who notifies has no fence, and who waits does not look again", size: "WITH_FUTEX UNFENCED DEATHS=1" },
  { file: "notify", mutant: "NO_BARRIER", what: "who looks again has not seen to it that all stores have arrived", size: "WITH_FUTEX UNFENCED DEATHS=1" },
  { file: "notify", mutant: "LOOK_FIRST", what: "a waiter looks at the word before it is counted" },
  { file: "notify", mutant: "PARK_WITHOUT_LOCK", what: "a member parks without the lock", size: "WITH_SOCKET DEATHS=1" },
  { file: "notify", mutant: "NOT_CALLED", what: "nobody stops a sleeper that is on its way to the futex" },
  { file: "notify", mutant: "WAKE_FIRST", what: "a sleeper that is on its way is stopped only if nobody sleeps there", size: "WITH_FUTEX STALE DEATHS=1" },
  { file: "notify", mutant: "WAKE_ONE", what: "one is woken where two may sleep", size: "WITH_FUTEX STALE DEATHS=1" },
  { file: "notify", mutant: "ONLY_MARKED", what: "a notifier calls only those whom it has marked itself" },
  { file: "notify", mutant: "NO_SLICE", what: "one who blocks never looks by itself", size: "WITH_BLOCKING DEATHS=1" },
  { file: "notify", mutant: "BELIEVE_THE_DEAD", what: "whoever was marked counts as woken, though it be dead", size: "WITH_FUTEX WITH_SOCKET ONE_EACH DEATHS=1" },
  { file: "holders", mutant: "CLAIM_FIRST", what: "attach takes the claim before it sets its bit" },
  { file: "holders", mutant: "ANY_SERIAL FIRST_SENT", what: "a claim is found without its serial", size: "THREADS=2 LIVES=3 DEATHS=0 CLAIMS=2 GENERATIONS=1" },
  { file: "holders", mutant: "ANY_GENERATION", what: "attach does not compare the generation", size: "THREADS=2 LIVES=3 DEATHS=0 CLAIMS=1 GENERATIONS=2" },
  { file: "holders", mutant: "FORGET_PINS", what: "release frees what a claim holds" },
  { file: "holders", mutant: "REAP_ANYONE", what: "reap does not compare the incarnation", size: "THREADS=2 LIVES=4 DEATHS=2 CLAIMS=1 GENERATIONS=1" },
  { file: "holders", mutant: "VACATE_FIRST", what: "reap makes a slot vacant before it clears its bits", size: "THREADS=2 LIVES=4 DEATHS=2 CLAIMS=1 GENERATIONS=1" },
  { file: "holders", mutant: "JOIN_WITHOUT_REAP", what: "who joins does not reap the slot's predecessor" },
  { file: "holders", mutant: "NO_RECOUNT", what: "recovery does not count the claims anew" },
  { file: "cache", mutant: "TAKE_BY_STORE", what: "the owner takes what it has cached without comparing" },
  { file: "cache", mutant: "TAKE_AWAY_BY_STORE", what: "who runs short takes a cached block away without comparing" },
  { file: "cache", mutant: "SAME_GENERATION", what: "the generation does not go up" },
  { file: "cache", mutant: "PRIVATE_THOUGH_SHARED", what: "what was shared is let go of without the lock" },
  { file: "cache", mutant: "CACHE_THOUGH_HELD", what: "what others still hold goes into the cache of one who lets go of it" },
  { file: "cache", mutant: "ATTACH_UNSHARED", what: "a block can be attached that was not shared" },
  { file: "gate", mutant: "GIVE_UP_AT_THE_GATE", what: "a leaver who finds the gate taken goes away" },
  { file: "gate", mutant: "OPEN_WITHOUT_GATE", what: "openers do not hold the gate" },
  { file: "gate", mutant: "NO_GATE", what: "unlinking without the gate" },
  { file: "gate", mutant: "NAME_NOT_CHECKED", what: "an opener does not look whether the file still has its name" },
  { file: "gate", mutant: "NAMED_BEFORE_LOCKED", what: "a creator publishes before its slot is locked" },
  { file: "gate", mutant: "FORGET_CLAIMS", what: "unlinking though a claim waits" },
  { file: "once", mutant: "TAKE_BY_SLOT", what: "what a maker makes is taken over by its slot alone" },
  { file: "once", mutant: "JUDGE_UNSURE", what: "a maker who is not known to live is dead" },
  { file: "once", mutant: "NO_TAKEOVER", what: "nobody takes over from a maker that died", size: "LIVES=3 SLOTS=2 DEATHS=1 CHANGES=0 SURE", stuck: true },
  { file: "once", mutant: "NO_NAP", what: "who waits for a maker has no limit to his nap" },
  { file: "once", mutant: "END_NOT_COMPARED", what: "a maker ends what is another's by now", size: "LIVES=2 SLOTS=2 DEATHS=0 CHANGES=2" },
  { file: "leftovers", mutant: "NO_HANDOVER", what: "a slot is taken while a sibling closes what was left there" },
  { file: "leftovers", mutant: "WORD_NOT_COMPARED", what: "leftovers are closed without comparing the slot's word again" },
  { file: "channel", mutant: "PUBLISH_FIRST", what: "a message is published before it is written" },
  { file: "channel", mutant: "TAKE_BEFORE_COPY", what: "a message is taken before it is copied", size: "FIRST=1 SECOND=1 SLOTS=1 DEATHS=0" },
  { file: "channel", mutant: "HOLD_AFTER_UNPIN", what: "a receiver holds an array after its message has let go", size: "ARRAYS FIRST=1 SECOND=0 RECEIVERS=1 DEATHS=0" },
  { file: "channel", mutant: "NO_REPAIR_OF_SENDERS", what: "who takes the senders' lock over believes the tail" },
  { file: "channel", mutant: "NO_REPAIR_OF_RECEIVERS", what: "who takes the receivers' lock over believes the entries", size: "FIRST=1 SECOND=0 ACKS=2 DEATHS=1" },
  { file: "channel", mutant: "ACK_ANYONES", what: "a message is acknowledged that is another's by now", size: "FIRST=1 SECOND=0 ACKS=2 DEATHS=0" },
  { file: "channel", mutant: "NO_RECOUNT", what: "recovery does not count what messages pin", size: "ARRAYS FIRST=1 SECOND=0 RECEIVERS=1 DEATHS=1" },
  { file: "channel", mutant: "NO_TAKEOVER", what: "nobody takes the senders' lock over from the dead" },
  { file: "channel", mutant: "COUNT_AFTER_HEAD", what: "a message is counted as unacknowledged after it has left the ring", size: "FIRST=1 SECOND=0 RECEIVERS=1 ACKS=1 DEATHS=1" },
  { file: "channel", mutant: "TELL_OF_THE_END", what: "who finds no entry for a message is told that there is none", size: "CLOSES SLOTS=1 FIRST=1 SECOND=1 RECEIVERS=2 ACKS=2 DEATHS=0 GIVES=0" },
  { file: "pins", mutant: "UNPIN_AFTER_THE_END", what: "what a message pinned is read out of its cell after it was received" },
  { file: "pins", mutant: "POSITION_FIRST", what: "who counts pins reads an entry's number before its owner" },
  { file: "pins", mutant: "SEND_WITHOUT_LOCK", what: "a message with arrays is sent without the pool's lock" },
  { file: "pins", mutant: "ACK_WITHOUT_LOCK", what: "a message with arrays is acknowledged without the pool's lock" },
  { file: "bell", mutant: "LOOK_FIRST", what: "who waits looks before it arms the bell" },
  { file: "bell", mutant: "NO_RING", what: "who has sent or taken does not ring" },
  { file: "bell", mutant: "ONE_BELL", what: "who waits for an entry sleeps where messages ring", size: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE ENTRIES=1 MOD=4" },
  { file: "bell", mutant: "NO_SECOND_CHOICE", what: "who has armed a bell does not look whether it is still the one", size: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE ENTRIES=1 MOD=4" },
  { file: "bell", mutant: "DEATHS=1", what: "no limit to a sleep, a waker that dies", size: "EACH=2 CAPACITY=2 NO_SLICE" },
];
const mutantSize = {
  lock: "THREADS=3 SLOTS=2 LIVES=4 DEATHS=1",
  wake: "THREADS=3 DEATHS=1",
  notify: "WITH_FUTEX DEATHS=1",
  holders: "THREADS=2 LIVES=3 DEATHS=1 CLAIMS=1 GENERATIONS=1",
  cache: "MEMBERS=3 DEATHS=0 GENERATIONS=3",
  gate: "PROCESSES=3 LIVES=3 DEATHS=0",
  leftovers: "",
  once: "LIVES=3 SLOTS=2 DEATHS=1 CHANGES=0",
  channel: "FIRST=1 SECOND=1 DEATHS=1",
  pins: "SLOTS=1 MESSAGES=2 RECEIVERS=1 DEATHS=0",
  bell: "EACH=2 CAPACITY=2 DEATHS=0 NO_SLICE",
};

const options = new Set(process.argv.slice(2));
if (spawnSync("spin", ["-V"]).error) {
  console.log("model: not run, spin is not installed (apt-get install spin)");
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), "arraypool-model-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const runs = [
  ...(options.has("--mutants") ? [] : models),
  ...(options.has("--long") ? large.map((run) => ({ ...run, long: true })) : []),
  ...(options.has("--models") ? [] : mutants.map((mutant) => ({ size: mutantSize[mutant.file], ...mutant }))),
];
let passed = 0;
let failed = 0;
const queue = runs.values();
await Promise.all([worker(), worker()]); // each shares the queue
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);

async function worker() {
  for (const run of queue) await report(run);
}

async function report(run) {
  const begun = Date.now();
  const result = await check(run);
  const seconds = ((Date.now() - begun) / 1000).toFixed(1);
  const ok = run.mutant ? result.violation !== undefined : result.complete && result.violation === undefined;
  ok ? passed++ : failed++;
  const property = run.stuck ? "nobody is stuck" : "assertions, no deadlock";
  const title = `${run.file}${run.mutant ? `, ${run.what}` : `: ${property}`} (${[run.mutant, run.size].filter(Boolean).join(" ")})`;
  const found = result.violation ? `found: ${result.violation}` : result.complete ? "holds in every state" : result.problem;
  console.log(`${ok ? "ok    " : "FAILED"}  ${title}\n        ${found}; ${result.states} states, depth ${result.depth}, ${seconds} s`);
  if (!ok && result.trail) console.log(result.trail);
}

/** Generates the checker of one model, compiles it with Zig's C compiler, and runs it. */
async function check({ file, size, mutant, stuck, long }) {
  const cwd = mkdtempSync(join(folder, `${file}-`));
  const call = (command, ...args) => callIn(cwd, command, args);
  copyFileSync(join(here, `${file}.pml`), join(cwd, `${file}.pml`));
  const defines = `${size} ${mutant ?? ""}`.split(" ").filter(Boolean).map((define) => `-D${define}`);
  const generated = await call("spin", ...defines, "-a", `${file}.pml`);
  if (generated.status !== 0) return broken(generated.output);
  const kind = stuck ? ["-DNP"] : ["-DSAFETY"];
  // Spin's output is no model of C: no sanitizer, no warnings.
  // To optimise one that takes seconds would take longer than that.
  const flags = [long ? "-O1" : "-O0", "-w", "-fno-sanitize=all", "-DCOLLAPSE", "-DVECTORSZ=2048", "-DMEMLIM=6000", ...kind];
  const compiled = await call("zig", "cc", ...flags, "pan.c", "-o", "pan");
  if (compiled.status !== 0) return broken(compiled.output);
  const { output } = await call("./pan", "-m200000", "-w22", ...(stuck ? ["-l", "-f"] : []));
  const read = (pattern) => output.match(pattern)?.[1];
  const result = {
    states: read(/^\s*(\S+) states, stored/m) ?? "?",
    depth: read(/depth reached (\d+)/) ?? "?",
    violation: read(/^pan:\d*:? ?(assertion violated.*|invalid end state.*|non-progress cycle.*)/m),
    complete: output.includes("errors: 0") && !output.includes("Search not completed"),
    problem: "the search did not come to its end",
  };
  if (result.violation && !mutant) {
    const trail = (await call("spin", "-t", "-p", "-g", "-l", ...defines, `${file}.pml`)).output.split("\n");
    result.trail = [`        the way there, last ${Math.min(150, trail.length)} lines of ${trail.length}:`, ...trail.slice(-150)].join("\n");
  }
  return result;
}

function callIn(cwd, command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    child.stdout.on("data", (chunk) => output += chunk);
    child.stderr.on("data", (chunk) => output += chunk);
    child.on("error", (error) => resolve({ status: -1, output: error.message }));
    child.on("close", (status) => resolve({ status, output }));
  });
}

function broken(problem) {
  return { problem: problem.trim(), states: 0, depth: 0, complete: false };
}
