//! Channels: what is sent is received, once and in order; what a message holds, and for how long; who waits, and who dies.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const allocating = @import("../allocating.zig");
const backing = @import("../backing.zig");
const holding = @import("../holding.zig");
const channel = @import("../channel.zig");
const names = @import("../names.zig");
const queue_file = @import("../queue.zig");
const waiting = @import("../waiting.zig");
const Holders = @import("../view.zig").Holders;
const layout = s.layout;
const Pool = s.Pool;
const Record = queue_file.Record;

var buffer: [1 << 20]u8 align(8) = undefined;

fn attachTo(member: *Pool, other: *Pool, block: u32) !void {
    _ = try member.attach(block, s.generationOf(other, .of(block)), 0);
    _ = try channel.enter(member, block);
}

fn sendText(pool: *Pool, block: u32, text: []const u8) !void {
    try channel.send(pool, block, text, &.{}, 0);
}

fn receiveText(pool: *Pool, block: u32) ![]const u8 {
    return buffer[0..(try channel.receive(pool, block, &buffer, false, 0)).text_bytes];
}

fn recordOf(pool: *Pool, index: s.BlockIndex) Record {
    return .{ .block = index.int(), .generation = s.generationOf(pool, index) };
}

fn attachedIn(received: channel.Received) []const channel.Attached {
    const from = layout.alignUp(received.text_bytes, 8);
    return @as([*]const channel.Attached, @ptrCast(@alignCast(&buffer[from])))[0..received.arrays];
}

test "messages are received in the order in which they were sent, also round the end of the ring" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 5, 100);
    try s.expectError(error.Wait, receiveText(pool, block));
    var sent: u32 = 0;
    var received: u32 = 0;
    for (0..40) |round| {
        while (sent - received < 1 + round % 5) : (sent += 1) {
            var text: [16]u8 = undefined;
            try sendText(pool, block, try std.fmt.bufPrint(&text, "message {d}", .{sent}));
        }
        try s.expectSound(pool);
        while (received < sent) : (received += 1) {
            var text: [16]u8 = undefined;
            try std.testing.expectEqualStrings(try std.fmt.bufPrint(&text, "message {d}", .{received}), try receiveText(pool, block));
        }
        try s.expectError(error.Wait, receiveText(pool, block));
    }
    const stats = try channel.stats(pool, block);
    try s.expectEqual(sent, stats.messages);
    try s.expectEqual(0, stats.depth);
    try s.expectSound(pool);
}

test "whoever receives a message writes into its cell, so that the next sender's stores need not wait" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1000);
    const queue = try channel.queueOf(pool, block);
    const index = try s.alloc(pool, 100, false);
    const long: [1000]u8 = @splat('x');
    try sendText(pool, block, "text alone");
    try channel.send(pool, block, "an array", &.{recordOf(pool, index)}, 0);
    try sendText(pool, block, &long);
    try sendText(pool, block, "to be acknowledged");
    for (0..4) |position| try s.expectEqual(0, queue.cell(position).touched.get());
    for (0..4) |position| {
        _ = try channel.receive(pool, block, &buffer, position == 3, 0);
        try s.expectEqual(1, queue.cell(position).touched.get());
    }
    try s.expectSound(pool);
}

test "who waits for messages that stream waits for several, and for nothing else than one that comes alone" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    pool.patience.spins = 200; // also on one processor
    const block = try channel.create(pool, 64, 40);
    const queue = try channel.queueOf(pool, block);
    // There are so many when it is time to look whether it is a stream; and when one waits for several.
    for ([_]u32{ 1, 2, 3, 15, 16, 64 }) |count| {
        for ([_]bool{ false, true }) |is_streaming| {
            for (0..count) |i| {
                var text: [4]u8 = undefined;
                try sendText(pool, block, try std.fmt.bufPrint(&text, "{d}", .{i}));
            }
            pool.is_streaming = is_streaming;
            pool.waits = if (is_streaming) 0 else channel.stream_every - 1;
            try s.expect(channel.spin(pool, queue, .receivers));
            try s.expectEqual(if (is_streaming) count >= 16 else count >= 3, pool.is_streaming);
            for (0..count) |i| {
                var text: [4]u8 = undefined;
                try std.testing.expectEqualStrings(try std.fmt.bufPrint(&text, "{d}", .{i}), try receiveText(pool, block));
            }
        }
    }
    // Nobody waits for more than there is room for, before a sender has to wait.
    const small = try channel.create(pool, 8, 40);
    pool.is_streaming = true;
    for (0..8) |_| try sendText(pool, small, "x");
    try s.expect(channel.spin(pool, try channel.queueOf(pool, small), .receivers));
    try s.expect(!pool.is_streaming);
}

test "a channel takes as many messages as its capacity, and no more; none that is too large" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    for ([_]u32{ 1, 2, 3, 64, 100 }) |capacity| {
        const block = try channel.create(pool, capacity, 10);
        for (0..capacity) |_| try sendText(pool, block, "0123456789");
        try s.expectError(error.Wait, sendText(pool, block, "x"));
        try s.expectError(error.TooLarge, sendText(pool, block, "0123456789x"));
        try s.expectEqual(capacity, (try channel.stats(pool, block)).depth);
        try s.expectEqual(capacity * 10, (try channel.stats(pool, block)).bytes);
        _ = try receiveText(pool, block);
        try sendText(pool, block, "");
        try s.expectSound(pool);
        _ = try pool.release(block, true);
    }
    try s.expectError(error.Argument, channel.create(pool, 0, 10));
    try s.expectError(error.Argument, channel.create(pool, 65537, 10));
    try s.expectError(error.Argument, channel.create(pool, 1, 0));
    try s.expectEqual(0, (try pool.stats()).used_bytes);
}

test "a large message lies in a block of its own until it is received" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 8, 1 << 20);
    const large = try std.testing.allocator.alloc(u8, 300_000);
    defer std.testing.allocator.free(large);
    for (large, 0..) |*byte, i| byte.* = @truncate(i *% 31);
    for (0..3) |_| try sendText(pool, block, large);
    try s.expectEqual(3, (try pool.stats()).messages);
    try s.expectSound(pool);
    try s.expectError(error.More, channel.receive(pool, block, buffer[0..1000], false, 0));
    try std.testing.expectEqualSlices(u8, large, try receiveText(pool, block));
    try s.expectEqual(2, (try pool.stats()).messages);
    _ = try pool.release(block, true);
    try s.expectEqual(0, (try pool.stats()).used_bytes);
    try s.expectSound(pool);
}

