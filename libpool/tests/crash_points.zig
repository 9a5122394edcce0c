//! Every crash point of every operation, one at a time (`zig build test-crash`, a build with `-Dcrash-points`).
//!
//! A victim joins, is told to die right after its n-th store to shared memory (or system call that others can see), and
//! runs one operation; n goes up until the operation ends before it dies. After each death another member goes on: it
//! reaps, and then the segment must be sound, every array that others hold must have its exact content, nothing may be
//! lost, and the next operations must work.
//!
//! Second level: where the victim died with the lock, a rescuer takes over and dies at every point of its recovery in
//! turn, before the third one finishes. Recovery makes thousands of stores; all of them are tried for the first death of
//! each operation when the environment has CRASH_POINTS=all, and every 37th otherwise.

const std = @import("std");
const s = @import("support.zig");
const crash = @import("../crash.zig");
const layout = s.layout;
const Pool = s.Pool;
const BlockIndex = s.BlockIndex;

const capacity = 2 << 20;
const large = 100 << 10; // beyond the quick lists

/// What survivor and victim both know: in a page that they share.
const Plan = struct {
    name: [32]u8,
    name_bytes: u32,
    nonce: u64,
    blocks: [16]u32,
    generations: [16]u64,
    claims: [4]u64,
    steps: u64,

    fn join(plan: *const Plan) !*Pool {
        var report: s.segment.Report = .{};
        return Pool.open(plan.name[0..plan.name_bytes], plan.nonce, .{}, &report);
    }
};

/// Arrays of the survivor, with content that says which they are.
const Kept = struct {
    indexes: [8]BlockIndex,

    fn make(pool: *Pool) !Kept {
        var kept: Kept = undefined;
        for (&kept.indexes, 1..) |*index, i| {
            index.* = try s.alloc(pool, if (i % 2 == 0) 3000 * i else 40, false);
            @memset(try s.bytesOf(pool, index.*), @intCast(i));
        }
        return kept;
    }
    fn verify(kept: *const Kept, pool: *Pool) !void {
        for (kept.indexes, 1..) |index, i| {
            const bytes = try s.bytesOf(pool, index);
            try s.expectEqual(if (i % 2 == 0) 3000 * i else 40, bytes.len);
            try s.expect(std.mem.allEqual(u8, bytes, @intCast(i)));
        }
    }
};

const Operation = struct {
    name: []const u8,
    /// By the survivor, before the victim starts.
    prepare: *const fn (pool: *Pool, plan: *Plan) anyerror!void = nothing,
    /// By the victim, before it is told to die; not where joining is what is tested.
    set_up: ?*const fn (member: *Pool, plan: *Plan) anyerror!void = nothingMore,
    run: *const fn (member: ?*Pool, plan: *Plan) anyerror!void,
    /// How many arrays there may be besides the kept ones when the victim is reaped.
    arrays_left: [2]u32 = .{ 0, 0 },
};

fn nothing(_: *Pool, _: *Plan) anyerror!void {}
fn nothingMore(_: *Pool, _: *Plan) anyerror!void {}

fn release(member: *Pool, block: u32) !void {
    _ = try member.release(block, true);
}

/// n arrays of a size side by side, owned by the victim.
fn row(comptime count: u32, comptime bytes: u64) *const fn (member: *Pool, plan: *Plan) anyerror!void {
    return struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            for (plan.blocks[0..count]) |*block| block.* = (try s.alloc(member, bytes, false)).int();
        }
    }.f;
}

/// An array of the survivor with a claim good for `attaches`, which it holds itself no longer.
fn claimed(comptime attaches: u24) *const fn (pool: *Pool, plan: *Plan) anyerror!void {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            const index = try s.alloc(pool, 5000, false);
            plan.blocks[0] = index.int();
            plan.generations[0] = s.generationOf(pool, index);
            plan.claims[0] = try pool.createClaim(index.int(), attaches, 0);
            try release(pool, index.int());
        }
    }.f;
}

