//! libFuzzer's door to [`xlb_fuzz::frames`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xlb_fuzz::frames::run(data));