test "an array in a message is held until it is received, then by the receiver" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try channel.create(pool, 8, 1000);
    try attachTo(other, pool, block);
    for ([_]u32{ 1, 3, 20 }) |count| { // 20 do not fit into a cell
        var records: [20]Record = undefined;
        for (records[0..count], 0..) |*record, i| {
            const index = try s.alloc(pool, 1000 + i, false);
            @memset(try s.bytesOf(pool, index), @intCast(i + 1));
            record.* = recordOf(pool, index);
        }
        try channel.send(pool, block, "take these", records[0..count], 0);
        for (records[0..count]) |record| _ = try pool.release(record.block, true);
        try s.expectSound(pool);
        try s.expectEqual(count, (try pool.stats()).arrays);
        const received = try channel.receive(other, block, &buffer, false, 0);
        try std.testing.expectEqualStrings("take these", buffer[0..received.text_bytes]);
        for (attachedIn(received), records[0..count], 0..) |attached, record, i| {
            try s.expectEqual(@as(f64, @floatFromInt(record.block)), attached.block);
            const bytes = try s.bytesOf(other, .of(record.block));
            try s.expectEqual(1000 + i, bytes.len);
            try s.expect(std.mem.allEqual(u8, bytes, @intCast(i + 1)));
        }
        try s.expectSound(pool);
        for (records[0..count]) |record| _ = try other.release(record.block, true);
        try s.expectEqual(0, (try pool.stats()).arrays);
        try s.expectEqual(0, (try pool.stats()).messages);
    }
}

/// Two messages with an array each: one in its cell, one with a body. The sender has let go of both.
fn sendTwo(pool: *Pool, block: u32) ![2]Record {
    var sent: [2]Record = undefined;
    for (&sent, [_][]const u8{ "x", "x" ** 500 }, 0..) |*record, text, i| {
        const index = try s.alloc(pool, 1000, false);
        @memset(try s.bytesOf(pool, index), @intCast(i + 1));
        record.* = recordOf(pool, index);
        try channel.send(pool, block, text, &.{record.*}, 0);
        _ = try pool.release(index.int(), true);
    }
    return sent;
}

fn expectTwo(pool: *Pool, block: u32, sent: [2]Record) !void {
    for (sent, 0..) |record, i| {
        const received = try channel.receive(pool, block, &buffer, false, 0);
        try s.expectEqual(1, received.arrays);
        try s.expectEqual(@as(f64, @floatFromInt(record.block)), attachedIn(received)[0].block);
        try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, .of(record.block)), @intCast(i + 1)));
        _ = try pool.release(record.block, true);
    }
}

test "nothing is sent with an array that the sender does not hold any more" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1000);
    const used_bytes = (try pool.stats()).used_bytes;
    const arrays = [_]s.BlockIndex{ try s.alloc(pool, 100, false), try s.alloc(pool, 100, false) };
    var records = [_]Record{ recordOf(pool, arrays[0]), recordOf(pool, arrays[1]) };
    records[1].generation -= 1;
    for ([_][]const u8{ "text", "x" ** 1000 }) |text| try s.expectError(error.NotHeld, channel.send(pool, block, text, &records, 0));
    records[1].generation += 1;
    _ = try pool.release(arrays[1].int(), true);
    for ([_][]const u8{ "text", "x" ** 1000 }) |text| try s.expectError(error.NotHeld, channel.send(pool, block, text, &records, 0));
    try s.expectEqual(0, (try channel.stats(pool, block)).messages);
    _ = try pool.release(arrays[0].int(), true);
    try s.expectEqual(used_bytes, (try pool.stats()).used_bytes);
    try s.expectSound(pool);
}

test "who leaves takes a dead one's lock over without losing what messages hold, also where views of it stay" {
    for ([_]bool{ false, true }) |keep_range| {
        const pool = try s.create(1 << 20);
        defer s.end(pool);
        const other = try s.join(pool);
        const block = try channel.create(pool, 8, 1000);
        const sent = try sendTwo(pool, block);
        try dieWithLock(pool);
        const recoveries = pool.view.header.recoveries.get();
        _ = other.close(keep_range);
        try s.expectEqual(recoveries + 1, pool.view.header.recoveries.get());
        try s.expectSound(pool);
        try expectTwo(pool, block, sent);
        try s.expectSound(pool);
    }
}

test "with the last holder of a channel go its messages and what they hold, also where views of it stay" {
    for ([_]bool{ false, true }) |keep_range| {
        const pool = try s.create(1 << 20);
        defer s.end(pool);
        const other = try s.join(pool);
        _ = try sendTwo(other, try channel.create(other, 8, 1000));
        try s.expectEqual(2, (try pool.stats()).arrays);
        _ = other.close(keep_range);
        try s.expectSound(pool);
        try s.expectEqual(0, (try pool.stats()).used_bytes);
    }
}

/// No addresses are left in this process for one mapping more.
fn exhaustAddresses() !void {
    var text: [64]u8 = undefined;
    const fd = linux.open("/proc/self/statm", .{}, 0);
    if (linux.errno(fd) != .SUCCESS) return error.SkipZigTest;
    const bytes = linux.read(@intCast(fd), &text, text.len);
    var words = std.mem.tokenizeScalar(u8, text[0..bytes], ' ');
    const pages = try std.fmt.parseInt(u64, words.next().?, 10);
    const limit: linux.rlimit = .{ .cur = pages * std.heap.pageSize(), .max = pages * std.heap.pageSize() };
    try s.expectEqual(0, linux.setrlimit(.AS, &limit));
}

test "who leaves and has no addresses to see its channels by is taken for dead" {
    if (s.brief) return error.SkipZigTest; // an emulator has addresses of its own
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const shared = try Shared.of(pool, &.{});
    const child = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.join();
            _ = try sendTwo(member, try channel.create(member, 8, 1000));
            const array = try s.alloc(member, 1000, false);
            const bytes = try s.bytesOf(member, array);
            @memset(bytes, 1);
            try exhaustAddresses();
            _ = member.close(true);
            try s.expect(std.mem.allEqual(u8, bytes, 0));
            s.signal(&at.go);
            s.waitUntil(&at.go, 2);
        }
    }.body, shared);
    while (@atomicLoad(u32, &shared.go, .acquire) == 0) {
        if (!try child.runs()) return error.SkipZigTest;
        s.system.sleep(1);
    }
    try s.expectEqual(3, (try pool.stats()).arrays);
    _ = try pool.reap();
    s.signal(&shared.go);
    try s.Child.expectDone(try child.wait());
    try s.expectSound(pool);
    try s.expectEqual(0, (try pool.stats()).used_bytes);
}

test "who leaves and may map no zeros over its arrays keeps them as long as its process lives" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const shared = try Shared.of(pool, &.{});
    const child = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.join();
            const bytes = try s.bytesOf(member, try s.alloc(member, 700_000, false));
            @memset(bytes, 1);
            try s.forbid(.mmap);
            try s.expect(!member.close(true));
            s.signal(&at.go);
            s.waitUntil(&at.go, 2);
            try s.expect(std.mem.allEqual(u8, bytes, 1));
        }
    }.body, shared);
    while (@atomicLoad(u32, &shared.go, .acquire) == 0) {
        if (!try child.runs()) return error.SkipZigTest;
        s.system.sleep(1);
    }
    try s.expectError(error.Full, s.alloc(pool, 700_000, false));
    s.signal(&shared.go);
    try s.Child.expectDone(try child.wait());
    @memset(try s.bytesOf(pool, try s.alloc(pool, 700_000, false)), 2);
    try s.expectSound(pool);
}

