//! arraypool.h and the library say the same: every function by its parameters, every constant by its value.

const std = @import("std");
const exports = @import("../exports.zig");
const look_exports = @import("../look_exports.zig");
const layout = @import("../layout.zig");
const pool_file = @import("../pool.zig");
const channel = @import("../channel.zig");
const queue = @import("../queue.zig");
const c = @import("arraypool_h");
const expectEqual = std.testing.expectEqual;

test "each function of the header is exported with as many parameters of the same size" {
    @setEvalBranchQuota(100_000);
    const functions = comptime blk: {
        @setEvalBranchQuota(100_000);
        var names: []const []const u8 = &.{};
        for (@typeInfo(c).@"struct".decls) |decl| {
            if (std.mem.startsWith(u8, decl.name, "ap_") and @typeInfo(@TypeOf(@field(c, decl.name))) == .@"fn")
                names = names ++ .{decl.name};
        }
        break :blk names;
    };
    comptime std.debug.assert(functions.len >= 20);
    inline for (functions) |name| {
        const in_header = @typeInfo(@TypeOf(@field(c, name))).@"fn";
        const in_library = @typeInfo(@TypeOf(@field(comptime libraryOf(name), name))).@"fn";
        try expectEqual(in_header.params.len, in_library.params.len);
        inline for (in_header.params, in_library.params) |theirs, ours| {
            try expectEqual(@sizeOf(theirs.type.?), @sizeOf(ours.type.?));
            try expectEqual(@typeInfo(theirs.type.?) == .float, @typeInfo(ours.type.?) == .float);
        }
        try expectEqual(@sizeOf(in_header.return_type.?), @sizeOf(in_library.return_type.?));
    }
}

/// Which one has it, stands in the header.
fn libraryOf(comptime name: []const u8) type {
    return if (std.mem.startsWith(u8, name, "ap_look_")) look_exports else exports;
}

test "structs and constants of the header have the library's sizes and values" {
    try expectEqual(@sizeOf(exports.BlockInfo), @sizeOf(c.ap_block_info));
    try expectEqual(@sizeOf(exports.MemberInfo), @sizeOf(c.ap_member_info));
    try expectEqual(@sizeOf(exports.NameInfo), @sizeOf(c.ap_name_info));
    try expectEqual(@sizeOf(exports.NameValue), @sizeOf(c.ap_name_value));
    try expectEqual(@offsetOf(exports.NameInfo, "key"), @offsetOf(c.ap_name_info, "key"));
    try expectEqual(@offsetOf(exports.NameValue, "shape"), @offsetOf(c.ap_name_value, "shape"));
    try expectEqual(layout.first_bytes, c.AP_FIRST_BYTES);
    try expectEqual(layout.key_bytes_max, c.AP_KEY_BYTES_MAX);
    try expectEqual(layout.room_bytes_max, c.AP_TAIL_BYTES_MAX);
    try expectEqual(pool_file.Pool.tail_at, c.AP_RECORD_TAIL);
    try expectEqual(pool_file.Pool.unmade_at, c.AP_RECORD_UNMADE);
    try expectEqual(layout.axes_max, c.AP_AXES_MAX);
    try expectEqual(exports.NameValue.no_shape, c.AP_NO_SHAPE);
    try expectEqual(look_exports.LookName.no_shape, c.AP_NO_SHAPE);
    inline for (@typeInfo(pool_file.Pool.Once).@"enum".fields) |field| {
        try expectEqual(@field(c, "AP_ONCE_" ++ blk: {
            var text: [field.name.len]u8 = undefined;
            _ = std.ascii.upperString(&text, field.name);
            const made = text;
            break :blk &made;
        }), field.value);
    }
    try expectEqual(@sizeOf(look_exports.LookMember), @sizeOf(c.ap_look_member));
    try expectEqual(@offsetOf(look_exports.LookMember, "arrays"), @offsetOf(c.ap_look_member, "arrays"));
    try expectEqual(@sizeOf(look_exports.LookChannel), @sizeOf(c.ap_look_channel));
    try expectEqual(@sizeOf(look_exports.LookName), @sizeOf(c.ap_look_name));
    try expectEqual(@sizeOf(look_exports.LookClaim), @sizeOf(c.ap_look_claim));
    try expectEqual(40, c.AP_LOOK_LENGTH);
    try expectEqual(@offsetOf(exports.BlockInfo, "holders"), @offsetOf(c.ap_block_info, "holders"));
    try expectEqual(@offsetOf(exports.BlockInfo, "age_ms"), @offsetOf(c.ap_block_info, "age_ms"));
    try expectEqual(@offsetOf(exports.MemberInfo, "joined_at_ms"), @offsetOf(c.ap_member_info, "joined_at_ms"));
    try expectEqual(exports.abi_version, c.AP_ABI_VERSION);
    try expectEqual(layout.members_max, c.AP_MEMBERS_MAX);
    try expectEqual(layout.granule_bytes, c.AP_GRANULE_BYTES);
    try expectEqual(layout.buckets_max, c.AP_BUCKETS);
    try expectEqual(layout.buckets_max, 1 << c.AP_BUCKET_BITS);
    try expectEqual(layout.bucket_factor, c.AP_BUCKET_FACTOR);
    try expectEqual(c.AP_BUCKET_BYTES, @sizeOf(layout.Bucket));
    try expectEqual(0, @offsetOf(layout.Bucket, "waiters"));
    try expectEqual(layout.name_bytes_max, c.AP_NAME_BYTES_MAX);
    try expectEqual(@sizeOf(pool_file.Buffers), c.AP_GONE_STRIDE);
    try expectEqual(32, c.AP_RECORD_LENGTH);
    try expectEqual(8, c.AP_REPORT_LENGTH);
    try expectEqual(std.math.maxInt(u24), c.AP_CLAIM_ATTACHES_MAX);
    try expectEqual(@sizeOf(queue.Record), @sizeOf(c.ap_sent_array));
    try expectEqual(@sizeOf(channel.Attached), @sizeOf(c.ap_received_array));
    try expectEqual(@offsetOf(channel.Attached, "kind"), @offsetOf(c.ap_received_array, "kind"));
    try expectEqual(queue.capacity_max, c.AP_CHANNEL_CAPACITY_MAX);
    try expectEqual(queue.arrays_max, c.AP_CHANNEL_ARRAYS_MAX);
    try expectEqual(channel.slice_ms_max, c.AP_CHANNEL_SLICE_MS);
    try expectEqual(layout.Kind.channel, c.AP_KIND_CHANNEL);
    try expectEqual(layout.Kind.message, c.AP_KIND_MESSAGE);
}

test "each error code of the library stands in the header" {
    const names = [_][]const u8{ "STALE", "FULL", "BUSY", "MEMBERS", "CORRUPT", "NOT_FOUND", "EXISTS", "PERMISSION", "VERSION", "ARGUMENT", "TOO_LARGE", "NOT_HELD", "SYSTEM", "ADDRESS_SPACE", "NONCE", "WAIT", "CLOSED", "MORE" };
    inline for (names) |name| {
        var lower: [name.len]u8 = undefined;
        const field = std.ascii.lowerString(&lower, name);
        const code = std.meta.stringToEnum(exports.Code, field) orelse return error.NoSuchCode;
        try expectEqual(@field(c, "AP_ERR_" ++ name), @intFromEnum(code));
    }
    try expectEqual(names.len, @typeInfo(exports.Code).@"enum".fields.len);
}
