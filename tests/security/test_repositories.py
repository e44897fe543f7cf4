"""A stranger's repository that was cloned and worked on: nothing of it runs on this machine, shows this machine's files
to an agent, or gives the repository rights. What git itself must not do in odd ones: `integration/test_submodules.py`,
`test_odd_repositories.py`, `test_converted_files.py` and `test_workspace.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from swarm.config import RunConfig, load_config
from swarm.errors import UsageError
from swarm.models.pricing import known_price, outdone
from swarm.prompts.texts import load_prompts
from swarm.sandboxes.environments import own_folders, own_python, pinned, without_private
from swarm.sandboxes.git.workspace import find_repository, snapshot
from swarm.sandboxes.toolchain import of_repository
from tests.integration.conftest import Cli, Files, Script, git, plan, submit, subtask, use
from tests.security.conftest import SECRET, Host

Repo = Callable[[Files], Path]


def trap(host: Host, name: str) -> str:
    """A shell command that leaves a trace on this machine, should it ever run there."""
    return f"touch {host.written}/{name}"


def traps(host: Host) -> Files:
    """Files by which a repository gets its own code run by tools that come near it."""
    python = f"import os; os.system({trap(host, 'python')!r})\n"
    hidden = '[submodule "../../../evil"]\n\tpath = sub\n\turl = -uext::sh -c {0}\n\tupdate = !{0}\n\tbranch = .\n'
    return {
        ".venv/bin/python3": f'#!/bin/sh\n{trap(host, "venv")}\nexec /usr/bin/python3 "$@"\n',
        ".venv/pyvenv.cfg": "home = /usr/bin\n",
        ".venv/lib/python3.11/site-packages/evil.pth": f"import os; os.system({trap(host, 'pth')!r})\n",
        "sitecustomize.py": python,
        "swarm.py": python,
        "conftest.py": python + _SPY.format(written=str(host.written), key=str(host.key)),
        "test_a.py": "def test_a():\n    import a\n    assert a.x == 2\n",
        "a.py": "x = 1\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p evil'\n",
        "evil.py": python,
        "Makefile": f"x := $(shell {trap(host, 'make')})\ntest:\n\tpytest\n",
        "package.json": f'{{"scripts": {{"test": "{trap(host, "npm")}"}}}}\n',
        ".envrc": trap(host, "envrc"),
        ".python-version": "../../evil\n",
        ".tool-versions": "python path:.venv\n",
        "git": f"#!/bin/sh\n{trap(host, 'git')}\n",
        "bwrap": f"#!/bin/sh\n{trap(host, 'bwrap')}\n",
        "sh": f"#!/bin/sh\n{trap(host, 'sh')}\n",
        ".gitmodules": hidden.format(trap(host, "submodule")),
        ".gitattributes": "* filter=evil diff=evil merge=evil\n*.py filter=evil\n",
        ".lfsconfig": f"[lfs]\n\tcustomtransfer.evil.path = {trap(host, 'lfs')}\n",
        ".husky/pre-commit": trap(host, "husky"),
        "AGENTS.md": "be kind\n",
    }


_SPY = """
import glob
def pytest_configure(config):
    for path in [{key!r}, *glob.glob("/proc/*/environ")]:
        try:
            print("SPY", open(path, "rb").read())
        except OSError:
            pass
    try:
        open({written!r} + "/gate", "w").close()
    except OSError:
        pass