/// A member that the kernel lets read nothing that it has not read yet, where that has `least` bytes or more. It does `then`.
fn startBlind(pool: *Pool, blocks: []const u32, least: u32, comptime then: fn (member: *Pool, at: *Shared) anyerror!void) !struct { s.Child, *Shared } {
    const shared = try Shared.of(pool, blocks);
    const child = try s.Child.start(struct {
        fn body(given: struct { *Shared, u32 }) !void {
            const at, const bytes = given;
            const member = try at.join();
            s.signal(&at.go);
            s.waitUntil(&at.go, 2);
            member.patience.timeout_ms = 50;
            const length_argument = 3;
            try s.forbidFrom(.fallocate, length_argument, bytes);
            try then(member, at);
        }
    }.body, .{ shared, least });
    s.waitUntil(&shared.go, 1);
    return .{ child, shared };
}

fn dieWithLock(pool: *Pool) !void {
    _ = try (try s.Child.start(struct {
        fn body(address: s.Address) !void {
            try (try address.join()).acquire();
            s.die();
        }
    }.body, s.Address.of(pool))).wait();
}

fn expectBusy(member: *Pool, _: *Shared) !void {
    try s.expectError(error.Busy, member.acquire());
    try s.expect(member.view.header.lock.get().slot != member.self.slot);
}

test "a dead one's lock is left to others by who cannot read a channel, a body or a part of a table" {
    for ([_]enum { channel, body, table }{ .channel, .body, .table }) |what| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const block = try channel.create(pool, 8, 1 << 20);
        const large = try s.alloc(pool, 1000, false);
        const least: u32 = if (what == .body) 64 << 10 else 0;
        const child, const shared = try startBlind(pool, &.{}, least, expectBusy);
        const sent = try sendTwo(pool, block);
        const array = try s.alloc(pool, 100, false);
        var claim: u64 = 0;
        switch (what) {
            .channel => {},
            .body => try channel.send(pool, block, &(@as([100_000]u8, @splat('x'))), &.{recordOf(pool, large)}, 0),
            .table => {
                const before = pool.view.pinsBacked();
                while (pool.view.pinsBacked() == before) claim = try pool.createClaim(array.int(), 1, 60_000);
                for (sent) |_| _ = try channel.receive(pool, block, &buffer, false, 0);
                _ = try pool.release(block, true); // no channel: only the table is in the way
            },
        }
        _ = try pool.release(large.int(), true);
        const generation = s.generationOf(pool, array);
        _ = try pool.release(array.int(), true);
        try dieWithLock(pool);
        const recoveries = pool.view.header.recoveries.get();
        s.signal(&shared.go);
        try s.Child.expectDone(try child.wait());
        // It was tried, and is done by who can.
        try s.expectSound(pool);
        try s.expectEqual(0, pool.view.header.corrupt.get());
        try s.expect(pool.view.header.recoveries.get() > recoveries);
        switch (what) {
            .channel => try expectTwo(pool, block, sent),
            .body => {
                try expectTwo(pool, block, sent);
                const received = try channel.receive(pool, block, &buffer, false, 0);
                try s.expectEqual(@as(f64, @floatFromInt(large.int())), attachedIn(received)[0].block);
            },
            .table => _ = try pool.attach(array.int(), generation, claim),
        }
        try s.expectSound(pool);
    }
}

fn expectKept(member: *Pool, at: *Shared) !void {
    const block = at.blocks[0];
    const used_bytes = (try member.stats()).used_bytes;
    for (0..3) |_| try s.expectError(error.Busy, member.release(block, true));
    try s.expectEqual(used_bytes, (try member.stats()).used_bytes);
}

fn expectNotReceived(member: *Pool, at: *Shared) !void {
    try s.expectError(error.Busy, channel.receive(member, at.blocks[0], &buffer, false, 0));
    try s.expectEqual(1, (try channel.stats(member, at.blocks[0])).depth);
}

test "who cannot read what a message or a channel holds leaves both as they are" {
    for ([_]bool{ false, true }) |receives| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const block = try channel.create(pool, 8, 1 << 20);
        const index = try s.alloc(pool, 1000, false);
        try channel.send(pool, block, &(@as([100_000]u8, @splat('x'))), &.{recordOf(pool, index)}, 0);
        _ = try pool.release(index.int(), true);
        const child, const shared = if (receives)
            try startBlind(pool, &.{block}, 64 << 10, expectNotReceived)
        else
            try startBlind(pool, &.{block}, 64 << 10, expectKept);
        if (!receives) _ = try pool.release(block, true);
        s.signal(&shared.go);
        try s.Child.expectDone(try child.wait());
        try s.expectSound(pool);
        if (receives) {
            const received = try channel.receive(pool, block, &buffer, false, 0);
            try s.expectEqual(1, received.arrays);
        } else {
            _ = try pool.reap();
            try s.expectEqual(0, (try pool.stats()).used_bytes);
        }
        try s.expectSound(pool);
    }
}

fn expectOuterGone(member: *Pool, at: *Shared) !void {
    try s.expectEqual(.gone, try member.release(at.blocks[0], true));
    try s.expectError(error.NotHeld, member.release(at.blocks[0], true));
    try s.expectError(error.Busy, member.reap());
}

test "a channel goes though a channel in it cannot be read: that one goes later" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const outer = try channel.create(pool, 8, 1000);
    const inner = try channel.create(pool, 8, 1 << 20);
    const index = try s.alloc(pool, 1000, false);
    try channel.send(pool, inner, &(@as([100_000]u8, @splat('x'))), &.{recordOf(pool, index)}, 0);
    try channel.send(pool, outer, "x", &.{recordOf(pool, .of(inner))}, 0);
    for ([_]u32{ index.int(), inner }) |block| _ = try pool.release(block, true);
    const child, const shared = try startBlind(pool, &.{outer}, 64 << 10, expectOuterGone);
    _ = try pool.release(outer, true);
    s.signal(&shared.go);
    try s.Child.expectDone(try child.wait());
    _ = try pool.reap();
    try s.expectEqual(0, (try pool.stats()).used_bytes);
    try s.expectSound(pool);
}

