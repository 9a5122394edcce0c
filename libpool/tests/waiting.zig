//! Waiting and notifying between processes: who wakes, who is counted, and what the dead leave behind.

const std = @import("std");
const s = @import("support.zig");
const crash = @import("../crash.zig");
const members = @import("../members.zig");
const waiters = @import("../waiters.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const expectEqual = s.expectEqual;

/// What a test and its children share: a page of their own.
const Ground = struct {
    address: s.Address,
    block: u32,
    generation: u64,
    results: [8]i32,
    flag: u32,
    turns: u32,
    slot: u32,

    fn join(ground: *const Ground) !*Pool {
        const member = try ground.address.join();
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
    ground.address = .of(pool);
    ground.block = (try s.alloc(pool, 64, true)).int();
    ground.generation = s.generationOf(pool, .of(ground.block));
    ground.slot = pool.self.slot;
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

test "who still sleeps on a doorbell that is another's by now takes no wake with him" {
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    const place = try pool.placeIn(ground.block, 0);
    for ([_]bool{ false, true }) |by_itself| {
        try s.expect(try pool.beginWait(place, 0) != null);
        try s.expect(try waiting.park(pool.caller()));
        // Of calls that a member has made on a thread of their own: one from a time when the slot was another's, which sleeps …
        const stale = try s.Child.start(struct {
            fn body(at: *Ground) !void {
                const member = try at.join();
                waiting.sleep(&member.view.waiting.doorbells[at.slot].state);
                _ = member.close(false);
            }
        }.body, ground);
        while (!s.sleepsInFutex(stale)) s.system.sleep(1);
        if (by_itself) waiting.wakeSelf(pool.caller()) else try expectEqual(1, try notify(pool, ground, waiting.everybody));
        try expectEqual(0, try stale.wait());
        // … and its own, on its way until now.
        const doorbell = &pool.view.waiting.doorbells[pool.self.slot];
        try s.expect(doorbell.state.get() != .parked);
        waiting.sleep(&doorbell.state);
        waiting.unpark(pool.caller());
        var ready: [4]u32 = undefined;
        if (by_itself) try expectEqual(1, try notify(pool, ground, waiting.everybody));
        try expectEqual(1, try waiting.take(pool.caller(), &ready));
    }
    try s.expectSound(pool);
}

/// Stores and looks without a fence, turn by turn with who waits.
fn storeUnfenced(at: *Ground) !void {
    const member = try at.join();
    if (!waiting.unfenced(&member.view)) return error.SkipZigTest;
    const place = try member.placeIn(at.block, 0);
    const count = &place.bucket(&member.view).waiters;
    const here = word(member, at);
    s.signal(&at.flag);
    for (1..at.turns + 1) |turn| {
        // Now earlier, now later than who waits.
        for (0..turn * 7 % 331) |_| std.atomic.spinLoopHint();
        @atomicStore(u32, here, @intCast(turn), .monotonic);
        if (count.get() != 0) _ = try waiting.notify(member.caller(), place, waiting.everybody);
        while (@atomicLoad(u32, &at.flag, .acquire) <= turn) std.atomic.spinLoopHint();
    }
    _ = member.close(false);
}

fn waitEachTurn(member: *Pool, at: *Ground) !void {
    const place = try member.placeIn(at.block, 0);
    for (0..at.turns) |turn| {
        // Not wait(), which looks at the word for a while before it begins.
        try expectEqual(.ok, try startsToWait(member, place, @intCast(turn)));
        _ = @atomicRmw(u32, &at.flag, .Add, 1, .release);
    }
}

/// One who stores unfenced; not where the kernel has no barriers.
fn startStoring(ground: *Ground, turns: u32) !s.Child {
    ground.turns = turns;
    const child = try s.Child.start(storeUnfenced, ground);
    while (@atomicLoad(u32, &ground.flag, .acquire) == 0) {
        if (!try child.runs()) return error.SkipZigTest;
        s.system.sleep(1);
    }
    return child;
}

test "a notify that is left out, without a fence, since nobody is counted is missed by nobody" {
    if (!s.system.has_barriers) return error.SkipZigTest;
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    // Each turn finds the store of who notifies still on its way in some of a thousand.
    const child = try startStoring(ground, 20_000);
    try waitEachTurn(pool, ground);
    try expectEqual(0, try child.wait());
    try s.expectSound(pool);
}

test "a notify after a store is missed by nobody who begins to wait at the same time" {
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    ground.turns = 50_000;
    const child = try s.Child.start(struct {
        fn body(at: *Ground) !void {
            const member = try at.join();
            s.signal(&at.flag);
            for (1..at.turns + 1) |turn| {
                for (0..turn % 32) |_| std.atomic.spinLoopHint();
                @atomicStore(u32, word(member, at), @intCast(turn), .monotonic);
                _ = try notify(member, at, waiting.everybody);
                while (@atomicLoad(u32, &at.flag, .acquire) <= turn) std.atomic.spinLoopHint();
            }
            _ = member.close(false);
        }
    }.body, ground);
    s.waitUntil(&ground.flag, 1);
    try waitEachTurn(pool, ground);
    try expectEqual(0, try child.wait());
    try s.expectSound(pool);
}

test "who begins to wait looks once more after the barrier, also one for whom the kernel makes none" {
    if (!s.system.has_barriers) return error.SkipZigTest;
    const ground = try s.sharedPage(Ground);
    const pool = try begin(ground);
    defer s.end(pool);
    pool.view.waiting.unfenced.set(1);
    try looksOnceMore(pool, ground);
    const child = try s.Child.start(struct {
        fn body(at: *Ground) !void {
            const member = try at.join();
            // As in a container whose system calls are restricted.
            try s.forbid(.membarrier);
            try s.expect(!s.system.barrierForAll());
            try looksOnceMore(member, at);
            _ = member.close(false);
        }
    }.body, ground);
    const code = try child.wait();
    if (code == s.skipped) return error.SkipZigTest;
    try expectEqual(0, code);
    try s.expectSound(pool);
}

fn looksOnceMore(member: *Pool, ground: *const Ground) !void {
    const place = try member.placeIn(ground.block, 0);
    const here = word(member, ground);
    const own = &member.view.waiting.own[member.self.slot];
    for ([_]u32{ 0, 1 }) |changed| {
        @atomicStore(u32, here, 0, .monotonic);
        try s.expect(try waiting.enlistOwn(member.caller(), place, 0));
        // Arrives only now, of one who had looked at the count before.
        @atomicStore(u32, here, changed, .monotonic);
        try expectEqual(changed == 0, waiting.settle(member.caller(), .ofMember(member.self.slot), place, 0));
        const expected: layout.WaiterState = if (changed == 0) .waiting else .vacant;
        try expectEqual(expected, own.word.get().state);
        try expectEqual(1 - changed, try notify(member, ground, waiting.everybody));
    }
}

/// .ok also where the word is another.
fn startsToWait(pool: *Pool, place: waiting.Place, expected: u32) !waiting.Outcome {
    const caller = pool.caller();
    pool.blocking.deadline_ns = s.system.monotonicNs() + 10 * std.time.ns_per_s;
    if (!try waiting.enlistOwn(caller, place, expected)) return .ok;
    if (!waiting.settle(caller, .ofMember(pool.self.slot), place, expected)) return .ok;
    while (true) {
        const outcome = try waiting.goOn(caller, &pool.blocking);
        if (outcome != .goes_on) return outcome;
    }
}

test "one who may not look at all who wait wakes nobody, and loses nobody" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const words = (try s.alloc(pool, 64, true)).int();
    try pool.share(words);
    const generation = s.generationOf(pool, .of(words));
    const second = try s.join(pool);
    defer _ = second.close(false);
    _ = try second.attach(words, generation, 0);
    const place = try pool.placeIn(words, 0);
    // One who blocks, then one who does not.
    try s.expect(try waiting.enlistOwn(second.caller(), place, 0));
    const other = (try pool.beginWait(place, 0)).?;
    const child = try s.Child.start(struct {
        fn body(at: struct { s.Address, u32, u64 }) !void {
            const member = try at[0].join();
            _ = try member.attach(at[1], at[2], 0);
            try s.forbid(.fallocate);
            member.view.waiters_known = 0; // had it come before they waited
            try s.expectError(error.Busy, waiting.notify(member.caller(), try member.placeIn(at[1], 0), 1));
            _ = member.close(false);
        }
    }.body, .{ s.Address.of(pool), words, generation });
    try s.Child.expectDone(try child.wait());
    try s.expectSound(pool);
    try s.expect(waiting.cancel(pool.caller(), other));
    try expectEqual(1, try waiting.notify(pool.caller(), place, waiting.everybody));
    try s.expectSound(pool);
}

test "waits that were given up while the lock could not be had use up no waiters" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = (try s.alloc(pool, 4096, true)).int();
    var begun: [50]layout.WaiterIndex = undefined;
    for (&begun, 0..) |*one, i| one.* = (try pool.beginWait(try pool.placeIn(block, 4 * i), 0)).?;
    const other = try s.join(pool);
    defer _ = other.close(false);
    try other.acquire();
    for (begun) |one| try s.expect(waiting.cancel(pool.caller(), one));
    other.unlock();
    for (begun) |one| try expectEqual(.over, (try pool.view.waiter(one)).word.get().state);
    try s.expectSound(pool);
    for (0..pool.view.geometry.waiters_max) |_| _ = (try pool.beginWait(try pool.placeIn(block, 2048), 0)).?;
    try s.expectError(error.Full, pool.beginWait(try pool.placeIn(block, 2048), 0));
    try expectEqual(.waiters, pool.cause);
    try s.expectSound(pool);
}

test "who gave up a wait while the lock could not be had can wait again; and finds out that it was taken for dead" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = (try s.alloc(pool, 64, true)).int();
    const place = try pool.placeIn(block, 0);
    try s.expect(try waiting.enlistOwn(pool.caller(), place, 0));
    pool.blocking.deadline_ns = 0;
    try other.acquire();
    try expectEqual(.timed_out, try waiting.goOn(pool.caller(), &pool.blocking));
    other.unlock();
    try s.expect(try waiting.enlistOwn(pool.caller(), place, 0));
    try s.expectSound(pool);
    pool.blocking.deadline_ns = std.math.maxInt(u64);
    const own = &pool.view.members[pool.self.slot].word;
    own.set(.{ .incarnation = pool.self.incarnation });
    try s.expectError(error.Corrupt, waiting.goOn(pool.caller(), &pool.blocking));
    own.set(pool.self.word);
    try waiters.dropAll(&pool.view, .only(pool.self.slot));
    try s.expectError(error.Corrupt, waiting.goOn(pool.caller(), &pool.blocking));
    try s.expectSound(pool);
}

