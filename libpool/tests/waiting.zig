//! Waiting and notifying between processes: who wakes, who is counted, and what the dead leave behind.

const std = @import("std");
const s = @import("support.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const expectEqual = s.expectEqual;

/// What a test and its children share: a page of their own.
const Ground = struct {
    name: [32]u8,
    name_bytes: u32,
    nonce: u64,
    block: u32,
    generation: u64,
    results: [8]i32,
    flag: u32,

    fn join(ground: *const Ground) !*Pool {
        var report: s.segment.Report = .{};
        const member = try Pool.open(ground.name[0..ground.name_bytes], ground.nonce, .{}, &report);
        _ = try member.attach(ground.block, ground.generation, 0);
        return member;
    }
};

const forever: ?u64 = null;

fn word(member: *Pool, ground: *const Ground) *u32 {
    return @ptrCast(@alignCast(member.view.heap + member.view.holds[ground.block].offsetBytes()));
}

fn waitFor(member: *Pool, ground: *const Ground, expected: u32, timeout_ns: ?u64) !waiting.Outcome {
    var outcome = try waiting.wait(member.caller(), &member.blocking, try member.placeIn(ground.block, 0), expected, timeout_ns);
    while (outcome == .goes_on) outcome = try waiting.goOn(member.caller(), &member.blocking);
    return outcome;
}

fn notify(member: *Pool, ground: *const Ground, count: u32) !u32 {
    return waiting.notify(member.caller(), try member.placeIn(ground.block, 0), count);
}

fn begin(ground: *Ground) !*Pool {
    const pool = try s.create(1 << 20);
    ground.* = std.mem.zeroes(Ground);
    ground.name = pool.name_buffer;
    ground.name_bytes = pool.name_bytes;
    ground.nonce = pool.nonce;
    ground.block = (try s.alloc(pool, 64, true)).int();
    ground.generation = s.generationOf(pool, .of(ground.block));
    try pool.share(ground.block);
    return pool;
}

/// Until so many are counted.
fn untilWaiting(pool: *Pool, count: u32) !void {
    for (0..20_000) |_| {
        var listed: u32 = 0;
        for (&pool.view.waiting.own) |*own| listed += @intFromBool(own.word.get().state == .waiting);
        if (listed == count) return;
        s.system.sleep(1);
    }
    return error.TestUnexpectedResult;
}

test "a wait ends with ok, not-equal, or when its time is over" {
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    try expectEqual(.not_equal, try waitFor(pool, ground, 1, forever));
    try expectEqual(.timed_out, try waitFor(pool, ground, 0, 0));
    try expectEqual(.timed_out, try waitFor(pool, ground, 0, 1_000_000));
    const child = try s.Child.start(struct {
        fn body(at: *Ground) !void {
            const member = try at.join();
            try expectEqual(.ok, try waitFor(member, at, 0, forever));
            _ = member.close(false);
        }
    }.body, ground);
    try untilWaiting(pool, 1);
    try expectEqual(1, try notify(pool, ground, waiting.everybody));
    try expectEqual(0, try child.wait());
    try expectEqual(0, try notify(pool, ground, waiting.everybody));
    try s.expectSound(pool);
}

test "notify wakes as many as it says, and the killed take nobody's place" {
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    var children: [4]s.Child = undefined;
    for (&children, 0..) |*child, i| {
        child.* = try s.Child.start(struct {
            fn body(at: *Ground) !void {
                const member = try at.join();
                try expectEqual(.ok, try waitFor(member, at, 0, forever));
                _ = member.close(false);
            }
        }.body, ground);
        try untilWaiting(pool, @intCast(i + 1));
    }
    // The first two in the queue die there.
    for (children[0..2]) |child| {
        child.kill();
        _ = try child.wait();
    }
    try expectEqual(1, try notify(pool, ground, 1));
    try expectEqual(0, try children[2].wait());
    try expectEqual(1, try notify(pool, ground, 1));
    try expectEqual(0, try children[3].wait());
    try s.expectSound(pool);
    try expectEqual(2, (try pool.reap()).members);
    try s.expectSound(pool);
    for (&pool.view.waiting.buckets) |*bucket| try expectEqual(0, bucket.waiters.get());
}
