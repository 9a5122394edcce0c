//! The operations of channels in which the crash tests let a process die (operations.zig says how they are). The survivor makes
//! the channel; after each death every message is in it or is not, whole, and so are the arrays that it holds.

const std = @import("std");
const s = @import("support.zig");
const crash = @import("../crash.zig");
const channel = @import("../channel.zig");
const queue_file = @import("../queue.zig");
const operations = @import("operations.zig");
const layout = s.layout;
const Pool = s.Pool;
const Plan = operations.Plan;
const Operation = operations.Operation;
const Record = queue_file.Record;

const text_bytes = 40;
/// Beyond what a cell holds.
const large_bytes = 1000;
/// What was received last.
pub var buffer: [32 << 10]u8 align(8) = undefined;

// ---------------------------------------------------------------- messages whose content says whether they are whole

pub fn send(pool: *Pool, block: u32, letter: u8, bytes: u32, arrays: u32) !void {
    var text: [large_bytes]u8 = @splat(letter);
    var records: [20]Record = undefined;
    for (records[0..arrays]) |*record| {
        const array = try pool.alloc(200, 1, false);
        @memset(try s.bytesOf(pool, array.index), letter);
        record.* = .{ .block = array.index.int(), .generation = s.generationOf(pool, array.index) };
    }
    const sent = channel.send(pool, block, text[0..bytes], records[0..arrays], 0);
    for (records[0..arrays]) |record| try operations.release(pool, record.block);
    return sent;
}

/// The letter of the next message; null if there is none. Its arrays are let go of.
pub fn receive(pool: *Pool, block: u32, ack: bool) !?u8 {
    const received = channel.receive(pool, block, &buffer, ack, 0) catch |err| switch (err) {
        error.Wait, error.Closed => return null,
        else => return err,
    };
    const text = buffer[0..received.text_bytes];
    try s.expect(text.len == text_bytes or text.len == large_bytes);
    try s.expect(std.mem.allEqual(u8, text, text[0]));
    for (attachedIn(received)) |attached| {
        const number: u32 = @intFromFloat(attached.block);
        const bytes = try s.bytesOf(pool, .of(number));
        try s.expect(bytes.len == 200 and std.mem.allEqual(u8, bytes, text[0]));
        try operations.release(pool, number);
    }
    return text[0];
}

pub fn attachedIn(received: channel.Received) []const channel.Attached {
    const from = layout.alignUp(received.text_bytes, 8);
    return @as([*]const channel.Attached, @ptrCast(@alignCast(&buffer[from])))[0..received.arrays];
}

// ---------------------------------------------------------------- who survives

/// Makes the dead one's locks over, so that what is seen is what the next one sees.
pub fn settle(pool: *Pool, plan: *const Plan) !void {
    if (plan.channel_generation == 0) return;
    const queue = try channel.queueOf(pool, plan.channel);
    const seen = channel.mayBeThere(queue);
    _ = try channel.stats(pool, plan.channel);
    try s.expectError(error.NotHeld, channel.acknowledge(pool, plan.channel, 0, 1 << 40, false));
    // Nobody passes by what the dead one had in hand.
    try s.expect(seen or !channel.mayBeThere(queue));
}

/// Receives all that is left, in order, and lets go of the channel.
pub fn drain(pool: *Pool, plan: *Plan) !void {
    if (plan.channel_generation == 0) return;
    const block = plan.channel;
    pool.probed = .{};
    var last: u8 = 0;
    while (try receive(pool, block, false)) |letter| {
        try s.expect(letter > last);
        last = letter;
    }
    try s.expectEqual(0, (try channel.stats(pool, block)).unacknowledged);
    // It goes on as ever.
    channel.send(pool, block, "x" ** text_bytes, &.{}, 0) catch |err| if (err != error.Closed) return err;
    try operations.release(pool, block);
    plan.channel_generation = 0;
}

/// What is in a channel: of each cell and of each entry, 0 for nothing; and at the end how much was sent so far.
pub fn look(pool: *Pool, plan: *const Plan, cells: []u64) !void {
    @memset(cells, 0);
    if (plan.channel_generation == 0) return;
    const queue = try channel.queueOf(pool, plan.channel);
    const head = queue.header.head.get();
    for (0..queue.shape.slots) |i| {
        if (queue.isThere(head +% i)) cells[(head +% i) % queue.shape.slots] = hashOf(queue, queue.cell(head +% i), head +% i);
        const entry = queue.entry(@intCast(i));
        if (!queue_file.Queue.counts(entry, head)) continue;
        // Given back, or taken by one who is dead: that is the same to the next one.
        cells[queue.shape.slots + i] = hashOf(queue, entry.message(), entry.position.get());
    }
    const stats = try channel.stats(pool, plan.channel);
    cells[cells.len - 1] = stats.messages << 32 | stats.bytes;
}

