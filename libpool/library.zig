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
