"""Whatever takes apart what others wrote is in the list of `parsers`, and what the list names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.fuzz.expressions import modules
from tests.fuzz.parsers import BY_HAND, PARSERS

CALLS = frozenset(
    {"from_json", "model_validate", "model_validate_json", "validate_json", "validate_python", "literal_eval"}
    | {"unpack", "unpack_from", "ConfigParser", "raw_decode", "fromisoformat", "parsedate_to_datetime", "unescape"}
    | {"urlsplit", "urlparse", "bounded", "parsed", "read_toml", "toml_of", "json_of", "HTMLParser", "fromstring"}
)
"""Names of functions and methods that take a text apart."""

WHOLE = frozenset({"json.loads", "json.load", "tomllib.loads", "tomllib.load", "shlex.split", "ast.parse"})


_WORDS = re.compile("|".join(map(re.escape, sorted(CALLS | WHOLE))))


def parses(source: str) -> bool:
    if not _WORDS.search(source):
        return False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CALLS or ast.unparse(node.func) in WHOLE:
                return True
    return False


def test_every_parser_is_listed_with_what_attacks_it() -> None:
    found = {name for name, path in modules() if parses(path.read_text(encoding="utf-8"))}
    assert found - set(PARSERS) == set(), "say in tests/fuzz/parsers.py which test attacks them, or who writes for them"
    assert set(PARSERS) - found == set(), "these parse nothing any more"


def test_what_is_named_is_there() -> None:
    here = Path(__file__).parent
    tests = {
        f"{path.name}::{name}"
        for path in here.glob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = {value for value in (*PARSERS.values(), *BY_HAND.values()) if value.startswith("test_")}
    assert named <= tests, named - tests
