//! What native tests share: a pool of their own name, child processes by fork, and a check that nothing is left behind.

const std = @import("std");
const linux = std.os.linux;
pub const layout = @import("../layout.zig");
pub const segment = @import("../segment.zig");
pub const system = @import("../platform.zig").system;
pub const Pool = @import("../pool.zig").Pool;
pub const BlockIndex = layout.BlockIndex;
const cache = @import("../cache.zig");
const Brief = @import("../view.zig").Brief;
pub const expect = std.testing.expect;
pub const expectEqual = std.testing.expectEqual;
pub const expectError = std.testing.expectError;

pub fn create(capacity_bytes: u64) !*Pool {
    var report: segment.Report = .{};
    return Pool.create(null, capacity_bytes, Pool.default_claim_ttl_ms, .{}, &report);
}

/// Under an emulator: less of what is long, and not much slower where it is not (`-Dbrief`).
pub const brief = @import("options").brief;

/// One more member of the same pool, in this thread.
pub fn join(pool: *Pool) !*Pool {
    var report: segment.Report = .{};
    return Pool.open(nameOf(pool), pool.nonce, .{}, &report);
}

pub fn nameOf(pool: *Pool) []const u8 {
    return pool.name_buffer[0..pool.name_bytes];
}

/// Where another process finds the pool.
pub const Address = struct {
    bytes: [32]u8,
    length: u32,
    nonce: u64,

    pub fn of(pool: *const Pool) Address {
        return .{ .bytes = pool.name_buffer, .length = pool.name_bytes, .nonce = pool.nonce };
    }
    pub fn name(address: *const Address) []const u8 {
        return address.bytes[0..address.length];
    }
    pub fn join(address: *const Address) !*Pool {
        return address.joinAs(.{});
    }
    pub fn joinAs(address: *const Address, options: @import("../pool.zig").Options) !*Pool {
        var report: segment.Report = .{};
        return Pool.open(address.name(), address.nonce, options, &report);
    }
};

/// A name that no other run of the tests uses.
pub fn uniqueName(comptime what: []const u8, buffer: *[32]u8) []const u8 {
    return std.fmt.bufPrint(buffer, "zig-" ++ what ++ ".{d}", .{linux.getpid()}) catch unreachable;
}

/// Leaves, and removes the segment though a claim may wait in it.
pub fn end(pool: *Pool) void {
    var name_buffer = pool.name_buffer;
    const name = name_buffer[0..pool.name_bytes];
    _ = pool.close(false);
    system.unlink(name);
}

pub fn alloc(pool: *Pool, length_bytes: u64, zeroed: bool) !BlockIndex {
    return (try pool.alloc(length_bytes, 1, zeroed)).index;
}

pub fn exists(name: []const u8) bool {
    var failure: system.Failure = .{};
    const fd = system.open(name, &failure) catch return false;
    system.close(fd);
    return true;
}

pub fn expectSound(pool: *Pool) !void {
    if (try pool.check()) |broken| {
        std.debug.print("broken: {t} ({d})\n", .{ broken.what, broken.where });
        return error.TestUnexpectedResult;
    }
    try expectCacheSound(pool);
}

/// What is in the lists of the member's cache is there once, says so, and is counted.
pub fn expectCacheSound(pool: *Pool) !void {
    const kept = pool.cache;
    var blocks: u64 = 0;
    var granules: u64 = 0;
    for (1..cache.granules_max + 1) |size| {
        var index = kept.heads[size];
        for (0..kept.counts[size]) |_| {
            try expectEqual(Brief{ .granules = @intCast(size), .is = .listed }, pool.view.briefs[index.int()]);
            index = pool.view.holds[index.int()].next;
        }
        blocks += kept.counts[size];
        granules += kept.counts[size] * size;
    }
    try expectEqual(granules, kept.granules);
    // As many as say so: so none is in the lists twice.
    var listed: u64 = 0;
    for (pool.view.briefs[0..pool.view.blocksUsed()]) |one| listed += @intFromBool(one.is == .listed);
    try expectEqual(blocks, listed);
}

pub fn bytesOf(pool: *Pool, index: BlockIndex) ![]u8 {
    const block = try pool.view.block(index);
    const extent = try pool.view.extent(block);
    return (pool.view.heap + extent.offsetBytes())[0..try pool.view.lengthBytes(block)];
}

