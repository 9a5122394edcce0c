//! The C interface (arraypool.h) but for looking from outside: turns its plain arguments into ours, and our errors into its codes.
//! Nothing else.

const std = @import("std");
const layout = @import("layout.zig");
const holding = @import("holding.zig");
const pool_file = @import("pool.zig");
const segment = @import("segment.zig");
const system = @import("platform.zig").system;
const text_file = @import("text.zig");
const members = @import("members.zig");
const waiting = @import("waiting.zig");
const channel = @import("channel.zig");
const queue = @import("queue.zig");
const name_file = @import("names.zig");
const interface = @import("interface.zig");
const codeOf = interface.codeOf;
const reportFailure = interface.reportFailure;
const spanOf = interface.spanOf;
const tell = interface.tell;
const wholeNumber = interface.wholeNumber;
const wholeNumberHot = interface.wholeNumberHot;
const describeBroken = interface.describeBroken;
pub const abi_version = interface.abi_version;
pub const Code = interface.Code;
pub const BlockInfo = interface.BlockInfo;
pub const panic = interface.panic;
pub const Pool = pool_file.Pool;

// Places in the record; the header names them.
const generation_at = 0;
const offset_at = 1;
const address_at = 2;
const bytes_at = 3;
const dtype_at = 4;
const claim_at = 5;
const errno_at = 6;
const pid_at = 7;
const short_at = 8;
const short_named_at = 16;

// ---------------------------------------------------------------- pools

pub export fn ap_abi_version() u32 {
    return abi_version;
}

pub export fn ap_pool_create(name: ?[*:0]const u8, capacity_bytes: f64, claim_ttl_ms: f64, runtime: u32, report: ?*[8]f64) ?*Pool {
    var why: segment.Report = .{};
    return opened(createFrom(name, capacity_bytes, claim_ttl_ms, runtime, &why), &why, report);
}

fn createFrom(name: ?[*:0]const u8, capacity_bytes: f64, claim_ttl_ms: f64, runtime: u32, why: *segment.Report) segment.Error!*Pool {
    const given: ?[]const u8 = if (name) |z| spanOf(z) else null;
    return Pool.create(given, try capacityOf(capacity_bytes), try ttlOf(claim_ttl_ms), optionsOf(runtime), why);
}

pub export fn ap_pool_open(name: ?[*:0]const u8, nonce: ?[*:0]const u8, runtime: u32, report: ?*[8]f64) ?*Pool {
    var why: segment.Report = .{};
    return opened(openFrom(name, nonce, runtime, &why), &why, report);
}

fn openFrom(name: ?[*:0]const u8, nonce: ?[*:0]const u8, runtime: u32, why: *segment.Report) segment.Error!*Pool {
    var expected: ?u64 = null;
    if (nonce) |z| {
        const digits = spanOf(z);
        if (digits.len != 16) return error.Argument;
        expected = text_file.number(digits, 16, std.math.maxInt(u64)) orelse return error.Argument;
    }
    return Pool.open(spanOf(name orelse return error.Argument), expected, optionsOf(runtime), why);
}

pub export fn ap_pool_open_or_create(name: ?[*:0]const u8, capacity_bytes: f64, claim_ttl_ms: f64, runtime: u32, report: ?*[8]f64) ?*Pool {
    var why: segment.Report = .{};
    return opened(openOrCreateFrom(name, capacity_bytes, claim_ttl_ms, runtime, &why), &why, report);
}

fn openOrCreateFrom(name: ?[*:0]const u8, capacity_bytes: f64, claim_ttl_ms: f64, runtime: u32, why: *segment.Report) segment.Error!*Pool {
    const given = spanOf(name orelse return error.Argument);
    return Pool.openOrCreate(given, try capacityOf(capacity_bytes), try ttlOf(claim_ttl_ms), optionsOf(runtime), why);
}

fn opened(result: segment.Error!*Pool, why: *const segment.Report, report: ?*[8]f64) ?*Pool {
    const pool = result catch |err| {
        reportFailure(err, why, report);
        return null;
    };
    if (report) |r| r.* = @splat(0);
    return pool;
}

