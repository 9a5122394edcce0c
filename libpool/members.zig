//! Members: who they are, and whether they live.
//!
//! A member is dead when the kernel dropped the lock on its slot's byte, or when its thread certainly never runs user
//! code again (which shows earlier for a killed process, and is all that shows for a terminated Worker). When unsure it
//! lives. Its incarnation tells a slot's members apart: whoever judges compares it before he acts on his judgement.
//!
//! Whether a member is dead decides who takes the lock over. Whether what it held may be another's is one more question: the
//! process of a terminated Worker may still see it, through a buffer that the Worker has transferred, or a file write that it
//! has begun. So its buffers are counted in its slot, and it is reaped when all of them are gone, or its process is.

const std = @import("std");
const layout = @import("layout.zig");
const locked_bytes = @import("locked_bytes.zig");
const system = @import("platform.zig").system;
const Fd = @import("platform.zig").Fd;
const View = @import("view.zig").View;
const Holders = @import("view.zig").Holders;
const MemberWord = layout.MemberWord;

/// What a member knows of itself.
pub const Self = struct {
    fd: Fd,
    slot: u8,
    incarnation: u23,
    /// What its slot says while nobody has taken it for dead.
    word: MemberWord = .{},
    /// What the lock holds while this member has it.
    lock_word: layout.LockWord,
    thread: system.Thread,
};

/// What a member says of itself in its own, private memory, at a fixed place of its mapping: for siblings in the same
/// process that look after what it left open. The segment says it too, but there anybody writes.
pub const Stamp = extern struct {
    mark: u64,
    mapping: u64,
    started_ticks: u64,
    fd: Fd,
    slot: u32,
    tid: u32,
    _pad: u32,

    pub const at = 4096 - 64;
    const mark_value: u64 = 0x706d_6174_732e_7061; // "ap.stamp"

    pub fn put(base: [*]align(4096) u8, self: *const Self) void {
        const stamp: *Stamp = @ptrCast(@alignCast(base + at));
        stamp.* = .{
            .mark = mark_value,
            .mapping = @intFromPtr(base),
            .started_ticks = self.thread.started_ticks,
            .fd = self.fd,
            .slot = self.slot,
            .tid = self.thread.tid,
            ._pad = 0,
        };
    }

    /// The stamp of the member whose mapping starts there, if there is one.
    fn get(mapping: u64) ?Stamp {
        var stamp: Stamp = undefined;
        if (!system.readOwnMemory(mapping +% at, std.mem.asBytes(&stamp))) return null;
        return if (stamp.mark == mark_value and stamp.mapping == mapping) stamp else null;
    }
};

/// Takes the slot whose byte this descriptor owns: with a new incarnation, and not yet as a member. Returns the state in
/// which its last owner left it.
pub fn beginJoin(view: *const View, self: *Self, runtime: u32, mapping: u64) layout.MemberState {
    const member = &view.members[self.slot];
    const before = member.word.get();
    self.incarnation = nextIncarnation(before.incarnation);
    self.lock_word = .{ .slot = self.slot, .incarnation = self.incarnation };
    // Pairs with the acquire in ownerIsDead: the word is there before we ever hold the lock.
    // Joining: nobody reads the fields below. What the predecessor held is still held by the slot's bits.
    self.word = .{ .incarnation = self.incarnation, .state = .joining };
    member.word.commit(self.word);
    member.pid.set(self.thread.pid);
    member.tid.set(self.thread.tid);
    member.fd.set(@bitCast(self.fd));
    member.pid_namespace.set(self.thread.pid_namespace);
    member.started_ticks.set(self.thread.started_ticks);
    member.joined_at_ms.set(system.wallMs());
    member.mapping.set(mapping);
    member.runtime.set(runtime);
    member.buffers_shown.set(0);
    member.buffers_gone.set(0);
    member.attaches.set(0);
    view.activity.lock_waits[self.slot].set(0);
    return before.state;
}

/// Under the lock, when nothing of a predecessor is left.
pub fn endJoin(view: *const View, self: *Self) void {
    // Pairs with the acquire in isDead's callers: who sees `joined` sees the fields.
    self.word.state = .joined;
    view.members[self.slot].word.commit(self.word);
}

fn nextIncarnation(before: u23) u23 {
    return if (before +% 1 == 0) 1 else before +% 1;
}

/// Whether the member that `word` stood for in `slot` certainly is dead.
pub fn isDead(view: *const View, self: *const Self, slot: u8, word: MemberWord) bool {
    if (slot == self.slot) return word.incarnation != self.incarnation;
    return looksDead(view, self.fd, self.thread, slot, word);
}

