//! A live member is never taken for dead: stopped, under load, in other namespaces, with a PID that was somebody else's. And
//! the dead are found: in another namespace, in a process that lives on, or while the kernel is still tearing it down.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const channel = @import("../channel.zig");
const layout = @import("../layout.zig");
const lock = @import("../lock.zig");
const locked_bytes = @import("../locked_bytes.zig");
const members = @import("../members.zig");
const queue_file = @import("../queue.zig");
const Pool = s.Pool;

const capacity = 4 << 20;
const array_bytes = 100 << 10;

/// What the processes of a test share, and a member that does nothing but live.
const Shared = struct {
    address: s.Address,
    ready: u32,
    end: u32,
    pid: u32,
    blocks: [3]u32,
    word: u32,

    fn start(pool: *Pool) !*Shared {
        const shared = try s.sharedPage(Shared);
        shared.* = std.mem.zeroes(Shared);
        shared.address = .of(pool);
        return shared;
    }

    /// Joins, holds arrays, and sees at the end that they are what they were.
    fn live(shared: *Shared) anyerror!void {
        const member = try shared.address.join();
        for (&shared.blocks, 1..) |*block, i| {
            const index = try s.alloc(member, array_bytes, false);
            @memset(try s.bytesOf(member, index), @intCast(i));
            block.* = index.int();
        }
        s.signal(&shared.ready);
        s.waitUntil(&shared.end, 1);
        const word = member.view.members[member.self.slot].word.get();
        try s.expect(word.state == .joined and word.incarnation == member.self.incarnation);
        for (shared.blocks, 1..) |block, i| {
            try s.expect(std.mem.allEqual(u8, try s.bytesOf(member, .of(block)), @intCast(i)));
            _ = try member.release(block, true);
        }
        _ = member.close(false);
    }

    /// The same in a new PID namespace, as process 1 of it.
    fn liveApart(at: struct { *Shared, usize }) anyerror!void {
        const shared, const flags = at;
        try s.unshare(flags);
        const inner = try s.Child.start(liveInside, .{ shared, flags });
        @atomicStore(u32, &shared.pid, @intCast(inner.pid), .release);
        const code = try inner.wait();
        if (code == 128 + 9) s.die();
        try s.expectEqual(0, code);
    }
    fn liveInside(at: struct { *Shared, usize }) anyerror!void {
        const shared, const flags = at;
        if (flags & linux.CLONE.NEWNS != 0) try mountProc();
        try live(shared);
    }
};

fn mountProc() !void {
    _ = linux.mount("none", "/", null, linux.MS.REC | linux.MS.PRIVATE, 0);
    if (linux.errno(linux.mount("proc", "/proc", "proc", 0, 0)) != .SUCCESS) return error.Mount;
}

/// Does for a while all that looks for dead members: finds none, and frees nothing.
fn besiege(pool: *Pool, ms: u64) !void {
    const members_before = (try pool.stats()).members;
    const arrays_before = (try pool.stats()).arrays;
    const until_ms = s.system.monotonicMs() + ms;
    while (s.system.monotonicMs() < until_ms) {
        try s.expectEqual(0, (try pool.reap()).members);
        try s.expectError(error.Full, pool.alloc(capacity - array_bytes, 1, false));
        const other = try s.join(pool);
        try s.expectEqual(members_before + 1, (try other.stats()).members);
        _ = other.close(false);
    }
    try s.expectEqual(members_before, (try pool.stats()).members);
    try s.expectEqual(arrays_before, (try pool.stats()).arrays);
}

/// Reaps until `count` members were found dead.
fn reapUntil(pool: *Pool, count: u32) !u64 {
    const begun_ms = s.system.monotonicMs();
    var found: u32 = 0;
    while (found < count) {
        found += (try pool.reap()).members;
        if (s.system.monotonicMs() - begun_ms > 10_000) return error.NeverReaped;
        s.system.sleep(1);
    }
    return s.system.monotonicMs() - begun_ms;
}

