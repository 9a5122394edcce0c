/** A program that is over while it still makes something: nobody waits for that. */

import { Pool } from "arraypool";

void Pool.create({ capacity: "1M" }).onceAsync("it", () => new Promise<never>(() => {}));
