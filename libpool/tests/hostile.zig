//! One hostile run: two members of a pool do what an input says, and in between the input corrupts the segment's metadata.
//! The input is a string of bytes; every string is one run, so a fuzzer (fuzz.zig) can make them, and a corpus can keep them.
//!
//! What must hold whatever stands in the segment: every call ends, with a result that the header documents; nothing
//! outside of the segment is touched (guard pages around the mapping, and in a full /dev/shm every page that has no memory
//! behind it); what is said of a block lies in the heap; what this member holds stays held and stays where it is; and after a
//! single wild field, a member that works on gives itself no memory that overlaps an array it holds already. That cannot be
//! promised after several wild fields that fit together, nor when another member, who cannot know what this one holds,
//! has worked with the wild field first: then it is only counted.

const std = @import("std");
const linux = std.os.linux;
const exports = @import("../exports.zig");
const look_exports = @import("../look_exports.zig");
const layout = @import("../layout.zig");
const locked_bytes = @import("../locked_bytes.zig");
const system = @import("../platform.zig").system;
const Pool = @import("../pool.zig").Pool;
const Buffers = @import("../pool.zig").Buffers;
const queue = @import("../queue.zig");
const Attached = @import("../channel.zig").Attached;
const s = @import("support.zig");

const members_max = 3;
const held_max = 48;
pub const input_max = 512;

pub const Totals = struct {
    runs: u64 = 0,
    calls: u64 = 0,
    errors: u64 = 0,
    corruptions: u64 = 0,
    /// Overlapping memory handed out where that is not promised not to happen.
    overlaps: u64 = 0,
    /// Mappings that could not be guarded on both sides.
    unguarded: u64 = 0,
};

/// What the run may do to the machine.
pub const Surroundings = struct {
    /// /dev/shm is private, and small: it may be filled.
    filler: ?i32 = null,
    scribbler: ?*Scribbler = null,
    /// Raised before each call, so that a watchdog sees a call that does not end.
    heartbeat: *u64,
    /// Why a run failed.
    message: *[256]u8,
    totals: *Totals,
    /// Says each call and each wild field.
    trace: bool = false,
};

// ---------------------------------------------------------------- input

const Reader = struct {
    bytes: []const u8,
    at: usize = 0,

    fn byte(reader: *Reader) u8 {
        if (reader.at >= reader.bytes.len) return 0;
        defer reader.at += 1;
        return reader.bytes[reader.at];
    }
    fn int(reader: *Reader, comptime T: type) T {
        var value: T = 0;
        for (0..@sizeOf(T)) |_| value = (value << 8) | reader.byte();
        return value;
    }
    fn below(reader: *Reader, limit: u32) u32 {
        return reader.int(u16) % @max(1, limit);
    }
    fn done(reader: *const Reader) bool {
        return reader.at >= reader.bytes.len;
    }
};

// ---------------------------------------------------------------- the run

const Held = struct {
    block: u32,
    generation: f64,
    offset: u64,
    bytes: u64,
    holds: u32,
    shown: u32,
    gone: u32,

    fn isLive(held: *const Held) bool {
        return held.holds > 0 or held.shown > 0;
    }
};

/// Addresses that nobody may touch, on both sides of a gap into which the next mapping of that size will be put.
const Guards = struct {
    start: usize,
    gap_bytes: usize,

    const bytes = 1 << 20;

    fn around(gap_bytes: usize) Guards {
        const flags: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
        const got = linux.mmap(null, gap_bytes + 2 * bytes, .{}, flags, -1, 0);
        if (linux.errno(got) != .SUCCESS) return .{ .start = 0, .gap_bytes = 0 };
        _ = linux.munmap(@ptrFromInt(got + bytes), gap_bytes);
        return .{ .start = got, .gap_bytes = gap_bytes };
    }
    fn take(guards: Guards) void {
        if (guards.start == 0) return;
        _ = linux.munmap(@ptrFromInt(guards.start), bytes);
        _ = linux.munmap(@ptrFromInt(guards.start + bytes + guards.gap_bytes), bytes);
    }
};

const Member = struct {
    pool: *Pool,
    base: [*]u8,
    mapped_bytes: usize,
    guards: Guards,
    heap_address: u64,
    gone_address: u64,
    counts: bool,
    held: [held_max]Held = undefined,
    held_count: usize = 0,

    fn find(member: *Member, block: u32) ?*Held {
        for (member.held[0..member.held_count]) |*held| if (held.block == block and held.isLive()) return held;
        return null;
    }
    fn forget(member: *Member, held: *Held) void {
        member.held_count -= 1;
        held.* = member.held[member.held_count];
    }
};

