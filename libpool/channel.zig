//! Channels, as a member uses them: send, receive, acknowledge. What lies where is said in queue.zig.
//!
//!     send      senders' lock ── room? ── write the cell ── [pool's lock] ── one store: the stamp ── ring
//!     receive   receivers' lock ── one there? ── copy it out ── [pool's lock: hold its arrays] ── one store: head ── ring
//!
//! Who finds no message, or no room, spins for a while: longer where that was worth it before. Then it arms the bell, looks once
//! more, and sleeps on it. Who sends, or makes room, looks at the bell: only if it is armed there is a system call, and
//! one is woken. That one arms the bell again if others may still sleep, and rings itself if there is more. A wake can die with its
//! waker, and an armed bell with who was woken; so nobody sleeps for longer than a slice of 100 ms without looking.
//! A receiver that is to acknowledge needs an entry, too: when all are taken it sleeps on a bell of their own, which rings
//! with each that becomes free or is given back.

const std = @import("std");
const layout = @import("layout.zig");
const allocating = @import("allocating.zig");
const holding = @import("holding.zig");
const lock = @import("lock.zig");
const members = @import("members.zig");
const pinning = @import("pinning.zig");
const waiting = @import("waiting.zig");
const queue_file = @import("queue.zig");
const system = @import("platform.zig").system;
const pool_file = @import("pool.zig");
const Holders = @import("view.zig").Holders;
const Pool = pool_file.Pool;
const Queue = queue_file.Queue;
const Entry = queue_file.Entry;
const Message = queue_file.Message;
const Owner = queue_file.Owner;
const Record = queue_file.Record;
const BlockIndex = layout.BlockIndex;

pub const Error = pool_file.Error || error{
    /// No message, or no room, in the time given.
    Wait,
    /// It was closed; for a receiver: and is empty.
    Closed,
    /// The message does not fit where it is to be copied to; it stays.
    More,
};

pub const slice_ms_max = 100;

// ---------------------------------------------------------------- making

/// Makes a channel, and holds it.
pub fn create(pool: *Pool, capacity: u32, message_bytes_max: u32) Error!u32 {
    const shape: queue_file.Shape = queue_file.Shape.of(capacity, message_bytes_max) orelse return error.Argument;
    const index = try allocating.allocInner(pool, shape.bytes(), true);
    pool.showNothing(index.int()) catch {};
    errdefer holding.letGoAnyway(pool, index.int());
    _ = Queue.make(try bytesOf(pool, index.int()), shape);
    // Only now does anybody take it for one.
    try pinning.setKind(pool, index, layout.Kind.channel);
    return index.int();
}

fn bytesOf(pool: *Pool, number: u32) Error![]u8 {
    const hold = try pool.held(number);
    return (pool.view.heap + hold.offsetBytes())[0..hold.lengthBytes()];
}

/// The channel in a block that this member holds. What was found there at first is kept, since it does not change; where the
/// segment says something else by now, the segment is wrong.
pub noinline fn queueOf(pool: *Pool, number: u32) Error!*const Queue {
    return queueOfHot(pool, number);
}
inline fn queueOfHot(pool: *Pool, number: u32) Error!*const Queue {
    const hold = try pool.held(number);
    const known = &pool.channels[number % pool.channels.len];
    if (known.block != number or known.generation != hold.word.generation) try getToKnow(pool, number, known);
    return &known.queue;
}

noinline fn getToKnow(pool: *Pool, number: u32, known: *queue_file.Known) Error!void {
    if (pool.view.blocks[number].content.get().kind != layout.Kind.channel) return error.Argument;
    const queue = try Queue.of(try bytesOf(pool, number));
    known.* = .{ .block = number, .generation = pool.view.holds[number].word.generation, .queue = queue };
}

/// For a member that has just taken hold of it: what a predecessor in its slot left there. Not where it has held it before: then
/// it may be the one who waits.
pub fn enter(pool: *Pool, number: u32) Error!*const Queue {
    const queue = try queueOf(pool, number);
    if (pool.view.holds[number].holds == 1) {
        waitingOf(queue, pool, .receivers).lower(Holders.bit(pool.self.slot));
        waitingOf(queue, pool, .senders).lower(Holders.bit(pool.self.slot));
    }
    return queue;
}

// ---------------------------------------------------------------- locks

fn lockSenders(pool: *Pool, queue: *const Queue) lock.Error!void {
    try lockOne(pool, &queue.header.send_lock, &.{ .what = queue, .repair = repairSenders });
}
fn unlockSenders(queue: *const Queue) void {
    unlockOne(&queue.header.send_lock);
}
fn lockReceivers(pool: *Pool, queue: *const Queue) lock.Error!void {
    try lockOne(pool, &queue.header.receive_lock, &.{ .what = queue, .repair = repairReceivers });
}
fn unlockReceivers(queue: *const Queue) void {
    unlockOne(&queue.header.receive_lock);
}
noinline fn lockOne(pool: *Pool, word: *layout.Cell(layout.LockWord), guarded: *const lock.Guarded) lock.Error!void {
    try (lock.OtherLock{ .word = word }).acquire(&pool.view, &pool.self, &pool.patience, guarded.*);
}
noinline fn unlockOne(word: *layout.Cell(layout.LockWord)) void {
    (lock.OtherLock{ .word = word }).release();
}

