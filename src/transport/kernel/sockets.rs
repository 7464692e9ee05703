//! Listening sockets of the process, and options of sockets.
//!
//! In:    `bind` lines that name the kernel's sockets
//! Out:   sockets that listen, opened once and shared by all workers
//! Owns:  the paths of UNIX sockets, for as long as they are listened on
//! Never: takes a path over while somebody could lose a connection by it: a new socket takes the place of an old one at once

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt as exotic;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::config::model::{Bind, Carrier, Families, SocketRights, UnixAddress};
use crate::transport::{ConnOptions, ConnectError, Keepalive, Source};

/// A listening socket.
#[derive(Debug)]
pub struct KernelListener {
    fd: OwnedFd,
    /// A path that goes with it, and its inode.
    path: Option<(PathBuf, u64)>,
    /// It came with the process, and may have other owners.
    is_inherited: bool,
}

impl KernelListener {
    /// Opens the socket of a `bind` line; `ipv6`: the family of a wildcard.
    pub fn open(bind: &Bind, ipv6: bool) -> io::Result<Self> {
        let backlog = bind.backlog.unwrap_or(bind.maxconn).clamp(1, i32::MAX as u32) as i32;
        match &bind.carrier {
            Carrier::Wire | Carrier::Kernel => Self::open_tcp(bind, ipv6, backlog),
            Carrier::Unix(UnixAddress::Path(path)) => Self::open_path(path, &bind.rights, backlog),
            Carrier::Unix(address) => {
                let fd = stream_socket(AddressFamily::UNIX)?;
                rustix::net::bind(&fd, &unix_address(address)?)?;
                rustix::net::listen(&fd, backlog)?;
                Ok(KernelListener { fd, path: None, is_inherited: false })
            }
            Carrier::Fd(number) => Self::inherit(*number),
        }
    }

    fn open_tcp(bind: &Bind, ipv6: bool, backlog: i32) -> io::Result<Self> {
        let fd = stream_socket(if ipv6 { AddressFamily::INET6 } else { AddressFamily::INET })?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if ipv6 {
            sockopt::set_ipv6_v6only(&fd, true)?;
        }
        if let Some(name) = &bind.interface {
            setsockopt(&fd, exotic::BindToDevice, &name.into())?;
        }
        if let Some(mss) = bind.mss {
            setsockopt(&fd, exotic::TcpMaxSeg, &u32::from(mss))?;
        }
        let any =
            if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
        rustix::net::bind(&fd, &SocketAddr::new(bind.address.unwrap_or(any), bind.port))?;
        rustix::net::listen(&fd, backlog)?;
        Ok(KernelListener { fd, path: None, is_inherited: false })
    }

    /// Under another name first: whoever connects meanwhile meets the old socket or the new one, never none.
    fn open_path(path: &Path, rights: &SocketRights, backlog: i32) -> io::Result<Self> {
        let mut made = path.as_os_str().to_owned();
        made.push(format!(".{}.tmp", std::process::id()));
        let made = PathBuf::from(made);
        // What a process of the same number has left there is nobody's.
        let _ = std::fs::remove_file(&made);
        let fd = stream_socket(AddressFamily::UNIX)?;
        rustix::net::bind(&fd, &SocketAddrUnix::new(&made)?)?;
        let finish = || -> io::Result<u64> {
            set_rights(&made, rights)?;
            rustix::net::listen(&fd, backlog)?;
            let inode = std::fs::metadata(&made)?.ino();
            std::fs::rename(&made, path)?;
            Ok(inode)
        };
        match finish() {
            Ok(inode) => {
                Ok(KernelListener { fd, path: Some((path.to_owned(), inode)), is_inherited: false })
            }
            Err(error) => {
                let _ = std::fs::remove_file(&made);
                Err(error)
            }
        }
    }

    /// A socket that the process was started with.
    fn inherit(number: i32) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
        let itself = pidfd_open(getpid(), PidfdFlags::empty())?;
        let fd = pidfd_getfd(&itself, number, PidfdGetfdFlags::empty())?;
        let listens = sockopt::socket_acceptconn(&fd)?;
        if !listens {
            return Err(io::Error::other("it is not a listening socket"));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(KernelListener { fd, path: None, is_inherited: true })
    }

    /// A descriptor of its own for a worker.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Nobody new is to come; who waits is let go.
    pub fn stop(&self) {
        // One that is shut is deaf for all who have it.
        if !self.is_inherited {
            let _ = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Both);
        }
    }

    /// The socket itself.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl KernelListener {
    /// Takes its path away, unless somebody else has that now.
    pub fn remove_path(&self) {
        if let Some((path, inode)) = &self.path
            && std::fs::metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for KernelListener {
    fn drop(&mut self) {
        self.remove_path();
    }
}

fn stream_socket(domain: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(domain, SocketType::STREAM, flags, None)?)
}

