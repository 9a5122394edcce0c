//! Waiting for a word: any 32-bit word of the segment, of an array or of the metadata, as `Atomics.wait` and `notify` do it.
//!
//!     wait      vacant ── waiting, in the list of the word's bucket ── notified (or over) ── vacant
//!     notify    the first waiters of that word become notified, then their members are woken
//!
//! One who blocks has a waiter of its own, in its slot, and sleeps on that waiter's word. One who goes on with its event loop
//! takes a waiter of the table for each wait, finds the notified ones in its list of them, and is woken by its doorbell.
//!
//! Invariants:
//!   - A waiter is counted before it looks at its word (waiters.zig); notify looks at the count after the word was written. So one
//!     of them sees the other: either the waiter does not sleep, or notify finds it. Without one, notify takes no lock and
//!     makes no system call.
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
const layout = @import("layout.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
const system = @import("platform.zig").system;
const waiters = @import("waiters.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Holders = @import("view.zig").Holders;
const WaiterIndex = layout.WaiterIndex;
pub const Place = waiters.Place;

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
        if (blocking.looksLong()) caller.patience.processor.yield();
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
    if (waiters.isListed(own.word.get())) try waiters.unlink(caller.view, .ofMember(slot));
    return waiters.enlist(caller.view, .ofMember(slot), slot, place, expected);
}

/// For one who has just been listed. False if its word was changed before by somebody who did not find it counted: it waits
/// no more. In one process the fences of waiters.enlist() and notify() are enough; who notifies without one may have stored what we
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
        // Pairs with the exchangeIf in markFirst(): what was written before notify() is seen after wait().
        const word = own.word.acquire();
        if (word.state == .notified) {
            own.word.set(.{});
            return .ok;
        }
        // Somebody has taken this member for dead, or writes where he should not.
        if (word != waiting) return error.Corrupt;
        if (now_ns >= until_ns) break;
        system.waitNs(&own.word.raw, @bitCast(waiting), until_ns - now_ns);
        caller.patience.processor.woken();
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

const give_up_ms = 10;

/// True if it is not waited any more, false if it was notified first. A lock that cannot be had does not hinder: then the
/// next who walks along the list takes it out.
fn giveUp(caller: Caller, index: WaiterIndex) bool {
    const waiter = caller.view.waiter(index) catch return true;
    const slot = caller.self.slot;
    const over: layout.WaiterWord = .{ .state = .over, .slot = slot };
    if (!waiter.word.compareAndSwap(.{ .state = .waiting, .slot = slot }, over)) return false;
    // Whoever gives up many does not wait for long each time.
    const timeout_ms = caller.patience.timeout_ms;
    caller.patience.timeout_ms = give_up_ms;
    const acquired = caller.acquire();
    caller.patience.timeout_ms = timeout_ms;
    acquired catch return true;
    defer caller.unlock();
    if (waiter.word.get() != over) return true; // a walker was faster
    waiters.unlink(caller.view, index) catch return true;
    waiters.vacate(caller.view, index, waiter);
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
    // Between the store of whoever notifies and this look: pairs with the fence in waiters.enlist(), or the barrier in settle().
    if (!is_unfenced) waiters.fullFence();
    if (place.bucketHot(caller.view).waiters.get() == 0) return 0;
    return notifySlowly(caller, place, count);
}

/// Whom one notify has marked.
const Marked = struct {
    total: u32,
    blocked: Holders,
    by_doorbell: Holders,
    /// Of each member, and what its slot said: a waiter does not say of which of the slot's owners it is.
    counts: [layout.members_max]u32,
    words: [layout.members_max]layout.MemberWord,
    /// Others are left, perhaps.
    more: bool,

    /// The rest need not be anything yet.
    fn begin(marked: *Marked) void {
        marked.total = 0;
        marked.blocked = .nobody;
        marked.by_doorbell = .nobody;
        marked.more = false;
    }

    fn add(marked: *Marked, view: *const View, index: WaiterIndex, slot: u8) void {
        if (!marked.blocked.has(slot) and !marked.by_doorbell.has(slot)) {
            marked.counts[slot] = 0;
            marked.words[slot] = view.members[slot].word.get();
        }
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
            try waiters.unlink(view, index);
            if (word.state == .over) waiters.vacate(view, index, waiter);
        } else if (waiter.place.get() == @intFromEnum(place)) {
            if (marked.total == count) {
                marked.more = true;
                return;
            }
            // It may give up at this moment; then it stays in the list, for the next walk.
            const slot = waiters.ownerOf(index, word);
            if (waiter.word.exchangeIf(word, .{ .state = .notified, .slot = word.slot })) { // see goOn()
                try waiters.unlink(view, index);
                if (index.entry() != null) try waiters.makeReady(view, index, waiter, slot);
                marked.add(view, index, slot);
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

/// True if the kernel found it asleep. All who sleep there are woken: a call of one who had the slot before, or who was in a pool that
/// was mapped there, may have come so late that it sleeps on what is now another's (see sleep()), and it must not take the wake.
fn call(view: *const View, slot: u8) bool {
    const doorbell = &view.waiting.doorbells[slot];
    if (doorbell.state.get() == .awake) return false;
    const socket = doorbell.socket.get();
    if (socket != 0) {
        system.ringSocket(socket, doorbell.cookie.get());
        return false;
    }
    // First, or it could be on its way to the futex while another one is woken there, and then sleep. Who calls after us calls it
    // again, since we may die before the wake.
    _ = doorbell.state.compareAndSwap(.parked, .called);
    return system.wakeAll(&doorbell.state.raw);
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
        // One who is joining waits for nothing: those waits are of the one before.
        const has_left = word.state != .joined or word != marked.words[slot];
        if (has_left or members.isDead(caller.view, caller.self, slot, word)) count += marked.counts[slot];
    }
    return count;
}

/// From now on this process may look at the counts of the buckets by itself, in any thread, without a fence, if it does no more
/// than that. False if not, or not yet: the kernel takes its time, and meanwhile it does so for us elsewhere.
pub fn unfenced(view: *const View) bool {
    if (!system.has_barriers or !system.registerForBarriers()) return false;
    if (view.waiting.unfenced.get() == 0) view.waiting.unfenced.set(1);
    // Pairs with the fence in waiters.enlist(): whoever does not see what we, or somebody before us, have said there is seen by us.
    waiters.fullFence();
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
    const index = try waiters.takeUnused(view) orelse {
        try waiters.dropAll(view, .nobody); // only what was given up
        return .no_entry;
    };
    if (try waiters.enlist(view, index, caller.self.slot, place, expected)) return .{ .waiting = index };
    waiters.vacate(view, index, try view.waiter(index));
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
        try waiters.seeFirst(caller.view, doorbell, index, waiter);
        into[found] = @intFromEnum(index);
    }
    return found;
}

/// Whether there is something to take; if not, others may run first, since whoever is to notify may be on this processor.
pub fn look(caller: Caller) bool {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    if (doorbell.first_ready.get() != .none) return true;
    caller.patience.processor.yield();
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
    if (state.get() == .awake) return;
    state.commit(.awake);
    caller.patience.processor.woken();
}

/// Sleeps until the doorbell is rung. Of the pool it touches nothing but this one word, which may be gone already, or another's.
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
    _ = system.wakeAll(&doorbell.raw);
}

/// Where the member is woken from now on.
pub fn useSocket(caller: Caller, socket: system.Socket) void {
    const doorbell = &caller.view.waiting.doorbells[caller.self.slot];
    doorbell.cookie.set(socket.cookie);
    doorbell.socket.commit(socket.number);
}
