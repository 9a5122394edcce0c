//! What is left in /dev/shm: the next creator sweeps what nobody can use any more, and nothing else; whoever gets into a
//! segment is in the one that has the name, whatever creators, leavers and sweepers do at the same time.
//!
//!     zig build test                                                  the race for two seconds
//!     LEFTOVERS_SECONDS=600 LEFTOVERS_SEED=7 zig build test           longer, and from another seed

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const locked_bytes = @import("../locked_bytes.zig");
const Pool = s.Pool;

// ---------------------------------------------------------------- what is swept, and what is not

const Names = struct {
    ready: u32,
    end: u32,
    bytes: [32]u8,
    length: u32,
    nonce: u64,

    fn start(comptime what: []const u8) !*Names {
        const names = try s.sharedPage(Names);
        names.* = std.mem.zeroes(Names);
        names.length = @intCast(s.uniqueName(what, &names.bytes).len);
        return names;
    }
    fn name(names: *const Names) []const u8 {
        return names.bytes[0..names.length];
    }
    fn create(names: *const Names) !*Pool {
        var report: s.segment.Report = .{};
        return Pool.create(names.name(), 1 << 20, 1000, .{}, &report);
    }
    fn open(names: *const Names) !*Pool {
        var report: s.segment.Report = .{};
        return Pool.open(names.name(), null, .{}, &report);
    }
    /// A pool of another name comes and goes: its creator sweeps.
    fn sweptByCreator(names: *const Names) !bool {
        _ = (try s.create(1 << 20)).close(false);
        return !s.exists(names.name());
    }
};

test "the segment of a family that is killed as a whole is swept by the next creator, and its name is free" {
    const names = try Names.start("family");
    var family: [5]s.Child = undefined;
    for (&family, 0..) |*child, i| {
        child.* = try s.Child.start(struct {
            fn body(at: struct { *Names, usize }) anyerror!void {
                const member = if (at[1] == 0) try at[0].create() else try at[0].open();
                _ = try s.alloc(member, 1000, true);
                s.signal(&at[0].ready);
                while (true) s.system.sleep(500);
            }
        }.body, .{ names, i });
        s.waitUntil(&names.ready, @intCast(i + 1));
    }
    for (family[1..]) |child| child.kill();
    for (family[1..]) |child| _ = try child.wait();
    try s.expect(!try names.sweptByCreator()); // one is left
    family[0].kill();
    _ = try family[0].wait();
    try s.expect(s.exists(names.name()));
    const again = try names.create(); // which sweeps first
    try s.expectEqual(0, (try again.stats()).arrays);
    _ = again.close(false);
    try s.expect(!s.exists(names.name()));
}

test "whoever opens what a killed family has left finds no pool, and openOrCreate makes a new one, whatever its layout was" {
    const names = try Names.start("revive");
    for ([_]u32{ s.layout.version, s.layout.version + 1 }) |version| {
        for ([_]bool{ false, true }) |creates| {
            const family = try s.Child.start(struct {
                fn body(at: struct { *Names, u32 }) anyerror!void {
                    const member = try at[0].create();
                    _ = try s.alloc(member, 1000, true);
                    member.view.header.version.set(at[1]);
                    s.die();
                }
            }.body, .{ names, version });
            try s.expectEqual(128 + 9, try family.wait());
            try s.expect(s.exists(names.name()));
            if (creates) {
                var report: s.segment.Report = .{};
                const pool = try Pool.openOrCreate(names.name(), 2 << 20, 1000, .{}, &report);
                try s.expectEqual(2 << 20, pool.view.geometry.capacity_bytes);
                try s.expectEqual(0, (try pool.stats()).arrays);
                _ = pool.close(false);
            } else try s.expectError(error.NotFound, names.open());
            try s.expect(!s.exists(names.name()));
        }
    }
}

test "a segment whose only member is stopped, or in another PID namespace, is never swept" {
    for ([_]bool{ false, true }) |apart| {
        const names = try Names.start("lonely");
        const child = try s.Child.start(struct {
            fn body(at: struct { *Names, bool }) anyerror!void {
                if (!at[1]) return live(at[0]);
                try s.unshare(linux.CLONE.NEWPID);
                const inner = try s.Child.start(live, at[0]);
                try s.expectEqual(0, try inner.wait());
            }
            fn live(at: *Names) anyerror!void {
                const member = try at.create();
                s.signal(&at.ready);
                s.waitUntil(&at.end, 1);
                try s.expect(s.system.hasName(member.self.fd, at.name()));
                try s.expect(member.close(false));
            }
        }.body, .{ names, apart });
        while (@atomicLoad(u32, &names.ready, .acquire) == 0) {
            if (!try child.runs()) return error.SkipZigTest;
            s.system.sleep(1);
        }
        if (!apart) try child.stop();
        for (0..300) |_| _ = s.segment.sweep();
        for (0..20) |_| try s.expect(!try names.sweptByCreator());
        if (!apart) child.@"continue"();
        s.signal(&names.end);
        try s.expectEqual(0, try child.wait());
        try s.expect(!s.exists(names.name()));
    }
}

