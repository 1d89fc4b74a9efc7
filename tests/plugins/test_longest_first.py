"""Whole files go to the workers in the order in which they are collected."""

import pytest


def test_files_come_by_their_minutes_and_the_others_last(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmarkers =\n    long: minutes")
    pytester.makepyfile(
        test_a_short="def test_it(): pass",
        test_b_two="""
            import pytest

            def test_before(): pass

            @pytest.mark.long(2)
            @pytest.mark.parametrize("number", [1, 2])
            def test_it(number): pass
        """,
        test_c_three="""
            import pytest

            pytestmark = pytest.mark.long(3)

            def test_it(): pass
        """,
        test_d_one="""
            import pytest

            @pytest.mark.long(1)
            def test_it(): pass
        """,
    )
    options = ["-v", "-p", "tests.plugins.longest_first", "-p", "no:randomly", "-p", "no:asyncio"]
    result = pytester.runpytest_inprocess(*options)
    told = [line.partition("::")[0].removeprefix("test_") for line in result.outlines if "::" in line]
    assert told == ["c_three.py", "b_two.py", "b_two.py", "b_two.py", "d_one.py", "a_short.py"]
