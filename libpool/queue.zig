//! What is in the block of a channel: a ring of messages, and the messages that were received and not yet acknowledged.
//!
//!     0      shape       how many cells, how large; written before anybody knows the block. And whether it was closed
//!     64     senders     their lock, where the next message goes
//!     128    receivers   their lock, which message is the next
//!     192    bells       on which who finds the ring empty, or full, or all entries taken, sleeps
//!     320    cells       of the ring: message p lies in cell p modulo their number
//!            entries     messages that are received and wait for their acknowledgement
//!
//! The truth, and the stores that change it:
//!
//!     cell.word      a message p is there from the store of its stamp on (send)
//!     head           message p is received when head is beyond p (receive)
//!     entry.owner    of a message that is to be acknowledged: who has it; one store gives it back, or ends it
//!
//! An entry counts only if its message is below head: so with the store of head a message is in its entry, and no longer in the
//! ring. All else is derived, and made anew by who takes a lock over from the dead (repairSenders, repairReceivers).
//!
//! The arrays in a message are pinned by the message itself: by each record in it (Records). So sending or receiving one with
//! arrays takes the pool's lock, too, inside the channel's; whoever has the pool's lock alone finds these messages at
//! rest, and counts them (recovery.zig). What is said here may be anything, as everywhere in the segment.

const std = @import("std");
const layout = @import("layout.zig");
const system = @import("platform.zig").system;
const View = @import("view.zig").View;
const Corrupt = @import("view.zig").Corrupt;
const Unreadable = @import("view.zig").Unreadable;
const What = @import("broken.zig").What;
const Cell = layout.Cell;
const LockWord = layout.LockWord;
const assert = layout.assert;

pub const capacity_max = 1 << 16;
/// A message of so many bytes, at most, lies in its cell; a larger one in a block of its own.
pub const inline_max = cell_bytes_max - @sizeOf(Message);
pub const cell_bytes_max = 256;
pub const arrays_max = (1 << 20) - 1;

const mark: u64 = 0x6c65_6e6e_6168_6370; // "pchannel", little-endian

pub const Header = extern struct {
    mark: Cell(u64),
    /// A power of two, not less than the capacity.
    slots: Cell(u32),
    capacity: Cell(u32),
    cell_bytes: Cell(u32),
    message_bytes_max: Cell(u32),
    /// Not 0: nothing is sent any more. Changed once, by who has the senders' lock; read by everybody each time, so it lies
    /// with what does not change.
    closed: Cell(u32),
    _line0: [36]u8,

    send_lock: Cell(LockWord),
    _pad1: u32,
    /// Where the next message goes (derived: the first cell, from head on, without its stamp).
    tail: Cell(u64),
    /// Head, when a sender last looked (derived; safe when it is too low).
    head_seen: Cell(u64),
    /// Bytes of all messages below tail (derived, from the last cell; stored before it).
    sent_bytes: Cell(u64),
    _line1: [32]u8,

    receive_lock: Cell(LockWord),
    /// Entries that count (derived), and those of them that were given back.
    unacknowledged: Cell(u32),
    returned: Cell(u32),
    _pad2: u32,
    head: Cell(u64),
    _line2: [40]u8,

    /// Even: somebody may sleep on it, or is about to. Odd: who has something to tell need not ring.
    message_bell: Cell(u32),
    space_bell: Cell(u32),
    /// For who would acknowledge, when all entries wait for that.
    entry_bell: Cell(u32),
    _line3: [52]u8,

    /// Bit s: the member in slot s waits. For those who look, and to know whether others sleep.
    receivers_waiting: [layout.holder_words]Cell(u64),
    senders_waiting: [layout.holder_words]Cell(u64),
};