pub fn generationOf(pool: *Pool, index: BlockIndex) u64 {
    return pool.view.blocks[index.int()].word.get().generation;
}

pub const Child = struct {
    pid: i32,

    /// In a process of its own: `body(argument)`, then exit 0, or 1 on an error.
    pub fn start(comptime body: anytype, argument: anytype) !Child {
        const pid = linux.fork();
        if (linux.errno(pid) != .SUCCESS) return error.Fork;
        if (pid == 0) {
            dieWithParent(true);
            const code: i32 = if (body(argument)) |_| 0 else |err| if (err == error.SkipZigTest) skipped else blk: {
                std.debug.print("child: {s}\n", .{@errorName(err)});
                break :blk 1;
            };
            linux.exit_group(code);
        }
        return .{ .pid = @intCast(pid) };
    }
    pub fn kill(child: Child) void {
        _ = linux.kill(child.pid, .KILL);
    }
    /// Stops it, and waits until it has stopped.
    pub fn stop(child: Child) !void {
        _ = linux.kill(child.pid, .STOP);
        if (!try child.hasStopped()) return error.TestUnexpectedResult;
    }
    pub fn @"continue"(child: Child) void {
        _ = linux.kill(child.pid, .CONT);
    }
    /// Waits until it stops or ends; false when it ended, which wait() still tells.
    pub fn hasStopped(child: Child) !bool {
        const exited_or_stopped = 4 | 2; // WEXITED | WSTOPPED
        const leave = 0x01000000; // WNOWAIT
        var what: linux.siginfo_t = undefined;
        while (true) {
            const result = linux.waitid(.PID, child.pid, &what, exited_or_stopped | leave, null);
            if (linux.errno(result) == .INTR) continue;
            if (linux.errno(result) != .SUCCESS) return error.Wait;
            const stopped = 5; // CLD_STOPPED
            return what.code == stopped;
        }
    }
    /// False once it has been killed, or has skipped its test; then it is waited for. Any other end is a failure.
    pub fn runs(child: Child) !bool {
        var status: u32 = 0;
        const no_hang = 1; // WNOHANG
        const got = linux.wait4(child.pid, &status, no_hang, null);
        if (linux.errno(got) != .SUCCESS) return error.Wait;
        if (got == 0) return true;
        if (status & 0x7f == @intFromEnum(linux.SIG.KILL) or (status >> 8) & 0xff == skipped) return false;
        return error.TestUnexpectedResult;
    }
    /// Of wait(): it did what it should, or has skipped its test.
    pub fn expectDone(code: u32) !void {
        if (code == skipped) return error.SkipZigTest;
        try expectEqual(0, code);
    }
    /// The exit code, or 128 + the signal.
    pub fn wait(child: Child) !u32 {
        var status: u32 = 0;
        while (true) {
            const result = linux.wait4(child.pid, &status, 0, null);
            if (linux.errno(result) == .INTR) continue;
            if (linux.errno(result) != .SUCCESS) return error.Wait;
            return if (status & 0x7f != 0) 128 + (status & 0x7f) else (status >> 8) & 0xff;
        }
    }
};

/// New namespaces for this process (PID: for its children). Where that is not allowed, the test is skipped in one line.
pub fn unshare(flags: usize) !void {
    const result = linux.unshare(flags);
    if (linux.errno(result) == .SUCCESS) return;
    std.debug.print("skipped: new namespaces need root ({s})\n", .{@tagName(linux.errno(result))});
    return error.SkipZigTest;
}

