//! A look at a pool from outside, by one who is no member of it and changes nothing in it: no slot is taken, no byte of the
//! segment is written, nobody waits.
//!
//! The segment is not mapped, but read (`pread`): a hole stays a hole, and a file that is cut short meanwhile is a short
//! read instead of a SIGBUS. What is read is its metadata, and of the heap what is no array, into memory of the looker's own that is laid out as the segment
//! is: so the code that walks a segment, and the repair after a death, run on the copy.
//!
//!     members work on    ─────────────────────────────────▶
//!     the looker         ├─ reads all ─┤T├─ reads again ─┤
//!
//! What is the same both times stood like that at the moment T between the two: the copy is a true picture of T if nothing
//! differs (`still`). Otherwise the entries that do are counted (`moving`), and are as they were a moment later; a block in
//! use that is not among them is exact all the same, since its generation never repeats.
//!
//! What stands in a segment may be anything. How much is copied is bounded by what the file takes of /dev/shm, each value is
//! checked before it is used, and each loop has a bound.

const std = @import("std");
const layout = @import("layout.zig");
const locked_bytes = @import("locked_bytes.zig");
const members = @import("members.zig");
const platform = @import("platform.zig");
const recovery = @import("recovery.zig");
const segment = @import("segment.zig");
const view_file = @import("view.zig");
const system = platform.system;
const View = view_file.View;
const Holders = view_file.Holders;
const Block = layout.Block;
const BlockIndex = layout.BlockIndex;

pub const State = enum(u32) {
    /// A pool of this layout.
    pool = 0,
    /// The header is none, or does not fit the file.
    damaged = 1,
    /// Made by another version: only what is the same in all of them is known.
    other_version = 2,
};

pub const Lock = enum(u32) {
    free = 0,
    /// Somebody who lives has it.
    held = 1,
    /// Its owner is dead: whoever needs it next takes it over and repairs the metadata.
    orphaned = 2,
};

/// What a look has found, apart from what is in the copy.
pub const Facts = struct {
    state: State = .damaged,
    version: u32 = 0,
    file_bytes: u64 = 0,
    /// Of /dev/shm, metadata included.
    taken_bytes: u64 = 0,
    metadata_bytes: u64 = 0,
    /// Whether the name still leads to this segment.
    has_name: bool = false,
    /// Somebody owns a slot.
    is_live: bool = false,
    /// How long the pool waits for what was sent, though nobody lives in it.
    waits_ms: u64 = 0,
    is_still: bool = false,
    moving: u32 = 0,
    lock: Lock = .free,
    lock_slot: u8 = 0,
    lock_pid: u32 = 0,
};

pub const Sums = struct {
    used_bytes: u64 = 0,
    arrays: u32 = 0,
    /// In use, of whatever kind.
    blocks: u32 = 0,
    claimed_bytes: u64 = 0,
    claims: u32 = 0,
    free_backed_bytes: u64 = 0,
    reserved_bytes: u64 = 0,
    largest_free_bytes: u64 = 0,
    free_runs: u32 = 0,
    members: u32 = 0,
    dead: u32 = 0,
    /// Beyond it, the heap is free and takes no memory.
    reach_bytes: u64 = 0,
    /// How many blocks, and how many claims, were ever made here: generations and serials only go up.
    blocks_made: u64 = 0,
    claims_made: u64 = 0,
};

