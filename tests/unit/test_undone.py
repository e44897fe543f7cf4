"""What a repair takes away, told from diffs."""

from __future__ import annotations

from swarm.merging.undone import lines_of, undone
from swarm.merging.undone import tests_gone as gone_tests


def diff(name: str, *lines: str, head: str = "index 1..2 100644") -> bytes:
    old, new = (sum(line[0] in f" {sign}" for line in lines) for sign in "-+")
    heads = [f"diff --git a/{name} b/{name}", head, f"--- a/{name}", f"+++ b/{name}", f"@@ -1,{old} +1,{new} @@"]
    return "\n".join([*heads, *lines, ""]).encode()


def test_lines_of_others_that_are_gone_are_counted_by_file() -> None:
    theirs = lines_of(diff("f", " top", "-old", "+one", "+two", "+}") + diff("g", "+three"))
    assert undone(lines_of(diff("f", "-one", "+mine")), theirs) == {"f": (1, 3)}
    assert undone(lines_of(diff("f", "-one", "-two", "+old")), theirs) == {"f": (3, 3)}
    assert undone(lines_of(diff("f", "-}", "-top", "+mine")), theirs) == {}
    moved = lines_of(diff("g", "-three") + diff("h", "+  three"))
    assert undone(moved, theirs) == {}


def test_a_file_that_another_deleted_and_is_back_counts_as_all_of_it() -> None:
    theirs = lines_of(diff("f", "-a", "-b", head="deleted file mode 100644"))
    assert undone(lines_of(diff("f", "+new", head="new file mode 100644")), theirs) == {"f": (2, 2)}


def test_names_with_blanks_and_others_and_lines_like_heads_are_read() -> None:
    found = lines_of(diff("a b/c d", "--- x", "+++ y") + b'diff --git "a/\\303" "b/\\303"\n@@ -1 +1 @@\n-1\n')
    assert set(found) == {"a b/c d", "\udcc3"}
    assert found["a b/c d"].removed == {"-- x": 1}


def test_a_test_is_gone_where_its_definition_is() -> None:
    gone = lines_of(diff("t/test_a.py", "-def test_x():", "-    assert f()", "-    async def test_y(self):"))
    asked = ["t/test_a.py::test_x", "test_a.py::T::test_y[1-2]", "test_b.py::test_x", "t/test_a.py::test_xy", "no name"]
    assert gone_tests(gone, asked) == asked[:2]
    kept = lines_of(diff("test_a.py", "-def test_x():") + diff("test_b.py", "+def test_x(tmp_path):"))
    assert gone_tests(kept, ["test_a.py::test_x"]) == []