/// In a cell and in an entry; what it carries follows: its text, and from the next multiple of 8 on its records. A message that
/// is larger than that has one record here, of the block where all of it lies (its body).
pub const Message = extern struct {
    word: Cell(Word),
    /// Of this message and all before it.
    sent_bytes: Cell(u64),
    text_bytes: Cell(u32),
    /// Says nothing. Whoever has read a message writes here before it is received: then the cell is in that processor's cache alone,
    /// and the next sender's stores into it wait for nothing. In two caches they would wait until the other one has given it up.
    touched: Cell(u32),

    pub const Word = packed struct(u64) {
        /// Records, without that of the body.
        arrays: u20 = 0,
        has_body: bool = false,
        _pad: u3 = 0,
        /// The message's number, plus one, modulo 2^40.
        stamp: u40 = 0,

        /// Whether it pins anything.
        pub fn pins(word: Word) bool {
            return word.arrays > 0 or word.has_body;
        }
    };

    pub fn content(message: *Message) [*]u8 {
        return @as([*]u8, @ptrCast(message)) + @sizeOf(Message);
    }
};

/// What pins one array; an element of a message.
pub const Record = extern struct {
    block: u32,
    _pad: u32 = 0,
    generation: u64,
};

pub const Owner = packed struct(u64) {
    state: State = .nobody,
    slot: u8 = 0,
    _pad: u16 = 0,
    incarnation: u23 = 0,
    _rest: u9 = 0,

    pub const State = enum(u8) {
        nobody = 0,
        /// That member has received the message, and has not acknowledged it.
        taken = 1,
        /// It is the next receiver's.
        returned = 2,
        _,
    };
};

pub const Entry = extern struct {
    owner: Cell(Owner),
    /// The message's number.
    position: Cell(u64),
    _pad: [48]u8,

    pub fn message(entry: *Entry) *Message {
        return @ptrCast(@alignCast(@as([*]u8, @ptrCast(entry)) + @sizeOf(Entry)));
    }
};

comptime {
    assert(@sizeOf(Header) == 320);
    assert(@offsetOf(Header, "send_lock") == 64);
    assert(@offsetOf(Header, "receive_lock") == 128);
    assert(@offsetOf(Header, "message_bell") == 192);
    assert(@offsetOf(Header, "receivers_waiting") == 256);
    assert(@sizeOf(Message) == 24);
    assert(@sizeOf(Record) == 16);
    assert(@sizeOf(Entry) == 64);
    for (.{ Header, Message, Record, Entry }) |T| layout.assertNoPadding(T);
    for (.{ Header, Message, Entry }) |T| assert(layout.isCells(T));
}

/// What follows from the options of a channel.
pub const Shape = struct {
    slots: u32,
    capacity: u32,
    cell_bytes: u32,
    message_bytes_max: u32,

    /// Null when an option is out of its range.
    pub fn of(capacity: u32, message_bytes_max: u32) ?Shape {
        if (capacity == 0 or capacity > capacity_max or message_bytes_max == 0 or message_bytes_max > std.math.maxInt(i32)) return null;
        const wanted = layout.alignUp(@as(u64, message_bytes_max) + @sizeOf(Message), layout.granule_bytes);
        return .{
            .slots = std.math.ceilPowerOfTwoAssert(u32, capacity),
            .capacity = capacity,
            .cell_bytes = @intCast(std.math.clamp(wanted, 64, cell_bytes_max)),
            .message_bytes_max = message_bytes_max,
        };
    }
    pub fn bytes(shape: Shape) u64 {
        return @sizeOf(Header) + @as(u64, shape.slots) * (2 * shape.cell_bytes + @sizeOf(Entry));
    }
};

