//! Members that are threads of one process and work through one and the same mapping: so a tool that goes by addresses
//! (ThreadSanitizer, `zig build test-tsan`) sees all of them touch the same memory. What an array holds is written and read
//! plainly, and the descriptors go through cells without any order of their own. So all that orders the bytes of one member's
//! array before another's reads is what the pool promises: attach() sees what was written before share(), and alloc() comes
//! after whatever others did with that memory. The same for what is found by its name, made once, or comes through a channel,
//! whose text and records are written and read plainly, too.

const std = @import("std");
const s = @import("support.zig");
const channel = @import("../channel.zig");
const Record = @import("../queue.zig").Record;
const names = @import("../names.zig");
const waiting = @import("../waiting.zig");
const Buffers = @import("../view.zig").Buffers;
const Pool = s.Pool;

const capacity = 1 << 20;
const threads_count = 3;
const boxes_count = 4;

/// A descriptor in one word, handed over without order.
const Message = packed struct(u64) {
    block: u16,
    generation: u24,
    pin: u8,
    serial: u16,

    fn claim(message: Message) u64 {
        return s.layout.claimNumber(@enumFromInt(message.pin), message.serial);
    }
    fn fill(message: Message) u8 {
        return @truncate(message.generation *% 31 + message.block);
    }
};

const Shared = struct {
    pool: *Pool,
    boxes: [boxes_count]u64 = @splat(0),
    channel: u32,
    delivered: u32 = 0,
    turns: u32,
    received: u32 = 0,
    failed: u32 = 0,
};

