//! The segment, byte by byte: what every process that maps a pool agrees on.
//!
//!     0            header      who made it, how large it is, the lock, `touching`, counters
//!     4 KiB        members     256 × 64 B
//!     20 KiB       allocator   free lists and their bitmaps (derived)
//!     32 KiB       waiting     who waits for a word to change, and how members are woken
//!     60 KiB       activity    counters for those who look
//!     64 KiB       block table blocks_max × 64 B, backed only as far as `blocks_backed` says
//!     pins_start   pin table   pins_max × 32 B, backed only as far as `pins_backed` says
//!     waiters_start waiter table waiters_max × 32 B, backed only as far as `waiters_backed` says
//!     names_start  name table  names_max × 256 B, backed only as far as `names_backed` says
//!     heap_start   heap        granules of 64 B; only payload
//!
//! Truth and derived data: the chain (`Block.next`, `start`, `word`, `holders`), the pins, the names and the waiters are the truth. Everything
//! marked *derived* can be thrown away and rebuilt from it (recovery.zig).
//!
//! Every field that more than one process touches is a `Cell`: it can be written only by `set`, `commit` or `swap`, so
//! no store to shared memory escapes the crash points of a test build (crash.zig).

const std = @import("std");
const builtin = @import("builtin");
const crash = @import("crash.zig");

/// For our own bugs, in Debug and ReleaseSafe builds. A release build neither checks nor believes it: what stands in the
/// segment may be anything, and must not become undefined behaviour.
pub inline fn assert(ok: bool) void {
    if (@inComptime() or std.debug.runtime_safety) std.debug.assert(ok);
}

pub const magic: u64 = 0x6c6f_6f70_7972_7261; // "arrypool", little-endian
/// Raise it with every change of this file that another build would misread.
pub const version: u32 = 3;

pub const granule_bytes = 64;
pub const section_bytes = 64 * 1024; // the largest page size in use
/// Of the block table and of the pin table, what each segment has memory for.
pub const blocks_first_bytes = 16 * 1024;
pub const pins_first_bytes = 4096;
pub const members_max = 256;
pub const capacity_min: u64 = 1 << 20;
pub const capacity_max: u64 = 256 << 30;
pub const name_bytes_max = 30;

/// An index into the block table.
pub const BlockIndex = enum(u32) {
    none = std.math.maxInt(u32),
    _,

    pub inline fn of(index: u32) BlockIndex {
        return @enumFromInt(index);
    }
    pub inline fn int(index: BlockIndex) u32 {
        return @intFromEnum(index);
    }
};

/// An index into the pin table.
pub const PinIndex = enum(u32) { none = std.math.maxInt(u32), _ };

/// A waiter: those up to `members_max` are the members' own, by slot; the others stand in a table.
pub const WaiterIndex = enum(u32) {
    none = 0,
    _,

    pub inline fn ofMember(slot: u8) WaiterIndex {
        return @enumFromInt(@as(u32, slot) + 1);
    }
    pub inline fn ofTable(number: u32) WaiterIndex {
        return @enumFromInt(number + members_max + 1);
    }
    /// The place in the table of one that is no member's own.
    pub inline fn entry(index: WaiterIndex) ?u32 {
        return if (@intFromEnum(index) > members_max) @intFromEnum(index) - members_max - 1 else null;
    }
};

/// A record of the name table, counted from 1: so memory that was never written to says `none`.
pub const NameIndex = enum(u32) {
    none = 0,
    _,

    pub inline fn of(number: u32) NameIndex {
        return @enumFromInt(number + 1);
    }
    /// Where it lies in the table; of `none`, beyond its end.
    pub inline fn entry(index: NameIndex) u32 {
        return @intFromEnum(index) -% 1;
    }
};

