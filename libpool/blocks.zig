//! The chain of blocks, in address order:
//!
//!     entry 0          entry 7          entry 3                 the end
//!     ┌──────────┐     ┌──────────┐     ┌──────────┐            ┌─────┐
//!     │ used     │────▶│ free     │────▶│ used     │───▶  …  ──▶│ end │
//!     └──────────┘next └──────────┘     └──────────┘            └─────┘
//!     start 0          start 16         start 80                start = granules of the heap
//!
//! Invariants: entry 0 is the first block; `start` rises along `next`; every block but the first is the `next` of exactly
//! one other. A split and a merge are each one store to the left block's `next`, announced in `header.touching`: should
//! the process die, that entry alone can be out of the chain without being marked unused.
//!
//! All functions here run under the lock.

const std = @import("std");
const layout = @import("layout.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;
const BlockWord = layout.BlockWord;

pub const SplitError = Corrupt || error{
    /// The block table has no backed entry left: back more, then try again.
    NoEntry,
};

/// Cuts a free or reserved block after `granules`. What is right of the cut becomes a free block with the same flags, in
/// no list; its entry is returned.
pub fn split(view: *const View, index: BlockIndex, granules: u32) SplitError!BlockIndex {
    const left = try view.blockHot(index);
    const extent = try view.extentHot(left);
    if (granules == 0 or granules >= extent.granules) return error.Corrupt;
    try view.expectApart(index, left, extent);
    const next_index = left.next.get();
    const next = try view.blockHot(next_index);

    const entry_index = try takeUnused(view);
    const entry = try view.blockHot(entry_index);
    view.header.touching.commit(.{ .left = index.int(), .entry = entry_index.int() });

    const word = left.word.get();
    entry.next.set(next_index);
    entry.prev.set(index);
    entry.start.set(extent.start + granules);
    entry.tail.set(.{});
    entry.pins.set(0);
    entry.word.set(.{
        .generation = entry.word.get().generation,
        .state = .free,
        .backed = word.backed,
        .zero = word.zero,
    });

    left.next.commit(entry_index);

    next.prev.set(entry_index);
    return entry_index;
}

/// Joins a free block with its free right neighbour; both are in no list. What the result says of its memory is what both
/// said; zero, where one is backed and the other is not, would say that there is no memory behind either.
pub fn mergeRight(view: *const View, index: BlockIndex) Corrupt!void {
    const left = try view.blockHot(index);
    const right_index = left.next.get();
    const right = try view.blockHot(right_index);
    const after_index = right.next.get();
    const after = try view.blockHot(after_index);
    const left_word = left.word.get();
    const right_word = right.word.get();
    if (left_word.state != .free or right_word.state != .free) return error.Corrupt;
    // Linked both ways: or what lies between would be swallowed.
    if (right.prev.get() != index or after.prev.get() != right_index) return error.Corrupt;

    var both = left_word;
    both.backed = left_word.backed and right_word.backed;
    both.zero = left_word.zero and right_word.zero and left_word.backed == right_word.backed;
    if (both != left_word) left.word.commit(both);

    view.header.touching.commit(.{ .left = index.int(), .entry = right_index.int() });
    left.next.commit(after_index);
    right.word.commit(.{ .generation = right_word.generation, .state = .unused });

    after.prev.set(index);
    putUnused(view, right_index);
}

// ---------------------------------------------------------------- entries that wait for a split

/// How many splits are possible before more of the table has to be backed.
pub fn unusedEntries(view: *const View) u32 {
    const used = view.blocksUsed(); // first: without the lock, more of both may come to be in between
    return view.header.unused_count.get() +| (view.blocksBacked() -| used);
}

fn takeUnused(view: *const View) SplitError!BlockIndex {
    const header = view.header;
    const first = header.unused_blocks.get();
    if (first != .none) {
        const entry = try view.blockHot(first);
        if (entry.word.get().state != .unused) return error.Corrupt;
        header.unused_blocks.set(entry.of.links.next.get());
        header.unused_count.set(header.unused_count.get() -| 1);
        return first;
    }
    const used = view.blocksUsed();
    if (used >= view.blocksBacked()) return error.NoEntry;
    header.blocks_used.commit(used + 1);
    return .of(used);
}

pub fn putUnused(view: *const View, index: BlockIndex) void {
    const header = view.header;
    view.blocks[index.int()].of.links.next.set(header.unused_blocks.get());
    header.unused_blocks.set(index);
    header.unused_count.set(header.unused_count.get() +| 1);
}
