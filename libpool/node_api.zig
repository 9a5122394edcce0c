//! The library as a Node-API module, beside its C interface: for Deno and Node, whose FFI makes buffers on foreign memory,
//! but does not tell when they are gone. It exports:
//!
//!     buffer(address: number, byteLength: number, context: number): ArrayBuffer
//!     bufferOfV8(…): ArrayBuffer       the same for Node, where it can be: see v8.zig
//!
//! The ArrayBuffer shows that memory. When nothing sees it any more, which is after the last transfer of the buffer and
//! after the last native call that uses it, `ap_buffer_gone(address, context)` is called, on any thread; not for context 0.
//!
//!     ringAtEnd(doorbell: number), closeAtEnd(doorbell: number): void
//!
//! For Deno. When the realm ends, a native call ends that sleeps in ap_doorbell_sleep at that address; until it is closed.
//!
//!     wakeAtEnd(): void
//!
//! For Deno. It never frees the environment of a module, and with it what wakes the event loop of its realm, which keeps the
//! loop's two descriptors open when the realm, a Worker, has ended. Waking a loop uses that up; so this asks for one more
//! wake when the realm ends and no loop will run again.
//!
//!     ap_block_alloc(pool: bigint, …: number): number, and other functions of arraypool.h
//!
//! For Node, whose FFI calls functions of that many parameters slowly. See `Call`.
//!
//!     requests(): number
//!
//! For Node: the address at which the realm's event loop counts its requests in flight, as a uint32.
//!
//!     watch(descriptor: number, onRing: () => void): number | undefined, unwatch(watch: number): void
//!
//! For Node. Takes the descriptor of a socket over, and calls `onRing` when datagrams came, which it takes. It does not keep the
//! event loop alive. Undefined where the loop cannot watch it.
//!
//! The functions of Node-API are the host's own (host.zig): other hosts load the library without them.

const builtin = @import("builtin");
const std = @import("std");
const exports = @import("exports.zig");
const host = @import("host.zig");
const layout = @import("layout.zig");
const platform = @import("platform.zig");
const system = platform.system;
const v8 = @import("v8.zig");
const waiting = @import("waiting.zig");
/// library.zig, where those functions stand that are inline in exports.zig; the tests are without it.
const library = if (@hasDecl(@import("root"), "ap_block_alloc")) @import("root") else exports;

const Env = ?*anyopaque;
const Value = ?*anyopaque;
const CallbackInfo = ?*anyopaque;
const Callback = fn (Env, CallbackInfo) callconv(.c) Value;
const Finalize = *const fn (Env, ?*anyopaque, ?*anyopaque) callconv(.c) void;
const ok = 0;

