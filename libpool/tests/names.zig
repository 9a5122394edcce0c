//! Names: what they hold, that replacing one is one step, and that who makes an array for the others is replaced when it dies.

const std = @import("std");
const s = @import("support.zig");
const names = @import("../names.zig");
const layout = s.layout;
const Pool = s.Pool;
const expect = s.expect;
const expectEqual = s.expectEqual;

fn keyOf(pool: *Pool, text: []const u8) names.Key {
    return names.Key.of(text, pool.nonce) catch unreachable;
}

fn whole(pool: *Pool, block: u32) Pool.Named {
    return .{ .block = block, .offset = 0, .length_bytes = pool.view.holds[block].lengthBytes(), .shape = .{} };
}

pub fn set(pool: *Pool, text: []const u8, block: u32) !void {
    const key = keyOf(pool, text);
    try pool.setName(&key, &whole(pool, block));
}

pub fn setShaped(pool: *Pool, text: []const u8, block: u32, axes: []const f64) !void {
    const key = keyOf(pool, text);
    var value = whole(pool, block);
    value.shape = try .of(axes);
    try pool.setName(&key, &value);
}

pub fn get(pool: *Pool, text: []const u8) !?u32 {
    const key = keyOf(pool, text);
    const found = try pool.getName(&key) orelse return null;
    return found.value.block.int();
}

pub fn delete(pool: *Pool, text: []const u8) !bool {
    const key = keyOf(pool, text);
    return pool.deleteName(&key);
}

pub fn begin(pool: *Pool, text: []const u8, timeout_ms: u64) !Pool.Once {
    const key = keyOf(pool, text);
    return pool.beginOnce(&key, timeout_ms);
}

pub fn finish(pool: *Pool, text: []const u8, block: ?u32) !Pool.Once {
    const key = keyOf(pool, text);
    if (block) |number| return pool.endOnce(&key, &whole(pool, number));
    return pool.endOnce(&key, null);
}

fn written(pool: *Pool, fill: u8) !u32 {
    const index = try s.alloc(pool, 5000, false);
    @memset(try s.bytesOf(pool, index), fill);
    return index.int();
}

test "a name holds an array that nobody else holds, until it is deleted" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try written(pool, 7);
    try set(pool, "seven", block);
    _ = try pool.release(block, true);
    try s.expectSound(pool);
    try expectEqual(1, (try pool.stats()).arrays);
    try expectEqual(0, (try pool.stats()).claimed_bytes);
    try expectEqual(block, (try get(other, "seven")).?);
    try expect(std.mem.allEqual(u8, try s.bytesOf(other, .of(block)), 7));
    _ = try other.release(block, true);
    try expect(try delete(other, "seven"));
    try expect(!try delete(pool, "seven"));
    try expectEqual(null, try get(pool, "seven"));
    try expectEqual(0, (try pool.stats()).arrays);
    try s.expectSound(pool);
}

test "a name that is set again lets go of what it named before" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const first = try written(pool, 1);
    try set(pool, "one", first);
    try set(pool, "one", first);
    const second = try written(pool, 2);
    _ = try pool.release(first, true);
    try set(pool, "one", second);
    try expectEqual(1, (try pool.stats()).arrays);
    try expectEqual(second, (try get(pool, "one")).?);
    try s.expectSound(pool);
}

test "an array may have many names" {
    const pool = try s.create(512 << 20);
    defer _ = pool.close(false);
    const block = try written(pool, 1);
    var buffer: [16]u8 = undefined;
    // More than the block's count of them can say.
    const many: u32 = if (s.brief) 300 else 70_000;
    for (0..many) |i| try set(pool, try std.fmt.bufPrint(&buffer, "name {d}", .{i}), block);
    try s.expectSound(pool);
    _ = try pool.release(block, true);
    for (0..many) |i| {
        if (many - i < 10) try expectEqual(1, (try pool.stats()).arrays);
        try expect(try delete(pool, try std.fmt.bufPrint(&buffer, "name {d}", .{i})));
    }
    try expectEqual(0, (try pool.stats()).arrays);
    try s.expectSound(pool);
}

