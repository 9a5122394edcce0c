//! The lock over all metadata: one word, `{slot, waiters, incarnation}` of its owner, or 0. The two locks of each channel are
//! of the same kind (`OtherLock`), over what their channel says.
//!
//! A waiter spins briefly, then sleeps on the word, 20 ms at most, since a wake can die with its waker; then it looks
//! whether the owner lives. From a dead one it takes over by comparing and swapping the whole word, so a slot that got a
//! new owner in the meantime is not robbed, and recovers the metadata before anything else. A live owner that does not let
//! go makes it give up after a deadline.

const std = @import("std");
const layout = @import("layout.zig");
const crash = @import("crash.zig");
const members = @import("members.zig");
const Processor = @import("processor.zig").Processor;
const recovery = @import("recovery.zig");
const waiting = @import("waiting.zig");
const system = @import("platform.zig").system;
const View = @import("view.zig").View;
const LockWord = layout.LockWord;

pub const Error = error{ Busy, Corrupt };

/// What waiting needs to know of the member.
pub const Patience = struct {
    /// 0 on one processor: the owner cannot let go while we spin.
    spins: u32,
    timeout_ms: u64,
    processor: Processor,
    /// With error.Busy: the process that keeps the lock.
    owner_pid: u32 = 0,

    pub fn of(processors: u32) Patience {
        return .{ .spins = if (processors > 1) 200 else 0, .timeout_ms = 2000, .processor = .of(processors) };
    }
};

/// With it a member sees the whole block table, as far as it is in use; where the system does not let it, it is as if the lock could not
/// be had.
pub noinline fn acquire(view: *const View, self: *const members.Self, patience: *Patience) Error!void {
    try acquireHot(view, self, patience);
    view.expectAll() catch |err| {
        releaseHot(view, self);
        return err;
    };
}
/// In place, where it is worth its size. View.expectBlocks() is for the caller, where an entry is looked at that he may not know.
pub inline fn acquireHot(view: *const View, self: *const members.Self, patience: *Patience) Error!void {
    // Pairs with the release in release(), of whoever had the lock before: attach() sees what was written before share().
    if (!view.header.lock.compareAndSwap(.unlocked, self.lock_word)) try acquireSlowly(view, self, patience, &view.header.lock, .{ .what = view, .repair = repairMetadata });
    if (isOut(view, self)) {
        releaseHot(view, self);
        return error.Corrupt;
    }
}

/// Whoever was taken for dead holds nothing any more, whatever it believes: its blocks may be others' by now.
inline fn isOut(view: *const View, self: *const members.Self) bool {
    return view.header.corrupt.get() != 0 or view.members[self.slot].word.get() != self.word;
}

/// What a lock guards, for who takes it over from the dead. Not a type for each: they wait with the same code.
pub const Guarded = struct {
    what: *const anyopaque,
    /// False if this member cannot now: then it is left to others, or to its next try.
    repair: *const fn (what: *const anyopaque) bool,
};

fn repairMetadata(what: *const anyopaque) bool {
    const view: *const View = @ptrCast(@alignCast(what));
    recovery.recover(view, system.monotonicMs()) catch |err| {
        if (!system.is_always_readable and err == error.Busy) return false;
        view.header.corrupt.commit(1);
    };
    // It may have died before it woke those whom it had notified.
    waiting.callReady(view);
    return true;
}

/// A lock over something else.
pub const OtherLock = struct {
    word: *layout.Cell(LockWord),

    pub inline fn acquire(other: OtherLock, view: *const View, self: *const members.Self, patience: *Patience, guarded: Guarded) Error!void {
        if (!other.word.compareAndSwap(.unlocked, self.lock_word)) try acquireSlowly(view, self, patience, other.word, guarded);
        if (isOut(view, self)) {
            other.release();
            return error.Corrupt;
        }
    }

    /// Never a plain store, as in release(): what the owner did is in one order with its look at a bell.
    pub inline fn release(other: OtherLock) void {
        if (other.word.exchange(.unlocked).waiters) wake(other.word);
    }

    noinline fn wake(word: *layout.Cell(LockWord)) void {
        _ = system.wakeOne(&word.raw);
    }
};