test "a segment is not removed by hand where somebody has sent something and gone since one looked, unless it is forced" {
    const names = try Names.start("removed");
    const name = names.name();
    var report: s.segment.Report = .{};
    const pool = try names.create();
    try s.expectEqual(.somebody_lives, try s.segment.remove(name, false, &report));
    _ = try pool.createClaim((try s.alloc(pool, 100, true)).int(), 1, 60_000);
    try s.expect(!pool.close(false));
    try s.expectEqual(.something_waits, try s.segment.remove(name, false, &report));
    try s.expect(s.exists(name));
    try s.expectEqual(.removed, try s.segment.remove(name, true, &report));
    try s.expectError(error.NotFound, s.segment.remove(name, false, &report));
    // What is damaged says nothing that is believed.
    const damaged = try names.create();
    damaged.view.header.claims_until_ms.set(std.math.maxInt(u64));
    damaged.view.header.magic.set(0);
    _ = damaged.close(false);
    try s.expectEqual(.removed, try s.segment.remove(name, false, &report));
}

test "a killed family's segment waits for its claim to expire, and is swept then" {
    const names = try Names.start("claim");
    const child = try s.Child.start(struct {
        fn body(at: *Names) anyerror!void {
            const member = try at.create();
            const index = try s.alloc(member, 1000, true);
            _ = try member.createClaim(index.int(), 1, 400);
            s.die();
        }
    }.body, names);
    try s.expectEqual(128 + 9, try child.wait());
    const begun_ms = s.system.monotonicMs();
    for (0..10) |_| try s.expect(!try names.sweptByCreator() or s.system.monotonicMs() > begun_ms + 300);
    while (!try names.sweptByCreator()) {
        try s.expect(s.system.monotonicMs() < begun_ms + 5000);
        s.system.sleep(10);
    }
    try s.expect(s.system.monotonicMs() >= begun_ms + 300);
}

test "sweeping leaves alone what is not ours: other users' segments, and files that only have such a name" {
    const names = try Names.start("foreign");
    const child = try s.Child.start(struct {
        fn body(at: *Names) anyerror!void {
            _ = try at.create();
            s.die();
        }
    }.body, names);
    try s.expectEqual(128 + 9, try child.wait());
    defer s.system.unlink(names.name());
    var path_buffer: [64]u8 = undefined;
    const path = try std.fmt.bufPrintZ(&path_buffer, "/dev/shm/arraypool.{s}", .{names.name()});

    // A dead segment, of another user. And, seen from there, of root.
    const other_user = 12345;
    if (linux.errno(linux.chown(path, other_user, other_user)) != .SUCCESS) {
        std.debug.print("skipped: files of other users need root\n", .{});
        return error.SkipZigTest;
    }
    try s.expect(!try names.sweptByCreator());
    _ = linux.chown(path, 0, 0);
    const sweeper = try s.Child.start(struct {
        fn body(_: void) anyerror!void {
            if (linux.errno(linux.setuid(other_user)) != .SUCCESS) return error.User;
            try s.expectEqual(0, s.segment.sweep());
        }
    }.body, {});
    try s.expectEqual(0, try sweeper.wait());
    try s.expect(s.exists(names.name()));

    // Files that only have such a name. None of them may be swept, or make the sweeper wait.
    const files = [_][:0]const u8{
        "/dev/shm/arraypool.zig-foreign-fifo",
        "/dev/shm/arraypool.zig-foreign-short",
        "/dev/shm/arraypool.zig-foreign-text",
        "/dev/shm/arraypool.zig-foreign-link",
        "/dev/shm/arraypool.zig-foreign-folder",
        "/dev/shm/arraypool.-no-name-of-ours",
    };
    defer for (files) |file| {
        _ = linux.unlink(file);
        _ = linux.rmdir(file);
    };
    _ = linux.mknod(files[0], linux.S.IFIFO | 0o600, 0);
    try put(files[1], "short");
    try put(files[2], "x" ** 8192);
    _ = linux.symlink(path, files[3]);
    _ = linux.mkdir(files[4], 0o700);
    _ = linux.link(path, files[5]);
    _ = linux.chown(path, other_user, other_user);
    _ = s.segment.sweep();
    for (files) |file| {
        errdefer std.debug.print("{s}\n", .{file});
        var buffer: linux.Statx = undefined;
        const result = linux.statx(linux.AT.FDCWD, file, linux.AT.SYMLINK_NOFOLLOW, linux.STATX.BASIC_STATS, &buffer);
        try s.expectEqual(.SUCCESS, linux.errno(result));
    }
    // The segment itself is ours again, and dead.
    _ = linux.chown(path, 0, 0);
    try s.expect(try names.sweptByCreator());
}

