//! io_uring refused by a real seccomp filter.
//!
//! A filter binds the thread that installs it, so each test has one that ends with it.

use std::thread;

use nix::errno::Errno;
use ringmesh_ring::{Refusal, probe};

#[test]
fn a_seccomp_filter_is_told_apart_whatever_it_refuses_and_however() {
    let calls = [
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_io_uring_register, "io_uring_register"),
        (libc::SYS_io_uring_enter, "io_uring_enter"),
    ];
    for (number, name) in calls {
        for errno in [Errno::EPERM, Errno::ENOSYS] {
            let refusal = thread::spawn(move || {
                refuse(number, errno);
                probe().expect_err("the filter refuses it")
            })
            .join()
            .expect("the filtered thread");
            assert_eq!(refusal, Refusal::Seccomp { call: name, errno });
            let text = refusal.to_string();
            assert!(text.starts_with(&format!("a seccomp filter refuses {name} ({errno:?})")));
            assert!(text.contains("profile") && !text.contains('\n'), "{text}");
        }
    }
}

/// Makes the kernel answer `errno` to a system call of this thread, for good.
fn refuse(call: libc::c_long, errno: Errno) {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let call = u32::try_from(call).expect("a system call");
    let refused = libc::SECCOMP_RET_ERRNO | u32::try_from(errno as i32).expect("an errno");
    let mut steps = [
        step(LOAD, 0, 0, 0), // seccomp_data.nr
        step(JUMP_EQUAL, call, 0, 1),
        step(RETURN, refused, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: both calls act on this thread alone; the program outlives the call that copies it.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(result, 0, "prctl: {}", Errno::last());
}
