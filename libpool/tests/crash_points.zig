//! Every crash point of every operation, one at a time (`zig build test-crash`, a build with `-Dcrash-points`).
//!
//! A victim joins, is told to die right after its n-th store to shared memory (or system call that others can see), and
//! runs one operation; n goes up until the operation ends before it dies. After each death another member goes on. Then
//! every array, every claim and every name must be as it was before the operation or as it is after it; the segment must be sound,
//! every array that others hold must have its exact content, nothing may be lost, and the next operations must work.
//!
//! Second level: where the victim died with the lock, a rescuer takes over and dies at every point of its recovery in
//! turn, before the third one finishes. Deaths that left the same chain, pins and members behind are rescued once, since
//! recovery believes nothing else; with CRASH_POINTS=all in the environment, each of them is. With `-Dbrief` a rescuer dies
//! only at some of its points, each time at others.
//!
//! A store that is not a crash point would be one that nobody died at: watch.zig sees to it that there is none.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const operations = @import("operations.zig");
const channel_operations = @import("channel_operations.zig");
const watch = @import("watch.zig");
const channel = @import("../channel.zig");
const crash = @import("../crash.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const BlockIndex = s.BlockIndex;
const Operation = operations.Operation;
const Plan = operations.Plan;
const capacity = operations.capacity;
const release = operations.release;

// ---------------------------------------------------------------- who survives

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

/// The survivor and its pool as they were when the operation could begin; taken up again for every death.
const Ground = struct {
    pool: *Pool,
    plan: *Plan,
    kept: Kept,
    arrays: u32,
    start: Copy,

    /// Every byte of the survivor's mapping: its private part and the segment.
    const Copy = struct {
        bytes: []align(4096) u8,
        plan: Plan,
    };

    fn prepare(operation: *const Operation, plan: *Plan) !Ground {
        const pool = try s.create(operation.capacity);
        errdefer s.end(pool);
        plan.* = std.mem.zeroes(Plan);
        plan.address = .of(pool);
        var ground: Ground = .{ .pool = pool, .plan = plan, .kept = try .make(pool), .arrays = 0, .start = undefined };
        ground.arrays = (try pool.stats()).arrays;
        try operation.prepare(pool, plan);
        ground.start = try ground.save();
        return ground;
    }
    fn end(ground: *Ground) void {
        ground.forget(ground.start);
        s.end(ground.pool);
    }

    fn mapping(ground: *const Ground) []u8 {
        const segment = @intFromPtr(ground.pool.view.header) + ground.pool.view.geometry.segment_bytes;
        return ground.pool.mapping[0 .. segment - @intFromPtr(ground.pool.mapping)];
    }
    fn save(ground: *const Ground) !Copy {
        const bytes = ground.mapping();
        const flags: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true };
        const start = linux.mmap(null, bytes.len, .{ .READ = true, .WRITE = true }, flags, -1, 0);
        if (linux.errno(start) != .SUCCESS) return error.Map;
        const copy = @as([*]align(4096) u8, @ptrFromInt(start))[0..bytes.len];
        _ = linux.madvise(copy.ptr, copy.len, linux.MADV.DONTFORK); // thousands of forks
        @memcpy(copy, bytes);
        return .{ .bytes = copy, .plan = ground.plan.* };
    }
    fn restore(ground: *const Ground, copy: Copy) void {
        @memcpy(ground.mapping(), copy.bytes);
        ground.plan.* = copy.plan;
    }
    fn forget(_: *const Ground, copy: Copy) void {
        _ = linux.munmap(copy.bytes.ptr, copy.bytes.len);
    }

    /// Each wait of the survivor ends once: it was notified already, or it is with the next notify; and that rings, whether
    /// or not the dead one had time to.
    fn expectAllWoken(ground: *const Ground) !void {
        const pool = ground.pool;
        if (ground.plan.waits == 0) return;
        const doorbell = &pool.view.waiting.doorbells[pool.self.slot];
        try s.expect(doorbell.state.get() == .parked or doorbell.state.get() == .called);
        _ = try waiting.notify(pool.caller(), try pool.placeIn(ground.plan.blocks[0], 0), waiting.everybody);
        try s.expectEqual(.called, doorbell.state.get());
        waiting.unpark(pool.caller());
        var woken: [16]u32 = undefined;
        try s.expectEqual(ground.plan.waits, try waiting.take(pool.caller(), &woken));
        for (&pool.view.waiting.buckets) |*bucket| try s.expectEqual(0, bucket.waiters.get());
    }

    fn survive(ground: *const Ground, operation: *const Operation) !void {
        const pool = ground.pool;
        _ = try pool.reap();
        try s.expectSound(pool);
        try ground.kept.verify(pool);
        try channel_operations.settle(pool, ground.plan);
        try s.expectSound(pool);
        const stats = try pool.stats();
        const left = stats.arrays - ground.arrays;
        try s.expect(left >= operation.arrays_left[0] and left <= operation.arrays_left[1]);
        try s.expectEqual(1, stats.members);
        try ground.expectAllWoken();
        // Nobody waits for a maker that is dead.
        for (pool.view.names[0..pool.view.namesUsed()]) |*name| try s.expect(name.word.get().state != .making);
        for ([_]u64{ 64, 1000, operations.large }) |bytes| {
            const index = try s.alloc(pool, bytes, true);
            try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, index), 0));
            try release(pool, index.int());
        }
        try ground.kept.verify(pool);
        const all_can_go = operation.arrays_left[1] == 0 or ground.plan.channel_generation != 0;
        try channel_operations.drain(pool, ground.plan);
        // Nothing is lost: all that is not used is one heap, and can be had.
        if (all_can_go) {
            for (ground.kept.indexes) |index| try release(pool, index.int());
            try release(pool, (try s.alloc(pool, operation.capacity, false)).int());
        }
        try s.expectSound(pool);
    }
};

