//! A member of a pool. The state in `Pool` is private to the member; everything shared is in the segment (layout.zig), seen
//! through `view`. Here it joins and leaves, and takes the lock. What else it can do:
//!
//!     allocating.zig    take a block, the cheapest way first
//!     backing.zig       the memory behind it all: grow, trim
//!     holding.zig       attach, release, and the end of a block
//!     pinning.zig       claims, and what messages hold
//!     naming.zig        names, and once
//!     reaping.zig       what the dead held, and claims that are over
//!     inspecting.zig    stats, list, shortage, check
//!
//! And apart from these waiting.zig and channel.zig. All of it calls down to what knows the segment and no member's state, most
//! of it under the lock: blocks, free_lists, pins, names, waiters, members, queue.

const std = @import("std");
const layout = @import("layout.zig");
const allocating = @import("allocating.zig");
const backing = @import("backing.zig");
const cache = @import("cache.zig");
const Clock = @import("clock.zig").Clock;
const channel = @import("channel.zig");
const holding = @import("holding.zig");
const inspecting = @import("inspecting.zig");
const lock = @import("lock.zig");
const locked_bytes = @import("locked_bytes.zig");
const members = @import("members.zig");
const naming = @import("naming.zig");
const pinning = @import("pinning.zig");
const queue_file = @import("queue.zig");
const reaping = @import("reaping.zig");
const segment = @import("segment.zig");
const system = @import("platform.zig").system;
const text = @import("text.zig");
const waiting = @import("waiting.zig");
const View = @import("view.zig").View;
const Holders = @import("view.zig").Holders;
pub const Hold = @import("view.zig").Hold;
pub const Buffers = @import("view.zig").Buffers;
const Brief = @import("view.zig").Brief;
const assert = layout.assert;

pub const Error = error{ Stale, Full, Busy, Corrupt, Argument, TooLarge, NotHeld, System };

pub const Cause = enum(u32) { none = 0, heap = 1, device = 2, blocks = 3, claims = 4, files = 5, waiters = 6, names = 7 };

pub const Options = struct {
    runtime: u32 = 0,
    counts_buffers: bool = false,
};

