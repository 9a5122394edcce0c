//! Waiting for a word: any 32-bit word of the segment, of an array or of the metadata, as `Atomics.wait` and `notify` do it.
//!
//!     wait      vacant ── waiting, in the list of the word's bucket ── notified (or over) ── vacant
//!     notify    the first waiters of that word become notified, then their members are woken
//!
//! One who blocks has a waiter of its own, in its slot, and sleeps on that waiter's word. One who goes on with its event loop
//! takes a waiter of the table for each wait, finds the notified ones in its list of them, and is woken by its doorbell.
//!
//! Invariants:
//!   - A waiter's `word` is the truth; lists and counts are derived, and change under the lock. In the list of a bucket are
//!     those that are `waiting` or `over`, in the order in which they came.
//!   - A bucket counts whoever waits for a word of it, or was notified and has not seen it (blocking ones: waits). It is
//!     counted before the waiter looks at its word; notify looks at the count after the word was written. So one of them
//!     sees the other: either the waiter does not sleep, or notify finds it. Without one, notify takes no lock and makes no
//!     system call.
//!   - Some look at that count without a call of the library, and without a fence (unfenced()): their processes have registered
//!     for barriers with the kernel, and say so in `unfenced` first. Who begins to wait and finds that set has the kernel
//!     put a barrier into all of them after it was counted, and looks at its word once more (settle()).
//!   - Who is notified is woken by the kernel, after the lock was let go. A notifier that dies in between leaves a member whose
//!     doorbell is `parked` or `called`, and which is `ready`: every later notify that finds somebody counted in its bucket calls
//!     all of those, and so does whoever reaps the dead one. Who blocks looks by itself, every 100 ms.
//!   - A doorbell becomes `parked` under the lock, and only if nothing is ready.
//!   - A dead member's waiters are dropped when it is reaped. Until then it is passed over where it would take another
//!     one's place: of those whom the kernel did not find asleep, it is asked whether they live.

