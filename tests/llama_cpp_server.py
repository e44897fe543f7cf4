"""llama.cpp's own server as a program: `python llama_cpp_server.py MODEL`. It runs until its input ends."""

from __future__ import annotations

import importlib
import sys
from typing import Any

API_KEY = "sk-of-llama-cpp"
ALIAS = "random"
WINDOW = 16384
"""Tokens of one slot: the prompt of a sub-agent with its tools told by text, at a token a byte, and its answer."""

SLOTS = 2


def serve(model: str) -> None:
    """Serve a model on a free port of the loopback; a line on the output gives its address as soon as it is ready."""
    xllamacpp: Any = importlib.import_module("xllamacpp")  # has no types

    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {ALIAS}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [API_KEY]
    parameters.n_ctx = WINDOW * SLOTS
    parameters.n_parallel = SLOTS
    parameters.cpuparams.n_threads = 1  # two that share a busy core are a hundred times slower
    parameters.cpuparams_batch.n_threads = 1
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.use_jinja = True
    parameters.sampling.seed = 7
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
