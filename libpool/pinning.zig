//! What holds a block without being a member: claims, and messages in the queue of a channel. (Names do, too: naming.zig.)
//!
//!     claim     share ── one store: the claim's record (pins.zig)
//!     message   share all it carries ── one store: the message ── count it at each block
//!
//! A block that the last of its pins leaves, and nobody holds, is freed; with a channel also what its messages held.

const std = @import("std");
const layout = @import("layout.zig");
const backing = @import("backing.zig");
const holding = @import("holding.zig");
const pins = @import("pins.zig");
const queue_file = @import("queue.zig");
const reaping = @import("reaping.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const Holders = @import("view.zig").Holders;
const Unreadable = @import("view.zig").Unreadable;
const Pool = pool_file.Pool;
const Error = pool_file.Error;
const BlockIndex = layout.BlockIndex;

// ---------------------------------------------------------------- claims

/// Others may attach the block as long as anybody holds it.
pub fn share(pool: *Pool, number: u32) Error!void {
    const hold = try pool.held(number);
    if (pool.isTrusted()) {
        if (hold.word.shared) return;
        var shared = hold.word;
        shared.shared = true;
        // Pairs with the acquire in holding.takeHold(): who attaches sees what was written before.
        if (pool.view.blocks[number].word.exchangeIf(hold.word, shared)) {
            hold.word = shared;
            return;
        }
    }
    try pool.acquire();
    defer pool.unlock();
    try pool.view.markShared(.of(number));
}

pub fn createClaim(pool: *Pool, number: u32, attaches: u24, ttl_ms: u64) Error!u64 {
    const hold = try pool.held(number);
    if (attaches == 0) return error.Argument;
    const now_ms = system.monotonicMs();
    const ttl: u64 = if (ttl_ms == 0) pool.claim_ttl_ms else ttl_ms;
    // What was backed may be used up by others at once; not for ever.
    for (0..1000) |_| {
        if (try claimRecord(pool, number, hold.word.generation, attaches, now_ms, ttl)) |claim| return claim;
        backing.growPins(pool) catch |err| {
            if (err != error.Full) return err;
            {
                try pool.acquire();
                defer pool.unlock();
                _ = try reaping.expireClaims(pool, now_ms);
            }
            return try claimRecord(pool, number, hold.word.generation, attaches, now_ms, ttl) orelse error.Full;
        };
    }
    return error.Corrupt;
}

/// Null when every record that is backed is in use.
fn claimRecord(pool: *Pool, number: u32, generation: u64, attaches: u24, now_ms: u64, ttl_ms: u64) Error!?u64 {
    try pool.acquire();
    defer pool.unlock();
    try pool.view.markShared(.of(number));
    const claim = pins.createClaim(&pool.view, .of(number), generation, attaches, now_ms, ttl_ms) catch |err|
        return if (err == error.NoEntry) null else error.Corrupt;
    return layout.claimNumber(claim.pin, claim.serial);
}

/// Takes `attaches` off a claim that will not be used for them.
pub fn dropClaim(pool: *Pool, number: u32, generation: u64, claim: u64, attaches: u32) Error!void {
    if (attaches == 0 or generation > std.math.maxInt(u53)) return;
    try pool.acquire();
    defer pool.unlock();
    const pin = pins.findClaim(&pool.view, claim, .of(number), @intCast(generation)) orelse return;
    try pins.takeOff(&pool.view, pin, attaches);
    _ = try holding.freeIfUnheld(pool, .of(number));
}

// ---------------------------------------------------------------- what messages hold

/// The end of sending a message with arrays: one store, with all of them pinned.
pub fn pinAndCommit(pool: *Pool, body: ?queue_file.Record, records: []align(1) const queue_file.Record, message: *queue_file.Message, word: queue_file.Message.Word) Error!void {
    try pool.acquire();
    defer pool.unlock();
    if (body) |record| try expectPinnable(pool, record);
    for (records) |record| try expectPinnable(pool, record);
    if (body) |record| try pool.view.markShared(.of(record.block));
    for (records) |record| try pool.view.markShared(.of(record.block));
    message.word.commit(word);
    if (body) |record| pinOne(pool, record);
    for (records) |record| pinOne(pool, record);
}

fn expectPinnable(pool: *Pool, record: queue_file.Record) Error!void {
    if ((try pool.held(record.block)).word.generation != record.generation) return error.NotHeld;
    try pool.view.expectAsHeld(.of(record.block));
}

fn pinOne(pool: *Pool, record: queue_file.Record) void {
    const block = queue_file.pinnedBy(&pool.view, record) orelse return;
    block.pins.set(block.pins.get() +| 1);
}

/// For what a message pinned that has just ended.
pub fn unpin(pool: *Pool, records: *queue_file.Queue.Records) void {
    const ends_channel = unpinAll(pool, records);
    if (ends_channel) endChannels(pool) catch {};
}

/// Whether a channel is left that nobody holds.
fn unpinAll(pool: *Pool, records: *queue_file.Queue.Records) bool {
    var ends_channel = false;
    while (records.next()) |record| ends_channel = unpinOne(pool, record) or ends_channel;
    return ends_channel;
}

fn unpinOne(pool: *Pool, record: queue_file.Record) bool {
    const block = queue_file.pinnedBy(&pool.view, record) orelse return false;
    block.pins.set(block.pins.get() -| 1);
    if (block.pins.get() != 0 or !Holders.of(block).isEmpty()) return false;
    if (block.content.get().kind == layout.Kind.channel) return true;
    _ = holding.freeIfUnheld(pool, .of(record.block)) catch {};
    return false;
}

/// Whether endMessages() would find them all. All or nothing: what it passed over would be held for ever.
pub fn expectReadable(pool: *Pool, queue: *const queue_file.Queue) Unreadable!void {
    if (system.is_always_readable) return;
    const Passer = struct {
        fn visit(_: *queue_file.Visitor, _: queue_file.Record) void {}
    };
    var passer: queue_file.Visitor = .{ .visit = Passer.visit };
    var budget = queue_file.pinBudget(&pool.view);
    try queue_file.forEachPin(&pool.view, queue, &budget, &passer);
}

pub fn endMessages(pool: *Pool, queue: *const queue_file.Queue) Error!void {
    const Unpinner = struct {
        visitor: queue_file.Visitor = .{ .visit = visit },
        pool: *Pool,
        ends_channel: bool = false,

        fn visit(visitor: *queue_file.Visitor, record: queue_file.Record) void {
            const unpinner: *@This() = @fieldParentPtr("visitor", visitor);
            if (unpinOne(unpinner.pool, record)) unpinner.ends_channel = true;
        }
    };
    var unpinner: Unpinner = .{ .pool = pool };
    var budget = queue_file.pinBudget(&pool.view);
    try queue_file.forEachPin(&pool.view, queue, &budget, &unpinner.visitor);
    if (unpinner.ends_channel) try endChannels(pool);
}

/// Frees the channels that only messages held which are gone. A channel in a channel in a channel: one after the other,
/// since the stack has an end.
fn endChannels(pool: *Pool) Error!void {
    if (pool.ends_channels) {
        pool.more_channels = true;
        return;
    }
    pool.ends_channels = true;
    defer pool.ends_channels = false;
    for (0..pool.view.geometry.blocks_max) |_| {
        pool.more_channels = false;
        for (0..pool.view.blocksUsed()) |i| {
            const block = &pool.view.blocks[i];
            if (block.content.get().kind != layout.Kind.channel) continue;
            _ = try holding.freeIfUnheld(pool, .of(@intCast(i)));
        }
        if (!pool.more_channels) return;
    }
}

pub fn setKind(pool: *Pool, index: BlockIndex, kind: u4) Error!void {
    try pool.acquire();
    defer pool.unlock();
    // Or it would not be freed under the lock, and what it pins with it.
    try pool.view.markShared(index);
    const content = &(try pool.view.block(index)).content;
    content.commit(content.get().as(kind));
}
