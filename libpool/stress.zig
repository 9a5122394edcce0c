//! zig build stress -- [--seconds N] [--seed S] [--round-ms MS] [--only N]
//!
//! (Also `npm run stress --`.) Rounds of tests/stress.zig, each of another seed, which it prints when a round fails: `--seed S --only 1` runs that one again.
//! Chance has its part in each, so it may take some.

const std = @import("std");
const stress = @import("tests/stress.zig");
const system = @import("platform.zig").system;

pub fn main(init: std.process.Init) !void {
    var seconds: u64 = 10;
    var seed: u64 = system.monotonicNs() % 1_000_000;
    var round_ms: u64 = 150;
    var most: u64 = std.math.maxInt(u64);
    var arguments = init.minimal.args.iterate();
    _ = arguments.skip();
    while (arguments.next()) |name| {
        const value = try std.fmt.parseInt(u64, arguments.next() orelse return error.NoValue, 10);
        const known = [_]struct { []const u8, *u64 }{ .{ "--seconds", &seconds }, .{ "--seed", &seed }, .{ "--round-ms", &round_ms }, .{ "--only", &most } };
        for (known) |one| {
            if (!std.mem.eql(u8, name, one[0])) continue;
            one[1].* = value;
            break;
        } else return error.NoSuchOption;
    }
    const shared = try stress.shareMemory();
    const until_ms = system.monotonicMs() + seconds * 1000;
    std.debug.print("stress: seed {d}\n", .{seed});
    var failed: u64 = 0;
    var n: u64 = 0;
    while (n < most and (system.monotonicMs() < until_ms or most != std.math.maxInt(u64))) : (n += 1) {
        const plan: stress.Plan = .random(seed +% n, round_ms);
        stress.run(shared, plan) catch |err| {
            failed += 1;
            std.debug.print("FAILED {s}: {s}\n  {any}\n", .{ @errorName(err), std.mem.sliceTo(&shared.message, 0), plan });
        };
    }
    const t = &shared.totals;
    std.debug.print("stress: seed {d}, {d} rounds, {d} operations, {d} messages, {d} arrays compared, {d} waits, {d} checks, {d} deaths; {d} rounds failed\n", .{ seed, n, t.operations, t.messages, t.arrays, t.waits, t.checks, t.deaths, failed });
    if (failed > 0) std.process.exit(1);
}
