//! A /dev/shm with too little room: what does not fit is an error, nothing that fits is ever touched without memory behind
//! it (that would be a SIGBUS), and what others give back can be used.
//!
//! Each test runs in a process with a /dev/shm of its own (support.inSmallDevice). With `-Dcrash-points` members die at every
//! store of what backs memory and gives it back, and then not a page is left for others to touch by mistake.

const std = @import("std");
const s = @import("support.zig");
const backing = @import("../backing.zig");
const crash = @import("../crash.zig");
const blocks = @import("../blocks.zig");
const Pool = s.Pool;

const KiB = 1 << 10;
const MiB = 1 << 20;
const metadata = s.layout.first_bytes;
const no_signal = 0;

fn expectDone(code: u32) !void {
    if (code == 128 + 7) std.debug.print("SIGBUS\n", .{});
    try s.expectEqual(no_signal, code);
}

test "an allocation that finds /dev/shm full takes no memory from its neighbour, with which it shares a page" {
    // Room for 13 times 64 KiB and two pages: the first array ends in the middle of the last of them.
    const code = try s.inSmallDevice(std.fmt.comptimePrint("size={d}", .{metadata + 13 * 64 * KiB + 8 * KiB}), struct {
        fn body(_: void) !void {
            const pool = try s.create(4 * MiB);
            const first = try s.alloc(pool, 13 * 64 * KiB + 6 * KiB, false); // nobody has touched it yet
            try s.expectError(error.Full, s.alloc(pool, 100 * KiB, false));
            try s.expectError(error.Full, s.alloc(pool, 3 * KiB, false));
            _ = try s.fillDevice(0);
            @memset(try s.bytesOf(pool, first), 1);
            try s.expectSound(pool);
        }
    }.body, {});
    try expectDone(code);
}

test "trim() gives back all that is free, also after an allocation has failed" {
    const code = try s.inSmallDevice("size=8m", struct {
        fn body(_: void) !void {
            const pool = try s.create(16 * MiB);
            var indexes: [62]s.BlockIndex = undefined;
            for (&indexes) |*index| index.* = try s.alloc(pool, 100 * KiB, false);
            for (indexes[1..]) |index| _ = try pool.release(index.int(), true);
            // The free memory, backed and not, is joined in vain.
            try s.expectError(error.Full, s.alloc(pool, 16 * MiB, false));
            try s.expect((try pool.stats()).backed_bytes > 6 * MiB);
            try s.expect(try pool.trim() > 5 * MiB);
            try s.expect((try pool.stats()).backed_bytes <= s.layout.alignUp(100 * KiB, s.system.pageBytes()) + 4 * KiB);
            const other = try s.create(7 * MiB);
            _ = try s.alloc(other, 7 * MiB, true);
            try s.expectSound(pool);
        }
    }.body, {});
    try expectDone(code);
}

test "trim() gives back what a member had backed when it was killed" {
    const code = try s.inSmallDevice("size=64m", struct {
        fn body(_: void) !void {
            const pool = try s.create(64 * MiB);
            const child = try s.Child.start(struct {
                fn f(at: *Pool) !void {
                    const member = try s.join(at);
                    // As backReserved() leaves it, if its process dies in the middle.
                    const index = (try backing.reserve(member, 40 * MiB / s.layout.granule_bytes)).?.index;
                    const extent = try member.view.extent(try member.view.block(index));
                    var failure: s.system.Failure = .{};
                    try s.system.back(member.self.fd, member.view.geometry.heap_start + extent.offsetBytes(), 32 * MiB, &failure);
                    s.die();
                }
            }.f, pool);
            _ = try child.wait();
            try s.expect((try pool.stats()).backed_bytes >= 32 * MiB);
            try s.expectEqual(1, (try pool.reap()).members);
            _ = try pool.trim();
            try s.expect((try pool.stats()).backed_bytes <= 64 * KiB);
            const array = try s.alloc(pool, 40 * MiB, true);
            try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, array), 0));
            try s.expectSound(pool);
        }
    }.body, {});
    try expectDone(code);
}

test "trim() works when there is no entry left for a split, and no page for more of the block table" {
    const code = try s.inSmallDevice("size=8m", struct {
        fn body(_: void) !void {
            const pool = try s.create(16 * MiB);
            const large = try s.alloc(pool, 5 * MiB, false);
            _ = try pool.release((try s.alloc(pool, MiB, false)).int(), true);
            const filler = try s.fillDevice(0);
            while (blocks.unusedEntries(&pool.view) > 1) _ = try s.alloc(pool, 64, false);
            _ = try pool.release(large.int(), true);
            try s.expect(try pool.trim() >= 4 * MiB);
            s.emptyDevice(filler);
            try s.expectSound(pool);
        }
    }.body, {});
    try expectDone(code);
}

test "a claim that finds the pin table used up and /dev/shm full takes the place of an expired one" {
    const code = try s.inSmallDevice("size=1m", struct {
        fn body(_: void) !void {
            const pool = try s.create(4 * MiB);
            const index = (try s.alloc(pool, 64, false)).int();
            const filler = try s.fillDevice(0);
            for (0..s.segment.pins_backed_first) |_| _ = try pool.createClaim(index, 1, 1000);
            try s.expectError(error.Full, pool.createClaim(index, 1, 1000));
            try s.expectEqual(.device, pool.cause);
            for (0..200) |_| {
                if (pool.createClaim(index, 1, 1000)) |_| break else |err| try s.expectEqual(error.Full, err);
                s.system.sleep(50);
            } else return error.TestUnexpectedResult;
            s.emptyDevice(filler);
            try s.expectSound(pool);
        }
    }.body, {});
    try expectDone(code);
}

