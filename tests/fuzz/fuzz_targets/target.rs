//! Every target: which one, its own name says.

#![no_main]

#[path = "../../format/memory.rs"]
mod memory;
#[allow(dead_code, unused_imports, reason = "inputs to begin with come from the corpus")]
#[path = "../../format/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::run(env!("CARGO_BIN_NAME"), input));
