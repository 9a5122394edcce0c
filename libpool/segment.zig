//! The segment as an object with a name: how it comes into being, who may open it, and who removes it.
//!
//!     create   without a name: sized, initialised, its first slot locked; then linked, so nobody ever sees a half
//!     open     owner, mode and header are checked by reading, before anything is mapped
//!     join     gate shared ── handover ── slot locked ── still has its name? ── gate left
//!     remove   gate exclusive ── still has its name? ── no slot taken? ── no claim waits? ── unlink

const std = @import("std");
const layout = @import("layout.zig");
const locked_bytes = @import("locked_bytes.zig");
const platform = @import("platform.zig");
const system = platform.system;
const Fd = platform.Fd;

pub const Error = error{
    NotFound,
    Exists,
    Permission,
    Corrupt,
    Version,
    Nonce,
    Full,
    Members,
    Busy,
    AddressSpace,
    Argument,
    System,
};

/// Why something failed, for the caller's report.
pub const Report = struct {
    failure: system.Failure = .{},
    detail: u64 = 0,
    pid: u32 = 0,
    /// With error.Full: it was not memory that was missing.
    files_are_full: bool = false,
};

/// A descriptor of a segment whose slot byte it owns, before it is mapped.
pub const Entered = struct {
    fd: Fd,
    slot: u8,
    geometry: layout.Geometry,
    nonce: u64,
    claim_ttl_ms: u64,
};

/// Arrays and claims that a new segment has memory for; more of the tables is backed as they grow.
pub const blocks_backed_first = layout.blocks_first_bytes / @sizeOf(layout.Block);
/// A page of them: few programs have more at a time.
pub const pins_backed_first = layout.pins_first_bytes / @sizeOf(layout.Pin);

pub fn nameIsValid(name: []const u8) bool {
    if (name.len < 1 or name.len > layout.name_bytes_max) return false;
    if (!std.ascii.isAlphanumeric(name[0])) return false;
    for (name) |c| if (!std.ascii.isAlphanumeric(c) and c != '.' and c != '_' and c != '-') return false;
    return true;
}

/// A segment that has no name yet, all but its first member initialised, its slot 0 taken.
pub fn create(capacity_bytes: u64, claim_ttl_ms: u64, runtime: u32, report: *Report) Error!Entered {
    return createIn(capacity_bytes, claim_ttl_ms, runtime, report) catch |err| {
        // Once more, without what the attempt itself took.
        if (err == error.Full) noteSpace(report);
        return err;
    };
}

fn createIn(capacity_bytes: u64, claim_ttl_ms: u64, runtime: u32, report: *Report) Error!Entered {
    const geometry = layout.Geometry.of(capacity_bytes) orelse return error.Argument;
    const fd = system.createUnnamed(&report.failure) catch |err| return translated(err, report);
    errdefer system.close(fd);
    system.setSize(fd, geometry.segment_bytes, &report.failure) catch |err| return translated(err, report);
    backFirst(fd, geometry, report) catch |err| return translated(err, report);
    if (!locked_bytes.takeSlot(fd, 0)) return error.System;

    // Through a mapping of its own, since the header's fields are the compiler's to place.
    const map_bytes = layout.blocks_start + layout.section_bytes; // of pages of any size
    const base = system.map(fd, 0, map_bytes, &report.failure) catch |err| return translated(err, report);
    defer system.unmap(base, map_bytes);
    const header: *layout.Header = @ptrCast(base);
    var nonce: u64 = 0;
    system.random(std.mem.asBytes(&nonce), &report.failure) catch |err| return translated(err, report);
    header.version.set(layout.version);
    header.member_bytes.set(@sizeOf(layout.Member));
    header.nonce.set(nonce);
    header.capacity_bytes.set(geometry.capacity_bytes);
    header.segment_bytes.set(geometry.segment_bytes);
    header.claim_ttl_ms.set(claim_ttl_ms);
    header.created_at_ms.set(system.wallMs());
    header.creator_pid.set(system.Thread.current().pid);
    header.creator_runtime.set(runtime);
    header.blocks_max.set(geometry.blocks_max);
    header.pins_max.set(geometry.pins_max);
    header.touching.set(.{});
    header.blocks_used.set(2);
    header.blocks_backed.set(blocks_backed_first);
    header.pins_backed.set(pins_backed_first);
    header.unused_blocks.set(.none);
    header.unused_pins.set(.none);

    const view = @import("view.zig").View.of(&geometry, base, fd, .{});
    view.blocks[0].next.set(.of(1));
    view.blocks[0].prev.set(.none);
    view.blocks[0].word.set(.{ .state = .free, .zero = true });
    view.blocks[1].next.set(.none);
    view.blocks[1].prev.set(.of(0));
    view.blocks[1].start.set(geometry.heap_granules);
    view.blocks[1].word.set(.{ .state = .end });
    const free_lists = @import("free_lists.zig");
    free_lists.clear(&view);
    free_lists.insert(&view, .of(0)) catch return error.Corrupt;
    header.magic.commit(layout.magic);
    return .{ .fd = fd, .slot = 0, .geometry = geometry, .nonce = nonce, .claim_ttl_ms = claim_ttl_ms };
}