const std = @import("std");
const builtin = @import("builtin");
const layout = @import("layout.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
const system = @import("platform.zig").system;
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Census = @import("recovery.zig").Census;
const What = @import("broken.zig").What;
const Holders = @import("view.zig").Holders;
const Waiter = layout.Waiter;
const WaiterIndex = layout.WaiterIndex;

/// Who calls: what the lock needs to know.
pub const Caller = struct {
    view: *const View,
    self: *const members.Self,
    patience: *lock.Patience,

    noinline fn acquire(caller: Caller) lock.Error!void {
        try lock.acquire(caller.view, caller.self, caller.patience);
    }
    noinline fn unlock(caller: Caller) void {
        lock.release(caller.view, caller.self);
    }
};

/// Bytes from the start of the segment to a 32-bit word. For the caller to make sure of: aligned, inside, and backed for as
/// long as anybody waits there.
pub const Place = enum(u64) {
    _,

    pub fn of(view: *const View, pointer: *const anyopaque) Place {
        return @enumFromInt(@intFromPtr(pointer) - @intFromPtr(view.header));
    }
    inline fn word(place: Place, view: *const View) *const u32 {
        return @ptrFromInt(@intFromPtr(view.header) + @intFromEnum(place));
    }
    pub noinline fn bucket(place: Place, view: *const View) *layout.Bucket {
        return place.bucketHot(view);
    }
    /// In place, where it is worth its size.
    inline fn bucketHot(place: Place, view: *const View) *layout.Bucket {
        // As JavaScript reckons, too (core/wait.ts).
        const hash = @as(u32, @truncate(@intFromEnum(place) >> 2)) *% layout.bucket_factor;
        return &view.waiting.buckets[hash >> (32 - comptime std.math.log2(layout.buckets_max))];
    }
};

/// What was stored before it is seen by whoever this one does not see: pairs with the other fence in this file.
inline fn fullFence() void {
    switch (builtin.cpu.arch) {
        // Cheaper than mfence.
        .x86_64 => asm volatile ("lock orl $0, -8(%%rsp)" ::: .{ .memory = true, .cc = true }),
        .aarch64 => asm volatile ("dmb ish" ::: .{ .memory = true }),
        else => @compileError("no fence known"),
    }
}

// ---------------------------------------------------------------- blocking

pub const Outcome = enum(i32) {
    ok = 0,
    not_equal = 1,
    timed_out = 2,
    /// Not over yet: call goOn().
    goes_on = 3,
};

/// No longer in one go: whoever calls has to be able to end, and to see that others have.
pub const slice_ns = 100 * std.time.ns_per_ms;

/// What a member remembers of the wait that blocks it. Private.
pub const Blocking = struct {
    /// Nanoseconds on the monotonic clock.
    deadline_ns: u64 = 0,
    place: Place = @enumFromInt(0),
    /// Waits in a row for which looking was in vain.
    vain: u32 = 0,

    /// How long to look before sleeping: as long as somebody who sleeps takes to wake and to answer, or else two who sleep
    /// would never find each other awake again. Less where it does not help, but for a try now and then.
    fn lookNs(blocking: *const Blocking) u64 {
        return if (blocking.looksLong()) 60_000 else 3_000;
    }
    fn looksLong(blocking: *const Blocking) bool {
        return blocking.vain < 8 or blocking.vain % 16 == 0;
    }
};

/// Waits while the word is `expected`, until it is notified or the time is over. `timeout_ns` null: for ever.
pub fn wait(caller: Caller, blocking: *Blocking, place: Place, expected: u32, timeout_ns: ?u64) lock.Error!Outcome {
    if (timeout_ns != 0 and changesSoon(caller, blocking, place, expected)) return .not_equal;
    blocking.place = place;
    blocking.deadline_ns = if (timeout_ns) |ns| system.monotonicNs() +| ns else std.math.maxInt(u64);
    if (!try enlistOwn(caller, place, expected)) return .not_equal;
    if (!settle(caller, .ofMember(caller.self.slot), place, expected)) return .not_equal;
    return goOn(caller, blocking);
}

/// Waiting begins after that: whoever finds the word changed has not begun.
fn changesSoon(caller: Caller, blocking: *Blocking, place: Place, expected: u32) bool {
    const word = place.word(caller.view);
    if (@atomicLoad(u32, word, .acquire) != expected) return true;
    if (caller.patience.spins == 0) return false; // on one processor nobody else runs meanwhile
    const until_ns = system.monotonicNs() + blocking.lookNs();
    while (true) {
        for (0..64) |_| {
            if (@atomicLoad(u32, word, .acquire) != expected) {
                blocking.vain = 0;
                return true;
            }
            std.atomic.spinLoopHint();
        }
        if (system.monotonicNs() >= until_ns) break;
        // Whoever is to answer may be on this very processor.
        if (blocking.looksLong()) system.yield();
    }
    blocking.vain +%= 1;
    return false;
}

pub fn enlistOwn(caller: Caller, place: Place, expected: u32) lock.Error!bool {
    const slot = caller.self.slot;
    const own = &caller.view.waiting.own[slot];
    try caller.acquire();
    defer caller.unlock();
    // Given up when the lock could not be had, or left by who had the slot before.
    if (isListed(own.word.get())) try unlink(caller.view, .ofMember(slot));
    return enlist(caller.view, .ofMember(slot), slot, place, expected);
}

/// For one who has just been listed. False if its word was changed before by somebody who did not find it counted: it waits
/// no more. In one process the fences of enlist() and notify() are enough; who notifies without one may have stored what we
/// did not see, and looked before we were counted. After this barrier either cannot be any more.
pub fn settle(caller: Caller, index: WaiterIndex, place: Place, expected: u32) bool {
    if (!system.has_barriers or caller.view.waiting.unfenced.get() == 0) return true;
    // Where the kernel does it for others but not for us: long enough for any store to arrive.
    if (!system.barrierForAll()) system.sleep(1);
    if (@atomicLoad(u32, place.word(caller.view), .acquire) == expected) return true;
    return !giveUp(caller, index);
}

/// Sleeps for a slice of time.
pub fn goOn(caller: Caller, blocking: *const Blocking) lock.Error!Outcome {
    const own = &caller.view.waiting.own[caller.self.slot];
    const waiting: layout.WaiterWord = .{ .state = .waiting, .slot = caller.self.slot };
    const begun_ns = system.monotonicNs();
    const until_ns = @min(begun_ns + slice_ns, blocking.deadline_ns);
    var now_ns = begun_ns;
    while (true) {
        // Pairs with the commit in markFirst(): what was written before notify() is seen after wait().
        const word = own.word.acquire();
        if (word.state == .notified) {
            own.word.set(.{});
            return .ok;
        }
        // Somebody has taken this member for dead, or writes where he should not.
        if (word != waiting) return error.Corrupt;
        if (now_ns >= until_ns) break;
        system.waitNs(&own.word.raw, @bitCast(waiting), until_ns - now_ns);
        now_ns = system.monotonicNs();
    }
    if (now_ns >= blocking.deadline_ns) {
        if (giveUp(caller, .ofMember(caller.self.slot))) return .timed_out;
        _ = own.word.acquire(); // as above
        own.word.set(.{});
        return .ok;
    }
    return if (caller.view.members[caller.self.slot].word.get() == caller.self.word) .goes_on else error.Corrupt;
}

/// True if it is not waited any more, false if it was notified first. A lock that cannot be had does not hinder: then the
/// next who walks along the list takes it out.
fn giveUp(caller: Caller, index: WaiterIndex) bool {
    const waiter = caller.view.waiter(index) catch return true;
    const slot = caller.self.slot;
    const over: layout.WaiterWord = .{ .state = .over, .slot = slot };
    if (!waiter.word.compareAndSwap(.{ .state = .waiting, .slot = slot }, over)) return false;
    caller.acquire() catch return true;
    defer caller.unlock();
    if (waiter.word.get() != over) return true; // a walker was faster
    unlink(caller.view, index) catch return true;
    vacate(caller.view, index, waiter);
    return true;
}

// ---------------------------------------------------------------- notifying

pub const everybody = std.math.maxInt(i32); // AP_NOTIFY_ALL

/// Wakes the first `count` who wait for that word. Returns how many.
pub noinline fn notify(caller: Caller, place: Place, count: u32) lock.Error!u32 {
    return notifyHot(caller, place, count, false);
}
/// In place, where it is worth its size. `is_unfenced`: unfenced() has said so.
pub inline fn notifyHot(caller: Caller, place: Place, count: u32, is_unfenced: bool) lock.Error!u32 {
    // Between the store of whoever notifies and this look: pairs with the fence in enlist(), or the barrier in settle().
    if (!is_unfenced) fullFence();
    if (place.bucketHot(caller.view).waiters.get() == 0) return 0;
    return notifySlowly(caller, place, count);
}

/// Whom one notify has marked.
const Marked = struct {
    total: u32,
    blocked: Holders,
    by_doorbell: Holders,
    /// Of each member.
    counts: [layout.members_max]u32,
    /// Others are left, perhaps.
    more: bool,

    /// `counts` need not be anything yet.
    fn begin(marked: *Marked) void {
        marked.total = 0;
        marked.blocked = .nobody;
        marked.by_doorbell = .nobody;
        marked.more = false;
    }

    fn add(marked: *Marked, index: WaiterIndex, slot: u8) void {
        if (!marked.blocked.has(slot) and !marked.by_doorbell.has(slot)) marked.counts[slot] = 0;
        marked.counts[slot] += 1;
        marked.total += 1;
        if (index.entry() == null) marked.blocked.add(slot) else marked.by_doorbell.add(slot);
    }
};

noinline fn notifySlowly(caller: Caller, place: Place, count: u32) lock.Error!u32 {
    var left = count;
    var woken: u32 = 0;
    while (true) {
        var marked: Marked = undefined;
        marked.begin();
        {
            try caller.acquire();
            defer caller.unlock();
            try markFirst(caller.view, place, left, &marked);
        }
        const silent = wake(caller.view, &marked);
        woken += marked.total;
        if (!marked.more or silent.isEmpty()) return woken;
        // A dead one must not take the place of one who lives.
        left = deadAmong(caller, silent, &marked);
        if (left == 0) return woken;
        woken -= left;
    }
}

fn markFirst(view: *const View, place: Place, count: u32, marked: *Marked) Corrupt!void {
    const bucket = place.bucket(view);
    var index = bucket.first.get();
    for (0..layout.members_max + view.geometry.waiters_max + 1) |_| {
        if (index == .none) return;
        const waiter = try view.waiter(index);
        const next = waiter.next.get();
        const word = waiter.word.get();
        if (word.state != .waiting) {
            try unlink(view, index);
            if (word.state == .over) vacate(view, index, waiter);
        } else if (waiter.place.get() == @intFromEnum(place)) {
            if (marked.total == count) {
                marked.more = true;
                return;
            }
            // It may give up at this moment; then it stays in the list, for the next walk.
            const slot = ownerOf(index, word);
            if (waiter.word.compareAndSwap(word, .{ .state = .notified, .slot = word.slot })) {
                try unlink(view, index);
                if (index.entry() != null) try makeReady(view, index, waiter, slot);
                marked.add(index, slot);
            }
        }
        index = next;
    }
    return error.Corrupt;
}

/// Returns those of the marked whom the kernel did not find asleep.
fn wake(view: *const View, marked: *const Marked) Holders {
    var ready: Holders = .nobody;
    for (&ready.words, &view.waiting.ready) |*word, *cell| word.* = cell.get();
    var silent = marked.by_doorbell;
    var blocked = marked.blocked.iterate();
    while (blocked.next()) |slot| {
        if (!system.wakeOne(&view.waiting.own[slot].word.raw)) silent.add(slot);
    }
    var waiting = ready.iterate();
    while (waiting.next()) |slot| {
        if (call(view, slot) and !marked.blocked.has(slot)) silent = silent.without(.only(slot));
    }
    return silent;
}

/// True if the kernel found it asleep.
fn call(view: *const View, slot: u8) bool {
    const doorbell = &view.waiting.doorbells[slot];
    if (doorbell.state.get() == .awake) return false;
    const socket = doorbell.socket.get();
    const answered = if (socket != 0) system.ringSocket(socket, doorbell.cookie.get()) else system.wakeOne(&doorbell.state.raw);
    if (answered or socket != 0) return answered;
    // It is on its way to the futex: not any more. Who calls after us calls it again, since we may die before the wake.
    if (doorbell.state.compareAndSwap(.parked, .called)) return system.wakeOne(&doorbell.state.raw);
    return false;
}

/// Calls every member that is ready and sleeps: for one who may have died before it did so.
pub fn callReady(view: *const View) void {
    var nobody: Marked = undefined;
    nobody.begin();
    _ = wake(view, &nobody);
}

fn deadAmong(caller: Caller, slots: Holders, marked: *const Marked) u32 {
    var count: u32 = 0;
    var silent = slots.iterate();
    while (silent.next()) |slot| {
        const word = caller.view.members[slot].word.acquire(); // pairs with endJoin: for the fields in isDead
        if (word.state == .vacant or members.isDead(caller.view, caller.self, slot, word)) count += marked.counts[slot];
    }
    return count;
}

/// From now on this process may look at the counts of the buckets by itself, in any thread, without a fence, if it does no more
/// than that. False if not, or not yet: the kernel takes its time, and meanwhile it does so for us elsewhere.
pub fn unfenced(view: *const View) bool {
    if (!system.has_barriers or !system.registerForBarriers()) return false;
    if (view.waiting.unfenced.get() == 0) view.waiting.unfenced.set(1);
    // Pairs with the fence in enlist(): whoever does not see what we, or somebody before us, have said there is seen by us.
    fullFence();
    return true;
}

// ---------------------------------------------------------------- waiting in an event loop

pub const Begun = union(enum) {
    not_equal,
    waiting: WaiterIndex,
    /// All waiters that have memory behind them are in use.
    no_entry,
};

pub fn begin(caller: Caller, place: Place, expected: u32) lock.Error!Begun {
    const begun = try beginToWait(caller, place, expected);
    if (begun == .waiting and !settle(caller, begun.waiting, place, expected)) return .not_equal;
    return begun;
}

fn beginToWait(caller: Caller, place: Place, expected: u32) lock.Error!Begun {
    const view = caller.view;
    try caller.acquire();
    defer caller.unlock();
    const index = try takeUnused(view) orelse return .no_entry;
    if (try enlist(view, index, caller.self.slot, place, expected)) return .{ .waiting = index };
    vacate(view, index, try view.waiter(index));
    return .not_equal;
}

/// True if it is not waited any more; false if it was notified first: then take() gives it.
pub fn cancel(caller: Caller, index: WaiterIndex) bool {
    const waiter = caller.view.waiter(index) catch return true;
    if (index.entry() == null or waiter.word.get().slot != caller.self.slot) return true;
    return giveUp(caller, index);
}

/// Sees who was notified: writes as many of the member's waiters as there is room for. Returns how many.
pub fn take(caller: Caller, into: []u32) lock.Error!u32 {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    if (doorbell.first_ready.get() == .none) return 0; // the usual case, without the lock
    try caller.acquire();
    defer caller.unlock();
    var found: u32 = 0;
    while (found < into.len) : (found += 1) {
        const index = doorbell.first_ready.get();
        if (index == .none) break;
        const waiter = try caller.view.waiter(index);
        if (waiter.word.acquire().state != .notified) return error.Corrupt; // pairs with the commit in markFirst()
        try seeFirst(caller.view, doorbell, index, waiter);
        into[found] = @intFromEnum(index);
    }
    return found;
}

/// Whether there is something to take; if not, others may run first, since whoever is to notify may be on this processor.
pub fn look(caller: Caller) bool {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    if (doorbell.first_ready.get() != .none) return true;
    system.yield();
    return doorbell.first_ready.get() != .none;
}

/// From here on the member has to be woken. False if there is something to take first.
pub fn park(caller: Caller) lock.Error!bool {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    try caller.acquire();
    defer caller.unlock();
    if (doorbell.first_ready.get() != .none) return false;
    doorbell.state.commit(.parked);
    return true;
}

pub fn unpark(caller: Caller) void {
    const state = &caller.view.waiting.doorbells[caller.self.slot].state;
    if (state.get() != .awake) state.commit(.awake);
}

/// Sleeps until the doorbell is rung. Of the pool it touches nothing but this one word, which may be gone already.
pub fn sleep(doorbell: *const layout.Cell(layout.DoorbellState)) void {
    system.waitNs(&doorbell.raw, @intFromEnum(layout.DoorbellState.parked), null);
}

/// Wakes this member's own sleep().
pub fn wakeSelf(caller: Caller) void {
    ring(&caller.view.waiting.doorbells[caller.self.slot].state);
}

/// The same, for one who knows no more than the address.
pub fn ring(doorbell: *layout.Cell(layout.DoorbellState)) void {
    doorbell.commit(.awake);
    _ = system.wakeOne(&doorbell.raw);
}

/// Where the member is woken from now on.
pub fn useSocket(caller: Caller, socket: system.Socket) void {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    doorbell.network.set(socket.network);
    doorbell.cookie.set(socket.cookie);
    doorbell.socket.commit(socket.number);
}

// ---------------------------------------------------------------- lists: all below runs under the lock

/// Puts a waiter that is in no list at the end of its bucket's, if the word is `expected`.
fn enlist(view: *const View, index: WaiterIndex, slot: u8, place: Place, expected: u32) Corrupt!bool {
    const waiter = try view.waiter(index);
    const bucket = place.bucket(view);
    waiter.place.set(@intFromEnum(place));
    countOne(bucket);
    fullFence(); // pairs with the fence in notify()
    if (@atomicLoad(u32, place.word(view), .acquire) != expected) {
        uncountOne(view, waiter);
        return false;
    }
    try link(view, index, waiter, bucket);
    waiter.word.commit(.{ .state = .waiting, .slot = slot });
    return true;
}

fn link(view: *const View, index: WaiterIndex, waiter: *Waiter, bucket: *layout.Bucket) Corrupt!void {
    const last = bucket.last.get();
    waiter.next.set(.none);
    waiter.prev.set(last);
    if (last == .none) bucket.first.set(index) else (try view.waiter(last)).next.set(index);
    bucket.last.set(index);
}

/// Takes a waiter out of its bucket's list. One of the table that was notified stays counted.
fn unlink(view: *const View, index: WaiterIndex) Corrupt!void {
    const waiter = try view.waiter(index);
    const bucket = bucketOf(view, waiter);
    const prev = waiter.prev.get();
    const next = waiter.next.get();
    if (prev == .none) bucket.first.set(next) else (try view.waiter(prev)).next.set(next);
    if (next == .none) bucket.last.set(prev) else (try view.waiter(next)).prev.set(prev);
    waiter.next.set(.none);
    waiter.prev.set(.none);
    if (waiter.word.get().state != .notified or index.entry() == null) uncountOne(view, waiter);
}

fn makeReady(view: *const View, index: WaiterIndex, waiter: *Waiter, slot: u8) Corrupt!void {
    const doorbell = &view.waiting.doorbells[slot];
    const last = doorbell.last_ready.get();
    waiter.next_ready.set(.none);
    if (last == .none) doorbell.first_ready.set(index) else (try view.waiter(last)).next_ready.set(index);
    doorbell.last_ready.set(index);
    const ready = &view.waiting.ready[slot / 64];
    ready.update(ready.get() | Holders.bit(slot));
}

/// Ends the first of the member's notified waiters.
fn seeFirst(view: *const View, doorbell: *layout.Doorbell, index: WaiterIndex, waiter: *Waiter) Corrupt!void {
    const next = waiter.next_ready.get();
    doorbell.first_ready.set(next);
    if (next == .none) setNotReady(view, doorbell, waiter.word.get().slot);
    uncountOne(view, waiter);
    vacate(view, index, waiter);
}

fn setNotReady(view: *const View, doorbell: *layout.Doorbell, slot: u8) void {
    doorbell.first_ready.update(.none);
    doorbell.last_ready.update(.none);
    const ready = &view.waiting.ready[slot / 64];
    ready.update(ready.get() & ~Holders.bit(slot));
}

fn countOne(bucket: *layout.Bucket) void {
    bucket.waiters.set(bucket.waiters.get() +| 1);
}
fn uncountOne(view: *const View, waiter: *const Waiter) void {
    const bucket = bucketOf(view, waiter);
    bucket.waiters.set(bucket.waiters.get() -| 1);
}

/// Of a waiter that is in no list any more.
fn vacate(view: *const View, index: WaiterIndex, waiter: *Waiter) void {
    waiter.word.commit(.{});
    if (index.entry() == null) return;
    waiter.next.set(view.waiting.unused_waiters.get());
    view.waiting.unused_waiters.set(index);
}

fn takeUnused(view: *const View) Corrupt!?WaiterIndex {
    const waiting = view.waiting;
    const first = waiting.unused_waiters.get();
    if (first != .none) {
        const waiter = try view.waiter(first);
        if (waiter.word.get().state != .vacant or first.entry() == null) return error.Corrupt;
        waiting.unused_waiters.set(waiter.next.get());
        return first;
    }
    const used = view.waitersUsed();
    if (used >= view.waitersBacked()) return null;
    waiting.waiters_used.commit(used + 1);
    return .ofTable(used);
}

inline fn bucketOf(view: *const View, waiter: *const Waiter) *layout.Bucket {
    return @as(Place, @enumFromInt(waiter.place.get())).bucket(view);
}

inline fn isListed(word: layout.WaiterWord) bool {
    return word.state == .waiting or word.state == .over;
}

fn ownerOf(index: WaiterIndex, word: layout.WaiterWord) u8 {
    return if (index.entry() == null) @intCast(@intFromEnum(index) - 1) else word.slot;
}

// ---------------------------------------------------------------- the dead, and recovery

/// Every waiter that there may be, the members' own ones first.
const All = struct {
    view: *const View,
    at: u32 = 0,

    fn next(all: *All) ?WaiterIndex {
        if (all.at >= layout.members_max + all.view.waitersUsed()) return null;
        all.at += 1;
        return @enumFromInt(all.at);
    }
};

/// Drops the waits of members that are gone.
pub fn dropAll(view: *const View, slots: Holders) Corrupt!void {
    var all: All = .{ .view = view };
    while (all.next()) |index| {
        const waiter = try view.waiter(index);
        const word = waiter.word.get();
        if (word.state == .vacant or !slots.has(ownerOf(index, word))) continue;
        if (isListed(word)) try unlink(view, index) else if (index.entry() != null) uncountOne(view, waiter);
        vacate(view, index, waiter);
    }
    var gone = slots.iterate();
    while (gone.next()) |slot| {
        const doorbell = &view.waiting.doorbells[slot];
        setNotReady(view, doorbell, slot);
        doorbell.state.update(.awake);
        doorbell.socket.update(0);
    }
}

/// Rebuilds all lists and counts. Those who wait for the same word come in another order then.
pub fn rebuild(view: *const View) Corrupt!void {
    const waiting = view.waiting;
    for (&waiting.buckets) |*bucket| {
        bucket.first.update(.none);
        bucket.last.update(.none);
    }
    for (&waiting.doorbells) |*doorbell| {
        doorbell.first_ready.update(.none);
        doorbell.last_ready.update(.none);
    }
    for (&waiting.ready) |*ready| ready.update(0);
    waiting.unused_waiters.update(.none);
    // Who notifies looks at the counts without the lock: none may be too low for a moment. What the dead left is not.
    var counts: [layout.buckets_max]u32 = @splat(0);
    var all: All = .{ .view = view };
    while (all.next()) |index| {
        const waiter = try view.waiter(index);
        if (try relist(view, index, waiter)) counts[bucketOf(view, waiter) - &waiting.buckets[0]] += 1;
    }
    for (&waiting.buckets, counts) |*bucket, count| bucket.waiters.update(count);
}

/// Whether it is to be counted.
fn relist(view: *const View, index: WaiterIndex, waiter: *Waiter) Corrupt!bool {
    const word = waiter.word.get();
    const is_own = index.entry() == null;
    const slot = ownerOf(index, word);
    if (word.state == .notified and is_own) return false; // its owner sees it by itself
    if (view.members[slot].word.get().state != .vacant) switch (word.state) {
        .waiting => {
            try link(view, index, waiter, bucketOf(view, waiter));
            return true;
        },
        .notified => {
            try makeReady(view, index, waiter, slot);
            return true;
        },
        else => {},
    };
    if (!is_own or word.state != .vacant) vacate(view, index, waiter);
    return false;
}

/// What is broken, or null.
pub noinline fn broken(view: *const View, _: *Census) What {
    const waiting = view.waiting;
    if (waiting.waiters_backed.get() > view.geometry.waiters_max) return .@"more of the waiter table is backed than there is";
    if (waiting.waiters_used.get() > waiting.waiters_backed.get()) return .@"waiters are used that are not backed";
    var counted: u64 = 0;
    var listed: u64 = 0;
    var all: All = .{ .view = view };
    var unused: u32 = 0;
    while (all.next()) |index| {
        const word = (view.waiter(index) catch return .@"a waiter has no memory behind it").word.get();
        switch (word.state) {
            .vacant => unused += @intFromBool(index.entry() != null),
            .waiting, .over => listed += 1,
            .notified => counted += @intFromBool(index.entry() != null),
            else => return .@"a waiter is in no known state",
        }
    }
    const in_lists = listedWaiters(view, listed) orelse return .@"a list of waiters is linked wrongly";
    const ready = readyWaiters(view, counted) orelse return .@"a list of notified waiters is linked wrongly";
    if (in_lists != listed) return .@"a waiter is in no list";
    if (ready != counted) return .@"a notified waiter is in no list";
    var in_buckets: u64 = 0;
    for (&waiting.buckets) |*bucket| in_buckets += bucket.waiters.get();
    if (in_buckets != listed + counted) return .@"the buckets' counts of waiters do not add up to the waiters";
    var index = waiting.unused_waiters.get();
    while (index != .none) : (unused -= 1) {
        const waiter = view.waiter(index) catch return .@"the list of unused waiters leads out of the table";
        if (waiter.word.get().state != .vacant or index.entry() == null) return .@"a waiter in use is in the list of unused ones";
        if (unused == 0) return .@"the list of unused waiters does not end";
        index = waiter.next.get();
    }
    return if (unused == 0) .nothing else .@"an unused waiter is lost";
}

fn listedWaiters(view: *const View, most: u64) ?u64 {
    var count: u64 = 0;
    for (&view.waiting.buckets) |*bucket| {
        var before: WaiterIndex = .none;
        var index = bucket.first.get();
        while (index != .none) : (count += 1) {
            const waiter = view.waiter(index) catch return null;
            if (count == most or !isListed(waiter.word.get())) return null;
            if (bucketOf(view, waiter) != bucket or waiter.prev.get() != before) return null;
            before = index;
            index = waiter.next.get();
        }
        if (bucket.last.get() != before) return null;
    }
    return count;
}

fn readyWaiters(view: *const View, most: u64) ?u64 {
    var count: u64 = 0;
    for (&view.waiting.doorbells, 0..) |*doorbell, slot| {
        const is_ready = view.waiting.ready[slot / 64].get() & Holders.bit(@intCast(slot)) != 0;
        if (is_ready != (doorbell.first_ready.get() != .none)) return null;
        var before: WaiterIndex = .none;
        var index = doorbell.first_ready.get();
        while (index != .none) : (count += 1) {
            const waiter = view.waiter(index) catch return null;
            const word = waiter.word.get();
            if (count == most or word.state != .notified or word.slot != slot) return null;
            before = index;
            index = waiter.next_ready.get();
        }
        if (doorbell.last_ready.get() != before) return null;
    }
    return count;
}
