//! macOS, by libSystem. Compiled, and never run: the same functions as linux.zig, with these differences.
//!
//! A segment is a file of a private directory in /tmp. Shared-memory objects of macOS take no locks, cannot be listed,
//! and give no memory back; a mapped file does all three, and liveness works as on Linux, by open-file-description locks
//! on bytes beyond the file's end (since macOS 11). A segment gets its name by link(2), when it is complete.

const std = @import("std");
const c = std.c;
const platform = @import("../platform.zig");
const crash = @import("../crash.zig");
const text_file = @import("../text.zig");
const Error = platform.Error;
const Fd = platform.Fd;

const ofd_setlk = 90;
const ofd_getlk = 92;
const punchhole = 99;

pub const Failure = struct { errno: i32 = 0 };

fn failed(failure: *Failure) Error {
    const e: c.E = @enumFromInt(c._errno().*);
    failure.errno = @intFromEnum(e);
    return switch (e) {
        .NOENT => error.NotFound,
        .EXIST => error.Exists,
        .ACCES, .PERM, .LOOP, .ISDIR => error.Permission,
        .NOSPC, .DQUOT => error.NoSpace,
        .NOMEM => error.AddressSpace,
        else => error.System,
    };
}

// ---------------------------------------------------------------- the segment's file

const Directory = struct {
    bytes: [64]u8,

    fn of(user: u32) Directory {
        var directory: Directory = .{ .bytes = @splat(0) };
        _ = text_file.fill(&directory.bytes, "/tmp/arraypool-#", &.{user});
        return directory;
    }
    fn z(directory: *const Directory) [*:0]const u8 {
        return @ptrCast(&directory.bytes);
    }
    /// Makes it if need be. Nobody else may write there.
    fn prepare(directory: *const Directory, failure: *Failure) Error!void {
        if (c.mkdir(directory.z(), 0o700) != 0 and c._errno().* != @intFromEnum(c.E.EXIST)) return failed(failure);
        const flags: c.O = .{ .DIRECTORY = true, .NOFOLLOW = true, .CLOEXEC = true };
        const fd = c.open(directory.z(), flags, @as(c.mode_t, 0));
        if (fd < 0) return failed(failure);
        defer _ = c.close(fd);
        const its = info(fd) orelse return error.System;
        if (!its.owned or its.mode != 0o700) return error.Permission;
    }
};

const Path = struct {
    bytes: [160]u8,

    fn of(name: []const u8) Path {
        var path: Path = .{ .bytes = @splat(0) };
        const directory = text_file.fill(&path.bytes, "/tmp/arraypool-#/", &.{c.geteuid()});
        @memcpy(path.bytes[directory.len..][0..name.len], name); // 64 bytes at most
        return path;
    }
    fn z(path: *const Path) [*:0]const u8 {
        return @ptrCast(&path.bytes);
    }
};

/// A file under a name that no pool can have. It is linked to its real name when it is complete, and unlinked from this
/// one. What a creator that dies before leaves behind, the next one takes away.
pub fn createUnnamed(failure: *Failure) Error!Fd {
    const directory: Directory = .of(c.geteuid());
    try directory.prepare(failure);
    removeAbandoned();
    const path = temporary();
    _ = c.unlink(path.z()); // of an earlier attempt of this thread that failed
    const flags: c.O = .{ .ACCMODE = .RDWR, .CREAT = true, .EXCL = true, .CLOEXEC = true };
    const fd = c.open(path.z(), flags, @as(c.mode_t, 0o600));
    if (fd < 0) return failed(failure);
    _ = c.fchmod(fd, 0o600);
    return fd;
}