// ---------------------------------------------------------------- what can be seen of an operation

/// Arrays with their holders, and claims: by number, 0 for what is not there.
const Seen = struct {
    blocks: [2048]u64,
    pins: [8192]u64,
    /// With the hash of the key, whatever record it is in.
    names: [512]struct { key: u32, it: u64 },
    names_count: usize,
    messages: [16]u64,

    fn look(seen: *Seen, pool: *Pool, plan: *const Plan) !void {
        try s.expectSound(pool); // takes the lock over, and recovers
        try channel_operations.settle(pool, plan);
        seen.* = .{ .blocks = @splat(0), .pins = @splat(0), .names = undefined, .names_count = 0, .messages = @splat(0) };
        try channel_operations.look(pool, plan, &seen.messages);
        for (pool.view.names[0..pool.view.namesUsed()]) |*name| {
            const word = name.word.get();
            if (word.state == .vacant) continue;
            var hash = std.hash.Wyhash.init(4);
            hash.update(std.mem.asBytes(&word));
            if (word.state == .making) hash.update(std.mem.asBytes(&name.maker));
            if (word.state == .set) hash.update(std.mem.asBytes(&name.block));
            if (word.state == .set) hash.update(std.mem.asBytes(&[_]u64{ name.generation.get(), name.offset.get(), name.length_bytes.get() }));
            try s.expectEqual(0, seen.named(name.hash.get())); // a key has one record
            seen.names[seen.names_count] = .{ .key = name.hash.get(), .it = hash.final() };
            seen.names_count += 1;
        }
        for (seen.blocks[0..pool.view.blocksUsed()], 0..) |*it, i| {
            const block = &pool.view.blocks[i];
            const word = block.word.get();
            if (word.state != .used) continue;
            var hash = std.hash.Wyhash.init(1);
            hash.update(std.mem.asBytes(&block.start));
            hash.update(std.mem.asBytes(&word));
            // Of an array that nobody else may hold only its owner knows the length before its allocation has returned.
            if (word.shared) hash.update(std.mem.asBytes(&try pool.view.lengthBytes(block)));
            hash.update(std.mem.asBytes(&block.of.holders));
            it.* = hash.final();
        }
        for (seen.pins[0..pool.view.pinsUsed()], 0..) |*it, i| {
            const pin = &pool.view.pins[i];
            if (pin.word.get().kind == .vacant) continue;
            var hash = std.hash.Wyhash.init(2);
            hash.update(std.mem.asBytes(&pin.word));
            hash.update(std.mem.asBytes(&pin.generation));
            hash.update(std.mem.asBytes(&pin.block));
            it.* = hash.final();
        }
    }

    /// 0 where there is no such name.
    fn named(seen: *const Seen, key: u32) u64 {
        for (seen.names[0..seen.names_count]) |name| if (name.key == key) return name.it;
        return 0;
    }
};

var before: Seen = undefined;
var after: Seen = undefined;
var now: Seen = undefined;

