"""All kinds of faults."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos import faults_endpoint, faults_machine, faults_program, faults_sandbox
from tests.chaos.scenario import Kind

KINDS: Sequence[Kind] = (
    *faults_endpoint.KINDS,
    *faults_program.KINDS,
    *faults_machine.KINDS,
    *faults_sandbox.KINDS,
)
