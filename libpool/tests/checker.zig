//! The checker can fail: each invariant, broken by hand, is found.

const std = @import("std");
const s = @import("support.zig");
const Look = @import("../look.zig").Look;
const names = @import("names.zig");
const Pool = s.Pool;

fn populated() !struct { pool: *Pool, used: s.BlockIndex, free: s.BlockIndex } {
    const pool = try s.create(4 << 20);
    var indexes: [40]s.BlockIndex = undefined;
    for (&indexes) |*index| index.* = try s.alloc(pool, 40_000, false);
    for (indexes, 0..) |index, i| if (i % 3 == 0) {
        _ = try pool.release(index.int(), true);
    };
    _ = try pool.createClaim(indexes[1].int(), 1, 0);
    try names.set(pool, "one", indexes[2].int());
    try names.set(pool, "two", indexes[2].int());
    try names.set(pool, "gone", indexes[2].int());
    _ = try names.delete(pool, "gone");
    try s.expectSound(pool);
    const free = for (0..pool.view.blocksUsed()) |i| {
        if (pool.view.blocks[i].word.get().state == .free and pool.view.blocks[i].of.links.list.get() == .runs) break i;
    } else unreachable;
    return .{ .pool = pool, .used = indexes[1], .free = .of(@intCast(free)) };
}

fn expectBroken(pool: *Pool, what: []const u8) !void {
    try expectSeenBroken(pool, what);
    const broken = (try pool.check()) orelse {
        std.debug.print("not found: {s}\n", .{what});
        return error.TestUnexpectedResult;
    };
    if (std.mem.indexOf(u8, @tagName(broken.what), what) == null) {
        std.debug.print("expected \"{s}\", found \"{t}\"\n", .{ what, broken.what });
        return error.TestUnexpectedResult;
    }
}

/// From outside, too, where there is no hold to compare with.
fn expectSeenBroken(pool: *Pool, what: []const u8) !void {
    var report: s.segment.Report = .{};
    const look = try Look.open(s.nameOf(pool), &report);
    defer look.close();
    const verdict = look.check(1);
    if (verdict == .broken and std.mem.indexOf(u8, @tagName(verdict.broken.what), what) != null) return;
    if (std.mem.indexOf(u8, what, "this member") != null) return;
    std.debug.print("from outside, not found: {s} ({s})\n", .{ what, @tagName(verdict) });
    return error.TestUnexpectedResult;
}

test "every kind of damage to the metadata is found by check()" {
    const Damage = struct { what: []const u8, how: *const fn (pool: *Pool, used: u32, free: u32) void };
    const damages = [_]Damage{
        .{ .what = "prev is not the block before", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                p.view.blocks[used].next.set(.of(used));
            }
        }.f },
        .{ .what = "leads out of the block table", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                p.view.blocks[used].next.set(.of(1 << 30));
            }
        }.f },
        .{ .what = "start does not rise", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                p.view.blocks[p.view.blocks[used].next.get().int()].start.set(0);
            }
        }.f },
        .{
            .what = "neither holder nor pin",
            .how = struct {
                fn f(p: *Pool, used: u32, _: u32) void {
                    // Not the one with a claim.
                    for (0..p.view.blocksUsed()) |i| if (i != used and p.view.blocks[i].word.get().state == .used)
                        p.view.blocks[i].of.holders[0].set(0);
                }
            }.f,
        },
        .{ .what = "tail is longer", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                const small = (p.alloc(64, 1, false) catch unreachable).index;
                p.view.blocks[small.int()].tail.set(.{ .bytes = 64 + 1 });
            }
        }.f },
        .{ .what = "claim is on a block that is not there", .how = struct {
            fn f(p: *Pool, _: u32, free: u32) void {
                p.view.pins[0].block.set(.of(free));
            }
        }.f },
        .{ .what = "outlives claims_until", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.claims_until_ms.set(1);
            }
        }.f },
        .{ .what = "counts of pins", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                p.view.blocks[used].pins.set(2);
            }
        }.f },
        .{
            .what = "a pin that another one has",
            .how = struct {
                fn f(p: *Pool, used: u32, _: u32) void {
                    // The claim of one, and one of the two names of the other.
                    p.view.blocks[used].pins.set(2);
                    for (p.view.blocks[0..p.view.blocksUsed()]) |*block| if (block.names.get() == 2) block.pins.set(1);
                }
            }.f,
        },
        .{ .what = "linked wrongly", .how = struct {
            fn f(p: *Pool, _: u32, free: u32) void {
                p.view.blocks[free].of.links.prev.set(.of(free));
            }
        }.f },
        .{ .what = "second bitmap", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.lists.backed.second[9].set(p.view.lists.backed.second[9].get() ^ 0x8000);
                p.view.lists.backed.first.set(p.view.lists.backed.first.get() | 1 << 9);
            }
        }.f },
        .{ .what = "no list", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                for (&p.view.lists.backed.heads) |*head| head.set(.none);
                for (&p.view.lists.backed.second) |*bits| bits.set(0);
                p.view.lists.backed.first.set(0);
            }
        }.f },
        .{ .what = "name is on a block that is not there", .how = struct {
            fn f(p: *Pool, _: u32, free: u32) void {
                p.view.names[0].block.set(.of(free));
            }
        }.f },
        .{ .what = "name is in no known state", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.names[0].word.set(@bitCast(@as(u32, 9)));
            }
        }.f },
        .{ .what = "not found by its key", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.names[0].text[0].set(7);
                p.view.names[1].hash.set(p.view.names[1].hash.get() ^ 1);
            }
        }.f },
        .{ .what = "two have the same", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.names[1].text[0].set(p.view.names[0].text[0].get());
                p.view.names[1].hash.set(p.view.names[0].hash.get());
            }
        }.f },
        .{ .what = "does not end", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.names[0].next.set(.of(0));
                for (p.view.names[0..16]) |*bucket| bucket.first.set(.of(0));
            }
        }.f },
        .{ .what = "count of names is wrong", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.names.set(3);
            }
        }.f },
        .{ .what = "no such number of buckets", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.name_buckets.set(17);
            }
        }.f },
        .{ .what = "an unused name is lost", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.unused_names.set(.none);
            }
        }.f },
        .{ .what = "counts of names do not add up", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                p.view.blocks[used].names.set(1);
            }
        }.f },
        .{ .what = "a free block has pins", .how = struct {
            fn f(p: *Pool, _: u32, free: u32) void {
                p.view.blocks[free].pins.set(1);
            }
        }.f },
        .{ .what = "says that it is zero", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                var word = p.view.blocks[used].word.get();
                word.zero = true;
                p.view.blocks[used].word.set(word);
            }
        }.f },
        .{ .what = "a block in use has neither holder nor pin", .how = struct {
            fn f(p: *Pool, used: u32, _: u32) void {
                var word = p.view.blocks[used].word.get();
                word.state = .reserved;
                p.view.blocks[used].of.holders[0].set(0);
                p.view.blocks[used].word.set(word);
                p.view.pins[0].word.set(.{});
            }
        }.f },
        .{ .what = "count of claims", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.claims.set(7);
            }
        }.f },
        .{ .what = "unused entry is lost", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.unused_count.set(99);
            }
        }.f },
        .{ .what = "not backed", .how = struct {
            fn f(p: *Pool, _: u32, _: u32) void {
                p.view.header.blocks_used.set(1 << 20);
            }
        }.f },
    };
    for (damages) |damage| {
        const it = try populated();
        defer s.end(it.pool);
        damage.how(it.pool, it.used.int(), it.free.int());
        try expectBroken(it.pool, damage.what);
    }
}
