//! The C interface of looking from outside: the root of a library of its own, since only the command line needs it, and the other
//! one is in every program. All its functions are ap_look_*; what it shares of the code is in it a second time.

const std = @import("std");
const layout = @import("layout.zig");
const segment = @import("segment.zig");
const system = @import("platform.zig").system;
const queue = @import("queue.zig");
const names = @import("names.zig");
const interface = @import("interface.zig");
const Look = @import("look.zig").Look;
const View = @import("view.zig").View;
const Code = interface.Code;
const codeOf = interface.codeOf;
const reportFailure = interface.reportFailure;
const spanOf = interface.spanOf;
const tell = interface.tell;
const wholeNumber = interface.wholeNumber;
const describeBroken = interface.describeBroken;
const BlockInfo = interface.BlockInfo;
pub const panic = interface.panic;

pub export fn ap_look_abi_version() u32 {
    return interface.abi_version;
}

pub export fn ap_look_pools(into: [*][32]u8, max: u32) i32 {
    var listed = system.Names.open() orelse return 0;
    defer listed.close();
    var count: u32 = 0;
    var buffer: [64]u8 = undefined;
    while (listed.next(&buffer)) |name| {
        if (!segment.nameIsValid(name)) continue;
        const file = system.infoOf(name) orelse continue;
        if (!file.owned) continue;
        if (count < max) {
            into[count] = @splat(0);
            @memcpy(into[count][0..name.len], name);
        }
        count += 1;
    }
    return @intCast(count);
}

pub export fn ap_look_remove(name: ?[*:0]const u8, force: u32, report: ?*[8]f64) i32 {
    var why: segment.Report = .{};
    const given = spanOf(name orelse return @intFromEnum(Code.argument));
    if (!segment.nameIsValid(given)) return @intFromEnum(Code.argument);
    const removed = segment.remove(given, force != 0, &why) catch |err| {
        reportFailure(err, &why, report);
        return @intFromEnum(codeOf(err));
    };
    return @intFromEnum(removed);
}

pub export fn ap_look_open(name: ?[*:0]const u8, report: ?*[8]f64) ?*Look {
    var why: segment.Report = .{};
    const look = Look.open(spanOf(name orelse ""), &why) catch |err| {
        reportFailure(err, &why, report);
        return null;
    };
    if (report) |r| r.* = @splat(0);
    return look;
}

pub export fn ap_look_close(look: *Look) void {
    look.close();
}

pub export fn ap_look_take(look: *Look, tries: u32, facts: *[40]f64) i32 {
    look.take(tries);
    const of = &look.facts;
    const header = look.view.header;
    const known = of.state == .pool;
    const now = look.sums();
    facts.* = @splat(0);
    tell(facts[0..16], &.{
        @intFromEnum(of.state),
        of.version,
        of.file_bytes,
        of.taken_bytes,
        of.metadata_bytes,
        @intFromBool(of.has_name),
        @intFromBool(of.is_live),
        of.waits_ms,
        @intFromBool(of.is_still),
        of.moving,
        @intFromEnum(of.lock),
        of.lock_slot,
        of.lock_pid,
        system.wallMs(),
        // The same place in every layout version.
        if (of.state == .damaged) 0 else header.capacity_bytes.get(),
        if (of.state == .damaged) 0 else header.created_at_ms.get(),
    });
    if (!known) return 0;
    tell(facts[16..36], &.{
        header.claim_ttl_ms.get(),
        @intFromBool(header.corrupt.get() != 0),
        header.recoveries.get(),
        now.used_bytes,
        now.arrays,
        now.claimed_bytes,
        now.claims,
        now.free_backed_bytes,
        now.reserved_bytes,
        now.largest_free_bytes,
        now.free_runs,
        now.members,
        now.dead,
        now.blocks_made,
        now.claims_made,
        look.view.blocks_known,
        now.reach_bytes,
        header.creator_pid.get(),
        header.creator_runtime.get(),
        now.blocks,
    });
    return 0;
}