fn capacityOf(bytes: f64) error{Argument}!u64 {
    if (bytes == 0) return 0;
    return try wholeNumber(bytes);
}

fn ttlOf(ms: f64) error{Argument}!u64 {
    if (ms == 0) return Pool.default_claim_ttl_ms;
    return try wholeNumber(ms);
}

fn optionsOf(runtime: u32) pool_file.Options {
    return .{ .runtime = runtime & 0xff, .counts_buffers = runtime & 0x100 != 0 };
}

pub export fn ap_pool_close(pool: *Pool, keep_range: u32) i32 {
    return @intFromBool(pool.close(keep_range != 0));
}

pub export fn ap_pool_record(pool: *Pool) *[32]f64 {
    return &pool.record;
}

pub export fn ap_pool_info(pool: *Pool) i32 {
    const geometry = pool.view.geometry;
    tell(pool.record[0..9], &.{
        geometry.capacity_bytes,
        @intFromPtr(pool.view.heap),
        pool.self.slot,
        pool.claim_ttl_ms,
        @intFromPtr(&pool.view.buffers[0].gone),
        geometry.blocks_max,
        @intFromPtr(&pool.view.waiting.doorbells[pool.self.slot].state),
        geometry.heap_start / @sizeOf(u32),
        @intFromPtr(&pool.view.waiting.buckets),
    });
    return 0;
}

pub export fn ap_pool_name(pool: *Pool, name: *[32]u8) i32 {
    name.* = pool.name_buffer;
    return 0;
}

pub export fn ap_pool_nonce(pool: *Pool, nonce: *[32]u8) i32 {
    nonce.* = @splat(0);
    text_file.hex(nonce[0..16], pool.nonce);
    return 0;
}

