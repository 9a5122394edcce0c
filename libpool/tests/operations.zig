//! The operations in which the crash tests let a process die: each changes shared memory in one way, and is as small as
//! it can be, so that at every moment it happened or did not. (crash_points.zig says how they are run.)

const std = @import("std");
const s = @import("support.zig");
const backing = @import("../backing.zig");
const blocks = @import("../blocks.zig");
const names = @import("names.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const BlockIndex = s.BlockIndex;

pub const capacity = 1 << 20;
pub const large = 100 << 10; // beyond the quick lists
const hour_ms = 3_600_000;

/// What survivor and victim both know: in a page that they share.
pub const Plan = struct {
    address: s.Address,
    blocks: [16]u32,
    generations: [16]u64,
    claims: [4]u64,
    /// The survivor's channel; generation 0: there is none.
    channel: u32,
    channel_generation: u64,
    /// How many waits the survivor has begun, for the first word of the first block.
    waits: u32,
};

pub const Operation = struct {
    name: []const u8,
    capacity: u64 = capacity,
    /// By the survivor, before the victim starts.
    prepare: *const fn (pool: *Pool, plan: *Plan) anyerror!void = nothing,
    /// By the victim, before it is told to die; null where joining is what is tested.
    set_up: ?*const fn (member: *Pool, plan: *Plan) anyerror!void = nothing,
    run: *const fn (member: ?*Pool, plan: *Plan) anyerror!void,
    /// How many arrays there may be besides the kept ones when the victim is reaped.
    arrays_left: [2]u32 = .{ 0, 0 },
    /// No claim may be as after the operation while a block is as before it.
    holds_before_claims: bool = false,
    /// Several changes one after the other: then blocks may be in between, though messages and claims are not.
    in_steps: bool = false,
};

fn nothing(_: *Pool, _: *Plan) anyerror!void {}

pub fn release(member: *Pool, block: u32) !void {
    _ = try member.release(block, true);
}

/// With bytes that are not zero, which nobody may take for zeros later.
fn written(member: *Pool, bytes: u64) !u32 {
    const index = try s.alloc(member, bytes, false);
    @memset(try s.bytesOf(member, index), 0xa5);
    return index.int();
}

/// The survivor waits three times for a word, parked.
fn waits(pool: *Pool, plan: *Plan) anyerror!void {
    plan.blocks[0] = try shared(pool, 64);
    plan.generations[0] = s.generationOf(pool, .of(plan.blocks[0]));
    @memset(try s.bytesOf(pool, .of(plan.blocks[0])), 0);
    while (plan.waits < 3) : (plan.waits += 1) _ = try pool.beginWait(try pool.placeIn(plan.blocks[0], 0), 0);
    if (!try waiting.park(pool.caller())) return error.TestUnexpectedResult;
}

/// The victim holds that array, too.
fn holds(member: *Pool, plan: *Plan) anyerror!void {
    _ = try member.attach(plan.blocks[0], plan.generations[0], 0);
}

/// And waits twice itself, behind the survivor.
fn holdsAndWaits(member: *Pool, plan: *Plan) anyerror!void {
    try holds(member, plan);
    for (0..2) |_| _ = try member.beginWait(try member.placeIn(plan.blocks[0], 0), 0);
}

fn waitsUnfenced(pool: *Pool, plan: *Plan) anyerror!void {
    try waits(pool, plan);
    try unfenced(pool, plan);
}

fn unfenced(member: ?*Pool, _: *Plan) anyerror!void {
    if (s.system.has_barriers and !waiting.unfenced(&member.?.view)) return error.TestUnexpectedResult;
}

fn blocksFor(comptime expected: u32, comptime timeout_ns: u64, comptime outcome: waiting.Outcome) Run {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            const place = try member.?.placeIn(plan.blocks[0], 0);
            const got = try waiting.wait(member.?.caller(), &member.?.blocking, place, expected, timeout_ns);
            if (got != outcome) return error.TestUnexpectedResult;
        }
    }.f;
}

