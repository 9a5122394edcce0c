//! zig build --release=fast --prefix .      lib/<platform>/libarraypool.{so,dylib} and libarraypool-look, for every platform
//! zig build … -Dnative                     for this machine only
//! zig build test                           the native tests
//! zig build test-crash                     those in which processes die at every crash point
//! zig build test-tsan                      members as threads, under ThreadSanitizer
//! zig build test-arm64 -fqemu              the native tests for arm64, under qemu-aarch64 (-Dbrief: in a minute)
//! zig build chaos-member                   zig-out/bin/chaos-member, the native member of tests/chaos
//! zig build stress -- --seconds N --seed S members that do everything at once, and die
//! zig build fuzz -- --seconds N --seed S   hostile segments, guided by coverage

const std = @import("std");

const Platform = struct { name: []const u8, arch: std.Target.Cpu.Arch, os: std.Target.Os.Tag };

/// Named as Node names them: `${process.platform}-${process.arch}`.
const platforms = [_]Platform{
    .{ .name = "linux-x64", .arch = .x86_64, .os = .linux },
    .{ .name = "linux-arm64", .arch = .aarch64, .os = .linux },
    .{ .name = "darwin-x64", .arch = .x86_64, .os = .macos },
    .{ .name = "darwin-arm64", .arch = .aarch64, .os = .macos },
};

pub fn build(b: *std.Build) void {
    const optimize = b.standardOptimizeOption(.{ .preferred_optimize_mode = .ReleaseFast });
    const only_native = b.option(bool, "native", "build the library for this machine only") orelse false;
    const options = b.addOptions();
    options.addOption(bool, "crash_points", false); // comptime: they cost a release build nothing

    for (platforms) |platform| {
        const native = platform.arch == b.graph.host.result.cpu.arch and platform.os == b.graph.host.result.os.tag;
        if (only_native and !native) continue;
        const small: std.Build.Module.CreateOptions = .{
            .target = b.resolveTargetQuery(.{ .cpu_arch = platform.arch, .os_tag = platform.os }),
            .optimize = if (optimize == .ReleaseFast) .ReleaseSmall else optimize,
            .strip = optimize != .Debug,
            // Not single-threaded, though no thread is started here: other processes are threads too.
            .single_threaded = false,
            .link_libc = platform.os == .macos,
            .unwind_tables = .none,
            .omit_frame_pointer = true,
        };
        const exports = moduleOf(b, small, "libpool/exports.zig", options);
        var fast = small; // what stands in library.zig
        fast.optimize = optimize;
        const root = moduleOf(b, fast, "libpool/library.zig", options);
        root.addImport("exports", exports);
        const library = addLibrary(b, platform, "arraypool", root);
        _ = addLibrary(b, platform, "arraypool-look", moduleOf(b, small, "libpool/look_exports.zig", options));
        if (native and platform.os == .linux) addChaosMember(b, library);
    }

    const header = b.addTranslateC(.{
        .root_source_file = b.path("libpool/arraypool.h"),
        .target = b.graph.host,
        .optimize = .Debug,
        .link_libc = false,
    });
    const test_optimize = b.option(std.builtin.OptimizeMode, "test-optimize", "how the native tests are built (default ReleaseSafe)") orelse .ReleaseSafe;
    const arm64 = b.resolveTargetQuery(.{ .cpu_arch = .aarch64, .os_tag = .linux });
    const kinds = [_]Tests{
        .{ .step = "test", .what = "run the native tests" },
        .{ .step = "test-crash", .what = "run the native tests in which processes die at every crash point", .crash_points = true },
        .{ .step = "test-tsan", .what = "run the threads of tests/threads.zig under ThreadSanitizer", .filter = &.{"threads.test"}, .tsan = true },
        .{ .step = "test-arm64", .what = "run the native tests for arm64 under qemu-aarch64", .target = arm64 },
    };
    const only = b.option([]const []const u8, "test-filter", "only the native tests whose name has this in it") orelse &.{};
    const brief = b.option(bool, "brief", "fewer steps in the long random runs: for emulators") orelse false;
    for (kinds) |kind| kind.add(b, header, test_optimize, only, brief);
    addFuzzer(b, options);
    addStress(b, test_optimize);
}

fn moduleOf(b: *std.Build, how: std.Build.Module.CreateOptions, path: []const u8, options: *std.Build.Step.Options) *std.Build.Module {
    var created = how;
    created.root_source_file = b.path(path);
    const module = b.createModule(created);
    module.addOptions("options", options);
    return module;
}