test "nobody parks while there is something to take" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const place = try pool.placeIn((try s.alloc(pool, 64, true)).int(), 0);
    try s.expect(try pool.beginWait(place, 0) != null);
    try expectEqual(1, try waiting.notify(pool.caller(), place, 1));
    try s.expect(!try waiting.park(pool.caller()));
    var ready: [2]u32 = undefined;
    try expectEqual(1, try waiting.take(pool.caller(), &ready));
    try s.expect(try waiting.park(pool.caller()));
    waiting.unpark(pool.caller());
}

// ---------------------------------------------------------------- in the place of the dead

/// Waits in its event loop, with a socket for a doorbell as in Bun and Node, until it is killed. A process that it starts has copies of
/// its descriptors until it runs its own program: here, for as long as it lives.
fn parkWithSocket(ground: *Ground) anyerror!void {
    const member = try ground.join();
    var failure: s.system.Failure = .{};
    waiting.useSocket(member.caller(), try s.system.openSocket(&failure));
    _ = try s.Child.start(struct {
        fn body(at: *Ground) anyerror!void {
            while (@atomicLoad(u32, &at.turns, .acquire) == 0) s.system.sleep(1);
        }
    }.body, ground);
    _ = (try member.beginWait(try member.placeIn(ground.block, 0), 0)).?;
    try s.expect(try waiting.park(member.caller()));
    ground.slot = member.self.slot;
    s.signal(&ground.flag);
    while (true) s.system.sleep(500);
}

