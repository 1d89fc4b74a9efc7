"""What the documentation leads to is there: links, the commands it shows with their options, calls of the API."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from manta.cli import app
from serve.app import build_app
from trading.config.model import Config
from trading.storage.settings import DatabaseTarget

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
SOURCES = sorted(
    path
    for folder in ("actors", "backtest", "manta", "monitoring", "serve", "trading")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".js", ".html", ".yaml"}
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`((?:manta|\./run) [a-z-][^`\n]*)`")
CALL = re.compile(r"/api/v1(/[A-Za-z0-9_{}./…-]*[A-Za-z0-9_}…])")
STATEMENTS = re.compile(r"\s*(?:&&|\|\||[;|&]|>>?|\n|\$\(|\))\s*")
PROGRAM = re.compile(r"manta|(?:\.|/\S+)/run")
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


class Shown(NamedTuple):
    """A command as a page shows it: whole ones can be typed, others are named in a sentence."""

    page: str
    words: tuple[str, ...]
    whole: bool


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def targets(page: Path) -> list[tuple[Path, str]]:
    """Where the links of a page lead within the project: the file and the heading, "" for its beginning."""
    found = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        found.append(((page.parent / path).resolve() if path else page, heading))
    return found


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = [
        f"{path.name}#{heading}"
        for path, heading in targets(page)
        if not path.exists() or (heading and heading not in headings(path))
    ]
    assert lost == []


def test_every_page_and_picture_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".md":
            waiting += [target for target, _ in targets(path)]
        elif path.is_dir():
            waiting += path.glob("*.md")
    there = [path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".png", ".svg"}]
    assert [name_of(path) for path in there if path not in reached] == []


def statements(text: str) -> Iterator[list[str]]:
    """The simple commands in a piece of shell."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        code = re.sub(r"(^|\s)#.*", "", line)
        for part in STATEMENTS.split(code):
            try:
                words = shlex.split(part)
            except ValueError:
                words = part.split()
            while words and ASSIGNMENT.fullmatch(words[0]):
                words = words[1:]
            if words:
                yield words


def shown() -> list[Shown]:
    found: list[Shown] = []
    for page in PAGES:
        for kind, text in FENCE.findall(page.read_text("utf-8")):
            if kind in {"sh", "bash", "console", "crontab", "cron", "ini"}:
                for words in statements(text):
                    place = next((n for n, word in enumerate(words) if PROGRAM.fullmatch(word)), None)
                    if place is not None:
                        found.append(Shown(name_of(page), tuple(words[place:]), whole=True))
    for path in (*PAGES, *SOURCES):
        text = prose(path) if path.suffix == ".md" else path.read_text("utf-8")
        for command in INLINE.findall(text):
            # A name in braces stands for something; `list|show` means either.
            words = [word.partition("{")[0].split("|") for word in command.split()]
            found += [Shown(name_of(path), tuple(filter(None, each)), whole=False) for each in product(*words)]
    return found


def script_verbs() -> set[str]:
    """What ``./run`` does itself; everything else is a command of manta."""
    usage = (ROOT / "run").read_text("utf-8").split("<<'TEXT'\n", 1)[1].split("\nTEXT", 1)[0]
    return set(re.findall(r"^  ([a-z]+) ", usage, re.MULTILINE)) - {"demo"}


MANTA: Any = typer.main.get_command(app)
VERBS = script_verbs()


def wrong_with(command: Shown) -> str:
    """What would be refused of it, "" when nothing would."""
    program, *words = command.words
    if program.endswith("run") and words and words[0] in VERBS:
        return ""
    found = MANTA
    while hasattr(found, "commands") and words and not words[0].startswith("-"):
        if words[0] not in found.commands:
            return f"{words[0]!r} is no command"
        found, words = found.commands[words[0]], words[1:]
    known = {name: option for option in found.params for name in (*option.opts, *option.secondary_opts)}
    for word in words:
        option = word.partition("=")[0]
        if re.match(r"--?[a-z]", option) and option not in known and option != "--help":
            return f"{option!r} is no option"
    if command.whole and not hasattr(found, "commands") and "--help" not in words:
        context = found.context_class(found, info_name=found.name)
        try:
            _, rest, _ = found.make_parser(context).parse_args(list(words))
        except Exception as error:
            return str(error)
        return f"{rest[0]!r} is too much" if rest else ""
    return ""


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    commands = shown()
    assert len({command.page for command in commands if command.whole}) > 8
    found = {f"{each.page}: {' '.join(each.words)}": wrong_with(each) for each in commands}
    assert {command: wrong for command, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("manta strategies lst", "'lst' is no command"),
        ("manta backtest run --strategies ma44", "'--strategies' is no option"),
        ("manta backtest report", ""),
        ("manta strategies show dip other", "'other' is too much"),
        ("./run check", ""),
        ("./run chek", "'chek' is no command"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, wrong: str) -> None:
    assert wrong_with(Shown("page", tuple(line.split()), whole=True)) == wrong


def test_every_call_of_the_api_that_is_shown_exists() -> None:
    target = DatabaseTarget(host="localhost", port=1, database="none", user="none", password_file=None)
    paths = build_app(Config(), target).openapi()["paths"]
    known = [
        re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in (*paths, "/api/v1/stream", "/api/v1/openapi.json")
    ]
    called = {(name_of(page), f"/api/v1{path}") for page in PAGES for path in CALL.findall(page.read_text("utf-8"))}
    assert len(called) > 20
    assert sorted(f"{page}: {path}" for page, path in called if not any(each.fullmatch(path) for each in known)) == []