const Run = struct {
    in: Reader,
    around: Surroundings,
    name: [32:0]u8 = @splat(0),
    nonce: [32:0]u8 = @splat(0),
    geometry: layout.Geometry = undefined,
    members: [members_max]?Member = @splat(null),
    claims: [16]struct { block: u32, generation: f64, number: f64 } = undefined,
    claims_count: usize = 0,
    single: bool,
    full: bool,
    scribbled: bool,
    alone: bool,
    /// Uses names, too, and corrupts them.
    named: bool,
    waits: bool,
    /// Sends through channels, too, and corrupts what is in them.
    channeled: bool,
    channels: [4]u32 = undefined,
    channels_count: usize = 0,
    /// Of the last message that waits for its acknowledgement.
    delivery: struct { entry: u32 = 0, number: f64 = 0 } = .{},
    corruptions: u32 = 0,
    /// Who has done something since the first wild field.
    actors: [members_max]bool = @splat(false),

    fn fail(run: *Run, comptime format: []const u8, arguments: anytype) error{Violation} {
        const into = run.around.message;
        into.* = @splat(0);
        _ = std.fmt.bufPrint(into[0..255], format, arguments) catch {};
        return error.Violation;
    }

    fn say(run: *Run, comptime format: []const u8, arguments: anytype) void {
        if (run.around.trace) std.debug.print("  " ++ format ++ "\n", arguments);
    }

    fn dump(run: *Run) void {
        if (!run.around.trace) return;
        const view = &(run.members[0] orelse return).pool.view;
        for (0..@min(view.blocksUsed(), 64)) |i| {
            const block = &view.blocks[i];
            const word = block.word.get();
            run.say("block {d}: start {d} ({d} bytes), state {d}, prev {d}, next {d}, list {d}, generation {d}, held {}", .{
                i,                             block.start.get(),      block.start.get() *| 64,                 @intFromEnum(word.state),
                block.prev.get().int(),        block.next.get().int(), @intFromEnum(block.of.links.list.get()), word.generation,
                view.isHeld(.of(@intCast(i))),
            });
        }
    }

    fn beat(run: *Run) void {
        _ = @atomicRmw(u64, run.around.heartbeat, .Add, 1, .monotonic);
        run.around.totals.calls += 1;
    }

    // ------------------------------------------------------------ members

    fn join(run: *Run, at: usize, create: bool) !void {
        run.acts(at);
        const counts = run.in.byte() & 1 == 1;
        const runtime: u32 = if (counts) 0x101 else 1;
        var report: [8]f64 = @splat(0);
        const bytes = if (create) Pool.mappingBytes(layout.Geometry.of(1 << 20).?) else Pool.mappingBytes(run.geometry);
        const guards: Guards = .around(bytes);
        run.beat();
        const opened = if (create)
            exports.ap_pool_create(null, 1 << 20, 50, runtime, &report)
        else if (run.in.byte() & 1 == 0)
            exports.ap_pool_open(&run.name, &run.nonce, runtime, &report)
        else
            exports.ap_pool_open_or_create(&run.name, 1 << 20, 50, runtime, &report);
        const pool = opened orelse {
            guards.take();
            try run.expectCode(@intFromFloat(report[0]), "open");
            return;
        };
        const base: [*]u8 = @ptrCast(pool.mapping);
        if (guards.start + Guards.bytes != @intFromPtr(base)) run.around.totals.unguarded += 1;
        _ = exports.ap_pool_set_lock_timeout(pool, 2);
        _ = exports.ap_pool_info(pool);
        const record = exports.ap_pool_record(pool);
        run.members[at] = .{
            .pool = pool,
            .base = base,
            .mapped_bytes = bytes,
            .guards = guards,
            .heap_address = @intFromFloat(record[1]),
            .gone_address = @intFromFloat(record[4]),
            .counts = counts,
        };
        if (create) {
            run.geometry = pool.view.geometry;
            _ = exports.ap_pool_name(pool, @ptrCast(&run.name));
            _ = exports.ap_pool_nonce(pool, @ptrCast(&run.nonce));
        }
    }

    fn leave(run: *Run, at: usize, how: u8) void {
        var member = run.members[at] orelse return;
        run.acts(at);
        run.members[at] = null;
        run.beat();
        switch (how % 3) {
            0 => _ = exports.ap_pool_close(member.pool, 0),
            1 => _ = exports.ap_pool_close(member.pool, 1),
            // As if its process were gone: nothing but the slot's lock says so.
            else => system.close(member.pool.self.fd),
        }
        if (how % 3 != 0) _ = linux.munmap(@alignCast(member.base), member.mapped_bytes);
        member.guards.take();
        // Closed without keeping the range, it may yet have kept it for a buffer that is alive.
        if (how % 3 == 0 and member.counts) _ = linux.munmap(@alignCast(member.base), member.mapped_bytes);
    }

    fn some(run: *Run) ?*Member {
        const first = if (run.othersRest()) 0 else run.in.byte() % members_max;
        for (0..members_max) |i| {
            const at = (first + i) % members_max;
            const member = if (run.members[at]) |*member| member else continue;
            run.acts(at);
            return member;
        }
        return null;
    }

    fn acts(run: *Run, at: usize) void {
        if (run.corruptions > 0) run.actors[at] = true;
    }
    /// Half of the runs with a single wild field go on with one member.
    fn othersRest(run: *const Run) bool {
        return run.single and run.alone and run.corruptions > 0;
    }
    fn actsAlone(run: *const Run) bool {
        var count: u32 = 0;
        for (run.actors) |has| count += @intFromBool(has);
        return count <= 1;
    }

    // ------------------------------------------------------------ calls

    fn expectCode(run: *Run, code: i32, comptime call: []const u8) !void {
        run.around.totals.errors += 1;
        run.say(call ++ " answers {d}", .{code});
        if (code == -3) for (run.channels[0..run.channels_count]) |block| if (run.channelBytes(block)) |bytes| {
            @memset(bytes[64..68], 0);
            @memset(bytes[128..132], 0);
        };
        if (code < -15 or code >= 0 or code == -10) return run.fail(call ++ " answered {d}", .{code});
        // What the corruption has locked is unlocked by the harness, or every later call would wait.
        if (code == -3) for (&run.members) |*member| if (member.*) |*m| m.pool.view.header.lock.set(.unlocked);
    }

    /// What a call said of a block: it must lie in the heap.
    const Extent = struct { offset: u64, bytes: u64 };

    fn extentOf(run: *Run, member: *Member) !Extent {
        const record = exports.ap_pool_record(member.pool);
        for (record[0..4]) |value| if (!(value >= 0 and value <= 1 << 53)) return run.fail("the record says {d}", .{value});
        const offset: u64 = @intFromFloat(record[1]);
        const bytes: u64 = @intFromFloat(record[3]);
        if (offset % 64 != 0 or offset + bytes > run.geometry.capacity_bytes) return run.fail("offset {d}, {d} bytes", .{ offset, bytes });
        if (@as(u64, @intFromFloat(record[2])) != member.heap_address + offset) return run.fail("the address is not that of the offset", .{});
        return .{ .offset = offset, .bytes = bytes };
    }

    fn take(run: *Run, member: *Member, block: u32) !void {
        return run.takeAt(member, block, exports.ap_pool_record(member.pool)[0], try run.extentOf(member));
    }

    fn takeAt(run: *Run, member: *Member, block: u32, generation: f64, at: Extent) !void {
        run.say("member {d} takes block {d}: offset {d}, {d} bytes", .{ member.pool.self.slot, block, at.offset, at.bytes });
        for (member.held[0..member.held_count]) |*held| {
            if (!held.isLive()) continue;
            if (held.block == block) return run.fail("block {d} was handed out twice", .{block});
            const apart = at.offset + @max(1, at.bytes) <= held.offset or held.offset + @max(1, held.bytes) <= at.offset;
            if (apart) continue;
            if (run.single and run.actsAlone()) return run.fail("block {d} ({d}, {d} bytes) overlaps block {d} ({d}, {d} bytes)", .{ block, at.offset, at.bytes, held.block, held.offset, held.bytes });
            run.around.totals.overlaps += 1;
        }
        const is_array = block >= member.pool.view.blocks_known or member.pool.view.blocks[block].content.get().kind == layout.Kind.array;
        if (!run.full and at.bytes > 0 and is_array) {
            const bytes = (member.pool.view.heap + at.offset)[0..at.bytes];
            bytes[0] = 1;
            bytes[bytes.len - 1] = 2;
        }
        if (member.held_count == held_max) return;
        member.held[member.held_count] = .{
            .block = block,
            .generation = generation,
            .offset = at.offset,
            .bytes = at.bytes,
            .holds = 1,
            .shown = @intFromBool(member.counts),
            .gone = 0,
        };
        member.held_count += 1;
    }

    fn again(run: *Run, member: *Member, held: *Held) !void {
        return run.againAt(member, held, try run.extentOf(member));
    }

    fn againAt(run: *Run, member: *Member, held: *Held, at: Extent) !void {
        if (at.offset != held.offset or at.bytes != held.bytes)
            return run.fail("block {d} was {d}, {d} bytes, and is {d}, {d} bytes", .{ held.block, held.offset, held.bytes, at.offset, at.bytes });
        held.holds += 1;
        held.shown += @intFromBool(member.counts);
    }

    fn alloc(run: *Run) !void {
        const member = run.some() orelse return;
        if (member.held_count == held_max) return;
        const length: u32 = switch (run.in.byte() % 8) {
            0 => 0,
            1, 2 => 64 * @as(u32, run.in.byte() % 8),
            3, 4 => run.in.below(5000),
            5 => 4096,
            6 => run.in.below(65535),
            else => @as(u32, run.in.below(65535)) * 16,
        };
        run.beat();
        // Zeroed or not, and how much room behind it.
        const chosen: u32 = if (run.full) 0 else run.in.byte();
        const block = exports.ap_block_alloc(member.pool, @floatFromInt(length), 1, (chosen & 1) + (chosen >> 2) * 2);
        if (block < 0) return run.expectCode(block, "alloc");
        const at = try run.extentOf(member);
        if (at.bytes != length) return run.fail("asked for {d} bytes, got {d}", .{ length, at.bytes });
        try run.take(member, @bitCast(block));
    }

    fn attach(run: *Run) !void {
        const member = run.some() orelse return;
        var block: u32 = run.in.byte();
        var generation: f64 = @floatFromInt(run.in.byte());
        var claim: f64 = 0;
        if (run.in.byte() & 3 != 0) if (run.some()) |other| if (other.held_count > 0) {
            const held = &other.held[run.in.byte() % other.held_count];
            block = held.block;
            generation = held.generation;
        };
        if (run.claims_count > 0 and run.in.byte() & 1 == 1) {
            const sent = run.claims[run.in.byte() % run.claims_count];
            claim = sent.number;
            block = sent.block;
            generation = sent.generation;
        }
        // No room to remember it.
        const known = member.find(block);
        if (known == null and member.held_count == held_max) return;
        run.beat();
        const result = exports.ap_block_attach(member.pool, block, generation, claim);
        if (result < 0) return run.expectCode(result, "attach");
        if (exports.ap_pool_record(member.pool)[0] != generation) return run.fail("attached another generation", .{});
        if (known) |held| {
            if (held.generation != generation) return run.fail("attached another array by a hold of block {d}", .{block});
            try run.again(member, held);
        } else try run.take(member, block);
    }

    fn someHeld(run: *Run, member: *Member) ?*Held {
        return if (member.held_count == 0) null else &member.held[run.in.byte() % member.held_count];
    }

    fn retain(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse return;
        run.beat();
        const result = exports.ap_block_retain(member.pool, held.block);
        if (held.holds == 0) return if (result != -12) run.fail("retained what is not held", .{});
        if (result < 0) return run.expectCode(result, "retain");
        try run.again(member, held);
    }

    fn share(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse return;
        run.beat();
        const result = exports.ap_block_share(member.pool, held.block);
        if (held.holds == 0) return if (result != -12) run.fail("shared what is not held", .{});
        if (result < 0) return run.expectCode(result, "share");
    }

    fn release(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse {
            if (exports.ap_block_release(member.pool, run.in.byte(), 1) != -12) return run.fail("released what is not held", .{});
            return;
        };
        // Its buffer is there, gone, or a spare.
        const chosen: u32 = if (member.counts and held.gone < held.shown) run.in.byte() else 0;
        const leaves_spare = held.holds > 0 and chosen & 15 == 15 and !member.pool.view.holds[held.block].has_spare;
        if (leaves_spare) held.shown -= 1 else if (chosen & 3 != 0) run.bufferGone(member, held);
        run.beat();
        const result = exports.ap_block_release(member.pool, held.block, if (leaves_spare) 2 else 1);
        if (held.holds == 0) return if (result != -12) run.fail("released what is not held", .{});
        if (result < 0) {
            if (result == -5) member.forget(held);
            return run.expectCode(result, "release");
        }
        run.say("member {d} releases block {d}: {d}", .{ member.pool.self.slot, held.block, result });
        held.holds -= 1;
        const expected: i32 = if (held.holds > 0) 1 else if (held.shown != held.gone) 2 else 0;
        if (result != expected) return run.fail("release answered {d}, not {d}", .{ result, expected });
        if (result == 0) member.forget(held);
    }

    fn bufferGone(run: *Run, member: *Member, held: *Held) void {
        run.anyGone(member, held.block);
        held.gone += 1;
    }
    fn anyGone(_: *Run, member: *Member, block: u32) void {
        exports.ap_buffer_gone(null, @ptrFromInt(member.gone_address + @as(u64, block) * @sizeOf(Buffers)));
    }

    fn settle(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse return;
        const chosen = if (held.gone < held.shown) run.in.byte() else 0;
        if (chosen & 1 == 1) run.bufferGone(member, held);
        if (chosen & 2 == 2 and member.pool.view.holds[held.block].has_spare) {
            const is_used = chosen & 4 == 4;
            exports.ap_block_spare(member.pool, held.block, @intFromBool(is_used));
            if (!is_used) run.anyGone(member, held.block);
        }
        run.beat();
        const result = exports.ap_block_settle(member.pool, held.block);
        if (result < 0) {
            if (result == -5) member.forget(held);
            return run.expectCode(result, "settle");
        }
        // By its own count, which damage may have ended.
        const is_held = member.pool.view.holds[held.block].holds > 0;
        const expected: i32 = if (is_held) 1 else if (held.holds == 0 and held.shown != held.gone) 2 else 0;
        if (result != expected) return run.fail("settle answered {d}, not {d}", .{ result, expected });
        if (result == 0 and held.holds == 0) member.forget(held);
    }

    fn createClaim(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse return;
        run.beat();
        const result = exports.ap_claim_create(member.pool, held.block, 1 + run.in.byte() % 3, if (run.in.byte() & 1 == 0) 0 else 1);
        if (result < 0) return if (held.holds == 0 and result == -12) {} else run.expectCode(result, "claim");
        const record = exports.ap_pool_record(member.pool);
        if (!(record[5] >= 0 and record[5] < 1 << 53)) return run.fail("claim {d}", .{record[5]});
        if (record[0] != held.generation) return run.fail("a claim on another generation", .{});
        run.claims[run.claims_count % run.claims.len] = .{ .block = held.block, .generation = record[0], .number = record[5] };
        run.claims_count = @min(run.claims_count + 1, run.claims.len);
    }

    // ------------------------------------------------------------ names

    /// One of few, or anything.
    fn key(run: *Run, buffer: *[8]u8) []const u8 {
        const which = run.in.byte();
        if (which >= 0xf0) {
            for (buffer) |*byte| byte.* = run.in.byte();
            return buffer[0 .. which % 9];
        }
        return std.fmt.bufPrint(buffer, "n{d}", .{which % 20}) catch unreachable;
    }

    fn nameOf(run: *Run, held: *const Held) exports.NameValue {
        const bytes = @as(f64, @floatFromInt(held.bytes));
        var value: exports.NameValue = .{ .block = held.block, .axes = exports.NameValue.no_shape, .offset = 0, .length_bytes = bytes, .shape = @splat(1) };
        if (run.in.byte() & 1 == 1) value.axes = run.in.byte() % (layout.axes_max + 2);
        if (run.in.byte() & 3 == 0) value.offset = @floatFromInt(run.in.byte());
        return value;
    }

    fn names(run: *Run) !void {
        const member = run.some() orelse return;
        const pool = member.pool;
        var buffer: [8]u8 = undefined;
        const text = run.key(&buffer);
        const bytes: u32 = @intCast(text.len);
        run.beat();
        switch (run.in.byte() % 9) {
            0, 1, 2 => {
                const held = run.someHeld(member) orelse return;
                const value = run.nameOf(held);
                try run.expectName(exports.ap_name_set(pool, text.ptr, bytes, &value), held.holds == 0, "set of a name");
            },
            3, 4 => try run.getName(member, text),
            5 => try run.expectName(exports.ap_name_has(pool, text.ptr, bytes), false, "has of a name"),
            6 => try run.expectName(exports.ap_name_delete(pool, text.ptr, bytes), false, "delete of a name"),
            7 => try run.expectName(exports.ap_once_begin(pool, text.ptr, bytes, @floatFromInt(run.in.byte() & 1)), false, "begin of once"),
            else => {
                const held = run.someHeld(member);
                const value = if (held) |it| run.nameOf(it) else undefined;
                const unheld = if (held) |it| it.holds == 0 else false;
                try run.expectName(exports.ap_once_end(pool, text.ptr, bytes, if (held == null) null else &value), unheld, "end of once");
            },
        }
    }

    /// A key, a shape or a part that is out of its range is this caller's fault.
    fn expectName(run: *Run, result: i32, unheld: bool, comptime call: []const u8) !void {
        if (result >= 0 or result == -10 or (unheld and result == -12)) return;
        try run.expectCode(result, call);
    }

    fn getName(run: *Run, member: *Member, text: []const u8) !void {
        if (member.held_count == held_max) return;
        var value: exports.NameValue = undefined;
        const result = exports.ap_name_get(member.pool, text.ptr, @intCast(text.len), &value);
        if (result == -6) return;
        if (result < 0) return run.expectName(result, false, "get of a name");
        const at = try run.extentOf(member);
        if (!(value.offset >= 0 and value.length_bytes >= 0 and value.offset + value.length_bytes <= @as(f64, @floatFromInt(at.bytes))))
            return run.fail("a name names {d} bytes from {d} on, of {d}", .{ value.length_bytes, value.offset, at.bytes });
        if (value.axes != exports.NameValue.no_shape) {
            if (value.axes > layout.axes_max) return run.fail("a shape of {d} axes", .{value.axes});
            for (value.shape[0..value.axes]) |axis| if (!(axis >= 0 and axis <= 1 << 56)) return run.fail("an axis of {d}", .{axis});
        }
        if (member.find(value.block)) |held| try run.again(member, held) else try run.take(member, value.block);
    }

    fn listNames(run: *Run) !void {
        const member = run.some() orelse return;
        var infos: [5]exports.NameInfo = undefined;
        var from: f64 = @floatFromInt(run.in.byte());
        run.beat();
        for (0..2 + run.geometry.names_max / infos.len) |_| {
            const count = exports.ap_name_list(member.pool, @intFromFloat(from), &infos, infos.len);
            if (count < 0) return run.expectCode(count, "list of names");
            for (infos[0..@intCast(count)]) |info| if (info.key_bytes < 1 or info.key_bytes > layout.key_bytes_max) return run.fail("a key of {d} bytes", .{info.key_bytes});
            from = exports.ap_pool_record(member.pool)[0];
            if (from < 0) return;
        }
        return run.fail("the list of names does not end", .{});
    }

    fn waitOrNotify(run: *Run) !void {
        const member = run.some() orelse return;
        const held = run.someHeld(member) orelse return;
        const pool = member.pool;
        const offset: f64 = @floatFromInt(4 * @as(u32, run.in.byte() % 4));
        const number: u32 = run.in.byte() % 8;
        var taken: [4]u32 = undefined;
        run.beat();
        const result = switch (run.in.byte() % 10) {
            0, 1, 2 => exports.ap_word_watch(pool, held.block, offset, number & 1),
            3, 4 => exports.ap_word_notify(pool, held.block, offset, number),
            5 => exports.ap_word_wait(pool, held.block, offset, number & 1, 0),
            6 => exports.ap_word_unwatch(pool, if (number < 7) layout.members_max + number else run.wild()),
            7 => exports.ap_doorbell_take(pool, &taken, number % 4),
            8 => exports.ap_doorbell_park(pool),
            else => exports.ap_doorbell_unpark(pool) + exports.ap_doorbell_look(pool),
        };
        // An offset beyond the end is this caller's fault.
        if (result >= 0 or result == -10 or (held.holds == 0 and result == -12)) return;
        try run.expectCode(result, "wait or notify");
    }

    fn corruptWaiting(run: *Run) void {
        const view = &run.members[0].?.pool.view;
        const all = view.waiting;
        // One that somebody waits in, if there is any.
        var bucket = &all.buckets[run.in.byte()];
        for (&all.buckets) |*other| if (other.waiters.get() != 0) {
            bucket = other;
        };
        const entry = run.in.byte() % 12;
        const waiter = if (entry < 4 or entry - 4 >= view.waiters_known) &all.own[entry % 4] else &view.waiters[entry - 4];
        const doorbell = &all.doorbells[run.in.byte() % 4];
        switch (run.in.byte() % 16) {
            0, 1 => waiter.word.set(@bitCast(run.wild())),
            2 => waiter.word.set(.{ .state = @enumFromInt(run.in.byte() % 5), .slot = run.in.byte() % 4 }),
            3 => waiter.next.set(@enumFromInt(run.wild())),
            4 => waiter.prev.set(@enumFromInt(run.wild())),
            5 => waiter.next_ready.set(@enumFromInt(layout.members_max + @as(u32, run.in.byte() % 8))),
            6 => waiter.place.set(run.wild64()),
            7 => bucket.waiters.set(run.wild()),
            8 => bucket.first.set(@enumFromInt(layout.members_max + @as(u32, run.in.byte() % 8))),
            9 => bucket.last.set(@enumFromInt(run.wild())),
            10 => doorbell.state.set(@enumFromInt(run.in.byte() % 4)),
            11 => doorbell.first_ready.set(@enumFromInt(layout.members_max + @as(u32, run.in.byte() % 8))),
            12 => doorbell.socket.set(run.wild()),
            13 => all.ready[0].set(run.wild64()),
            14 => all.unused_waiters.set(@enumFromInt(layout.members_max + @as(u32, run.in.byte() % 8))),
            else => if (run.in.byte() & 1 == 0) all.waiters_used.set(run.wild()) else all.waiters_backed.set(run.wild()),
        }
        // As if its process had died with the lock, in the middle.
        if (!run.single and run.in.byte() & 3 == 0) view.header.lock.set(.{ .slot = 9, .incarnation = 1 });
    }

    fn corruptName(run: *Run) void {
        const view = &run.members[0].?.pool.view;
        const header = view.header;
        const backed = @min(view.names_known, 32);
        if (backed > 0 and run.in.byte() & 3 != 0) {
            const name = &view.names[run.in.byte() % backed];
            switch (run.in.byte() % 12) {
                0 => name.word.set(@bitCast(run.wild())),
                1 => name.maker.set(@bitCast(run.wild())),
                2 => name.generation.set(run.wild64()),
                3 => name.offset.set(run.wild64()),
                4 => name.length_bytes.set(run.wild64()),
                5 => name.block.set(.of(run.wild())),
                6 => name.hash.set(run.wild()),
                7, 8 => name.next.set(@enumFromInt(run.wild())),
                9 => name.first.set(@enumFromInt(run.wild())),
                10 => name.made.set(run.wild()),
                else => name.text[run.in.byte() % layout.text_words].set(run.wild64()),
            }
        } else switch (run.in.byte() % 7) {
            0 => header.names_used.set(run.wild()),
            1 => header.names_backed.set(run.wild()),
            2 => header.renaming.set(.{ .from = run.wild(), .to = run.wild() }),
            3 => header.names.set(run.wild()),
            4 => header.name_buckets.set(run.wild()),
            5 => header.unused_names.set(@enumFromInt(run.wild())),
            else => view.blocks[run.in.byte() % 64].names.set(@truncate(run.wild())),
        }
        // As if its process had died with the lock, in the middle.
        if (!run.single and run.in.byte() & 3 == 0) header.lock.set(.{ .slot = 9, .incarnation = 1 });
    }

    // ------------------------------------------------------------ channels

    /// What is in it, where its maker holds it still.
    fn channelBytes(run: *Run, block: u32) ?[]u8 {
        for (&run.members) |*member| if (member.*) |*m| if (m.find(block)) |held| {
            if (held.holds > 0 and held.bytes >= 320) return (m.pool.view.heap + held.offset)[0..held.bytes];
        };
        return null;
    }

    fn makeChannel(run: *Run) !void {
        const member = run.some() orelse return;
        const bytes_max: u32 = if (run.in.byte() & 1 == 0) 5000 else 40;
        _ = try run.makeChannelOf(member, 1 + run.in.byte() % 9, bytes_max);
    }

    fn makeChannelOf(run: *Run, member: *Member, capacity: u32, bytes_max: u32) !?u32 {
        if (member.held_count == held_max) return null;
        run.beat();
        const block = exports.ap_channel_create(member.pool, capacity, bytes_max);
        if (block < 0) {
            try run.expectCode(block, "making a channel");
            return null;
        }
        const number: u32 = @bitCast(block);
        const hold = &member.pool.view.holds[number];
        if (member.find(number) != null) return run.fail("block {d} was handed out twice", .{number});
        try run.takeAt(member, number, @floatFromInt(hold.word.generation), .{ .offset = hold.offsetBytes(), .bytes = hold.lengthBytes() });
        if (member.find(number)) |held| held.shown = 0;
        run.channels[run.in.byte() % run.channels.len] = number;
        if (run.channels_count < run.channels.len) {
            run.channels[run.channels_count] = number;
            run.channels_count += 1;
        }
        return number;
    }

    /// What a run with channels may begin with, so that one wild field leads far: a channel that two members hold, in a state that
    /// a byte says, and an array that messages pin.
    fn furnish(run: *Run) !void {
        const first = if (run.members[0]) |*member| member else return;
        const second = if (run.members[1]) |*member| member else return;
        const state: Furnished = @bitCast(run.in.byte());
        const block = try run.makeChannelOf(first, 4, 5000) orelse return;
        run.beat();
        const array = exports.ap_block_alloc(first.pool, @floatFromInt(200 + 64 * @as(u32, run.in.byte() % 4)), 1, 0);
        if (array < 0) return run.expectCode(array, "alloc");
        try run.take(first, @bitCast(array));
        const record: queue.Record = .{ .block = @bitCast(array), .generation = @intFromFloat(first.find(@bitCast(array)).?.generation) };
        for ([_]u32{ block, record.block }) |shared| {
            run.beat();
            if (exports.ap_block_share(first.pool, shared) != 0) return run.fail("a new block cannot be shared", .{});
            const result = exports.ap_block_attach(second.pool, shared, first.find(shared).?.generation, 0);
            if (result < 0) return run.fail("a new block cannot be attached: {d}", .{result});
            try run.take(second, shared);
        }
        if (exports.ap_channel_enter(second.pool, block) < 0) return run.fail("a new channel cannot be entered", .{});
        // Round the ring, so that cells and entries have been others' before.
        if (state.has_gone_round) for (0..6) |i| {
            try run.sendOf(first, block, &.{record}, 100);
            try run.receiveOf(second, block, Image.into.len, @intCast(i & 1), 0);
            if (i & 1 == 1) _ = exports.ap_channel_acknowledge(second.pool, block, run.delivery.entry, run.delivery.number, 0);
        };
        if (state.has_taken or state.has_returned) {
            for (0..2) |_| try run.sendOf(first, block, &.{record}, if (state.has_body) 3000 else 30);
            try run.receiveOf(second, block, Image.into.len, 1, 0);
            if (state.has_returned) _ = exports.ap_channel_acknowledge(second.pool, block, run.delivery.entry, run.delivery.number, 1);
            if (state.has_taken) try run.receiveOf(second, block, Image.into.len, 1, 0);
        }
        if (state.has_text) try run.sendOf(first, block, &.{}, 40);
        if (state.has_arrays) try run.sendOf(first, block, &.{ record, .{ .block = record.block, .generation = record.generation } }, 20);
        if (state.has_body) try run.sendOf(first, block, if (state.has_arrays) &.{record} else &.{}, 3000);
        if (state.is_waited_for) for (0..3) |side| {
            run.beat();
            try run.expectChannel(exports.ap_channel_start_waiting(second.pool, block, @intCast(side)), true, "waiting for a channel");
        };
        if (state.is_closed) try run.expectChannel(exports.ap_channel_close(first.pool, block), true, "closing a channel");
        // Nothing is wild yet.
        const in_ring = [_]bool{ state.has_text, state.has_arrays, state.has_body, state.has_returned };
        const depth = @as(u32, @intFromBool(state.has_returned and !state.has_taken)) + std.mem.count(bool, &in_ring, &.{true});
        const unacknowledged: u32 = if (!state.has_taken) 0 else if (state.has_returned) 1 else 2;
        if (exports.ap_channel_stats(first.pool, block) < 0) return run.fail("a new channel has no stats", .{});
        const record_of = exports.ap_pool_record(first.pool);
        if (record_of[0] != @as(f64, @floatFromInt(depth)) or record_of[5] != @as(f64, @floatFromInt(unacknowledged)))
            return run.fail("{d} messages instead of {d}, {d} taken instead of {d}", .{ record_of[0], depth, record_of[5], unacknowledged });
    }

    const Furnished = packed struct(u8) {
        has_text: bool,
        has_body: bool,
        has_arrays: bool,
        /// Received with ack, and not acknowledged; and given back.
        has_taken: bool,
        has_returned: bool,
        is_waited_for: bool,
        has_gone_round: bool,
        is_closed: bool,
    };

    fn channel(run: *Run) !void {
        const what = run.in.byte() % 16;
        if (run.channels_count == 0 or what == 15) return run.makeChannel();
        const member = run.some() orelse return;
        const pool = member.pool;
        const block = run.channels[run.in.byte() % run.channels_count];
        const is_held = if (member.find(block)) |held| held.holds > 0 else false;
        run.beat();
        const result = switch (what) {
            0, 1, 2, 3, 4 => return run.send(member, block),
            5, 6, 7, 8 => return run.receive(member, block),
            9, 10 => exports.ap_channel_acknowledge(pool, block, if (run.in.byte() & 3 == 0) run.wild() else run.delivery.entry, run.delivery.number, run.in.byte() & 1),
            11 => exports.ap_channel_stats(pool, block),
            12 => exports.ap_channel_start_waiting(pool, block, run.in.byte() % 3),
            13 => exports.ap_channel_stop_waiting(pool, block, run.in.byte() % 3),
            else => if (run.in.byte() & 7 == 0) exports.ap_channel_close(pool, block) else exports.ap_channel_enter(pool, block),
        };
        try run.expectChannel(result, is_held, "a call of a channel");
    }

    /// No channel, no message, no room, one that was closed, a delivery that is over: all that may be.
    fn expectChannel(run: *Run, result: i32, is_held: bool, comptime call: []const u8) !void {
        if (result >= 0 or result == -10 or result == -12 or result == -11 or (result <= -16 and result >= -18)) return;
        if (!is_held) return run.fail(call ++ " that is not held answered {d}", .{result});
        try run.expectCode(result, call);
    }

    const Image = struct {
        var bytes: [1 << 13]u8 align(8) = undefined;
        var into: [1 << 20]u8 align(8) = undefined;
    };

    fn send(run: *Run, member: *Member, block: u32) !void {
        const is_held = if (member.find(block)) |held| held.holds > 0 else false;
        const text_bytes: u32 = if (run.in.byte() & 1 == 0) run.in.byte() else run.in.below(6000);
        const from = layout.alignUp(text_bytes, 8);
        const records: [*]queue.Record = @ptrCast(@alignCast(&Image.bytes[from]));
        var arrays: u32 = 0;
        for (0..run.in.byte() % 20) |_| {
            const held = run.someHeld(member) orelse break;
            // A channel in itself would be for ever.
            if (held.holds == 0 or held.block == block) continue;
            records[arrays] = .{ .block = held.block, .generation = @intFromFloat(held.generation) };
            arrays += 1;
        }
        @memset(Image.bytes[0..text_bytes], run.in.byte());
        try run.expectChannel(exports.ap_channel_send(member.pool, block, &Image.bytes, text_bytes, arrays, run.in.byte() & 1), is_held, "send through a channel");
    }

    fn sendOf(run: *Run, member: *Member, block: u32, records: []const queue.Record, text_bytes: u32) !void {
        @memset(Image.bytes[0..text_bytes], 7);
        const into = Image.bytes[layout.alignUp(text_bytes, 8)..][0 .. records.len * @sizeOf(queue.Record)];
        @memcpy(into, std.mem.sliceAsBytes(records));
        run.beat();
        try run.expectChannel(exports.ap_channel_send(member.pool, block, &Image.bytes, text_bytes, @intCast(records.len), 0), true, "send through a channel");
    }

    fn receive(run: *Run, member: *Member, block: u32) !void {
        const acks: u32 = run.in.byte() & 1;
        return run.receiveOf(member, block, 64 * @as(u32, run.in.byte() % 8), acks, run.in.byte() & 1);
    }

    fn receiveOf(run: *Run, member: *Member, block: u32, into_bytes: u32, acks: u32, timeout_ms: u32) !void {
        const is_held = if (member.find(block)) |held| held.holds > 0 else false;
        var result = exports.ap_channel_receive(member.pool, block, &Image.into, into_bytes, acks, timeout_ms);
        const record = exports.ap_pool_record(member.pool);
        if (result == -18) {
            if (!(record[3] <= 3 * @as(f64, @floatFromInt(run.geometry.capacity_bytes)))) return run.fail("a message needs {d} bytes", .{record[3]});
            result = exports.ap_channel_receive(member.pool, block, &Image.into, Image.into.len, acks, 0);
        }
        if (result < 0) return run.expectChannel(result, is_held, "receive from a channel");
        if (!is_held) return run.fail("received from a channel that is not held", .{});
        const text_bytes: u32 = @intCast(result);
        const arrays: u32 = @intFromFloat(record[0]);
        if (acks == 1) run.delivery = .{ .entry = @intFromFloat(record[1]), .number = record[2] };
        if (text_bytes > Image.into.len) return run.fail("received {d} bytes", .{text_bytes});
        const brought: [*]const Attached = @ptrCast(@alignCast(&Image.into[layout.alignUp(text_bytes, 8)]));
        for (brought[0..arrays]) |array| {
            const at: Extent = .{ .offset = @intFromFloat(array.offset), .bytes = @intFromFloat(array.bytes) };
            if (at.offset % 64 != 0 or at.offset + at.bytes > run.geometry.capacity_bytes) return run.fail("a message brought {d} bytes at {d}", .{ at.bytes, at.offset });
            const number: u32 = @intFromFloat(array.block);
            if (member.find(number)) |held| {
                if (held.generation != array.generation) return run.fail("a message brought another array of block {d}", .{number});
                try run.againAt(member, held, at);
            } else if (member.held_count < held_max) {
                try run.takeAt(member, number, array.generation, at);
            } else {
                _ = exports.ap_block_release(member.pool, number, 1);
                continue;
            }
            // A buffer is made, or not.
            const held = member.find(number).?;
            if (member.counts and run.in.byte() & 3 != 0) {
                const result_of_show = exports.ap_block_show(member.pool, number);
                if (result_of_show < 0) try run.expectCode(result_of_show, "show");
            } else held.shown -= @intFromBool(member.counts);
        }
    }

    fn corruptChannel(run: *Run) void {
        if (run.channels_count == 0) return;
        const bytes = run.channelBytes(run.channels[run.in.byte() % run.channels_count]) orelse return;
        // A header is most worth it, then where messages begin.
        const at: usize = switch (run.in.byte() % 4) {
            0, 1 => 8 * @as(usize, run.in.byte() % 40),
            2 => 320 + 64 * (run.in.byte() % (bytes.len / 64 - 4)) + 8 * @as(usize, run.in.byte() % 4),
            else => 8 * (run.in.below(65535) % (bytes.len / 8)),
        };
        if (at + 8 > bytes.len) return;
        run.say("wild field of a channel, at {d}", .{at});
        const word: *[8]u8 = bytes[at..][0..8];
        switch (run.in.byte() % 4) {
            0 => std.mem.writeInt(u64, word, run.wild64(), .little),
            1 => std.mem.writeInt(u32, word[0..4], run.wild(), .little),
            2 => std.mem.writeInt(u32, word[4..8], run.wild(), .little),
            else => word[run.in.byte() % 8] ^= @as(u8, 1) << @truncate(run.in.byte()),
        }
    }

    fn dropClaim(run: *Run) !void {
        const member = run.some() orelse return;
        if (run.claims_count == 0) return;
        const sent = run.claims[run.in.byte() % run.claims_count];
        run.beat();
        const result = exports.ap_claim_drop(member.pool, sent.block, sent.generation, sent.number, run.in.byte());
        if (result < 0) try run.expectCode(result, "drop");
    }

    fn care(run: *Run, what: u8) !void {
        const member = run.some() orelse return;
        const pool = member.pool;
        run.beat();
        run.say("care {d} by member {d}", .{ what, member.pool.self.slot });
        var text: [256]u8 = undefined;
        var blocks: [7]exports.BlockInfo = undefined;
        var infos: [layout.members_max]exports.MemberInfo = undefined;
        const result = switch (what) {
            0 => exports.ap_pool_reap(pool),
            1 => exports.ap_pool_trim(pool),
            2 => exports.ap_check(pool, &text),
            3 => exports.ap_pool_stats(pool),
            4 => exports.ap_member_list(pool, &infos, layout.members_max),
            5 => list: {
                var from: f64 = @floatFromInt(run.in.byte());
                for (0..2 + run.geometry.blocks_max / blocks.len) |_| {
                    const count = exports.ap_block_list(pool, @intFromFloat(from), &blocks, blocks.len);
                    if (count < 0) break :list count;
                    for (blocks[0..@intCast(count)]) |info| {
                        if (!(info.offset >= 0 and info.length_bytes >= 0 and info.offset + info.length_bytes <= @as(f64, @floatFromInt(run.geometry.capacity_bytes))))
                            return run.fail("a listed block lies outside of the heap", .{});
                    }
                    from = exports.ap_pool_record(pool)[0];
                    if (from < 0) break :list 0;
                } else return run.fail("the list of blocks does not end", .{});
            },
            6 => exports.ap_sweep(),
            else => exports.ap_exit(&run.name),
        };
        if (result < 0) try run.expectCode(result, "care");
    }

    // ------------------------------------------------------------ corruption

    fn wild(run: *Run) u32 {
        const view = &run.members[0].?.pool.view;
        return switch (run.in.byte() % 14) {
            0 => 0,
            1 => std.math.maxInt(u32),
            2, 3, 4, 5 => run.in.byte() % 64, // most likely a block
            6 => view.header.blocks_used.get(),
            7 => view.header.blocks_backed.get(),
            8 => run.geometry.blocks_max,
            9 => run.geometry.heap_granules,
            10 => @as(u32, 1) << @truncate(run.in.byte()),
            11 => run.geometry.blocks_max - 1,
            12 => run.in.below(65535),
            else => run.in.int(u32),
        };
    }
    fn wild64(run: *Run) u64 {
        return switch (run.in.byte() % 5) {
            0 => run.wild(),
            1 => @as(u64, run.wild()) << 32 | run.wild(),
            2 => @as(u64, 1) << @truncate(run.in.byte()),
            3 => std.math.maxInt(u64),
            else => run.in.int(u64),
        };
    }

    fn corrupt(run: *Run) void {
        const first = run.members[0] orelse return;
        if (run.single and run.corruptions > 0) return;
        run.corruptions += 1;
        run.around.totals.corruptions += 1;
        if (run.named and run.in.byte() & 1 == 1) return run.corruptName();
        if (run.waits and run.in.byte() & 3 != 0) return run.corruptWaiting();
        if (run.channeled and run.in.byte() & 3 != 0) return run.corruptChannel();
        const view = &first.pool.view;
        const index = run.in.byte() % 64;
        const block = &view.blocks[index];
        const pin = &view.pins[run.in.byte() % 16];
        const member = &view.members[run.in.byte() % 4];
        const header = view.header;
        const runs = if (run.in.byte() & 1 == 0) &view.lists.backed else &view.lists.unbacked;
        const links = &block.of.links;
        const kind = run.in.byte() % 44;
        run.say("wild field {d}, block {d}", .{ kind, index });
        run.dump();
        switch (kind) {
            0, 1 => block.next.set(.of(run.wild())),
            2, 3 => block.prev.set(.of(run.wild())),
            4, 5 => block.start.set(run.wild()),
            6 => block.tail.set(@bitCast(run.wild())),
            7 => block.word.set(@bitCast(run.wild64())),
            8, 9 => {
                var word = block.word.get();
                word.state = @enumFromInt(run.in.byte() % 8);
                block.word.set(word);
            },
            10 => {
                var word = block.word.get();
                // In a full /dev/shm a wild `backed` of the heap is a SIGBUS for whoever uses the array: not promised.
                if (!run.full) word.backed = !word.backed;
                if (run.in.byte() & 1 == 1) word.zero = !word.zero;
                block.word.set(word);
            },
            11 => {
                var word = block.word.get();
                word.generation = @truncate(run.wild64());
                block.word.set(word);
            },
            12 => block.pins.set(run.wild()),
            13 => block.of.holders[run.in.byte() % 4].set(run.wild64()),
            14 => links.next.set(.of(run.wild())),
            15 => links.prev.set(.of(run.wild())),
            16 => links.list.set(@enumFromInt(run.in.byte() % 5)),
            17 => block.start.set(block.start.get() +% run.in.byte() -% 128),
            18, 19 => view.lists.quick[run.in.below(80)].set(.of(run.wild())),
            20 => view.lists.quick_granules.set(run.wild64()),
            21, 22 => runs.heads[run.in.below(layout.first_levels * layout.second_levels)].set(.of(run.wild())),
            23 => runs.first.set(run.wild()),
            24 => runs.second[run.in.byte() % layout.first_levels].set(run.wild()),
            25 => header.touching.set(.{ .left = run.wild(), .entry = run.wild() }),
            26 => header.blocks_used.set(run.wild()),
            27 => header.blocks_backed.set(run.wild()),
            28 => header.pins_used.set(run.wild()),
            29 => header.pins_backed.set(run.wild()),
            30 => header.claims.set(run.wild()),
            31 => header.unused_blocks.set(.of(run.wild())),
            32 => header.unused_count.set(run.wild()),
            33 => header.unused_pins.set(@enumFromInt(run.wild())),
            34 => header.claims_until_ms.set(run.wild64()),
            35 => header.lock.set(.{ .slot = run.in.byte() % 6, .waiters = run.in.byte() & 1 == 1, .incarnation = @truncate(run.in.byte() % 4) }),
            36 => header.corrupt.set(run.in.byte() & 1),
            37 => switch (run.in.byte() % 9) {
                0 => member.word.set(@bitCast(run.wild())),
                1 => member.pid.set(run.wild()),
                2 => member.tid.set(run.wild()),
                3 => member.fd.set(run.wild()),
                4 => member.pid_namespace.set(run.wild64()),
                5 => member.started_ticks.set(run.wild64()),
                6 => member.mapping.set(run.wild64()),
                7 => member.mapping.set(@intFromPtr(first.base)),
                else => member.joined_at_ms.set(run.wild64()),
            },
            38 => switch (run.in.byte() % 5) {
                0 => pin.word.set(@bitCast(run.wild64())),
                1 => pin.generation.set(run.wild64()),
                2 => pin.deadline_ms.set(run.wild64()),
                3 => pin.block.set(.of(run.wild())),
                else => pin.of.next_unused.set(@enumFromInt(run.wild())),
            },
            // One entry over another: crossed links, duplicates, two blocks in one place.
            39 => if (!run.single) {
                const from: [*]const u8 = @ptrCast(block);
                const to: [*]u8 = @ptrCast(&view.blocks[run.in.byte() % 64]);
                const bytes = @min(64 - 8 * @as(usize, run.in.byte() % 8), 64);
                std.mem.copyForwards(u8, to[0..bytes], from[0..bytes]);
            },
            40 => if (!run.single) {
                var head: [*]u8 = @ptrCast(header);
                head[run.in.below(264)] = run.in.byte();
            },
            41 => if (!run.single) {
                var lists: [*]u8 = @ptrCast(view.lists);
                for (0..run.in.byte()) |_| lists[run.in.below(@sizeOf(layout.FreeLists))] = run.in.byte();
            },
            42 => if (!run.single) {
                var bytes: [*]u8 = @ptrCast(view.blocks);
                for (0..run.in.byte()) |_| bytes[run.in.below(64 * 64)] = run.in.byte();
            },
            else => if (!run.single) {
                // Torn: as if its process had died with the lock, in the middle.
                header.lock.set(.{ .slot = 9, .incarnation = 1 });
                header.touching.set(.{ .left = run.wild(), .entry = run.wild() });
            },
        }
    }

    // ------------------------------------------------------------ one step

    fn step(run: *Run) !void {
        if (run.named) switch (run.in.byte() % 16) {
            0...6 => return run.names(),
            7 => return run.listNames(),
            else => {},
        };
        if (run.waits and run.in.byte() & 1 == 1) return run.waitOrNotify();
        if (run.channeled and run.in.byte() & 1 == 1) return run.channel();
        const what = run.in.byte() % 32;
        if (run.othersRest() and (what == 28 or what == 29)) return;
        switch (what) {
            0...6 => try run.alloc(),
            7...10 => try run.release(),
            11, 12 => try run.attach(),
            13 => try run.retain(),
            14 => try run.settle(),
            15 => try run.createClaim(),
            16 => try run.dropClaim(),
            17...22 => run.corrupt(),
            23 => try run.care(0),
            24 => try run.care(1),
            25 => try run.care(2),
            26 => try run.care(3),
            27 => try run.care(run.in.byte() % 8),
            28 => {
                const at = 1 + run.in.byte() % (members_max - 1);
                if (run.members[at] == null) try run.join(at, false);
            },
            29 => run.leave(1 + run.in.byte() % (members_max - 1), run.in.byte()),
            30 => try run.care(5),
            31 => try run.share(),
            else => unreachable,
        }
    }

    /// What is left at the end, as the command line sees it.
    fn lookFromOutside(run: *Run) !void {
        var report: [8]f64 = @splat(0);
        run.beat();
        const look = look_exports.ap_look_open(&run.name, &report) orelse return run.expectCode(@intFromFloat(report[0]), "look");
        defer look_exports.ap_look_close(look);
        var facts: [40]f64 = undefined;
        run.beat();
        _ = look_exports.ap_look_take(look, 2, &facts);
        const capacity_bytes: f64 = @floatFromInt(run.geometry.capacity_bytes);
        var next: f64 = 0;
        while (next >= 0) {
            var infos: [64]exports.BlockInfo = undefined;
            run.beat();
            const count = look_exports.ap_look_blocks(look, @intFromFloat(next), &infos, infos.len, &next);
            for (infos[0..@intCast(count)]) |info| {
                if (info.offset + info.length_bytes > capacity_bytes) return run.fail("a look shows a block that lies outside of the heap", .{});
                var bytes: [64]u8 = undefined;
                if (look_exports.ap_look_read(look, info.block, info.generation, 0, &bytes, bytes.len) > bytes.len) return run.fail("a look reads more than there is room for", .{});
            }
        }
        next = 0;
        while (next >= 0) {
            var infos: [8]look_exports.LookName = undefined;
            run.beat();
            _ = look_exports.ap_look_names(look, @intFromFloat(next), &infos, infos.len, &next);
        }
        next = 0;
        while (next >= 0) {
            var infos: [8]look_exports.LookChannel = undefined;
            run.beat();
            _ = look_exports.ap_look_channels(look, @intFromFloat(next), &infos, infos.len, &next);
        }
        var members: [256]look_exports.LookMember = undefined;
        run.beat();
        _ = look_exports.ap_look_members(look, &members, members.len);
        var cells: [16][3]f64 = undefined;
        _ = look_exports.ap_look_picture(look, capacity_bytes, &cells, cells.len);
        var text: [256]u8 = undefined;
        run.beat();
        const verdict = look_exports.ap_look_check(look, 2, &text);
        if (verdict < 0) try run.expectCode(verdict, "look and check");
    }
};