test "names of any number are found, and their records used again" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    var prng = std.Random.DefaultPrng.init(3);
    const random = prng.random();
    var named: [3000]?u32 = @splat(null);
    var buffer: [16]u8 = undefined;
    for (0..if (s.brief) 3000 else 30_000) |i| {
        const n = random.uintLessThan(usize, named.len);
        const name = try std.fmt.bufPrint(&buffer, "{d}", .{n});
        if (named[n]) |block| {
            try expectEqual(block, (try get(pool, name)).?);
            _ = try pool.release(block, true);
            if (random.boolean()) {
                try expect(try delete(pool, name));
                named[n] = null;
                continue;
            }
        } else try expectEqual(null, try get(pool, name));
        const block = (try s.alloc(pool, 100, false)).int();
        try set(pool, name, block);
        _ = try pool.release(block, true);
        named[n] = block;
        if (i % 1000 == 0) try s.expectSound(pool);
    }
    try s.expectSound(pool);
    try expect(pool.view.namesUsed() <= named.len);
}

test "a full name table is an error that says so, and a name that is deleted makes room" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const block = try written(pool, 1);
    var buffer: [16]u8 = undefined;
    for (0..pool.view.geometry.names_max - 1) |i| try set(pool, try std.fmt.bufPrint(&buffer, "{d}", .{i}), block);
    try s.expectError(error.Full, set(pool, "one more", block));
    try expectEqual(.names, pool.cause);
    try s.expectError(error.Full, begin(pool, "one more", 0));
    try set(pool, "17", block);
    try expect(try delete(pool, "18"));
    try set(pool, "one more", block);
    try s.expectSound(pool);
}

test "a member that asks makes it, the others wait for it, and take what it made" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    try expectEqual(.make, try begin(pool, "it", 0));
    try expectEqual(.own, try begin(pool, "it", 0));
    try expectEqual(.others, try begin(other, "it", 10));
    try expectEqual(null, try get(other, "it"));
    try s.expectSound(pool);
    const block = try written(pool, 9);
    try expectEqual(.there, try finish(pool, "it", block));
    try expectEqual(.there, try begin(other, "it", 0));
    try expectEqual(block, (try get(other, "it")).?);
    try s.expectSound(pool);
}

test "when it was not made, the next one makes it" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    try expectEqual(.make, try begin(pool, "it", 0));
    try expectEqual(.there, try finish(pool, "it", null));
    try expectEqual(.make, try begin(other, "it", 0));
    try expectEqual(.others, try finish(pool, "it", null));
    // One that leaves, too.
    const third = try s.join(pool);
    try expectEqual(.make, try begin(third, "that", 0));
    _ = third.close(false);
    try expectEqual(.make, try begin(other, "that", 0));
    try s.expectSound(pool);
}

test "who sets a name while it is made comes first" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    try expectEqual(.make, try begin(pool, "it", 0));
    const theirs = try written(other, 1);
    try set(other, "it", theirs);
    const ours = try written(pool, 2);
    try expectEqual(.others, try finish(pool, "it", ours));
    try expectEqual(theirs, (try get(pool, "it")).?);
    try s.expectSound(pool);
}

const Makers = struct { address: s.Address, makes: u32, done: u32 };

test "a maker that is killed is replaced; one that is stopped is waited for" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const at = try s.sharedPage(Makers);
    at.* = .{ .address = .of(pool), .makes = 0, .done = 0 };
    const child = try s.Child.start(struct {
        fn body(of: *Makers) !void {
            const member = try of.address.join();
            try expectEqual(.make, try begin(member, "it", 0));
            s.signal(&of.makes);
            s.waitUntil(&of.done, 1);
        }
    }.body, at);
    s.waitUntil(&at.makes, 1);
    try child.stop();
    try expectEqual(.others, try begin(pool, "it", 150));
    try expectEqual(@as(u32, @intCast(child.pid)), pool.awaited.?.pid);
    child.@"continue"();
    try expectEqual(.others, try begin(pool, "it", 20));
    child.kill();
    try expectEqual(.make, try begin(pool, "it", 10_000));
    _ = try child.wait();
    _ = try pool.reap();
    try s.expectSound(pool);
    try expectEqual(.there, try finish(pool, "it", try written(pool, 1)));
    try s.expectSound(pool);
}