/// From here on that system call fails with EPERM in this process.
pub fn forbid(call: linux.SYS) !void {
    return forbidFrom(call, 0, 0);
}
/// Only where the argument of that number is so large.
pub fn forbidFrom(call: linux.SYS, argument: u32, least: u32) !void {
    return failFrom(call, argument, least, .PERM);
}
/// The same with any error.
pub fn failFrom(call: linux.SYS, argument: u32, least: u32, errno: linux.E) !void {
    const Instruction = extern struct { code: u16, if_true: u8 = 0, if_false: u8 = 0, operand: u32 };
    const Program = extern struct { length: u16, instructions: [*]const Instruction };
    const instructions = [_]Instruction{
        .{ .code = 0x20, .operand = 0 }, // load the call's number
        .{ .code = 0x15, .operand = @intCast(@intFromEnum(call)), .if_false = 3 },
        .{ .code = 0x20, .operand = 16 + 8 * argument }, // its lower half
        .{ .code = 0x35, .operand = least, .if_false = 1 }, // not less
        .{ .code = 0x06, .operand = 0x00050000 | @as(u32, @intFromEnum(errno)) }, // SECCOMP_RET_ERRNO
        .{ .code = 0x06, .operand = 0x7fff0000 }, // SECCOMP_RET_ALLOW
    };
    const program: Program = .{ .length = instructions.len, .instructions = &instructions };
    const set_mode_filter = 1;
    if (linux.errno(linux.prctl(@intFromEnum(linux.PR.SET_NO_NEW_PRIVS), 1, 0, 0, 0)) != .SUCCESS) return error.SkipZigTest;
    if (linux.errno(linux.seccomp(set_mode_filter, 0, &program)) != .SUCCESS) return error.SkipZigTest; // under an emulator
}

/// From here on this process can open as many more descriptors, and no more.
pub fn leaveDescriptors(count: u32) !void {
    const next = linux.open("/dev/null", .{}, 0);
    if (linux.errno(next) != .SUCCESS) return error.Unexpected;
    _ = linux.close(@intCast(next));
    const limit: linux.rlimit = .{ .cur = next + count, .max = next + count };
    if (linux.errno(linux.prlimit(0, .NOFILE, &limit, null)) != .SUCCESS) return error.SkipZigTest;
}

/// What a child that has skipped its test exits with.
pub const skipped = 77;

/// Whether the environment has exactly this `NAME=value`.
pub fn hasEnvironment(entry: []const u8) bool {
    const equals = std.mem.indexOfScalar(u8, entry, '=').?;
    var buffer: [256]u8 = undefined;
    const value = environment(entry[0..equals], &buffer) orelse return false;
    return std.mem.eql(u8, value, entry[equals + 1 ..]);
}

/// The number that the environment gives `name`.
pub fn environmentNumber(name: []const u8) ?u64 {
    var buffer: [256]u8 = undefined;
    return std.fmt.parseInt(u64, environment(name, &buffer) orelse return null, 10) catch null;
}

fn environment(name: []const u8, into: *[256]u8) ?[]const u8 {
    var buffer: [1 << 16]u8 = undefined;
    const fd = linux.open("/proc/self/environ", .{}, 0);
    if (linux.errno(fd) != .SUCCESS) return null;
    defer _ = linux.close(@intCast(fd));
    const got = linux.read(@intCast(fd), &buffer, buffer.len);
    if (linux.errno(got) != .SUCCESS) return null;
    var entries = std.mem.splitScalar(u8, buffer[0..got], 0);
    while (entries.next()) |entry| {
        if (!std.mem.startsWith(u8, entry, name) or entry.len <= name.len or entry[name.len] != '=') continue;
        const value = entry[name.len + 1 ..];
        if (value.len > into.len) return null;
        @memcpy(into[0..value.len], value);
        return into[0..value.len];
    }
    return null;
}

/// So that a test that fails leaves no process behind.
pub fn dieWithParent(yes: bool) void {
    const signal_number: usize = if (yes) @intFromEnum(linux.SIG.KILL) else 0;
    _ = linux.prctl(@intFromEnum(linux.PR.SET_PDEATHSIG), signal_number, 0, 0, 0);
}

/// Dies at once, as by `kill -9`.
pub fn die() noreturn {
    _ = linux.kill(linux.getpid(), .KILL);
    unreachable;
}

/// A page that parent and children of a test share, for words like "go".
pub fn sharedPage(comptime T: type) !*T {
    const flags: linux.MAP = .{ .TYPE = .SHARED, .ANONYMOUS = true };
    const start = linux.mmap(null, 4096, .{ .READ = true, .WRITE = true }, flags, -1, 0);
    if (linux.errno(start) != .SUCCESS) return error.Map;
    return @ptrFromInt(start);
}