/// Blocks, and is notified within seconds.
fn blockUntilNotified(ground: *Ground) anyerror!void {
    const member = try ground.join();
    if (!try waiting.enlistOwn(member.caller(), try member.placeIn(ground.block, 0), 0)) return error.TestUnexpectedResult;
    member.blocking.deadline_ns = s.system.monotonicNs() + 3 * std.time.ns_per_s;
    ground.slot = member.self.slot;
    s.signal(&ground.flag);
    var outcome: waiting.Outcome = .goes_on;
    while (outcome == .goes_on) outcome = try waiting.goOn(member.caller(), &member.blocking);
    try expectEqual(.ok, outcome);
}

fn groundOf(pool: *Pool) !*Ground {
    const ground = try s.sharedPage(Ground);
    ground.* = std.mem.zeroes(Ground);
    const block = try s.alloc(pool, 64, true);
    try pool.share(block.int());
    ground.address = .of(pool);
    ground.block = block.int();
    ground.generation = s.generationOf(pool, block);
    return ground;
}

/// One waits as `how` says, in that slot, and behind him one who blocks.
const Queue = struct {
    first: s.Child,
    slot: u8,
    second: s.Child,

    fn start(ground: *Ground, comptime how: fn (*Ground) anyerror!void) !Queue {
        const first = try s.Child.start(how, ground);
        s.waitUntil(&ground.flag, 1);
        const slot: u8 = @intCast(ground.slot);
        const second = try s.Child.start(blockUntilNotified, ground);
        s.waitUntil(&ground.flag, 2);
        return .{ .first = first, .slot = slot, .second = second };
    }
};

