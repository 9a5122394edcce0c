//! Allocating: a member takes a block for an array, the cheapest way first.
//!
//!     out of the own cache    without the lock (cache.zig)
//!     out of the free lists   a free block ── split off the rest ── holder bit ── one store: used
//!     slowly                  merge what is unmerged, back more (backing.zig), reap (reaping.zig), trim
//!
//! With its one store, the block's word, the block is this member's array. Whoever dies before has changed nothing that
//! counts; whoever dies after it is reaped like any other holder.

const std = @import("std");
const layout = @import("layout.zig");
const blocks = @import("blocks.zig");
const cache = @import("cache.zig");
const backing = @import("backing.zig");
const free_lists = @import("free_lists.zig");
const holding = @import("holding.zig");
const pool_file = @import("pool.zig");
const View = @import("view.zig").View;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const Request = struct {
    length_bytes: u64,
    granules: u32,
    dtype: u8,
    zeroed: bool,
};

/// The rest is in its hold.
pub const Array = struct {
    index: BlockIndex,
    /// Its bytes are zeros already.
    is_zero: bool,
};

/// Allocates, and holds it.
pub fn alloc(pool: *Pool, length_bytes: u64, dtype: u8, zeroed: bool) Error!Array {
    return allocWithRoom(pool, length_bytes, dtype, zeroed, 0);
}
/// The same with `room_bytes` behind the array, at most `room_bytes_max`, and what the record has for it there.
pub fn allocWithRoom(pool: *Pool, length_bytes: u64, dtype: u8, zeroed: bool, room_bytes: u32) Error!Array {
    const request = try requestOf(pool, length_bytes, dtype, zeroed, room_bytes);
    const array = takeCached(pool, request) orelse try allocLocked(pool, request);
    if (zeroed and !array.is_zero) zero(pool.view.heap + pool.view.holds[array.index.int()].offsetBytes(), length_bytes);
    if (room_bytes > 0) writeTail(pool, array.index, room_bytes);
    return array;
}
/// For those who look, and nobody relies on it: plain bytes, and of this generation.
noinline fn writeTail(pool: *Pool, index: BlockIndex, room_bytes: u32) void {
    const hold = &pool.view.holds[index.int()];
    var bytes = std.mem.asBytes(&pool.record)[Pool.tail_at * @sizeOf(f64) ..][0..layout.room_bytes_max].*;
    const first = std.mem.readInt(u32, bytes[0..4], .little);
    std.mem.writeInt(u32, bytes[0..4], first ^ @as(u32, @truncate(hold.word.generation)), .little);
    @memcpy(pool.view.heap + hold.offsetBytes() + hold.lengthBytes(), bytes[0..room_bytes]);
}
/// For what is no array, and is allocated now and then: never out of the cache.
pub noinline fn allocInner(pool: *Pool, length_bytes: u64, zeroed: bool) Error!BlockIndex {
    const array = try allocLocked(pool, try requestOf(pool, length_bytes, 0, zeroed, 0));
    if (zeroed and !array.is_zero) zero(pool.view.heap + pool.view.holds[array.index.int()].offsetBytes(), length_bytes);
    return array.index;
}

fn requestOf(pool: *const Pool, length_bytes: u64, dtype: u8, zeroed: bool, room_bytes: u32) Error!Request {
    const at_least: u64 = @max(1, length_bytes) +| room_bytes;
    if (at_least > pool.view.geometry.capacity_bytes) return error.TooLarge;
    const granules = (at_least + layout.granule_bytes - 1) / layout.granule_bytes;
    return .{ .length_bytes = length_bytes, .granules = @intCast(granules), .dtype = dtype, .zeroed = zeroed };
}

/// Not in place: so the way without the lock needs few registers.
noinline fn allocLocked(pool: *Pool, request: Request) Error!Array {
    return try takeBacked(pool, request) orelse try allocSlowly(pool, request);
}

/// The way most allocations go: a block of about that size was let go of a moment ago. Null where that is not so.
pub inline fn allocPlain(pool: *Pool, length_bytes: u32, dtype: u8) ?cache.Cache.Taken {
    if (!pool.isTrusted()) return null;
    const at_least: u32 = @max(1, length_bytes);
    const granules = (at_least + layout.granule_bytes - 1) / layout.granule_bytes;
    const size = pool.cache.sizeFor(granules) orelse return null;
    const taken = pool.cache.takeOf(&pool.view, size) orelse return null;
    setLength(taken, size, length_bytes, dtype, pool.clock.born);
    pool.view.briefs[taken.index.int()] = .{ .granules = @intCast(size), .is = .plain };
    return taken;
}

