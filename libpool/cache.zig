//! A member's cache: blocks that it has let go of and keeps for its next allocations, which then take no lock.
//!
//!              put: one store                       take: one compare-and-swap
//!     used ───────────────────▶ cached, with the ──────────────────────────────▶ used, the next generation
//!                               owner's bit set
//!                                   │
//!                                   └──▶ free: the owner under the lock, or whoever runs short, under the lock and by a
//!                                        compare-and-swap; a dead owner's, by whoever reaps it
//!
//! Only blocks that are not `shared` come in here: those that never were since they were allocated, without the lock; and, under
//! the lock, what its last holder has allocated himself. Nobody else has a descriptor by which such a block could be attached, so
//! nobody else may hold it or make a pin on it, and what its word says is changed by its holder alone. As a cached block it is
//! changed by two: the owner that takes it, and, under the lock, one that takes it away. Both compare the whole word, in which
//! the generation goes up with every allocation: so what was taken away is never mistaken for what is here.
//!
//! What is asked for comes from the list of just that size; or, where that is empty, out of the next larger ones, with a quarter
//! more at most, and no more than 4 KiB: so the cache serves arrays of any size, and not only those of a few.
//!
//! The lists are private: a member that is killed leaves cached blocks with its bit, found like all that it held. What the
//! owner knows of a cached block (where it is, its word when it was last in use, which is the next in its list) stands in its own
//! `Hold`, not in the segment: so a member's lists need no memory but a few bytes for each size.

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
/// In granules: what is smaller is not cut up for others.
const cut_min = 64;
/// How many lists of larger sizes are looked through: as many as a block can say of what it has too much, besides the rest of
/// a granule and the room that was asked for.
const lists_max = (layout.tail_bytes_max - layout.granule_bytes - layout.room_bytes_max) / layout.granule_bytes;