/// A place in shared memory that several processes read and write, one store at a time.
///
/// Who sees what, on machines that reorder (arm64):
///
///     the lock          its commit and swap release, its compareAndSwap acquires: everything below, and what an array holds,
///                       is written and read with `set` and `get`, or plainly, on the inner side of that pair
///     a cached block    its word's commit releases (Cache.keep), the compareAndSwap of whoever takes it acquires (Cache.takeOf,
///                       cache.takeBack): the next owner of that memory comes after its last one
///     a member's word   its commit releases the fields before it (endJoin), its acquire() is before the fields (isDead)
///     a dead process    released nothing: but all its stores are there once the kernel has told of its death, since they
///                       came before the kernel's own locks on the way to it (fcntl, signals, /proc)
///
/// A death cuts between two instructions of the program's order, whatever order others saw its stores in: so for crashes
/// only the compiler matters, and that is what the fences in `commit` are for.
pub fn Cell(comptime T: type) type {
    return extern struct {
        raw: Raw,

        const Self = @This();
        pub const Raw = switch (@typeInfo(T)) {
            .int => T,
            .@"enum" => |e| e.tag_type,
            .@"struct" => |s| s.backing_integer.?,
            else => @compileError("a cell holds an integer, an enum or a packed struct"),
        };

        inline fn toRaw(value: T) Raw {
            return switch (@typeInfo(T)) {
                .int => value,
                .@"enum" => @intFromEnum(value),
                else => @bitCast(value),
            };
        }
        inline fn fromRaw(raw: Raw) T {
            return switch (@typeInfo(T)) {
                .int => raw,
                .@"enum" => @enumFromInt(raw),
                else => @bitCast(raw),
            };
        }

        /// One read; use the local from then on, the memory may change. In no order: under the lock there is nothing to
        /// order, and outside what it gives is a guess, or is compared again.
        pub inline fn get(cell: *const Self) T {
            crash.load();
            return fromRaw(@atomicLoad(Raw, &cell.raw, .monotonic));
        }
        /// Pairs with `commit`: what was stored before that is visible after this.
        pub inline fn acquire(cell: *const Self) T {
            crash.load();
            return fromRaw(@atomicLoad(Raw, &cell.raw, .acquire));
        }
        /// Derived data, or data that nothing published refers to yet: may be seen in any order.
        pub inline fn set(cell: *Self, value: T) void {
            @atomicStore(Raw, &cell.raw, toRaw(value), .monotonic);
            crash.step();
        }
        /// Derived data that most likely is as it should be already: stores only what differs.
        pub inline fn update(cell: *Self, value: T) void {
            if (@atomicLoad(Raw, &cell.raw, .monotonic) != toRaw(value)) cell.set(value);
        }
        /// The one store that makes a change true. The compiler moves nothing across it, in either direction: a process
        /// that dies at any instruction leaves either all that came before it, or nothing of what comes after.
        pub inline fn commit(cell: *Self, value: T) void {
            fence();
            @atomicStore(Raw, &cell.raw, toRaw(value), .release);
            fence();
            crash.step();
        }
        /// The same of the lowest eight bits alone, which is the first byte: what the others say stays, and need not be known.
        pub inline fn commitLowest(cell: *Self, value: T) void {
            fence();
            @atomicStore(u8, @as(*u8, @ptrCast(&cell.raw)), @truncate(toRaw(value)), .release);
            fence();
            crash.step();
        }
        /// True if `expected` stood there and `value` stands there now. Acquires on success; pairs with `commit` and `swap`.
        pub inline fn compareAndSwap(cell: *Self, expected: T, value: T) bool {
            fence();
            const done = @cmpxchgStrong(Raw, &cell.raw, toRaw(expected), toRaw(value), .acquire, .monotonic) == null;
            fence();
            if (done) crash.step();
            return done;
        }
        /// In one order with all others of this kind, and with `look`: who stores with one of them and then looks, and who looks the
        /// other way round, do not both miss the other's store.
        pub inline fn exchange(cell: *Self, value: T) T {
            fence();
            const old = @atomicRmw(Raw, &cell.raw, .Xchg, toRaw(value), .seq_cst);
            fence();
            crash.step();
            return fromRaw(old);
        }
        pub inline fn exchangeIf(cell: *Self, expected: T, value: T) bool {
            fence();
            const done = @cmpxchgStrong(Raw, &cell.raw, toRaw(expected), toRaw(value), .seq_cst, .seq_cst) == null;
            fence();
            if (done) crash.step();
            return done;
        }
        pub inline fn look(cell: *const Self) T {
            crash.load();
            return fromRaw(@atomicLoad(Raw, &cell.raw, .seq_cst));
        }
        /// Bits of several writers. After what was done before.
        pub inline fn raise(cell: *Self, bits: T) void {
            fence();
            _ = @atomicRmw(Raw, &cell.raw, .Or, bits, .release);
            fence();
            crash.step();
        }
        pub inline fn lower(cell: *Self, bits: T) void {
            fence();
            _ = @atomicRmw(Raw, &cell.raw, .And, ~bits, .release);
            fence();
            crash.step();
        }
        /// Releases; pairs with `acquire`.
        pub inline fn add(cell: *Self, value: T) void {
            fence();
            _ = @atomicRmw(Raw, &cell.raw, .Add, value, .release);
            fence();
            crash.step();
        }
        /// Releases; pairs with `compareAndSwap`.
        pub inline fn swap(cell: *Self, value: T) T {
            fence();
            const old = @atomicRmw(Raw, &cell.raw, .Xchg, toRaw(value), .release);
            fence();
            crash.step();
            return fromRaw(old);
        }
    };
}

