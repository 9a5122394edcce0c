//! Crash points: in a test build (`-Dcrash-points`) a process can be told to die right after its n-th store to shared
//! memory. Every store goes through a `Cell` (layout.zig) or is a system call that the platform layer marks, so there is
//! no window between two stores that the tests cannot stop in. In every other build this is nothing.

const options = @import("options");

pub const enabled = options.crash_points;

var steps: u64 = 0;
var die_at: u64 = 0;
var stops = false;
/// Called at every step, before a death: by it the tests see that no store goes without one.
pub var observer: ?*const fn () void = null;

/// Called before every load from shared memory: by it the tests let others come in between.
pub var reader: ?*const fn () void = null;

/// Before a load from shared memory.
pub inline fn load() void {
    if (!enabled) return;
    if (reader) |read| read();
}

/// After a store to shared memory, or a system call that others can see the effect of.
pub inline fn step() void {
    if (!enabled) return;
    count();
}

/// Dies here and now, if it is to.
pub fn dieNow() noreturn {
    die();
}

fn count() void {
    if (observer) |observe| observe();
    if (@atomicRmw(u64, &steps, .Add, 1, .monotonic) + 1 == die_at) if (stops) stop() else die();
}

fn stop() void {
    const linux = @import("std").os.linux;
    _ = linux.kill(linux.getpid(), .STOP);
}

/// SIGKILL takes effect before the call returns: nothing of this process runs afterwards.
fn die() noreturn {
    const linux = @import("std").os.linux;
    _ = linux.kill(linux.getpid(), .KILL);
    unreachable;
}

/// Counts from 0 again; the process dies at step `at` (0: never).
pub fn arm(at: u64) void {
    steps = 0;
    die_at = at;
    stops = false;
}

/// As arm(), but there the process stops, and goes on after SIGCONT.
pub fn armStop(at: u64) void {
    arm(at);
    stops = true;
}

/// What a test does in the middle of a takeover.
pub var before_takeover: ?*const fn () void = null;

/// After a waiter has judged the lock's owner dead, before it takes over.
pub inline fn judged() void {
    if (!enabled) return;
    if (before_takeover) |act| act();
}

pub fn taken() u64 {
    return steps;
}