pub fn waitUntil(word: *u32, value: u32) void {
    while (@atomicLoad(u32, word, .acquire) < value) system.sleep(1);
}
pub fn signal(word: *u32) void {
    _ = @atomicRmw(u32, word, .Add, 1, .acq_rel);
}

/// Runs `body(argument)` in a process that has a /dev/shm of its own, mounted with `options` ("size=1m"). Returns its
/// exit code, as Child.wait(). Skips the test where this user may not mount, and says so.
pub fn inSmallDevice(options: [:0]const u8, comptime body: anytype, argument: anytype) !u32 {
    const cannot_mount = 77;
    const code = try (try Child.start(struct {
        fn run(at: struct { [:0]const u8, @TypeOf(argument) }) !void {
            mountDevice(at[0]) catch linux.exit_group(cannot_mount);
            try body(at[1]);
        }
    }.run, .{ options, argument })).wait();
    if (code != cannot_mount) return code;
    std.debug.print("skipped: this user cannot mount a small /dev/shm (needs root, or user namespaces)\n", .{});
    return error.SkipZigTest;
}

fn mountDevice(options: [:0]const u8) !void {
    const uid = linux.geteuid();
    const gid = linux.getegid();
    if (linux.errno(linux.unshare(linux.CLONE.NEWNS)) != .SUCCESS) {
        if (linux.errno(linux.unshare(linux.CLONE.NEWNS | linux.CLONE.NEWUSER)) != .SUCCESS) return error.Unshare;
        var buffer: [64]u8 = undefined;
        try writeFile("/proc/self/setgroups", "deny");
        try writeFile("/proc/self/uid_map", try std.fmt.bufPrint(&buffer, "0 {d} 1", .{uid}));
        try writeFile("/proc/self/gid_map", try std.fmt.bufPrint(&buffer, "0 {d} 1", .{gid}));
    }
    // What is mounted here stays here.
    if (linux.errno(linux.mount("none", "/", null, linux.MS.REC | linux.MS.PRIVATE, 0)) != .SUCCESS) return error.Mount;
    if (linux.errno(linux.mount("none", "/dev/shm", "tmpfs", 0, @intFromPtr(options.ptr))) != .SUCCESS) return error.Mount;
}

fn writeFile(path: [*:0]const u8, text: []const u8) !void {
    const fd = linux.open(path, .{ .ACCMODE = .WRONLY }, 0);
    if (linux.errno(fd) != .SUCCESS) return error.Open;
    defer _ = linux.close(@intCast(fd));
    if (linux.write(@intCast(fd), text.ptr, text.len) != text.len) return error.Write;
}

/// A file in /dev/shm that takes what another program would: all but `leave_bytes`.
pub fn fillDevice(leave_bytes: u64) !linux.fd_t {
    const fd = linux.open("/dev/shm/filler", .{ .ACCMODE = .RDWR, .CREAT = true, .TRUNC = true }, 0o600);
    if (linux.errno(fd) != .SUCCESS) return error.Open;
    const bytes = system.deviceSpace().?.free_bytes -| leave_bytes;
    if (bytes > 0 and linux.errno(linux.fallocate(@intCast(fd), 0, 0, @intCast(bytes))) != .SUCCESS) return error.Fill;
    return @intCast(fd);
}

pub fn emptyDevice(filler: linux.fd_t) void {
    _ = linux.ftruncate(filler, 0);
    _ = linux.close(filler);
}

/// Whether that process sleeps in a futex.
pub fn sleepsInFutex(child: Child) bool {
    var path: [64]u8 = undefined;
    var text: [32]u8 = undefined;
    const name = std.fmt.bufPrintZ(&path, "/proc/{d}/syscall", .{child.pid}) catch return false;
    const fd = linux.open(name, .{}, 0);
    if (linux.errno(fd) != .SUCCESS) return false;
    defer _ = linux.close(@intCast(fd));
    const bytes = linux.read(@intCast(fd), &text, text.len);
    if (linux.errno(bytes) != .SUCCESS) return false;
    // Of arm64 and of x64: under an emulator it is the number of the machine that emulates.
    return std.mem.startsWith(u8, text[0..bytes], "98 ") or std.mem.startsWith(u8, text[0..bytes], "202 ");
}