fn notifies(comptime count: u32, comptime woken: u32) Run {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            const got = try waiting.notify(member.?.caller(), try member.?.placeIn(plan.blocks[0], 0), count);
            if (got != woken) return error.TestUnexpectedResult;
        }
    }.f;
}

const SetUp = *const fn (member: *Pool, plan: *Plan) anyerror!void;
const Run = *const fn (member: ?*Pool, plan: *Plan) anyerror!void;

/// An array in memory that is backed for it, with so much more behind it.
fn grown(pool: *Pool, bytes: u32, backed_bytes: u32) !BlockIndex {
    const granules = bytes / layout.granule_bytes;
    const reserved = (try backing.reserve(pool, backed_bytes / layout.granule_bytes)).?;
    try s.expect(try backing.backReserved(pool, reserved, false));
    return (try backing.publishGrown(pool, reserved, .{ .length_bytes = bytes, .granules = granules, .dtype = 1, .zeroed = false })).?.index;
}

fn hasZeros(pool: *Pool, _: *Plan) anyerror!void {
    _ = try grown(pool, 128, 4 << 10);
}

/// n arrays of a size side by side, owned by the victim, of which some are released again, in that order.
fn row(comptime count: u32, comptime bytes: u64, comptime released: []const usize) SetUp {
    return struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            for (plan.blocks[0..count]) |*block| block.* = try written(member, bytes);
            for (released) |i| try release(member, plan.blocks[i]);
        }
    }.f;
}

/// The same of a size that caches keep, which go to the quick list.
fn quick(comptime count: u32, comptime bytes: u64, comptime released: []const usize) SetUp {
    return struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            for (plan.blocks[0..count]) |*block| block.* = try shared(member, bytes);
            for (released) |i| try release(member, plan.blocks[i]);
        }
    }.f;
}

/// As written(), and others may have been told of it: it is let go of under the lock.
fn shared(member: *Pool, bytes: u64) !u32 {
    const block = try written(member, bytes);
    try member.share(block);
    return block;
}

fn releases(comptime i: usize) Run {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try release(member.?, plan.blocks[i]);
        }
    }.f;
}

fn allocates(comptime bytes: u64) Run {
    return struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try s.alloc(member.?, bytes, true);
        }
    }.f;
}

/// With something behind it.
fn allocatesWithRoom(comptime bytes: u64) Run {
    return struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try member.?.allocWithRoom(bytes, 1, true, layout.room_bytes_max);
        }
    }.f;
}

/// An array of the survivor with a claim good for `attaches`, which it holds itself no longer.
fn claimed(comptime attaches: u24) SetUp {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            plan.blocks[0] = try written(pool, 5000);
            plan.generations[0] = s.generationOf(pool, .of(plan.blocks[0]));
            plan.claims[0] = try pool.createClaim(plan.blocks[0], attaches, hour_ms);
            try release(pool, plan.blocks[0]);
        }
    }.f;
}

/// A member that allocates and is killed: it can be reaped.
fn killed(plan: *Plan) !void {
    const child = try s.Child.start(struct {
        fn body(at: *Plan) !void {
            const member = try at.address.join();
            for (0..4) |i| _ = try written(member, 700 + i * large);
            s.die();
        }
    }.body, plan);
    _ = try child.wait();
}

/// An array that only an expired claim holds.
fn expired(member: *Pool) !void {
    const block = try written(member, 5000);
    _ = try member.createClaim(block, 1, 1);
    try release(member, block);
    s.system.sleep(3);
}

/// An array of the survivor that only a name holds.
fn named(pool: *Pool, plan: *Plan) anyerror!void {
    plan.blocks[8] = try written(pool, 3000);
    try names.set(pool, "it", plan.blocks[8]);
    try release(pool, plan.blocks[8]);
}

