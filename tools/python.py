"""python: a piece of code in the sandbox's own interpreter."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.output import failed
from swarm.tools.registry import tool
from swarm.tools.session import script
from swarm.tools.shell import DEFAULT_TIMEOUT, MAX_TIMEOUT, run_in_session
from swarm.types import ToolErrorKind, ToolResult

# Runs inside, as __main__. The source is kept for tracebacks, and the frames of this program are left out of them.
_RUNNER = """
import ast, linecache, sys, traceback
def _run(space):
    with open(sys.argv[1], encoding="utf-8") as file:
        source = file.read()
    sys.argv = ["<code>"]
    linecache.cache["<code>"] = (len(source), None, source.splitlines(True), "<code>")
    try:
        tree = ast.parse(source, "<code>")
        last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), space)
        if last is not None:
            value = eval(compile(last, "<code>", "eval"), space)
            if value is not None:
                print(repr(value))
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != "<code>":
            trace = trace.tb_next
        sys.stdout.flush()
        traceback.print_exception(type(error), error, trace)
        sys.exit(1)
_run(globals())
"""
_MISSING = "no python3 in this sandbox"
_BODY = (
    f"p=$(command -v python3 || command -v python) || {{ echo {shlex.quote(_MISSING)}; exit 127; }}; "
    f'exec "$p" -c {shlex.quote(_RUNNER)} "$1/code.py"'
)


@tool
async def python(
    code: Annotated[str, Field(description="The code. The value of a last expression is shown.")],
    sandbox: Sandbox,
    timeout: Annotated[
        float, Field(gt=0, le=MAX_TIMEOUT, description="Seconds until it is killed. Default 120, at most 600.")
    ] = DEFAULT_TIMEOUT,
) -> ToolResult:
    """Run Python code in a fresh interpreter of the sandbox, where `bash` left off, and get what it prints.
    Nothing but files carries over to the next call.
    """
    told = await run_in_session(sandbox, script(_BODY, name="code.py"), code.encode(), timeout)
    if told.exit_code == 127 and told.content.startswith(_MISSING):
        return failed(ToolErrorKind.UNAVAILABLE, f"{_MISSING}. Use bash.")
    return told
