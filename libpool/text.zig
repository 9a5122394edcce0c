//! The little text there is: numbers in paths, and out of /proc. What std has for it can do much more, and would be a
//! twentieth of the library.

const std = @import("std");

/// `form` with the next of `numbers` for each '#', in decimal; a nul follows. What does not fit is left out.
pub fn fill(into: []u8, form: []const u8, numbers: []const u64) [:0]u8 {
    var at: usize = 0;
    var used: usize = 0;
    for (form) |c| {
        if (c == '#') {
            at += decimal(into[at .. into.len - 1], numbers[used]);
            used += 1;
        } else if (at < into.len - 1) {
            into[at] = c;
            at += 1;
        }
    }
    into[at] = 0;
    return into[0..at :0];
}

fn decimal(into: []u8, value: u64) usize {
    var digits: [20]u8 = undefined;
    var first = digits.len;
    var rest = value;
    while (true) {
        first -= 1;
        digits[first] = '0' + @as(u8, @intCast(rest % 10));
        rest /= 10;
        if (rest == 0) break;
    }
    const count = @min(digits.len - first, into.len);
    @memcpy(into[0..count], digits[first..][0..count]);
    return count;
}

/// As many hexadecimal digits of the value as there is room for: its last ones.
pub fn hex(into: []u8, value: u64) void {
    var rest = value;
    var at = into.len;
    while (at > 0) {
        at -= 1;
        into[at] = "0123456789abcdef"[@intCast(rest & 15)];
        rest >>= 4;
    }
}

/// Null if it is no number, nothing but digits, or more than `most`.
pub fn number(digits: []const u8, base: u8, most: u64) ?u64 {
    if (digits.len == 0) return null;
    var value: u64 = 0;
    for (digits) |c| {
        const digit = switch (c) {
            '0'...'9' => c - '0',
            'a'...'f' => c - 'a' + 10,
            'A'...'F' => c - 'A' + 10,
            else => return null,
        };
        if (digit >= base) return null;
        value = std.math.mul(u64, value, base) catch return null;
        value = std.math.add(u64, value, digit) catch return null;
    }
    return if (value > most) null else value;
}

/// Where a byte is from `from` on; if nowhere, the end.
pub fn find(text: []const u8, from: usize, byte: u8) usize {
    for (text[from..], from..) |c, at| if (c == byte) return at;
    return text.len;
}

/// Where a byte is for the last time; if nowhere, 0.
pub fn findLast(text: []const u8, byte: u8) usize {
    var at = text.len;
    while (at > 0) {
        at -= 1;
        if (text[at] == byte) return at;
    }
    return 0;
}

pub fn equal(one: []const u8, other: []const u8) bool {
    if (one.len != other.len) return false;
    for (one, other) |a, b| if (a != b) return false;
    return true;
}

/// As RFC 3629 has it: no surrogates, nothing longer than need be, nothing beyond U+10FFFF.
pub fn isUtf8(text: []const u8) bool {
    var at: usize = 0;
    while (at < text.len) {
        const first = text[at];
        at += 1;
        if (first < 0x80) continue;
        const more: u8 = switch (first) {
            0xc2...0xdf => 1,
            0xe0...0xef => 2,
            0xf0...0xf4 => 3,
            else => return false,
        };
        var least: u8 = switch (first) {
            0xe0 => 0xa0,
            0xf0 => 0x90,
            else => 0x80,
        };
        var most: u8 = switch (first) {
            0xed => 0x9f,
            0xf4 => 0x8f,
            else => 0xbf,
        };
        for (0..more) |_| {
            if (at == text.len or text[at] < least or text[at] > most) return false;
            at += 1;
            least = 0x80;
            most = 0xbf;
        }
    }
    return true;
}

/// What spaces part.
pub const Words = struct {
    rest: []const u8,

    /// Empty when there is none left.
    pub fn next(words: *Words) []const u8 {
        var start: usize = 0;
        while (start < words.rest.len and words.rest[start] == ' ') start += 1;
        const end = find(words.rest, start, ' ');
        defer words.rest = words.rest[end..];
        return words.rest[start..end];
    }
};

test "numbers are written in decimal and in hexadecimal digits" {
    var buffer: [32]u8 = undefined;
    try std.testing.expectEqualStrings("/proc/0/task/18446744073709551615", blk: {
        var larger: [64]u8 = undefined;
        break :blk fill(&larger, "/proc/#/task/#", &.{ 0, std.math.maxInt(u64) });
    });
    try std.testing.expectEqualStrings("a 120 b", fill(&buffer, "a # b", &.{120}));
    hex(buffer[0..5], 0xfab0c);
    try std.testing.expectEqualStrings("fab0c", buffer[0..5]);
    hex(buffer[0..16], 0xbeef);
    try std.testing.expectEqualStrings("000000000000beef", buffer[0..16]);
}

test "text that does not fit is cut off, and ends with a nul" {
    var buffer: [6]u8 = @splat('x');
    try std.testing.expectEqualStrings("ab123", fill(&buffer, "ab#cd", &.{1234567}));
    try std.testing.expectEqual(0, buffer[5]);
    try std.testing.expectEqualStrings("abcde", fill(&buffer, "abcdefgh#", &.{1}));
}

test "only digits are a number, and only up to the most that it may be" {
    try std.testing.expectEqual(18446744073709551615, number("18446744073709551615", 10, std.math.maxInt(u64)));
    try std.testing.expectEqual(0xbeef, number("00bEeF", 16, std.math.maxInt(u32)));
    for ([_][]const u8{ "", "-1", "+1", "1_0", " 1", "1\n", "a", "18446744073709551616", "99999999999999999999" }) |text|
        try std.testing.expectEqual(null, number(text, 10, std.math.maxInt(u64)));
    try std.testing.expectEqual(null, number("4294967296", 10, std.math.maxInt(u32)));
}

test "what is UTF-8 is taken for it, and nothing else" {
    // Every two bytes, and the borders of three and four.
    for (0..1 << 16) |pair| {
        const text = [2]u8{ @intCast(pair >> 8), @intCast(pair & 0xff) };
        if (isUtf8(&text) != std.unicode.utf8ValidateSlice(&text)) return error.Differs;
    }
    const borders = [_]u8{ 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
    for (borders) |a| for (borders) |b| for (borders) |c| for (borders) |d| {
        const text = [4]u8{ a, b, c, d };
        for (3..5) |length| {
            if (isUtf8(text[0..length]) != std.unicode.utf8ValidateSlice(text[0..length])) return error.Differs;
        }
    };
}

test "words are what spaces part" {
    var words: Words = .{ .rest = "  one two   three " };
    for ([_][]const u8{ "one", "two", "three", "", "" }) |word| try std.testing.expectEqualStrings(word, words.next());
    try std.testing.expectEqual(3, find("abcabc", 1, 'a'));
    try std.testing.expectEqual(6, find("abcabc", 0, 'x'));
    try std.testing.expectEqual(4, findLast("abcabc", 'b'));
    try std.testing.expectEqual(0, findLast("abcabc", 'x'));
    try std.testing.expect(equal("ab", "ab") and !equal("ab", "abc") and !equal("ab", "ac"));
}