/// The unfinished files of dead processes.
fn removeAbandoned() void {
    const directory: Directory = .of(c.geteuid());
    const names = openDirectory(directory.z()) orelse return;
    defer _ = c.closedir(names);
    while (c.readdir(names)) |entry| {
        const name = entry.name[0..entry.namlen];
        if (name.len < 2 or name.len > 64 or name[0] != '.') continue;
        const digits = name[1..text_file.find(name, 1, '.')];
        const pid = text_file.number(digits, 10, std.math.maxInt(u32)) orelse continue; // not ours, or ".."
        if (!processIsGone(@intCast(pid))) continue;
        const path: Path = .of(name);
        _ = c.unlink(path.z());
    }
}

/// That of the entries which `c.readdir` expects: on x86-64 there are two.
fn openDirectory(path: [*:0]const u8) ?*c.DIR {
    return switch (@import("builtin").cpu.arch) {
        .x86_64 => intel.@"opendir$INODE64"(path),
        else => c.opendir(path),
    };
}
const intel = struct {
    extern "c" fn @"opendir$INODE64"(path: [*:0]const u8) ?*c.DIR;
};

fn temporary() Path {
    var id: u64 = 0;
    _ = c.pthread_threadid_np(null, &id);
    var buffer: [64]u8 = undefined;
    return .of(text_file.fill(&buffer, ".#.#", &.{ @intCast(c.getpid()), id }));
}

pub fn publish(fd: Fd, name: []const u8, failure: *Failure) Error!void {
    _ = fd;
    const from = temporary();
    const to: Path = .of(name);
    if (c.link(from.z(), to.z()) != 0) return failed(failure);
    crash.step();
    _ = c.unlink(from.z());
}

pub fn open(name: []const u8, failure: *Failure) Error!Fd {
    const path: Path = .of(name);
    const flags: c.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true, .NOFOLLOW = true, .NONBLOCK = true };
    const fd = c.open(path.z(), flags, @as(c.mode_t, 0));
    if (fd < 0) return failed(failure);
    return fd;
}

/// For reading only.
pub fn openToLook(name: []const u8, failure: *Failure) Error!Fd {
    const path: Path = .of(name);
    const flags: c.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true, .NOFOLLOW = true, .NONBLOCK = true };
    const fd = c.open(path.z(), flags, @as(c.mode_t, 0));
    if (fd < 0) return failed(failure);
    return fd;
}

/// What stands under a name, without opening it.
pub fn infoOf(name: []const u8) ?FileInfo {
    const path: Path = .of(name);
    var stat: c.Stat = undefined;
    if (c.fstatat(c.AT.FDCWD, path.z(), &stat, c.AT.SYMLINK_NOFOLLOW) != 0) return null;
    return infoFrom(&stat);
}

pub fn unlink(name: []const u8) void {
    const path: Path = .of(name);
    _ = c.unlink(path.z());
    crash.step();
}

pub fn close(fd: Fd) void {
    _ = c.close(fd);
    crash.step();
}

pub const FileInfo = struct {
    regular: bool,
    owned: bool,
    mode: u16,
    links: u32,
    inode: u64,
    device: u64,
    size_bytes: u64,
    backed_bytes: u64,
};

pub fn info(fd: Fd) ?FileInfo {
    var stat: c.Stat = undefined;
    if (c.fstat(fd, &stat) != 0) return null;
    return infoFrom(&stat);
}

fn infoFrom(stat: *const c.Stat) FileInfo {
    return .{
        .regular = stat.mode & c.S.IFMT == c.S.IFREG,
        .owned = stat.uid == c.geteuid(),
        .mode = @intCast(stat.mode & 0o7777),
        .links = stat.nlink,
        .inode = stat.ino,
        .device = @as(u32, @bitCast(stat.dev)),
        .size_bytes = @intCast(stat.size),
        .backed_bytes = @intCast(stat.blocks * 512),
    };
}

pub fn hasName(fd: Fd, name: []const u8) bool {
    var failure: Failure = .{};
    const mine = info(fd) orelse return false;
    const other = open(name, &failure) catch return false;
    defer _ = c.close(other);
    const theirs = info(other) orelse return false;
    return mine.inode == theirs.inode and mine.device == theirs.device;
}

