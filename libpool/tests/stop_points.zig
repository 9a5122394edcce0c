//! Members that are stopped (SIGSTOP) at any store to shared memory, in a build with `-Dcrash-points`: nobody takes them for
//! dead, and nobody robs them of the lock. And the races of those who judge: a rescuer, a reaper that is slow to act.

const std = @import("std");
const s = @import("support.zig");
const blocks = @import("../blocks.zig");
const holding = @import("../holding.zig");
const crash = @import("../crash.zig");
const lock = @import("../lock.zig");
const locked_bytes = @import("../locked_bytes.zig");
const members = @import("../members.zig");
const layout = s.layout;
const Pool = s.Pool;

const large = 100 << 10;

const Shared = struct {
    address: s.Address,
    point: u64,
    blocks: [8]u32,
    word: u32,
    judged: u32,
    go_on: u32,
    locked: u32,
    pid: u32,

    fn start(pool: *Pool) !*Shared {
        const shared = try s.sharedPage(Shared);
        shared.* = std.mem.zeroes(Shared);
        shared.address = .of(pool);
        return shared;
    }
};

const Operation = struct {
    name: []const u8,
    run: *const fn (member: *Pool, shared: *Shared) anyerror!void,
};

const operations = [_]Operation{
    .{ .name = "alloc, with a split", .run = struct {
        fn f(member: *Pool, shared: *Shared) anyerror!void {
            shared.blocks[7] = (try s.alloc(member, 4000, true)).int();
        }
    }.f },
    .{ .name = "alloc, with backing", .run = struct {
        fn f(member: *Pool, shared: *Shared) anyerror!void {
            shared.blocks[7] = (try s.alloc(member, 600 << 10, true)).int();
        }
    }.f },
    .{ .name = "release, with merges", .run = struct {
        fn f(member: *Pool, shared: *Shared) anyerror!void {
            for ([_]usize{ 0, 2, 1 }) |i| _ = try member.release(shared.blocks[i], true);
        }
    }.f },
    .{ .name = "claim and trim", .run = struct {
        fn f(member: *Pool, shared: *Shared) anyerror!void {
            const claim = try member.createClaim(shared.blocks[3], 1, 0);
            try member.dropClaim(shared.blocks[3], s.generationOf(member, .of(shared.blocks[3])), claim, 1);
            _ = try member.trim();
        }
    }.f },
};

fn stopped(at: struct { *const Operation, *Shared }) anyerror!void {
    const operation, const shared = at;
    const member = try shared.address.join();
    for (shared.blocks[0..5], 1..) |*block, i| {
        const index = try s.alloc(member, large, false);
        @memset(try s.bytesOf(member, index), @intCast(i));
        block.* = index.int();
    }
    crash.armStop(shared.point);
    try operation.run(member, shared);
    crash.arm(0);
    // Back again: what it holds is what it held.
    for (shared.blocks[3..5], 4..) |block, i| try s.expect(std.mem.allEqual(u8, try s.bytesOf(member, .of(block)), @intCast(i)));
    _ = member.close(false);
}

