//! What the compiler's coverage instrumentation expects to be linked with; nothing of it is used (fuzz.zig reads the
//! counters where they stand). An object of its own, since it must not be instrumented itself.

export threadlocal var __sancov_lowest_stack: usize = 0;
export fn __sanitizer_cov_8bit_counters_init(_: usize, _: usize) void {}
export fn __sanitizer_cov_pcs_init(_: usize, _: usize) void {}
export fn __sanitizer_cov_trace_pc_indir(_: usize) void {}