pub export fn ap_look_blocks(look: *Look, from: u32, blocks: [*]BlockInfo, max: u32, next: *f64) i32 {
    var following: ?u32 = null;
    const count = look.list(BlockInfo, from, blocks[0..max], &following);
    next.* = if (following) |number| @floatFromInt(number) else -1;
    return @intCast(count);
}

pub const LookMember = extern struct {
    slot: u32,
    pid: u32,
    tid: u32,
    runtime: u32,
    joined_at_ms: f64,
    bytes: f64,
    arrays: u32,
    condition: u32,
    here: u32,
    running: u32,
    buffers: u32,
    attaches: u32,
    lock_waits: u32,
    _pad: u32,
};

pub export fn ap_look_members(look: *Look, infos: [*]LookMember, max: u32) i32 {
    if (look.facts.state != .pool) return 0;
    var held: [layout.members_max]Look.Held = undefined;
    look.held(&held);
    var count: u32 = 0;
    for (look.view.members, 0..) |*member, i| {
        const slot: u8 = @intCast(i);
        const condition = look.conditionOf(slot) orelse continue;
        if (count == max) break;
        const here = look.isHere(slot);
        infos[count] = .{
            .slot = slot,
            .pid = member.pid.get(),
            .tid = member.tid.get(),
            .runtime = member.runtime.get(),
            .joined_at_ms = @floatFromInt(member.joined_at_ms.get()),
            .bytes = @floatFromInt(held[slot].bytes),
            .arrays = held[slot].arrays,
            .condition = @intFromEnum(condition),
            .here = @intFromBool(here),
            .running = if (here and condition != .dead) system.threadState(member.pid.get(), member.tid.get()) else 0,
            .buffers = member.buffers_shown.get() -% member.buffers_gone.get(),
            .attaches = member.attaches.get(),
            .lock_waits = look.view.activity.lock_waits[slot].get(),
            ._pad = 0,
        };
        count += 1;
    }
    return @intCast(count);
}

pub export fn ap_look_read(look: *Look, block: u32, generation: f64, offset: f64, into: [*]u8, bytes: u32) i32 {
    const wanted = wholeNumber(generation) catch |err| return @intFromEnum(codeOf(err));
    const from = wholeNumber(offset) catch |err| return @intFromEnum(codeOf(err));
    const read = look.readBlock(block, wanted, from, into[0..bytes]) orelse return @intFromEnum(Code.stale);
    return @intCast(read);
}

pub export fn ap_look_command(look: *Look, slot: u32, text: [*]u8, bytes: u32) i32 {
    if (slot >= layout.members_max or !look.isHere(@intCast(slot))) return 0;
    if (look.conditionOf(@intCast(slot)) orelse .dead == .dead) return 0;
    return @intCast(system.commandLine(look.view.members[slot].pid.get(), text[0..bytes]));
}

pub const LookClaim = extern struct {
    block: u32,
    attaches: u32,
    generation: f64,
    left_ms: f64,
};

pub export fn ap_look_claims(look: *Look, from: u32, claims: [*]LookClaim, max: u32, next: *f64) i32 {
    const now_ms: f64 = @floatFromInt(system.monotonicMs());
    var count: u32 = 0;
    var number = from;
    while (number < look.view.pins_known and count < max) : (number += 1) {
        const pin = &look.view.pins[number];
        const word = pin.word.get();
        if (word.kind != .claim) continue;
        claims[count] = .{
            .block = pin.block.get().int(),
            .attaches = word.attaches,
            .generation = @floatFromInt(pin.generation.get()),
            .left_ms = @as(f64, @floatFromInt(pin.deadline_ms.get())) - now_ms,
        };
        count += 1;
    }
    next.* = if (number < look.view.pins_known) @floatFromInt(number) else -1;
    return @intCast(count);
}