fn hashOf(queue: *const queue_file.Queue, message: *queue_file.Message, position: u64) u64 {
    var hash = std.hash.Wyhash.init(4);
    const bytes = @min(queue.inlineBytes(), message.text_bytes.get());
    hash.update(std.mem.asBytes(&position));
    hash.update(std.mem.asBytes(&message.word));
    hash.update(if (message.word.get().has_body) message.content()[0..@sizeOf(Record)] else message.content()[0..bytes]);
    return hash.final() | 1;
}

// ---------------------------------------------------------------- the operations

const Messages = []const struct { u8, u32, u32 };

/// The survivor's channel, with messages: letter, bytes, arrays.
fn with(comptime capacity: u32, comptime messages: Messages) *const fn (*Pool, *Plan) anyerror!void {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            plan.channel = try channel.create(pool, capacity, large_bytes);
            plan.channel_generation = s.generationOf(pool, .of(plan.channel));
            inline for (messages) |message| try send(pool, plan.channel, message[0], message[1], message[2]);
        }
    }.f;
}

fn attaches(member: *Pool, plan: *Plan) anyerror!void {
    _ = try member.attach(plan.channel, plan.channel_generation, 0);
    _ = try channel.enter(member, plan.channel);
}

fn waitsAndDies(plan: *Plan) !void {
    const other = try plan.address.join();
    try attaches(other, plan);
    if (try channel.startWaiting(other, plan.channel, .receivers) == null) return error.TestUnexpectedResult;
    s.die();
}

/// Arrays of the victim, to be sent.
fn makes(comptime count: u32) *const fn (*Pool, *Plan) anyerror!void {
    return struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try attaches(member, plan);
            for (plan.blocks[0..][0..count], plan.generations[0..][0..count]) |*block, *generation| {
                const array = try member.alloc(200, 1, false);
                @memset(try s.bytesOf(member, array.index), 'n');
                block.* = array.index.int();
                generation.* = s.generationOf(member, array.index);
            }
        }
    }.f;
}

fn sends(comptime bytes: u32, comptime count: u32) *const fn (?*Pool, *Plan) anyerror!void {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            var records: [count]Record = undefined;
            for (&records, plan.blocks[0..][0..count], plan.generations[0..][0..count]) |*record, block, generation|
                record.* = .{ .block = block, .generation = generation };
            try channel.send(member.?, plan.channel, "n" ** bytes, &records, 0);
        }
    }.f;
}

fn receives(comptime ack: bool) *const fn (?*Pool, *Plan) anyerror!void {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try channel.receive(member.?, plan.channel, &buffer, ack, 0);
        }
    }.f;
}

/// The victim has received a message that is to be acknowledged.
fn takes(member: *Pool, plan: *Plan) anyerror!void {
    try attaches(member, plan);
    const received = try channel.receive(member, plan.channel, &buffer, true, 0);
    plan.claims = .{ received.entry, received.position, 0, 0 };
}

fn acknowledges(comptime give_back: bool) *const fn (?*Pool, *Plan) anyerror!void {
    return struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try channel.acknowledge(member.?, plan.channel, @intCast(plan.claims[0]), plan.claims[1], give_back);
        }
    }.f;
}

/// The survivor has given a message back.
fn returned(comptime arrays: u32) *const fn (*Pool, *Plan) anyerror!void {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(4, &.{ .{ 'b', text_bytes, arrays }, .{ 'c', text_bytes, 0 } })(pool, plan);
            const received = try channel.receive(pool, plan.channel, &buffer, true, 0);
            for (attachedIn(received)) |attached| try operations.release(pool, @intFromFloat(attached.block));
            try channel.acknowledge(pool, plan.channel, received.entry, received.position, true);
        }
    }.f;
}

