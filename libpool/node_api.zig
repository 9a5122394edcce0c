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
//! The functions of Node-API are the host's own. They are weak: other hosts load the library without them.

const builtin = @import("builtin");
const std = @import("std");
const exports = @import("exports.zig");
const platform = @import("platform.zig");
const system = platform.system;
const v8 = @import("v8.zig");
const waiting = @import("waiting.zig");

const Env = ?*anyopaque;
const Value = ?*anyopaque;
const CallbackInfo = ?*anyopaque;
const Callback = fn (Env, CallbackInfo) callconv(.c) Value;
const Finalize = *const fn (Env, ?*anyopaque, ?*anyopaque) callconv(.c) void;
const ok = 0;

/// A function of the host: null where it has none. Each is named once, with its type, in `napi`.
fn host(comptime name: []const u8, comptime Function: type) ?*const Function {
    const there = @extern(?*const Function, .{ .name = name, .linkage = .weak });
    // The compiler would call it by its name, which takes an entry in three more tables.
    return asm (""
        : [ret] "=r" (-> ?*const Function),
        : [there] "0" (there),
    );
}

pub export fn napi_register_module_v1(env: Env, module: Value) Value {
    const all = .{
        .{ "buffer", buffer },
        .{ "wakeAtEnd", wakeAtEnd },
        .{ "ringAtEnd", ringAtEnd },
        .{ "closeAtEnd", closeAtEnd },
        .{ "requests", requests },
        .{ "watch", watch },
        .{ "unwatch", unwatch },
        .{ "ap_block_alloc", Call(exports.ap_block_alloc).run },
        .{ "ap_block_attach", Call(exports.ap_block_attach).run },
        .{ "ap_block_release", Call(exports.ap_block_release).run },
        .{ "ap_claim_create", Call(exports.ap_claim_create).run },
    };
    inline for (all) |one| if (!add(env, module, one[0], one[1])) return null;
    if (v8.isThere() and !add(env, module, "bufferOfV8", bufferOfV8)) return null;
    stayLoaded();
    return module;
}

/// Node unloads a module with the last Worker that has loaded it, and only then destroys the Worker's buffers; and what a
/// Worker has transferred outlives it.
fn stayLoaded() void {
    const dladdr = host("dladdr", fn (*const anyopaque, *[4]?*anyopaque) callconv(.c) c_int) orelse return;
    const dlopen = host("dlopen", fn (?*anyopaque, c_int) callconv(.c) ?*anyopaque) orelse return;
    const lazy = 1;
    const only_if_loaded, const for_ever = if (builtin.os.tag == .macos) .{ 0x10, 0x80 } else .{ 0x4, 0x1000 };
    var self: [4]?*anyopaque = undefined; // its path, and three more
    if (dladdr(&stayLoaded, &self) != 0) _ = dlopen(self[0], lazy | only_if_loaded | for_ever);
}

noinline fn add(env: Env, module: Value, name: [:0]const u8, callback: *const Callback) bool {
    const createFunction = host("napi_create_function", fn (Env, ?[*]const u8, usize, *const Callback, ?*anyopaque, *Value) callconv(.c) i32) orelse return false;
    const setProperty = host("napi_set_named_property", fn (Env, Value, [*:0]const u8, Value) callconv(.c) i32) orelse return false;
    var function: Value = null;
    return createFunction(env, name.ptr, name.len, callback, null, &function) == ok and
        setProperty(env, module, name.ptr, function) == ok;
}

// ---------------------------------------------------------------- arguments

/// The first `count` of them; null where there are fewer.
noinline fn argumentsOf(count: usize, env: Env, info: CallbackInfo) ?[arguments_max]Value {
    const get = host("napi_get_cb_info", fn (Env, CallbackInfo, *usize, [*]Value, ?*Value, ?*?*anyopaque) callconv(.c) i32) orelse return null;
    var values: [arguments_max]Value = @splat(null);
    var given: usize = arguments_max;
    return if (get(env, info, &given, &values, null, null) == ok and given >= count) values else null;
}

const Kind = enum(u8) { pointer, double, uint32 };