pub fn read(fd: Fd, into: []u8) bool {
    return c.pread(fd, into.ptr, into.len, 0) == into.len;
}

/// From `offset` on. False if there is less, or nothing to be read.
pub fn readAt(fd: Fd, offset: u64, into: []u8) bool {
    var done: usize = 0;
    while (done < into.len) {
        const got = c.pread(fd, into[done..].ptr, into.len - done, @intCast(offset + done));
        if (got < 0 and c._errno().* == @intFromEnum(c.E.INTR)) continue;
        if (got <= 0) return false;
        done += @intCast(got);
    }
    return true;
}

pub const Names = struct {
    directory: *c.DIR,

    pub fn open() ?Names {
        const path: Directory = .of(c.geteuid());
        return .{ .directory = openDirectory(path.z()) orelse return null };
    }
    pub fn next(names: *Names, into: *[64]u8) ?[]const u8 {
        while (c.readdir(names.directory)) |entry| {
            const name = entry.name[0..entry.namlen];
            if (name.len == 0 or name.len > into.len or name[0] == '.') continue;
            @memcpy(into[0..name.len], name);
            return into[0..name.len];
        }
        return null;
    }
    pub fn close(names: *Names) void {
        _ = c.closedir(names.directory);
    }
};

// ---------------------------------------------------------------- its memory

pub fn setSize(fd: Fd, bytes: u64, failure: *Failure) Error!void {
    // Beyond `ulimit -f`, ftruncate() ends a process that does not ignore SIGXFSZ.
    var limit: c.rlimit = undefined;
    if (c.getrlimit(.FSIZE, &limit) == 0 and bytes > limit.cur) {
        failure.errno = @intFromEnum(c.E.FBIG);
        return error.System;
    }
    if (c.ftruncate(fd, @intCast(bytes)) != 0) return failed(failure);
}

/// Only looks whether there is room: no call puts memory behind the holes of a file and leaves alone what is no hole.
/// F_PREALLOCATE would not: it counts from the end of what is allocated, or (F_VOLPOSMODE) sets the size to what it is given.
/// So a disk that is filled by others in the meantime shows at a write, as with any file that is mapped.
pub fn back(_: Fd, _: u64, bytes: u64, _: *Failure) Error!void {
    if (deviceSpace()) |space| if (space.free_bytes < bytes) return error.NoSpace;
    crash.step();
}

/// What has nothing behind it reads as zeros.
pub inline fn makeReadable(_: Fd, _: u64, _: u64) platform.Readable {
    return .yes;
}
pub const may_populate = false;
pub const is_always_readable = true;

/// Never sure: the file system can make room.
pub fn hasRoom(_: Fd, _: u64) bool {
    return true;
}

const Hole = extern struct { flags: u32, reserved: u32, offset: i64, length: i64 };

pub fn punch(fd: Fd, offset: u64, bytes: u64) bool {
    var hole: Hole = .{ .flags = 0, .reserved = 0, .offset = @intCast(offset), .length = @intCast(bytes) };
    const done = c.fcntl(fd, punchhole, &hole) == 0;
    crash.step();
    return done;
}