/// Node-API, as far as it is used.
var napi: extern struct {
    add_async_cleanup_hook: *const fn (Env, *const fn (?*anyopaque, *Watch) callconv(.c) void, *Watch, *?*anyopaque) callconv(.c) i32,
    add_env_cleanup_hook: *const Hook,
    close_handle_scope: *const fn (Env, ?*anyopaque) callconv(.c) i32,
    create_double: *const fn (Env, f64, *Value) callconv(.c) i32,
    create_external_arraybuffer: *const fn (Env, ?*anyopaque, usize, Finalize, ?*anyopaque, *Value) callconv(.c) i32,
    create_function: *const fn (Env, ?[*]const u8, usize, *const Callback, ?*anyopaque, *Value) callconv(.c) i32,
    create_int32: *const fn (Env, i32, *Value) callconv(.c) i32,
    create_reference: *const fn (Env, Value, u32, *?*anyopaque) callconv(.c) i32,
    create_string_utf8: *const fn (Env, [*]const u8, usize, *Value) callconv(.c) i32,
    create_threadsafe_function: *const fn (Env, Value, Value, Value, usize, usize, ?*anyopaque, ?Finalize, ?*anyopaque, ?*const CallJs, *Waker) callconv(.c) i32,
    delete_reference: *const fn (Env, ?*anyopaque) callconv(.c) i32,
    fatal_exception: *const fn (Env, Value) callconv(.c) i32,
    get_and_clear_last_exception: *const fn (Env, *Value) callconv(.c) i32,
    get_cb_info: *const fn (Env, CallbackInfo, *usize, [*]Value, ?*Value, ?*?*anyopaque) callconv(.c) i32,
    get_global: *const fn (Env, *Value) callconv(.c) i32,
    get_reference_value: *const fn (Env, ?*anyopaque, *Value) callconv(.c) i32,
    get_uv_event_loop: *const fn (Env, *?*Loop) callconv(.c) i32,
    get_value_bigint_uint64: *const fn (Env, Value, *u64, *bool) callconv(.c) i32,
    get_value_double: *const fn (Env, Value, *f64) callconv(.c) i32,
    get_value_uint32: *const fn (Env, Value, *u32) callconv(.c) i32,
    make_callback: *const fn (Env, ?*anyopaque, Value, Value, usize, ?[*]const Value, ?*Value) callconv(.c) i32,
    open_handle_scope: *const fn (Env, *?*anyopaque) callconv(.c) i32,
    release_threadsafe_function: *const fn (Waker, i32) callconv(.c) i32,
    remove_async_cleanup_hook: *const fn (*anyopaque) callconv(.c) i32,
    remove_env_cleanup_hook: *const Hook,
    set_named_property: *const fn (Env, Value, [*:0]const u8, Value) callconv(.c) i32,
    unref_threadsafe_function: *const fn (Env, Waker) callconv(.c) i32,
} = undefined;

/// libuv, as far as it is used.
var uv: extern struct {
    close: *const fn (*Watch.Handle, *const fn (*Watch.Handle) callconv(.c) void) callconv(.c) void,
    handle_size: *const fn (c_int) callconv(.c) usize,
    poll_init: *const fn (*Loop, *Watch.Handle, c_int) callconv(.c) c_int,
    poll_start: *const fn (*Watch.Handle, c_int, *const fn (*Watch.Handle, c_int, c_int) callconv(.c) void) callconv(.c) c_int,
    unref: *const fn (*Watch.Handle) callconv(.c) void,
} = undefined;

pub export fn napi_register_module_v1(env: Env, module: Value) Value {
    if (!host.find(&napi, "napi_")) return null;
    const everywhere = .{
        .{ "buffer", buffer },
        .{ "wakeAtEnd", wakeAtEnd },
        .{ "ringAtEnd", ringAtEnd },
        .{ "closeAtEnd", closeAtEnd },
        .{ "requests", requests },
        .{ "ap_block_alloc", Call(library.ap_block_alloc).run },
        .{ "ap_block_attach", Call(exports.ap_block_attach).run },
        .{ "ap_block_release", Call(library.ap_block_release).run },
        .{ "ap_claim_create", Call(exports.ap_claim_create).run },
    };
    const in_node = .{
        .{ "bufferOfV8", bufferOfV8 },
        .{ "watch", watch },
        .{ "unwatch", unwatch },
    };
    inline for (everywhere) |one| if (!add(env, module, one[0], one[1])) return null;
    if (v8.find() and host.find(&uv, "uv_")) {
        inline for (in_node) |one| if (!add(env, module, one[0], one[1])) return null;
    }
    stayLoaded();
    return module;
}

/// Node unloads a module with the last Worker that has loaded it, and only then destroys the Worker's buffers; and what a
/// Worker has transferred outlives it.
fn stayLoaded() void {
    const dladdr = host.function("dladdr", fn (*const anyopaque, *[4]?*anyopaque) callconv(.c) c_int) orelse return;
    const dlopen = host.function("dlopen", fn (?*anyopaque, c_int) callconv(.c) ?*anyopaque) orelse return;
    const lazy = 1;
    const only_if_loaded, const for_ever = if (builtin.os.tag == .macos) .{ 0x10, 0x80 } else .{ 0x4, 0x1000 };
    var self: [4]?*anyopaque = undefined; // its path, and three more
    if (dladdr(&stayLoaded, &self) != 0) _ = dlopen(self[0], lazy | only_if_loaded | for_ever);
}