fn put(path: [*:0]const u8, text: []const u8) !void {
    const fd = linux.open(path, .{ .ACCMODE = .WRONLY, .CREAT = true }, 0o600);
    if (linux.errno(fd) != .SUCCESS) return error.Open;
    defer _ = linux.close(@intCast(fd));
    if (linux.write(@intCast(fd), text.ptr, text.len) != text.len) return error.Write;
}

// ---------------------------------------------------------------- the race

const racers_max = 8;
const pools = 3;

const Race = struct {
    prefix: [16]u8,
    prefix_bytes: u32,
    end: u32,
    joins: u32,
    creates: u32,
    swept: u32,
    deaths: u32,
    failed: u32,

    fn name(race: *const Race, number: u32, buffer: *[32]u8) []const u8 {
        return std.fmt.bufPrint(buffer, "{s}.{d}", .{ race.prefix[0..race.prefix_bytes], number }) catch unreachable;
    }
};

fn racer(at: struct { *Race, u64 }) anyerror!void {
    const race, const seed = at;
    errdefer s.signal(&race.failed);
    var random_state = std.Random.DefaultPrng.init(seed);
    const random = random_state.random();
    while (@atomicLoad(u32, &race.end, .acquire) == 0) {
        if (random.uintLessThan(u32, 4) == 0) {
            _ = @atomicRmw(u32, &race.swept, .Add, s.segment.sweep(), .monotonic);
            continue;
        }
        var buffer: [32]u8 = undefined;
        const name = race.name(random.uintLessThan(u32, pools), &buffer);
        var report: s.segment.Report = .{};
        const pool = switch (random.uintLessThan(u32, 3)) {
            0 => Pool.openOrCreate(name, 1 << 20, 1000, .{}, &report) catch |err| return err,
            1 => Pool.open(name, null, .{}, &report) catch |err| if (err == error.NotFound) continue else return err,
            else => Pool.create(name, 1 << 20, 1000, .{}, &report) catch |err| if (err == error.Exists) continue else return err,
        };
        s.signal(&race.joins);
        const index = try s.alloc(pool, 1000, true);
        for (0..random.uintLessThan(u32, 60)) |_| {
            if (!s.system.hasName(pool.self.fd, name)) {
                std.debug.print("a member is in a segment that has lost its name\n", .{});
                return error.TestUnexpectedResult;
            }
        }
        if (random.uintLessThan(u32, 8) == 0) _ = try pool.createClaim(index.int(), 1, random.uintLessThan(u64, 20) + 1);
        switch (random.uintLessThan(u32, 8)) {
            0 => s.die(),
            1, 2 => _ = try pool.release(index.int(), true),
            else => {},
        }
        if (!s.system.hasName(pool.self.fd, name)) return error.TestUnexpectedResult;
        _ = pool.close(false);
    }
}