const Worker = struct {
    member: *Pool,
    shared: *Shared,
    random: std.Random,

    fn run(shared: *Shared, seed: u64) void {
        work(shared, seed) catch |err| {
            std.debug.print("a thread failed: {s}\n", .{@errorName(err)});
            _ = @atomicRmw(u32, &shared.failed, .Add, 1, .monotonic);
        };
    }

    fn work(shared: *Shared, seed: u64) !void {
        var prng = std.Random.DefaultPrng.init(seed);
        const member = try s.join(shared.pool);
        const own = member.view;
        // The same segment, where the first member has mapped it.
        member.view = .of(&own.geometry, @ptrCast(@alignCast(shared.pool.view.header)), own.fd, .{ .holds = own.holds, .buffers = own.buffers, .briefs = own.briefs });
        defer {
            member.view = own;
            _ = member.close(false);
        }
        _ = try member.attach(shared.channel, s.generationOf(shared.pool, .of(shared.channel)), 0);
        _ = try channel.enter(member, shared.channel);
        var worker: Worker = .{ .member = member, .shared = shared, .random = prng.random() };
        for (0..shared.turns) |_| switch (worker.random.uintLessThan(u32, 28)) {
            0...5 => try worker.send(),
            6...9 => try worker.receive(),
            10...13 => try worker.keep(),
            14 => _ = try member.reap(),
            16, 17 => try worker.setName(),
            18 => try worker.getName(),
            19 => try worker.once(),
            20...23 => try worker.sendMessage(),
            24...27 => try worker.receiveMessage(),
            // Runs short, and takes what the others have cached, while they take it out of their caches themselves.
            else => try s.expectError(error.Full, member.alloc(capacity, 1, false)),
        };
        // It leaves by its own addresses: the lock at these ones, once more, orders what it has done.
        _ = try member.reap();
    }

    /// Arrays that nobody hears of: they come out of the cache, and go into it again.
    fn keep(worker: *Worker) !void {
        var kept: [8]s.BlockIndex = undefined;
        const count = worker.random.intRangeAtMost(usize, 1, kept.len);
        for (kept[0..count], 1..) |*index, i| {
            index.* = try s.alloc(worker.member, 100 * worker.random.intRangeAtMost(u64, 1, 4), false);
            for (try s.bytesOf(worker.member, index.*)) |*byte| byte.* = @intCast(i);
        }
        for (kept[0..count], 1..) |index, i| {
            for (try s.bytesOf(worker.member, index)) |byte| try s.expectEqual(@as(u8, @intCast(i)), byte);
            _ = try worker.member.release(index.int(), true);
        }
    }

    fn send(worker: *Worker) !void {
        const bytes = worker.random.intRangeAtMost(u64, 1, 3000);
        try worker.pass(try s.alloc(worker.member, bytes, worker.random.boolean()));
    }

    /// Fills the array, sends it, and lets go of it.
    fn pass(worker: *Worker, index: s.BlockIndex) !void {
        const member = worker.member;
        const generation = s.generationOf(member, index);
        var message: Message = .{ .block = @intCast(index.int()), .generation = @intCast(generation), .pin = 0, .serial = 0 };
        for (try s.bytesOf(member, index)) |*byte| byte.* = message.fill();
        const claim = try member.createClaim(index.int(), 1, 0);
        message.pin = @intCast(claim & 0xff);
        message.serial = @intCast(claim >> 20);
        _ = try member.release(index.int(), true);
        const box = &worker.shared.boxes[worker.random.uintLessThan(usize, boxes_count)];
        if (@cmpxchgStrong(u64, box, 0, @bitCast(message), .monotonic, .monotonic) != null)
            try member.dropClaim(index.int(), generation, claim, 1);
    }

    /// Through a channel for two messages: each lies where another lay a moment ago.
    fn sendMessage(worker: *Worker) !void {
        var text: [400]u8 = undefined;
        const bytes = worker.random.intRangeAtMost(usize, 1, if (worker.random.uintLessThan(u32, 4) == 0) text.len else 100);
        @memset(text[0..bytes], @truncate(bytes));
        var records: [3]Record = undefined;
        const count = worker.random.uintLessThan(usize, records.len + 1);
        for (records[0..count]) |*record| {
            const index = try worker.made();
            record.* = .{ .block = index.int(), .generation = s.generationOf(worker.member, index) };
        }
        channel.send(worker.member, worker.shared.channel, text[0..bytes], records[0..count], 0) catch |err| if (err != error.Wait) return err;
        for (records[0..count]) |record| _ = try worker.member.release(record.block, true);
    }

    fn receiveMessage(worker: *Worker) !void {
        var into: [1024]u8 align(8) = undefined;
        const ack = worker.random.boolean();
        const received = channel.receive(worker.member, worker.shared.channel, &into, ack, 0) catch |err| return if (err == error.Wait) {} else err;
        try s.expect(std.mem.allEqual(u8, into[0..received.text_bytes], @truncate(received.text_bytes)));
        const attached: [*]const channel.Attached = @ptrCast(@alignCast(&into[s.layout.alignUp(received.text_bytes, 8)]));
        for (attached[0..received.arrays]) |one| {
            const message: Message = .{ .block = @intFromFloat(one.block), .generation = @intFromFloat(one.generation), .pin = 0, .serial = 0 };
            for (try s.bytesOf(worker.member, .of(message.block))) |byte| try s.expectEqual(message.fill(), byte);
            _ = try worker.member.release(message.block, true);
        }
        _ = @atomicRmw(u32, &worker.shared.delivered, .Add, 1, .monotonic);
        if (ack) try channel.acknowledge(worker.member, worker.shared.channel, received.entry, received.position, worker.random.uintLessThan(u32, 4) == 0);
    }

    fn nameOne(worker: *Worker) names.Key {
        const texts = [_][]const u8{ "one", "two", "three" };
        return names.Key.of(texts[worker.random.uintLessThan(usize, texts.len)], worker.member.nonce) catch unreachable;
    }

    fn made(worker: *Worker) !s.BlockIndex {
        const index = try s.alloc(worker.member, worker.random.intRangeAtMost(u64, 1, 3000), false);
        const message: Message = .{ .block = @intCast(index.int()), .generation = @intCast(s.generationOf(worker.member, index)), .pin = 0, .serial = 0 };
        for (try s.bytesOf(worker.member, index)) |*byte| byte.* = message.fill();
        return index;
    }

    fn whole(worker: *Worker, index: s.BlockIndex) Pool.Named {
        return .{ .block = index.int(), .offset = 0, .length_bytes = worker.member.view.holds[index.int()].lengthBytes(), .shape = .{} };
    }

    fn setName(worker: *Worker) !void {
        const key = worker.nameOne();
        if (worker.random.uintLessThan(u32, 4) == 0) {
            _ = try worker.member.deleteName(&key);
            return;
        }
        const index = try worker.made();
        try worker.member.setName(&key, &worker.whole(index));
        _ = try worker.member.release(index.int(), true);
    }

    fn getName(worker: *Worker) !void {
        const key = worker.nameOne();
        const found = try worker.member.getName(&key) orelse return;
        const index = found.value.block;
        const message: Message = .{ .block = @intCast(index.int()), .generation = @intCast(found.value.generation), .pin = 0, .serial = 0 };
        for (try s.bytesOf(worker.member, index)) |byte| try s.expectEqual(message.fill(), byte);
        _ = try worker.member.release(index.int(), true);
    }

    fn once(worker: *Worker) !void {
        const key = worker.nameOne();
        switch (try worker.member.beginOnce(&key, 1000)) {
            .there => try worker.getName(),
            .make => {
                const index = try worker.made();
                _ = try worker.member.endOnce(&key, &worker.whole(index));
                _ = try worker.member.release(index.int(), true);
            },
            .others => {},
            .own => return error.TestUnexpectedResult,
        }
    }

    fn receive(worker: *Worker) !void {
        const box = &worker.shared.boxes[worker.random.uintLessThan(usize, boxes_count)];
        const taken = @atomicRmw(u64, box, .Xchg, 0, .monotonic);
        if (taken == 0) return;
        const message: Message = @bitCast(taken);
        try s.expectEqual(.newly, try worker.member.attach(message.block, message.generation, message.claim()));
        const index: s.BlockIndex = .of(message.block);
        for (try s.bytesOf(worker.member, index)) |byte| try s.expectEqual(message.fill(), byte);
        _ = @atomicRmw(u32, &worker.shared.received, .Add, 1, .monotonic);
        if (worker.random.boolean()) return worker.pass(index);
        _ = try worker.member.release(message.block, true);
    }
};