pub export fn ap_pool_set_lock_timeout(pool: *Pool, timeout_ms: f64) i32 {
    pool.patience.timeout_ms = wholeNumber(timeout_ms) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_sweep() i32 {
    return @intCast(segment.sweep());
}

pub export fn ap_exit(name: ?[*:0]const u8) i32 {
    const given = spanOf(name orelse return 0);
    return @intFromBool(segment.nameIsValid(given) and segment.removeAtExit(given));
}

noinline fn failed(pool: *Pool, err: channel.Error) i32 {
    @branchHint(.cold);
    pool.record[errno_at] = @floatFromInt(pool.errno);
    if (err == error.Busy) pool.record[pid_at] = @floatFromInt(pool.patience.owner_pid);
    return @intFromEnum(codeOf(err));
}

noinline fn failedShort(pool: *Pool, err: channel.Error, asked_bytes: u64) i32 {
    @branchHint(.cold);
    if (err == error.Full) {
        const short = pool.shortage(asked_bytes);
        tell(pool.record[short_at..][0..8], &.{
            short.asked_bytes,
            short.largest_free_bytes,
            short.device_free_bytes,
            short.claimed_bytes,
            short.oldest_claim_ms,
            short.held_bytes,
            short.held_by_self_bytes,
            @intFromEnum(short.cause),
        });
        pool.record[short_at + 4] /= 1000; // in seconds
        pool.record[short_named_at] = layout.double(short.named_bytes);
    }
    return failed(pool, err);
}

// ---------------------------------------------------------------- blocks

pub inline fn ap_block_alloc(pool: *Pool, length_bytes: f64, dtype: u32, how: u32) i32 {
    if (length_bytes >= 0 and length_bytes <= pool.plain_bytes_max and (@as(u64, how) << 32 | dtype) <= 255) {
        const length: i32 = @intFromFloat(length_bytes);
        if (pool.allocPlain(@intCast(length), @intCast(dtype))) |taken| {
            describeNew(pool, taken.hold, length_bytes);
            pool.stamp(taken.index);
            return @bitCast(taken.index.int());
        }
    }
    return allocAny(pool, length_bytes, dtype, how);
}

noinline fn allocAny(pool: *Pool, length_bytes: f64, dtype: u32, how: u32) i32 {
    const length = wholeNumber(length_bytes) catch |err| return failed(pool, err);
    const room_bytes = how >> 1;
    if (dtype > 255 or room_bytes > layout.room_bytes_max) return failed(pool, error.Argument);
    const array = pool.allocWithRoom(length, @intCast(dtype), how & 1 != 0, room_bytes) catch |err| return failedShort(pool, err, length);
    describeNew(pool, &pool.view.holds[array.index.int()], length_bytes);
    return @bitCast(array.index.int());
}

inline fn describeNew(pool: *Pool, hold: *const pool_file.Hold, length_bytes: f64) void {
    const offset: i64 = @intCast(hold.offsetBytes());
    // Signed: for that there is an instruction.
    pool.record[generation_at] = @floatFromInt(@as(i64, hold.word.generation));
    pool.record[offset_at] = @floatFromInt(offset);
    pool.record[address_at] = @floatFromInt(@as(i64, @bitCast(@intFromPtr(pool.view.heap))) + offset);
    pool.record[bytes_at] = length_bytes;
}

pub export fn ap_trace_open(pool: *Pool, length_bytes: f64) i32 {
    const length = wholeNumber(length_bytes) catch |err| return failed(pool, err);
    const index = pool.openTrace(length) catch |err| return failedShort(pool, err, length);
    describe(pool, index.int());
    return @bitCast(index.int());
}

pub export fn ap_block_attach(pool: *Pool, block: u32, generation: f64, claim: f64) i32 {
    const wanted = wholeNumberHot(generation) catch |err| return failed(pool, err);
    const claim_number = wholeNumberHot(claim) catch |err| return failed(pool, err);
    const attached = pool.attach(block, wanted, claim_number) catch |err| return failed(pool, err);
    describe(pool, block);
    return @intFromEnum(attached);
}

pub export fn ap_block_retain(pool: *Pool, block: u32) i32 {
    pool.retain(block) catch |err| return failed(pool, err);
    describe(pool, block);
    return 0;
}

/// What the caller needs to show a block that it holds: from the member's own memory, not as the segment has it by now.
fn describe(pool: *Pool, number: u32) void {
    const hold = &pool.view.holds[number];
    pool.record[0..5].* = .{
        @floatFromInt(hold.word.generation),
        layout.double(hold.offsetBytes()),
        layout.double(@intFromPtr(pool.view.heap) + hold.offsetBytes()),
        layout.double(hold.lengthBytes()),
        @floatFromInt(pool.view.blocks[number].content.get().dtype),
    };
}

pub inline fn ap_block_release(pool: *Pool, block: u32, shown: u32) i32 {
    return if (pool.releasePlain(block)) 0 else releaseAny(pool, block, shown);
}

noinline fn releaseAny(pool: *Pool, block: u32, shown: u32) i32 {
    const released = pool.releaseAny(block, switch (shown) {
        0 => .nothing,
        2 => .spare,
        else => .buffer,
    }) catch |err| return failed(pool, err);
    return @intFromEnum(released);
}

pub export fn ap_block_settle(pool: *Pool, block: u32) i32 {
    const released = pool.settle(block) catch |err| return failed(pool, err);
    return @intFromEnum(released);
}

pub export fn ap_block_show(pool: *Pool, block: u32) i32 {
    pool.showHeld(block) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_block_show_nothing(pool: *Pool, block: u32) i32 {
    pool.showNothing(block) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_block_share(pool: *Pool, block: u32) i32 {
    pool.share(block) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_block_prefault(pool: *Pool, block: u32, offset_bytes: f64, length_bytes: f64) i32 {
    prefault(pool, block, offset_bytes, length_bytes) catch |err| return failed(pool, err);
    return 0;
}

fn prefault(pool: *Pool, block: u32, offset_bytes: f64, length_bytes: f64) pool_file.Error!void {
    try pool.prefault(block, try wholeNumber(offset_bytes), try wholeNumber(length_bytes));
}

pub export fn ap_block_shown(pool: *Pool, block: u32) i32 {
    return std.math.lossyCast(i32, pool.buffersSeen(block));
}

pub export fn ap_block_spare(pool: *Pool, block: u32, is_used: u32) void {
    pool.spare(block, is_used != 0);
}

pub export fn ap_buffer_gone(bytes: ?*anyopaque, context: *u32) void {
    _ = bytes;
    const buffers: *pool_file.Buffers = @alignCast(@fieldParentPtr("gone", context));
    buffers.goneOne();
}

// ---------------------------------------------------------------- claims

pub export fn ap_claim_create(pool: *Pool, block: u32, attaches: u32, ttl_ms: f64) i32 {
    const ttl = wholeNumber(ttl_ms) catch |err| return failed(pool, err);
    const times = std.math.cast(u24, attaches) orelse return failed(pool, error.Argument);
    const number = pool.createClaim(block, times, ttl) catch |err| return failedShort(pool, err, @sizeOf(layout.Pin));
    pool.record[generation_at] = @floatFromInt(pool.view.holds[block].word.generation);
    pool.record[claim_at] = layout.double(number);
    return 0;
}

pub export fn ap_claim_drop(pool: *Pool, block: u32, generation: f64, claim: f64, attaches: u32) i32 {
    const wanted = wholeNumber(generation) catch |err| return failed(pool, err);
    const number = wholeNumber(claim) catch |err| return failed(pool, err);
    pool.dropClaim(block, wanted, number, attaches) catch |err| return failed(pool, err);
    return 0;
}

// ---------------------------------------------------------------- waiting

pub export fn ap_word_wait(pool: *Pool, block: u32, offset: f64, expected: u32, timeout_ms: f64) i32 {
    const place = placeOf(pool, block, offset) catch |err| return failed(pool, err);
    // Infinity, NaN and what is beyond centuries: for ever.
    const timeout_ns: ?u64 = if (timeout_ms < 1 << 43) @intFromFloat(@max(0, timeout_ms) * std.time.ns_per_ms) else null;
    const outcome = waiting.wait(pool.caller(), &pool.blocking, place, expected, timeout_ns) catch |err| return failed(pool, err);
    return @intFromEnum(outcome);
}

pub export fn ap_word_wait_on(pool: *Pool) i32 {
    const outcome = waiting.goOn(pool.caller(), &pool.blocking) catch |err| return failed(pool, err);
    return @intFromEnum(outcome);
}

pub export fn ap_word_notify(pool: *Pool, block: u32, offset: f64, count: u32) i32 {
    const place = pool.placeIn(block, wholeNumberHot(offset) catch |err| return failed(pool, err)) catch |err| return failed(pool, err);
    const woken = waiting.notifyHot(pool.caller(), place, count, pool.is_unfenced) catch |err| return failed(pool, err);
    return @intCast(woken);
}

pub export fn ap_word_unfenced(pool: *Pool) i32 {
    pool.is_unfenced = waiting.unfenced(&pool.view);
    return @intFromBool(pool.is_unfenced);
}

pub export fn ap_word_watch(pool: *Pool, block: u32, offset: f64, expected: u32) i32 {
    const place = placeOf(pool, block, offset) catch |err| return failed(pool, err);
    const begun = pool.beginWait(place, expected) catch |err| return failedShort(pool, err, @sizeOf(layout.Waiter));
    return if (begun) |waiter| @intCast(@intFromEnum(waiter)) else 0;
}

pub export fn ap_word_unwatch(pool: *Pool, waiter: u32) i32 {
    return @intFromBool(!waiting.cancel(pool.caller(), @enumFromInt(waiter)));
}

fn placeOf(pool: *Pool, block: u32, offset: f64) pool_file.Error!waiting.Place {
    return pool.placeIn(block, try wholeNumber(offset));
}

pub export fn ap_doorbell_open(pool: *Pool) i32 {
    var failure: system.Failure = .{};
    const socket = system.openSocket(&failure) catch {
        pool.errno = failure.errno;
        return failed(pool, error.System);
    };
    waiting.useSocket(pool.caller(), socket);
    return socket.fd;
}

pub export fn ap_doorbell_take(pool: *Pool, waiters: [*]u32, max: u32) i32 {
    const count = waiting.take(pool.caller(), waiters[0..max]) catch |err| return failed(pool, err);
    return @intCast(count);
}

pub export fn ap_doorbell_look(pool: *Pool) i32 {
    return @intFromBool(waiting.look(pool.caller()));
}

pub export fn ap_doorbell_park(pool: *Pool) i32 {
    const parked = waiting.park(pool.caller()) catch |err| return failed(pool, err);
    return @intFromBool(!parked);
}

pub export fn ap_doorbell_unpark(pool: *Pool) i32 {
    waiting.unpark(pool.caller());
    return 0;
}

pub export fn ap_doorbell_sleep(doorbell: *anyopaque) i32 {
    waiting.sleep(@ptrCast(@alignCast(doorbell)));
    return 0;
}

pub export fn ap_doorbell_ring(pool: *Pool) i32 {
    waiting.wakeSelf(pool.caller());
    return 0;
}

// ---------------------------------------------------------------- names

pub const NameValue = extern struct {
    block: u32,
    /// Axes of the shape, or `no_shape`.
    axes: u32,
    offset: f64,
    length_bytes: f64,
    shape: [layout.axes_max]f64,

    pub const no_shape = std.math.maxInt(u32);
};

pub const NameInfo = extern struct {
    block: u32,
    key_bytes: u32,
    generation: f64,
    key: [layout.key_bytes_max]u8,
};

fn keyOf(pool: *Pool, key: ?[*]const u8, key_bytes: u32) error{Argument}!name_file.Key {
    const start = key orelse return error.Argument;
    return .of(start[0..@min(key_bytes, layout.key_bytes_max + 1)], pool.nonce);
}

fn namedOf(value: *const NameValue) error{Argument}!Pool.Named {
    const axes = value.axes;
    if (axes != NameValue.no_shape and axes > layout.axes_max) return error.Argument;
    return .{
        .block = value.block,
        .offset = try wholeNumber(value.offset),
        .length_bytes = try wholeNumber(value.length_bytes),
        .shape = if (axes == NameValue.no_shape) .{} else try .of(value.shape[0..axes]),
    };
}

pub export fn ap_name_set(pool: *Pool, key: ?[*]const u8, key_bytes: u32, value: *const NameValue) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    const named = namedOf(value) catch |err| return failed(pool, err);
    pool.setName(&wanted, &named) catch |err| return failedShort(pool, err, @sizeOf(layout.Name));
    return 0;
}

pub export fn ap_name_get(pool: *Pool, key: ?[*]const u8, key_bytes: u32, value: *NameValue) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    const found = (pool.getName(&wanted) catch |err| return failed(pool, err)) orelse return @intFromEnum(Code.not_found);
    const block = found.value.block.int();
    value.* = .{
        .block = block,
        .axes = NameValue.no_shape,
        .offset = layout.double(found.value.offset),
        .length_bytes = layout.double(found.value.length_bytes),
        .shape = undefined,
    };
    const bytes = pool.view.holds[block].lengthBytes();
    const fits = found.value.offset <= bytes and found.value.length_bytes <= bytes - found.value.offset;
    const shape = found.value.shape.read(&value.shape) catch null;
    if (!fits or (shape == null and found.value.shape.axes != layout.NameWord.no_shape)) {
        _ = holding.releaseInner(pool, block, false) catch {};
        return failed(pool, error.Corrupt);
    }
    if (shape) |axes| value.axes = axes;
    describe(pool, block);
    return @intFromEnum(found.attached);
}

pub export fn ap_name_has(pool: *Pool, key: ?[*]const u8, key_bytes: u32) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    return @intFromBool(pool.hasName(&wanted) catch |err| return failed(pool, err));
}

pub export fn ap_name_delete(pool: *Pool, key: ?[*]const u8, key_bytes: u32) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    return @intFromBool(pool.deleteName(&wanted) catch |err| return failed(pool, err));
}