noinline fn add(env: Env, module: Value, name: [:0]const u8, callback: *const Callback) bool {
    var function: Value = null;
    return napi.create_function(env, name.ptr, name.len, callback, null, &function) == ok and
        napi.set_named_property(env, module, name.ptr, function) == ok;
}

// ---------------------------------------------------------------- arguments

/// The first `count` of them; null where there are fewer.
noinline fn argumentsOf(count: usize, env: Env, info: CallbackInfo) ?[arguments_max]Value {
    var values: [arguments_max]Value = @splat(null);
    var given: usize = arguments_max;
    return if (napi.get_cb_info(env, info, &given, &values, null, null) == ok and given >= count) values else null;
}

const Kind = enum(u8) { pointer, double, uint32 };

/// One argument, as it lies in memory; null where it is none of that kind.
noinline fn argument(kind: Kind, env: Env, value: Value) ?u64 {
    var got: u64 = 0;
    switch (kind) {
        .pointer => {
            var is_exact = false;
            if (napi.get_value_bigint_uint64(env, value, &got, &is_exact) != ok or !is_exact or got == 0) return null;
        },
        .double => {
            if (napi.get_value_double(env, value, @ptrCast(&got)) != ok) return null;
        },
        .uint32 => {
            if (napi.get_value_uint32(env, value, @ptrCast(&got)) != ok) return null; // the lower half
        },
    }
    return got;
}

/// An address or a length, up to 2^53.
fn addressArgument(env: Env, value: Value) ?usize {
    const number: f64 = @bitCast(argument(.double, env, value) orelse return null);
    return if (number >= 0 and number <= 1 << 53) @intFromFloat(number) else null;
}

/// A function of arraypool.h that takes a pool and numbers, and returns an int32. Undefined where the arguments are wrong.
fn Call(comptime function: anytype) type {
    const parameters = @typeInfo(@TypeOf(function)).@"fn".params;
    return struct {
        const kinds = blk: {
            var all: [parameters.len]Kind = undefined;
            for (&all, parameters) |*kind, parameter| kind.* = switch (parameter.type.?) {
                f64 => .double,
                u32 => .uint32,
                else => .pointer,
            };
            break :blk all;
        };

        fn run(env: Env, info: CallbackInfo) callconv(.c) Value {
            var got: [parameters.len]u64 = undefined;
            if (!argumentsInto(&got, &kinds, env, info)) return null;
            var arguments: std.meta.ArgsTuple(@TypeOf(function)) = undefined;
            inline for (&arguments, got, kinds) |*into, bits, kind| into.* = switch (kind) {
                .double => @bitCast(bits),
                .uint32 => @truncate(bits),
                .pointer => @ptrFromInt(bits),
            };
            return int32(env, @call(.auto, function, arguments));
        }
    };
}

const arguments_max = 4;

/// All arguments of a call; false where one is missing, or is none of its kind.
noinline fn argumentsInto(into: []u64, kinds: []const Kind, env: Env, info: CallbackInfo) bool {
    const values = argumentsOf(kinds.len, env, info) orelse return false;
    for (into, kinds, values[0..kinds.len]) |*bits, kind, value| bits.* = argument(kind, env, value) orelse return false;
    return true;
}

noinline fn int32(env: Env, number: i32) Value {
    var result: Value = null;
    return if (napi.create_int32(env, number, &result) == ok) result else null;
}

// ---------------------------------------------------------------- buffers

/// What both kinds of buffers are made of.
const Memory = struct {
    bytes: ?*anyopaque,
    length: usize,
    context: ?*anyopaque,

    fn from(env: Env, info: CallbackInfo) ?Memory {
        const values = argumentsOf(3, env, info) orelse return null;
        return .{
            .bytes = @ptrFromInt(addressArgument(env, values[0]) orelse return null),
            .length = addressArgument(env, values[1]) orelse return null,
            .context = @ptrFromInt(addressArgument(env, values[2]) orelse return null),
        };
    }
};

