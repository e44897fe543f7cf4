"""A file that holds a key: whose it is, who may read it, what stands in it."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from swarm import keys
from swarm.config import load_config
from swarm.errors import UsageError
from swarm.keys import key_in_file
from swarm.models.providers import endpoint_of, secrets_in

KEY = "sk-canary-5b1f0c7d9e2a4836"


def test_a_key_file_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    env = {"HOME": str(tmp_path), "SWARM_API_KEY_FILE": str(path)}

    def refused(why: str, **more: Any) -> None:
        loaded = load_config({"base_url": "http://h/v1"}, {**env, **more})
        with pytest.raises(UsageError, match=why) as caught:
            endpoint_of("m", loaded, {})
        assert KEY not in str(caught.value)

    refused("No such file")
    (tmp_path / "swarm.toml").write_text('base_url = "http://evil/v1"\n')
    with pytest.raises(UsageError, match="would be sent where a repository says"):
        load_config({}, env, tmp_path)  # what is not there yet may be there when it is asked for
    path.write_text(f"  {KEY}\n")
    for mode in (0o640, 0o604, 0o660, 0o602):
        path.chmod(mode)
        refused(f"mode {mode:o}")
    path.chmod(0o600)
    config = load_config({}, env)
    assert config.api_key is not None and config.api_key.get_secret_value() == KEY
    assert KEY not in repr(config) and KEY not in config.model_dump_json()
    assert secrets_in(config, env)["api_key"] == KEY
    own = load_config({}, {**env, "OPENAI_API_KEY": "another-key"}).api_key
    assert own is not None and own.get_secret_value() == "another-key", "the environment's own goes first"
    for text in ("", "two words\n", f"{KEY}\n{KEY}\n", "x" * 20_000, "\u00e9" * 20):
        path.write_text(text)
        refused("it holds no key")
    path.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\n")
    mounted = SimpleNamespace(f_flag=os.ST_RDONLY)
    for mode, right in ((0o600, True), (0o444, True), (0o440, True), (0o464, False), (0o446, False)):
        path.chmod(mode)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstatvfs", lambda _: mounted)
            if right:
                assert key_in_file(path) == KEY
            else:
                refused(f"mode {mode:o}")
        if mode != 0o600:
            refused(f"mode {mode:o}")
    link = tmp_path / "link"
    link.symlink_to(path)
    path.chmod(0o444)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_MOUNTED", str(tmp_path / "elsewhere"))
        refused("mode 444")
        mounted_at = tmp_path.resolve() / "secrets"
        mounted_at.mkdir()
        link.unlink()
        link.symlink_to(path.rename(mounted_at / "key"))
        patch.setattr(keys, "_MOUNTED", str(mounted_at))
        assert key_in_file(mounted_at / "key") == key_in_file(link) == KEY
        path.symlink_to(mounted_at / "key")
        (mounted_at / "key").chmod(0o446)
        refused("mode 446")
    path.unlink()
    (mounted_at / "key").rename(path)
    link.unlink()
    link.symlink_to(path)
    path.chmod(0o600)
    assert key_in_file(link) == KEY
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key_in_file(Path("~/key")) == KEY
    os.truncate(path, 1 << 40)  # it is not read whole
    refused("it holds no key")
    path.write_text(f"{KEY[:8]}\x07{KEY[8:]}")
    refused("it holds no key")
    path.write_text(KEY)
    with monkeypatch.context() as patch:
        if os.geteuid() == 0:
            os.chown(path, 65534, -1)
        else:
            patch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        refused("belongs to somebody else")
    path.unlink()
    os.mkfifo(path, 0o600)
    asked = Thread(target=refused, args=("no plain file",), daemon=True)
    asked.start()
    asked.join(60)
    if asked.is_alive():
        os.close(os.open(path, os.O_WRONLY))  # it may end
        pytest.fail("it waits for somebody to write")
