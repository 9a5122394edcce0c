// The size of the shared library, for each platform that it is built for.

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { root } from "./machine.mjs";

const GOAL_BYTES = 100 * 1024;

/** A row per platform. */
export function measureLibraries() {
  const folder = join(root, "lib");
  return readdirSync(folder).sort().flatMap((platform) =>
    readdirSync(join(folder, platform)).filter((file) => /\.(so|dylib)$/.test(file)).map((file) => {
      const { size } = statSync(join(folder, platform, file));
      return {
        where: "C",
        work: `size of ${platform}/${file}`,
        against: "",
        ours: size,
        unit: "bytes",
        kind: "size",
        figure: size,
        goal: GOAL_BYTES,
      };
    })
  );
}
