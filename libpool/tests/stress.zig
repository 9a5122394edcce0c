//! Everything at once: members that send, receive, acknowledge, name, claim, wait, trim, reap and look at the same few things,
//! as tightly as can be, while others die. What one does between two loads or stores of another is left to chance, and chance is
//! helped: in a build with crash points a member is held up at some of them, or dies there.
//!
//! An array's bytes say which array it is (block and generation), and a message's text says what belongs to it: so whoever
//! holds one sees whether it is that one. What must hold besides:
//!
//!     always     no call fails but for want of memory or messages; check() finds nothing, whatever the others do meanwhile;
//!                a wait ends that was notified
//!     at rest    each message was received once; where it is to be acknowledged, none is lost, whoever died; no claim, no
//!                pin and no array is left; every channel goes on as ever
//!
//! A round is one pool. `zig build stress` runs rounds for as long as it is told to (../stress.zig).

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const channel = @import("../channel.zig");
const crash = @import("../crash.zig");
const names = @import("../names.zig");
const queue_file = @import("../queue.zig");
const waiting = @import("../waiting.zig");
const layout = s.layout;
const Pool = s.Pool;
const Record = queue_file.Record;

pub const members_max = 8;
const channels_max = 5;
const boxes_max = 3;
const words_max = 4;
const ids_max = 1 << 20;
const message_bytes_max = 4000;
const arrays_in_message_max = 20;

/// What a round is like.
pub const Plan = struct {
    seed: u64,
    members: u32 = 3,
    ms: u64 = 100,
    capacity: u64 = 4 << 20,
    channels: u32 = 3,
    counts_buffers: bool = false,
    /// Of so many loads and stores, one holds its member up; 0: none.
    delay_every: u32 = 0,
    /// Of so many stores, a member dies after one; 0: nobody dies.
    death_every: u32 = 0,
    what: What = .all,

    pub const What = enum { all, channels };

    pub fn random(seed: u64, ms: u64) Plan {
        var prng = std.Random.DefaultPrng.init(seed);
        const r = prng.random();
        return .{
            .seed = seed,
            .members = r.intRangeAtMost(u32, 2, members_max),
            .ms = ms,
            .capacity = @as(u64, 1) << r.intRangeAtMost(u6, 20, 23),
            .channels = r.intRangeAtMost(u32, 1, channels_max),
            .delay_every = if (!crash.enabled) 0 else ([_]u32{ 0, 60, 300, 1000, 5000 })[r.uintLessThan(usize, 5)],
            .death_every = if (!crash.enabled) 0 else ([_]u32{ 0, 0, 300, 3000 })[r.uintLessThan(usize, 4)],
            .counts_buffers = r.boolean(),
            .what = if (r.uintLessThan(u32, 3) == 0) .channels else .all,
        };
    }
};

pub const Totals = struct {
    rounds: u64 = 0,
    operations: u64 = 0,
    messages: u64 = 0,
    arrays: u64 = 0,
    deaths: u64 = 0,
    checks: u64 = 0,
    waits: u64 = 0,
};

/// What became of a message.
const Fate = enum(u8) {
    none,
    sending,
    unsent,
    /// In a channel of the round, where it is to be acknowledged, or not.
    to_acknowledge,
    sent,
    /// In a channel that is in a message itself, and may be gone with it.
    within,
    received,
};

/// In memory that all members share, apart from the pool.
pub const Shared = struct {
    plan: Plan,
    address: s.Address,
    stop: u32,
    failed: u32,
    /// Members that have come to their end by themselves.
    ended: u32,
    message: [256]u8,
    channels: [channels_max]struct { block: u32, generation: u64, ack: bool },
    word_block: u32,
    word_generation: u64,
    /// Notifies that have returned left here what the word was when they began.
    done: [words_max]u32,
    boxes: [boxes_max]Box,
    next_id: u32,
    totals: Totals,
    fates: [ids_max]Fate,

    fn fail(shared: *Shared, comptime what: []const u8, arguments: anytype) error{Failed} {
        if (@cmpxchgStrong(u32, &shared.failed, 0, 1, .acq_rel, .monotonic) == null) {
            @memset(&shared.message, 0);
            _ = std.fmt.bufPrint(&shared.message, what, arguments) catch {};
            @atomicStore(u32, &shared.failed, 2, .release);
        }
        @atomicStore(u32, &shared.stop, 1, .release);
        return error.Failed;
    }
    fn count(total: *u64) void {
        _ = @atomicRmw(u64, total, .Add, 1, .monotonic);
    }
};

/// A descriptor that was put down somewhere: taken and put whole, since who has it locked may die.
const Box = struct {
    lock: u32,
    block: u32,
    generation: u64,
    claim: u64,
};