/// What every segment has memory for.
fn backFirst(fd: Fd, geometry: layout.Geometry, report: *Report) platform.Error!void {
    try system.back(fd, 0, layout.blocks_start + layout.blocks_first_bytes, &report.failure);
    try system.back(fd, geometry.pins_start, layout.pins_first_bytes, &report.failure);
}

/// Opens a pool's segment, proves that it is one, and takes a slot of it. The segment cannot vanish from then on. Not found is
/// also one in which nobody lives and no claim waits: it is swept.
pub fn enter(name: []const u8, nonce: ?u64, report: *Report) Error!Entered {
    const fd = system.open(name, &report.failure) catch |err| return translated(err, report);
    errdefer system.close(fd);
    // What a killed family has left is nobody's, whatever its layout: with it one would get names and arrays of programs that
    // ended long ago, or not, depending on whether somebody has made another pool since.
    var header: layout.Header = undefined;
    const readable = readHeader(fd, &header, report);
    if (readable) |_| {} else |err| if (err != error.Version) return err;
    if (removeIfUnused(fd, name)) return error.NotFound;
    try readable;
    // Somebody may be about to unlink it: that takes no time, or fails.
    for (0..2000) |_| {
        if (locked_bytes.enterGate(fd)) break;
        system.sleep(1);
    } else return error.Busy;
    // Who left meanwhile may have found us at the gate, and given up.
    errdefer _ = removeIfUnused(fd, name);
    defer locked_bytes.leaveGate(fd);
    if (nonce) |expected| if (header.nonce.get() != expected) return error.Nonce;
    const geometry = layout.Geometry.of(header.capacity_bytes.get()).?;
    // Its maker has done that; a file that only looks like it may have holes, and a hole can be a SIGBUS.
    backFirst(fd, geometry, report) catch |err| return translated(err, report);
    const slot: u8 = for (0..layout.members_max) |slot| {
        if (takeSlot(fd, @intCast(slot))) break @intCast(slot);
    } else return error.Members;
    if (!system.hasName(fd, name)) return error.NotFound;
    return .{ .fd = fd, .slot = slot, .geometry = geometry, .nonce = header.nonce.get(), .claim_ttl_ms = header.claim_ttl_ms.get() };
}

/// A look at a pool's segment from outside: its descriptor, which is the caller's to close, and its geometry.
pub fn visit(name: []const u8, report: *Report) Error!struct { fd: Fd, geometry: layout.Geometry } {
    const fd = system.open(name, &report.failure) catch |err| return translated(err, report);
    errdefer system.close(fd);
    var header: layout.Header = undefined;
    try readHeader(fd, &header, report);
    return .{ .fd = fd, .geometry = layout.Geometry.of(header.capacity_bytes.get()).? };
}