inline fn fence() void {
    asm volatile ("" ::: .{ .memory = true });
}

// ---------------------------------------------------------------- header

pub const LockWord = packed struct(u32) {
    slot: u8 = 0,
    waiters: bool = false,
    /// Never 0 while held, so the word of a held lock is never 0.
    incarnation: u23 = 0,

    pub const unlocked: LockWord = .{};
};

/// The only entry that can be out of the chain and not marked so: it is in the chain if and only if left.next == entry.
pub const Touching = packed struct(u64) {
    left: u32 = std.math.maxInt(u32),
    entry: u32 = std.math.maxInt(u32),
};

/// The only two records that can have the same key: the second replaces the first as soon as it has it.
pub const Renaming = packed struct(u64) { from: u32 = 0, to: u32 = 0 };

pub const Header = extern struct {
    // Written before the segment has a name, and never again. The first 64 bytes, `claims_until_ms` and the places of the
    // lock bytes (platform/linux.zig) are the same in every layout version: sweeping needs them.
    magic: Cell(u64),
    version: Cell(u32),
    member_bytes: Cell(u32),
    nonce: Cell(u64),
    capacity_bytes: Cell(u64),
    segment_bytes: Cell(u64),
    claim_ttl_ms: Cell(u64),
    created_at_ms: Cell(u64),
    blocks_max: Cell(u32),
    pins_max: Cell(u32),

    /// Monotonic milliseconds; no claim lives beyond it. 0: there is no claim.
    claims_until_ms: Cell(u64),
    /// Who made it, for those who list pools; never changes.
    creator_pid: Cell(u32),
    creator_runtime: Cell(u32),
    _line1: [48]u8,

    lock: Cell(LockWord),
    _line2: [60]u8,

    touching: Cell(Touching),
    /// Entries and pins below these were in use at some time; above them all is zero.
    blocks_used: Cell(u32),
    pins_used: Cell(u32),
    /// Entries and pins below these have memory behind them.
    blocks_backed: Cell(u32),
    pins_backed: Cell(u32),
    recoveries: Cell(u32),

    // Derived.
    claims: Cell(u32),
    unused_blocks: Cell(BlockIndex),
    unused_count: Cell(u32),
    unused_pins: Cell(PinIndex),
    _line3: [20]u8,

    /// 1 after a recovery found the chain broken: the pool refuses everything but leaving. In a cache line of its own, since
    /// every allocation looks.
    corrupt: Cell(u32),
    _line4: [60]u8,

    /// Records of the name table below these were in use at some time, and have memory behind them.
    names_used: Cell(u32),
    names_backed: Cell(u32),
    /// Announces that a name is about to be given to another array: both records may have its key, then the new one counts.
    renaming: Cell(Renaming),
    // Derived.
    names: Cell(u32),
    name_buckets: Cell(u32),
    unused_names: Cell(NameIndex),

    _pad: [4]u8,
    /// How often what nobody has was left to the next reap since the last one: begun (times `left_begun`), and done.
    left: Cell(u64),

    _rest: [4096 - 360]u8,

    pub const left_begun = 1 << 32;
};

