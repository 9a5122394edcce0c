//! Members that are stopped (SIGSTOP) at any store of a channel's operation, in a build with `-Dcrash-points`, while another goes
//! on with the same channel as far as it can: so every interleaving of one who is slow, at each of its stores, with one who
//! is fast. What somebody reads after the store that lets the other change it shows here. No message comes twice, none is
//! lost, each is whole, and what it held is let go of.

const std = @import("std");
const s = @import("support.zig");
const crash = @import("../crash.zig");
const channel = @import("../channel.zig");
const letters = @import("channel_operations.zig");
const Pool = s.Pool;

const inline_bytes = 40;
const body_bytes = 1000;

/// A message of the survivor's or the slow one's: bytes, and arrays.
const Letter = struct { u32, u32 };

const Shared = struct {
    address: s.Address,
    channel: u32,
    generation: u64,
    point: u64,
    /// By letter: how often it was received by the slow one.
    received: [128]u32,
    /// Whether it has sent its letter, 's'.
    sent: u32,
};

const Operation = struct {
    name: []const u8,
    /// What is in the channel when the slow one begins.
    before: []const Letter = &.{ .{ inline_bytes, 2 }, .{ inline_bytes, 1 } },
    act: Act,

    const Act = union(enum) { receive, receive_acknowledge, receive_give_back, send: Letter };

    fn run(operation: *const Operation, member: *Pool, shared: *Shared) !void {
        switch (operation.act) {
            .send => |letter| if (letters.send(member, shared.channel, 's', letter[0], letter[1])) |_| {
                shared.sent = 1;
            } else |err| if (err != error.Wait) return err,
            .receive => if (try letters.receive(member, shared.channel, false)) |letter| {
                shared.received[letter] += 1;
            },
            .receive_acknowledge, .receive_give_back => {
                const received = channel.receive(member, shared.channel, &letters.buffer, true, 0) catch |err| return if (err == error.Wait) {} else err;
                const give_back = operation.act == .receive_give_back;
                for (letters.attachedIn(received)) |attached| _ = try member.release(@intFromFloat(attached.block), true);
                try channel.acknowledge(member, shared.channel, received.entry, received.position, give_back);
                if (!give_back) shared.received[letters.buffer[0]] += 1;
            },
        }
    }
};

const operations = [_]Operation{
    .{ .name = "receive", .act = .receive },
    .{ .name = "receive, a body", .before = &.{ .{ body_bytes, 2 }, .{ inline_bytes, 1 } }, .act = .receive },
    .{ .name = "receive, text", .before = &.{ .{ inline_bytes, 0 }, .{ inline_bytes, 1 } }, .act = .receive },
    .{ .name = "receive and acknowledge", .act = .receive_acknowledge },
    .{ .name = "receive and acknowledge, a body", .before = &.{.{ body_bytes, 2 }}, .act = .receive_acknowledge },
    .{ .name = "receive and give back", .act = .receive_give_back },
    .{ .name = "send", .before = &.{.{ inline_bytes, 1 }}, .act = .{ .send = .{ inline_bytes, 2 } } },
    .{ .name = "send, a body", .before = &.{.{ inline_bytes, 1 }}, .act = .{ .send = .{ body_bytes, 1 } } },
    .{ .name = "send, text", .before = &.{.{ inline_bytes, 1 }}, .act = .{ .send = .{ inline_bytes, 0 } } },
};

fn slow(at: struct { *const Operation, *Shared }) anyerror!void {
    const operation, const shared = at;
    const member = try shared.address.join();
    _ = try member.attach(shared.channel, shared.generation, 0);
    _ = try channel.enter(member, shared.channel);
    crash.armStop(shared.point);
    try operation.run(member, shared);
    crash.arm(0);
    _ = member.close(false);
}

fn fillCache(pool: *Pool) !void {
    var arrays: [8]u32 = undefined;
    for (&arrays) |*array| array.* = (try pool.alloc(200, 1, false)).index.int();
    for (arrays) |array| _ = try pool.release(array, true);
}

/// What the fast one may find while the other is stopped: no message, no room, or a lock that is taken.
fn unlessSlow(err: anyerror) !void {
    if (err != error.Wait and err != error.Busy) return err;
}

