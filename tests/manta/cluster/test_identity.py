"""What a machine must have in common with the head, and what is said when it does not."""

from dataclasses import replace

import pytest

from manta.cluster_identity import Identity, require_same
from trading.errors import BadInput

HEAD = Identity(manta="1.0", source="a" * 64, ray="2.60.0", python="3.11.7")


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