pub fn shareMemory() !*Shared {
    const flags: linux.MAP = .{ .TYPE = .SHARED, .ANONYMOUS = true };
    const start = linux.mmap(null, @sizeOf(Shared), .{ .READ = true, .WRITE = true }, flags, -1, 0);
    return if (linux.errno(start) == .SUCCESS) @ptrFromInt(start) else error.Map;
}

// ---------------------------------------------------------------- chance is helped

threadlocal var disturbance: struct { state: u64 = 0, delay_every: u32 = 0, death_every: u32 = 0 } = .{};

fn draw() u64 {
    var x = disturbance.state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    disturbance.state = x;
    return x >> 16;
}

fn holdUp() void {
    if (disturbance.delay_every == 0) return;
    const drawn = draw();
    if (drawn % disturbance.delay_every != 0) return;
    const how = drawn / disturbance.delay_every % 16;
    if (how < 8) return std.Thread.yield() catch {};
    const nap: linux.timespec = .{ .sec = 0, .nsec = if (how == 15) 1_000_000 else 20_000 };
    _ = linux.nanosleep(&nap, null);
}

fn afterStore() void {
    if (disturbance.death_every != 0 and draw() % disturbance.death_every == 0) crash.dieNow();
    holdUp();
}

// ---------------------------------------------------------------- what bytes say

fn patternOf(block: u32, generation: u64) u64 {
    return std.hash.int((generation << 24) ^ block) | 1;
}

fn fill(bytes: []u8, block: u32, generation: u64) void {
    const pattern = std.mem.asBytes(&patternOf(block, generation)).*;
    for (bytes, 0..) |*byte, i| byte.* = pattern[i % 8];
}

fn isFilled(bytes: []const u8, block: u32, generation: u64) bool {
    const pattern = std.mem.asBytes(&patternOf(block, generation)).*;
    for (bytes, 0..) |byte, i| if (byte != pattern[i % 8]) return false;
    return true;
}

const Head = extern struct {
    id: u32,
    bytes: u32,
    arrays: u32,
    channels: u32,
};

// ---------------------------------------------------------------- a member

const Held = struct { block: u32, generation: u64 };
const Unacknowledged = struct { at: usize, entry: u32, position: u64, id: u32 };

