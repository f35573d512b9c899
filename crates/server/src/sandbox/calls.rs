//! What can be asked of the kernel: seccomp.
//!
//! Out: a process that gets EPERM for what no server needs, on all of its threads.
//!
//! The list is of what is denied, not of what is allowed. A list of what is allowed is stronger on the day that it is written. But which
//! calls a program makes is the business of the C library, of Rust's and of tokio, and changes with each of their versions, with the
//! kind of CPU and with the kernel; what is missing in such a list shows as a failure on somebody's machine, in a kiosk that
//! nobody visits. What is denied here is what these libraries have no reason to call in a server that has started: other programs
//! and processes, sockets to elsewhere, and the parts of the kernel in which ways to more rights were found most often. A call that
//! does not exist yet is not denied; those that matter can be added when they do, at leisure, and nothing breaks until then.
//!
//! EPERM and not the end of the process: libraries try calls and do without, and whoever is refused something says so in the log.
//! A program that makes calls of another kind of CPU (32-bit ones on x86-64) is ended, because no library does.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Calls that are denied whatever is asked of them.
const DENIED: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Other views of the system.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    // Files past their folders.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Programs that run in the kernel, and queues and faults of its that go past filters such as this one.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Keys of the kernel's.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The kernel itself, and the machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_personality,
];

/// Those that x86-64 alone has.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[c_long] = &[];

/// A kernel that runs programs for x32 takes every call of x86-64 by a second number, with this bit; and these few by a third.
#[cfg(target_arch = "x86_64")]
const X32: Option<(c_long, &[c_long])> = Some((
    0x4000_0000,
    // execve, ptrace, kexec_load, process_vm_readv, process_vm_writev, execveat, ioctl. Source: the kernel's syscall_64.tbl.
    &[520, 521, 528, 539, 540, 545, 514],
));
#[cfg(not(target_arch = "x86_64"))]
const X32: Option<(c_long, &[c_long])> = None;

/// Restricts all threads of the process, or says why that cannot be.
pub fn restrict() -> Result<(), String> {
    let denied = denied().map_err(|error| error.to_string());
    // Processes are made by clone3, too, whose flags are in memory, where a filter cannot look. Without it C libraries make threads by
    // clone, which an older kernel has them do as well.
    let unknown = clone3().map_err(|error| error.to_string());
    let programs = denied.and_then(|denied| Ok([denied, unknown?]));
    let programs = programs.map_err(|error| format!("the seccomp filter cannot be made: {error}"))?;
    for program in &programs {
        apply_filter_all_threads(program).map_err(|error| match error {
            Error::Prctl(error) | Error::Seccomp(error) => {
                format!("the kernel takes no seccomp filter ({})", stonechat_runtime::error::reason(&error))
            }
            error => format!("the seccomp filter does not hold: {error}"),
        })?;
    }
    Ok(())
}

fn denied() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    for call in DENIED.iter().chain(DENIED_HERE) {
        rules.insert(*call, Vec::new());
    }
    // A thread of this process is all that may be started.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![only_where(0, SeccompCmpOp::MaskedEq(thread), 0)?]);
    // No socket but one that tells the supervisor that the server is well; none at all where there is no supervisor. Those of
    // clients are made by accept.
    let sockets = match std::env::var_os("NOTIFY_SOCKET") {
        Some(_) => vec![only_where(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?],
        None => Vec::new(),
    };
    rules.insert(libc::SYS_socket, sockets);
    // Nothing is typed into the terminal from which the server was started.
    #[allow(clippy::unnecessary_cast, reason = "musl has them in another type")]
    let requests = [libc::TIOCSTI as u64, libc::TIOCLINUX as u64];
    let typed = requests.map(|request| only_where(1, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, typed.into_iter().collect::<Result<_, _>>()?);
    if let Some((bit, others)) = X32 {
        let again: Vec<_> = rules.iter().map(|(call, rules)| (call | bit, rules.clone())).collect();
        rules.extend(again);
        rules.extend(others.iter().map(|call| (call | bit, Vec::new())));
    }
    program(rules, libc::EPERM)
}

fn clone3() -> Result<BpfProgram, BackendError> {
    let numbers = std::iter::once(libc::SYS_clone3).chain(X32.map(|(bit, _)| libc::SYS_clone3 | bit));
    program(numbers.map(|call| (call, Vec::new())).collect(), libc::ENOSYS)
}

/// A rule about the lower half of an argument, which is all that the kernel takes of these.
fn only_where(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?])
}

fn program(rules: BTreeMap<c_long, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram, BackendError> {
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error as u32), here)?.try_into()
}