test "a stopped member is not taken for dead" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const child = try s.Child.start(Shared.live, shared);
    s.waitUntil(&shared.ready, 1);
    try child.stop();
    try besiege(pool, 1000);
    child.@"continue"();
    s.signal(&shared.end);
    try s.expectEqual(0, try child.wait());
    try s.expectSound(pool);
}

test "members of a machine under heavy load are not taken for dead" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    var load: [12]s.Child = undefined;
    for (&load) |*child| child.* = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            while (@atomicLoad(u32, &at.end, .acquire) == 0) {}
        }
    }.body, shared);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            try Shared.live(at);
        }
    }.body, shared);
    s.waitUntil(&shared.ready, 1);
    pool.patience.timeout_ms = 20_000;
    try besiege(pool, 1000);
    s.signal(&shared.end);
    try s.expectEqual(0, try child.wait());
    for (load) |each| try s.expectEqual(0, try each.wait());
}

const apart = [_]struct { flags: usize, what: []const u8 }{
    .{ .flags = linux.CLONE.NEWPID | linux.CLONE.NEWNS, .what = "with a /proc of its own" },
    .{ .flags = linux.CLONE.NEWPID, .what = "with the /proc of another" },
};

test "a member in another PID namespace is not taken for dead, running or stopped, and is reaped when it is killed" {
    for (apart) |way| {
        errdefer std.debug.print("{s}\n", .{way.what});
        for ([_]bool{ false, true }) |killed| {
            const pool = try s.create(capacity);
            defer s.end(pool);
            const shared = try Shared.start(pool);
            const middle = try s.Child.start(Shared.liveApart, .{ shared, way.flags });
            while (@atomicLoad(u32, &shared.ready, .acquire) == 0) {
                if (!try middle.runs()) return error.SkipZigTest;
                s.system.sleep(1);
            }
            s.waitUntil(&shared.pid, 1); // told by the one in the middle; 0 would be all of us
            const inner: s.Child = .{ .pid = @intCast(@atomicLoad(u32, &shared.pid, .acquire)) };
            try besiege(pool, 300);
            _ = linux.kill(inner.pid, .STOP);
            try besiege(pool, 300);
            _ = linux.kill(inner.pid, .CONT);
            if (killed) inner.kill() else s.signal(&shared.end);
            try s.expectEqual(@as(u32, if (killed) 128 + 9 else 0), try middle.wait());
            if (killed) _ = try reapUntil(pool, 1);
            try s.expectEqual(1, (try pool.stats()).members);
            try s.expectEqual(0, (try pool.stats()).arrays);
        }
    }
}

test "a judge in a PID namespace of its own takes nobody outside for dead" {
    for (apart) |way| {
        errdefer std.debug.print("{s}\n", .{way.what});
        const pool = try s.create(capacity);
        defer s.end(pool);
        const shared = try Shared.start(pool);
        const child = try s.Child.start(Shared.live, shared);
        s.waitUntil(&shared.ready, 1);
        const judge = try s.Child.start(struct {
            fn body(at: struct { *Shared, usize }) anyerror!void {
                try s.unshare(at[1]);
                const inner = try s.Child.start(inside, .{ at[0], at[1] });
                try s.expectEqual(0, try inner.wait());
            }
            fn inside(at: struct { *Shared, usize }) anyerror!void {
                if (at[1] & linux.CLONE.NEWNS != 0) try mountProc();
                const member = try at[0].address.join();
                try s.expectEqual(1, member.self.thread.pid);
                try besiege(member, 300);
                _ = member.close(false);
            }
        }.body, .{ shared, way.flags });
        const code = try judge.wait();
        s.signal(&shared.end);
        try s.expectEqual(0, try child.wait());
        if (code == s.skipped) return error.SkipZigTest;
        try s.expectEqual(0, code);
    }
}

fn writeFile(path: [*:0]const u8, text: []const u8) !void {
    const fd = linux.open(path, .{ .ACCMODE = .WRONLY }, 0);
    if (linux.errno(fd) != .SUCCESS) return error.Open;
    defer _ = linux.close(@intCast(fd));
    if (linux.write(@intCast(fd), text.ptr, text.len) != text.len) return error.Write;
}

