//! What the kernel and the driver say about an interface.
//!
//! In:    an interface's name, in the network namespace of the calling thread
//! Out:   index, address, MTU, driver, queues, receive-side scaling
//! Owns:  nothing
//! Never: changes an interface; reads /sys, which may show another namespace's interfaces
//! Read:  netdevice(7), include/uapi/linux/ethtool.h

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Facts about one interface, as they were when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, like `eth0`.
    pub name: String,
    /// Index in its namespace.
    pub index: u32,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Bytes of IP packet that fit a frame.
    pub mtu: u32,
    /// Name of the driver, empty if it gives none.
    pub driver: String,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// How packets are spread over the queues, where the driver tells.
    pub rss: Option<Rss>,
    /// Whether it is up.
    pub up: bool,
}

/// Receive-side scaling: the hash of a packet's addresses and ports picks the queue,
/// `indirection[hash % indirection.len()]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// Key of the Toeplitz hash.
    pub key: Vec<u8>,
    /// Queue by hash.
    pub indirection: Vec<u32>,
}

impl Interface {
    /// Reads the facts about the interface called `name` in this thread's namespace.
    pub fn read(name: &str) -> Result<Self, InterfaceError> {
        let control = Control::open(name)?;
        let index = control.integer(libc::SIOCGIFINDEX).map_err(|error| control.explain(error))?;
        let mtu = control.integer(libc::SIOCGIFMTU).map_err(|error| control.explain(error))?;
        Ok(Self {
            name: name.to_owned(),
            index: index.cast_unsigned(),
            mac: control.mac().map_err(|error| control.explain(error))?,
            mtu: mtu.cast_unsigned(),
            driver: control.driver().unwrap_or_default(),
            // No answer: a driver without channels, which has one queue.
            rx_queues: control.rx_queues().unwrap_or(1),
            rss: control.rss(),
            up: control.is_up().map_err(|error| control.explain(error))?,
        })
    }

    /// Whether frames may arrive with a transport checksum that nobody has computed yet: the sender
    /// is on the same machine and left it to a device that does not exist.
    pub fn has_partial_checksums(&self) -> bool {
        matches!(self.driver.as_str(), "veth" | "virtio_net" | "tun" | "macvlan" | "bridge")
    }
}

/// Why an interface could not be read. Its text is for the operator.
#[derive(Debug)]
pub enum InterfaceError {
    /// There is no interface of this name.
    Unknown {
        /// Name asked for.
        interface: String,
    },
    /// The kernel refused to say.
    System {
        /// Name asked for.
        interface: String,
        /// Reason.
        error: io::Error,
    },
}

impl std::fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown { interface } => write!(
                f,
                "there is no interface '{interface}' in this network namespace (`ip link` lists them)"
            ),
            Self::System { interface, error } => {
                write!(f, "cannot read the settings of interface '{interface}': {error}")
            }
        }
    }
}

impl std::error::Error for InterfaceError {}

/// ethtool's commands, and the part of its answers that is read (include/uapi/linux/ethtool.h).
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const DRIVER_INFO_LEN: usize = 196;
const CHANNELS_LEN: usize = 36;
const RSS_HEADER_LEN: usize = 24;
const RSS_HASH_TOEPLITZ: u8 = 1;
/// No driver has a longer table or key; guards the allocation against a nonsense answer.
const RSS_LEN_MAX: u32 = 1 << 16;

/// A socket to ask through, and the name to ask about.
struct Control {
    socket: OwnedFd,
    interface: String,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Control {
    fn open(interface: &str) -> Result<Self, InterfaceError> {
        let mut name = [0; libc::IFNAMSIZ];
        // The last byte stays zero: the kernel reads a C string.
        if interface.len() >= name.len() {
            return Err(InterfaceError::Unknown { interface: interface.to_owned() });
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        let socket =
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .map_err(|error| InterfaceError::System {
                    interface: interface.to_owned(),
                    error: error.into(),
                })?;
        Ok(Self { socket, interface: interface.to_owned(), name })
    }

    fn explain(&self, error: io::Error) -> InterfaceError {
        let interface = self.interface.clone();
        if error.raw_os_error() == Some(libc::ENODEV) {
            InterfaceError::Unknown { interface }
        } else {
            InterfaceError::System { interface, error }
        }
    }

    fn integer(&self, request: libc::Ioctl) -> io::Result<i32> {
        let answer = self.ioctl(request, libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 })?;
        // SAFETY: every request that is passed here answers with an int at the start of the union
        // (index, MTU), and the whole union was initialised before the call.
        Ok(unsafe { answer.ifru_ifindex })
    }