test "creators, openers, leavers, sweepers and killers race, and nobody ends up in a segment without a name" {
    const seed = s.environmentNumber("LEFTOVERS_SEED") orelse 1;
    const seconds = s.environmentNumber("LEFTOVERS_SECONDS") orelse 2;
    errdefer std.debug.print("LEFTOVERS_SEED={d}\n", .{seed});
    const race = try s.sharedPage(Race);
    race.* = std.mem.zeroes(Race);
    race.prefix_bytes = @intCast((try std.fmt.bufPrint(&race.prefix, "zig-{d}", .{linux.getpid()})).len);
    const until_ms = s.system.monotonicMs() + seconds * 1000;
    var random_state = std.Random.DefaultPrng.init(seed);
    const random = random_state.random();
    var racers: [racers_max]?s.Child = @splat(null);
    while (s.system.monotonicMs() < until_ms and @atomicLoad(u32, &race.failed, .monotonic) == 0) {
        for (&racers) |*each| if (each.* == null or !try each.*.?.runs()) {
            each.* = try s.Child.start(racer, .{ race, random.int(u64) });
        };
        // At any instruction.
        if (random.boolean()) {
            const victim = racers[random.uintLessThan(usize, racers_max)].?;
            victim.kill();
            s.signal(&race.deaths);
        }
        s.system.sleep(random.uintLessThan(u64, 6));
    }
    s.signal(&race.end);
    for (racers) |each| _ = try each.?.wait();
    std.debug.print("race: {d} joins, {d} killed from outside, {d} segments swept\n", .{ race.joins, race.deaths, race.swept });
    try s.expectEqual(0, race.failed);
    try s.expect(race.joins > 20);
    try s.expect(race.swept > 0);

    // What the dead have left waits for claims of 20 ms at most.
    s.system.sleep(50);
    _ = (try s.create(1 << 20)).close(false);
    for (0..pools) |number| {
        var buffer: [32]u8 = undefined;
        try s.expect(!s.exists(race.name(@intCast(number), &buffer)));
    }
}

// ---------------------------------------------------------------- at the end of a process, and of its descriptors

test "a process that ends leaves the name to one who has just taken the slot of its dead Worker" {
    const pool = try s.create(1 << 20);
    const address: s.Address = .of(pool);
    const worker = try address.join();
    // As close() leaves a Worker that was terminated: its byte is free, and its record says that it is in.
    locked_bytes.dropSlot(worker.self.fd, worker.self.slot);
    const Go = extern struct { entered: u32, go: u32 };
    const go = try s.sharedPage(Go);
    go.* = .{ .entered = 0, .go = 0 };
    const child = try s.Child.start(struct {
        fn body(at: struct { s.Address, *Go }) !void {
            var report: s.segment.Report = .{};
            const entered = try s.segment.enter(at[0].name(), at[0].nonce, &report); // and has not said yet who it is
            s.signal(&at[1].entered);
            s.waitUntil(&at[1].go, 1);
            try s.expect(s.system.hasName(entered.fd, at[0].name()));
            s.system.unlink(at[0].name());
        }
    }.body, .{ address, go });
    s.waitUntil(&go.entered, 1);
    _ = pool.close(false);
    try s.expect(!s.segment.removeAtExit(address.name()));
    s.signal(&go.go);
    try s.Child.expectDone(try child.wait());
}

test "the last one out removes the segment also without a descriptor to spare" {
    const names = try Names.start("spare");
    const child = try s.Child.start(struct {
        fn body(at: *Names) !void {
            const pool = try at.create();
            try s.leaveDescriptors(0);
            _ = pool.close(false);
        }
    }.body, names);
    try s.Child.expectDone(try child.wait());
    try s.expect(!s.exists(names.name()));
}

test "a thread without a descriptor for /proc is told so, and one that ends without leaving is reaped" {
    const Shared = struct { address: s.Address, told: u32, ended: u32 };
    const shared = try s.sharedPage(Shared);
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    shared.* = .{ .address = .of(pool), .told = 0, .ended = 0 };
    // A process of which one thread ends as a Worker does that is terminated.
    const child = try s.Child.start(struct {
        fn body(with: *Shared) anyerror!void {
            const thread = try std.Thread.spawn(.{}, struct {
                fn run(at: *Shared) void {
                    join(at) catch |err| std.debug.print("{s}\n", .{@errorName(err)});
                }
                fn join(at: *Shared) !void {
                    var spare: [4]linux.fd_t = undefined;
                    for (&spare) |*fd| fd.* = @intCast(linux.open("/dev/null", .{}, 0));
                    try s.leaveDescriptors(1); // for the segment, and none to read who this is
                    try s.expectError(error.System, at.address.join());
                    for (spare) |fd| _ = linux.close(fd);
                    s.signal(&at.told);
                    _ = try s.alloc(try at.address.join(), 1000, false);
                }
            }.run, .{with});
            thread.join();
            s.signal(&with.ended);
            while (true) s.system.sleep(500);
        }
    }.body, shared);
    defer {
        child.kill();
        _ = child.wait() catch {};
    }
    s.waitUntil(&shared.ended, 1);
    try s.expectEqual(1, shared.told);
    for (0..100) |_| {
        const reaped = try pool.reap(); // under an emulator the thread may not be quite gone yet
        if (reaped.members == 1) return s.expectEqual(1, reaped.freed.blocks);
        s.system.sleep(10);
    }
    return error.NotReaped;
}
