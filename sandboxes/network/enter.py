"""Run by itself: enter a sandbox's network namespace, listen there, and hand the socket back through standard input.

`python -I enter.py PID MARK PORT`. A socket belongs for good to the namespace that it was made in; a process that has
entered one is of no other use, and a user namespace can be entered by a single-threaded process alone. Hence a program
of its own, with nothing of ours in it. MARK must stand in the process's command line: a PID alone could be another's.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import sys
from pathlib import Path

_NEW_USER = 0x10000000
_NEW_NET = 0x40000000
_GET_OWNER = 0xB701  # NS_GET_USERNS
_BACKLOG = 128


def main(pid: str, mark: str, port: str) -> None:
    """Do it, or end with one line of complaint."""
    process = os.open(f"/proc/{int(pid)}", os.O_RDONLY | os.O_DIRECTORY)  # this process, also when its id is reused
    command = os.open("cmdline", os.O_RDONLY, dir_fd=process)
    if mark.encode() not in os.read(command, 1 << 16).split(b"\0"):
        sys.exit("its first process is not on this machine")
    network = os.open("ns/net", os.O_RDONLY, dir_fd=process)
    if Path(f"/proc/self/fd/{network}").samefile("/proc/self/ns/net"):
        sys.exit("it has no network of its own")
    try:
        _enter(network, _NEW_NET)
    except PermissionError:  # the namespace is of a user namespace that is ours
        _enter(fcntl.ioctl(network, _GET_OWNER), _NEW_USER)
        _enter(network, _NEW_NET)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener, socket.socket(fileno=0) as back:
        listener.bind(("127.0.0.1", int(port)))
        listener.listen(_BACKLOG)
        socket.send_fds(back, [b"\0"], [listener.fileno()])


def _enter(namespace: int, kind: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(error.strerror or str(error))
