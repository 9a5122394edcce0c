//! Where free blocks are found: derived data, rebuilt by recovery.
//!
//!     quick    one list for each size up to 32 KiB, last in first out: the block that was just freed is warm, and is
//!              given out again without a split or a merge
//!     runs     two-level segregated fit, O(1): lists by size class (a power of two, cut into 32), and bitmaps that say
//!              which lists hold something; once for backed and once for unbacked memory, so that what has memory is used up first
//!
//! Blocks in quick lists are not merged until `flush`. All functions here run under the lock.

const std = @import("std");
const layout = @import("layout.zig");
const blocks = @import("blocks.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const BlockIndex = layout.BlockIndex;
const Runs = layout.Runs;

// ---------------------------------------------------------------- quick lists

/// At most an eighth of the heap waits unmerged, but always 4 MiB.
pub fn quickLimit(view: *const View) u64 {
    return @max(view.geometry.heap_granules / 8, (4 << 20) / layout.granule_bytes);
}

/// Puts a free backed block where its size is taken from first; where it goes into the runs, it is merged with its
/// neighbours before.
pub fn put(view: *const View, index: BlockIndex) Corrupt!void {
    const block = try view.blockHot(index);
    const extent = try view.extentHot(block);
    const quick_granules = view.lists.quick_granules.get() +| extent.granules;
    const small = extent.granules <= layout.quick_granules_max and block.word.get().backed;
    if (!small or quick_granules > quickLimit(view)) return putMerged(view, index);

    const head = &view.lists.quick[extent.granules];
    block.of.links.next.set(head.get());
    block.of.links.list.set(.quick);
    head.set(index);
    view.lists.quick_granules.set(quick_granules);
}

pub fn takeQuick(view: *const View, granules: u32) Corrupt!?BlockIndex {
    if (granules > layout.quick_granules_max) return null;
    const head = &view.lists.quick[granules];
    const index = head.get();
    if (index == .none) return null;
    const block = try view.blockHot(index);
    const extent = try view.extentHot(block);
    if (!isFree(view, index, block, .quick) or !block.word.get().backed or extent.granules != granules) return error.Corrupt;
    head.set(block.of.links.next.get());
    block.of.links.list.set(.none);
    view.lists.quick_granules.set(view.lists.quick_granules.get() -| granules);
    return index;
}

/// In that list, by what the block says of itself, and not held by this member.
fn isFree(view: *const View, index: BlockIndex, block: *const layout.Block, list: layout.Links.List) bool {
    return block.word.get().state == .free and block.of.links.list.get() == list and !view.isHeld(index);
}

/// Moves all quick blocks to the runs, merged.
pub fn flush(view: *const View) Corrupt!void {
    for (1..layout.quick_granules_max + 1) |granules| {
        for (0..view.geometry.blocks_max) |_| {
            const index = try takeQuick(view, @intCast(granules)) orelse break;
            try putMerged(view, index);
        } else return error.Corrupt;
    }
}

// ---------------------------------------------------------------- runs

const Class = struct {
    first: u32,
    second: u32,

    /// The class whose list a run of this size is in.
    fn of(granules: u32) Class {
        if (granules < layout.second_levels) return .{ .first = 0, .second = granules };
        const log: u5 = @intCast(31 - @clz(granules));
        return .{ .first = @as(u32, log) - 4, .second = (granules >> (log - 5)) - layout.second_levels };
    }

    /// The least class all of whose runs are at least that large; null beyond the last one.
    fn fitting(granules: u32) ?Class {
        if (granules < layout.second_levels) return of(granules);
        const log: u5 = @intCast(31 - @clz(granules));
        const up = @as(u64, granules) + (@as(u64, 1) << (log - 5)) - 1;
        return if (up > std.math.maxInt(u32)) null else of(@intCast(up));
    }

    fn list(class: Class) u32 {
        return class.first * layout.second_levels + class.second;
    }
};

/// Which list of the runs a block of that many granules is in.
pub fn listOf(granules: u32) u32 {
    return Class.of(granules).list();
}

fn runsFor(view: *const View, backed: bool) *Runs {
    return if (backed) &view.lists.backed else &view.lists.unbacked;
}

/// Puts a free block into the runs, joined with free neighbours of its kind.
pub fn putMerged(view: *const View, index: BlockIndex) Corrupt!void {
    var merged = index;
    const block = try view.blockHot(index);
    const word = block.word.get();
    if (try joinable(view, block.next.get(), word)) {
        try remove(view, block.next.get());
        try blocks.mergeRight(view, merged);
    }
    if (index != layout.BlockIndex.of(0)) {
        const left = block.prev.get();
        if (try joinable(view, left, word)) {
            if ((try view.blockHot(left)).next.get() != index) return error.Corrupt;
            try remove(view, left);
            try blocks.mergeRight(view, left);
            merged = left;
        }
    }
    try insert(view, merged);
}

/// Whether the run `index` is of the same kind as one that says `word`: both backed, or both unbacked and alike in
/// whether trim() would find memory there.
fn joinable(view: *const View, index: BlockIndex, word: layout.BlockWord) Corrupt!bool {
    const block = try view.blockHot(index);
    const its = block.word.get();
    if (its.state != .free or block.of.links.list.get() != .runs) return false;
    return its.backed == word.backed and (its.backed or its.zero == word.zero);
}

/// Puts a free block into the runs as it is.
pub fn insert(view: *const View, index: BlockIndex) Corrupt!void {
    const block = try view.blockHot(index);
    const runs = runsFor(view, block.word.get().backed);
    const class = Class.of((try view.extentHot(block)).granules);
    const head = &runs.heads[class.list()];
    const next = head.get();
    block.of.links.next.set(next);
    block.of.links.prev.set(.none);
    block.of.links.list.set(.runs);
    if (next != .none) (try view.blockHot(next)).of.links.prev.set(index);
    head.set(index);
    runs.second[class.first].set(runs.second[class.first].get() | bit(class.second));
    runs.first.set(runs.first.get() | bit(class.first));
}

/// Takes a block out of the runs.
pub fn remove(view: *const View, index: BlockIndex) Corrupt!void {
    const block = try view.blockHot(index);
    const word = block.word.get();
    if (!isFree(view, index, block, .runs)) return error.Corrupt;
    const runs = runsFor(view, word.backed);
    const class = Class.of((try view.extentHot(block)).granules);
    const next = block.of.links.next.get();
    const prev = block.of.links.prev.get();
    if (next != .none) (try view.blockHot(next)).of.links.prev.set(prev);
    if (prev != .none) {
        (try view.blockHot(prev)).of.links.next.set(next);
    } else {
        const head = &runs.heads[class.list()];
        if (head.get() != index) return error.Corrupt;
        head.set(next);
        if (next == .none) clearBits(runs, class);
    }
    block.of.links.list.set(.none);
}

fn clearBits(runs: *Runs, class: Class) void {
    const second = runs.second[class.first].get() & ~bit(class.second);
    runs.second[class.first].set(second);
    if (second == 0) runs.first.set(runs.first.get() & ~bit(class.first));
}

/// A run of at least `granules`, still in its list; the smallest class that certainly fits, or else a run of its own
/// class that happens to.
pub fn find(view: *const View, backed: bool, granules: u32) Corrupt!?BlockIndex {
    const runs = runsFor(view, backed);
    if (Class.fitting(granules)) |class| if (firstAtOrAbove(runs, class)) |found| return try checked(view, runs, found, granules);
    // Only when nothing larger is left is it worth looking through a list.
    var index = runs.heads[Class.of(granules).list()].get();
    for (0..view.geometry.blocks_max) |_| {
        if (index == .none) return null;
        const block = try view.blockHot(index);
        if ((try view.extentHot(block)).granules >= granules) return index;
        index = block.of.links.next.get();
    }
    return error.Corrupt;
}

fn checked(view: *const View, runs: *const Runs, class: Class, granules: u32) Corrupt!BlockIndex {
    const index = runs.heads[class.list()].get();
    const block = try view.blockHot(index);
    if (block.word.get().state != .free or (try view.extentHot(block)).granules < granules) return error.Corrupt;
    return index;
}

fn firstAtOrAbove(runs: *const Runs, class: Class) ?Class {
    const here = runs.second[class.first].get() & (@as(u32, std.math.maxInt(u32)) << @intCast(class.second));
    if (here != 0) return .{ .first = class.first, .second = @ctz(here) };
    if (class.first + 1 >= layout.first_levels) return null;
    const above = runs.first.get() & (@as(u32, std.math.maxInt(u32)) << @intCast(class.first + 1));
    if (above == 0) return null;
    const first: u32 = @ctz(above);
    if (first >= layout.first_levels) return null;
    const second = runs.second[first].get();
    return if (second == 0) null else .{ .first = first, .second = @ctz(second) };
}

fn bit(number: u32) u32 {
    return @as(u32, 1) << @intCast(number);
}

/// Joins all neighbouring free runs, also backed with unbacked ones: one pass along the chain, when nothing else fits.
pub fn coalesce(view: *const View) Corrupt!void {
    try flush(view);
    var index: BlockIndex = .of(0);
    for (0..view.geometry.blocks_max) |_| {
        const block = try view.blockHot(index);
        if (block.word.get().state == .end) return;
        if (block.word.get().state == .free) {
            var grown = false;
            for (0..view.geometry.blocks_max) |_| {
                const next = try view.blockHot(block.next.get());
                if (next.word.get().state != .free) break;
                if (!grown) try remove(view, index);
                grown = true;
                try remove(view, block.next.get());
                try blocks.mergeRight(view, index);
            }
            if (grown) try insert(view, index);
        }
        index = block.next.get();
    }
    return error.Corrupt;
}

/// Forgets all lists.
pub fn clear(view: *const View) void {
    const lists = view.lists;
    for (&lists.quick) |*head| head.update(.none);
    lists.quick_granules.update(0);
    for ([_]*Runs{ &lists.unbacked, &lists.backed }) |runs| {
        runs.first.update(0);
        for (&runs.second) |*second| second.update(0);
        for (&runs.heads) |*head| head.update(.none);
    }
}

test "a class holds the sizes it was made for, and a fitting class holds no smaller one" {
    var granules: u32 = 1;
    while (granules < std.math.maxInt(u32) / 3) : (granules += 1 + granules / 7) {
        const own = Class.of(granules);
        try std.testing.expect(own.first < layout.first_levels and own.second < layout.second_levels);
        const fits = Class.fitting(granules).?;
        try std.testing.expect(fits.list() >= own.list());
        if (granules > 1) try std.testing.expect(Class.of(granules - 1).list() <= own.list());
        if (fits.list() == own.list() and granules > 1) // nothing smaller shares the class
            try std.testing.expect(Class.of(granules - 1).list() < own.list());
    }
}
