//! zig build fuzz -- [--seconds N] [--seed S] [--workers W] [--keep FOLDER] [FILE ...]
//!
//! Looks for inputs that make a hostile run (tests/hostile.zig) fail, guided by coverage: an input that reaches a branch of the
//! library, or a count of it, that none reached before, is kept and changed further. Built like the library (ReleaseFast)
//! with the compiler's coverage counters (`fuzz = true`). Zig's own fuzzer (`zig build test --fuzz`) runs a test in its own
//! process: no watchdog, no run goes on after a crash, and no limit by time, so the loop is ours.
//!
//! Each worker is a process with a /dev/shm of its own, small enough to be filled (where the system lets it; it says so if
//! not). The supervisor sees how a worker ends: a signal is a finding, and so is a call that does not end within seconds. An
//! input that fails is written to FOLDER. With FILEs, runs just these.

const std = @import("std");
const linux = std.os.linux;
const hostile = @import("tests/hostile.zig");
const system = @import("platform.zig").system;

const corpus_max = 8192;
const counters_max = 1 << 17;
const hang_ms = 20_000;

const Entry = struct {
    bytes: [hostile.input_max]u8,
    length: u32,
};

/// What outlives a worker, in memory that it shares with the supervisor.
const Shared = struct {
    seed: u64,
    isolated: bool,
    guided: bool,
    quit: u32,
    heartbeat: u64,
    now: Entry,
    failed: u32,
    message: [256]u8,
    totals: hostile.Totals,
    scribbles: u64,
    /// How much of what was found before is done.
    replayed: u32,
    corpus_count: u32,
    seen_count: u32,
    seen: [counters_max]u8,
    corpus: [corpus_max]Entry,
};

extern var __start___sancov_cntrs: u8;
extern var __stop___sancov_cntrs: u8;

fn counters() []u8 {
    const start: [*]u8 = @ptrCast(&__start___sancov_cntrs);
    const bytes = @intFromPtr(&__stop___sancov_cntrs) - @intFromPtr(&__start___sancov_cntrs);
    return start[0..@min(bytes, counters_max)];
}

fn bucket(count: u8) u8 {
    return switch (count) {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4...7 => 8,
        8...15 => 16,
        16...31 => 32,
        32...127 => 64,
        else => 128,
    };
}

/// Whether the run that just ended went where none went before.
fn isNew(shared: *Shared) bool {
    var new = false;
    for (counters(), shared.seen[0..counters().len]) |count, *seen| {
        if (count == 0) continue;
        const bits = bucket(count);
        if (seen.* & bits == bits) continue;
        if (seen.* == 0) shared.seen_count += 1;
        seen.* |= bits;
        new = true;
    }
    return new;
}

// ---------------------------------------------------------------- a worker

