"""What carries over between the tools of one agent in a real sandbox: the shell's state, jobs, structured results."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import SandboxError
from swarm.sandboxes.process import ProcessBackend
from swarm.stopping import companions
from swarm.tools.jobs import Bench, open_bench
from swarm.tools.registry import Toolset
from swarm.tools.toolsets import EXTRA, Kit, coding
from swarm.types import SandboxRequest, SubTask, ToolErrorKind, ToolResult, ToolStatus
from tests.integration.conftest import Cli, Script, plan, subtask, use

pytestmark = pytest.mark.anyio
TOOLS = Toolset([*coding(), *EXTRA.values()])


@pytest.fixture
async def bench(fresh: Callable[[], Path]) -> AsyncIterator[Bench]:
    request = SandboxRequest("run", "test", fresh(), fresh(), "/workspace")
    async with ProcessBackend().open(request) as sandbox, open_bench(sandbox) as opened:
        yield opened


async def tell(bench: Bench, name: str, **arguments: Any) -> ToolResult:
    return await TOOLS.call(name, json.dumps(arguments), bench)


async def lines(bench: Bench, command: str, **more: Any) -> list[str]:
    return (await tell(bench, "bash", command=command, **more)).content.split("\n")[:-1]


async def test_the_working_directory_and_exported_variables_carry_over(bench: Bench) -> None:
    await lines(bench, "mkdir -p 'a b/c'; cd 'a b/c'; export X=$'1 \\'2\\n\"$HOME' GONE=1; local=1")
    assert await lines(bench, 'echo "$X $local"; basename "$PWD"; cd ..; unset GONE; exit 3') == [
        "1 '2",
        '"$HOME ',
        "c",
    ]
    assert await lines(bench, 'echo "${GONE-unset}"; basename "$PWD"; cd - >/dev/null; basename "$PWD"') == [
        "unset",
        "a b",
        "c",
    ]
    assert (await tell(bench, "python", code="import os\nos.path.basename(os.getcwd())")).content.startswith("'c'")


async def test_no_command_spoils_the_session(bench: Bench) -> None:
    await lines(bench, "mkdir d; cd d")
    for command in ("cd /; kill -9 $$", "cd /; exec sleep 0", "cd /; if", "cd /; sleep 1000"):
        await lines(bench, command, timeout=1)
        assert (await lines(bench, 'basename "$PWD"')) == ["d"], command
    await lines(bench, "export PATH=")
    assert (await lines(bench, "echo on")) == ["on"]
    assert (await tell(bench, "python", code="1")).error is ToolErrorKind.UNAVAILABLE
    await lines(bench, "export PATH=/usr/local/bin:/usr/bin:/bin; cd ..; rmdir d; mkdir e; cd e; rmdir ../e")
    assert (await lines(bench, "echo on"))[0].startswith("[the working directory is gone; now in ")


async def test_python_shows_the_last_value_and_the_users_frames_alone(bench: Bench) -> None:
    assert (await tell(bench, "python", code="x = 3\nprint(x)\nx * 2")).content == "3\n6\n[exit code 0]"
    failed = await tell(bench, "python", code="def f():\n    return 1 / 0\nf()")
    assert failed.exit_code == 1
    assert "return 1 / 0" in failed.content
    assert "exec(compile" not in failed.content
    assert (await tell(bench, "python", code="x = (")).content.count("SyntaxError") == 1
    assert (await tell(bench, "python", code="import sys; sys.exit(5)")).exit_code == 5


async def test_jobs_run_beside_other_commands_and_end_with_the_agent(bench: Bench) -> None:
    started = await tell(
        bench, "bash", command="echo begun; while [ ! -e go ]; do sleep 0.01; done; exit 4", background=True
    )
    assert "[job 1 started" in started.content
    assert "[job 1 (echo begun; while" in (await tell(bench, "job", id=1)).content
    await tell(bench, "bash", command="touch go")
    ended = await tell(bench, "job", id=1, wait=60)
    assert ended.content.startswith("begun\n")
    assert ended.content.endswith("ended with exit code 4]")
    await tell(bench, "bash", command="sleep 86397", background=True)
    assert (await tell(bench, "job", id=2, kill=True)).content.endswith("was killed]")
    assert repr(bench).endswith("0 of 2 jobs running>")
    assert (await tell(bench, "job", id=9)).error is ToolErrorKind.NOT_FOUND


async def test_jobs_end_with_the_block_and_errors_come_out_as_they_are(fresh: Callable[[], Path]) -> None:
    request = SandboxRequest("run", "test", fresh(), fresh(), "/workspace")
    async with ProcessBackend().open(request) as sandbox:
        with pytest.raises(SandboxError, match=r"^gone$"):
            async with open_bench(sandbox) as bench:
                await tell(bench, "bash", command="sleep 86396 & echo $! > job; wait", background=True)
                await tell(bench, "bash", command="until [ -s job ]; do sleep 0.05; done")
                raise SandboxError("gone")
        found = await sandbox.exec("while kill -0 $(cat job); do sleep 0.05; done", timeout=60)
        assert not found.timed_out
        refused = await TOOLS.call("bash", '{"command": "true", "background": true}', sandbox)
        assert refused.error is ToolErrorKind.UNAVAILABLE


async def test_jobs_of_agents_in_one_group_end_each_with_its_own_agent(fresh: Callable[[], Path]) -> None:
    request = SandboxRequest("run", "test", fresh(), fresh(), "/workspace")
    async with ProcessBackend().open(request) as sandbox, companions() as group, Bench(sandbox, group) as stays:
        await stays.start("sleep 86394", "stays")
        async with Bench(sandbox, group) as leaves:
            await leaves.start("sleep 86395", "leaves")
        assert [leaves.running(), stays.running()] == [0, 1]


SCHEMA = {
    "type": "object",
    "properties": {"n": {"$ref": "#/$defs/n"}},
    "required": ["n"],
    "$defs": {"n": {"type": "integer"}},
}


async def test_a_result_must_fit_the_schema(bench: Bench) -> None:
    task = SubTask(id="a", title="a", instructions="a", result_schema=SCHEMA)
    tools = Kit(coding()).fitted(task)
    offered = next(each["function"] for each in tools.schemas() if each["function"]["name"] == "submit")
    assert offered["parameters"]["properties"]["result"]["required"] == ["n"]
    assert set(offered["parameters"]["$defs"]) == {"n"}

    async def submit(**arguments: Any) -> ToolResult:
        return await tools.call("submit", json.dumps({"status": "done", "summary": "s", **arguments}), bench)

    assert "`result` is missing" in (await submit()).content
    wrong = await submit(result={"n": "one"})
    assert (wrong.status, wrong.error) == (ToolStatus.FAILED, ToolErrorKind.BAD_ARGUMENTS)
    assert "result.n: 'one' is not of type 'integer'" in wrong.content
    right = await submit(result={"n": 1})
    assert right.submission is not None
    assert right.submission.result == {"n": 1}
    assert (await submit(status="failed")).submission is not None
    for schema in ({"type": "nothing"}, {"$ref": "https://a.org/s"}, {"$ref": "#/$defs/none"}):
        with pytest.raises(ValueError, match="not a JSON schema"):
            SubTask(id="a", title="a", instructions="a", result_schema=schema)


async def test_a_run_with_further_tools_and_a_structured_result(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one", result_schema=SCHEMA)))
    done = {"status": "done", "summary": "counted"}
    script.agent(
        "one",
        use("bash", command="cd /tmp; export N=7"),
        use("python", code="import os; int(os.environ['N'])"),
        use("submit", **done),
        use("submit", **done, result={"n": 7}),
    )
    found = cli.run("x", None, "--model", script.model, "--sandbox", "process", "--tools", "python,apply_patch")
    assert found.code == 0, found.err
    tools = found.of("tool")
    assert tools[1]["result"] == "7\n[exit code 0]"
    assert [each["error"] for each in tools] == ["", "", "bad_arguments", ""]
    assert '{"n": 7}' in found.of("agent_end")[0]["final_output"]
    assert cli.run("x", None, "--model", script.model, "--sandbox", "process", "--tools", "nope").code == 2