test "whoever attaches an array reads what was written before it was shared, and whoever allocates disturbs nobody" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    _ = try s.alloc(pool, 64, false); // so that nobody can have all of it
    const block = try channel.create(pool, 2, 1000);
    var shared: Shared = .{ .pool = pool, .channel = block, .turns = if (s.brief) 2000 else 5000 };
    var threads: [threads_count]std.Thread = undefined;
    for (&threads, 1..) |*thread, seed| thread.* = try std.Thread.spawn(.{}, Worker.run, .{ &shared, seed });
    for (threads) |thread| thread.join();
    try s.expectEqual(0, shared.failed);
    try s.expect(shared.received > shared.turns / 10);
    try s.expect(shared.delivered > shared.turns / 10);
    try s.expectEqual(0, (try pool.stats()).recoveries);
    try s.expectSound(pool);
}

/// One waits, and one notifies it, once with the fence of notify() and once without.
const Pair = struct {
    pool: *Pool,
    words: u32,
    is_listed: u32 = 0,
    seen: u8 = 0,
    failed: u32 = 0,

    fn joined(pair: *const Pair) !*Pool {
        const member = try s.join(pair.pool);
        const own = member.view;
        member.view = .of(&own.geometry, @ptrCast(@alignCast(pair.pool.view.header)), own.fd, .{ .holds = own.holds, .buffers = own.buffers, .briefs = own.briefs });
        _ = try member.attach(pair.words, s.generationOf(pair.pool, .of(pair.words)), 0);
        return member;
    }
    fn waits(pair: *Pair) void {
        pair.wait() catch {
            pair.failed = 1;
        };
    }
    fn wait(pair: *Pair) !void {
        const member = try pair.joined();
        const bytes = try s.bytesOf(member, .of(pair.words));
        if (!try waiting.enlistOwn(member.caller(), try member.placeIn(pair.words, 0), 0)) return error.TestUnexpectedResult;
        member.blocking.deadline_ns = std.math.maxInt(u64);
        @atomicStore(u32, &pair.is_listed, 1, .monotonic);
        while (try waiting.goOn(member.caller(), &member.blocking) != .ok) {}
        pair.seen = bytes[128]; // plainly
    }
    fn notify(pair: *Pair, is_unfenced: bool) !void {
        const member = try pair.joined();
        while (@atomicLoad(u32, &pair.is_listed, .monotonic) == 0) std.Thread.yield() catch {};
        (try s.bytesOf(member, .of(pair.words)))[128] = 7;
        while (try waiting.notifyHot(member.caller(), try member.placeIn(pair.words, 0), 1, is_unfenced) == 0) {}
    }
};

test "whoever was notified reads what was written before" {
    for ([_]bool{ false, true }) |is_unfenced| {
        const pool = try s.create(capacity);
        defer s.end(pool);
        var pair: Pair = .{ .pool = pool, .words = (try s.alloc(pool, 256, true)).int() };
        try pool.share(pair.words);
        const thread = try std.Thread.spawn(.{}, Pair.waits, .{&pair});
        try pair.notify(is_unfenced);
        thread.join();
        try s.expectEqual(0, pair.failed);
        try s.expectEqual(7, pair.seen);
    }
}

