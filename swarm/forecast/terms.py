"""Under which conditions a run is made, as far as its cost depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarm.config import Price, RunConfig
from swarm.forecast.rows import digest
from swarm.forecast.weights import Kin
from swarm.types import Role


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits, what tells which past runs are alike, and the prices of each role: dollars per million tokens, None
    where they are not known. `unpriced` names the models without one."""

    config: RunConfig
    kin: Kin
    prices: Mapping[Role, Price | None]
    unpriced: tuple[str, ...] = ()

    @property
    def priced(self) -> bool:
        """Whether the dollars of a run can be told."""
        wanted = (Role.SUBAGENT,) if self.kin.mode == "single" else tuple(Role)
        return all(self.prices.get(role) is not None for role in wanted)


def terms_of(config: RunConfig, repo: str, models: Mapping[Role, str], prices: Mapping[Role, Price | None]) -> Terms:
    """The terms of a run. `repo` is what its journal names as its repository, empty without one; `models` the names of
    the models, as in the journal too."""
    unpriced = sorted({name for role, name in models.items() if prices.get(role) is None})
    kin = Kin(config.mode, digest(models[Role.SUBAGENT]), digest(repo))
    return Terms(config, kin, prices, tuple(unpriced))