/// Another member has received, and died.
fn leftByTheDead(comptime arrays: u32) *const fn (*Pool, *Plan) anyerror!void {
    return struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(4, &.{ .{ 'b', text_bytes, arrays }, .{ 'c', text_bytes, 0 } })(pool, plan);
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    const member = try at.address.join();
                    try takes(member, at);
                    s.die();
                }
            }.body, plan);
            _ = try child.wait();
            _ = try pool.reap();
        }
    }.f;
}

/// Another member has died at the n-th store of something.
fn dies(comptime at_store: u64, comptime in: *const fn (?*Pool, *Plan) anyerror!void) *const fn (*Pool, *Plan) anyerror!void {
    return struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try attaches(member, plan);
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    const other = try at.address.join();
                    try attaches(other, at);
                    crash.arm(at_store);
                    try in(other, at);
                }
            }.body, plan);
            try s.expectEqual(128 + 9, try child.wait());
        }
    }.f;
}

/// A channel that only the victim has, with arrays and a channel in it that holds another array.
fn hasOneOfItsOwn(member: *Pool, plan: *Plan) anyerror!void {
    const outer = try channel.create(member, 4, large_bytes);
    const inner = try channel.create(member, 2, large_bytes);
    try send(member, inner, 'a', text_bytes, 1);
    try channel.send(member, outer, "channel", &.{.{ .block = inner, .generation = s.generationOf(member, .of(inner)) }}, 0);
    try operations.release(member, inner);
    try send(member, outer, 'b', text_bytes, 2);
    try send(member, outer, 'c', large_bytes, 20);
    plan.blocks[0] = outer;
}