fn buffer(env: Env, info: CallbackInfo) callconv(.c) Value {
    const memory = Memory.from(env, info) orelse return null;
    var result: Value = null;
    const made = napi.create_external_arraybuffer(env, memory.bytes, memory.length, gone, memory.context, &result);
    return if (made == ok) result else null;
}

fn gone(_: Env, bytes: ?*anyopaque, context: ?*anyopaque) callconv(.c) void {
    const counter: *u32 = @ptrCast(@alignCast(context orelse return));
    exports.ap_buffer_gone(bytes, counter);
}

fn bufferOfV8(env: Env, info: CallbackInfo) callconv(.c) Value {
    const memory = Memory.from(env, info) orelse return null;
    return v8.buffer(memory.bytes, memory.length, goneOfV8, memory.context);
}

fn goneOfV8(bytes: ?*anyopaque, _: usize, context: ?*anyopaque) callconv(.c) void {
    gone(null, bytes, context);
}

// ---------------------------------------------------------------- event loops

/// How libuv's `uv_loop_t` begins, in every version 1.
const Loop = extern struct {
    data: ?*anyopaque,
    active_handles: c_uint,
    handle_queue: [2]?*anyopaque,
    active_requests: extern union { unused: ?*anyopaque, count: c_uint },
};

fn loopOf(env: Env) ?*Loop {
    var loop: ?*Loop = null;
    return if (napi.get_uv_event_loop(env, &loop) == ok) loop else null;
}

fn requests(env: Env, _: CallbackInfo) callconv(.c) Value {
    const loop = loopOf(env) orelse return null;
    var result: Value = null;
    const address: f64 = layout.double(@intFromPtr(&loop.active_requests.count));
    return if (napi.create_double(env, address, &result) == ok) result else null;
}

/// A socket that the event loop watches. The loop has to be done with `handle` before any of it goes away, also where the
/// realm ends: so that waits for `hook`.
const Watch = struct {
    env: Env,
    fd: platform.Fd,
    on_ring: ?*anyopaque,
    hook: ?*anyopaque,
    is_closing: bool,
    /// libuv's `uv_poll_t`.
    handle: Handle align(16),

    const Handle = [256]u8;
    const poll_type = 8; // UV_POLL
    const readable = 1; // UV_READABLE

    /// Takes the descriptor over. Null where it cannot be watched.
    fn open(env: Env, fd: platform.Fd, callback: Value) ?*Watch {
        const self = make(env, fd) orelse {
            system.close(fd);
            return null;
        };
        if (self.start(callback)) return self;
        self.close();
        return null;
    }

    fn make(env: Env, fd: platform.Fd) ?*Watch {
        if (uv.handle_size(poll_type) > @sizeOf(Handle)) return null;
        const loop = loopOf(env) orelse return null;
        const self: *Watch = @ptrCast(@alignCast(v8.allocate(@sizeOf(Watch)) orelse return null));
        self.* = .{ .env = env, .fd = fd, .on_ring = null, .hook = null, .is_closing = false, .handle = undefined };
        if (uv.poll_init(loop, &self.handle, fd) == 0) return self;
        v8.free(self);
        return null;
    }

    fn start(self: *Watch, callback: Value) bool {
        uv.unref(&self.handle);
        return napi.create_reference(self.env, callback, 1, &self.on_ring) == ok and
            napi.add_async_cleanup_hook(self.env, atEnd, self, &self.hook) == ok and
            uv.poll_start(&self.handle, readable, rung) == 0;
    }

    fn close(self: *Watch) void {
        if (self.is_closing) return;
        self.is_closing = true;
        uv.close(&self.handle, closed);
    }

    fn of(handle: *Handle) *Watch {
        return @alignCast(@fieldParentPtr("handle", handle));
    }

    fn atEnd(_: ?*anyopaque, self: *Watch) callconv(.c) void {
        self.close();
    }

    fn closed(handle: *Handle) callconv(.c) void {
        const self: *Watch = .of(handle);
        system.close(self.fd);
        if (self.hook) |hook| {
            _ = napi.remove_async_cleanup_hook(hook);
        }
        v8.free(self);
    }

    fn rung(handle: *Handle, _: c_int, _: c_int) callconv(.c) void {
        const self: *Watch = .of(handle);
        system.drainSocket(self.fd);
        call(self.env, self.on_ring);
    }
};

