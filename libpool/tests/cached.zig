//! What members keep for themselves (cache.zig): it is anybody's who runs short, a dead one's too, and never two members' at
//! once.

const std = @import("std");
const s = @import("support.zig");
const allocating = @import("../allocating.zig");
const layout = s.layout;
const Pool = s.Pool;
const BlockIndex = s.BlockIndex;

const capacity = 64 << 20; // of which a member caches 256 KiB

fn release(pool: *Pool, index: BlockIndex) !void {
    try s.expectEqual(.gone, try pool.release(index.int(), true));
}

fn stateOf(pool: *Pool, index: BlockIndex) layout.BlockState {
    return pool.view.blocks[index.int()].word.get().state;
}

test "what was never shared is let go of into the cache, comes out again as another generation, and counts as free" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const index = try s.alloc(pool, 5000, true);
    const generation = s.generationOf(pool, index);
    @memset(try s.bytesOf(pool, index), 1);
    try release(pool, index);
    try s.expectEqual(.cached, stateOf(pool, index));
    try s.expectEqual(0, (try pool.stats()).arrays);
    try s.expectEqual(capacity, (try pool.stats()).largest_free_bytes);
    try s.expectSound(pool);
    // Of another length, in as many granules.
    try s.expectEqual(index, try s.alloc(pool, 5050, true));
    try s.expect(s.generationOf(pool, index) > generation);
    try s.expectEqual(5050, (try s.bytesOf(pool, index)).len);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, index), 0));
    try s.expectSound(pool);
}

test "what was not shared cannot be attached, and what was shared is let go of under the lock" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    for ([_]bool{ false, true }) |by_claim| {
        const index = try s.alloc(pool, 5000, true);
        const generation = s.generationOf(pool, index);
        for ([_]*Pool{ pool, other }) |member| try s.expectError(error.Stale, member.attach(index.int(), generation, 0));
        var claim: u64 = 0;
        if (by_claim) claim = try pool.createClaim(index.int(), 1, 0) else try pool.share(index.int());
        try s.expectEqual(.newly, try other.attach(index.int(), generation, claim));
        try release(pool, index);
        try s.expectEqual(.used, stateOf(pool, index));
        try release(other, index);
        try s.expectEqual(.free, stateOf(pool, index));
        try s.expectError(error.Stale, other.attach(index.int(), generation, 0));
        // Its next array is not shared.
        try s.expectEqual(index, try s.alloc(pool, 5000, true));
        try s.expectError(error.Stale, other.attach(index.int(), s.generationOf(pool, index), 0));
        try s.expectSound(pool);
        try release(pool, index);
    }
}

test "what was shared goes into the cache of its maker, if he is the last to let go of it" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const index = try s.alloc(pool, 5000, true);
    for ([_]enum { alone, after_another, before_another, claimed }{ .alone, .after_another, .before_another, .claimed }) |how| {
        const generation = s.generationOf(pool, index);
        try pool.share(index.int());
        try pool.share(index.int()); // which changes nothing
        if (how == .after_another or how == .before_another) try s.expectEqual(.newly, try other.attach(index.int(), generation, 0));
        if (how == .after_another) try release(other, index);
        if (how == .claimed) _ = try pool.createClaim(index.int(), 1, 1);
        try release(pool, index);
        const is_last = how == .alone or how == .after_another;
        try s.expectEqual(if (is_last) layout.BlockState.cached else .used, stateOf(pool, index));
        try s.expectSound(pool);
        if (how == .before_another) try release(other, index);
        if (how == .claimed) while (stateOf(pool, index) == .used) {
            s.system.sleep(2);
            _ = try pool.reap();
        };
        // Nobody gets at it, and its next array is not shared.
        try s.expectError(error.Stale, other.attach(index.int(), generation, 0));
        try s.expectEqual(index, try s.alloc(pool, 5000, true));
        try s.expectError(error.Stale, other.attach(index.int(), s.generationOf(pool, index), 0));
        try s.expectSound(pool);
    }
}

test "an array may come out of the cache in a block that is larger, but not by more than a quarter" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const index = try s.alloc(pool, 8000, false); // 125 granules
    @memset(try s.bytesOf(pool, index), 1);
    try release(pool, index);
    try s.expectEqual(index, try s.alloc(pool, 6400, true));
    try s.expectEqual(6400, (try s.bytesOf(pool, index)).len);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, index), 0));
    try s.expectSound(pool);
    // As what it is, not as what was asked for.
    try release(pool, index);
    try s.expectEqual(index, try s.alloc(pool, 8000, false));
    try release(pool, index);
    try s.expect(try s.alloc(pool, 6336, false) != index);
    try s.expectEqual(.cached, stateOf(pool, index));
    try s.expectSound(pool);
}