fn work(shared: *Shared) void {
    _ = linux.prctl(@intFromEnum(linux.PR.SET_PDEATHSIG), @intFromEnum(linux.SIG.KILL), 0, 0, 0);
    shared.isolated = isolate();
    var filler: ?i32 = null;
    if (shared.isolated) {
        const fd = linux.open("/dev/shm/filler", .{ .ACCMODE = .RDWR, .CREAT = true, .CLOEXEC = true }, 0o600);
        if (linux.errno(fd) == .SUCCESS) filler = @intCast(fd);
    }
    var prng = std.Random.DefaultPrng.init(shared.seed);
    const random = prng.random();
    var scribbler: hostile.Scribbler = .{ .random = .init(shared.seed +% 1) };
    const has_scribbler = if (scribbler.start()) |_| true else |_| false;
    while (@atomicLoad(u32, &shared.quit, .monotonic) == 0) {
        if (shared.replayed < hostile.corpus.len) {
            const input = hostile.corpus[shared.replayed];
            shared.replayed += 1;
            @memcpy(shared.now.bytes[0..input.len], input);
            shared.now.length = @intCast(input.len);
        } else {
            make(shared, random);
            // What is made of an input that uses names most often does so, too.
            if (random.uintLessThan(u32, 16) == 0) shared.now.bytes[0] = hostile.furnished + random.uintLessThan(u8, 4);
            const first = &shared.now.bytes[hostile.howAt(shared.now.bytes[0..shared.now.length])];
            first.* = switch (random.uintLessThan(u32, 8)) {
                0 => first.* | hostile.scribbled,
                1 => first.* & ~hostile.scribbled,
                2 => first.* | hostile.full,
                else => first.*,
            };
        }
        @memset(counters(), 0);
        hostile.execute(shared.now.bytes[0..shared.now.length], .{
            .filler = filler,
            .scribbler = if (has_scribbler) &scribbler else null,
            .heartbeat = &shared.heartbeat,
            .message = &shared.message,
            .totals = &shared.totals,
        }) catch {
            @atomicStore(u32, &shared.failed, 1, .release);
            while (@atomicLoad(u32, &shared.failed, .acquire) != 0) system.sleep(1);
            continue;
        };
        shared.scribbles = scribbler.writes;
        // What a writer at the same time makes of an input is chance, and says nothing of the input.
        const input = shared.now.bytes[0..shared.now.length];
        const by_chance = hostile.isScribbled(input[hostile.howAt(input)]);
        if (isNew(shared) and !by_chance and shared.corpus_count < corpus_max) {
            shared.corpus[shared.corpus_count] = shared.now;
            shared.corpus_count += 1;
        }
    }
}

/// A /dev/shm of this worker's own. False if the system does not let us.
fn isolate() bool {
    if (linux.errno(linux.unshare(linux.CLONE.NEWNS)) != .SUCCESS) return false;
    const private = linux.MS.REC | linux.MS.PRIVATE;
    if (linux.errno(linux.mount("none", "/", null, private, 0)) != .SUCCESS) return false;
    const options: [*:0]const u8 = "size=2560k,mode=1777";
    return linux.errno(linux.mount("fuzz", "/dev/shm", "tmpfs", 0, @intFromPtr(options))) == .SUCCESS;
}

/// The next input: a new one, or one of the corpus, changed.
fn make(shared: *Shared, random: std.Random) void {
    const now = &shared.now;
    if (shared.corpus_count == 0 or random.uintLessThan(u32, 20) == 0) {
        now.length = 32 + random.uintAtMost(u32, hostile.input_max - 32);
        random.bytes(now.bytes[0..now.length]);
        // Every other one with a channel in one of its states, which few would come upon.
        if (random.boolean()) now.bytes[0] = hostile.furnished;
        return;
    }
    // The newest lead furthest.
    const among = if (random.boolean()) @min(shared.corpus_count, 64) else shared.corpus_count;
    now.* = shared.corpus[shared.corpus_count - 1 - random.uintLessThan(u32, among)];
    for (0..1 + random.uintLessThan(u32, 8)) |_| {
        const at = random.uintLessThan(u32, @max(1, now.length));
        switch (random.uintLessThan(u32, 6)) {
            0 => now.bytes[at] ^= @as(u8, 1) << random.int(u3),
            1, 2 => now.bytes[at] = random.int(u8),
            3 => { // insert
                if (now.length == hostile.input_max) continue;
                std.mem.copyBackwards(u8, now.bytes[at + 1 .. now.length + 1], now.bytes[at..now.length]);
                now.bytes[at] = random.int(u8);
                now.length += 1;
            },
            4 => { // cut
                const bytes = @min(1 + random.uintLessThan(u32, 8), now.length - at);
                std.mem.copyForwards(u8, now.bytes[at .. now.length - bytes], now.bytes[at + bytes .. now.length]);
                now.length = @max(1, now.length - bytes);
            },
            else => { // the end of another
                const other = &shared.corpus[random.uintLessThan(u32, shared.corpus_count)];
                if (other.length <= at) continue;
                @memcpy(now.bytes[at..other.length], other.bytes[at..other.length]);
                now.length = other.length;
            },
        }
    }
}

// ---------------------------------------------------------------- the supervisor