/// The next process of this PID namespace gets number 100.
fn nextIs100() !void {
    try writeFile("/proc/sys/kernel/ns_last_pid", "99");
}

test "a PID that was a dead member's is no reason to keep the dead, nor to reap the living" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const middle = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            try s.unshare(linux.CLONE.NEWPID | linux.CLONE.NEWNS);
            const inner = try s.Child.start(inside, at);
            try s.expectEqual(0, try inner.wait());
        }
        fn inside(at: *Shared) anyerror!void {
            try mountProc();
            const judge = try at.address.join();

            // The dead member's byte is still locked (by a child that has inherited the descriptor); its number is taken.
            try nextIs100();
            const victim = try s.Child.start(leaveHeir, at);
            try s.expectEqual(100, victim.pid);
            s.waitUntil(&at.word, 1);
            // Of another start time, which /proc tells in hundredths of a second.
            s.system.sleep(30);
            victim.kill();
            try s.expectEqual(128 + 9, try victim.wait());
            try nextIs100();
            const stranger = try s.Child.start(idle, at);
            try s.expectEqual(100, stranger.pid);
            try s.expect(locked_bytes.slotTaken(judge.self.fd, 2));
            try s.expectEqual(1, (try judge.reap()).members);
            try s.expectEqual(0, (try judge.stats()).arrays);
            stranger.kill();
            _ = try stranger.wait();
            const heir: s.Child = .{ .pid = @intCast(at.pid) };
            heir.kill();
            _ = try heir.wait(); // an orphan is process 1's, which is this one

            // A member with the number of a dead one lives on, though the slot of the dead says the same.
            try nextIs100();
            const dead = try s.Child.start(joinAndDie, at);
            try s.expectEqual(128 + 9, try dead.wait());
            try nextIs100();
            const child = try s.Child.start(Shared.live, at);
            try s.expectEqual(100, child.pid);
            s.waitUntil(&at.ready, 1);
            const slot = judge.view.members[0..4];
            try s.expect(slot[2].pid.get() == 100 or slot[3].pid.get() == 100);
            try besiege(judge, 300);
            s.signal(&at.end);
            try s.expectEqual(0, try child.wait());
            _ = judge.close(false);
        }
        fn joinAndDie(at: *Shared) anyerror!void {
            const member = try at.address.join();
            _ = try s.alloc(member, 1000, false);
            s.die();
        }
        fn leaveHeir(at: *Shared) anyerror!void {
            const member = try at.address.join();
            _ = try s.alloc(member, 1000, false);
            const heir = try s.Child.start(idle, at);
            at.pid = @intCast(heir.pid);
            s.signal(&at.word);
            _ = try heir.wait();
        }
        fn idle(_: *Shared) anyerror!void {
            s.dieWithParent(false); // but with its namespace
            while (true) s.system.sleep(500);
        }
    }.body, shared);
    const code = try middle.wait();
    if (code == s.skipped) return error.SkipZigTest;
    try s.expectEqual(0, code);
    try s.expectSound(pool);
}

test "a member in another time namespace, where start times differ, is not taken for dead" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const middle = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            try s.unshare(linux.CLONE.NEWTIME);
            try writeFile("/proc/self/timens_offsets", "boottime 100000 0\n");
            const inner = try s.Child.start(Shared.live, at);
            try s.expectEqual(0, try inner.wait());
        }
    }.body, shared);
    while (@atomicLoad(u32, &shared.ready, .acquire) == 0) {
        if (!try middle.runs()) return error.SkipZigTest;
        s.system.sleep(1);
    }
    try besiege(pool, 300);
    s.signal(&shared.end);
    try s.expectEqual(0, try middle.wait());
}

test "a judge that has lost /proc takes nobody for dead" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const judge = try s.Child.start(struct {
        fn body(at: *Pool) anyerror!void {
            const member = try s.join(at);
            const result = linux.chroot("/dev/shm");
            if (linux.errno(result) != .SUCCESS) return error.SkipZigTest;
            for (0..100) |_| try s.expectEqual(0, (try member.reap()).members);
            try s.expectEqual(2, (try member.stats()).members);
        }
    }.body, pool);
    const code = try judge.wait();
    if (code == s.skipped) return error.SkipZigTest;
    try s.expectEqual(0, code);
}

