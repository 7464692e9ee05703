//! The other side of a runtime socket: another process is asked.
//!
//! In:    the `stats socket` lines of a configuration; a command
//! Out:   the answer, or why there is none
//! Never: asks without a time limit

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::config::model::{Bind, Carrier, Level, Stats, UnixAddress};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the process that serves the first of these sockets at which everything may be asked.
pub fn ask(stats: &Stats, command: &str) -> io::Result<String> {
    let may_all = |bind: &&Bind| bind.level == Level::Admin;
    let bind = stats.sockets.iter().find(may_all).ok_or_else(|| {
        io::Error::other("the configuration has no 'stats socket ... level admin' to ask it by")
    })?;
    match &bind.carrier {
        Carrier::Unix(UnixAddress::Path(path)) => {
            let stream = UnixStream::connect(path).map_err(|error| {
                io::Error::other(format!("nobody answers at {}: {error}", path.display()))
            })?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, command)
        }
        Carrier::Kernel | Carrier::Wire if bind.address.is_some() => {
            let ip = bind.address.expect("it was just seen");
            let stream = TcpStream::connect_timeout(&SocketAddr::new(ip, bind.port), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, command)
        }
        _ => Err(io::Error::other("it is asked by paths and by addresses alone")),
    }
}

fn exchange(mut stream: impl Read + Write, command: &str) -> io::Result<String> {
    writeln!(stream, "{command}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.trim_end().to_string() + "\n")
}
