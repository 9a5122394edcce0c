//! Life and death: names, joining and leaving, killed members, killed lock owners, claims.

const std = @import("std");
const s = @import("support.zig");
const holding = @import("../holding.zig");
const lock = @import("../lock.zig");
const members = @import("../members.zig");
const reaping = @import("../reaping.zig");
const recovery = @import("../recovery.zig");
const Holders = @import("../view.zig").Holders;
const Pool = s.Pool;

test "the last member to leave unlinks the segment" {
    const pool = try s.create(1 << 20);
    var name_buffer = pool.name_buffer;
    const name = name_buffer[0..pool.name_bytes];
    const second = try s.join(pool);
    _ = pool.close(false);
    try s.expect(s.exists(name));
    _ = second.close(true);
    try s.expect(!s.exists(name));
}

test "a name is taken once, and free again after the last member left" {
    var report: s.segment.Report = .{};
    var buffer: [32]u8 = undefined;
    const name = s.uniqueName("name", &buffer);
    const pool = try Pool.create(name, 1 << 20, 1000, .{}, &report);
    try s.expectError(error.Exists, Pool.create(name, 1 << 20, 1000, .{}, &report));
    const joined = try Pool.openOrCreate(name, 1 << 30, 5, .{}, &report);
    try s.expectEqual(1 << 20, joined.view.geometry.capacity_bytes);
    _ = joined.close(false);
    _ = pool.close(false);
    try s.expectError(error.NotFound, Pool.open(name, null, .{}, &report));
    _ = (try Pool.create(name, 1 << 20, 1000, .{}, &report)).close(false);
}

test "names and capacities out of range are refused" {
    var report: s.segment.Report = .{};
    for ([_][]const u8{ "", ".x", "a/b", "-", "a" ** 31, "a b", "ä" }) |name|
        try s.expectError(error.Argument, Pool.create(name, 1 << 20, 1000, .{}, &report));
    for ([_]u64{ 1, (1 << 20) - 1, (256 << 30) + 1 }) |capacity|
        try s.expectError(error.Argument, Pool.create("zig-test", capacity, 1000, .{}, &report));
    try s.expect(!s.exists("zig-test"));
}

test "a pool of 256 GiB takes no memory until it is used" {
    // qemu keeps a note of each page of a mapping: that takes minutes.
    const pool = try s.create(if (s.brief) 1 << 30 else 256 << 30);
    defer _ = pool.close(false);
    try s.expectEqual(0, (try pool.stats()).backed_bytes);
    const bytes = try s.bytesOf(pool, try s.alloc(pool, 1000, true));
    bytes[999] = 1;
    try s.expect((try pool.stats()).backed_bytes <= 1 << 20);
}

test "a member sees the segment where huge pages can be mapped whole" {
    if (@import("builtin").os.tag != .linux) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer _ = pool.close(true);
    const second = try s.join(pool);
    defer _ = second.close(false);
    for ([_]*Pool{ pool, second }) |member|
        try s.expectEqual(0, @intFromPtr(member.view.header) % (2 << 20));
}

test "racing creators and openers all get the same pool, and never a half-made one" {
    const Shared = struct { ready: u32, name: [32]u8, name_bytes: usize, nonces: [16]u64 };
    const shared = try s.sharedPage(Shared);
    shared.name_bytes = s.uniqueName("race", &shared.name).len;
    const name = shared.name[0..shared.name_bytes];
    for (0..20) |_| {
        shared.ready = 0;
        var children: [8]s.Child = undefined;
        for (&children, 0..) |*child, i| child.* = try s.Child.start(struct {
            fn body(at: struct { *Shared, usize }) !void {
                s.signal(&at[0].ready);
                while (@atomicLoad(u32, &at[0].ready, .acquire) < 8) {}
                var report: s.segment.Report = .{};
                const pool = try Pool.openOrCreate(at[0].name[0..at[0].name_bytes], 1 << 20, 1000, .{}, &report);
                at[0].nonces[at[1]] = pool.nonce;
                const index = try s.alloc(pool, 1000, true);
                _ = try pool.release(index.int(), true);
                // Stay until all are in: then there can be only one.
                s.signal(&at[0].ready);
                s.waitUntil(&at[0].ready, 16);
                _ = pool.close(false);
            }
        }.body, .{ shared, i });
        for (children) |child| try s.expectEqual(0, try child.wait());
        for (shared.nonces[1..8]) |nonce| try s.expectEqual(shared.nonces[0], nonce);
        try s.expect(!s.exists(name));
    }
}

