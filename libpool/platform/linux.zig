//! Linux, by raw system calls: the library links no libc, so one file serves glibc and musl.
//!
//! A segment is a file of /dev/shm.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const crash = @import("../crash.zig");
const host = @import("../host.zig");
const platform = @import("../platform.zig");
const text_file = @import("../text.zig");
const Error = platform.Error;
const Fd = platform.Fd;

pub const prefix = "arraypool.";
const directory = "/dev/shm";

/// A system call's last failure, for the report; private to the member that asks for it.
pub const Failure = struct { errno: i32 = 0 };

/// Whether a system call has succeeded. Its results are numbers of less than 2^63.
inline fn isDone(result: usize) bool {
    return @as(isize, @bitCast(result)) >= 0;
}

inline fn call(result: usize, failure: *Failure) Error!usize {
    return if (isDone(result)) result else failed(result, failure);
}
noinline fn failed(result: usize, failure: *Failure) Error {
    const e = linux.errno(result);
    failure.errno = @intFromEnum(e);
    return switch (e) {
        .NOENT => error.NotFound,
        .EXIST => error.Exists,
        .ACCES, .PERM, .LOOP => error.Permission,
        .NOSPC, .DQUOT => error.NoSpace,
        .NOMEM => error.AddressSpace,
        else => error.System,
    };
}

// ---------------------------------------------------------------- the segment's file

pub const Path = struct {
    bytes: [directory.len + 1 + prefix.len + 64 + 1]u8,

    pub noinline fn of(name: []const u8) Path {
        var path: Path = .{ .bytes = undefined };
        _ = joined(&path.bytes, &.{ directory ++ "/" ++ prefix, name });
        return path;
    }
    fn z(path: *const Path) [*:0]const u8 {
        return @ptrCast(&path.bytes);
    }
};

/// The parts one after the other, and a nul.
fn joined(into: []u8, parts: []const []const u8) [*:0]const u8 {
    var at: usize = 0;
    for (parts) |part| {
        @memcpy(into[at..][0..part.len], part);
        at += part.len;
    }
    into[at] = 0;
    return @ptrCast(into.ptr);
}

/// A segment without a name: nobody sees it, and it is gone with its descriptor.
pub fn createUnnamed(failure: *Failure) Error!Fd {
    var flags: linux.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true };
    flags = @bitCast(@as(u32, @bitCast(flags)) | tmpfile_flags);
    const fd: Fd = @intCast(try call(linux.openat(linux.AT.FDCWD, directory, flags, 0o600), failure));
    errdefer close(fd);
    _ = try call(linux.fchmod(fd, 0o600), failure); // whatever the umask
    return fd;
}

const tmpfile_flags: u32 = blk: {
    const flags: linux.O = .{ .TMPFILE = true, .DIRECTORY = true };
    break :blk @bitCast(flags);
};

/// Gives an unnamed segment its name: complete and locked from the first moment anyone can see it.
pub fn publish(fd: Fd, name: []const u8, failure: *Failure) Error!void {
    const path = Path.of(name);
    var self_buffer: [64]u8 = undefined;
    const self = text_file.fill(&self_buffer, "/proc/self/fd/#", &.{@intCast(fd)});
    const follow = linux.AT.SYMLINK_FOLLOW;
    const by_proc = call(linux.linkat(linux.AT.FDCWD, self.ptr, linux.AT.FDCWD, path.z(), follow), failure);
    if (by_proc) |_| return crash.step() else |err| if (err == error.Exists) return err;
    // Without /proc, newer kernels let a process link what it has opened itself.
    _ = try call(linux.linkat(fd, "", linux.AT.FDCWD, path.z(), linux.AT.EMPTY_PATH), failure);
    crash.step();
}

pub noinline fn open(name: []const u8, failure: *Failure) Error!Fd {
    const path = Path.of(name);
    // NONBLOCK: a FIFO of that name must not make us wait.
    const flags: linux.O = .{ .ACCMODE = .RDWR, .CLOEXEC = true, .NOFOLLOW = true, .NONBLOCK = true };
    return @intCast(call(linux.openat(linux.AT.FDCWD, path.z(), flags, 0), failure) catch |err| switch (failure.errno) {
        @intFromEnum(linux.E.ISDIR), @intFromEnum(linux.E.NXIO) => return error.Permission,
        else => return err,
    });
}

/// For reading only, without a trace: not even the time of the last access changes.
pub noinline fn openToLook(name: []const u8, failure: *Failure) Error!Fd {
    const path = Path.of(name);
    var flags: linux.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true, .NOFOLLOW = true, .NONBLOCK = true, .NOATIME = true };
    for (0..2) |_| {
        return @intCast(call(linux.openat(linux.AT.FDCWD, path.z(), flags, 0), failure) catch |err| {
            if (failure.errno != @intFromEnum(linux.E.PERM)) return err;
            flags.NOATIME = false; // another user's
            continue;
        });
    }
    return error.Permission;
}

/// What stands under a name, without opening it.
pub noinline fn infoOf(name: []const u8) ?FileInfo {
    const path = Path.of(name);
    return infoAt(linux.AT.FDCWD, path.z(), linux.AT.SYMLINK_NOFOLLOW);
}

pub noinline fn unlink(name: []const u8) void {
    const path = Path.of(name);
    _ = linux.unlink(path.z());
    crash.step();
}

pub noinline fn close(fd: Fd) void {
    _ = linux.close(fd);
    crash.step();
}

pub const FileInfo = struct {
    regular: bool,
    owned: bool, // by this user
    mode: u16,
    links: u32,
    inode: u64,
    device: u64,
    size_bytes: u64,
    backed_bytes: u64,
};

pub noinline fn info(fd: Fd) ?FileInfo {
    return infoAt(fd, "", linux.AT.EMPTY_PATH);
}

