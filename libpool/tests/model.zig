//! A long random run of three members against a model that is too simple to be wrong: a list of arrays, each with the
//! byte that fills it, who holds it how often, and its claims. After every step the whole segment is checked.

const std = @import("std");
const s = @import("support.zig");
const layout = s.layout;
const Pool = s.Pool;
const BlockIndex = s.BlockIndex;

const members_count = 3;
const Claim = struct { number: u64, attaches: u24 };

const Modelled = struct {
    index: BlockIndex,
    generation: u64,
    length: u64,
    fill: u8,
    holds: [members_count]u32,
    claims: [4]Claim = undefined,
    claims_count: u8 = 0,

    fn isHeld(array: *const Modelled) bool {
        for (array.holds) |count| if (count > 0) return true;
        return array.claims_count > 0;
    }
};

const Run = struct {
    random: std.Random,
    members: [members_count]*Pool,
    arrays: std.ArrayList(Modelled) = .empty,
    gpa: std.mem.Allocator,
    full: u32 = 0,

    fn step(run: *Run) !void {
        const who = run.random.uintLessThan(usize, members_count);
        switch (run.random.uintLessThan(u32, 100)) {
            0...39 => try run.alloc(who),
            40...69 => try run.release(who),
            70...76 => try run.attach(who),
            77...82 => try run.claim(who),
            83...88 => try run.attachClaimed(who),
            89...91 => try run.dropClaim(who),
            92...95 => try run.verifyOne(),
            96 => try s.expectEqual(0, (try run.members[who].reap()).members),
            97 => _ = try run.members[who].trim(),
            98 => try run.restart(who),
            else => try run.checkStats(who),
        }
    }

    fn size(run: *Run) u64 {
        return switch (run.random.uintLessThan(u32, 10)) {
            0 => 0,
            1...5 => run.random.uintAtMost(u64, 1024),
            6...8 => run.random.uintAtMost(u64, 40 << 10),
            else => run.random.uintAtMost(u64, 600 << 10),
        };
    }

    fn alloc(run: *Run, who: usize) !void {
        const length = run.size();
        const zeroed = run.random.boolean();
        const index = s.alloc(run.members[who], length, zeroed) catch |err| {
            if (err != error.Full) return err;
            run.full += 1;
            // Full means it: not one free run is large enough.
            const granules = layout.alignUp(@max(1, length), layout.granule_bytes);
            try s.expect((try run.members[who].stats()).largest_free_bytes < granules);
            return;
        };
        const bytes = try s.bytesOf(run.members[who], index);
        try s.expectEqual(length, bytes.len);
        try s.expect(@intFromPtr(bytes.ptr) % layout.granule_bytes == 0);
        if (zeroed) try s.expect(std.mem.allEqual(u8, bytes, 0));
        const fill = run.random.int(u8) | 1;
        @memset(bytes, fill);
        var array: Modelled = .{ .index = index, .generation = s.generationOf(run.members[who], index), .length = length, .fill = fill, .holds = @splat(0) };
        array.holds[who] = 1;
        try run.arrays.append(run.gpa, array);
    }

    fn any(run: *Run) ?*Modelled {
        if (run.arrays.items.len == 0) return null;
        return &run.arrays.items[run.random.uintLessThan(usize, run.arrays.items.len)];
    }

    fn verify(run: *Run, array: *const Modelled) !void {
        const bytes = try s.bytesOf(run.members[0], array.index);
        try s.expectEqual(array.length, bytes.len);
        try s.expect(std.mem.allEqual(u8, bytes, array.fill));
        try s.expectEqual(array.generation, s.generationOf(run.members[0], array.index));
    }

    fn verifyOne(run: *Run) !void {
        if (run.any()) |array| try run.verify(array);
    }

    fn forgetIfFree(run: *Run, array: *Modelled) !void {
        if (array.isHeld()) return;
        // Its descriptor is stale at once, and for ever.
        try s.expectError(error.Stale, run.members[0].attach(array.index.int(), array.generation, 0));
        const at = (@intFromPtr(array) - @intFromPtr(run.arrays.items.ptr)) / @sizeOf(Modelled);
        _ = run.arrays.swapRemove(at);
    }

    fn release(run: *Run, who: usize) !void {
        const array = run.any() orelse return;
        if (array.holds[who] == 0) return s.expectError(error.NotHeld, run.members[who].release(array.index.int(), true));
        try run.verify(array);
        array.holds[who] -= 1;
        const expected: Pool.Released = if (array.holds[who] > 0) .held else .gone;
        try s.expectEqual(expected, try run.members[who].release(array.index.int(), true));
        try run.forgetIfFree(array);
    }

    fn attach(run: *Run, who: usize) !void {
        const array = run.any() orelse return;
        // Who was told of it without a claim attaches it; who was not told at all does not.
        const is_told = for (run.members, array.holds) |member, count| {
            if (count == 0) continue;
            if (run.random.boolean()) try member.share(array.index.int());
            break run.members[who].view.blocks[array.index.int()].word.get().shared;
        } else true;
        if (!is_told) return s.expectError(error.Stale, run.members[who].attach(array.index.int(), array.generation, 0));
        const expected: Pool.Attached = if (array.holds[who] > 0) .again else .newly;
        try s.expectEqual(expected, try run.members[who].attach(array.index.int(), array.generation, 0));
        array.holds[who] += 1;
        try run.verify(array);
    }

    fn claim(run: *Run, who: usize) !void {
        const array = run.any() orelse return;
        if (array.holds[who] == 0 or array.claims_count == array.claims.len) return;
        const attaches = run.random.intRangeAtMost(u24, 1, 3);
        const number = try run.members[who].createClaim(array.index.int(), attaches, 0);
        array.claims[array.claims_count] = .{ .number = number, .attaches = attaches };
        array.claims_count += 1;
    }

    fn takeOff(array: *Modelled, at: usize, attaches: u32) void {
        if (attaches < array.claims[at].attaches) {
            array.claims[at].attaches -= @intCast(attaches);
        } else {
            array.claims_count -= 1;
            array.claims[at] = array.claims[array.claims_count];
        }
    }

    fn attachClaimed(run: *Run, who: usize) !void {
        const array = run.any() orelse return;
        if (array.claims_count == 0) return;
        const at = run.random.uintLessThan(usize, array.claims_count);
        const attached = try run.members[who].attach(array.index.int(), array.generation, array.claims[at].number);
        if (attached == .newly) takeOff(array, at, 1);
        array.holds[who] += 1;
    }

    fn dropClaim(run: *Run, who: usize) !void {
        const array = run.any() orelse return;
        if (array.claims_count == 0) return;
        const at = run.random.uintLessThan(usize, array.claims_count);
        const attaches = run.random.intRangeAtMost(u32, 1, 4);
        try run.members[who].dropClaim(array.index.int(), array.generation, array.claims[at].number, attaches);
        takeOff(array, at, attaches);
        try run.forgetIfFree(array);
    }

    /// A member leaves with all it holds, and another one comes.
    fn restart(run: *Run, who: usize) !void {
        const other = run.members[(who + 1) % members_count];
        _ = run.members[who].close(false);
        run.members[who] = try s.join(other);
        var at = run.arrays.items.len;
        while (at > 0) {
            at -= 1;
            const array = &run.arrays.items[at];
            array.holds[who] = 0;
            try run.forgetIfFree(array);
        }
    }

    fn checkStats(run: *Run, who: usize) !void {
        const stats = try run.members[who].stats();
        try s.expectEqual(run.arrays.items.len, stats.arrays);
        try s.expectEqual(members_count, stats.members);
        var used: u64 = 0;
        var claims: u32 = 0;
        for (run.arrays.items) |array| {
            const block = try run.members[who].view.block(array.index);
            used += (try run.members[who].view.extent(block)).bytes();
            claims += array.claims_count;
        }
        try s.expectEqual(used, stats.used_bytes);
        try s.expectEqual(claims, stats.claims);
    }
};