test "what held a channel ends though that cannot be read: it goes at the next reap" {
    for ([_]enum { claim, expiry, name, renaming }{ .claim, .expiry, .name, .renaming }) |what| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const key = try names.Key.of("channel", pool.nonce);
        const other = try s.alloc(pool, 100, false);
        const block = try channel.create(pool, 8, 1000);
        _ = try sendTwo(pool, block);
        const generation = s.generationOf(pool, .of(block));
        var claim: u64 = 0;
        switch (what) {
            .claim, .expiry => claim = try pool.createClaim(block, 1, if (what == .claim) 60_000 else 1),
            .name, .renaming => try pool.setName(&key, &.{ .block = block, .offset = 0, .length_bytes = 8, .shape = .{} }),
        }
        _ = try pool.release(block, true);
        s.system.sleep(3);

        try blind(pool);
        switch (what) {
            .claim => try pool.dropClaim(block, generation, claim, 1),
            .expiry => try s.expectError(error.Busy, pool.reap()),
            .name => try s.expect(try pool.deleteName(&key)),
            .renaming => try pool.setName(&key, &.{ .block = other.int(), .offset = 0, .length_bytes = 8, .shape = .{} }),
        }
        try s.expectError(error.Busy, pool.reap());
        see(pool);

        _ = try pool.reap();
        _ = try pool.deleteName(&key);
        _ = try pool.release(other.int(), true);
        try s.expectEqual(0, (try pool.stats()).used_bytes);
        try s.expectSound(pool);
    }
}

test "a channel that cannot be read when its maker gives it up is freed by the next reap, of any member" {
    for ([_]bool{ false, true }) |by_maker| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const member = try s.join(pool);
        defer _ = member.close(false);
        const block = try channel.create(member, 8, 1000);
        _ = try sendTwo(member, block);
        try blind(member);
        holding.letGoAnyway(member, block);
        see(member);
        try s.expectError(error.NotHeld, member.release(block, true));
        try s.expectSound(pool);
        _ = try (if (by_maker) member else pool).reap();
        try s.expectSound(pool);
        try s.expectEqual(0, (try pool.stats()).used_bytes);
    }
}

test "who cannot read what the block table has grown by changes nothing, and loses nothing" {
    for ([_]enum { message, attach, name, renaming, alloc, release }{ .message, .attach, .name, .renaming, .alloc, .release }) |what| {
        const pool = try s.create(4 << 20);
        defer s.end(pool);
        const key = try names.Key.of("array", pool.nonce);
        const block = try channel.create(pool, 8, 1000);
        const member = try s.join(pool);
        defer _ = member.close(false);
        try attachTo(member, pool, block);
        const left = try s.alloc(pool, 200_000, false);
        const own = (try s.alloc(member, 200_000, false)).int();
        const own_name: Pool.Named = .{ .block = own, .offset = 0, .length_bytes = 8, .shape = .{} };
        try member.setName(&key, &own_name);

        // The table grows, and entries that the member does not know are sent, named, and beside what it holds.
        const before = pool.view.blocksBacked();
        var index: s.BlockIndex = .of(0);
        while (index.int() < before) index = try s.alloc(pool, 64, false);
        _ = try pool.release(left.int(), true);
        while (pool.view.blocks[own].prev.get().int() < before) _ = try s.alloc(pool, 64, false);
        const record = recordOf(pool, index);
        try channel.send(pool, block, "x", &.{record}, 0);
        try pool.setName(&key, &.{ .block = index.int(), .offset = 0, .length_bytes = 8, .shape = .{} });
        const used_bytes = (try pool.stats()).used_bytes;

        try blind(member);
        try s.expect(member.view.blocks_known <= before);
        switch (what) {
            .message => try s.expectError(error.Busy, channel.receive(member, block, &buffer, false, 0)),
            .attach => try s.expectError(error.Busy, member.attach(record.block, record.generation, 0)),
            .name => try s.expectError(error.Busy, member.deleteName(&key)),
            .renaming => try s.expectError(error.Busy, member.setName(&key, &own_name)),
            .alloc => try s.expectError(error.Busy, s.alloc(member, 100_000, false)),
            .release => try s.expectError(error.Busy, member.release(own, true)),
        }
        try s.expectSound(pool);
        try s.expectEqual(used_bytes, (try pool.stats()).used_bytes);
        see(member);
        switch (what) {
            .message => try s.expectEqual(1, (try channel.receive(member, block, &buffer, false, 0)).arrays),
            .attach => _ = try member.attach(record.block, record.generation, 0),
            .name => try s.expect(try member.deleteName(&key)),
            .renaming => try member.setName(&key, &own_name),
            .alloc => _ = try s.alloc(member, 100_000, false),
            .release => _ = try member.release(own, true),
        }
        try s.expectSound(member);
        try s.expectSound(pool);
    }
}

/// The kernel backs nothing through that member's descriptor.
fn blind(member: *Pool) !void {
    var failure: s.system.Failure = .{};
    member.view.fd = try s.system.openToLook(s.nameOf(member), &failure);
}
fn see(member: *Pool) void {
    s.system.close(member.view.fd);
    member.view.fd = member.self.fd;
}

test "when a channel is freed, what its messages hold is let go of; also channels in channels" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    var inner: ?u32 = null;
    for (0..20) |_| {
        const block = try channel.create(pool, 4, 1000);
        const array = try s.alloc(pool, 5000, false);
        try channel.send(pool, block, "array", &.{recordOf(pool, array)}, 0);
        _ = try pool.release(array.int(), true);
        if (inner) |within| {
            try channel.send(pool, block, "channel", &.{recordOf(pool, .of(within))}, 0);
            _ = try pool.release(within, true);
        }
        inner = block;
        try s.expectSound(pool);
    }
    try s.expectEqual(20, (try pool.stats()).arrays);
    _ = try pool.release(inner.?, true);
    try s.expectEqual(0, (try pool.stats()).used_bytes);
    try s.expectSound(pool);
}

test "a closed channel takes nothing more, and gives what is in it" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 10);
    try sendText(pool, block, "last");
    try channel.close(pool, block);
    try s.expectError(error.Closed, sendText(pool, block, "no"));
    try std.testing.expectEqualStrings("last", try receiveText(pool, block));
    try s.expectError(error.Closed, receiveText(pool, block));
    try s.expectError(error.Closed, channel.receive(pool, block, &buffer, false, 100));
}

test "a message to be acknowledged stays until it is; given back, it is the next one's" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1000);
    const array = try s.alloc(pool, 100, false);
    try channel.send(pool, block, "first", &.{recordOf(pool, array)}, 0);
    try sendText(pool, block, "second");
    _ = try pool.release(array.int(), true);

    const first = try channel.receive(pool, block, &buffer, true, 0);
    try s.expectEqual(1, first.arrays);
    _ = try pool.release(array.int(), true);
    try s.expectEqual(1, (try pool.stats()).arrays);
    try s.expectEqual(1, (try channel.stats(pool, block)).unacknowledged);
    try s.expectSound(pool);
    try channel.acknowledge(pool, block, first.entry, first.position, true);
    try s.expectError(error.NotHeld, channel.acknowledge(pool, block, first.entry, first.position, true));
    try s.expectEqual(2, (try channel.stats(pool, block)).depth);
    try s.expectSound(pool);

    const again = try channel.receive(pool, block, &buffer, true, 0);
    try std.testing.expectEqualStrings("first", buffer[0..again.text_bytes]);
    _ = try pool.release(array.int(), true);
    try channel.acknowledge(pool, block, again.entry, again.position, false);
    try s.expectEqual(0, (try pool.stats()).arrays);
    try std.testing.expectEqualStrings("second", try receiveText(pool, block));
    try s.expectEqual(0, (try channel.stats(pool, block)).unacknowledged);
    try s.expectSound(pool);
}