/// Each array, each claim and each name is as before or as after.
fn expectAllOrNothing(operation: *const Operation) !void {
    var some_block_before = false;
    for (before.blocks, after.blocks, now.blocks, 0..) |was, will, is, i| {
        errdefer std.debug.print("block {d}\n", .{i});
        try s.expect(operation.in_steps or is == was or is == will);
        if (is != will) some_block_before = true;
    }
    for (before.messages, after.messages, now.messages, 0..) |was, will, is, i| {
        errdefer std.debug.print("message {d}\n", .{i});
        try s.expect(is == was or is == will);
    }
    for (before.pins, after.pins, now.pins, 0..) |was, will, is, i| {
        errdefer std.debug.print("pin {d}\n", .{i});
        try s.expect(is == was or is == will);
        if (operation.holds_before_claims and was != will and is == will) try s.expect(!some_block_before);
    }
    for ([_]*const Seen{ &before, &after, &now }) |seen| for (seen.names[0..seen.names_count]) |name| {
        const is = now.named(name.key);
        try s.expect(is == before.named(name.key) or is == after.named(name.key));
    };
}

/// What recovery believes: the chain, words, holders, pins, names, waiters, members, `touching`.
fn truthOf(pool: *Pool) u64 {
    const view = &pool.view;
    var hash = std.hash.Wyhash.init(3);
    hash.update(std.mem.asBytes(&view.header.touching));
    hash.update(std.mem.asBytes(&view.header.blocks_used));
    hash.update(std.mem.asBytes(&view.header.pins_used));
    for (view.members) |*member| hash.update(std.mem.asBytes(&member.word));
    for (view.blocks[0..view.blocksUsed()]) |*block| {
        const word = block.word.get();
        hash.update(std.mem.asBytes(&word));
        if (word.state == .unused) continue;
        hash.update(std.mem.asBytes(&block.next));
        hash.update(std.mem.asBytes(&block.start));
        if (word.state == .free) continue;
        hash.update(&.{block.tail.get().bytes}); // and not when it was allocated
        hash.update(std.mem.asBytes(&block.of.holders));
        hash.update(std.mem.asBytes(&block.content));
        if (block.content.get().kind != layout.Kind.array) hash.update(s.bytesOf(pool, .of(@intCast((@intFromPtr(block) - @intFromPtr(view.blocks)) / @sizeOf(layout.Block)))) catch &.{});
    }
    for (view.pins[0..view.pinsUsed()]) |*pin| {
        hash.update(std.mem.asBytes(&pin.word));
        if (pin.word.get().kind == .vacant) continue;
        hash.update(std.mem.asBytes(&pin.generation));
        hash.update(std.mem.asBytes(&pin.block));
    }
    var waiters: layout.WaiterIndex = .ofMember(0);
    while (view.waiter(waiters)) |waiter| : (waiters = @enumFromInt(@intFromEnum(waiters) + 1)) {
        if (@intFromEnum(waiters) > layout.members_max + view.waitersUsed()) break;
        hash.update(std.mem.asBytes(&waiter.word));
        if (waiter.word.get().state != .vacant) hash.update(std.mem.asBytes(&waiter.place));
    } else |_| {}
    hash.update(std.mem.asBytes(&view.header.names_used));
    hash.update(std.mem.asBytes(&view.header.renaming));
    for (view.names[0..view.namesUsed()]) |*name| {
        hash.update(std.mem.asBytes(&name.word));
        if (name.word.get().state == .vacant) continue;
        hash.update(std.mem.asBytes(&name.maker));
        hash.update(std.mem.asBytes(&name.generation));
        hash.update(std.mem.asBytes(&name.block));
        hash.update(std.mem.asBytes(&name.hash));
        hash.update(std.mem.asBytes(&name.text));
    }
    return hash.final();
}

// ---------------------------------------------------------------- who dies

const Death = union(enum) { before, after, at: u64, watched };

fn victim(at: struct { *const Operation, *Plan, Death }) anyerror!void {
    const operation, const plan, const death = at;
    var member: ?*Pool = null;
    if (operation.set_up) |set_up| {
        member = try plan.address.join();
        try set_up(member.?, plan);
    }
    if (death == .before) s.die();
    if (death == .at) crash.arm(death.at);
    if (death == .watched) {
        var failure: s.system.Failure = .{};
        try watch.begin(try s.system.open(plan.address.name(), &failure), operation.capacity);
    }
    try operation.run(member, plan);
    crash.arm(0);
    if (death == .watched and watch.end() == 0) return error.NoSteps;
    if (death == .after) s.die();
}