/// After allocPlain(), which has taken the time for what it was last. At the end of all: so little is needed after the clock was
/// asked, and few registers have to be kept.
pub inline fn stamp(pool: *Pool, index: BlockIndex) void {
    if (pool.clock.isOver()) stampAnew(pool, index);
}
noinline fn stampAnew(pool: *Pool, index: BlockIndex) void {
    const tail_bytes = pool.view.holds[index.int()].tail_bytes;
    pool.view.blocks[index.int()].tail.set(.of(tail_bytes, pool.clock.now()));
}

/// The same for all.
fn takeCached(pool: *Pool, request: Request) ?Array {
    if (!pool.isTrusted()) return null;
    const taken = pool.cache.take(&pool.view, request.granules) orelse return null;
    setLength(taken, taken.hold.granules, @intCast(request.length_bytes), request.dtype, pool.clock.now());
    holdNew(pool, taken.index, taken.hold.granules);
    return .{ .index = taken.index, .is_zero = false };
}

/// After it was taken, or it might be another's. Until then they are of the array before, in the same extent.
inline fn setLength(taken: cache.Cache.Taken, granules: u32, length_bytes: u32, dtype: u8, born: u24) void {
    const tail_bytes = granules * layout.granule_bytes - length_bytes;
    taken.hold.tail_bytes = tail_bytes;
    taken.block.tail.set(.of(tail_bytes, born));
    taken.block.content.set(.of(dtype, tail_bytes));
}

/// The first hold on a block that was allocated.
inline fn holdNew(pool: *Pool, index: BlockIndex, granules: u32) void {
    if (!pool.options.counts_buffers and granules <= cache.granules_max) {
        pool.view.briefs[index.int()] = .{ .granules = @intCast(granules), .is = .plain };
        return;
    }
    pool.view.briefs[index.int()] = .{};
    pool.view.holds[index.int()].holds = 1;
    holding.show(pool, index);
}

/// An array out of backed free memory; null when there is none.
inline fn takeBacked(pool: *Pool, request: Request) Error!?Array {
    try pool.acquireHot();
    defer pool.unlockHot();
    return takeWarm(pool, request) orelse try takeAny(pool, request);
}

/// The way most others go: a block of just that size was freed a moment ago, and is where this member saw it last.
/// Everything is read once, into registers; whatever is not as usual is for takeAny() to find out.
inline fn takeWarm(pool: *Pool, request: Request) ?Array {
    if (request.granules > layout.quick_granules_max) return null;
    const lists = pool.view.lists;
    const table = pool.view.blocks;
    const known = pool.view.blocks_known;
    const head = &lists.quick[request.granules];
    const index = head.get();
    if (index.int() >= known) return null;
    const block = &table[index.int()];
    const word = block.word.get();
    const next = block.next.get();
    if (word.state != .free or !word.backed or next.int() >= known) return null;
    const start = block.start.get();
    if (table[next.int()].start.get() -% start != request.granules) return null;
    const hold = &pool.view.holds[index.int()];
    if (pool.view.isHeldHot(index) or hold.start != start or hold.granules != request.granules) return null;
    if (block.of.links.list.get() != .quick) return null;

    const following = block.of.links.next.get();
    head.set(following);
    if (following.int() < known) { // most likely the next allocation's
        @prefetch(&table[following.int()], .{ .rw = .write });
        @prefetch(&pool.view.holds[following.int()], .{ .rw = .write });
    }
    lists.quick_granules.set(lists.quick_granules.get() -| request.granules);
    const extent: View.Extent = .{ .start = start, .granules = request.granules };
    return publish(pool, index, block, extent, word, request);
}

pub noinline fn takeAny(pool: *Pool, request: Request) Error!?Array {
    try pool.view.expectBlocks();
    const index = try free_lists.takeQuick(&pool.view, request.granules) orelse
        try takeRun(pool, true, request.granules) orelse return null;
    return try publishAt(pool, index, request);
}

pub fn publishAt(pool: *Pool, index: BlockIndex, request: Request) Error!Array {
    const block = try pool.view.blockHot(index);
    const extent = try pool.view.extentHot(block);
    const word = block.word.get();
    if (extent.granules < request.granules or (word.state != .free and word.state != .reserved)) return error.Corrupt;
    try pool.view.expectApart(index, block, extent);
    return publish(pool, index, block, extent, word, request);
}

/// The end of an allocation: the block becomes this member's array with one store.
fn publish(pool: *Pool, index: BlockIndex, block: *Block, extent: View.Extent, word: layout.BlockWord, request: Request) Array {
    const generation = if (word.state == .reserved) word.generation else word.generation +% 1;
    // Nobody reads these of a block that is not in use.
    const tail_bytes: u32 = @truncate(extent.bytes() - request.length_bytes);
    block.tail.set(.of(tail_bytes, pool.clock.now()));
    block.content.set(.of(request.dtype, tail_bytes));
    holding.holdAlone(pool, block);
    const used: layout.BlockWord = .{ .generation = generation, .state = .used, .backed = true };
    block.word.commit(used);
    const hold = &pool.view.holds[index.int()];
    if (pool.view.briefs[index.int()].is == .listed) pool.cache.forget(&pool.view, index);
    hold.word = used;
    hold.tail_bytes = tail_bytes;
    hold.start = extent.start;
    hold.granules = extent.granules;
    hold.is_allocated = true;
    holdNew(pool, index, extent.granules);
    return .{ .index = index, .is_zero = word.zero };
}