// In place, where it is worth its size.
inline fn lockSendersHot(pool: *Pool, queue: *const Queue) lock.Error!void {
    const of: lock.OtherLock = .{ .word = &queue.header.send_lock };
    try of.acquire(&pool.view, &pool.self, &pool.patience, .{ .what = queue, .repair = repairSenders });
}
inline fn unlockSendersHot(queue: *const Queue) void {
    (lock.OtherLock{ .word = &queue.header.send_lock }).release();
}
inline fn lockReceiversHot(pool: *Pool, queue: *const Queue) lock.Error!void {
    const of: lock.OtherLock = .{ .word = &queue.header.receive_lock };
    try of.acquire(&pool.view, &pool.self, &pool.patience, .{ .what = queue, .repair = repairReceivers });
}
inline fn unlockReceiversHot(queue: *const Queue) void {
    (lock.OtherLock{ .word = &queue.header.receive_lock }).release();
}

fn repairSenders(what: *const anyopaque) bool {
    @as(*const Queue, @ptrCast(@alignCast(what))).repairSenders();
    return true;
}
fn repairReceivers(what: *const anyopaque) bool {
    @as(*const Queue, @ptrCast(@alignCast(what))).repairReceivers();
    return true;
}

// ---------------------------------------------------------------- sending

/// Sends `text` and the arrays of `records`, all held by this member. error.Wait when there was no room for `timeout_ms`.
pub inline fn send(pool: *Pool, number: u32, text: []const u8, records: []align(1) const Record, timeout_ms: u32) Error!void {
    const queue = try queueOfHot(pool, number);
    if (records.len == 0 and text.len <= @min(queue.inlineBytes(), queue.shape.message_bytes_max)) {
        if (publishHot(pool, queue, .{ .text = text })) |_| return ringHot(pool, queue, .receivers) else |err| if (err != error.Wait or timeout_ms == 0) return err;
    }
    return sendSlowly(pool, queue, text, records, timeout_ms);
}

/// What does not fit in its cell, has arrays, or has to wait for room.
noinline fn sendSlowly(pool: *Pool, queue: *const Queue, text: []const u8, records: []align(1) const Record, timeout_ms: u32) Error!void {
    if (text.len > queue.shape.message_bytes_max or records.len > queue_file.arrays_max) return error.TooLarge;
    const fits = if (records.len == 0) text.len <= queue.inlineBytes() else imageBytes(text, records) <= queue.inlineBytes();
    var slice: Slice = .{ .timeout_ms = timeout_ms };
    if (fits) return sendImage(pool, queue, .{ .text = text, .records = records }, &slice);
    // Not before there seems to be room: who waits for that is to take no memory meanwhile.
    var is_over = timeout_ms == 0;
    while (!looksReady(queue, .senders)) {
        if (is_over) return error.Wait;
        is_over = slice.waitFor(pool, queue, .senders);
    }
    // Whatever becomes of it: see sendImage.
    defer passOn(pool, queue, .senders);
    const body = try makeBody(pool, text, records);
    // The message pins it from now on, if it was sent.
    defer holding.letGoAnyway(pool, body.block);
    return sendImage(pool, queue, .{ .text = text, .records = records, .body = body }, &slice);
}

fn imageBytes(text: []const u8, records: []align(1) const Record) u64 {
    return layout.alignUp(text.len, 8) + records.len * @sizeOf(Record);
}

const Image = struct {
    text: []const u8,
    records: []align(1) const Record = &.{},
    body: ?Record = null,

    inline fn write(image: Image, into: []u8) void {
        @memcpy(into[0..image.text.len], image.text);
        if (image.records.len == 0) return;
        const from = layout.alignUp(image.text.len, 8);
        @memcpy(into[from..][0 .. image.records.len * @sizeOf(Record)], std.mem.sliceAsBytes(image.records));
    }
};

/// A block of its own for what a cell cannot hold; held by this member.
fn makeBody(pool: *Pool, text: []const u8, records: []align(1) const Record) Error!Record {
    const index = try allocating.allocInner(pool, imageBytes(text, records), false);
    pool.showNothing(index.int()) catch {};
    errdefer holding.letGoAnyway(pool, index.int());
    (Image{ .text = text, .records = records }).write(try bytesOf(pool, index.int()));
    try pinning.setKind(pool, index, layout.Kind.message);
    return .{ .block = index.int(), .generation = pool.view.holds[index.int()].word.generation };
}

