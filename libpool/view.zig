//! One member's view of the segment: where its parts are mapped, and checked access to them. What stands in the segment
//! may be anything, since any process of the user can write there: an index is compared with the table before it is
//! followed, a size is computed only between blocks in order. A broken one is `error.Corrupt`, never a wild access.
//!
//! What a member holds it also keeps in memory of its own (`Hold`). Where the segment says something else, the segment is
//! wrong: a held block is not taken for free, not freed, and not shown at another place.

const std = @import("std");
const layout = @import("layout.zig");
const platform = @import("platform.zig");
const cachedWord = @import("cache.zig").cachedWord;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const Corrupt = error{Corrupt};

/// The system does not let this member read what it has not read before: others may, or this one later. What may be a channel,
/// or a table's end, is never taken for none: what its messages hold would be freed.
pub const Unreadable = if (platform.system.is_always_readable) error{} else error{Busy};

/// How often this member holds a block, where it is, and what its word is. Private to the member's thread. After the last
/// release `start` and `granules` stay: where the member saw the entry last.
pub const Hold = extern struct {
    /// As this member wrote or read it, while it holds the block; and what it was then, while it caches it.
    word: layout.BlockWord,
    /// 0 of a block that is held plainly, too.
    holds: u32,
    start: u32,
    granules: u32,
    tail_bytes: u32,
    /// Released, but a buffer still shows it.
    lent: bool,
    /// By this member, and not attached.
    is_allocated: bool,
    /// The host has a spare buffer on the block, whoever holds it meanwhile: see `holding.spare`. No end of a hold changes it.
    has_spare: bool,
    _pad: u8,
    /// Of a cached block: the one that this member has cached before it, of the same size.
    next: BlockIndex,

    pub inline fn end(hold: *Hold) void {
        hold.holds = 0;
        hold.lent = false;
    }
    pub inline fn offsetBytes(hold: *const Hold) u64 {
        return @as(u64, hold.start) * layout.granule_bytes;
    }
    pub inline fn lengthBytes(hold: *const Hold) u64 {
        return @as(u64, hold.granules) * layout.granule_bytes - hold.tail_bytes;
    }
};

/// All that letting go of most blocks has to wait for, in two bytes for each entry of the block table: of a million blocks
/// these alone stay in the processor's cache, and the Hold and the entry itself are only written to.
pub const Brief = packed struct(u16) {
    granules: u14 = 0,
    is: Is = .other,

    pub const Is = enum(u2) {
        /// Held in some other way, or not at all: the Hold says it.
        other = 0,
        /// Held once, by a host that counts no buffers, since it was allocated; never shared; of a size for the cache.
        plain = 1,
        /// In the cache's list; but somebody who ran short may have taken it from there.
        listed = 2,
        _,
    };
};

/// The host's buffers on a block. Private, and apart from the Hold, which hosts that make none need alone; only `gone` is
/// touched by other threads.
pub const Buffers = extern struct {
    shown: u32,
    gone: u32,
    /// Where the segment counts the member's buffers that are gone; null while none was made on this block.
    all_gone: ?*layout.Cell(u32),

    pub inline fn areAlive(buffers: *const Buffers) bool {
        return buffers.areMore(0);
    }
    /// Whether somebody may see the block through one: nobody does through a spare.
    pub inline fn areSeen(buffers: *const Buffers, hold: *const Hold) bool {
        return buffers.areMore(@intFromBool(hold.has_spare));
    }
    /// Through how many.
    pub fn seen(buffers: *const Buffers, hold: *const Hold) u32 {
        return buffers.shown -% @atomicLoad(u32, &buffers.gone, .acquire) -% @intFromBool(hold.has_spare); // as in areMore
    }
    pub inline fn areMore(buffers: *const Buffers, unseen: u32) bool {
        return buffers.shown -% unseen != @atomicLoad(u32, &buffers.gone, .acquire); // pairs with the release in goneOne
    }
    /// Any thread, any time. Nothing is touched after the second count: by that the mapping may be given back. Until then it stays,
    /// as the member's (whose slot is not another's before zeros are mapped over all of it) or as zeros; with those there is no first.
    pub fn goneOne(buffers: *Buffers) void {
        if (@atomicLoad(?*layout.Cell(u32), &buffers.all_gone, .monotonic)) |all| all.add(1);
        // Pairs with the acquire in areMore: what the buffer's users did is done.
        _ = @atomicRmw(u32, &buffers.gone, .Add, 1, .release);
    }
    /// Nobody sees the block, and so all that may be there is a spare.
    pub inline fn end(buffers: *Buffers, hold: *const Hold) void {
        buffers.shown = @intFromBool(hold.has_spare);
        buffers.gone = 0;
    }
};

