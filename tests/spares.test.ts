/** core/spares.ts: which buffers become spares, and for what. What it is good for is measured by `npm run bench`. */

import { native, type Pointer } from "../core/native.ts";
import { Spares } from "../core/spares.ts";
import { assert, runtime, test, withPool } from "./support/harness.ts";

const MIB = 1 << 20;

/** The spares of a pool that is not there, and what the library was told of them. */
function trial() {
  const told: [block: number, isUsed: number][] = [];
  const library = { ap_block_spare: (_: Pointer, block: number, isUsed: number) => void told.push([block, isUsed]) };
  const spares = new Spares(library, 0 as unknown as Pointer, (buffer) => buffer.transfer());
  /** Releases what a buffer at that place shows. Returns the spare that is left. */
  const release = (block: number, address: number, byteLength: number) => {
    const buffer = new ArrayBuffer(byteLength);
    const spare = spares.detach({ block, address, byteLength }, buffer);
    assert.ok(buffer.detached);
    if (spare !== undefined) spares.put({ block, address, byteLength }, spare);
    return spare;
  };
  return { spares, told, release };
}

test("a spare is for the next hold on the same bytes of the same block, once", () => {
  const { spares, told, release } = trial();
  const spare = release(3, 4096, 100);
  assert.equal(spare!.byteLength, 100);
  assert.equal(spares.take(35, 4096, 100), undefined, "another block");
  assert.equal(spares.take(3, 4160, 100), undefined, "another place");
  assert.equal(spares.take(3, 4096, 99), undefined, "another length");
  assert.deepEqual(told, []);
  assert.equal(spares.take(3, 4096, 100), spare);
  assert.equal(spares.take(3, 4096, 100), undefined, "none is left");
  assert.deepEqual(told, [[3, 1]]);
});

test("a spare that is not asked for gives its slot to another one in the end, and is detached", () => {
  const { spares, told, release } = trial();
  const first = release(3, 4096, 100)!;
  let count = 0;
  while (release(35, 8192, 100) === undefined) count++;
  assert.equal(count, 7);
  assert.ok(first.detached);
  assert.deepEqual(told, [[3, 0]]);
  assert.ok(spares.take(35, 8192, 100));
});

test("there is no spare of what is large, or pinned, and none when all were dropped", () => {
  const { spares, told, release } = trial();
  assert.equal(release(1, 4096, MIB + 1), undefined);
  assert.equal(release(1, 0, 100), undefined);
  const kept = [release(1, 4096, MIB)!, release(2, 8192, 1)!];
  spares.dropAll();
  assert.ok(kept.every((spare) => spare.detached));
  assert.deepEqual(told, [[1, 0], [2, 0]]);
  assert.equal(spares.take(1, 4096, MIB), undefined);
});

test("the memory of what was released is taken over in Bun, where no native call can still use it", () => {
  assert.equal(native().takeOver !== undefined, runtime === "bun");
});

test("a channel that is made where an array was, whose spare has gone, is let go of like any", () =>
  withPool((pool) => {
    // More arrays than there are slots, so that spares go before their blocks are used again; a generator, so that they do each time.
    let state = 1;
    const below = (
      count: number,
    ) => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff, (state >>> 9) % count);
    const arrays = Array.from({ length: 600 }, () => pool.alloc(Uint8Array, 64 * (1 + below(400))));
    for (let i = 0; i < 4000; i++) {
      const at = below(arrays.length);
      arrays[at]!.release();
      arrays[at] = pool.alloc(Uint8Array, 64 * (1 + below(400)));
      if (below(4) === 0) pool.channel({ capacity: 1, maxMessageBytes: 1 + below(100) }).release();
    }
    assert.equal(pool.stats().lentBytes, 0);
    assert.equal(pool.blocks().filter(({ kind }) => kind === "channel").length, 0);
    for (const array of arrays) array.release();
  }, { capacity: "64M" }));
