/**
 * Reads the flights into arrays of the pool, hands them over, and exits: the hundreds of megabytes that reading a
 * Parquet file takes go with this process, the arrays stay. Started by `demo.ts` with the name of the pool.
 */

import { asyncBufferFromFile, parquetMetadataAsync, parquetRead } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import process from "node:process";
import { pack, Pool } from "../../mod.ts";
import type { Flights } from "./bootstrap.ts";

export interface Loaded extends Flights {
  /** The code of each airport of origin (`SFO`). */
  codes: string[];
}

const path = `${import.meta.dirname}/../../node_modules/vega-datasets/data/flights-3m.parquet`;
const file = await asyncBufferFromFile(path);
const metadata = await parquetMetadataAsync(file);

const delays = new Float64Array(Number(metadata.num_rows));
const origins = new Array<string>(delays.length);
await parquetRead({
  file,
  metadata,
  compressors,
  columns: ["delay", "origin"],
  onChunk({ columnName, columnData, rowStart }) {
    for (let i = 0; i < columnData.length; i++) {
      if (columnName === "delay") delays[rowStart + i] = Number(columnData[i]);
      else origins[rowStart + i] = columnData[i];
    }
  },
});

const codes = [...new Set(origins)].sort();
const indexes = new Map(codes.map((code, index) => [code, index]));

using pool = Pool.open(process.argv[2]!);
const starts = pool.alloc(Uint32Array, codes.length + 1);
for (const code of origins) starts[indexes.get(code)! + 1]!++;
for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!;

const grouped = pool.allocUnsafe(Float64Array, delays.length);
const next = starts.slice();
for (const [flight, code] of origins.entries()) grouped[next[indexes.get(code)!]!++] = delays[flight]!;

const loaded: Loaded = { delays: grouped, starts, codes };
process.send!(pack(loaded)); // from here on, the claims of the message hold the arrays