pub const Queue = struct {
    header: *Header,
    shape: Shape,

    /// The channel in these bytes, if there is one.
    pub noinline fn of(bytes: []u8) Corrupt!Queue {
        if (bytes.len < @sizeOf(Header)) return error.Corrupt;
        const header: *Header = @ptrCast(@alignCast(bytes.ptr));
        const shape: Shape = .{
            .slots = header.slots.get(),
            .capacity = header.capacity.get(),
            .cell_bytes = header.cell_bytes.get(),
            .message_bytes_max = header.message_bytes_max.get(),
        };
        if (header.mark.get() != mark or !std.math.isPowerOfTwo(shape.slots) or shape.slots > capacity_max or
            shape.capacity == 0 or shape.capacity > shape.slots or shape.cell_bytes % layout.granule_bytes != 0 or
            shape.cell_bytes == 0 or shape.cell_bytes > cell_bytes_max or shape.bytes() > bytes.len) return error.Corrupt;
        return .{ .header = header, .shape = shape };
    }

    /// Makes one, in zeros that nobody else knows of.
    pub fn make(bytes: []u8, shape: Shape) Queue {
        const header: *Header = @ptrCast(@alignCast(bytes.ptr));
        header.slots.set(shape.slots);
        header.capacity.set(shape.capacity);
        header.cell_bytes.set(shape.cell_bytes);
        header.message_bytes_max.set(shape.message_bytes_max);
        header.message_bell.set(1);
        header.space_bell.set(1);
        header.entry_bell.set(1);
        header.mark.set(mark);
        return .{ .header = header, .shape = shape };
    }

    pub inline fn inlineBytes(queue: *const Queue) u32 {
        return queue.shape.cell_bytes - @sizeOf(Message);
    }

    /// Of message number `position`.
    pub inline fn cell(queue: *const Queue, position: u64) *Message {
        const at = @sizeOf(Header) + (position & (queue.shape.slots - 1)) * queue.shape.cell_bytes;
        return @ptrCast(@alignCast(@as([*]u8, @ptrCast(queue.header)) + at));
    }

    pub noinline fn entry(queue: *const Queue, index: u32) *Entry {
        const slots: u64 = queue.shape.slots;
        const at = @sizeOf(Header) + slots * queue.shape.cell_bytes + index * queue.entryBytes();
        return @ptrCast(@alignCast(@as([*]u8, @ptrCast(queue.header)) + at));
    }

    pub fn entryBytes(queue: *const Queue) u64 {
        return @as(u64, queue.shape.cell_bytes) + @sizeOf(Entry);
    }

    pub inline fn stampOf(position: u64) u40 {
        return @truncate(position +% 1);
    }

    /// Whether message number `position` was sent, and is not received.
    pub fn isThere(queue: *const Queue, position: u64) bool {
        // Pairs with the commit of the word in send: what it carries is there.
        return queue.cell(position).word.acquire().stamp == stampOf(position);
    }

    /// Whether an entry's message is in the entry, and no longer in the ring. The owner is read first: to one who does not
    /// have the receivers' lock, a message that is just written there would else have its owner, and the number of the one before.
    pub fn counts(of_entry: *const Entry, head: u64) bool {
        if (of_entry.owner.acquire().state == .nobody) return false; // pairs with the commit in writeEntry
        const ago = head -% of_entry.position.get();
        return ago >= 1 and ago <= std.math.maxInt(i64);
    }

    // ------------------------------------------------------------ repair

    /// For who has taken the senders' lock over from the dead: a message may be there that `tail` does not count.
    pub fn repairSenders(queue: *const Queue) void {
        const header = queue.header;
        var tail = header.tail.get();
        for (0..queue.shape.slots) |_| {
            if (!queue.isThere(tail)) break;
            // Of this one, and never of the last that is counted: where there is one cell, the dead one has written over it.
            header.sent_bytes.set(queue.cell(tail).sent_bytes.get());
            tail +%= 1;
        }
        header.tail.set(tail);
    }

    /// For who has taken the receivers' lock over: an entry may have been written for a message that stayed in the ring.
    pub fn repairReceivers(queue: *const Queue) void {
        const head = queue.header.head.get();
        var unacknowledged: u32 = 0;
        var returned: u32 = 0;
        for (0..queue.shape.slots) |i| {
            const at = queue.entry(@intCast(i));
            if (counts(at, head)) {
                unacknowledged += 1;
                if (at.owner.get().state == .returned) returned += 1;
            } else if (at.owner.get() != Owner{}) at.owner.commit(.{});
        }
        queue.header.unacknowledged.set(unacknowledged);
        queue.header.returned.set(returned);
    }

    /// What is not as it must be; nothing also while somebody is at it.
    pub fn brokenAtRest(queue: *const Queue) What {
        // Twice: a message that was taken and given back meanwhile has left the counts as they were.
        if (queue.brokenNow() == .nothing) return .nothing;
        return queue.brokenNow();
    }

    /// Whoever changes an entry changes a count, or head.
    noinline fn brokenNow(queue: *const Queue) What {
        const before: Counts = .of(queue);
        if (!before.at_rest) return .nothing;
        var depth: u64 = 0;
        while (depth <= queue.shape.slots and queue.isThere(before.head +% depth)) depth += 1;
        var unacknowledged: u32 = 0;
        var returned: u32 = 0;
        for (0..queue.shape.slots) |i| {
            const at = queue.entry(@intCast(i));
            if (!counts(at, before.head)) continue;
            unacknowledged += 1;
            if (at.owner.get().state == .returned) returned += 1;
        }
        if (!std.meta.eql(before, Counts.of(queue))) return .nothing;
        if (depth != before.tail -% before.head) return .@"the messages of a channel do not fill its ring up to its tail";
        if (depth > queue.shape.capacity) return .@"a channel has more messages than its capacity";
        if (before.unacknowledged != unacknowledged or before.returned != returned) return .@"a channel's count of unacknowledged messages is wrong";
        return .nothing;
    }

    const Counts = struct {
        at_rest: bool,
        head: u64,
        tail: u64,
        unacknowledged: u32,
        returned: u32,

        fn of(queue: *const Queue) Counts {
            const header = queue.header;
            return .{
                .at_rest = header.send_lock.look() == LockWord.unlocked and header.receive_lock.look() == LockWord.unlocked,
                .head = header.head.look(),
                .tail = header.tail.look(),
                .unacknowledged = header.unacknowledged.look(),
                .returned = header.returned.look(),
            };
        }
    };

    // ------------------------------------------------------------ what is pinned

    /// All messages that pin something: for who has the pool's lock. They stay as they are, and stay where they are, since it takes
    /// that lock to send one, to receive one and to end one. Those that pin nothing come and go meanwhile: a cell or an entry may be
    /// written over between two reads of it. Then its word says one of three, whenever it is read (docs/model/pins.pml):
    ///
    ///     nothing pinned              by its last message, or by the next, which is published: there are no records to read
    ///     a message that is over      its stamp is below head, which was read before; its entry has no owner
    ///     one that is received now    it is still in the ring: its entry's number is not below head
    pub fn messages(queue: *const Queue) Messages {
        return .{ .queue = queue.*, .head = queue.header.head.acquire() };
    }

    pub const Messages = struct {
        queue: Queue,
        head: u64,
        at: u32 = 0,

        pub fn next(messages_: *Messages) ?*Message {
            const queue = &messages_.queue;
            const slots = queue.shape.slots;
            while (messages_.at < 2 * slots) {
                const at = messages_.at;
                messages_.at += 1;
                const message = if (at < slots) queue.cell(at) else queue.entry(at - slots).message();
                if (!message.word.acquire().pins()) continue;
                const is_there = if (at < slots) messages_.isQueued(at, message) else counts(queue.entry(at - slots), messages_.head);
                if (is_there) return message;
            }
            return null;
        }

        /// A stamp is of one of the next `slots` messages, or of one that was received.
        fn isQueued(messages_: *const Messages, at: u32, message: *Message) bool {
            const position = message.word.get().stamp -% 1;
            const ahead = position -% @as(u40, @truncate(messages_.head));
            return ahead < messages_.queue.shape.slots and position & (messages_.queue.shape.slots - 1) == at;
        }
    };

    /// The records of a message. Bounded by where they lie.
    pub fn records(queue: *const Queue, view: *const View, message: *Message) Unreadable!Records {
        const word = message.word.get();
        const here = message.content()[0..queue.inlineBytes()];
        if (!word.has_body) return .of(null, here, message.text_bytes.get(), word.arrays);
        const body: Record = readRecord(here.ptr);
        const bytes = try bodyBytes(view, body) orelse return .of(body, here[0..0], 0, 0);
        return .of(body, bytes, message.text_bytes.get(), word.arrays);
    }

    /// What lies in the block of a body, if it is there.
    pub fn bodyBytes(view: *const View, body: Record) Unreadable!?[]u8 {
        return contentOf(view, pinnedBy(view, body) orelse return null);
    }

    pub const Records = struct {
        body: ?Record,
        list: [*]const u8,
        left: u32,

        fn of(body: ?Record, bytes: []u8, text_bytes: u32, wanted: u32) Records {
            const from = layout.alignUp(text_bytes, 8);
            const room = (bytes.len -| from) / @sizeOf(Record);
            return .{ .body = body, .list = bytes.ptr + @min(from, bytes.len), .left = @intCast(@min(wanted, room)) };
        }

        /// The body's first. The others may be read though it has been freed meanwhile, as long as the caller has the lock.
        pub fn next(it: *Records) ?Record {
            if (it.body) |body| {
                it.body = null;
                return body;
            }
            if (it.left == 0) return null;
            const record = readRecord(it.list);
            it.list += @sizeOf(Record);
            it.left -= 1;
            return record;
        }
    };
};