pub fn map(fd: Fd, private_bytes: usize, segment_bytes: usize, failure: *Failure) Error![*]align(4096) u8 {
    const rw: c.PROT = .{ .READ = true, .WRITE = true };
    const all = private_bytes + segment_bytes;
    const start = c.mmap(null, all, rw, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
    if (start == c.MAP_FAILED) return failed(failure);
    const base: [*]align(4096) u8 = @ptrCast(@alignCast(start));
    const segment: [*]align(4096) u8 = @alignCast(base + private_bytes);
    if (c.mmap(@ptrCast(@alignCast(segment)), segment_bytes, rw, .{ .TYPE = .SHARED, .FIXED = true }, fd, 0) == c.MAP_FAILED) {
        const err = failed(failure);
        unmap(base, all);
        return err;
    }
    const inherit_none = 2; // VM_INHERIT_NONE: the segment stays out of forks
    _ = minherit(@ptrCast(segment), segment_bytes, inherit_none);
    return base;
}

extern "c" fn minherit(address: *anyopaque, bytes: usize, how: c_int) c_int;

/// Zeroed memory of this process, which takes nothing until it is written.
pub fn mapPrivate(bytes: usize, _: usize, failure: *Failure) Error![*]align(4096) u8 {
    const rw: c.PROT = .{ .READ = true, .WRITE = true };
    const start = c.mmap(null, bytes, rw, .{ .TYPE = .PRIVATE, .ANONYMOUS = true }, -1, 0);
    if (start == c.MAP_FAILED) return failed(failure);
    return @ptrCast(@alignCast(start));
}

pub fn letWrite(_: [*]align(4096) u8, _: usize, _: *Failure) Error!void {}

pub fn unmap(base: [*]align(4096) u8, bytes: usize) void {
    _ = c.munmap(@ptrCast(@alignCast(base)), bytes);
}

pub fn mapZeros(base: [*]align(4096) u8, bytes: usize) bool {
    const flags: c.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .FIXED = true };
    return c.mmap(@ptrCast(@alignCast(base)), bytes, .{ .READ = true, .WRITE = true }, flags, -1, 0) != c.MAP_FAILED;
}

pub fn pageBytes() u64 {
    return 16384;
}

pub const DeviceSpace = struct { total_bytes: u64, free_bytes: u64, files_are_full: bool };

const Statvfs = extern struct {
    block_bytes: c_ulong,
    fragment_bytes: c_ulong,
    blocks: c_uint,
    blocks_free: c_uint,
    blocks_available: c_uint,
    files: c_uint,
    files_free: c_uint,
    files_available: c_uint,
    id: c_ulong,
    flags: c_ulong,
    name_bytes: c_ulong,
};
extern "c" fn statvfs(path: [*:0]const u8, into: *Statvfs) c_int;

pub fn deviceSpace() ?DeviceSpace {
    var buffer: Statvfs = undefined;
    if (statvfs("/tmp", &buffer) != 0) return null;
    return .{
        .total_bytes = @as(u64, buffer.blocks) *| buffer.fragment_bytes,
        .free_bytes = @as(u64, buffer.blocks_available) *| buffer.fragment_bytes,
        .files_are_full = buffer.files > 0 and buffer.files_available == 0,
    };
}

pub fn defaultCapacity() u64 {
    var least: u64 = std.math.maxInt(u64);
    var memory: u64 = 0;
    var length: usize = @sizeOf(u64);
    if (c.sysctlbyname("hw.memsize", &memory, &length, null, 0) == 0) least = memory;
    if (deviceSpace()) |space| least = @min(least, space.total_bytes);
    return least;
}

// ---------------------------------------------------------------- who lives: locked bytes

pub const Lock = enum(i16) { shared = c.F.RDLCK, exclusive = c.F.WRLCK, none = c.F.UNLCK };

fn lockCall(fd: Fd, command: c_int, kind: Lock, start: i64, length: i64) ?i16 {
    var lock = std.mem.zeroes(c.Flock);
    lock.type = @intFromEnum(kind);
    lock.whence = c.SEEK.SET;
    lock.start = start;
    lock.len = length;
    while (c.fcntl(fd, command, &lock) != 0) if (c._errno().* != @intFromEnum(c.E.INTR)) return null;
    return lock.type;
}

pub fn setLock(fd: Fd, kind: Lock, start: i64) bool {
    defer crash.step();
    return lockCall(fd, ofd_setlk, kind, start, 1) != null;
}

pub fn lockedByOther(fd: Fd, start: i64, length: i64) bool {
    const kind = lockCall(fd, ofd_getlk, .exclusive, start, length) orelse return true;
    return kind != c.F.UNLCK;
}

// ---------------------------------------------------------------- who lives: threads

