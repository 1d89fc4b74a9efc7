"""Whether two trees of Python files are the same code."""

from pathlib import Path

import pytest

from trading.source_files import digest_of

PACKAGES = ("backtest", "trading")


def tree(folder: Path, text: bytes = b"x = 1\n", name: str = "module.py") -> Path:
    for package in PACKAGES:
        (folder / package / "part").mkdir(parents=True)
        (folder / package / "__init__.py").write_text("", encoding="utf-8")
    (folder / "trading" / "part" / name).write_bytes(text)
    return folder


def test_the_same_source_has_the_same_hash_wherever_it_is(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "one"), tree(tmp_path / "two")
    (second / "trading" / "__pycache__").mkdir()
    (second / "trading" / "__pycache__" / "module.pyc").write_bytes(b"0")
    (second / "notes.py").write_text("of no package", encoding="utf-8")
    assert digest_of(first, PACKAGES) == digest_of(second, reversed(PACKAGES))


def test_line_ends_of_windows_are_no_difference(tmp_path: Path) -> None:
    assert digest_of(tree(tmp_path / "one"), PACKAGES) == digest_of(tree(tmp_path / "two", b"x = 1\r\n"), PACKAGES)


@pytest.mark.parametrize(
    ("text", "name"), [(b"x = 2\n", "module.py"), (b"x = 1\n", "other.py"), (b"", "module.py"), (b"x = 1", "module.py")]
)
def test_any_change_of_name_or_content_changes_the_hash(tmp_path: Path, text: bytes, name: str) -> None:
    assert digest_of(tree(tmp_path / "one"), PACKAGES) != digest_of(tree(tmp_path / "two", text, name), PACKAGES)
