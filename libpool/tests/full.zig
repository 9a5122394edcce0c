//! A full pool: what fails, what it says, and that everything goes on afterwards.

const std = @import("std");
const s = @import("support.zig");
const allocating = @import("../allocating.zig");
const backing = @import("../backing.zig");
const Pool = s.Pool;

test "an array as large as the capacity fits, and not one byte more" {
    const pool = try s.create(3 << 20);
    defer _ = pool.close(false);
    const capacity = pool.view.geometry.capacity_bytes;
    try s.expectError(error.TooLarge, s.alloc(pool, capacity + 1, false));
    const all = try s.alloc(pool, capacity, true);
    try s.expectError(error.Full, s.alloc(pool, 1, false));
    const short = pool.shortage(1);
    try s.expectEqual(.heap, short.cause);
    try s.expectEqual(0, short.largest_free_bytes);
    try s.expectEqual(capacity, short.held_by_self_bytes);
    _ = try pool.release(all.int(), true);
    _ = try pool.release((try s.alloc(pool, capacity, true)).int(), true);
    try s.expectSound(pool);
}

test "who has backed more than it needs, and finds no entry for the rest any more, gets nothing rather than too much" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const granules = 1024;
    const request: allocating.Request = .{ .length_bytes = 100, .granules = 2, .dtype = 1, .zeroed = false };
    const first = (try backing.reserve(pool, granules)).?;
    const second = (try backing.reserve(pool, granules)).?;
    for ([_]backing.Reserved{ first, second }) |reserved| try s.expect(try backing.backReserved(pool, reserved, false));
    for (0..2) |i| {
        while (s.alloc(pool, 10, false)) |_| {} else |err| try s.expectEqual(error.Full, err);
        // To back more takes two entries: the last one is used up with what is backed already.
        if (i == 0) try s.expectEqual(100, (try s.bytesOf(pool, (try backing.publishGrown(pool, first, request)).?.index)).len);
    }
    try s.expectEqual(null, try backing.publishGrown(pool, second, request));
    try s.expectSound(pool);
    const bytes = granules * s.layout.granule_bytes;
    try s.expectEqual(bytes, (try s.bytesOf(pool, try s.alloc(pool, bytes, false))).len);
    try s.expectSound(pool);
}

test "free memory that is in pieces is joined before an allocation fails" {
    const pool = try s.create(4 << 20);
    defer _ = pool.close(false);
    var indexes: [4096]s.BlockIndex = undefined;
    var count: usize = 0;
    while (count < indexes.len) : (count += 1) indexes[count] = s.alloc(pool, 1024, false) catch break;
    for (indexes[0..count]) |index| _ = try pool.release(index.int(), true);
    const half = try s.alloc(pool, 3 << 20, true);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, half), 0));
    try s.expectSound(pool);
}

test "a pool grows by what is lacking behind the memory that it has left" {
    const pool = try s.create(64 << 20);
    defer _ = pool.close(false);
    _ = try s.alloc(pool, 100, false);
    const before = (try pool.stats()).backed_bytes;
    const array = try s.alloc(pool, before + 1000, true);
    try s.expectEqual(2 * before, (try pool.stats()).backed_bytes); // a step more
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, array), 0));
    try s.expectSound(pool);
}

test "what the pool takes is looked at when nobody allocates any more" {
    const Shared = struct { address: s.Address, joined: u32 = 0, go: u32 = 0, backed_bytes: u64 = 0 };
    const shared = try s.sharedPage(Shared);
    const pool = try s.create(8 << 20);
    defer _ = pool.close(false);
    shared.* = .{ .address = .of(pool) };
    const child = try s.Child.start(struct {
        fn body(with: *Shared) anyerror!void {
            const member = try with.address.join();
            s.signal(&with.joined);
            s.waitUntil(&with.go, 1);
            with.backed_bytes = (try member.stats()).backed_bytes;
            _ = member.close(false);
        }
    }.body, shared);
    s.waitUntil(&shared.joined, 1);
    try pool.acquire();
    s.signal(&shared.go);
    s.system.sleep(100); // it waits for the lock
    const heap: i64 = @intCast(pool.view.geometry.heap_start);
    try s.expectEqual(.SUCCESS, std.os.linux.errno(std.os.linux.fallocate(pool.self.fd, 0, heap, 4 << 20)));
    pool.unlock();
    try s.expectEqual(0, try child.wait());
    try s.expect(shared.backed_bytes >= 4 << 20);
}