// ---------------------------------------------------------------- a process that is killed

fn freeMemory() u64 {
    var machine: linux.Sysinfo = undefined;
    if (linux.errno(linux.sysinfo(&machine)) != .SUCCESS) return 0;
    return @as(u64, machine.freeram) * machine.mem_unit;
}

test "a member that has touched gigabytes and is killed with the lock does not keep the others until it is torn down" {
    const touched: usize = if (freeMemory() > 6 << 30) 2 << 30 else 256 << 20;
    var while_taken: u32 = 0;
    for (0..5) |_| {
        const pool = try s.create(capacity);
        defer s.end(pool);
        const shared = try Shared.start(pool);
        const victim = try s.Child.start(struct {
            fn body(at: struct { *Shared, usize }) anyerror!void {
                const member = try at[0].address.join();
                const flags: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true };
                const start = linux.mmap(null, at[1], .{ .READ = true, .WRITE = true }, flags, -1, 0);
                if (linux.errno(start) != .SUCCESS) return error.Map;
                const bytes: [*]u8 = @ptrFromInt(start);
                _ = linux.madvise(bytes, at[1], 15); // no huge pages: they are torn down faster
                var offset: usize = 0;
                while (offset < at[1]) : (offset += 4096) bytes[offset] = 1;
                try lock.acquire(&member.view, &member.self, &member.patience);
                s.signal(&at[0].ready);
                while (true) s.system.sleep(500);
            }
        }.body, .{ shared, touched });
        s.waitUntil(&shared.ready, 1);
        victim.kill();
        const begun_ms = s.system.monotonicMs();
        _ = try s.alloc(pool, 100, false);
        const taken_over_ms = s.system.monotonicMs() - begun_ms;
        if (locked_bytes.slotTaken(pool.self.fd, 1)) while_taken += 1;
        while (locked_bytes.slotTaken(pool.self.fd, 1)) s.system.sleep(1);
        const let_go_ms = s.system.monotonicMs() - begun_ms;
        try s.expectEqual(128 + 9, try victim.wait());
        try s.expectEqual(1, (try pool.stats()).recoveries);
        std.debug.print("killed with the lock and {d} MiB: the others go on after {d} ms, the kernel lets go after {d} ms\n", .{ touched >> 20, taken_over_ms, let_go_ms });
        if (while_taken > 0) break; // another try, on a machine that let us wait
    }
    try s.expect(while_taken > 0);
}

// ---------------------------------------------------------------- threads that end in a process that lives on

const Census = struct {
    descriptors: u32,
    mappings: u32,
    virtual_kib: u64,

    fn take() !Census {
        var census: Census = .{ .descriptors = 0, .mappings = 0, .virtual_kib = 0 };
        for (0..1024) |fd| {
            if (linux.errno(linux.fcntl(@intCast(fd), linux.F.GETFD, 0)) == .SUCCESS) census.descriptors += 1;
        }
        var buffer: [1 << 20]u8 = undefined;
        census.mappings = @intCast(std.mem.count(u8, try read("/proc/self/maps", &buffer), "\n"));
        const status = try read("/proc/self/status", &buffer);
        const at = (std.mem.indexOf(u8, status, "VmSize:") orelse return error.Read) + "VmSize:".len;
        var words = std.mem.tokenizeAny(u8, status[at..], " \t\n");
        census.virtual_kib = try std.fmt.parseInt(u64, words.next().?, 10);
        return census;
    }
    fn read(path: [*:0]const u8, buffer: []u8) ![]u8 {
        const fd = linux.open(path, .{}, 0);
        if (linux.errno(fd) != .SUCCESS) return error.Read;
        defer _ = linux.close(@intCast(fd));
        var filled: usize = 0;
        while (true) {
            const got = linux.read(@intCast(fd), buffer[filled..].ptr, buffer.len - filled);
            if (linux.errno(got) != .SUCCESS) return error.Read;
            if (got == 0) return buffer[0..filled];
            filled += got;
        }
    }
};

