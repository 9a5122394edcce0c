//! Holding and letting go.
//!
//!     attach    shared, and generation right? ── holder bit ── one off the claim
//!     release   never shared: into the own cache, without the lock; or else under it
//!               the last holder: into the own cache what it has allocated; or else one store: free ── merge
//!               others clear their bit
//!
//! How often a member holds a block it counts for itself, in its `Hold` (view.zig); the segment has one bit for it. Where the
//! host shows a block through buffers, they are counted too, and a block is lent until the last of them is gone; but for a
//! spare one, which the host has taken back from whoever saw it.

const layout = @import("layout.zig");
const cache = @import("cache.zig");
const allocating = @import("allocating.zig");
const free_lists = @import("free_lists.zig");
const pinning = @import("pinning.zig");
const pins = @import("pins.zig");
const queue_file = @import("queue.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const View = @import("view.zig").View;
const Holders = @import("view.zig").Holders;
const Hold = @import("view.zig").Hold;
const Buffers = @import("view.zig").Buffers;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

// ---------------------------------------------------------------- holding

pub const Attached = enum(i32) { newly = 0, again = 1 };

/// Holds what a descriptor names. Takes one off its claim if it names one, unless this member held the block already.
pub fn attach(pool: *Pool, number: u32, generation: u64, claim: u64) Error!Attached {
    try pool.acquire();
    defer pool.unlock();
    const attached = try attachLocked(pool, number, generation, claim);
    show(pool, .of(number));
    return attached;
}

/// The same; no buffer is counted.
pub fn attachLocked(pool: *Pool, number: u32, generation: u64, claim: u64) Error!Attached {
    const view = &pool.view;
    const index: BlockIndex = .of(number);
    if (number >= view.header.blocks_used.get() or !view.isBacked(index)) return error.Stale;
    const attached = try takeHold(pool, index, generation);
    // Bit first, then claim: a crash between leaks a claim, which expires.
    // A broken claim is no reason to refuse what is held now; it expires.
    if (attached == .newly and claim != 0) {
        if (pins.findClaim(view, claim, index, @intCast(generation))) |pin| pins.takeOff(view, pin, 1) catch {};
    }
    return attached;
}

/// Holds a block once more, under the lock. No buffer is counted.
pub fn takeHold(pool: *Pool, index: BlockIndex, generation: u64) Error!Attached {
    const view = &pool.view;
    const block = try view.blockHot(index);
    const word = block.word.acquire(); // pairs with the exchangeIf in pinning.share()
    if (word.state != .used or word.generation != generation or !word.shared) return error.Stale;
    const newly = !view.isHeldHot(index);
    const hold = view.holdOf(index);
    if (newly) {
        const extent = try view.extentHot(block);
        const length_bytes = try View.lengthIn(block, extent);
        try view.expectApart(index, block, extent);
        if (view.briefs[index.int()].is == .listed) pool.cache.forget(view, index);
        hold.word = word;
        hold.tail_bytes = @truncate(extent.bytes() - length_bytes);
        hold.start = extent.start;
        hold.granules = extent.granules;
        hold.is_allocated = false;
        // Who cannot have the lock may clear his own at the same time: disown().
        block.of.holders[pool.self.slot / 64].raise(Holders.bit(pool.self.slot));
    } else try view.expectAsHeld(index);
    hold.holds += 1;
    const attaches = &view.members[pool.self.slot].attaches;
    attaches.set(attaches.get() +% 1);
    return if (newly) .newly else .again;
}

/// Undoes an attachLocked() before anybody has seen what it gave.
pub fn detachLocked(pool: *Pool, number: u32) void {
    const hold = held(pool, number) catch return;
    hold.holds -= 1;
    if (hold.holds > 0) return;
    if (isSeen(pool, number)) {
        hold.lent = true;
        return;
    }
    dropBitAny(pool, number) catch {};
    ended(pool, number);
}

/// Holds once more what this member holds already; no business of the others.
pub fn retain(pool: *Pool, number: u32) Error!void {
    const hold = try held(pool, number);
    hold.holds += 1;
    show(pool, .of(number));
}

pub inline fn held(pool: *Pool, number: u32) Error!*Hold {
    return holdOn(pool, number) orelse error.NotHeld;
}
fn holdOn(pool: *Pool, number: u32) ?*Hold {
    if (number >= pool.view.geometry.blocks_max) return null;
    const hold = pool.view.holdOf(.of(number));
    return if (hold.holds == 0) null else hold;
}

/// A block for a host that writes where its arrays were made: held like any, but no array; nobody sees it through a buffer
/// that is counted.
pub fn openTrace(pool: *Pool, length_bytes: u64) Error!BlockIndex {
    const index = try allocating.allocInner(pool, length_bytes, true);
    const content = &pool.view.blocks[index.int()].content;
    content.set(content.get().as(layout.Kind.trace));
    try showNothing(pool, index.int());
    return index;
}

// ---------------------------------------------------------------- what the host shows

/// The host is about to make a buffer on a block that it holds, for which none was counted.
pub fn showHeld(pool: *Pool, number: u32) Error!void {
    _ = try held(pool, number);
    show(pool, .of(number));
}

/// The host is about to make a buffer on the block.
pub noinline fn show(pool: *Pool, index: BlockIndex) void {
    if (!pool.options.counts_buffers) return;
    const member = &pool.view.members[pool.self.slot];
    const buffers = &pool.view.buffers[index.int()];
    buffers.all_gone = &member.buffers_gone;
    member.buffers_shown.set(member.buffers_shown.get() +% 1);
    buffers.shown += 1;
    pool.record[Pool.unmade_at] = @floatFromInt(@as(i64, index.int()) + 1);
}

/// It has not made it.
fn unshow(pool: *Pool, buffers: *Buffers) void {
    const member = &pool.view.members[pool.self.slot];
    pool.record[Pool.unmade_at] = 0;
    buffers.shown -= 1;
    member.buffers_shown.set(member.buffers_shown.get() -% 1);
}

/// No buffer is made for the last hold. Both the library and its host may say so of a channel: never less than none, nor than
/// the spare, nor than those that are gone.
pub fn showNothing(pool: *Pool, number: u32) Error!void {
    const hold = try held(pool, number);
    const buffers = &pool.view.buffers[number];
    if (buffers.areSeen(hold)) unshow(pool, buffers);
}

/// Whether somebody may still see the block through a buffer. Only private memory is read.
noinline fn isSeen(pool: *const Pool, number: u32) bool {
    return pool.view.buffers[number].areSeen(&pool.view.holds[number]);
}
/// Through how many buffers, for any number.
pub fn buffersSeen(pool: *const Pool, number: u32) u32 {
    if (number >= pool.view.geometry.blocks_max) return 0;
    return pool.view.buffers[number].seen(&pool.view.holds[number]);
}

/// The spare buffer on a block, if there is one, is none any more: it stands for that of the last hold from here on, for which
/// none is made; or it is about to go.
pub fn spare(pool: *Pool, number: u32, is_used: bool) void {
    if (number >= pool.view.geometry.blocks_max) return;
    const hold = &pool.view.holds[number];
    if (!hold.has_spare) return;
    hold.has_spare = false;
    if (is_used) unshow(pool, &pool.view.buffers[number]);
}

// ---------------------------------------------------------------- letting go

pub const Released = enum(i32) { gone = 0, held = 1, lent = 2 };
/// What a hold was shown by. A `spare` buffer is left of that, which the host alone sees.
pub const Shown = enum { nothing, buffer, spare };

/// Lets go once. With error.Busy nothing has changed. In place, for the one who calls it from outside.
pub inline fn release(pool: *Pool, number: u32, shown: bool) Error!Released {
    return if (releasePlain(pool, number)) .gone else releaseAny(pool, number, if (shown) .buffer else .nothing);
}

/// The way most releases go: held plainly, and there is room in the cache. False, and nothing done, if it is not.
pub inline fn releasePlain(pool: *Pool, number: u32) bool {
    if (number >= pool.view.geometry.blocks_max) return false;
    const brief = pool.view.briefs[number];
    if (brief.is != .plain or !pool.cache.hasRoom(brief.granules) or !pool.isTrusted()) return false;
    pool.cache.keep(&pool.view, .of(number), brief.granules);
    return true;
}

pub fn releaseAny(pool: *Pool, number: u32, shown: Shown) Error!Released {
    return releaseBy(pool, number, shown, true);
}
/// For what allocating.allocInner() gave, or others know of: never into the cache.
pub fn releaseInner(pool: *Pool, number: u32, shown: bool) Error!Released {
    return releaseBy(pool, number, if (shown) .buffer else .nothing, false);
}

noinline fn releaseBy(pool: *Pool, number: u32, shown: Shown, may_be_cached: bool) Error!Released {
    const hold = try held(pool, number);
    const counts_buffers = pool.options.counts_buffers;
    const buffers = &pool.view.buffers[number];
    const is_unshown = counts_buffers and shown == .nothing;
    if (shown == .spare) hold.has_spare = true;
    if (hold.holds > 1) {
        hold.holds -= 1;
        if (is_unshown) unshow(pool, buffers);
        return .held;
    }
    if (counts_buffers and buffers.areMore(@as(u32, @intFromBool(is_unshown)) + @intFromBool(hold.has_spare))) {
        hold.holds = 0;
        hold.lent = true;
        if (is_unshown) unshow(pool, buffers);
        return .lent;
    }
    const released = try if (may_be_cached) letGo(pool, number, hold) else letGoShared(pool, number, hold);
    if (is_unshown) unshow(pool, buffers);
    if (counts_buffers) buffers.end(hold);
    return released;
}

/// The last hold ends.
inline fn letGo(pool: *Pool, number: u32, hold: *Hold) Error!Released {
    const kept: cache.Cache.Put = if (pool.isTrusted()) pool.cache.put(&pool.view, .of(number)) else .not_for_it;
    if (kept != .kept) letGoLocked(pool, number, kept == .no_room) catch |err| return endedUnlessBusy(pool, number, err);
    hold.end();
    return .gone;
}

inline fn letGoShared(pool: *Pool, number: u32, hold: *Hold) Error!Released {
    dropBitLocked(pool, number) catch |err| return endedUnlessBusy(pool, number, err);
    hold.end();
    return .gone;
}

noinline fn letGoLocked(pool: *Pool, number: u32, no_room: bool) Error!void {
    if (!no_room) return dropBit(pool, number);
    try makeRoom(pool, pool.view.holds[number].granules);
    if (pool.cache.put(&pool.view, .of(number)) != .kept) try dropBitLocked(pool, number);
}

noinline fn makeRoom(pool: *Pool, granules: u32) Error!void {
    try pool.acquire();
    defer pool.unlock();
    try pool.cache.makeRoom(&pool.view, granules);
}

/// In a damaged segment the block may stay as it is, but this member is done with it.
fn endedUnlessBusy(pool: *Pool, number: u32, err: Error) Error {
    @branchHint(.cold);
    if (err == error.Busy) return err;
    ended(pool, number);
    return err;
}

/// Nobody holds or sees the block by this member any more.
noinline fn ended(pool: *Pool, number: u32) void {
    const hold = &pool.view.holds[number];
    hold.end();
    if (pool.options.counts_buffers) pool.view.buffers[number].end(hold);
}

/// Lets go of a lent block when the last buffer on it is gone.
pub fn settle(pool: *Pool, number: u32) Error!Released {
    if (number >= pool.view.geometry.blocks_max) return error.NotHeld;
    const hold = &pool.view.holds[number];
    if (hold.holds > 0) return .held; // again
    if (!hold.lent) return .gone; // settled before
    if (isSeen(pool, number)) return .lent;
    dropBitLocked(pool, number) catch |err| return endedUnlessBusy(pool, number, err);
    ended(pool, number);
    return .gone;
}

/// For a block that no host knows of, and shows.
pub fn letGoAnyway(pool: *Pool, number: u32) void {
    _ = releaseInner(pool, number, true) catch |err| {
        if (err != error.Busy) return;
        ended(pool, number);
        disown(pool, number);
    };
}

/// Lets go of a block of which nobody else will store that this member holds it, where the lock cannot be had: from now on it is for
/// any member's next reap, if nobody else has it.
pub fn disown(pool: *Pool, number: u32) void {
    if (!pool.isTrusted()) return; // of who was taken for dead the bit is another's
    const left = &pool.view.header.left;
    left.add(layout.Header.left_begun); // first: nothing is nobody's without a word of it
    pool.view.blocks[number].of.holders[pool.self.slot / 64].lower(Holders.bit(pool.self.slot));
    left.add(1);
}

// ---------------------------------------------------------------- the bit in the segment, and the end of a block

pub fn holdAlone(pool: *Pool, block: *Block) void {
    inline for (&block.of.holders) |*cell| cell.set(0);
    block.of.holders[pool.self.slot / 64].set(Holders.bit(pool.self.slot));
}

fn heldByOthers(pool: *Pool, block: *Block) bool {
    const mine = pool.self.slot / 64;
    var others = block.of.holders[mine].get() & ~Holders.bit(pool.self.slot);
    inline for (&block.of.holders, 0..) |*cell, word| {
        if (word != mine) others |= cell.get();
    }
    return others != 0;
}

inline fn dropBit(pool: *Pool, number: u32) Error!void {
    try pool.acquireHot();
    defer pool.unlockHot();
    if (!freeWarm(pool, number)) try dropBitAny(pool, number);
}

fn dropBitLocked(pool: *Pool, number: u32) Error!void {
    try pool.acquire();
    defer pool.unlock();
    try dropBitAny(pool, number);
}

/// The way most releases go, as allocating.takeWarm(): the last hold of a small block. False, and nothing done, if it is not.
inline fn freeWarm(pool: *Pool, number: u32) bool {
    const lists = pool.view.lists;
    const table = pool.view.blocks;
    const known = pool.view.blocks_known;
    if (number >= known) return false;
    const block = &table[number];
    const word = block.word.get();
    const next = block.next.get();
    if (word.state != .used or block.pins.get() != 0 or heldByOthers(pool, block) or next.int() >= known) return false;
    if (block.content.get().kind == layout.Kind.channel) return false;
    const hold = &pool.view.holds[number];
    const start = block.start.get();
    const granules = table[next.int()].start.get() -% start;
    if (word != hold.word or start != hold.start or granules != hold.granules) return false;
    // Nobody else has it now, and nobody can attach it any more: as good as never shared. Whoever only attached it leaves it to
    // those who allocate.
    if (hold.is_allocated and granules <= cache.granules_max and pool.cache.hasRoom(granules)) {
        hold.word.shared = false;
        pool.cache.keep(&pool.view, .of(number), granules);
        return true;
    }
    if (granules > layout.quick_granules_max) return false;
    const quick_granules = lists.quick_granules.get() +| granules;
    if (quick_granules > free_lists.quickLimit(&pool.view)) return false;

    var free = word;
    free.state = .free;
    free.shared = false;
    block.word.commit(free);
    const head = &lists.quick[granules];
    block.of.links.next.set(head.get());
    block.of.links.list.set(.quick);
    head.set(.of(number));
    lists.quick_granules.set(quick_granules);
    return true;
}

noinline fn dropBitAny(pool: *Pool, number: u32) Error!void {
    try pool.view.expectBlocks();
    try pool.view.expectAsHeld(.of(number));
    const block = try pool.view.blockHot(.of(number));
    if (block.pins.get() == 0 and !heldByOthers(pool, block)) return freeBlock(pool, .of(number));
    // Others may do so without the lock: see disown().
    block.of.holders[pool.self.slot / 64].lower(Holders.bit(pool.self.slot));
}

/// Frees a block that nobody holds any more: true with the first store.
pub fn freeBlock(pool: *Pool, index: BlockIndex) Error!void {
    const block = try pool.view.block(index);
    _ = try pool.view.extent(block);
    var word = block.word.get();
    if (word.state == .used and block.content.get().kind == layout.Kind.channel) {
        // With the channel its messages are gone. What they held is freed first: no free block may be in no list meanwhile.
        const queue = try queue_file.queueIn(&pool.view, block);
        if (queue) |found| try pinning.expectReadable(pool, &found);
        word.state = .reserved;
        block.word.commit(word);
        // It was readable a moment ago. If it is not any more, what a message held stays until the next recovery: but there is no way
        // back from here.
        if (queue) |found| pinning.endMessages(pool, &found) catch |err| {
            if (system.is_always_readable or err != error.Busy) return err;
        };
    }
    word.state = .free; // what it says of zeros stays true: a block in use never says yes
    word.shared = false;
    block.word.commit(word);
    try free_lists.put(&pool.view, index);
}

pub fn freeIfUnheld(pool: *Pool, index: BlockIndex) Error!bool {
    const block = try pool.view.block(index);
    if (block.word.get().state != .used or block.pins.get() != 0 or !Holders.of(block).isEmpty()) return false;
    if (pool.view.isHeld(index)) return error.Corrupt;
    freeBlock(pool, index) catch |err| {
        if (system.is_always_readable or err != error.Busy) return err;
        // What held it has ended all the same: the next reap frees what nobody holds.
        pool.view.header.left.add(layout.Header.left_begun + 1);
        return false;
    };
    return true;
}
