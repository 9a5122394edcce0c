//! ArrayBuffers by V8's own interface, for Node: with a deleter that V8 calls at once and on any thread. Node-API has
//! external ArrayBuffers, too, but in Node it tells of their end in a later turn of the event loop only, so that memory
//! could not be used again before that; and they cannot be transferred.
//!
//! V8's interface is C++. What of its binary form is relied on:
//!
//! - The names: which parameters a function has, and that `std::shared_ptr` is that of GNU's library, stands in the
//!   mangled name. A host without exactly these names has no `buffer`.
//! - A result with a destructor (`std::unique_ptr`) is written where the caller says, and such a parameter
//!   (`std::shared_ptr`) is passed by its address, and destroyed by the caller.
//! - A `std::shared_ptr` is two pointers, the object and its control block, and a control block begins as `Control` does.
//! - `v8::Local` is one pointer, and so what Node-API calls a value.
//!
//! That holds for one major version of Node at a time, whose interface for addons is frozen: node/ffi.ts says for which
//! ones it was tested, and asks for no other.

const std = @import("std");

const Isolate = opaque {};
const BackingStore = opaque {};
const Local = ?*anyopaque;
pub const Deleter = *const fn (bytes: ?*anyopaque, length: usize, context: ?*anyopaque) callconv(.c) void;

/// As large as makes every calling convention return it where the caller says. Only the pointer is written.
const UniqueStore = extern struct { store: ?*BackingStore, _: [2]usize };
const SharedStore = extern struct { store: ?*BackingStore, control: ?*Control };

fn host(comptime name: []const u8, comptime Function: type) ?*const Function {
    return @extern(?*const Function, .{ .name = name, .linkage = .weak });
}

const Functions = struct {
    currentIsolate: *const fn () callconv(.c) ?*Isolate,
    newStore: *const fn (?*anyopaque, usize, Deleter, ?*anyopaque) callconv(.c) UniqueStore,
    newBuffer: *const fn (*Isolate, *SharedStore) callconv(.c) Local,
    destroyStore: *const fn (*BackingStore) callconv(.c) void,
    delete: *const fn (?*anyopaque) callconv(.c) void,
    new: *const fn (usize) callconv(.c) ?*anyopaque,

    fn find() ?Functions {
        return .{
            .currentIsolate = host("_ZN2v87Isolate10GetCurrentEv", fn () callconv(.c) ?*Isolate) orelse return null,
            .newStore = host("_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_", fn (?*anyopaque, usize, Deleter, ?*anyopaque) callconv(.c) UniqueStore) orelse return null,
            .newBuffer = host("_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE", fn (*Isolate, *SharedStore) callconv(.c) Local) orelse return null,
            .destroyStore = host("_ZN2v812BackingStoreD1Ev", fn (*BackingStore) callconv(.c) void) orelse return null,
            .delete = host("_ZdlPv", fn (?*anyopaque) callconv(.c) void) orelse return null,
            .new = host("_Znwm", fn (usize) callconv(.c) ?*anyopaque) orelse return null,
        };
    }
};

/// The control block of a `std::shared_ptr`: what GNU's `std::_Sp_counted_base` consists of, and then what is ours.
const Control = extern struct {
    table: *const Table = &Table.ours,
    uses: c_int = 1,
    weak_uses: c_int = 1,
    store: *BackingStore,

    const Table = extern struct {
        destructor: *const fn (*Control) callconv(.c) void = nothing,
        deleting_destructor: *const fn (*Control) callconv(.c) void = nothing,
        /// The last owner is gone.
        dispose: *const fn (*Control) callconv(.c) void = dispose,
        /// And the last one who looks.
        destroy: *const fn (*Control) callconv(.c) void = destroy,
        deleter: *const fn (*Control, *anyopaque) callconv(.c) ?*anyopaque = noDeleter,

        const ours: Table = .{};
    };

    fn nothing(_: *Control) callconv(.c) void {}
    fn noDeleter(_: *Control, _: *anyopaque) callconv(.c) ?*anyopaque {
        return null;
    }
    fn dispose(control: *Control) callconv(.c) void {
        const functions = Functions.find().?;
        functions.destroyStore(control.store);
        functions.delete(control.store);
    }
    fn destroy(control: *Control) callconv(.c) void {
        Functions.find().?.delete(control);
    }
};

/// Memory of the host's own. Null where it is not known.
pub fn allocate(bytes: usize) ?*anyopaque {
    const functions = Functions.find() orelse return null;
    return functions.new(bytes);
}

pub fn free(memory: *anyopaque) void {
    Functions.find().?.delete(memory);
}

pub fn isThere() bool {
    return Functions.find() != null;
}

/// An ArrayBuffer on foreign memory. `deleter` is called when nothing sees it through that any more. Null if there is no
/// memory for it.
pub fn buffer(bytes: ?*anyopaque, length: usize, deleter: Deleter, context: ?*anyopaque) Local {
    const functions = Functions.find() orelse return null;
    const isolate = functions.currentIsolate() orelse return null;
    const store = functions.newStore(bytes, length, deleter, context).store orelse return null;
    // Never null: it aborts when there is no memory, as the rest of V8 does.
    const control: *Control = @ptrCast(@alignCast(functions.new(@sizeOf(Control))));
    control.* = .{ .store = store };
    var shared: SharedStore = .{ .store = store, .control = control };
    const made = functions.newBuffer(isolate, &shared);
    // V8 takes it over. Should it not have done so, it is still ours.
    if (shared.control) |left| {
        left.table.dispose(left);
        left.table.destroy(left);
    }
    return made;
}
