//! What both libraries have of the C interface (arraypool.h): exports.zig is the one that programs use, look_exports.zig the one
//! of the command line.

const std = @import("std");
const layout = @import("layout.zig");
const segment = @import("segment.zig");
const channel = @import("channel.zig");
const Broken = @import("broken.zig").Broken;
const Cause = @import("pool.zig").Cause;

pub const abi_version: u32 = 5;

pub const Code = enum(i32) {
    stale = -1,
    full = -2,
    busy = -3,
    members = -4,
    corrupt = -5,
    not_found = -6,
    exists = -7,
    permission = -8,
    version = -9,
    argument = -10,
    too_large = -11,
    not_held = -12,
    system = -13,
    address_space = -14,
    nonce = -15,
    wait = -16,
    closed = -17,
    more = -18,
};

pub fn codeOf(err: (channel.Error || segment.Error)) Code {
    return switch (err) {
        error.Stale => .stale,
        error.Full => .full,
        error.Busy => .busy,
        error.Members => .members,
        error.Corrupt => .corrupt,
        error.NotFound => .not_found,
        error.Exists => .exists,
        error.Permission => .permission,
        error.Version => .version,
        error.Argument => .argument,
        error.TooLarge => .too_large,
        error.NotHeld => .not_held,
        error.System => .system,
        error.AddressSpace => .address_space,
        error.Nonce => .nonce,
        error.Wait => .wait,
        error.Closed => .closed,
        error.More => .more,
    };
}

pub noinline fn reportFailure(err: segment.Error, why: *const segment.Report, report: ?*[8]f64) void {
    const cause: Cause = if (err != error.Full) .none else if (why.files_are_full) .files else .device;
    const into = report orelse return;
    into[0] = @floatFromInt(@intFromEnum(codeOf(err)));
    into[1] = @floatFromInt(why.failure.errno);
    tell(into[2..5], &.{ why.detail, why.pid, @intFromEnum(cause) });
}

/// A longer name is wrong whatever follows.
pub fn spanOf(z: [*:0]const u8) []const u8 {
    for (0..64) |length| if (z[length] == 0) return z[0..length];
    return z[0..64];
}

/// Not negative, not NaN, and exact.
pub inline fn wholeNumber(value: f64) error{Argument}!u64 {
    const whole = wholeOrMore(value);
    return if (whole == std.math.maxInt(u64)) error.Argument else whole;
}
noinline fn wholeOrMore(value: f64) u64 {
    return wholeNumberHot(value) catch std.math.maxInt(u64);
}
/// In place, where it is worth its size.
pub inline fn wholeNumberHot(value: f64) error{Argument}!u64 {
    if (!(value >= 0 and value <= 1 << 53)) return error.Argument;
    return @intCast(@as(i64, @intFromFloat(value))); // to a u64 it is more code
}

/// The caller has doubles. With many numbers at once, to turn each into one in place is much code.
pub noinline fn tell(into: []f64, numbers: []const u64) void {
    for (into[0..numbers.len], numbers) |*place, number| place.* = layout.double(number);
}

pub noinline fn describeBroken(found: Broken, into: *[256]u8) void {
    into.* = @splat(0);
    _ = found.say(into);
}

pub const BlockInfo = extern struct {
    block: u32,
    dtype: u32,
    generation: f64,
    length_bytes: f64,
    offset: f64,
    age_ms: f64,
    claims: u32,
    kind: u32,
    holders: [layout.holder_words]u64,
};

comptime {
    layout.assert(@sizeOf(BlockInfo) == 80);
}

/// Without libc there is no one to print to: stop at once. Only our own bugs, in safe builds, come here.
pub const panic = if (@import("builtin").is_test) std.debug.FullPanic(std.debug.defaultPanic) else std.debug.no_panic;
