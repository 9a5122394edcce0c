//! On which processor a member waits awake.
//!
//! Where there are few processors, two who wait for each other are often put on one while another is idle: awake they keep all of
//! them busy, and so the kernel looks for no idle one when it wakes somebody. Since both let others run while they wait, neither
//! seems to want for a processor, and they stay together for tenths of a second: a message and its answer take four switches,
//! some 8 µs, instead of 2 µs. So who lets others run looks now and then whether there was anybody, and if nobody else in the whole
//! system wants a processor, it goes to another one.

const system = @import("platform.zig").system;

pub const Processor = struct {
    /// False on one, where there are so many that the kernel finds an idle one by itself, and where the system may mind.
    are_few: bool,
    yields: u32 = 0,
    /// After how many of them it looks: more, the more often it did in vain.
    looks_after: u32 = looks_after_least,

    const few_most = 4;
    const looks_after_least = 4;
    /// Some 100 µs, or 500 µs where it shares a processor, of which to look takes 1 µs, or 8 µs.
    const looks_after_most = 128;

    pub fn of(count: u32) Processor {
        return .{ .are_few = count > 1 and count <= few_most };
    }

    /// Lets others run.
    pub fn yield(processor: *Processor) void {
        system.yield();
        if (!system.may_move or !processor.are_few) return;
        processor.yields += 1;
        if (processor.yields >= processor.looks_after) processor.look();
    }
    noinline fn look(processor: *Processor) void {
        processor.yields = 0;
        var was_moved = false;
        if (system.isShared() and system.runnable() <= 2) {
            // To be moved is not worth dying for: a filter may kill whoever makes a call that it was not told of.
            if (system.isFiltered()) {
                processor.are_few = false;
                return;
            }
            was_moved = system.move();
        }
        processor.looks_after = if (was_moved) looks_after_least else @min(processor.looks_after * 2, looks_after_most);
    }

    /// After a sleep it may be on another one.
    pub fn woken(processor: *Processor) void {
        processor.looks_after = looks_after_least;
    }
};
