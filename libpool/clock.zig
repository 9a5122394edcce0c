//! When an array is allocated, which its block says to those who look: in units of a second, so the exact clock is read
//! once a second. That this second is not over yet, the host's libc tells in a nanosecond.
//!
//! What tells it may be the wall clock, which somebody may set: what comes out of it is compared, and never believed. Only
//! if it is set back to just the second in which this member has allocated last is an array taken for older than it is.

const layout = @import("layout.zig");
const system = @import("platform.zig").system;

/// Private to a member's thread.
pub const Clock = struct {
    second_of: system.SecondOf,
    /// The one in which `born` was read.
    second: i64 = -1,
    born: u24 = 0,

    pub inline fn now(clock: *Clock) u24 {
        const second = clock.second_of(null);
        if (second != clock.second) clock.turn(second);
        return clock.born;
    }

    /// Whether `born` is of a second that has passed.
    pub inline fn isOver(clock: *const Clock) bool {
        return clock.second_of(null) != clock.second;
    }

    noinline fn turn(clock: *Clock, second: i64) void {
        clock.second = second;
        clock.born = layout.Tail.bornAt(system.monotonicMs());
    }
};

test "the time is read once in each second, whatever it is that tells the seconds" {
    const testing = @import("std").testing;
    const Fake = struct {
        var second: i64 = 1_800_000_000;
        fn of(_: ?*i64) callconv(.c) i64 {
            return second;
        }
    };
    const true_now = layout.Tail.bornAt(system.monotonicMs());
    var clock: Clock = .{ .second_of = Fake.of };
    try testing.expect(clock.now() -% true_now <= 1);
    // Set to the future, and back.
    for ([_]i64{ 1_800_000_001, 1_900_000_000, -1, 7 }) |second| {
        clock.born -%= 3600;
        try testing.expect(clock.now() +% 3000 -% true_now > 1 << 23); // within the second it is not read
        Fake.second = second;
        try testing.expect(clock.now() -% true_now <= 60);
    }
}

test "the system tells when a second is over" {
    const second_of = system.secondOf();
    const first = second_of(null);
    for (0..10_000) |_| {
        if (second_of(null) != first) return;
        system.sleep(1);
    }
    return error.TestUnexpectedResult;
}