const operations = [_]Operation{
    .{ .name = "join", .set_up = null, .run = struct {
        fn f(_: ?*Pool, plan: *Plan) anyerror!void {
            _ = try plan.join();
        }
    }.f },
    .{ .name = "join after a member that was killed", .prepare = struct {
        fn f(_: *Pool, plan: *Plan) anyerror!void {
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    const member = try at.join();
                    for (0..5) |_| _ = try s.alloc(member, 700, false);
                    s.die();
                }
            }.body, plan);
            _ = try child.wait();
        }
    }.f, .set_up = null, .run = struct {
        fn f(_: ?*Pool, plan: *Plan) anyerror!void {
            _ = try plan.join();
        }
    }.f },
    .{ .name = "alloc, from a quick list", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(2, 1000)(member, plan);
            try release(member, plan.blocks[0]);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try s.alloc(member.?, 1000, true);
        }
    }.f },
    .{ .name = "alloc, with a split", .set_up = row(1, 100), .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try s.alloc(member.?, 4000, true);
        }
    }.f },
    .{ .name = "alloc, with backing", .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try s.alloc(member.?, 300 << 10, true);
        }
    }.f },
    .{ .name = "alloc, with growth of the block table", .prepare = struct {
        fn f(pool: *Pool, _: *Plan) anyerror!void {
            while (@import("../blocks.zig").unusedEntries(&pool.view) > 2) _ = try s.alloc(pool, 64, false);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            for (0..8) |_| _ = try s.alloc(member.?, 128, false);
        }
    }.f, .arrays_left = .{ 1000, 1100 } },
    .{ .name = "alloc, after everything was merged", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            var last: [2048]u32 = undefined;
            var count: usize = 0;
            while (count < last.len) : (count += 1) last[count] = (s.alloc(member, 8 << 10, false) catch break).int();
            for (last[0..count], 0..) |block, i| if (i % 8 != 0) try release(member, block);
            plan.blocks[0] = last[0];
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try s.alloc(member.?, 50 << 10, true);
        }
    }.f },
    .{ .name = "alloc, when the pool is full", .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (member.?.alloc(capacity - 64, 1, false)) |_| return error.TestUnexpectedResult else |_| {}
        }
    }.f },
    .{ .name = "release, to a quick list", .set_up = row(3, 1000), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try release(member.?, plan.blocks[1]);
        }
    }.f },
    .{ .name = "release, between used neighbours", .set_up = row(3, large), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try release(member.?, plan.blocks[1]);
        }
    }.f },
    .{ .name = "release, with merges to one side, the other and both", .set_up = row(7, large), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            for ([_]usize{ 1, 2, 5, 4, 3 }) |i| try release(member.?, plan.blocks[i]);
        }
    }.f },
    .{ .name = "release, while somebody else holds it", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            const index = try s.alloc(pool, 5000, false);
            plan.blocks[0] = index.int();
            plan.generations[0] = s.generationOf(pool, index);
        }
    }.f, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            _ = try member.attach(plan.blocks[0], plan.generations[0], 0);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try release(member.?, plan.blocks[0]);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "attach, with the last of a claim", .prepare = claimed(1), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.attach(plan.blocks[0], plan.generations[0], plan.claims[0]);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "attach, with one of a claim for several", .prepare = claimed(3), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.attach(plan.blocks[0], plan.generations[0], plan.claims[0]);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "claim, and again in the same record", .set_up = row(1, 5000), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            const generation = s.generationOf(member.?, .of(plan.blocks[0]));
            for (0..2) |_| {
                const claim = try member.?.createClaim(plan.blocks[0], 2, 0);
                try member.?.dropClaim(plan.blocks[0], generation, claim, 2);
            }
            _ = try member.?.createClaim(plan.blocks[0], 1, 0);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{
        .name = "claim, with growth of the pin table",
        .set_up = struct {
            fn f(member: *Pool, plan: *Plan) anyerror!void {
                try row(1, 64)(member, plan);
                // All of them expired by the time the victim dies.
                for (0..s.segment.pins_backed_first) |_| _ = try member.createClaim(plan.blocks[0], 1, 1);
                s.system.sleep(5);
            }
        }.f,
        .run = struct {
            fn f(member: ?*Pool, plan: *Plan) anyerror!void {
                _ = try member.?.createClaim(plan.blocks[0], 1, 1);
            }
        }.f,
        .arrays_left = .{ 0, 1 }, // that claim may not have expired yet
    },
    .{ .name = "drop of a claim that held the array alone", .prepare = claimed(2), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try member.?.dropClaim(plan.blocks[0], plan.generations[0], plan.claims[0], 2);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{
        .name = "reap, of a killed member and an expired claim",
        .prepare = struct {
            fn f(pool: *Pool, plan: *Plan) anyerror!void {
                const child = try s.Child.start(struct {
                    fn body(at: *Plan) !void {
                        const member = try at.join();
                        for (0..4) |i| _ = try s.alloc(member, 700 + i * large, false);
                        s.die();
                    }
                }.body, plan);
                // Alive until the victim has joined, since joining reaps.
                plan.blocks[15] = @intCast(child.pid);
                const index = try s.alloc(pool, 5000, false);
                _ = try pool.createClaim(index.int(), 1, 1);
                try release(pool, index.int());
                s.system.sleep(3);
                _ = try child.wait();
            }
        }.f,
        .run = struct {
            fn f(member: ?*Pool, _: *Plan) anyerror!void {
                _ = try member.?.reap();
            }
        }.f,
    },
    .{ .name = "trim", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(7, large)(member, plan);
            for ([_]usize{ 1, 3, 4 }) |i| try release(member, plan.blocks[i]);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try member.?.trim();
        }
    }.f },
    .{ .name = "leave, with arrays of its own and of others", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(7, large)(member, plan);
            _ = try member.createClaim(plan.blocks[3], 1, 1);
            s.system.sleep(3);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(false);
        }
    }.f },
};