test "a member that is stopped at any point is never taken for dead, keeps its lock, and goes on when it is continued" {
    if (!crash.enabled) return error.SkipZigTest;
    var points: u32 = 0;
    var locked: u32 = 0;
    for (&operations) |*operation| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const shared = try Shared.start(pool);
        pool.patience.timeout_ms = 15;
        shared.point = 1;
        while (true) : (shared.point += 1) {
            errdefer std.debug.print("{s}: stopped at point {d}\n", .{ operation.name, shared.point });
            const child = try s.Child.start(stopped, .{ operation, shared });
            defer child.kill();
            const has_stopped = try child.hasStopped();
            if (!has_stopped) {
                try s.expectEqual(0, try child.wait());
                break;
            }
            points += 1;
            const word = pool.view.header.lock.get();
            if (word != layout.LockWord.unlocked) {
                locked += 1;
                try s.expectError(error.Busy, s.alloc(pool, 100, false));
                try s.expectEqual(@as(u32, @intCast(child.pid)), pool.patience.owner_pid);
                try s.expectError(error.Busy, pool.reap());
                if (locked == 1) try s.expectError(error.Busy, s.join(pool)); // has a patience of its own
            } else {
                try s.expectEqual(0, (try pool.reap()).members);
                try s.expectEqual(2, (try pool.stats()).members);
                const mine = try s.alloc(pool, 5000, true);
                _ = try pool.release(mine.int(), true);
                _ = (try s.join(pool)).close(false);
            }
            child.@"continue"();
            try s.expectEqual(0, try child.wait());
            try s.expectSound(pool);
            try s.expectEqual(0, (try pool.stats()).recoveries);
            try s.expectEqual(0, (try pool.stats()).arrays);
        }
    }
    std.debug.print("stop points: {d}, {d} of them with the lock\n", .{ points, locked });
    try s.expect(points > 50 and locked > 20);
}

test "a slow rescuer does not rob the lock of a newcomer in the dead owner's slot" {
    if (!crash.enabled) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const shared = try Shared.start(pool);

    // A victim in slot 1 that dies with the lock, and a rescuer that is a member already.
    const victim = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.address.join();
            try s.expectEqual(1, member.self.slot);
            s.signal(&at.word);
            s.waitUntil(&at.word, 2);
            try lock.acquire(&member.view, &member.self, &member.patience);
            s.die();
        }
    }.body, shared);
    s.waitUntil(&shared.word, 1);
    const rescuer = try s.Child.start(struct {
        var own: *Shared = undefined;
        fn wait() void {
            crash.before_takeover = null;
            s.signal(&own.judged);
            s.waitUntil(&own.go_on, 1);
        }
        fn body(at: *Shared) !void {
            own = at;
            const member = try at.address.join();
            s.signal(&at.word); // 2: the victim may take the lock
            while (member.view.header.lock.get() == layout.LockWord.unlocked) s.system.sleep(1);
            crash.before_takeover = wait;
            member.patience.timeout_ms = 100;
            // It finds the newcomer alive, and waits for it in vain.
            try s.expectError(error.Busy, s.alloc(member, 100, false));
            try s.expectEqual(at.pid, member.patience.owner_pid);
            s.signal(&at.go_on); // 2
            s.waitUntil(&at.go_on, 3);
            _ = try s.alloc(member, 100, false);
            _ = member.close(false);
        }
    }.body, shared);
    try s.expectEqual(128 + 9, try victim.wait());
    s.waitUntil(&shared.judged, 1); // the rescuer has judged the owner dead, and is paused

    // Somebody else takes over, recovers and reaps; a newcomer gets the slot, and the lock.
    try s.expectEqual(1, (try pool.reap()).members);
    const newcomer = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.address.join();
            try s.expectEqual(1, member.self.slot);
            try lock.acquire(&member.view, &member.self, &member.patience);
            at.pid = member.self.thread.pid;
            s.signal(&at.locked);
            while (@atomicLoad(u32, &at.go_on, .acquire) < 2) {
                const word = member.view.header.lock.get();
                try s.expect(word.slot == 1 and word.incarnation == member.self.incarnation);
            }
            lock.release(&member.view, &member.self);
            s.signal(&at.go_on); // 3
            _ = member.close(false);
        }
    }.body, shared);
    s.waitUntil(&shared.locked, 1);
    s.signal(&shared.go_on); // 1: the rescuer goes on, and must fail
    try s.expectEqual(0, try rescuer.wait());
    try s.expectEqual(0, try newcomer.wait());
    try s.expectEqual(1, (try pool.stats()).recoveries);
    try s.expectSound(pool);
}

