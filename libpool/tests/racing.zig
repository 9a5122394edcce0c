//! What two processes do in the very same moment, as fast as they can. Each of these races is decided by one instruction: were it a
//! load and a store, one of the many turns would tell.

const std = @import("std");
const s = @import("support.zig");
const channel = @import("../channel.zig");
const crash = @import("../crash.zig");
const holding = @import("../holding.zig");
const lock = @import("../lock.zig");
const waiting = @import("../waiting.zig");
const Holders = @import("../view.zig").Holders;
const layout = s.layout;
const Pool = s.Pool;

const Shared = struct {
    address: s.Address,
    block: u32 = 0,
    generation: u64 = 0,
    is_over: u32 = 0,
    told: u32 = 0,
    inside: u32 = 0,
    deaths: u32 = 0,
    repairs: u32 = 0,
    lock: layout.Cell(layout.LockWord) = .{ .raw = 0 },

    fn start(pool: *Pool, block: u32) !*Shared {
        const shared = try s.sharedPage(Shared);
        shared.* = .{ .address = .of(pool), .block = block, .generation = s.generationOf(pool, .of(block)) };
        return shared;
    }
    fn join(shared: *const Shared) !*Pool {
        const member = try shared.address.join();
        _ = try member.attach(shared.block, shared.generation, 0);
        return member;
    }
    fn isOver(shared: *Shared) bool {
        return @atomicLoad(u32, &shared.is_over, .acquire) != 0;
    }
};

fn shareBytes(pool: *Pool, bytes: u64) !u32 {
    const block = (try s.alloc(pool, bytes, true)).int();
    try pool.share(block);
    return block;
}

test "a lock is one member's at a time, also when several take it over from the dead" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const shared = try Shared.start(pool, try shareBytes(pool, 64));
    const contend = struct {
        fn f(at: *Shared) anyerror!void {
            const member = try at.join();
            member.patience.timeout_ms = 20_000;
            const of: lock.OtherLock = .{ .word = &at.lock };
            const guarded: lock.Guarded = .{ .what = at, .repair = struct {
                fn repair(what: *const anyopaque) bool {
                    count(&@as(*Shared, @ptrCast(@alignCast(@constCast(what)))).repairs, 1);
                    return true;
                }
            }.repair };
            for (1..60_000) |turn| {
                member.patience.spins = if (turn & 64 == 0) 0 else 200;
                try of.acquire(&member.view, &member.self, &member.patience, guarded);
                try s.expectEqual(0, @atomicRmw(u32, &at.inside, .Add, 1, .monotonic));
                for (0..turn % 16) |_| std.atomic.spinLoopHint();
                count(&at.inside, -1);
                // As if it had been another's, who died with it. To find that out takes a nap, but with crash points.
                if (turn % @as(u32, if (crash.enabled) 2 else 1000) != 0) {
                    of.release();
                    continue;
                }
                count(&at.deaths, 1);
                _ = at.lock.exchange(.{ .slot = member.self.slot, .incarnation = member.self.incarnation +% 1 });
            }
            _ = member.close(false);
        }
    }.f;
    const both = [_]s.Child{ try s.Child.start(contend, shared), try s.Child.start(contend, shared) };
    for (both) |child| try s.expectEqual(0, try child.wait());
    // Each that died was followed by one, and nobody else was taken for dead.
    try s.expectEqual(shared.deaths, shared.repairs + @intFromBool(shared.lock.raw != 0));
}

fn count(cell: *u32, by: i32) void {
    _ = @atomicRmw(u32, cell, .Add, @bitCast(by), .monotonic);
}

test "who gives up and who notifies in the same moment agree on whether it was notified" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const block = try shareBytes(pool, 64 << 10);
    const shared = try Shared.start(pool, block);
    const place = try pool.placeIn(block, 0);
    // Others wait before and behind it, in the same list.
    var others: u32 = 0;
    for (1..16 << 10) |word| {
        const other = try pool.placeIn(block, 4 * word);
        if (others == 2 or other.bucket(&pool.view) != place.bucket(&pool.view)) continue;
        try s.expect(try pool.beginWait(other, 0) != null);
        others += 1;
    }
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            const member = try at.join();
            defer s.signal(&at.is_over);
            const caller = member.caller();
            const here = try member.placeIn(at.block, 0);
            member.blocking.deadline_ns = 0;
            for (0..100_000) |turn| {
                if (turn % 2 == 0) {
                    try s.expect(try waiting.enlistOwn(caller, here, 0));
                    at.told += @intFromBool(try waiting.goOn(caller, &member.blocking) == .ok);
                } else if (!waiting.cancel(caller, (try member.beginWait(here, 0)).?)) {
                    var ready: [2]u32 = undefined;
                    while (try waiting.take(caller, &ready) == 0) std.atomic.spinLoopHint(); // who notifies has not listed it yet
                    at.told += 1;
                }
            }
            _ = member.close(false);
        }
    }.body, shared);
    var notified: u32 = 0;
    while (!shared.isOver()) notified += try waiting.notify(pool.caller(), place, 1);
    try s.expectEqual(0, try child.wait());
    try s.expectEqual(notified, shared.told);
    try s.expectSound(pool);
}

test "holds that begin and end under the lock, and one that ends without it, are all as their members say" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try shareBytes(pool, 64);
    const shared = try Shared.start(pool, block);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            const member = try at.address.join();
            defer s.signal(&at.is_over);
            for (0..200_000) |_| {
                _ = try member.attach(at.block, at.generation, 0);
                try s.expect(isHolder(member, at.block));
                member.view.holds[at.block].end();
                holding.disown(member, at.block);
                try s.expect(!isHolder(member, at.block));
            }
            _ = member.close(false);
        }
    }.body, shared);
    while (!shared.isOver()) {
        _ = try other.attach(block, shared.generation, 0);
        try s.expect(isHolder(other, block));
        _ = try other.release(block, true);
        try s.expect(!isHolder(other, block));
    }
    try s.expectEqual(0, try child.wait());
    _ = try pool.reap();
    try s.expectEqual(0, pool.view.header.left.get());
    try s.expectSound(pool);
}

fn isHolder(member: *Pool, block: u32) bool {
    return Holders.of(&member.view.blocks[block]).has(member.self.slot);
}

test "what is told of a channel in which messages come and go is true of one moment" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const block = try channel.create(pool, 8, 100);
    const shared = try Shared.start(pool, block);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            const member = try at.join();
            _ = try channel.enter(member, at.block);
            defer s.signal(&at.is_over);
            var into: [16]u8 = undefined;
            for (0..200_000) |_| {
                try channel.send(member, at.block, "0123456789", &.{}, 0);
                _ = try channel.receive(member, at.block, &into, false, 0);
            }
            _ = member.close(false);
        }
    }.body, shared);
    while (!shared.isOver()) {
        const told = try channel.stats(pool, block);
        try s.expect(told.depth <= 1);
        try s.expectEqual(10 * told.messages, told.bytes);
    }
    try s.expectEqual(0, try child.wait());
}