pub const View = struct {
    header: *layout.Header,
    members: *[layout.members_max]layout.Member,
    lists: *layout.FreeLists,
    blocks: [*]Block,
    pins: [*]layout.Pin,
    waiting: *layout.Waiting,
    waiters: [*]layout.Waiter,
    activity: *layout.Activity,
    names: [*]layout.Name,
    heap: [*]u8,
    fd: platform.Fd,
    /// For each entry of the block table.
    holds: []Hold,
    buffers: []Buffers,
    briefs: []Brief,
    /// Entries and pins known to have memory behind them: they do not lose it, so an old number is a safe one.
    blocks_known: u32,
    pins_known: u32,
    waiters_known: u32,
    names_known: u32,
    /// At the end: what is near the start is reached with shorter instructions.
    geometry: layout.Geometry,

    /// What a member knows by itself; an onlooker has none of it.
    pub const Own = struct { holds: []Hold = &.{}, buffers: []Buffers = &.{}, briefs: []Brief = &.{} };

    pub noinline fn of(geometry: *const layout.Geometry, segment: [*]align(4096) u8, fd: platform.Fd, own: Own) View {
        return .{
            .geometry = geometry.*,
            .header = @ptrCast(segment),
            .members = @ptrCast(@alignCast(segment + layout.members_start)),
            .lists = @ptrCast(@alignCast(segment + layout.free_lists_start)),
            .blocks = @ptrCast(@alignCast(segment + layout.blocks_start)),
            .pins = @ptrCast(@alignCast(segment + geometry.pins_start)),
            .waiting = @ptrCast(@alignCast(segment + layout.waiting_start)),
            .waiters = @ptrCast(@alignCast(segment + geometry.waiters_start)),
            .activity = @ptrCast(@alignCast(segment + layout.activity_start)),
            .names = @ptrCast(@alignCast(segment + geometry.names_start)),
            .heap = segment + geometry.heap_start,
            .fd = fd,
            .holds = own.holds,
            .buffers = own.buffers,
            .briefs = own.briefs,
            .blocks_known = 0,
            .pins_known = 0,
            .waiters_known = 0,
            .names_known = 0,
        };
    }

    /// Entries that have memory behind them; beyond, not even a read is allowed.
    pub noinline fn blocksBacked(view: *const View) u32 {
        const said = @min(view.header.blocks_backed.get(), view.geometry.blocks_max);
        if (said > view.blocks_known) view.learn(layout.blocks_start, @sizeOf(Block), &@constCast(view).blocks_known, said);
        return @min(said, view.blocks_known);
    }
    /// Entries that were ever used.
    pub fn blocksUsed(view: *const View) u32 {
        return @min(view.header.blocks_used.get(), view.blocksBacked());
    }
    pub noinline fn pinsBacked(view: *const View) u32 {
        const said = @min(view.header.pins_backed.get(), view.geometry.pins_max);
        if (said > view.pins_known) view.learn(view.geometry.pins_start, @sizeOf(layout.Pin), &@constCast(view).pins_known, said);
        return @min(said, view.pins_known);
    }
    pub fn pinsUsed(view: *const View) u32 {
        return @min(view.header.pins_used.get(), view.pinsBacked());
    }

    pub noinline fn waitersBacked(view: *const View) u32 {
        const said = @min(view.waiting.waiters_backed.get(), view.geometry.waiters_max);
        if (said > view.waiters_known) view.learn(view.geometry.waiters_start, @sizeOf(layout.Waiter), &@constCast(view).waiters_known, said);
        return @min(said, view.waiters_known);
    }
    pub fn waitersUsed(view: *const View) u32 {
        return @min(view.waiting.waiters_used.get(), view.waitersBacked());
    }
    pub noinline fn namesBacked(view: *const View) u32 {
        const said = @min(view.header.names_backed.get(), view.geometry.names_max);
        if (said > view.names_known) view.learn(view.geometry.names_start, @sizeOf(layout.Name), &@constCast(view).names_known, said);
        return @min(said, view.names_known);
    }
    pub fn namesUsed(view: *const View) u32 {
        return @min(view.header.names_used.get(), view.namesBacked());
    }

    pub inline fn isBacked(view: *const View, index: BlockIndex) bool {
        return index.int() < view.blocks_known or index.int() < view.blocksBacked();
    }
    pub inline fn block(view: *const View, index: BlockIndex) Corrupt!*Block {
        return view.blockOrNull(index) orelse error.Corrupt;
    }
    noinline fn blockOrNull(view: *const View, index: BlockIndex) ?*Block {
        return view.blockHot(index) catch null;
    }
    /// In place, where it is worth its size.
    pub inline fn blockHot(view: *const View, index: BlockIndex) Corrupt!*Block {
        if (!view.isBacked(index)) return error.Corrupt;
        return &view.blocks[index.int()];
    }

    /// Rare: once for each growth of a table. The segment may lie, and a page without memory be a SIGBUS; to back once more
    /// what is backed changes nothing and takes little.
    noinline fn learn(view: *const View, table_start: u64, entry_bytes: u64, known: *u32, said: u32) void {
        const bytes = @as(u64, said - known.*) * entry_bytes;
        if (platform.system.makeReadable(view.fd, table_start + known.* * entry_bytes, bytes) == .yes) known.* = said;
    }

    /// That all blocks' entries in use can be looked at: for who changes several of them.
    pub inline fn expectBlocks(view: *const View) Unreadable!void {
        if (platform.system.is_always_readable) return;
        if (view.header.blocks_backed.get() > view.blocks_known and !view.seesBlocks()) return error.Busy;
    }
    noinline fn seesBlocks(view: *const View) bool {
        const header = view.header;
        return view.blocksBacked() >= @min(header.blocks_used.get(), header.blocks_backed.get(), view.geometry.blocks_max);
    }

    /// That all entries in use of all tables can be: for who concludes something from there being no other, or changes lists
    /// that lead from one to the other.
    pub fn expectAll(view: *const View) Unreadable!void {
        if (platform.system.is_always_readable) return;
        const header = view.header;
        const knows_all = header.blocks_backed.get() <= view.blocks_known and header.pins_backed.get() <= view.pins_known and
            header.names_backed.get() <= view.names_known and view.waiting.waiters_backed.get() <= view.waiters_known;
        if (!knows_all and !view.seesAll()) return error.Busy;
    }
    noinline fn seesAll(view: *const View) bool {
        const header = view.header;
        const waiting = view.waiting;
        return view.seesBlocks() and
            view.pinsBacked() >= @min(header.pins_used.get(), header.pins_backed.get(), view.geometry.pins_max) and
            view.waitersBacked() >= @min(waiting.waiters_used.get(), waiting.waiters_backed.get(), view.geometry.waiters_max) and
            view.namesBacked() >= @min(header.names_used.get(), header.names_backed.get(), view.geometry.names_max);
    }

    pub inline fn pin(view: *const View, index: layout.PinIndex) Corrupt!*layout.Pin {
        return view.pinOrNull(index) orelse error.Corrupt;
    }
    noinline fn pinOrNull(view: *const View, index: layout.PinIndex) ?*layout.Pin {
        if (@intFromEnum(index) >= view.pins_known and @intFromEnum(index) >= view.pinsBacked()) return null;
        return &view.pins[@intFromEnum(index)];
    }

    pub inline fn waiter(view: *const View, index: layout.WaiterIndex) Corrupt!*layout.Waiter {
        return view.waiterOrNull(index) orelse error.Corrupt;
    }
    noinline fn waiterOrNull(view: *const View, index: layout.WaiterIndex) ?*layout.Waiter {
        if (index == .none) return null;
        const entry = index.entry() orelse return &view.waiting.own[@intFromEnum(index) - 1];
        if (entry >= view.waiters_known and entry >= view.waitersBacked()) return null;
        return &view.waiters[entry];
    }

    pub inline fn name(view: *const View, index: layout.NameIndex) Corrupt!*layout.Name {
        return view.nameOrNull(index) orelse error.Corrupt;
    }
    noinline fn nameOrNull(view: *const View, index: layout.NameIndex) ?*layout.Name {
        if (index.entry() >= view.names_known and index.entry() >= view.namesBacked()) return null;
        return &view.names[index.entry()];
    }

    /// The granules of a block of the chain: from its start to the start of the next.
    pub const Extent = packed struct(u64) {
        start: u32,
        granules: u32,

        pub inline fn offsetBytes(at: Extent) u64 {
            return @as(u64, at.start) * layout.granule_bytes;
        }
        pub inline fn bytes(at: Extent) u64 {
            return @as(u64, at.granules) * layout.granule_bytes;
        }
    };

    pub inline fn extent(view: *const View, of_block: *const Block) Corrupt!Extent {
        const at = view.extentOrNone(of_block);
        return if (at.granules == 0) error.Corrupt else at;
    }
    /// Of no size, where the table says nonsense.
    noinline fn extentOrNone(view: *const View, of_block: *const Block) Extent {
        return view.extentHot(of_block) catch .{ .start = 0, .granules = 0 };
    }
    /// In place, where it is worth its size.
    pub inline fn extentHot(view: *const View, of_block: *const Block) Corrupt!Extent {
        const next = try view.blockHot(of_block.next.get());
        const start = of_block.start.get();
        const end = next.start.get();
        if (start >= end or end > view.geometry.heap_granules) return error.Corrupt;
        return .{ .start = start, .granules = end - start };
    }

    /// Bytes of the array in a block: its extent without the tail.
    pub fn lengthBytes(view: *const View, of_block: *const Block) Corrupt!u64 {
        return lengthIn(of_block, try view.extent(of_block));
    }
    /// The same, for one who has read the extent.
    pub fn lengthIn(of_block: *const Block, at: Extent) Corrupt!u64 {
        const tail_bytes = @as(u32, of_block.content.get().tail_high) << 8 | of_block.tail.get().bytes;
        return if (tail_bytes > at.bytes()) error.Corrupt else at.bytes() - tail_bytes;
    }

    /// What those who look are told of a block in use; false, and nothing said, of any other.
    pub noinline fn describe(view: *const View, comptime Info: type, number: u32, now_ms: u64, info: *Info) Corrupt!bool {
        const of_block = &view.blocks[number];
        const word = of_block.word.get();
        if (word.state != .used) return false;
        const at = try view.extent(of_block);
        const content = of_block.content.get();
        info.* = .{
            .block = number,
            .dtype = content.dtype,
            .generation = @floatFromInt(word.generation),
            .length_bytes = layout.double(try lengthIn(of_block, at)),
            .offset = layout.double(at.offsetBytes()),
            .age_ms = layout.double(of_block.tail.get().ageMs(now_ms)),
            .claims = of_block.pins.get() -| of_block.names.get(),
            .kind = content.kind,
            .holders = Holders.of(of_block).words,
        };
        return true;
    }

    // ------------------------------------------------------------ what the member knows by itself

    /// Held, or lent: the member's bit is set.
    pub noinline fn isHeld(view: *const View, index: BlockIndex) bool {
        return view.isHeldHot(index);
    }
    /// In place, where it is worth its size.
    pub inline fn isHeldHot(view: *const View, index: BlockIndex) bool {
        if (index.int() >= view.holds.len) return false;
        const hold = &view.holds[index.int()];
        return hold.holds != 0 or hold.lent or view.briefs[index.int()].is == .plain;
    }

    /// For all but letting go of it: a block that is held plainly is from now on held as any other.
    pub fn holdOf(view: *const View, index: BlockIndex) *Hold {
        const brief = &view.briefs[index.int()];
        const hold = &view.holds[index.int()];
        if (brief.is == .plain) {
            brief.* = .{};
            hold.holds = 1;
        }
        return hold;
    }

    pub fn isOwn(view: *const View, index: BlockIndex) bool {
        return view.isHeld(index) or view.isCached(index);
    }

    /// In this member's cache, and nobody has taken it from there.
    pub fn isCached(view: *const View, index: BlockIndex) bool {
        if (index.int() >= view.blocks_known or index.int() >= view.holds.len) return false;
        if (view.briefs[index.int()].is != .listed or view.isHeld(index)) return false;
        return view.blocks[index.int()].word.get() == cachedWord(view.holds[index.int()].word);
    }

    /// Others may hear of a block that this member holds. Under the lock, and before they do: from then on it is let go of
    /// under the lock, too.
    pub fn markShared(view: *const View, index: BlockIndex) Corrupt!void {
        try view.expectAsHeld(index);
        const hold = view.holdOf(index);
        const cell = &view.blocks[index.int()].word;
        var word = cell.get();
        if (!word.shared) {
            word.shared = true;
            cell.commit(word);
        }
        hold.word = word;
    }

    /// That a block which this member holds is the one it took hold of, in its place.
    pub fn expectAsHeld(view: *const View, index: BlockIndex) Corrupt!void {
        const word = (try view.block(index)).word.get();
        if (word.state != .used or word.generation != view.holds[index.int()].word.generation) return error.Corrupt;
        try view.expectInPlace(index);
    }
    pub fn expectInPlace(view: *const View, index: BlockIndex) Corrupt!void {
        const hold = &view.holds[index.int()];
        const at = try view.extent(try view.block(index));
        if (at.start != hold.start or at.granules != hold.granules) return error.Corrupt;
    }

    /// That the chain is sound around a block in `at`, and that the neighbours which this member holds end and begin there:
    /// one wild field nearby does not make two blocks overlap.
    pub fn expectApart(view: *const View, index: BlockIndex, of_block: *const Block, at: Extent) Corrupt!void {
        const end = at.start + at.granules;
        const next_index = of_block.next.get();
        const next = try view.blockHot(next_index);
        if (next.prev.get() != index or next.start.get() != end) return error.Corrupt;
        if (next.word.get().state != .end and (try view.blockHot(next.next.get())).start.get() <= end) return error.Corrupt;
        if (view.isOwn(next_index) and view.holds[next_index.int()].start != end) return error.Corrupt;
        if (index == BlockIndex.of(0)) return if (at.start == 0) {} else error.Corrupt;
        const prev_index = of_block.prev.get();
        const prev = try view.blockHot(prev_index);
        if (prev.next.get() != index or prev.start.get() >= at.start) return error.Corrupt;
        const hold = if (view.isOwn(prev_index)) &view.holds[prev_index.int()] else return;
        if (hold.start + hold.granules != at.start) return error.Corrupt;
    }
};

