//! How a stream ended.
//!
//! Out:   HAProxy's letters: who ended it, and what the stream was doing then
//! Never: decides anything
//! Read:  docs/management.md, "How streams end"

/// Who ended a stream, and what it was doing then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Who.
    pub cause: Cause,
    /// During what.
    pub phase: Phase,
}

/// Who ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Both sides closed.
    Nobody,
    /// The client reset or vanished, or left while it had to wait.
    Client,
    /// The server reset or vanished, refused, or there was none.
    Server,
    /// A rule of the proxy.
    Rule,
    /// Something ran out: ports, sockets.
    Resource,
    /// The server went down, and its streams were to end with it.
    ServerDown,
    /// An active server came up, and streams of backups were to end.
    ActiveUp,
    /// An operator ended it.
    Operator,
    /// Nothing came from the client for too long.
    ClientTimeout,
    /// Nothing came from the server, or from its queue, for too long.
    ServerTimeout,
}

/// What a stream was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was over.
    None,
    /// It waited for what the client has to say first.
    Request,
    /// It waited in a queue.
    Queue,
    /// It connected to a server.
    Connect,
    /// It moved bytes.
    Data,
    /// The server had closed, and its last bytes were on their way to the client.
    Last,
}

impl End {
    /// In order.
    pub const NORMAL: End = End { cause: Cause::Nobody, phase: Phase::None };

    /// The first two letters of HAProxy's termination state.
    pub fn letters(self) -> [u8; 2] {
        let cause = match self.cause {
            Cause::Nobody => b'-',
            Cause::Client => b'C',
            Cause::Server => b'S',
            Cause::Rule => b'P',
            Cause::Resource => b'R',
            Cause::ServerDown => b'D',
            Cause::ActiveUp => b'U',
            Cause::Operator => b'K',
            Cause::ClientTimeout => b'c',
            Cause::ServerTimeout => b's',
        };
        let phase = match self.phase {
            Phase::None => b'-',
            Phase::Request => b'R',
            Phase::Queue => b'Q',
            Phase::Connect => b'C',
            Phase::Data => b'D',
            Phase::Last => b'L',
        };
        [cause, phase]
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [cause, phase] = self.letters();
        write!(f, "{}{}", char::from(cause), char::from(phase))
    }
}
