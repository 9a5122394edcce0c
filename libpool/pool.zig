//! A member of a pool, and what it can do. The state in `Pool` is private to the member; everything shared is in the
//! segment (layout.zig), seen through `view`.
//!
//!     alloc     out of the own cache, without the lock (cache.zig); or else
//!               take a free block ── split off the rest ── holder bit ── one store: used
//!     attach    shared, and generation right? ── holder bit ── one off the claim
//!     release   never shared: into the own cache, without the lock; or else under it
//!               the last holder: into the own cache what it has allocated; or else one store: free ── merge
//!               others clear their bit
//!
//! Memory is backed, zeroed and punched outside the lock, on blocks that are `reserved` or used by this member: should it
//! die there, the block is reaped like any other it held.

const std = @import("std");
const layout = @import("layout.zig");
const blocks = @import("blocks.zig");
const cache = @import("cache.zig");
const Clock = @import("clock.zig").Clock;
const channel = @import("channel.zig");
const free_lists = @import("free_lists.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
pub const names = @import("names.zig");
const pins = @import("pins.zig");
const queue_file = @import("queue.zig");
const recovery = @import("recovery.zig");
const waiting = @import("waiting.zig");
const segment = @import("segment.zig");
const platform = @import("platform.zig");
const system = platform.system;
const text = @import("text.zig");
const View = @import("view.zig").View;
const Holders = @import("view.zig").Holders;
pub const Hold = @import("view.zig").Hold;
pub const Buffers = @import("view.zig").Buffers;
const Brief = @import("view.zig").Brief;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;
const assert = layout.assert;

pub const Error = error{ Stale, Full, Busy, Corrupt, Argument, TooLarge, NotHeld, System };

pub const Cause = enum(u32) { none = 0, heap = 1, device = 2, blocks = 3, claims = 4, files = 5, waiters = 6, names = 7 };

pub const Shortage = struct {
    cause: Cause = .none,
    asked_bytes: u64 = 0,
    largest_free_bytes: u64 = 0,
    device_free_bytes: u64 = 0,
    claimed_bytes: u64 = 0,
    oldest_claim_ms: u64 = 0,
    held_bytes: u64 = 0,
    held_by_self_bytes: u64 = 0,
    named_bytes: u64 = 0,
};

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
    /// Blocks that stayed reserved because the lock could not be had: to be freed by the next reap.
    stranded: u32,
    /// The same for blocks that no host knows of, and that could not be let go of: they count as lent.
    owed: u32,
    /// What it has backed of the heap.
    grown_bytes: u64,
    blocking: waiting.Blocking,
    /// Names that this member is making the arrays of.
    makings: u32,
    /// Whom beginOnce() has waited for last, and the word that changes when that one has made it.
    awaited: ?Awaited,
    /// Channels: for how long waiting awake was worth it lately, and how often there was a wait; when the owners of
    /// unacknowledged messages were looked after.
    channel_spins: u32,
    /// See waiting.unfenced().
    is_unfenced: bool,
    waits: u32,
    probed: channel.Probed,
    /// Those used last, by their block's number.
    channels: [4]queue_file.Known,
    /// See endChannels().
    ends_channels: bool,
    more_channels: bool,
    mapping: [*]align(4096) u8,
    /// Results that do not fit into a return value, for the caller to read. At the end, as in View.
    record: [32]f64,
    /// Where in it what is to stand behind an array is.
    pub const tail_at = 20;

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
            const chosen = name orelse randomName(&buffer);
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
            system.dropSlot(entered.fd, entered.slot);
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

    fn randomName(into: *[32]u8) []const u8 {
        var bits: u64 = 0;
        system.random(std.mem.asBytes(&bits));
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
        const pool: *Pool = @ptrCast(@alignCast(base + pool_start));
        const holds: [*]Hold = @ptrCast(@alignCast(base + holds_start));
        const buffers: [*]Buffers = @ptrCast(@alignCast(base + buffersStart(entered.geometry)));
        const briefs: [*]Brief = @ptrCast(@alignCast(base + briefsStart(entered.geometry)));
        const blocks_max = entered.geometry.blocks_max;
        const own: View.Own = .{ .holds = holds[0..blocks_max], .buffers = buffers[0..blocks_max], .briefs = briefs[0..blocks_max] };
        pool.* = .{
            .record = @splat(0),
            .view = .of(&entered.geometry, @alignCast(base + private_bytes), entered.fd, own),
            .cache = @ptrCast(@alignCast(base + cache_start)),
            .self = .{ .fd = entered.fd, .slot = entered.slot, .incarnation = 0, .lock_word = .unlocked, .thread = .current() },
            .patience = .{ .spins = if (system.hasProcessors()) 200 else 0, .timeout_ms = 2000 },
            .options = options,
            .own_word = undefined,
            .plain_bytes_max = if (options.counts_buffers) -1 else cache.bytes_max,
            .clock = .{ .second_of = system.secondOf() },
            .name_buffer = @splat(0),
            .name_bytes = @intCast(name.len),
            .nonce = entered.nonce,
            .claim_ttl_ms = entered.claim_ttl_ms,
            .errno = 0,
            .cause = .none,
            .stranded = 0,
            .owed = 0,
            .grown_bytes = 0,
            .blocking = .{},
            .makings = 0,
            .awaited = null,
            .channel_spins = 500,
            .is_unfenced = false,
            .waits = 0,
            .probed = .{},
            .channels = @splat(.{}),
            .ends_channels = false,
            .more_channels = false,
            .mapping = base,
        };
        @memcpy(pool.name_buffer[0..name.len], name);
        pool.own_word = &pool.view.members[pool.self.slot].word;
        pool.cache.granules_limit = cache.Cache.limitOf(entered.geometry);
        members.Stamp.put(base, &pool.self);
        const before = members.beginJoin(&pool.view, &pool.self, options.runtime, @intFromPtr(base));
        system.leaveHandover(entered.fd, entered.slot);
        pool.finishJoin(before) catch |err| {
            report.pid = pool.patience.owner_pid;
            return switch (err) {
                error.Busy => error.Busy,
                error.Corrupt => error.Corrupt,
            };
        };
        return pool;
    }

    fn finishJoin(pool: *Pool, before: layout.MemberState) lock.Error!void {
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
        _ = try pool.reapUnderLock(&dead);
        members.endJoin(&pool.view, &pool.self);
    }

    /// Leaves. `keep_range`: the host may still have views of the range, so zeros stay mapped there.
    /// True if it removed the segment.
    pub fn close(pool: *Pool, keep_range: bool) bool {
        var keep = keep_range;
        if (pool.options.counts_buffers) keep = keep or pool.anyBufferAlive();
        const geometry = pool.view.geometry;
        // First of all: what we let go of may be another's at once.
        if (keep) system.mapZeros(@alignCast(pool.view.heap), geometry.capacity_bytes);
        pool.giveUpHolds() catch {}; // then the others take it for dead, which it is
        const fd = pool.self.fd;
        const slot = pool.self.slot;
        var name_buffer = pool.name_buffer;
        const name = name_buffer[0..pool.name_bytes];
        const mapping = pool.mapping;
        // Workers of this process that were terminated would keep the segment from being unused.
        pool.closeLeftovers();
        // Before the slot is another's: whoever destroys a buffer, on any thread, may be about to count it there (goneOne).
        if (keep) system.mapZeros(mapping, mappingBytes(geometry));
        system.dropSlot(fd, slot);
        const removed = segment.removeIfUnused(fd, name);
        if (!keep) system.unmap(mapping, mappingBytes(geometry));
        system.close(fd);
        return removed;
    }

    fn anyBufferAlive(pool: *const Pool) bool {
        // Not as far as the segment says that entries are used: it is ours to know.
        for (pool.view.buffers[0..pool.view.blocks_known]) |*buffers| if (buffers.areAlive()) return true;
        return false;
    }

    fn closeLeftovers(pool: *Pool) void {
        members.closeLeftovers(&pool.view, pool.self.fd, pool.self.slot, pool.self.thread, privateBytes(pool.view.geometry), retire);
    }

    /// Gives back the range of a member whose thread is gone. Not while something in the process shows it: a buffer that was
    /// transferred, a native call that goes on by itself.
    fn retire(base: [*]align(4096) u8) bool {
        const dead: *const Pool = @ptrCast(@alignCast(base + pool_start));
        if (dead.options.counts_buffers and dead.anyBufferAlive()) return false;
        system.unmap(base, mappingBytes(dead.view.geometry));
        return true;
    }

    fn giveUpHolds(pool: *Pool) lock.Error!void {
        try pool.acquire();
        defer pool.unlock();
        for (0..pool.view.blocks_known) |i| pool.view.holdOf(.of(@intCast(i))).end();
        _ = try pool.expireClaims(system.monotonicMs());
        _ = try pool.takeBack(Holders.only(pool.self.slot));
        if (pool.makings > 0) try pool.endMakings(Holders.only(pool.self.slot));
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
    inline fn acquireHot(pool: *Pool) lock.Error!void {
        try lock.acquireHot(&pool.view, &pool.self, &pool.patience);
    }
    inline fn unlockHot(pool: *Pool) void {
        lock.releaseHot(&pool.view, &pool.self);
    }

    // ------------------------------------------------------------ allocating

    pub const Request = struct {
        length_bytes: u64,
        granules: u32,
        dtype: u8,
        zeroed: bool,
    };

    /// The rest is in its hold.
    pub const Array = struct {
        index: BlockIndex,
        /// Its bytes are zeros already.
        is_zero: bool,
    };

    /// Allocates, and holds it.
    pub fn alloc(pool: *Pool, length_bytes: u64, dtype: u8, zeroed: bool) Error!Array {
        return pool.allocWithRoom(length_bytes, dtype, zeroed, 0);
    }
    /// The same with `room_bytes` behind the array, at most `room_bytes_max`, and what the record has for it there.
    pub fn allocWithRoom(pool: *Pool, length_bytes: u64, dtype: u8, zeroed: bool, room_bytes: u32) Error!Array {
        const request = try pool.requestOf(length_bytes, dtype, zeroed, room_bytes);
        const array = pool.takeCached(request) orelse try pool.allocLocked(request);
        if (zeroed and !array.is_zero) zero(pool.view.heap + pool.view.holds[array.index.int()].offsetBytes(), length_bytes);
        if (room_bytes > 0) pool.writeTail(array.index, room_bytes);
        return array;
    }
    /// For those who look, and nobody relies on it: plain bytes, and of this generation.
    noinline fn writeTail(pool: *Pool, index: BlockIndex, room_bytes: u32) void {
        const hold = &pool.view.holds[index.int()];
        var bytes = std.mem.asBytes(&pool.record)[tail_at * @sizeOf(f64) ..][0..layout.room_bytes_max].*;
        const first = std.mem.readInt(u32, bytes[0..4], .little);
        std.mem.writeInt(u32, bytes[0..4], first ^ @as(u32, @truncate(hold.word.generation)), .little);
        @memcpy(pool.view.heap + hold.offsetBytes() + hold.lengthBytes(), bytes[0..room_bytes]);
    }
    /// For what is no array, and is allocated now and then: never out of the cache.
    pub noinline fn allocInner(pool: *Pool, length_bytes: u64, zeroed: bool) Error!BlockIndex {
        const array = try pool.allocLocked(try pool.requestOf(length_bytes, 0, zeroed, 0));
        if (zeroed and !array.is_zero) zero(pool.view.heap + pool.view.holds[array.index.int()].offsetBytes(), length_bytes);
        return array.index;
    }

    fn requestOf(pool: *const Pool, length_bytes: u64, dtype: u8, zeroed: bool, room_bytes: u32) Error!Request {
        const at_least: u64 = @max(1, length_bytes) +| room_bytes;
        if (at_least > pool.view.geometry.capacity_bytes) return error.TooLarge;
        const granules = (at_least + layout.granule_bytes - 1) / layout.granule_bytes;
        return .{ .length_bytes = length_bytes, .granules = @intCast(granules), .dtype = dtype, .zeroed = zeroed };
    }

    /// Not in place: so the way without the lock needs few registers.
    noinline fn allocLocked(pool: *Pool, request: Request) Error!Array {
        return try pool.takeBacked(request) orelse try pool.allocSlowly(request);
    }

    /// The way most allocations go: a block of about that size was let go of a moment ago. Null where that is not so.
    pub inline fn allocPlain(pool: *Pool, length_bytes: u32, dtype: u8) ?cache.Cache.Taken {
        if (!pool.isTrusted()) return null;
        const at_least: u32 = @max(1, length_bytes);
        const granules = (at_least + layout.granule_bytes - 1) / layout.granule_bytes;
        const size = pool.cache.sizeFor(granules) orelse return null;
        const taken = pool.cache.takeOf(&pool.view, size) orelse return null;
        setLength(taken, size, length_bytes, dtype, pool.clock.born);
        pool.view.briefs[taken.index.int()] = .{ .granules = @intCast(size), .is = .plain };
        return taken;
    }

    /// After allocPlain(), which has taken the time for what it was last. At the end of all: so little is needed after the clock was
    /// asked, and few registers have to be kept.
    pub inline fn stamp(pool: *Pool, index: BlockIndex) void {
        if (pool.clock.isOver()) pool.stampAnew(index);
    }
    noinline fn stampAnew(pool: *Pool, index: BlockIndex) void {
        const tail_bytes = pool.view.holds[index.int()].tail_bytes;
        pool.view.blocks[index.int()].tail.set(.of(tail_bytes, pool.clock.now()));
    }

    /// The same for all.
    fn takeCached(pool: *Pool, request: Request) ?Array {
        if (!pool.isTrusted()) return null;
        const taken = pool.cache.take(&pool.view, request.granules) orelse return null;
        setLength(taken, taken.hold.granules, @intCast(request.length_bytes), request.dtype, pool.clock.now());
        pool.holdNew(taken.index, taken.hold.granules);
        return .{ .index = taken.index, .is_zero = false };
    }

    /// After it was taken, or it might be another's. Until then they are of the array before, in the same extent.
    inline fn setLength(taken: cache.Cache.Taken, granules: u32, length_bytes: u32, dtype: u8, born: u24) void {
        const tail_bytes = granules * layout.granule_bytes - length_bytes;
        taken.hold.tail_bytes = tail_bytes;
        taken.block.tail.set(.of(tail_bytes, born));
        taken.block.content.set(.of(dtype, tail_bytes));
    }

    /// The first hold on a block that was allocated.
    inline fn holdNew(pool: *Pool, index: BlockIndex, granules: u32) void {
        if (!pool.options.counts_buffers and granules <= cache.granules_max) {
            pool.view.briefs[index.int()] = .{ .granules = @intCast(granules), .is = .plain };
            return;
        }
        pool.view.briefs[index.int()] = .{};
        pool.view.holds[index.int()].holds = 1;
        pool.show(index);
    }

    /// What acquire() looks at, for those who do not take the lock.
    inline fn isTrusted(pool: *const Pool) bool {
        return pool.view.header.corrupt.get() == 0 and pool.own_word.get() == pool.self.word;
    }

    /// An array out of backed free memory; null when there is none.
    inline fn takeBacked(pool: *Pool, request: Request) Error!?Array {
        try pool.acquireHot();
        defer pool.unlockHot();
        return pool.takeWarm(request) orelse try pool.takeAny(request);
    }

    /// The way most others go: a block of just that size was freed a moment ago, and is where this member saw it last.
    /// Everything is read once, into registers; whatever is not as usual is for takeAny() to find out.
    inline fn takeWarm(pool: *Pool, request: Request) ?Array {
        if (request.granules > layout.quick_granules_max) return null;
        const lists = pool.view.lists;
        const table = pool.view.blocks;
        const known = pool.view.blocks_known;
        const head = &lists.quick[request.granules];
        const index = head.get();
        if (index.int() >= known) return null;
        const block = &table[index.int()];
        const word = block.word.get();
        const next = block.next.get();
        if (word.state != .free or !word.backed or next.int() >= known) return null;
        const start = block.start.get();
        if (table[next.int()].start.get() -% start != request.granules) return null;
        const hold = &pool.view.holds[index.int()];
        if (pool.view.isHeldHot(index) or hold.start != start or hold.granules != request.granules) return null;
        if (block.of.links.list.get() != .quick) return null;

        const following = block.of.links.next.get();
        head.set(following);
        if (following.int() < known) { // most likely the next allocation's
            @prefetch(&table[following.int()], .{ .rw = .write });
            @prefetch(&pool.view.holds[following.int()], .{ .rw = .write });
        }
        lists.quick_granules.set(lists.quick_granules.get() -| request.granules);
        const extent: View.Extent = .{ .start = start, .granules = request.granules };
        return pool.publish(index, block, extent, word, request);
    }

    noinline fn takeAny(pool: *Pool, request: Request) Error!?Array {
        const index = try free_lists.takeQuick(&pool.view, request.granules) orelse
            try pool.takeRun(true, request.granules) orelse return null;
        return try pool.publishAt(index, request);
    }

    fn publishAt(pool: *Pool, index: BlockIndex, request: Request) Error!Array {
        const block = try pool.view.blockHot(index);
        const extent = try pool.view.extentHot(block);
        const word = block.word.get();
        if (extent.granules < request.granules or (word.state != .free and word.state != .reserved)) return error.Corrupt;
        try pool.view.expectApart(index, block, extent);
        return pool.publish(index, block, extent, word, request);
    }

    /// The end of an allocation: the block becomes this member's array with one store.
    fn publish(pool: *Pool, index: BlockIndex, block: *Block, extent: View.Extent, word: layout.BlockWord, request: Request) Array {
        const generation = if (word.state == .reserved) word.generation else word.generation +% 1;
        // Nobody reads these of a block that is not in use.
        const tail_bytes: u32 = @truncate(extent.bytes() - request.length_bytes);
        block.tail.set(.of(tail_bytes, pool.clock.now()));
        block.content.set(.of(request.dtype, tail_bytes));
        pool.holdAlone(block);
        const used: layout.BlockWord = .{ .generation = generation, .state = .used, .backed = true };
        block.word.commit(used);
        const hold = &pool.view.holds[index.int()];
        if (pool.view.briefs[index.int()].is == .listed) pool.cache.forget(&pool.view, index);
        hold.word = used;
        hold.tail_bytes = tail_bytes;
        hold.start = extent.start;
        hold.granules = extent.granules;
        hold.is_allocated = true;
        pool.holdNew(index, extent.granules);
        return .{ .index = index, .is_zero = word.zero };
    }

    /// Takes exactly `granules` off a free run; null when there is none, or no entry for a split.
    noinline fn takeRun(pool: *Pool, backed: bool, granules: u32) Error!?BlockIndex {
        const view = &pool.view;
        const index = try free_lists.find(view, backed, granules) orelse return null;
        if (blocks.unusedEntries(view) == 0) return null;
        try free_lists.remove(view, index);
        if ((try view.extent(try view.block(index))).granules > granules) try pool.cut(index, granules);
        return index;
    }

    /// Gives what is beyond `granules` of an unlisted block back to the runs.
    fn cut(pool: *Pool, index: BlockIndex, granules: u32) Error!void {
        const rest = blocks.split(&pool.view, index, granules) catch |err| switch (err) {
            error.Corrupt => return error.Corrupt,
            error.NoEntry => return error.Corrupt, // the caller looked before
        };
        try free_lists.insert(&pool.view, rest);
    }

    fn holdAlone(pool: *Pool, block: *Block) void {
        inline for (&block.of.holders) |*cell| cell.set(0);
        block.of.holders[pool.self.slot / 64].set(Holders.bit(pool.self.slot));
    }

    fn heldByOthers(pool: *Pool, block: *Block) bool {
        const mine = pool.self.slot / 64;
        var others = block.of.holders[mine].get() & ~Holders.bit(pool.self.slot);
        inline for (&block.of.holders, 0..) |*cell, word| {
            if (word != mine) others |= cell.get();
        }
        return others != 0;
    }

    /// No backed memory fits: back more, and where there is none, look for what can be had back, the cheap ways first.
    noinline fn allocSlowly(pool: *Pool, request: Request) Error!Array {
        pool.cause = .none;
        if (try pool.takeOrGrow(request)) |array| return array;
        try pool.coalesce(); // and what the members have cached
        if (try pool.takeOrGrow(request)) |array| return array;
        if ((try pool.reap()).freed.blocks > 0) {
            try pool.coalesce();
            if (try pool.takeOrGrow(request)) |array| return array;
        }
        // /dev/shm is full, but this pool may keep some of it behind runs that are too small.
        if (pool.cause == .device) {
            _ = try pool.trim();
            try pool.coalesce();
            if (try pool.takeOrGrow(request)) |array| return array;
        }
        if (pool.cause == .none) pool.cause = .heap;
        return error.Full;
    }

    fn coalesce(pool: *Pool) Error!void {
        try pool.acquire();
        defer pool.unlock();
        try pool.takeBackCached();
        try free_lists.coalesce(&pool.view);
    }

    /// Frees what members have cached and not taken again in the meantime: one pass over the table.
    fn takeBackCached(pool: *Pool) Error!void {
        for (0..pool.view.blocksUsed()) |i| {
            const block = &pool.view.blocks[i];
            const word = block.word.get();
            if (word.state != .cached or !cache.takeBack(block, word)) continue;
            try free_lists.put(&pool.view, .of(@intCast(i)));
        }
    }

    fn takeOrGrow(pool: *Pool, request: Request) Error!?Array {
        try pool.backTables();
        return try pool.takeUnmerged(request) orelse try pool.grow(request);
    }

    /// Memory that waits unmerged in quick lists, and in this member's cache, is used up before the pool grows.
    fn takeUnmerged(pool: *Pool, request: Request) Error!?Array {
        try pool.acquire();
        defer pool.unlock();
        if (try pool.takeAny(request)) |array| return array;
        if (!try pool.cache.freeLarger(&pool.view, request.granules)) {
            // Also where it is less than the array: merged, it may be what is lacking.
            const worth_it = std.math.clamp(pool.grown_bytes / 32, 16 << 10, 256 << 10) / layout.granule_bytes;
            const unmerged = pool.view.lists.quick_granules.get() +| pool.cache.granules;
            if (unmerged < worth_it) return null;
            // What is far smaller stays in the cache: it would hardly be a part of what is lacking, and each that is to be there
            // again comes by way of the lock.
            try pool.cache.freeFrom(&pool.view, request.granules / 64);
        }
        try free_lists.flush(&pool.view);
        return pool.takeAny(request);
    }

    /// Backs more of the heap: somewhat more than is asked for, as long as there is room; or else its pages; or else, where
    /// its page is there already, just what is asked for.
    fn grow(pool: *Pool, request: Request) Error!?Array {
        const geometry = pool.view.geometry;
        // A 64th of what it has grown by so far: so little is backed in vain, and growing stays rare.
        const most_bytes = std.math.clamp(geometry.capacity_bytes / 64, 64 << 10, 1 << 20);
        const step_bytes = std.math.clamp(pool.grown_bytes / 64, 64 << 10, most_bytes);
        const step: u32 = @intCast(step_bytes / layout.granule_bytes);
        if (try pool.growRest(request, step)) |array| return array;
        const sections = layout.alignUp(@max(request.granules, step), layout.section_bytes / layout.granule_bytes);
        const generous: u32 = @intCast(@min(sections, geometry.heap_granules));
        const pages = layout.alignUp(request.granules, system.pageBytes() / layout.granule_bytes);
        var tried: u32 = 0;
        for ([_]u32{ generous, @intCast(@min(pages, geometry.heap_granules)), request.granules }, 0..) |wanted, i| {
            if (wanted == tried) continue;
            if (i == 0 and !system.hasRoom(@as(u64, wanted) * layout.granule_bytes)) continue;
            tried = wanted;
            if (try pool.reserve(wanted)) |reserved| {
                if (!try pool.backReserved(reserved)) {
                    pool.cause = .device;
                } else if (try pool.publishGrown(reserved, request)) |array| return array;
            }
        }
        return null;
    }

    /// Before unbacked memory there may be a backed rest that is too small: then only what is lacking is backed.
    fn growRest(pool: *Pool, request: Request, step: u32) Error!?Array {
        const reserved = try pool.reserveBehindRest(request, step) orelse return null;
        if (!try pool.backReserved(reserved)) return null;
        try pool.acquireOrStrand();
        defer pool.unlock();
        const block = try pool.view.block(reserved.index);
        var word = block.word.get();
        if (word.state != .reserved) return error.Corrupt;
        word.state = .free;
        word.backed = true;
        word.zero = reserved.was_zero;
        block.word.commit(word);
        try free_lists.putMerged(&pool.view, reserved.index);
        return pool.takeAny(request);
    }

    fn reserveBehindRest(pool: *Pool, request: Request, step: u32) Error!?Reserved {
        const view = &pool.view;
        try pool.acquire();
        defer pool.unlock();
        if (blocks.unusedEntries(view) < 2) return null;
        const index = try free_lists.find(view, false, @max(request.granules, step)) orelse return null;
        if (index == BlockIndex.of(0)) return null;
        const block = try view.block(index);
        const rest = try view.block(block.prev.get());
        const word = rest.word.get();
        if (word.state != .free or !word.backed or rest.of.links.list.get() != .runs) return null;
        if (request.zeroed and !word.zero) return null; // to clear all of it would take longer
        const has = (try view.extent(rest)).granules;
        if (has >= request.granules) return null;
        const lacking = layout.alignUp(@max(request.granules - has, step), layout.section_bytes / layout.granule_bytes);
        try free_lists.remove(view, index);
        if ((try view.extent(block)).granules > lacking) try pool.cut(index, @intCast(lacking));
        return try pool.markReserved(index);
    }

    /// A block that this member works on outside the lock: where it was when that was known to be sound, and what it said
    /// before. While somebody may be backing it, it says no: should he die, trim() looks there.
    pub const Reserved = struct {
        index: BlockIndex,
        extent: View.Extent,
        was_backed: bool,
        was_zero: bool,
    };

    /// Takes unbacked free memory to this member, so that it can be backed outside the lock.
    pub fn reserve(pool: *Pool, granules: u32) Error!?Reserved {
        try pool.acquire();
        defer pool.unlock();
        if (blocks.unusedEntries(&pool.view) < 2) return null;
        const index = try pool.takeRun(false, granules) orelse return null;
        return try pool.markReserved(index);
    }

    fn markReserved(pool: *Pool, index: BlockIndex) Error!Reserved {
        const block = try pool.view.block(index);
        const extent = try pool.view.extent(block);
        try pool.view.expectApart(index, block, extent);
        pool.holdAlone(block);
        const word = block.word.get();
        block.word.commit(.{ .generation = word.generation +% 1, .state = .reserved });
        return .{ .index = index, .extent = extent, .was_backed = word.backed, .was_zero = word.zero };
    }

    /// Puts memory behind a reserved block. When there is none left, the block is free again, and false is returned.
    pub fn backReserved(pool: *Pool, reserved: Reserved) Error!bool {
        const extent = reserved.extent;
        // What cannot fit does not take, for as long as it tries, what others could have. Pages at the ends may be backed.
        if (reserved.was_zero and !system.hasRoom(extent.bytes() -| 2 * system.pageBytes())) {
            try pool.freeReserved(reserved.index, true);
            return false;
        }
        const offset = pool.view.geometry.heap_start + extent.offsetBytes();
        var failure: system.Failure = .{};
        if (system.back(pool.self.fd, offset, extent.bytes(), &failure)) |_| {
            pool.grown_bytes += extent.bytes();
            return true;
        } else |err| {
            pool.errno = failure.errno;
            const pages = Pages.inside(extent);
            if (pages.granules > 0) _ = pool.punch(pages); // what was backed before it failed
            try pool.freeReserved(reserved.index, reserved.was_zero and pages.granules == extent.granules);
            return if (err == error.NoSpace) false else error.System;
        }
    }

    fn freeReserved(pool: *Pool, index: BlockIndex, is_zero: bool) Error!void {
        try pool.acquireOrStrand();
        defer pool.unlock();
        const block = try pool.view.block(index);
        var word = block.word.get();
        if (word.state != .reserved) return error.Corrupt;
        word.zero = is_zero;
        block.word.commit(word);
        try pool.freeBlock(index);
    }

    /// The lock, for one who has reserved a block. If it cannot be had, the next reap frees the block.
    fn acquireOrStrand(pool: *Pool) Error!void {
        errdefer pool.stranded += 1;
        try pool.acquire();
    }

    /// Null when there is more than the array may keep, and no entry for the rest any more.
    pub fn publishGrown(pool: *Pool, reserved: Reserved, request: Request) Error!?Array {
        try pool.acquireOrStrand();
        defer pool.unlock();
        const block = try pool.view.block(reserved.index);
        var word = block.word.get();
        if (word.state != .reserved) return error.Corrupt;
        word.backed = true;
        word.zero = reserved.was_zero;
        block.word.commit(word);
        if ((try pool.view.extent(block)).granules > request.granules) {
            if (blocks.unusedEntries(&pool.view) == 0) {
                pool.cause = .blocks;
                try pool.freeBlock(reserved.index);
                return null;
            }
            try pool.cut(reserved.index, request.granules);
        }
        return try pool.publishAt(reserved.index, request);
    }

    /// Backs more of the block table when it is nearly used up.
    fn backTables(pool: *Pool) Error!void {
        const view = &pool.view;
        if (blocks.unusedEntries(view) >= 8) return;
        if (view.blocksBacked() == view.geometry.blocks_max) {
            pool.cause = .blocks;
            return;
        }
        pool.backTable(layout.blocks_start, @sizeOf(Block), &view.header.blocks_backed, view.blocksBacked(), view.geometry.blocks_max) catch |err|
            if (err != error.Full) return err; // a few entries may do
    }

    /// Outside the lock; backing twice does no harm.
    fn backTable(pool: *Pool, table_start: u64, entry_bytes: u64, backed: *layout.Cell(u32), now: u32, entries_max: u32) Error!void {
        // A 16th more each time, within 64 KiB and 4 MiB.
        const more = std.math.clamp(@as(u64, now) * entry_bytes / 16, layout.section_bytes, 4 << 20);
        const more_entries: u32 = @intCast(layout.alignUp(more, layout.section_bytes) / entry_bytes);
        const entries = @min(entries_max, now +| more_entries);
        const offset = table_start + @as(u64, now) * entry_bytes;
        var failure: system.Failure = .{};
        system.back(pool.self.fd, offset, @as(u64, entries - now) * entry_bytes, &failure) catch |err| {
            pool.errno = failure.errno;
            pool.cause = .device;
            return if (err == error.NoSpace) error.Full else error.System;
        };
        try pool.acquire();
        defer pool.unlock();
        if (entries > backed.get()) backed.commit(entries);
    }

    // ------------------------------------------------------------ holding

    pub const Attached = enum(i32) { newly = 0, again = 1 };

    /// Holds what a descriptor names. Takes one off its claim if it names one, unless this member held the block already.
    pub fn attach(pool: *Pool, number: u32, generation: u64, claim: u64) Error!Attached {
        try pool.acquire();
        defer pool.unlock();
        return pool.attachLocked(number, generation, claim);
    }

    pub fn attachLocked(pool: *Pool, number: u32, generation: u64, claim: u64) Error!Attached {
        const view = &pool.view;
        const index: BlockIndex = .of(number);
        if (number >= view.header.blocks_used.get() or !view.isBacked(index)) return error.Stale;
        const attached = try pool.takeHold(index, generation);
        // Bit first, then claim: a crash between leaks a claim, which expires.
        // A broken claim is no reason to refuse what is held now; it expires.
        if (attached == .newly and claim != 0) {
            if (pins.findClaim(view, claim, index, @intCast(generation))) |pin| pins.takeOff(view, pin, 1) catch {};
        }
        return attached;
    }

    /// Holds a block once more, under the lock.
    fn takeHold(pool: *Pool, index: BlockIndex, generation: u64) Error!Attached {
        const view = &pool.view;
        const block = try view.blockHot(index);
        const word = block.word.acquire(); // pairs with the exchangeIf in share()
        if (word.state != .used or word.generation != generation or !word.shared) return error.Stale;
        const newly = !view.isHeldHot(index);
        const hold = view.holdOf(index);
        if (newly) {
            const extent = try view.extentHot(block);
            const length_bytes = try View.lengthIn(block, extent);
            try view.expectApart(index, block, extent);
            if (view.briefs[index.int()].is == .listed) pool.cache.forget(view, index);
            hold.word = word;
            hold.tail_bytes = @truncate(extent.bytes() - length_bytes);
            hold.start = extent.start;
            hold.granules = extent.granules;
            hold.is_allocated = false;
            const cell = &block.of.holders[pool.self.slot / 64];
            cell.commit(cell.get() | Holders.bit(pool.self.slot));
        } else try view.expectAsHeld(index);
        hold.holds += 1;
        pool.show(index);
        const attaches = &view.members[pool.self.slot].attaches;
        attaches.set(attaches.get() +% 1);
        return if (newly) .newly else .again;
    }

    /// Undoes an attachLocked() before anybody has seen what it gave.
    pub fn detachLocked(pool: *Pool, number: u32) void {
        const hold = pool.held(number) catch return;
        if (pool.options.counts_buffers) pool.unshow(&pool.view.buffers[number]);
        hold.holds -= 1;
        if (hold.holds > 0) return;
        if (pool.view.buffers[number].areAlive()) {
            hold.lent = true;
            return;
        }
        pool.dropBitAny(number) catch {};
        hold.end();
        if (pool.options.counts_buffers) pool.view.buffers[number].end();
    }

    /// Holds once more what this member holds already; no business of the others.
    pub fn retain(pool: *Pool, number: u32) Error!void {
        const hold = try pool.held(number);
        hold.holds += 1;
        pool.show(.of(number));
    }

    /// The host is about to make a buffer on the block.
    inline fn show(pool: *Pool, index: BlockIndex) void {
        if (!pool.options.counts_buffers) return;
        const member = &pool.view.members[pool.self.slot];
        const buffers = &pool.view.buffers[index.int()];
        buffers.all_gone = &member.buffers_gone;
        member.buffers_shown.set(member.buffers_shown.get() +% 1);
        buffers.shown += 1;
    }

    /// It has not made it.
    fn unshow(pool: *Pool, buffers: *Buffers) void {
        const member = &pool.view.members[pool.self.slot];
        buffers.shown -= 1;
        member.buffers_shown.set(member.buffers_shown.get() -% 1);
    }

    pub inline fn held(pool: *Pool, number: u32) Error!*Hold {
        return pool.holdOn(number) orelse error.NotHeld;
    }
    fn holdOn(pool: *Pool, number: u32) ?*Hold {
        if (number >= pool.view.geometry.blocks_max) return null;
        const hold = pool.view.holdOf(.of(number));
        return if (hold.holds == 0) null else hold;
    }

    pub const Released = enum(i32) { gone = 0, held = 1, lent = 2 };

    /// Lets go once. With error.Busy nothing has changed. In place, for the one who calls it from outside.
    pub inline fn release(pool: *Pool, number: u32, shown: bool) Error!Released {
        return if (pool.releasePlain(number)) .gone else pool.releaseAny(number, shown);
    }

    /// The way most releases go: held plainly, and there is room in the cache. False, and nothing done, if it is not.
    pub inline fn releasePlain(pool: *Pool, number: u32) bool {
        if (number >= pool.view.geometry.blocks_max) return false;
        const brief = pool.view.briefs[number];
        if (brief.is != .plain or !pool.cache.hasRoom(brief.granules) or !pool.isTrusted()) return false;
        pool.cache.keep(&pool.view, .of(number), brief.granules);
        return true;
    }

    pub fn releaseAny(pool: *Pool, number: u32, shown: bool) Error!Released {
        return pool.releaseBy(number, shown, true);
    }
    /// For what allocInner() gave, or others know of: never into the cache.
    pub fn releaseInner(pool: *Pool, number: u32, shown: bool) Error!Released {
        return pool.releaseBy(number, shown, false);
    }

    noinline fn releaseBy(pool: *Pool, number: u32, shown: bool, may_be_cached: bool) Error!Released {
        const hold = try pool.held(number);
        const counts_buffers = pool.options.counts_buffers;
        const buffers = &pool.view.buffers[number];
        if (hold.holds > 1) {
            hold.holds -= 1;
            if (counts_buffers and !shown) pool.unshow(buffers);
            return .held;
        }
        if (counts_buffers and buffers.shown - @intFromBool(!shown) != @atomicLoad(u32, &buffers.gone, .acquire)) { // pairs with the release in goneOne
            hold.holds = 0;
            hold.lent = true;
            if (!shown) pool.unshow(buffers);
            return .lent;
        }
        const released = try if (may_be_cached) pool.letGo(number, hold) else pool.letGoShared(number, hold);
        if (counts_buffers) {
            if (!shown) pool.unshow(buffers);
            buffers.end();
        }
        return released;
    }

    /// For a block that no host knows of, and shows: where the lock cannot be had, the next reap lets go of it.
    pub fn letGoAnyway(pool: *Pool, number: u32) void {
        _ = pool.releaseInner(number, true) catch |err| {
            if (err != error.Busy) return;
            pool.view.holds[number].holds = 0;
            pool.view.holds[number].lent = true;
            pool.owed += 1;
        };
    }

    fn letGoOfOwed(pool: *Pool) void {
        for (pool.view.holds[0..pool.view.blocks_known], 0..) |*hold, i| {
            if (!hold.lent or hold.holds > 0 or pool.view.buffers[i].areAlive()) continue;
            pool.dropBitAny(@intCast(i)) catch {};
            hold.end();
            pool.view.buffers[i].end();
        }
        pool.owed = 0;
    }

    /// The last hold ends.
    inline fn letGo(pool: *Pool, number: u32, hold: *Hold) Error!Released {
        const kept: cache.Cache.Put = if (pool.isTrusted()) pool.cache.put(&pool.view, .of(number)) else .not_for_it;
        if (kept != .kept) pool.letGoLocked(number, kept == .no_room) catch |err| return pool.endedUnlessBusy(number, err);
        hold.end();
        return .gone;
    }

    inline fn letGoShared(pool: *Pool, number: u32, hold: *Hold) Error!Released {
        pool.dropBitLocked(number) catch |err| return pool.endedUnlessBusy(number, err);
        hold.end();
        return .gone;
    }

    noinline fn letGoLocked(pool: *Pool, number: u32, no_room: bool) Error!void {
        if (!no_room) return pool.dropBit(number);
        try pool.makeRoom(pool.view.holds[number].granules);
        if (pool.cache.put(&pool.view, .of(number)) != .kept) try pool.dropBitLocked(number);
    }

    noinline fn makeRoom(pool: *Pool, granules: u32) Error!void {
        try pool.acquire();
        defer pool.unlock();
        try pool.cache.makeRoom(&pool.view, granules);
    }

    /// In a damaged segment the block may stay as it is, but this member is done with it.
    fn endedUnlessBusy(pool: *Pool, number: u32, err: Error) Error {
        @branchHint(.cold);
        if (err == error.Busy) return err;
        pool.view.holds[number].end();
        if (pool.options.counts_buffers) pool.view.buffers[number].end();
        return err;
    }

    /// Lets go of a lent block when the last buffer on it is gone.
    pub fn settle(pool: *Pool, number: u32) Error!Released {
        if (number >= pool.view.geometry.blocks_max) return error.NotHeld;
        const hold = &pool.view.holds[number];
        if (!hold.lent or hold.holds > 0) return .gone; // settled before, or held again
        if (pool.view.buffers[number].areAlive()) return .lent;
        pool.dropBitLocked(number) catch |err| return pool.endedUnlessBusy(number, err);
        hold.end();
        pool.view.buffers[number].end();
        return .gone;
    }

    /// A block for a host that writes where its arrays were made: held like any, but no array; nobody sees it through a buffer
    /// that is counted.
    pub fn openTrace(pool: *Pool, length_bytes: u64) Error!BlockIndex {
        const index = try pool.allocInner(length_bytes, true);
        const content = &pool.view.blocks[index.int()].content;
        content.set(content.get().as(layout.Kind.trace));
        try pool.showNothing(index.int());
        return index;
    }

    /// No buffer is made for the last hold.
    pub fn showNothing(pool: *Pool, number: u32) Error!void {
        _ = try pool.held(number);
        const buffers = &pool.view.buffers[number];
        if (buffers.shown > 0) pool.unshow(buffers);
    }

    /// Whether a buffer on the block is still there. Only private memory is read.
    pub fn isShown(pool: *const Pool, number: u32) bool {
        return number < pool.view.geometry.blocks_max and pool.view.buffers[number].areAlive();
    }

    inline fn dropBit(pool: *Pool, number: u32) Error!void {
        try pool.acquireHot();
        defer pool.unlockHot();
        if (!pool.freeWarm(number)) try pool.dropBitAny(number);
    }

    fn dropBitLocked(pool: *Pool, number: u32) Error!void {
        try pool.acquire();
        defer pool.unlock();
        try pool.dropBitAny(number);
    }

    /// The way most releases go, as takeWarm(): the last hold of a small block. False, and nothing done, if it is not.
    inline fn freeWarm(pool: *Pool, number: u32) bool {
        const lists = pool.view.lists;
        const table = pool.view.blocks;
        const known = pool.view.blocks_known;
        if (number >= known) return false;
        const block = &table[number];
        const word = block.word.get();
        const next = block.next.get();
        if (word.state != .used or block.pins.get() != 0 or pool.heldByOthers(block) or next.int() >= known) return false;
        if (block.content.get().kind == layout.Kind.channel) return false;
        const hold = &pool.view.holds[number];
        const start = block.start.get();
        const granules = table[next.int()].start.get() -% start;
        if (word != hold.word or start != hold.start or granules != hold.granules) return false;
        // Nobody else has it now, and nobody can attach it any more: as good as never shared. Whoever only attached it leaves it to
        // those who allocate.
        if (hold.is_allocated and granules <= cache.granules_max and pool.cache.hasRoom(granules)) {
            hold.word.shared = false;
            pool.cache.keep(&pool.view, .of(number), granules);
            return true;
        }
        if (granules > layout.quick_granules_max) return false;
        const quick_granules = lists.quick_granules.get() +| granules;
        if (quick_granules > free_lists.quickLimit(&pool.view)) return false;

        var free = word;
        free.state = .free;
        free.shared = false;
        block.word.commit(free);
        const head = &lists.quick[granules];
        block.of.links.next.set(head.get());
        block.of.links.list.set(.quick);
        head.set(.of(number));
        lists.quick_granules.set(quick_granules);
        return true;
    }

    noinline fn dropBitAny(pool: *Pool, number: u32) Error!void {
        try pool.view.expectAsHeld(.of(number));
        const block = try pool.view.blockHot(.of(number));
        if (block.pins.get() == 0 and !pool.heldByOthers(block)) return pool.freeBlock(.of(number));
        const cell = &block.of.holders[pool.self.slot / 64];
        cell.commit(cell.get() & ~Holders.bit(pool.self.slot));
    }

    /// Frees a block that nobody holds any more: true with the first store.
    fn freeBlock(pool: *Pool, index: BlockIndex) Error!void {
        const block = try pool.view.block(index);
        _ = try pool.view.extent(block);
        var word = block.word.get();
        if (word.state == .used and block.content.get().kind == layout.Kind.channel) {
            // With the channel its messages are gone. What they held is freed first: no free block may be in no list meanwhile.
            const queue = queue_file.queueIn(&pool.view, block);
            word.state = .reserved;
            block.word.commit(word);
            if (queue) |found| try pool.endMessages(&found);
        }
        word.state = .free; // what it says of zeros stays true: a block in use never says yes
        word.shared = false;
        block.word.commit(word);
        try free_lists.put(&pool.view, index);
    }

    // ------------------------------------------------------------ what messages hold

    /// The end of sending a message with arrays: one store, with all of them pinned.
    pub fn pinAndCommit(pool: *Pool, body: ?queue_file.Record, records: []align(1) const queue_file.Record, message: *queue_file.Message, word: queue_file.Message.Word) Error!void {
        try pool.acquire();
        defer pool.unlock();
        if (body) |record| try pool.expectPinnable(record);
        for (records) |record| try pool.expectPinnable(record);
        if (body) |record| try pool.view.markShared(.of(record.block));
        for (records) |record| try pool.view.markShared(.of(record.block));
        message.word.commit(word);
        if (body) |record| pool.pinOne(record);
        for (records) |record| pool.pinOne(record);
    }

    fn expectPinnable(pool: *Pool, record: queue_file.Record) Error!void {
        if ((try pool.held(record.block)).word.generation != record.generation) return error.NotHeld;
        try pool.view.expectAsHeld(.of(record.block));
    }

    fn pinOne(pool: *Pool, record: queue_file.Record) void {
        const block = queue_file.pinnedBy(&pool.view, record) orelse return;
        block.pins.set(block.pins.get() +| 1);
    }

    /// For what a message pinned that has just ended.
    pub fn unpin(pool: *Pool, records: *queue_file.Queue.Records) void {
        const ends_channel = pool.unpinAll(records);
        if (ends_channel) pool.endChannels() catch {};
    }

    /// Whether a channel is left that nobody holds.
    fn unpinAll(pool: *Pool, records: *queue_file.Queue.Records) bool {
        var ends_channel = false;
        while (records.next()) |record| ends_channel = pool.unpinOne(record) or ends_channel;
        return ends_channel;
    }

    fn unpinOne(pool: *Pool, record: queue_file.Record) bool {
        const block = queue_file.pinnedBy(&pool.view, record) orelse return false;
        block.pins.set(block.pins.get() -| 1);
        if (block.pins.get() != 0 or !Holders.of(block).isEmpty()) return false;
        if (block.content.get().kind == layout.Kind.channel) return true;
        _ = pool.freeIfUnheld(.of(record.block)) catch {};
        return false;
    }

    fn endMessages(pool: *Pool, queue: *const queue_file.Queue) Error!void {
        const Unpinner = struct {
            visitor: queue_file.Visitor = .{ .visit = visit },
            pool: *Pool,
            ends_channel: bool = false,

            fn visit(visitor: *queue_file.Visitor, record: queue_file.Record) void {
                const unpinner: *@This() = @fieldParentPtr("visitor", visitor);
                if (unpinner.pool.unpinOne(record)) unpinner.ends_channel = true;
            }
        };
        var unpinner: Unpinner = .{ .pool = pool };
        var budget = queue_file.pinBudget(&pool.view);
        queue_file.forEachPin(&pool.view, queue, &budget, &unpinner.visitor);
        if (unpinner.ends_channel) try pool.endChannels();
    }

    /// Frees the channels that only messages held which are gone. A channel in a channel in a channel: one after the other,
    /// since the stack has an end.
    fn endChannels(pool: *Pool) Error!void {
        if (pool.ends_channels) {
            pool.more_channels = true;
            return;
        }
        pool.ends_channels = true;
        defer pool.ends_channels = false;
        for (0..pool.view.geometry.blocks_max) |_| {
            pool.more_channels = false;
            for (0..pool.view.blocksUsed()) |i| {
                const block = &pool.view.blocks[i];
                if (block.content.get().kind != layout.Kind.channel) continue;
                _ = try pool.freeIfUnheld(.of(@intCast(i)));
            }
            if (!pool.more_channels) return;
        }
    }

    pub fn setKind(pool: *Pool, index: BlockIndex, kind: u4) Error!void {
        try pool.acquire();
        defer pool.unlock();
        // Or it would not be freed under the lock, and what it pins with it.
        try pool.view.markShared(index);
        const content = &(try pool.view.block(index)).content;
        content.commit(content.get().as(kind));
    }

    // ------------------------------------------------------------ claims

    /// Others may attach the block as long as anybody holds it.
    pub fn share(pool: *Pool, number: u32) Error!void {
        const hold = try pool.held(number);
        if (pool.isTrusted()) {
            if (hold.word.shared) return;
            var shared = hold.word;
            shared.shared = true;
            // Pairs with the acquire in takeHold(): who attaches sees what was written before.
            if (pool.view.blocks[number].word.exchangeIf(hold.word, shared)) {
                hold.word = shared;
                return;
            }
        }
        try pool.acquire();
        defer pool.unlock();
        try pool.view.markShared(.of(number));
    }

    pub fn createClaim(pool: *Pool, number: u32, attaches: u24, ttl_ms: u64) Error!u64 {
        const hold = try pool.held(number);
        if (attaches == 0) return error.Argument;
        const now_ms = system.monotonicMs();
        const ttl: u64 = if (ttl_ms == 0) pool.claim_ttl_ms else ttl_ms;
        // What was backed may be used up by others at once; not for ever.
        for (0..1000) |_| {
            if (try pool.claimRecord(number, hold.word.generation, attaches, now_ms, ttl)) |claim| return claim;
            pool.growPins() catch |err| {
                if (err != error.Full) return err;
                {
                    try pool.acquire();
                    defer pool.unlock();
                    _ = try pool.expireClaims(now_ms);
                }
                return try pool.claimRecord(number, hold.word.generation, attaches, now_ms, ttl) orelse error.Full;
            };
        }
        return error.Corrupt;
    }

    /// Null when every record that is backed is in use.
    fn claimRecord(pool: *Pool, number: u32, generation: u64, attaches: u24, now_ms: u64, ttl_ms: u64) Error!?u64 {
        try pool.acquire();
        defer pool.unlock();
        try pool.view.markShared(.of(number));
        const claim = pins.createClaim(&pool.view, .of(number), generation, attaches, now_ms, ttl_ms) catch |err|
            return if (err == error.NoEntry) null else error.Corrupt;
        return layout.claimNumber(claim.pin, claim.serial);
    }

    fn growPins(pool: *Pool) Error!void {
        const geometry = pool.view.geometry;
        if (pool.view.pinsBacked() == geometry.pins_max) {
            pool.cause = .claims;
            return error.Full;
        }
        try pool.backTable(geometry.pins_start, @sizeOf(layout.Pin), &pool.view.header.pins_backed, pool.view.pinsBacked(), geometry.pins_max);
    }

    /// Takes `attaches` off a claim that will not be used for them.
    pub fn dropClaim(pool: *Pool, number: u32, generation: u64, claim: u64, attaches: u32) Error!void {
        if (attaches == 0 or generation > std.math.maxInt(u53)) return;
        try pool.acquire();
        defer pool.unlock();
        const pin = pins.findClaim(&pool.view, claim, .of(number), @intCast(generation)) orelse return;
        try pins.takeOff(&pool.view, pin, attaches);
        _ = try pool.freeIfUnheld(.of(number));
    }

    fn freeIfUnheld(pool: *Pool, index: BlockIndex) Error!bool {
        const block = try pool.view.block(index);
        if (block.word.get().state != .used or block.pins.get() != 0 or !Holders.of(block).isEmpty()) return false;
        if (pool.view.isHeld(index)) return error.Corrupt;
        try pool.freeBlock(index);
        return true;
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
            .no_entry => try pool.growWaiters(),
        };
        return error.Corrupt;
    }

    fn growWaiters(pool: *Pool) Error!void {
        const geometry = pool.view.geometry;
        const backed = pool.view.waitersBacked();
        if (backed == geometry.waiters_max) {
            pool.cause = .waiters;
            return error.Full;
        }
        try pool.backTable(geometry.waiters_start, @sizeOf(layout.Waiter), &pool.view.waiting.waiters_backed, backed, geometry.waiters_max);
    }

    // ------------------------------------------------------------ names

    /// Which part of a held block a name is to name, and in what shape.
    pub const Named = struct {
        block: u32,
        offset: u64,
        length_bytes: u64,
        shape: names.Shape,
    };

    /// Gives a name to an array, which the name holds from then on; what it named before, it lets go of.
    pub fn setName(pool: *Pool, key: *const names.Key, named: *const Named) Error!void {
        const value = try pool.valueFor(named);
        // What was backed may be used up by others at once; not for ever.
        for (0..1000) |_| {
            if (try pool.setNameRecord(key, &value)) |was| return pool.wake(was);
            try pool.growNames();
        }
        return error.Corrupt;
    }

    fn valueFor(pool: *Pool, named: *const Named) Error!names.Value {
        const hold = try pool.held(named.block);
        const bytes = hold.lengthBytes();
        if (named.offset > bytes or named.length_bytes > bytes - named.offset) return error.Argument;
        return .{
            .block = .of(named.block),
            .generation = hold.word.generation,
            .offset = named.offset,
            .length_bytes = named.length_bytes,
            .shape = named.shape,
        };
    }

    /// Null when every record that is backed is in use.
    fn setNameRecord(pool: *Pool, key: *const names.Key, value: *const names.Value) Error!?names.Was {
        try pool.acquire();
        defer pool.unlock();
        try pool.view.markShared(value.block);
        const was = names.set(&pool.view, key, value) catch |err| return if (err == error.NoEntry) null else error.Corrupt;
        if (was.block != .none) _ = try pool.freeIfUnheld(was.block);
        return was;
    }

    fn growNames(pool: *Pool) Error!void {
        const geometry = pool.view.geometry;
        if (pool.view.namesBacked() == geometry.names_max) {
            pool.cause = .names;
            return error.Full;
        }
        try pool.backTable(geometry.names_start, @sizeOf(layout.Name), &pool.view.header.names_backed, pool.view.namesBacked(), geometry.names_max);
    }

    fn wake(pool: *Pool, was: names.Was) void {
        // Where that cannot be done, they look again by themselves.
        if (was.sleepers) |word| _ = waiting.notify(pool.caller(), .of(&pool.view, word), waiting.everybody) catch {};
    }

    pub const Found = struct {
        attached: Attached,
        value: names.Value,
    };

    /// Holds what a name names; null if it names nothing.
    pub fn getName(pool: *Pool, key: *const names.Key) Error!?Found {
        const view = &pool.view;
        try pool.acquire();
        defer pool.unlock();
        const index = try names.find(view, key);
        if (index == .none) return null;
        const name = try view.name(index);
        if (name.word.get().state != .set) return null;
        const value = try names.valueOf(view, name);
        const attached = pool.takeHold(value.block, value.generation) catch |err| return if (err == error.Stale) error.Corrupt else err;
        return .{ .attached = attached, .value = value };
    }

    pub fn hasName(pool: *Pool, key: *const names.Key) Error!bool {
        try pool.acquire();
        defer pool.unlock();
        const index = try names.find(&pool.view, key);
        return index != .none and (try pool.view.name(index)).word.get().state == .set;
    }

    /// Lets go of what a name names; false if it names nothing.
    pub fn deleteName(pool: *Pool, key: *const names.Key) Error!bool {
        try pool.acquire();
        defer pool.unlock();
        const index = try names.find(&pool.view, key);
        if (index == .none or (try pool.view.name(index)).word.get().state != .set) return false;
        const was = try names.end(&pool.view, index);
        if (was.block != .none) _ = try pool.freeIfUnheld(was.block);
        return true;
    }

    /// Lists names from record `from` on. record[0]: the record to go on from, -1 at the end.
    pub fn listNames(pool: *Pool, comptime Info: type, from: u32, into: []Info) Error!usize {
        const view = &pool.view;
        try pool.acquire();
        defer pool.unlock();
        var count: usize = 0;
        var number = from;
        const used = view.namesUsed();
        while (number < used and count < into.len) : (number += 1) {
            const name = &view.names[number];
            if (name.word.get().state != .set) continue;
            into[count] = .{
                .block = name.block.get().int(),
                .key_bytes = undefined,
                .generation = layout.double(name.generation.get()),
                .key = undefined,
            };
            into[count].key_bytes = try names.keyOf(name, &into[count].key);
            count += 1;
        }
        pool.record[0] = if (number < used) @floatFromInt(number) else -1;
        return count;
    }

    // ------------------------------------------------------------ making what a name is to name, once

    pub const Awaited = struct {
        maker: layout.Maker,
        pid: u32,
        word: *const u32,
        value: u32,
    };

    pub const Once = enum(i32) { there = 0, make = 1, others = 2, own = 3 };

    /// Whether what a name is to name is there, or to be made by this member, whom the others wait for from then on. While
    /// another member makes it, waits for it; `others` after `timeout_ms`. What a dead one was making, the next one makes.
    pub fn beginOnce(pool: *Pool, key: *const names.Key, timeout_ms: u64) Error!Once {
        const begun_ms = system.monotonicMs();
        var dead: ?layout.Maker = null;
        var grown: u32 = 0;
        while (true) {
            const once = try pool.lookOnce(key, dead) orelse {
                grown += 1;
                if (grown == 1000) return error.Corrupt;
                try pool.growNames();
                continue;
            };
            if (once != .others) return once;
            const awaited = pool.awaited.?;
            // Outside the lock: system calls.
            if (members.isDead(&pool.view, &pool.self, awaited.maker.slot, .{ .incarnation = awaited.maker.incarnation, .state = .joined })) {
                dead = awaited.maker;
                continue;
            }
            const waited_ms = system.monotonicMs() - begun_ms;
            if (waited_ms >= timeout_ms) return .others;
            // Not for long: a maker that is killed wakes nobody.
            const nap_ms: u64 = @min(timeout_ms - waited_ms, once_nap_ms);
            _ = try waiting.wait(pool.caller(), &pool.blocking, .of(&pool.view, awaited.word), awaited.value, nap_ms * std.time.ns_per_ms);
        }
    }

    const once_nap_ms = 50;

    /// Begins a wait for whom beginOnce() has found to be making it. Null if that is over already.
    pub fn watchOnce(pool: *Pool) Error!?layout.WaiterIndex {
        const awaited = pool.awaited orelse return error.Argument;
        return pool.beginWait(.of(&pool.view, awaited.word), awaited.value);
    }

    /// `dead`: a maker that was found to be dead. Null when a record is needed and every one that is backed is in use.
    fn lookOnce(pool: *Pool, key: *const names.Key, dead: ?layout.Maker) Error!?Once {
        const view = &pool.view;
        const self: layout.Maker = .{ .slot = pool.self.slot, .incarnation = pool.self.incarnation };
        try pool.acquire();
        defer pool.unlock();
        const index = try names.find(view, key);
        if (index == .none) {
            names.begin(view, key, self) catch |err| return if (err == error.NoEntry) null else error.Corrupt;
            pool.makings += 1;
            return .make;
        }
        const name = try view.name(index);
        if (name.word.get().state == .set) return .there;
        const maker = name.maker.get();
        if (maker == self) return .own;
        if ((dead != null and maker == dead.?) or names.hasLeft(view, maker)) {
            name.maker.commit(self);
            pool.makings += 1;
            return .make;
        }
        pool.awaited = .{
            .maker = maker,
            .pid = view.members[maker.slot].pid.get(),
            .word = &name.made.raw,
            .value = name.made.get(),
        };
        return .others;
    }

    /// Says what was made, or, with null, that nothing was: then the next one makes it. `others`: it is not this member's to
    /// say any more, since the name was set meanwhile.
    pub fn endOnce(pool: *Pool, key: *const names.Key, named: ?*const Named) Error!Once {
        const value: ?names.Value = if (named) |it| try pool.valueFor(it) else null;
        const was = try pool.endOnceRecord(key, if (value) |*it| it else null) orelse return .others;
        pool.wake(was);
        return .there;
    }

    fn endOnceRecord(pool: *Pool, key: *const names.Key, value: ?*const names.Value) Error!?names.Was {
        const view = &pool.view;
        const self: layout.Maker = .{ .slot = pool.self.slot, .incarnation = pool.self.incarnation };
        try pool.acquire();
        defer pool.unlock();
        if (value) |it| try view.markShared(it.block);
        pool.makings -|= 1;
        const index = try names.find(view, key);
        if (index == .none) return null;
        const name = try view.name(index);
        if (name.word.get().state != .making or name.maker.get() != self) return null;
        const it = value orelse return try names.end(view, index);
        return names.set(view, key, it) catch return error.Corrupt;
    }

    /// Under the lock: ends what members of these slots were making. Who waits for that looks again by himself.
    fn endMakings(pool: *Pool, slots: Holders) lock.Error!void {
        for (0..pool.view.namesUsed()) |i| {
            const name = &pool.view.names[i];
            if (name.word.get().state != .making) continue;
            if (slots.has(name.maker.get().slot)) _ = try names.end(&pool.view, .of(@intCast(i)));
        }
    }

    // ------------------------------------------------------------ care

    pub const Freed = struct {
        blocks: u32 = 0,
        bytes: u64 = 0,

        fn add(freed: *Freed, more: Freed) void {
            freed.blocks += more.blocks;
            freed.bytes += more.bytes;
        }
    };

    pub const Reaped = struct { members: u32 = 0, freed: Freed = .{} };

    /// Takes back what dead members and expired claims held.
    pub fn reap(pool: *Pool) Error!Reaped {
        // First: what is taken back from the dead may be another's at once.
        pool.closeLeftovers();
        const dead = members.findDead(&pool.view, &pool.self);
        // One of them may have died before it woke those whom it had notified.
        defer if (dead.count > 0) waiting.callReady(&pool.view);
        try pool.acquire();
        defer pool.unlock();
        if (pool.owed > 0) pool.letGoOfOwed();
        return pool.reapUnderLock(&dead);
    }

    fn reapUnderLock(pool: *Pool, found: *const members.Dead) lock.Error!Reaped {
        var slots: Holders = .nobody;
        var reaped: Reaped = .{};
        for (0..layout.members_max) |i| {
            const slot: u8 = @intCast(i);
            // Since it was found dead, a slot may have got a new owner.
            if (!found.slots.has(slot) or pool.view.members[slot].word.get() != found.words[slot]) continue;
            slots.add(slot);
            if (slot != pool.self.slot) reaped.members += 1;
        }
        reaped.freed = try pool.expireClaims(system.monotonicMs());
        if (!slots.isEmpty() or pool.stranded > 0) reaped.freed.add(try pool.takeBack(slots));
        if (!slots.isEmpty()) try pool.endMakings(slots);
        pool.stranded = 0;
        // After their holds: should we die in between, the next one reaps them again.
        for (0..layout.members_max) |i| {
            const slot: u8 = @intCast(i);
            if (!slots.has(slot) or slot == pool.self.slot) continue;
            // Pairs as the lock does: whoever finds the slot vacant looks at blocks only under the lock.
            // Compared once more: whoever took the slot in the meantime has said so without the lock, and must not be unsaid.
            _ = pool.view.members[slot].word.compareAndSwap(found.words[slot], .{ .incarnation = found.words[slot].incarnation });
        }
        return reaped;
    }

    /// Clears the bits of `slots` everywhere and frees what nobody holds then: one pass over the table.
    fn takeBack(pool: *Pool, slots: Holders) lock.Error!Freed {
        var freed: Freed = .{};
        if (!slots.isEmpty()) try waiting.dropAll(&pool.view, slots);
        for (0..pool.view.blocksUsed()) |i| {
            const index: BlockIndex = .of(@intCast(i));
            const block = &pool.view.blocks[i];
            const state = block.word.get().state;
            if (state != .used and state != .reserved and state != .cached) continue;
            const holders: Holders = .of(block);
            const is_stranded = state == .reserved and holders.has(pool.self.slot); // we are not at it
            const rest = if (is_stranded) Holders.nobody else holders.without(slots);
            if (rest.isEmpty() and (state == .reserved or block.pins.get() == 0)) {
                // Nobody's, says the segment, and this member knows better.
                if (pool.view.isHeld(index) and !slots.has(pool.self.slot)) continue;
                if (state != .cached) freed.add(.{ .blocks = 1, .bytes = (try pool.view.extent(block)).bytes() });
                pool.freeBlock(index) catch return error.Corrupt;
                continue;
            }
            for (&block.of.holders, holders.words, rest.words) |*cell, before, after| if (before != after) cell.commit(after);
        }
        return freed;
    }

    fn expireClaims(pool: *Pool, now_ms: u64) lock.Error!Freed {
        var freed: Freed = .{};
        if (pool.view.header.claims.get() == 0) return freed;
        for (0..pool.view.pinsUsed()) |i| {
            const pin = &pool.view.pins[i];
            if (pin.word.get().kind != .claim or pin.deadline_ms.get() > now_ms) continue;
            const index = pin.block.get();
            try pins.end(&pool.view, @enumFromInt(@as(u32, @intCast(i))));
            const bytes = (try pool.view.extent(try pool.view.block(index))).bytes();
            if (pool.freeIfUnheld(index) catch return error.Corrupt) freed.add(.{ .blocks = 1, .bytes = bytes });
        }
        return freed;
    }

    /// Gives the memory behind free runs back to the system. Returns bytes.
    pub fn trim(pool: *Pool) Error!u64 {
        try pool.coalesce(); // or a page that lies in two runs would stay
        var bytes: u64 = 0;
        var from: u32 = 0;
        while (true) {
            try pool.backTables();
            const reserved = try pool.reserveForTrim(&from) orelse return bytes;
            const pages = Pages.inside(reserved.extent);
            const before = system.info(pool.self.fd) orelse return error.System;
            const punched = pool.punch(pages);
            const after = system.info(pool.self.fd) orelse return error.System;
            // Of a run that is not backed as a whole, only the system knows how much there was.
            if (punched) bytes += if (reserved.was_backed) pages.bytes() else @min(pages.bytes(), before.backed_bytes -| after.backed_bytes);
            try pool.freeReserved(reserved.index, punched and pages.granules == reserved.extent.granules);
            if (!punched) return error.System;
        }
    }

    /// The whole pages of the next free run that may have memory, taken to this member. `from`: the entry to look at next.
    fn reserveForTrim(pool: *Pool, from: *u32) Error!?Reserved {
        const view = &pool.view;
        try pool.acquire();
        defer pool.unlock();
        const used = view.blocksUsed();
        while (from.* < used) {
            var index: BlockIndex = .of(from.*);
            from.* += 1;
            const block = try view.block(index);
            const word = block.word.get();
            if (word.state != .free or (!word.backed and word.zero)) continue;
            if (block.of.links.list.get() != .runs) continue; // freed a moment ago
            const extent = try view.extent(block);
            const pages = Pages.inside(extent);
            if (pages.granules == 0) continue;
            try free_lists.remove(view, index);
            // Without entries for the ends, the run is punched as a whole.
            if (blocks.unusedEntries(view) >= 2) {
                if (pages.start > extent.start) {
                    const head = index;
                    index = blocks.split(view, head, pages.start - extent.start) catch return error.Corrupt;
                    try free_lists.insert(view, head);
                }
                if (pages.granules < (try view.extent(try view.block(index))).granules) try pool.cut(index, pages.granules);
            }
            return try pool.markReserved(index);
        }
        return null;
    }

    /// The whole pages in an extent of the heap.
    const Pages = struct {
        fn inside(extent: View.Extent) View.Extent {
            const page_granules = system.pageBytes() / layout.granule_bytes;
            const first = std.mem.alignForward(u64, extent.start, page_granules);
            const end = std.mem.alignBackward(u64, @as(u64, extent.start) + extent.granules, page_granules);
            return .{ .start = @intCast(first), .granules = @intCast(end -| first) };
        }
    };

    /// Takes the memory from behind whole pages that this member has reserved.
    fn punch(pool: *Pool, pages: View.Extent) bool {
        return system.punch(pool.self.fd, pool.view.geometry.heap_start + pages.offsetBytes(), pages.bytes());
    }

    /// The first broken invariant of the whole segment, or null.
    pub fn check(pool: *Pool) lock.Error!?recovery.Broken {
        pool.acquire() catch |err| switch (err) {
            error.Busy => return error.Busy,
            error.Corrupt => return recovery.firstBroken(&pool.view) orelse .{ .what = .@"a recovery has found the chain broken, or this member was taken for dead" },
        };
        defer pool.unlock();
        return recovery.firstBroken(&pool.view);
    }

    // ------------------------------------------------------------ looking

    pub const Stats = struct {
        backed_bytes: u64 = 0,
        metadata_bytes: u64 = 0,
        used_bytes: u64 = 0,
        largest_free_bytes: u64 = 0,
        claimed_bytes: u64 = 0,
        named_bytes: u64 = 0,
        held_by_self_bytes: u64 = 0,
        lent_bytes: u64 = 0,
        arrays: u32 = 0,
        channels: u32 = 0,
        /// Blocks of messages that are too large for their channel's cells.
        messages: u32 = 0,
        claims: u32 = 0,
        members: u32 = 0,
        free_runs: u32 = 0,
        recoveries: u32 = 0,
    };

    pub fn stats(pool: *Pool) Error!Stats {
        const view = &pool.view;
        var result: Stats = .{};
        const file = system.info(pool.self.fd) orelse return error.System;
        for (view.members) |*member| {
            if (member.word.get().state == .joined) result.members += 1;
        }
        try pool.acquire();
        defer pool.unlock();
        result.metadata_bytes = view.geometry.metadataBytes(view.blocksBacked(), view.pinsBacked(), view.waitersBacked(), view.namesBacked());
        result.backed_bytes = file.backed_bytes -| result.metadata_bytes;
        result.claims = view.header.claims.get();
        result.recoveries = view.header.recoveries.get();
        var run_bytes: u64 = 0;
        // Neighbouring free blocks count as one run: an allocation that needs them joined joins them.
        var index: BlockIndex = .of(0);
        for (0..view.geometry.blocks_max) |_| {
            const block = try view.block(index);
            const word = block.word.get();
            if (word.state == .end) break;
            const bytes = (try view.extent(block)).bytes();
            // What members have cached is anybody's who runs short.
            if (word.state == .free or word.state == .cached) {
                if (run_bytes == 0) result.free_runs += 1;
                run_bytes += bytes;
                result.largest_free_bytes = @max(result.largest_free_bytes, run_bytes);
            } else run_bytes = 0;
            if (word.state == .used) {
                switch (block.content.get().kind) {
                    layout.Kind.channel => result.channels += 1,
                    layout.Kind.message => result.messages += 1,
                    layout.Kind.trace => {},
                    else => result.arrays += 1,
                }
                result.used_bytes += bytes;
                const holders: Holders = .of(block);
                if (holders.isEmpty()) {
                    if (block.names.get() > 0) result.named_bytes += bytes else result.claimed_bytes += bytes;
                }
                if (holders.has(pool.self.slot)) {
                    const hold = &pool.view.holds[index.int()];
                    if (hold.lent and hold.holds == 0) result.lent_bytes += bytes else result.held_by_self_bytes += bytes;
                }
            }
            index = block.next.get();
        }
        return result;
    }

    /// Describes blocks in use from entry `from` on. record[0]: the entry to go on from, -1 at the end.
    pub fn list(pool: *Pool, comptime Info: type, from: u32, into: []Info) Error!usize {
        const view = &pool.view;
        try pool.acquire();
        defer pool.unlock();
        const now_ms = system.monotonicMs();
        var count: usize = 0;
        var number = from;
        const used = view.blocksUsed();
        while (number < used and count < into.len) : (number += 1) {
            if (try view.describe(Info, number, now_ms, &into[count])) count += 1;
        }
        pool.record[0] = if (number < used) @floatFromInt(number) else -1;
        return count;
    }

    pub fn shortage(pool: *Pool, asked_bytes: u64) Shortage {
        var result: Shortage = .{ .cause = pool.cause, .asked_bytes = asked_bytes };
        if (system.deviceSpace()) |space| result.device_free_bytes = space.free_bytes;
        const now = pool.stats() catch return result;
        result.largest_free_bytes = now.largest_free_bytes;
        result.claimed_bytes = now.claimed_bytes;
        result.named_bytes = now.named_bytes;
        result.held_bytes = now.used_bytes -| now.claimed_bytes -| now.named_bytes;
        result.held_by_self_bytes = now.held_by_self_bytes;
        const now_ms = system.monotonicMs();
        for (0..pool.view.pinsUsed()) |i| {
            const pin = &pool.view.pins[i];
            if (pin.word.get().kind != .claim) continue;
            result.oldest_claim_ms = @max(result.oldest_claim_ms, pin.of.made.get().ageMs(now_ms));
        }
        return result;
    }
};

/// Zeros for memory that is known to be written to soon.
fn zero(start: [*]u8, bytes: u64) void {
    if (@import("builtin").cpu.arch == .x86_64) {
        var end: [*]u8 = undefined;
        var left: u64 = undefined;
        asm volatile ("rep stosb"
            : [end] "={rdi}" (end),
              [left] "={rcx}" (left),
            : [start] "{rdi}" (start),
              [bytes] "{rcx}" (bytes),
              [value] "{al}" (@as(u8, 0)),
            : .{ .memory = true });
    } else @memset(start[0..bytes], 0);
}