fn sendImage(pool: *Pool, queue: *const Queue, image: Image, slice: *Slice) Error!void {
    if (publish(pool, queue, &image)) |_| return ring(pool, queue, .receivers) else |err| if (err != error.Wait or slice.timeout_ms == 0) return err;
    // Who was woken and does not use it, or not all of it, wakes the next.
    defer passOn(pool, queue, .senders);
    while (true) {
        const is_over = slice.waitFor(pool, queue, .senders);
        if (publish(pool, queue, &image)) |_| return ring(pool, queue, .receivers) else |err| if (err != error.Wait) return err;
        if (is_over) return error.Wait;
    }
}

noinline fn publish(pool: *Pool, queue: *const Queue, image: *const Image) Error!void {
    try publishHot(pool, queue, image.*);
}

inline fn publishHot(pool: *Pool, queue: *const Queue, image: Image) Error!void {
    const header = queue.header;
    try lockSendersHot(pool, queue);
    defer unlockSendersHot(queue);
    if (header.closed.get() != 0) return error.Closed;
    const tail = header.tail.get();
    if (tail -% header.head_seen.get() >= queue.shape.capacity) {
        // Pairs with the commit of head: who took the message that lay in our cell has read it.
        const head = header.head.acquire();
        if (tail -% head > queue.shape.slots) return error.Corrupt;
        header.head_seen.set(head);
        if (tail -% head >= queue.shape.capacity) return error.Wait;
    }
    const cell = queue.cell(tail);
    const sent_bytes = header.sent_bytes.get() +% image.text.len;
    var word: Message.Word = .{ .stamp = Queue.stampOf(tail) };
    const here = cell.content()[0..queue.inlineBytes()];
    if (image.body) |body| {
        word.has_body = true;
        @memcpy(here[0..@sizeOf(Record)], std.mem.asBytes(&body));
    } else image.write(here);
    cell.sent_bytes.set(sent_bytes);
    cell.text_bytes.set(@intCast(image.text.len));
    word.arrays = @intCast(image.records.len);
    if (!word.pins()) cell.word.commit(word) else try pinning.pinAndCommit(pool, image.body, image.records, cell, word);
    header.sent_bytes.set(sent_bytes);
    header.tail.set(tail +% 1);
}

/// No message is sent any more. Who waits is woken, and looks.
pub fn close(pool: *Pool, number: u32) Error!void {
    const queue = try queueOf(pool, number);
    {
        try lockSenders(pool, queue);
        defer unlockSenders(queue);
        queue.header.closed.commit(1);
    }
    for ([_]*layout.Cell(u32){ &queue.header.message_bell, &queue.header.space_bell, &queue.header.entry_bell }) |bell| {
        _ = bell.exchange(bell.get() +% 2);
        _ = system.wakeAll(&bell.raw);
        _ = waiting.notify(pool.caller(), placeOf(pool, bell), waiting.everybody) catch {};
    }
}

// ---------------------------------------------------------------- receiving

pub const Received = struct {
    text_bytes: u32,
    arrays: u32,
    /// With `ack`: where it waits for it, and its number.
    entry: u32 = 0,
    position: u64 = 0,
};

/// What the caller learns of each array, after the text from the next multiple of 8 on.
pub const Attached = extern struct {
    block: f64,
    generation: f64,
    offset: f64,
    bytes: f64,
    dtype: f64,
    kind: f64,
};

/// Receives the next message into memory of the caller's own. With `ack` it stays until it is acknowledged. error.Wait when
/// there was none for `timeout_ms`; error.More when `into` is too small (record[3]: how much is needed).
pub inline fn receive(pool: *Pool, number: u32, into: []u8, ack: bool, timeout_ms: u32) Error!Received {
    const queue = try queueOfHot(pool, number);
    if (!ack) if (try takeText(pool, queue, into)) |bytes| {
        ringHot(pool, queue, .senders);
        return .{ .text_bytes = bytes, .arrays = 0 };
    };
    return receiveSlowly(pool, queue, into, ack, timeout_ms);
}

/// The usual case: a message of text alone lies in its cell, and none was given back. Null in any other.
inline fn takeText(pool: *Pool, queue: *const Queue, into: []u8) Error!?u32 {
    const header = queue.header;
    if (!queue.isThere(header.head.get())) return null;
    try lockReceiversHot(pool, queue);
    defer unlockReceiversHot(queue);
    const head = header.head.get();
    const cell = queue.cell(head);
    const word = cell.word.acquire(); // pairs with the commit in publish
    const bytes = cell.text_bytes.get();
    if (word.stamp != Queue.stampOf(head) or word.pins() or header.unacknowledged.get() != 0) return null;
    if (bytes > @min(queue.inlineBytes(), into.len)) return null;
    @memcpy(into[0..bytes], cell.content());
    cell.touched.set(1);
    header.head.commit(head +% 1);
    return bytes;
}