noinline fn infoAt(fd: Fd, path: [*:0]const u8, flags: u32) ?FileInfo {
    var buffer: linux.Statx = undefined;
    const result = linux.statx(fd, path, flags, linux.STATX.BASIC_STATS, &buffer);
    if (!isDone(result)) return null;
    return .{
        .regular = buffer.mode & linux.S.IFMT == linux.S.IFREG,
        .owned = buffer.uid == linux.geteuid(),
        .mode = buffer.mode & 0o7777,
        .links = buffer.nlink,
        .inode = buffer.ino,
        .device = @as(u64, buffer.dev_major) << 32 | buffer.dev_minor,
        .size_bytes = buffer.size,
        .backed_bytes = buffer.blocks * 512,
    };
}

/// Whether `name` still leads to the file that `fd` has open.
pub noinline fn hasName(fd: Fd, name: []const u8) bool {
    const mine = info(fd) orelse return false;
    const theirs = infoOf(name) orelse return false;
    return mine.inode == theirs.inode and mine.device == theirs.device;
}

pub fn read(fd: Fd, into: []u8) bool {
    return linux.pread(fd, into.ptr, into.len, 0) == into.len;
}

/// From `offset` on. False if there is less, or nothing to be read.
pub noinline fn readAt(fd: Fd, offset: u64, into: []u8) bool {
    var done: usize = 0;
    while (done < into.len) {
        const got = linux.pread(fd, into[done..].ptr, into.len - done, @intCast(offset + done));
        if (linux.errno(got) == .INTR) continue;
        if (!isDone(got) or got == 0) return false;
        done += got;
    }
    return true;
}

/// The names of this machine's segments, whoever they belong to.
pub const Names = struct {
    fd: Fd,
    buffer: [4096]u8 align(8) = undefined,
    at: usize = 0,
    end: usize = 0,

    pub fn open() ?Names {
        var failure: Failure = .{};
        const flags: linux.O = .{ .ACCMODE = .RDONLY, .DIRECTORY = true, .CLOEXEC = true };
        const fd = call(linux.openat(linux.AT.FDCWD, directory, flags, 0), &failure) catch return null;
        return .{ .fd = @intCast(fd) };
    }
    pub fn next(names: *Names, into: *[64]u8) ?[]const u8 {
        while (true) {
            if (names.at >= names.end) {
                const got = linux.getdents64(names.fd, &names.buffer, names.buffer.len);
                if (!isDone(got) or got == 0) return null;
                names.at = 0;
                names.end = got;
            }
            const entry: *align(1) const linux.dirent64 = @ptrCast(&names.buffer[names.at]);
            names.at += entry.reclen;
            const entry_name = std.mem.span(@as([*:0]const u8, @ptrCast(&entry.name)));
            if (entry_name.len <= prefix.len or !text_file.equal(entry_name[0..prefix.len], prefix)) continue;
            const name = entry_name[prefix.len..];
            if (name.len > into.len) continue;
            @memcpy(into[0..name.len], name);
            return into[0..name.len];
        }
    }
    pub fn close(names: *Names) void {
        _ = linux.close(names.fd);
    }
};

// ---------------------------------------------------------------- its memory

pub fn setSize(fd: Fd, bytes: u64, failure: *Failure) Error!void {
    // Beyond `ulimit -f`, ftruncate() ends a process that does not ignore SIGXFSZ.
    var limit: linux.rlimit = undefined;
    if (isDone(linux.getrlimit(.FSIZE, &limit)) and bytes > limit.cur) {
        failure.errno = @intFromEnum(linux.E.FBIG);
        return error.System;
    }
    _ = try call(linux.ftruncate(fd, @intCast(bytes)), failure);
}

/// Puts zeroed memory behind a range, or behind what of it has none. Steps: each is all or nothing, and before Linux 6.11 any
/// signal undoes the one it hits. So they get shorter then, or a profiler's timer would keep them from ever being done.
pub noinline fn back(fd: Fd, offset: u64, bytes: u64, failure: *Failure) Error!void {
    var step: u64 = 16 << 20;
    var done: u64 = 0;
    while (done < bytes) {
        const length = @min(step, bytes - done);
        const result = linux.fallocate(fd, 0, @intCast(offset + done), @intCast(length));
        if (linux.errno(result) == .INTR) {
            step = @max(step / 2, page_bytes);
            continue;
        }
        _ = call(result, failure) catch |err| return if (err == error.AddressSpace) error.NoSpace else err;
        crash.step();
        done += length;
    }
}

/// Enters the whole pages of backed memory into this process's page tables, to be written to: in one call, where the first write
/// to each page takes a fault otherwise. A hint: before Linux 5.14 nothing happens.
pub noinline fn populate(start: [*]u8, bytes: u64) void {
    const first = std.mem.alignForward(usize, @intFromPtr(start), page_bytes);
    const end = std.mem.alignBackward(usize, @intFromPtr(start) + bytes, page_bytes);
    if (first < end) _ = linux.madvise(@ptrFromInt(first), end - first, populate_write);
}
pub const may_populate = true;
const populate_write = 23; // MADV_POPULATE_WRITE, which std has not

/// Before a range of the heap is backed: has what holds whole huge pages backed by these, where /dev/shm gives them to who advises
/// it. Only a first touch is asked what was advised, never `fallocate`; so the first page of each is touched. A hint, as above.
/// Nothing but the heap is advised, and only up to there: or the kernel might fill up tables and small pools in the background.
pub noinline fn touchHugePages(heap: [*]u8, offset: u64, bytes: u64) void {
    const first = std.mem.alignForward(usize, @intFromPtr(heap), huge_page_bytes);
    const end = std.mem.alignBackward(usize, @intFromPtr(heap) + offset + bytes, huge_page_bytes);
    var at = std.mem.alignForward(usize, @intFromPtr(heap) + offset, huge_page_bytes);
    if (at < end) _ = linux.madvise(@ptrFromInt(first), end - first, linux.MADV.HUGEPAGE);
    while (at < end) : (at += huge_page_bytes) _ = linux.madvise(@ptrFromInt(at), page_bytes, populate_write);
}