test "of many that ask at once one makes it, again and again, and the others take it" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const at = try s.sharedPage(Makers);
    at.* = .{ .address = .of(pool), .makes = 0, .done = 0 };
    const rounds = if (s.brief) 5 else 50;
    var children: [6]s.Child = undefined;
    for (&children) |*child| child.* = try s.Child.start(struct {
        fn body(of: *Makers) !void {
            const member = try of.address.join();
            var buffer: [16]u8 = undefined;
            for (0..rounds) |round| {
                const name = try std.fmt.bufPrint(&buffer, "round {d}", .{round});
                const block = switch (try begin(member, name, 30_000)) {
                    .make => blk: {
                        _ = @atomicRmw(u32, &of.makes, .Add, 1, .acq_rel);
                        const block = try written(member, @intCast(round));
                        try expectEqual(.there, try finish(member, name, block));
                        break :blk block;
                    },
                    .there => (try get(member, name)).?,
                    else => return error.Unexpected,
                };
                try expect(std.mem.allEqual(u8, try s.bytesOf(member, .of(block)), @intCast(round)));
                _ = try member.release(block, true);
            }
        }
    }.body, at);
    for (children) |child| try expectEqual(0, try child.wait());
    try expectEqual(rounds, at.makes);
    _ = try pool.reap();
    try s.expectSound(pool);
}

test "a name is replaced while others read it, and they find the old array or the new one" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const at = try s.sharedPage(Makers);
    at.* = .{ .address = .of(pool), .makes = 0, .done = 0 };
    try set(pool, "it", try written(pool, 1));
    var children: [2]s.Child = undefined;
    for (&children) |*child| child.* = try s.Child.start(struct {
        fn body(of: *Makers) !void {
            const member = try of.address.join();
            var last: u8 = 0;
            while (@atomicLoad(u32, &of.done, .acquire) == 0) {
                const block = (try get(member, "it")).?;
                const bytes = try s.bytesOf(member, .of(block));
                try expect(bytes[0] >= last and std.mem.allEqual(u8, bytes, bytes[0]));
                last = bytes[0];
                _ = try member.release(block, true);
            }
        }
    }.body, at);
    for (2..if (s.brief) 20 else 200) |fill| {
        const block = try written(pool, @intCast(fill));
        try set(pool, "it", block);
        _ = try pool.release(block, true);
        s.system.sleep(1);
    }
    s.signal(&at.done);
    for (children) |child| try expectEqual(0, try child.wait());
    _ = try pool.reap();
    try s.expectSound(pool);
}

test "one who may not look at all of the table changes nothing in it" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = (try s.alloc(pool, 64, true)).int();
    const Go = extern struct { joined: u32, go: u32 };
    const go = try s.sharedPage(Go);
    go.* = .{ .joined = 0, .go = 0 };
    try set(pool, "0", block);
    const child = try s.Child.start(struct {
        fn body(at: struct { s.Address, *Go }) !void {
            const member = try at[0].join();
            try expect(try member.hasName(&keyOf(member, "0"))); // it has seen the table as it is now
            s.signal(&at[1].joined);
            s.waitUntil(&at[1].go, 1);
            try s.forbid(.fallocate);
            const own = (try s.alloc(member, 64, false)).int();
            for (0..20) |i| {
                var text: [8]u8 = undefined;
                const key = keyOf(member, try std.fmt.bufPrint(&text, "new{d}", .{i}));
                try s.expectError(error.Busy, member.setName(&key, &whole(member, own)));
            }
            _ = member.close(false);
        }
    }.body, .{ s.Address.of(pool), go });
    s.waitUntil(&go.joined, 1);
    var text: [8]u8 = undefined;
    for (1..70) |i| try set(pool, try std.fmt.bufPrint(&text, "{d}", .{i}), block);
    for (10..64) |i| try expect(try pool.deleteName(&keyOf(pool, try std.fmt.bufPrint(&text, "{d}", .{i}))));
    const victim = try s.Child.start(struct {
        fn body(address: s.Address) !void {
            const member = try address.join();
            try member.acquire();
            s.die();
        }
    }.body, s.Address.of(pool));
    _ = try victim.wait();
    try expect(try pool.hasName(&keyOf(pool, "64"))); // takes the lock over: the table is indexed anew
    s.signal(&go.go);
    try s.Child.expectDone(try child.wait());
    for (64..70) |i| try expect(try pool.hasName(&keyOf(pool, try std.fmt.bufPrint(&text, "{d}", .{i}))));
    try s.expectSound(pool);
}