test "one that was killed takes nobody's place, though its socket is still open" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const ground = try groundOf(pool);
    const queue: Queue = try .start(ground, parkWithSocket);
    const slot = queue.slot;
    queue.first.kill();
    const slot_word = pool.view.members[slot].word.get();
    while (!members.isDead(&pool.view, &pool.self, slot, slot_word)) s.system.sleep(1);
    try expectEqual(1, try notify(pool, ground, 1));
    _ = try queue.first.wait();
    try s.Child.expectDone(try queue.second.wait());
    s.signal(&ground.turns);
}

test "one that was killed takes nobody's place, though the next owner of its slot is joining" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const ground = try groundOf(pool);
    const queue: Queue = try .start(ground, blockUntilNotified);
    queue.first.kill();
    _ = try queue.first.wait();
    // As Pool.open(), up to where it looks for the dead and waits for the lock.
    var report: s.segment.Report = .{};
    const entered = try s.segment.enter(s.nameOf(pool), pool.nonce, &report);
    defer s.system.close(entered.fd);
    try expectEqual(queue.slot, entered.slot);
    var self: members.Self = .{ .fd = entered.fd, .slot = entered.slot, .incarnation = 0, .lock_word = .unlocked, .thread = .current() };
    _ = members.beginJoin(&pool.view, &self, 0, 0);
    _ = try notify(pool, ground, 1);
    try s.Child.expectDone(try queue.second.wait());
}

/// Takes the slot of who was killed, as soon as it is marked and the lock is free.
const Newcomer = struct {
    var pool: *Pool = undefined;
    var slot: u8 = 0;
    var joined: ?*Pool = null;

    fn afterLoad() void {
        if (pool.view.waiting.own[slot].word.raw & 0xff != @intFromEnum(layout.WaiterState.notified)) return;
        if (pool.view.header.lock.raw != 0) return;
        crash.reader = null;
        joined = s.join(pool) catch null;
    }
};

test "one that was killed takes nobody's place, though its slot is another's when it is asked whether it lives" {
    if (!crash.enabled) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const ground = try groundOf(pool);
    const queue: Queue = try .start(ground, blockUntilNotified);
    Newcomer.pool = pool;
    Newcomer.slot = queue.slot;
    queue.first.kill();
    _ = try queue.first.wait();
    crash.reader = Newcomer.afterLoad;
    defer crash.reader = null;
    _ = try notify(pool, ground, 1);
    const newcomer = Newcomer.joined orelse return error.TestUnexpectedResult;
    try expectEqual(Newcomer.slot, newcomer.self.slot);
    _ = newcomer.close(false);
    try s.Child.expectDone(try queue.second.wait());
}