const Worker = struct {
    pool: *Pool,
    shared: *Shared,
    random: std.Random,
    held: [16]Held = undefined,
    held_count: usize = 0,
    pending: [4]Unacknowledged = undefined,
    pending_count: usize = 0,
    text: [message_bytes_max]u8 align(8) = undefined,
    into: [16 << 10]u8 align(8) = undefined,

    fn step(worker: *Worker) !void {
        const w = worker;
        Shared.count(&w.shared.totals.operations);
        if (w.shared.plan.what == .channels and w.random.uintLessThan(u32, 10) < 9) {
            return if (w.random.boolean()) w.send() else w.receive();
        }
        switch (w.random.uintLessThan(u32, 100)) {
            0...24 => try w.send(),
            25...54 => try w.receive(),
            55...62 => try w.keep(),
            63...67 => try w.putClaim(),
            68...72 => try w.takeClaim(),
            73...76 => try w.setName(),
            77...80 => try w.getName(),
            81...82 => try w.once(),
            83...84 => try w.wait(),
            85...89 => try w.notify(),
            90 => _ = try w.pool.reap(),
            91 => _ = try w.pool.trim(),
            92...93 => try w.check(),
            94 => _ = try w.pool.stats(),
            95 => {
                const found = w.pool.alloc(w.shared.plan.capacity * 3 / 4, 1, false) catch |err| return if (err == error.Full) {} else err;
                const hold = try w.pool.held(found.index.int());
                fill((w.pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()], found.index.int(), hold.word.generation);
                try w.letGo(found.index.int());
            },
            96 => _ = try channel.stats(w.pool, w.anyChannel().block),
            97 => if (w.held_count > 0) {
                const one = w.held[w.random.uintLessThan(usize, w.held_count)];
                try w.pool.retain(one.block);
                try w.keepOrLetGo(one.block, one.generation);
            },
            else => while (w.held_count > 0) try w.letGoOfOne(),
        }
    }

    fn anyChannel(worker: *Worker) @TypeOf(worker.shared.channels[0]) {
        return worker.shared.channels[worker.random.uintLessThan(usize, worker.shared.plan.channels)];
    }

    fn letGo(worker: *Worker, block: u32) !void {
        const pool = worker.pool;
        if (!pool.options.counts_buffers) {
            _ = try pool.release(block, true);
            return;
        }
        const hold = try pool.held(block);
        const generation: u64 = hold.word.generation;
        const bytes = (pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()];
        const buffers = &pool.view.buffers[block];
        switch (worker.random.uintLessThan(u32, 4)) {
            0 => _ = try pool.release(block, false),
            1 => {
                buffers.goneOne();
                _ = try pool.release(block, true);
            },
            2 => {
                const is = try pool.release(block, true);
                if (is == .gone) return worker.shared.fail("block {d} is gone though a buffer shows it", .{block});
                worker.pausing();
                if (is == .lent and !isFilled(bytes, block, generation)) return worker.shared.fail("lent block {d}, generation {d}: not what was written there", .{ block, generation });
                buffers.goneOne();
                _ = try pool.settle(block);
            },
            else => {
                if (hold.has_spare or hold.holds > 1) return {
                    buffers.goneOne();
                    _ = try pool.release(block, true);
                };
                _ = try pool.releaseAny(block, .spare);
                worker.pausing();
                // The host lets it go, or an allocation takes it.
                if (pool.view.holds[block].holds == 0) {
                    pool.spare(block, false);
                    buffers.goneOne();
                }
            },
        }
    }

    /// Others go on meanwhile.
    fn pausing(worker: *Worker) void {
        if (worker.random.boolean()) std.Thread.yield() catch {};
    }

    /// Nothing shows it: a channel.
    fn letGoUnshown(worker: *Worker, block: u32) !void {
        _ = try worker.pool.release(block, true);
    }

    fn letGoOfOne(worker: *Worker) !void {
        const at = worker.random.uintLessThan(usize, worker.held_count);
        const one = worker.held[at];
        try worker.verify(one.block, one.generation);
        worker.held_count -= 1;
        worker.held[at] = worker.held[worker.held_count];
        try worker.letGo(one.block);
    }

    fn keepOrLetGo(worker: *Worker, block: u32, generation: u64) !void {
        if (worker.held_count == worker.held.len or worker.random.boolean()) return worker.letGo(block);
        worker.held[worker.held_count] = .{ .block = block, .generation = generation };
        worker.held_count += 1;
    }

    fn verify(worker: *Worker, block: u32, generation: u64) !void {
        const hold = try worker.pool.held(block);
        const bytes = (worker.pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()];
        if (hold.word.generation != generation) return worker.shared.fail("block {d} is held as generation {d}, not {d}", .{ block, hold.word.generation, generation });
        if (!isFilled(bytes, block, generation)) return worker.shared.fail("block {d}, generation {d}, {d} bytes: not what was written there", .{ block, generation, bytes.len });
        Shared.count(&worker.shared.totals.arrays);
    }

    /// An array with its bytes; null when memory is full.
    fn made(worker: *Worker) !?Held {
        const r = worker.random;
        const bytes: u64 = switch (r.uintLessThan(u32, 8)) {
            0...4 => 16 * r.intRangeAtMost(u64, 1, 20),
            5, 6 => r.intRangeAtMost(u64, 8, 9000),
            else => r.intRangeAtMost(u64, 8, 150_000),
        };
        const array = worker.pool.alloc(bytes, 1, r.uintLessThan(u32, 4) == 0) catch |err| return if (err == error.Full) null else err;
        const block = array.index.int();
        const hold = try worker.pool.held(block);
        const generation: u64 = hold.word.generation;
        fill((worker.pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()], block, generation);
        return .{ .block = block, .generation = generation };
    }

    fn keep(worker: *Worker) !void {
        var kept: [6]Held = undefined;
        var count: usize = 0;
        for (0..worker.random.intRangeAtMost(usize, 1, kept.len)) |_| {
            kept[count] = try worker.made() orelse break;
            count += 1;
        }
        for (kept[0..count]) |one| {
            try worker.verify(one.block, one.generation);
            try worker.letGo(one.block);
        }
    }

    // ------------------------------------------------------------ messages

    fn send(worker: *Worker) !void {
        const one = worker.anyChannel();
        try worker.sendInto(one.block, if (one.ack) .to_acknowledge else .sent);
    }

    fn sendInto(worker: *Worker, block: u32, fate: Fate) anyerror!void {
        const r = worker.random;
        var records: [arrays_in_message_max]Record = undefined;
        // Holds that end with the message, sent or not.
        var moved: [arrays_in_message_max]u32 = undefined;
        var moved_count: usize = 0;
        var channels: u32 = 0;
        defer for (moved[0..moved_count], 0..) |one, i| {
            (if (i < channels) worker.letGoUnshown(one) else worker.letGo(one)) catch {};
        };
        const wanted: usize = switch (r.uintLessThan(u32, 16)) {
            0...5 => 0,
            6...10 => 1,
            11...14 => r.intRangeAtMost(usize, 2, 4),
            else => r.intRangeAtMost(usize, 10, arrays_in_message_max),
        };
        var count: usize = 0;
        while (count < wanted) : (count += 1) {
            var one: Held = undefined;
            if (fate != .within and count == 0 and r.uintLessThan(u32, 12) == 0) {
                one = try worker.madeChannel() orelse return;
                channels = 1;
                moved[moved_count] = one.block;
                moved_count += 1;
            } else if (worker.held_count > 0 and r.uintLessThan(u32, 3) == 0) {
                one = worker.held[r.uintLessThan(usize, worker.held_count)];
            } else if (count > channels and r.uintLessThan(u32, 8) == 0) {
                records[count] = records[count - 1]; // the same one twice
                continue;
            } else {
                one = try worker.made() orelse return;
                moved[moved_count] = one.block;
                moved_count += 1;
            }
            records[count] = .{ .block = one.block, .generation = one.generation };
        }
        const bytes: usize = switch (r.uintLessThan(u32, 8)) {
            0...5 => @sizeOf(Head) + r.uintLessThan(usize, 200),
            else => r.intRangeAtMost(usize, 300, message_bytes_max),
        };
        const id = @atomicRmw(u32, &worker.shared.next_id, .Add, 1, .monotonic);
        if (id >= ids_max) return;
        const head: Head = .{ .id = id, .bytes = @intCast(bytes), .arrays = @intCast(count), .channels = channels };
        @memcpy(worker.text[0..@sizeOf(Head)], std.mem.asBytes(&head));
        fill(worker.text[@sizeOf(Head)..bytes], id, 0);
        worker.setFate(id, .sending);
        channel.send(worker.pool, block, worker.text[0..bytes], records[0..count], r.uintLessThan(u32, 3)) catch |err| {
            worker.setFate(id, .unsent);
            return if (err == error.Wait or err == error.Full) {} else err;
        };
        // It may have been received already.
        _ = @cmpxchgStrong(Fate, &worker.shared.fates[id], .sending, fate, .monotonic, .monotonic);
        Shared.count(&worker.shared.totals.messages);
    }

    fn setFate(worker: *Worker, id: u32, fate: Fate) void {
        @atomicStore(Fate, &worker.shared.fates[id], fate, .monotonic);
    }

    /// A channel with something in it; null when memory is full.
    fn madeChannel(worker: *Worker) !?Held {
        const block = channel.create(worker.pool, worker.random.intRangeAtMost(u32, 1, 3), message_bytes_max) catch |err| return if (err == error.Full) null else err;
        try worker.sendInto(block, .within);
        return .{ .block = block, .generation = (try worker.pool.held(block)).word.generation };
    }

    fn receive(worker: *Worker) !void {
        const r = worker.random;
        if (worker.pending_count > 0 and r.boolean()) return worker.acknowledge();
        const at = r.uintLessThan(usize, worker.shared.plan.channels);
        const ack = worker.shared.channels[at].ack;
        if (ack and worker.pending_count == worker.pending.len) return worker.acknowledge();
        const taken = try worker.receiveFrom(worker.shared.channels[at].block, ack, r.uintLessThan(u32, 3)) orelse return;
        if (!ack) return;
        worker.pending[worker.pending_count] = .{ .at = at, .entry = taken.entry, .position = taken.position, .id = taken.id };
        worker.pending_count += 1;
    }

    fn acknowledge(worker: *Worker) !void {
        const at = worker.random.uintLessThan(usize, worker.pending_count);
        const one = worker.pending[at];
        const give_back = worker.random.uintLessThan(u32, 4) == 0;
        // Before: a death in between leaves it to the next receiver, or ends it.
        if (!give_back) try worker.markReceived(one.id, true);
        channel.acknowledge(worker.pool, worker.shared.channels[one.at].block, one.entry, one.position, give_back) catch |err|
            return worker.shared.fail("message {d} could not be acknowledged: {s}", .{ one.id, @errorName(err) });
        worker.pending_count -= 1;
        worker.pending[at] = worker.pending[worker.pending_count];
    }

    fn markReceived(worker: *Worker, id: u32, ack: bool) !void {
        const was = @atomicRmw(Fate, &worker.shared.fates[id], .Xchg, .received, .monotonic);
        const again_is_right = ack and worker.shared.plan.death_every != 0;
        switch (was) {
            .sending, .sent, .to_acknowledge, .within => return,
            .received => if (again_is_right) return,
            .none, .unsent => {},
        }
        return worker.shared.fail("message {d} was received, and is {s}", .{ id, @tagName(was) });
    }

    const Taken = struct { entry: u32, position: u64, id: u32 };

    fn receiveFrom(worker: *Worker, block: u32, ack: bool, timeout_ms: u32) anyerror!?Taken {
        const received = channel.receive(worker.pool, block, &worker.into, ack, timeout_ms) catch |err| return if (err == error.Wait) null else err;
        const text = worker.into[0..received.text_bytes];
        const head = std.mem.bytesToValue(Head, text[0..@sizeOf(Head)]);
        if (text.len < @sizeOf(Head) or head.bytes != text.len or head.arrays != received.arrays or head.id >= ids_max or !isFilled(text[@sizeOf(Head)..], head.id, 0))
            return worker.shared.fail("a message of {d} bytes and {d} arrays is not as it was sent ({d}: {d} and {d})", .{ text.len, received.arrays, head.id, head.bytes, head.arrays });
        if (!ack) try worker.markReceived(head.id, false);
        const from = layout.alignUp(received.text_bytes, 8);
        var attached: [arrays_in_message_max]channel.Attached = undefined;
        @memcpy(std.mem.sliceAsBytes(attached[0..received.arrays]), worker.into[from..][0 .. received.arrays * @sizeOf(channel.Attached)]);
        for (attached[0..received.arrays], 0..) |one, i| {
            const number: u32 = @intFromFloat(one.block);
            const generation: u64 = @intFromFloat(one.generation);
            if (i < head.channels) {
                try worker.drainInner(number);
                continue;
            }
            try worker.pool.showHeld(number);
            try worker.verify(number, generation);
            try worker.keepOrLetGo(number, generation);
        }
        return .{ .entry = received.entry, .position = received.position, .id = head.id };
    }

    /// A channel that came in a message; where that is given back, others have it, too.
    fn drainInner(worker: *Worker, block: u32) anyerror!void {
        _ = try channel.enter(worker.pool, block);
        const count = worker.random.uintLessThan(u32, 4);
        for (0..count) |_| _ = try worker.receiveFrom(block, false, 0) orelse break;
        if (count == 3) try worker.sendInto(block, .within);
        try worker.letGoUnshown(block);
    }

    // ------------------------------------------------------------ claims

    fn box(worker: *Worker) ?*Box {
        const one = &worker.shared.boxes[worker.random.uintLessThan(usize, boxes_max)];
        return if (@cmpxchgStrong(u32, &one.lock, 0, 1, .acquire, .monotonic) == null) one else null;
    }

    fn putClaim(worker: *Worker) !void {
        const one = worker.box() orelse return;
        defer @atomicStore(u32, &one.lock, 0, .release);
        if (one.claim != 0) return;
        const array = if (worker.held_count > 0 and worker.random.boolean()) worker.held[worker.random.uintLessThan(usize, worker.held_count)] else try worker.made() orelse return;
        const is_new = for (worker.held[0..worker.held_count]) |held| {
            if (held.block == array.block) break false;
        } else true;
        if (worker.pool.createClaim(array.block, 1, 3_600_000)) |claim| {
            one.block = array.block;
            one.generation = array.generation;
            one.claim = claim;
        } else |err| if (err != error.Full) return err;
        if (is_new) try worker.letGo(array.block);
    }

    fn takeClaim(worker: *Worker) !void {
        const one = worker.box() orelse return;
        defer @atomicStore(u32, &one.lock, 0, .release);
        if (one.claim == 0) return;
        const claimed = one.*;
        one.claim = 0;
        const attached = worker.pool.attach(claimed.block, claimed.generation, claimed.claim) catch |err|
            return worker.shared.fail("what was claimed, block {d} of generation {d}, could not be attached: {s}", .{ claimed.block, claimed.generation, @errorName(err) });
        if (attached == .again) try worker.pool.dropClaim(claimed.block, claimed.generation, claimed.claim, 1);
        try worker.verify(claimed.block, claimed.generation);
        try worker.keepOrLetGo(claimed.block, claimed.generation);
    }

    // ------------------------------------------------------------ names

    fn anyName(worker: *Worker) names.Key {
        const texts = [_][]const u8{ "one", "two", "three" };
        return names.Key.of(texts[worker.random.uintLessThan(usize, texts.len)], worker.pool.nonce) catch unreachable;
    }

    fn whole(worker: *Worker, block: u32) !Pool.Named {
        return .{ .block = block, .offset = 0, .length_bytes = (try worker.pool.held(block)).lengthBytes(), .shape = .{} };
    }

    fn setName(worker: *Worker) !void {
        const key = worker.anyName();
        if (worker.random.uintLessThan(u32, 3) == 0) {
            _ = try worker.pool.deleteName(&key);
            return;
        }
        const array = try worker.made() orelse return;
        worker.pool.setName(&key, &try worker.whole(array.block)) catch |err| if (err != error.Full) return err;
        try worker.letGo(array.block);
    }

    fn getName(worker: *Worker) !void {
        const key = worker.anyName();
        const found = try worker.pool.getName(&key) orelse return;
        try worker.verify(found.value.block.int(), found.value.generation);
        try worker.keepOrLetGo(found.value.block.int(), found.value.generation);
    }

    fn once(worker: *Worker) !void {
        const key = worker.anyName();
        const begun = worker.pool.beginOnce(&key, 20) catch |err| return if (err == error.Full) {} else err;
        if (begun == .own) return worker.shared.fail("a name is being made by one who does not make it", .{});
        if (begun != .make) return;
        const array = try worker.made() orelse {
            _ = try worker.pool.endOnce(&key, null);
            return;
        };
        _ = try worker.pool.endOnce(&key, &try worker.whole(array.block));
        try worker.letGo(array.block);
    }

    // ------------------------------------------------------------ waits

    fn wordAt(worker: *Worker, at: usize) *u32 {
        const hold = &worker.pool.view.holds[worker.shared.word_block];
        return @ptrCast(@alignCast(worker.pool.view.heap + hold.offsetBytes() + 4 * at));
    }

    fn wait(worker: *Worker) !void {
        const at = worker.random.uintLessThan(usize, words_max);
        const expected = @atomicLoad(u32, worker.wordAt(at), .monotonic);
        const place = try worker.pool.placeIn(worker.shared.word_block, 4 * at);
        var outcome = try waiting.wait(worker.pool.caller(), &worker.pool.blocking, place, expected, 150 * std.time.ns_per_ms);
        while (outcome == .goes_on) {
            // A notify that began when the word was another already, and has returned.
            const was_notified = @as(i32, @bitCast(@atomicLoad(u32, &worker.shared.done[at], .acquire) -% expected)) > 0;
            outcome = try waiting.goOn(worker.pool.caller(), &worker.pool.blocking);
            if (was_notified and outcome != .ok) return worker.shared.fail("a wait was not woken by a notify that came after it", .{});
        }
        Shared.count(&worker.shared.totals.waits);
    }

    fn notify(worker: *Worker) !void {
        const at = worker.random.uintLessThan(usize, words_max);
        const now = @atomicRmw(u32, worker.wordAt(at), .Add, 1, .seq_cst) +% 1;
        _ = try waiting.notify(worker.pool.caller(), try worker.pool.placeIn(worker.shared.word_block, 4 * at), waiting.everybody);
        const done = &worker.shared.done[at];
        var was = @atomicLoad(u32, done, .monotonic);
        while (@as(i32, @bitCast(now -% was)) > 0) was = @cmpxchgWeak(u32, done, was, now, .release, .monotonic) orelse break;
    }

    fn check(worker: *Worker) !void {
        if (try worker.pool.check()) |broken| return worker.shared.fail("check() finds, while others work: {t} ({d})", .{ broken.what, broken.where });
        s.expectCacheSound(worker.pool) catch return worker.shared.fail("the lists of a member's cache are not as they were made", .{});
        Shared.count(&worker.shared.totals.checks);
    }

    // ------------------------------------------------------------ coming and going

    fn enter(worker: *Worker) !void {
        // Whoever keeps a lock for that long is stuck.
        worker.pool.patience.timeout_ms = 100_000;
        for (worker.shared.channels[0..worker.shared.plan.channels]) |one| {
            _ = try worker.pool.attach(one.block, one.generation, 0);
            _ = try channel.enter(worker.pool, one.block);
        }
        _ = try worker.pool.attach(worker.shared.word_block, worker.shared.word_generation, 0);
    }

    fn work(worker: *Worker) !void {
        try worker.enter();
        while (@atomicLoad(u32, &worker.shared.stop, .acquire) == 0) try worker.step();
        // Where members die, most die last of all, too: nobody comes after them and makes good what they have left.
        if (worker.shared.plan.death_every != 0 and worker.random.uintLessThan(u32, 4) > 0) {
            disturbance.death_every = 50;
            for (0..1000) |_| try worker.step();
        }
        if (worker.random.boolean()) while (worker.held_count > 0) try worker.letGoOfOne();
        if (worker.random.boolean()) while (worker.pending_count > 0) try worker.acknowledge();
    }

    /// A failure that has said nothing of itself.
    fn said(shared: *Shared, err: anyerror) anyerror {
        return if (err == error.Failed) err else shared.fail("a call failed: {s}", .{@errorName(err)});
    }
};

