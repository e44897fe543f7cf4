"""`swarm endpoint`: the embedded endpoint as a program."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "endpoint",
        help="serve the embedded stand-in for a model (no language model) over HTTP, or record calls to a real one",
        description="Serve an OpenAI-compatible endpoint without a model: a Python repairer, or a script. "
        "Runs until SIGINT or SIGTERM.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=0, type=int, metavar="N", help="port; 0 (the default) takes any free one")
    parser.add_argument(
        "--policy", default="repair", metavar="repair|documents|script:FILE", help="what answers (default: %(default)s)"
    )
    parser.add_argument(
        "--proxy",
        metavar="URL",
        help="pass requests on to this endpoint instead, and record the chats as a run, one trajectory a session",
    )
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the key that clients must send; needed where others reach --host",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, which is the normal end.

    Raises:
        UsageError: the options, the script or the address cannot be used.
        JournalError: what is passed on can no longer be recorded.
    """
    import anyio

    if args.proxy is not None:
        anyio.run(_pass_on, args.host, args.port, args.proxy, _key_in(args))
        return 0
    anyio.run(_serve, args.host, args.port, args.policy, _key_in(args))
    return 0


def _key_in(args: argparse.Namespace) -> str | None:
    """The key that clients must send, None where anyone on this machine may ask."""
    import os

    from swarm.embedded.guard import require_closed
    from swarm.errors import UsageError

    api_key = os.environ.get(args.api_key_env) if args.api_key_env else None
    if args.api_key_env and not api_key:
        raise UsageError(f"--api-key-env: {args.api_key_env} is not set", remedy="export it with the key")
    require_closed(args.host, api_key)
    return api_key


async def _serve(host: str, port: int, policy: str, api_key: str | None) -> None:
    import signal

    import anyio

    from swarm.cli.open_files import allow_many_open_files
    from swarm.embedded.catalog import load_policies
    from swarm.embedded.server import running_endpoint

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        policies, faults = load_policies(policy)
        allow_many_open_files()
        async with running_endpoint(policies, faults=faults, api_key=api_key, host=host, port=port) as base_url:
            print(f"listening on {base_url}", flush=True)
            async for _ in signals:
                break


async def _pass_on(host: str, port: int, proxy: str, api_key: str | None) -> None:
    import signal

    import anyio

    from swarm.cli.open_files import allow_many_open_files
    from swarm.cli.stdio import complain
    from swarm.embedded.proxy import running_gateway

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        allow_many_open_files()
        async with running_gateway(proxy, host, port, api_key) as (base_url, log):
            print(f"listening on {base_url}", flush=True)
            complain(f"swarm: recording the run {log.folder.name}")
            async for _ in signals:
                break