/// Bits of the first byte: at most one wild field, after it only one member goes on, /dev/shm is filled, somebody else writes at the same time.
const single: u8 = 1;
const alone: u8 = 0x40;
pub const full: u8 = 6;
pub const scribbled: u8 = 0x38;

/// An input that begins with this byte uses names, too; then the next one says the rest.
pub const named: u8 = 0xff;

/// The same for waiting and notifying.
pub const waiting: u8 = 0xfe;

/// The same for channels. Never in a full /dev/shm: who holds a channel uses its memory as one uses an array.
pub const channeled: u8 = 0xfd;

/// The same, and it begins with a channel that is not empty (furnish).
pub const furnished: u8 = 0xfc;

/// Where the byte with these bits is.
pub fn howAt(input: []const u8) usize {
    return if (input.len > 1 and input[0] >= furnished) 1 else 0;
}

/// Whether that byte asks for a writer at the same time.
pub fn isScribbled(how: u8) bool {
    return how & scribbled == scribbled;
}

/// Does one run. `error.Violation`: something did not hold, and `around.message` says what.
pub fn execute(input: []const u8, around: Surroundings) error{Violation}!void {
    around.totals.runs += 1;
    const at = howAt(input);
    const how: u8 = if (input.len > 0) input[at] else 0;
    var it: Run = .{
        .in = .{ .bytes = input, .at = at + 1 },
        .named = at == 1 and input[0] == named,
        .waits = at == 1 and input[0] == waiting,
        .channeled = at == 1 and (input[0] == channeled or input[0] == furnished),
        .around = around,
        .single = how & single != 0,
        .alone = how & alone != 0,
        .full = how & full == full and around.filler != null,
        .scribbled = isScribbled(how) and around.scribbler != null,
    };
    if (it.channeled) it.full = false;
    if (it.scribbled) it.single = false;
    defer if (it.full) empty(around.filler.?);
    try it.join(0, true);
    if (it.members[0] == null) return;
    defer {
        if (it.scribbled) around.scribbler.?.stop();
        for (0..members_max) |i| it.leave(members_max - 1 - i, 1);
        system.unlink(std.mem.sliceTo(&it.name, 0));
    }
    try it.join(1, false);
    if (at == 1 and input[0] == furnished) try it.furnish();
    for (0..@min(how >> 4, 8)) |_| try it.alloc();
    if (it.full) fill(around.filler.?);
    if (it.scribbled) around.scribbler.?.begin(it.members[0].?.pool);
    for (0..96) |_| {
        if (it.in.done()) break;
        it.step() catch |err| {
            it.dump();
            return err;
        };
    }
    try it.lookFromOutside();
}