/// One shares what it has just written, and takes no lock; another one attaches it.
const Sharing = struct {
    pair: Pair,
    block: u32 = 0,
    generation: u64 = 0,
    is_shared: u32 = 0,
    is_read: u32 = 0,

    fn shares(sharing: *Sharing) void {
        sharing.share() catch {
            sharing.pair.failed = 1;
        };
    }
    fn share(sharing: *Sharing) !void {
        const member = try sharing.pair.joined();
        const index = try s.alloc(member, 256, true);
        sharing.block = index.int();
        sharing.generation = s.generationOf(member, index);
        @atomicStore(u32, &sharing.is_shared, 1, .release);
        (try s.bytesOf(member, index))[128] = 7;
        try member.share(index.int());
        @atomicStore(u32, &sharing.is_shared, 2, .monotonic);
        while (@atomicLoad(u32, &sharing.is_read, .monotonic) == 0) std.Thread.yield() catch {};
    }
};

test "whoever attaches an array reads what was written before it was shared, though nobody had the lock in between" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    var sharing: Sharing = .{ .pair = .{ .pool = pool, .words = (try s.alloc(pool, 256, true)).int() } };
    try pool.share(sharing.pair.words);
    const member = try sharing.pair.joined();
    const thread = try std.Thread.spawn(.{}, Sharing.shares, .{&sharing});
    while (@atomicLoad(u32, &sharing.is_shared, .acquire) < 1) std.Thread.yield() catch {};
    while (@atomicLoad(u32, &sharing.is_shared, .monotonic) < 2) std.Thread.yield() catch {};
    _ = try member.attach(sharing.block, sharing.generation, 0);
    try s.expectEqual(7, (try s.bytesOf(member, .of(sharing.block)))[128]);
    @atomicStore(u32, &sharing.is_read, 1, .monotonic);
    thread.join();
    try s.expectEqual(0, sharing.pair.failed);
}

/// One sends, and several take text out of the ring by turns: who takes a message need not have seen it come.
const Stream = struct {
    pair: Pair,
    channel: u32,
    taken: u32 = 0,

    const messages = 20_000;

    fn takes(stream: *Stream) void {
        stream.take() catch {
            stream.pair.failed = 1;
            @atomicStore(u32, &stream.taken, messages, .monotonic);
        };
    }
    fn take(stream: *Stream) !void {
        const member = try stream.joined();
        var into: [64]u8 = undefined;
        while (@atomicLoad(u32, &stream.taken, .monotonic) < messages) {
            const received = channel.receive(member, stream.channel, &into, false, 0) catch |err| if (err == error.Wait) continue else return err;
            try s.expect(std.mem.allEqual(u8, into[0..received.text_bytes], @intCast(received.text_bytes)));
            _ = @atomicRmw(u32, &stream.taken, .Add, 1, .monotonic);
        }
    }
    fn joined(stream: *const Stream) !*Pool {
        const member = try stream.pair.joined();
        _ = try member.attach(stream.channel, s.generationOf(stream.pair.pool, .of(stream.channel)), 0);
        return member;
    }
};

test "whoever of several takes a message reads what was sent" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    var stream: Stream = .{ .pair = .{ .pool = pool, .words = (try s.alloc(pool, 256, true)).int() }, .channel = try channel.create(pool, 8, 64) };
    try pool.share(stream.pair.words);
    try pool.share(stream.channel);
    const member = try stream.joined();
    var threads: [2]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Stream.takes, .{&stream});
    var text: [64]u8 = undefined;
    var sent: u32 = 0;
    while (sent < Stream.messages and @atomicLoad(u32, &stream.pair.failed, .monotonic) == 0) {
        const bytes = 1 + sent % text.len;
        @memset(text[0..bytes], @intCast(bytes));
        channel.send(member, stream.channel, text[0..bytes], &.{}, 0) catch |err| if (err == error.Wait) continue else return err;
        sent += 1;
    }
    for (threads) |thread| thread.join();
    try s.expectEqual(0, stream.pair.failed);
    try s.expectEqual(Stream.messages, stream.taken);
}

/// A thread in which buffers on one array go.
const Goer = struct {
    const count = 50_000;
    var started: u32 = 0;

    fn run(buffers: *Buffers) void {
        _ = @atomicRmw(u32, &started, .Add, 1, .monotonic);
        while (@atomicLoad(u32, &started, .monotonic) < 2) std.Thread.yield() catch {};
        for (0..count) |_| buffers.goneOne();
    }
};

test "buffers that go in several threads at once are all counted" {
    var all: s.layout.Cell(u32) = .{ .raw = 0 };
    var buffers: Buffers = .{ .shown = 2 * Goer.count, .gone = 0, .all_gone = &all };
    Goer.started = 0;
    var threads: [2]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Goer.run, .{&buffers});
    for (threads) |thread| thread.join();
    try s.expect(!buffers.areAlive());
    try s.expectEqual(2 * Goer.count, all.get());
}
