//! A /dev/shm with too little room: what does not fit is an error, nothing that fits is ever touched without memory behind
//! it (that would be a SIGBUS), and what others give back can be used.
//!
//! Each test runs in a process with a /dev/shm of its own (support.inSmallDevice).

const std = @import("std");
const s = @import("support.zig");
const Pool = s.Pool;

const KiB = 1 << 10;
const MiB = 1 << 20;
/// What a pool takes before its first array.
const metadata = 3 * s.layout.section_bytes;
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
            var indexes: [64]s.BlockIndex = undefined;
            for (&indexes) |*index| index.* = try s.alloc(pool, 100 * KiB, false);
            for (indexes[1..]) |index| _ = try pool.release(index.int(), true);
            // The free memory, backed and not, is joined in vain.
            try s.expectError(error.Full, s.alloc(pool, 16 * MiB, false));
            try s.expect((try pool.stats()).backed_bytes > 6 * MiB);
            try s.expect(try pool.trim() > 5 * MiB);
            try s.expect((try pool.stats()).backed_bytes <= 104 * KiB);
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
                    const index = (try member.reserve(40 * MiB / s.layout.granule_bytes)).?.index;
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
            const blocks = @import("../blocks.zig");
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
