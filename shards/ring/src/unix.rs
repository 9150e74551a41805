//! Unix sockets that listen: one socket for all shards, and the file that names it.
//!
//! SO_REUSEPORT spreads no Unix connections, so every shard accepts on a descriptor of its own of
//! the same socket: the kernel wakes one of the accepts that wait, first come first served. Closing
//! one descriptor, and cancelling the accepts of one ring, leaves the others as they are.
//!
//! Invariants: what is no socket is never removed, nor a socket on which somebody listens. The file
//! has mode 0600 (less where the umask says so) from its first moment. It is removed at the end
//! only if it is still the one that was made here.
//!
//! Left out: sockets without a file (abstract ones, unix(7)), which any user could reach, and
//! SCM_RIGHTS: descriptors that a client sends along are closed unseen.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::bind_error::{BindError, Obstacle};
use crate::listener::{Listener, errno_of};

/// Bytes of a path that an address holds, its NUL aside (`sun_path`, unix(7)).
pub(crate) const PATH_BYTES_MAX: usize = 107;
/// Owner alone: there is no other authentication.
const MODE: u32 = 0o600;
/// How often, and after which pauses, is looked for the folder's lock, and for the end of a dead
/// server's socket: 2 s in all.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Listens on the Unix socket `path` with `count` listeners (at least one), which share one
/// socket. `backlog` is cut to `net.core.somaxconn` by the kernel.
///
/// A socket that a dead server left behind is replaced. Two servers that start at once, one of
/// which would take the other's for that, are kept apart by a lock on the folder (flock(2)), where
/// the folder can be opened.
///
/// # Errors
/// What is in the way at `path`, and what socket(2), bind(2) and listen(2) report.
pub fn bind_unix(
    path: &Path,
    count: usize,
    backlog: u32,
) -> Result<(Vec<Listener>, SocketFile), BindError> {
    let refuse = |obstacle| BindError::Path { path: path.to_path_buf(), obstacle };
    let (socket, file) = listen(path, backlog).map_err(refuse)?;
    let mut listeners = Vec::with_capacity(count);
    while listeners.len() + 1 < count {
        let shared = socket.try_clone().map_err(system).map_err(refuse)?;
        listeners.push(Listener::unix(shared));
    }
    listeners.push(Listener::unix(socket));
    Ok((listeners, file))
}

/// The file of a listening socket: removed when this is dropped, if it is still the same file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The file itself: while it is held, no other gets its inode's number.
    made: File,
}

impl SocketFile {
    fn hold(path: &Path) -> io::Result<Self> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let made = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        // The working folder may be another one at the end.
        Ok(Self { path: std::path::absolute(path)?, made })
    }

    fn is_ours(&self) -> io::Result<bool> {
        let (made, there) = (self.made.metadata()?, fs::symlink_metadata(&self.path)?);
        Ok((made.dev(), made.ino()) == (there.dev(), there.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Between look and removal another may take the place: only starting servers do, and they
        // hold the folder's lock.
        let _lock = self.path.parent().and_then(lock);
        let removed = match self.is_ours() {
            Ok(true) => fs::remove_file(&self.path),
            Ok(false) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(path = %self.path.display(), %error, "the socket's file stays behind");
        }
    }
}

fn listen(path: &Path, backlog: u32) -> Result<(Socket, SocketFile), Obstacle> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Obstacle::NoName);
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(Obstacle::TooLong(bytes.len()));
    }
    let address = SockAddr::unix(path).map_err(system)?;
    let _lock = lock(folder_of(path));
    let socket = private_socket()?;
    match socket.bind(&address).map_err(errno_of) {
        Ok(()) => {}
        Err(Errno::EADDRINUSE) => {
            remove_stale(path, &address)?;
            socket.bind(&address).map_err(system)?;
        }
        Err(errno) => return Err(Obstacle::System(errno)),
    }
    let file = SocketFile::hold(path).map_err(system)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(system)?;
    Ok((socket, file))
}

/// A blocking socket, since on a non-blocking one io_uring answers EAGAIN rather than wait. Its
/// mode before bind(2) is that of the file, as Linux has it: the file is never open to others.
fn private_socket() -> Result<Socket, Obstacle> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(system)?;
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(MODE)).map_err(system)?;
    Ok(Socket::from(OwnedFd::from(file)))
}

/// Removes what a dead server left at the path.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), Obstacle> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !there.file_type().is_socket() {
        return Err(Obstacle::NoSocket);
    }
    for _ in 0..TRIES {
        // Blocking, it would wait where the backlog of a live server is full.
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(system)?;
        probe.set_nonblocking(true).map_err(system)?;
        match probe.connect(address).map_err(errno_of) {
            Err(Errno::ECONNREFUSED) => return fs::remove_file(path).map_err(system),
            Err(Errno::ENOENT) => return Ok(()),
            // The kernel ends the accepts of a dead process some time later.
            Ok(()) if is_of_the_dead(&probe) => pause(),
            // A socket of another type has an owner, too.
            Ok(()) | Err(Errno::EAGAIN | Errno::EPROTOTYPE) => break,
            Err(errno) => return Err(Obstacle::System(errno)),
        }
    }
    Err(Obstacle::InUse)
}