pub const LookName = extern struct {
    block: u32,
    /// Or `no_shape`: it is just the length.
    axes: u32,
    generation: f64,
    offset: f64,
    length_bytes: f64,
    key_bytes: u32,
    maker_pid: u32,
    shape: [layout.axes_max]f64,
    key: [layout.key_bytes_max]u8,

    pub const no_shape = std.math.maxInt(u32);
};

pub export fn ap_look_names(look: *Look, from: u32, infos: [*]LookName, max: u32, next: *f64) i32 {
    var count: u32 = 0;
    var number = from;
    const used = look.namesUsed();
    while (number < used and count < max) : (number += 1) {
        if (describeName(&look.view, &look.view.names[number], &infos[count])) count += 1;
    }
    next.* = if (number < used) @floatFromInt(number) else -1;
    return @intCast(count);
}

/// False for a record that names nothing, or is damaged.
fn describeName(view: *const View, name: *const layout.Name, info: *LookName) bool {
    const state = name.word.get().state;
    if (state != .set and state != .making) return false;
    info.* = std.mem.zeroes(LookName);
    info.key_bytes = names.keyOf(name, &info.key) catch return false;
    info.axes = LookName.no_shape;
    if (state == .making) {
        info.maker_pid = view.members[name.maker.get().slot].pid.get();
        return true;
    }
    const value = names.valueOf(view, name) catch return false;
    info.block = value.block.int();
    info.generation = @floatFromInt(value.generation);
    info.offset = @floatFromInt(value.offset);
    info.length_bytes = @floatFromInt(value.length_bytes);
    if (value.shape.read(&info.shape) catch return false) |axes| info.axes = axes;
    return true;
}

pub const LookChannel = extern struct {
    block: u32,
    capacity: u32,
    generation: f64,
    depth: f64,
    messages: f64,
    closed: u32,
    unacknowledged: u32,
};

pub export fn ap_look_channels(look: *Look, from: u32, infos: [*]LookChannel, max: u32, next: *f64) i32 {
    var count: u32 = 0;
    var number = from;
    const used = look.blocksUsed();
    while (number < used and count < max) : (number += 1) {
        const block = &look.view.blocks[number];
        if (block.word.get().state != .used) continue;
        const found = queue.queueIn(&look.view, block) catch null orelse continue;
        const header = found.header;
        const returned = header.returned.get();
        infos[count] = .{
            .block = number,
            .capacity = found.shape.capacity,
            .generation = @floatFromInt(block.word.get().generation),
            .depth = @floatFromInt(@min(header.tail.get() -% header.head.get(), found.shape.slots) +| returned),
            .messages = @floatFromInt(header.tail.get()),
            .closed = @intFromBool(header.closed.get() != 0),
            .unacknowledged = header.unacknowledged.get() -| returned,
        };
        count += 1;
    }
    next.* = if (number < used) @floatFromInt(number) else -1;
    return @intCast(count);
}

pub export fn ap_look_picture(look: *Look, first_bytes: f64, cells: [*][3]f64, count: u32) i32 {
    look.picture(wholeNumber(first_bytes) catch return @intFromEnum(Code.argument), cells[0..count]);
    return 0;
}

pub export fn ap_look_check(look: *Look, tries: u32, text: ?*[256]u8) i32 {
    return switch (look.check(tries)) {
        .sound => 0,
        .repairable => 1,
        .unsure => @intFromEnum(Code.busy),
        .broken => |broken| blk: {
            if (text) |into| describeBroken(broken, into);
            break :blk @intFromEnum(Code.corrupt);
        },
    };
}

comptime {
    layout.assert(@sizeOf(LookMember) == 64);
    layout.assert(@sizeOf(LookClaim) == 24);
    layout.assert(@sizeOf(LookName) == 680);
    layout.assert(@sizeOf(LookChannel) == 40);
}