noinline fn receiveSlowly(pool: *Pool, queue: *const Queue, into: []u8, ack: bool, timeout_ms: u32) Error!Received {
    if (take(pool, queue, into, ack)) |received| return received else |err| if (err != error.Wait or timeout_ms == 0) return err;
    const side: Side = if (ack) .acknowledgers else .receivers;
    defer passOn(pool, queue, side);
    var slice: Slice = .{ .timeout_ms = timeout_ms };
    while (true) {
        const is_over = slice.waitFor(pool, queue, side);
        if (take(pool, queue, into, ack)) |received| return received else |err| if (err != error.Wait) return err;
        if (is_over) return error.Wait;
        if (ack) passOn(pool, queue, side);
    }
}

/// Whether it is worth taking the receivers' lock, also from one who died in it: a guess.
pub fn mayBeThere(queue: *const Queue) bool {
    return queue.isThere(queue.header.head.get()) or queue.header.unacknowledged.get() != 0;
}

fn take(pool: *Pool, queue: *const Queue, into: []u8, ack: bool) Error!Received {
    const header = queue.header;
    // Before the look at the ring: what is sent before it was closed is there.
    const closed = header.closed.acquire() != 0;
    const received = if (!mayBeThere(queue)) null else taken: {
        try lockReceivers(pool, queue);
        defer unlockReceivers(queue);
        break :taken try takeAny(pool, queue, into, ack);
    };
    if (received) |message| {
        ring(pool, queue, .senders);
        // What was given back is taken for good: its entry is free.
        if (!ack) ringForEntry(pool, queue);
        return message;
    }
    return if (closed) error.Closed else error.Wait;
}

fn more(pool: *Pool, bytes: u64) error{More} {
    pool.record[3] = layout.double(bytes);
    return error.More;
}

/// Where the next message is.
const Source = union(enum) { ring, entry: *Entry };

/// Any message: also one with arrays, with a body, that is to be acknowledged, or was given back.
fn takeAny(pool: *Pool, queue: *const Queue, into: []u8, ack: bool) Error!?Received {
    const head = queue.header.head.get();
    returnFromDead(pool, queue, head);
    const from: Source = if (oldestReturned(queue, head)) |entry| .{ .entry = entry } else if (queue.isThere(head)) .ring else return null;
    const message = if (from == .ring) queue.cell(head) else from.entry.message();
    const word = message.word.get();
    const text_bytes = message.text_bytes.get();
    // Where all of it lies: a message that says more than fits there makes nobody find room for it.
    const room = if (word.has_body) pool.view.geometry.capacity_bytes else queue.inlineBytes();
    const image_bytes = if (word.arrays == 0) text_bytes else layout.alignUp(text_bytes, 8) + @as(u64, word.arrays) * @sizeOf(Record);
    const is_sound = text_bytes <= queue.shape.message_bytes_max and image_bytes <= room;
    const needed = layout.alignUp(text_bytes, 8) + @as(u64, word.arrays) * @sizeOf(Attached);
    if (is_sound and needed > into.len) return more(pool, needed);

    var entry: ?*Entry = null;
    if (ack) {
        // Not null: there is a message, for whoever comes when one has been acknowledged.
        entry = if (from == .ring) freeEntry(queue, head) orelse return error.Wait else from.entry;
        if (from == .ring) writeEntry(pool, queue, entry.?, message, word, head);
    }
    // Whatever goes wrong: in an entry that does not count yet, nothing may stay.
    errdefer if (from == .ring) if (entry) |at| at.owner.commit(.{});
    var body: ?u32 = null;
    if (!word.pins()) {
        if (!is_sound) {
            end(pool, queue, from, null, head);
            return error.Corrupt;
        }
        @memcpy(into[0..text_bytes], message.content());
        end(pool, queue, from, entry, head);
    } else {
        try pool.acquire();
        defer pool.unlock();
        // Text alone needs no room behind it.
        const table = if (is_sound and word.arrays > 0) into[layout.alignUp(text_bytes, 8)..] else into[0..0];
        var records = try queue.records(&pool.view, message);
        const attached = if (is_sound) attachAll(pool, records, text_bytes, table, &body) else 0;
        if (attached != word.arrays or (word.has_body and body == null)) {
            detachAll(pool, table, attached, body);
            pinning.unpin(pool, &records);
            end(pool, queue, from, null, head);
            return error.Corrupt; // it was not as it was sent, and is gone
        }
        if (body == null) @memcpy(into[0..text_bytes], message.content());
        // Before the end: from then on the cell is a sender's, who fills it without the pool's lock. Nothing is freed by it,
        // since all of it is held by now; and how many pins a block has is counted anew if we die in between.
        if (!ack) pinning.unpin(pool, &records);
        end(pool, queue, from, entry, head);
    }
    if (body) |number| {
        defer holding.letGoAnyway(pool, number);
        @memcpy(into[0..text_bytes], (try bytesOf(pool, number))[0..text_bytes]);
    }
    return .{
        .text_bytes = text_bytes,
        .arrays = word.arrays,
        .entry = if (entry) |at| indexOf(queue, at) else 0,
        .position = if (entry) |at| at.position.get() else 0,
    };
}

