//! What xlb tells its operator, worded as HAProxy does.
//!
//! Out:   lines on stderr: severity, process, text
//! Never: from a worker's turn

use std::fmt::Arguments;

fn line(severity: &str, text: Arguments<'_>) {
    eprintln!("{severity:<11}({}) : {text}", std::process::id());
}

/// Something to know.
pub fn notice(text: Arguments<'_>) {
    line("[NOTICE]", text);
}

/// Something to look at.
pub fn warning(text: Arguments<'_>) {
    line("[WARNING]", text);
}

/// Something that does not work.
pub fn alert(text: Arguments<'_>) {
    line("[ALERT]", text);
}