test "a slow reaper does not undo the joining of the slot's next owner" {
    if (!crash.enabled) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    shared.point = 1;
    var points: u32 = 0;
    while (true) : (shared.point += 1) {
        errdefer std.debug.print("stopped at point {d}\n", .{shared.point});
        const reaper = try s.Child.start(struct {
            fn body(at: *Shared) !void {
                const member = try at.address.join();
                s.signal(&at.word);
                s.waitUntil(&at.word, 2);
                crash.armStop(at.point);
                _ = try member.reap();
                crash.arm(0);
                _ = member.close(false);
            }
        }.body, shared);
        s.waitUntil(&shared.word, 1);
        const victim = try s.Child.start(struct {
            fn body(at: *Shared) !void {
                const member = try at.address.join();
                for (0..3) |_| _ = try s.alloc(member, 1000, false);
                s.die();
            }
        }.body, shared);
        try s.expectEqual(128 + 9, try victim.wait());
        s.signal(&shared.word);
        const has_stopped = try reaper.hasStopped();
        // The victim's slot has a new owner, that has not got the lock yet.
        var report: s.segment.Report = .{};
        const entered = try s.segment.enter(s.nameOf(pool), pool.nonce, &report);
        var newcomer: members.Self = .{ .fd = entered.fd, .slot = entered.slot, .incarnation = 0, .lock_word = .unlocked, .thread = .current() };
        _ = members.beginJoin(&pool.view, &newcomer, 0, 0);
        const word = pool.view.members[entered.slot].word.get();
        reaper.@"continue"();
        try s.expectEqual(0, try reaper.wait());
        try s.expectEqual(word, pool.view.members[entered.slot].word.get());
        s.system.close(entered.fd);
        _ = try pool.reap();
        try s.expectSound(pool);
        try s.expectEqual(0, (try pool.stats()).arrays);
        shared.word = 0;
        if (!has_stopped) break;
        points += 1;
    }
    std.debug.print("a reaper stopped at {d} points\n", .{points});
    try s.expect(points > 5);
}

/// Who destroys a buffer while its member leaves: held up just before it counts.
const LateCount = struct {
    var keeper: *Pool = undefined;
    var slot: u8 = 0;
    var all_gone: *layout.Cell(u32) = undefined;
    var newcomer: ?*Pool = null;

    /// As soon as somebody else can have the slot, he has it, and the count comes.
    fn look() void {
        if (newcomer != null or locked_bytes.slotTaken(keeper.self.fd, slot)) return;
        crash.observer = null;
        newcomer = s.join(keeper) catch unreachable;
        all_gone.add(1);
        crash.observer = look;
    }
};

test "a buffer that is destroyed while its member leaves is never counted for the next one in its slot" {
    if (!crash.enabled) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    var report: s.segment.Report = .{};
    const member = try Pool.open(s.nameOf(pool), pool.nonce, .{ .counts_buffers = true }, &report);
    const mapping = member.mapping;
    const bytes = Pool.mappingBytes(member.view.geometry);
    const number = (try s.alloc(member, 1000, true)).int();
    LateCount.keeper = pool;
    LateCount.slot = member.self.slot;
    LateCount.all_gone = member.view.buffers[number].all_gone.?;
    LateCount.newcomer = null;
    crash.observer = LateCount.look;
    defer crash.observer = null;
    _ = member.close(false);
    const newcomer = LateCount.newcomer orelse return error.TestUnexpectedResult;
    try s.expectEqual(LateCount.slot, newcomer.self.slot);
    try s.expectEqual(0, pool.view.members[newcomer.self.slot].buffers_gone.get());
    _ = newcomer.close(false);
    s.system.unmap(mapping, bytes);
}

/// What another one does at the n-th load, or look at a lock, of who is at something.
const AtLoad = struct {
    var what: ?*const fn (*Pool) void = null;
    var pool: *Pool = undefined;
    var at: u32 = 0;

    fn arm(n: u32, of: *Pool, act: *const fn (*Pool) void) void {
        what = act;
        pool = of;
        at = n;
        crash.reader = come;
    }
    fn come() void {
        at -= 1;
        if (at > 0) return;
        crash.reader = null;
        const act = what.?;
        what = null;
        act(pool);
    }
    /// Does it now, if it was not done before. Whether it was.
    fn finish() bool {
        crash.reader = null;
        const act = what orelse return true;
        act(pool);
        return false;
    }
};

