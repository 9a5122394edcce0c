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

/// From now on the system kills this process when it says where it is to run, as a service's list of calls may want it. False where
/// there is no such thing, as in an emulator.
fn forbidToMove() !bool {
    const Instruction = extern struct { code: u16, if_so: u8 = 0, if_not: u8 = 0, value: u32 };
    const load, const jump_if_equal, const give_back = .{ 0x20, 0x15, 0x06 };
    const program = [_]Instruction{
        .{ .code = load, .value = 0 }, // which call it is
        .{ .code = jump_if_equal, .if_not = 1, .value = @intFromEnum(linux.SYS.sched_setaffinity) },
        .{ .code = give_back, .value = 0x8000_0000 }, // SECCOMP_RET_KILL_PROCESS
        .{ .code = give_back, .value = 0x7fff_0000 }, // SECCOMP_RET_ALLOW
    };
    const filter: extern struct { count: u16, program: *const [program.len]Instruction } = .{ .count = program.len, .program = &program };
    try s.expectEqual(0, linux.syscall5(.prctl, @intFromEnum(linux.PR.SET_NO_NEW_PRIVS), 1, 0, 0, 0));
    const result = linux.syscall5(.prctl, @intFromEnum(linux.PR.SET_SECCOMP), 2, @intFromPtr(&filter), 0, 0);
    if (linux.errno(result) == .INVAL) return false;
    try s.expectEqual(0, result);
    return true;
}

test "who may be killed for saying where it runs never does" {
    if (s.system.processors() < 2) return error.SkipZigTest;
    const other = try s.Child.start(struct {
        fn body(_: void) !void {
            try allow(firstOf(allowed(), 1));
            while (true) s.system.yield();
        }
    }.body, {});
    defer other.kill();
    const child = try s.Child.start(struct {
        fn body(_: void) !void {
            // Not pinned, but where the other one is: there is somewhere to go.
            const before = allowed();
            try allow(firstOf(before, 1));
            try allow(before);
            if (!try forbidToMove()) return;
            try s.expect(s.system.isFiltered());
            var processor: Processor = .of(2);
            const until_ms = s.system.monotonicMs() + 1000;
            while (processor.are_few and s.system.monotonicMs() < until_ms) processor.yield();
        }
    }.body, {});
    try s.Child.expectDone(try child.wait());
}