/// The store by which the message is received. `entry`: where it waits for its acknowledgement.
noinline fn end(pool: *Pool, queue: *const Queue, from: Source, entry: ?*Entry, head: u64) void {
    const header = queue.header;
    switch (from) {
        .ring => {
            // Before: who finds the ring empty, and no such message, does not take the lock, and so does not take it over either.
            if (entry != null) header.unacknowledged.set(header.unacknowledged.get() +% 1);
            queue.cell(head).touched.set(1);
            header.head.commit(head +% 1);
        },
        .entry => |at| {
            at.owner.commit(if (entry != null) mine(pool) else .{});
            header.returned.set(header.returned.get() -| 1);
            if (entry == null) header.unacknowledged.set(header.unacknowledged.get() -| 1);
        },
    }
}

/// Holds the arrays of a message, and its body, if that has so many bytes. Returns how many could be held.
noinline fn attachAll(pool: *Pool, all: Queue.Records, text_bytes: u32, into: []u8, body: *?u32) u32 {
    var records = all;
    var count: u32 = 0;
    var is_body = all.body != null;
    while (records.next()) |record| {
        _ = holding.attachLocked(pool, record.block, record.generation, 0) catch return count;
        const hold = &pool.view.holds[record.block];
        if (is_body) {
            is_body = false;
            if (hold.lengthBytes() < text_bytes) {
                holding.detachLocked(pool, record.block);
                return count;
            }
            body.* = record.block;
            continue;
        }
        const attached: Attached = .{
            .block = @floatFromInt(record.block),
            .generation = layout.double(record.generation),
            .offset = layout.double(hold.offsetBytes()),
            .bytes = layout.double(hold.lengthBytes()),
            .dtype = @floatFromInt(pool.view.blocks[record.block].content.get().dtype),
            .kind = @floatFromInt(pool.view.blocks[record.block].content.get().kind),
        };
        const at = count * @sizeOf(Attached);
        if (at + @sizeOf(Attached) > into.len) {
            holding.detachLocked(pool, record.block);
            return count;
        }
        @memcpy(into[at..][0..@sizeOf(Attached)], std.mem.asBytes(&attached));
        count += 1;
    }
    return count;
}

fn detachAll(pool: *Pool, attached: []u8, count: u32, body: ?u32) void {
    for (0..count) |i| {
        var block: f64 = undefined;
        @memcpy(std.mem.asBytes(&block), attached[i * @sizeOf(Attached) ..][0..8]);
        holding.detachLocked(pool, @intFromFloat(block));
    }
    if (body) |number| holding.detachLocked(pool, number);
}

// ---------------------------------------------------------------- acknowledging

fn mine(pool: *const Pool) Owner {
    return .{ .state = .taken, .slot = pool.self.slot, .incarnation = pool.self.incarnation };
}

fn indexOf(queue: *const Queue, entry: *Entry) u32 {
    return @intCast((@intFromPtr(entry) - @intFromPtr(queue.entry(0))) / queue.entryBytes());
}

/// An entry for the message that is taken next; null when all of them wait for an acknowledgement.
pub fn freeEntry(queue: *const Queue, head: u64) ?*Entry {
    const slots = queue.shape.slots;
    if (queue.header.unacknowledged.get() >= slots) return null;
    for (0..slots) |i| {
        const entry = queue.entry(@intCast((head +% i) & (slots - 1)));
        if (entry.owner.get().state == .nobody) return entry;
    }
    return null;
}

/// It counts as soon as head is beyond the message.
pub fn writeEntry(pool: *Pool, queue: *const Queue, entry: *Entry, message: *Message, word: Message.Word, head: u64) void {
    const copy = entry.message();
    const bytes = queue.inlineBytes();
    @memcpy(copy.content()[0..bytes], message.content()[0..bytes]);
    copy.text_bytes.set(message.text_bytes.get());
    copy.sent_bytes.set(message.sent_bytes.get());
    copy.word.set(word);
    entry.position.set(head);
    entry.owner.commit(mine(pool));
}

fn oldestReturned(queue: *const Queue, head: u64) ?*Entry {
    if (queue.header.returned.get() == 0) return null;
    var oldest: ?*Entry = null;
    for (0..queue.shape.slots) |i| {
        const entry = queue.entry(@intCast(i));
        if (entry.owner.get().state != .returned or !Queue.counts(entry, head)) continue;
        if (oldest == null or head -% entry.position.get() > head -% oldest.?.position.get()) oldest = entry;
    }
    return oldest;
}

/// What the dead had taken is the next one's. To ask whether somebody lives costs system calls: not each time.
fn returnFromDead(pool: *Pool, queue: *const Queue, head: u64) void {
    const header = queue.header;
    if (header.unacknowledged.get() == header.returned.get()) return;
    if (!pool.probed.isTime(@intFromPtr(header), system.monotonicMs())) return;
    var lives: Lives = @splat(.unknown);
    for (0..queue.shape.slots) |i| {
        const entry = queue.entry(@intCast(i));
        const owner = entry.owner.get();
        if (owner.state != .taken or !Queue.counts(entry, head) or !isDead(pool, owner, &lives)) continue;
        giveBackEntry(queue, entry);
    }
}