/// For who reads what others say is backed: it is from now on, also where they lie.
pub fn makeReadable(fd: Fd, offset: u64, bytes: u64) platform.Readable {
    var failure: Failure = .{};
    back(fd, offset, bytes, &failure) catch return if (failure.errno == @intFromEnum(linux.E.NOSPC)) .no else .not_now;
    return .yes;
}
pub const is_always_readable = false;

/// False when /dev/shm certainly has no such room.
pub fn hasRoom(fd: Fd, bytes: u64) bool {
    if (bytes == 0) return true;
    const space = spaceBy(.fstatfs, @intCast(fd)) orelse return true;
    return space.free_bytes >= bytes;
}

/// Takes the memory from behind a range of whole pages; it reads as zeros when it is backed again.
pub noinline fn punch(fd: Fd, offset: u64, bytes: u64) bool {
    const mode = linux.FALLOC.FL_PUNCH_HOLE | linux.FALLOC.FL_KEEP_SIZE;
    while (true) {
        const result = linux.fallocate(fd, mode, @intCast(offset), @intCast(bytes));
        switch (linux.errno(result)) {
            .SUCCESS => {
                crash.step();
                return true;
            },
            .INTR => continue,
            else => return false,
        }
    }
}

/// Reserves `private_bytes + segment_bytes` of addresses: zeroed memory of this process, then the segment, which begins where
/// a huge page may: where /dev/shm is made of such pages, they are mapped whole only if addresses and offsets agree.
pub noinline fn map(fd: Fd, private_bytes: usize, segment_bytes: usize, failure: *Failure) Error![*]align(4096) u8 {
    const anonymous: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
    const rw: linux.PROT = .{ .READ = true, .WRITE = true };
    const all = private_bytes + segment_bytes;
    // First the addresses only: private memory of that size would count against `ulimit -d` and strict overcommit.
    const start = try call(linux.mmap(null, all + huge_page_bytes, .{}, anonymous, -1, 0), failure);
    const before = std.mem.alignForward(usize, start + private_bytes, huge_page_bytes) - (start + private_bytes);
    const base: [*]align(4096) u8 = @ptrFromInt(start + before);
    errdefer unmap(base, all);
    if (before > 0) _ = linux.munmap(@ptrFromInt(start), before);
    _ = linux.munmap(@ptrFromInt(start + before + all), huge_page_bytes - before);
    if (private_bytes > 0) _ = try call(linux.mprotect(base, private_bytes, rw), failure);
    const segment = base + private_bytes;
    const shared: linux.MAP = .{ .TYPE = .SHARED, .FIXED = true, .NORESERVE = true };
    _ = try call(linux.mmap(segment, segment_bytes, rw, shared, fd, 0), failure);
    // The segment stays out of core dumps and of forks.
    _ = linux.madvise(segment, segment_bytes, linux.MADV.DONTDUMP);
    _ = linux.madvise(segment, segment_bytes, linux.MADV.DONTFORK);
    return base;
}

/// Of x86-64, and of arm64 where a page has 4 KiB.
const huge_page_bytes = 2 << 20;

/// Zeroed memory of this process, of which the first bytes can be written: what is only read takes nothing, and counts against
/// no limit but that of addresses.
pub noinline fn mapPrivate(bytes: usize, writable_bytes: usize, failure: *Failure) Error![*]align(4096) u8 {
    const anonymous: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true };
    const start = try call(linux.mmap(null, bytes, .{ .READ = true }, anonymous, -1, 0), failure);
    const base: [*]align(4096) u8 = @ptrFromInt(start);
    errdefer unmap(base, bytes);
    try letWrite(base, writable_bytes, failure);
    return base;
}

pub fn letWrite(base: [*]align(4096) u8, bytes: usize, failure: *Failure) Error!void {
    _ = try call(linux.mprotect(base, bytes, .{ .READ = true, .WRITE = true }), failure);
}

pub fn unmap(base: [*]align(4096) u8, bytes: usize) void {
    _ = linux.munmap(base, bytes);
}

/// Zeros instead of what is mapped there: a view that somebody still has reads and writes nobody's memory. False, and all as it was, where
/// this process may have no mapping more (vm.max_map_count, calls that are forbidden).
pub fn mapZeros(base: [*]align(4096) u8, bytes: usize) bool {
    const anonymous: linux.MAP = .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true, .FIXED = true };
    if (isDone(linux.mmap(base, bytes, .{ .READ = true, .WRITE = true }, anonymous, -1, 0))) return true;
    // No more memory may be promised to this process (ulimit -d, strict overcommit). Zeros that cannot be written need no
    // promise: a write ends the process, which is better than reaching another one's array.
    return isDone(linux.mmap(base, bytes, .{ .READ = true }, anonymous, -1, 0));
}

pub fn pageBytes() u64 {
    return page_bytes;
}
/// 4 KiB on x86-64; arm64 kernels use up to 64 KiB, and a larger figure is always safe for punching.
const page_bytes: u64 = if (@import("builtin").cpu.arch == .x86_64) 4096 else 65536;

pub const DeviceSpace = struct { total_bytes: u64, free_bytes: u64, files_are_full: bool };

const Statfs = extern struct {
    type: i64,
    block_bytes: i64,
    blocks: u64,
    blocks_free: u64,
    blocks_available: u64,
    files: u64,
    files_free: u64,
    rest: [64]u8,
};