pub const Cache = extern struct {
    /// What it keeps altogether, and may keep.
    granules: u32,
    granules_limit: u32,
    /// The size of the block that came last.
    last: u32,
    /// How many of each size, and the one that came last: last in first out. Somewhat longer, for who looks at several counts at
    /// once.
    counts: [granules_max + 8]u8,
    heads: [granules_max + 1]BlockIndex,

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
        return cache.granules + granules <= cache.granules_limit and cache.counts[granules] < count_max;
    }

    /// Keeps one that is not shared, where there is room. Nothing is read of the block or its Hold, since with many live
    /// blocks that would be a cache miss to wait for: nobody but this member may change its word, of which just the state
    /// changes; and if somebody has written there who must not, the next one to take it finds out.
    pub inline fn keep(cache: *Cache, view: *const View, index: BlockIndex, granules: u32) void {
        view.briefs[index.int()] = .{ .granules = @intCast(granules), .is = .listed };
        view.holds[index.int()].next = cache.heads[granules];
        cache.heads[granules] = index;
        cache.counts[granules] += 1;
        cache.granules += granules;
        cache.last = granules;
        // Pairs with the compareAndSwap in takeBack: this member is done with the memory.
        view.blocks[index.int()].word.commitLowest(.{ .state = .cached, .backed = true });
    }

    pub const Taken = struct { index: BlockIndex, hold: *Hold, block: *Block };

    /// A block of about that size, in use by this member with the next generation; null when there is none.
    pub fn take(cache: *Cache, view: *const View, granules: u32) ?Taken {
        if (granules > granules_max) return null;
        while (cache.sizeFor(granules)) |size| if (cache.takeOf(view, size)) |taken| return taken;
        return null;
    }

    /// A size that will do, and of which there is a block.
    pub inline fn sizeFor(cache: *const Cache, granules: u32) ?u32 {
        if (cache.counts[granules] != 0) return granules;
        const size = cache.sizeAbove(granules);
        return if (size == 0) null else size;
    }
    noinline fn sizeAbove(cache: *const Cache, granules: u32) u32 {
        const most = @min(granules + @min(granules / 4, lists_max), granules_max);
        // The one that came last, which is warm. To look for it among the counts would have to wait until its own is stored.
        if (cache.last >= granules and cache.last <= most and cache.counts[cache.last] != 0) return cache.last;
        return cache.firstSize(granules, most);
    }
    /// The least size from `least` to `most` of which there is a block; 0 where there is none.
    fn firstSize(cache: *const Cache, least: u32, most: u32) u32 {
        var size = least;
        while (size <= most) : (size += 8) {
            // Eight of them at once: nearly all are 0.
            const counts = std.mem.readInt(u64, cache.counts[size..][0..8], .little);
            if (counts == 0) continue;
            size += @ctz(counts) / 8;
            return if (size <= most) size else 0;
        }
        return 0;
    }

    /// One of just that size.
    pub inline fn takeOf(cache: *Cache, view: *const View, granules: u32) ?Taken {
        while (cache.counts[granules] != 0) {
            const index = cache.heads[granules];
            const hold = &view.holds[index.int()];
            const block = &view.blocks[index.int()];
            cache.heads[granules] = hold.next;
            cache.counts[granules] -= 1;
            cache.granules -= granules;
            const cached = cachedWord(hold.word);
            var used = hold.word;
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
        if (cache.counts[granules] == count_max) return cache.free(view, granules, count_max / 2);
        return cache.freeAll(view);
    }

    pub fn freeAll(cache: *Cache, view: *const View) Corrupt!void {
        return cache.freeFrom(view, 1);
    }
    /// Of the largest size, and all from `least` on.
    pub fn freeFrom(cache: *Cache, view: *const View, least: u32) Corrupt!void {
        if (cache.granules == 0) return;
        for (std.math.clamp(least, 1, granules_max)..granules_max + 1) |size| if (cache.counts[size] > 0) try cache.free(view, @intCast(size), cache.counts[size]);
    }

    /// Under the lock: frees one that is larger by a half at most, and worth cutting up. False where there is none. What is far
    /// larger stays whole: in pieces it would be lacking to whoever wants one of its size.
    pub fn freeLarger(cache: *Cache, view: *const View, granules: u32) Corrupt!bool {
        const size = cache.firstSize(@max(granules, cut_min), @min(granules +| granules / 2, granules_max));
        if (size != 0) try cache.free(view, size, 1);
        return size != 0;
    }

    /// Frees the coldest of a size: one, half of them, or all.
    fn free(cache: *Cache, view: *const View, granules: u32, count: u8) Corrupt!void {
        var all: [count_max]BlockIndex = undefined;
        const kept = cache.counts[granules];
        var index = cache.heads[granules];
        for (0..kept) |i| {
            all[kept - 1 - i] = index;
            index = view.holds[index.int()].next;
        }
        cache.counts[granules] -= count;
        cache.granules -= granules * count;
        for (all[0..count]) |coldest| {
            view.briefs[coldest.int()] = .{};
            const word = cachedWord(view.holds[coldest.int()].word);
            const block = try view.block(coldest);
            // Or else it was taken away. Under the lock nobody but the owner, who is here, changes it.
            if (block.word.get() != word) continue;
            block.word.commit(freed(word));
            try free_lists.put(view, coldest);
        }
    }

    /// Forgets a block that was taken away and has come back to this member in another way; before its Hold says so.
    pub noinline fn forget(cache: *Cache, view: *const View, index: BlockIndex) void {
        const granules = view.briefs[index.int()].granules;
        var link = &cache.heads[granules];
        for (0..cache.counts[granules]) |_| {
            if (link.* == index) {
                link.* = view.holds[index.int()].next;
                cache.counts[granules] -= 1;
                cache.granules -= granules;
                break;
            }
            link = &view.holds[link.int()].next;
        }
        view.briefs[index.int()] = .{};
    }
};

/// What the word of a block says while it is in a cache, by what it said when it was in use.
pub inline fn cachedWord(used: layout.BlockWord) layout.BlockWord {
    var word = used;
    word.state = .cached;
    return word;
}

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