/// Of each slot's member. It is asked once, however many messages he has: under the lock, which the others wait for.
const Lives = [layout.members_max]enum(u8) { unknown, yes, no };

fn isDead(pool: *Pool, owner: Owner, lives: *Lives) bool {
    const word = pool.view.members[owner.slot].word.acquire();
    if (word.incarnation != owner.incarnation or word.state == .vacant) return true;
    const it = &lives[owner.slot];
    // Nobody gets a message meanwhile: whoever has one, and is in that slot, is the one who was asked about.
    if (it.* == .unknown) it.* = if (members.isDead(&pool.view, &pool.self, owner.slot, word)) .no else .yes;
    return it.* == .no;
}

/// When a member has last looked after the owners in a channel: in that channel, or one who looks into several of them in turn
/// would never look after those of the second.
pub const Probed = struct {
    pub const every_ms = 10;

    last: [8]struct { channel: usize = 0, ms: u64 = 0 } = @splat(.{}),

    fn isTime(probed: *Probed, at: usize, now_ms: u64) bool {
        const last = &probed.last[at / layout.granule_bytes % probed.last.len];
        if (last.channel == at and now_ms -% last.ms < every_ms) return false;
        last.* = .{ .channel = at, .ms = now_ms };
        return true;
    }
};

fn giveBackEntry(queue: *const Queue, entry: *Entry) void {
    entry.owner.commit(.{ .state = .returned });
    queue.header.returned.set(queue.header.returned.get() +% 1);
}

/// The message is done with (or, with `give_back`, the next receiver's). error.NotHeld if it is this member's no longer.
pub fn acknowledge(pool: *Pool, number: u32, index: u32, position: u64, give_back: bool) Error!void {
    const queue = try queueOf(pool, number);
    if (index >= queue.shape.slots) return error.Argument;
    {
        try lockReceivers(pool, queue);
        defer unlockReceivers(queue);
        const header = queue.header;
        const entry = queue.entry(index);
        if (entry.owner.get() != mine(pool) or entry.position.get() != position or !Queue.counts(entry, header.head.get())) return error.NotHeld;
        if (give_back) {
            giveBackEntry(queue, entry);
        } else if (!entry.message().word.get().pins()) {
            entry.owner.commit(.{});
            header.unacknowledged.set(header.unacknowledged.get() -| 1);
        } else {
            try pool.acquire();
            defer pool.unlock();
            var records = try queue.records(&pool.view, entry.message());
            entry.owner.commit(.{});
            header.unacknowledged.set(header.unacknowledged.get() -| 1);
            pinning.unpin(pool, &records);
        }
    }
    if (give_back) ring(pool, queue, .receivers);
    ringForEntry(pool, queue);
}

// ---------------------------------------------------------------- waiting

/// Who waits: for a message; for room; for a message and an entry where it waits for its acknowledgement.
pub const Side = enum(u32) { receivers = 0, senders = 1, acknowledgers = 2 };

/// On which it sleeps now.
fn bellOf(queue: *const Queue, side: Side) *layout.Cell(u32) {
    return switch (side) {
        .receivers => &queue.header.message_bell,
        .senders => &queue.header.space_bell,
        .acknowledgers => if (hasEntry(queue)) &queue.header.message_bell else &queue.header.entry_bell,
    };
}

/// Whether a message can be taken that is to be acknowledged, if there is one.
fn hasEntry(queue: *const Queue) bool {
    return queue.header.unacknowledged.look() < queue.shape.slots or queue.header.returned.look() != 0;
}

fn waitingBits(queue: *const Queue, side: Side) *[layout.holder_words]layout.Cell(u64) {
    return if (side == .senders) &queue.header.senders_waiting else &queue.header.receivers_waiting;
}

fn waitingOf(queue: *const Queue, pool: *const Pool, side: Side) *layout.Cell(u64) {
    return &waitingBits(queue, side)[pool.self.slot / 64];
}

/// Whether there is something to do for that side: a guess, without a lock.
fn looksReady(queue: *const Queue, side: Side) bool {
    const header = queue.header;
    return switch (side) {
        .receivers => header.closed.look() != 0 or queue.isThere(header.head.look()) or header.returned.look() != 0,
        .senders => header.closed.look() != 0 or hasRoom(header.tail.look() -% header.head.look(), 1, queue.shape.capacity),
        .acknowledgers => header.returned.look() != 0 or
            (if (queue.isThere(header.head.look())) hasEntry(queue) else header.closed.look() != 0),
    };
}

/// For who was woken and does not use it, or not all of it: then it is the next one's.
noinline fn passOn(pool: *Pool, queue: *const Queue, side: Side) void {
    const of: Side = if (side == .senders) .senders else .receivers;
    if (looksReady(queue, of)) ring(pool, queue, of);
    if (side == .acknowledgers and hasEntry(queue)) ringForEntry(pool, queue);
}