/// Joins in a thread of its own, which ends without leaving.
const Brief = struct {
    shared: *Shared,
    counts_buffers: bool = false,
    /// Ends before it has made the buffer on its array.
    unmade: bool = false,
    member: ?*Pool = null,
    block: u32 = 0,
    bytes: []u8 = &.{},
    gone: *u32 = undefined,
    then: []const Then = &.{},

    const Then = *const fn (brief: *Brief) anyerror!void;

    fn run(brief: *Brief) void {
        brief.runOrFail() catch |err| std.debug.print("thread: {s}\n", .{@errorName(err)});
    }
    fn runOrFail(brief: *Brief) !void {
        const shared = brief.shared;
        const member = try shared.address.joinAs(.{ .counts_buffers = brief.counts_buffers });
        const index = try s.alloc(member, array_bytes, true);
        brief.bytes = try s.bytesOf(member, index);
        brief.block = index.int();
        brief.gone = &member.view.buffers[index.int()].gone;
        @memset(brief.bytes, 7);
        if (!brief.unmade) member.record[Pool.unmade_at] = 0;
        brief.member = member;
        for (brief.then) |act| try act(brief);
    }
    fn endAfter(brief: *Brief, then: []const Then) !void {
        brief.then = then;
        try brief.end();
    }
    fn end(brief: *Brief) !void {
        const thread = try std.Thread.spawn(.{}, run, .{brief});
        thread.join();
        if (brief.member == null) return error.TestUnexpectedResult;
    }
};

test "a thousand threads that end without leaving use up no slot, descriptor or address space" {
    if (s.brief) return error.SkipZigTest; // an emulator's addresses are its own
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const before = try Census.take();
    for (0..1000) |_| {
        var brief: Brief = .{ .shared = shared };
        try brief.end();
    }
    _ = try reapUntil(pool, 1);
    while ((try pool.stats()).members > 1) _ = try pool.reap();
    try s.expectEqual(0, (try pool.stats()).arrays);
    const after = try Census.take();
    try s.expectEqual(before.descriptors, after.descriptors);
    try s.expect(after.mappings <= before.mappings + 4);
    try s.expect(after.virtual_kib <= before.virtual_kib + 1024);
    for (1..256) |slot| try s.expect(!locked_bytes.slotTaken(pool.self.fd, @intCast(slot)));
}

test "the slot of a thread that has ended is free though a process that is being started has copies of all descriptors" {
    if (s.brief) return error.SkipZigTest; // an emulator's addresses are its own
    const pool = try s.create(capacity);
    var name_buffer = pool.name_buffer;
    const name = name_buffer[0..pool.name_bytes];
    const shared = try Shared.start(pool);
    var brief: Brief = .{ .shared = shared };
    try brief.end();
    // As between fork and exec, when nothing is closed yet.
    const copy = linux.dup(brief.member.?.self.fd);
    try s.expect(linux.errno(copy) == .SUCCESS);
    defer _ = linux.close(@intCast(copy));
    try s.expect(pool.close(false));
    try s.expect(!s.exists(name));
}

test "slots that were all taken by threads that have ended are free for the next one to join" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    var threads: [255]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{ .stack_size = 1 << 20 }, struct {
        fn body(at: *Shared) void {
            _ = at.address.join() catch return;
            s.signal(&at.ready);
            s.waitUntil(&at.end, 1);
        }
    }.body, .{shared});
    s.waitUntil(&shared.ready, 255);
    try s.expectError(error.Members, s.join(pool));
    s.signal(&shared.end);
    for (threads) |thread| thread.join();
    const late = try s.join(pool);
    _ = late.close(false);
    _ = try pool.reap();
    try s.expectEqual(1, (try pool.stats()).members);
}

test "a thread that has ended in a process that is not in the pool otherwise is reaped by others" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            var brief: Brief = .{ .shared = at };
            try brief.end();
            s.signal(&at.ready);
            s.waitUntil(&at.end, 1);
        }
    }.body, shared);
    s.waitUntil(&shared.ready, 1);
    const ms = try reapUntil(pool, 1);
    try s.expectEqual(0, (try pool.stats()).arrays);
    try s.expect(ms < 1000);
    s.signal(&shared.end);
    try s.expectEqual(0, try child.wait());
}

