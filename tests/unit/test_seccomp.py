"""The filter of system calls, run as the kernel would: also for the machine that this one is not."""

from __future__ import annotations

import errno
import struct

import pytest

from swarm.sandboxes.bubblewrap.seccomp import program

X86_64, AARCH64 = ("x86_64", 0xC000003E), ("aarch64", 0xC00000B7)
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000


def verdict(machine: str, kind: int, number: int, *arguments: int) -> int:
    """What the filter answers to one call."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, kind, 0, *arguments, *(0,) * (6 - len(arguments)))
    lines = list(struct.iter_unpack("=HBBI", program(machine)))
    at = loaded = 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        match code:
            case 0x06:
                return int(value)
            case 0x20:
                loaded = struct.unpack_from("=I", data, value)[0]
            case _:
                true = {0x15: loaded == value, 0x25: loaded > value, 0x45: bool(loaded & value)}[code]
                at += yes if true else no


@pytest.mark.parametrize(
    ("machine", "calls"),
    [
        (X86_64, {"read": 0, "ptrace": 101, "clone": 56, "unshare": 272, "ioctl": 16, "socket": 41}),
        (AARCH64, {"read": 63, "ptrace": 117, "clone": 220, "unshare": 97, "ioctl": 29, "socket": 198}),
    ],
    ids=["x86_64", "aarch64"],
)
def test_by_arguments(machine: tuple[str, int], calls: dict[str, int]) -> None:
    refused = FAIL | errno.EPERM
    new_user, thread = 0x10000000, 0x3D0F00
    assert verdict(*machine, calls["read"]) == ALLOW
    assert verdict(*machine, calls["ptrace"]) == ALLOW
    assert verdict(*machine, calls["clone"], thread) == ALLOW
    assert verdict(*machine, calls["clone"], thread | new_user) == refused
    assert verdict(*machine, calls["unshare"], 0x400) == ALLOW
    assert verdict(*machine, calls["unshare"], new_user) == refused
    assert verdict(*machine, calls["ioctl"], 0, 0x5401) == ALLOW
    # The kernel takes the low half of the order alone.
    assert verdict(*machine, calls["ioctl"], 0, 0x1_0000_5412) == refused
    assert verdict(*machine, calls["socket"], 1) == ALLOW
    assert verdict(*machine, calls["socket"], 40) == FAIL | errno.EAFNOSUPPORT
    for newer in (435, 470, -1, 0x40000000 | calls["read"]):
        assert verdict(*machine, newer) == FAIL | errno.ENOSYS
    assert verdict(machine[0], 0x40000003, calls["read"]) == KILL


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        (X86_64, {250, 248, 249, 165, 166, 155, 429, 428, 430, 431, 432, 442, 308, 321, 298, 323, 246, 320, 175, 313}),
        (AARCH64, {219, 217, 218, 40, 39, 41, 429, 428, 430, 431, 432, 442, 268, 280, 241, 282, 104, 294, 105, 273}),
    ],
    ids=["x86_64", "aarch64"],
)
def test_by_number(machine: tuple[str, int], numbers: set[int]) -> None:
    assert {number for number in numbers if verdict(*machine, number) != FAIL | errno.EPERM} == set()