pub const Thread = struct {
    pid: u32,
    tid: u32,
    pid_namespace: u64,
    /// The thread's id, which is never used again: it stands for the start time.
    started_ticks: u64,

    pub fn current() Thread {
        var id: u64 = 0;
        _ = c.pthread_threadid_np(null, &id);
        return .{ .pid = @intCast(c.getpid()), .tid = @truncate(id), .pid_namespace = 1, .started_ticks = id };
    }
    pub fn own(_: *Failure) Error!Thread {
        return current();
    }
};

extern "c" fn proc_pidinfo(pid: c_int, flavor: c_int, arg: u64, buffer: ?*anyopaque, bytes: c_int) c_int;

pub fn threadIsDead(judge: Thread, pid: u32, tid: u32, started_ticks: u64) bool {
    _ = .{ judge, tid };
    if (pid > std.math.maxInt(i32)) return false;
    const thread_by_id = 15; // PROC_PIDTHREADID64INFO
    var buffer: [256]u8 = undefined;
    const got = proc_pidinfo(@intCast(pid), thread_by_id, started_ticks, &buffer, buffer.len);
    return got <= 0 and c._errno().* == @intFromEnum(c.E.SRCH);
}

/// Not told.
pub fn threadState(_: u32, _: u32) u8 {
    return 0;
}

const ctl_kern = 1;
const kern_procargs2 = 49;
extern "c" fn sysctl(name: [*]c_int, length: c_uint, old: ?*anyopaque, old_bytes: *usize, new: ?*anyopaque, new_bytes: usize) c_int;

/// The command line of a process, its parts separated by nul. Returns how many bytes, 0 if it cannot be told.
pub fn commandLine(pid: u32, into: []u8) usize {
    var name = [_]c_int{ ctl_kern, kern_procargs2, @intCast(pid) };
    // How many arguments; the program's path, padded with nul; the arguments; the environment, which is nobody's business.
    var buffer: [16384]u8 = undefined;
    var got: usize = buffer.len;
    if (sysctl(&name, name.len, &buffer, &got, null, 0) != 0 or got < 4) return 0;
    // Where there is more than that, the kernel gives the end of it: the environment.
    if (got >= buffer.len) return 0;
    const count = std.mem.readInt(u32, buffer[0..4], .little);
    var at = std.mem.indexOfScalarPos(u8, buffer[0..got], 4, 0) orelse return 0;
    while (at < got and buffer[at] == 0) at += 1;
    const start = at;
    for (0..@min(count, got)) |_| at = 1 + (std.mem.indexOfScalarPos(u8, buffer[0..got], at, 0) orelse return 0);
    const bytes = @min(at - start, into.len);
    @memcpy(into[0..bytes], buffer[start..][0..bytes]);
    return bytes;
}

extern "c" fn mach_vm_read_overwrite(task: c_uint, address: u64, size: u64, into: u64, got: *u64) c_int;
extern "c" var mach_task_self_: c_uint;

/// Reads this process's memory at an address that may be anything. False if there is nothing to read.
pub fn readOwnMemory(address: u64, into: []u8) bool {
    var got: u64 = 0;
    return mach_vm_read_overwrite(mach_task_self_, address, into.len, @intFromPtr(into.ptr), &got) == 0 and got == into.len;
}

/// Whether none of its threads ever runs user code again.
pub fn processIsDead(judge: Thread, pid: u32) bool {
    _ = judge;
    return processIsGone(pid);
}

/// A zombie is still there, which errs on the safe side: its locks are gone.
fn processIsGone(pid: u32) bool {
    if (pid == 0 or pid > std.math.maxInt(i32)) return false; // kill(0) is for a whole group
    return c.kill(@intCast(pid), @enumFromInt(0)) != 0 and c._errno().* == @intFromEnum(c.E.SRCH);
}

/// That it is a member's, its stamp has proved: there is no cheap way to ask the system.
pub fn isMappingOf(mapping: u64, _: usize, _: u64) bool {
    return mapping != 0 and mapping % 4096 == 0;
}