test "whatever a fast member does with a channel while a slow one is at any of its stores: each message comes once, and whole" {
    if (!crash.enabled) return error.SkipZigTest;
    var points: u32 = 0;
    var received_meanwhile: u32 = 0;
    var sent_meanwhile: u32 = 0;
    for (&operations) |*operation| {
        const pool = try s.create(1 << 20);
        defer s.end(pool);
        pool.patience.timeout_ms = 1;
        const shared = try s.sharedPage(Shared);
        shared.* = std.mem.zeroes(Shared);
        shared.address = .of(pool);
        shared.point = 1;
        while (true) : (shared.point += 1) {
            errdefer std.debug.print("{s}: stopped at point {d}\n", .{ operation.name, shared.point });
            shared.channel = try channel.create(pool, 2, body_bytes);
            shared.generation = s.generationOf(pool, .of(shared.channel));
            shared.received = @splat(0);
            var sent: [128]u32 = @splat(0);
            var letter: u8 = 'a';
            for (operation.before) |message| {
                try letters.send(pool, shared.channel, letter, message[0], message[1]);
                sent[letter] = 1;
                letter += 1;
            }
            shared.sent = 0;
            // So that it needs no lock for them.
            try fillCache(pool);

            const child = try s.Child.start(slow, .{ operation, shared });
            defer child.kill();
            const has_stopped = try child.hasStopped();
            if (has_stopped) {
                // What a cell is filled with differs from what was there, even if in the end it cannot be sent.
                for ([_]u32{ 1, 3, 0 }) |arrays| {
                    if (letters.send(pool, shared.channel, letter, inline_bytes, arrays)) |_| {
                        sent[letter] = 1;
                        letter += 1;
                        sent_meanwhile += 1;
                    } else |err| try unlessSlow(err);
                    if (letters.receive(pool, shared.channel, false)) |found| {
                        if (found) |one| shared.received[one] += 1;
                        received_meanwhile += @intFromBool(found != null);
                    } else |err| try unlessSlow(err);
                }
                child.@"continue"();
            }
            try s.expectEqual(0, try child.wait());
            sent['s'] = shared.sent;
            while (try letters.receive(pool, shared.channel, false)) |one| shared.received[one] += 1;
            try std.testing.expectEqualSlices(u32, &sent, &shared.received);
            _ = try pool.release(shared.channel, true);
            try s.expectSound(pool);
            try s.expectEqual(0, (try pool.stats()).arrays);
            try s.expectEqual(0, (try pool.stats()).recoveries);
            if (!has_stopped) break;
            points += 1;
        }
    }
    std.debug.print("stop points of channels: {d}; meanwhile {d} messages sent, {d} received\n", .{ points, sent_meanwhile, received_meanwhile });
    try s.expect(points > 100 and sent_meanwhile > 50 and received_meanwhile > 50);
}

/// Loads from the segment, and looks at locks of others.
var loads: u32 = 0;
fn countLoad() void {
    loads += 1;
}

test "one who looks after the messages of another asks once whether he lives, however many they are" {
    if (!crash.enabled) return error.SkipZigTest;
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    var buffer: [16]u8 align(8) = undefined;
    var counts: [2]u32 = undefined;
    for (&counts, [_]*Pool{ pool, other }) |*count, owner| {
        const block = try channel.create(pool, 128, 16);
        if (owner == other) {
            _ = try other.attach(block, s.generationOf(pool, .of(block)), 0);
            _ = try channel.enter(other, block);
        }
        for (0..100) |_| {
            try channel.send(pool, block, "x", &.{}, 0);
            _ = try channel.receive(owner, block, &buffer, true, 0);
        }
        s.system.sleep(2 * channel.Probed.every_ms);
        loads = 0;
        crash.reader = countLoad;
        defer crash.reader = null;
        try s.expectError(error.Wait, channel.receive(pool, block, &buffer, true, 0));
        count.* = loads;
    }
    // Of its own it knows without asking.
    try s.expect(counts[1] > counts[0] and counts[1] < counts[0] + 100);
}