test "what a killed member held is free after reap(), and what others hold stays" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    const mine = try s.alloc(pool, 1000, true);
    try pool.share(mine.int());
    const Argument = struct { pool: *Pool, index: u32, generation: u64 };
    const child = try s.Child.start(struct {
        fn body(at: Argument) !void {
            const member = try s.join(at.pool);
            _ = try member.attach(at.index, at.generation, 0);
            for (0..100) |_| _ = try s.alloc(member, 10_000, true);
            s.die();
        }
    }.body, Argument{ .pool = pool, .index = mine.int(), .generation = s.generationOf(pool, mine) });
    try s.expectEqual(128 + 9, try child.wait());
    try s.expectEqual(101, (try pool.stats()).arrays);
    const reaped = try pool.reap();
    try s.expectEqual(1, reaped.members);
    try s.expectEqual(100, reaped.freed.blocks);
    try s.expectEqual(1, (try pool.stats()).arrays);
    try s.expectEqual(1, (try pool.stats()).members);
    try s.expectSound(pool);
}

test "a member killed while it holds the lock is taken over from, and the metadata is recovered" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    const mine = try s.alloc(pool, 1000, true);
    @memset(try s.bytesOf(pool, mine), 7);
    const child = try s.Child.start(struct {
        fn body(at: *Pool) !void {
            const member = try s.join(at);
            for (0..100) |_| _ = try s.alloc(member, 10_000, true);
            try lock.acquire(&member.view, &member.self, &member.patience);
            // As if in the middle of everything: derived data that is nonsense.
            for (&member.view.lists.quick) |*head| head.set(.of(3));
            member.view.lists.backed.first.set(0xffff_ffff);
            member.view.header.unused_blocks.set(.of(0));
            member.view.header.claims.set(12345);
            s.die();
        }
    }.body, pool);
    try s.expectEqual(128 + 9, try child.wait());
    const after = try s.alloc(pool, 1000, true);
    try s.expectSound(pool);
    try s.expectEqual(1, (try pool.stats()).recoveries);
    try s.expectEqual(100, (try pool.reap()).freed.blocks);
    try s.expectEqual(2, (try pool.stats()).arrays);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, mine), 7));
    _ = try pool.release(after.int(), true);
    _ = try pool.release(mine.int(), true);
    try s.expectSound(pool);
}

test "a live member that keeps the lock is not robbed: the others fail after their deadline, and name it" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    other.patience.timeout_ms = 50;
    try lock.acquire(&pool.view, &pool.self, &pool.patience);
    try s.expectError(error.Busy, s.alloc(other, 100, false));
    try s.expectEqual(pool.self.thread.pid, other.patience.owner_pid);
    lock.release(&pool.view, &pool.self);
    _ = try s.alloc(other, 100, false);
    try s.expectEqual(0, (try other.stats()).recoveries);
}

test "a lock word of a slot's earlier incarnation is taken over, though the slot has a live owner" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    pool.view.header.lock.set(.{ .slot = other.self.slot, .incarnation = other.self.incarnation -% 1 });
    _ = try s.alloc(pool, 100, false);
    try s.expectEqual(1, (try pool.stats()).recoveries);
    try s.expectSound(pool);
}

test "a claim holds an array that nobody else holds, and ends with its last attach" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const index = try s.alloc(pool, 1000, true);
    const generation = s.generationOf(pool, index);
    const claim = try pool.createClaim(index.int(), 2, 0);
    _ = try pool.release(index.int(), true);
    try s.expectEqual(1000, (try s.bytesOf(other, index)).len);
    try s.expectEqual(.newly, try other.attach(index.int(), generation, claim));
    try s.expectEqual(.again, try other.attach(index.int(), generation, claim)); // takes nothing off
    _ = try other.release(index.int(), true);
    _ = try other.release(index.int(), true);
    try s.expectEqual(.newly, try pool.attach(index.int(), generation, claim));
    try s.expectEqual(0, (try pool.stats()).claims);
    _ = try pool.release(index.int(), true);
    try s.expectError(error.Stale, pool.attach(index.int(), generation, claim));
    try s.expectSound(pool);
}