pub const Pool = struct {
    view: View,
    cache: *cache.Cache,
    self: members.Self,
    patience: lock.Patience,
    options: Options,
    /// In its slot.
    own_word: *const layout.Cell(layout.MemberWord),
    /// What allocPlain() is for.
    plain_bytes_max: f64,
    clock: Clock,
    name_buffer: [32]u8,
    name_bytes: u32,
    nonce: u64,
    claim_ttl_ms: u64,
    errno: i32,
    cause: Cause,
    /// Names that this member is making the arrays of.
    makings: u32,
    /// What it has backed of the heap.
    grown_bytes: u64,
    blocking: waiting.Blocking,
    /// Whom beginOnce() has waited for last, and the word that changes when that one has made it.
    awaited: ?naming.Awaited,
    /// Channels: for how long waiting awake was worth it lately, and how often there was a wait; whether messages came so fast
    /// that it is better to wait for several; when the owners of unacknowledged messages were looked after.
    channel_spins: u32,
    is_streaming: bool,
    /// See waiting.unfenced().
    is_unfenced: bool,
    waits: u32,
    probed: channel.Probed,
    /// Those used last, by their block's number.
    channels: [4]queue_file.Known,
    /// See pinning.endChannels().
    ends_channels: bool,
    more_channels: bool,
    mapping: [*]align(4096) u8,
    /// Results that do not fit into a return value, for the caller to read. At the end, as in View.
    record: [32]f64,
    /// Where in it what is to stand behind an array is.
    pub const tail_at = 20;
    /// And one more than the block on which the host is about to make a buffer, or 0: see retire().
    pub const unmade_at = 17;

    // ------------------------------------------------------------ what it can do

    // What its host calls. What these files call of each other stands in them, under the name of the file.

    pub const alloc = allocating.alloc;
    pub const allocWithRoom = allocating.allocWithRoom;
    pub const allocPlain = allocating.allocPlain;
    pub const stamp = allocating.stamp;

    pub const trim = backing.trim;
    pub const prefault = backing.prefault;

    pub const Attached = holding.Attached;
    pub const Released = holding.Released;
    pub const attach = holding.attach;
    pub const retain = holding.retain;
    pub const held = holding.held;
    pub const release = holding.release;
    pub const releasePlain = holding.releasePlain;
    pub const releaseAny = holding.releaseAny;
    pub const settle = holding.settle;
    pub const showHeld = holding.showHeld;
    pub const showNothing = holding.showNothing;
    pub const buffersSeen = holding.buffersSeen;
    pub const spare = holding.spare;
    pub const openTrace = holding.openTrace;

    pub const share = pinning.share;
    pub const createClaim = pinning.createClaim;
    pub const dropClaim = pinning.dropClaim;

    pub const Named = naming.Named;
    pub const Once = naming.Once;
    pub const setName = naming.setName;
    pub const getName = naming.getName;
    pub const hasName = naming.hasName;
    pub const deleteName = naming.deleteName;
    pub const listNames = naming.listNames;
    pub const beginOnce = naming.beginOnce;
    pub const watchOnce = naming.watchOnce;
    pub const endOnce = naming.endOnce;

    pub const reap = reaping.reap;

    pub const check = inspecting.check;
    pub const stats = inspecting.stats;
    pub const list = inspecting.list;
    pub const shortage = inspecting.shortage;

    // ------------------------------------------------------------ joining and leaving

    /// The private part of a member's mapping: this struct, the cache, and for each entry of the block table a `Hold`,
    /// its `Buffers` and its `Brief`.
    ///
    /// A processor that loads what lies as far from the start of a page as something that it has just stored may wait for that
    /// store. So what each call stores (the record) lies where nothing does that each call loads: neither the first slots and
    /// entries of the tables, nor the lists of common sizes.
    const pool_start = 2048;
    const cache_start = 4096 + 2544;
    const holds_start = layout.alignUp(cache_start + @sizeOf(cache.Cache), 4096);
    comptime {
        assert(pool_start + @sizeOf(Pool) <= members.Stamp.at);
        assert(members.Stamp.at + @sizeOf(members.Stamp) <= cache_start);
        assert(@sizeOf(Hold) == 32); // two in a cache line, none in two
        assert(@sizeOf(Buffers) == 16);
        assert(cache.granules_max <= std.math.maxInt(@FieldType(Brief, "granules")));
    }

    fn buffersStart(geometry: layout.Geometry) usize {
        return holds_start + @as(usize, geometry.blocks_max) * @sizeOf(Hold);
    }
    fn briefsStart(geometry: layout.Geometry) usize {
        return buffersStart(geometry) + @as(usize, geometry.blocks_max) * @sizeOf(Buffers) + 1024; // see pool_start
    }
    fn privateBytes(geometry: layout.Geometry) usize {
        return layout.alignUp(briefsStart(geometry) + @as(u64, geometry.blocks_max) * @sizeOf(Brief), layout.section_bytes);
    }
    pub fn mappingBytes(geometry: layout.Geometry) usize {
        return privateBytes(geometry) + geometry.segment_bytes;
    }

    pub const default_claim_ttl_ms = 60_000;

    /// Makes a pool; `name` null: a random one. `capacity_bytes` 0: the default.
    pub fn create(name: ?[]const u8, capacity_bytes: u64, claim_ttl_ms: u64, options: Options, report: *segment.Report) segment.Error!*Pool {
        if (name) |given| if (!segment.nameIsValid(given)) return error.Argument;
        _ = segment.sweep();
        const entered = try segment.create(capacityOf(capacity_bytes), claim_ttl_ms, options.runtime, report);
        errdefer system.close(entered.fd);
        var buffer: [32]u8 = undefined;
        for (0..100) |_| {
            var bits: u64 = 0;
            if (name == null) system.random(std.mem.asBytes(&bits), &report.failure) catch |err| return segment.translated(err, report);
            const chosen = name orelse numberedName(&buffer, bits);
            // Everything but the name is there before the name is.
            const pool = try joined(entered, chosen, options, report);
            if (system.publish(entered.fd, chosen, &report.failure)) |_| return pool else |err| {
                system.unmap(pool.mapping, mappingBytes(entered.geometry));
                if (name != null or err != error.Exists) return segment.translated(err, report);
            }
        }
        return error.Exists;
    }

    pub fn open(name: []const u8, nonce: ?u64, options: Options, report: *segment.Report) segment.Error!*Pool {
        if (!segment.nameIsValid(name)) return error.Argument;
        const entered = segment.enter(name, nonce, report) catch |err| blk: {
            if (err != error.Members) return err;
            try vacateSlots(name, report);
            break :blk try segment.enter(name, nonce, report);
        };
        errdefer {
            // If the last member left meanwhile, it saw our slot taken, and left the segment to us.
            locked_bytes.dropSlot(entered.fd, entered.slot);
            _ = segment.removeIfUnused(entered.fd, name);
            system.close(entered.fd);
        }
        return joined(entered, name, options, report);
    }

    pub fn openOrCreate(name: []const u8, capacity_bytes: u64, claim_ttl_ms: u64, options: Options, report: *segment.Report) segment.Error!*Pool {
        // Each may lose to others who create and remove it in between; not for ever.
        for (0..100) |_| {
            if (open(name, null, options, report)) |pool| return pool else |err| if (err != error.NotFound) return err;
            if (create(name, capacity_bytes, claim_ttl_ms, options, report)) |pool| return pool else |err| if (err != error.Exists) return err;
        }
        return error.Busy;
    }

    /// For one who finds all slots taken: by terminated Workers of this very process, perhaps.
    fn vacateSlots(name: []const u8, report: *segment.Report) segment.Error!void {
        const visited = try segment.visit(name, report);
        defer system.close(visited.fd);
        const base = system.map(visited.fd, 0, layout.blocks_start, &report.failure) catch |err| return segment.translated(err, report);
        defer system.unmap(base, layout.blocks_start);
        const view: View = .of(&visited.geometry, base, visited.fd, .{}); // of which only the members are there
        members.closeLeftovers(&view, visited.fd, null, .current(), privateBytes(visited.geometry), retire);
    }

    fn capacityOf(asked: u64) u64 {
        if (asked != 0) return asked;
        return std.math.clamp(system.defaultCapacity(), layout.capacity_min, layout.capacity_max);
    }

    fn numberedName(into: *[32]u8, bits: u64) []const u8 {
        into[0] = 'p';
        text.hex(into[1..17], bits);
        return into[0..17];
    }

    /// Maps the segment and becomes the member of the slot whose byte `entered` owns.
    fn joined(entered: segment.Entered, name: []const u8, options: Options, report: *segment.Report) segment.Error!*Pool {
        const private_bytes = privateBytes(entered.geometry);
        const all_bytes = mappingBytes(entered.geometry);
        const base = system.map(entered.fd, private_bytes, entered.geometry.segment_bytes, &report.failure) catch |err|
            return segment.translated(err, report);
        errdefer system.unmap(base, all_bytes);
        const thread = system.Thread.own(&report.failure) catch |err| return segment.translated(err, report);
        const pool: *Pool = @ptrCast(@alignCast(base + pool_start));
        const holds: [*]Hold = @ptrCast(@alignCast(base + holds_start));
        const buffers: [*]Buffers = @ptrCast(@alignCast(base + buffersStart(entered.geometry)));
        const briefs: [*]Brief = @ptrCast(@alignCast(base + briefsStart(entered.geometry)));
        const blocks_max = entered.geometry.blocks_max;
        const own: View.Own = .{ .holds = holds[0..blocks_max], .buffers = buffers[0..blocks_max], .briefs = briefs[0..blocks_max] };
        // The rest is zero, null, false or the first of its kind: as fresh memory is, which is smaller than to say so.
        pool.view = .of(&entered.geometry, @alignCast(base + private_bytes), entered.fd, own);
        pool.cache = @ptrCast(@alignCast(base + cache_start));
        pool.self = .{ .fd = entered.fd, .slot = entered.slot, .incarnation = 0, .lock_word = .unlocked, .thread = thread };
        pool.patience = .of(system.processors());
        pool.options = options;
        pool.plain_bytes_max = if (options.counts_buffers) -1 else cache.bytes_max;
        pool.clock = .{ .second_of = system.secondOf() };
        pool.name_bytes = @intCast(name.len);
        pool.nonce = entered.nonce;
        pool.claim_ttl_ms = entered.claim_ttl_ms;
        pool.channel_spins = 500;
        pool.mapping = base;
        @memcpy(pool.name_buffer[0..name.len], name);
        pool.own_word = &pool.view.members[pool.self.slot].word;
        pool.cache.granules_limit = cache.Cache.limitOf(entered.geometry);
        members.Stamp.put(base, &pool.self);
        const before = members.beginJoin(&pool.view, &pool.self, options.runtime, @intFromPtr(base));
        locked_bytes.leaveHandover(entered.fd, entered.slot);
        pool.finishJoin(before) catch |err| {
            report.pid = pool.patience.owner_pid;
            return switch (err) {
                error.Busy => error.Busy,
                error.Corrupt => error.Corrupt,
            };
        };
        return pool;
    }

    noinline fn finishJoin(pool: *Pool, before: layout.MemberState) lock.Error!void {
        pool.closeLeftovers();
        var dead = members.findDead(&pool.view, &pool.self);
        defer if (dead.count > 0) waiting.callReady(&pool.view);
        try pool.acquire();
        defer pool.unlock();
        // The slot's last owner may have died with holds: they look like ours until they are reaped.
        if (before != .vacant) {
            dead.slots.add(pool.self.slot);
            dead.words[pool.self.slot] = .{ .incarnation = pool.self.incarnation, .state = .joining };
        }
        _ = try reaping.reapUnderLock(pool, &dead, false);
        members.endJoin(&pool.view, &pool.self);
    }

    /// Leaves. `keep_range`: the host may still have views of the range, so zeros stay mapped there; where they cannot be, this stays a
    /// member that nobody uses, and keeps all that it holds, as long as its process lives. True if it removed the segment.
    pub fn close(pool: *Pool, keep_range: bool) bool {
        const keep = keep_range or pool.anyBufferAlive(0);
        const geometry = pool.view.geometry;
        // First of all: what we let go of may be another's at once.
        const elsewhere: ?[*]align(4096) u8 = if (keep) pool.zeroRange() catch return false else null;
        // If not, the others take it for dead, which it is.
        if (!keep or elsewhere != null) pool.giveUpHolds() catch {};
        if (elsewhere) |mapped| system.unmap(mapped, geometry.segment_bytes);
        const fd = pool.self.fd;
        const slot = pool.self.slot;
        var name_buffer = pool.name_buffer;
        const name = name_buffer[0..pool.name_bytes];
        const mapping = pool.mapping;
        // Workers of this process that were terminated would keep the segment from being unused.
        pool.closeLeftovers();
        // Before the slot is another's: whoever destroys a buffer, on any thread, may be about to count it there (goneOne).
        if (keep) _ = system.mapZeros(mapping, mappingBytes(geometry));
        locked_bytes.dropSlot(fd, slot);
        const removed = segment.removeIfUnused(fd, name);
        if (!keep) system.unmap(mapping, mappingBytes(geometry));
        system.close(fd);
        return removed;
    }

    /// Who still has views of the range sees zeros from now on. We see the heap elsewhere, since some of it says what else is held:
    /// channels end with their last holder, and a dead one's lock may be taken over. Null where there is no room for that.
    fn zeroRange(pool: *Pool) error{System}!?[*]align(4096) u8 {
        const geometry = &pool.view.geometry;
        if (!system.mapZeros(@alignCast(pool.view.heap), geometry.capacity_bytes)) return error.System;
        var failure: system.Failure = .{};
        const mapped = system.map(pool.self.fd, 0, geometry.segment_bytes, &failure) catch return null;
        pool.view.heap = mapped + geometry.heap_start;
        return mapped;
    }

    /// Besides one on the block before number `unmade`.
    fn anyBufferAlive(pool: *const Pool, unmade: f64) bool {
        if (!pool.options.counts_buffers) return false;
        // Not as far as the segment says that entries are used: it is ours to know.
        for (pool.view.buffers[0..pool.view.blocks_known], 1..) |*buffers, number| {
            if (buffers.areAlive() and (@as(f64, @floatFromInt(number)) != unmade or buffers.areMore(1))) return true;
        }
        return false;
    }

    pub fn closeLeftovers(pool: *Pool) void {
        members.closeLeftovers(&pool.view, pool.self.fd, pool.self.slot, pool.self.thread, privateBytes(pool.view.geometry), retire);
    }

    /// Gives back the range of a member whose thread is gone. Not while something in the process shows it: a buffer that was
    /// transferred, a native call that goes on by itself. A host whose thread is terminated between the call that counts a buffer
    /// and the one that makes it has not made it; or nobody ever saw it, and it went with the thread.
    fn retire(base: [*]align(4096) u8) bool {
        const dead: *const Pool = @ptrCast(@alignCast(base + pool_start));
        if (dead.anyBufferAlive(dead.record[unmade_at])) return false;
        system.unmap(base, mappingBytes(dead.view.geometry));
        return true;
    }

    noinline fn giveUpHolds(pool: *Pool) lock.Error!void {
        try pool.acquire();
        defer pool.unlock();
        for (0..pool.view.blocks_known) |i| pool.view.holdOf(.of(@intCast(i))).end();
        _ = try reaping.expireClaims(pool, system.monotonicMs());
        _ = try reaping.takeBack(pool, Holders.only(pool.self.slot));
        if (pool.makings > 0) try naming.endMakings(pool, Holders.only(pool.self.slot));
        pool.view.members[pool.self.slot].word.commit(.{ .incarnation = pool.self.incarnation });
    }

    // ------------------------------------------------------------ the lock

    pub noinline fn acquire(pool: *Pool) lock.Error!void {
        try lock.acquire(&pool.view, &pool.self, &pool.patience);
    }
    pub noinline fn unlock(pool: *Pool) void {
        lock.release(&pool.view, &pool.self);
    }
    /// In place, where it is worth its size.
    pub inline fn acquireHot(pool: *Pool) lock.Error!void {
        try lock.acquireHot(&pool.view, &pool.self, &pool.patience);
    }
    pub inline fn unlockHot(pool: *Pool) void {
        lock.releaseHot(&pool.view, &pool.self);
    }

    /// What acquire() looks at, for those who do not take the lock.
    pub inline fn isTrusted(pool: *const Pool) bool {
        return pool.view.header.corrupt.get() == 0 and pool.own_word.get() == pool.self.word;
    }

    // ------------------------------------------------------------ waiting

    /// What waiting.zig needs to know of this member.
    pub inline fn caller(pool: *Pool) waiting.Caller {
        return .{ .view = &pool.view, .self = &pool.self, .patience = &pool.patience };
    }

    /// Where the 32-bit word at `offset` of a held block is.
    pub inline fn placeIn(pool: *Pool, number: u32, offset: u64) Error!waiting.Place {
        const hold = try pool.held(number);
        if (offset % 4 != 0 or offset >= hold.lengthBytes() or hold.lengthBytes() - offset < 4) return error.Argument;
        return .of(&pool.view, pool.view.heap + hold.offsetBytes() + offset);
    }

    /// Begins a wait that does not block; null if the word is not `expected`.
    pub fn beginWait(pool: *Pool, place: waiting.Place, expected: u32) Error!?layout.WaiterIndex {
        // What was backed may be used up by others at once; not for ever.
        for (0..1000) |_| switch (try waiting.begin(pool.caller(), place, expected)) {
            .not_equal => return null,
            .waiting => |index| return index,
            .no_entry => try backing.growWaiters(pool),
        };
        return error.Corrupt;
    }
};