// ---------------------------------------------------------------- members

pub const MemberState = enum(u8) {
    vacant = 0,
    /// Owns the slot's byte, and is not done with what its predecessor left. Only the byte says whether it lives.
    joining = 1,
    joined = 2,
    _,
};

pub const MemberWord = packed struct(u32) {
    incarnation: u23 = 0,
    _pad: u1 = 0,
    state: MemberState = .vacant,
};

pub const Member = extern struct {
    word: Cell(MemberWord),
    pid: Cell(u32),
    tid: Cell(u32),
    /// The descriptor by which the member's process owns the slot's byte: a sibling closes it when its thread is gone.
    fd: Cell(u32),
    /// Which PID namespace `pid` and `tid` belong to; 0 when /proc is not usable.
    pid_namespace: Cell(u64),
    /// Start time of the thread, from /proc: a thread of the same number that started at another time is another one.
    started_ticks: Cell(u64),
    joined_at_ms: Cell(u64),
    /// Start of the member's mapping (its private part and the segment).
    mapping: Cell(u64),
    runtime: Cell(u32),
    /// Buffers that its host was to make on its memory, and those of them that are gone: any thread of its process counts
    /// the latter. As long as they differ, that memory may be seen, though the member be dead.
    buffers_shown: Cell(u32),
    buffers_gone: Cell(u32),
    /// How often it has attached, counted round: for those who look.
    attaches: Cell(u32),
};

// ---------------------------------------------------------------- allocator (derived)

/// Free blocks of up to this many granules go to the quick list of exactly their size.
pub const quick_granules_max = 512;
pub const second_levels = 32;
pub const first_levels = 28;

/// Two-level segregated lists of free runs; all of one kind, backed or not.
pub const Runs = extern struct {
    first: Cell(u32),
    second: [first_levels]Cell(u32),
    heads: [first_levels * second_levels]Cell(BlockIndex),
};

pub const FreeLists = extern struct {
    /// Last in, first out; linked by `Links.next` only. Always backed.
    quick: [quick_granules_max + 1]Cell(BlockIndex),
    _pad: u32,
    quick_granules: Cell(u64),
    unbacked: Runs,
    backed: Runs,
};

// ---------------------------------------------------------------- blocks

pub const BlockState = enum(u3) {
    /// Not in the chain; the entry waits for a split.
    unused = 0,
    free = 1,
    /// Taken by the member whose bit is set, which is backing or punching it outside the lock. Cannot be attached.
    reserved = 2,
    used = 3,
    /// The last entry of the chain, of no size.
    end = 4,
    /// Free, but kept for the member whose bit is set (cache.zig). The only state that ends without the lock.
    cached = 5,
    _,
};

pub const BlockWord = packed struct(u64) {
    state: BlockState = .unused,
    /// There is memory behind every byte. Safe when it says no.
    backed: bool = false,
    /// Every byte is zero; of free memory that is not backed: and no whole page of it has memory behind it, so there is
    /// nothing for trim() to give back. Safe when it says no.
    zero: bool = false,
    /// Of a block in use: others may have been told of it. One that is not shared is its only holder's business.
    shared: bool = false,
    /// Up to here a byte holds it (Cell.commitLowest).
    _pad: u5 = 0,
    /// Goes up whenever the entry is allocated, and survives splits, merges and recovery: it never repeats.
    generation: u53 = 0,
};

pub const holder_words = members_max / 64;

pub const Links = extern struct {
    next: Cell(BlockIndex),
    prev: Cell(BlockIndex),
    list: Cell(List),
    _pad: [20]u8,

    pub const List = enum(u32) { none = 0, quick = 1, runs = 2, _ };
};

