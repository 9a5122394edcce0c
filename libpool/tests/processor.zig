//! On which processor a thread waits: moved from where it is not alone, and allowed to run where it was before.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const Processor = @import("../processor.zig").Processor;

const Set = s.system.Processors;

fn allowed() Set {
    var set: Set = undefined;
    _ = s.system.allowed(&set);
    return set;
}
fn allow(set: Set) !void {
    try s.expect(s.system.allow(&set));
}
fn here() u32 {
    var cpu: u32 = undefined;
    _ = linux.syscall3(.getcpu, @intFromPtr(&cpu), 0, 0);
    return cpu;
}
/// The first `count` of those in the set.
fn firstOf(set: Set, count: u32) Set {
    var first: Set = @splat(0);
    var left = count;
    for (set, &first) |word, *into| for (0..@bitSizeOf(usize)) |bit| {
        const one = @as(usize, 1) << @intCast(bit);
        if (word & one == 0 or left == 0) continue;
        into.* |= one;
        left -= 1;
    };
    return first;
}

test "a thread goes to another processor, and may run on the same ones as before" {
    if (s.system.processors() < 2) return error.SkipZigTest;
    const before = allowed();
    // Whoever spreads the threads may bring it back before we look.
    for (0..100) |_| {
        const cpu = here();
        try s.expect(s.system.move());
        try s.expectEqual(before, allowed());
        if (here() != cpu) return;
    }
    return error.NotMoved;
}

test "a thread that may run on one processor stays there" {
    const before = allowed();
    defer allow(before) catch {};
    try allow(firstOf(before, 1));
    try s.expectEqual(1, s.system.processors());
    try s.expect(!s.system.move());
    try s.expectEqual(firstOf(before, 1), allowed());
}

test "a thread that may run on some processors only stays on those" {
    if (s.system.processors() < 3) return error.SkipZigTest;
    const before = allowed();
    defer allow(before) catch {};
    try allow(firstOf(before, 2));
    try s.expect(s.system.move());
    try s.expectEqual(firstOf(before, 2), allowed());
}

test "a processor that another thread wants is shared" {
    const before = allowed();
    defer allow(before) catch {};
    try allow(firstOf(before, 1));
    const child = try s.Child.start(struct {
        fn body(_: void) !void {
            while (true) std.atomic.spinLoopHint();
        }
    }.body, {});
    defer child.kill();
    var looks: u32 = 0;
    while (!s.system.isShared()) : (looks += 1) try s.expect(looks < 100_000);
    try s.expect(s.system.runnable() >= 2 and s.system.runnable() < 100_000);
}

test "who waits looks seldom where it was in vain, and soon again after a sleep" {
    // Pinned: there is nowhere to go.
    const before = allowed();
    defer allow(before) catch {};
    try allow(firstOf(before, 1));
    var processor: Processor = .of(2);
    var looks: u32 = 0;
    for (0..1000) |_| {
        processor.yield();
        looks += @intFromBool(processor.yields == 0);
    }
    try s.expectEqual(5 + (1000 - 4 - 8 - 16 - 32 - 64) / 128, looks);
    processor.woken();
    processor.yield();
    try s.expectEqual(0, processor.yields);
    // On one processor, and where there are many, it never does.
    for ([_]u32{ 1, 64 }) |count| {
        processor = .of(count);
        for (0..100) |_| processor.yield();
        try s.expectEqual(0, processor.yields);
    }
}