pub const Look = struct {
    fd: platform.Fd,
    name_buffer: [32]u8,
    name_bytes: u32,
    thread: system.Thread,
    facts: Facts,
    /// The metadata as it was, and where it would be in a segment. Of the heap there is what is no array, and zeros else.
    view: View,
    base: [*]align(4096) u8,
    mapped_bytes: usize,
    heap_is_writable: bool,

    /// This struct; what the second reading is read into; the copy.
    const second_at = 4096;
    const copy_at = second_at + layout.section_bytes;
    comptime {
        layout.assert(@sizeOf(Look) <= second_at);
    }

    /// A look at what stands under that name, which must be this user's.
    pub fn open(name: []const u8, report: *segment.Report) segment.Error!*Look {
        if (!segment.nameIsValid(name)) return error.Argument;
        const fd = system.openToLook(name, &report.failure) catch |err| return segment.translated(err, report);
        errdefer system.close(fd);
        const file = system.info(fd) orelse return error.System;
        if (!file.regular or !file.owned or file.mode != 0o600) return error.Permission;
        var header: layout.Header = undefined;
        const geometry = geometryOf(fd, &header);
        const copied_bytes = if (geometry) |g| g.segment_bytes else layout.section_bytes;
        const metadata_bytes = if (geometry) |g| g.heap_start else layout.section_bytes;
        const mapped_bytes = copy_at + @as(usize, @intCast(copied_bytes));
        const base = system.mapPrivate(mapped_bytes, copy_at + @as(usize, @intCast(metadata_bytes)), &report.failure) catch |err|
            return segment.translated(err, report);
        const look: *Look = @ptrCast(base);
        look.* = .{
            .fd = fd,
            .name_buffer = @splat(0),
            .name_bytes = @intCast(name.len),
            .thread = .current(),
            .facts = .{},
            .view = .of(&(geometry orelse layout.Geometry.of(layout.capacity_min).?), @alignCast(base + copy_at), -1, .{}),
            .base = base,
            .mapped_bytes = mapped_bytes,
            .heap_is_writable = false,
        };
        @memcpy(look.name_buffer[0..name.len], name);
        if (geometry != null) look.facts.state = .pool;
        return look;
    }

    pub fn close(look: *Look) void {
        const fd = look.fd;
        system.unmap(look.base, look.mapped_bytes);
        system.close(fd);
    }

    fn nameOf(look: *const Look) []const u8 {
        return look.name_buffer[0..look.name_bytes];
    }

    fn geometryOf(fd: platform.Fd, header: *layout.Header) ?layout.Geometry {
        if (!system.readAt(fd, 0, std.mem.asBytes(header))) return null;
        if (header.magic.get() != layout.magic or header.version.get() != layout.version) return null;
        return segment.geometryOf(header);
    }

    // ------------------------------------------------------------ reading

    /// Reads anew, until the pool stood still in between, at most `tries` times.
    pub fn take(look: *Look, tries: u32) void {
        for (0..@max(1, tries)) |i| {
            if (i > 0) system.sleep(if (i < 4) 0 else 1);
            look.takeOnce();
            if (look.facts.is_still) return;
        }
    }

    fn takeOnce(look: *Look) void {
        const facts = &look.facts;
        facts.* = .{};
        const file = system.info(look.fd) orelse return;
        facts.file_bytes = file.size_bytes;
        facts.taken_bytes = file.backed_bytes;
        facts.has_name = system.hasName(look.fd, look.nameOf());
        facts.is_live = locked_bytes.anySlotTaken(look.fd);
        const header = look.view.header;
        if (!system.readAt(look.fd, 0, std.mem.asBytes(header)) or header.magic.get() != layout.magic) return;
        facts.version = header.version.get();
        facts.waits_ms = header.claims_until_ms.get() -| system.monotonicMs();
        if (facts.version != layout.version) {
            facts.state = .other_version;
            return;
        }
        const geometry = segment.geometryOf(header) orelse return;
        if (geometry.segment_bytes != look.view.geometry.segment_bytes or geometry.segment_bytes != file.size_bytes) return;
        if (copy_at + geometry.segment_bytes > look.mapped_bytes) return; // its header was damaged when it was opened
        if (!look.readAll(file.backed_bytes)) return;
        facts.state = .pool;
        facts.metadata_bytes = geometry.metadataBytes(
            @min(header.blocks_backed.get(), geometry.blocks_max),
            @min(header.pins_backed.get(), geometry.pins_max),
            @min(look.view.waiting.waiters_backed.get(), geometry.waiters_max),
            @min(header.names_backed.get(), geometry.names_max),
        );
        facts.moving = look.compareAll(file.backed_bytes) orelse {
            facts.state = .damaged;
            return;
        };
        look.judgeLock();
        facts.is_still = facts.moving == 0 and facts.lock != .held;
    }

    const Part = struct { offset: u64, bytes: u64 };

    /// What is read: what is of fixed size, and the tables as far as they are used.
    fn parts(look: *const Look) [5]Part {
        const view = &look.view;
        const geometry = view.geometry;
        return .{
            // Up to the counters, which are no part of the picture, and are read as they come.
            .{ .offset = 0, .bytes = layout.activity_start },
            .{ .offset = layout.blocks_start, .bytes = @as(u64, view.blocks_known) * @sizeOf(Block) },
            .{ .offset = geometry.pins_start, .bytes = @as(u64, view.pins_known) * @sizeOf(layout.Pin) },
            .{ .offset = geometry.waiters_start, .bytes = @as(u64, view.waiters_known) * @sizeOf(layout.Waiter) },
            .{ .offset = geometry.names_start, .bytes = @as(u64, view.names_known) * @sizeOf(layout.Name) },
        };
    }

    /// The first reading.
    fn readAll(look: *Look, taken_bytes: u64) bool {
        const view = &look.view;
        const max = view.geometry;
        if (!look.readPart(.{ .offset = 0, .bytes = layout.blocks_start })) return false;
        const header = view.header;
        const waiting = view.waiting;
        // A sound segment takes more of /dev/shm than its tables have entries in use.
        view.blocks_known = @intCast(@min(header.blocks_used.get(), header.blocks_backed.get(), max.blocks_max, taken_bytes / @sizeOf(Block)));
        view.pins_known = @intCast(@min(header.pins_used.get(), header.pins_backed.get(), max.pins_max, taken_bytes / @sizeOf(layout.Pin)));
        view.waiters_known = @intCast(@min(waiting.waiters_used.get(), waiting.waiters_backed.get(), max.waiters_max, taken_bytes / @sizeOf(layout.Waiter)));
        // As far as they have memory: buckets stand in records that are not in use, too.
        view.names_known = @intCast(@min(header.names_backed.get(), max.names_max, taken_bytes / @sizeOf(layout.Name)));
        for (look.parts()[1..]) |part| if (!look.readPart(part)) return false;
        var inner: Inner = .{ .look = look, .left_bytes = taken_bytes };
        while (inner.next()) |part| {
            if (!look.heap_is_writable) {
                var failure: system.Failure = .{};
                system.letWrite(@alignCast(view.heap), view.geometry.capacity_bytes, &failure) catch return false;
                look.heap_is_writable = true;
            }
            if (!look.readPart(part)) return false;
        }
        return true;
    }

    /// What is in the heap, and no array: what stands in it says something about the rest. No more than the file takes.
    const Inner = struct {
        look: *const Look,
        number: u32 = 0,
        left_bytes: u64,

        fn next(inner: *Inner) ?Part {
            const view = &inner.look.view;
            while (inner.number < view.blocks_known) {
                const block = &view.blocks[inner.number];
                inner.number += 1;
                const kind = block.content.get().kind;
                if (block.word.get().state != .used or kind == layout.Kind.array or kind == layout.Kind.trace) continue;
                const extent = view.extent(block) catch continue;
                if (extent.bytes() > inner.left_bytes) return null;
                inner.left_bytes -= extent.bytes();
                return .{ .offset = view.geometry.heap_start + extent.offsetBytes(), .bytes = extent.bytes() };
            }
            return null;
        }
    };

    fn readPart(look: *Look, part: Part) bool {
        return system.readAt(look.fd, part.offset, look.copy(part.offset, part.bytes));
    }

    fn copy(look: *Look, offset: u64, bytes: u64) []u8 {
        return (look.base + copy_at + @as(usize, @intCast(offset)))[0..@intCast(bytes)];
    }

    /// The second reading. Returns how many entries differ, null if it cannot be read; they are as they are now.
    fn compareAll(look: *Look, taken_bytes: u64) ?u32 {
        var moving: u32 = 0;
        // First, by the table as it was read.
        var inner: Inner = .{ .look = look, .left_bytes = taken_bytes };
        while (inner.next()) |part| moving += look.compare(part.offset, part.bytes) orelse return null;
        for (look.parts()) |part| moving += look.compare(part.offset, part.bytes) orelse return null;
        return moving;
    }

    noinline fn compare(look: *Look, offset: u64, bytes: u64) ?u32 {
        const entry_bytes = 64;
        var moving: u32 = 0;
        var done: u64 = 0;
        while (done < bytes) {
            const step: usize = @intCast(@min(layout.section_bytes, bytes - done));
            const now = (look.base + second_at)[0..step];
            const before = look.copy(offset + done, step);
            if (!system.readAt(look.fd, offset + done, now)) return null;
            defer done += step;
            if (std.mem.eql(u8, now, before)) continue;
            var at: usize = 0;
            while (at < step) : (at += entry_bytes) {
                const end = @min(at + entry_bytes, step);
                if (std.mem.eql(u8, now[at..end], before[at..end])) continue;
                @memcpy(before[at..end], now[at..end]);
                moving += 1;
            }
        }
        return moving;
    }

    fn judgeLock(look: *Look) void {
        const facts = &look.facts;
        const word = look.view.header.lock.get();
        if (word == layout.LockWord.unlocked) return;
        facts.lock_slot = word.slot;
        const member = &look.view.members[word.slot];
        facts.lock_pid = member.pid.get();
        const owner = member.word.get();
        const dead = owner.incarnation != word.incarnation or
            members.looksDead(&look.view, look.fd, look.thread, word.slot, owner);
        facts.lock = if (dead) .orphaned else .held;
    }

    // ------------------------------------------------------------ what is in the copy

    pub fn blocksUsed(look: *const Look) u32 {
        return look.view.blocks_known;
    }

    pub fn namesUsed(look: *const Look) u32 {
        if (look.facts.state != .pool) return 0;
        return @min(look.view.header.names_used.get(), look.view.names_known);
    }

    pub fn sums(look: *const Look) Sums {
        var result: Sums = .{};
        if (look.facts.state != .pool) return result;
        const view = &look.view;
        for (view.members, 0..) |*member, slot| {
            const word = member.word.get();
            if (word.state == .vacant) continue;
            if (members.looksDead(view, look.fd, look.thread, @intCast(slot), word)) result.dead += 1 else result.members += 1;
        }
        for (view.pins[0..view.pins_known]) |*pin| {
            const word = pin.word.get();
            result.claims_made +%= word.serial;
            if (word.kind == .claim) result.claims += 1;
        }
        for (view.blocks[0..view.blocks_known]) |*block| {
            const word = block.word.get();
            result.blocks_made +%= word.generation;
            const extent = view.extent(block) catch continue;
            const bytes = extent.bytes();
            if (word.state != .free or word.backed) result.reach_bytes = @max(result.reach_bytes, extent.offsetBytes() + bytes);
            switch (word.state) {
                .used => {
                    result.used_bytes +|= bytes;
                    result.blocks += 1;
                    if (block.content.get().kind == layout.Kind.array) result.arrays += 1;
                    if (Holders.of(block).isEmpty() and block.names.get() == 0) result.claimed_bytes +|= bytes;
                },
                .reserved => result.reserved_bytes +|= bytes,
                .free, .cached => if (word.backed) {
                    result.free_backed_bytes +|= bytes;
                },
                else => {},
            }
        }
        look.sumRuns(&result);
        return result;
    }

    /// Neighbouring free blocks are one run: an allocation that needs them joined joins them.
    fn sumRuns(look: *const Look, result: *Sums) void {
        const view = &look.view;
        var run_bytes: u64 = 0;
        var index: BlockIndex = .of(0);
        for (0..view.blocks_known) |_| {
            const block = view.block(index) catch return;
            const word = block.word.get();
            if (word.state == .end) return;
            const bytes = (view.extent(block) catch return).bytes();
            if (word.state == .free or word.state == .cached) {
                if (run_bytes == 0) result.free_runs += 1;
                run_bytes += bytes;
                result.largest_free_bytes = @max(result.largest_free_bytes, run_bytes);
            } else run_bytes = 0;
            index = block.next.get();
        }
    }

    /// How the first bytes of the heap are used, cut into as many cells as `cells` has: bytes of each that are in use, held by nothing but
    /// claims, and free with memory behind them. What is left of a cell is free and takes nothing.
    pub fn picture(look: *const Look, first_bytes: u64, cells: [][3]f64) void {
        @memset(cells, @splat(0));
        if (look.facts.state != .pool or cells.len == 0 or first_bytes == 0) return;
        const view = &look.view;
        const cell_bytes = @as(f64, @floatFromInt(first_bytes)) / @as(f64, @floatFromInt(cells.len));
        // The blocks of a sound chain are as large as the heap, all together.
        var left_bytes: u64 = view.geometry.capacity_bytes;
        for (view.blocks[0..view.blocks_known]) |*block| {
            const word = block.word.get();
            const kind: usize = switch (word.state) {
                .used => if (Holders.of(block).isEmpty() and block.names.get() == 0) 1 else 0,
                .reserved => 0,
                .free, .cached => if (word.backed) 2 else continue,
                else => continue,
            };
            const extent = view.extent(block) catch continue;
            if (extent.bytes() > left_bytes) return;
            left_bytes -= extent.bytes();
            var from: f64 = @floatFromInt(extent.offsetBytes());
            const end = from + @as(f64, @floatFromInt(extent.bytes()));
            var cell: usize = @intFromFloat(@min(from / cell_bytes, @as(f64, @floatFromInt(cells.len))));
            while (from < end and cell < cells.len) : (cell += 1) {
                const cell_end = @min(end, cell_bytes * @as(f64, @floatFromInt(cell + 1)));
                cells[cell][kind] += @max(0, cell_end - from);
                from = @max(from, cell_end);
            }
        }
    }

    /// Describes blocks in use from entry `from` on, as Pool.list() does; `next`: the entry to go on from, null at the end.
    pub fn list(look: *const Look, comptime Info: type, from: u32, into: []Info, next: *?u32) usize {
        const now_ms = system.monotonicMs();
        var count: usize = 0;
        var number = from;
        defer next.* = if (number < look.view.blocks_known) number else null;
        while (number < look.view.blocks_known and count < into.len) : (number += 1) {
            if (look.view.describe(Info, number, now_ms, &into[count]) catch false) count += 1;
        }
        return count;
    }

    /// Reads of a block of the copy that is still there. Returns how many bytes, null if it is not there any more.
    pub fn readBlock(look: *const Look, number: u32, generation: u64, from: u64, into: []u8) ?usize {
        if (look.facts.state != .pool or number >= look.view.blocks_known) return null;
        const block = &look.view.blocks[number];
        const word = block.word.get();
        if (word.state != .used or word.generation != generation) return null;
        const extent = look.view.extent(block) catch return null;
        if (from >= extent.bytes()) return 0;
        const bytes: usize = @intCast(@min(into.len, extent.bytes() - from));
        if (!system.readAt(look.fd, look.view.geometry.heap_start + extent.offsetBytes() + from, into[0..bytes])) return null;
        // A block's generation never repeats: if it is the same after reading, what was read is the block's.
        var now: layout.Block = undefined;
        if (!system.readAt(look.fd, layout.blocks_start + @as(u64, number) * @sizeOf(Block), std.mem.asBytes(&now))) return null;
        return if (now.word.get().state == .used and now.word.get().generation == generation) bytes else null;
    }

    pub const Held = struct { arrays: u32 = 0, bytes: u64 = 0 };

    /// How many arrays each slot holds.
    pub fn held(look: *const Look, by: *[layout.members_max]Held) void {
        by.* = @splat(.{});
        for (look.view.blocks[0..look.view.blocks_known]) |*block| {
            if (block.word.get().state != .used or block.content.get().kind != layout.Kind.array) continue;
            const extent = look.view.extent(block) catch continue;
            for (Holders.of(block).words, 0..) |word, i| {
                var bits = word;
                while (bits != 0) : (bits &= bits - 1) {
                    const of = &by[i * 64 + @ctz(bits)];
                    of.arrays += 1;
                    of.bytes +|= extent.bytes();
                }
            }
        }
    }

    pub const Condition = enum(u32) { dead = 0, joining = 1, joined = 2 };

    pub fn conditionOf(look: *const Look, slot: u8) ?Condition {
        const word = look.view.members[slot].word.get();
        if (word.state == .vacant) return null;
        if (members.looksDead(&look.view, look.fd, look.thread, slot, word)) return .dead;
        return if (word.state == .joined) .joined else .joining;
    }

    /// Whether the numbers in that slot mean something here.
    pub fn isHere(look: *const Look, slot: u8) bool {
        const namespace = look.view.members[slot].pid_namespace.get();
        return namespace != 0 and namespace == look.thread.pid_namespace;
    }

    // ------------------------------------------------------------ the walk

    pub const Verdict = union(enum) {
        sound,
        /// Sound, once the next one to join has repaired what a dead owner of the lock left half done.
        repairable,
        broken: recovery.Broken,
        /// It never stood still.
        unsure,
    };

    /// Every invariant, on the copy. In a pool that never stands still for as long as it takes to read it, nothing is
    /// certain: then `unsure`, after that many tries.
    pub fn check(look: *Look, tries: u32) Verdict {
        const first = look.checkOnce(tries);
        if (first != .broken) return first;
        // Twice, since a pool that is busy can look still when it is not: a change, and back.
        const second = look.checkOnce(tries);
        return if (second == .broken and second.broken.where != first.broken.where) .unsure else second;
    }

    noinline fn checkOnce(look: *Look, tries: u32) Verdict {
        look.take(tries);
        if (look.facts.state != .pool) return .{ .broken = .{ .what = .@"the header is damaged, or does not fit the file" } };
        if (!look.facts.is_still) return .unsure;
        const view = &look.view;
        if (view.header.corrupt.get() != 0) return .{ .broken = firstBroken(view) orelse .{ .what = .@"a recovery has found the chain broken" } };
        if (look.facts.lock != .orphaned) return if (firstBroken(view)) |broken| .{ .broken = broken } else .sound;
        recovery.recover(view, system.monotonicMs()) catch return .{ .broken = firstBroken(view) orelse .{ .what = .@"a member died with the lock, and the chain that it left cannot be repaired" } };
        return if (firstBroken(view)) |broken| .{ .broken = broken } else .repairable;
    }
};

/// In one place, for the library's size.
noinline fn firstBroken(view: *const View) ?recovery.Broken {
    return recovery.firstBroken(view);
}
