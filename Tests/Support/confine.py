"""What a container or an operator takes from a process, for `preexec_fn`."""

import ctypes
import errno
import struct

IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
LIBC = ctypes.CDLL(None, use_errno=True)


def forbid_io_uring():
    """Has io_uring_setup answer EPERM from now on, as the default seccomp profiles of container engines do.

    Its number is the same on all architectures. The filter is classic BPF (seccomp(2)): load the number, compare,
    return.
    """
    load, equal, end = 0x20, 0x15, 0x06
    program = b"".join(struct.pack("<HBBI", *instruction) for instruction in [
        (load, 0, 0, 0), (equal, 0, 1, IO_URING_SETUP), (end, 0, 0, 0x00050000 | errno.EPERM), (end, 0, 0, 0x7FFF0000)])
    instructions = ctypes.create_string_buffer(program, len(program))
    filter_program = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(instructions))
    if LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_program):
        raise OSError(ctypes.get_errno(), "no seccomp filter")