/// The same, for one who is no member himself: `fd` is any descriptor of the segment, `judge` the caller.
pub fn looksDead(view: *const View, fd: Fd, judge: system.Thread, slot: u8, word: MemberWord) bool {
    const member = &view.members[slot];
    if (!locked_bytes.slotTaken(fd, slot)) return true;
    if (word.state != .joined) return false;
    const namespace = member.pid_namespace.get();
    const pid = member.pid.get();
    const tid = member.tid.get();
    const started_ticks = member.started_ticks.get();
    // Another member may have taken the slot while we read; then this one is gone, and the next judge will see it. (On arm64
    // the fields could come after this load, and be the newcomer's: then `word` is dead, whatever they say.)
    if (member.word.acquire() != word) return false;
    if (namespace == 0 or namespace != judge.pid_namespace) return false;
    return system.threadIsDead(judge, pid, tid, started_ticks);
}

/// Whether somebody may still see what the dead member held that `word` stood for.
fn mayBeSeen(view: *const View, self: *const Self, slot: u8, word: MemberWord) bool {
    const member = &view.members[slot];
    if (!locked_bytes.slotTaken(self.fd, slot)) return false; // the kernel, or a sibling, has closed it
    const gone = member.buffers_gone.acquire(); // pairs with add() in Hold.bufferGone
    if (gone == member.buffers_shown.get() and member.word.acquire() == word) return false;
    const pid = member.pid.get();
    if (member.word.acquire() != word) return true; // it has a new owner
    return !system.processIsDead(self.thread, pid);
}

pub const Dead = struct {
    slots: Holders,
    words: [layout.members_max]MemberWord,
    count: u32,
};

/// Members to be reaped: dead, seen by nobody, and still counted. Makes system calls: not under the lock.
pub fn findDead(view: *const View, self: *const Self) Dead {
    var dead: Dead = undefined;
    dead.slots = .nobody;
    dead.count = 0;
    for (0..layout.members_max) |i| {
        const slot: u8 = @intCast(i);
        const word = view.members[slot].word.acquire(); // pairs with endJoin: for the fields in isDead
        if (word.state == .vacant or slot == self.slot) continue;
        if (!isDead(view, self, slot, word) or mayBeSeen(view, self, slot, word)) continue;
        dead.slots.add(slot);
        dead.words[slot] = word;
        dead.count += 1;
    }
    return dead;
}

/// Gives the range of a member back whose thread is gone; false, and nothing done, while something shows it.
pub const Retire = *const fn (mapping: [*]align(4096) u8) bool;

/// Closes what terminated Workers of this process left open and nothing shows any more, so that their slots become free.
/// `private_bytes`: the part of a member's mapping before the segment. The segment only says where to look: what is there
/// must say itself that it is a member's whose thread is gone.
pub fn closeLeftovers(view: *const View, fd: Fd, own_slot: ?u8, thread: system.Thread, private_bytes: usize, retire: Retire) void {
    if (thread.pid_namespace == 0) return;
    for (0..layout.members_max) |i| {
        const slot: u8 = @intCast(i);
        const member = &view.members[slot];
        const word = member.word.acquire();
        if (slot == own_slot or member.pid.get() != thread.pid) continue;
        if (word.state == .joining or member.pid_namespace.get() != thread.pid_namespace) continue;
        const mapping = member.mapping.get();
        if (member.word.acquire() != word or !locked_bytes.slotTaken(fd, slot)) continue;
        // Held by whoever takes the slot, too, and before looking: it orders this after whatever a newcomer did. When another
        // sibling is done, the slot and the descriptor's number may be a newcomer's, and then the word is.
        if (!locked_bytes.enterHandover(fd, slot)) continue;
        defer locked_bytes.leaveHandover(fd, slot);
        if (member.word.acquire() != word) continue;
        const stamp = Stamp.get(mapping) orelse continue;
        if (stamp.slot != slot or !system.threadIsDead(thread, thread.pid, stamp.tid, stamp.started_ticks)) continue;
        closeLeftover(fd, slot, stamp.fd, mapping, private_bytes, retire);
    }
}

/// Closes the descriptor that a dead thread of this process left open, once `retire` has given its mapping back. The caller
/// has entered the slot's handover. Nothing that the segment says is believed: `fd` must prove to own the slot's byte,
/// `mapping` to be one of this very file.
fn closeLeftover(mine: Fd, slot: u8, fd: Fd, mapping: u64, private_bytes: usize, retire: *const fn ([*]align(4096) u8) bool) void {
    if (fd < 0 or fd == mine) return;
    const my_file = system.info(mine) orelse return;
    const its_file = system.info(fd) orelse return;
    if (my_file.inode != its_file.inode or my_file.device != its_file.device) return;
    // Its own lock does not hinder a description: the byte is locked for us, and free for its owner only.
    if (!locked_bytes.slotTaken(mine, slot) or locked_bytes.slotTaken(fd, slot)) return;
    if (!system.isMappingOf(mapping, private_bytes, my_file.inode)) return;
    if (!retire(@ptrFromInt(mapping))) return;
    // To close it is not enough: a process that is being started may have a copy until it runs its program.
    locked_bytes.dropSlot(fd, slot);
    system.close(fd);
}