/// Takes all that is left of /dev/shm.
fn fill(fd: i32) void {
    var at: i64 = 0;
    var bytes: i64 = 1 << 20;
    while (bytes >= 4096) {
        if (linux.errno(linux.fallocate(fd, 0, at, bytes)) == .SUCCESS) at += bytes else bytes >>= 1;
    }
}
fn empty(fd: i32) void {
    _ = linux.ftruncate(fd, 0);
}

// ---------------------------------------------------------------- what was found before

/// Inputs that failed once, and by their names how.
pub const corpus = [_][]const u8{
    @embedFile("corpus/touches-outside-1"),  @embedFile("corpus/touches-outside-2"), @embedFile("corpus/touches-outside-3"),
    @embedFile("corpus/reads-a-hole"),       @embedFile("corpus/overlaps-1"),        @embedFile("corpus/overlaps-2"),
    @embedFile("corpus/overlaps-3"),         @embedFile("corpus/overlaps-4"),        @embedFile("corpus/handed-out-twice-1"),
    @embedFile("corpus/handed-out-twice-2"), @embedFile("corpus/grows-while-held"),  @embedFile("corpus/moves-while-held"),
    @embedFile("corpus/hold-forgotten"),     @embedFile("corpus/claim-on-another"),  @embedFile("corpus/taken-for-dead-1"),
    @embedFile("corpus/taken-for-dead-2"),
};