    fn is_up(&self) -> io::Result<bool> {
        let answer =
            self.ioctl(libc::SIOCGIFFLAGS, libc::__c_anonymous_ifr_ifru { ifru_flags: 0 })?;
        // SAFETY: SIOCGIFFLAGS answers with the flags.
        let flags = unsafe { answer.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_UP != 0)
    }

    fn mac(&self) -> io::Result<[u8; 6]> {
        let empty = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
        let answer =
            self.ioctl(libc::SIOCGIFHWADDR, libc::__c_anonymous_ifr_ifru { ifru_hwaddr: empty })?;
        // SAFETY: SIOCGIFHWADDR answers with a sockaddr.
        let address = unsafe { answer.ifru_hwaddr };
        Ok(std::array::from_fn(|i| address.sa_data[i].cast_unsigned()))
    }

    fn driver(&self) -> Option<String> {
        let mut answer = vec![0; DRIVER_INFO_LEN];
        self.ethtool(ETHTOOL_GDRVINFO, &mut answer).ok()?;
        let name = &answer[4..36];
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        Some(String::from_utf8_lossy(&name[..end]).into_owned())
    }

    fn rx_queues(&self) -> Option<u32> {
        let mut answer = vec![0; CHANNELS_LEN];
        self.ethtool(ETHTOOL_GCHANNELS, &mut answer).ok()?;
        // Eight words follow the command: four maxima, then rx, tx, other and combined in use.
        Some((word(&answer, 5)? + word(&answer, 8)?).max(1))
    }

    fn rss(&self) -> Option<Rss> {
        let mut sizes = vec![0; RSS_HEADER_LEN];
        self.ethtool(ETHTOOL_GRSSH, &mut sizes).ok()?;
        let (indirection_len, key_len) = rss_sizes(&sizes)?;
        // Asking again with the sizes filled in brings the table and the key behind them.
        let mut answer = vec![0; RSS_HEADER_LEN + indirection_len * 4 + key_len];
        answer[..RSS_HEADER_LEN].copy_from_slice(&sizes);
        self.ethtool(ETHTOOL_GRSSH, &mut answer).ok()?;
        parse_rss(&answer)
    }

    /// One ethtool command. `data` is the command's struct, which the kernel overwrites with the
    /// answer.
    fn ethtool(&self, command: u32, data: &mut [u8]) -> io::Result<()> {
        data[..4].copy_from_slice(&command.to_ne_bytes());
        let needed = answer_len(data);
        assert!(needed.is_some_and(|needed| needed <= data.len()), "{needed:?}, {}", data.len());
        let ifru_data = data.as_mut_ptr().cast();
        self.ioctl(libc::SIOCETHTOOL, libc::__c_anonymous_ifr_ifru { ifru_data })?;
        Ok(())
    }

