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
//! What is asked for comes from the list of just that size; or, where that is empty, out of the next larger ones, with a quarter
//! more at most, and no more than 4 KiB: so the cache serves arrays of any size, and not only those of a few.
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

pub const bytes_max = 128 << 10;
pub const granules_max = bytes_max / layout.granule_bytes;
/// Blocks of one size.
const count_max = 64;
/// How many lists of larger sizes are looked through: as many as a block can say of what it has too much, besides the rest of
/// a granule and the room that was asked for.
const lists_max = (layout.tail_bytes_max - layout.granule_bytes - layout.room_bytes_max) / layout.granule_bytes;

/// Of one size, last in first out.
const List = extern struct { first: BlockIndex, count: u32 };

pub const Cache = extern struct {
    /// What it keeps altogether, and may keep.
    granules: u32,
    granules_limit: u32,
    lists: [granules_max + 1]List,

    /// A 256th of the heap, and 4 MiB at most: others have to come and get it.
    pub fn limitOf(geometry: layout.Geometry) u32 {
        return @min(geometry.heap_granules / 256, (4 << 20) / layout.granule_bytes);
    }

    pub const Put = enum { kept, no_room, not_for_it };

    /// Keeps a block whose last hold ends. Otherwise nothing is done.
    pub fn put(cache: *Cache, view: *const View, index: BlockIndex) Put {
        const hold = &view.holds[index.int()];
        if (hold.granules > granules_max or hold.word.shared) return .not_for_it;
        if (!cache.hasRoom(hold.granules)) return .no_room;
        // It is as this member wrote it, or somebody writes there who must not: which the lock's way finds out.
        const block = &view.blocks[index.int()];
        if (block.word.get() != hold.word or block.pins.get() != 0) return .not_for_it;
        cache.keep(view, index, hold.granules);
        return .kept;
    }

    pub inline fn hasRoom(cache: *const Cache, granules: u32) bool {
        return cache.granules + granules <= cache.granules_limit and cache.lists[granules].count < count_max;
    }

    /// Keeps one that was never shared, where there is room. What its word says is not looked at, since with many live blocks
    /// that would be a cache miss to wait for: nobody but this member may change it, and what somebody has written there who
    /// must not is put right.
    pub inline fn keep(cache: *Cache, view: *const View, index: BlockIndex, granules: u32) void {
        const hold = &view.holds[index.int()];
        const list = &cache.lists[granules];
        var cached = hold.word;
        cached.state = .cached;
        view.briefs[index.int()] = .{ .granules = @intCast(granules), .is = .listed };
        hold.word = cached;
        hold.next = list.first;
        list.first = index;
        list.count += 1;
        cache.granules += granules;
        // Pairs with the compareAndSwap in takeBack: this member is done with the memory.
        view.blocks[index.int()].word.commit(cached);
    }

    pub const Taken = struct { index: BlockIndex, hold: *Hold, block: *Block };

    /// A block of about that size, in use by this member with the next generation; null when there is none.
    pub fn take(cache: *Cache, view: *const View, granules: u32) ?Taken {
        if (cache.granules < granules) return null;
        const most = @min(granules + @min(granules / 4, lists_max), granules_max);
        for (cache.lists[granules .. most + 1], granules..) |*list, size| {
            if (list.count == 0) continue;
            if (cache.takeOf(view, @intCast(size))) |taken| return taken;
        }
        return null;
    }

    /// One of just that size.
    pub inline fn takeOf(cache: *Cache, view: *const View, granules: u32) ?Taken {
        const list = &cache.lists[granules];
        while (list.count != 0) {
            const index = list.first;
            const hold = &view.holds[index.int()];
            const block = &view.blocks[index.int()];
            const cached = hold.word;
            list.first = hold.next;
            list.count -= 1;
            cache.granules -= granules;
            var used = cached;
            used.state = .used;
            used.generation +%= 1;
            if (block.word.compareAndSwap(cached, used)) {
                hold.word = used;
                return .{ .index = index, .hold = hold, .block = block };
            }
            view.briefs[index.int()] = .{}; // it was taken away
        }
        return null;
    }

    /// Under the lock: frees what makes room for one more of that size. The colder half of its kind, if there are many; or
    /// else all there is, which may be of sizes that nobody asks for any more.
    pub fn makeRoom(cache: *Cache, view: *const View, granules: u32) Corrupt!void {
        if (granules > cache.granules_limit) return;
        if (cache.lists[granules].count == count_max) return cache.free(view, granules, count_max / 2);
        return cache.freeAll(view);
    }

    pub fn freeAll(cache: *Cache, view: *const View) Corrupt!void {
        if (cache.granules == 0) return;
        for (1..granules_max + 1) |size| if (cache.lists[size].count > 0) try cache.free(view, @intCast(size), 0);
    }

    /// Frees all but the first `kept` of a size.
    fn free(cache: *Cache, view: *const View, granules: u32, kept: u32) Corrupt!void {
        const list = &cache.lists[granules];
        var at = &list.first;
        for (0..kept) |_| at = &view.holds[at.int()].next;
        for (kept..list.count) |_| {
            const index = at.*;
            const hold = &view.holds[index.int()];
            at.* = hold.next;
            view.briefs[index.int()] = .{};
            list.count -= 1;
            cache.granules -= granules;
            const block = try view.block(index);
            // Or else it was taken away. Under the lock nobody but the owner, who is here, changes it.
            if (block.word.get() != hold.word) continue;
            block.word.commit(freed(hold.word));
            try free_lists.put(view, index);
        }
    }

    /// Forgets a block that was taken away and has come back to this member in another way; before its Hold says so.
    pub noinline fn forget(cache: *Cache, view: *const View, index: BlockIndex) void {
        const gone = &view.holds[index.int()];
        const granules = view.briefs[index.int()].granules;
        const list = &cache.lists[granules];
        var at = &list.first;
        for (0..list.count) |_| {
            if (at.* == index) break;
            at = &view.holds[at.int()].next;
        }
        at.* = gone.next;
        list.count -= 1;
        cache.granules -= granules;
        view.briefs[index.int()] = .{};
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
