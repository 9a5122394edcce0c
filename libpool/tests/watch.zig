//! Sees to it that every store to shared memory is a crash point: compares the metadata with a copy of it at every step.
//! One step, one word: if more differs, or something after the last step, a store was made without one. What a channel is made
//! of lies in the heap, and is watched from the moment on in which its block is one; not what its messages carry.

const std = @import("std");
const linux = std.os.linux;
const s = @import("support.zig");
const crash = @import("../crash.zig");
const layout = s.layout;
const queue = @import("../queue.zig");

/// Exit code of a process that was seen to make a store without a crash point.
pub const caught = 77;

var segment: ?[]align(4096) const u8 = null;
var shadow: []align(8) u8 = &.{};
var geometry: layout.Geometry = undefined;
var steps: u64 = 0;

/// Watches this process from now on. `fd`: the segment's; null: the next one without a name that it makes.
pub fn begin(fd: ?i32, of_capacity: u64) !void {
    geometry = layout.Geometry.of(of_capacity).?;
    shadow = try std.heap.page_allocator.alignedAlloc(u8, .@"8", geometry.heap_start);
    @memset(shadow, 0);
    channels = @splat(null);
    if (fd) |of| {
        segment = try mapped(of);
        copyAll();
    }
    crash.observer = observe;
}

/// No store since the last step?
pub fn end() u64 {
    crash.observer = null;
    if (differences() > 0) fail("after the last step");
    return steps;
}

fn observe() void {
    steps += 1;
    if (segment == null) segment = findNew() orelse return;
    if (differences() > 1) fail("between two steps");
}

fn fail(when: []const u8) noreturn {
    std.debug.print("a store without a crash point, {s} ({d} steps)\n", .{ when, steps });
    linux.exit_group(caught);
}

/// Only what has memory behind it.
fn ranges() [4][2]u64 {
    const header: *const layout.Header = @ptrCast(segment.?.ptr);
    const blocks = @min(header.blocks_backed.get(), geometry.blocks_max);
    const pins = @min(header.pins_backed.get(), geometry.pins_max);
    const waiting: *const layout.Waiting = @ptrCast(segment.?.ptr + layout.waiting_start);
    const waiters = @min(waiting.waiters_backed.get(), geometry.waiters_max);
    const names = @min(header.names_backed.get(), geometry.names_max);
    return .{
        .{ 0, layout.blocks_start + @as(u64, blocks) * @sizeOf(layout.Block) },
        .{ geometry.pins_start, geometry.pins_start + @as(u64, pins) * @sizeOf(layout.Pin) },
        .{ geometry.waiters_start, geometry.waiters_start + @as(u64, waiters) * @sizeOf(layout.Waiter) },
        .{ geometry.names_start, geometry.names_start + @as(u64, names) * @sizeOf(layout.Name) },
    };
}

fn copyAll() void {
    for (ranges()) |range| @memcpy(shadow[range[0]..range[1]], segment.?[range[0]..range[1]]);
    _ = differencesInChannels();
}

/// A channel as it was at the last look.
const Channel = struct {
    block: u32,
    generation: u64,
    words: [512]u64,
};
var channels: [8]?Channel = @splat(null);

