//! Who lives, and who may: bytes far beyond the end of the segment's file, which a member's open file description locks.
//!
//!     2^62 + s          slot byte: write-locked by the member in slot s for as long as its descriptor is open
//!     2^62 + 256        gate: shared while somebody joins, exclusive while somebody unlinks
//!     2^62 + 512 + s    handover: held while somebody takes slot s, or a sibling closes what a dead thread left open there
//!
//! The kernel drops them when the process is gone, and no earlier. These places are the same in every layout version.

const system = @import("platform.zig").system;
const Fd = @import("platform.zig").Fd;

const slot_byte: i64 = 1 << 62;
const gate_byte: i64 = slot_byte + 256;
const handover_byte: i64 = slot_byte + 512;

pub fn takeSlot(fd: Fd, slot: u8) bool {
    return system.setLock(fd, .exclusive, slot_byte + slot);
}
pub fn dropSlot(fd: Fd, slot: u8) void {
    _ = system.setLock(fd, .none, slot_byte + slot);
}
pub fn slotTaken(fd: Fd, slot: u8) bool {
    return system.lockedByOther(fd, slot_byte + slot, 1);
}
pub fn anySlotTaken(fd: Fd) bool {
    return system.lockedByOther(fd, slot_byte, 256);
}

/// Whoever takes the slot, or closes what its last owner left open, keeps the other of the two from doing so.
pub fn enterHandover(fd: Fd, slot: u8) bool {
    return system.setLock(fd, .exclusive, handover_byte + slot);
}
pub fn leaveHandover(fd: Fd, slot: u8) void {
    _ = system.setLock(fd, .none, handover_byte + slot);
}

pub fn anyHandover(fd: Fd) bool {
    return system.lockedByOther(fd, handover_byte, 256);
}

/// Shared: nobody unlinks the segment while it is held. False while somebody is about to.
pub fn enterGate(fd: Fd) bool {
    return system.setLock(fd, .shared, gate_byte);
}
/// Exclusive: nobody joins while it is held. False while somebody does.
pub fn closeGate(fd: Fd) bool {
    return system.setLock(fd, .exclusive, gate_byte);
}
pub fn leaveGate(fd: Fd) void {
    _ = system.setLock(fd, .none, gate_byte);
}