/// Takes exactly `granules` off a free run; null when there is none, or no entry for a split.
pub noinline fn takeRun(pool: *Pool, backed: bool, granules: u32) Error!?BlockIndex {
    const view = &pool.view;
    const index = try free_lists.find(view, backed, granules) orelse return null;
    if (blocks.unusedEntries(view) == 0) return null;
    try free_lists.remove(view, index);
    if ((try view.extent(try view.block(index))).granules > granules) try cut(pool, index, granules);
    return index;
}

/// Gives what is beyond `granules` of an unlisted block back to the runs.
pub fn cut(pool: *Pool, index: BlockIndex, granules: u32) Error!void {
    const rest = blocks.split(&pool.view, index, granules) catch |err| switch (err) {
        error.Corrupt => return error.Corrupt,
        error.NoEntry => return error.Corrupt, // the caller looked before
    };
    try free_lists.insert(&pool.view, rest);
}

/// No backed memory fits: back more, and where there is none, look for what can be had back, the cheap ways first.
noinline fn allocSlowly(pool: *Pool, request: Request) Error!Array {
    pool.cause = .none;
    if (try takeOrGrow(pool, request)) |array| return array;
    try coalesce(pool); // and what the members have cached
    if (try takeOrGrow(pool, request)) |array| return array;
    if ((try pool.reap()).freed.blocks > 0) {
        try coalesce(pool);
        if (try takeOrGrow(pool, request)) |array| return array;
    }
    // /dev/shm is full, but this pool may keep some of it behind runs that are too small.
    if (pool.cause == .device) {
        _ = try pool.trim();
        try coalesce(pool);
        if (try takeOrGrow(pool, request)) |array| return array;
    }
    if (pool.cause == .none) pool.cause = .heap;
    return error.Full;
}

pub fn coalesce(pool: *Pool) Error!void {
    try pool.acquire();
    defer pool.unlock();
    try takeBackCached(pool);
    try free_lists.coalesce(&pool.view);
}

/// Frees what members have cached and not taken again in the meantime: one pass over the table.
fn takeBackCached(pool: *Pool) Error!void {
    for (0..pool.view.blocksUsed()) |i| {
        const block = &pool.view.blocks[i];
        const word = block.word.get();
        if (word.state != .cached or !cache.takeBack(block, word)) continue;
        try free_lists.put(&pool.view, .of(@intCast(i)));
    }
}

fn takeOrGrow(pool: *Pool, request: Request) Error!?Array {
    try backing.backTables(pool);
    if (try takeUnmerged(pool, request)) |array| return array;
    const array = try backing.grow(pool, request) orelse return null;
    // Who asks for no zeros writes over all of it next, and nobody has touched it so far.
    if (!request.zeroed) try backing.prefault(pool, array.index.int(), 0, request.length_bytes);
    return array;
}

/// Memory that waits unmerged in quick lists, and in this member's cache, is used up before the pool grows.
fn takeUnmerged(pool: *Pool, request: Request) Error!?Array {
    try pool.acquire();
    defer pool.unlock();
    if (try takeAny(pool, request)) |array| return array;
    if (!try pool.cache.freeLarger(&pool.view, request.granules)) {
        // Also where it is less than the array: merged, it may be what is lacking.
        const worth_it = std.math.clamp(pool.grown_bytes / 32, 16 << 10, 256 << 10) / layout.granule_bytes;
        const unmerged = pool.view.lists.quick_granules.get() +| pool.cache.granules;
        if (unmerged < worth_it) return null;
        // What is far smaller stays in the cache: it would hardly be a part of what is lacking, and each that is to be there
        // again comes by way of the lock.
        try pool.cache.freeFrom(&pool.view, request.granules / 64);
    }
    try free_lists.flush(&pool.view);
    return takeAny(pool, request);
}

/// Zeros for memory that is known to be written to soon.
fn zero(start: [*]u8, bytes: u64) void {
    if (@import("builtin").cpu.arch == .x86_64) {
        var end: [*]u8 = undefined;
        var left: u64 = undefined;
        asm volatile ("rep stosb"
            : [end] "={rdi}" (end),
              [left] "={rcx}" (left),
            : [start] "{rdi}" (start),
              [bytes] "{rcx}" (bytes),
              [value] "{al}" (@as(u8, 0)),
            : .{ .memory = true });
    } else @memset(start[0..bytes], 0);
}
