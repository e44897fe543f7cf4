"""bash, read, write and edit, in a real folder with real programs."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import SandboxError
from swarm.tools.output import LIMIT
from swarm.tools.registry import Toolset
from swarm.tools.toolsets import coding
from swarm.types import ExecResult, ToolResult, ToolStatus

pytestmark = pytest.mark.anyio


class Folder:
    """A folder as a sandbox, with `sh -c` in it and no isolation."""

    def __init__(self, root: Path, path: str | None = None) -> None:
        self.id = "folder"
        self.workdir = str(root)
        self.root = root
        private = root.parent / f"{root.name}-tmp"
        private.mkdir(exist_ok=True)
        self.env = {"PATH": path or os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(private)}

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        return await anyio.to_thread.run_sync(self._exec, command, timeout, cwd or self.workdir, stdin, max_output)

    def _exec(self, command: str, timeout: float, cwd: str, stdin: bytes, most: int) -> ExecResult:
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=cwd,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            late = False
            try:
                out, err = process.communicate(stdin, timeout=timeout)
            except subprocess.TimeoutExpired:
                late = True
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
        half = most // 2
        cut = len(out) > most
        out = out[:half] + out[-half:] if cut else out
        code = 124 if late else process.returncode
        return ExecResult(code if code >= 0 else 128 - code, out, err, timed_out=late, truncated=cut)

    async def list_folder(self, path: str = ".") -> list[str]:
        return []

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        data = (self.root / path).read_bytes()
        if most is not None and len(data) > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes", path)
        return data

    async def write_file(self, path: str, data: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@pytest.fixture
def box(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


TOOLS: Toolset = coding()


async def use(box: Folder, name: str, **arguments: Any) -> ToolResult:
    result = await TOOLS.call(name, json.dumps(arguments), box)
    assert len(result.content) <= LIMIT
    return result


def fill(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


async def told(box: Folder, name: str, **arguments: Any) -> str:
    """The words of a use that fails."""
    result = await use(box, name, **arguments)
    assert result.status is ToolStatus.FAILED, result.content
    assert result.content.startswith("Error: ")
    return result.content


@pytest.mark.parametrize(
    ("command", "content", "code"),
    [
        ("echo out; echo err >&2; echo out", "out\nerr\nout\n[exit code 0]", 0),
        ("printf x; exit 3", "x\n[exit code 3]", 3),
        ("true", "[exit code 0]", 0),
        ("cat", "[exit code 0]", 0),
        ("x=(a b); [[ ${x[1]} == b ]] && echo it\\'s bash", "it's bash\n[exit code 0]", 0),
        ("cat <<'END'\n$HOME 'q' \"d\"\nEND", "$HOME 'q' \"d\"\n[exit code 0]", 0),
        ('echo $# "$1" # a comment', "0 \n[exit code 0]", 0),
        ("printf '\\033[31mred\\033[0m 1%%\\r 2%%\\n'", " 2%\n[exit code 0]", 0),
        ("printf 'caf\\351'", "caf\ufffd\n[exit code 0]", 0),
        ("kill -9 $$", None, 137),
        ("if", None, 2),
        ("no-such-program-here", None, 127),
    ],
)
async def test_bash(box: Folder, command: str, content: str | None, code: int) -> None:
    result = await use(box, "bash", command=command)
    assert result.status is ToolStatus.COMPLETED
    assert result.exit_code == code
    assert result.content.endswith(f"[exit code {code}]")
    if content is not None:
        assert result.content == content


async def test_bash_keeps_head_and_tail(box: Folder) -> None:
    result = await use(box, "bash", command="seq 1 9000; exit 4")
    assert result.truncated
    assert result.content.startswith("1\n2\n3\n")
    assert result.content.endswith("\n8999\n9000\n[exit code 4]")
    found = re.search(r"characters left out; all is in (\S+): use read or grep \.\.\.\]", result.content)
    assert found
    rest = await use(box, "read", path=found[1], offset=4500, limit=2)
    assert rest.content.startswith("  4500\t4500\n  4501\t4501")
    again = await use(box, "bash", command="seq 1 9000")
    assert "output-2.txt" in again.content


async def test_bash_says_when_more_was_lost_than_it_knows(box: Folder) -> None:
    result = await use(box, "bash", command="seq 1 900000")
    assert result.truncated
    assert "[... more than " in result.content
    assert result.content.endswith("\n900000\n[exit code 0]")
    folded = await use(box, "bash", command="head -c 9000000 /dev/zero | tr '\\0' '\\r'; echo end")
    assert folded.content == "\n[... output left out ...]\nend\n[exit code 0]"


async def test_bash_is_stopped_in_time(box: Folder) -> None:
    result = await use(box, "bash", command="echo begun; sleep 1000", timeout=2)
    assert result.status is ToolStatus.TIMEOUT
    assert result.content == "begun\n[timed out after 2 s]"
    assert result.exit_code == 124


async def test_bash_refuses_what_no_shell_can_do(box: Folder) -> None:
    assert "less than or equal to 600" in await told(box, "bash", command="true", timeout=601)
    assert "greater than 0" in await told(box, "bash", command="true", timeout=0)
    assert "NUL" in await told(box, "bash", command="a\0b")
    assert "Use write" in await told(box, "bash", command="#" * 2_000_000)


async def test_bash_makes_do_with_sh(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "cat", "mkdir", "mv", "rm"):
        (programs / name).symlink_to(f"/bin/{name}")
    result = await use(Folder(tmp_path, str(programs)), "bash", command='echo "$0"; exit 7')
    assert result.content == "sh\n[exit code 7]"


async def test_read_numbers_lines(box: Folder) -> None:
    fill(box.root, {"a.txt": "one\n\ttwo\r\nthree \x0c\u2028 \x1b[1mx", "b": "", "c": "\ufeffx\n"})
    assert (await use(box, "read", path="a.txt")).content == "     1\tone\n     2\t\ttwo\n     3\tthree \u2028 x"
    assert (await use(box, "read", path=str(box.root / "c"))).content == "     1\tx"
    assert (await use(box, "read", path="b")).content == "[the file is empty]"


async def test_read_in_parts(box: Folder) -> None:
    fill(box.root, {"a.txt": "".join(f"line {number}\n" for number in range(1, 5001))})
    part = await use(box, "read", path="a.txt", offset=10, limit=2)
    assert part.content == ("    10\tline 10\n    11\tline 11\n[lines 12-5000 of 5000 left out; go on with offset=12]")
    assert not part.truncated
    assert (await use(box, "read", path="a.txt", offset=5000, limit=9)).content == "  5000\tline 5000"
    seen, offset = 0, 1
    while offset:
        page = await use(box, "read", path="a.txt", offset=offset)
        lines = page.content.split("\n")
        offset = int(lines.pop().rstrip("]").rsplit("=", 1)[1]) if page.truncated else 0
        seen += len(lines)
    assert seen == 5000
    assert "past the end: a.txt has 5000 lines" in await told(box, "read", path="a.txt", offset=5001)
    assert "`offset`" in await told(box, "read", path="a.txt", offset=0)


async def test_read_cuts_long_lines(box: Folder) -> None:
    fill(box.root, {"a.js": "x" * 100_000 + "\nend\n"})
    content = (await use(box, "read", path="a.js")).content
    assert "x[... 98000 characters left out ...]\n     2\tend" in content


async def test_files_that_cannot_be_read(box: Folder) -> None:
    fill(
        box.root,
        {
            "src/parser.py": "",
            "src/printer.py": "",
            "lib/deep/tokens.py": "",
            "pic": b"\x89PNG\0",
            "latin.py": b"ok\n# caf\xe9\n",
            "big": b"x" * (11 << 20),
        },
    )
    assert "Did you mean src/parser.py" in await told(box, "read", path="src/parsers.py")
    assert "Did you mean lib/deep/tokens.py?" in await told(box, "read", path="src/tokens.py")
    assert "does not exist. Use glob" in await told(box, "read", path="src/zzz[*]'")
    assert "does not exist" in await told(box, "read", path="pic/x")
    assert "src is a folder. It holds" in await told(box, "read", path="src")
    assert "binary file of 5 bytes" in await told(box, "read", path="pic")
    assert "not UTF-8 (byte 0xe9 on line 2)" in await told(box, "read", path="latin.py")
    assert "too large" in await told(box, "read", path="big")
    assert "NUL" in await told(box, "read", path="a\0b")
    assert "not empty" in await told(box, "read", path="")
    assert "does not exist" in await told(box, "read", path="-rf")
    for name in ("pic", "latin.py", "none"):
        await told(box, "edit", path=name, old_string="a", new_string="b")
    assert (box.root / "latin.py").read_bytes() == b"ok\n# caf\xe9\n"


async def test_write_makes_folders_and_keeps_every_byte(box: Folder) -> None:
    text = "a\r\nb\n\u00e9\u4f60 \x0c\t$x 'q'"
    result = await use(box, "write", path="new/deep/a.txt", content=text)
    assert result.content == f"Wrote new/deep/a.txt: 3 lines, {len(text.encode())} bytes."
    assert (box.root / "new/deep/a.txt").read_bytes() == text.encode()
    assert "is a directory" in await told(box, "write", path="new", content="")
    assert "surrogate" in await told(box, "write", path="x", content="\ud800")


async def test_edit_replaces_one_place(box: Folder) -> None:
    (box.root / "a.sh").write_text("one\ntwo\none more\n")
    (box.root / "a.sh").chmod(0o755)
    result = await use(box, "edit", path="a.sh", old_string="two", new_string="2\n2")
    assert result.content == "Edited a.sh at line 2."
    assert (box.root / "a.sh").read_text() == "one\n2\n2\none more\n"
    assert (box.root / "a.sh").stat().st_mode & 0o777 == 0o755
    assert "2 times, on lines 1, 4" in await told(box, "edit", path="a.sh", old_string="one", new_string="1")
    assert "the same" in await told(box, "edit", path="a.sh", old_string="one", new_string="one")
    assert "     4\tone more" in await told(box, "edit", path="a.sh", old_string="one mode", new_string="x")


async def test_edit_keeps_crlf_and_a_byte_order_mark(box: Folder) -> None:
    fill(box.root, {"a": b"\xef\xbb\xbfone\r\ntwo\r\n\x0c\x1b\r\n"})
    await use(box, "edit", path="a", old_string="one\ntwo\n", new_string="1\n2\n3\n")
    assert (box.root / "a").read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n3\r\n\x0c\x1b\r\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the file anew
@given(st.text(), st.text(min_size=1), st.text(), st.text())
async def test_edit_is_str_replace_in_bytes(box: Folder, before: str, old: str, after: str, new: str) -> None:
    text = before + old + after
    unique = text.find(old) == text.rfind(old) and old != new
    (box.root / "f").write_bytes(text.encode())
    result = await use(box, "edit", path="f", old_string=old, new_string=new)
    if unique and "\0" not in text and "\r\n" not in text:
        assert result.status is ToolStatus.COMPLETED
        assert (box.root / "f").read_bytes() == text.replace(old, new).encode()
    if result.status is ToolStatus.FAILED:
        assert (box.root / "f").read_bytes() == text.encode()


async def test_a_broken_sandbox_is_no_tools_failure() -> None:
    class Broken(Folder):
        async def exec(self, *args: object, **options: object) -> ExecResult:
            raise SandboxError("the container is gone")

        async def list_folder(self, path: str = ".") -> list[str]:
            return []

        async def read_file(self, path: str, *, most: int | None = None) -> bytes:
            raise SandboxError("the container is gone")

        async def write_file(self, path: str, data: bytes) -> None:
            raise SandboxError("the container is gone")

    box = Broken(Path("/"))
    for name, arguments in (
        ("bash", {"command": "true"}),
        ("read", {"path": "a"}),
        ("write", {"path": "a", "content": ""}),
        ("edit", {"path": "a", "old_string": "a", "new_string": "b"}),
        ("grep", {"pattern": "a"}),
        ("glob", {"pattern": "a"}),
    ):
        with pytest.raises(SandboxError, match="gone"):
            await use(box, name, **arguments)
