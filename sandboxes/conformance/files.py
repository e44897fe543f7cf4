"""Conformance checks of reading and writing files."""

from __future__ import annotations

import errno
import os
import shlex

import anyio

from swarm.sandboxes.conformance.kit import Nonconforming, Subject, holds, output_of, raises, same


async def files_binary(subject: Subject) -> None:
    """Five megabytes of anything are written and read unchanged, in folders that did not exist."""
    data = os.urandom(5 << 20)
    await subject.sandbox.write_file("new/folder/blob", data)
    holds(await subject.sandbox.read_file("new/folder/blob") == data, "the file came back changed")
    same((await output_of(subject, "wc -c < new/folder/blob")).strip(), str(len(data)), "size seen inside")


async def files_overwrite(subject: Subject) -> None:
    """Writing replaces the whole content and keeps the mode; the sandbox may then change the file."""
    sandbox = subject.sandbox
    await output_of(subject, "echo a long first content > over; chmod 755 over")
    await sandbox.write_file("over", b"short\n")
    await sandbox.write_file("fresh", b"1\n")
    same(
        await output_of(subject, "echo more >> over; echo 2 >> fresh; cat over fresh"), "short\nmore\n1\n2\n", "content"
    )
    holds(await output_of(subject, "test -x over; echo $?") == "0\n", "the mode was lost")


async def files_outside_the_workspace(subject: Subject) -> None:
    """Absolute paths outside the workspace are the sandbox's own."""
    sandbox = subject.sandbox
    name = f"{(await output_of(subject, 'echo $TMPDIR')).strip() or '/tmp'}/swarm-conformance-{os.getpid()}"
    await sandbox.write_file(name, b"here")
    same(await output_of(subject, f"cat {shlex.quote(name)}; rm {shlex.quote(name)}"), "here", "content")


async def files_listed(subject: Subject) -> None:
    """A folder tells its names, hidden and odd ones too, and which are folders; what is none is told apart."""
    sandbox = subject.sandbox
    await output_of(subject, "mkdir -p listed/sub 'listed/a b'; : > listed/.hidden; ln -s sub listed/link")
    await sandbox.write_file("listed/-n\nx", b"")
    wanted = sorted([".hidden", "a b/", "sub/", "link", "-n\nx"])
    for path in ("listed", f"{sandbox.workdir}/listed/", "listed/../listed"):
        same(await sandbox.list_folder(path), wanted, path)
    same(await sandbox.list_folder("listed/sub"), [], "an empty folder")
    holds("listed/" in await sandbox.list_folder(), "the workspace itself")
    await raises(FileNotFoundError, sandbox.list_folder("listed/missing"), "listing what is missing")
    await raises(NotADirectoryError, sandbox.list_folder("listed/.hidden"), "listing a file")


async def files_odd_names(subject: Subject) -> None:
    """Names may hold spaces, quotes, newlines, a leading dash and any alphabet."""
    for name in ("a b", "-n", "it's", 'say "x"', "new\nline", "naïve-ßß-日本", "$HOME", "a;b", "*"):
        await subject.sandbox.write_file(name, name.encode())
        same(await subject.sandbox.read_file(name), name.encode(), name)


async def files_errors(subject: Subject) -> None:
    """A missing file, a folder and a path through a file are told apart by the usual errors."""
    sandbox = subject.sandbox
    await output_of(subject, "mkdir -p folder; echo x > file")
    for prefix in ("", "/"):
        await raises(FileNotFoundError, sandbox.read_file(f"{prefix}missing/file"), "reading what is missing")
    await raises(IsADirectoryError, sandbox.read_file("folder"), "reading a folder")
    await raises(IsADirectoryError, sandbox.read_file("/"), "reading the root")
    await raises(IsADirectoryError, sandbox.write_file("folder", b""), "writing a folder")
    await raises(FileNotFoundError, sandbox.read_file("file/below"), "reading below a file")
    await raises(PermissionError, sandbox.write_file("file/below", b""), "writing below a file")