test "the number of a claim that is over is no other claim's" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const index = try s.alloc(pool, 100, false);
    const generation = s.generationOf(pool, index);
    for ([_]bool{ false, true }) |by_recovery| {
        const over = try pool.createClaim(index.int(), 1, 1000);
        if (by_recovery) {
            try pool.acquire();
            defer pool.unlock();
            try recovery.recover(&pool.view, s.system.monotonicMs() + 1001);
        } else try pool.dropClaim(index.int(), generation, over, 1);
        try s.expectEqual(0, (try pool.stats()).claims);
        const claim = try pool.createClaim(index.int(), 1, 1000);
        try s.expect(claim != over);
        try pool.dropClaim(index.int(), generation, over, 1);
        try s.expectEqual(1, (try pool.stats()).claims);
        try pool.dropClaim(index.int(), generation, claim, 1);
        try s.expectEqual(0, (try pool.stats()).claims);
    }
}

test "an expired claim is collected by reap(), and its array with it" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const index = try s.alloc(pool, 1000, true);
    const generation = s.generationOf(pool, index);
    const claim = try pool.createClaim(index.int(), 1, 1);
    _ = try pool.release(index.int(), true);
    s.system.sleep(5);
    try s.expectEqual(1, (try pool.reap()).freed.blocks);
    try s.expectError(error.Stale, pool.attach(index.int(), generation, claim));
    try s.expectSound(pool);
}

test "a segment in which a claim waits outlives its last member, and is swept when the claim has expired" {
    const pool = try s.create(1 << 20);
    var name_buffer = pool.name_buffer;
    const name = name_buffer[0..pool.name_bytes];
    const index = try s.alloc(pool, 1000, true);
    const generation = s.generationOf(pool, index);
    @memset(try s.bytesOf(pool, index), 9);
    const claim = try pool.createClaim(index.int(), 1, 0);
    _ = pool.close(false);
    try s.expect(s.exists(name));
    _ = s.segment.sweep();
    try s.expect(s.exists(name));
    var report: s.segment.Report = .{};
    const receiver = try Pool.open(name, null, .{}, &report);
    _ = try receiver.attach(index.int(), generation, claim);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(receiver, index), 9));
    _ = try receiver.createClaim(index.int(), 1, 100);
    _ = receiver.close(false);
    try s.expect(s.exists(name));
    s.system.sleep(120);
    _ = s.segment.sweep(); // unless another creator of this machine was faster
    try s.expect(!s.exists(name));
}

test "the segment of a family that was killed is swept by the next creator" {
    const Name = struct { bytes: [32]u8, length: u32 };
    const shared = try s.sharedPage(Name);
    const child = try s.Child.start(struct {
        fn body(at: *Name) !void {
            const pool = try s.create(1 << 20);
            at.* = .{ .bytes = pool.name_buffer, .length = pool.name_bytes };
            s.die();
        }
    }.body, shared);
    try s.expectEqual(128 + 9, try child.wait());
    try s.expect(s.exists(shared.bytes[0..shared.length]));
    _ = (try s.create(1 << 20)).close(false);
    try s.expect(!s.exists(shared.bytes[0..shared.length]));
}

test "a process that ends removes a pool in which only its own threads are, and no other" {
    const pool = try s.create(1 << 20);
    var name_buffer = pool.name_buffer;
    const name = name_buffer[0..pool.name_bytes];
    const go = try s.sharedPage(u32);
    go.* = 0;
    const child = try s.Child.start(struct {
        fn body(at: struct { *Pool, *u32 }) !void {
            const member = try s.join(at[0]);
            s.signal(at[1]);
            s.waitUntil(at[1], 2);
            _ = member.close(false);
        }
    }.body, .{ pool, go });
    s.waitUntil(go, 1);
    try s.expect(!s.segment.removeAtExit(name));
    s.signal(go);
    try s.expectEqual(0, try child.wait());
    try s.expect(s.exists(name));
    try s.expect(s.segment.removeAtExit(name));
    try s.expect(!s.exists(name));
    _ = pool.close(false);
}

