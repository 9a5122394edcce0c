//! Reaping: taking back what dead members and expired claims held.
//!
//!     who is dead? (members.zig, outside the lock) ── still so, under it? ── claims ── blocks ── makings ── slot vacant
//!
//! The slot comes last: should the one who reaps die in between, the next one does it again.

const layout = @import("layout.zig");
const holding = @import("holding.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
const naming = @import("naming.zig");
const pins = @import("pins.zig");
const waiters = @import("waiters.zig");
const waiting = @import("waiting.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const Holders = @import("view.zig").Holders;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const BlockIndex = layout.BlockIndex;

pub const Freed = struct {
    blocks: u32 = 0,
    bytes: u64 = 0,

    fn add(freed: *Freed, more: Freed) void {
        freed.blocks += more.blocks;
        freed.bytes += more.bytes;
    }
};

pub const Reaped = struct { members: u32 = 0, freed: Freed = .{} };

/// Takes back what dead members and expired claims held, and what nobody holds: when its last hold or pin ended, the lock could not
/// be had, or it could not be read.
pub fn reap(pool: *Pool) Error!Reaped {
    // First: what is taken back from the dead may be another's at once.
    pool.closeLeftovers();
    const dead = members.findDead(&pool.view, &pool.self);
    // One of them may have died before it woke those whom it had notified.
    defer if (dead.count > 0) waiting.callReady(&pool.view);
    try pool.acquire();
    defer pool.unlock();
    return reapUnderLock(pool, &dead, true);
}

/// `also_left`: what nobody has, too, for which the whole table is looked at.
pub fn reapUnderLock(pool: *Pool, found: *const members.Dead, also_left: bool) lock.Error!Reaped {
    var slots: Holders = .nobody;
    var reaped: Reaped = .{};
    for (0..layout.members_max) |i| {
        const slot: u8 = @intCast(i);
        // Since it was found dead, a slot may have got a new owner.
        if (!found.slots.has(slot) or pool.view.members[slot].word.get() != found.words[slot]) continue;
        slots.add(slot);
        if (slot != pool.self.slot) reaped.members += 1;
    }
    reaped.freed = try expireClaims(pool, system.monotonicMs());
    // Before the bits are looked at: disown() changes both without the lock.
    const left = if (also_left) pool.view.header.left.acquire() else 0;
    if (!slots.isEmpty() or left > 0) reaped.freed.add(try takeBack(pool, slots));
    // None of that is there any more, unless somebody was at it, or has begun since.
    if (left > 0 and left >> 32 == @as(u32, @truncate(left))) _ = pool.view.header.left.compareAndSwap(left, 0);
    if (!slots.isEmpty()) try naming.endMakings(pool, slots);
    // After their holds: should we die in between, the next one reaps them again.
    for (0..layout.members_max) |i| {
        const slot: u8 = @intCast(i);
        if (!slots.has(slot) or slot == pool.self.slot) continue;
        // Pairs as the lock does: whoever finds the slot vacant looks at blocks only under the lock.
        // Compared once more: whoever took the slot in the meantime has said so without the lock, and must not be unsaid.
        _ = pool.view.members[slot].word.compareAndSwap(found.words[slot], .{ .incarnation = found.words[slot].incarnation });
    }
    return reaped;
}

/// Clears the bits of `slots` everywhere and frees what nobody holds then: one pass over the table.
pub fn takeBack(pool: *Pool, slots: Holders) lock.Error!Freed {
    var freed: Freed = .{};
    if (!slots.isEmpty()) {
        try pool.view.expectAll();
        try waiters.dropAll(&pool.view, slots);
    }
    for (0..pool.view.blocksUsed()) |i| {
        const index: BlockIndex = .of(@intCast(i));
        const block = &pool.view.blocks[i];
        const state = block.word.get().state;
        if (state != .used and state != .reserved and state != .cached) continue;
        const holders: Holders = .of(block);
        const rest = holders.without(slots);
        if (rest.isEmpty() and (state == .reserved or block.pins.get() == 0)) {
            // Nobody's, says the segment, and this member knows better.
            if (pool.view.isHeld(index) and !slots.has(pool.self.slot)) continue;
            if (state != .cached) freed.add(.{ .blocks = 1, .bytes = (try pool.view.extent(block)).bytes() });
            holding.freeBlock(pool, index) catch |err| return busyOrCorrupt(err);
            continue;
        }
        // Who cannot have the lock may clear his own at the same time: holding.disown().
        for (&block.of.holders, holders.words, rest.words) |*cell, before, after| if (before != after) cell.lower(before & ~after);
    }
    return freed;
}

/// Freeing a block fails in no other way.
fn busyOrCorrupt(err: Error) lock.Error {
    return if (err == error.Busy) error.Busy else error.Corrupt;
}

pub fn expireClaims(pool: *Pool, now_ms: u64) lock.Error!Freed {
    var freed: Freed = .{};
    if (pool.view.header.claims.get() == 0) return freed;
    for (0..pool.view.pinsUsed()) |i| {
        const pin = &pool.view.pins[i];
        if (pin.word.get().kind != .claim or pin.deadline_ms.get() > now_ms) continue;
        const index = pin.block.get();
        try pins.end(&pool.view, @enumFromInt(@as(u32, @intCast(i))));
        const bytes = (try pool.view.extent(try pool.view.block(index))).bytes();
        if (holding.freeIfUnheld(pool, index) catch |err| return busyOrCorrupt(err)) freed.add(.{ .blocks = 1, .bytes = bytes });
    }
    return freed;
}
