//! Names, as a member uses them: set, get, delete; and `once`, by which one member makes what all ask for. The records are
//! those of names.zig, whose functions run under the lock: it is taken here, and here is freed what a name lets go of.
//!
//!     once   no such name ── a record, `making` ── its maker allocates ── one store: set
//!            others sleep until then, or until they find the maker dead: the next one makes it

const std = @import("std");
const layout = @import("layout.zig");
const backing = @import("backing.zig");
const holding = @import("holding.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
const names = @import("names.zig");
const waiting = @import("waiting.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const Holders = @import("view.zig").Holders;
const Pool = pool_file.Pool;
const Error = pool_file.Error;

// ---------------------------------------------------------------- names

/// Which part of a held block a name is to name, and in what shape.
pub const Named = struct {
    block: u32,
    offset: u64,
    length_bytes: u64,
    shape: names.Shape,
};

/// Gives a name to an array, which the name holds from then on; what it named before, it lets go of.
pub fn setName(pool: *Pool, key: *const names.Key, named: *const Named) Error!void {
    const value = try valueFor(pool, named);
    // What was backed may be used up by others at once; not for ever.
    for (0..1000) |_| {
        if (try setNameRecord(pool, key, &value)) |was| return wake(pool, was);
        try backing.growNames(pool);
    }
    return error.Corrupt;
}

fn valueFor(pool: *Pool, named: *const Named) Error!names.Value {
    const hold = try pool.held(named.block);
    const bytes = hold.lengthBytes();
    if (named.offset > bytes or named.length_bytes > bytes - named.offset) return error.Argument;
    return .{
        .block = .of(named.block),
        .generation = hold.word.generation,
        .offset = named.offset,
        .length_bytes = named.length_bytes,
        .shape = named.shape,
    };
}

/// Null when every record that is backed is in use.
fn setNameRecord(pool: *Pool, key: *const names.Key, value: *const names.Value) Error!?names.Was {
    try pool.acquire();
    defer pool.unlock();
    try pool.view.markShared(value.block);
    const was = names.set(&pool.view, key, value) catch |err| return if (err == error.NoEntry) null else error.Corrupt;
    if (was.block != .none) _ = try holding.freeIfUnheld(pool, was.block);
    return was;
}

fn wake(pool: *Pool, was: names.Was) void {
    // Where that cannot be done, they look again by themselves.
    if (was.sleepers) |word| _ = waiting.notify(pool.caller(), .of(&pool.view, word), waiting.everybody) catch {};
}

pub const Found = struct {
    attached: holding.Attached,
    value: names.Value,
};

/// Holds what a name names; null if it names nothing.
pub fn getName(pool: *Pool, key: *const names.Key) Error!?Found {
    const view = &pool.view;
    try pool.acquire();
    defer pool.unlock();
    const index = try names.find(view, key);
    if (index == .none) return null;
    const name = try view.name(index);
    if (name.word.get().state != .set) return null;
    const value = try names.valueOf(view, name);
    const attached = holding.takeHold(pool, value.block, value.generation) catch |err| return if (err == error.Stale) error.Corrupt else err;
    holding.show(pool, value.block);
    return .{ .attached = attached, .value = value };
}

pub fn hasName(pool: *Pool, key: *const names.Key) Error!bool {
    try pool.acquire();
    defer pool.unlock();
    const index = try names.find(&pool.view, key);
    return index != .none and (try pool.view.name(index)).word.get().state == .set;
}

/// Lets go of what a name names; false if it names nothing.
pub fn deleteName(pool: *Pool, key: *const names.Key) Error!bool {
    try pool.acquire();
    defer pool.unlock();
    const index = try names.find(&pool.view, key);
    if (index == .none or (try pool.view.name(index)).word.get().state != .set) return false;
    const was = try names.end(&pool.view, index);
    if (was.block != .none) _ = try holding.freeIfUnheld(pool, was.block);
    return true;
}

/// Lists names from record `from` on. record[0]: the record to go on from, -1 at the end.
pub fn listNames(pool: *Pool, comptime Info: type, from: u32, into: []Info) Error!usize {
    const view = &pool.view;
    try pool.acquire();
    defer pool.unlock();
    var count: usize = 0;
    var number = from;
    const used = view.namesUsed();
    while (number < used and count < into.len) : (number += 1) {
        const name = &view.names[number];
        if (name.word.get().state != .set) continue;
        into[count] = .{
            .block = name.block.get().int(),
            .key_bytes = undefined,
            .generation = layout.double(name.generation.get()),
            .key = undefined,
        };
        into[count].key_bytes = try names.keyOf(name, &into[count].key);
        count += 1;
    }
    pool.record[0] = if (number < used) @floatFromInt(number) else -1;
    return count;
}

// ---------------------------------------------------------------- making what a name is to name, once

pub const Awaited = struct {
    maker: layout.Maker,
    pid: u32,
    word: *const u32,
    value: u32,
};

pub const Once = enum(i32) { there = 0, make = 1, others = 2, own = 3 };

/// Whether what a name is to name is there, or to be made by this member, whom the others wait for from then on. While
/// another member makes it, waits for it; `others` after `timeout_ms`. What a dead one was making, the next one makes.
pub fn beginOnce(pool: *Pool, key: *const names.Key, timeout_ms: u64) Error!Once {
    const begun_ms = system.monotonicMs();
    var dead: ?layout.Maker = null;
    var grown: u32 = 0;
    while (true) {
        const once = try lookOnce(pool, key, dead) orelse {
            grown += 1;
            if (grown == 1000) return error.Corrupt;
            try backing.growNames(pool);
            continue;
        };
        if (once != .others) return once;
        const awaited = pool.awaited.?;
        // Outside the lock: system calls.
        if (members.isDead(&pool.view, &pool.self, awaited.maker.slot, .{ .incarnation = awaited.maker.incarnation, .state = .joined })) {
            dead = awaited.maker;
            continue;
        }
        const waited_ms = system.monotonicMs() - begun_ms;
        if (waited_ms >= timeout_ms) return .others;
        // Not for long: a maker that is killed wakes nobody.
        const nap_ms: u64 = @min(timeout_ms - waited_ms, once_nap_ms);
        _ = try waiting.wait(pool.caller(), &pool.blocking, .of(&pool.view, awaited.word), awaited.value, nap_ms * std.time.ns_per_ms);
    }
}

const once_nap_ms = 50;

/// Begins a wait for whom beginOnce() has found to be making it. Null if that is over already.
pub fn watchOnce(pool: *Pool) Error!?layout.WaiterIndex {
    const awaited = pool.awaited orelse return error.Argument;
    return pool.beginWait(.of(&pool.view, awaited.word), awaited.value);
}

/// `dead`: a maker that was found to be dead. Null when a record is needed and every one that is backed is in use.
fn lookOnce(pool: *Pool, key: *const names.Key, dead: ?layout.Maker) Error!?Once {
    const view = &pool.view;
    const self: layout.Maker = .{ .slot = pool.self.slot, .incarnation = pool.self.incarnation };
    try pool.acquire();
    defer pool.unlock();
    const index = try names.find(view, key);
    if (index == .none) {
        names.begin(view, key, self) catch |err| return if (err == error.NoEntry) null else error.Corrupt;
        pool.makings += 1;
        return .make;
    }
    const name = try view.name(index);
    if (name.word.get().state == .set) return .there;
    const maker = name.maker.get();
    if (maker == self) return .own;
    if ((dead != null and maker == dead.?) or names.hasLeft(view, maker)) {
        name.maker.commit(self);
        pool.makings += 1;
        return .make;
    }
    pool.awaited = .{
        .maker = maker,
        .pid = view.members[maker.slot].pid.get(),
        .word = &name.made.raw,
        .value = name.made.get(),
    };
    return .others;
}

/// Says what was made, or, with null, that nothing was: then the next one makes it. `others`: it is not this member's to
/// say any more, since the name was set meanwhile.
pub fn endOnce(pool: *Pool, key: *const names.Key, named: ?*const Named) Error!Once {
    const value: ?names.Value = if (named) |it| try valueFor(pool, it) else null;
    const was = try endOnceRecord(pool, key, if (value) |*it| it else null) orelse return .others;
    wake(pool, was);
    return .there;
}

fn endOnceRecord(pool: *Pool, key: *const names.Key, value: ?*const names.Value) Error!?names.Was {
    const view = &pool.view;
    const self: layout.Maker = .{ .slot = pool.self.slot, .incarnation = pool.self.incarnation };
    try pool.acquire();
    defer pool.unlock();
    if (value) |it| try view.markShared(it.block);
    pool.makings -|= 1;
    const index = try names.find(view, key);
    if (index == .none) return null;
    const name = try view.name(index);
    if (name.word.get().state != .making or name.maker.get() != self) return null;
    const it = value orelse return try names.end(view, index);
    return names.set(view, key, it) catch return error.Corrupt;
}

/// Under the lock: ends what members of these slots were making. Who waits for that looks again by himself.
pub fn endMakings(pool: *Pool, slots: Holders) lock.Error!void {
    for (0..pool.view.namesUsed()) |i| {
        const name = &pool.view.names[i];
        if (name.word.get().state != .making) continue;
        if (slots.has(name.maker.get().slot)) _ = try names.end(&pool.view, .of(@intCast(i)));
    }
}
