"""Tries a strategy in ways that only an honest one survives, and says what gave a cheat away.

An honest strategy is a function of the candles that have closed and of its own state: another future, another time of
day, a second run, a second market beside it or a restart change nothing it says of the past, to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from trading.candles import Candle
from trading.events import Signal
from trading.intervals import parse_interval
from trading.strategies.check.lines import Step, first_difference
from trading.strategies.check.reading import memories, reaches
from trading.strategies.check.series import Series, common_width, made_up, other_future, series_of
from trading.strategies.check.trials import Difference, difference, interleaved, restarted, run, traced
from trading.strategies.check.watch import LATER_S, Opened, other_time, watching
from trading.strategies.contract import Strategy, StrategyFailed
from trading.strategies.registry import fresh_strategy

__all__ = ["CheckResult", "Finding", "check_strategy"]

_LEAST, _MOST = 400, 6_000
# Of the candles that longer ones are made of.
_MOST_BASE = 100_000
# Candles that all runs with another future may take together.
_EFFORT = 100_000
_IN_A_ROW = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """What gave a strategy away, with the ``line`` of its file, the name of its ``feature`` and the close of the candle
    where they are known.
    """

    kind: str
    text: str
    line: int | None = None
    feature: str = ""
    time_ms: int | None = None

    def __str__(self) -> str:
        where = [f"line {self.line}"] if self.line else []
        where += [f"feature {self.feature}"] if self.feature else []
        return f"{', '.join(where)}: {self.text}" if where else self.text


@dataclass(slots=True)
class CheckResult:
    """``passed`` when there are no findings; ``notes`` are worth knowing and no fault. Of the intervals that its
    features name for themselves ``others`` were tried beside the ``candles`` of ``interval``.
    """

    strategy: str
    source_sha256: str
    interval: str
    candles: int
    others: list[str] = field(default_factory=list)
    futures: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}


def check_strategy(
    name: str,
    params: Mapping[str, object] | None = None,
    source: str = "",
    *,
    interval: str = "1h",
    candles: Sequence[Candle] | None = None,
) -> CheckResult:
    """Try the strategy on ``candles``, by default on made-up ones of ``interval``.

    Raises BadInput when it cannot be loaded at all. Changes the process's clock for moments: run it in one of its own
    wherever anything else depends on that.
    """
    check = _Check(name, dict(params or {}), source, interval, candles)
    try:
        check.all()
    except StrategyFailed as error:
        check.find("failed", error.message)
    return check.result


class _Check:
    """The trials of one strategy. Each runs the file's text anew, unless it is about what that would hide."""

    def __init__(
        self, name: str, params: dict[str, object], source: str, interval: str, candles: Sequence[Candle] | None
    ) -> None:
        self.name, self.params, self.source = name, params, source
        with watching(name) as opened:
            first = fresh_strategy(name, params, source)
        self.opened: list[Opened] = opened
        self.text = source or first.source
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        interval = parse_interval(candles[0].interval if candles else interval).name
        self.history, self.base, others = _reach(first, interval, candles[0].interval if candles else None)
        # As plain tuples: a strategy that looks for candles in memory must find those of its own run alone.
        self.packed: list[tuple[Any, ...]] | None = [tuple(item) for item in candles] if candles else None
        own_ms, base_ms = (parse_interval(name).typical_ms for name in (interval, self.base))
        count = min(max(_LEAST, self.history + 200), _MOST)
        self.count = len(candles) if candles else min(count * own_ms // base_ms, _MOST_BASE)
        self.warmup, self.has_state = first.warmup, first.step is not None
        self.result = CheckResult(name, digest, interval, 0, others)
        self.result.candles = len(self.series().own)
        self.truth: list[Signal] = []
        self.ahead_s = LATER_S[0]

    def all(self) -> None:
        self.read_text()
        with watching(self.name) as opened:
            used = self.fresh()
            self.truth = run(used, self.series())
        for item in dict.fromkeys((*self.opened, *opened)):
            self.find("file", f"it opens {item.what}", line=item.line)
        if not any(signal.status == "ready" for signal in self.truth):
            self.result.notes.append(self.why_silent(used))
        if self.differs_twice():
            return
        self.remembers(used)
        self.other_futures()
        self.other_market()
        self.restarts()
        self.warm_up()

    def why_silent(self, used: Strategy) -> str:
        untried = ", ".join(name for name in used.other_intervals([self.result.interval]) if name not in self.tried)
        why = f"It reads {untried} candles, which are not tried here" if untried else "It never had all of its numbers"
        return f"{why}: no signal of it was judged, only its text."

    def fresh(self) -> Strategy:
        return fresh_strategy(self.name, self.params, self.source)

    @property
    def tried(self) -> tuple[str, ...]:
        return self.result.interval, *self.result.others

    def candles(self) -> list[Candle]:
        """What everything is made of: candles of the widest interval that all that are read are folded from."""
        if self.packed is not None:
            return [Candle(*item) for item in self.packed]
        return made_up(self.count, self.base)

    def series(self, candles: list[Candle] | None = None) -> Series:
        return series_of(self.candles() if candles is None else candles, self.result.interval, self.result.others)

    def read_text(self) -> None:
        for spot in reaches(self.source) if self.source else ():
            self.find("outside", f"it {spot.what}", line=spot.line)

    def differs_twice(self) -> bool:
        found = difference(self.truth, run(self.fresh(), self.series()))
        what, kind, again = "two runs over the same candles differ", "chance", self.trace
        for self.ahead_s in LATER_S if found is None else ():
            with other_time(self.ahead_s):
                found = difference(self.truth, run(self.fresh(), self.series()))
            what, kind = "at another time of day, or with other chances, it says something else", "clock"
            again = self.trace_later
            if found is not None:
                break
        if found is None:
            return False
        number = found.number
        line = self.line_of(lambda: self.trace(number), lambda: again(number)) or self.reach()
        self.differ(kind, what, found, line)
        return True

    def remembers(self, used: Strategy) -> None:
        found = difference(self.truth, run(used, self.series()))
        if found is not None:
            line = self.remembering_line() or self.line_of(
                lambda: self.trace(found.number), lambda: traced(used, self.series(), found.number)
            )
            self.differ("memory", "a second run in the same process knows what the first one saw", found, line)

    def other_futures(self) -> None:
        cuts = self.cuts()
        self.result.futures = len(cuts)
        for cut in cuts:
            altered = self.series(self.altered(cut))
            found = difference(self.truth, run(self.fresh(), altered, cut))
            if found is not None:
                line = self.line_of(
                    lambda: self.trace(found.number),  # noqa: B023 - called before the loop goes on
                    lambda: traced(self.fresh(), altered, found.number),  # noqa: B023
                )
                what = f"it looks ahead: what comes after candle {cut} changes what it says of candle {found.number}"
                self.differ("future", what, found, line)
                return

    def altered(self, cut: int) -> list[Candle]:
        """The candles with another future after the own candle ``cut``."""
        base = self.candles()
        at_ms = self.truth[cut].close_time_ms
        return other_future(base, sum(item.close_time_ms <= at_ms for item in base) - 1, seed=cut + 1_000)

    def warmed(self) -> int:
        """How many candles it wants before it says something."""
        ready = (number for number, signal in enumerate(self.truth) if signal.status == "ready")
        return max(self.warmup, next(ready, 0))

    def cuts(self) -> list[int]:
        """Candles after which the future is changed: from warm-up to the end, and some in a row."""
        count, first = self.result.candles, min(self.warmed(), self.result.candles - 2)
        wanted = max(20, min(60, 2 * _EFFORT // self.count))
        spread = {first + (count - 2 - first) * n // wanted for n in range(wanted)}
        middle = (first + count) // 2
        return sorted(spread | {n for n in range(middle, middle + _IN_A_ROW) if n < count - 1})

    def other_market(self) -> None:
        base = self.candles()
        # The other market's candles close at the same times.
        others = [
            item._replace(**_times(own), market="check:ETHUSDT")
            for item, own in zip(made_up(len(base), "1h", 7), base, strict=True)
        ]
        found = difference(self.truth, interleaved(self.fresh(), self.series(base), self.series(others)))
        if found is not None:
            what = "beside another market it says something else: it remembers outside of its state"
            self.differ("memory", what, found, self.remembering_line())

    def restarts(self) -> None:
        if self.history + 2 >= self.result.candles:
            self.result.notes.append(
                f"It wants {self.history} candles of history, more than were tried: what a restart does is not known."
            )
            return
        for share in (0.0, 0.5, 0.9):
            at = self.history + int((self.result.candles - self.history - 1) * share)
            found = difference(self.truth[at:], restarted(self.fresh(), self.fresh(), self.series(), at), at)
            if found is None:
                continue
            if found.feature:
                what = f"after a restart it differs: {self.history} candles of history are not enough"
                self.differ("warm-up", what, found, None)
            else:
                what = "after a restart it says something else: it remembers outside of its state"
                self.differ("memory", what, found, self.remembering_line())
            return

    def warm_up(self) -> None:
        """Say for how long after the warm-up signals still depend on where the history begins."""
        begin = self.result.candles // 3
        later = run(self.fresh(), self.series().begin_at(begin))
        ready = [n for n, signal in enumerate(later) if signal.status == "ready"]
        apart = [n for n in ready if not _agree(self.truth[begin + n], later[n], targets=not self.has_state)]
        if not ready or not apart:
            return
        self.result.notes.append(
            f"A longer history changes its numbers until {apart[-1] + 1} candles were seen, though it speaks after"
            f" {ready[0] + 1}: averages that never forget do that. Manta gives it {self.history} before it trades"
            " where there are as many."
        )

    def trace(self, number: int) -> list[Step]:
        return traced(self.fresh(), self.series(), number)

    def trace_later(self, number: int) -> list[Step]:
        with other_time(self.ahead_s):
            return self.trace(number)

    def remembering_line(self) -> tuple[int, str] | None:
        spots = memories(self.source) if self.source else []
        return (spots[0].line, spots[0].what) if spots else None

    def reach(self) -> tuple[int, str] | None:
        """Where the text reaches outside, if it says so."""
        spots = reaches(self.source) if self.source else []
        return (spots[0].line, f"it {spots[0].what}") if spots else None

    def line_of(self, one: Callable[[], list[Step]], other: Callable[[], list[Step]]) -> tuple[int, str] | None:
        if not self.source:
            return None
        found = first_difference(one(), other())
        if found is None:
            return None
        line, function, mine, theirs = found
        return line, f"in {function}, {mine} becomes {theirs}" if mine else f"in {function}"

    def differ(self, kind: str, what: str, found: Difference, line: tuple[int, str] | None) -> None:
        at = datetime.fromtimestamp(found.close_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        part = f"feature {found.feature}" if found.feature else found.part
        text = f"{what} (closed {at} UTC: {part} {found.one} becomes {found.other})"
        if line is not None:
            text += f"; {line[1]}"
        self.find(kind, text, line=line[0] if line else None, feature=found.feature, time_ms=found.close_time_ms)

    def find(
        self, kind: str, text: str, *, line: int | None = None, feature: str = "", time_ms: int | None = None
    ) -> None:
        self.result.findings.append(Finding(kind, text, line, feature, time_ms))


def _reach(strategy: Strategy, interval: str, given: str | None) -> tuple[int, str, list[str]]:
    """Candles of ``interval`` that a restart wants, what to fold everything from, and the other intervals of that.

    What is folded from is ``given``, where candles are given, and then only the intervals that they add up to.
    """
    others = list(strategy.other_intervals([interval]))
    if given is not None:
        others = [name for name in others if common_width((given, name)) == given]
    width_ms = parse_interval(interval).typical_ms
    history = strategy.history_of(interval)
    for name, candles in strategy.histories(interval).items():
        if name in others:
            # One more, because the first may be cut.
            history = max(history, -(-(candles + 1) * parse_interval(name).typical_ms // width_ms))
    return history, given or (common_width((interval, *others)) if others else interval), others


def _times(candle: Candle) -> dict[str, Any]:
    return {"interval": candle.interval, "open_time_ms": candle.open_time_ms, "close_time_ms": candle.close_time_ms}


def _agree(one: Signal, other: Signal, *, targets: bool) -> bool:
    return one.features == other.features and (not targets or one.target == other.target)