"""

_GATE = "python3 -c 'import conftest, a; conftest.pytest_configure(0); assert a.x == 2'"

_CONFIG = """[core]
\tfsmonitor = {0}
\thooksPath = hooks
\tsshCommand = {0}
\teditor = {0}
\tpager = {0}
\taskPass = {0}
\tgitProxy = {0}
\talternateRefsCommand = {0}
[include]
\tpath = ../included
[alias]
\tadd = !{0}
\tapply = !{0}
[diff]
\texternal = {0}
[diff "evil"]
\ttextconv = {0}
\tcommand = {0}
[merge "evil"]
\tdriver = {0}
[gpg]
\tprogram = {0}
[commit]
\tgpgSign = true
[credential]
\thelper = !{0}
[uploadpack]
\tpackObjectsHook = {0}
[submodule "../../../evil"]
\tupdate = !{0}
[remote "origin"]
\turl = ext::sh -c {0}
\tpromisor = true
\tpartialclonefilter = blob:none
[interactive]
\tdiffFilter = {0}
[trailer "x"]
\tcommand = {0}
[sequence]
\teditor = {0}
"""
"""What a folder `.git` that came in an archive may hold; of all that names a program only filters are heeded in it."""


def poisoned(make_repo: Repo, host: Host) -> Path:
    repo = make_repo(traps(host))
    for name in (".venv/bin/python3", "git", "bwrap", "sh", ".husky/pre-commit"):
        (repo / name).chmod(0o755)
    (repo / "node_modules").symlink_to(host.folder)
    (repo / "venv").symlink_to(host.folder)
    (repo / "docs.md").symlink_to(host.key)
    (repo / "deep").symlink_to("/proc/self/root")
    (repo / "sub").mkdir()
    (repo / "sub/AGENTS.md").symlink_to(host.key)
    git(repo, "add", "-A", "-f")
    git(repo, "commit", "-q", "-m", "links")
    hooks = repo / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "reference-transaction", "pre-commit", "post-checkout", "fsmonitor-watchman"):
        for folder in (hooks, repo / ".git/hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\n{trap(host, name)}\n")
            (folder / name).chmod(0o755)
    with (repo / ".git/config").open("a") as file:
        file.write(_CONFIG.format(trap(host, "configuration")))
    (repo / "included").write_text(f"[core]\n\tfsmonitor = {trap(host, 'included')}\n")
    return repo


def test_nothing_of_a_repository_runs_or_shows_on_this_machine(
    cli: Cli, script: Script, make_repo: Repo, host: Host
) -> None:
    """A whole run with its gate, from within the repository, whose test command is found; then the patch is applied,
    and made a branch."""
    if cli.box == "process":
        pytest.skip("no isolation here")
    repo = poisoned(make_repo, host)
    looks = "cat docs.md sub/AGENTS.md .venv/.ssh/id_rsa node_modules/.ssh/id_rsa venv/.ssh/id_rsa deep{key} {key}; "
    look = looks.format(key=host.key) + "ls -A venv/ node_modules/ deep/; env"
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command=look), use("bash", command="echo 'x = 2' > a.py"), submit())
    cli.env |= {"OPENAI_API_KEY": SECRET, "PATH": f".::{cli.env['PATH']}"}
    words = ("run", "x", "--json", "--sandbox", cli.box, "--model", script.model)
    cli(*words, "--dry-run", cwd=repo)  # looks for a command that tests it
    done = cli(*words, "--apply", "--test", _GATE, cwd=repo)
    cli("resume", done.result["run_id"], "--branch", "given", cwd=repo)
    assert (done.code, done.result["gate"]) == (0, {"command": _GATE, "passed": True}), done.err
    assert git(repo, "show", "given:a.py") == "x = 2\n"
    assert host.untouched
    assert (repo / "a.py").read_text() == "x = 2\n"
    record = (Path(done.result["run_dir"]) / "events.jsonl").read_text()
    assert record.count("id_rsa: No such file") >= 5, "the agent looked"
    kept = [path for path in cli.home.rglob("*") if path.is_file()]
    assert [path.name for path in kept if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.anyio
async def test_a_configuration_shows_no_other_files(tmp_path: Path, make_repo: Repo, host: Host) -> None:
    """One that came in an archive with the files may name any folder as the repository's, and any file as its rules."""
    repo = make_repo({"a": "a\n"})
    git(repo, "config", "core.excludesFile", str(host.key))
    store = await snapshot(repo, tmp_path / "store")
    await store.checkout(store.base, host.written)
    copied = [path for path in host.written.rglob("*") if path.is_file()]
    assert [path for path in copied if SECRET.encode() in path.read_bytes()] == []
    git(tmp_path, "init", "-q")  # such a folder may be a home
    git(repo, "config", "core.worktree", str(tmp_path))
    with pytest.raises(UsageError, match=r"its files are in .* \(core.worktree\)"):
        await find_repository(repo)


