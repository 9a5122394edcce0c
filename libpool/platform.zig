//! What the pool needs of the operating system. One file a system, with the same functions; nothing above this line
//! names a system.

const builtin = @import("builtin");

pub const system = switch (builtin.os.tag) {
    .linux => @import("platform/linux.zig"),
    .macos => @import("platform/macos.zig"),
    else => @compileError("arraypool runs on Linux and macOS"),
};

pub const Fd = i32;

/// Failures of the system, as far as the pool treats them apart.
pub const Error = error{
    NotFound,
    Exists,
    Permission,
    /// No memory left behind /dev/shm.
    NoSpace,
    /// The range cannot be mapped.
    AddressSpace,
    System,
};

/// Whether there is memory behind what is said to be backed.
pub const Readable = enum {
    yes,
    /// There is none, and none is to be had: it was not backed.
    no,
    /// The system did not say.
    not_now,
};
