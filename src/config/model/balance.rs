//! How a backend chooses among its servers.
//!
//! Read:  docs/configuration.md, "balance"

/// `balance` with `hash-type` and `hash-balance-factor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How algorithms that hash spread their keys.
    pub hash_type: HashType,
    /// `hash-balance-factor`: percent of the average load that a server may have before a consistent hash
    /// goes on to the next one, above 100; `None`: no bound.
    pub balance_factor: Option<u32>,
}

/// The algorithm of `balance`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Weighted round robin, smooth; weights may change.
    #[default]
    RoundRobin,
    /// Weighted round robin over a map that is made once.
    StaticRr,
    /// The fewest connections.
    LeastConn,
    /// The first server with a free place, by its identifier.
    First,
    /// A hash of the client's address.
    Source,
    /// The least loaded of so many drawn at random.
    Random {
        /// Servers drawn.
        draws: u32,
    },
    /// A hash of the cookie of a Remote Desktop connection.
    RdpCookie(String),
}

impl Algorithm {
    /// HAProxy's name, without what stands between brackets.
    pub fn name(&self) -> &'static str {
        match self {
            Algorithm::RoundRobin => "roundrobin",
            Algorithm::StaticRr => "static-rr",
            Algorithm::LeastConn => "leastconn",
            Algorithm::First => "first",
            Algorithm::Source => "source",
            Algorithm::Random { .. } => "random",
            Algorithm::RdpCookie(_) => "rdp-cookie",
        }
    }
}

/// `hash-type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashType {
    /// Where hashes lead.
    pub method: HashMethod,
    /// The function; `None`: as HAProxy chooses by algorithm.
    pub function: Option<HashFunction>,
    /// A further mixing of the function's value.
    pub avalanche: bool,
}

/// Where hashes lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashMethod {
    /// Into a table of all servers by weight: a change of one moves nearly all keys.
    #[default]
    MapBased,
    /// Onto a ring: a change of one moves only its own.
    Consistent,
}

/// A hash function by HAProxy's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// sdbm
    Sdbm,
    /// Bernstein's, with exclusive or
    Djb2,
    /// wt6
    Wt6,
    /// CRC-32
    Crc32,
    /// The key itself, as a number.
    None,
}