fn rescuer(at: struct { *Plan, u64 }) anyerror!void {
    const plan, const die_at = at;
    crash.arm(die_at);
    const member = try plan.address.join();
    _ = try member.reap();
    crash.arm(0);
}

/// Whether it died, as it was told.
fn died(child: s.Child) !bool {
    return switch (try child.wait()) {
        0 => false,
        128 + 9 => true,
        else => error.ChildFailed,
    };
}

const Tally = struct {
    points: u64 = 0,
    rescues: u64 = 0,
    states: u64 = 0,
};

fn dieEverywhere(operation: *const Operation, plan: *Plan, all: bool, random: std.Random) !Tally {
    var tally: Tally = .{};
    var ground: Ground = try .prepare(operation, plan);
    defer ground.end();
    for ([_]Death{ .before, .after }, [_]*Seen{ &before, &after }) |death, seen| {
        ground.restore(ground.start);
        if (!try died(try s.Child.start(victim, .{ operation, plan, death }))) return error.ChildFailed;
        try seen.look(ground.pool, ground.plan);
    }
    ground.restore(ground.start);
    if (try died(try s.Child.start(victim, .{ operation, plan, Death.watched }))) return error.ChildFailed;

    var rescued: std.AutoHashMapUnmanaged(u64, void) = .empty;
    defer rescued.deinit(std.heap.page_allocator);
    while (true) {
        errdefer std.debug.print("crash point {d}\n", .{tally.points + 1});
        ground.restore(ground.start);
        if (!try died(try s.Child.start(victim, .{ operation, plan, Death{ .at = tally.points + 1 } }))) return tally;
        tally.points += 1;
        const locked = ground.pool.view.header.lock.get() != layout.LockWord.unlocked;
        const is_new = locked and (all or !(try rescued.getOrPut(std.heap.page_allocator, truthOf(ground.pool))).found_existing);
        const late: ?Ground.Copy = if (is_new) try ground.save() else null;
        try now.look(ground.pool, ground.plan);
        try expectAllOrNothing(operation);
        try ground.survive(operation);
        if (late) |copy| {
            defer ground.forget(copy);
            tally.states += 1;
            tally.rescues += try rescueEverywhere(operation, &ground, copy, random.intRangeAtMost(u64, 1, rescue_stride));
        }
    }
}

fn rescueEverywhere(operation: *const Operation, ground: *const Ground, copy: Ground.Copy, point_first: u64) !u64 {
    var deaths: u64 = 0;
    var point = point_first;
    while (true) : (point += rescue_stride) {
        errdefer std.debug.print("rescuer's crash point {d}\n", .{point});
        ground.restore(copy);
        if (!try died(try s.Child.start(rescuer, .{ ground.plan, point }))) return deaths;
        deaths += 1;
        try ground.survive(operation);
    }
}

/// Of how many of a rescuer's points one is tried.
const rescue_stride: u64 = if (s.brief) 16 else 1;

// ---------------------------------------------------------------- tests

test "an operation that is stopped at any of its crash points happened or did not, and costs nobody anything" {
    if (!crash.enabled) return error.SkipZigTest;
    const plan = try s.sharedPage(Plan);
    const all = s.hasEnvironment("CRASH_POINTS=all");
    var generator: std.Random.DefaultPrng = .init(std.testing.random_seed);
    var sum: Tally = .{};
    for (&(channel_operations.all ++ operations.all)) |*operation| {
        errdefer std.debug.print("in: {s}\n", .{operation.name});
        const tally = try dieEverywhere(operation, plan, all, generator.random());
        std.debug.print("{d:6} crash points, {d:6} deaths of a rescuer ({d} states): {s}\n", .{ tally.points, tally.rescues, tally.states, operation.name });
        sum.points += tally.points;
        sum.rescues += tally.rescues;
        sum.states += tally.states;
        try s.expect(tally.points > 0);
    }
    std.debug.print("crash points: {d} in {d} operations, each died at; {d} deaths of a rescuer, in {d} states of the pool\n", .{ sum.points, operations.all.len + channel_operations.all.len, sum.rescues, sum.states });
}