    fn ioctl(
        &self,
        request: libc::Ioctl,
        ifr_ifru: libc::__c_anonymous_ifr_ifru,
    ) -> io::Result<libc::__c_anonymous_ifr_ifru> {
        let mut ask = libc::ifreq { ifr_name: self.name, ifr_ifru };
        // SAFETY: the socket is open, `ask` is a whole ifreq with a zero-terminated name, and where
        // the request follows `ifru_data` (SIOCETHTOOL alone) it points at a buffer that `ethtool`
        // has checked to be as long as the answer to its command.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), request, &raw mut ask) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(ask.ifr_ifru) }
    }
}

/// Bytes that the kernel may write in answer to the ethtool command in `data`: the command's struct,
/// and for the RSS settings the table and the key of the lengths in it.
fn answer_len(data: &[u8]) -> Option<usize> {
    match word(data, 0)? {
        ETHTOOL_GDRVINFO => Some(DRIVER_INFO_LEN),
        ETHTOOL_GCHANNELS => Some(CHANNELS_LEN),
        ETHTOOL_GRSSH => {
            let (indirection_len, key_len) = (word(data, 2)? as usize, word(data, 3)? as usize);
            Some(RSS_HEADER_LEN + indirection_len * 4 + key_len)
        }
        _ => None,
    }
}

/// Lengths of the indirection table (in entries) and the key (in bytes), from the header of an
/// ethtool_rxfh. `None` for hashes that are not plain Toeplitz.
fn rss_sizes(answer: &[u8]) -> Option<(usize, usize)> {
    let (indirection_len, key_len) = (word(answer, 2)?, word(answer, 3)?);
    let (hash, transform) = (*answer.get(16)?, *answer.get(17)?);
    // Zero: a driver that does not say which hash it uses; all of those use Toeplitz.
    let is_toeplitz = hash == 0 || hash == RSS_HASH_TOEPLITZ;
    let has_sizes = (1..=RSS_LEN_MAX).contains(&indirection_len)
        && (1..=RSS_LEN_MAX).contains(&key_len)
        && transform == 0;
    (is_toeplitz && has_sizes).then_some((indirection_len as usize, key_len as usize))
}

fn parse_rss(answer: &[u8]) -> Option<Rss> {
    let (indirection_len, key_len) = rss_sizes(answer)?;
    let first = RSS_HEADER_LEN / 4;
    let indirection =
        (first..first + indirection_len).map(|index| word(answer, index)).collect::<Option<_>>()?;
    let key_at = RSS_HEADER_LEN + indirection_len * 4;
    let key = answer.get(key_at..key_at + key_len)?.to_vec();
    Some(Rss { key, indirection })
}

/// The 32-bit word at `index`, in the machine's order.
fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let bytes = bytes.get(index * 4..index * 4 + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_read() {
        let interface = Interface::read("lo").unwrap();
        assert_eq!((interface.index, interface.mac, interface.rx_queues), (1, [0; 6], 1));
        assert_eq!(interface.rss, None);
        assert!(!interface.has_partial_checksums());
    }

    #[test]
    fn an_unknown_interface_is_named() {
        for name in ["nosuch0", "a-name-longer-than-any-interface"] {
            let error = Interface::read(name).unwrap_err();
            assert!(matches!(error, InterfaceError::Unknown { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    fn rxfh(indirection: &[u32], key: &[u8], hash: u8, transform: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [ETHTOOL_GRSSH, 0, indirection.len() as u32, key.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([hash, transform, 0, 0, 0, 0, 0, 0]);
        for queue in indirection {
            bytes.extend(queue.to_ne_bytes());
        }
        bytes.extend(key);
        bytes
    }

    #[test]
    fn rss_key_and_table_are_read() {
        let rss = parse_rss(&rxfh(&[0, 1, 0, 1], &[0x6d, 0x5a, 0x56], 1, 0)).unwrap();
        assert_eq!(rss, Rss { key: vec![0x6d, 0x5a, 0x56], indirection: vec![0, 1, 0, 1] });
        assert!(parse_rss(&rxfh(&[0, 1], &[1], 0, 0)).is_some(), "hash not named");
    }

    #[test]
    fn rss_that_cannot_be_computed_is_none() {
        assert_eq!(parse_rss(&rxfh(&[0, 1], &[1], 2, 0)), None, "XOR hash");
        assert_eq!(parse_rss(&rxfh(&[0, 1], &[1], 1, 1)), None, "symmetric transform");
        assert_eq!(parse_rss(&rxfh(&[], &[1], 1, 0)), None, "no table");
        assert_eq!(parse_rss(&rxfh(&[0, 1], &[], 1, 0)), None, "no key");
        let whole = rxfh(&[0, 1], &[1, 2], 1, 0);
        assert_eq!(parse_rss(&whole[..whole.len() - 1]), None, "cut short");
    }
}