/// Null when it cannot be told, or has no limit of its own.
pub fn deviceSpace() ?DeviceSpace {
    const path: [*:0]const u8 = directory;
    return spaceBy(.statfs, @intFromPtr(path));
}
/// By a path, or by a descriptor of something there: in a third of the time.
noinline fn spaceBy(call_number: linux.SYS, of: usize) ?DeviceSpace {
    var buffer: Statfs = undefined;
    const result = linux.syscall2(call_number, of, @intFromPtr(&buffer));
    if (!isDone(result) or buffer.block_bytes <= 0 or buffer.blocks == 0) return null;
    const block: u64 = @intCast(buffer.block_bytes);
    return .{
        .total_bytes = buffer.blocks *| block,
        .free_bytes = buffer.blocks_available *| block,
        .files_are_full = buffer.files > 0 and buffer.files_free == 0,
    };
}

/// The least of the machine's memory, the cgroup's limit and the size of /dev/shm.
pub fn defaultCapacity() u64 {
    var least: u64 = std.math.maxInt(u64);
    var machine: linux.Sysinfo = undefined;
    if (isDone(linux.sysinfo(&machine)))
        least = @min(least, @as(u64, machine.totalram) * @max(1, machine.mem_unit));
    if (deviceSpace()) |space| least = @min(least, space.total_bytes);
    return @min(least, cgroupLimit());
}

fn cgroupLimit() u64 {
    var least = limitIn("/sys/fs/cgroup/memory/memory.limit_in_bytes"); // version 1
    least = @min(least, limitIn("/sys/fs/cgroup/memory.max"));
    var buffer: [1024]u8 = undefined;
    const text = readFile("/proc/self/cgroup", &buffer) orelse return least;
    const at = std.mem.indexOf(u8, text, "0::/") orelse return least;
    var path = text[at + 3 ..];
    path = path[0..text_file.find(path, 0, '\n')];
    // Each group on the way up limits what is below it.
    while (path.len > 1) {
        var file_buffer: [1200]u8 = undefined;
        const file = joined(&file_buffer, &.{ "/sys/fs/cgroup", path, "/memory.max" });
        least = @min(least, limitIn(file));
        path = path[0..text_file.findLast(path, '/')];
    }
    return least;
}

fn limitIn(path: [*:0]const u8) u64 {
    var buffer: [64]u8 = undefined;
    const text = readFile(path, &buffer) orelse return std.math.maxInt(u64);
    return text_file.number(text[0..text_file.find(text, 0, '\n')], 10, std.math.maxInt(u64)) orelse std.math.maxInt(u64); // "max"
}

noinline fn readFile(path: [*:0]const u8, into: []u8) ?[]u8 {
    var failure: Failure = .{};
    const flags: linux.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true };
    const fd: Fd = @intCast(call(linux.openat(linux.AT.FDCWD, path, flags, 0), &failure) catch return null);
    defer _ = linux.close(fd);
    const got = linux.read(fd, into.ptr, into.len);
    if (!isDone(got)) return null;
    return into[0..got];
}

// ---------------------------------------------------------------- who lives: locked bytes

pub const Lock = enum(i16) { shared = linux.F.RDLCK, exclusive = linux.F.WRLCK, none = linux.F.UNLCK };

fn flock(kind: Lock, start: i64, length: i64) linux.Flock {
    var lock = std.mem.zeroes(linux.Flock);
    lock.type = @intFromEnum(kind);
    lock.whence = linux.SEEK.SET;
    lock.start = start;
    lock.len = length;
    return lock;
}

/// Locks one byte for this descriptor's description, or lets go of it. False if another one has it.
pub noinline fn setLock(fd: Fd, kind: Lock, start: i64) bool {
    var lock = flock(kind, start, 1);
    while (true) {
        const result = linux.fcntl(fd, linux.F.OFD_SETLK, @intFromPtr(&lock));
        if (linux.errno(result) == .INTR) continue;
        crash.step();
        return isDone(result);
    }
}

/// Whether somebody else's description holds a lock in the range. Unsure means yes.
pub noinline fn lockedByOther(fd: Fd, start: i64, length: i64) bool {
    var lock = flock(.exclusive, start, length);
    const result = linux.fcntl(fd, linux.F.OFD_GETLK, @intFromPtr(&lock));
    crash.load();
    return !isDone(result) or lock.type != linux.F.UNLCK;
}

// ---------------------------------------------------------------- who lives: threads

pub const Thread = struct {
    pid: u32,
    tid: u32,
    /// Where `pid`, `tid` and `started_ticks` mean something. 0: /proc does not tell, only the slot's byte counts.
    pid_namespace: u64,
    started_ticks: u64,

    pub fn current() Thread {
        var failure: Failure = .{};
        return own(&failure) catch .{ .pid = @intCast(linux.getpid()), .tid = @intCast(linux.gettid()), .pid_namespace = 0, .started_ticks = 0 };
    }
    /// For who is judged by it from now on: an error where /proc might have told, but for a descriptor or memory.
    pub noinline fn own(failure: *Failure) Error!Thread {
        const pid: u32 = @intCast(linux.getpid());
        const tid: u32 = @intCast(linux.gettid());
        var thread: Thread = .{ .pid = pid, .tid = tid, .pid_namespace = 0, .started_ticks = 0 };
        const stat = threadStatOf(pid, tid, failure) catch |err| switch (failure.errno) {
            @intFromEnum(linux.E.MFILE), @intFromEnum(linux.E.NFILE), @intFromEnum(linux.E.NOMEM) => return err,
            else => return thread,
        };
        thread.started_ticks = stat.started_ticks;
        thread.pid_namespace = namespaces(pid);
        return thread;
    }
};

