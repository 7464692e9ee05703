//! The process among others: in the background, with a file that names it, with no more rights than it needs.
//!
//! In:    `daemon`, `pidfile`, `user`, `group`, `uid`, `gid`, `chroot`; NOTIFY_SOCKET
//! Out:   a process that others can find, and that can do little else than its work
//! Never: touches a packet
//! Read:  daemon(7), capabilities(7), sd_notify(3); docs/management.md, "The process"

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::config::model::Process;

/// What a child in the background tells the one who waits for it.
const READY: &str = "ready";

/// The argument that tells a process that it is to be in the background, and who waits for its word.
pub const CHILD: &str = "--in-background";

/// Starts this program again, in the background, with the same arguments; waits until it is ready or has ended.
pub fn go_to_background() -> io::Result<ExitCode> {
    let mut child = Command::new("/proc/self/exe")
        .arg(CHILD)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut word = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut word)?;
    }
    if word.trim_end() == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// In the background: leaves the terminal's session.
pub fn leave_terminal() {
    // It fails only for the leader of a group, which has a session of its own already.
    let _ = rustix::process::setsid();
}

/// Whatever was said to start with, and how to say the rest.
pub struct Starter {
    nothing: Option<File>,
    pidfile: Option<File>,
    manager: Option<UnixDatagram>,
}

impl Starter {
    /// Opens what will be out of reach once the process has no rights any more.
    pub fn open(pidfile: Option<&Path>, is_child: bool) -> io::Result<Self> {
        let nothing = match is_child {
            true => Some(File::options().read(true).write(true).open("/dev/null")?),
            false => None,
        };
        let pidfile = pidfile.map(|path| {
            File::create(path).map_err(|error| {
                io::Error::other(format!("cannot create the pidfile {}: {error}", path.display()))
            })
        });
        Ok(Starter { nothing, pidfile: pidfile.transpose()?, manager: manager() })
    }

    /// Tells everybody that the process is ready, and lets go of the terminal.
    pub fn ready(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.pidfile.take() {
            writeln!(file, "{}", std::process::id())?;
        }
        self.tell_manager(&format!("READY=1\nMAINPID={}\n", std::process::id()));
        if let Some(nothing) = self.nothing.take() {
            // The one who waits reads this, and then the end.
            println!("{READY}");
            io::stdout().flush()?;
            rustix::stdio::dup2_stdin(&nothing)?;
            rustix::stdio::dup2_stdout(&nothing)?;
            rustix::stdio::dup2_stderr(&nothing)?;
        }
        Ok(())
    }

    /// Tells the service manager, if there is one.
    pub fn tell_manager(&self, state: &str) {
        if let Some(manager) = &self.manager {
            // A manager that is gone needs no word.
            let _ = manager.send(state.as_bytes());
        }
    }
}

/// The socket of the service manager (sd_notify(3)).
fn manager() -> Option<UnixDatagram> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = std::env::var("NOTIFY_SOCKET").ok()?;
    let socket = UnixDatagram::unbound().ok()?;
    match name.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()?,
        None => socket.connect(name).ok()?,
    }
    Some(socket)
}

/// Ends other processes, and waits until they have ended: what they hold is free then.
pub fn end_others(pids: &[i32]) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    for &number in pids {
        let Some(pid) = Pid::from_raw(number) else { continue };
        // Who is gone already need not be waited for.
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        pidfd_send_signal(&fd, Signal::TERM)?;
        let mut polled = [PollFd::new(&fd, PollFlags::IN)];
        if poll(&mut polled, Some(&Timespec { tv_sec: END_MAX_S, tv_nsec: 0 }))? == 0 {
            return Err(io::Error::other(format!(
                "process {number} has not ended {END_MAX_S} seconds after SIGTERM"
            )));
        }
    }
    Ok(())
}

/// How long another process may take to end.
const END_MAX_S: i64 = 5;

/// Whom to become, once that has been looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Uid>,
    group: Option<Gid>,
    root: Option<std::path::PathBuf>,
}

impl Identity {
    /// Looks up the names; a sentence about one that nobody has.
    pub fn look_up(process: &Process) -> Result<Self, String> {
        let user = match &process.user {
            None => None,
            Some(name) => {
                let found = User::from_name(name).map_err(|error| error.to_string())?;
                Some(found.ok_or_else(|| format!("cannot find user id for '{name}'"))?.uid)
            }
        };
        let group = match &process.group {
            None => None,
            Some(name) => {
                let found = Group::from_name(name).map_err(|error| error.to_string())?;
                Some(found.ok_or_else(|| format!("cannot find group id for '{name}'"))?.gid)
            }
        };
        Ok(Identity {
            user: user.or(process.uid.map(Uid::from_raw)),
            group: group.or(process.gid.map(Gid::from_raw)),
            root: process.chroot.clone(),
        })
    }

    /// Confines this thread and all that come from it: before the first of them.
    ///
    /// What stays is what the running process may still need: to steer packets and ask for neighbours
    /// (CAP_BPF, CAP_NET_ADMIN), to send from addresses of others and on named interfaces (CAP_NET_RAW), to listen on
    /// low ports (CAP_NET_BIND_SERVICE).
    pub fn assume(&self) -> Result<(), String> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| Err(format!("cannot {what}: {error}"));
        if let Some(root) = &self.root {
            let confined = nix::unistd::chroot(root).and_then(|()| nix::unistd::chdir("/"));
            if let Err(error) = confined {
                return failed(&format!("chroot to {}", root.display()), &error);
            }
        }
        if self.user.is_none() && self.group.is_none() {
            return Ok(());
        }
        if let Err(error) = rustix::thread::set_keep_capabilities(true) {
            return failed("keep capabilities", &error);
        }
        if let Some(group) = self.group {
            let changed = nix::unistd::setgroups(&[group])
                .and_then(|()| nix::unistd::setresgid(group, group, group));
            if let Err(error) = changed {
                return failed(&format!("become group {group}"), &error);
            }
        }
        if let Some(user) = self.user
            && let Err(error) = nix::unistd::setresuid(user, user, user)
        {
            return failed(&format!("become user {user}"), &error);
        }
        if self.user.is_none_or(Uid::is_root) {
            return Ok(());
        }
        let kept = CapabilitySet::BPF
            | CapabilitySet::NET_ADMIN
            | CapabilitySet::NET_RAW
            | CapabilitySet::NET_BIND_SERVICE;
        // What the process does not have, it cannot keep.
        let had = rustix::thread::capabilities(None).map_or(kept, |sets| sets.permitted);
        let kept = kept & had;
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        if let Err(error) = rustix::thread::set_capabilities(None, sets) {
            return failed("give capabilities up", &error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_are_told() {
        let process = Process { user: Some("nobody-of-that-name".into()), ..Process::default() };
        let error = Identity::look_up(&process).unwrap_err();
        assert_eq!(error, "cannot find user id for 'nobody-of-that-name'");
        let process = Process { uid: Some(7), group: Some("root".into()), ..Process::default() };
        let identity = Identity::look_up(&process).unwrap();
        assert_eq!(
            (identity.user, identity.group),
            (Some(Uid::from_raw(7)), Some(Gid::from_raw(0)))
        );
    }
}