fn runModel(seed: u64, capacity_bytes: u64, steps: u32) !void {
    errdefer std.debug.print("seed {d}, capacity {d}\n", .{ seed, capacity_bytes });
    var prng = std.Random.DefaultPrng.init(seed);
    const first = try s.create(capacity_bytes);
    var run: Run = .{ .random = prng.random(), .members = .{ first, try s.join(first), try s.join(first) }, .gpa = std.testing.allocator };
    defer run.arrays.deinit(run.gpa);
    defer for (run.members) |member| {
        _ = member.close(false);
    };
    for (0..steps) |_| {
        try run.step();
        try s.expectSound(run.members[0]);
        for (run.members[1..]) |member| try s.expectCacheSound(member);
    }
    for (run.arrays.items) |*array| try run.verify(array);
    // Everyone lets go of everything: the heap is one free run again.
    while (run.arrays.items.len > 0) {
        const array = &run.arrays.items[0];
        while (array.claims_count > 0) {
            try run.members[0].dropClaim(array.index.int(), array.generation, array.claims[0].number, 4);
            Run.takeOff(array, 0, 4);
        }
        for (run.members, &array.holds) |member, *count| while (count.* > 0) : (count.* -= 1) {
            _ = try member.release(array.index.int(), true);
        };
        try run.forgetIfFree(array);
    }
    const stats = try run.members[0].stats();
    try s.expectEqual(run.members[0].view.geometry.capacity_bytes, stats.largest_free_bytes);
    try s.expectEqual(0, stats.used_bytes);
    try s.expect(s.brief or run.full > 0 or capacity_bytes > 8 << 20);
}

