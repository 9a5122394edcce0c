//! Waiters: who waits for which word of the segment. Each is a record: a member's own one, in its slot, for one who blocks, or one
//! of the table. waiting.zig says how they are used; but for `Place` and the fence, all here runs under the lock.
//!
//! Invariants:
//!   - A waiter's `word` is the truth; lists and counts are derived. In the list of a bucket are those that are `waiting` or `over`,
//!     in the order in which they came.
//!   - A bucket counts whoever waits for a word of it, or was notified and has not seen it (blocking ones: waits). It is
//!     counted before the waiter looks at its word (enlist).
//!   - A member's doorbell has a list of those of its waiters in the table that are `notified`; `ready` says whose is not empty.

const std = @import("std");
const builtin = @import("builtin");
const layout = @import("layout.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Census = @import("recovery.zig").Census;
const What = @import("broken.zig").What;
const Holders = @import("view.zig").Holders;
const Waiter = layout.Waiter;
const WaiterIndex = layout.WaiterIndex;

/// Bytes from the start of the segment to a 32-bit word. For the caller to make sure of: aligned, inside, and backed for as
/// long as anybody waits there.
pub const Place = enum(u64) {
    _,

    pub fn of(view: *const View, pointer: *const anyopaque) Place {
        return @enumFromInt(@intFromPtr(pointer) - @intFromPtr(view.header));
    }
    pub inline fn word(place: Place, view: *const View) *const u32 {
        return @ptrFromInt(@intFromPtr(view.header) + @intFromEnum(place));
    }
    pub noinline fn bucket(place: Place, view: *const View) *layout.Bucket {
        return place.bucketHot(view);
    }
    /// In place, where it is worth its size.
    pub inline fn bucketHot(place: Place, view: *const View) *layout.Bucket {
        // As JavaScript reckons, too (core/wait.ts).
        const hash = @as(u32, @truncate(@intFromEnum(place) >> 2)) *% layout.bucket_factor;
        return &view.waiting.buckets[hash >> (32 - comptime std.math.log2(layout.buckets_max))];
    }
};

/// What was stored before it is seen by whoever this one does not see: pairs with another such fence.
pub inline fn fullFence() void {
    switch (builtin.cpu.arch) {
        // Cheaper than mfence.
        .x86_64 => asm volatile ("lock orl $0, -8(%%rsp)" ::: .{ .memory = true, .cc = true }),
        .aarch64 => asm volatile ("dmb ish" ::: .{ .memory = true }),
        else => @compileError("no fence known"),
    }
}

// ---------------------------------------------------------------- lists

/// Puts a waiter that is in no list at the end of its bucket's, if the word is `expected`.
pub fn enlist(view: *const View, index: WaiterIndex, slot: u8, place: Place, expected: u32) Corrupt!bool {
    const waiter = try view.waiter(index);
    const bucket = place.bucket(view);
    waiter.place.set(@intFromEnum(place));
    countOne(bucket);
    fullFence(); // pairs with the fence in waiting.notify()
    if (@atomicLoad(u32, place.word(view), .acquire) != expected) {
        uncountOne(view, waiter);
        return false;
    }
    try link(view, index, waiter, bucket);
    waiter.word.commit(.{ .state = .waiting, .slot = slot });
    return true;
}

fn link(view: *const View, index: WaiterIndex, waiter: *Waiter, bucket: *layout.Bucket) Corrupt!void {
    const last = bucket.last.get();
    waiter.next.set(.none);
    waiter.prev.set(last);
    if (last == .none) bucket.first.set(index) else (try view.waiter(last)).next.set(index);
    bucket.last.set(index);
}

/// Takes a waiter out of its bucket's list. One of the table that was notified stays counted.
pub fn unlink(view: *const View, index: WaiterIndex) Corrupt!void {
    const waiter = try view.waiter(index);
    const bucket = bucketOf(view, waiter);
    const prev = waiter.prev.get();
    const next = waiter.next.get();
    if (prev == .none) bucket.first.set(next) else (try view.waiter(prev)).next.set(next);
    if (next == .none) bucket.last.set(prev) else (try view.waiter(next)).prev.set(prev);
    waiter.next.set(.none);
    waiter.prev.set(.none);
    if (waiter.word.get().state != .notified or index.entry() == null) uncountOne(view, waiter);
}

pub fn makeReady(view: *const View, index: WaiterIndex, waiter: *Waiter, slot: u8) Corrupt!void {
    const doorbell = &view.waiting.doorbells[slot];
    const last = doorbell.last_ready.get();
    waiter.next_ready.set(.none);
    if (last == .none) doorbell.first_ready.set(index) else (try view.waiter(last)).next_ready.set(index);
    doorbell.last_ready.set(index);
    const ready = &view.waiting.ready[slot / 64];
    ready.update(ready.get() | Holders.bit(slot));
}

/// Ends the first of the member's notified waiters.
pub fn seeFirst(view: *const View, doorbell: *layout.Doorbell, index: WaiterIndex, waiter: *Waiter) Corrupt!void {
    const next = waiter.next_ready.get();
    doorbell.first_ready.set(next);
    if (next == .none) setNotReady(view, doorbell, waiter.word.get().slot);
    uncountOne(view, waiter);
    vacate(view, index, waiter);
}

fn setNotReady(view: *const View, doorbell: *layout.Doorbell, slot: u8) void {
    doorbell.first_ready.update(.none);
    doorbell.last_ready.update(.none);
    const ready = &view.waiting.ready[slot / 64];
    ready.update(ready.get() & ~Holders.bit(slot));
}

fn countOne(bucket: *layout.Bucket) void {
    bucket.waiters.set(bucket.waiters.get() +| 1);
}
fn uncountOne(view: *const View, waiter: *const Waiter) void {
    const bucket = bucketOf(view, waiter);
    bucket.waiters.set(bucket.waiters.get() -| 1);
}

/// Of a waiter that is in no list any more.
pub fn vacate(view: *const View, index: WaiterIndex, waiter: *Waiter) void {
    waiter.word.commit(.{});
    if (index.entry() == null) return;
    waiter.next.set(view.waiting.unused_waiters.get());
    view.waiting.unused_waiters.set(index);
}

pub fn takeUnused(view: *const View) Corrupt!?WaiterIndex {
    const waiting = view.waiting;
    const first = waiting.unused_waiters.get();
    if (first != .none) {
        const waiter = try view.waiter(first);
        if (waiter.word.get().state != .vacant or first.entry() == null) return error.Corrupt;
        waiting.unused_waiters.set(waiter.next.get());
        return first;
    }
    const used = view.waitersUsed();
    if (used >= view.waitersBacked()) return null;
    waiting.waiters_used.commit(used + 1);
    return .ofTable(used);
}

inline fn bucketOf(view: *const View, waiter: *const Waiter) *layout.Bucket {
    return @as(Place, @enumFromInt(waiter.place.get())).bucket(view);
}

pub inline fn isListed(word: layout.WaiterWord) bool {
    return word.state == .waiting or word.state == .over;
}

pub noinline fn ownerOf(index: WaiterIndex, word: layout.WaiterWord) u8 {
    return if (index.entry() == null) @intCast(@intFromEnum(index) - 1) else word.slot;
}

// ---------------------------------------------------------------- the dead, and recovery

/// Every waiter that there may be, the members' own ones first.
const All = struct {
    view: *const View,
    at: u32 = 0,

    fn next(all: *All) ?WaiterIndex {
        if (all.at >= layout.members_max + all.view.waitersUsed()) return null;
        all.at += 1;
        return @enumFromInt(all.at);
    }
};

/// Drops the waits of members that are gone, and what was given up by one who could not have the lock.
pub fn dropAll(view: *const View, slots: Holders) Corrupt!void {
    var all: All = .{ .view = view };
    while (all.next()) |index| {
        const waiter = try view.waiter(index);
        const word = waiter.word.get();
        if (word.state == .vacant or word.state != .over and !slots.has(ownerOf(index, word))) continue;
        if (isListed(word)) try unlink(view, index) else if (index.entry() != null) uncountOne(view, waiter);
        vacate(view, index, waiter);
    }
    var gone = slots.iterate();
    while (gone.next()) |slot| {
        const doorbell = &view.waiting.doorbells[slot];
        setNotReady(view, doorbell, slot);
        doorbell.state.update(.awake);
        doorbell.socket.update(0);
    }
}

/// Rebuilds all lists and counts. Those who wait for the same word come in another order then.
pub fn rebuild(view: *const View) Corrupt!void {
    const waiting = view.waiting;
    for (&waiting.buckets) |*bucket| {
        bucket.first.update(.none);
        bucket.last.update(.none);
    }
    for (&waiting.doorbells) |*doorbell| {
        doorbell.first_ready.update(.none);
        doorbell.last_ready.update(.none);
    }
    for (&waiting.ready) |*ready| ready.update(0);
    waiting.unused_waiters.update(.none);
    // Who notifies looks at the counts without the lock: none may be too low for a moment. What the dead left is not.
    var counts: [layout.buckets_max]u32 = @splat(0);
    var all: All = .{ .view = view };
    while (all.next()) |index| {
        const waiter = try view.waiter(index);
        if (try relist(view, index, waiter)) counts[bucketOf(view, waiter) - &waiting.buckets[0]] += 1;
    }
    for (&waiting.buckets, counts) |*bucket, count| bucket.waiters.update(count);
}

/// Whether it is to be counted.
fn relist(view: *const View, index: WaiterIndex, waiter: *Waiter) Corrupt!bool {
    const word = waiter.word.get();
    const is_own = index.entry() == null;
    const slot = ownerOf(index, word);
    if (word.state == .notified and is_own) return false; // its owner sees it by itself
    if (view.members[slot].word.get().state != .vacant) switch (word.state) {
        .waiting => {
            try link(view, index, waiter, bucketOf(view, waiter));
            return true;
        },
        .notified => {
            try makeReady(view, index, waiter, slot);
            return true;
        },
        else => {},
    };
    if (!is_own or word.state != .vacant) vacate(view, index, waiter);
    return false;
}

/// What is broken, or null.
pub noinline fn broken(view: *const View, _: *Census) What {
    const waiting = view.waiting;
    if (waiting.waiters_backed.get() > view.geometry.waiters_max) return .@"more of the waiter table is backed than there is";
    if (waiting.waiters_used.get() > waiting.waiters_backed.get()) return .@"waiters are used that are not backed";
    var counted: u64 = 0;
    var listed: u64 = 0;
    var all: All = .{ .view = view };
    var unused: u32 = 0;
    while (all.next()) |index| {
        const word = (view.waiter(index) catch return .@"a waiter has no memory behind it").word.get();
        switch (word.state) {
            .vacant => unused += @intFromBool(index.entry() != null),
            .waiting, .over => listed += 1,
            .notified => counted += @intFromBool(index.entry() != null),
            else => return .@"a waiter is in no known state",
        }
    }
    const in_lists = listedWaiters(view, listed) orelse return .@"a list of waiters is linked wrongly";
    const ready = readyWaiters(view, counted) orelse return .@"a list of notified waiters is linked wrongly";
    if (in_lists != listed) return .@"a waiter is in no list";
    if (ready != counted) return .@"a notified waiter is in no list";
    var in_buckets: u64 = 0;
    for (&waiting.buckets) |*bucket| in_buckets += bucket.waiters.get();
    if (in_buckets != listed + counted) return .@"the buckets' counts of waiters do not add up to the waiters";
    var index = waiting.unused_waiters.get();
    while (index != .none) : (unused -= 1) {
        const waiter = view.waiter(index) catch return .@"the list of unused waiters leads out of the table";
        if (waiter.word.get().state != .vacant or index.entry() == null) return .@"a waiter in use is in the list of unused ones";
        if (unused == 0) return .@"the list of unused waiters does not end";
        index = waiter.next.get();
    }
    return if (unused == 0) .nothing else .@"an unused waiter is lost";
}

fn listedWaiters(view: *const View, most: u64) ?u64 {
    var count: u64 = 0;
    for (&view.waiting.buckets) |*bucket| {
        var before: WaiterIndex = .none;
        var index = bucket.first.get();
        while (index != .none) : (count += 1) {
            const waiter = view.waiter(index) catch return null;
            if (count == most or !isListed(waiter.word.get())) return null;
            if (bucketOf(view, waiter) != bucket or waiter.prev.get() != before) return null;
            before = index;
            index = waiter.next.get();
        }
        if (bucket.last.get() != before) return null;
    }
    return count;
}

fn readyWaiters(view: *const View, most: u64) ?u64 {
    var count: u64 = 0;
    for (&view.waiting.doorbells, 0..) |*doorbell, slot| {
        const is_ready = view.waiting.ready[slot / 64].get() & Holders.bit(@intCast(slot)) != 0;
        if (is_ready != (doorbell.first_ready.get() != .none)) return null;
        var before: WaiterIndex = .none;
        var index = doorbell.first_ready.get();
        while (index != .none) : (count += 1) {
            const waiter = view.waiter(index) catch return null;
            const word = waiter.word.get();
            if (count == most or word.state != .notified or word.slot != slot) return null;
            before = index;
            index = waiter.next_ready.get();
        }
        if (doorbell.last_ready.get() != before) return null;
    }
    return count;
}