test "messages that were given back come again before all others, in the order in which they were sent" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 40);
    for ("abcd") |letter| try sendText(pool, block, &.{letter});
    var taken: [3]channel.Received = undefined;
    for (&taken) |*one| one.* = try channel.receive(pool, block, &buffer, true, 0);
    for ([_]usize{ 2, 0, 1 }) |i| try channel.acknowledge(pool, block, taken[i].entry, taken[i].position, true);
    for ("abcd") |letter| try std.testing.expectEqualStrings(&.{letter}, try receiveText(pool, block));
}

test "an acknowledgement that comes twice does not end the message that is in that entry by now" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 1, 40);
    try sendText(pool, block, "first");
    const first = try channel.receive(pool, block, &buffer, true, 0);
    try channel.acknowledge(pool, block, first.entry, first.position, false);
    try sendText(pool, block, "second");
    const second = try channel.receive(pool, block, &buffer, true, 0);
    try s.expectEqual(first.entry, second.entry);
    for ([_]bool{ false, true }) |give_back| try s.expectError(error.NotHeld, channel.acknowledge(pool, block, first.entry, first.position, give_back));
    try channel.acknowledge(pool, block, second.entry, second.position, true);
    try std.testing.expectEqualStrings("second", try receiveText(pool, block));
}

const Shared = struct {
    address: s.Address,
    blocks: [2]u32,
    generations: [2]u64,
    go: u32,
    sum: u64,
    count: u64,
    /// Bit n: message n was given back.
    returned: u64,

    fn of(pool: *Pool, blocks: []const u32) !*Shared {
        const shared = try s.sharedPage(Shared);
        shared.address = .of(pool);
        for (blocks, 0..) |block, i| {
            shared.blocks[i] = block;
            shared.generations[i] = s.generationOf(pool, .of(block));
        }
        return shared;
    }
    fn join(shared: *const Shared) !*Pool {
        const pool = try shared.address.join();
        for (shared.blocks, shared.generations) |block, generation| if (generation != 0) {
            _ = try pool.attach(block, generation, 0);
            _ = try channel.enter(pool, block);
        };
        return pool;
    }
};

fn sendWaiting(pool: *Pool, block: u32, text: []const u8) !void {
    while (true) return channel.send(pool, block, text, &.{}, 100) catch |err| if (err == error.Wait) continue else return err;
}

test "what the dead had received and not acknowledged is the next receiver's" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1000);
    const shared = try Shared.of(pool, &.{block});
    const array = try s.alloc(pool, 100, false);
    try channel.send(pool, block, "job", &.{recordOf(pool, array)}, 0);
    _ = try pool.release(array.int(), true);
    // Each in the slot of the one before: that it is another's says that he is dead.
    for (0..3) |_| {
        try s.expectEqual(128 + 9, try (try s.Child.start(struct {
            fn body(at: *Shared) !void {
                const member = try at.join();
                _ = try channel.receive(member, at.blocks[0], &buffer, true, 100);
                s.die();
            }
        }.body, shared)).wait());
        try s.expectSound(pool);
    }
    const received = try channel.receive(pool, block, &buffer, true, 100);
    try std.testing.expectEqualStrings("job", buffer[0..received.text_bytes]);
    try channel.acknowledge(pool, block, received.entry, received.position, false);
    _ = try pool.release(array.int(), true);
    _ = try pool.reap();
    try s.expectEqual(0, (try pool.stats()).arrays);
    try s.expectSound(pool);
}

test "what the dead had received comes back to one who looks into other channels, too" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const blocks = [_]u32{ try channel.create(pool, 4, 1000), try channel.create(pool, 4, 1000) };
    const shared = try Shared.of(pool, &blocks);
    for (blocks) |block| try sendText(pool, block, "job");
    // In the first there is one that a living member has: so whoever looks there looks after the owners.
    const kept = try channel.receive(pool, blocks[0], &buffer, true, 0);
    _ = try (try s.Child.start(struct {
        fn body(at: *Shared) !void {
            _ = try channel.receive(try at.join(), at.blocks[1], &buffer, true, 100);
            s.die();
        }
    }.body, shared)).wait();
    for (0..20) |_| {
        try s.expectError(error.Wait, channel.receive(pool, blocks[0], &buffer, true, 0));
        const back = channel.receive(pool, blocks[1], &buffer, true, 0) catch {
            s.system.sleep(11);
            continue;
        };
        try channel.acknowledge(pool, blocks[1], back.entry, back.position, false);
        return channel.acknowledge(pool, blocks[0], kept.entry, kept.position, false);
    }
    return error.TestUnexpectedResult;
}

test "a sender that died before it had counted its message keeps no large one from being sent" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1000);
    const shared = try Shared.of(pool, &.{block});
    _ = try (try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.join();
            try sendText(member, at.blocks[0], "last");
            // As if it had died right after the store by which the message is there.
            const header = (try channel.queueOf(member, at.blocks[0])).header;
            header.tail.set(0);
            header.send_lock.set(member.self.lock_word);
            s.die();
        }
    }.body, shared)).wait();
    try std.testing.expectEqualStrings("last", try receiveText(pool, block));
    const large = "x" ** 1000;
    try sendText(pool, block, large);
    try std.testing.expectEqualStrings(large, try receiveText(pool, block));
    _ = try pool.reap();
    try s.expectSound(pool);
}

test "who waits counts as waiting though it takes hold once more, and not when it has let go" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try channel.create(pool, 4, 100);
    for ([_]channel.Side{ .receivers, .acknowledgers, .senders }) |side| {
        try attachTo(other, pool, block);
        if (side == .senders) for (0..4) |_| try sendText(pool, block, "x");
        try s.expect(try channel.startWaiting(other, block, side) != null);
        try attachTo(other, pool, block);
        const waits: *const fn (*Pool, u32) anyerror!u32 = if (side == .senders) waitingSenders else waitingReceivers;
        try s.expectEqual(1, try waits(pool, block));
        // As one who was killed, and whose slot is another's.
        for (0..2) |_| _ = try other.release(block, true);
        try s.expectEqual(0, try waits(pool, block));
        try attachTo(other, pool, block);
        try s.expectEqual(0, try waits(pool, block));
        _ = try other.release(block, true);
    }
    try s.expectSound(pool);
}

fn waitingReceivers(pool: *Pool, block: u32) anyerror!u32 {
    return (try channel.stats(pool, block)).waiting_receivers;
}
fn waitingSenders(pool: *Pool, block: u32) anyerror!u32 {
    return (try channel.stats(pool, block)).waiting_senders;
}