const Tally = struct { points: u64 = 0, runs: u64 = 0, rescues: u64 = 0 };

fn victim(at: struct { *const Operation, *Plan, u64 }) anyerror!void {
    const operation, const plan, const die_at = at;
    var member: ?*Pool = null;
    if (operation.set_up) |set_up| {
        member = try plan.join();
        try set_up(member.?, plan);
    }
    crash.arm(die_at);
    try operation.run(member, plan);
    plan.steps = crash.taken();
    crash.arm(0);
}

fn rescuer(at: struct { *Plan, u64 }) anyerror!void {
    const plan, const die_at = at;
    crash.arm(die_at);
    const member = try plan.join();
    _ = try member.reap();
    plan.steps = crash.taken();
    crash.arm(0);
}

/// One death of the victim, and `rescue_at` > 0: then one of a rescuer. Returns whether each was still running by then.
fn oneRun(operation: *const Operation, plan: *Plan, die_at: u64, rescue_at: u64) !struct { victim_died: bool, rescuer_died: bool, locked: bool } {
    const pool = try s.create(capacity);
    defer s.end(pool);
    plan.* = std.mem.zeroes(Plan);
    plan.name = pool.name_buffer;
    plan.name_bytes = pool.name_bytes;
    plan.nonce = pool.nonce;
    const kept = try Kept.make(pool);
    const before = (try pool.stats()).arrays;
    try operation.prepare(pool, plan);

    const code = try (try s.Child.start(victim, .{ operation, plan, die_at })).wait();
    if (code != 0 and code != 128 + 9) return error.VictimFailed;
    const locked = pool.view.header.lock.get() != layout.LockWord.unlocked;
    var rescuer_died = false;
    if (rescue_at > 0) {
        const rescue_code = try (try s.Child.start(rescuer, .{ plan, rescue_at })).wait();
        if (rescue_code != 0 and rescue_code != 128 + 9) return error.RescuerFailed;
        rescuer_died = rescue_code != 0;
    }
    try survive(pool, &kept, before, operation);
    return .{ .victim_died = code != 0, .rescuer_died = rescuer_died, .locked = locked };
}