test "an allocation that runs short reaps dead members and expired claims first" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    const child = try s.Child.start(struct {
        fn body(at: *s.Pool) !void {
            _ = try s.alloc((try s.join(at)), 500 << 10, true);
            s.die();
        }
    }.body, pool);
    _ = try child.wait();
    const claimed = try s.alloc(pool, 500 << 10, true);
    _ = try pool.createClaim(claimed.int(), 1, 1);
    _ = try pool.release(claimed.int(), true);
    s.system.sleep(5);
    _ = try s.alloc(pool, 900 << 10, true);
    try s.expectSound(pool);
}

test "trim() gives free memory back, and what is allocated afterwards is zero" {
    const pool = try s.create(64 << 20);
    defer _ = pool.close(false);
    const kept = try s.alloc(pool, 100, false);
    const large = try s.alloc(pool, 32 << 20, false);
    @memset(try s.bytesOf(pool, large), 0xff);
    _ = try pool.release(large.int(), true);
    try s.expect((try pool.stats()).backed_bytes >= 32 << 20);
    try s.expect(try pool.trim() >= 31 << 20);
    try s.expect((try pool.stats()).backed_bytes <= 1 << 20);
    const again = try s.alloc(pool, 32 << 20, true);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, again), 0));
    _ = try pool.release(kept.int(), true);
    try s.expectSound(pool);
}

test "trim() also gives back memory that was joined with a run that has none" {
    const pool = try s.create(64 << 20);
    defer _ = pool.close(false);
    const kept = try s.alloc(pool, 100, false);
    const large = try s.alloc(pool, 32 << 20, false);
    _ = try pool.release(large.int(), true);
    // It fails, but before that everything free is joined.
    try s.expectError(error.Full, s.alloc(pool, 64 << 20, false));
    const before = (try pool.stats()).backed_bytes;
    try s.expect(before >= 32 << 20);
    const trimmed = try pool.trim();
    const after = (try pool.stats()).backed_bytes;
    try s.expectEqual(before - after, trimmed);
    try s.expect(after <= 64 << 10);
    try s.expectSound(pool);
    const again = try s.alloc(pool, 40 << 20, true);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, again), 0));
    _ = try pool.release(kept.int(), true);
    try s.expectSound(pool);
}

test "trim() also gives back zeros that nobody has used, though they were joined with a run that has no memory" {
    if (s.system.pageBytes() > 4096) return error.SkipZigTest; // its sizes are made for small pages
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    // What a pool grows by beyond its array is zeros, with memory; what follows is zeros, with none.
    _ = try s.alloc(pool, 100, false);
    try s.expectError(error.Full, s.alloc(pool, 16 << 20, false));
    try s.expect((try pool.stats()).backed_bytes > s.system.pageBytes());
    _ = try pool.trim();
    try s.expectEqual(s.system.pageBytes(), (try pool.stats()).backed_bytes);
    try s.expectSound(pool);
}

test "an array of zeros is zeros where a rest of them is joined with memory that was in use" {
    const pool = try s.create(16 << 20);
    defer _ = pool.close(false);
    _ = try s.alloc(pool, 100, false); // and behind it a rest of zeros
    const free = for (pool.view.blocks[0..pool.view.blocksUsed()]) |*block| {
        const word = block.word.get();
        if (word.state == .free and !word.backed) break block;
    } else return error.TestUnexpectedResult;
    var word = free.word.get();
    word.zero = false; // as of a run that was joined with what was in use
    free.word.set(word);
    @memset((pool.view.heap + (try pool.view.extent(free)).offsetBytes())[0 .. 64 << 10], 0xff);
    const bytes = try s.bytesOf(pool, try s.alloc(pool, 60_000, true));
    try s.expect(std.mem.allEqual(u8, bytes, 0));
}