test "a large message waits for room as long as it was told to, however often others are faster" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 1, 1000);
    const shared = try Shared.of(pool, &.{block});
    try sendText(pool, block, "x");
    const child = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const bell = &(try channel.queueOf(try at.join(), at.blocks[0])).header.space_bell;
            s.signal(&at.go);
            while (true) {
                // As if a message had been taken, and another one were there already.
                _ = bell.exchange(bell.get() +% 2);
                _ = s.system.wakeAll(&bell.raw);
                s.system.sleep(1);
            }
        }
    }.body, shared);
    s.waitUntil(&shared.go, 1);
    const begun_ms = s.system.monotonicMs();
    try s.expectError(error.Wait, channel.send(pool, block, "x" ** 1000, &.{}, 60));
    try s.expect(s.system.monotonicMs() - begun_ms >= 60);
    child.kill();
    _ = try child.wait();
    try std.testing.expectEqualStrings("x", try receiveText(pool, block));
    try channel.send(pool, block, "x" ** 1000, &.{}, 60);
    _ = try receiveText(pool, block);
    _ = try pool.reap();
    try s.expectEqual(0, (try pool.stats()).messages);
    try s.expectSound(pool);
}

test "who is to acknowledge sleeps while all entries are taken, and is woken by the next acknowledgement" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 2, 1000);
    const shared = try Shared.of(pool, &.{block});
    for ([_]bool{ false, true }) |give_back| {
        for ([_][]const u8{ "1", "2" }) |text| try sendText(pool, block, text);
        const first = try channel.receive(pool, block, &buffer, true, 0);
        const second = try channel.receive(pool, block, &buffer, true, 0);
        try sendText(pool, block, "3");
        shared.count = 0;
        var children: [2]s.Child = undefined;
        for (&children) |*child| child.* = try s.Child.start(struct {
            fn body(at: *Shared) !void {
                const member = try at.join();
                const received = while (true) break channel.receive(member, at.blocks[0], &buffer, true, 100) catch |err| if (err == error.Wait) continue else return err;
                try channel.acknowledge(member, at.blocks[0], received.entry, received.position, false);
                _ = @atomicRmw(u64, &at.count, .Add, 1, .seq_cst);
                _ = member.close(false);
            }
        }.body, shared);
        // There is a message all the while.
        for (children) |child| while (!s.sleepsInFutex(child)) s.system.sleep(1);
        try s.expectEqual(0, @atomicLoad(u64, &shared.count, .seq_cst));
        try s.expectEqual(2, (try channel.stats(pool, block)).waiting_receivers);
        try channel.acknowledge(pool, block, first.entry, first.position, give_back);
        if (!give_back) try sendText(pool, block, "4");
        for (children) |child| try s.expectEqual(0, try child.wait());
        try channel.acknowledge(pool, block, second.entry, second.position, false);
        try s.expectEqual(0, (try channel.stats(pool, block)).unacknowledged);
        try s.expectEqual(0, (try channel.stats(pool, block)).depth);
        try s.expectSound(pool);
    }
}

/// How often that bell was armed or rung since.
fn changesSince(pool: *Pool, block: u32, armed: channel.Armed) !u32 {
    const queue = try channel.queueOf(pool, block);
    const bell: *const u32 = @ptrFromInt(@intFromPtr(queue.header) + armed.offset);
    return bell.* -% armed.value;
}

test "a wake that one does not use, or not all of it, is the next one's" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const members = [_]*Pool{ try s.join(pool), try s.join(pool) };
    defer for (members) |member| {
        _ = member.close(false);
    };
    for ([_]channel.Side{ .receivers, .senders, .acknowledgers }) |side| {
        const block = try channel.create(pool, 2, 40);
        defer _ = pool.release(block, true) catch {};
        var taken: [2]channel.Received = undefined;
        if (side != .receivers) for (0..2) |_| try sendText(pool, block, "x");
        if (side == .acknowledgers) for (&taken) |*one| {
            one.* = try channel.receive(pool, block, &buffer, true, 0);
            try sendText(pool, block, "x");
        };
        var armed: channel.Armed = undefined;
        for (members) |member| {
            try attachTo(member, pool, block);
            armed = (try channel.startWaiting(member, block, side)).?;
        }
        for (taken) |one| switch (side) {
            .receivers => try sendText(pool, block, "x"),
            .senders => _ = try receiveText(pool, block),
            .acknowledgers => try channel.acknowledge(pool, block, one.entry, one.position, false),
        };
        try s.expectEqual(1, try changesSince(pool, block, armed)); // rung, for one of them
        switch (side) {
            .receivers => _ = try receiveText(members[0], block),
            .senders => try sendText(members[0], block, "x"),
            .acknowledgers => _ = try channel.receive(members[0], block, &buffer, true, 0),
        }
        try channel.stopWaiting(members[0], block, side);
        try s.expectEqual(3, try changesSince(pool, block, armed)); // armed by him, and rung for the other
        try channel.stopWaiting(members[1], block, side);
        for (members) |member| _ = try member.release(block, true);
    }
}

test "what is given back rings for who waits, and what a dead one had rings when its entry is free" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try channel.create(pool, 1, 40);
    try attachTo(other, pool, block);
    try sendText(pool, block, "x");
    const received = try channel.receive(pool, block, &buffer, true, 0);
    const armed = (try channel.startWaiting(other, block, .receivers)).?;
    try channel.acknowledge(pool, block, received.entry, received.position, true);
    try s.expectEqual(1, try changesSince(pool, block, armed));
    try channel.stopWaiting(other, block, .receivers);

    const child = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            _ = try channel.receive(try at.join(), at.blocks[0], &buffer, true, 0);
            s.die();
        }
    }.body, try Shared.of(pool, &.{block}));
    try s.expectEqual(128 + 9, try child.wait());
    try sendText(pool, block, "y");
    const armed_for_entry = (try channel.startWaiting(other, block, .acknowledgers)).?;
    pool.probed = .{};
    try std.testing.expectEqualStrings("x", try receiveText(pool, block));
    try s.expectEqual(1, try changesSince(pool, block, armed_for_entry));
    try channel.stopWaiting(other, block, .acknowledgers);
}

test "a channel that is closed wakes all who wait for it, blocked or not" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    for ([_]channel.Side{ .receivers, .senders }) |side| {
        const block = try channel.create(pool, 1, 40);
        try attachTo(other, pool, block);
        if (side == .senders) try sendText(pool, block, "x");
        for ([_]*Pool{ pool, other }) |member| {
            const armed = (try channel.startWaiting(member, block, side)).?;
            try s.expect(try member.beginWait(try member.placeIn(block, armed.offset), armed.value) != null);
        }
        try channel.close(other, block);
        for ([_]*Pool{ pool, other }) |member| {
            var woken: [2]u32 = undefined;
            try s.expectEqual(1, try waiting.take(member.caller(), &woken));
            try channel.stopWaiting(member, block, side);
            _ = try member.release(block, true);
        }
    }
}

