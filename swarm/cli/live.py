"""A run in the foreground: its display, its signals, and what is told and done at its end."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from swarm.errors import EndpointFault, SwarmError

if TYPE_CHECKING:
    from pathlib import Path

    import anyio

    from swarm.cli.display import Display
    from swarm.cli.last_line import Known
    from swarm.config import RunConfig
    from swarm.events import Event
    from swarm.result import RunResult
    from swarm.runtime import Swarm

    Tell = Callable[[Event], None]
    Work = Callable[[Swarm, Display, Tell, anyio.Event], Awaitable[RunResult]]
    """Makes the run, with its display, who is told of its events, and what asks it to end."""

INTERRUPTED = 130
_RAISED_BY = {
    "tokens": "--budget-tokens N",
    "dollars": "--budget-usd X",
    "steps": "--max-critical-steps N",
    "seconds": "--timeout SECONDS",
}


def live(
    args: argparse.Namespace,
    config: RunConfig,
    repo: Path | None,
    work: Work,
    earlier: Iterable[Event] = (),
    again: Callable[[], bool] = lambda: False,
    known: Known | None = None,
) -> int:
    """Show a run while `work` makes it, and do with its end what the options say; the exit code is the run's.
    `earlier`: what happened of it before. `again`: whether the user wants another in its place; then nothing is told
    of its end. `known` is told how far a run came that could not be brought to its end.

    Raises:
        SwarmError: the run could not be started.
    """
    import anyio

    from swarm.cli.in_order import ends_in_order
    from swarm.cli.interrupts import result_of, so_far, stopped_at_once, tell_envelope
    from swarm.cli.open_files import allow_many_open_files
    from swarm.cli.stdio import complain
    from swarm.result import RunResult
    from swarm.tracing import traced
    from swarm.tuning import has_fast_loop, spare_arrow
    from swarm.types import RunStatus

    allow_many_open_files()
    spare_arrow()
    with ends_in_order(), traced(args.otel) as trace:
        display, result, failure = anyio.run(
            _run, config, args, work, earlier, trace, backend_options={"use_uvloop": has_fast_loop()}
        )
    if failure is not None:
        if known is not None and display.view.run_id:
            known.result = so_far(display.view, RunStatus.ERRORED, failure.exit_code, known.folder)
        raise failure
    with ends_in_order():  # anew: the event loop leaves the signals as if nobody had handled them
        if again():
            return INTERRUPTED
        if result is None and display.view.result:  # it ended in order all the same
            result = RunResult.model_validate(display.view.result)
        if result is None:
            complain(stopped_at_once(display))
            if args.json:
                tell_envelope(result_of(display))
            return INTERRUPTED
        return _finish(args, display, result, repo, config)


def _way_on(args: argparse.Namespace, result: RunResult, config: RunConfig) -> str:
    """How a run that was cut short is gone on with; nothing where it cannot be, or would come to the same."""
    from pathlib import Path

    from swarm.journal.reader import past_of
    from swarm.resuming import resumable

    if result.exit_code in (0, 2) or args.dry_run:
        return ""
    folder = Path(result.run_dir)
    try:
        past = past_of(folder / "events.jsonl")
        resumable(past, folder)
    except SwarmError:
        return ""
    again = f"swarm resume {result.run_id}"
    if past.course.ended is not None and past.course.ended.fault == EndpointFault.UNKNOWN_MODEL:
        return f"go on: with another model in a new run; with this one, when the endpoint has it: {again}"
    if past.course.over:
        past.course.widen(past.config | {"max_steps": config.max_steps + 1})
        return f"go on: {again} --max-steps N" if past.course.reopens_agents else ""
    more = [what for what in past.course.met if (what == "seconds") == (result.exit_code == 1)]
    if result.exit_code == 4:
        limits = {"tokens": config.budget_tokens, "dollars": config.budget_usd, "steps": config.max_critical_steps}
        more = more or [what for what, limit in limits.items() if limit is not None]
        if not more:
            return ""  # at a limit that is none of the run
    elif result.exit_code != 1:
        more = []
    return " ".join([f"go on: {again}", *(_RAISED_BY[what] for what in more)])


async def _run(
    config: RunConfig, args: argparse.Namespace, work: Work, earlier: Iterable[Event], trace: Tell
) -> tuple[Display, RunResult | None, SwarmError | None]:
    """The run and its display; None instead of a result where a second signal ended it at once, or what ended it."""
    import anyio

    from swarm.cli.display import open_display
    from swarm.cli.interrupts import Interrupts
    from swarm.cli.stdio import complain, discard_output
    from swarm.runtime import Swarm
    from swarm.tuning import quiet_collector

    stop = anyio.Event()

    def broken(error: OSError) -> None:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            complain(f"swarm: standard output cannot be written: {error.strerror}")
        stop.set()

    display = open_display(json=args.json, broken=broken)

    def tell(event: Event) -> None:
        display.on_event(event)
        trace(event)

    for event in earlier:
        display.view.apply(event)
    display.view.before, display.view.result = display.view.result, {}
    result: RunResult | None = None
    failure: SwarmError | None = None
    async with anyio.create_task_group() as signals:
        running = anyio.CancelScope()
        await signals.start(Interrupts(stop, running, display, args.json).watch)
        async with anyio.create_task_group() as drawing:  # not in that scope: what happens until the end is told, too
            drawing.start_soon(display.run)
            try:
                with running:
                    async with Swarm(config=config) as swarm:
                        with quiet_collector():
                            result = await work(swarm, display, tell, stop)
            except SwarmError as error:
                failure = error  # raised below: by itself, not in a group
            finally:
                display.close()
        signals.cancel_scope.cancel()
    return display, result, failure


def _finish(args: argparse.Namespace, display: Display, result: RunResult, repo: Path | None, config: RunConfig) -> int:
    from swarm.cli.deliver import deliver, keep, will_ask
    from swarm.cli.interrupts import tell_envelope
    from swarm.cli.stdio import complain, tell
    from swarm.cli.summary import answer_text, as_it_is, plan_lines, summary_lines
    from swarm.cli.targets import STDOUT

    if display.view.error:
        complain("\n".join([f"swarm: {display.view.error}", *display.view.error_details]))
    config = as_it_is(config, display.view.totals)
    gated, lines = config.test is not None, list[str]()
    asks = not args.dry_run and will_ask(args, result, repo)
    if not args.dry_run and not asks:  # first, as the envelope tells how it went
        result, lines = deliver(args, result, repo, gated=gated)
    if not args.json:
        plan = display.view.plans.get(display.view.stage) if args.dry_run else None
        if text := "\n".join(plan_lines(plan, config, display.view.preview)) if plan else answer_text(result):
            (complain if args.patch == STDOUT and not args.dry_run else tell)(text)
        complain("\n".join(summary_lines(result, display.view, config, dry_run=args.dry_run)))
    if asks:
        result, lines = deliver(args, result, repo, gated=gated)
    keep(result)
    for line in lines:
        complain(line)
    if way := _way_on(args, result, config):
        complain(way)
    if args.json:
        tell_envelope(result)
    return result.exit_code
