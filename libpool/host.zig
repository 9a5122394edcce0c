//! Functions of the host (Node-API, libuv, V8, threads), which are looked up by name when it takes the library for its module. As weak
//! symbols they would be there without that, but each would take an entry in four tables of the file, 60 bytes.

const std = @import("std");
const system = @import("platform.zig").system;

/// Null where the host has none of that name.
pub fn function(name: [*:0]const u8, comptime Function: type) ?*const Function {
    return @ptrCast(@alignCast(system.symbol(name)));
}

/// Looks up all that a table has, whose fields have the functions' names after `prefix`. False if the host lacks one.
pub fn find(table: anytype, comptime prefix: []const u8) bool {
    const names = comptime blk: {
        var all: []const []const u8 = &.{};
        for (@typeInfo(@TypeOf(table.*)).@"struct".fields) |field| all = all ++ .{prefix ++ field.name};
        break :blk all;
    };
    return findNamed(table, names);
}

/// The same with the functions' names in full, in the order of the fields.
pub fn findNamed(table: anytype, comptime names: []const []const u8) bool {
    const joined = comptime blk: {
        var all: []const u8 = "";
        for (names) |name| all = all ++ name ++ "\x00";
        const final = all[0..all.len].*;
        break :blk final;
    };
    comptime std.debug.assert(@sizeOf(@TypeOf(table.*)) == names.len * @sizeOf(usize));
    return findAll(@ptrCast(table), &joined);
}

/// Each name ends with a nul. Several threads may find the same at the same time.
noinline fn findAll(table: [*]?*const anyopaque, names: []const u8) bool {
    var place = table;
    var start: usize = 0;
    for (names, 0..) |c, i| {
        if (c != 0) continue;
        const there = system.symbol(@ptrCast(names[start..])) orelse return false;
        @atomicStore(?*const anyopaque, &place[0], there, .monotonic);
        place += 1;
        start = i + 1;
    }
    return true;
}