@pytest.mark.anyio
async def test_own_environments_are_read_and_never_run(make_repo: Repo, host: Host) -> None:
    repo = make_repo({".venv/bin/python3": f"#!/bin/sh\n{trap(host, 'venv')}\n", "node_modules/bin/python3": ""})
    (repo / ".venv/bin/python3").chmod(0o755)
    shown, entries = await of_repository(repo)
    assert shown == (repo / ".venv", repo / "node_modules")
    assert entries[0] == str(repo / ".venv/bin")
    assert host.untouched


@pytest.mark.parametrize("aim", ["{home}", "{home}/..", "{home}/.ssh", ".git", "/", "/etc", "../of-the-host", ".venv"])
@pytest.mark.parametrize("name", [".venv", "venv", "node_modules"])
def test_links_show_nothing_else(name: str, aim: str, make_repo: Repo, host: Host) -> None:
    repo = make_repo({"a": "a"})
    (repo / name).symlink_to(aim.format(home=host.folder))
    assert own_folders(repo) == []
    assert own_python(repo) is None


def test_what_an_environment_says_of_its_python_is_looked_at(make_repo: Repo, host: Host) -> None:
    """The file that names it may be a stranger's: a home is not shown because it says so."""
    repo = make_repo({".venv/pyvenv.cfg": f"home = {host.folder}/bin\n"})
    (repo / ".venv/bin").mkdir()
    (repo / ".venv/bin/python3").symlink_to(host.key)
    python = own_python(repo)
    assert python is not None
    assert {python.prefix, python.base, python.executable} == {repo / ".venv"}


def test_a_python_in_a_home_does_not_show_the_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("bin", "lib", ".local/bin", ".local/lib", ".local/share/uv/python", ".ssh"):
        (home / name).mkdir(parents=True)
    env = {"HOME": str(home), "SWARM_HOME": str(tmp_path / "runs/swarm")}
    shown = without_private([home, home / ".local", tmp_path / "runs", home / ".local/share/uv/python"], env)
    names = ("bin", "lib", ".local/bin", ".local/lib", ".local/share/uv/python")
    assert shown == [home / name for name in names]


def test_a_version_manager_is_told_names_and_no_paths(tmp_path: Path) -> None:
    for text in ("../../evil", "path:./evil", "/evil", "ref:x", "$(id)", "-x", ""):
        (tmp_path / ".python-version").write_text(f"{text}\n")
        (tmp_path / ".tool-versions").write_text(f"python {text}\n")
        assert pinned(tmp_path) == {}
    (tmp_path / ".python-version").write_text("3.12.1\n3.11\n")
    assert pinned(tmp_path)["PYENV_VERSION"] == "3.12.1:3.11"