test "256 members at once, and the 257th is refused" {
    const pool = try s.create(1 << 20);
    var others: [255]*Pool = undefined;
    for (&others) |*other| other.* = try s.join(pool);
    try s.expectError(error.Members, s.join(pool));
    try s.expectEqual(256, (try pool.stats()).members);
    const index = try s.alloc(pool, 100, true);
    try pool.share(index.int());
    for (others) |other| _ = try other.attach(index.int(), s.generationOf(pool, index), 0);
    _ = try pool.release(index.int(), true);
    try s.expectEqual(1, (try pool.stats()).arrays);
    for (others) |other| _ = other.close(false);
    try s.expectEqual(0, (try pool.stats()).arrays);
    try s.expectSound(pool);
    _ = pool.close(false);
}

test "a member joins in the slot of a dead one while another reaps that" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    // Many arrays, so that to reap takes as long as to join.
    for (0..20_000) |_| _ = try s.alloc(pool, 64, false);
    const stop = try s.sharedPage(u32);
    stop.* = 0;
    const reaper = try s.Child.start(struct {
        fn body(at: struct { *Pool, *u32 }) !void {
            const member = try s.join(at[0]);
            s.signal(at[1]);
            while (@atomicLoad(u32, at[1], .acquire) < 2) _ = try member.reap();
            _ = member.close(false);
        }
    }.body, .{ pool, stop });
    errdefer reaper.kill();
    s.waitUntil(stop, 1);
    for (0..150) |_| {
        try joinAndDie(pool);
        const member = try s.join(pool);
        _ = try member.release((try s.alloc(member, 100, false)).int(), true);
        _ = member.close(false);
    }
    s.signal(stop);
    try s.expectEqual(0, try reaper.wait());
    try s.expectSound(pool);
}

test "buffers that are counted keep a released block until the last one is gone" {
    var report: s.segment.Report = .{};
    const pool = try Pool.create(null, 1 << 20, 1000, .{ .counts_buffers = true }, &report);
    defer _ = pool.close(false);
    const number = (try s.alloc(pool, 1000, true)).int();
    try pool.retain(number);
    try s.expectEqual(.held, try pool.release(number, true));
    try s.expectEqual(.lent, try pool.release(number, true));
    try s.expectEqual(.lent, try pool.settle(number));
    const gone = @import("../exports.zig").ap_buffer_gone;
    gone(null, &pool.view.buffers[number].gone);
    try s.expectEqual(.lent, try pool.settle(number));
    gone(null, &pool.view.buffers[number].gone);
    try s.expectEqual(.gone, try pool.settle(number));
    try s.expectEqual(.gone, try pool.settle(number));
    try s.expectEqual(0, (try pool.stats()).arrays);
}

test "a lent block stays though a message with it could not be received" {
    var report: s.segment.Report = .{};
    const pool = try Pool.create(null, 1 << 20, 1000, .{ .counts_buffers = true }, &report);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const number = (try s.alloc(pool, 1000, true)).int();
    const generation = s.generationOf(pool, .of(number));
    try pool.share(number);
    _ = try other.attach(number, generation, 0);
    try s.expectEqual(.lent, try pool.release(number, true));
    {
        try pool.acquire();
        defer pool.unlock();
        _ = try holding.attachLocked(pool, number, generation, 0);
        holding.detachLocked(pool, number);
    }
    try s.expectEqual(.gone, try other.release(number, true));
    try s.expectEqual(1, (try pool.stats()).arrays);
    @import("../exports.zig").ap_buffer_gone(null, &pool.view.buffers[number].gone);
    try s.expectEqual(.gone, try pool.settle(number));
    try s.expectEqual(0, (try pool.stats()).arrays);
}

test "an array is kept by whoever holds it, in whichever slot" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    for ([_]u64{ 1000, 100_000 }) |bytes| for (0..256) |slot| {
        const index = try s.alloc(pool, bytes, false);
        try pool.share(index.int());
        // As a member there would, by attaching it.
        const cell = &pool.view.blocks[index.int()].of.holders[slot / 64];
        if (slot != pool.self.slot) cell.raise(Holders.bit(@intCast(slot)));
        _ = try pool.release(index.int(), true);
        try s.expectEqual(@intFromBool(slot != pool.self.slot), (try pool.stats()).arrays);
        if (slot != pool.self.slot) cell.lower(Holders.bit(@intCast(slot)));
        pool.view.header.left.add(s.layout.Header.left_begun + 1);
        _ = try pool.reap();
        try s.expectEqual(0, (try pool.stats()).arrays);
    };
}

