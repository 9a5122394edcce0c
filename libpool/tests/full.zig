//! A full pool: what fails, what it says, and that everything goes on afterwards.

const std = @import("std");
const s = @import("support.zig");

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