/// The PID namespace, and the time namespace by which /proc reckons start times, folded into one number; 0 when /proc is
/// not that of this PID namespace.
fn namespaces(pid: u32) u64 {
    var failure: Failure = .{};
    var link: [32]u8 = undefined;
    const length = call(linux.readlink("/proc/self", &link, link.len), &failure) catch return 0;
    if (text_file.number(link[0..length], 10, std.math.maxInt(u32)) != pid) return 0;
    const pids = namespace("/proc/self/ns/pid");
    if (pids == 0) return 0;
    return pids ^ std.math.rotl(u64, namespace("/proc/self/ns/time"), 20); // kernels before 5.6 have no such namespaces
}

/// Device and inode, folded; 0 when there is no such file.
fn namespace(path: [*:0]const u8) u64 {
    var buffer: linux.Statx = undefined;
    const result = linux.statx(linux.AT.FDCWD, path, 0, linux.STATX.BASIC_STATS, &buffer);
    if (!isDone(result)) return 0;
    return buffer.ino ^ (@as(u64, buffer.dev_major) << 52) ^ (@as(u64, buffer.dev_minor) << 40);
}

/// Whether that thread certainly never runs user code again. Only for threads of the same `pid_namespace` as `judge`, the
/// caller's.
pub noinline fn threadIsDead(judge: Thread, pid: u32, tid: u32, started_ticks: u64) bool {
    if (!looksDead(pid, tid, started_ticks)) return false;
    // /proc may be another one than when the caller joined (after chroot, say): it must know the caller itself.
    const own = threadStat(judge.pid, judge.tid) catch return false;
    return own.started_ticks == judge.started_ticks;
}

fn looksDead(pid: u32, tid: u32, started_ticks: u64) bool {
    // What /proc does not show may be hidden (hidepid): only if there is no such thread, it is gone.
    const stat = threadStat(pid, tid) catch |err| return err == error.NotFound and isNumber(pid) and isNumber(tid) and
        linux.errno(linux.tgkill(@intCast(pid), @intCast(tid), @enumFromInt(0))) == .SRCH;
    if (stat.started_ticks != started_ticks) return true; // its number has a new owner
    return stat.isOver();
}

/// Whether a process or thread may have that number at all: a segment may say anything.
fn isNumber(id: u32) bool {
    return id != 0 and id <= std.math.maxInt(i32);
}

/// What a thread is at, as /proc has it ('R' running, 'S' sleeping, 'T' stopped …); 0 if it does not tell.
pub fn threadState(pid: u32, tid: u32) u8 {
    const stat = threadStat(pid, tid) catch return 0;
    return stat.state;
}

/// The command line of a process, its parts separated by nul. Returns how many bytes, 0 if it cannot be told.
pub fn commandLine(pid: u32, into: []u8) usize {
    var path_buffer: [64]u8 = undefined;
    const path = text_file.fill(&path_buffer, "/proc/#/cmdline", &.{pid});
    return (readFile(path.ptr, into) orelse return 0).len;
}

/// Whether none of its threads ever runs user code again. Only for processes of the same `pid_namespace` as `judge`.
pub noinline fn processIsDead(judge: Thread, pid: u32) bool {
    if (!allThreadsAreOver(pid)) return false;
    const own = threadStat(judge.pid, judge.tid) catch return false;
    return own.started_ticks == judge.started_ticks;
}

fn allThreadsAreOver(pid: u32) bool {
    var path_buffer: [64]u8 = undefined;
    const path = text_file.fill(&path_buffer, "/proc/#/task", &.{pid});
    var failure: Failure = .{};
    const flags: linux.O = .{ .ACCMODE = .RDONLY, .DIRECTORY = true, .CLOEXEC = true };
    const opened = call(linux.openat(linux.AT.FDCWD, path.ptr, flags, 0), &failure) catch |err|
        return err == error.NotFound and isNumber(pid) and linux.errno(linux.kill(@intCast(pid), @enumFromInt(0))) == .SRCH;
    const fd: Fd = @intCast(opened);
    defer _ = linux.close(fd);
    var buffer: [4096]u8 align(8) = undefined;
    while (true) {
        const got = linux.getdents64(fd, &buffer, buffer.len);
        switch (linux.errno(got)) {
            .SUCCESS => {},
            .NOENT, .SRCH => return true, // it was there at open
            else => return false,
        }
        if (got == 0) return true;
        var at: usize = 0;
        while (at < got) {
            const entry: *const linux.dirent64 = @ptrCast(@alignCast(&buffer[at]));
            at += entry.reclen;
            const name: [*:0]const u8 = @ptrCast(&entry.name);
            const tid = text_file.number(std.mem.span(name), 10, std.math.maxInt(u32)) orelse continue; // . and ..
            const stat = threadStat(pid, @intCast(tid)) catch |err| if (err == error.NotFound) continue else return false;
            if (!stat.isOver()) return false;
        }
    }
}

const ThreadStat = struct {
    state: u8,
    flags: u32,
    started_ticks: u64,

    fn isOver(stat: ThreadStat) bool {
        const exiting = 0x4; // PF_EXITING
        const signaled = 0x400; // PF_SIGNALED
        return stat.state == 'Z' or stat.state == 'X' or stat.flags & (exiting | signaled) != 0;
    }
};

