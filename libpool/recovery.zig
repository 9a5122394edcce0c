//! Repair after a lock owner died, and the walk that proves the segment sound.
//!
//! Recovery believes the chain, the block words, the holder bits, the pins, the names, and what the messages in channels pin. It
//! makes everything else anew from them: `prev`, free lists, lists of unused entries, counts. Two passes over the table by index (a walk along the chain would
//! jump through memory). It can itself be interrupted anywhere: it changes nothing that the next one needs.

const std = @import("std");
const layout = @import("layout.zig");
const free_lists = @import("free_lists.zig");
const waiters = @import("waiters.zig");
const names = @import("names.zig");
const pins = @import("pins.zig");
const queue = @import("queue.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Unreadable = @import("view.zig").Unreadable;
const Holders = @import("view.zig").Holders;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const Error = Corrupt || Unreadable;

/// Under the lock, taken over from a dead owner. Where something is unreadable it is as unrepaired as before.
pub fn recover(view: *const View, now_ms: u64) Error!void {
    const header = view.header;
    try view.expectAll();
    header.recoveries.set(header.recoveries.get() +% 1);
    try putBackOrphan(view);
    try rebuildChain(view);
    try recountPins(view, now_ms);
    try names.recover(view);
    try recountMessages(view);
    try rebuildLists(view);
    try waiters.rebuild(view);
}

/// The last split or merge may have left one entry out of the chain that is not marked so.
fn putBackOrphan(view: *const View) Corrupt!void {
    const touching = view.header.touching.get();
    const used = view.blocksUsed();
    if (touching.left >= used or touching.entry >= used) return;
    const left = try view.block(.of(touching.left));
    const entry = try view.block(.of(touching.entry));
    if (left.next.get().int() == touching.entry) return;
    const word = entry.word.get();
    if (word.state == .unused) return;
    entry.word.commit(.{ .generation = word.generation, .state = .unused });
}

/// `prev`, and the proof that the entries in use are one chain over the whole heap: `start` rises along `next`, the sizes
/// add up, and (in rebuildLists) nobody is the next of two.
fn rebuildChain(view: *const View) Corrupt!void {
    const header = view.header;
    const used = view.blocksUsed();
    var unused: BlockIndex = .none;
    var unused_count: u32 = 0;
    var granules: u64 = 0;
    var ends: u32 = 0;
    for (0..used) |i| {
        const index: BlockIndex = .of(@intCast(i));
        const block = try view.block(index);
        block.pins.update(0);
        block.names.update(0);
        switch (block.word.get().state) {
            .unused => {
                block.of.links.next.update(unused);
                unused = index;
                unused_count += 1;
            },
            .end => {
                ends += 1;
                if (block.start.get() != view.geometry.heap_granules) return error.Corrupt;
            },
            .free, .reserved, .used, .cached => {
                const next = block.next.get();
                if (next.int() >= used) return error.Corrupt;
                (try view.block(next)).prev.update(index);
                granules += (try view.extent(block)).granules;
            },
            _ => return error.Corrupt,
        }
    }
    if (ends != 1 or granules != view.geometry.heap_granules) return error.Corrupt;
    header.unused_blocks.update(unused);
    header.unused_count.update(unused_count);
}

/// Pins that are over, or that name what is no longer there, end here; the others are counted.
fn recountPins(view: *const View, now_ms: u64) Corrupt!void {
    const header = view.header;
    var unused: layout.PinIndex = .none;
    var claims: u32 = 0;
    var until_ms: u64 = 0;
    for (0..view.pinsUsed()) |i| {
        const index: layout.PinIndex = @enumFromInt(@as(u32, @intCast(i)));
        const pin = try view.pin(index);
        const word = pin.word.get();
        if (word.kind == .claim) {
            if (pin.deadline_ms.get() > now_ms) if (pinnedBlock(view, pin)) |block| {
                block.pins.set(block.pins.get() +| 1);
                claims += 1;
                until_ms = @max(until_ms, pin.deadline_ms.get());
                continue;
            };
        }
        if (word.kind != .vacant) pin.word.commit(.{ .serial = word.serial });
        pin.of.next_unused.update(unused);
        unused = index;
    }
    header.unused_pins.update(unused);
    header.claims.update(claims);
    if (header.claims_until_ms.get() != until_ms) header.claims_until_ms.commit(until_ms);
}

/// What messages in channels pin; channels that nobody holds end here, and with them their messages.
noinline fn recountMessages(view: *const View) Error!void {
    var counter: PinCounter = .{ .view = view, .visitor = .{ .visit = PinCounter.count } };
    var discounter: PinCounter = .{ .view = view, .visitor = .{ .visit = PinCounter.discount } };
    var budget = queue.pinBudget(view);
    var channels: u32 = 0;
    for (0..view.blocksUsed()) |i| {
        const found = try channelAt(view, i) orelse continue;
        channels += 1;
        try queue.forEachPin(view, &found, &budget, &counter.visitor);
    }
    // One that ends may have held the next.
    budget = queue.pinBudget(view);
    for (0..channels) |_| {
        var ended = false;
        for (0..view.blocksUsed()) |i| {
            const found = try channelAt(view, i) orelse continue;
            const block = &view.blocks[i];
            if (block.pins.get() != 0 or !Holders.of(block).isEmpty() or view.isHeld(.of(@intCast(i)))) continue;
            var word = block.word.get();
            word.state = .free;
            block.word.commit(word);
            try queue.forEachPin(view, &found, &budget, &discounter.visitor);
            ended = true;
        }
        if (!ended) return;
    }
}

fn channelAt(view: *const View, i: usize) Unreadable!?queue.Queue {
    const block = &view.blocks[i];
    return if (block.word.get().state == .used) try queue.queueIn(view, block) else null;
}

const PinCounter = struct {
    visitor: queue.Visitor,
    view: *const View,

    fn blockOf(visitor: *queue.Visitor, record: queue.Record) ?*Block {
        const counter: *PinCounter = @fieldParentPtr("visitor", visitor);
        return queue.pinnedBy(counter.view, record);
    }
    fn count(visitor: *queue.Visitor, record: queue.Record) void {
        const block = blockOf(visitor, record) orelse return;
        block.pins.set(block.pins.get() +| 1);
    }
    fn discount(visitor: *queue.Visitor, record: queue.Record) void {
        const block = blockOf(visitor, record) orelse return;
        block.pins.set(block.pins.get() -| 1);
    }
};

fn pinnedBlock(view: *const View, pin: *const layout.Pin) ?*Block {
    const index = pin.block.get();
    if (index.int() >= view.blocksUsed()) return null;
    const block = view.block(index) catch return null;
    const word = block.word.get();
    return if (word.state == .used and word.generation == pin.generation.get()) block else null;
}

/// Frees what neither a member nor a pin holds, and puts all that is free into the lists.
fn rebuildLists(view: *const View) Corrupt!void {
    free_lists.clear(view);
    for (0..view.blocksUsed()) |i| {
        const index: BlockIndex = .of(@intCast(i));
        const block = try view.block(index);
        var word = block.word.get();
        if (word.state == .unused or word.state == .end) continue;
        const next = try view.block(block.next.get());
        if (next.prev.get() != index) return error.Corrupt;
        if (view.isHeld(index)) {
            try view.expectAsHeld(index);
        } else if (word.state != .free and Holders.of(block).isEmpty() and block.pins.get() == 0) {
            word.state = .free;
            word.shared = false;
            block.word.commit(word);
        }
        if (word.state == .free) try free_lists.insert(view, index);
    }
}

// ---------------------------------------------------------------- the walk

pub const Broken = @import("broken.zig").Broken;
const What = @import("broken.zig").What;

/// The first broken invariant, or null. Changes nothing; runs under the lock.
pub fn firstBroken(view: *const View) ?Broken {
    var census: Census = .{};
    const what = walk(view, &census);
    return if (what == .nothing) null else .{ .what = what, .where = census.where };
}

noinline fn walk(view: *const View, census: *Census) What {
    const header = view.header;
    if (header.magic.get() != layout.magic) return .@"the header's magic number is wrong";
    if (header.blocks_backed.get() > view.geometry.blocks_max) return census.at(.@"more of the block table is backed than there is", header.blocks_backed.get());
    if (header.blocks_used.get() > header.blocks_backed.get()) return census.at(.@"entries of the block table are used that are not backed", header.blocks_used.get());
    if (header.pins_backed.get() > view.geometry.pins_max) return census.at(.@"more of the pin table is backed than there is", header.pins_backed.get());
    if (header.pins_used.get() > header.pins_backed.get()) return census.at(.@"pins are used that are not backed", header.pins_used.get());
    const parts = .{ brokenChain, brokenPins, names.broken, brokenChannels, brokenBlocks, brokenQuick, brokenRuns, brokenCounts, brokenHolds, waiters.broken };
    inline for (parts) |broken| {
        const what = broken(view, census);
        if (what != .nothing) return what;
    }
    return .nothing;
}

pub const Census = struct {
    in_chain: u32 = 0,
    free: u32 = 0,
    listed: u32 = 0,
    quick_granules: u64 = 0,
    claims: u32 = 0,
    names: u32 = 0,
    names_of_blocks: u64 = 0,
    /// Blocks of which it is not known how many of their pins are names.
    crowded: u32 = 0,
    /// Pins by messages.
    messages: u64 = 0,
    stale: u64 = 0,
    /// Blocks in use that nobody has, and the last of them.
    nobodys_count: u32 = 0,
    nobodys_last: u64 = 0,
    pins_of_blocks: u64 = 0,
    /// Of all pins, and of all that blocks count.
    weight: u64 = 0,
    weight_of_blocks: u64 = 0,
    /// The number of what is broken, in its table or list.
    where: u64 = 0,

    fn nobodys(census: *Census, i: u64) void {
        census.nobodys_count += 1;
        census.nobodys_last = i;
    }

    pub inline fn at(census: *Census, what: What, where: u64) What {
        census.where = where;
        return what;
    }
};

fn brokenChain(view: *const View, census: *Census) What {
    const used = view.blocksUsed();
    var index: BlockIndex = .of(0);
    var before: BlockIndex = .none;
    var at: u64 = 0;
    for (0..used + 1) |_| {
        if (index.int() >= used) return census.at(.@"the chain leads out of the block table", index.int());
        const block = &view.blocks[index.int()];
        const word = block.word.get();
        if (census.in_chain > 0 and block.prev.get() != before) return census.at(.@"prev is not the block before", index.int());
        if (block.start.get() < at or (before == .none and block.start.get() != 0)) return census.at(.@"start does not rise along the chain", index.int());
        if (before != .none and block.start.get() == at) return census.at(.@"a block has no size", before.int());
        at = block.start.get();
        census.in_chain += 1;
        switch (word.state) {
            .end => return if (at == view.geometry.heap_granules) .nothing else census.at(.@"the chain ends before the heap does", at),
            .free, .reserved, .used, .cached => {},
            else => return census.at(.@"an entry of the chain is marked unused, or by no known state", index.int()),
        }
        before = index;
        index = block.next.get();
    }
    return .@"the chain does not end";
}

fn brokenPins(view: *const View, census: *Census) What {
    for (0..view.pinsUsed()) |i| {
        const pin = &view.pins[i];
        switch (pin.word.get().kind) {
            .vacant => {},
            .claim => {
                if (pinnedBlock(view, pin) == null) return census.at(.@"a claim is on a block that is not there", i);
                if (pin.word.get().attaches == 0) return census.at(.@"a claim has no attaches left", i);
                if (pin.deadline_ms.get() > view.header.claims_until_ms.get()) return census.at(.@"a claim outlives claims_until", i);
                census.claims += 1;
                census.weight +%= pins.weight(pin.block.get());
            },
            else => return census.at(.@"a pin is of no known kind", i),
        }
    }
    return .nothing;
}

fn brokenChannels(view: *const View, census: *Census) What {
    const Taker = struct {
        visitor: queue.Visitor = .{ .visit = visit },
        view: *const View,
        census: *Census,

        fn visit(visitor: *queue.Visitor, record: queue.Record) void {
            const taker: *@This() = @fieldParentPtr("visitor", visitor);
            if (queue.pinnedBy(taker.view, record) == null) {
                taker.census.stale += 1;
                return;
            }
            taker.census.messages += 1;
            taker.census.weight +%= pins.weight(.of(record.block));
        }
    };
    var taker: Taker = .{ .view = view, .census = census };
    var budget = queue.pinBudget(view);
    for (0..view.blocksUsed()) |i| {
        const block = &view.blocks[i];
        if (block.word.get().state != .used or block.content.get().kind != layout.Kind.channel) continue;
        const found = queue.queueIn(view, block) catch null orelse return census.at(.@"a channel is none", i);
        queue.forEachPin(view, &found, &budget, &taker.visitor) catch {};
        if (census.stale > 0) return census.at(.@"a message has an array that is not there", i);
        const what = found.brokenAtRest();
        if (what != .nothing) return census.at(what, i);
    }
    return .nothing;
}

noinline fn brokenBlocks(view: *const View, census: *Census) What {
    var in_table: u32 = 0;
    for (0..view.blocksUsed()) |i| {
        const block = &view.blocks[i];
        const word = block.word.get();
        if (word.state != .unused) in_table += 1;
        switch (word.state) {
            .free => {
                census.free += 1;
                if (block.pins.get() != 0 or block.names.get() != 0) return census.at(.@"a free block has pins", i);
            },
            .reserved => if (Holders.of(block).isEmpty()) census.nobodys(i),
            .cached => {
                if (word.zero or !word.backed or word.shared) return census.at(.@"a cached block is not one that was in use and never shared", i);
                if (block.pins.get() != 0) return census.at(.@"a cached block has pins", i);
                if (!Holders.of(block).isOne()) return census.at(.@"a cached block has not one owner", i);
            },
            .used => {
                if (word.zero) return census.at(.@"a block in use says that it is zero", i);
                census.pins_of_blocks += block.pins.get();
                census.weight_of_blocks +%= pins.weight(.of(@intCast(i))) *% block.pins.get();
                census.names_of_blocks += block.names.get();
                if (block.names.get() == std.math.maxInt(u16)) census.crowded += 1;
                if (!word.backed) return census.at(.@"a block in use is not backed", i);
                if (Holders.of(block).isEmpty() and block.pins.get() == 0) census.nobodys(i);
                if (view.lengthBytes(block) catch null == null) return census.at(.@"a block's tail is longer than the block", i);
            },
            else => {},
        }
    }
    if (in_table != census.in_chain) return census.at(.@"an entry is marked as part of the chain and is not in it", in_table);
    if (census.pins_of_blocks != census.claims + census.names + census.messages) return census.at(.@"the blocks' counts of pins do not add up to the pins", census.pins_of_blocks);
    if (census.weight_of_blocks != census.weight) return .@"a block counts a pin that another one has";
    if (census.crowded == 0 and census.names_of_blocks != census.names) return census.at(.@"the blocks' counts of names do not add up to the names", census.names_of_blocks);
    return .nothing;
}

fn brokenQuick(view: *const View, census: *Census) What {
    for (1..layout.quick_granules_max + 1) |granules| {
        var index = view.lists.quick[granules].get();
        while (index != .none) {
            const block = view.block(index) catch return census.at(.@"a quick list leads out of the block table", granules);
            const word = block.word.get();
            if (word.state != .free or !word.backed or block.of.links.list.get() != .quick) return census.at(.@"a quick list holds a block that does not belong there", index.int());
            const extent = view.extent(block) catch return census.at(.@"a block's extent is wrong", index.int());
            if (extent.granules != granules) return census.at(.@"a quick list holds a block of another size", index.int());
            census.listed += 1;
            census.quick_granules += granules;
            if (census.listed > census.free) return census.at(.@"more blocks are in free lists than are free", granules);
            index = block.of.links.next.get();
        }
    }
    return .nothing;
}

fn brokenRuns(view: *const View, census: *Census) What {
    for ([_]bool{ false, true }) |backed| {
        const runs = if (backed) &view.lists.backed else &view.lists.unbacked;
        for (0..layout.first_levels) |first| {
            const seconds = runs.second[first].get();
            const marked = runs.first.get() >> @intCast(first) & 1 == 1;
            if (marked != (seconds != 0)) return census.at(.@"the first bitmap of the runs is wrong", first);
            for (0..layout.second_levels) |second| {
                const list = first * layout.second_levels + second;
                var index = runs.heads[list].get();
                if ((seconds >> @intCast(second) & 1 == 1) != (index != .none)) return census.at(.@"a second bitmap of the runs is wrong", list);
                var before: BlockIndex = .none;
                while (index != .none) {
                    const block = view.block(index) catch return census.at(.@"a list of runs leads out of the block table", list);
                    const word = block.word.get();
                    if (word.state != .free or word.backed != backed or block.of.links.list.get() != .runs) return census.at(.@"a list of runs holds a block that does not belong there", index.int());
                    if (block.of.links.prev.get() != before) return census.at(.@"a list of runs is linked wrongly", index.int());
                    const extent = view.extent(block) catch return census.at(.@"a block's extent is wrong", index.int());
                    if (free_lists.listOf(extent.granules) != list) return census.at(.@"a run is in the list of another size", index.int());
                    census.listed += 1;
                    if (census.listed > census.free) return census.at(.@"more blocks are in free lists than are free", list);
                    before = index;
                    index = block.of.links.next.get();
                }
            }
        }
    }
    return .nothing;
}

noinline fn brokenCounts(view: *const View, census: *Census) What {
    const header = view.header;
    // As many as were left to the next reap.
    if (census.nobodys_count > header.left.get() / layout.Header.left_begun) return census.at(.@"a block in use has neither holder nor pin", census.nobodys_last);
    if (census.listed != census.free) return census.at(.@"a free block is in no list", census.free - census.listed);
    if (census.quick_granules != view.lists.quick_granules.get()) return census.at(.@"the quick lists' size is wrong", view.lists.quick_granules.get());
    if (census.claims != header.claims.get()) return census.at(.@"the count of claims is wrong", header.claims.get());
    return brokenUnused(view, census);
}

fn brokenHolds(view: *const View, census: *Census) What {
    for (0..@min(view.blocks_known, view.holds.len)) |i| {
        const index: BlockIndex = .of(@intCast(i));
        if (view.isHeld(index)) view.expectAsHeld(index) catch return census.at(.@"a block is not as this member holds it", i);
        if (view.isCached(index)) view.expectInPlace(index) catch return census.at(.@"a block is not where this member has cached it", i);
    }
    return .nothing;
}

noinline fn brokenUnused(view: *const View, census: *Census) What {
    const header = view.header;
    var blocks_listed: u32 = 0;
    var block_index = header.unused_blocks.get();
    while (block_index != .none) : (blocks_listed += 1) {
        const block = view.block(block_index) catch return .@"the list of unused entries leads out of the table";
        if (block.word.get().state != .unused) return census.at(.@"an entry in use is in the list of unused ones", block_index.int());
        if (blocks_listed > view.blocksUsed()) return .@"the list of unused entries does not end";
        block_index = block.of.links.next.get();
    }
    if (blocks_listed != header.unused_count.get() or blocks_listed + census.in_chain != view.blocksUsed())
        return census.at(.@"an unused entry is lost", blocks_listed);
    var pins_listed: u32 = 0;
    var pin_index = header.unused_pins.get();
    while (pin_index != .none) : (pins_listed += 1) {
        const pin = view.pin(pin_index) catch return .@"the list of unused pins leads out of the table";
        if (pin.word.get().kind != .vacant) return .@"a pin in use is in the list of unused ones";
        if (pins_listed > view.pinsUsed()) return .@"the list of unused pins does not end";
        pin_index = pin.of.next_unused.get();
    }
    if (pins_listed + header.claims.get() != view.pinsUsed()) return census.at(.@"an unused pin is lost", pins_listed);
    return .nothing;
}