test "what hostile bytes once brought about stays mended" {
    for (corpus, 0..) |input, i| {
        const child = try s.Child.start(struct {
            fn body(bytes: []const u8) !void {
                var heartbeat: u64 = 0;
                var message: [256]u8 = @splat(0);
                var totals: Totals = .{};
                var scribbler: Scribbler = .{ .random = .init(1) };
                try scribbler.start();
                execute(bytes, .{ .scribbler = &scribbler, .heartbeat = &heartbeat, .message = &message, .totals = &totals }) catch |err| {
                    std.debug.print("{s}\n", .{std.mem.sliceTo(&message, 0)});
                    return err;
                };
            }
        }.body, input);
        errdefer std.debug.print("input {d}\n", .{i});
        try s.expectEqual(0, try child.wait());
    }
}

test "a run begins with a channel in any of its states, and no wild field makes it fail" {
    const child = try s.Child.start(struct {
        fn body(_: void) !void {
            var heartbeat: u64 = 0;
            var message: [256]u8 = @splat(0);
            var totals: Totals = .{};
            for (0..256) |state| {
                // Two members that count buffers, no more arrays; the state; and channel calls: take, give back, close, look.
                var input: [64]u8 = undefined;
                var prng = std.Random.DefaultPrng.init(state);
                prng.random().bytes(&input);
                input[0..5].* = .{ furnished, single, 1, 1, 0 };
                input[5] = @intCast(state);
                execute(&input, .{ .heartbeat = &heartbeat, .message = &message, .totals = &totals }) catch |err| {
                    std.debug.print("state {d}: {s}\n", .{ state, std.mem.sliceTo(&message, 0) });
                    return err;
                };
            }
            if (totals.calls < 256 * 20) return error.TestUnexpectedResult;
        }
    }.body, {});
    try s.expectEqual(0, try child.wait());
}