test "what a thread that has ended held is not reaped while a buffer shows it, and by anybody when it is gone" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            var brief: Brief = .{ .shared = at, .counts_buffers = true };
            try brief.end();
            s.signal(&at.ready);
            s.waitUntil(&at.end, 1);
            // The other process has reaped, to no effect; and so does a sibling.
            try s.expect(std.mem.allEqual(u8, brief.bytes, 7));
            const sibling = try at.address.join();
            try s.expectEqual(0, (try sibling.reap()).members);
            try s.expect(std.mem.allEqual(u8, brief.bytes, 7));
            _ = sibling.close(false);
            @import("../exports.zig").ap_buffer_gone(null, brief.gone);
            s.signal(&at.ready);
            s.waitUntil(&at.end, 2);
        }
    }.body, shared);
    s.waitUntil(&shared.ready, 1);
    for (0..50) |_| {
        try s.expectEqual(0, (try pool.reap()).members);
        try s.expectError(error.Full, pool.alloc(capacity - 64, 1, false));
        s.system.sleep(1);
    }
    try s.expectEqual(1, (try pool.stats()).arrays);
    s.signal(&shared.end);
    s.waitUntil(&shared.ready, 2);
    try s.expectEqual(1, (try pool.reap()).members);
    try s.expectEqual(0, (try pool.stats()).arrays);
    s.signal(&shared.end);
    try s.expectEqual(0, try child.wait());
}

test "a thread that ended before it made the buffer that was counted keeps nothing; but what shows the same array does" {
    if (s.brief) return error.SkipZigTest; // an emulator's addresses are its own
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    var brief: Brief = .{ .shared = shared, .counts_buffers = true, .unmade = true };
    try brief.end();
    _ = try reapUntil(pool, 1);
    try s.expectEqual(0, (try pool.stats()).arrays);
    // One that was made and went with the thread.
    brief = .{ .shared = shared, .counts_buffers = true, .unmade = true };
    try brief.endAfter(&.{goes});
    _ = try reapUntil(pool, 1);
    // Another one is there, on the same array or on another; and then not.
    for ([_]Brief.Then{ again, another }) |then| {
        brief = .{ .shared = shared, .counts_buffers = true };
        try brief.endAfter(&.{then});
        try expectKept(pool);
        try s.expect(std.mem.allEqual(u8, brief.bytes, 7));
        @import("../exports.zig").ap_buffer_gone(null, brief.gone);
        _ = try reapUntil(pool, 1);
        try s.expectEqual(0, (try pool.stats()).arrays);
    }
    // Of two that were counted at once, only the last is known not to be there.
    brief = .{ .shared = shared, .counts_buffers = true, .unmade = true };
    try brief.endAfter(&.{another});
    try expectKept(pool);
    @import("../exports.zig").ap_buffer_gone(null, brief.gone);
    _ = try reapUntil(pool, 1);
}

test "a thread that ended while it made buffers on what a message has brought keeps nothing" {
    if (s.brief) return error.SkipZigTest; // an emulator's addresses are its own
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    message_channel = try channel.create(pool, 4, 100);
    message_channel_generation = s.generationOf(pool, .of(message_channel));
    try pool.share(message_channel);
    for (0..3) |made| {
        var records: [3]queue_file.Record = undefined;
        for (&records) |*record| {
            const index = try s.alloc(pool, 100, false);
            record.* = .{ .block = index.int(), .generation = s.generationOf(pool, index) };
        }
        try channel.send(pool, message_channel, "three", &records, 0);
        for (records) |record| _ = try pool.release(record.block, true);
        buffers_made = made;
        var brief: Brief = .{ .shared = shared, .counts_buffers = true };
        try brief.endAfter(&.{ goes, receives });
        if (made > 0) {
            try expectKept(pool);
            for (records[0..made]) |record| @import("../exports.zig").ap_buffer_gone(null, &brief.member.?.view.buffers[record.block].gone);
        }
        _ = try reapUntil(pool, 1);
        try s.expectEqual(0, (try pool.stats()).arrays);
    }
}

