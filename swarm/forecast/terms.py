"""Under which conditions a run is made, as far as its cost depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarm.config import Price, RunConfig
from swarm.forecast.rows import Row, digest
from swarm.types import Role


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits; digests of model and repository (empty: none), which tell what past runs are alike; and the prices of
    each role: dollars per million tokens, None where they are not known. `unpriced` names the models without one."""

    config: RunConfig
    model: str
    repository: str
    prices: Mapping[Role, Price | None]
    unpriced: tuple[str, ...] = ()

    @property
    def single(self) -> bool:
        return self.config.mode == "single"

    @property
    def priced(self) -> bool:
        """Whether the dollars of a run can be told."""
        wanted = (Role.SUBAGENT,) if self.single else tuple(Role)
        return all(self.prices.get(role) is not None for role in wanted)

    def unlike(self, row: Row) -> int | None:
        """In how much a past run is other than this one: 0 on the same repository with the same model, 1 elsewhere, 2
        with another model, 3 in another mode; None for one that tells nothing."""
        if bool(row.repository) != bool(self.repository) or (row.mode == "single") != self.single:
            return None
        if row.mode != self.config.mode:
            return 3
        if row.model != self.model:
            return 2
        return int(row.repository != self.repository)


def terms_of(config: RunConfig, repo: str, models: Mapping[Role, str], prices: Mapping[Role, Price | None]) -> Terms:
    """The terms of a run. `repo` is what its journal names as its repository, empty without one; `models` the names of
    the models, as in the journal too."""
    unpriced = sorted({name for role, name in models.items() if prices.get(role) is None})
    return Terms(config, digest(models[Role.SUBAGENT]), digest(repo), prices, tuple(unpriced))
