//! What the walk over a segment may find broken (recovery.zig), and how it is said.
//!
//! The texts are a large part of what the library has of text, and hardly ever read: so they stand there with a byte for each of
//! the words that occur most, and each is found by its place among the others.

const std = @import("std");
const text_file = @import("text.zig");

pub const Broken = struct {
    what: What,
    where: u64 = 0,

    /// "what (where)", and a nul. 128 bytes are enough.
    pub fn say(broken: Broken, into: []u8) [:0]u8 {
        var length: usize = 0;
        for (entry(texts, @intFromEnum(broken.what))) |c| {
            if (c < first_word) {
                into[length] = c;
                length += 1;
                continue;
            }
            const word = entry(words, c - first_word);
            @memcpy(into[length..][0..word.len], word);
            length += word.len;
        }
        const number = text_file.fill(into[length..], " (#)", &.{broken.where});
        return into[0 .. length + number.len :0];
    }
};

pub const What = enum(u8) {
    nothing = 0,
    @"more of the block table is backed than there is",
    @"entries of the block table are used that are not backed",
    @"more of the pin table is backed than there is",
    @"pins are used that are not backed",
    @"the chain leads out of the block table",
    @"prev is not the block before",
    @"start does not rise along the chain",
    @"a block has no size",
    @"the chain ends before the heap does",
    @"an entry of the chain is marked unused, or by no known state",
    @"a claim is on a block that is not there",
    @"a claim has no attaches left",
    @"a claim outlives claims_until",
    @"a pin is of no known kind",
    @"a channel is none",
    @"a message has an array that is not there",
    @"a free block has pins",
    @"a cached block is not one that was in use and never shared",
    @"a cached block has pins",
    @"a cached block has not one owner",
    @"a block in use says that it is zero",
    @"a block in use is not backed",
    @"a block in use has neither holder nor pin",
    @"a block's tail is longer than the block",
    @"an entry is marked as part of the chain and is not in it",
    @"the blocks' counts of pins do not add up to the pins",
    @"a block counts a pin that another one has",
    @"the blocks' counts of names do not add up to the names",
    @"a quick list leads out of the block table",
    @"a quick list holds a block that does not belong there",
    @"a block's extent is wrong",
    @"a quick list holds a block of another size",
    @"more blocks are in free lists than are free",
    @"the first bitmap of the runs is wrong",
    @"a second bitmap of the runs is wrong",
    @"a list of runs leads out of the block table",
    @"a list of runs holds a block that does not belong there",
    @"a list of runs is linked wrongly",
    @"a run is in the list of another size",
    @"a free block is in no list",
    @"the quick lists' size is wrong",
    @"the count of claims is wrong",
    @"a block is not as this member holds it",
    @"a block is not where this member has cached it",
    @"an entry in use is in the list of unused ones",
    @"an unused entry is lost",
    @"an unused pin is lost",
    @"the header's magic number is wrong",
    @"the chain does not end",
    @"the list of unused entries leads out of the table",
    @"the list of unused entries does not end",
    @"the list of unused pins leads out of the table",
    @"a pin in use is in the list of unused ones",
    @"the list of unused pins does not end",
    @"more of the name table is backed than there is",
    @"names are used that are not backed",
    @"there is no such number of buckets",
    @"a name is on a block that is not there",
    @"a name is in no known state",
    @"a name has no key",
    @"a bucket of names leads out of the table, or does not end",
    @"a name is not found by its key, or two have the same",
    @"the count of names is wrong",
    @"names are in no bucket",
    @"a name in use is in the list of unused ones",
    @"an unused name is lost",
    @"the list of unused names leads out of the table",
    @"the list of unused names does not end",
    @"more of the waiter table is backed than there is",
    @"waiters are used that are not backed",
    @"a waiter has no memory behind it",
    @"a waiter is in no known state",
    @"a list of waiters is linked wrongly",
    @"a list of notified waiters is linked wrongly",
    @"a waiter is in no list",
    @"a notified waiter is in no list",
    @"the buckets' counts of waiters do not add up to the waiters",
    @"the list of unused waiters leads out of the table",
    @"a waiter in use is in the list of unused ones",
    @"the list of unused waiters does not end",
    @"an unused waiter is lost",
    @"the messages of a channel do not fill its ring up to its tail",
    @"a channel has more messages than its capacity",
    @"a channel's count of unacknowledged messages is wrong",
    @"the header is damaged, or does not fit the file",
    @"a recovery has found the chain broken",
    @"a member died with the lock, and the chain that it left cannot be repaired",
    @"a recovery has found the chain broken, or this member was taken for dead",
};

/// The words that are bytes from this one on. They are put in one after the other: a word that is part of another comes after it.
const first_word = 0x80;
const frequent = [_][]const u8{
    "the list of unused ", " is ",                 "the ",         "block",           " of ",    " are used that are not backed", " does not ",
    " leads out",          "backed than there is", " has ",        "table",           "not ",    " in use",                       " list",
    "waiters",             "chain",                "waiter",       " no known state", " that",   "names",                         "wrong",
    "an unused ",          "a channel",            " this member", "there",           "in ",     "a name",                        "pins",
    "cached ",             "add up to ",           " holds ",      "more",            "no ",     "an entry",                      "' counts",
    "messages",            "entries",              ", or",         "a claim",         "a quick",
};

const words = joined(&frequent);
const texts = joined(&shortened());

/// Each with a nul after it.
fn joined(comptime parts: []const []const u8) []const u8 {
    comptime var all: []const u8 = "";
    inline for (parts) |part| all = all ++ part ++ "\x00";
    const final = all[0..all.len].*;
    return &final;
}

fn shortened() [std.enums.values(What).len][]const u8 {
    @setEvalBranchQuota(4_000_000);
    comptime var result: [std.enums.values(What).len][]const u8 = undefined;
    inline for (&result, std.enums.values(What)) |*short, what| {
        comptime var text: []const u8 = @tagName(what);
        inline for (frequent, first_word..) |word, byte| text = comptime replaced(text, word, byte);
        short.* = text;
    }
    return result;
}

fn replaced(comptime text: []const u8, comptime word: []const u8, comptime byte: u8) []const u8 {
    const at = std.mem.find(u8, text, word) orelse return text;
    return text[0..at] ++ [1]u8{byte} ++ replaced(text[at + word.len ..], word, byte);
}

fn entry(all: []const u8, number: usize) []const u8 {
    var rest = all;
    for (0..number) |_| rest = rest[text_file.find(rest, 0, 0) + 1 ..];
    return rest[0..text_file.find(rest, 0, 0)];
}

test "what is broken is said in full" {
    var buffer: [256]u8 = undefined;
    var expected: [256]u8 = undefined;
    for (std.enums.values(What), 0..) |what, i| {
        const said = (Broken{ .what = what, .where = i }).say(&buffer);
        try std.testing.expectEqualStrings(try std.fmt.bufPrint(&expected, "{s} ({d})", .{ @tagName(what), i }), said);
        try std.testing.expect(@tagName(what).len + " (18446744073709551615)".len < 128);
    }
}
