//! One member's view of the segment: where its parts are mapped, and checked access to them. What stands in the segment
//! may be anything, since any process of the user can write there: an index is compared with the table before it is
//! followed, a size is computed only between blocks in order. A broken one is `error.Corrupt`, never a wild access.

const std = @import("std");
const layout = @import("layout.zig");
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const Corrupt = error{Corrupt};

pub const View = struct {
    geometry: layout.Geometry,
    header: *layout.Header,
    members: *[layout.members_max]layout.Member,
    lists: *layout.FreeLists,
    blocks: [*]Block,
    pins: [*]layout.Pin,
    heap: [*]u8,
    /// Entries known to have memory behind them: they do not lose it, so an old number is a safe one.
    blocks_known: u32,

    pub fn of(geometry: layout.Geometry, segment: [*]align(4096) u8) View {
        return .{
            .geometry = geometry,
            .header = @ptrCast(segment),
            .members = @ptrCast(@alignCast(segment + layout.members_start)),
            .lists = @ptrCast(@alignCast(segment + layout.free_lists_start)),
            .blocks = @ptrCast(@alignCast(segment + layout.blocks_start)),
            .pins = @ptrCast(@alignCast(segment + geometry.pins_start)),
            .heap = segment + geometry.heap_start,
            .blocks_known = 0,
        };
    }

    /// Entries that have memory behind them; beyond, not even a read is allowed.
    pub inline fn blocksBacked(view: *const View) u32 {
        return @min(view.header.blocks_backed.get(), view.geometry.blocks_max);
    }
    /// Entries that were ever used.
    pub inline fn blocksUsed(view: *const View) u32 {
        return @min(view.header.blocks_used.get(), view.blocksBacked());
    }
    pub inline fn pinsBacked(view: *const View) u32 {
        return @min(view.header.pins_backed.get(), view.geometry.pins_max);
    }
    pub inline fn pinsUsed(view: *const View) u32 {
        return @min(view.header.pins_used.get(), view.pinsBacked());
    }

    pub inline fn block(view: *const View, index: BlockIndex) Corrupt!*Block {
        if (index.int() >= view.blocks_known) try view.learn(index);
        return &view.blocks[index.int()];
    }

    noinline fn learn(view: *const View, index: BlockIndex) Corrupt!void {
        const backed = view.blocksBacked();
        if (index.int() >= backed) return error.Corrupt;
        @constCast(view).blocks_known = backed;
    }

    pub inline fn pin(view: *const View, index: layout.PinIndex) Corrupt!*layout.Pin {
        if (@intFromEnum(index) >= view.pinsBacked()) return error.Corrupt;
        return &view.pins[@intFromEnum(index)];
    }

    /// The granules of a block of the chain: from its start to the start of the next.
    pub const Extent = struct {
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
        const next = try view.block(of_block.next.get());
        const start = of_block.start.get();
        const end = next.start.get();
        if (start >= end or end > view.geometry.heap_granules) return error.Corrupt;
        return .{ .start = start, .granules = end - start };
    }

    /// Bytes of the array in a block: its extent without the tail.
    pub fn lengthBytes(view: *const View, of_block: *const Block) Corrupt!u64 {
        const all = (try view.extent(of_block)).bytes();
        const tail = of_block.tail_bytes.get();
        return if (tail > all) error.Corrupt else all - tail;
    }
};

pub const Holders = struct {
    words: [layout.holder_words]u64,

    pub const nobody: Holders = .{ .words = @splat(0) };

    pub inline fn of(block: *const Block) Holders {
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
    pub inline fn only(slot: u8) Holders {
        var holders = nobody;
        holders.add(slot);
        return holders;
    }
    pub inline fn bit(slot: u8) u64 {
        return @as(u64, 1) << @intCast(slot % 64);
    }
};