test "an array of zeros is zeros where a trim had no entries for the ends of a run" {
    if (s.system.pageBytes() > 4096) return error.SkipZigTest; // its sizes are made for small pages
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    _ = try s.alloc(pool, 100, false);
    const dirty = try s.alloc(pool, 40_000, false);
    @memset(try s.bytesOf(pool, dirty), 0xff);
    _ = try s.alloc(pool, (16384 - 2 - 625 - 4396) * 64, false);
    var last: [8]s.BlockIndex = undefined;
    var count: usize = 0;
    while (s.alloc(pool, 10, false)) |index| : (count += 1) last[count % last.len] = index else |err| try s.expectEqual(error.Full, err);
    try s.expectEqual(.blocks, pool.cause);
    _ = try pool.release(dirty.int(), true);
    try s.expect(try pool.trim() > 0);
    for (last) |index| _ = try pool.release(index.int(), true);
    const again = try s.alloc(pool, 40_000, true);
    try s.expectEqual(dirty, again);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, again), 0));
    try s.expectSound(pool);
}

test "trims leave nothing behind once everything is free" {
    const pool = try s.create(1 << 20);
    defer _ = pool.close(false);
    var indexes: [40]s.BlockIndex = undefined;
    for (&indexes, 0..) |*index, i| {
        index.* = try s.alloc(pool, 3000 + i * 500, false);
        @memset(try s.bytesOf(pool, index.*), 0xff);
    }
    // Arrays that are left keep parts of pages from being given back. An allocation that fails joins some of them with
    // runs that have no memory, and others lie between such runs in the end.
    for (0..4) |round| {
        for (indexes, 0..) |index, i| if (i % 4 == round) {
            _ = try pool.release(index.int(), true);
            const before = (try pool.stats()).backed_bytes;
            const trimmed = try pool.trim();
            try s.expectEqual(before - (try pool.stats()).backed_bytes, trimmed);
        };
        if (round < 3) try s.expectError(error.Full, s.alloc(pool, 1 << 20, false));
        try s.expectSound(pool);
    }
    try s.expectEqual(0, (try pool.stats()).backed_bytes);
    const all = try s.alloc(pool, 1 << 20, true);
    try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, all), 0));
}

test "the block table grows with the number of arrays" {
    const pool = try s.create(64 << 20);
    defer _ = pool.close(false);
    const count = 100_000;
    for (0..count) |_| _ = try s.alloc(pool, 64, false);
    try s.expectEqual(count, (try pool.stats()).arrays);
    try s.expectSound(pool);
}

test "the pin table grows with the number of claims, and says when it is full" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const index = (try s.alloc(pool, 64, false)).int();
    const generation = s.generationOf(pool, .of(index));
    var claims: [4096]u64 = undefined;
    for (&claims) |*claim| claim.* = try pool.createClaim(index, 1, 0);
    try s.expectError(error.Full, pool.createClaim(index, 1, 0));
    try s.expectEqual(.claims, pool.cause);
    try s.expectSound(pool);
    for (claims) |claim| try pool.dropClaim(index, generation, claim, 1);
    try s.expectEqual(0, (try pool.stats()).claims);
    _ = try pool.createClaim(index, 1, 0);
    try s.expectSound(pool);
}

test "a full pool says how old the oldest claim is, however long each of them lives" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const block = (try s.alloc(pool, 1000, false)).int();
    for ([_]u64{ 3_600_000, 1000, 0 }) |ttl_ms| {
        const claim = try pool.createClaim(block, 1, ttl_ms);
        try s.expect(pool.shortage(0).oldest_claim_ms < 60_000);
        const pin = &pool.view.pins[@as(u20, @truncate(claim))];
        pin.of.made.set(.of(s.system.monotonicMs() -| 90_000));
        const age_ms = pool.shortage(0).oldest_claim_ms;
        try s.expect(age_ms >= 89_000 and age_ms < 180_000);
        try pool.dropClaim(block, s.generationOf(pool, .of(block)), claim, 1);
    }
}

test "memory is backed though a signal comes before a large step of it is done, each time" {
    const child = try s.Child.start(struct {
        fn body(_: void) !void {
            const pool = try s.create(64 << 20);
            defer _ = pool.close(false);
            // As before Linux 6.11 where a profiler's timer fires each millisecond.
            try s.failFrom(.fallocate, 3, 4 << 20, .INTR);
            const bytes = try s.bytesOf(pool, try s.alloc(pool, 32 << 20, false));
            bytes[bytes.len - 1] = 1;
        }
    }.body, {});
    try s.Child.expectDone(try child.wait());
}
