//! What a member can say of its pool: how full it is, what is in it, why an allocation failed, and whether all is sound.
//! Nothing is changed. (For those who look without being members: look.zig.)

const layout = @import("layout.zig");
const lock = @import("lock.zig");
const recovery = @import("recovery.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const Holders = @import("view.zig").Holders;
const Cause = pool_file.Cause;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const BlockIndex = layout.BlockIndex;

pub const Stats = struct {
    backed_bytes: u64 = 0,
    metadata_bytes: u64 = 0,
    used_bytes: u64 = 0,
    largest_free_bytes: u64 = 0,
    claimed_bytes: u64 = 0,
    named_bytes: u64 = 0,
    held_by_self_bytes: u64 = 0,
    lent_bytes: u64 = 0,
    arrays: u32 = 0,
    channels: u32 = 0,
    /// Blocks of messages that are too large for their channel's cells.
    messages: u32 = 0,
    claims: u32 = 0,
    members: u32 = 0,
    free_runs: u32 = 0,
    recoveries: u32 = 0,
};

pub fn stats(pool: *Pool) Error!Stats {
    const view = &pool.view;
    var result: Stats = .{};
    for (view.members) |*member| {
        if (member.word.get().state == .joined) result.members += 1;
    }
    try pool.acquire();
    defer pool.unlock();
    // With the lock, or what others take meanwhile would be used and not there.
    const file = system.info(pool.self.fd) orelse return error.System;
    result.metadata_bytes = view.geometry.metadataBytes(view.blocksBacked(), view.pinsBacked(), view.waitersBacked(), view.namesBacked());
    result.backed_bytes = file.backed_bytes -| result.metadata_bytes;
    result.claims = view.header.claims.get();
    result.recoveries = view.header.recoveries.get();
    var run_bytes: u64 = 0;
    // Neighbouring free blocks count as one run: an allocation that needs them joined joins them.
    var index: BlockIndex = .of(0);
    for (0..view.geometry.blocks_max) |_| {
        const block = try view.block(index);
        const word = block.word.get();
        if (word.state == .end) break;
        const bytes = (try view.extent(block)).bytes();
        // What members have cached is anybody's who runs short.
        if (word.state == .free or word.state == .cached) {
            if (run_bytes == 0) result.free_runs += 1;
            run_bytes += bytes;
            result.largest_free_bytes = @max(result.largest_free_bytes, run_bytes);
        } else run_bytes = 0;
        if (word.state == .used) {
            switch (block.content.get().kind) {
                layout.Kind.channel => result.channels += 1,
                layout.Kind.message => result.messages += 1,
                layout.Kind.trace => {},
                else => result.arrays += 1,
            }
            result.used_bytes += bytes;
            const holders: Holders = .of(block);
            if (holders.isEmpty()) {
                if (block.names.get() > 0) result.named_bytes += bytes else result.claimed_bytes += bytes;
            }
            if (holders.has(pool.self.slot)) {
                const hold = &pool.view.holds[index.int()];
                if (hold.lent and hold.holds == 0) result.lent_bytes += bytes else result.held_by_self_bytes += bytes;
            }
        }
        index = block.next.get();
    }
    return result;
}

/// Describes blocks in use from entry `from` on. record[0]: the entry to go on from, -1 at the end.
pub fn list(pool: *Pool, comptime Info: type, from: u32, into: []Info) Error!usize {
    const view = &pool.view;
    try pool.acquire();
    defer pool.unlock();
    const now_ms = system.monotonicMs();
    var count: usize = 0;
    var number = from;
    const used = view.blocksUsed();
    while (number < used and count < into.len) : (number += 1) {
        if (try view.describe(Info, number, now_ms, &into[count])) count += 1;
    }
    pool.record[0] = if (number < used) @floatFromInt(number) else -1;
    return count;
}

pub const Shortage = struct {
    cause: Cause = .none,
    asked_bytes: u64 = 0,
    largest_free_bytes: u64 = 0,
    device_free_bytes: u64 = 0,
    claimed_bytes: u64 = 0,
    oldest_claim_ms: u64 = 0,
    held_bytes: u64 = 0,
    held_by_self_bytes: u64 = 0,
    named_bytes: u64 = 0,
};

pub fn shortage(pool: *Pool, asked_bytes: u64) Shortage {
    var result: Shortage = .{ .cause = pool.cause, .asked_bytes = asked_bytes };
    if (system.deviceSpace()) |space| result.device_free_bytes = space.free_bytes;
    const now = stats(pool) catch return result;
    result.largest_free_bytes = now.largest_free_bytes;
    result.claimed_bytes = now.claimed_bytes;
    result.named_bytes = now.named_bytes;
    result.held_bytes = now.used_bytes -| now.claimed_bytes -| now.named_bytes;
    result.held_by_self_bytes = now.held_by_self_bytes;
    const now_ms = system.monotonicMs();
    for (0..pool.view.pinsUsed()) |i| {
        const pin = &pool.view.pins[i];
        if (pin.word.get().kind != .claim) continue;
        result.oldest_claim_ms = @max(result.oldest_claim_ms, pin.of.made.get().ageMs(now_ms));
    }
    return result;
}

/// The first broken invariant of the whole segment, or null.
pub fn check(pool: *Pool) lock.Error!?recovery.Broken {
    pool.acquire() catch |err| switch (err) {
        error.Busy => return error.Busy,
        error.Corrupt => return recovery.firstBroken(&pool.view) orelse .{ .what = .@"a recovery has found the chain broken, or this member was taken for dead" },
    };
    defer pool.unlock();
    return recovery.firstBroken(&pool.view);
}
