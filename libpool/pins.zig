//! Pins hold a block without being a member. Here are claims, each for a descriptor that was sent and not yet attached;
//! names have a table of their own (names.zig).
//! A pin is true from the one store of its word to the one store that ends it; how many pins a block has is derived.
//!
//! All functions here run under the lock. None frees a block: that is for the caller, who knows its holders.

const std = @import("std");
const layout = @import("layout.zig");
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const BlockIndex = layout.BlockIndex;
const PinIndex = layout.PinIndex;

pub const Claim = struct { pin: PinIndex, serial: u32 };

/// Pins that can be made before more of the table has to be backed.
pub fn unusedPins(view: *const View) bool {
    return view.header.unused_pins.get() != .none or view.pinsUsed() < view.pinsBacked();
}

pub fn createClaim(view: *const View, index: BlockIndex, generation: u64, attaches: u24, now_ms: u64, ttl_ms: u64) (Corrupt || error{NoEntry})!Claim {
    const block = try view.block(index);
    const deadline_ms = now_ms +| ttl_ms;
    const pin_index = try takeUnused(view);
    const pin = try view.pin(pin_index);
    const next_serial = pin.word.get().serial +% 1;
    const serial = if (next_serial == 0) 1 else next_serial;
    pin.block.set(index);
    pin.generation.set(generation);
    pin.deadline_ms.set(deadline_ms);
    pin.of.made.set(.of(now_ms));
    // Before the claim itself: a leaver that sees the claim must see how long it may wait for it.
    const header = view.header;
    if (deadline_ms > header.claims_until_ms.get()) header.claims_until_ms.commit(deadline_ms);
    pin.word.commit(.{ .serial = serial, .attaches = attaches, .kind = .claim });

    block.pins.set(block.pins.get() +| 1);
    header.claims.set(header.claims.get() +| 1);
    return .{ .pin = pin_index, .serial = serial };
}

/// The record of a claim's number, if that claim is still there and is one on this very array.
pub fn findClaim(view: *const View, number: u64, index: BlockIndex, generation: u53) ?PinIndex {
    const pin_index: PinIndex = @enumFromInt(@as(u32, @truncate(number & ((1 << 20) - 1))));
    if (@intFromEnum(pin_index) >= view.pinsUsed()) return null;
    const pin = view.pin(pin_index) catch return null;
    const word = pin.word.get();
    if (word.kind != .claim or word.serial != number >> 20) return null;
    if (pin.block.get() != index or pin.generation.get() != generation) return null;
    return pin_index;
}

/// Takes `attaches` off a claim; the last one ends it.
pub fn takeOff(view: *const View, pin_index: PinIndex, attaches: u32) Corrupt!void {
    const pin = try view.pin(pin_index);
    const word = pin.word.get();
    if (attaches < word.attaches) {
        var less = word;
        less.attaches -= @intCast(attaches);
        pin.word.commit(less);
    } else try end(view, pin_index);
}

/// Ends a pin whatever is left of it.
pub fn end(view: *const View, pin_index: PinIndex) Corrupt!void {
    const pin = try view.pin(pin_index);
    const block = try view.block(pin.block.get());
    pin.word.commit(.{ .serial = pin.word.get().serial });

    block.pins.set(block.pins.get() -| 1);
    const header = view.header;
    const claims = header.claims.get() -| 1;
    header.claims.set(claims);
    if (claims == 0) header.claims_until_ms.commit(0);
    putUnused(view, pin_index);
}

fn takeUnused(view: *const View) (Corrupt || error{NoEntry})!PinIndex {
    const header = view.header;
    const first = header.unused_pins.get();
    if (first != .none) {
        const pin = try view.pin(first);
        if (pin.word.get().kind != .vacant) return error.Corrupt;
        header.unused_pins.set(pin.of.next_unused.get());
        return first;
    }
    const used = view.pinsUsed();
    if (used >= view.pinsBacked()) return error.NoEntry;
    header.pins_used.commit(used + 1);
    return @enumFromInt(used);
}

pub fn putUnused(view: *const View, pin_index: PinIndex) void {
    view.pins[@intFromEnum(pin_index)].of.next_unused.set(view.header.unused_pins.get());
    view.header.unused_pins.set(pin_index);
}

/// For who adds up what pins hold, and what blocks say that holds them: each block has a weight of its own, so a pin that is
/// counted on one block and held on another is found.
pub noinline fn weight(block: BlockIndex) u64 {
    const spread = (@as(u64, block.int()) +% 1) *% 0x9e37_79b9_7f4a_7c15;
    return (spread ^ spread >> 29) *% 0xbf58_476d_1ce4_e5b9;
}