// ---------------------------------------------------------------- members that are processes

fn runProcess(at: struct { *Shared, u64 }) anyerror!void {
    const shared = at[0];
    joinAndWork(shared, at[1]) catch |err| return Worker.said(shared, err);
}

fn joinAndWork(shared: *Shared, seed: u64) !void {
    var prng = std.Random.DefaultPrng.init(seed);
    disturbance = .{ .state = prng.random().int(u64) | 1, .delay_every = shared.plan.delay_every, .death_every = shared.plan.death_every };
    if (crash.enabled) {
        crash.observer = afterStore;
        crash.reader = holdUp;
    }
    // Who joins waits 2 s for a lock; on a machine that does other things that is not always long.
    const pool = for (0..100) |_| {
        break shared.address.joinAs(.{ .counts_buffers = shared.plan.counts_buffers and prng.random().uintLessThan(u32, 4) > 0 }) catch |err| if (err == error.Busy) continue else return err;
    } else return error.Busy;
    var worker: Worker = .{ .pool = pool, .shared = shared, .random = prng.random() };
    try worker.work();
    _ = pool.close(worker.random.boolean());
    _ = @atomicRmw(u32, &shared.ended, .Add, 1, .release);
}

/// One round. What fails is said in `shared.message`.
pub fn run(shared: *Shared, plan: Plan) !void {
    const pool = try begin(shared, plan);
    defer s.end(pool);
    var seeds = std.Random.DefaultPrng.init(plan.seed +% 1);
    var children: [members_max]?s.Child = @splat(null);
    var ended: u32 = 0;
    const until_ms = s.system.monotonicMs() + plan.ms;
    while (s.system.monotonicMs() < until_ms and @atomicLoad(u32, &shared.stop, .acquire) == 0) {
        for (children[0..plan.members]) |*child| {
            if (child.*) |there| {
                if (there.runs() catch |err| {
                    if (err != error.TestUnexpectedResult) return err;
                    ended += 1;
                    child.* = null;
                    break;
                }) continue;
                shared.totals.deaths += 1;
            }
            child.* = try s.Child.start(runProcess, .{ shared, seeds.random().int(u64) });
        }
        s.system.sleep(1);
    }
    @atomicStore(u32, &shared.stop, 1, .release);
    const patience_ms = 300_000;
    for (&children) |*child| if (child.*) |there| {
        while (there.runs() catch |err| blk: {
            if (err != error.TestUnexpectedResult) return err;
            ended += 1;
            break :blk false;
        }) {
            if (s.system.monotonicMs() > until_ms + patience_ms) {
                for (children) |other| if (other) |it| it.kill();
                return shared.fail("a member does not come to its end", .{});
            }
            s.system.sleep(1);
        }
    };
    if (ended != @atomicLoad(u32, &shared.ended, .acquire)) return shared.fail("{d} members have ended, and {d} of them by a signal or an error", .{ ended, ended -% @atomicLoad(u32, &shared.ended, .acquire) });
    try settle(shared, pool);
    shared.totals.rounds += 1;
}