pub const Holders = struct {
    words: [layout.holder_words]u64,

    pub const nobody: Holders = .{ .words = @splat(0) };

    pub noinline fn of(block: *const Block) Holders {
        var holders: Holders = undefined;
        for (&holders.words, &block.of.holders) |*word, *cell| word.* = cell.get();
        return holders;
    }
    pub inline fn add(holders: *Holders, slot: u8) void {
        holders.words[slot / 64] |= bit(slot);
    }
    pub fn has(holders: Holders, slot: u8) bool {
        return holders.words[slot / 64] & bit(slot) != 0;
    }
    pub inline fn without(holders: Holders, others: Holders) Holders {
        var rest = holders;
        for (&rest.words, others.words) |*word, other| word.* &= ~other;
        return rest;
    }
    pub inline fn isEmpty(holders: Holders) bool {
        return (holders.words[0] | holders.words[1] | holders.words[2] | holders.words[3]) == 0;
    }
    pub fn isOne(holders: Holders) bool {
        var slots = holders.iterate();
        return slots.next() != null and slots.next() == null;
    }
    pub inline fn only(slot: u8) Holders {
        var holders = nobody;
        holders.add(slot);
        return holders;
    }
    /// The slots, ascending.
    pub fn iterate(holders: Holders) Iterator {
        return .{ .rest = holders };
    }
    pub const Iterator = struct {
        rest: Holders,

        pub fn next(iterator: *Iterator) ?u8 {
            for (&iterator.rest.words, 0..) |*word, i| {
                if (word.* == 0) continue;
                const slot: u8 = @intCast(i * 64 + @ctz(word.*));
                word.* &= word.* - 1;
                return slot;
            }
            return null;
        }
    };
    pub inline fn bit(slot: u8) u64 {
        return @as(u64, 1) << @intCast(slot % 64);
    }
};