/// What is in a block: for those who list blocks, and for who frees one, since a channel's messages pin others.
pub const Content = packed struct(u16) {
    dtype: u8 = 0,
    kind: u4 = Kind.array,
    /// Of the count of bytes at the end that are not the array's, what is above `Tail.bytes`.
    tail_high: u4 = 0,

    pub inline fn of(dtype: u8, tail_bytes: u32) Content {
        return .{ .dtype = dtype, .tail_high = @truncate(tail_bytes >> 8) };
    }
    pub fn as(content: Content, kind: u4) Content {
        return .{ .kind = kind, .tail_high = content.tail_high };
    }
};

pub const Kind = struct {
    pub const array: u4 = 0;
    pub const channel: u4 = 1;
    /// What a message carries that is too large for its cell.
    pub const message: u4 = 2;
    /// In which a traced member writes where its arrays were made, for those who look (core/trace_log.ts).
    pub const trace: u4 = 15;
};

pub const tail_bytes_max = (1 << 12) - 1;
/// How much room an array's maker may ask for behind it, to leave a word for those who look.
pub const room_bytes_max = 80;

/// What is known of a block in use since it was allocated, and of no interest to whoever allocates.
pub const Tail = packed struct(u32) {
    /// Bytes at the end that are not the array's: of their count the low bits, see `Content`.
    bytes: u8 = 0,
    /// When it was allocated, by the monotonic clock: for those who look. Units of 1,024 ms, counted round: in half a year.
    born: u24 = 0,

    const unit_bits = 10;

    pub inline fn of(bytes: u32, born: u24) Tail {
        return .{ .bytes = @truncate(bytes), .born = born };
    }
    pub fn bornAt(now_ms: u64) u24 {
        return @truncate(now_ms >> unit_bits);
    }
    pub fn ageMs(tail: Tail, now_ms: u64) u64 {
        const units = bornAt(now_ms) -% tail.born;
        // What lies ahead is no time of allocation: another time namespace wrote it, or somebody who must not.
        return if (units >> 23 == 0) @as(u64, units) << unit_bits else 0;
    }
};

pub const Block = extern struct {
    next: Cell(BlockIndex),
    prev: Cell(BlockIndex), // derived
    /// Granules from heap_start. The size is next.start - start, and stands nowhere.
    start: Cell(u32),
    tail: Cell(Tail),
    word: Cell(BlockWord),
    pins: Cell(u32), // derived
    content: Cell(Content),
    /// Of its pins, those that are names, for those who look; from 65,535 on it stays there while the block is in use (derived).
    names: Cell(u16),
    of: extern union {
        /// used, reserved, cached: bit s is set while the member in slot s holds the block.
        holders: [holder_words]Cell(u64),
        /// free, unused (derived).
        links: Links,
    },
};

// ---------------------------------------------------------------- pins

pub const PinKind = enum(u8) { vacant = 0, claim = 1, _ };

pub const PinWord = packed struct(u64) {
    kind: PinKind = .vacant,
    /// Attaches that are left.
    attaches: u24 = 0,
    /// Goes up with every use of the record: what makes an old claim number stale.
    serial: u32 = 0,
};

/// 64 ms each, counted round.
pub const MadeAt = packed struct(u32) {
    ticks: u32 = 0,

    pub fn of(now_ms: u64) MadeAt {
        return .{ .ticks = @truncate(now_ms >> 6) };
    }
    pub fn ageMs(made: MadeAt, now_ms: u64) u64 {
        return @as(u64, MadeAt.of(now_ms).ticks -% made.ticks) << 6;
    }
};

pub const Pin = extern struct {
    word: Cell(PinWord),
    generation: Cell(u64),
    deadline_ms: Cell(u64),
    block: Cell(BlockIndex),
    of: extern union {
        /// In use: when it was made, by the monotonic clock, in units that last for years.
        made: Cell(MadeAt),
        next_unused: Cell(PinIndex), // derived
    },
};

// ---------------------------------------------------------------- names

pub const key_bytes_max = 128;
pub const axes_max = 64;
/// What each axis takes of a name's text: 7 bits a byte, as many as it needs. Any shape of an array that is not empty fits.
pub const shape_bytes_max = 72;
pub const text_words = (key_bytes_max + shape_bytes_max) / 8;

