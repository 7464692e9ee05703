//! What xlb tells its operator, worded as HAProxy does.
//!
//! Out:   lines on stderr: severity, process, text
//! Never: from a worker's turn

use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Only what does not work is told (`quiet`).
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// From now on only what does not work is told.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

fn line(severity: &str, text: Arguments<'_>) {
    plain(format_args!("{severity:<11}({}) : {text}\n", std::process::id()));
}

/// A text as it is. Whoever read it may be gone: that is no reason to end.
pub fn plain(text: Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(text);
}

/// Something to know.
pub fn notice(text: Arguments<'_>) {
    if IS_QUIET.load(Ordering::Relaxed) {
        return;
    }
    line("[NOTICE]", text);
}

/// Something to look at.
pub fn warning(text: Arguments<'_>) {
    if IS_QUIET.load(Ordering::Relaxed) {
        return;
    }
    line("[WARNING]", text);
}

/// Something that does not work.
pub fn alert(text: Arguments<'_>) {
    line("[ALERT]", text);
}