test "a lock word that says that its reader has the lock is taken over from" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    pool.view.header.lock.set(pool.self.lock_word);
    _ = try s.alloc(pool, 100, true);
    try s.expectEqual(1, (try pool.stats()).recoveries);
}

test "a hold stays where it is, whatever the table says, and is not given to others by this member" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const first = try s.alloc(pool, 4096, true);
    const second = try s.alloc(pool, 4096, true);
    try pool.share(second.int());
    const block = &pool.view.blocks[second.int()];
    const at = pool.view.holds[second.int()].offsetBytes();
    const start = block.start.get();
    block.start.set(start - 32);
    try s.expectEqual(0, exports.ap_block_retain(pool, second.int()));
    try s.expectEqual(at, @as(u64, @intFromFloat(pool.record[1])));
    try s.expectError(error.Corrupt, pool.attach(second.int(), s.generationOf(pool, second), 0));
    try s.expectError(error.Corrupt, pool.createClaim(second.int(), 1, 0));
    try s.expectEqual(.held, try pool.release(second.int(), true));
    try s.expect(std.mem.indexOf(u8, @tagName((try pool.check()).?.what), "as this member holds it") != null);
    try s.expectError(error.Corrupt, pool.release(second.int(), true));
    try s.expectError(error.NotHeld, pool.release(second.int(), true));
    block.start.set(start);
    try s.expectEqual(.newly, try pool.attach(second.int(), s.generationOf(pool, second), 0));

    // Free, says the table; its next owner would be the second.
    const word = block.word.get();
    block.word.set(.{ .generation = word.generation, .state = .free, .backed = true });
    block.of.links.list.set(.quick);
    block.of.links.next.set(.none);
    pool.view.lists.quick[64].set(second);
    try s.expectError(error.Corrupt, pool.alloc(4096, 1, false));
    _ = first;
}