/// The pool, by a member that outlives all others.
fn begin(shared: *Shared, plan: Plan) !*Pool {
    var prng = std.Random.DefaultPrng.init(plan.seed +% 2);
    const random = prng.random();
    const pool = try s.create(plan.capacity);
    errdefer s.end(pool);
    const ids = @min(ids_max, shared.next_id);
    @memset(shared.fates[0..ids], .none);
    const totals = shared.totals;
    @memset(std.mem.asBytes(shared)[0..@offsetOf(Shared, "fates")], 0);
    shared.totals = totals;
    shared.plan = plan;
    shared.address = .of(pool);
    for (shared.channels[0..plan.channels]) |*one| {
        const capacities = [_]u32{ 1, 2, 3, 4, 8 };
        const block = try channel.create(pool, capacities[random.uintLessThan(usize, capacities.len)], message_bytes_max);
        one.* = .{ .block = block, .generation = s.generationOf(pool, .of(block)), .ack = random.boolean() };
    }
    const words = try s.alloc(pool, 4 * words_max, true);
    try pool.share(words.int());
    shared.word_block = words.int();
    shared.word_generation = s.generationOf(pool, words);
    return pool;
}

/// When all others have gone, or died: is everything there that has to be, and nothing else?
fn settle(shared: *Shared, pool: *Pool) !void {
    if (@atomicLoad(u32, &shared.failed, .acquire) != 0) return error.Failed;
    settleAll(shared, pool) catch |err| return Worker.said(shared, err);
}