/// A plain store when nobody waits, which is half the price of an exchange. A waiter that sets its bit between our look and
/// our store sleeps without a wake, for as long as its first short nap takes: only the owner ends its ownership, so that
/// is all that can happen.
pub noinline fn release(view: *const View, self: *const members.Self) void {
    releaseHot(view, self);
}
pub inline fn releaseHot(view: *const View, self: *const members.Self) void {
    const lock = &view.header.lock;
    // Pairs with the compareAndSwap in acquire(): whoever is next sees all that we did, and we are done with reading.
    if (lock.get() == self.lock_word) return lock.commit(.unlocked);
    releaseAndWake(lock);
}

noinline fn releaseAndWake(lock: *layout.Cell(LockWord)) void {
    _ = lock.swap(.unlocked); // pairs as in release()
    _ = system.wakeOne(&lock.raw);
}

/// A critical section takes far less than a millisecond. Tests in which thousands of owners die have no patience at all.
const probe_after_ms = if (crash.enabled) 0 else 3;
const first_nap_ms = if (crash.enabled) 0 else 1;

noinline fn acquireSlowly(view: *const View, self: *const members.Self, patience: *Patience, lock: *layout.Cell(LockWord), guarded: Guarded) Error!void {
    for (0..patience.spins) |_| {
        if (lock.get() == LockWord.unlocked and lock.compareAndSwap(.unlocked, self.lock_word)) return;
        std.atomic.spinLoopHint();
    }
    const waits = &view.activity.lock_waits[self.slot];
    waits.set(waits.get() +% 1);
    // From here on others may sleep that only our unlock will wake: keep the bit.
    var mine = self.lock_word;
    mine.waiters = true;
    const begun_ms = system.monotonicMs();
    var nap_ms: u64 = first_nap_ms;
    var probe_at_ms = begun_ms + probe_after_ms;
    var tries: u32 = 0;
    while (true) : (tries +%= 1) {
        // However often others are faster, or somebody writes there who should not, the deadline counts.
        if (tries % 64 == 63 and system.monotonicMs() - begun_ms >= patience.timeout_ms) return busy(view, patience, lock.get());
        const word = lock.get();
        if (word == LockWord.unlocked) {
            if (lock.compareAndSwap(word, mine)) return;
            continue;
        }
        var waited_for = word;
        waited_for.waiters = true;
        // Pairs with nothing: who waits has seen nothing yet. Our exchange hands on what the owner before released.
        if (!word.waiters and !lock.compareAndSwap(word, waited_for)) continue;
        system.wait(&lock.raw, @bitCast(waited_for), nap_ms);
        nap_ms = @min(nap_ms * 2 + 1, 20);

        const now_ms = system.monotonicMs();
        if (now_ms < probe_at_ms) continue;
        probe_at_ms = now_ms + nap_ms;
        const owner = lock.get();
        if (owner == LockWord.unlocked) continue;
        if (ownerIsDead(view, self, owner)) {
            crash.judged();
            // The dead released nothing; the kernel told of its death after its last store (layout.Cell).
            if (!lock.compareAndSwap(owner, mine)) continue;
            if (guarded.repair(guarded.what)) return;
            waited_for = owner;
            waited_for.waiters = true;
            lock.commit(waited_for); // the dead one's, as before
        }
        if (now_ms - begun_ms >= patience.timeout_ms) return busy(view, patience, owner);
    }
}

fn busy(view: *const View, patience: *Patience, owner: LockWord) Error {
    patience.owner_pid = view.members[owner.slot].pid.get();
    return error.Busy;
}

fn ownerIsDead(view: *const View, self: *const members.Self, owner: LockWord) bool {
    // Pairs with the commits of beginJoin and endJoin. It is never older than the lock's word: whoever took the lock had
    // released its member's word before (arm64 keeps a release before a compare-and-swap that acquires), and this load
    // depends on that of the lock's word by its address. If it is newer, `owner` is gone, and comparing fails.
    const word = view.members[owner.slot].word.acquire();
    if (word.incarnation != owner.incarnation) return true; // its slot has a new owner already
    if (owner.slot == self.slot) return true; // we wait, so we do not have it: nobody has
    return members.isDead(view, self, owner.slot, word);
}
