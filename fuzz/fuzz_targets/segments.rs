//! libFuzzer's door to [`xlb_fuzz::segments`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xlb_fuzz::segments::run(data));