test "what was held more than once, or shared, counts its holds from the first on" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    for ([_]bool{ false, true }) |again| {
        const index = try s.alloc(pool, 1000, false); // the second time out of the cache
        try pool.retain(index.int());
        try s.expectSound(pool);
        try s.expectEqual(.held, try pool.release(index.int(), true));
        if (again) try pool.share(index.int());
        try release(pool, index);
        try s.expectEqual(.cached, stateOf(pool, index));
        try s.expectError(error.NotHeld, pool.release(index.int(), true));
        try s.expectError(error.NotHeld, pool.retain(index.int()));
        try s.expectSound(pool);
    }
}

test "an array says when it was allocated, however long its member has done nothing before" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const ways = [_]*const fn (*Pool) anyerror!BlockIndex{
        struct { // out of the cache, as natives do
            fn f(member: *Pool) !BlockIndex {
                const index = (member.allocPlain(5000, 1) orelse return error.NotCached).index;
                member.stamp(index);
                return index;
            }
        }.f,
        struct { // out of the cache
            fn f(member: *Pool) !BlockIndex {
                return s.alloc(member, 5000, false);
            }
        }.f,
        struct { // out of the free lists
            fn f(member: *Pool) !BlockIndex {
                return allocating.allocInner(member, 5000, false);
            }
        }.f,
    };
    for (ways) |allocates| {
        try release(pool, try s.alloc(pool, 5000, false));
        // As if it had read the clock an hour ago, and then slept.
        pool.clock.second -= 3600;
        pool.clock.born -%= 3600;
        const index = try allocates(pool);
        try s.expect(pool.view.blocks[index.int()].tail.get().ageMs(s.system.monotonicMs()) < 60_000);
        try release(pool, index);
    }
}

test "a larger block of the own cache is cut up before the pool grows, and what is left of it is an array's, too" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const larger = [_]BlockIndex{ try s.alloc(pool, 64 << 10, false), try s.alloc(pool, 64 << 10, false) };
    for (larger) |index| try release(pool, index);
    const backed_bytes = (try pool.stats()).backed_bytes;
    for ([_]u64{ 48 << 10, 15 << 10 }) |bytes| _ = try s.alloc(pool, bytes, false);
    try s.expectEqual(backed_bytes, (try pool.stats()).backed_bytes);
    try s.expectEqual(.cached, stateOf(pool, larger[1])); // it came last
    try s.expectSound(pool);
}

test "of many blocks of a size the one that came first is cut up, and the others are given out as they are" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    var larger: [5]BlockIndex = undefined;
    for (&larger) |*index| index.* = try s.alloc(pool, 16 << 10, false);
    for (larger) |index| try release(pool, index);
    // As long as there is memory that is backed and free.
    while (stateOf(pool, larger[0]) == .cached) _ = try s.alloc(pool, 12 << 10, false);
    for (larger[1..]) |index| try s.expectEqual(.cached, stateOf(pool, index));
    for (1..larger.len) |i| try s.expectEqual(larger[larger.len - i], try s.alloc(pool, 16 << 10, false));
    try s.expectSound(pool);
}

test "a large array leaves in the cache what is far smaller, and gets what is not" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    var small: [60]BlockIndex = undefined;
    var large: [2]BlockIndex = undefined;
    for (&large) |*index| index.* = try s.alloc(pool, 64 << 10, false);
    for (&small) |*index| index.* = try s.alloc(pool, 400, false);
    for (small ++ large) |index| try release(pool, index);
    const backed_bytes = (try pool.stats()).backed_bytes;
    _ = try s.alloc(pool, 128 << 10, false);
    for (small) |index| try s.expectEqual(.cached, stateOf(pool, index));
    try s.expectEqual(backed_bytes, (try pool.stats()).backed_bytes);
    try s.expectSound(pool);
}

test "a cache keeps no more than its share, of one size and altogether" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    for ([_]u64{ 64, 1000, 32 << 10, 128 << 10, 200 << 10 }) |bytes| {
        var many: [300]BlockIndex = undefined;
        for (&many) |*index| index.* = try s.alloc(pool, bytes, false);
        for (many) |index| try release(pool, index);
        var cached: u32 = 0;
        for (many) |index| cached += @intFromBool(stateOf(pool, index) == .cached);
        const granules = layout.alignUp(bytes, 64) / 64;
        try s.expect(cached <= 64 and cached * granules <= capacity / 64 / 256);
        try s.expect((cached > 0) == (bytes <= 128 << 10));
        try s.expectSound(pool);
        _ = try pool.trim();
    }
}