/// Whether the process that called listen(2) at the other end is gone. Another may have the socket
/// from it and live; then it goes on to listen.
fn is_of_the_dead(probe: &Socket) -> bool {
    let owner = getsockopt(probe, PeerCredentials).map(|owner| owner.pid());
    // A process of another namespace has the number 0 here.
    owner.is_ok_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// Without it, all goes as well unless two servers start at the very same time.
fn lock(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    for _ in 0..TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => pause(),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

#[expect(clippy::disallowed_methods, reason = "called where the process starts and ends")]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn system(error: io::Error) -> Obstacle {
    Obstacle::System(errno_of(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    /// A folder of a test's own, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ring-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn path(&self) -> PathBuf {
            self.0.join("socket")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn refused(path: &Path) -> Obstacle {
        let error = bind_unix(path, 2, 16).expect_err("it is refused");
        let text = error.to_string();
        assert!(!text.contains('\n') && text.contains(": "), "{text}");
        match error {
            BindError::Path { obstacle, .. } => obstacle,
            BindError::Address { .. } => panic!("it is a path"),
        }
    }

    #[test]
    fn listeners_share_a_private_socket_whose_file_goes_with_them() {
        let folder = Folder::new("shared");
        let path = folder.path();
        let (listeners, file) = bind_unix(&path, 3, 16).expect("a free path");
        assert_eq!(listeners.len(), 3);
        assert_eq!(fs::metadata(&path).expect("the file").mode() & 0o7777, MODE);
        for listener in &listeners {
            let _client = UnixStream::connect(&path).expect("it listens");
            listener.socket().accept().expect("each takes from the same queue");
            listener.set_user_timeout(PAUSE).expect("there is none, which is no error");
            assert_eq!(listener.address(), None);
        }
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_server_left_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("stale");
        let path = folder.path();
        drop(UnixListener::bind(&path).expect("a free path"));
        assert!(path.exists(), "left behind");
        let (listeners, file) = bind_unix(&path, 1, 1).expect("nobody listens");
        assert_eq!(refused(&path), Obstacle::InUse);
        // Even where its backlog is full, in which nobody can connect.
        let fill = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            client.set_nonblocking(true).expect("an option");
            client.connect(&SockAddr::unix(&path).expect("short")).is_ok().then_some(client)
        };
        let waiting: Vec<Socket> = std::iter::from_fn(fill).collect();
        assert!(!waiting.is_empty());
        assert_eq!(refused(&path), Obstacle::InUse);
        drop((listeners, file));
        let _other = UnixDatagram::bind(&path).expect("a free path");
        assert_eq!(refused(&path), Obstacle::InUse);
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = Folder::new("foreign");
        let path = folder.path();
        fs::write(&path, "precious").expect("a file");
        assert_eq!(refused(&path), Obstacle::NoSocket);
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
        fs::remove_file(&path).expect("ours");
        std::os::unix::fs::symlink("/nowhere/at/all", &path).expect("a link");
        assert_eq!(refused(&path), Obstacle::NoSocket);
        assert_eq!(refused(&folder.0), Obstacle::NoSocket);
    }

    #[test]
    fn a_file_that_another_made_stays_at_the_end() {
        let folder = Folder::new("ours");
        let path = folder.path();
        let (listeners, file) = bind_unix(&path, 1, 16).expect("a free path");
        drop(listeners);
        let (_others, their_file) = bind_unix(&path, 1, 16).expect("nobody listens");
        drop(file);
        assert!(UnixStream::connect(&path).is_ok(), "it is theirs now");
        fs::remove_file(&path).expect("a file");
        // Nothing to remove is as well.
        drop(their_file);
    }

    #[test]
    fn of_many_that_start_at_once_one_listens() {
        let folder = Folder::new("race");
        let path = folder.path();
        for _ in 0..20 {
            drop(UnixListener::bind(&path).expect("a free path"));
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    let path = path.clone();
                    std::thread::spawn(move || bind_unix(&path, 1, 16))
                })
                .collect();
            let started: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
            assert_eq!(started.iter().filter(|start| start.is_ok()).count(), 1);
            assert!(UnixStream::connect(&path).is_ok(), "and it can be reached");
        }
    }

    #[test]
    fn paths_that_name_no_socket_are_told() {
        assert_eq!(refused(Path::new("")), Obstacle::NoName);
        assert_eq!(refused(Path::new("/tmp/a\0b")), Obstacle::NoName);
        let long = format!("/tmp/{}", "x".repeat(PATH_BYTES_MAX));
        assert_eq!(refused(Path::new(&long)), Obstacle::TooLong(PATH_BYTES_MAX + 5));
        assert_eq!(refused(Path::new("/nowhere/s")), Obstacle::System(Errno::ENOENT));
        let folder = Folder::new("long");
        let room = PATH_BYTES_MAX - folder.0.as_os_str().len() - 1;
        let longest = folder.0.join("x".repeat(room));
        let (_listeners, file) = bind_unix(&longest, 1, 16).expect("just short enough");
        assert!(UnixStream::connect(&file.path).is_ok());
    }
}