/// Wakes one who sleeps on the other side, if somebody may. After the lock was released, which is in one order with this look.
noinline fn ring(pool: *Pool, queue: *const Queue, side: Side) void {
    ringHot(pool, queue, side);
}
inline fn ringHot(pool: *Pool, queue: *const Queue, side: Side) void {
    ringBell(pool, bellOf(queue, side));
}

/// The one for an entry.
noinline fn ringForEntry(pool: *Pool, queue: *const Queue) void {
    ringBell(pool, &queue.header.entry_bell);
}

inline fn ringBell(pool: *Pool, bell: *layout.Cell(u32)) void {
    const was = bell.look();
    if (was & 1 == 0) ringArmed(pool, bell, was);
}

noinline fn ringArmed(pool: *Pool, bell: *layout.Cell(u32), was: u32) void {
    if (!bell.exchangeIf(was, was +% 1)) return; // somebody else rings
    if (!system.wakeOne(&bell.raw)) _ = waiting.notify(pool.caller(), placeOf(pool, bell), 1) catch {};
}

fn placeOf(pool: *const Pool, bell: *const layout.Cell(u32)) waiting.Place {
    return .of(&pool.view, bell);
}

/// What a sleeper sleeps on: from now on, who has something to tell rings.
fn arm(bell: *layout.Cell(u32)) u32 {
    var was = bell.look();
    // Others may be faster; not for ever.
    for (0..1000) |_| {
        if (was & 1 == 0) return was;
        if (bell.exchangeIf(was, was +% 1)) return was +% 1;
        was = bell.look();
    }
    return was;
}

/// As long as it takes to wake somebody who sleeps, and for him to answer; and at least so long.
const spins_max = 4000;
const spins_min = 64;
const yield_every = 32;
/// Of two who answer each other, each waits asleep as long as the other does: now and then one tries whether that need be.
const try_every = 16;

/// The time that one call may wait. It begins when the first look was in vain: what comes at once, as most of what is waited
/// for does, is taken without asking for the time, which is a system call.
const Slice = struct {
    timeout_ms: u32,
    until_ms: ?u64 = null,
    tries: u32 = 0,

    /// Until it looks ready, or the time is over, or something woke us. Whether it was over.
    noinline fn waitFor(slice: *Slice, pool: *Pool, queue: *const Queue, side: Side) bool {
        const is_ready = spin(pool, queue, side);
        // However often others are faster, the time counts.
        slice.tries += 1;
        if (is_ready and slice.tries == 1) return false;
        const now_ms = system.monotonicMs();
        const until_ms = slice.until_ms orelse now_ms + @min(slice.timeout_ms, slice_ms_max);
        slice.until_ms = until_ms;
        if (!is_ready and now_ms < until_ms) sleep(pool, queue, side, @intCast(until_ms - now_ms));
        return now_ms >= until_ms;
    }
};

/// Until it is rung, or `timeout_ms` are over.
fn sleep(pool: *Pool, queue: *const Queue, side: Side, timeout_ms: u32) void {
    waitingOf(queue, pool, side).raise(Holders.bit(pool.self.slot));
    const bell = bellOf(queue, side);
    defer leave(pool, queue, side, bell);
    const armed = arm(bell);
    if (looksReady(queue, side) or bell != bellOf(queue, side)) return;
    system.wait(&bell.raw, armed, @min(timeout_ms, slice_ms_max));
    pool.patience.processor.woken();
}

/// For who goes on with its event loop meanwhile: the bell, which will be another than `armed` when it is worth looking; null if it
/// is now. Whoever gets one has to leave() after the wait.
pub const Armed = struct { offset: u64, value: u32 };

pub fn startWaiting(pool: *Pool, number: u32, side: Side) Error!?Armed {
    const queue = try queueOf(pool, number);
    waitingOf(queue, pool, side).raise(Holders.bit(pool.self.slot));
    const bell = bellOf(queue, side);
    const value = arm(bell);
    if (!looksReady(queue, side) and bell == bellOf(queue, side)) return .{ .offset = @intFromPtr(bell) - @intFromPtr(queue.header), .value = value };
    leave(pool, queue, side, bell);
    return null;
}

/// After the message was taken, or the wait given up: then the wake is the next one's.
pub fn stopWaiting(pool: *Pool, number: u32, side: Side) Error!void {
    const queue = try queueOf(pool, number);
    // Whichever it slept on.
    if (side == .acknowledgers) leave(pool, queue, side, &queue.header.entry_bell);
    leave(pool, queue, side, if (side == .senders) &queue.header.space_bell else &queue.header.message_bell);
    passOn(pool, queue, side);
}