/// One operation of a member that dies at its `die_at`-th store; then /dev/shm is full, and nothing may be missing.
const Death = struct {
    run: *const fn (member: *Pool) anyerror!void,
    die_at: u64,
    completed: bool = false,

    const kept_count = 12;

    fn body(death: *Death) !void {
        const pool = try s.create(16 * MiB);
        // Untouched so far, next to free memory of any kind; ends in the middle of pages.
        var kept: [kept_count]s.BlockIndex = undefined;
        var freed: [kept_count]s.BlockIndex = undefined;
        for (&kept, &freed, 1..) |*a, *b, i| {
            a.* = try s.alloc(pool, 3000 * i, false);
            b.* = try s.alloc(pool, 9000 * i, false);
        }
        for (freed) |index| _ = try pool.release(index.int(), true);
        const code = try (try s.Child.start(victim, .{ death, pool })).wait();
        if (code != 0 and code != 128 + 9) return error.VictimFailed;

        const filler = try s.fillDevice(0);
        _ = try pool.reap();
        try s.expectSound(pool);
        for (kept, 1..) |index, i| @memset(try s.bytesOf(pool, index), @truncate(i));
        for (0..20) |i| if (s.alloc(pool, 2000 * i, true)) |index| {
            const bytes = try s.bytesOf(pool, index);
            try s.expect(std.mem.allEqual(u8, bytes, 0));
            @memset(bytes, 0xff);
        } else |err| try s.expectEqual(error.Full, err);
        s.emptyDevice(filler);
        const more = try s.alloc(pool, MiB, true);
        try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, more), 0));
        for (kept, 1..) |index, i| try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, index), @truncate(i)));
        try s.expectSound(pool);
    }

    fn victim(at: struct { *Death, *Pool }) !void {
        const member = try s.join(at[1]);
        crash.arm(at[0].die_at);
        try at[0].run(member);
        crash.arm(0);
        at[0].completed = true;
    }
};

test "wherever a member dies while it backs memory or gives it back, nobody touches what is not there" {
    if (!crash.enabled) return error.SkipZigTest;
    const operations = [_]*const fn (*Pool) anyerror!void{
        struct {
            fn trim(member: *Pool) !void {
                _ = try member.trim();
            }
        }.trim,
        struct {
            fn grow(member: *Pool) !void {
                _ = try s.alloc(member, 300 * KiB, true);
            }
        }.grow,
        struct {
            fn growWhenFull(member: *Pool) !void {
                _ = try s.fillDevice(50 * KiB);
                if (s.alloc(member, 15 * MiB, false)) |_| return error.TestUnexpectedResult else |_| {}
                _ = try s.alloc(member, 30 * KiB, true);
            }
        }.growWhenFull,
        struct {
            fn growBlocks(member: *Pool) !void {
                while (blocks.unusedEntries(&member.view) > 0) _ = try s.alloc(member, 64, false);
                for (0..100) |_| _ = try s.alloc(member, 64, false);
            }
        }.growBlocks,
        struct {
            fn growPins(member: *Pool) !void {
                const index = (try s.alloc(member, 64, false)).int();
                for (0..s.segment.pins_backed_first + 10) |_| _ = try member.createClaim(index, 1, 1);
            }
        }.growPins,
    };
    const death = try s.sharedPage(Death);
    var deaths: u32 = 0;
    for (operations, 0..) |run, number| {
        errdefer std.debug.print("operation {d}, crash point {d}\n", .{ number, death.die_at });
        // Most points of the later ones are those of allocations and claims that back nothing.
        const stride: u64 = if (s.hasEnvironment("CRASH_POINTS=all")) 1 else ([_]u64{ 3, 1, 11, 199, 199 })[number];
        var die_at: u64 = 1;
        while (true) : (die_at += stride) {
            death.* = .{ .run = run, .die_at = die_at };
            try expectDone(try s.inSmallDevice("size=6m", Death.body, death));
            if (death.completed) break;
            deaths += 1;
        }
    }
    std.debug.print("small device: {d} deaths while memory was backed or given back\n", .{deaths});
    try s.expect(deaths > 100);
}

test "a view of a pool that was left shows zeros also where no more memory may be promised (ulimit -d)" {
    const pool = try s.create(64 * MiB);
    defer s.end(pool);
    const index = try s.alloc(pool, 10_000, false);
    @memset(try s.bytesOf(pool, index), 1);
    try pool.share(index.int());
    const at = .{ pool, index, s.generationOf(pool, index) };
    const code = try (try s.Child.start(struct {
        fn body(given: @TypeOf(at)) !void {
            const member = try s.join(given[0]);
            _ = try member.attach(given[1].int(), given[2], 0);
            const bytes = try s.bytesOf(member, given[1]);
            try s.expect(std.mem.allEqual(u8, bytes, 1));
            const none: std.os.linux.rlimit = .{ .cur = 0, .max = 0 };
            try s.expectEqual(0, std.os.linux.setrlimit(.DATA, &none));
            _ = member.close(true);
            try s.expect(std.mem.allEqual(u8, bytes, 0));
        }
    }.body, at)).wait();
    try expectDone(code);
}