fn settleAll(shared: *Shared, pool: *Pool) !void {
    var prng = std.Random.DefaultPrng.init(shared.plan.seed +% 3);
    var worker: Worker = .{ .pool = pool, .shared = shared, .random = prng.random() };
    pool.patience.timeout_ms = 100_000;
    const with_deaths = shared.plan.death_every != 0;
    // As any receiver would: before anybody has reaped, or taken a lock over.
    for (shared.channels[0..shared.plan.channels]) |one| {
        while (true) {
            pool.probed = .{};
            const taken = try worker.receiveFrom(one.block, one.ack, 0) orelse break;
            if (!one.ack) continue;
            try worker.markReceived(taken.id, true);
            try channel.acknowledge(pool, one.block, taken.entry, taken.position, false);
        }
        // There is room for a large message, and for a small one.
        for ([_]usize{ message_bytes_max, @sizeOf(Head) }) |bytes| {
            const head: Head = .{ .id = ids_max - 1, .bytes = @intCast(bytes), .arrays = 0, .channels = 0 };
            @memcpy(worker.text[0..@sizeOf(Head)], std.mem.asBytes(&head));
            fill(worker.text[@sizeOf(Head)..bytes], head.id, 0);
            worker.setFate(head.id, .sending);
            channel.send(pool, one.block, worker.text[0..bytes], &.{}, 0) catch |err|
                return shared.fail("a channel that is empty takes no message of {d} bytes: {s}", .{ bytes, @errorName(err) });
            if (try worker.receiveFrom(one.block, false, 0) == null) return shared.fail("a message that was sent is not there", .{});
        }
    }
    while (worker.held_count > 0) try worker.letGoOfOne();
    _ = try pool.reap();
    if (try pool.check()) |broken| return shared.fail("check() finds, at rest: {t} ({d})", .{ broken.what, broken.where });
    for (&shared.boxes) |*box| {
        box.lock = 0;
        if (box.claim != 0) try pool.dropClaim(box.block, box.generation, box.claim, 1);
    }
    for ([_][]const u8{ "one", "two", "three" }) |text| _ = try pool.deleteName(&(names.Key.of(text, pool.nonce) catch unreachable));
    if (with_deaths) {
        // Claims whose descriptors were lost with the dead end by themselves, later.
        for (pool.view.pins[0..pool.view.pinsUsed()]) |*pin| pin.deadline_ms.set(0);
        _ = try pool.reap();
    }
    for (shared.fates[0..@min(ids_max - 1, shared.next_id)], 0..) |fate, id| {
        const is_lost = fate == .to_acknowledge or (!with_deaths and (fate == .sent or fate == .sending));
        if (is_lost) return shared.fail("message {d} is lost ({s})", .{ id, @tagName(fate) });
    }
    try worker.letGo(shared.word_block);
    for (shared.channels[0..shared.plan.channels]) |one| {
        const stats = try channel.stats(pool, one.block);
        if (stats.depth + stats.unacknowledged != 0) return shared.fail("a channel from which all was received has {d} and {d} messages", .{ stats.depth, stats.unacknowledged });
        try worker.letGo(one.block);
    }
    const stats = try pool.stats();
    if (stats.used_bytes != 0 or stats.claims != 0 or stats.members != 1)
        return shared.fail("left at the end: {d} bytes, {d} arrays, {d} channels, {d} bodies, {d} claims, {d} members", .{ stats.used_bytes, stats.arrays, stats.channels, stats.messages, stats.claims, stats.members });
    if (try pool.check()) |broken| return shared.fail("check() finds, at the end: {t} ({d})", .{ broken.what, broken.where });
}

test "whoever comes and goes, does what to whom, and dies: nothing is lost, left or another's" {
    if (!crash.enabled) return error.SkipZigTest;
    const shared = try shareMemory();
    defer _ = linux.munmap(@ptrCast(shared), @sizeOf(Shared));
    const seed = s.environmentNumber("STRESS_SEED") orelse s.system.monotonicNs() % 1_000_000;
    const until_ms = s.system.monotonicMs() + 1000;
    var n: u64 = 0;
    while (n < 2 or s.system.monotonicMs() < until_ms) : (n += 1) {
        const plan: Plan = .random(seed +% n, 50);
        run(shared, plan) catch |err| {
            std.debug.print("{s}\n{any}\n", .{ std.mem.sliceTo(&shared.message, 0), plan });
            return err;
        };
    }
    std.debug.print("stress: seed {d}, {d} rounds, {d} operations, {d} deaths\n", .{ seed, n, shared.totals.operations, shared.totals.deaths });
}