test "a random run on a small heap agrees with the model, and is sound after every step" {
    for (0..4) |seed| try runModel(seed, 1 << 20, if (s.brief) 400 else 5_000);
}

test "a random run on a heap that is rarely full agrees with the model, and is sound after every step" {
    for (10..12) |seed| try runModel(seed, 64 << 20, if (s.brief) 200 else 5_000);
}

test "fragmentation after a million operations on random sizes" {
    if (s.brief) return error.SkipZigTest;
    const pool = try s.create(256 << 20);
    defer _ = pool.close(false);
    var prng = std.Random.DefaultPrng.init(7);
    const random = prng.random();
    const live: []?BlockIndex = try std.testing.allocator.alloc(?BlockIndex, 10_000);
    defer std.testing.allocator.free(live);
    @memset(live, null);
    for (0..1_000_000) |_| {
        const at = random.uintLessThan(usize, live.len);
        if (live[at]) |index| {
            _ = try pool.release(index.int(), true);
            live[at] = null;
        } else live[at] = try s.alloc(pool, random.intRangeAtMost(u64, 64, 32 << 10), false);
    }
    try s.expectSound(pool);
    const stats = try pool.stats();
    const overhead = @as(f64, @floatFromInt(stats.backed_bytes)) / @as(f64, @floatFromInt(stats.used_bytes));
    std.debug.print("fragmentation: after 10^6 operations on sizes of 64 B to 32 KiB, {d} arrays of {d} MiB take {d} MiB ({d:.2} times)\n", .{
        stats.arrays, stats.used_bytes >> 20, stats.backed_bytes >> 20, overhead,
    });
    try s.expect(overhead < 2);
}

test "arrays start at multiples of 64 bytes, and sizes that are powers of two pack without holes" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    var before: ?[]u8 = null;
    for (0..64) |_| {
        const bytes = try s.bytesOf(pool, try s.alloc(pool, 64 << 10, false));
        try s.expect(@intFromPtr(bytes.ptr) % 64 == 0);
        if (before) |b| try s.expectEqual(@intFromPtr(b.ptr) + b.len, @intFromPtr(bytes.ptr));
        before = bytes;
    }
}
