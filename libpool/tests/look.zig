//! A look from outside sees what is there, changes nothing, and survives whatever it looks at.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const Look = @import("../look.zig").Look;
const Pool = s.Pool;
const expect = s.expect;
const expectEqual = s.expectEqual;

fn lookAt(pool: *Pool) !*Look {
    var report: s.segment.Report = .{};
    return Look.open(s.nameOf(pool), &report);
}

/// Everything that can be told of a segment's file: its bytes, its times, how much memory it takes.
const Fingerprint = struct {
    hash: u64,
    taken_bytes: u64,
    times: [3]linux.statx_timestamp,

    fn of(pool: *Pool) !Fingerprint {
        var buffer: linux.Statx = undefined;
        if (linux.errno(linux.statx(pool.self.fd, "", linux.AT.EMPTY_PATH, linux.STATX.BASIC_STATS, &buffer)) != .SUCCESS) return error.Stat;
        const bytes = @as([*]const u8, @ptrCast(pool.view.header))[0 .. s.layout.blocks_start + s.layout.blocks_first_bytes];
        return .{ .hash = std.hash.Wyhash.hash(0, bytes), .taken_bytes = s.system.info(pool.self.fd).?.backed_bytes, .times = .{ buffer.atime, buffer.mtime, buffer.ctime } };
    }
};

test "a look sees arrays, holders and claims, and changes neither a byte nor a time of the segment" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    const first = try s.alloc(pool, 100_000, true);
    const second = try s.alloc(pool, 1000, true);
    try pool.share(first.int());
    _ = try other.attach(first.int(), s.generationOf(pool, first), 0);
    _ = try pool.createClaim(second.int(), 3, 60_000);
    _ = try pool.release(second.int(), true);
    s.system.sleep(20); // the kernel's clock for times of files is coarse

    const before: Fingerprint = try .of(pool);
    const look = try lookAt(pool);
    defer look.close();
    look.take(1);
    const facts = look.facts;
    try expect(facts.state == .pool and facts.is_still and facts.moving == 0);
    try expect(facts.has_name and facts.is_live and facts.lock == .free);
    const sums = look.sums();
    try expectEqual(2, sums.arrays);
    try expectEqual(2, sums.members);
    try expectEqual(0, sums.dead);
    try expectEqual(1, sums.claims);
    try expectEqual(1024, sums.claimed_bytes);
    const stats = try pool.stats();
    try expectEqual(stats.used_bytes, sums.used_bytes);
    try expectEqual(stats.largest_free_bytes, sums.largest_free_bytes);
    try expectEqual(stats.free_runs, sums.free_runs);
    var held: [256]Look.Held = undefined;
    look.held(&held);
    try expectEqual(1, held[pool.self.slot].arrays);
    try expectEqual(1, held[other.self.slot].arrays);
    var cells: [64][3]f64 = undefined;
    look.picture(pool.view.geometry.capacity_bytes, &cells);
    var drawn: [3]f64 = @splat(0);
    for (cells) |cell| for (cell, &drawn) |bytes, *sum| {
        sum.* += bytes;
    };
    try expectEqual(@as(f64, @floatFromInt(sums.used_bytes - sums.claimed_bytes)), @round(drawn[0]));
    try expectEqual(1024, @round(drawn[1]));
    try expectEqual(@as(f64, @floatFromInt(sums.free_backed_bytes)), @round(drawn[2]));
    try expectEqual(.sound, std.meta.activeTag(look.check(1)));
    const after: Fingerprint = try .of(pool);
    try expectEqual(before, after);
}

test "a look reads what stands behind an array, and nobody else does" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const other = try s.join(pool);
    defer _ = other.close(false);
    // As long as a granule, empty, and as long as it may be.
    for ([_]u64{ 100, 128, 0, 1 << 19 }) |bytes| {
        var text = [_]u8{0x5a} ** s.layout.room_bytes_max;
        @memcpy(std.mem.asBytes(&pool.record)[Pool.tail_at * 8 ..][0..text.len], &text);
        const array = try pool.allocWithRoom(bytes, 1, true, s.layout.room_bytes_max);
        const number = array.index.int();
        text[0] ^= @truncate(s.generationOf(pool, array.index));
        try expectEqual(bytes, pool.view.holds[number].lengthBytes());
        try expect(std.mem.allEqual(u8, try s.bytesOf(pool, array.index), 0));
        // Whoever attaches it gets the array alone.
        try pool.share(number);
        _ = try other.attach(number, s.generationOf(pool, array.index), 0);
        try expectEqual(bytes, other.view.holds[number].lengthBytes());
        try expectEqual(null, try pool.check());

        const look = try lookAt(pool);
        defer look.close();
        look.take(1);
        try expectEqual(.sound, std.meta.activeTag(look.check(1)));
        var read: [256]u8 = undefined;
        const got = look.readBlock(number, s.generationOf(pool, array.index), bytes, &read).?;
        try expect(got >= text.len and got < text.len + s.layout.granule_bytes);
        try expect(std.mem.eql(u8, &text, read[0..text.len]));
        _ = try other.release(number, true);
        _ = try pool.release(number, true);
    }
}