pub const all = [_]Operation{
    .{ .name = "channel, made", .in_steps = true, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try channel.create(member.?, 4, large_bytes);
        }
    }.f },
    .{ .name = "send", .prepare = with(4, &.{.{ 'b', text_bytes, 0 }}), .set_up = attaches, .run = sends(text_bytes, 0) },
    .{ .name = "send, where there is room again", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(1, &.{.{ 'b', text_bytes, 0 }})(pool, plan);
            _ = try receive(pool, plan.channel, false);
        }
    }.f, .set_up = attaches, .run = sends(text_bytes, 0) },
    .{ .name = "send, after one who died in the middle of it", .prepare = with(4, &.{.{ 'b', text_bytes, 0 }}), .set_up = dies(3, sends(text_bytes, 0)), .run = sends(text_bytes, 0) },
    .{ .name = "receive, after one who died when he had written an entry", .in_steps = true, .prepare = with(4, &.{.{ 'b', text_bytes, 1 }}), .set_up = dies(6, receives(true)), .run = receives(true), .arrays_left = .{ 1, 1 } },
    .{ .name = "attach, in the slot of one who waited", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(4, &.{})(pool, plan);
            const child = try s.Child.start(waitsAndDies, plan);
            _ = try child.wait();
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try attaches(member.?, plan);
        }
    }.f },
    .{ .name = "stats, of a channel where one has waited who is dead", .prepare = with(4, &.{}), .set_up = struct {
        fn f(member: *Pool, plan: *Plan) anyerror!void {
            try attaches(member, plan);
            const child = try s.Child.start(waitsAndDies, plan);
            _ = try child.wait();
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try s.expectEqual(0, (try channel.stats(member.?, plan.channel)).waiting_receivers);
        }
    }.f },
    .{ .name = "send, to one who sleeps", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(4, &.{})(pool, plan);
            _ = try channel.startWaiting(pool, plan.channel, .receivers);
        }
    }.f, .set_up = attaches, .run = sends(text_bytes, 0) },
    .{ .name = "send, with arrays", .in_steps = true, .prepare = with(4, &.{}), .set_up = makes(2), .run = sends(text_bytes, 2), .arrays_left = .{ 0, 2 } },
    .{ .name = "send, of a large message", .in_steps = true, .prepare = with(4, &.{}), .set_up = attaches, .run = sends(large_bytes, 0) },
    .{ .name = "send, of a large message with many arrays", .in_steps = true, .prepare = with(4, &.{}), .set_up = makes(15), .run = sends(large_bytes, 15), .arrays_left = .{ 0, 15 } },
    .{ .name = "receive", .prepare = with(4, &.{ .{ 'b', text_bytes, 0 }, .{ 'c', text_bytes, 0 } }), .set_up = attaches, .run = receives(false) },
    .{ .name = "receive, with somebody waiting for room", .prepare = struct {
        fn f(pool: *Pool, plan: *Plan) anyerror!void {
            try with(1, &.{.{ 'b', text_bytes, 0 }})(pool, plan);
            _ = try channel.startWaiting(pool, plan.channel, .senders);
        }
    }.f, .set_up = attaches, .run = receives(false) },
    .{ .name = "receive, with arrays", .in_steps = true, .prepare = with(4, &.{.{ 'b', text_bytes, 2 }}), .set_up = attaches, .run = receives(false), .arrays_left = .{ 0, 2 } },
    .{ .name = "receive, of a large message with many arrays", .in_steps = true, .prepare = with(4, &.{.{ 'b', large_bytes, 20 }}), .set_up = attaches, .run = receives(false), .arrays_left = .{ 0, 20 } },
    .{ .name = "receive, to acknowledge", .prepare = with(4, &.{ .{ 'b', text_bytes, 0 }, .{ 'c', text_bytes, 0 } }), .set_up = attaches, .run = receives(true) },
    .{ .name = "receive, to acknowledge, with arrays", .in_steps = true, .prepare = with(4, &.{.{ 'b', large_bytes, 20 }}), .set_up = attaches, .run = receives(true), .arrays_left = .{ 20, 20 } },
    .{ .name = "acknowledge", .prepare = with(4, &.{ .{ 'b', text_bytes, 0 }, .{ 'c', text_bytes, 0 } }), .set_up = takes, .run = acknowledges(false) },
    .{ .name = "acknowledge, with arrays", .in_steps = true, .prepare = with(4, &.{.{ 'b', large_bytes, 20 }}), .set_up = takes, .run = acknowledges(false), .arrays_left = .{ 0, 20 } },
    .{ .name = "give back", .prepare = with(4, &.{ .{ 'b', text_bytes, 1 }, .{ 'c', text_bytes, 0 } }), .set_up = takes, .run = acknowledges(true), .arrays_left = .{ 1, 1 } },
    .{ .name = "receive, of what was given back", .in_steps = true, .prepare = returned(1), .set_up = attaches, .run = receives(false), .arrays_left = .{ 0, 1 } },
    .{ .name = "receive, to acknowledge, of what was given back", .in_steps = true, .prepare = returned(1), .set_up = attaches, .run = receives(true), .arrays_left = .{ 1, 1 } },
    .{ .name = "receive, of what the dead had received", .in_steps = true, .prepare = leftByTheDead(1), .set_up = attaches, .run = receives(true), .arrays_left = .{ 1, 1 } },
    .{ .name = "close", .prepare = with(4, &.{.{ 'b', text_bytes, 0 }}), .set_up = attaches, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try channel.close(member.?, plan.channel);
        }
    }.f },
    .{ .name = "waiting, begun and given up", .prepare = with(4, &.{}), .set_up = attaches, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try channel.startWaiting(member.?, plan.channel, .receivers);
            try channel.stopWaiting(member.?, plan.channel, .receivers);
        }
    }.f },
    .{ .name = "waiting for an entry, begun and given up", .prepare = with(1, &.{.{ 'b', text_bytes, 0 }}), .set_up = takes, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            _ = try channel.startWaiting(member.?, plan.channel, .acknowledgers);
            try channel.stopWaiting(member.?, plan.channel, .acknowledgers);
        }
    }.f },
    .{ .name = "release of a channel, with all that is in it", .in_steps = true, .set_up = hasOneOfItsOwn, .run = struct {
        fn f(member: ?*Pool, plan: *Plan) anyerror!void {
            try operations.release(member.?, plan.blocks[0]);
        }
    }.f },
    .{ .name = "leave, with a channel and what is in it", .in_steps = true, .set_up = hasOneOfItsOwn, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(false);
        }
    }.f },
    .{ .name = "leave, with a channel and what is in it, while views of it stay", .in_steps = true, .set_up = hasOneOfItsOwn, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = member.?.close(true);
        }
    }.f },
    .{ .name = "reap, of one who had a channel and what is in it", .in_steps = true, .set_up = struct {
        fn f(_: *Pool, plan: *Plan) anyerror!void {
            const child = try s.Child.start(struct {
                fn body(at: *Plan) !void {
                    try hasOneOfItsOwn(try at.address.join(), at);
                    s.die();
                }
            }.body, plan);
            _ = try child.wait();
        }
    }.f, .run = struct {
        fn f(member: ?*Pool, _: *Plan) anyerror!void {
            _ = try member.?.reap();
        }
    }.f },
};
