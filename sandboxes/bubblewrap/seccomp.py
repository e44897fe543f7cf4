"""Which system calls a bubblewrap sandbox may not make: a filter for the kernel, as its classic BPF.

Namespaces do not close everything: the keyring is the host's, and a user namespace of one's own gives back every call
that wants a capability, and file systems in memory that no limit of a process counts. What is refused is what Docker's
default profile refuses to a container without capabilities, as a list of what is forbidden, with an error that
programs know how to take. Debuggers work (`ptrace`).
"""

from __future__ import annotations

import errno
import os
import struct
import sys

_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "open_tree_attr": 467,
}
"""Numbers that are the same on every machine."""

_REFUSED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mount": (165, 40),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
"""Numbers on x86_64 and on aarch64."""

_CLONE, _UNSHARE, _IOCTL, _SOCKET = (56, 220), (272, 97), (16, 29), (41, 198)
_CLONE3 = 435
_NEWEST = 469
"""Calls that came later are not there: nobody has looked at them. (So are x32's, whose numbers are far above.)"""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Which number of each pair, and how the kernel calls the machine."""

_NEW_NAMESPACE = 0x7E020000
"""CLONE_NEW* of a mount, cgroup, UTS, IPC, user, PID or network namespace."""

_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)
"""Sockets: UNIX, IPv4, IPv6, netlink. Others are not bound to the network namespace (VSOCK leads to a virtual
machine's host) or rarely looked at."""

_LOAD, _EQUAL, _GREATER, _ANY_OF, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_KILL, _ALLOW, _FAIL = 0x80000000, 0x7FFF0000, 0x00050000
_REFUSE = _FAIL | errno.EPERM
_MISSING = _FAIL | errno.ENOSYS


def machine() -> str | None:
    """What the filter is made for; None where there is none for this machine."""
    name = os.uname().machine
    return name if name in _MACHINES and sys.maxsize > 1 << 32 else None


def program(machine: str) -> bytes:
    """The filter for a machine, as bubblewrap's `--seccomp` takes it."""
    which, kind = _MACHINES[machine]
    lines = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, kind),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_GREATER, 0, 1, _NEWEST),
        (_RETURN, 0, 0, _MISSING),
        # Its flags lie in memory, where a filter cannot look; without it libc takes clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _MISSING),
    ]
    for number in sorted([*_EVERYWHERE.values(), *(pair[which] for pair in _REFUSED.values())]):
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for number in (_CLONE[which], _UNSHARE[which]):
        lines += _argument(number, 0, [(_ANY_OF, 0, 1, _NEW_NAMESPACE), (_RETURN, 0, 0, _REFUSE)], _ALLOW)
    orders = [line for order in (_TIOCSTI, _TIOCLINUX) for line in ((_EQUAL, 0, 1, order), (_RETURN, 0, 0, _REFUSE))]
    lines += _argument(_IOCTL[which], 1, orders, _ALLOW)
    families = [line for family in _FAMILIES for line in ((_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW))]
    lines += _argument(_SOCKET[which], 0, families, _FAIL | errno.EAFNOSUPPORT)
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _argument(
    number: int, index: int, tests: list[tuple[int, int, int, int]], otherwise: int
) -> list[tuple[int, int, int, int]]:
    """For one call: tests of the low half of an argument, which is all that the kernel takes of these."""
    body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * index), *tests, (_RETURN, 0, 0, otherwise)]
    return [(_EQUAL, 0, len(body), number), *body]