pub const NameState = enum(u8) {
    vacant = 0,
    /// The key is that of an array: the record is a pin on its block.
    set = 1,
    /// A member makes the array; the others wait for it.
    making = 2,
    _,
};

pub const NameWord = packed struct(u32) {
    state: NameState = .vacant,
    key_bytes: u8 = 0,
    shape_bytes: u8 = 0,
    /// Axes of the shape; `no_shape`: it is just the length.
    axes: u8 = no_shape,

    pub const no_shape = 255;
};

pub const Maker = packed struct(u32) { slot: u8 = 0, _pad: u1 = 0, incarnation: u23 = 0 };

pub const Name = extern struct {
    word: Cell(NameWord),
    /// Who makes the array, while somebody does.
    maker: Cell(Maker),
    // Which part of which block, while the name is set.
    generation: Cell(u64),
    offset: Cell(u64),
    length_bytes: Cell(u64),
    block: Cell(BlockIndex),
    hash: Cell(u32),
    /// Of its bucket, or unused (derived).
    next: Cell(NameIndex),
    /// The first record of the bucket that has this record's number (derived).
    first: Cell(NameIndex),
    /// Goes up when making has ended, one way or the other: who waits for that sleeps on it.
    made: Cell(u32),
    _pad: [4]u8,
    /// The key in UTF-8, then the shape; zeros up to the next word.
    text: [text_words]Cell(u64),
};

// ---------------------------------------------------------------- waiting

pub const WaiterState = enum(u8) {
    vacant = 0,
    /// In the list of its bucket.
    waiting = 1,
    /// Somebody has woken it, and its owner has not seen that yet.
    notified = 2,
    /// Given up by its owner, who could not have the lock to take it out of the list.
    over = 3,
    _,
};

pub const WaiterWord = packed struct(u32) {
    state: WaiterState = .vacant,
    /// Whose it is.
    slot: u8 = 0,
    _pad: u16 = 0,
};

/// One wait of one member for the word at `place`. Its owner sleeps on `word` (its own one), or by its doorbell.
pub const Waiter = extern struct {
    word: Cell(WaiterWord),
    /// In its bucket; `next` also in the list of unused ones.
    next: Cell(WaiterIndex), // derived
    prev: Cell(WaiterIndex), // derived
    /// In its member's list of notified ones.
    next_ready: Cell(WaiterIndex), // derived
    /// Bytes from the start of the segment.
    place: Cell(u64),
    _pad: [8]u8,
};

pub const buckets_max = 512;
pub const bucket_factor: u32 = 0x9e37_79b1;

/// Those who wait for a word of the same hash, first come first.
pub const Bucket = extern struct {
    /// How many wait, or were notified and have not seen it. Read without the lock: 0 says that certainly nobody waits.
    waiters: Cell(u32), // derived
    first: Cell(WaiterIndex), // derived
    last: Cell(WaiterIndex), // derived
    _pad: [4]u8,
};

pub const DoorbellState = enum(u32) {
    /// The member looks by itself.
    awake = 0,
    /// It sleeps, or is about to: the kernel has to be asked to wake it.
    parked = 1,
    /// The same, after it was asked: whoever is about to sleep on this word does not.
    called = 2,
    _,
};

/// How a member is woken that waits in its event loop: one for all its waits.
pub const Doorbell = extern struct {
    state: Cell(DoorbellState),
    first_ready: Cell(WaiterIndex), // derived
    last_ready: Cell(WaiterIndex), // derived
    /// The number that is the name of its socket; 0: it sleeps on `state`.
    socket: Cell(u32),
    /// What has to be sent there: the kernel drops anything else.
    cookie: Cell(u64),
    _pad: [8]u8,
};

pub const Waiting = extern struct {
    buckets: [buckets_max]Bucket,
    /// The waiter of each member for the one wait that blocks its thread.
    own: [members_max]Waiter,
    doorbells: [members_max]Doorbell,
    /// Bit s: the member in slot s has notified waiters that it has not seen yet.
    ready: [members_max / 64]Cell(u64), // derived
    /// As for pins.
    waiters_used: Cell(u32),
    waiters_backed: Cell(u32),
    unused_waiters: Cell(WaiterIndex), // derived
    /// Not 0, from some time on for ever: somebody may notify without a fence (waiting.zig).
    unfenced: Cell(u32),
};

