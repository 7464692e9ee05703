//! libFuzzer's door to [`xlb_fuzz::snapshot`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xlb_fuzz::snapshot::run(data));
