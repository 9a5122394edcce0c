//! A member's cache: blocks that it has let go of and keeps for its next allocations, which then take no lock.
//!
//!              put: one store                       take: one compare-and-swap
//!     used ───────────────────▶ cached, with the ──────────────────────────────▶ used, the next generation
//!                               owner's bit set
//!                                   │
//!                                   └──▶ free: the owner under the lock, or whoever runs short, under the lock and by a
//!                                        compare-and-swap; a dead owner's, by whoever reaps it
//!
//! Only blocks that were not `shared` since they were allocated come in here: nobody else has a descriptor of them, so
//! nobody else may hold them or make a pin on them, and what their word says is changed by their holder alone. As a cached
//! block it is changed by two: the owner that takes it, and, under the lock, one that takes it away. Both compare the whole
//! word, in which the generation goes up with every allocation and whenever a block comes in here: so what was taken away
//! is never mistaken for what is here.
//!
//! The lists are private: a member that is killed leaves cached blocks with its bit, found like all that it held. What the
//! owner knows of a cached block (where it is, its word) stands in its own `Hold`, not in the segment.

const std = @import("std");
const layout = @import("layout.zig");
const free_lists = @import("free_lists.zig");
const View = @import("view.zig").View;
const Hold = @import("view.zig").Hold;
const Corrupt = @import("view.zig").Corrupt;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const granules_max = (128 << 10) / layout.granule_bytes;
/// Blocks of one size.
const count_max = 64;

pub const Cache = extern struct {
    /// What it keeps altogether, and may keep.
    granules: u32,
    granules_limit: u32,
    /// For each size, last in first out: how many, and the first.
    counts: [granules_max + 1]u8,
    heads: [granules_max + 1]BlockIndex,

    /// A 256th of the heap, and 4 MiB at most: others have to come and get it.
    pub fn limitOf(geometry: layout.Geometry) u32 {
        return @min(geometry.heap_granules / 256, (4 << 20) / layout.granule_bytes);
    }

    pub const Put = enum { kept, no_room, not_for_it };

    /// Keeps a block whose last hold ends. Otherwise nothing is done.
    pub inline fn put(cache: *Cache, view: *const View, index: BlockIndex) Put {
        const hold = &view.holds[index.int()];
        const granules = hold.granules;
        const was = hold.word;
        if (granules > granules_max or was.shared) return .not_for_it;
        if (cache.granules + granules > cache.granules_limit or cache.counts[granules] == count_max) return .no_room;
        const block = &view.blocks[index.int()];
        // It is as this member wrote it, or somebody writes there who must not: which the lock's way finds out.
        if (block.word.get() != was or block.pins.get() != 0) return .not_for_it;
        var cached = was;
        cached.state = .cached;
        // Pairs with the compareAndSwap in takeBackAll: this member is done with the memory.
        block.word.commit(cached);
        cache.push(hold, index, cached);
        return .kept;
    }

    /// A block of just that size, in use by this member with the next generation; null when there is none.
    pub inline fn take(cache: *Cache, view: *const View, granules: u32) ?BlockIndex {
        if (granules > granules_max) return null;
        while (cache.counts[granules] != 0) {
            const index = cache.heads[granules];
            const hold = &view.holds[index.int()];
            cache.pop(hold);
            var used = hold.word;
            used.state = .used;
            used.generation +%= 1;
            // If it is not as it was, it was taken away.
            if (!view.blocks[index.int()].word.compareAndSwap(hold.word, used)) continue;
            hold.word = used;
            return index;
        }
        return null;
    }

    /// Under the lock: frees what makes room for one more of that size. The colder half of its kind, if there are many; or
    /// else all there is, which may be of sizes that nobody asks for any more.
    pub fn makeRoom(cache: *Cache, view: *const View, granules: u32) Corrupt!void {
        if (granules > cache.granules_limit) return;
        if (cache.counts[granules] == count_max) return cache.free(view, granules, count_max / 2);
        return cache.freeAll(view);
    }

    pub fn freeAll(cache: *Cache, view: *const View) Corrupt!void {
        if (cache.granules == 0) return;
        for (1..granules_max + 1) |size| if (cache.counts[size] > 0) try cache.free(view, @intCast(size), 0);
    }

    /// Frees all but the first `kept` of a size.
    fn free(cache: *Cache, view: *const View, granules: u32, kept: u8) Corrupt!void {
        var at = &cache.heads[granules];
        for (0..kept) |_| at = &view.holds[at.int()].next;
        for (kept..cache.counts[granules]) |_| {
            const index = at.*;
            const hold = &view.holds[index.int()];
            at.* = hold.next;
            hold.listed = false;
            cache.counts[granules] -= 1;
            cache.granules -= granules;
            const block = try view.block(index);
            // Or else it was taken away. Under the lock nobody but the owner, who is here, changes it.
            if (block.word.get() != hold.word) continue;
            block.word.commit(freed(hold.word));
            try free_lists.put(view, index);
        }
    }

    inline fn push(cache: *Cache, hold: *Hold, index: BlockIndex, word: layout.BlockWord) void {
        const granules = hold.granules;
        hold.word = word;
        hold.next = cache.heads[granules];
        hold.listed = true;
        cache.heads[granules] = index;
        cache.counts[granules] += 1;
        cache.granules += granules;
    }

    inline fn pop(cache: *Cache, first: *Hold) void {
        cache.heads[first.granules] = first.next;
        cache.counts[first.granules] -= 1;
        cache.granules -= first.granules;
        first.listed = false;
    }

    /// Forgets a block that was taken away and has come back to this member in another way; before its Hold says so.
    pub noinline fn forget(cache: *Cache, view: *const View, index: BlockIndex) void {
        const gone = &view.holds[index.int()];
        const granules = gone.granules;
        var at = &cache.heads[granules];
        for (0..cache.counts[granules]) |_| {
            if (at.* == index) break;
            at = &view.holds[at.int()].next;
        }
        at.* = gone.next;
        cache.counts[granules] -= 1;
        cache.granules -= granules;
        gone.listed = false;
    }
};

/// Under the lock: whether a cached block is free now, because its owner has not taken it in the meantime.
pub fn takeBack(block: *Block, cached: layout.BlockWord) bool {
    // Pairs with the commit in put().
    return block.word.compareAndSwap(cached, freed(cached));
}

inline fn freed(cached: layout.BlockWord) layout.BlockWord {
    var word = cached;
    word.state = .free;
    return word;
}