async def files_fifo(subject: Subject) -> None:
    """A FIFO in the workspace hangs nobody."""
    await output_of(subject, "mkfifo fifo")
    with anyio.fail_after(30):
        await raises(PermissionError, subject.sandbox.read_file("fifo"), "reading a FIFO")
        await raises(PermissionError, subject.sandbox.write_file("fifo", b"x"), "writing a FIFO")


async def files_links_inside(subject: Subject) -> None:
    """A link within the workspace means what it means inside."""
    sandbox = subject.sandbox
    await output_of(subject, "mkdir -p real; echo content > real/file; ln -sfn real link; ln -sf real/file file-link")
    for name in ("link/file", "file-link", "real/../real/file"):
        same(await sandbox.read_file(name), b"content\n", name)
    await sandbox.write_file("link/file", b"changed\n")
    same(await output_of(subject, "cat real/file"), "changed\n", "written through a link")


async def files_links_to_the_host(subject: Subject) -> None:
    """A link out of the workspace leads nowhere on the host, neither for reading nor for writing."""
    secret = subject.workspace.parent / f"secret-{os.getpid()}"
    secret.write_text("secret")
    try:
        quoted = shlex.quote(str(secret))
        await output_of(subject, f"ln -sf {quoted} out; ln -sfn {shlex.quote(str(secret.parent))} out-folder")
        for name in ("out", f"out-folder/{secret.name}", f"../{secret.name}", str(secret)):
            try:
                found = await subject.sandbox.read_file(name)
            except OSError:
                continue
            raise Nonconforming(f"{name} of the host was read: {found!r}")
        for name in ("out", f"out-folder/{secret.name}"):
            try:
                await subject.sandbox.write_file(name, b"overwritten")
            except OSError:
                continue
        same(secret.read_text(), "secret", "a file of the host")
    finally:
        secret.unlink()


async def files_large(subject: Subject) -> None:
    """A file of a hundred megabytes is written and read."""
    data = os.urandom(1 << 20) * 100
    await subject.sandbox.write_file("large", data)
    same((await output_of(subject, "wc -c < large")).strip(), str(len(data)), "size seen inside")
    holds(await subject.sandbox.read_file("large") == data, "the file came back changed")
    await output_of(subject, "rm large")


async def files_folder_is_made(subject: Subject) -> None:
    """Folders made on the way to a file can be used by commands; a path may go through `..` within the workspace."""
    await subject.sandbox.write_file("made/for/it/file", b"1")
    same(await output_of(subject, "echo 2 > made/for/it/more; cat made/for/it/*"), "12\n", "content")
    same(await subject.sandbox.read_file("made/for/../for/it/file"), b"1", "content")


async def files_dot_dot(subject: Subject) -> None:
    """A path that climbs out of the workspace reaches nothing of the host."""
    name = f"climbed-{os.getpid()}"
    try:
        await subject.sandbox.write_file(f"../{name}", b"x")
    except OSError:
        pass
    holds(not (subject.workspace.parent / name).exists(), "a file of the host was written")


async def files_too_large(subject: Subject) -> None:
    """A file of more than may be read is refused as too large, wherever it lies; what is just as large is read."""
    sandbox = subject.sandbox
    other = f"{(await output_of(subject, 'echo $TMPDIR')).strip() or '/tmp'}/large-{os.getpid()}"
    for name in ("hole", other):
        await output_of(subject, f"dd if=/dev/zero of={shlex.quote(name)} bs=1 count=1 seek=1000000 2>/dev/null")
        same(len(await sandbox.read_file(name, most=1_000_001)), 1_000_001, "length")
        try:
            await sandbox.read_file(name, most=1_000_000)
        except OSError as error:
            same(error.errno, errno.EFBIG, "error")
        else:
            raise Nonconforming(f"{name} was read, too large as it is")
        await output_of(subject, f"rm {shlex.quote(name)}")