pub export fn ap_name_list(pool: *Pool, from: u32, infos: [*]NameInfo, max: u32) i32 {
    const count = pool.listNames(NameInfo, from, infos[0..max]) catch |err| return failed(pool, err);
    return @intCast(count);
}

pub export fn ap_once_begin(pool: *Pool, key: ?[*]const u8, key_bytes: u32, timeout_ms: f64) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    const timeout = wholeNumber(timeout_ms) catch |err| return failed(pool, err);
    const once = pool.beginOnce(&wanted, timeout) catch |err| return failedShort(pool, err, @sizeOf(layout.Name));
    if (once == .others) {
        pool.record[pid_at] = @floatFromInt(pool.awaited.?.pid);
    }
    return @intFromEnum(once);
}

pub export fn ap_once_watch(pool: *Pool) i32 {
    const begun = pool.watchOnce() catch |err| return failedShort(pool, err, @sizeOf(layout.Waiter));
    return if (begun) |waiter| @intCast(@intFromEnum(waiter)) else 0;
}

pub export fn ap_once_end(pool: *Pool, key: ?[*]const u8, key_bytes: u32, value: ?*const NameValue) i32 {
    const wanted = keyOf(pool, key, key_bytes) catch |err| return failed(pool, err);
    var named: Pool.Named = undefined;
    if (value) |given| named = namedOf(given) catch |err| return failed(pool, err);
    const once = pool.endOnce(&wanted, if (value != null) &named else null) catch |err| return failed(pool, err);
    return @intFromEnum(once);
}

