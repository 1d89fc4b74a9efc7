"""The acceptance line at the end of a run says what was proved, no more."""

import pytest

ACCEPTANCE = """
## 1. Acceptance checklist
- S0-1 Two parts: (a) download; (b) monitor.
- S0-2 One thing.
- S1-3 Another.
## 3. Weak spots
- W1 Deadly default.
"""


@pytest.fixture
def acceptance(pytester: pytest.Pytester) -> str:
    path = pytester.path / "ACCEPTANCE.md"
    path.write_text(ACCEPTANCE)
    pytester.makeini("[pytest]\nmarkers =\n    covers: acceptance lines\n")
    return f"--acceptance-list={path}"


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(
        "-p", "tests.plugins.covers", "-p", "no:randomly", "-p", "no:asyncio", *arguments
    )


def test_counts_lines_of_passed_tests_once(pytester: pytest.Pytester, acceptance: str):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.covers("S0-1a", "S0-1b", "W1")
        def test_parts(): pass

        @pytest.mark.covers("S0-1")
        def test_whole(): pass

        @pytest.mark.covers("S0-2")
        def test_skipped(): pytest.skip("no data")
    """)

    run(pytester, acceptance).stdout.fnmatch_lines(["acceptance: 2 of 4 lines covered"])


def test_a_failure_takes_its_line_away(pytester: pytest.Pytester, acceptance: str):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.covers("S0-2")
        @pytest.mark.parametrize("works", [True, False])
        def test_sometimes(works): assert works

        @pytest.mark.covers("S1-3")
        @pytest.mark.xfail
        def test_expected(): raise AssertionError

        @pytest.fixture
        def broken_teardown():
            yield
            raise RuntimeError

        @pytest.mark.covers("W1")
        def test_teardown(broken_teardown): pass
    """)

    run(pytester, acceptance).stdout.fnmatch_lines(["acceptance: 0 of 4 lines covered"])


@pytest.mark.parametrize("citation", ["S0-9", "S0-1c", "W2", "s0-1", "C1"])
def test_unknown_citation_stops_the_run(pytester: pytest.Pytester, acceptance: str, citation: str):
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.covers({citation!r})
        def test_it(): pass
    """)

    result = run(pytester, acceptance)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*test_it cites '{citation}', which the acceptance list does not have"])


def test_says_nothing_without_the_list(pytester: pytest.Pytester, acceptance: str):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.covers("S9-99")
        def test_it(): pass
    """)

    result = run(pytester, "--acceptance-list=absent.md")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*acceptance:*")