test "a spare buffer keeps no block, and is a buffer again with the next hold or before it goes" {
    var report: s.segment.Report = .{};
    const pool = try Pool.create(null, 1 << 20, 1000, .{ .counts_buffers = true }, &report);
    defer _ = pool.close(false);
    const gone = @import("../exports.zig").ap_buffer_gone;
    const member = &pool.view.members[pool.self.slot];
    const number = (try s.alloc(pool, 1000, true)).int();
    const buffers = &pool.view.buffers[number];
    try s.expectEqual(.gone, try pool.releaseAny(number, .spare));
    try s.expectEqual(0, (try pool.stats()).arrays);
    try s.expect(pool.buffersSeen(number) == 0 and buffers.areAlive());
    try s.expectEqual(1, member.buffers_shown.get());

    // The next array there is shown by the spare: it is the one buffer that there is.
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    pool.spare(number, true);
    pool.spare(number, true); // none any more
    try s.expectEqual(1, member.buffers_shown.get());
    try s.expectEqual(.lent, try pool.release(number, true));
    gone(null, &buffers.gone);
    try s.expectEqual(.gone, try pool.settle(number));
    try s.expect(!buffers.areAlive());

    // What is lent is held again by whoever holds it again.
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    try pool.share(number);
    try s.expectEqual(.lent, try pool.release(number, true));
    try s.expectEqual(.again, try pool.attach(number, pool.view.holds[number].word.generation, 0));
    try s.expectEqual(.held, try pool.settle(number));
    for (0..2) |_| gone(null, &buffers.gone);
    try s.expectEqual(.gone, try pool.release(number, true));

    // One of two holds leaves a spare, the other one a buffer that is seen.
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    try pool.retain(number);
    try s.expectEqual(.held, try pool.releaseAny(number, .spare));
    try s.expectEqual(.lent, try pool.release(number, true));
    gone(null, &buffers.gone);
    try s.expectEqual(.gone, try pool.settle(number));

    // A hold without a buffer, of which the host may say so though the library knows it.
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    for (0..3) |_| try pool.showNothing(number);
    try s.expectEqual(.gone, try pool.release(number, true));

    // The same where a spare has gone that was left there before.
    pool.spare(number, false);
    gone(null, &buffers.gone);
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    for (0..3) |_| try pool.showNothing(number);
    try s.expectEqual(0, pool.buffersSeen(number));
    try s.expectEqual(.gone, try pool.release(number, true));

    // And another one shows the block before the spare goes.
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    try s.expectEqual(.gone, try pool.releaseAny(number, .spare));
    try s.expectEqual(number, (try s.alloc(pool, 1000, true)).int());
    pool.spare(number, false);
    gone(null, &buffers.gone);
    try s.expectEqual(1, pool.buffersSeen(number));
    try s.expectEqual(.lent, try pool.release(number, true));
    gone(null, &buffers.gone);
    try s.expectEqual(.gone, try pool.settle(number));
    try s.expectEqual(member.buffers_shown.get(), member.buffers_gone.get());
    pool.spare(std.math.maxInt(u32), true);
}

/// Starts `count` children, waits until all of them run, and lets them go at once.
const Start = struct {
    ready: u32,
    count: u32,

    fn all(start: *Start) void {
        s.signal(&start.ready);
        while (@atomicLoad(u32, &start.ready, .acquire) < start.count) std.atomic.spinLoopHint();
    }
};

