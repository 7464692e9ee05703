//! Where the configuration comes from, and what the command line says of it: read at the start, and again at each reload.
//!
//! In:    the command line; files
//! Out:   a configuration, or a report
//! Owns:  the directories that paths begin in, from before the process was confined
//! Never: applies anything

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::cli::{Carriage, RunOrder};
use crate::config::{self, Environment, Loaded, Report, Surroundings};

/// Where the configuration comes from.
pub struct ConfigSource {
    order: RunOrder,
    environment: Environment,
    files: Files,
}

impl ConfigSource {
    /// By a command line, seen from the working directory of now.
    pub fn new(order: &RunOrder) -> io::Result<Self> {
        let mut environment = Environment::of_process();
        environment.maxconn = order.proxy_maxconn;
        let localpeer = order.localpeer.clone().map(|name| ("HAPROXY_LOCALPEER".into(), name));
        environment.variables.extend(localpeer);
        Ok(ConfigSource { order: order.clone(), environment, files: Files::open()? })
    }

    /// The command line.
    pub fn order(&self) -> &RunOrder {
        &self.order
    }

    /// Reads the files as they are now; what the command line says wins over them.
    pub fn read(&self) -> Result<Loaded, Report> {
        let mut loaded = config::load_from(&self.order.files, &self.environment, &self.files)?;
        let config = &mut loaded.config;
        if self.order.transport == Carriage::Kernel {
            config.leave_wires();
        }
        let global = &mut config.global;
        global.maxconn = self.order.maxconn.or(global.maxconn);
        if self.order.pidfile.is_some() {
            global.process.pidfile.clone_from(&self.order.pidfile);
        }
        if !self.order.interfaces.is_empty() {
            global.interfaces.clone_from(&self.order.interfaces);
        }
        Ok(loaded)
    }
}

/// Files as they were to be seen when the process started: after `chroot` paths would lead elsewhere.
struct Files {
    root: OwnedFd,
    current: OwnedFd,
}

impl Files {
    fn open() -> io::Result<Self> {
        let directory = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
        };
        Ok(Files { root: directory("/")?, current: directory(".")? })
    }

    fn file(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let (base, relative) = match path.strip_prefix("/") {
            Ok(rest) if rest.as_os_str().is_empty() => (&self.root, Path::new(".")),
            Ok(rest) => (&self.root, rest),
            Err(_) => (&self.current, path),
        };
        Ok(rustix::fs::openat(base, relative, flags | OFlags::CLOEXEC, Mode::empty())?)
    }
}

impl Surroundings for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::from(self.file(path, OFlags::RDONLY)?).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let directory = self.file(path, OFlags::RDONLY)?;
        let is_directory = |stat: rustix::fs::Stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
        };
        if !is_directory(rustix::fs::fstat(&directory)?) {
            return Ok(None);
        }
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let name = entry?.file_name().to_owned();
            let path = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = rustix::fs::statat(&directory, &name, rustix::fs::AtFlags::empty())?;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
                files.push(path);
            }
        }
        Ok(Some(files))
    }

    fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}
