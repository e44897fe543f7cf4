"""The other languages, whose build tools test as well: and make and just, which may do anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from swarm.discovery.found import Found, Rank, any_below, inside, json_of, lines_of, toml_of

# Each is for one line: over the whole of a hostile file some would take time that grows with its square.
_GO_USE = re.compile(r"\s*(?:use\s+)?(\./?[\w./-]*)\s*$")
_CTEST = re.compile(r"\s*(enable_testing\s*\(|include\s*\(\s*CTest\s*\))", re.IGNORECASE)
_RAKE_TEST = re.compile(r"TestTask|task[ \t]{0,8}\(?[ \t]{0,8}[:\"']?test\b")
_TARGETS = re.compile(r"([\w.-]+(?:[ \t]+[\w.-]+)*)[ \t]*::?(?!=)")
_INCLUDED = re.compile(r"[ ]*[-s]?include[ \t]+(.*)")
_JUST_TEST = re.compile(r"@?test\b[^:=]*:(?!=)")
_MOST_INCLUDED = 10
_BUILD = "cmake -S . -B /tmp/build && cmake --build /tmp/build && ctest --test-dir /tmp/build --output-on-failure"


def find(folder: Path) -> Iterator[Found]:
    """The ways in which a folder is tested, by language."""
    yield from _rust_and_go(folder)
    yield from _jvm(folder)
    if any_below(folder, "*.sln", "*.slnx", "*.csproj", "*.fsproj", depth=0):
        yield Found("dotnet test", "dotnet", "a solution or project of .NET", Rank.BUILT)
    if (folder / "mix.exs").is_file():
        yield Found("mix test", "mix", "mix.exs", Rank.BUILT)
    yield from _php(folder)
    yield from _ruby(folder)
    if any(map(_CTEST.match, lines_of(folder / "CMakeLists.txt"))):
        yield Found(_BUILD, "ctest", "CMakeLists.txt: enable_testing", Rank.BUILT)
    yield from _recipes(folder)


def _rust_and_go(folder: Path) -> Iterator[Found]:
    cargo = toml_of(folder / "Cargo.toml")
    if cargo:
        whole = " --workspace" if "workspace" in cargo and "package" in cargo else ""
        yield Found(f"cargo test{whole}", "cargo", "Cargo.toml", Rank.BUILT)
    if (folder / "go.mod").is_file():
        yield Found("go test ./...", "go", "go.mod", Rank.BUILT)
    elif used := [use[1] for line in lines_of(folder / "go.work") if (use := _GO_USE.match(line))]:
        each = " ".join(f"{path.rstrip('/')}/..." for path in dict.fromkeys(used))
        yield Found(f"go test {each}", "go", "go.work", Rank.BUILT)


def _jvm(folder: Path) -> Iterator[Found]:
    if (folder / "pom.xml").is_file():
        yield Found("mvn -q test", "mvn", "pom.xml", Rank.BUILT)
        if (folder / "mvnw").is_file():
            yield Found("./mvnw -q test", "java", "mvnw", Rank.WRAPPED)
    if any((folder / f"{name}.gradle{kts}").is_file() for name in ("build", "settings") for kts in ("", ".kts")):
        if (folder / "gradlew").is_file():
            yield Found("./gradlew test", "java", "gradlew", Rank.BUILT)
        yield Found("gradle test", "gradle", "build.gradle", Rank.BUILT)


def _php(folder: Path) -> Iterator[Found]:
    for name in ("phpunit.xml", "phpunit.xml.dist", "phpunit.dist.xml"):
        if (folder / name).is_file():
            own = (folder / "vendor/bin/phpunit").exists()
            command, program = ("vendor/bin/phpunit", "php") if own else ("phpunit", "phpunit")
            yield Found(command, program, name, Rank.CONFIGURED)
            return
    if inside(json_of(folder / "composer.json"), "scripts", "test") is not None:
        yield Found("composer test", "composer", "composer.json: scripts.test", Rank.CONFIGURED)


def _ruby(folder: Path) -> Iterator[Found]:
    bundled = "bundle exec " if (folder / "Gemfile").is_file() else ""
    program = "bundle" if bundled else ""
    if (folder / ".rspec").is_file() or any_below(folder / "spec", "*_spec.rb"):
        why = ".rspec" if (folder / ".rspec").is_file() else "spec/"
        yield Found(f"{bundled}rspec", program or "rspec", why, Rank.BUILT)
    for name in ("Rakefile", "rakefile", "Rakefile.rb"):
        if any(map(_RAKE_TEST.search, lines_of(folder / name))):
            yield Found(f"{bundled}rake test", program or "rake", f"{name}: test", Rank.BUILT)
            return


def _recipes(folder: Path) -> Iterator[Found]:
    for name in ("GNUmakefile", "makefile", "Makefile"):
        words = _targets(folder, name)
        for target in ("test", "check"):
            if target in words:
                yield Found(f"make {target}", "make", f"{name}: {target}", Rank.WRAPPED)
                break
        if words:
            break
    for name in ("justfile", "Justfile", ".justfile"):
        if any(map(_JUST_TEST.match, lines_of(folder / name))):
            yield Found("just test", "just", f"{name}: test", Rank.WRAPPED)
            return


def _targets(folder: Path, name: str) -> set[str]:
    """The targets of a makefile, and of the files in the same tree that it includes by name."""
    held = _rules(folder / name)
    words = [part for line in held if (more := _INCLUDED.match(line)) for part in more[1].partition("#")[0].split()]
    top = folder.resolve()
    for word in [word for word in words if "$" not in word][:_MOST_INCLUDED]:
        try:
            path = (folder / word).resolve()
        except (OSError, ValueError, RuntimeError):
            continue
        if path.is_relative_to(top):
            held += _rules(path)
    return {word for line in held if (rule := _TARGETS.match(line)) for word in rule[1].split()}


def _rules(path: Path) -> list[str]:
    """Its lines but for the texts that `define` holds."""
    kept, inside = list[str](), False
    for line in lines_of(path):
        first = line.split(maxsplit=1)[0] if line[:1] not in ("\t", "") and line.strip() else ""
        if first == "define" or (inside and first == "endef"):
            inside = first == "define"
        elif not inside:
            kept.append(line)
    return kept