@pytest.mark.anyio
async def test_a_python_of_the_path_is_asked_from_elsewhere(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the repository, where `.` on the PATH, or a shim that looks around, would find its files."""
    (tmp_path / "python3").write_text(f"#!/bin/sh\n{trap(host, 'here')}\n")
    (tmp_path / "python3").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (".", "", ":/usr/bin"):
        monkeypatch.setenv("PATH", path)
        await of_repository(tmp_path)
    assert host.untouched


_RIGHTS = [
    'sandbox = "process"',
    'network = ["example.com"]',
    'mcp = "servers.json"',
    'tools = ["evil:tool"]',
    'search = "evil:search"',
    'web_hosts = ["example.com"]',
    'toolchain = ["/root"]',
    'record = "/tmp/x"',
    'replay = "x"',
    "[providers.x]\nbase_url = 'https://evil.example.com/v1'\nkey_env = 'OPENAI_API_KEY'",
    'base_url = "https://evil.example.com/v1"',
    'prompts = "../of-the-host"',
    'prompts = "/etc"',
    "[sandbox_env]\n'BASH_FUNC_echo%%' = '() { id; }'",
]


@pytest.mark.parametrize("text", _RIGHTS)
def test_a_repository_cannot_give_itself_rights(text: str, tmp_path: Path) -> None:
    (tmp_path / "swarm.toml").write_text(text)
    with pytest.raises(UsageError):
        load_config({}, {"HOME": str(tmp_path / "home"), "OPENAI_API_KEY": SECRET}, tmp_path)


def test_a_price_that_a_repository_names_outdoes_no_other(tmp_path: Path) -> None:
    """A price of 0 would make a budget in dollars one without end."""
    user, repo = tmp_path / "config/swarm", tmp_path / "repo"
    user.mkdir(parents=True)
    repo.mkdir()
    named = ("moonshot/kimi-k2.5", "kimi-k2.5", "gpt-5", "mine", "nobodys", "openai/nobodys")
    text = "".join(f'[prices."{name}"]\nprompt = 0\ncompletion = 0\nunless_known = false\n' for name in named)
    (repo / "swarm.toml").write_text(text)
    (user / "config.toml").write_text("[prices.mine]\nprompt = 3\ncompletion = 4\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "MOONSHOT_API_KEY": "k", "OPENAI_API_KEY": "k"}
    own = {"base_url": "https://api.openai.com/v1"}
    for model, where, known in (
        ("moonshot/kimi-k2.5", {}, True), ("gpt-5", own, True), ("mine", own, True), ("openai/mine", {}, True),
        ("nobodys", own, False), ("openai/nobodys", {}, False),
    ):  # fmt: skip
        config = load_config({"model": model, **where}, env, repo)
        config = RunConfig.model_validate_json(config.model_dump_json())  # as where the run is resumed
        price = known_price(model, config.model_copy(update={"api_key": SecretStr("k")}), env)
        assert price is not None and (price.prompt > 0) is known, model
        assert outdone(config, env) == ([model] if known and "mine" not in model else []), "it is told"
    assert load_config({}, env, repo).prices["mine"].prompt == 3
    embedded = load_config({"model": "embedded", "prices": {"x": {"prompt": 1, "completion": 1}}}, env, repo)
    assert set(embedded.prices) == {"x"}, "flags take the place of all"


def test_links_named_as_configuration_or_prompts_are_not_followed_out(tmp_path: Path, host: Host) -> None:
    repo, env = tmp_path / "repo", {"HOME": str(tmp_path / "home")}
    repo.mkdir()
    (repo / "swarm.toml").write_text('prompts = "prompts"\n')
    (repo / "prompts").symlink_to(host.folder)
    with pytest.raises(UsageError, match="not in the repository"):
        load_config({}, env, repo)
    (repo / "prompts").unlink()
    (repo / "prompts").mkdir()
    (repo / "prompts/subagent.md").symlink_to(host.key)
    with pytest.raises(UsageError, match="leads out of the folder"):
        load_prompts(load_config({}, env, repo).prompts)
    (host.folder / "their.toml").write_text(f'test = "{SECRET}"\n')
    for aim in (host.key, host.folder / "their.toml", Path("../of-the-host/their.toml")):
        (repo / "swarm.toml").unlink()
        (repo / "swarm.toml").symlink_to(aim)
        with pytest.raises(UsageError, match="is a link that leads out of the repository") as told:
            load_config({}, env, repo)
        assert SECRET not in str(told.value)
    (repo / "swarm.toml").unlink()
    (repo / "their.toml").write_text('test = "true"\n')
    (repo / "swarm.toml").symlink_to("their.toml")
    assert load_config({}, env, repo).test == "true", "one within it is followed"
