"""Names a test that failed when it fails: a run that is cut short has no summary."""

import pytest


class Namer:
    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = "" if crash is None else " - " + crash.message.partition("\n")[0]
            # Ends the line of dots, of which the reporter does not know where workers made them.
            self._reporter.write_line("")
            self._reporter.write_line(f"FAILED {report.nodeid} ({report.when}){why}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # The processes of workers have no terminal.
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        config.pluginmanager.register(Namer(reporter), "named-at-once")
