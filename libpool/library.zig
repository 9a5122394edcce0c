//! The root of the library: all of it is built small, but for what is called for each array of a native host and for each message
//! of a channel, which stands here in place (it is inline in exports.zig, down to where it is rare) and is built fast: built small, a
//! message's copies of a few bytes are slow.

const exports = @import("exports");

pub const panic = exports.panic;

comptime {
    _ = exports; // with exports of its own
}

pub export fn ap_block_alloc(pool: *exports.Pool, length_bytes: f64, dtype: u32, how: u32) i32 {
    return exports.ap_block_alloc(pool, length_bytes, dtype, how);
}

pub export fn ap_block_release(pool: *exports.Pool, block: u32, shown: u32) i32 {
    return exports.ap_block_release(pool, block, shown);
}

pub export fn ap_channel_send(pool: *exports.Pool, block: u32, image: [*]const u8, text_bytes: u32, arrays: u32, timeout_ms: u32) i32 {
    return exports.ap_channel_send(pool, block, image, text_bytes, arrays, timeout_ms);
}

pub export fn ap_channel_receive(pool: *exports.Pool, block: u32, into: [*]u8, into_bytes: u32, how: u32, timeout_ms: u32) i32 {
    return exports.ap_channel_receive(pool, block, into, into_bytes, how, timeout_ms);
}
