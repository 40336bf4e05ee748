"""The sandbox of a process that decodes one untrusted file.

`close` limits what the process may use and gives the kernel a filter of system calls (seccomp). From then on the
process can compute, allocate memory, start threads, and use the files that are open. It cannot open, create or remove
a file, make a socket, start a process or program, or reach another process. A call that is not allowed fails with
EPERM, so a decoder can report it; the process is not killed. What must be read is opened before, and all modules are
imported before.

The filter is written here, not with a library: `pyseccomp` needs libseccomp of the system, which many images lack, and
the bindings of Landlock are young. Landlock alone would not be enough, since it does not forbid sockets other than TCP,
nor new processes. The filter is a list of allowed calls, so a call that a later kernel adds is refused.
"""

import ctypes
import errno
import functools
import os
import resource
import struct
import sys
from collections.abc import Iterator

MEMORY = 4 << 30  # bytes of address space; a photo of 100 million pixels takes 300 MB decoded
FILE_BYTES = 1 << 20  # of a file that is written to: the standard error output, and what decoders say, in memory
FILES = 64  # that are open at a time

# Numbers of Linux, which never change.
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
SET_FILTER = 1  # SECCOMP_SET_MODE_FILTER
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO, _KILL_PROCESS
LOAD, JUMP_IF_EQUAL, JUMP_IF_SET, RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of the filter
NUMBER, MACHINE, ARGUMENTS = 0, 4, 16  # places in `struct seccomp_data`
CLONE_THREAD = 0x10000
AT_EMPTY_PATH = 0x1000
DUPLICATIONS_AND_FLAGS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC

# By machine: the kernel's name of it (AUDIT_ARCH), the call `seccomp`, and the allowed calls by number.
X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20,
    "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35, "getpid": 39, "sendto": 44,
    "recvfrom": 45, "clone": 56, "exit": 60, "uname": 63, "fcntl": 72, "gettimeofday": 96, "getrusage": 98,
    "sysinfo": 99, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131,
    "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228,
    "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "newfstatat": 262, "ppoll": 271,
    "set_robust_list": 273, "dup3": 292, "preadv": 295, "prlimit64": 302, "getcpu": 309, "getrandom": 318,
    "memfd_create": 319, "membarrier": 324, "rseq": 334, "clone3": 435,
}  # fmt: skip
AARCH64 = {
    "dup": 23, "dup3": 24, "fcntl": 25, "close": 57, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66,
    "pread64": 67, "preadv": 69, "ppoll": 73, "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
    "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
    "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132,
    "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160, "getrusage": 165, "getcpu": 168,
    "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
    "gettid": 178, "sysinfo": 179, "sendto": 206, "recvfrom": 207, "brk": 214, "munmap": 215, "mremap": 216,
    "clone": 220, "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278,
    "memfd_create": 279, "membarrier": 283, "rseq": 293, "clone3": 435,
}  # fmt: skip
MACHINES = {"x86_64": (0xC000003E, 317, X86_64), "aarch64": (0xC00000B7, 277, AARCH64)}


@functools.cache
def missing() -> str:
    """Return why this machine has no sandbox, as the end of a sentence; "" if it has one."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in MACHINES or sys.maxsize < 1 << 32:
        return f"there is one for Linux on {' and '.join(MACHINES)}, and this is {sys.platform} on {machine}"
    # Without a filter nothing is installed, and a kernel that could would say that the address is wrong.
    _libc().syscall(MACHINES[machine][1], SET_FILTER, 0, None)
    found = ctypes.get_errno()
    return "" if found == errno.EFAULT else f"the kernel or the container forbids seccomp ({os.strerror(found)})"


@functools.cache
def warn() -> None:
    """Print to standard error, once, that there is no sandbox; nothing if there is one."""
    if missing():
        words = f"warning: files are decoded without a sandbox, with limits alone: {missing()}; see SECURITY.md"
        print(words, file=sys.stderr, flush=True)


def close(seconds: int) -> None:
    """Close the sandbox around this process, which must have one thread; it cannot be opened again.

    Where `missing` gives a reason, only the limits are set.

    Args:
      seconds: of processor time that are left to the process before it is ended by SIGXCPU.

    Raises:
      OSError: the kernel refuses the filter.
    """
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _lower(kind, most, most)
    # The kernel sends SIGXCPU at the first limit and SIGKILL at the second.
    _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
    if missing():
        return
    if _libc().prctl(NO_NEW_PRIVILEGES, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        _fail("no_new_privs")
    machine, seccomp, calls = MACHINES[os.uname().machine]
    program = b"".join(instructions(machine, calls, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    if _libc().syscall(seccomp, SET_FILTER, 0, header):
        _fail("seccomp")


def instructions(machine: int, calls: dict[str, int], process: int) -> Iterator[bytes]:
    """Yield the filter for `process`, an instruction of 8 bytes each."""
    yield _load(MACHINE)
    yield _jump(JUMP_IF_EQUAL, machine, 1)  # the numbers below are those of this machine alone
    yield _return(KILL)
    yield _load(NUMBER)
    checked = {
        "clone": ((0, JUMP_IF_SET, (CLONE_THREAD,)),),  # threads, no processes
        "fcntl": ((1, JUMP_IF_EQUAL, DUPLICATIONS_AND_FLAGS),),  # others let the kernel send signals
        "newfstatat": ((3, JUMP_IF_EQUAL, (AT_EMPTY_PATH,)),),  # as the C library asks about an open file
        "prlimit64": ((0, JUMP_IF_EQUAL, (0,)), (2, JUMP_IF_EQUAL, (0,)), (2.5, JUMP_IF_EQUAL, (0,))),  # ask, not set
        "tgkill": ((0, JUMP_IF_EQUAL, (process,)),),  # as of abort()
    }
    for name, number in calls.items():
        if name == "clone3":
            # Its flags lie where a filter cannot read. Without it the C library uses clone.
            body = [_return(REFUSE | errno.ENOSYS)]
        else:
            body = [part for check in checked.get(name, ()) for part in _check(*check)] + [_return(ALLOW)]
        yield _jump(JUMP_IF_EQUAL, number, 0, len(body))
        yield from body
    yield _return(REFUSE | errno.EPERM)


def _check(argument: float, jump: int, values: tuple[int, ...]) -> list[bytes]:
    """Return filter code that continues if an argument (lower half; upper half with .5) fits one of `values`."""
    jumps = [_jump(jump, value, len(values) - place) for place, value in enumerate(values)]
    return [_load(ARGUMENTS + int(8 * argument)), *jumps, _return(REFUSE | errno.EPERM)]


def _load(place: int) -> bytes:
    return struct.pack("=HBBI", LOAD, 0, 0, place)


def _jump(kind: int, value: int, then: int, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", kind, then, otherwise, value)


def _return(value: int) -> bytes:
    return struct.pack("=HBBI", RETURN, 0, 0, value)


def _lower(kind: int, soft: int, hard: int) -> None:
    """Lower a limit of this process; a lower one stays."""
    old_soft, old_hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (_smaller(old_soft, soft), _smaller(old_hard, hard)))


def _smaller(old: int, most: int) -> int:
    return most if old == resource.RLIM_INFINITY else min(old, most)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _fail(what: str) -> None:
    found = ctypes.get_errno()
    raise OSError(found, f"the sandbox cannot be closed: {what}: {os.strerror(found)}")