fn threadStat(pid: u32, tid: u32) Error!ThreadStat {
    var failure: Failure = .{};
    return threadStatOf(pid, tid, &failure);
}
noinline fn threadStatOf(pid: u32, tid: u32, failure: *Failure) Error!ThreadStat {
    var path_buffer: [64]u8 = undefined;
    const path = text_file.fill(&path_buffer, "/proc/#/task/#/stat", &.{ pid, tid });
    const flags: linux.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true };
    const fd: Fd = @intCast(try call(linux.openat(linux.AT.FDCWD, path.ptr, flags, 0), failure));
    defer _ = linux.close(fd);
    var buffer: [1024]u8 = undefined;
    const got = linux.read(fd, &buffer, buffer.len);
    // The thread was there at open and is gone at read.
    if (linux.errno(got) == .SRCH) return error.NotFound;
    if (!isDone(got)) return error.System;
    const text = buffer[0..got];
    // The name in parentheses may hold anything, so count fields from its end: state is the third.
    const name_end = text_file.findLast(text, ')');
    if (name_end == 0) return error.System;
    var fields: text_file.Words = .{ .rest = text[name_end + 1 ..] };
    var stat: ThreadStat = .{ .state = 0, .flags = 0, .started_ticks = 0 };
    for (3..23) |number| {
        const field = fields.next();
        switch (number) {
            3 => stat.state = if (field.len > 0) field[0] else return error.System,
            9 => stat.flags = @intCast(text_file.number(field, 10, std.math.maxInt(u32)) orelse return error.System),
            22 => stat.started_ticks = text_file.number(field, 10, std.math.maxInt(u64)) orelse return error.System,
            else => {},
        }
    }
    return stat;
}

/// Reads this process's memory at an address that may be anything. False if there is nothing to read.
pub fn readOwnMemory(address: u64, into: []u8) bool {
    var failure: Failure = .{};
    const flags: linux.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true };
    const fd: Fd = @intCast(call(linux.openat(linux.AT.FDCWD, "/proc/self/mem", flags, 0), &failure) catch return false);
    defer _ = linux.close(fd);
    if (address > std.math.maxInt(i64)) return false;
    return linux.pread(fd, into.ptr, into.len, @intCast(address)) == into.len;
}

/// Whether a mapping of the file with that inode starts behind the private memory at that address.
pub fn isMappingOf(mapping: u64, private_bytes: usize, inode: u64) bool {
    const address = mapping +% private_bytes;
    var failure: Failure = .{};
    const flags: linux.O = .{ .ACCMODE = .RDONLY, .CLOEXEC = true };
    const fd: Fd = @intCast(call(linux.openat(linux.AT.FDCWD, "/proc/self/maps", flags, 0), &failure) catch return false);
    defer _ = linux.close(fd);
    var buffer: [8192]u8 = undefined;
    var filled: usize = 0;
    while (true) {
        const got = linux.read(fd, buffer[filled..].ptr, buffer.len - filled);
        if (!isDone(got) or got == 0) return false;
        filled += got;
        var start: usize = 0;
        while (true) {
            const end = text_file.find(buffer[0..filled], start, '\n');
            if (end == filled) break;
            // address-address perms offset device inode path
            var fields: text_file.Words = .{ .rest = buffer[start..end] };
            start = end + 1;
            const range = fields.next();
            if (text_file.number(range[0..text_file.find(range, 0, '-')], 16, std.math.maxInt(u64)) != address) continue;
            for (0..3) |_| _ = fields.next();
            return text_file.number(fields.next(), 10, std.math.maxInt(u64)) == inode;
        }
        std.mem.copyForwards(u8, buffer[0 .. filled - start], buffer[start..filled]);
        filled -= start;
        if (filled == buffer.len) return false;
    }
}

// ---------------------------------------------------------------- doorbells

/// A datagram socket whose name the kernel has chosen, in its own (abstract) name space: it leaves nothing on disk, and is
/// gone with its process. Anybody may send there, but the kernel drops what is not the cookie before anybody is woken.
pub const Socket = struct { fd: Fd, number: u32, cookie: u64 };

/// Without a number: five hexadecimal digits after a nul.
const SocketName = extern struct {
    family: u16 = linux.AF.UNIX,
    nul: u8 = 0,
    digits: [5]u8,

    const bytes = 8;
};

pub fn openSocket(failure: *Failure) Error!Socket {
    const kind = linux.SOCK.DGRAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
    const fd: Fd = @intCast(try call(linux.socket(linux.AF.UNIX, kind, 0), failure));
    errdefer close(fd);
    var cookie: u64 = 0;
    try random(std.mem.asBytes(&cookie), failure);
    const filter = cookieFilter(cookie);
    const program: FilterProgram = .{ .length = filter.len, .instructions = &filter };
    const attach_filter = 26; // SO_ATTACH_FILTER
    _ = try call(linux.setsockopt(fd, linux.SOL.SOCKET, attach_filter, @ptrCast(&program), @sizeOf(FilterProgram)), failure);
    var name: SocketName = .{ .digits = @splat(0) };
    _ = try call(linux.bind(fd, @ptrCast(&name), @sizeOf(u16)), failure);
    var length: linux.socklen_t = @sizeOf(SocketName);
    _ = try call(linux.getsockname(fd, @ptrCast(&name), &length), failure);
    if (length != SocketName.bytes) return error.System;
    const number = text_file.number(&name.digits, 16, std.math.maxInt(u32)) orelse return error.System;
    return .{ .fd = fd, .number = @intCast(number + 1), .cookie = cookie };
}

/// A classic BPF instruction.
const Instruction = extern struct { code: u16, if_true: u8 = 0, if_false: u8 = 0, operand: u32 };
const FilterProgram = extern struct { length: u16, instructions: [*]const Instruction };

/// Lets through what is eight bytes long and the cookie.
fn cookieFilter(cookie: u64) [8]Instruction {
    const load_word = 0x20;
    const load_length = 0x80;
    const jump_if_equal = 0x15;
    const give = 0x06;
    return .{
        .{ .code = load_length, .operand = 0 },
        .{ .code = jump_if_equal, .if_false = 5, .operand = @sizeOf(u64) },
        .{ .code = load_word, .operand = 0 },
        .{ .code = jump_if_equal, .if_false = 3, .operand = @truncate(cookie >> 32) },
        .{ .code = load_word, .operand = 4 },
        .{ .code = jump_if_equal, .if_false = 1, .operand = @truncate(cookie) },
        .{ .code = give, .operand = std.math.maxInt(u32) },
        .{ .code = give, .operand = 0 },
    };
}

