//! Arrays on their way: a claim holds what was sent until it is attached or expires, whoever dies in between. With
//! `-Dcrash-points` (`zig build test-crash`) the receiver dies at every store of its attach in turn.

const std = @import("std");
const s = @import("support.zig");
const crash = @import("../crash.zig");
const Pool = s.Pool;
const Holders = @import("../view.zig").Holders;

const capacity = 2 << 20;
const length = 300_000;

const Sent = struct {
    pool: *Pool,
    block: u32,
    generation: u64,
    claim: u64,
    die_at: u64 = 0,

    /// An array of known content that nothing but its claim holds.
    fn send(pool: *Pool, attaches: u24, ttl_ms: u64) !Sent {
        const index = try s.alloc(pool, length, false);
        for (try s.bytesOf(pool, index), 0..) |*byte, i| byte.* = @truncate(i *% 31);
        const sent: Sent = .{
            .pool = pool,
            .block = index.int(),
            .generation = s.generationOf(pool, index),
            .claim = try pool.createClaim(index.int(), attaches, ttl_ms),
        };
        _ = try pool.release(index.int(), true);
        return sent;
    }
    fn receive(sent: Sent, member: *Pool) !void {
        _ = try member.attach(sent.block, sent.generation, sent.claim);
        const bytes = try s.bytesOf(member, .of(sent.block));
        try s.expectEqual(length, bytes.len);
        for (bytes, 0..) |byte, i| try s.expectEqual(@as(u8, @truncate(i *% 31)), byte);
    }
    fn isHeldBySomebody(sent: Sent) bool {
        const block = &sent.pool.view.blocks[sent.block];
        return block.word.get().state == .used and !Holders.of(block).isEmpty();
    }
};

/// All that was in flight is gone, and not a byte with it.
fn expectAllFree(pool: *Pool) !void {
    try s.expectSound(pool);
    const stats = try pool.stats();
    try s.expectEqual(0, stats.arrays);
    try s.expectEqual(0, stats.claims);
    try s.expectEqual(1, stats.members);
    _ = try pool.release((try s.alloc(pool, capacity, false)).int(), true);
}

fn reapUntilExpired(pool: *Pool) !void {
    for (0..2000) |_| {
        _ = try pool.reap();
        if ((try pool.stats()).claims == 0) return;
        s.system.sleep(5);
    }
    return error.ClaimNeverExpired;
}

test "a receiver that is killed anywhere in its attach costs no content, and no memory once the claim has expired" {
    if (!crash.enabled) return error.SkipZigTest;
    var between: u32 = 0;
    var taken: u32 = 0;
    // First somebody else attaches instead, then nobody does.
    for ([_]bool{ true, false }) |again| {
        var die_at: u64 = 1;
        while (true) : (die_at += 1) {
            const pool = try s.create(capacity);
            defer s.end(pool);
            var sent = try Sent.send(pool, 1, if (again) 60_000 else 100);
            sent.die_at = die_at;
            const code = try (try s.Child.start(struct {
                fn body(at: Sent) !void {
                    const member = try s.join(at.pool);
                    crash.arm(at.die_at);
                    try at.receive(member);
                    crash.arm(0);
                }
            }.body, sent)).wait();
            if (code == 0) break;
            try s.expectEqual(128 + 9, code);
            // With its bit set, and its claim not taken: both hold, neither is lost.
            const has_claim = pool.view.pins[0].word.get().kind == .claim;
            try s.expect(has_claim or sent.isHeldBySomebody());
            if (has_claim and sent.isHeldBySomebody()) between += 1;
            if (!has_claim) taken += 1;
            try s.expectEqual(1, (try pool.reap()).members);
            try s.expect(!sent.isHeldBySomebody());
            try s.expectSound(pool);
            if (has_claim and again) {
                try s.expectEqual(1, (try pool.stats()).arrays);
                try sent.receive(pool);
                try s.expectEqual(0, (try pool.stats()).claims);
                _ = try pool.release(sent.block, true);
            } else try reapUntilExpired(pool);
            try s.expectError(error.Stale, pool.attach(sent.block, sent.generation, sent.claim));
            try expectAllFree(pool);
        }
    }
    std.debug.print("in flight: died {d} times with the bit set and the claim not taken, {d} times with both done\n", .{ between, taken });
    try s.expect(between >= 2 and taken >= 2);
}

test "a sender that is killed has sent: the array is there, to the last byte" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const page = try s.sharedPage(Sent);
    page.pool = pool;
    const child = try s.Child.start(struct {
        fn body(at: *Sent) !void {
            const ours = at.pool;
            at.* = try Sent.send(try s.join(at.pool), 1, 60_000);
            at.pool = ours;
            s.die();
        }
    }.body, page);
    try s.expectEqual(128 + 9, try child.wait());
    try s.expectEqual(1, (try pool.reap()).members);
    try s.expectEqual(1, (try pool.stats()).claims);
    try page.receive(pool);
    _ = try pool.release(page.block, true);
    try expectAllFree(pool);
}

test "a claim for several: as many attach, the next one is stale when all have let go; what is not used expires" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    var members: [4]*Pool = undefined;
    for (&members) |*member| member.* = try s.join(pool);
    const sent = try Sent.send(pool, 3, 60_000);
    for (members[0..3]) |member| try sent.receive(member);
    try s.expectEqual(0, (try pool.stats()).claims);
    for (members[0..3]) |member| {
        try s.expectEqual(1, (try pool.stats()).arrays);
        _ = try member.release(sent.block, true);
    }
    try s.expectError(error.Stale, members[3].attach(sent.block, sent.generation, sent.claim));
    const fewer = try Sent.send(pool, 3, 1000);
    for (members[0..2]) |member| try fewer.receive(member);
    for (members[0..2]) |member| _ = try member.release(fewer.block, true);
    try reapUntilExpired(pool);
    try s.expectError(error.Stale, members[3].attach(fewer.block, fewer.generation, fewer.claim));
    for (members) |member| _ = member.close(false);
    try expectAllFree(pool);
}

test "sending in a loop to receivers that die, before or after they attach, never fills the heap for good" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    for (0..60) |i| { // nine times the heap
        const sent = for (0..2000) |_| {
            if (Sent.send(pool, 1, 50)) |sent| break sent else |err| try s.expectEqual(error.Full, err);
            s.system.sleep(2);
        } else return error.TestUnexpectedResult;
        const how = .{ sent, i % 2 == 0 };
        const code = try (try s.Child.start(struct {
            fn body(at: @TypeOf(how)) !void {
                const member = try s.join(at[0].pool);
                if (at[1]) try at[0].receive(member);
                s.die();
            }
        }.body, how)).wait();
        try s.expectEqual(128 + 9, code);
    }
    try reapUntilExpired(pool);
    try expectAllFree(pool);
}

test "sending in a loop what nobody attaches never fills the pin table for good" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const index = (try s.alloc(pool, 64, false)).int();
    const pins_max = pool.view.geometry.pins_max;
    for (0..5 * pins_max) |_| {
        for (0..2000) |_| {
            if (pool.createClaim(index, 1, 10)) |_| break else |err| try s.expectEqual(error.Full, err);
            s.system.sleep(2);
        } else return error.TestUnexpectedResult;
    }
    try s.expectEqual(pins_max, pool.view.pinsUsed());
    _ = try pool.release(index, true);
    try reapUntilExpired(pool);
    try expectAllFree(pool);
}
