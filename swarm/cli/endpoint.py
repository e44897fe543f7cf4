"""`swarm endpoint`: the embedded endpoint as a program."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "endpoint",
        help="serve the embedded stand-in for a model (no language model) over HTTP, or record calls to a real one",
        description="Serve an OpenAI-compatible endpoint without a model: a Python repairer, or a script. "
        "Runs until SIGINT or SIGTERM.",
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=0, type=int, metavar="N", help="port; 0 (the default) takes any free one")
    parser.add_argument(
        "--policy", default="repair", metavar="repair|script:FILE", help="what answers (default: %(default)s)"
    )
    parser.add_argument(
        "--proxy",
        metavar="URL",
        help="pass requests on to this endpoint instead, and record the chats as a run, one trajectory a session",
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="environment variable with the key that clients must send"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, which is the normal end.

    Raises:
        UsageError: the options, the script or the address cannot be used.
        JournalError: what is passed on can no longer be recorded.
    """
    import anyio

    if args.proxy is not None:
        anyio.run(_pass_on, args.host, args.port, args.proxy, args.api_key_env)
        return 0
    anyio.run(_serve, args.host, args.port, args.policy, args.api_key_env)
    return 0


async def _serve(host: str, port: int, policy: str, api_key_env: str | None) -> None:
    import os
    import signal

    import anyio

    from swarm.cli.open_files import allow_many_open_files
    from swarm.embedded.catalog import load_policies
    from swarm.embedded.server import running_endpoint
    from swarm.errors import UsageError

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        api_key = os.environ.get(api_key_env) if api_key_env else None
        if api_key_env and not api_key:
            raise UsageError(f"--api-key-env: {api_key_env} is not set", remedy="export it with the key")
        policies, faults = load_policies(policy)
        allow_many_open_files()
        async with running_endpoint(policies, faults=faults, api_key=api_key, host=host, port=port) as base_url:
            print(f"listening on {base_url}", flush=True)
            async for _ in signals:
                break


async def _pass_on(host: str, port: int, proxy: str, api_key_env: str | None) -> None:
    import signal

    import anyio

    from swarm.cli.open_files import allow_many_open_files
    from swarm.cli.stdio import complain
    from swarm.embedded.proxy import running_gateway
    from swarm.errors import UsageError

    if api_key_env is not None:
        raise UsageError("--api-key-env with --proxy: keys of clients are passed on", remedy="leave one of them out")
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        allow_many_open_files()
        async with running_gateway(proxy, host, port) as (base_url, log):
            print(f"listening on {base_url}", flush=True)
            complain(f"swarm: recording the run {log.folder.name}")
            async for _ in signals:
                break
