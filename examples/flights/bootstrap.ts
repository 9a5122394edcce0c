/**
 * The bootstrap: how far may the mean delay of an airport be from what its flights happened to show?
 *
 * A resample draws as many flights as there are, with replacement, and takes the mean again; the spread of many such
 * means is the confidence interval. Nothing here knows of processes or pools: only TypedArrays go in and out.
 */

/** The delays in minutes, grouped by airport of origin: those of airport `i` are `delays[starts[i]..starts[i + 1]]`. */
export interface Flights {
  delays: Float64Array;
  starts: Uint32Array;
}

/** Flights, and a table for their means: a row per resample, a column per airport. */
export interface Arrays extends Flights {
  means: Float64Array;
}

/** Computes the resamples `first` up to, not including, `last`, each into its row of the table. */
export function fillRows(arrays: Arrays, first: number, last: number): void {
  const origins = arrays.starts.length - 1;
  resample(arrays, first, last, arrays.means.subarray(first * origins, last * origins));
}

/**
 * Computes the resamples `first` up to, not including, `last`: the mean delay of each airport in each of them, into
 * the rows `means`. The result is the same in every process and in every runtime.
 */
export function resample({ delays, starts }: Flights, first: number, last: number, means: Float64Array): void {
  const origins = starts.length - 1;
  for (let origin = 0; origin < origins; origin++) {
    // All resamples of an airport in a row, while its delays are in the processor's cache.
    for (let number = first; number < last; number++) {
      const mean = resampledMean(delays, starts[origin]!, starts[origin + 1]!, origin, number);
      means[(number - first) * origins + origin] = mean;
    }
  }
}

function resampledMean(delays: Float64Array, start: number, end: number, origin: number, number: number): number {
  // sfc32, a small generator with four words of state, seeded by airport and resample: so the result does not depend
  // on who computes it. Written out, since a closure per draw would take longer than the draw.
  let a = origin | 0;
  let b = number | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const count = end - start;
  const scale = count / 2 ** 32;
  let sum = 0;
  for (let draw = -12; draw < count; draw++) {
    const random = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21 | c >>> 11) + random) | 0;
    if (draw >= 0) sum += delays[start + Math.floor((random >>> 0) * scale)]!; // the first twelve only mix the seed
  }
  return sum / count;
}

/** What is known about one airport. */
export interface Estimate {
  origin: number;
  flights: number;
  mean: number;
  /** 95 % confidence. */
  low: number;
  high: number;
}

/** The estimate for each airport, from the means of all resamples (one row each). */
export function estimate({ delays, starts }: Flights, means: Float64Array): Estimate[] {
  const origins = starts.length - 1;
  const resamples = means.length / origins;
  return Array.from({ length: origins }, (_, origin) => {
    const ownDelays = delays.subarray(starts[origin], starts[origin + 1]);
    const ownMeans = Float64Array.from({ length: resamples }, (_, row) => means[row * origins + origin]!).sort();
    return {
      origin,
      flights: ownDelays.length,
      mean: ownDelays.reduce((sum, delay) => sum + delay, 0) / ownDelays.length,
      low: ownMeans[Math.floor(0.025 * resamples)]!,
      high: ownMeans[Math.floor(0.975 * resamples)]!,
    };
  });
}
