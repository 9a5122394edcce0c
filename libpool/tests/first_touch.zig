//! The first touch of a page by a process takes a fault: where the pool saves it, and that it says no to what it cannot do.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const system = @import("../platform.zig").system;
const Pool = s.Pool;

const page_bytes = 4096;
const array_bytes = 8 << 20;

test "what is allocated without zeros out of new memory is mapped already when it is filled" {
    try skipWithoutPopulate();
    const pool = try s.create(32 << 20);
    defer _ = pool.close(false);
    const zeroed = try s.bytesOf(pool, try s.alloc(pool, array_bytes, true));
    const filled = try s.bytesOf(pool, try s.alloc(pool, array_bytes, false));
    if (try faultsToFill(zeroed) < array_bytes / page_bytes / 2) return error.SkipZigTest; // by huge pages
    try s.expect(try faultsToFill(filled) < 16);
}

test "prefault maps the part that is asked for, changes no byte of it, and saves the faults of its first fill" {
    try skipWithoutPopulate();
    const pool = try s.create(32 << 20);
    defer _ = pool.close(false);
    const index = try s.alloc(pool, array_bytes, false);
    const made = try s.bytesOf(pool, index);
    @memset(made, 7);
    try pool.share(index.int());
    const second = try s.join(pool);
    defer _ = second.close(false);
    _ = try second.attach(index.int(), s.generationOf(pool, index), 0);
    const bytes = try s.bytesOf(second, index);
    const from = 1 << 20;
    const length = 2 << 20;
    try second.prefault(index.int(), from, length);
    try s.expect(std.mem.allEqual(u8, made, 7)); // where the first member sees them: a page that is read is mapped, too
    if (try faultsToFill(bytes[from + length ..]) < array_bytes / page_bytes / 4) return error.SkipZigTest; // by huge pages
    try s.expect(try faultsToFill(bytes[from..][0..length]) < 16);
}

test "where /dev/shm has huge pages for who advises them, arrays of some MiB are made of them, for every member" {
    try skipWithoutPopulate();
    const code = try s.inSmallDevice("huge=advise", struct {
        fn body(_: void) !void {
            if (try faultsToFill(try advisedPages("/dev/shm/advised")) > 64) linux.exit_group(no_huge_pages);
            const pool = try s.create(32 << 20);
            defer s.end(pool);
            const second = try s.join(pool);
            defer _ = second.close(false);
            const index = try s.alloc(pool, array_bytes, true);
            const bytes = try s.bytesOf(pool, index);
            try pool.share(index.int());
            _ = try second.attach(index.int(), s.generationOf(pool, index), 0);
            // Its ends may lie in what would be huge pages of which it has only a part.
            const ends = 2 * (2 << 20) / page_bytes;
            try s.expect(try faultsToFill(bytes) < ends);
            try s.expect(try faultsToFill(try s.bytesOf(second, index)) < ends);
            const zeroed = try s.alloc(pool, array_bytes, true);
            try s.expect(std.mem.allEqual(u8, try s.bytesOf(pool, zeroed), 0));
            for ([_]s.BlockIndex{ index, zeroed }) |each| _ = try pool.release(each.int(), true);
            _ = try second.release(index.int(), true);
            _ = try pool.trim();
            try s.expectEqual(0, (try pool.stats()).backed_bytes);
        }
    }.body, {});
    if (code == no_huge_pages) return error.SkipZigTest; // switched off, or memory is in pieces
    try s.expectEqual(0, code);
}
const no_huge_pages = 78;

/// As many bytes of a file of its own as an array has, to be filled for the first time.
fn advisedPages(path: [:0]const u8) ![]u8 {
    const fd = linux.open(path, .{ .ACCMODE = .RDWR, .CREAT = true }, 0o600);
    if (linux.errno(fd) != .SUCCESS or linux.errno(linux.ftruncate(@intCast(fd), array_bytes)) != .SUCCESS) return error.Unexpected;
    const at = linux.mmap(null, 2 * array_bytes, .{}, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
    const start: [*]u8 = @ptrFromInt(std.mem.alignForward(usize, at, 2 << 20));
    const rw: linux.PROT = .{ .READ = true, .WRITE = true };
    if (linux.errno(linux.mmap(start, array_bytes, rw, .{ .TYPE = .SHARED, .FIXED = true }, @intCast(fd), 0)) != .SUCCESS)
        return error.Unexpected;
    _ = linux.madvise(@alignCast(start), array_bytes, linux.MADV.HUGEPAGE);
    return start[0..array_bytes];
}

test "prefault refuses what is not held, and what lies beyond the array" {
    const pool = try s.create(4 << 20);
    defer _ = pool.close(false);
    const index = try s.alloc(pool, 1 << 20, true);
    if (!system.may_populate) return pool.prefault(index.int(), 0, 1 << 20);
    try pool.prefault(index.int(), 1 << 20, 0);
    try pool.prefault(index.int(), 0, 1 << 20);
    try s.expectError(error.Argument, pool.prefault(index.int(), 1, 1 << 20));
    try s.expectError(error.Argument, pool.prefault(index.int(), 1 << 53, 1 << 53));
    for ([_]u32{ 1, index.int() + 1, std.math.maxInt(u32) }) |number|
        try s.expectError(error.NotHeld, pool.prefault(number, 0, 1 << 20));
    _ = try pool.release(index.int(), true);
    try s.expectError(error.NotHeld, pool.prefault(index.int(), 0, 1 << 20));
}

/// Of this thread, without those that have to wait for a disk.
fn faultsToFill(bytes: []u8) !u64 {
    const before = try faults();
    @memset(bytes, 9);
    return try faults() - before;
}

fn faults() !u64 {
    var usage: linux.rusage = undefined;
    if (linux.errno(linux.getrusage(linux.rusage.THREAD, &usage)) != .SUCCESS) return error.Unexpected;
    return @intCast(usage.minflt);
}

/// Before Linux 5.14 there is no such advice; qemu takes any, and does nothing.
fn skipWithoutPopulate() !void {
    if (!system.may_populate or s.brief) return error.SkipZigTest;
    const pages = linux.mmap(null, page_bytes, .{ .READ = true, .WRITE = true }, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
    defer _ = linux.munmap(@ptrFromInt(pages), page_bytes);
    if (linux.errno(linux.madvise(@ptrFromInt(pages), page_bytes, 23)) != .SUCCESS) return error.SkipZigTest;
}
