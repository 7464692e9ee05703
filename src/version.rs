//! What `-v` and `-vv` tell.

use std::fmt::Write;

use crate::config::{self, model::MAXCONN_DEFAULT};

/// The date of this version.
pub const RELEASE_DATE: &str = "2026/11/27";

/// Name and version.
pub fn short() -> String {
    format!(
        "xlb version {}, configuration language of HAProxy {}\n",
        env!("CARGO_PKG_VERSION"),
        config::LANGUAGE_VERSION
    )
}

/// Also how it was built, the defaults, and what wires there are.
pub fn full() -> String {
    let mut text = short();
    let _ = writeln!(
        text,
        "\nBuild options :\n  TARGET  = {}-{}\n  PROFILE = {}\n\n\
         Default settings :\n  maxconn = {MAXCONN_DEFAULT}, maxpollevents = 200, maxaccept = 64\n\n\
         Built with multi-threading support: one worker per core and queue.\n\n\
         Available wires, the best that the driver gives is used :\n  \
         zero-copy : AF_XDP, frames shared with the driver\n  \
         driver copy : AF_XDP, XDP program in the driver, frames copied\n  \
         generic : AF_XDP, XDP program after the driver (skb)\n\n\
         Available protocols :\n  TCP over IPv4 and IPv6 : mode=tcp side=FE|BE\n\n\
         Balance algorithms : roundrobin",
        std::env::consts::ARCH,
        std::env::consts::OS,
        if cfg!(debug_assertions) { "debug" } else { "release" },
    );
    text
}