test "however members that join, fail to join, leave and sweep meet at the gate, the last one leaves no name behind" {
    const Shared = struct { start: Start, name: [32]u8, name_bytes: usize };
    const shared = try s.sharedPage(Shared);
    shared.name_bytes = s.uniqueName("gate", &shared.name).len;
    const name = shared.name[0..shared.name_bytes];
    for (0..if (s.brief) 10 else 150) |_| {
        shared.start = .{ .ready = 0, .count = 3 };
        var report: s.segment.Report = .{};
        const pool = try Pool.create(name, 1 << 20, 1000, .{}, &report);
        var children: [3]s.Child = undefined;
        for (&children, 0..) |*child, i| child.* = try s.Child.start(struct {
            fn body(at: struct { *Shared, usize }) !void {
                const shared_, const who = at;
                const its_name = shared_.name[0..shared_.name_bytes];
                var its_report: s.segment.Report = .{};
                const member = if (who == 0) try Pool.open(its_name, null, .{}, &its_report) else null;
                shared_.start.all();
                if (member) |m| {
                    _ = m.close(false);
                } else if (who == 1) {
                    for (0..20) |_| if (Pool.open(its_name, 1, .{}, &its_report)) |_| return error.TestUnexpectedResult else |_| {};
                } else for (0..5) |_| {
                    _ = s.segment.sweep();
                    if (Pool.open(its_name, null, .{}, &its_report)) |m| _ = m.close(false) else |_| {}
                }
            }
        }.body, .{ shared, i });
        while (@atomicLoad(u32, &shared.start.ready, .acquire) < 3) {}
        _ = pool.close(false);
        for (children) |child| try s.expectEqual(0, try child.wait());
        try s.expect(!s.exists(name));
    }
}

/// One more member, of a process that is killed.
fn joinAndDie(pool: *Pool) !void {
    const child = try s.Child.start(struct {
        fn body(at: *Pool) !void {
            _ = try s.join(at);
            s.die();
        }
    }.body, pool);
    _ = try child.wait();
}

test "who takes a slot after its last owner was found dead keeps what it has, though that one is reaped then" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    try joinAndDie(pool);
    const found = members.findDead(&pool.view, &pool.self);
    try s.expectEqual(1, found.count);
    const newcomer = try s.join(pool);
    defer _ = newcomer.close(false);
    try s.expect(found.slots.has(newcomer.self.slot));
    const index = try s.alloc(newcomer, 100, false);
    try pool.acquire();
    const reaped = try reaping.reapUnderLock(pool, &found, true);
    pool.unlock();
    try s.expectEqual(0, reaped.members);
    try s.expect(newcomer.view.isHeld(index) and (try pool.stats()).arrays == 1);
    try s.expectSound(pool);
}

test "one who takes the slot of a dead member while that one is reaped is not taken for dead" {
    const pool = try s.create(64 << 20);
    defer _ = pool.close(false);
    // So that a reap takes long enough for others to come and to wait.
    for (0..if (s.brief) 5_000 else 100_000) |_| _ = try s.alloc(pool, 64, false);
    const Shared = struct { pool: *Pool, end: u32 };
    const shared = try s.sharedPage(Shared);
    shared.* = .{ .pool = pool, .end = 0 };
    const Work = struct {
        fn patient(at: *Shared) !*Pool {
            const member = try s.join(at.pool);
            member.patience.timeout_ms = 60_000; // on a busy machine, one of many who want the lock may wait long
            return member;
        }
        fn reap(at: *Shared) !void {
            const member = try patient(at);
            while (@atomicLoad(u32, &at.end, .acquire) == 0) _ = try member.reap();
            _ = member.close(false);
        }
        fn wait(at: *Shared) !void {
            const member = try patient(at);
            while (@atomicLoad(u32, &at.end, .acquire) == 0) {
                const index = try s.alloc(member, 10_000, false);
                _ = try member.release(index.int(), true);
            }
            _ = member.close(false);
        }
        fn joinAndDie(at: *Shared) !void {
            _ = try s.alloc(try s.join(at.pool), 64, false);
            s.die();
        }
    };
    const others = [_]s.Child{ try s.Child.start(Work.reap, shared), try s.Child.start(Work.wait, shared), try s.Child.start(Work.wait, shared) };
    for (0..if (s.brief) 10 else 150) |_| try s.expectEqual(128 + 9, try (try s.Child.start(Work.joinAndDie, shared)).wait());
    s.signal(&shared.end);
    for (others) |child| try s.expectEqual(0, try child.wait());
    // Nobody died with the lock.
    try s.expectEqual(0, (try pool.stats()).recoveries);
    try s.expectSound(pool);
}