test "one who runs short takes what an idle member has cached, and the idle one finds out" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const idle = try s.join(pool);
    defer _ = idle.close(false);
    var cached: [8]BlockIndex = undefined;
    for (&cached) |*index| index.* = try s.alloc(idle, 10_000, false);
    for (cached) |index| try release(idle, index);
    // All of the heap, with nothing but that free.
    const all = try s.alloc(pool, capacity, false);
    for (cached) |index| try s.expect(stateOf(pool, index) != .cached);
    try s.expectError(error.Full, idle.alloc(10_000, 1, false));
    try s.expectSound(idle);
    try release(pool, all);
    // The same blocks come to their old owner by another way, and go into its cache again: each is in it once.
    for (&cached) |*index| index.* = try s.alloc(idle, 10_000, false);
    for (cached) |index| try release(idle, index);
    var again: [8]BlockIndex = undefined;
    for (&again, 0..) |*index, i| {
        index.* = try s.alloc(idle, 10_000, false);
        for (again[0..i]) |before| try s.expect(before != index.*);
    }
    try s.expectSound(idle);
}

test "what its owner takes out of the cache in the same moment in which another one takes it away, one of them gets" {
    const Shared = struct { address: s.Address, is_over: u32 = 0 };
    const pool = try s.create(4 << 20);
    defer _ = pool.close(false);
    const shared = try s.sharedPage(Shared);
    shared.* = .{ .address = .of(pool) };
    const owner = try s.Child.start(struct {
        fn body(with: *Shared) anyerror!void {
            const member = try with.address.join();
            defer s.signal(&with.is_over);
            for (0..200_000) |_| try fillOne(member, 1);
            _ = member.close(false);
        }
    }.body, shared);
    // What is free is taken by both, each fills it with its own.
    while (@atomicLoad(u32, &shared.is_over, .acquire) == 0) {
        try allocating.coalesce(pool);
        try fillOne(pool, 2);
    }
    try s.expectEqual(0, try owner.wait());
    try s.expectSound(pool);
}

fn fillOne(pool: *Pool, byte: u8) !void {
    const index = try s.alloc(pool, 64, false);
    const bytes = try s.bytesOf(pool, index);
    for (0..8) |i| {
        const word: *volatile u64 = @ptrCast(@alignCast(&bytes[i * 8]));
        word.* = byte;
    }
    for (0..8) |i| {
        const word: *volatile u64 = @ptrCast(@alignCast(&bytes[i * 8]));
        try s.expectEqual(byte, word.*);
    }
    try release(pool, index);
}

test "trim() gives back what members have cached" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const idle = try s.join(pool);
    defer _ = idle.close(false);
    try release(idle, try s.alloc(idle, 128 << 10, false));
    try s.expect((try pool.stats()).backed_bytes > 0);
    _ = try pool.trim();
    try s.expectEqual(0, (try pool.stats()).backed_bytes);
}

test "what a killed member has cached is free after reap(), and is no array that was lost" {
    const pool = try s.create(capacity);
    defer _ = pool.close(false);
    const child = try s.Child.start(struct {
        fn body(at: *Pool) !void {
            const member = try s.join(at);
            for (0..10) |_| try release(member, try s.alloc(member, 1000, false));
            var both: [2]BlockIndex = undefined;
            for (&both) |*index| index.* = try s.alloc(member, 3000, false);
            try release(member, both[0]);
            s.die();
        }
    }.body, pool);
    try s.expectEqual(128 + 9, try child.wait());
    const reaped = try pool.reap();
    try s.expectEqual(1, reaped.freed.blocks);
    for (pool.view.blocks[0..pool.view.blocksUsed()]) |*block| try s.expect(block.word.get().state != .cached);
    try s.expectSound(pool);
}

test "a member whose pool is damaged, or that was taken for dead, gets nothing out of its cache" {
    for ([_]bool{ false, true }) |taken_for_dead| {
        const pool = try s.create(capacity);
        defer s.end(pool);
        try release(pool, try s.alloc(pool, 1000, false));
        const held = try s.alloc(pool, 2000, false);
        const word = pool.view.members[pool.self.slot].word.get();
        if (taken_for_dead) pool.view.members[pool.self.slot].word.set(.{ .incarnation = word.incarnation }) else pool.view.header.corrupt.set(1);
        try s.expectError(error.Corrupt, pool.alloc(1000, 1, false));
        try s.expectError(error.Corrupt, pool.release(held.int(), true));
        pool.view.members[pool.self.slot].word.set(word);
        pool.view.header.corrupt.set(0);
    }
}

test "a cached block whose word somebody has changed is not given out" {
    const pool = try s.create(capacity);
    defer s.end(pool);
    const index = try s.alloc(pool, 1000, false);
    try release(pool, index);
    var word = pool.view.blocks[index.int()].word.get();
    word.generation += 1;
    pool.view.blocks[index.int()].word.set(word);
    try s.expect(try s.alloc(pool, 1000, false) != index);
}
