"""Failures are told while the run goes on, from workers too."""

import pytest


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["here", "by a worker"])
def test_a_failure_is_named_before_what_follows(pytester: pytest.Pytester, options: tuple[str, ...]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def broken():
            raise LookupError("nothing there")

        def test_a(): assert 1 == 2, "one is not two"
        def test_b(): pass
        def test_c(broken): pass
        def test_d(): pass
        """
    )
    result = pytester.runpytest_subprocess(
        "-p", "tests.plugins.named_at_once", "-p", "no:randomly", "-p", "no:asyncio", *options
    )
    result.stdout.fnmatch_lines(
        [
            "FAILED test_a_failure*::test_a (call) - AssertionError: one is not two",
            "FAILED test_a_failure*::test_c (setup) - LookupError: nothing there",
            "*= FAILURES =*",
        ]
    )