/// Tells nothing of who has it: a killed one's stays open until all of its memory is torn down, or as long as somebody has a copy of
/// its descriptors.
pub fn ringSocket(number: u32, cookie: u64) void {
    var failure: Failure = .{};
    const kind = linux.SOCK.DGRAM | linux.SOCK.CLOEXEC | linux.SOCK.NONBLOCK;
    const fd: Fd = @intCast(call(linux.socket(linux.AF.UNIX, kind, 0), &failure) catch return);
    defer _ = linux.close(fd);
    var name: SocketName = .{ .digits = undefined };
    text_file.hex(&name.digits, number -% 1);
    const message = std.mem.nativeToBig(u64, cookie);
    // A queue that is full wakes as well as one message more.
    _ = linux.sendto(fd, std.mem.asBytes(&message), @sizeOf(u64), linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL, @ptrCast(&name), SocketName.bytes);
}

/// Takes what came.
pub fn drainSocket(fd: Fd) void {
    var message: [@sizeOf(u64)]u8 = undefined;
    // A few at a time: who watches is told again if there are more.
    for (0..64) |_| {
        const taken = linux.recvfrom(fd, &message, message.len, linux.MSG.DONTWAIT, null, null);
        if (linux.errno(taken) != .SUCCESS) return;
    }
}

// ---------------------------------------------------------------- waiting, time, chance

/// Sleeps while `word` is `expected`, `timeout_ms` at most.
pub fn wait(word: *const u32, expected: u32, timeout_ms: u64) void {
    const timeout: linux.timespec = .{
        .sec = @intCast(timeout_ms / 1000),
        .nsec = @intCast(timeout_ms % 1000 * 1_000_000),
    };
    _ = linux.futex_4arg(word, .{ .cmd = .WAIT, .private = false }, expected, &timeout);
}

/// The same in nanoseconds; null: for as long as it takes. May return before.
pub fn waitNs(word: *const u32, expected: u32, timeout_ns: ?u64) void {
    const ns = timeout_ns orelse 0;
    const timeout: linux.timespec = .{ .sec = @intCast(ns / 1_000_000_000), .nsec = @intCast(ns % 1_000_000_000) };
    _ = linux.futex_4arg(word, .{ .cmd = .WAIT, .private = false }, expected, if (timeout_ns == null) null else &timeout);
}

/// Whether somebody slept there.
pub fn wakeOne(word: *const u32) bool {
    return linux.futex_3arg(word, .{ .cmd = .WAKE, .private = false }, 1) == 1;
}

/// Whether there was anybody.
pub fn wakeAll(word: *const u32) bool {
    const woken: isize = @bitCast(linux.futex_3arg(word, .{ .cmd = .WAKE, .private = false }, std.math.maxInt(i32)));
    return woken > 0;
}

pub const has_barriers = true;

/// A full barrier in whatever all threads of all processes that have registered do now. False if the kernel does not do that.
pub fn barrierForAll() bool {
    return isDone(linux.syscall3(.membarrier, @intFromEnum(Membarrier.global_expedited), 0, 0));
}

const Membarrier = enum(u32) { global_expedited = 2, register_global_expedited = 4 };

/// Whether this process has registered. To do so takes the kernel some 10 ms where a process has several threads, so the
/// first call only sees to it.
pub fn registerForBarriers() bool {
    switch (registration.load(.acquire)) {
        .registered => return true,
        .none => if (registration.cmpxchgStrong(.none, .under_way, .monotonic, .monotonic) == null) inThread(register),
        else => {},
    }
    return registration.load(.acquire) == .registered;
}

var registration: std.atomic.Value(enum(u8) { none, under_way, registered, impossible }) = .init(.none);

fn register(_: ?*anyopaque) callconv(.c) ?*anyopaque {
    const result = linux.syscall3(.membarrier, @intFromEnum(Membarrier.register_global_expedited), 0, 0);
    registration.store(if (isDone(result)) .registered else .impossible, .release);
    return null;
}

/// Calls `function` in a thread of its own, if the host has such a thing; else here.
fn inThread(function: *const fn (?*anyopaque) callconv(.c) ?*anyopaque) void {
    const Create = fn (*usize, ?*const anyopaque, @TypeOf(function), ?*anyopaque) callconv(.c) c_int;
    const create = host.function("pthread_create", Create);
    const detach = host.function("pthread_detach", fn (usize) callconv(.c) c_int);
    var thread: usize = 0;
    if (create != null and detach != null and create.?(&thread, null, function, null) == 0) {
        _ = detach.?(thread);
    } else _ = function(null);
}

/// Lets others run on this processor.
pub fn yield() void {
    _ = linux.syscall0(.sched_yield);
}

pub fn sleep(ms: u64) void {
    const time: linux.timespec = .{ .sec = 0, .nsec = @intCast(ms * 1_000_000) };
    _ = linux.nanosleep(&time, null);
}

fn milliseconds(clock: linux.clockid_t) u64 {
    var time: linux.timespec = undefined;
    // Not by way of the vDSO: to find it, std asks libc.
    if (!isDone(linux.syscall2(.clock_gettime, @intFromEnum(clock), @intFromPtr(&time)))) return 0;
    return @as(u64, @intCast(time.sec)) * 1000 + @as(u64, @intCast(time.nsec)) / 1_000_000;
}