fn survive(pool: *Pool, kept: *const Kept, before: u32, operation: *const Operation) !void {
    _ = try pool.reap();
    try s.expectSound(pool);
    try kept.verify(pool);
    const stats = try pool.stats();
    const left = stats.arrays - before;
    try s.expect(left >= operation.arrays_left[0] and left <= operation.arrays_left[1]);
    try s.expectEqual(1, stats.members);
    // Nothing is lost: all that is not used is one heap, and can be had.
    for ([_]u64{ 64, 1000, large }) |bytes| {
        const index = try s.alloc(pool, bytes, true);
        try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, index), 0));
        try release(pool, index.int());
    }
    try kept.verify(pool);
    if (operation.arrays_left[1] == 0) {
        for (kept.indexes) |index| try release(pool, index.int());
        try release(pool, (try s.alloc(pool, capacity, true)).int());
    }
    try s.expectSound(pool);
}

test "an operation that is stopped at any of its crash points leaves a sound pool, and costs nobody anything" {
    if (!crash.enabled) return error.SkipZigTest;
    const plan = try s.sharedPage(Plan);
    const all = s.hasEnvironment("CRASH_POINTS=all");
    var tally: Tally = .{};
    for (&operations) |*operation| {
        errdefer std.debug.print("in: {s}\n", .{operation.name});
        var die_at: u64 = 1;
        var locked: u32 = 0;
        while (true) : (die_at += 1) {
            errdefer std.debug.print("crash point {d}\n", .{die_at});
            const result = try oneRun(operation, plan, die_at, 0);
            tally.runs += 1;
            if (!result.victim_died) break;
            tally.points += 1;
            if (!result.locked) continue;
            locked += 1;
            if (!all and locked > 3) continue;
            var rescue_at: u64 = 1 + (if (all) 0 else die_at % 37);
            while (true) : (rescue_at += if (all and locked == 1) 1 else 37) {
                errdefer std.debug.print("rescuer's crash point {d}\n", .{rescue_at});
                const rescue = try oneRun(operation, plan, die_at, rescue_at);
                if (!rescue.rescuer_died) break;
                tally.rescues += 1;
            }
        }
    }
    std.debug.print("crash points: {d} in {d} operations, each died at; {d} deaths of a rescuer\n", .{ tally.points, operations.len, tally.rescues });
    try s.expect(tally.points > 300);
    try s.expect(tally.rescues > 300);
}

test "a creator that dies at any point leaves a name that is free at once, and nothing in /dev/shm" {
    if (!crash.enabled) return error.SkipZigTest;
    const Creator = struct {
        die_at: u64,
        steps: u64,
        name: [32]u8,
        name_bytes: usize,

        fn run(creator: *@This()) anyerror!void {
            var report: s.segment.Report = .{};
            crash.arm(creator.die_at);
            const pool = try Pool.create(creator.name[0..creator.name_bytes], capacity, 1000, .{}, &report);
            _ = try s.alloc(pool, 1000, true);
            _ = pool.close(false);
            creator.steps = crash.taken();
        }
    };
    const creator = try s.sharedPage(Creator);
    creator.name_bytes = s.uniqueName("creator", &creator.name).len;
    const name = creator.name[0..creator.name_bytes];
    var die_at: u64 = 1;
    while (true) : (die_at += if (die_at < 40) 1 else 97) { // most are the empty free lists
        creator.die_at = die_at;
        const code = try (try s.Child.start(Creator.run, creator)).wait();
        var report: s.segment.Report = .{};
        const pool = try Pool.create(name, capacity, 1000, .{}, &report);
        try s.expectSound(pool);
        try s.expectEqual(0, (try pool.stats()).arrays);
        _ = pool.close(false);
        try s.expect(!s.exists(name));
        if (code == 0) break;
    }
    // The end, where it publishes and leaves, point by point.
    for (creator.steps - 150..creator.steps + 1) |at| {
        creator.die_at = at;
        _ = try (try s.Child.start(Creator.run, creator)).wait();
        var report: s.segment.Report = .{};
        _ = (try Pool.create(name, capacity, 1000, .{}, &report)).close(false);
        try s.expect(!s.exists(name));
    }
}