/// As if somebody had the lock for longer than `member` waits.
fn letGoWhileBusy(member: *Pool, other: *Pool, index: s.BlockIndex) !void {
    try other.acquire();
    defer other.unlock();
    const timeout_ms = member.patience.timeout_ms;
    member.patience.timeout_ms = 0;
    defer member.patience.timeout_ms = timeout_ms;
    holding.letGoAnyway(member, index.int());
}

test "a body that cannot be let go of, since the pool is busy, is there for whoever needs the memory next" {
    for ([_]bool{ false, true }) |by_itself| {
        const pool = try s.create(8 << 20);
        defer s.end(pool);
        const other = try s.join(pool);
        defer _ = other.close(false);
        const index = try s.alloc(pool, 6 << 20, false);
        try pool.share(index.int());
        try letGoWhileBusy(pool, other, index);
        try s.expectError(error.NotHeld, pool.release(index.int(), true));
        try s.expectSound(pool);
        const next = if (by_itself) pool else other;
        _ = try next.release((try s.alloc(next, 6 << 20, false)).int(), true);
        try s.expectEqual(0, (try pool.stats()).used_bytes);
        try s.expectEqual(0, pool.view.header.left.get());
        try s.expectSound(pool);
    }
}

test "who was taken for dead sends nothing, keeps no lock, and ends no hold of who has its slot" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const block = try channel.create(pool, 2, 100);
    try attachTo(other, pool, block);
    const own = &other.view.members[other.self.slot].word;
    own.set(.{ .incarnation = other.self.incarnation +% 1, .state = .joined });
    try s.expectError(error.Corrupt, sendText(other, block, "no"));
    holding.disown(other, block);
    try s.expect(Holders.of(&pool.view.blocks[block]).has(other.self.slot));
    own.set(other.self.word);
    try s.expectError(error.Wait, channel.receive(pool, block, &buffer, false, 0));
    try s.expectEqual(layout.LockWord.unlocked, (try channel.queueOf(pool, block)).header.send_lock.get());
    try s.expectSound(pool);
}

test "a body that two let go of at once, of whom one cannot have the lock, is freed" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const index = try s.alloc(pool, 5000, false);
    try pool.share(index.int());
    _ = try other.attach(index.int(), s.generationOf(pool, index), 0);
    try letGoWhileBusy(pool, other, index);
    try s.expectEqual(1, (try pool.stats()).arrays);
    _ = try other.release(index.int(), true);
    try s.expectEqual(0, (try pool.stats()).used_bytes);
    _ = try other.reap();
    try s.expectEqual(0, pool.view.header.left.get());
    try s.expectSound(pool);
}

test "memory that was backed when the pool became busy is there for whoever needs it next" {
    for ([_]bool{ false, true }) |by_itself| {
        const pool = try s.create(8 << 20);
        defer s.end(pool);
        const other = try s.join(pool);
        defer _ = other.close(false);
        const granules = (6 << 20) / s.layout.granule_bytes;
        const reserved = (try backing.reserve(pool, granules)).?;
        try s.expect(try backing.backReserved(pool, reserved, false));
        try other.acquire();
        pool.patience.timeout_ms = 0;
        const request: allocating.Request = .{ .length_bytes = 6 << 20, .granules = granules, .dtype = 1, .zeroed = false };
        try s.expectError(error.Busy, backing.publishGrown(pool, reserved, request));
        pool.patience.timeout_ms = 2000;
        other.unlock();
        try s.expectSound(pool);
        const next = if (by_itself) pool else other;
        _ = try next.release((try s.alloc(next, 6 << 20, false)).int(), true);
        try s.expectSound(pool);
    }
}

test "many messages between two processes, each once and in order" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 256, 1000);
    const shared = try Shared.of(pool, &.{block});
    const total: u64 = if (s.brief) 20_000 else 200_000;
    const child = try s.Child.start(struct {
        fn body(at: struct { *Shared, u64 }) !void {
            const member = try at[0].join();
            for (0..at[1]) |i| try sendWaiting(member, at[0].blocks[0], std.mem.asBytes(&@as(u64, i)));
        }
    }.body, .{ shared, total });
    const begun = s.system.monotonicMs();
    for (0..total) |i| {
        while (true) {
            const received = channel.receive(pool, block, &buffer, false, 100) catch |err| if (err == error.Wait) continue else return err;
            try s.expectEqual(8, received.text_bytes);
            try s.expectEqual(i, std.mem.bytesToValue(u64, buffer[0..8]));
            break;
        }
    }
    const ms = @max(1, s.system.monotonicMs() - begun);
    try s.expectEqual(0, try child.wait());
    try s.expectSound(pool);
    std.debug.print("channels: {d} messages in {d} ms, {d} ns each\n", .{ total, ms, ms * 1_000_000 / total });
}

test "four senders and four receivers: each message is received once" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 256, 1000);
    const shared = try Shared.of(pool, &.{block});
    const each: u64 = if (s.brief) 2_000 else 25_000;
    var senders: [4]s.Child = undefined;
    var receivers: [4]s.Child = undefined;
    const begun = s.system.monotonicMs();
    for (&senders, 0..) |*child, n| child.* = try s.Child.start(struct {
        fn body(at: struct { *Shared, u64, u64 }) !void {
            const member = try at[0].join();
            for (0..at[1]) |i| try sendWaiting(member, at[0].blocks[0], std.mem.asBytes(&@as(u64, at[2] * at[1] + i)));
        }
    }.body, .{ shared, each, n });
    for (&receivers) |*child| child.* = try s.Child.start(struct {
        fn body(at: *Shared) !void {
            const member = try at.join();
            while (true) {
                _ = channel.receive(member, at.blocks[0], &buffer, false, 100) catch |err| switch (err) {
                    error.Wait => continue,
                    error.Closed => return,
                    else => return err,
                };
                _ = @atomicRmw(u64, &at.sum, .Add, std.mem.bytesToValue(u64, buffer[0..8]), .monotonic);
                _ = @atomicRmw(u64, &at.count, .Add, 1, .monotonic);
            }
        }
    }.body, shared);
    for (senders) |child| try s.expectEqual(0, try child.wait());
    try channel.close(pool, block);
    for (receivers) |child| try s.expectEqual(0, try child.wait());
    const ms = @max(1, s.system.monotonicMs() - begun);
    const n = 4 * each;
    try s.expectEqual(n, shared.count);
    try s.expectEqual(n * (n - 1) / 2, shared.sum);
    try s.expectSound(pool);
    std.debug.print("channels: 4 to 4, {d} messages in {d} ms, {d} ns each\n", .{ n, ms, ms * 1_000_000 / n });
}

