//! All native tests: `zig build test`. One file a subject in tests/, and beside the code what tests one function.

test {
    _ = @import("layout.zig");
    _ = @import("clock.zig");
    _ = @import("free_lists.zig");
    _ = @import("text.zig");
    _ = @import("broken.zig");
    _ = @import("tests/model.zig");
    _ = @import("tests/life.zig");
    _ = @import("names.zig");
    _ = @import("tests/names.zig");
    _ = @import("tests/full.zig");
    _ = @import("tests/first_touch.zig");
    _ = @import("tests/threads.zig");
    _ = @import("tests/small_device.zig");
    _ = @import("tests/cached.zig");
    _ = @import("tests/checker.zig");
    _ = @import("tests/header.zig");
    _ = @import("tests/in_flight.zig");
    _ = @import("tests/channels.zig");
    _ = @import("tests/hostile.zig");
    _ = @import("tests/crash_points.zig");
    _ = @import("tests/stop_points.zig");
    _ = @import("tests/channel_stop_points.zig");
    _ = @import("tests/between.zig");
    _ = @import("tests/racing.zig");
    _ = @import("tests/stress.zig");
    _ = @import("tests/living.zig");
    _ = @import("tests/leftovers.zig");
    _ = @import("tests/waiting.zig");
    _ = @import("tests/processor.zig");
    _ = @import("tests/look.zig");
}