fn addLibrary(b: *std.Build, platform: Platform, name: []const u8, root: *std.Build.Module) *std.Build.Step.Compile {
    const library = b.addLibrary(.{ .name = name, .linkage = .dynamic, .root_module = root });
    library.error_limit = 255; // so that an error is a byte
    if (platform.os == .linux) library.setLinkerScript(b.path("libpool/linux.ld"));
    const install = b.addInstallArtifact(library, .{
        .dest_dir = .{ .override = .{ .custom = b.fmt("lib/{s}", .{platform.name}) } },
    });
    b.getInstallStep().dependOn(&install.step);
    return library;
}

fn addStress(b: *std.Build, optimize: std.builtin.OptimizeMode) void {
    const stress = b.addExecutable(.{
        .name = "stress",
        .root_module = b.createModule(.{ .root_source_file = b.path("libpool/stress.zig"), .target = b.graph.host, .optimize = optimize }),
    });
    const options = b.addOptions();
    options.addOption(bool, "crash_points", true);
    options.addOption(bool, "brief", false);
    stress.root_module.addOptions("options", options);
    const run = b.addRunArtifact(stress);
    run.has_side_effects = true;
    run.addArgs(b.args orelse &.{});
    b.step("stress", "members that do everything at once, and die: -- --seconds N --seed S").dependOn(&run.step);
}

/// Built as the library is shipped, with the compiler's coverage counters.
fn addFuzzer(b: *std.Build, options: *std.Build.Step.Options) void {
    const optimize = b.option(std.builtin.OptimizeMode, "fuzz-optimize", "how the fuzzer is built (default ReleaseFast)") orelse .ReleaseFast;
    const fuzzer = b.addExecutable(.{
        .name = "fuzz",
        .use_llvm = true,
        .root_module = b.createModule(.{
            .root_source_file = b.path("libpool/fuzz.zig"),
            .target = b.graph.host,
            .optimize = optimize,
            .fuzz = true,
        }),
    });
    fuzzer.root_module.addOptions("options", options);
    fuzzer.root_module.addObject(b.addObject(.{
        .name = "coverage",
        .root_module = b.createModule(.{
            .root_source_file = b.path("libpool/tests/coverage.zig"),
            .target = b.graph.host,
            .optimize = .ReleaseFast,
        }),
    }));
    const run = b.addRunArtifact(fuzzer);
    run.has_side_effects = true;
    run.addArgs(b.args orelse &.{});
    b.step("fuzz", "fuzz the library with hostile segments: -- --seconds N --seed S").dependOn(&run.step);
}

fn addChaosMember(b: *std.Build, library: *std.Build.Step.Compile) void {
    const member = b.addExecutable(.{
        .name = "chaos-member",
        .root_module = b.createModule(.{ .target = b.graph.host, .optimize = .ReleaseFast, .link_libc = true }),
    });
    member.root_module.addCSourceFile(.{
        .file = b.path("tests/chaos/member.c"),
        .flags = &.{ "-std=c11", "-Wall", "-Wextra", "-Werror" },
    });
    member.root_module.addIncludePath(b.path("libpool"));
    member.root_module.linkLibrary(library);
    b.step("chaos-member", "build the native member of tests/chaos").dependOn(&b.addInstallArtifact(member, .{}).step);
}

const Tests = struct {
    step: []const u8,
    what: []const u8,
    crash_points: bool = false,
    filter: []const []const u8 = &.{},
    tsan: bool = false,
    target: ?std.Build.ResolvedTarget = null,

    fn add(kind: Tests, b: *std.Build, header: *std.Build.Step.TranslateC, optimize: std.builtin.OptimizeMode, only: []const []const u8, brief: bool) void {
        const tests = b.addTest(.{
            .root_module = b.createModule(.{
                .root_source_file = b.path("libpool/tests.zig"),
                .target = kind.target orelse b.graph.host,
                .optimize = optimize,
                .sanitize_thread = kind.tsan,
                .link_libc = if (kind.tsan) true else null, // its runtime needs one
            }),
            .filters = if (only.len > 0) only else if (kind.filter.len > 0) kind.filter else if (kind.crash_points) &.{ "crash_points", "in_flight", "small_device", "stop_points", "tests.waiting", "tests.between", "tests.racing", "tests.stress" } else &.{},
        });
        const options = b.addOptions();
        options.addOption(bool, "crash_points", kind.crash_points);
        options.addOption(bool, "brief", brief);
        tests.root_module.addOptions("options", options);
        tests.root_module.addImport("arraypool_h", header.createModule());
        const run = b.addRunArtifact(tests);
        run.has_side_effects = true; // it tests the system, too
        b.step(kind.step, kind.what).dependOn(&run.step);
    }
};
