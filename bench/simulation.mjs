// How many members the lock of one pool can serve on a machine of many cores, by simulation: what the lock's sections take
// was measured here, and what it takes to hand the lock from core to core is assumed.

/** A cache line that another core has written: of the lock, of the list's head, of the block. */
const TRANSFER_NS = 100;
const LINES = 3;
const CORES = 64;

/** What members do, per round: how often they take the lock, and how long they do something else. */
const works = {
  // alloc and release of arrays that nobody else hears of: the lock for one in 32, when the cache is empty or full.
  "arrays of its own, native": { sections: 1, thinkNs: 32 * 15 },
  "arrays of its own, JavaScript": { sections: 1, thinkNs: 32 * 700 },
  // alloc, claim, attach and two releases; the rest is the engine's and the transport's.
  "messages with an array, 30 µs each": { sections: 5, thinkNs: 30_000 },
  "messages with an array, 5 µs each": { sections: 5, thinkNs: 5_000 },
};

/** The row of the member counts at which one more adds less than half of what the first one does. */
export function simulate(sectionNs) {
  const counts = {};
  const series = [];
  for (const [work, { sections, thinkNs }] of Object.entries(works)) {
    const rate = (members) => throughput(members, sectionNs + LINES * TRANSFER_NS, sections, thinkNs);
    const alone = throughput(1, sectionNs, sections, thinkNs);
    counts[work] = CORES;
    for (let members = 1; members <= CORES; members++) {
      series.push({ work, members, perSecond: rate(members) * 1e9 });
      if (members > 1 && counts[work] === CORES && rate(members) - rate(members - 1) < alone / 2) {
        counts[work] = members - 1;
      }
    }
  }
  const least = Math.min(...Object.values(counts));
  return {
    where: "C",
    work: "members that the lock serves, of 64 cores (simulated): arrays of its own, JavaScript",
    against: "",
    ours: counts["arrays of its own, JavaScript"],
    unit: "members",
    kind: "least",
    figure: counts["arrays of its own, JavaScript"],
    goal: 16,
    notes: { sectionNs, transferNs: TRANSFER_NS, lines: LINES, counts, least },
    series: { plot: "simulation", points: series },
  };
}

/** Rounds per nanosecond of all members together: each thinks and then queues for the lock, first come first served. */
function throughput(members, sectionNs, sections, thinkNs) {
  let random = 12345;
  const next = () => (random = (random * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
  const pause = () => -Math.log(1 - next()) * (thinkNs / sections);
  // When each comes to the lock; the earliest goes first.
  const arrivals = Array.from({ length: members }, pause);
  let free = 0;
  let served = 0;
  const total = 4000 + 400 * members;
  while (served < total) {
    let first = 0;
    for (let i = 1; i < members; i++) if (arrivals[i] < arrivals[first]) first = i;
    free = Math.max(free, arrivals[first]) + sectionNs;
    arrivals[first] = free + pause();
    served++;
  }
  return served / sections / free;
}
