//! One member does something, and another one does something else in between: before each load and after each store of the first
//! in turn. What the second cannot do because the first has a lock, it leaves. Whatever comes between what, every call does what it
//! says, check() finds nothing, and in the end nothing is left that anybody held.
//!
//! Both are members in one thread, so this is exact: no chance, and no other interleaving than these. Deaths are
//! crash_points.zig's; many at once, in any order, ../stress.zig's.

const std = @import("std");
const s = @import("support.zig");
const channel = @import("../channel.zig");
const crash = @import("../crash.zig");
const names = @import("../names.zig");
const recovery = @import("../recovery.zig");
const queue_file = @import("../queue.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const Record = queue_file.Record;

const capacity = 1 << 20;
const large_bytes = 1000;
const many = 20;

/// A member, and what it could not let go of because the other had the lock.
const Member = struct {
    pool: *Pool,
    owed: [64]u32 = undefined,
    owed_count: usize = 0,
    taken: [4]channel.Received = undefined,
    taken_count: usize = 0,

    fn letGo(member: *Member, block: u32) !void {
        if (member.pool.release(block, true)) |_| return else |err| if (err != error.Busy) return err;
        member.owed[member.owed_count] = block;
        member.owed_count += 1;
    }
    fn settle(member: *Member, ground: *Ground) !void {
        for (member.owed[0..member.owed_count]) |block| _ = try member.pool.release(block, true);
        member.owed_count = 0;
        for (member.taken[0..member.taken_count]) |taken| try channel.acknowledge(member.pool, ground.channel, taken.entry, taken.position, false);
        member.taken_count = 0;
    }
};

const Ground = struct {
    keeper: *Pool,
    first: Member,
    second: Member,
    channel: u32 = 0,
    claimed: Record = .{ .block = 0, .generation = 0 },
    claim: u64 = 0,
    words: u32,
    waiter: ?layout.WaiterIndex = null,
    /// Somebody has notified it; then it was woken once.
    notified: bool = false,
    woken: u32 = 0,
    /// Written by a receiver who does not get on.
    half: ?*queue_file.Entry = null,
    sent: u32 = 0,
    received: u32 = 0,

    fn begin() !Ground {
        const keeper = try s.create(capacity);
        var ground: Ground = .{ .keeper = keeper, .first = .{ .pool = try s.join(keeper) }, .second = .{ .pool = try s.join(keeper) }, .words = (try s.alloc(keeper, 64, true)).int() };
        try keeper.share(ground.words);
        for ([_]*Pool{ ground.first.pool, ground.second.pool }) |pool| _ = try pool.attach(ground.words, s.generationOf(keeper, .of(ground.words)), 0);
        // Who finds a lock taken does not wait: who has it is in the middle of something, below.
        ground.second.pool.patience = .{ .spins = 0, .timeout_ms = 0, .processor = .of(1) };
        return ground;
    }
    fn end(ground: *Ground) void {
        _ = ground.first.pool.close(false);
        _ = ground.second.pool.close(false);
        s.end(ground.keeper);
    }

    /// What both find: a channel for two messages, with `messages` in it, in which others have gone round the ring, and have been
    /// acknowledged; a claim, a name, and one who waits.
    fn set(ground: *Ground, messages: u32) !void {
        const pool = ground.keeper;
        ground.channel = try channel.create(pool, 2, large_bytes);
        const generation = s.generationOf(pool, .of(ground.channel));
        for ([_]*Pool{ ground.first.pool, ground.second.pool }) |member| {
            _ = try member.attach(ground.channel, generation, 0);
            _ = try channel.enter(member, ground.channel);
            member.probed = .{};
        }
        ground.sent = 0;
        ground.received = 0;
        var keeper: Member = .{ .pool = pool };
        for (0..2) |_| {
            try sendOf(&keeper, ground, 1, 40);
            try receiveAck(&keeper, ground);
            try keeper.settle(ground);
        }
        for (0..messages) |i| try if (i == 0) sendOf(&keeper, ground, 1, 40) else sendOf(&keeper, ground, 0, 40);
        const array = try made(pool);
        try pool.setName(&keyOf(pool), &.{ .block = array.block, .offset = 0, .length_bytes = 200, .shape = .{} });
        _ = try pool.release(array.block, true);
        ground.claimed = try made(pool);
        ground.claim = try pool.createClaim(ground.claimed.block, 1, 3_600_000);
        _ = try pool.release(ground.claimed.block, true);
        const word: *u32 = @ptrCast(@alignCast((try s.bytesOf(pool, .of(ground.words))).ptr));
        word.* = 0;
        ground.notified = false;
        ground.woken = 0;
        ground.waiter = try pool.beginWait(try pool.placeIn(ground.words, 0), 0);
    }

    /// Nothing is left.
    fn clear(ground: *Ground) !void {
        const pool = ground.keeper;
        if (ground.half) |entry| entry.owner.commit(.{});
        ground.half = null;
        try ground.first.settle(ground);
        try ground.second.settle(ground);
        try s.expectSound(pool);
        var into: [1]u32 = undefined;
        if (ground.notified) {
            try s.expectEqual(1, ground.woken);
            try s.expectEqual(1, try waiting.take(pool.caller(), &into));
        } else try s.expect(waiting.cancel(pool.caller(), ground.waiter.?));
        var keeper: Member = .{ .pool = pool };
        while (ground.received < ground.sent) try receive(&keeper, ground);
        try s.expectError(error.Wait, channel.receive(pool, ground.channel, &buffer, false, 0));
        if (ground.claim != 0) try pool.dropClaim(ground.claimed.block, ground.claimed.generation, ground.claim, 1);
        _ = try pool.deleteName(&keyOf(pool));
        try keeper.settle(ground);
        for ([_]*Pool{ pool, ground.first.pool, ground.second.pool }) |member| _ = try member.release(ground.channel, true);
        const stats = try pool.stats();
        try s.expectEqual(64, stats.used_bytes);
        try s.expectEqual(0, stats.claims);
        try s.expectSound(pool);
    }
};

var buffer: [8 << 10]u8 align(8) = undefined;
var other_buffer: [8 << 10]u8 align(8) = undefined;

fn keyOf(pool: *Pool) names.Key {
    return names.Key.of("name", pool.nonce) catch unreachable;
}

fn made(pool: *Pool) !Record {
    const index = try s.alloc(pool, 200, false);
    const record: Record = .{ .block = index.int(), .generation = s.generationOf(pool, index) };
    @memset(try s.bytesOf(pool, index), letterOf(record));
    return record;
}

fn letterOf(record: Record) u8 {
    return @truncate(record.generation *% 31 +% record.block);
}

fn expectWhole(pool: *Pool, record: Record) !void {
    const hold = try pool.held(record.block);
    try s.expectEqual(record.generation, hold.word.generation);
    try s.expect(std.mem.allEqual(u8, (pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()], letterOf(record)));
}

// ---------------------------------------------------------------- what they do

/// error.Busy: the other one has a lock, and nothing has happened.
const Act = struct {
    name: []const u8,
    run: *const fn (member: *Member, ground: *Ground) anyerror!void,
};

fn sendOf(member: *Member, ground: *Ground, comptime count: usize, comptime bytes: usize) !void {
    var records: [count]Record = undefined;
    var there: usize = 0;
    defer for (records[0..there]) |record| member.letGo(record.block) catch {};
    for (&records) |*record| {
        record.* = try made(member.pool);
        there += 1;
    }
    try channel.send(member.pool, ground.channel, "m" ** bytes, &records, 0);
    ground.sent += 1;
}

fn send(comptime count: usize, comptime bytes: usize) Act {
    return .{ .name = std.fmt.comptimePrint("send, {d} bytes, {d} arrays", .{ bytes, count }), .run = struct {
        fn f(member: *Member, ground: *Ground) anyerror!void {
            sendOf(member, ground, count, bytes) catch |err| if (err != error.Wait) return err;
        }
    }.f };
}

fn take(member: *Member, ground: *Ground, ack: bool) !?channel.Received {
    const into = if (member == &ground.second) &other_buffer else &buffer;
    const received = channel.receive(member.pool, ground.channel, into, ack, 0) catch |err| return if (err == error.Wait) null else err;
    try s.expect(received.text_bytes == 40 or received.text_bytes == large_bytes);
    try s.expect(std.mem.allEqual(u8, into[0..received.text_bytes], 'm'));
    const from = layout.alignUp(received.text_bytes, 8);
    const attached = @as([*]const channel.Attached, @ptrCast(@alignCast(&into[from])))[0..received.arrays];
    for (attached) |one| {
        const record: Record = .{ .block = @intFromFloat(one.block), .generation = @intFromFloat(one.generation) };
        try expectWhole(member.pool, record);
        try member.letGo(record.block);
    }
    return received;
}

fn receive(member: *Member, ground: *Ground) anyerror!void {
    if (try take(member, ground, false) != null) ground.received += 1;
}

fn receiveAck(member: *Member, ground: *Ground) anyerror!void {
    member.taken[member.taken_count] = try take(member, ground, true) orelse return;
    member.taken_count += 1;
    ground.received += 1;
}

/// Of what it has taken before; or else it takes something.
fn acknowledge(member: *Member, ground: *Ground, give_back: bool) !void {
    if (member.taken_count == 0) try receiveAck(member, ground);
    if (member.taken_count == 0) return;
    const taken = member.taken[member.taken_count - 1];
    try channel.acknowledge(member.pool, ground.channel, taken.entry, taken.position, give_back);
    member.taken_count -= 1;
    if (give_back) ground.received -= 1;
}

const acts = [_]Act{
    send(0, 40),
    send(1, 40),
    send(many, large_bytes),
    .{ .name = "receive", .run = receive },
    .{ .name = "receive, to acknowledge", .run = receiveAck },
    .{ .name = "acknowledge", .run = struct {
        fn f(member: *Member, ground: *Ground) anyerror!void {
            try acknowledge(member, ground, false);
        }
    }.f },
    .{ .name = "give back", .run = struct {
        fn f(member: *Member, ground: *Ground) anyerror!void {
            try acknowledge(member, ground, true);
        }
    }.f },
    .{ .name = "keep", .run = struct {
        fn f(member: *Member, _: *Ground) anyerror!void {
            const one = try made(member.pool);
            const two = try made(member.pool);
            try expectWhole(member.pool, one);
            try member.letGo(one.block);
            try expectWhole(member.pool, two);
            try member.letGo(two.block);
        }
    }.f },
    .{
        .name = "allocate all there is",
        .run = struct {
            fn f(member: *Member, _: *Ground) anyerror!void {
                const all = member.pool.alloc(capacity, 1, false) catch |err| return if (err == error.Full) {} else err;
                try s.expectEqual(0, all.index.int()); // it is not there
            }
        }.f,
    },
    .{ .name = "reap", .run = struct {
        fn f(member: *Member, _: *Ground) anyerror!void {
            _ = try member.pool.reap();
        }
    }.f },
    .{ .name = "check", .run = struct {
        fn f(member: *Member, _: *Ground) anyerror!void {
            try s.expectSound(member.pool);
        }
    }.f },
    .{ .name = "recover", .run = struct {
        fn f(member: *Member, _: *Ground) anyerror!void {
            try member.pool.acquire();
            defer member.pool.unlock();
            try recovery.recover(&member.pool.view, s.system.monotonicMs());
        }
    }.f },
    .{ .name = "get a name, and set it anew", .run = struct {
        fn f(member: *Member, _: *Ground) anyerror!void {
            const key = keyOf(member.pool);
            if (try member.pool.getName(&key)) |found| {
                try expectWhole(member.pool, .{ .block = found.value.block.int(), .generation = found.value.generation });
                try member.letGo(found.value.block.int());
            }
            const array = try made(member.pool);
            defer member.letGo(array.block) catch {};
            try member.pool.setName(&key, &.{ .block = array.block, .offset = 0, .length_bytes = 200, .shape = .{} });
        }
    }.f },
    .{ .name = "attach", .run = struct {
        fn f(member: *Member, ground: *Ground) anyerror!void {
            if (ground.claim == 0) return;
            _ = try member.pool.attach(ground.claimed.block, ground.claimed.generation, ground.claim);
            ground.claim = 0;
            try expectWhole(member.pool, ground.claimed);
            try member.letGo(ground.claimed.block);
        }
    }.f },
    .{
        .name = "notify",
        .run = struct {
            fn f(member: *Member, ground: *Ground) anyerror!void {
                if (ground.notified) return;
                const word: *u32 = @ptrCast(@alignCast(member.pool.view.heap + member.pool.view.holds[ground.words].offsetBytes()));
                word.* = 1;
                const woken = try waiting.notify(member.pool.caller(), try member.pool.placeIn(ground.words, 0), 1);
                ground.woken += woken; // after what came between
                ground.notified = true;
            }
        }.f,
    },
    .{ .name = "look", .run = struct {
        fn f(member: *Member, ground: *Ground) anyerror!void {
            _ = try member.pool.stats();
            _ = try channel.stats(member.pool, ground.channel);
        }
    }.f },
};

/// As far as a receiver gets while another has the pool's lock. For a first that does not take the receivers' lock, which it has.
const receive_half: Act = .{ .name = "receive, to acknowledge, up to the pool's lock", .run = struct {
    fn f(member: *Member, ground: *Ground) anyerror!void {
        const queue = try channel.queueOf(member.pool, ground.channel);
        const head = queue.header.head.get();
        const message = queue.cell(head);
        ground.half = channel.freeEntry(queue, head) orelse return error.Busy;
        channel.writeEntry(member.pool, queue, ground.half.?, message, message.word.get(), head);
    }
}.f };

// ---------------------------------------------------------------- one between the other

/// Where the second comes in: after so many loads and stores of the first; and for how many acts, one a point.
const Turn = struct {
    ground: *Ground,
    points: u64 = 0,
    at: u64,
    /// Points from one act to the next.
    apart: u64 = 1,
    acts: []const *const Act,
    done: usize = 0,
    inside: bool = false,
    failed: ?anyerror = null,
};

var turn: ?*Turn = null;

fn point() void {
    const now = turn orelse return;
    if (now.inside) return;
    defer now.points += 1;
    if (now.done == now.acts.len or now.points != now.at + now.done * now.apart) return;
    now.inside = true;
    defer now.inside = false;
    now.acts[now.done].run(&now.ground.second, now.ground) catch |err| if (err != error.Busy) {
        now.failed = err;
    };
    now.done += 1;
}

/// Returns how many points there are.
fn run(ground: *Ground, messages: u32, first: *const Act, second: []const *const Act, at: u64, apart: u64) !u64 {
    try ground.set(messages);
    var now: Turn = .{ .ground = ground, .at = at, .apart = apart, .acts = second };
    turn = &now;
    const failed = first.run(&ground.first, ground);
    turn = null;
    errdefer {
        std.debug.print("{d} messages; {s}, and at point {d}, each {d}:", .{ messages, first.name, at, apart });
        for (second) |act| std.debug.print(" {s};", .{act.name});
        std.debug.print("\n", .{});
    }
    try failed;
    if (now.failed) |err| return err;
    try ground.clear();
    return now.points;
}

const Explorer = struct {
    /// Of so many points, one is tried.
    every: u64,
    random: std.Random,
    tried: u64 = 0,
    failed: u32 = 0,

    fn explore(explorer: *Explorer, messages: u32, first: *const Act, second: []const *const Act, apart: u64) void {
        explorer.exploreAll(messages, first, second, apart) catch |err| {
            std.debug.print("  {s}\n", .{@errorName(err)});
            explorer.failed += 1;
        };
    }

    fn exploreAll(explorer: *Explorer, messages: u32, first: *const Act, second: []const *const Act, apart: u64) !void {
        var ground = try Ground.begin();
        defer ground.end();
        var at = explorer.random.uintLessThan(u64, explorer.every);
        while (true) : (at += explorer.random.intRangeAtMost(u64, 1, 2 * explorer.every - 1)) {
            explorer.tried += 1;
            if (at >= try run(&ground, messages, first, second, at, apart)) return;
        }
    }
};

fn actOf(comptime name: []const u8) *const Act {
    for (&acts) |*act| if (std.mem.eql(u8, act.name, name)) return act;
    unreachable;
}

test "whatever one does between two loads or stores of another, each gets what is its own" {
    if (!crash.enabled) return error.SkipZigTest;
    crash.observer = point;
    crash.reader = point;
    defer crash.observer = null;
    defer crash.reader = null;
    const all = s.hasEnvironment("BETWEEN=all");
    const seed = s.environmentNumber("BETWEEN_SEED") orelse s.system.monotonicNs() % 1_000_000;
    var prng = std.Random.DefaultPrng.init(seed);
    var explorer: Explorer = .{ .every = if (all) 1 else 200, .random = prng.random() };
    const begun_ms = s.system.monotonicMs();
    var thorough = explorer;
    thorough.every = if (s.brief) 4 else 1;
    for ([_]*const Act{ actOf("check"), actOf("recover") }) |first| thorough.explore(1, first, &.{&receive_half}, 1);
    thorough.explore(1, actOf("recover"), &.{actOf("notify")}, 1);
    for (0..3) |messages| for (&acts) |*first| for (&acts) |*second| explorer.explore(@intCast(messages), first, &.{second}, 1);
    // What is changed to and fro while somebody looks.
    const to_and_fro = [_]*const Act{ actOf("give back"), actOf("receive, to acknowledge"), actOf("receive, to acknowledge") };
    for (&acts) |*first| for ([_]u64{ 1, 2, 3, 7, 20 }) |apart| explorer.explore(2, first, &to_and_fro, apart);
    std.debug.print("between: seed {d}, {d} points in {d} ms\n", .{ seed, explorer.tried + thorough.tried, s.system.monotonicMs() - begun_ms });
    try s.expectEqual(0, explorer.failed + thorough.failed);
}