test "six senders and six receivers of a channel with room for one: each message is received once, large or small, acknowledged or not" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 1, 1000);
    const shared = try Shared.of(pool, &.{block});
    const each: u64 = if (s.brief) 50 else 500;
    var senders: [6]s.Child = undefined;
    var receivers: [6]s.Child = undefined;
    for (&senders, 0..) |*child, n| child.* = try s.Child.start(struct {
        fn body(at: struct { *Shared, u64, u64 }) !void {
            const member = try at[0].join();
            var text: [1000]u8 = @splat(0);
            for (0..at[1]) |i| {
                std.mem.writeInt(u64, text[0..8], at[2] * at[1] + i, .little);
                try sendWaiting(member, at[0].blocks[0], if (i % 2 == 0) &text else text[0..8]);
            }
        }
    }.body, .{ shared, each, n });
    for (&receivers, 0..) |*child, n| child.* = try s.Child.start(struct {
        fn body(at: struct { *Shared, bool }) !void {
            const member = try at[0].join();
            const number = at[0].blocks[0];
            while (true) {
                const received = channel.receive(member, number, &buffer, at[1], 100) catch |err| switch (err) {
                    error.Wait => continue,
                    error.Closed => return,
                    else => return err,
                };
                const value = std.mem.readInt(u64, buffer[0..8], .little);
                if (at[1]) {
                    // Now and then the first who has one gives it back.
                    const bit = @as(u64, 1) << @intCast(value % 64);
                    const gives_back = value < 64 and @atomicRmw(u64, &at[0].returned, .Or, bit, .monotonic) & bit == 0;
                    try channel.acknowledge(member, number, received.entry, received.position, gives_back);
                    if (gives_back) continue;
                }
                _ = @atomicRmw(u64, &at[0].sum, .Add, value, .monotonic);
                _ = @atomicRmw(u64, &at[0].count, .Add, 1, .monotonic);
            }
        }
    }.body, .{ shared, n % 2 == 0 });
    for (senders) |child| try s.expectEqual(0, try child.wait());
    try channel.close(pool, block);
    for (receivers) |child| try s.expectEqual(0, try child.wait());
    const n = 6 * each;
    try s.expectEqual(n, shared.count);
    try s.expectEqual(n * (n - 1) / 2, shared.sum);
    try s.expectEqual(0, (try channel.stats(pool, block)).waiting_receivers);
    try s.expectSound(pool);
}

test "ping-pong between two processes" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const shared = try Shared.of(pool, &.{ try channel.create(pool, 16, 1000), try channel.create(pool, 16, 1000) });
    const rounds: u64 = if (s.brief) 2_000 else 20_000;
    const child = try s.Child.start(struct {
        fn body(at: struct { *Shared, u64 }) !void {
            const member = try at[0].join();
            for (0..at[1]) |_| {
                while (true) {
                    _ = channel.receive(member, at[0].blocks[0], &buffer, false, 100) catch |err| if (err == error.Wait) continue else return err;
                    break;
                }
                try sendWaiting(member, at[0].blocks[1], buffer[0..8]);
            }
        }
    }.body, .{ shared, rounds });
    const begun = s.system.monotonicMs();
    for (0..rounds) |i| {
        try sendWaiting(pool, shared.blocks[0], std.mem.asBytes(&@as(u64, i)));
        while (true) {
            _ = channel.receive(pool, shared.blocks[1], &buffer, false, 100) catch |err| if (err == error.Wait) continue else return err;
            break;
        }
        try s.expectEqual(i, std.mem.bytesToValue(u64, buffer[0..8]));
    }
    const ms = @max(1, s.system.monotonicMs() - begun);
    try s.expectEqual(0, try child.wait());
    std.debug.print("channels: {d} rounds in {d} ms, {d} ns each\n", .{ rounds, ms, ms * 1_000_000 / rounds });
}

test "a message that says that it is longer than its block is gone, and nothing beyond is read" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = try channel.create(pool, 4, 1 << 20);
    const queue = try channel.queueOf(pool, block);
    for ([_]u32{ 5000, 1 << 20, (1 << 20) + 1 }) |bytes| for ([_]bool{ false, true }) |ack| for ([_]u32{ 1, 1000 }) |sent| {
        try channel.send(pool, block, ("x" ** 1000)[0..sent], &.{}, 0);
        queue.cell(queue.header.head.get()).text_bytes.set(bytes);
        try s.expectError(error.Corrupt, channel.receive(pool, block, &buffer, ack, 0));
        try s.expectError(error.Wait, channel.receive(pool, block, &buffer, ack, 0));
        const stats = try channel.stats(pool, block);
        try s.expectEqual(0, stats.depth + stats.unacknowledged);
        try s.expectSound(pool);
    };
    // What says that it has more arrays than fit makes nobody find room for them.
    try channel.send(pool, block, "text", &.{}, 0);
    const cell = queue.cell(queue.header.head.get());
    var word = cell.word.get();
    word.arrays = queue_file.arrays_max;
    cell.word.set(word);
    try s.expectError(error.Corrupt, channel.receive(pool, block, buffer[0..64], false, 0));
    _ = try pool.release(block, true);
    try s.expectEqual(0, (try pool.stats()).arrays);
}

test "whatever stands in a channel, every call ends, and nothing outside of it is touched" {
    var prng = std.Random.DefaultPrng.init(5);
    const random = prng.random();
    for (0..if (s.brief) 20 else 300) |_| {
        const pool = try s.create(1 << 20);
        defer s.end(pool);
        const block = try channel.create(pool, 4, 1000);
        const kept = try s.alloc(pool, 3000, false);
        @memset(try s.bytesOf(pool, kept), 0x5a);
        for (0..3) |i| channel.send(pool, block, "text" ** 10, if (i == 1) &.{recordOf(pool, kept)} else &.{}, 0) catch {};
        const bytes = try s.bytesOf(pool, .of(block));
        for (0..12) |_| {
            const at = if (random.boolean()) random.uintLessThan(usize, 320) else random.uintLessThan(usize, bytes.len);
            switch (random.uintLessThan(u32, 3)) {
                0 => bytes[at] ^= @as(u8, 1) << random.int(u3),
                1 => bytes[at] = random.int(u8),
                else => @memset(bytes[at & ~@as(usize, 7) ..][0..@min(8, bytes.len - (at & ~@as(usize, 7)))], random.int(u8)),
            }
            // A lock of nobody is waited for, and taken over or not: that is tests/living.zig's.
            @memset(bytes[64..68], 0);
            @memset(bytes[128..132], 0);
            channel.send(pool, block, "more", &.{}, 0) catch {};
            if (channel.receive(pool, block, &buffer, random.boolean(), 0)) |received| {
                channel.acknowledge(pool, block, received.entry, received.position, random.boolean()) catch {};
            } else |_| {}
            _ = channel.stats(pool, block) catch {};
            _ = channel.startWaiting(pool, block, .receivers) catch {};
            channel.stopWaiting(pool, block, .receivers) catch {};
            channel.close(pool, block) catch {};
            _ = pool.check() catch {};
            _ = pool.reap() catch {};
        }
        try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, kept), 0x5a));
        _ = pool.release(block, true) catch {};
    }
}