/// What comes within microseconds is worth waiting for awake; whether it did lately tells for how long. Whoever is to bring it may
/// be on this very processor, where two who talk to each other are often put: so others run in between, or each message would
/// take as long as we spin. A sender waits until there is room for several, if that comes soon: or the two sides would go step by
/// step, and take the memory from each other each time. A receiver of a stream waits for several messages.
pub fn spin(pool: *Pool, queue: *const Queue, side: Side) bool {
    if (pool.patience.spins == 0) return looksReady(queue, side); // one processor
    pool.waits +%= 1;
    if (side != .senders and pool.is_streaming) pool.is_streaming = awaitSeveral(queue);
    const most = if (pool.waits % try_every == 0) spins_max else pool.channel_spins;
    const room: u64 = if (side == .senders) @max(1, queue.shape.capacity / 4) else 1;
    for (0..most) |i| {
        if (if (room == 1) looksReady(queue, side) else looksRoomy(queue, room)) {
            if (side != .senders and pool.waits % stream_every == 0) pool.is_streaming = isStream(queue);
            pool.channel_spins = spins_max;
            return true;
        }
        if (i % yield_every == yield_every - 1) {
            pool.patience.processor.yield();
            continue;
        }
        // To look takes the memory from who makes room.
        for (0..if (room == 1) 1 else @min(64, i + 1)) |_| std.atomic.spinLoopHint();
    }
    pool.channel_spins = @max(spins_min, pool.channel_spins / 2);
    return looksReady(queue, side);
}

/// How often a receiver that waited looks whether it is a stream that it waits for: seldom enough that nobody's p99 tells of it.
pub const stream_every = 256;
const stream_step = 16;
/// No message of a stream waits for others longer; some 10 µs.
const stream_pauses = 400;

/// Whoever takes each message of a stream as soon as it is there always reads the very memory that the sender is writing to: then a
/// message takes both of them up to twice as long, and five times where memory goes from one processor to the other slowly. So it
/// waits for several, and looks only where the last ones will be. False when they did not come: it was no stream, or it has ended.
noinline fn awaitSeveral(queue: *const Queue) bool {
    const head = queue.header.head.look();
    var wanted: u32 = stream_step;
    for (0..stream_pauses) |_| {
        if (wanted > @min(queue.shape.capacity / 4, 256)) break;
        if (queue.isThere(head +% wanted -% 1)) wanted += stream_step else std.atomic.spinLoopHint();
    }
    return wanted > stream_step;
}

/// Whether more come right after the one that is there.
noinline fn isStream(queue: *const Queue) bool {
    for (0..12) |_| std.atomic.spinLoopHint();
    return queue.isThere(queue.header.head.look() +% 2);
}

fn looksRoomy(queue: *const Queue, room: u64) bool {
    const header = queue.header;
    return header.closed.get() != 0 or hasRoom(header.tail.get() -% header.head.get(), room, queue.shape.capacity);
}

/// `depth`: of the tail above head. A sender that died has not counted its last message; when that was received, head is beyond
/// the tail, until somebody takes the lock over: so there is something to do.
inline fn hasRoom(depth: u64, room: u64, capacity: u64) bool {
    return @as(i64, @bitCast(depth)) <= @as(i64, @intCast(capacity - room));
}

/// No longer asleep. Others may be, and the bell was rung for us.
fn leave(pool: *Pool, queue: *const Queue, side: Side, bell: *layout.Cell(u32)) void {
    waitingOf(queue, pool, side).lower(Holders.bit(pool.self.slot));
    var others: u64 = 0;
    for (waitingBits(queue, side)) |*word| others |= word.get();
    if (others != 0) _ = arm(bell);
}

// ---------------------------------------------------------------- looking

pub const Stats = struct {
    depth: u64,
    messages: u64,
    bytes: u64,
    waiting_senders: u32,
    waiting_receivers: u32,
    unacknowledged: u32,
    closed: bool,
};

pub fn stats(pool: *Pool, number: u32) Error!Stats {
    const queue = try queueOf(pool, number);
    const header = queue.header;
    // Who has the lock has sent a message, or has not.
    try lockSenders(pool, queue);
    defer unlockSenders(queue);
    const returned = header.returned.get();
    return .{
        .depth = @min(header.tail.get() -% header.head.get(), queue.shape.slots) + returned,
        .messages = header.tail.get(),
        .bytes = header.sent_bytes.get(),
        .waiting_senders = countWaiting(pool, number, &header.senders_waiting),
        .waiting_receivers = countWaiting(pool, number, &header.receivers_waiting),
        .unacknowledged = header.unacknowledged.get() -| returned,
        .closed = header.closed.get() != 0,
    };
}

/// Those who live; the bits of the others go. One who does not hold the channel does not wait for it: his slot was another's.
fn countWaiting(pool: *Pool, number: u32, bits: *[layout.holder_words]layout.Cell(u64)) u32 {
    const holders: Holders = .of(&pool.view.blocks[number]);
    var count: u32 = 0;
    for (bits, holders.words, 0..) |*cell, held, i| {
        var left = cell.get() & held;
        while (left != 0) : (left &= left - 1) {
            const slot: u8 = @intCast(i * 64 + @ctz(left));
            const word = pool.view.members[slot].word.acquire();
            if (word.state != .vacant and !members.isDead(&pool.view, &pool.self, slot, word)) count += 1 else cell.lower(Holders.bit(slot));
        }
    }
    return count;
}
