"""Files that are written wholly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.whole_file import drop_partial, whole_file, write_whole


def test_a_file_is_written_through_links_and_with_its_mode_and_owner(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_bytes(b"1")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 1235)
    before = real.stat()
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"2")
    after = real.stat()
    assert (tmp_path / "link").is_symlink()
    assert real.read_bytes() == b"2"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    (tmp_path / "dangling").symlink_to("new")
    write_whole(tmp_path / "dangling", b"3")
    assert (tmp_path / "new").read_bytes() == b"3"


def test_what_is_no_plain_file_is_written_to() -> None:
    read, write = os.pipe()
    write_whole(Path(f"/dev/fd/{write}"), b"3")
    assert os.read(read, 9) == b"3"
    os.close(read)
    os.close(write)


def test_what_may_not_be_written_stays_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    path.chmod(0o444)
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"2")
        raise RuntimeError
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write all
    with pytest.raises(PermissionError) as raised:
        write_whole(path, b"2")
    assert raised.value.filename == str(path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"1")]
    with pytest.raises(FileNotFoundError) as lost:
        write_whole(tmp_path / "no/file", b"2")
    assert lost.value.filename == str(tmp_path / "no/file")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    (tmp_path / ".kept.by_name").touch()
    if (killed := os.fork()) == 0:
        with whole_file(tmp_path / "result.json"):
            os._exit(0)
    os.waitpid(killed, 0)
    assert len(list(tmp_path.iterdir())) == 3
    drop_partial(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".kept.by_name"]