/// From here until the slot's word says who took it (members.beginJoin), no sibling of a predecessor closes what that one
/// left open: it could be our descriptor, which may have got its number.
fn takeSlot(fd: Fd, slot: u8) bool {
    if (locked_bytes.slotTaken(fd, slot) or !locked_bytes.enterHandover(fd, slot)) return false;
    if (locked_bytes.takeSlot(fd, slot)) return true;
    locked_bytes.leaveHandover(fd, slot);
    return false;
}

/// By reading, so that a hole stays a hole: our own, private, of a size that fits what it says of itself.
noinline fn readHeader(fd: Fd, header: *layout.Header, report: *Report) Error!void {
    const file = system.info(fd) orelse return error.System;
    if (!file.regular or !file.owned or file.mode != 0o600) return error.Permission;
    if (file.size_bytes < @sizeOf(layout.Header)) return error.Corrupt;
    if (!system.read(fd, std.mem.asBytes(header))) return error.Corrupt;
    if (header.magic.get() != layout.magic) return error.Corrupt;
    if (header.version.get() != layout.version) {
        report.detail = header.version.get();
        return error.Version;
    }
    const geometry = geometryOf(header) orelse return error.Corrupt;
    if (file.size_bytes != geometry.segment_bytes) return error.Corrupt;
}

/// What follows from the capacity that a header says; null if the rest of it says something else.
pub noinline fn geometryOf(header: *const layout.Header) ?layout.Geometry {
    const geometry = layout.Geometry.of(header.capacity_bytes.get()) orelse return null;
    const fits = header.member_bytes.get() == @sizeOf(layout.Member) and
        header.segment_bytes.get() == geometry.segment_bytes and
        header.blocks_max.get() == geometry.blocks_max and header.pins_max.get() == geometry.pins_max and
        header.capacity_bytes.get() == geometry.capacity_bytes and header.claim_ttl_ms.get() >= 1;
    return if (fits) geometry else null;
}

/// Somebody who joins, or looks whether he may unlink, is at the gate for a moment only, and may go away without doing either:
/// then it is for us to unlink. If he takes longer, he sees that nobody is left: whoever leaves drops his slot before he tries
/// the gate, and whoever was at the gate looks at the slots after that.
const gate_tries = 100;

/// Unlinks the segment unless somebody is in it, somebody joins, or a claim waits. The caller's own slot must be dropped.
pub noinline fn removeIfUnused(fd: Fd, name: []const u8) bool {
    for (0..gate_tries) |_| {
        if (locked_bytes.anySlotTaken(fd)) return false; // the usual case, without the gate
        if (!locked_bytes.closeGate(fd)) {
            system.sleep(1);
            continue;
        }
        defer locked_bytes.leaveGate(fd);
        if (locked_bytes.anySlotTaken(fd)) continue;
        if (!system.hasName(fd, name)) return false;
        var header: layout.Header = undefined;
        if (system.read(fd, std.mem.asBytes(&header)) and header.claims_until_ms.get() > system.monotonicMs()) return false;
        system.unlink(name);
        return true;
    }
    return false;
}

/// As removeIfUnused, for a process that ends: its own members, such as Workers that still run, do not count.
pub fn removeAtExit(name: []const u8) bool {
    var report: Report = .{};
    const fd = system.open(name, &report.failure) catch return false;
    defer system.close(fd);
    var start: [layout.free_lists_start]u8 align(@alignOf(layout.Header)) = undefined;
    const header: *layout.Header = @ptrCast(&start);
    readHeader(fd, header, &report) catch return false;
    return removeIfOnlyOurs(fd, name, &start) or removeIfUnused(fd, name);
}

