//! How packets get from the driver to user space and back.
//!
//! In:    nothing
//! Out:   the modes, best last, and their names in log and statistics
//! Owns:  nothing
//! Never: decides for a mode; `xsk` and `program` try them

use std::fmt;

/// How packets get from the driver to a queue and back. A better mode is a greater one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The kernel allocates its own buffer for each packet, and copies. Any interface can.
    Generic,
    /// The driver runs the XDP program; the kernel copies into the frame.
    DriverCopy,
    /// The network card reads and writes the frames itself.
    #[default]
    ZeroCopy,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Generic => "generic",
            Self::DriverCopy => "driver copy",
            Self::ZeroCopy => "zero-copy",
        })
    }
}