const Worker = struct {
    shared: *Shared,
    pid: i32 = 0,
    beat: u64 = 0,
    beat_ms: u64 = 0,

    fn start(worker: *Worker) !void {
        worker.shared.seed +%= 0x9e37_79b9;
        const pid = linux.fork();
        if (linux.errno(pid) != .SUCCESS) return error.Fork;
        if (pid == 0) {
            work(worker.shared);
            linux.exit_group(0);
        }
        worker.pid = @intCast(pid);
        worker.beat_ms = awake_ms;
    }
};

/// The supervisor's time: what it sleeps at once counts as little. A machine that was suspended makes no call hang.
var awake_ms: u64 = 0;
var looked_ms: u64 = 0;

fn sleep() u64 {
    system.sleep(5);
    const now_ms = system.monotonicMs();
    awake_ms += @min(now_ms - looked_ms, 100);
    looked_ms = now_ms;
    return now_ms;
}

var findings: u32 = 0;
var keep_folder: []const u8 = "zig-out/fuzz";

fn found(io: std.Io, shared: *Shared, what: []const u8) void {
    findings += 1;
    if (findings > 40) return;
    const input = shared.now.bytes[0..shared.now.length];
    var path_buffer: [512]u8 = undefined;
    const path = std.fmt.bufPrint(&path_buffer, "{s}/{x:0>16}", .{ keep_folder, std.hash.Wyhash.hash(0, input) }) catch return;
    std.debug.print("FOUND {s}: {s}\n", .{ what, path });
    const cwd: std.Io.Dir = .cwd();
    cwd.createDirPath(io, keep_folder) catch {};
    cwd.writeFile(io, .{ .sub_path = path, .data = input }) catch |err| std.debug.print("not written: {s}\n", .{@errorName(err)});
}

pub fn main(init: std.process.Init) !u8 {
    var seconds: u64 = 10;
    var seed: u64 = system.wallMs();
    var workers_count: usize = @min(std.Thread.getCpuCount() catch 1, 8);
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    var files: std.ArrayList([]const u8) = .empty;
    var i: usize = 1;
    while (i < args.len) : (i += 1) {
        const arg = args[i];
        const value = if (i + 1 < args.len) args[i + 1] else "";
        if (std.mem.eql(u8, arg, "--seconds")) seconds = try std.fmt.parseInt(u64, value, 10) else if (std.mem.eql(u8, arg, "--seed")) seed = try std.fmt.parseInt(u64, value, 10) else if (std.mem.eql(u8, arg, "--workers")) workers_count = try std.fmt.parseInt(usize, value, 10) else if (std.mem.eql(u8, arg, "--keep")) keep_folder = value else {
            try files.append(init.arena.allocator(), arg);
            continue;
        }
        i += 1;
    }
    if (files.items.len > 0) return replay(init.io, init.arena.allocator(), files.items);

    var workers: [64]Worker = undefined;
    const active = workers[0..@min(workers_count, workers.len)];
    for (active, 0..) |*worker, n| {
        const flags: linux.MAP = .{ .TYPE = .SHARED, .ANONYMOUS = true, .NORESERVE = true };
        const start = linux.mmap(null, @sizeOf(Shared), .{ .READ = true, .WRITE = true }, flags, -1, 0);
        if (linux.errno(start) != .SUCCESS) return error.Map;
        worker.* = .{ .shared = @ptrFromInt(start) };
        worker.shared.seed = seed +% n *% 7919;
        try worker.start();
    }
    const begun_ms = system.monotonicMs();
    looked_ms = begun_ms;
    var told_ms = begun_ms;
    while (true) {
        const now_ms = sleep();
        for (active) |*worker| try attend(init.io, worker);
        if (now_ms - told_ms >= 60_000) {
            told_ms = now_ms;
            tell(active, now_ms - begun_ms, seed);
        }
        if (now_ms - begun_ms >= seconds * 1000) break;
    }
    for (active) |*worker| @atomicStore(u32, &worker.shared.quit, 1, .monotonic);
    for (active) |*worker| {
        const until_ms = awake_ms + hang_ms;
        while (worker.pid != 0) {
            _ = sleep();
            try attend(init.io, worker);
            if (awake_ms > until_ms) _ = linux.kill(worker.pid, .KILL);
        }
    }
    tell(active, system.monotonicMs() - begun_ms, seed);
    if (!active[0].shared.isolated) std.debug.print("no /dev/shm of its own (needs root or user namespaces): a full one was not tried\n", .{});
    return if (findings == 0) 0 else 1;
}

