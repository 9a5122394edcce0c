//! The root of the library: all of it is built small, but for what is called most, which stands here in place (those are
//! inline in exports.zig, down to where they need the lock) and is built fast. In the whole the difference is a quarter of the size.

const exports = @import("exports");

pub const panic = exports.panic;

comptime {
    _ = exports; // with exports of its own
}

export fn ap_block_alloc(pool: *exports.Pool, length_bytes: f64, dtype: u32, how: u32) i32 {
    return exports.ap_block_alloc(pool, length_bytes, dtype, how);
}

export fn ap_block_release(pool: *exports.Pool, block: u32, shown: u32) i32 {
    return exports.ap_block_release(pool, block, shown);
}

export fn ap_word_notify(pool: *exports.Pool, block: u32, offset: f64, count: u32) i32 {
    return exports.ap_word_notify(pool, block, offset, count);
}

export fn ap_channel_send(pool: *exports.Pool, block: u32, image: [*]const u8, text_bytes: u32, arrays: u32, timeout_ms: u32) i32 {
    return exports.ap_channel_send(pool, block, image, text_bytes, arrays, timeout_ms);
}

export fn ap_channel_receive(pool: *exports.Pool, block: u32, into: [*]u8, into_bytes: u32, how: u32, timeout_ms: u32) i32 {
    return exports.ap_channel_receive(pool, block, into, into_bytes, how, timeout_ms);
}