// ---------------------------------------------------------------- channels

pub export fn ap_channel_create(pool: *Pool, capacity: u32, message_bytes_max: u32) i32 {
    const bytes = if (queue.Shape.of(capacity, message_bytes_max)) |shape| shape.bytes() else 0;
    const block = channel.create(pool, capacity, message_bytes_max) catch |err| return failedShort(pool, err, bytes);
    pool.record[generation_at] = @floatFromInt(pool.view.holds[block].word.generation);
    return @bitCast(block);
}

pub export fn ap_channel_enter(pool: *Pool, block: u32) i32 {
    const entered = channel.enter(pool, block) catch |err| return failed(pool, err);
    pool.record[0] = @floatFromInt(entered.shape.capacity);
    pool.record[1] = @floatFromInt(entered.shape.message_bytes_max);
    return 0;
}

pub inline fn ap_channel_send(pool: *Pool, block: u32, image: [*]const u8, text_bytes: u32, arrays: u32, timeout_ms: u32) i32 {
    if (arrays > queue.arrays_max) return failed(pool, error.TooLarge);
    const from = if (arrays == 0) text_bytes else layout.alignUp(text_bytes, 8);
    const records = @as([*]align(1) const queue.Record, @ptrCast(image + from))[0..arrays];
    channel.send(pool, block, image[0..text_bytes], records, timeout_ms) catch |err| return failedShort(pool, err, text_bytes);
    return 0;
}