test "a free run that reaches into an array of this member is not cut, and not given out" {
    for ([_]u32{ 1, 2, 5 }) |granules| {
        const pool = try s.create(64 << 20);
        defer s.end(pool);
        // The rest of what was backed for it is a run that is large enough to stay in its list with a little more.
        const held = try s.alloc(pool, 600_000, true);
        try pool.share(held.int());
        const block = &pool.view.blocks[pool.view.blocks[held.int()].next.get().int()];
        try s.expectEqual(layout.BlockState.free, block.word.get().state);
        const start = block.start.get();
        block.start.set(start - granules);
        for ([_]u64{ 64, 4096, 40_000 }) |bytes| {
            const index = s.alloc(pool, bytes, false) catch |err| {
                try s.expectEqual(error.Corrupt, err);
                continue;
            };
            try s.expect(pool.view.holds[index.int()].start >= start);
        }
        try s.expectError(error.Corrupt, pool.attach(held.int(), s.generationOf(pool, held), 0));
    }
}

test "only what its own memory says lets a sibling close what a thread left" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    // A Worker that ended without leaving, and one that lives.
    const Worker = struct {
        pool: ?*Pool = null,
        quit: u32 = 0,
        fn live(worker: *@This(), of: *Pool, stays: bool) void {
            @atomicStore(?*Pool, &worker.pool, s.join(of) catch unreachable, .release);
            if (stays) s.waitUntil(&worker.quit, 1);
        }
    };
    var gone: Worker = .{};
    var alive: Worker = .{};
    const thread = try std.Thread.spawn(.{}, Worker.live, .{ &alive, pool, true });
    defer thread.join();
    defer s.signal(&alive.quit);
    while (@atomicLoad(?*Pool, &alive.pool, .acquire) == null) system.sleep(1);
    // The last to join, or who comes after would have closed it.
    (try std.Thread.spawn(.{}, Worker.live, .{ &gone, pool, false })).join();

    const records = pool.view.members;
    const left = gone.pool.?.self.slot;
    const lives = alive.pool.?.self.slot;
    const mapping = records[left].mapping.get();
    // It points at us, nowhere, and at the one that lives; and that one's record says that its thread is gone.
    for ([_]u64{ @intFromPtr(pool.mapping), 0, std.math.maxInt(u64) - 4095, records[lives].mapping.get() }) |wild| {
        records[left].mapping.set(wild);
        records[lives].tid.set(records[left].tid.get());
        records[lives].fd.set(@bitCast(pool.self.fd));
        _ = try pool.reap();
        try s.expectEqual(layout.magic, pool.view.header.magic.get());
        try s.expectEqual(layout.magic, alive.pool.?.view.header.magic.get());
        try s.expect(locked_bytes.slotTaken(pool.self.fd, lives));
        try s.expect(locked_bytes.slotTaken(pool.self.fd, left));
    }
    records[left].mapping.set(mapping);
    records[left].word.set(.{ .incarnation = gone.pool.?.self.incarnation, .state = .joined });
    // Under qemu a thread that was joined is not quite gone yet.
    for (0..2000) |_| {
        _ = try pool.reap();
        if (!locked_bytes.slotTaken(pool.self.fd, left)) break;
        system.sleep(1);
    }
    try s.expect(!locked_bytes.slotTaken(pool.self.fd, left));
    _ = linux.munmap(@alignCast(@as([*]u8, @ptrFromInt(mapping))), Pool.mappingBytes(pool.view.geometry));
    system.close(alive.pool.?.self.fd);
    system.unmap(alive.pool.?.mapping, Pool.mappingBytes(pool.view.geometry));
}