pub fn monotonicNs() u64 {
    var time: linux.timespec = undefined;
    if (!isDone(linux.syscall2(.clock_gettime, @intFromEnum(linux.clockid_t.MONOTONIC), @intFromPtr(&time)))) return 0;
    return @as(u64, @intCast(time.sec)) * 1_000_000_000 + @as(u64, @intCast(time.nsec));
}

/// The same clock in every process of the machine; never jumps.
pub fn monotonicMs() u64 {
    return milliseconds(.MONOTONIC);
}
/// Another number once a second is over, as fast as it can be had.
pub const SecondOf = *const fn (?*i64) callconv(.c) i64;
pub fn secondOf() SecondOf {
    // With glibc it is the kernel's own, which reads one number; elsewhere the exact clock.
    if (builtin.cpu.arch == .x86_64 and symbol("gnu_get_libc_version") != null) {
        if (symbol("time")) |time| return @ptrCast(time);
    }
    return coarseSecond;
}
/// As of the last tick of the kernel: by the host's libc where there is one, since that makes no system call for it.
fn coarseSecond(_: ?*i64) callconv(.c) i64 {
    const clock_monotonic_coarse = 6;
    const of_host = ofHost("clock_gettime", fn (c_int, *linux.timespec) callconv(.c) c_int);
    var time: linux.timespec = .{ .sec = -1, .nsec = 0 };
    if (of_host) |clock_gettime| {
        _ = clock_gettime(clock_monotonic_coarse, &time);
    } else _ = linux.syscall2(.clock_gettime, clock_monotonic_coarse, @intFromPtr(&time));
    return time.sec;
}
/// Since 1970.
pub fn wallMs() u64 {
    return milliseconds(.REALTIME);
}

/// A function of the host's libc, which may be any or none: null.
inline fn ofHost(comptime name: []const u8, comptime Function: type) ?*const Function {
    // A static program, such as that of the tests, has no host.
    if (builtin.output_mode != .Lib) return null;
    const there = @extern(?*const Function, .{ .name = name, .linkage = .weak });
    // The compiler would call it by its name, which takes an entry in three more tables.
    return asm (""
        : [ret] "=r" (-> ?*const Function),
        : [there] "0" (there),
    );
}

/// What the host, or a library of it, has under that name.
pub noinline fn symbol(name: [*:0]const u8) ?*anyopaque {
    const dlsym = ofHost("dlsym", fn (?*anyopaque, [*:0]const u8) callconv(.c) ?*anyopaque) orelse return null;
    return dlsym(null, name); // RTLD_DEFAULT
}

/// At most 256 bytes, which come all at once.
pub fn random(into: []u8, failure: *Failure) Error!void {
    _ = try call(linux.getrandom(into.ptr, into.len, 0), failure);
}

// ---------------------------------------------------------------- processors

/// One bit for each.
pub const Processors = [16]usize;

/// On which this thread may run. False where the system does not say.
pub fn allowed(set: *Processors) bool {
    set.* = @splat(0);
    return isDone(linux.syscall3(.sched_getaffinity, 0, @sizeOf(Processors), @intFromPtr(set)));
}
pub fn allow(set: *const Processors) bool {
    return isDone(linux.syscall3(.sched_setaffinity, 0, @sizeOf(Processors), @intFromPtr(set)));
}

/// On how many this thread may run; 1 where the system does not say.
pub fn processors() u32 {
    var set: Processors = undefined;
    if (!allowed(&set)) return 1;
    var count: u32 = 0;
    for (set) |word| count += @popCount(word);
    return count;
}

pub const may_move = true;

/// Whether somebody else wants to run on this one: then to let others run is counted as a switch.
pub fn isShared() bool {
    const before = switches();
    yield();
    return switches() != before;
}
fn switches() isize {
    var usage: linux.rusage = undefined;
    return if (isDone(linux.getrusage(linux.rusage.THREAD, &usage))) usage.nivcsw else 0;
}

/// How many threads of the whole system run or want to, this one with them.
pub fn runnable() u64 {
    var buffer: [64]u8 = undefined;
    const unknown = std.math.maxInt(u64);
    const text = readFile("/proc/loadavg", &buffer) orelse return unknown; // 0.20 0.18 0.12 1/80 11206
    const end = text_file.find(text, 0, '/');
    var start = end;
    while (start > 0 and text[start - 1] != ' ') start -= 1;
    return text_file.number(text[start..end], 10, unknown) orelse unknown;
}

/// Whether this thread may not make each call of the system (seccomp), or it cannot be told.
pub fn isFiltered() bool {
    var buffer: [4096]u8 = undefined;
    const text = readFile("/proc/thread-self/status", &buffer) orelse return true;
    const what = "\nSeccomp:\t";
    const at = std.mem.indexOf(u8, text, what) orelse return true;
    return !std.mem.startsWith(u8, text[at + what.len ..], "0\n");
}

/// To any other processor of those on which this thread may run. False if there is none, or it may not say where it runs.
pub fn move() bool {
    var own: Processors = undefined;
    if (!allowed(&own)) return false;
    var here: u32 = undefined;
    if (!isDone(linux.syscall3(.getcpu, @intFromPtr(&here), 0, 0)) or here >= @bitSizeOf(Processors)) return false;
    var others = own;
    others[here / @bitSizeOf(usize)] &= ~(@as(usize, 1) << @intCast(here % @bitSizeOf(usize)));
    if (!allow(&others)) return false; // none is left
    // Somebody else may have said meanwhile where this thread is to run.
    var now: Processors = undefined;
    if (!allowed(&now) or !std.mem.eql(usize, &now, &others)) return true;
    // Where nobody has said where this thread may run, nobody has after this, either.
    const all: Processors = @splat(std.math.maxInt(usize));
    if (allow(&all) and allowed(&others) and std.mem.eql(usize, &others, &own)) return true;
    _ = allow(&own);
    return true;
}
