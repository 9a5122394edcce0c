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

const host = @import("host.zig");

const Isolate = opaque {};
const BackingStore = opaque {};
const Local = ?*anyopaque;
pub const Deleter = *const fn (bytes: ?*anyopaque, length: usize, context: ?*anyopaque) callconv(.c) void;

/// As large as makes every calling convention return it where the caller says. Only the pointer is written.
const UniqueStore = extern struct { store: ?*BackingStore, _: [2]usize };
const SharedStore = extern struct { store: ?*BackingStore, control: ?*Control };

var v8: extern struct {
    currentIsolate: *const fn () callconv(.c) ?*Isolate,
    newStore: *const fn (?*anyopaque, usize, Deleter, ?*anyopaque) callconv(.c) UniqueStore,
    newBuffer: *const fn (*Isolate, *SharedStore) callconv(.c) Local,
    destroyStore: *const fn (*BackingStore) callconv(.c) void,
    delete: *const fn (?*anyopaque) callconv(.c) void,
    new: *const fn (usize) callconv(.c) ?*anyopaque,
} = undefined;

/// To be called before all others: false where the host has not all that is needed.
pub fn find() bool {
    return host.findNamed(&v8, &.{
        "_ZN2v87Isolate10GetCurrentEv",
        "_ZN2v811ArrayBuffer15NewBackingStoreEPvmPFvS1_mS1_ES1_",
        "_ZN2v811ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE",
        "_ZN2v812BackingStoreD1Ev",
        "_ZdlPv",
        "_Znwm",
    });
}

/// The control block of a `std::shared_ptr`: what GNU's `std::_Sp_counted_base` consists of, and then what is ours.
const Control = extern struct {
    table: *const Table,
    uses: c_int = 1,
    weak_uses: c_int = 1,
    store: *BackingStore,
    /// Here, and filled one by one, since pointers in a constant are more for the dynamic loader to do.
    own_table: Table,

    const Table = extern struct {
        destructor: *const fn (*Control) callconv(.c) void,
        deleting_destructor: *const fn (*Control) callconv(.c) void,
        /// The last owner is gone.
        dispose: *const fn (*Control) callconv(.c) void,
        /// And the last one who looks.
        destroy: *const fn (*Control) callconv(.c) void,
        deleter: *const fn (*Control, *anyopaque) callconv(.c) ?*anyopaque,
    };

    fn fill(control: *Control, store: *BackingStore) void {
        control.* = .{ .table = &control.own_table, .store = store, .own_table = undefined };
        control.own_table.destructor = nothing;
        control.own_table.deleting_destructor = nothing;
        control.own_table.dispose = dispose;
        control.own_table.destroy = destroy;
        control.own_table.deleter = noDeleter;
    }

    fn nothing(_: *Control) callconv(.c) void {}
    fn noDeleter(_: *Control, _: *anyopaque) callconv(.c) ?*anyopaque {
        return null;
    }
    fn dispose(control: *Control) callconv(.c) void {
        v8.destroyStore(control.store);
        v8.delete(control.store);
    }
    fn destroy(control: *Control) callconv(.c) void {
        v8.delete(control);
    }
};

/// Memory of the host's own.
pub fn allocate(bytes: usize) ?*anyopaque {
    return v8.new(bytes);
}

pub fn free(memory: *anyopaque) void {
    v8.delete(memory);
}

/// An ArrayBuffer on foreign memory. `deleter` is called when nothing sees it through that any more. Null if there is no
/// memory for it.
pub fn buffer(bytes: ?*anyopaque, length: usize, deleter: Deleter, context: ?*anyopaque) Local {
    const isolate = v8.currentIsolate() orelse return null;
    const store = v8.newStore(bytes, length, deleter, context).store orelse return null;
    // Never null: it aborts when there is no memory, as the rest of V8 does.
    const control: *Control = @ptrCast(@alignCast(v8.new(@sizeOf(Control))));
    control.fill(store);
    var shared: SharedStore = .{ .store = store, .control = control };
    const made = v8.newBuffer(isolate, &shared);
    // V8 takes it over. Should it not have done so, it is still ours.
    if (shared.control) |left| {
        left.table.dispose(left);
        left.table.destroy(left);
    }
    return made;
}