fn watch(env: Env, info: CallbackInfo) callconv(.c) Value {
    const values = argumentsOf(2, env, info) orelse return null;
    const fd: platform.Fd = @intCast(argument(.uint32, env, values[0]) orelse return null);
    const made = Watch.open(env, fd, values[1]) orelse return null;
    var result: Value = null;
    return if (napi.create_double(env, layout.double(@intFromPtr(made)), &result) == ok) result else null;
}

fn unwatch(env: Env, info: CallbackInfo) callconv(.c) Value {
    const values = argumentsOf(1, env, info) orelse return null;
    const made: *Watch = @ptrFromInt(addressArgument(env, values[0]) orelse return null);
    _ = napi.delete_reference(env, made.on_ring);
    made.close();
    return null;
}

/// Calls a function from the event loop. What it throws is an uncaught exception.
fn call(env: Env, reference: ?*anyopaque) void {
    var scope: ?*anyopaque = null;
    var function: Value = null;
    var global: Value = null;
    if (napi.open_handle_scope(env, &scope) != ok) return;
    defer _ = napi.close_handle_scope(env, scope);
    if (napi.get_reference_value(env, reference, &function) != ok or napi.get_global(env, &global) != ok) return;
    const pending_exception = 10;
    if (napi.make_callback(env, null, global, function, 0, null, null) != pending_exception) return;
    var exception: Value = null;
    if (napi.get_and_clear_last_exception(env, &exception) == ok) _ = napi.fatal_exception(env, exception);
}

/// A Worker that is terminated waits for its native calls: for the one in ap_doorbell_sleep at that address, too.
fn ringAtEnd(env: Env, info: CallbackInfo) callconv(.c) Value {
    if (doorbellIn(env, info)) |doorbell| _ = napi.add_env_cleanup_hook(env, ring, doorbell);
    return null;
}

/// The doorbell is about to go away.
fn closeAtEnd(env: Env, info: CallbackInfo) callconv(.c) Value {
    if (doorbellIn(env, info)) |doorbell| _ = napi.remove_env_cleanup_hook(env, ring, doorbell);
    return null;
}

const Hook = fn (Env, *const fn (?*anyopaque) callconv(.c) void, ?*anyopaque) callconv(.c) i32;

fn doorbellIn(env: Env, info: CallbackInfo) ?*anyopaque {
    const values = argumentsOf(1, env, info) orelse return null;
    return @ptrFromInt(addressArgument(env, values[0]) orelse return null);
}

fn ring(doorbell: ?*anyopaque) callconv(.c) void {
    waiting.ring(@ptrCast(@alignCast(doorbell orelse return)));
}

const Waker = ?*anyopaque;
const CallJs = fn (Env, Value, ?*anyopaque, ?*anyopaque) callconv(.c) void;

/// The function that it makes is never called: it is there to be released, which wakes the loop.
fn wakeAtEnd(env: Env, _: CallbackInfo) callconv(.c) Value {
    var name: Value = null;
    var waker: Waker = null;
    if (napi.create_string_utf8(env, "arraypool", "arraypool".len, &name) != ok) return null;
    const one_thread = 1;
    if (napi.create_threadsafe_function(env, null, null, name, 0, one_thread, null, null, null, callNothing, &waker) != ok) return null;
    if (napi.unref_threadsafe_function(env, waker) == ok) _ = napi.add_env_cleanup_hook(env, wake, waker);
    return null;
}

fn callNothing(_: Env, _: Value, _: ?*anyopaque, _: ?*anyopaque) callconv(.c) void {}

fn wake(waker: Waker) callconv(.c) void {
    _ = napi.release_threadsafe_function(waker, 0);
}
