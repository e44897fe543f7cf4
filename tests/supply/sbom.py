"""The bill of materials of swarm, CycloneDX as JSON: `python -m tests.supply.sbom FILE`. Two makes are byte-equal."""

from __future__ import annotations

import json
import sys
import tomllib
import uuid
from importlib import metadata
from pathlib import Path

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from swarm import __version__
from swarm.whole_file import write_whole
from tests.supply.licences import licence_of, told
from tests.supply.locked import Locked, read_lock

VERSION = SchemaVersion.V1_6
_SPACE = uuid.UUID("6f0c6a35-4f0e-4f0d-9a52-0d0f5a3d7c11")


def bill(root: Path) -> str:
    """The bill for the lock files of a checkout: what users get is required, what its own tests add is excluded.

    Raises:
        ValueError: a lock file is none.
    """
    locks = root / "requirements"
    say = told(locks / "licences.toml")
    users = {each.name for each in read_lock(locks / "base.txt")}
    locked = read_lock(locks / "dev.txt")
    wanted = [
        Requirement(each) for each in tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    bom = Bom(version=1)
    bom.metadata.component = root_part = Component(
        name="swarm",
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref="swarm",
        licenses=[LicenseExpression("Apache-2.0")],
    )
    parts = [(each, _part(each, each.name in users, licence_of(each.name, say))) for each in locked]
    for _, part in parts:
        bom.components.add(part)
    by_name: dict[str, list[Component]] = {}
    for each, part in parts:
        by_name.setdefault(each.name, []).append(part)
    direct = {canonicalize_name(each.name) for each in wanted}
    bom.register_dependency(root_part, [part for name in sorted(direct) for part in by_name.get(name, [])])
    for each, part in parts:
        needs = sorted(_needs(each.name) & by_name.keys())
        bom.register_dependency(part, [below for name in needs for below in by_name[name] if below is not part])
    # Of the content, not of the time and the place: the same locks give the same file.
    sums = "".join(sum_ for each in locked for sum_ in (each.name, each.version, *each.hashes))
    bom.serial_number = uuid.uuid5(_SPACE, f"{__version__} {sums}")
    made = json.loads(make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string())
    del made["metadata"]["timestamp"]
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


def _part(each: Locked, for_users: bool, licence: str | None) -> Component:
    where = PackageURL("pypi", name=each.name, version=each.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(where.to_string()),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each_hash) for each_hash in each.hashes],
    )
    return Component(
        name=each.name,
        version=each.version,
        type=ComponentType.LIBRARY,
        bom_ref=where.to_string(),
        purl=where,
        scope=ComponentScope.REQUIRED if for_users else ComponentScope.EXCLUDED,
        licenses=[LicenseExpression(licence)] if licence else [],
        external_references=[files],
    )


def _needs(name: str) -> set[str]:
    """What an installed package itself needs here."""
    try:
        wanted = [Requirement(each) for each in metadata.requires(name) or []]
    except metadata.PackageNotFoundError:
        return set()
    return {
        str(canonicalize_name(each.name)) for each in wanted if not each.marker or each.marker.evaluate({"extra": ""})
    }


def main() -> None:
    root = Path(__file__).resolve().parents[2]
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    text = bill(root)
    if (wrong := JsonStrictValidator(VERSION).validate_str(text)) is not None:
        raise ValueError(f"this is no CycloneDX: {wrong}")
    write_whole(path, text.encode())
    sys.stdout.write(f"{path}: {len(json.loads(text)['components'])} packages\n")


if __name__ == "__main__":
    main()