test "a look tells the dead from the living, and walks what a member that died with the lock has left" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const child = try s.Child.start(struct {
        fn body(at: *Pool) !void {
            const member = try s.join(at);
            _ = try s.alloc(member, 5000, true);
            member.view.header.lock.set(member.self.lock_word);
            s.die();
        }
    }.body, pool);
    _ = try child.wait();
    const look = try lookAt(pool);
    defer look.close();
    look.take(1);
    try expectEqual(.orphaned, look.facts.lock);
    try expect(look.facts.is_still);
    try expectEqual(1, look.sums().members);
    try expectEqual(1, look.sums().dead);
    try expectEqual(.repairable, std.meta.activeTag(look.check(1)));
    // Nothing was repaired by looking.
    try expect(pool.view.header.lock.get() != s.layout.LockWord.unlocked);
    _ = try pool.reap();
    try expectEqual(.sound, std.meta.activeTag(look.check(1)));
    try expectEqual(0, look.sums().dead);
}

test "who keeps the lock and lives makes the walk unsure" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    pool.view.header.lock.set(pool.self.lock_word);
    const look = try lookAt(pool);
    defer look.close();
    try expectEqual(.unsure, std.meta.activeTag(look.check(3)));
    try expectEqual(.held, look.facts.lock);
    try expectEqual(pool.self.thread.pid, look.facts.lock_pid);
    pool.view.header.lock.set(.unlocked);
}

test "what has not changed while the pool is busy is exact, and what has is counted" {
    const pool = try s.create(8 << 20);
    defer s.end(pool);
    var kept: [200]s.BlockIndex = undefined;
    for (&kept, 0..) |*index, i| index.* = try s.alloc(pool, 64 * (1 + i % 40), false);
    const child = try s.Child.start(struct {
        fn body(at: *Pool) !void {
            const member = try s.join(at);
            var random: std.Random.DefaultPrng = .init(1);
            while (true) {
                const index = try s.alloc(member, random.random().uintLessThan(u32, 100_000), false);
                _ = try member.release(index.int(), true);
            }
        }
    }.body, pool);
    defer _ = child.wait() catch {};
    defer child.kill();
    const look = try lookAt(pool);
    defer look.close();
    for (0..300) |_| {
        look.take(1);
        try expectEqual(.pool, look.facts.state);
        var seen: usize = 0;
        for (kept) |index| {
            const block = &look.view.blocks[index.int()];
            const hold = &pool.view.holds[index.int()];
            try expectEqual(.used, block.word.get().state);
            try expectEqual(hold.start, block.start.get());
            try expectEqual(hold.granules, (try look.view.extent(block)).granules);
            seen += 1;
        }
        try expectEqual(kept.len, seen);
        try expect(look.sums().arrays >= kept.len);
    }
}

test "of the heap, a look has what is no array" {
    const pool = try s.create(4 << 20);
    defer s.end(pool);
    const array = try s.alloc(pool, 100_000, true);
    const other = try s.alloc(pool, 100_000, true);
    @memset(try s.bytesOf(pool, array), 1);
    @memset(try s.bytesOf(pool, other), 2);
    pool.view.blocks[other.int()].content.set(.{ .kind = 14 });
    const look = try lookAt(pool);
    defer look.close();
    look.take(1);
    try expect(look.facts.is_still);
    const of_array = look.view.heap + pool.view.holds[array.int()].offsetBytes();
    const of_other = look.view.heap + pool.view.holds[other.int()].offsetBytes();
    try expect(std.mem.allEqual(u8, of_array[0..100_000], 0));
    try expect(std.mem.allEqual(u8, of_other[0..100_000], 2));
}