/// One argument, as it lies in memory; null where it is none of that kind.
noinline fn argument(kind: Kind, env: Env, value: Value) ?u64 {
    var got: u64 = 0;
    switch (kind) {
        .pointer => {
            const get = host("napi_get_value_bigint_uint64", fn (Env, Value, *u64, *bool) callconv(.c) i32) orelse return null;
            var is_exact = false;
            if (get(env, value, &got, &is_exact) != ok or !is_exact or got == 0) return null;
        },
        .double => {
            const get = host("napi_get_value_double", fn (Env, Value, *f64) callconv(.c) i32) orelse return null;
            if (get(env, value, @ptrCast(&got)) != ok) return null;
        },
        .uint32 => {
            const get = host("napi_get_value_uint32", fn (Env, Value, *u32) callconv(.c) i32) orelse return null;
            if (get(env, value, @ptrCast(&got)) != ok) return null; // the lower half
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
    const create = host("napi_create_int32", fn (Env, i32, *Value) callconv(.c) i32) orelse return null;
    var result: Value = null;
    return if (create(env, number, &result) == ok) result else null;
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
    const create = host("napi_create_external_arraybuffer", fn (Env, ?*anyopaque, usize, Finalize, ?*anyopaque, *Value) callconv(.c) i32) orelse return null;
    const memory = Memory.from(env, info) orelse return null;
    var result: Value = null;
    const made = create(env, memory.bytes, memory.length, gone, memory.context, &result);
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
    const getLoop = host("napi_get_uv_event_loop", fn (Env, *?*Loop) callconv(.c) i32) orelse return null;
    var loop: ?*Loop = null;
    return if (getLoop(env, &loop) == ok) loop else null;
}

fn requests(env: Env, _: CallbackInfo) callconv(.c) Value {
    const create = host("napi_create_double", fn (Env, f64, *Value) callconv(.c) i32) orelse return null;
    const loop = loopOf(env) orelse return null;
    var result: Value = null;
    const address: f64 = @floatFromInt(@intFromPtr(&loop.active_requests.count));
    return if (create(env, address, &result) == ok) result else null;
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

    const Uv = struct {
        sizeOf: *const fn (c_int) callconv(.c) usize,
        init: *const fn (*Loop, *Handle, c_int) callconv(.c) c_int,
        start: *const fn (*Handle, c_int, *const fn (*Handle, c_int, c_int) callconv(.c) void) callconv(.c) c_int,
        unref: *const fn (*Handle) callconv(.c) void,
        close: *const fn (*Handle, *const fn (*Handle) callconv(.c) void) callconv(.c) void,
    };
    fn uv() ?Uv {
        var found: Uv = undefined;
        inline for (.{ "handle_size", "poll_init", "poll_start", "unref", "close" }, @typeInfo(Uv).@"struct".fields) |name, field| {
            @field(found, field.name) = host("uv_" ++ name, @typeInfo(field.type).pointer.child) orelse return null;
        }
        return found;
    }

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
        const functions = uv() orelse return null;
        if (functions.sizeOf(poll_type) > @sizeOf(Handle)) return null;
        const loop = loopOf(env) orelse return null;
        const self: *Watch = @ptrCast(@alignCast(v8.allocate(@sizeOf(Watch)) orelse return null));
        self.* = .{ .env = env, .fd = fd, .on_ring = null, .hook = null, .is_closing = false, .handle = undefined };
        if (functions.init(loop, &self.handle, fd) == 0) return self;
        v8.free(self);
        return null;
    }

    fn start(self: *Watch, callback: Value) bool {
        const createReference = host("napi_create_reference", fn (Env, Value, u32, *?*anyopaque) callconv(.c) i32) orelse return false;
        const addHook = host("napi_add_async_cleanup_hook", fn (Env, *const fn (?*anyopaque, *Watch) callconv(.c) void, *Watch, *?*anyopaque) callconv(.c) i32) orelse return false;
        const functions = uv().?;
        functions.unref(&self.handle);
        return createReference(self.env, callback, 1, &self.on_ring) == ok and
            addHook(self.env, atEnd, self, &self.hook) == ok and
            functions.start(&self.handle, readable, rung) == 0;
    }

    fn close(self: *Watch) void {
        if (self.is_closing) return;
        self.is_closing = true;
        uv().?.close(&self.handle, closed);
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
            if (host("napi_remove_async_cleanup_hook", fn (*anyopaque) callconv(.c) i32)) |removeHook| _ = removeHook(hook);
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
    const create = host("napi_create_double", fn (Env, f64, *Value) callconv(.c) i32) orelse return null;
    const values = argumentsOf(2, env, info) orelse return null;
    const fd: platform.Fd = @intCast(argument(.uint32, env, values[0]) orelse return null);
    const made = Watch.open(env, fd, values[1]) orelse return null;
    var result: Value = null;
    return if (create(env, @floatFromInt(@intFromPtr(made)), &result) == ok) result else null;
}

fn unwatch(env: Env, info: CallbackInfo) callconv(.c) Value {
    const deleteReference = host("napi_delete_reference", fn (Env, ?*anyopaque) callconv(.c) i32) orelse return null;
    const values = argumentsOf(1, env, info) orelse return null;
    const made: *Watch = @ptrFromInt(addressArgument(env, values[0]) orelse return null);
    _ = deleteReference(env, made.on_ring);
    made.close();
    return null;
}

/// Calls a function from the event loop. What it throws is an uncaught exception.
fn call(env: Env, reference: ?*anyopaque) void {
    const openScope = host("napi_open_handle_scope", fn (Env, *?*anyopaque) callconv(.c) i32) orelse return;
    const closeScope = host("napi_close_handle_scope", fn (Env, ?*anyopaque) callconv(.c) i32) orelse return;
    const valueOf = host("napi_get_reference_value", fn (Env, ?*anyopaque, *Value) callconv(.c) i32) orelse return;
    const getGlobal = host("napi_get_global", fn (Env, *Value) callconv(.c) i32) orelse return;
    const makeCallback = host("napi_make_callback", fn (Env, ?*anyopaque, Value, Value, usize, ?[*]const Value, ?*Value) callconv(.c) i32) orelse return;
    const takeException = host("napi_get_and_clear_last_exception", fn (Env, *Value) callconv(.c) i32) orelse return;
    const throwFatal = host("napi_fatal_exception", fn (Env, Value) callconv(.c) i32) orelse return;
    var scope: ?*anyopaque = null;
    var function: Value = null;
    var global: Value = null;
    if (openScope(env, &scope) != ok) return;
    defer _ = closeScope(env, scope);
    if (valueOf(env, reference, &function) != ok or getGlobal(env, &global) != ok) return;
    const pending_exception = 10;
    if (makeCallback(env, null, global, function, 0, null, null) != pending_exception) return;
    var exception: Value = null;
    if (takeException(env, &exception) == ok) _ = throwFatal(env, exception);
}

/// A Worker that is terminated waits for its native calls: for the one in ap_doorbell_sleep at that address, too.
fn ringAtEnd(env: Env, info: CallbackInfo) callconv(.c) Value {
    const addHook = host("napi_add_env_cleanup_hook", Hook) orelse return null;
    if (doorbellIn(env, info)) |doorbell| _ = addHook(env, ring, doorbell);
    return null;
}

/// The doorbell is about to go away.
fn closeAtEnd(env: Env, info: CallbackInfo) callconv(.c) Value {
    const removeHook = host("napi_remove_env_cleanup_hook", Hook) orelse return null;
    if (doorbellIn(env, info)) |doorbell| _ = removeHook(env, ring, doorbell);
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
    const createString = host("napi_create_string_utf8", fn (Env, [*]const u8, usize, *Value) callconv(.c) i32) orelse return null;
    const createWaker = host("napi_create_threadsafe_function", fn (Env, Value, Value, Value, usize, usize, ?*anyopaque, ?Finalize, ?*anyopaque, ?*const CallJs, *Waker) callconv(.c) i32) orelse return null;
    const unref = host("napi_unref_threadsafe_function", fn (Env, Waker) callconv(.c) i32) orelse return null;
    const addHook = host("napi_add_env_cleanup_hook", fn (Env, *const fn (Waker) callconv(.c) void, Waker) callconv(.c) i32) orelse return null;
    var name: Value = null;
    var waker: Waker = null;
    if (createString(env, "arraypool", "arraypool".len, &name) != ok) return null;
    const one_thread = 1;
    if (createWaker(env, null, null, name, 0, one_thread, null, null, null, callNothing, &waker) != ok) return null;
    if (unref(env, waker) == ok) _ = addHook(env, wake, waker);
    return null;
}

fn callNothing(_: Env, _: Value, _: ?*anyopaque, _: ?*anyopaque) callconv(.c) void {}

fn wake(waker: Waker) callconv(.c) void {
    const release = host("napi_release_threadsafe_function", fn (Waker, i32) callconv(.c) i32) orelse return;
    _ = release(waker, 0);
}