/// What a member has looked at once, and keeps: a channel that it holds, or held.
pub const Known = struct {
    block: u32 = 0,
    generation: u64 = 0,
    queue: Queue = undefined,
};

/// Once, into memory of our own.
pub fn readRecord(from: [*]const u8) Record {
    var record: Record = undefined;
    @memcpy(std.mem.asBytes(&record), from[0..@sizeOf(Record)]);
    return record;
}

/// The bytes of a block in use that this member need not hold. The segment may lie about what is behind them, so that is made
/// sure of: rare enough for a system call under the lock.
pub fn contentOf(view: *const View, block: *const layout.Block) Unreadable!?[]u8 {
    const extent = view.extent(block) catch return null;
    const length = View.lengthIn(block, extent) catch return null;
    // A copy (look.zig) has no descriptor, and where it has nothing, it has zeros.
    if (view.fd >= 0) switch (system.makeReadable(view.fd, view.geometry.heap_start + extent.offsetBytes(), extent.bytes())) {
        .yes => {},
        .no => return null,
        .not_now => return error.Busy,
    };
    return (view.heap + extent.offsetBytes())[0..length];
}

/// The channel in a block in use; null if there is none, or nothing that is one.
pub fn queueIn(view: *const View, block: *const layout.Block) Unreadable!?Queue {
    if (block.content.get().kind != layout.Kind.channel) return null;
    return Queue.of(try contentOf(view, block) orelse return null) catch null;
}

/// What is to be done with each record of messages that pin.
pub const Visitor = struct {
    visit: *const fn (visitor: *Visitor, record: Record) void,
};

/// Visits all that is pinned by the messages of a channel. What is there in good order is no more than what fits into the heap, so
/// `budget` (of records, for all channels together) bounds what wild fields can ask for.
pub noinline fn forEachPin(view: *const View, queue: *const Queue, budget: *u64, visitor: *Visitor) Unreadable!void {
    var messages = queue.messages();
    while (messages.next()) |message| {
        var records = try queue.records(view, message);
        while (records.next()) |record| {
            if (budget.* == 0) return;
            budget.* -= 1;
            visitor.visit(visitor, record);
        }
    }
}

/// The block that a record pins, if it is there.
pub fn pinnedBy(view: *const View, record: Record) ?*layout.Block {
    if (record.block >= view.blocksUsed()) return null;
    const block = view.block(.of(record.block)) catch return null;
    const word = block.word.get();
    return if (word.state == .used and word.generation == record.generation) block else null;
}

pub fn pinBudget(view: *const View) u64 {
    return view.geometry.capacity_bytes / @sizeOf(Record);
}