pub inline fn ap_channel_receive(pool: *Pool, block: u32, into: [*]u8, into_bytes: u32, how: u32, timeout_ms: u32) i32 {
    if (how > 1) return failed(pool, error.Argument);
    const received = channel.receive(pool, block, into[0..into_bytes], how == 1, timeout_ms) catch |err| return failed(pool, err);
    pool.record[0] = @floatFromInt(received.arrays);
    if (how == 1) {
        pool.record[1] = @floatFromInt(received.entry);
        pool.record[2] = layout.double(received.position);
    }
    return @intCast(received.text_bytes);
}

pub export fn ap_channel_acknowledge(pool: *Pool, block: u32, entry: u32, message: f64, give_back: u32) i32 {
    const position = wholeNumber(message) catch |err| return failed(pool, err);
    channel.acknowledge(pool, block, entry, position, give_back != 0) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_channel_start_waiting(pool: *Pool, block: u32, side: u32) i32 {
    const of = std.enums.fromInt(channel.Side, side) orelse return failed(pool, error.Argument);
    const armed = (channel.startWaiting(pool, block, of) catch |err| return failed(pool, err)) orelse return 1;
    pool.record[0] = layout.double(armed.offset);
    pool.record[1] = @floatFromInt(armed.value);
    return 0;
}

pub export fn ap_channel_stop_waiting(pool: *Pool, block: u32, side: u32) i32 {
    const of = std.enums.fromInt(channel.Side, side) orelse return failed(pool, error.Argument);
    channel.stopWaiting(pool, block, of) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_channel_close(pool: *Pool, block: u32) i32 {
    channel.close(pool, block) catch |err| return failed(pool, err);
    return 0;
}

pub export fn ap_channel_stats(pool: *Pool, block: u32) i32 {
    const now = channel.stats(pool, block) catch |err| return failed(pool, err);
    tell(pool.record[0..7], &.{
        now.depth,
        now.messages,
        now.bytes,
        now.waiting_senders,
        now.waiting_receivers,
        now.unacknowledged,
        @intFromBool(now.closed),
    });
    return 0;
}

// ---------------------------------------------------------------- care

pub export fn ap_pool_reap(pool: *Pool) i32 {
    const reaped = pool.reap() catch |err| return failed(pool, err);
    pool.record[0] = @floatFromInt(reaped.freed.blocks);
    pool.record[1] = layout.double(reaped.freed.bytes);
    return @intCast(reaped.members);
}

pub export fn ap_pool_trim(pool: *Pool) i32 {
    const bytes = pool.trim() catch |err| return failed(pool, err);
    pool.record[0] = layout.double(bytes);
    return 0;
}

pub export fn ap_check(pool: *Pool, text: ?*[256]u8) i32 {
    const broken = pool.check() catch |err| return failed(pool, err);
    const found = broken orelse return 0;
    if (text) |into| describeBroken(found, into);
    return failed(pool, error.Corrupt);
}

pub export fn ap_pool_stats(pool: *Pool) i32 {
    const now = pool.stats() catch |err| return failed(pool, err);
    tell(pool.record[0..13], &.{
        pool.view.geometry.capacity_bytes,
        now.backed_bytes,
        now.used_bytes,
        now.largest_free_bytes,
        now.claimed_bytes,
        now.arrays,
        now.claims,
        now.members,
        now.metadata_bytes,
        now.free_runs,
        now.lent_bytes,
        now.recoveries,
        now.channels,
    });
    return 0;
}

pub export fn ap_block_list(pool: *Pool, from: u32, blocks: [*]BlockInfo, max: u32) i32 {
    const count = pool.list(BlockInfo, from, blocks[0..max]) catch |err| return failed(pool, err);
    return @intCast(count);
}

pub const MemberInfo = extern struct {
    slot: u32,
    pid: u32,
    tid: u32,
    runtime: u32,
    joined_at_ms: f64,
    self: u32,
    alive: u32,
};

pub export fn ap_member_list(pool: *Pool, infos: [*]MemberInfo, max: u32) i32 {
    var count: u32 = 0;
    for (pool.view.members, 0..) |*member, slot| {
        const word = member.word.acquire();
        if (word.state != .joined or count == max) continue;
        infos[count] = .{
            .slot = @intCast(slot),
            .pid = member.pid.get(),
            .tid = member.tid.get(),
            .runtime = member.runtime.get(),
            .joined_at_ms = layout.double(member.joined_at_ms.get()),
            .self = @intFromBool(slot == pool.self.slot),
            .alive = @intFromBool(!members.isDead(&pool.view, &pool.self, @intCast(slot), word)),
        };
        count += 1;
    }
    return @intCast(count);
}

comptime {
    _ = @import("node_api.zig"); // it has an export of its own
    layout.assert(@sizeOf(MemberInfo) == 32);
    layout.assert(@sizeOf(NameValue) == 536);
    layout.assert(@sizeOf(NameInfo) == 144);
}