// ---------------------------------------------------------------- counted for those who look

/// What nobody needs but an onlooker, counted round, each by its member alone.
pub const Activity = extern struct {
    /// How often the member in each slot found the lock taken.
    lock_waits: [members_max]Cell(u32),
};

// ---------------------------------------------------------------- where things are

pub const members_start = @sizeOf(Header);
pub const free_lists_start = members_start + members_max * @sizeOf(Member);
pub const waiting_start = 32 * 1024;
pub const activity_start = 60 * 1024;
pub const blocks_start = section_bytes;
/// What a segment takes of /dev/shm before its first array.
pub const first_bytes = blocks_start + blocks_first_bytes + pins_first_bytes;

/// Everything that follows from the capacity. Computed from it once by each member, and never read from the segment.
pub const Geometry = struct {
    capacity_bytes: u64,
    heap_granules: u32,
    blocks_max: u32,
    pins_max: u32,
    waiters_max: u32,
    names_max: u32,
    pins_start: u64,
    waiters_start: u64,
    names_start: u64,
    heap_start: u64,
    segment_bytes: u64,

    /// Null when the capacity is out of range.
    pub fn of(capacity_asked: u64) ?Geometry {
        if (capacity_asked < capacity_min or capacity_asked > capacity_max) return null;
        // The end of the chain is a granule number too, and has to fit into 32 bits.
        const capacity = @min(alignUp(capacity_asked, section_bytes), capacity_max - section_bytes);
        const blocks_max: u32 = @intCast(std.math.clamp(capacity / 256, 4096, 1 << 24));
        const pins_max: u32 = @intCast(std.math.clamp(capacity / 1024, 4096, 1 << 20));
        const waiters_max: u32 = @intCast(std.math.clamp(capacity / 1024, 4096, 1 << 16));
        const pins_start = alignUp(blocks_start + @as(u64, blocks_max) * @sizeOf(Block), section_bytes);
        const names_max: u32 = @intCast(std.math.clamp(capacity / 4096, 4096, 1 << 20));
        const waiters_start = alignUp(pins_start + @as(u64, pins_max) * @sizeOf(Pin), section_bytes);
        const names_start = alignUp(waiters_start + @as(u64, waiters_max) * @sizeOf(Waiter), section_bytes);
        const heap_start = alignUp(names_start + @as(u64, names_max) * @sizeOf(Name), section_bytes);
        return .{
            .capacity_bytes = capacity,
            .heap_granules = @intCast(capacity / granule_bytes),
            .blocks_max = blocks_max,
            .pins_max = pins_max,
            .waiters_max = waiters_max,
            .names_max = names_max,
            .pins_start = pins_start,
            .waiters_start = waiters_start,
            .names_start = names_start,
            .heap_start = heap_start,
            .segment_bytes = heap_start + capacity,
        };
    }

    /// What the metadata takes of /dev/shm, when so many entries of each table are backed.
    pub fn metadataBytes(_: Geometry, blocks: u32, pins: u32, waiters: u32, names: u32) u64 {
        return blocks_start + wholePages(blocks, @sizeOf(Block)) + wholePages(pins, @sizeOf(Pin)) +
            wholePages(waiters, @sizeOf(Waiter)) + wholePages(names, @sizeOf(Name));
    }
    fn wholePages(entries: u32, entry_bytes: u64) u64 {
        return alignUp(entries * entry_bytes, 4096);
    }
};

/// Of numbers below 2^63: from those to doubles there is an instruction, and from all a dozen.
pub inline fn double(number: u64) f64 {
    return @floatFromInt(@as(i64, @bitCast(number)));
}

pub fn alignUp(value: u64, alignment: u64) u64 {
    return (value + alignment - 1) & ~(alignment - 1);
}