var message_channel: u32 = 0;
var message_channel_generation: u64 = 0;
var buffers_made: usize = 0;

/// Three arrays, of which some have a buffer, and one more is about to.
fn receives(brief: *Brief) !void {
    const member = brief.member.?;
    var into: [200]u8 align(8) = undefined;
    _ = try member.attach(message_channel, message_channel_generation, 0);
    try member.showNothing(message_channel);
    _ = try channel.enter(member, message_channel);
    const received = try channel.receive(member, message_channel, &into, false, 0);
    const attached: [*]const channel.Attached = @ptrCast(@alignCast(&into[layout.alignUp(received.text_bytes, 8)]));
    for (attached[0..@min(buffers_made + 1, received.arrays)], 0..) |one, i| {
        try member.showHeld(@intFromFloat(one.block));
        if (i < buffers_made) member.record[Pool.unmade_at] = 0;
    }
}

/// Also when the kernel has forgotten the thread.
fn expectKept(pool: *Pool) !void {
    for (0..10) |_| {
        try s.expectEqual(0, (try pool.reap()).members);
        s.system.sleep(1);
    }
}

fn goes(brief: *Brief) !void {
    @import("../exports.zig").ap_buffer_gone(null, brief.gone);
}
fn again(brief: *Brief) !void {
    try brief.member.?.retain(brief.block);
}
fn another(brief: *Brief) !void {
    _ = try s.alloc(brief.member.?, 100, false);
}

test "what a killed process held is reaped though buffers of it were never gone" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    const child = try s.Child.start(struct {
        fn body(at: *Shared) anyerror!void {
            var brief: Brief = .{ .shared = at, .counts_buffers = true };
            try brief.end();
            s.die();
        }
    }.body, shared);
    _ = try child.wait();
    _ = try reapUntil(pool, 1);
    try s.expectEqual(0, (try pool.stats()).arrays);
}

test "a newcomer is not taken for the thread that had its slot and its descriptor's number before" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const shared = try Shared.start(pool);
    var brief: Brief = .{ .shared = shared };
    try brief.end();
    _ = try reapUntil(pool, 1);
    const slot = 1;
    const stale = &pool.view.members[slot];
    // One that is about to join: it owns the byte, and the slot still says who was there before.
    var report: s.segment.Report = .{};
    const entered = try s.segment.enter(s.nameOf(pool), pool.nonce, &report);
    defer s.system.close(entered.fd);
    try s.expectEqual(slot, entered.slot);
    stale.fd.set(@bitCast(entered.fd));
    _ = try pool.reap();
    try s.expect(locked_bytes.slotTaken(pool.self.fd, slot));
    // And where the stale mapping is that of a living one.
    const other = try s.join(pool);
    defer _ = other.close(false);
    stale.mapping.set(@intFromPtr(other.mapping));
    _ = try pool.reap();
    try s.expect(locked_bytes.slotTaken(pool.self.fd, slot));
    _ = try s.alloc(other, 100, true);
}

test "isDead believes a slot only as long as its owner is the one it was asked about" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const slot = &pool.view.members[other.self.slot];
    const word = slot.word.get();
    try s.expect(!members.isDead(&pool.view, &pool.self, other.self.slot, word));
    // A number that nobody has, in a namespace that is not ours, or not known: only the byte counts.
    slot.pid.set(0x3fff_fff0);
    slot.tid.set(0x3fff_fff0);
    try s.expect(members.isDead(&pool.view, &pool.self, other.self.slot, word));
    for ([_]u64{ 0, pool.self.thread.pid_namespace ^ 1 }) |namespace| {
        slot.pid_namespace.set(namespace);
        try s.expect(!members.isDead(&pool.view, &pool.self, other.self.slot, word));
    }
    slot.pid_namespace.set(pool.self.thread.pid_namespace);
    var earlier = word;
    earlier.incarnation -%= 1;
    try s.expect(!members.isDead(&pool.view, &pool.self, other.self.slot, earlier));
}