fn set_rights(path: &Path, rights: &SocketRights) -> io::Result<()> {
    let unknown = |what: &str, name: &str| io::Error::other(format!("there is no {what} '{name}'"));
    let user = match (&rights.user, rights.uid) {
        (Some(name), _) => Some(User::from_name(name)?.ok_or_else(|| unknown("user", name))?.uid),
        (None, uid) => uid.map(Uid::from_raw),
    };
    let group = match (&rights.group, rights.gid) {
        (Some(name), _) => Some(Group::from_name(name)?.ok_or_else(|| unknown("group", name))?.gid),
        (None, gid) => gid.map(Gid::from_raw),
    };
    if user.is_some() || group.is_some() {
        nix::unistd::chown(path, user, group)?;
    }
    if let Some(mode) = rights.mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Bytes of a name in the abstract namespace: the address's 108 less the NUL in front.
const ABSTRACT_MAX: usize = 107;

/// The address of a UNIX socket, as the kernel has it.
pub(super) fn unix_address(address: &UnixAddress) -> io::Result<SocketAddrUnix> {
    Ok(match address {
        UnixAddress::Path(path) => SocketAddrUnix::new(path)?,
        UnixAddress::Abstract { name, is_short: true } => {
            SocketAddrUnix::new_abstract_name(name.as_bytes())?
        }
        UnixAddress::Abstract { name, .. } => {
            let mut padded = name.clone().into_bytes();
            if padded.len() > ABSTRACT_MAX {
                return Err(io::Error::other("the name is too long"));
            }
            padded.resize(ABSTRACT_MAX, 0);
            SocketAddrUnix::new_abstract_name(&padded)?
        }
    })
}

/// Options that a connection is asked to have; what the kernel refuses stays as it is.
pub(super) fn set_options(fd: impl AsFd, options: &ConnOptions) {
    if let Some(Keepalive { idle, interval, count }) = options.keepalive {
        let _ = sockopt::set_socket_keepalive(&fd, true);
        if let Some(idle) = idle {
            let _ = sockopt::set_tcp_keepidle(&fd, idle);
        }
        if let Some(interval) = interval {
            let _ = sockopt::set_tcp_keepintvl(&fd, interval);
        }
        if let Some(count) = count {
            let _ = sockopt::set_tcp_keepcnt(&fd, count);
        }
    }
    if let Some(time) = options.user_timeout {
        let _ = sockopt::set_tcp_user_timeout(&fd, time.as_millis() as u32);
    }
    if let Some(mss) = options.mss {
        let _ = setsockopt(&fd.as_fd(), exotic::TcpMaxSeg, &u32::from(mss));
    }
}

/// Binds a socket to where its connection is to come from.
pub(super) fn bind_source(
    fd: &OwnedFd,
    source: &Source,
    remote: &SocketAddr,
    next_port: &mut u32,
) -> Result<(), ConnectError> {
    let is_usual = *source == Source::default();
    if is_usual {
        return Ok(());
    }
    let any = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let address = source.address.unwrap_or(any);
    if source.is_foreign {
        setsockopt(fd, exotic::IpTransparent, &true).map_err(|_| ConnectError::NoSocket)?;
    }
    let _ = sockopt::set_socket_reuseaddr(fd, true);
    let bind = |port| rustix::net::bind(fd, &SocketAddr::new(address, port)).is_ok();
    match &source.ports {
        None => {
            // The port is chosen by the whole of the connection then: more of them are possible.
            let _ = setsockopt(fd, exotic::IpBindAddressNoPort, &true);
            bind(0).then_some(()).ok_or(ConnectError::NoRoute)
        }
        Some(ports) => {
            let len = u32::from(ports.end() - ports.start()) + 1;
            let first = *next_port % len;
            *next_port = next_port.wrapping_add(1);
            let at = |step: u32| ports.start() + ((first + step) % len) as u16;
            let found = (0..len).map(at).any(bind);
            found.then_some(()).ok_or(ConnectError::NoSourcePort)
        }
    }
}

/// The families that a `bind` line listens for, one socket each: true is IPv6.
pub fn families(bind: &Bind) -> &'static [bool] {
    match (bind.address, bind.families) {
        (Some(IpAddr::V6(_)), _) => &[true],
        (Some(_), _) | (None, Families::V4) => &[false],
        (None, Families::V6) => &[true],
        (None, Families::Both) => &[false, true],
    }
}