const Creator = struct {
    die_at: u64,
    steps: u64,
    name: [32]u8,
    name_bytes: usize,

    fn make() !*Creator {
        const creator = try s.sharedPage(Creator);
        creator.name_bytes = s.uniqueName("creator", &creator.name).len;
        return creator;
    }
    fn nameOf(creator: *const Creator) []const u8 {
        return creator.name[0..creator.name_bytes];
    }
    fn run(creator: *Creator) anyerror!void {
        var report: s.segment.Report = .{};
        crash.arm(creator.die_at);
        const pool = try Pool.create(creator.nameOf(), capacity, 1000, .{}, &report);
        _ = try s.alloc(pool, 1000, true);
        _ = pool.close(false);
        creator.steps = crash.taken();
        crash.arm(0);
    }
    fn watched(creator: *Creator) anyerror!void {
        try watch.begin(null, capacity);
        try creator.run();
        if (watch.end() < 2000) return error.NothingSeen;
    }
};

test "a creator that dies at any point, till the pool is gone again, leaves a name that is free at once" {
    if (!crash.enabled) return error.SkipZigTest;
    const creator = try Creator.make();
    try s.expectEqual(false, try died(try s.Child.start(Creator.watched, creator)));
    var deaths: u64 = 0;
    while (true) : (deaths += 1) {
        errdefer std.debug.print("crash point {d}\n", .{deaths + 1});
        creator.die_at = deaths + 1;
        if (!try died(try s.Child.start(Creator.run, creator))) break;
        var report: s.segment.Report = .{};
        const pool = try Pool.create(creator.nameOf(), capacity, 1000, .{}, &report);
        try s.expectSound(pool);
        try s.expectEqual(0, (try pool.stats()).arrays);
        _ = pool.close(false);
        try s.expect(!s.exists(creator.nameOf()));
    }
    std.debug.print("crash points: {d} from create to unlink, each died at\n", .{deaths});
    try s.expectEqual(creator.steps, deaths);
}

test "who sweeps a dead pool may die at any point" {
    if (!crash.enabled) return error.SkipZigTest;
    const creator = try Creator.make();
    const Left = struct {
        fn make(of: *Creator) anyerror!void {
            var report: s.segment.Report = .{};
            _ = try Pool.create(of.nameOf(), capacity, 1000, .{}, &report);
            s.die();
        }
        fn sweep(of: *Creator) anyerror!void {
            crash.arm(of.die_at);
            _ = s.segment.sweep();
            crash.arm(0);
        }
    };
    creator.die_at = 1;
    while (true) : (creator.die_at += 1) {
        try s.expect(try died(try s.Child.start(Left.make, creator)));
        const finished = !try died(try s.Child.start(Left.sweep, creator));
        if (finished) try s.expect(!s.exists(creator.nameOf()));
        var report: s.segment.Report = .{};
        _ = (try Pool.create(creator.nameOf(), capacity, 1000, .{}, &report)).close(false);
        try s.expect(!s.exists(creator.nameOf()));
        if (finished) break;
    }
    std.debug.print("crash points: {d} in a sweep, each died at\n", .{creator.die_at - 1});
}

test "a store that is no crash point is noticed" {
    if (!crash.enabled) return error.SkipZigTest;
    const Careless = struct {
        fn between(pool: *Pool) anyerror!void {
            const member = try joinWatched(pool);
            member.view.blocks[0].tail.raw += 1;
            _ = try s.alloc(member, 100, false);
        }
        fn atTheEnd(pool: *Pool) anyerror!void {
            const member = try joinWatched(pool);
            _ = try s.alloc(member, 100, false);
            member.view.header.recoveries.raw += 1;
            _ = watch.end();
        }
        fn inChannel(pool: *Pool) anyerror!void {
            const member = try joinWatched(pool);
            const block = try channel.create(member, 2, 100);
            const queue = try channel.queueOf(member, block);
            queue.entry(1).position.raw += 1;
            try channel.send(member, block, "text", &.{}, 0);
        }
        fn joinWatched(pool: *Pool) !*Pool {
            var report: s.segment.Report = .{};
            const member = try Pool.open(s.nameOf(pool), pool.nonce, .{}, &report);
            try watch.begin(member.self.fd, capacity);
            return member;
        }
    };
    const pool = try s.create(capacity);
    defer s.end(pool);
    try s.expectEqual(watch.caught, try (try s.Child.start(Careless.between, pool)).wait());
    try s.expectEqual(watch.caught, try (try s.Child.start(Careless.atTheEnd, pool)).wait());
    try s.expectEqual(watch.caught, try (try s.Child.start(Careless.inChannel, pool)).wait());
}