/// Every channel there is; those that are new are looked at for the first time.
fn differencesInChannels() u32 {
    const header: *const layout.Header = @ptrCast(segment.?.ptr);
    const blocks: [*]const layout.Block = @ptrCast(segment.?.ptr + layout.blocks_start);
    var count: u32 = 0;
    var still: [channels.len]bool = @splat(false);
    for (blocks[0..@min(header.blocks_used.get(), header.blocks_backed.get())], 0..) |*block, i| {
        const word = block.word.get();
        if (word.state != .used or block.content.get().kind != layout.Kind.channel) continue;
        const at = geometry.heap_start + @as(u64, block.start.get()) * layout.granule_bytes;
        const end_at = geometry.heap_start + @as(u64, blocks[block.next.get().int()].start.get()) * layout.granule_bytes;
        const of = queue.Queue.of(@constCast(segment.?[at..end_at])) catch continue;
        const place = placeOf(@intCast(i), word.generation);
        still[place] = true;
        const is_new = channels[place] == null;
        if (is_new) channels[place] = .{ .block = @intCast(i), .generation = word.generation, .words = undefined };
        var words: Words = .{ .of = &of };
        for (&channels[place].?.words) |*known| {
            const now = words.next() orelse break;
            if (!is_new and known.* != now.*) {
                count += 1;
                if (count > 1) std.debug.print("also changed: a word of the channel in block {d}, at {d}\n", .{ i, @intFromPtr(now) - @intFromPtr(of.header) });
            }
            known.* = now.*;
        } else if (words.next() != null) @panic("a channel is too large to be watched");
    }
    for (&channels, still) |*channel, is_there| if (!is_there) {
        channel.* = null;
    };
    return count;
}

fn placeOf(block: u32, generation: u64) usize {
    for (&channels, 0..) |*channel, i| if (channel.*) |known| if (known.block == block and known.generation == generation) return i;
    for (&channels, 0..) |*channel, i| if (channel.* == null) return i;
    @panic("too many channels to be watched");
}

/// The words of a channel that are cells: its header, and what stands before the content of each message.
const Words = struct {
    of: *const queue.Queue,
    part: u32 = 0,
    at: u32 = 0,

    fn next(words: *Words) ?*const u64 {
        while (true) {
            const slots = words.of.shape.slots;
            const start: [*]const u64, const bytes: usize = if (words.part == 0)
                .{ @ptrCast(words.of.header), @sizeOf(queue.Header) }
            else if (words.part <= slots)
                .{ @ptrCast(words.of.cell(words.part - 1)), @sizeOf(queue.Message) }
            else if (words.part <= 2 * slots)
                .{ @ptrCast(words.of.entry(words.part - 1 - slots)), @sizeOf(queue.Entry) + @sizeOf(queue.Message) }
            else
                return null;
            if (words.at < bytes / 8) {
                defer words.at += 1;
                return &start[words.at];
            }
            words.part += 1;
            words.at = 0;
        }
    }
};

/// Words that changed since the last look; the copy is then up to date.
fn differences() u32 {
    var count: u32 = differencesInChannels();
    for (ranges()) |range| {
        const now: []const u64 = @ptrCast(@alignCast(segment.?[range[0]..range[1]]));
        const before: []u64 = @ptrCast(@alignCast(shadow[range[0]..range[1]]));
        if (std.mem.eql(u64, now, before)) continue;
        for (now, before, 0..) |word, *known, i| if (word != known.*) {
            count += 1;
            if (count > 1) std.debug.print("also changed: the word at {d}\n", .{range[0] + i * 8});
            known.* = word;
        };
    }
    return count;
}

fn mapped(fd: i32) ![]align(4096) const u8 {
    const bytes = geometry.segment_bytes;
    const start = linux.mmap(null, bytes, .{ .READ = true }, .{ .TYPE = .SHARED }, fd, 0);
    if (linux.errno(start) != .SUCCESS) return error.Map;
    return @as([*]align(4096) const u8, @ptrFromInt(start))[0..bytes];
}

/// A file of /dev/shm without a name that this process has open, as soon as it has its size.
fn findNew() ?[]align(4096) const u8 {
    var path: [64]u8 = undefined;
    var link: [256]u8 = undefined;
    for (3..64) |fd| {
        const name = std.fmt.bufPrintZ(&path, "/proc/self/fd/{d}", .{fd}) catch unreachable;
        const length = linux.readlink(name.ptr, &link, link.len);
        if (linux.errno(length) != .SUCCESS or !std.mem.startsWith(u8, link[0..length], "/dev/shm/#")) continue;
        const file = s.system.info(@intCast(fd)) orelse continue;
        if (file.size_bytes == geometry.segment_bytes) return mapped(@intCast(fd)) catch null;
    }
    return null;
}
