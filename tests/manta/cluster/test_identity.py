"""What a machine must have in common with the head, and what is said when it does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from manta.cluster_identity import PACKAGES, Identity, require_same, source_hash
from trading.errors import BadInput

HEAD = Identity(manta="1.0", source="a" * 64, ray="2.60.0", python="3.11.7")


def tree(folder: Path, text: str = "x = 1\n", name: str = "module.py") -> Path:
    for package in PACKAGES:
        (folder / package / "part").mkdir(parents=True)
        (folder / package / "__init__.py").write_text("", encoding="utf-8")
    (folder / "trading" / "part" / name).write_text(text, encoding="utf-8")
    return folder


def test_the_same_source_has_the_same_hash_wherever_it_is(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "one"), tree(tmp_path / "two")
    (second / "trading" / "__pycache__").mkdir()
    (second / "trading" / "__pycache__" / "module.pyc").write_bytes(b"0")
    (second / "notes.py").write_text("not of Manta", encoding="utf-8")
    assert source_hash(first) == source_hash(second)


@pytest.mark.parametrize(
    ("text", "name"), [("x = 2\n", "module.py"), ("x = 1\n", "other.py"), ("", "module.py"), ("x = 1", "module.py")]
)
def test_any_change_of_name_or_content_changes_the_hash(tmp_path: Path, text: str, name: str) -> None:
    assert source_hash(tree(tmp_path / "one")) != source_hash(tree(tmp_path / "two", text, name))


def test_this_machine_is_like_itself() -> None:
    here = Identity.here()
    assert len(here.source) == 64
    require_same(here, Identity.here())


def test_a_patch_of_python_is_no_difference() -> None:
    require_same(HEAD, replace(HEAD, python="3.11.2"))


@pytest.mark.parametrize(
    ("here", "field", "words", "fix"),
    [
        (replace(HEAD, ray="2.59.1"), "ray", "Ray is 2.59.1 here and 2.60.0 there", "Install ray==2.60.0"),
        (replace(HEAD, python="3.12.7"), "python", "Python is 3.12.7 here and 3.11.7 there", "MANTA_PYTHON=python3.11"),
        (replace(HEAD, source="b" * 64), "source", "source bbbbbbbbbbbb here", "the same commit"),
    ],
)
def test_each_difference_is_named_with_its_fix(here: Identity, field: str, words: str, fix: str) -> None:
    with pytest.raises(BadInput) as refused:
        require_same(HEAD, here)
    assert refused.value.field == field
    assert words in refused.value.message
    assert fix in (refused.value.fix or "")


def test_all_differences_are_told_at_once() -> None:
    with pytest.raises(BadInput, match=r"Ray is .*; Python is .*; Manta is "):
        require_same(HEAD, Identity(manta="1.1", source="b" * 64, ray="2.61.0", python="3.13.0"))