/// So many names of one array.
fn crowded(comptime count: u32) SetUp {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            var buffer: [16]u8 = undefined;
            try named(pool, plan);
            _ = try names.get(pool, "it");
            for (1..count) |i| try names.set(pool, try std.fmt.bufPrint(&buffer, "{d}", .{i}), plan.blocks[8]);
            try release(pool, plan.blocks[8]);
        }
    }.f;
}

fn namesIt(member: ?*Pool, plan: *Plan) anyerror!void {
    try names.set(member.?, "it", plan.blocks[0]);
}

fn makes(member: *Pool, plan: *Plan) anyerror!void {
    try row(1, 5000, &.{})(member, plan);
    if (try names.begin(member, "it", 0) != .make) return error.TestUnexpectedResult;
}

/// A maker that is killed.
fn makesAndDies(_: *Pool, plan: *Plan) anyerror!void {
    const child = try s.Child.start(struct {
        fn body(at: *Plan) !void {
            const member = try at.address.join();
            try makes(member, at);
            s.die();
        }
    }.body, plan);
    _ = try child.wait();
}

fn joins(_: ?*Pool, plan: *Plan) anyerror!void {
    _ = try plan.address.join();
}

pub const all = [_]Operation{
    .{ .name = "join", .set_up = null, .run = joins },
    .{ .name = "join after a member that was killed", .prepare = struct {
        fn f(_: *Pool, plan: *Plan) anyerror!void {
            try killed(plan);
        }
    }.f, .set_up = null, .run = joins },
    .{ .name = "open or create, of a pool that is there", .set_up = null, .run = struct {
        fn f(_: ?*Pool, plan: *Plan) anyerror!void {
            var report: s.segment.Report = .{};
            _ = try Pool.openOrCreate(plan.address.name(), capacity, 1000, .{}, &report);
        }
    }.f },
    .{ .name = "alloc, from the cache", .set_up = row(2, 1000, &.{0}), .run = allocates(1000) },
    .{ .name = "alloc, from the cache, as natives do, in another second than the last", .set_up = row(2, 1000, &.{0}), .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            member.?.clock.second -= 1;
            const taken = member.?.allocPlain(1000, 1) orelse return error.TestUnexpectedResult;
            member.?.stamp(taken.index);
        }
    }.f },
    .{ .name = "alloc, from a cache whose block was taken away", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(3, 1000, &.{ 0, 1 })(member, plan);
            const other = try plan.address.join();
            _ = try other.trim();
            _ = other.close(false);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            for (0..3) |_| _ = try s.alloc(member.?, 1000, true);
        }
    }.f, .arrays_left = .{ 0, 2 } },
    .{ .name = "alloc, with something behind it, from the cache", .set_up = row(2, 1000 + layout.room_bytes_max, &.{0}), .run = allocatesWithRoom(1000) },
    .{ .name = "alloc, with something behind it, with a split", .set_up = row(1, 100, &.{}), .run = allocatesWithRoom(4096) },
    .{ .name = "alloc, from a quick list", .set_up = quick(2, 1000, &.{0}), .run = allocates(1000) },
    .{ .name = "alloc, with a split", .set_up = row(1, 100, &.{}), .run = allocates(4000) },
    .{ .name = "alloc, of a whole run", .set_up = row(3, large, &.{1}), .run = allocates(large) },
    .{ .name = "alloc, with backing", .run = allocates(300 << 10) },
    .{ .name = "release, of an array behind zeros that nobody has used", .prepare = hasZeros, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            const index = (try grown(member, 200 << 10, 200 << 10)).int();
            @memset(try s.bytesOf(member, .of(index)), 0xa5);
            plan.blocks[0] = index;
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try release(member.?, plan.blocks[0]);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "alloc, with backing behind a rest", .set_up = row(1, 100, &.{}), .run = allocates(300 << 10) },
    .{ .name = "alloc, from the cache, of a smaller size", .set_up = row(2, 1000, &.{0}), .run = allocates(900) },
    .{ .name = "alloc, with growth of the block table", .prepare = struct {
        fn f(pool: *Pool, _: *Plan) anyerror!void {
            while (blocks.unusedEntries(&pool.view) > 2) _ = try s.alloc(pool, 64, false);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            for (0..8) |_| _ = try s.alloc(member.?, 128, false);
        }
    }.f, .arrays_left = .{ s.segment.blocks_backed_first - 20, s.segment.blocks_backed_first + 20 } },
    .{ .name = "alloc, after quick lists were merged", .capacity = 2 << 20, .set_up = struct {
        fn f(member: *Pool, _: *Plan) anyerror!void {
            var many: [36]u32 = undefined;
            for (&many) |*block| block.* = try shared(member, 32 << 10);
            for (many[0 .. many.len - 1]) |block| try release(member, block);
        }
    }.f, .run = allocates(large) },
    .{ .name = "alloc, after everything was merged", .set_up = struct {
        fn f(member: *Pool, _: *Plan) anyerror!void {
            var many: [32]u32 = undefined;
            var count: usize = 0;
            while (count < many.len) : (count += 1) many[count] = shared(member, 32 << 10) catch break;
            while (true) _ = written(member, 8 << 10) catch break;
            for (many[0..count], 0..) |block, i| if (i % 4 != 0) try release(member, block);
        }
    }.f, .run = allocates(80 << 10) },
    .{
        .name = "alloc, out of a larger block of the cache",
        .set_up = struct {
            fn f(member: *Pool, _: *Plan) anyerror!void {
                const larger = try written(member, 4 << 10); // all that a member may cache of so small a pool
                for ([_]u64{ 64 << 10, 8 << 10, 1 << 10, 64 }) |bytes| while (true) {
                    _ = written(member, bytes) catch break;
                };
                try release(member, larger);
            }
        }.f,
        .run = allocates(3000),
    },
    .{ .name = "alloc, of what an idle member has cached", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            var side_by_side: [4]u32 = undefined;
            for (&side_by_side) |*block| block.* = try shared(member, 1024);
            for ([_]u64{ 64 << 10, 8 << 10, 1 << 10, 64 }) |bytes| while (true) {
                _ = written(member, bytes) catch break;
            };
            for (side_by_side) |block| try release(member, block);
            const idle = try plan.address.join();
            for (&side_by_side) |*block| block.* = try written(idle, 1024);
            for (side_by_side) |block| try release(idle, block);
        }
    }.f, .run = allocates(4 << 10) },
    // In these two first something is freed; the new array may get the entry of that.
    .{ .name = "alloc, after a killed member was reaped", .in_steps = true, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    const other = try at.address.join();
                    while (true) _ = written(other, 64 << 10) catch break;
                    while (true) _ = written(other, 8 << 10) catch break;
                    s.die();
                }
            }.body, plan);
            _ = try child.wait();
            _ = member;
        }
    }.f, .run = allocates(300 << 10) },
    .{ .name = "alloc, after a claim expired", .in_steps = true, .set_up = struct {
        fn f(member: *Pool, _: *Plan) anyerror!void {
            const most = try written(member, 6 * large);
            _ = try member.createClaim(most, 1, 1);
            try release(member, most);
            s.system.sleep(3);
        }
    }.f, .run = allocates(7 * large) },
    .{ .name = "alloc, when the pool is full", .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (member.?.alloc(capacity - 64, 1, false)) |_| return error.TestUnexpectedResult else |_| {}
        }
    }.f },
    .{ .name = "release, to the cache", .set_up = row(3, 1000, &.{}), .run = releases(1) },
    .{ .name = "share, without a claim", .set_up = row(1, 1000, &.{}), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try member.?.share(plan.blocks[0]);
        }
    }.f },
    .{ .name = "release, to a quick list", .set_up = quick(3, 1000, &.{}), .run = releases(1) },
    .{ .name = "release, to a cache that is full", .set_up = row(6, 1000, &.{ 0, 1, 2, 3 }), .run = releases(4) },
    .{ .name = "alloc and release, by one who counts his buffers", .in_steps = true, .set_up = null, .run = struct {
        fn f(_: ?*Pool, plan: *Plan) anyerror!void {
            const member = try plan.address.joinAs(.{ .counts_buffers = true });
            const block = (try s.alloc(member, 1000, true)).int();
            _ = try member.release(block, false);
        }
    }.f },
    .{ .name = "release with a spare buffer, and alloc and release with it", .in_steps = true, .set_up = null, .run = struct {
        fn f(_: ?*Pool, plan: *Plan) anyerror!void {
            const member = try plan.address.joinAs(.{ .counts_buffers = true });
            _ = try member.releaseAny((try s.alloc(member, 1000, true)).int(), .spare);
            const block = (try s.alloc(member, 1000, true)).int();
            member.spare(block, true);
            _ = try member.releaseAny(block, .spare);
            member.spare(block, false);
        }
    }.f },
    .{ .name = "release, between used neighbours", .set_up = row(3, large, &.{}), .run = releases(1) },
    .{ .name = "release, with a merge to the left", .set_up = row(4, large, &.{1}), .run = releases(2) },
    .{ .name = "release, with a merge to the right", .set_up = row(4, large, &.{2}), .run = releases(1) },
    .{ .name = "release, with a merge to both sides", .set_up = row(5, large, &.{ 1, 3 }), .run = releases(2) },
    .{ .name = "release, while somebody else holds it", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            plan.blocks[0] = try shared(pool, 5000);
            plan.generations[0] = s.generationOf(pool, .of(plan.blocks[0]));
        }
    }.f, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            _ = try member.attach(plan.blocks[0], plan.generations[0], 0);
        }
    }.f, .run = releases(0), .arrays_left = .{ 1, 1 } },
    .{ .name = "release, while a claim holds it", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(1, 5000, &.{})(member, plan);
            _ = try member.createClaim(plan.blocks[0], 1, hour_ms);
        }
    }.f, .run = releases(0), .arrays_left = .{ 1, 1 } },
    .{
        .name = "release, with somebody waiting for the lock",
        .set_up = row(1, 5000, &.{}),
        .run = struct {
            fn f(member: ?*Pool, plan: *Plan) anyerror!void {
                const self = &member.?.self;
                const lock = &member.?.view.header.lock;
                if (!lock.compareAndSwap(.unlocked, self.lock_word)) return error.TestUnexpectedResult;
                // As one who waits would do it.
                var waited_for = self.lock_word;
                waited_for.waiters = true;
                if (!lock.compareAndSwap(self.lock_word, waited_for)) return error.TestUnexpectedResult;
                @import("../lock.zig").release(&member.?.view, self);
                try release(member.?, plan.blocks[0]);
            }
        }.f,
    },
    .{ .name = "trace", .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try member.?.openTrace(5000);
        }
    }.f },
    .{ .name = "attach, with the last of a claim", .prepare = claimed(1), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.attach(plan.blocks[0], plan.generations[0], plan.claims[0]);
        }
    }.f, .arrays_left = .{ 0, 1 }, .holds_before_claims = true },
    .{ .name = "attach, with one of a claim for several", .prepare = claimed(3), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.attach(plan.blocks[0], plan.generations[0], plan.claims[0]);
        }
    }.f, .arrays_left = .{ 1, 1 }, .holds_before_claims = true },
    .{ .name = "claim", .set_up = row(1, 5000, &.{}), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.createClaim(plan.blocks[0], 2, hour_ms);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "claim, in a record that was used before", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(1, 5000, &.{})(member, plan);
            const generation = s.generationOf(member, .of(plan.blocks[0]));
            const claim = try member.createClaim(plan.blocks[0], 2, hour_ms);
            try member.dropClaim(plan.blocks[0], generation, claim, 2);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.createClaim(plan.blocks[0], 1, hour_ms);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "claim, with growth of the pin table", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(1, 64, &.{})(member, plan);
            for (0..s.segment.pins_backed_first) |_| _ = try member.createClaim(plan.blocks[0], 1, hour_ms);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try member.?.createClaim(plan.blocks[0], 1, hour_ms);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "drop of one attach of a claim", .prepare = claimed(2), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try member.?.dropClaim(plan.blocks[0], plan.generations[0], plan.claims[0], 1);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "drop of a claim that held the array alone", .prepare = claimed(2), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try member.?.dropClaim(plan.blocks[0], plan.generations[0], plan.claims[0], 2);
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "reap, of a killed member", .set_up = struct {
        fn f(_: *Pool, plan: *Plan) anyerror!void {
            try killed(plan);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if ((try member.?.reap()).members != 1) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "reap, of an expired claim", .set_up = struct {
        fn f(member: *Pool, _: *Plan) anyerror!void {
            try expired(member);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if ((try member.?.reap()).freed.blocks != 1) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "trim, with something in a cache", .set_up = row(5, 1000, &.{ 1, 2, 3 }), .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try member.?.trim();
        }
    }.f },
    .{ .name = "trim", .set_up = row(7, large, &.{ 1, 3, 4 }), .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (try member.?.trim() < 3 * large - (16 << 10)) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "set of a name, the first of the pool", .set_up = row(1, 5000, &.{}), .run = namesIt, .arrays_left = .{ 0, 1 } },
    .{ .name = "set of a name that is set", .prepare = named, .set_up = row(1, 5000, &.{}), .run = namesIt, .arrays_left = .{ 1, 1 } },
    .{ .name = "set of a name, with growth of the buckets", .prepare = crowded(16), .set_up = row(1, 5000, &.{}), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try names.set(member.?, "that", plan.blocks[0]);
        }
    }.f, .arrays_left = .{ 1, 2 } },
    .{ .name = "set of a name, with growth of the name table", .prepare = crowded(255), .set_up = row(1, 5000, &.{}), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try names.set(member.?, "that", plan.blocks[0]);
        }
    }.f, .arrays_left = .{ 1, 2 } },
    .{ .name = "set of a name, in a record that was used before, of an array with a shape", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(1, 5000, &.{})(member, plan);
            try names.set(member, "that", plan.blocks[0]);
            if (!try names.delete(member, "that")) return error.TestUnexpectedResult;
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try names.setShaped(member.?, "it", plan.blocks[0], &.{ 50, 100 });
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "get of a name", .prepare = named, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (try names.get(member.?, "it") == null) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "delete of a name that held the array alone", .prepare = named, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (!try names.delete(member.?, "it")) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "once, begun", .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (try names.begin(member.?, "it", 0) != .make) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "once, taken over from a maker that was killed", .set_up = makesAndDies, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (try names.begin(member.?, "it", 0) != .make) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "once, ended with an array", .set_up = makes, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            if (try names.finish(member.?, "it", plan.blocks[0]) != .there) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 0, 1 } },
    .{ .name = "once, ended with nothing", .set_up = makes, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if (try names.finish(member.?, "it", null) != .there) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "set of a name that somebody else makes", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try makesAndDies(member, plan);
            try row(1, 5000, &.{})(member, plan);
        }
    }.f, .run = namesIt, .arrays_left = .{ 0, 1 } },
    .{ .name = "reap, of a maker that was killed", .set_up = makesAndDies, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if ((try member.?.reap()).members != 1) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "leave, while it makes something", .set_up = makes, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(false);
        }
    }.f },
    .{ .name = "wait, for a word that is another", .prepare = waits, .set_up = holds, .run = blocksFor(1, 0, .not_equal), .arrays_left = .{ 1, 1 } },
    .{ .name = "wait, until its time is over", .prepare = waits, .set_up = holds, .run = blocksFor(0, 0, .timed_out), .arrays_left = .{ 1, 1 } },
    .{ .name = "wait, that was notified", .prepare = waits, .set_up = holds, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            const caller = member.?.caller();
            const place = try member.?.placeIn(plan.blocks[0], 0);
            if (!try waiting.enlistOwn(caller, place, 0)) return error.TestUnexpectedResult;
            if (try waiting.notify(caller, place, waiting.everybody) != 4) return error.TestUnexpectedResult;
            if (try waiting.goOn(caller, &member.?.blocking) != .ok) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "notifying without a fence from now on", .prepare = waits, .set_up = holds, .run = unfenced, .arrays_left = .{ 1, 1 } },
    .{ .name = "wait, where somebody notifies without a fence", .prepare = waitsUnfenced, .set_up = holds, .run = blocksFor(0, 0, .timed_out), .arrays_left = .{ 1, 1 } },
    .{ .name = "wait without blocking, in a record that was used before", .prepare = waits, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try holds(member, plan);
            const waiter = try member.beginWait(try member.placeIn(plan.blocks[0], 0), 0);
            if (!waiting.cancel(member.caller(), waiter.?)) return error.TestUnexpectedResult;
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            if (try member.?.beginWait(try member.?.placeIn(plan.blocks[0], 0), 0) == null) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "wait without blocking, given up", .prepare = waits, .set_up = holds, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            const waiter = try member.?.beginWait(try member.?.placeIn(plan.blocks[0], 0), 0);
            if (!waiting.cancel(member.?.caller(), waiter.?)) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "wait without blocking, with growth of the waiter table", .set_up = row(1, 64, &.{}), .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            @memset(try s.bytesOf(member.?, .of(plan.blocks[0])), 0);
            if (try member.?.beginWait(try member.?.placeIn(plan.blocks[0], 0), 0) == null) return error.TestUnexpectedResult;
        }
    }.f },
    .{ .name = "notify, of some of those who wait", .prepare = waits, .set_up = holds, .run = notifies(2, 2), .arrays_left = .{ 1, 1 } },
    .{ .name = "notify, of all who wait, itself too", .prepare = waits, .set_up = holdsAndWaits, .run = notifies(waiting.everybody, 5), .arrays_left = .{ 1, 1 } },
    .{ .name = "seeing who was notified, and parking", .prepare = waits, .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try holdsAndWaits(member, plan);
            try notifies(4, 4)(member, plan);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            const caller = member.?.caller();
            waiting.useSocket(caller, .{ .fd = -1, .number = 1 << 20, .cookie = 5 });
            var taken: [4]u32 = undefined;
            if (try waiting.take(caller, &taken) != 1) return error.TestUnexpectedResult;
            if (!try waiting.park(caller)) return error.TestUnexpectedResult;
            waiting.unpark(caller);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "reap, of a member that was killed while it waited", .prepare = waits, .set_up = struct {
        fn f(_: *Pool, plan: *Plan) anyerror!void {
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    const other = try at.address.join();
                    try holdsAndWaits(other, at);
                    try notifies(4, 4)(other, at);
                    s.die();
                }
            }.body, plan);
            _ = try child.wait();
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            if ((try member.?.reap()).members != 1) return error.TestUnexpectedResult;
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "leave, while it waits", .prepare = waits, .set_up = holdsAndWaits, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(false);
        }
    }.f, .arrays_left = .{ 1, 1 } },
    .{ .name = "leave, with arrays of its own and of others", .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try row(7, large, &.{})(member, plan);
            try expired(member);
            _ = try member.createClaim(plan.blocks[3], 1, hour_ms);
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(false);
        }
    }.f, .arrays_left = .{ 1, 1 } },
};