/// A claim's number in a descriptor: record and serial, below 2^53 and never 0.
pub fn claimNumber(pin: PinIndex, serial: u32) u64 {
    return (@as(u64, serial) << 20) | @intFromEnum(pin);
}

comptime {
    assert(builtin.cpu.arch.endian() == .little);
    assert(@bitOffsetOf(BlockWord, "_pad") <= 8 and @bitOffsetOf(BlockWord, "generation") >= 8);

    assert(@sizeOf(Header) == 4096);
    assert(@offsetOf(Header, "magic") == 0);
    assert(@offsetOf(Header, "nonce") == 16);
    assert(@offsetOf(Header, "segment_bytes") == 32);
    assert(@offsetOf(Header, "claims_until_ms") == 64);
    assert(@offsetOf(Header, "lock") == 128); // a cache line of its own
    assert(@offsetOf(Header, "touching") == 192);
    assert(@offsetOf(Header, "claims") == 220);
    assert(@offsetOf(Header, "corrupt") == 256);
    assert(@offsetOf(Header, "names_used") == 320);
    assert(@offsetOf(Header, "left") == 352 and @offsetOf(Header, "_rest") == 360);

    assert(@sizeOf(Member) == 64);
    assert(@offsetOf(Member, "pid_namespace") == 16);
    assert(@offsetOf(Member, "mapping") == 40);
    assert(members_start == 4096 and free_lists_start == 20480);

    assert(@sizeOf(FreeLists) + free_lists_start <= waiting_start);
    assert(@offsetOf(FreeLists, "quick_granules") % 8 == 0);

    assert(@sizeOf(Block) == 64);
    assert(@offsetOf(Block, "word") == 16);
    assert(@offsetOf(Block, "of") == 32);
    assert(@sizeOf(Links) == @sizeOf([holder_words]Cell(u64)));

    assert(@sizeOf(Pin) == 32);

    assert(@sizeOf(Waiter) == 32 and @sizeOf(Bucket) == 16 and @sizeOf(Doorbell) == 32);
    assert(@sizeOf(Name) == 256);
    assert(@offsetOf(Name, "text") == 56);
    assert(@sizeOf(Waiting) + waiting_start <= activity_start);
    assert(@sizeOf(Activity) + activity_start <= blocks_start);
    for (.{ Header, Member, FreeLists, Block, Links, Pin, Waiter, Bucket, Doorbell, Waiting, Activity, Name }) |T| {
        assertNoPadding(T);
        assert(isCells(T));
    }
    assertNoPadding(Runs);
}

/// Shared structs say every byte: what the compiler puts between fields is nobody's.
pub fn assertNoPadding(comptime T: type) void {
    var bytes = 0;
    for (@typeInfo(T).@"struct".fields) |field| bytes += @sizeOf(field.type);
    assert(bytes == @sizeOf(T));
}

/// Shared structs hold nothing that could be written but through a cell: so no store escapes the crash points.
pub fn isCells(comptime T: type) bool {
    switch (@typeInfo(T)) {
        .array => |array| return isCells(array.child),
        .@"struct", .@"union" => {
            if (@hasDecl(T, "Raw")) return true;
            for (std.meta.fields(T)) |field| if (field.name[0] != '_' and !isCells(field.type)) return false;
            return true;
        },
        else => return false,
    }
}

test "capacities at both ends of the range have a geometry" {
    const least = Geometry.of(capacity_min).?;
    try std.testing.expectEqual(capacity_min, least.capacity_bytes);
    const most = Geometry.of(capacity_max).?;
    try std.testing.expectEqual(capacity_max - section_bytes, most.capacity_bytes);
    try std.testing.expect(Geometry.of(capacity_min - 1) == null);
    try std.testing.expect(Geometry.of(capacity_max + 1) == null);
}

test "claim numbers fit into a JavaScript number and are never 0" {
    const largest = claimNumber(@enumFromInt((1 << 20) - 1), std.math.maxInt(u32));
    try std.testing.expect(largest < 1 << 53);
    try std.testing.expect(claimNumber(@enumFromInt(0), 1) != 0);
}
