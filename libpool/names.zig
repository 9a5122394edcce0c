//! Names: keys of the pool under which arrays are kept. A record of the name table is a pin on the block that it names, with
//! the key, and which part of the block in which shape; or it says which member is making the array.
//!
//!     vacant ──▶ set                       set(): true with the one store of the word
//!        │        ▲ │
//!        ▼        │ ▼                      a name that is given to another array gets a new record, and the old one ends;
//!     making ─────┘ set, of a new record   between the two, `header.renaming` says which one counts
//!
//! No two records have the same key, but for those two. Records are found by hash: the first of each bucket stands in the
//! record of that number, and there are as many buckets as records in use, or more (all of that is derived).
//!
//! All functions here run under the lock. None frees a block: that is for the caller, who knows its holders.

const std = @import("std");
const layout = @import("layout.zig");
const text_file = @import("text.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const pins_file = @import("pins.zig");
const Census = @import("recovery.zig").Census;
const What = @import("broken.zig").What;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;
const Name = layout.Name;
const NameIndex = layout.NameIndex;

const key_words = layout.key_bytes_max / 8;
const shape_words = layout.shape_bytes_max / 8;

/// More records in one bucket than chance puts there.
pub const chain_max = 256;

/// A key as it stands in a record: in whole words, with its hash. Copied before it is looked at.
pub const Key = struct {
    words: [key_words]u64 = @splat(0),
    bytes: u8,
    hash: u32,

    /// 1 to 128 bytes of UTF-8. Seeded with the pool's nonce: no keys are slow in every pool.
    pub fn of(text: []const u8, nonce: u64) error{Argument}!Key {
        if (text.len < 1 or text.len > layout.key_bytes_max) return error.Argument;
        var key: Key = .{ .bytes = @intCast(text.len), .hash = 0 };
        const copy = std.mem.asBytes(&key.words)[0..text.len];
        @memcpy(copy, text);
        if (!text_file.isUtf8(copy)) return error.Argument;
        key.hash = key.hashOf(nonce);
        return key;
    }

    fn hashOf(key: *const Key, nonce: u64) u32 {
        var hash = nonce;
        for (key.used()) |word| {
            hash = (hash ^ word) *% 0x9e37_79b9_7f4a_7c15;
            hash ^= hash >> 32;
        }
        return @intCast(hash *% 0xbf58_476d_1ce4_e5b9 >> 32);
    }

    fn used(key: *const Key) []const u64 {
        return key.words[0..wordsOf(key.bytes)];
    }
};

/// The shape of an array as it stands in a record.
pub const Shape = struct {
    words: [shape_words]u64 = @splat(0),
    bytes: u8 = 0,
    axes: u8 = layout.NameWord.no_shape,

    /// Error.Argument: only an empty array has a shape that does not fit.
    pub fn of(axes: []const f64) error{Argument}!Shape {
        if (axes.len > layout.axes_max) return error.Argument;
        var shape: Shape = .{ .axes = @intCast(axes.len) };
        const text = std.mem.asBytes(&shape.words);
        for (axes) |axis| {
            if (!(axis >= 0 and axis <= 1 << 53)) return error.Argument;
            var rest: u64 = @intFromFloat(axis);
            while (true) {
                if (shape.bytes == text.len) return error.Argument;
                text[shape.bytes] = @as(u8, @truncate(rest & 0x7f)) | (if (rest > 0x7f) @as(u8, 0x80) else 0);
                shape.bytes += 1;
                rest >>= 7;
                if (rest == 0) break;
            }
        }
        return shape;
    }

    /// How many axes were written; null: the shape is just the length.
    pub fn read(shape: *const Shape, into: *[layout.axes_max]f64) Corrupt!?u32 {
        if (shape.axes == layout.NameWord.no_shape) return null;
        if (shape.axes > layout.axes_max or shape.bytes > layout.shape_bytes_max) return error.Corrupt;
        const text = std.mem.asBytes(&shape.words)[0..shape.bytes];
        var at: usize = 0;
        for (into[0..shape.axes]) |*axis| {
            var value: u64 = 0;
            for (0..8) |n| {
                if (at == text.len) return error.Corrupt;
                const byte = text[at];
                at += 1;
                value |= @as(u64, byte & 0x7f) << @intCast(7 * n);
                if (byte & 0x80 == 0) break;
            } else return error.Corrupt;
            axis.* = @floatFromInt(value);
        }
        return if (at == text.len) shape.axes else error.Corrupt;
    }

    fn used(shape: *const Shape) []const u64 {
        return shape.words[0..wordsOf(shape.bytes)];
    }
};

/// What a name names.
pub const Value = struct {
    block: BlockIndex,
    generation: u64,
    offset: u64,
    length_bytes: u64,
    shape: Shape,
};

fn wordsOf(bytes: u8) usize {
    return (@as(usize, bytes) + 7) / 8;
}

// ---------------------------------------------------------------- looking

/// The record with that key, or none.
pub fn find(view: *const View, key: *const Key) Corrupt!NameIndex {
    const buckets = try bucketsOf(view);
    if (buckets == 0) return .none;
    var index = view.names[key.hash & (buckets - 1)].first.get();
    for (0..chain_max) |_| {
        if (index == .none) return .none;
        const name = try view.name(index);
        if (hasKey(name, key)) return index;
        index = name.next.get();
    }
    return error.Corrupt;
}

fn hasKey(name: *const Name, key: *const Key) bool {
    const word = name.word.get();
    if (word.state == .vacant or word.key_bytes != key.bytes or name.hash.get() != key.hash) return false;
    for (key.used(), 0..) |expected, i| if (name.text[i].get() != expected) return false;
    return true;
}

/// What a name that is set names; error.Corrupt if that is not there.
pub fn valueOf(view: *const View, name: *const Name) Corrupt!Value {
    const word = name.word.get();
    if (word.state != .set or word.key_bytes > layout.key_bytes_max or word.shape_bytes > layout.shape_bytes_max) return error.Corrupt;
    var value: Value = .{
        .block = name.block.get(),
        .generation = name.generation.get(),
        .offset = name.offset.get(),
        .length_bytes = name.length_bytes.get(),
        .shape = .{ .bytes = word.shape_bytes, .axes = word.axes },
    };
    const from = wordsOf(word.key_bytes);
    for (value.shape.words[0..wordsOf(word.shape_bytes)], 0..) |*into, i| into.* = name.text[from + i].get();
    _ = try pinned(view, value.block, value.generation);
    return value;
}

/// The key, for those who list names.
pub fn keyOf(name: *const Name, into: *[layout.key_bytes_max]u8) Corrupt!u8 {
    const word = name.word.get();
    if (word.key_bytes < 1 or word.key_bytes > layout.key_bytes_max) return error.Corrupt;
    var words: [key_words]u64 = @splat(0);
    for (words[0..wordsOf(word.key_bytes)], 0..) |*copy, i| copy.* = name.text[i].get();
    into.* = @bitCast(words);
    return word.key_bytes;
}

fn pinned(view: *const View, index: BlockIndex, generation: u64) Corrupt!*Block {
    const block = try view.block(index);
    const word = block.word.get();
    return if (word.state == .used and word.generation == generation) block else error.Corrupt;
}

/// The block that a name which is set holds; null if it is not there.
pub fn blockOf(view: *const View, name: *const Name) ?*Block {
    const word = name.word.get();
    if (word.key_bytes < 1 or word.key_bytes > layout.key_bytes_max or word.shape_bytes > layout.shape_bytes_max) return null;
    return pinned(view, name.block.get(), name.generation.get()) catch null;
}

// ---------------------------------------------------------------- changing

pub const NoEntry = Corrupt || error{
    /// The name table has no backed record left: back more, then try again.
    NoEntry,
};

pub const Was = struct {
    /// What the name held before: perhaps nobody's now.
    block: BlockIndex = .none,
    /// Who waited for it to be made sleeps here.
    sleepers: ?*const u32 = null,
};

/// Gives a name to (a part of) a block, which the caller holds. It is the old array's before one store, and the new one's
/// after it.
pub fn set(view: *const View, key: *const Key, value: *const Value) NoEntry!Was {
    const block = try pinned(view, value.block, value.generation);
    const old_index = try find(view, key);
    if (old_index != .none) {
        const old = try view.name(old_index);
        if (old.word.get().state == .making) return finish(old, key, value, block);
    } else try expectRoom(view);
    const index = try takeUnused(view);
    const name = try view.name(index);
    setKey(name, key);
    setValue(name, key, value);
    if (old_index != .none) view.header.renaming.commit(.{ .from = @intFromEnum(old_index), .to = @intFromEnum(index) });
    name.word.commit(wordFor(.set, key, &value.shape));
    addPin(block);
    var was: Was = .{};
    if (old_index != .none) was = try end(view, old_index);
    try link(view, index, key.hash);
    return was;
}

/// What was being made is there.
fn finish(name: *Name, key: *const Key, value: *const Value, block: *Block) Was {
    setValue(name, key, value);
    name.word.commit(wordFor(.set, key, &value.shape));
    addPin(block);
    return .{ .sleepers = endWait(name) };
}

/// Says that `maker` makes what the name is to name. There is no record with that key.
pub fn begin(view: *const View, key: *const Key, maker: layout.Maker) NoEntry!void {
    try expectRoom(view);
    const index = try takeUnused(view);
    const name = try view.name(index);
    setKey(name, key);
    name.maker.set(maker);
    name.word.commit(wordFor(.making, key, &.{}));
    try link(view, index, key.hash);
}

/// Ends a name, or the making of one.
pub fn end(view: *const View, index: NameIndex) Corrupt!Was {
    const name = try view.name(index);
    const state = name.word.get().state;
    const block = if (state == .set) blockOf(view, name) else null;
    name.word.commit(.{});

    var was: Was = .{};
    if (block) |held| {
        removePin(held);
        was.block = name.block.get();
    }
    if (state == .making) was.sleepers = endWait(name);
    try unlink(view, index, name);
    putUnused(view, index);
    return was;
}

fn setKey(name: *Name, key: *const Key) void {
    name.hash.set(key.hash);
    for (key.used(), 0..) |word, i| name.text[i].set(word);
}

fn setValue(name: *Name, key: *const Key, value: *const Value) void {
    const from = wordsOf(key.bytes);
    name.block.set(value.block);
    name.generation.set(value.generation);
    name.offset.set(value.offset);
    name.length_bytes.set(value.length_bytes);
    for (value.shape.used(), from..) |word, i| name.text[i].set(word);
}

fn wordFor(state: layout.NameState, key: *const Key, shape: *const Shape) layout.NameWord {
    return .{ .state = state, .key_bytes = key.bytes, .shape_bytes = shape.bytes, .axes = shape.axes };
}

/// A wake is the caller's to do, when it has let go of the lock.
fn endWait(name: *Name) *const u32 {
    name.made.set(name.made.get() +% 1);
    return &name.made.raw;
}

pub noinline fn addPin(block: *Block) void {
    block.pins.set(block.pins.get() +| 1);
    block.names.set(block.names.get() +| 1);
}

fn removePin(block: *Block) void {
    const pins = block.pins.get() -| 1;
    const names = block.names.get();
    block.pins.set(pins);
    block.names.set(if (pins == 0) 0 else if (names == std.math.maxInt(u16)) names else names -| 1);
}

// ---------------------------------------------------------------- buckets (derived)

/// As many as there are records in use, or more, as far as there is memory; always a power of two.
fn bucketsOf(view: *const View) Corrupt!u32 {
    const buckets = view.header.name_buckets.get();
    if (buckets == 0) return 0;
    return if (buckets <= view.namesBacked() and std.math.isPowerOfTwo(buckets)) buckets else error.Corrupt;
}

const buckets_first = 16;

fn bucketsFor(view: *const View, names: u32) u32 {
    const backed = view.namesBacked();
    var buckets: u32 = buckets_first;
    while (buckets < names and buckets * 2 <= backed) buckets *= 2;
    return if (buckets <= backed) buckets else 0;
}

fn link(view: *const View, index: NameIndex, hash: u32) Corrupt!void {
    const header = view.header;
    const names = header.names.get() +| 1;
    header.names.set(names);
    const wanted = bucketsFor(view, names);
    const buckets = try bucketsOf(view);
    if (wanted > buckets) return indexAll(view, wanted);
    if (buckets == 0) return error.Corrupt;
    linkFirst(view, buckets, index, hash);
}

fn linkFirst(view: *const View, buckets: u32, index: NameIndex, hash: u32) void {
    const first = &view.names[hash & (buckets - 1)].first;
    view.names[index.entry()].next.update(first.get());
    first.set(index);
}

fn unlink(view: *const View, index: NameIndex, name: *const Name) Corrupt!void {
    const header = view.header;
    const buckets = try bucketsOf(view);
    if (buckets == 0) return error.Corrupt;
    var link_cell = &view.names[name.hash.get() & (buckets - 1)].first;
    for (0..chain_max) |_| {
        const at = link_cell.get();
        if (at == .none) return error.Corrupt;
        if (at == index) {
            link_cell.set(name.next.get());
            header.names.set(header.names.get() -| 1);
            return;
        }
        link_cell = &(try view.name(at)).next;
    }
    return error.Corrupt;
}

/// Puts every record in use into its bucket.
fn indexAll(view: *const View, buckets: u32) void {
    for (view.names[0..buckets]) |*bucket| bucket.first.update(.none);
    for (0..view.namesUsed()) |i| {
        const name = &view.names[i];
        if (name.word.get().state != .vacant) linkFirst(view, buckets, .of(@intCast(i)), name.hash.get());
    }
    view.header.name_buckets.update(buckets);
}

// ---------------------------------------------------------------- records that are not in use

/// One record is left for a name that is set again: that must not fail because the table is full.
fn expectRoom(view: *const View) NoEntry!void {
    if (view.namesBacked() -| view.header.names.get() < 2) return error.NoEntry;
}

fn takeUnused(view: *const View) NoEntry!NameIndex {
    const header = view.header;
    const first = header.unused_names.get();
    if (first != .none) {
        const name = try view.name(first);
        if (name.word.get().state != .vacant) return error.Corrupt;
        header.unused_names.set(name.next.get());
        return first;
    }
    const used = view.namesUsed();
    if (used >= view.namesBacked()) return error.NoEntry;
    header.names_used.commit(used + 1);
    return .of(used);
}

fn putUnused(view: *const View, index: NameIndex) void {
    view.names[index.entry()].next.set(view.header.unused_names.get());
    view.header.unused_names.set(index);
}

// ---------------------------------------------------------------- recovery, and the walk

/// Ends what names nothing (any more), counts the others as pins, and indexes them anew. Blocks have no pins yet.
pub fn recover(view: *const View) Corrupt!void {
    const header = view.header;
    endRenamed(view);
    var unused: NameIndex = .none;
    var names: u32 = 0;
    for (0..view.namesUsed()) |i| {
        const index: NameIndex = .of(@intCast(i));
        const name = try view.name(index);
        switch (name.word.get().state) {
            .set => if (blockOf(view, name)) |block| {
                addPin(block);
                names += 1;
                continue;
            },
            .making => if (!hasLeft(view, name.maker.get())) {
                names += 1;
                continue;
            },
            else => {},
        }
        if (name.word.get().state != .vacant) name.word.commit(.{});
        name.next.update(unused);
        unused = index;
    }
    header.unused_names.update(unused);
    header.names.update(names);
    const buckets = bucketsFor(view, names);
    if (buckets > 0) indexAll(view, buckets);
}

/// The old record of a name that has got a new one.
fn endRenamed(view: *const View) void {
    const renaming = view.header.renaming.get();
    const from: NameIndex = @enumFromInt(renaming.from);
    const to: NameIndex = @enumFromInt(renaming.to);
    const used = view.namesUsed();
    if (from.entry() >= used or to.entry() >= used or from == to) return;
    const old = &view.names[from.entry()];
    const new = &view.names[to.entry()];
    const word = new.word.get();
    if (word.state != .set or old.word.get().state != .set or word.key_bytes > layout.key_bytes_max) return;
    var key: Key = .{ .bytes = word.key_bytes, .hash = new.hash.get() };
    for (key.words[0..wordsOf(key.bytes)], 0..) |*copy, i| copy.* = new.text[i].get();
    if (hasKey(old, &key)) old.word.commit(.{});
}

/// Whether that member certainly is not in the pool any more.
pub fn hasLeft(view: *const View, maker: layout.Maker) bool {
    return view.members[maker.slot].word.get() != layout.MemberWord{ .incarnation = maker.incarnation, .state = .joined };
}

/// Counts the names that are pins; says what is wrong with them if something is.
pub fn broken(view: *const View, census: *Census) What {
    const header = view.header;
    if (header.names_backed.get() > view.geometry.names_max) return census.at(.@"more of the name table is backed than there is", header.names_backed.get());
    if (header.names_used.get() > header.names_backed.get()) return census.at(.@"names are used that are not backed", header.names_used.get());
    const buckets = bucketsOf(view) catch return census.at(.@"there is no such number of buckets", header.name_buckets.get());
    var in_use: u32 = 0;
    for (0..view.namesUsed()) |i| {
        const name = &view.names[i];
        switch (name.word.get().state) {
            .vacant => continue,
            .set => {
                if (blockOf(view, name) == null) return census.at(.@"a name is on a block that is not there", i);
                census.names += 1;
                census.weight +%= pins_file.weight(name.block.get());
            },
            .making => {},
            _ => return census.at(.@"a name is in no known state", i),
        }
        in_use += 1;
        var buffer: [layout.key_bytes_max]u8 = undefined;
        const bytes = keyOf(name, &buffer) catch return census.at(.@"a name has no key", i);
        var key: Key = .{ .bytes = bytes, .hash = name.hash.get(), .words = @bitCast(buffer) };
        const found = find(view, &key) catch return census.at(.@"a bucket of names leads out of the table, or does not end", i);
        if (found != NameIndex.of(@intCast(i))) return census.at(.@"a name is not found by its key, or two have the same", i);
    }
    if (in_use != header.names.get()) return census.at(.@"the count of names is wrong", header.names.get());
    if (buckets == 0 and in_use > 0) return census.at(.@"names are in no bucket", in_use);
    var unused: u32 = 0;
    var index = header.unused_names.get();
    while (index != .none) : (unused += 1) {
        const name = view.name(index) catch return .@"the list of unused names leads out of the table";
        if (name.word.get().state != .vacant) return census.at(.@"a name in use is in the list of unused ones", index.entry());
        if (unused > view.namesUsed()) return .@"the list of unused names does not end";
        index = name.next.get();
    }
    if (unused + in_use != view.namesUsed()) return census.at(.@"an unused name is lost", unused);
    return .nothing;
}

// ---------------------------------------------------------------- tests

test "a shape is read as it was written, or refused where only an empty array can have it" {
    var back: [layout.axes_max]f64 = undefined;
    const shapes = [_][]const f64{ &.{}, &.{0}, &.{ 3, 4 }, &.{ 1 << 52, 1 }, &(.{1} ** 64), &(.{2} ** 52 ++ .{1} ** 12), &.{ 127, 128, 129, 0 } };
    for (shapes) |axes| {
        const shape: Shape = try .of(axes);
        try std.testing.expectEqualSlices(f64, axes, back[0..(try shape.read(&back)).?]);
    }
    try std.testing.expectEqual(null, try (Shape{}).read(&back));
    try std.testing.expectError(error.Argument, Shape.of(&(.{1} ** 65)));
    try std.testing.expectError(error.Argument, Shape.of(&(.{1 << 53} ** 10)));
    for ([_]f64{ -1, 1 << 54, std.math.nan(f64), std.math.inf(f64) }) |axis| try std.testing.expectError(error.Argument, Shape.of(&.{axis}));
}

test "keys are 1 to 128 bytes of UTF-8" {
    for ([_][]const u8{ "a", "prices", "\x00", "ä€😀", "k" ** 128 }) |text| _ = try Key.of(text, 7);
    for ([_][]const u8{ "", "k" ** 129, "\xff", "\xed\xa0\x80", "a\xc3" }) |text| try std.testing.expectError(error.Argument, Key.of(text, 7));
}