fn removeIfOnlyOurs(fd: Fd, name: []const u8, start: *align(@alignOf(layout.Header)) [layout.free_lists_start]u8) bool {
    const header: *layout.Header = @ptrCast(start);
    for (0..gate_tries) |_| {
        if (locked_bytes.closeGate(fd)) {
            // Who is past the gate and has not said yet who he is: his record is that of the one who had the slot before.
            if (!locked_bytes.anyHandover(fd)) break;
            locked_bytes.leaveGate(fd);
        }
        system.sleep(1);
    } else return false;
    defer locked_bytes.leaveGate(fd);
    if (!system.hasName(fd, name) or !system.read(fd, start)) return false;
    const members: *const [layout.members_max]layout.Member = @ptrCast(@alignCast(start[layout.members_start..]));
    if (header.claims_until_ms.get() > system.monotonicMs()) return false;
    const self: system.Thread = .current();
    for (members, 0..) |*member, slot| {
        if (!locked_bytes.slotTaken(fd, @intCast(slot))) continue;
        const ours = member.word.get().state == .joined and member.pid.get() == self.pid and
            self.pid_namespace != 0 and member.pid_namespace.get() == self.pid_namespace;
        if (!ours) return false;
    }
    system.unlink(name);
    return true;
}

/// Removes every segment of this user that has neither a live member nor a live claim. Returns how many.
pub fn sweep() u32 {
    var removed: u32 = 0;
    var names = system.Names.open() orelse return 0;
    defer names.close();
    var buffer: [64]u8 = undefined;
    while (names.next(&buffer)) |name| {
        if (!nameIsValid(name)) continue;
        var report: Report = .{};
        const fd = system.open(name, &report.failure) catch continue;
        defer system.close(fd);
        const file = system.info(fd) orelse continue;
        if (!file.regular or !file.owned or file.mode != 0o600) continue;
        // Only what says that it is ours, of whatever version: the lock bytes are where they always were.
        var header: layout.Header = undefined;
        if (!system.read(fd, std.mem.asBytes(&header)) or header.magic.get() != layout.magic) continue;
        if (removeIfUnused(fd, name)) removed += 1;
    }
    return removed;
}

pub const Removed = enum(i32) { somebody_lives = 0, removed = 1, something_waits = 2 };

/// Removes a pool by name; with `force` though claims wait in it, and though members live in it: they keep the memory, and nobody
/// finds it any more. Without, nothing is done then; what the caller has seen there before may be over.
pub fn remove(name: []const u8, force: bool, report: *Report) Error!Removed {
    const fd = system.open(name, &report.failure) catch |err| return translated(err, report);
    defer system.close(fd);
    const file = system.info(fd) orelse return error.System;
    // Whatever is in it: a damaged one is to be got rid of, too.
    if (!file.regular or !file.owned or file.mode != 0o600) return error.Permission;
    for (0..gate_tries) |_| {
        if (locked_bytes.closeGate(fd)) break;
        system.sleep(1);
    } else if (!force) return .somebody_lives;
    defer locked_bytes.leaveGate(fd);
    if (!system.hasName(fd, name)) return error.NotFound;
    if (!force) {
        if (locked_bytes.anySlotTaken(fd)) return .somebody_lives;
        var header: layout.Header = undefined;
        const is_ours = system.read(fd, std.mem.asBytes(&header)) and header.magic.get() == layout.magic;
        if (is_ours and header.claims_until_ms.get() > system.monotonicMs()) return .something_waits;
    }
    system.unlink(name);
    return .removed;
}

pub fn translated(err: platform.Error, report: *Report) Error {
    return switch (err) {
        error.NotFound => error.NotFound,
        error.Exists => error.Exists,
        error.Permission => error.Permission,
        error.AddressSpace => error.AddressSpace,
        error.System => error.System,
        error.NoSpace => {
            noteSpace(report);
            return error.Full;
        },
    };
}

noinline fn noteSpace(report: *Report) void {
    const space = system.deviceSpace() orelse return;
    report.detail = space.free_bytes;
    report.files_are_full = space.files_are_full;
}