// ---------------------------------------------------------------- a writer at the same time

/// A thread that writes wild values into the metadata while the members work on it.
pub const Scribbler = struct {
    random: std.Random.DefaultPrng,
    pool: ?*Pool = null,
    busy: u32 = 0,
    writes: u64 = 0,

    pub fn start(scribbler: *Scribbler) !void {
        const thread = try std.Thread.spawn(.{ .stack_size = 1 << 20 }, loop, .{scribbler});
        thread.detach();
    }

    fn begin(scribbler: *Scribbler, pool: *Pool) void {
        @atomicStore(?*Pool, &scribbler.pool, pool, .seq_cst);
    }
    fn stop(scribbler: *Scribbler) void {
        @atomicStore(?*Pool, &scribbler.pool, null, .seq_cst);
        while (@atomicLoad(u32, &scribbler.busy, .seq_cst) != 0) std.atomic.spinLoopHint();
    }

    fn loop(scribbler: *Scribbler) void {
        while (true) {
            @atomicStore(u32, &scribbler.busy, 1, .seq_cst);
            if (@atomicLoad(?*Pool, &scribbler.pool, .seq_cst)) |pool| {
                for (0..16) |_| scribbler.write(pool);
                @atomicStore(u32, &scribbler.busy, 0, .seq_cst);
            } else {
                @atomicStore(u32, &scribbler.busy, 0, .seq_cst);
                system.sleep(1);
            }
        }
    }

    fn write(scribbler: *Scribbler, pool: *Pool) void {
        const random = scribbler.random.random();
        const view = &pool.view;
        scribbler.writes += 1;
        const small = random.uintLessThan(u32, 64);
        const value: u32 = switch (random.uintLessThan(u32, 6)) {
            0 => 0,
            1 => std.math.maxInt(u32),
            2 => random.int(u32),
            3 => view.geometry.blocks_max,
            else => random.uintLessThan(u32, 64),
        };
        const base: [*]u8 = switch (random.uintLessThan(u32, 9)) {
            // Not the lock: then nobody would get far.
            0 => @ptrCast(&view.header.touching),
            1 => @ptrCast(&view.members[random.uintLessThan(u32, 4)]),
            2 => @ptrCast(&view.lists.quick[small]),
            3 => @ptrCast(&view.lists.backed),
            4 => @ptrCast(&view.pins[small % 8]),
            8 => if (view.names_known > 8) @ptrCast(&view.names[small % 8]) else @ptrCast(&view.header.renaming),
            else => @ptrCast(&view.blocks[small]),
        };
        const word: *u32 = @ptrCast(@alignCast(base + 4 * random.uintLessThan(u32, 12)));
        // Most often back to what stood there: a change between two reads of one call.
        const before = @atomicRmw(u32, word, .Xchg, value, .monotonic);
        if (random.uintLessThan(u32, 4) != 0) @atomicStore(u32, word, before, .monotonic);
    }
};