fn leave(pool: *Pool) void {
    _ = pool.close(false);
}

test "the last one that leaves while somebody else is at the gate leaves no name behind, however long that one takes" {
    if (!crash.enabled) return error.SkipZigTest;
    const At = enum { opens_another, sweeps, exits };
    for ([_]At{ .opens_another, .sweeps, .exits }) |what| {
        var meetings: u32 = 0;
        for (1..100) |n| {
            const pool = try s.create(1 << 20);
            var name_buffer = pool.name_buffer;
            const name = name_buffer[0..pool.name_bytes];
            const nonce = pool.nonce;
            AtLoad.arm(@intCast(n), pool, leave);
            var report: s.segment.Report = .{};
            switch (what) {
                .opens_another => try s.expectError(error.Nonce, Pool.open(name, nonce +% 1, .{}, &report)),
                .sweeps => _ = s.segment.sweep(),
                .exits => _ = s.segment.removeAtExit(name),
            }
            if (!AtLoad.finish()) break;
            meetings += 1;
            try s.expect(!s.exists(name));
        }
        try s.expect(meetings > 0);
    }
}

/// The lock cannot be had meanwhile.
fn letGoOfBody(pool: *Pool) void {
    pool.patience.timeout_ms = 0;
    holding.letGoAnyway(pool, body);
    pool.patience.timeout_ms = 2000;
}
var body: u32 = undefined;

test "a body is let go of without the lock while another one reaps: nothing of it stays, and nothing else is lost" {
    if (!crash.enabled) return error.SkipZigTest;
    var point: u32 = 1;
    while (true) : (point += if (s.brief) 37 else 1) {
        const pool = try s.create(1 << 20);
        defer s.end(pool);
        const other = try s.join(pool);
        defer _ = other.close(false);
        const index = try s.alloc(pool, 5000, false);
        try pool.share(index.int());
        const kept = try s.alloc(other, 100, false);
        const child = try s.Child.start(struct {
            fn hold(at: struct { s.Address, u32, u64 }) !void {
                const member = try at[0].join();
                _ = try member.attach(at[1], at[2], 0);
                s.die();
            }
        }.hold, .{ s.Address.of(pool), index.int(), s.generationOf(pool, index) });
        try s.expectEqual(128 + 9, try child.wait());
        body = index.int();
        AtLoad.arm(point, pool, letGoOfBody);
        _ = try other.reap();
        const was_over = !AtLoad.finish();
        _ = try other.reap();
        errdefer std.debug.print("let go of at load {d}\n", .{point});
        try s.expectSound(pool);
        try s.expectEqual(1, (try pool.stats()).arrays);
        try s.expectEqual(0, pool.view.header.left.get());
        _ = try other.release(kept.int(), true);
        if (was_over) return;
    }
}

test "who counts the entries that are left, while another one has more of them backed and uses them, counts no more than there are" {
    if (!crash.enabled) return error.SkipZigTest;
    const child = try s.Child.start(struct {
        const State = struct {
            var other: *Pool = undefined;
            var at: u64 = 0;
            var loads: u64 = 0;
            fn load() void {
                loads += 1;
                if (loads != at) return;
                for (0..600) |_| _ = other.alloc(64, 1, false) catch return;
            }
        };
        fn body(_: void) !void {
            for (1..12) |at| {
                const first = try s.create(4 << 20);
                State.other = try s.join(first);
                State.other.cache.granules_limit = 0;
                _ = first.view.blocksBacked();
                State.loads = 0;
                State.at = at;
                crash.reader = &State.load;
                const left = blocks.unusedEntries(&first.view);
                crash.reader = null;
                try s.expect(left <= first.view.geometry.blocks_max);
                s.end(first);
            }
        }
    }.body, {});
    try s.Child.expectDone(try child.wait());
}
