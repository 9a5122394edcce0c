//! The library as a Node-API module, beside its C interface: for hosts whose FFI makes buffers on foreign memory, but
//! does not tell when they are gone (Deno). It exports
//!
//!     buffer(address: number, byteLength: number, context: number): ArrayBuffer
//!     wakeAtEnd(), ringAtEnd(doorbell: number), closeAtEnd(doorbell: number)
//!
//! The ArrayBuffer shows that memory. When nothing sees it any more, which is after the last transfer of the buffer and
//! after the last native call that uses it, `ap_buffer_gone(address, context)` is called, on any thread; not for context 0.
//!
//! The functions of Node-API are the host's own. They are weak: other hosts load the library without them.

const exports = @import("exports.zig");
const waiting = @import("waiting.zig");

const Env = ?*anyopaque;
const Value = ?*anyopaque;
const CallbackInfo = ?*anyopaque;
const Callback = *const fn (Env, CallbackInfo) callconv(.c) Value;
const Finalize = *const fn (Env, ?*anyopaque, ?*anyopaque) callconv(.c) void;
const ok = 0;

fn host(comptime name: []const u8, comptime Function: type) ?*const Function {
    return @extern(?*const Function, .{ .name = name, .linkage = .weak });
}

pub export fn napi_register_module_v1(env: Env, module: Value) Value {
    const createFunction = host("napi_create_function", fn (Env, ?[*]const u8, usize, Callback, ?*anyopaque, *Value) callconv(.c) i32) orelse return null;
    const setProperty = host("napi_set_named_property", fn (Env, Value, [*:0]const u8, Value) callconv(.c) i32) orelse return null;
    inline for (.{ .{ "buffer", buffer }, .{ "wakeAtEnd", wakeAtEnd }, .{ "ringAtEnd", ringAtEnd }, .{ "closeAtEnd", closeAtEnd } }) |export_| {
        const name, const callback = export_;
        var function: Value = null;
        if (createFunction(env, name, name.len, callback, null, &function) != ok) return null;
        if (setProperty(env, module, name, function) != ok) return null;
    }
    return module;
}

fn buffer(env: Env, info: CallbackInfo) callconv(.c) Value {
    const getArguments = host("napi_get_cb_info", fn (Env, CallbackInfo, *usize, [*]Value, ?*Value, ?*?*anyopaque) callconv(.c) i32) orelse return null;
    const getNumber = host("napi_get_value_double", fn (Env, Value, *f64) callconv(.c) i32) orelse return null;
    const create = host("napi_create_external_arraybuffer", fn (Env, ?*anyopaque, usize, Finalize, ?*anyopaque, *Value) callconv(.c) i32) orelse return null;
    var arguments: [3]Value = @splat(null);
    var count: usize = arguments.len;
    if (getArguments(env, info, &count, &arguments, null, null) != ok) return null;
    var numbers: [3]usize = undefined;
    for (arguments, &numbers) |argument, *number| {
        var value: f64 = 0;
        if (getNumber(env, argument, &value) != ok) return null;
        // Up to 2^53: an address, or a length.
        if (!(value >= 0 and value <= 1 << 53)) return null;
        number.* = @intFromFloat(value);
    }
    var result: Value = null;
    const made = create(env, @ptrFromInt(numbers[0]), numbers[1], gone, @ptrFromInt(numbers[2]), &result);
    return if (made == ok) result else null;
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
    const getArguments = host("napi_get_cb_info", fn (Env, CallbackInfo, *usize, [*]Value, ?*Value, ?*?*anyopaque) callconv(.c) i32) orelse return null;
    const getNumber = host("napi_get_value_double", fn (Env, Value, *f64) callconv(.c) i32) orelse return null;
    var argument: [1]Value = .{null};
    var count: usize = 1;
    var address: f64 = 0;
    if (getArguments(env, info, &count, &argument, null, null) != ok or getNumber(env, argument[0], &address) != ok) return null;
    return if (address > 0 and address <= 1 << 53) @ptrFromInt(@as(usize, @intFromFloat(address))) else null;
}

fn ring(doorbell: ?*anyopaque) callconv(.c) void {
    waiting.ring(@ptrCast(@alignCast(doorbell orelse return)));
}

/// Nothing calls this function: it is there to be released, which wakes the loop.
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

const Waker = ?*anyopaque;
const CallJs = fn (Env, Value, ?*anyopaque, ?*anyopaque) callconv(.c) void;

fn callNothing(_: Env, _: Value, _: ?*anyopaque, _: ?*anyopaque) callconv(.c) void {}

fn wake(waker: Waker) callconv(.c) void {
    const release = host("napi_release_threadsafe_function", fn (Waker, i32) callconv(.c) i32) orelse return;
    _ = release(waker, 0);
}

fn gone(_: Env, bytes: ?*anyopaque, context: ?*anyopaque) callconv(.c) void {
    const counter: *u32 = @ptrCast(@alignCast(context orelse return));
    exports.ap_buffer_gone(bytes, counter);
}