/// Looks after a worker: how it ended, whether it hangs, what it says.
fn attend(io: std.Io, worker: *Worker) !void {
    if (worker.pid == 0) return;
    const shared = worker.shared;
    if (@atomicLoad(u32, &shared.failed, .acquire) != 0) {
        found(io, shared, std.mem.sliceTo(&shared.message, 0));
        @atomicStore(u32, &shared.failed, 0, .release);
    }
    const beat = @atomicLoad(u64, &shared.heartbeat, .monotonic);
    if (beat != worker.beat) {
        worker.beat = beat;
        worker.beat_ms = awake_ms;
    } else if (awake_ms -| worker.beat_ms > hang_ms) {
        found(io, shared, "a call does not end");
        worker.beat_ms = awake_ms; // it takes a while to die
        _ = linux.kill(worker.pid, .KILL);
    }
    var status: u32 = 0;
    const ended = linux.wait4(worker.pid, &status, linux.W.NOHANG, null);
    if (linux.errno(ended) != .SUCCESS or ended == 0) return;
    worker.pid = 0;
    const signal = status & 0x7f;
    var buffer: [64]u8 = undefined;
    if (signal != 0 and signal != 9) found(io, shared, try std.fmt.bufPrint(&buffer, "signal {d}", .{signal}));
    if (@atomicLoad(u32, &shared.quit, .monotonic) == 0) try worker.start();
}

fn tell(workers: []const Worker, ms: u64, seed: u64) void {
    var sum: hostile.Totals = .{};
    var corpus: u32 = 0;
    var covered: u32 = 0;
    var scribbles: u64 = 0;
    for (workers) |worker| {
        inline for (@typeInfo(hostile.Totals).@"struct".fields) |field| @field(sum, field.name) += @field(worker.shared.totals, field.name);
        corpus += worker.shared.corpus_count;
        covered = @max(covered, worker.shared.seen_count);
        scribbles += worker.shared.scribbles;
    }
    std.debug.print("{d} s, seed {d}: {d} executions, {d} executions/s, {d} calls ({d} of them errors), {d} corruptions, {d} concurrent writes; " ++
        "corpus {d}, {d} of {d} counters; overlaps beyond the promise {d}, unguarded mappings {d}; {d} findings\n", .{
        ms / 1000, seed,           sum.runs,     sum.runs * 1000 / @max(1, ms), sum.calls, sum.errors, sum.corruptions, scribbles, corpus,
        covered,   counters().len, sum.overlaps, sum.unguarded,                 findings,
    });
}

fn replay(io: std.Io, gpa: std.mem.Allocator, files: []const []const u8) !u8 {
    const isolated = isolate();
    var filler: ?i32 = null;
    if (isolated) filler = @intCast(linux.open("/dev/shm/filler", .{ .ACCMODE = .RDWR, .CREAT = true, .CLOEXEC = true }, 0o600));
    var failed: u8 = 0;
    var scribbler: hostile.Scribbler = .{ .random = .init(1) };
    try scribbler.start();
    for (files) |file| {
        const input = try std.Io.Dir.cwd().readFileAlloc(io, file, gpa, .limited(1 << 16));
        var beat: u64 = 0;
        var message: [256]u8 = @splat(0);
        var totals: hostile.Totals = .{};
        std.debug.print("{s}:\n", .{file});
        if (hostile.execute(input, .{ .filler = filler, .scribbler = &scribbler, .heartbeat = &beat, .message = &message, .totals = &totals, .trace = true })) |_| {
            std.debug.print("  ok\n", .{});
        } else |_| {
            failed = 1;
            std.debug.print("  FAILED: {s}\n", .{std.mem.sliceTo(&message, 0)});
        }
    }
    return failed;
}