// ---------------------------------------------------------------- doorbells

pub const Socket = struct { fd: Fd, number: u32, cookie: u64 };

/// There are no sockets here whose names leave nothing on disk: hosts look from time to time.
pub fn openSocket(_: *Failure) Error!Socket {
    return error.System;
}

pub fn drainSocket(_: Fd) void {}

pub fn ringSocket(_: u32, _: u64) void {}

// ---------------------------------------------------------------- waiting, time, chance

const wake_all = 0x100; // ULF_WAKE_ALL
const compare_and_wait_shared = 3; // UL_COMPARE_AND_WAIT_SHARED
extern "c" fn __ulock_wait(operation: u32, address: *const anyopaque, value: u64, timeout_us: u32) c_int;
extern "c" fn __ulock_wake(operation: u32, address: *const anyopaque, value: u64) c_int;

pub fn wait(word: *const u32, expected: u32, timeout_ms: u64) void {
    waitNs(word, expected, timeout_ms *| 1_000_000);
}

pub fn waitNs(word: *const u32, expected: u32, timeout_ns: ?u64) void {
    // Microseconds; 0 is for ever.
    const us = if (timeout_ns) |ns| std.math.clamp(ns / 1000, 1, std.math.maxInt(u32)) else 0;
    _ = __ulock_wait(compare_and_wait_shared, word, expected, @intCast(us));
}

pub fn wakeOne(word: *const u32) bool {
    return wake(word, compare_and_wait_shared);
}

pub fn wakeAll(word: *const u32) bool {
    return wake(word, compare_and_wait_shared | wake_all);
}

/// Whether there was anybody.
noinline fn wake(word: *const u32, how: u32) bool {
    return __ulock_wake(how, word, 0) == 0;
}

extern "c" fn sched_yield() c_int;

pub fn yield() void {
    _ = sched_yield();
}

/// See linux.zig: there is nothing of the kind here.
pub const has_barriers = false;

pub fn sleep(ms: u64) void {
    const time: c.timespec = .{ .sec = @intCast(ms / 1000), .nsec = @intCast(ms % 1000 * 1_000_000) };
    _ = c.nanosleep(&time, null);
}

fn milliseconds(clock: c.clockid_t) u64 {
    var time: c.timespec = undefined;
    if (c.clock_gettime(clock, &time) != 0) return 0;
    return @as(u64, @intCast(time.sec)) * 1000 + @as(u64, @intCast(time.nsec)) / 1_000_000;
}

pub fn monotonicNs() u64 {
    var time: c.timespec = undefined;
    if (c.clock_gettime(.MONOTONIC, &time) != 0) return 0;
    return @as(u64, @intCast(time.sec)) * 1_000_000_000 + @as(u64, @intCast(time.nsec));
}

pub fn monotonicMs() u64 {
    return milliseconds(.MONOTONIC);
}
/// Another number once a second is over. Without a system call, from the page that the kernel shares.
pub const SecondOf = *const fn (?*i64) callconv(.c) i64;
pub fn secondOf() SecondOf {
    return second;
}
fn second(_: ?*i64) callconv(.c) i64 {
    return @intCast(monotonicMs() >> 10);
}
pub fn wallMs() u64 {
    return milliseconds(.REALTIME);
}

/// What the host, or a library of it, has under that name.
pub fn symbol(name: [*:0]const u8) ?*anyopaque {
    const everywhere: *anyopaque = @ptrFromInt(std.math.maxInt(usize) - 1); // RTLD_DEFAULT
    return c.dlsym(everywhere, name);
}

pub fn random(into: []u8, _: *Failure) error{}!void {
    c.arc4random_buf(into.ptr, into.len);
}

pub fn processors() u32 {
    var count: u32 = 1;
    var length: usize = @sizeOf(u32);
    _ = c.sysctlbyname("hw.activecpu", &count, &length, null, 0);
    return count;
}

/// On which of them a thread runs is the system's business alone.
pub const may_move = false;