test "whatever stands in a segment, a look ends, and is not larger than what the segment takes" {
    const pool = try s.create(2 << 20);
    defer s.end(pool);
    for (0..50) |i| {
        const index = try s.alloc(pool, 100 * i, false);
        if (i % 3 == 0) _ = try pool.createClaim(index.int(), 1, 1000);
    }
    const metadata = @as([*]u8, @ptrCast(pool.view.header))[0 .. s.layout.blocks_start + s.layout.blocks_first_bytes];
    const sound = try std.testing.allocator.dupe(u8, metadata);
    defer std.testing.allocator.free(sound);
    var random_state: std.Random.DefaultPrng = .init(std.testing.random_seed);
    const random = random_state.random();
    const look = try lookAt(pool);
    defer look.close();
    var damaged: u32 = 0;
    for (0..if (s.brief) 100 else 2000) |_| {
        for (0..1 + random.uintLessThan(usize, 30)) |_| {
            // The lock's owner is to be this process, or nobody: a stopped one is another test's.
            const at = 8 * random.uintLessThan(usize, metadata.len / 8);
            const value = switch (random.uintLessThan(u8, 4)) {
                0 => random.int(u64),
                1 => random.uintLessThan(u64, 300),
                2 => std.math.maxInt(u64),
                else => @as(u64, 1) << random.int(u6),
            };
            @memcpy(metadata[at..][0..8], std.mem.asBytes(&value));
        }
        _ = look.check(1);
        if (look.facts.state == .pool) {
            _ = look.sums();
            var cells: [100][3]f64 = undefined;
            look.picture(random.int(u40), &cells);
            var held: [256]Look.Held = undefined;
            look.held(&held);
        } else damaged += 1;
        try expect(look.view.blocks_known <= 4096 + (2 << 20) / 64);
        @memcpy(metadata, sound);
    }
    try expectEqual(.sound, std.meta.activeTag(look.check(1)));
}

test "a segment that is cut short, empty, or of another version is described as far as it can be" {
    const pool = try s.create(1 << 20);
    defer s.end(pool);
    const look = try lookAt(pool);
    defer look.close();
    pool.view.header.version.set(77);
    look.take(1);
    try expectEqual(.other_version, look.facts.state);
    try expectEqual(77, look.facts.version);
    try expect(look.facts.is_live);
    pool.view.header.version.set(s.layout.version);
    pool.view.header.magic.set(1);
    look.take(1);
    try expectEqual(.damaged, look.facts.state);
    try expectEqual(0, look.sums().arrays);
    pool.view.header.magic.set(s.layout.magic);
    // One that was damaged when it was opened stays unread, though it becomes another size's.
    pool.view.header.magic.set(1);
    const late = try lookAt(pool);
    defer late.close();
    pool.view.header.magic.set(s.layout.magic);
    late.take(1);
    try expectEqual(.damaged, late.facts.state);

    var name_buffer: [32]u8 = undefined;
    const name = s.uniqueName("cut", &name_buffer);
    const path = s.system.Path.of(name);
    defer s.system.unlink(name);
    const fd: i32 = @intCast(linux.open(@ptrCast(&path.bytes), .{ .ACCMODE = .RDWR, .CREAT = true }, 0o600));
    defer s.system.close(fd);
    var report: s.segment.Report = .{};
    for ([_]u64{ 0, 1, 4095, 4096, 70_000 }) |bytes| {
        _ = linux.ftruncate(fd, @intCast(bytes));
        const header: []const u8 = std.mem.asBytes(pool.view.header);
        _ = linux.pwrite(fd, header.ptr, @min(header.len, bytes), 0);
        const of_cut = try Look.open(name, &report);
        defer of_cut.close();
        of_cut.take(2);
        try expectEqual(.damaged, of_cut.facts.state);
        try expectEqual(bytes, of_cut.facts.file_bytes);
        try expectEqual(.broken, std.meta.activeTag(of_cut.check(2)));
    }
}

test "a pool is removed by name: not while somebody lives in it, unless it is forced" {
    const pool = try s.create(1 << 20);
    var report: s.segment.Report = .{};
    var buffer: [32]u8 = pool.name_buffer;
    const name = buffer[0..pool.name_bytes];
    try expectEqual(.somebody_lives, try s.segment.remove(name, false, &report));
    try expect(s.exists(name));
    try expectEqual(.removed, try s.segment.remove(name, true, &report));
    try expect(!s.exists(name));
    // Who is in it goes on.
    _ = try s.alloc(pool, 1000, true);
    try s.expectSound(pool);
    _ = pool.close(false);
    try s.expectError(error.NotFound, s.segment.remove(name, true, &report));
}
