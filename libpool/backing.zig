//! The memory behind a pool: backed when the heap or one of its tables grows, given back by trim().
//!
//!     grow    take unbacked memory: reserved ── back it ── one store: used, or free
//!     trim    take a free run: reserved ── punch its whole pages ── one store: free
//!     table   back more of it ── under the lock: say so
//!
//!     prefault a held array's pages ── into this process's page tables
//!
//! Memory is backed and punched outside the lock, on blocks that are `reserved` by this member: should it die there, the
//! block is reaped like any other it held.

const std = @import("std");
const layout = @import("layout.zig");
const blocks = @import("blocks.zig");
const allocating = @import("allocating.zig");
const free_lists = @import("free_lists.zig");
const holding = @import("holding.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const View = @import("view.zig").View;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

// ---------------------------------------------------------------- the heap grows

/// Backs more of the heap: somewhat more than is asked for, as long as there is room; or else its pages; or else, where
/// its page is there already, just what is asked for.
pub fn grow(pool: *Pool, request: allocating.Request) Error!?allocating.Array {
    const geometry = pool.view.geometry;
    // A 128th of what it has grown by so far: so little is backed in vain, and growing stays rare.
    const most_bytes = std.math.clamp(geometry.capacity_bytes / 64, step_bytes_min, 1 << 20);
    const step: u32 = @intCast(std.math.clamp(pool.grown_bytes / 128, step_bytes_min, most_bytes) / layout.granule_bytes);
    if (try growRest(pool, request, step)) |array| return array;
    const generous = wholeSteps(@max(request.granules, step));
    const pages = layout.alignUp(request.granules, system.pageBytes() / layout.granule_bytes);
    var tried: u32 = 0;
    for ([_]u64{ generous, pages, request.granules }, 0..) |some, i| {
        const wanted: u32 = @intCast(@min(some, geometry.heap_granules));
        if (wanted == tried) continue;
        if (i == 0 and !system.hasRoom(pool.self.fd, @as(u64, wanted) * layout.granule_bytes)) continue;
        tried = wanted;
        if (try reserve(pool, wanted)) |reserved| {
            if (!try backReserved(pool, reserved, i == 0)) {
                pool.cause = .device;
            } else if (try publishGrown(pool, reserved, request)) |array| return array;
        }
    }
    return null;
}

/// What the heap grows by at least. With less, and with just the pages that an array lacks, there is less memory to spare, and
/// what is free has to be merged more often: which costs programs that make arrays of many sizes a tenth of their time.
const step_bytes_min = @max(32 << 10, system.pageBytes());

fn wholeSteps(granules: u32) u64 {
    return layout.alignUp(granules, step_bytes_min / layout.granule_bytes);
}

/// Before unbacked memory there may be a backed rest that is too small: then only what is lacking is backed.
fn growRest(pool: *Pool, request: allocating.Request, step: u32) Error!?allocating.Array {
    const reserved = try reserveBehindRest(pool, request, step) orelse return null;
    if (!try backReserved(pool, reserved, false)) return null;
    try acquireOrDisown(pool, reserved.index);
    defer pool.unlock();
    const block = try pool.view.block(reserved.index);
    var word = block.word.get();
    if (word.state != .reserved) return error.Corrupt;
    word.state = .free;
    word.backed = true;
    word.zero = reserved.was_zero;
    block.word.commit(word);
    try free_lists.putMerged(&pool.view, reserved.index);
    return allocating.takeAny(pool, request);
}

fn reserveBehindRest(pool: *Pool, request: allocating.Request, step: u32) Error!?Reserved {
    const view = &pool.view;
    try pool.acquire();
    defer pool.unlock();
    if (blocks.unusedEntries(view) < 2) return null;
    const index = try free_lists.find(view, false, @max(request.granules, step)) orelse return null;
    if (index == BlockIndex.of(0)) return null;
    const block = try view.block(index);
    const rest = try view.block(block.prev.get());
    const word = rest.word.get();
    if (word.state != .free or !word.backed or rest.of.links.list.get() != .runs) return null;
    if (request.zeroed and !word.zero) return null; // to clear all of it would take longer
    const has = (try view.extent(rest)).granules;
    if (has >= request.granules) return null;
    const lacking = wholeSteps(@max(request.granules - has, step));
    try free_lists.remove(view, index);
    if ((try view.extent(block)).granules > lacking) try allocating.cut(pool, index, @intCast(lacking));
    return try markReserved(pool, index);
}

/// A block that this member works on outside the lock: where it was when that was known to be sound, and what it said
/// before. While somebody may be backing it, it says no: should he die, trim() looks there.
pub const Reserved = struct {
    index: BlockIndex,
    extent: View.Extent,
    was_backed: bool,
    was_zero: bool,
};

/// Takes unbacked free memory to this member, so that it can be backed outside the lock.
pub fn reserve(pool: *Pool, granules: u32) Error!?Reserved {
    try pool.acquire();
    defer pool.unlock();
    if (blocks.unusedEntries(&pool.view) < 2) return null;
    const index = try allocating.takeRun(pool, false, granules) orelse return null;
    return try markReserved(pool, index);
}

fn markReserved(pool: *Pool, index: BlockIndex) Error!Reserved {
    const block = try pool.view.block(index);
    const extent = try pool.view.extent(block);
    try pool.view.expectApart(index, block, extent);
    holding.holdAlone(pool, block);
    const word = block.word.get();
    block.word.commit(.{ .generation = word.generation +% 1, .state = .reserved });
    return .{ .index = index, .extent = extent, .was_backed = word.backed, .was_zero = word.zero };
}

/// Puts memory behind a reserved block. When there is none left, the block is free again, and false is returned.
/// `has_room`: the caller has just looked whether there is any.
pub fn backReserved(pool: *Pool, reserved: Reserved, has_room: bool) Error!bool {
    const extent = reserved.extent;
    // What cannot fit does not take, for as long as it tries, what others could have. Pages at the ends may be backed.
    if (!has_room and reserved.was_zero and !system.hasRoom(pool.self.fd, extent.bytes() -| 2 * system.pageBytes())) {
        try freeReserved(pool, reserved.index, true);
        return false;
    }
    const offset = pool.view.geometry.heap_start + extent.offsetBytes();
    if (system.may_populate) system.touchHugePages(pool.view.heap, extent.offsetBytes(), extent.bytes());
    var failure: system.Failure = .{};
    if (system.back(pool.self.fd, offset, extent.bytes(), &failure)) |_| {
        pool.grown_bytes += extent.bytes();
        return true;
    } else |err| {
        pool.errno = failure.errno;
        const pages = Pages.inside(extent);
        if (pages.granules > 0) _ = punch(pool, pages); // what was backed before it failed
        try freeReserved(pool, reserved.index, reserved.was_zero and pages.granules == extent.granules);
        return if (err == error.NoSpace) false else error.System;
    }
}

fn freeReserved(pool: *Pool, index: BlockIndex, is_zero: bool) Error!void {
    try acquireOrDisown(pool, index);
    defer pool.unlock();
    const block = try pool.view.block(index);
    var word = block.word.get();
    if (word.state != .reserved) return error.Corrupt;
    word.zero = is_zero;
    block.word.commit(word);
    try holding.freeBlock(pool, index);
}

/// The lock, for one who has reserved a block. If it cannot be had, the next reap, of any member, frees the block.
fn acquireOrDisown(pool: *Pool, index: layout.BlockIndex) Error!void {
    errdefer holding.disown(pool, index.int());
    try pool.acquire();
}

/// Null when there is more than the array may keep, and no entry for the rest any more.
pub fn publishGrown(pool: *Pool, reserved: Reserved, request: allocating.Request) Error!?allocating.Array {
    try acquireOrDisown(pool, reserved.index);
    defer pool.unlock();
    const block = try pool.view.block(reserved.index);
    var word = block.word.get();
    if (word.state != .reserved) return error.Corrupt;
    word.backed = true;
    word.zero = reserved.was_zero;
    block.word.commit(word);
    if ((try pool.view.extent(block)).granules > request.granules) {
        if (blocks.unusedEntries(&pool.view) == 0) {
            pool.cause = .blocks;
            try holding.freeBlock(pool, reserved.index);
            return null;
        }
        try allocating.cut(pool, reserved.index, request.granules);
    }
    return try allocating.publishAt(pool, reserved.index, request);
}

// ---------------------------------------------------------------- the first touch

/// Of a part of a block that this member holds: saves the faults of writing to it for the first time. Outside the lock: it
/// changes only this process.
pub fn prefault(pool: *Pool, number: u32, offset_bytes: u64, length_bytes: u64) Error!void {
    if (!system.may_populate) return;
    if (!pool.view.isHeld(.of(number))) return error.NotHeld;
    const hold = &pool.view.holds[number];
    if (offset_bytes +| length_bytes > hold.lengthBytes()) return error.Argument;
    if (length_bytes >= prefault_bytes_min) system.populate(pool.view.heap + hold.offsetBytes() + offset_bytes, length_bytes);
}

/// Below that, the call takes what it saves.
const prefault_bytes_min = 64 << 10;

// ---------------------------------------------------------------- the tables grow

/// Backs more of the block table when it is nearly used up.
pub fn backTables(pool: *Pool) Error!void {
    const view = &pool.view;
    if (blocks.unusedEntries(view) >= 8) return;
    if (view.blocksBacked() == view.geometry.blocks_max) {
        pool.cause = .blocks;
        return;
    }
    backTable(pool, layout.blocks_start, @sizeOf(Block), &view.header.blocks_backed, view.blocksBacked(), view.geometry.blocks_max) catch |err|
        if (err != error.Full) return err; // a few entries may do
}

pub fn growPins(pool: *Pool) Error!void {
    const geometry = pool.view.geometry;
    if (pool.view.pinsBacked() == geometry.pins_max) {
        pool.cause = .claims;
        return error.Full;
    }
    try backTable(pool, geometry.pins_start, @sizeOf(layout.Pin), &pool.view.header.pins_backed, pool.view.pinsBacked(), geometry.pins_max);
}

/// Unless there are some, since it was found that there is none.
pub fn growWaiters(pool: *Pool) Error!void {
    if (pool.view.waiting.unused_waiters.get() != .none) return;
    const geometry = pool.view.geometry;
    const backed = pool.view.waitersBacked();
    if (backed == geometry.waiters_max) {
        pool.cause = .waiters;
        return error.Full;
    }
    try backTable(pool, geometry.waiters_start, @sizeOf(layout.Waiter), &pool.view.waiting.waiters_backed, backed, geometry.waiters_max);
}

pub fn growNames(pool: *Pool) Error!void {
    const geometry = pool.view.geometry;
    if (pool.view.namesBacked() == geometry.names_max) {
        pool.cause = .names;
        return error.Full;
    }
    try backTable(pool, geometry.names_start, @sizeOf(layout.Name), &pool.view.header.names_backed, pool.view.namesBacked(), geometry.names_max);
}

/// Outside the lock; backing twice does no harm.
fn backTable(pool: *Pool, table_start: u64, entry_bytes: u64, backed: *layout.Cell(u32), now: u32, entries_max: u32) Error!void {
    // A 32nd more each time, within 16 KiB and 4 MiB.
    const least = @max(16 << 10, system.pageBytes());
    const more = std.math.clamp(@as(u64, now) * entry_bytes / 32, least, 4 << 20);
    const more_entries: u32 = @intCast(layout.alignUp(more, least) / entry_bytes);
    const entries = @min(entries_max, now +| more_entries);
    const offset = table_start + @as(u64, now) * entry_bytes;
    var failure: system.Failure = .{};
    system.back(pool.self.fd, offset, @as(u64, entries - now) * entry_bytes, &failure) catch |err| {
        pool.errno = failure.errno;
        pool.cause = .device;
        return if (err == error.NoSpace) error.Full else error.System;
    };
    try pool.acquire();
    defer pool.unlock();
    if (entries > backed.get()) backed.commit(entries);
}

// ---------------------------------------------------------------- trim

/// Gives the memory behind free runs back to the system. Returns bytes.
pub fn trim(pool: *Pool) Error!u64 {
    try allocating.coalesce(pool); // or a page that lies in two runs would stay
    var bytes: u64 = 0;
    var from: u32 = 0;
    while (true) {
        try backTables(pool);
        const reserved = try reserveForTrim(pool, &from) orelse return bytes;
        const pages = Pages.inside(reserved.extent);
        const before = system.info(pool.self.fd);
        const punched = punch(pool, pages);
        const after = system.info(pool.self.fd);
        try freeReserved(pool, reserved.index, punched and pages.granules == reserved.extent.granules);
        if (!punched or before == null or after == null) return error.System;
        // Of a run that is not backed as a whole, only the system knows how much there was.
        bytes += if (reserved.was_backed) pages.bytes() else @min(pages.bytes(), before.?.backed_bytes -| after.?.backed_bytes);
    }
}

/// The whole pages of the next free run that may have memory, taken to this member. `from`: the entry to look at next.
fn reserveForTrim(pool: *Pool, from: *u32) Error!?Reserved {
    const view = &pool.view;
    try pool.acquire();
    defer pool.unlock();
    const used = view.blocksUsed();
    while (from.* < used) {
        var index: BlockIndex = .of(from.*);
        from.* += 1;
        const block = try view.block(index);
        const word = block.word.get();
        if (word.state != .free or (!word.backed and word.zero)) continue;
        if (block.of.links.list.get() != .runs) continue; // freed a moment ago
        const extent = try view.extent(block);
        const pages = Pages.inside(extent);
        if (pages.granules == 0) continue;
        try free_lists.remove(view, index);
        // Without entries for the ends, the run is punched as a whole.
        if (blocks.unusedEntries(view) >= 2) {
            if (pages.start > extent.start) {
                const head = index;
                index = blocks.split(view, head, pages.start - extent.start) catch return error.Corrupt;
                try free_lists.insert(view, head);
            }
            if (pages.granules < (try view.extent(try view.block(index))).granules) try allocating.cut(pool, index, pages.granules);
        }
        return try markReserved(pool, index);
    }
    return null;
}

/// The whole pages in an extent of the heap.
const Pages = struct {
    fn inside(extent: View.Extent) View.Extent {
        const page_granules = system.pageBytes() / layout.granule_bytes;
        const first = std.mem.alignForward(u64, extent.start, page_granules);
        const end = std.mem.alignBackward(u64, @as(u64, extent.start) + extent.granules, page_granules);
        return .{ .start = @intCast(first), .granules = @intCast(end -| first) };
    }
};

/// Takes the memory from behind whole pages that this member has reserved.
fn punch(pool: *Pool, pages: View.Extent) bool {
    return system.punch(pool.self.fd, pool.view.geometry.heap_start + pages.offsetBytes(), pages.bytes());
}
