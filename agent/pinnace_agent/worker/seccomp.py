"""The system calls that a worker has no use for, denied for good: no socket of its own, no other program, no peeking.

A model file is hostile input to a large C++ library: whoever gets code to run in here finds a process without keys that
can neither reach a network nor start anything. Everything it needs (its sockets, its files) it has been given. A denied
call fails as one without permission does, so libraries that try go on without. Source: Linux, ``seccomp(2)``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2

_LOAD: Final = 0x20  # a word of seccomp_data: 0 is the call's number, 4 the architecture
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_DENY: Final = 0x00050000 | errno.EPERM
_X32_CALLS: Final = 0x40000000  # a second table of calls on x86-64

_CALLS: Final = (
    *("socket", "connect", "bind", "listen"),
    *("execve", "execveat", "fork", "vfork"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "perf_event_open", "userfaultfd", "bpf"),
    *("unshare", "setns", "mount", "add_key", "request_key", "keyctl"),
    "io_uring_setup",  # it can do most of the above without the calls above
)
_X86_64: Final = (41, 42, 49, 50, 59, 322, 57, 58, 101, 310, 311, 298, 323, 321, 272, 308, 165, 248, 249, 250, 425)
_ARM: Final = (281, 283, 282, 284, 11, 387, 2, 190, 26, 376, 377, 364, 388, 386, 337, 375, 21, 309, 310, 311, 425)
_GENERIC: Final = (198, 203, 200, 201, 221, 281, -1, -1, 117, 270, 271, 241, 282, 280, 97, 268, 40, 217, 218, 219, 425)

# Machine and size of a pointer → the architecture's audit number and the numbers of the calls, in the order above.
_ARCHITECTURES: Final = {
    ("x86_64", 8): (0xC000003E, _X86_64),
    ("aarch64", 8): (0xC00000B7, _GENERIC),
    ("aarch64", 4): (0x40000028, _ARM),  # a 32-bit system on a 64-bit kernel
    ("armv7l", 4): (0x40000028, _ARM),
    ("armv6l", 4): (0x40000028, _ARM),
    ("riscv64", 8): (0xC00000F3, _GENERIC),
}


def deny() -> bool:
    """Deny them to this thread and to all that it starts. Needs "no new privileges". False: this system cannot."""
    program = _program(os.uname().machine, struct.calcsize("P"))
    if program is None:
        return False
    instructions = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog: how many instructions, padding, where they are.
    filters = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    mode, where = ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(filters)
    return int(libc.prctl(PR_SET_SECCOMP, mode, where, 0, 0)) == 0


def _program(machine: str, pointer_bytes: int) -> list[bytes] | None:
    known = _ARCHITECTURES.get((machine, pointer_bytes))
    if known is None:
        return None
    audit, numbers = known
    if len(numbers) != len(_CALLS):
        raise AssertionError("a number for each call")
    tests = [(_IF_EQUAL, number) for number in numbers if number >= 0]
    if machine == "x86_64":
        tests.insert(0, (_IF_AT_LEAST, _X32_CALLS))
    # Each test that holds jumps over the rest of them and over "allow".
    jumps = [_instruction(code, number, if_true=len(tests) - i) for i, (code, number) in enumerate(tests)]
    return [
        _instruction(_LOAD, 4),
        _instruction(_IF_EQUAL, audit, if_false=len(tests) + 2),
        _instruction(_LOAD, 0),
        *jumps,
        _instruction(_RETURN, _ALLOW),
        _instruction(_RETURN, _DENY),
    ]


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, if_true, if_false, value)
