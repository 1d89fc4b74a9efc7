"""The sets of parameters that a sweep may try, by number, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, islice, product
from math import prod

from backtest.sweep.evaluator import Number
from trading.errors import BadInput
from trading.parameters import read_params
from trading.strategies.registry import STRATEGIES, find_module, load_strategy

__all__ = ["Space"]

_SAMPLE = 256


class Space:
    """All combinations of ``axes`` over ``base``; the last axis changes fastest, so neighbours share the others.

    Making one raises BadInput for an axis without values, an unknown parameter, or a value outside its range.
    """

    def __init__(
        self, strategy: str, base: Mapping[str, Number], axes: Mapping[str, Sequence[Number]], source: str = ""
    ) -> None:
        self.axes = {name: list(values) for name, values in axes.items()}
        self._strategy, self._base, self._source = strategy, dict(base), source
        self.count = prod(len(values) for values in self.axes.values()) if self.axes else 0
        if not self.count:
            raise BadInput(
                "The grid has 0 combinations.",
                field="grid",
                value=0,
                fix="Give at least one value to at least one parameter, such as period=20:60:10.",
            )
        self._check_ranges()

    def places(self, number: int) -> list[int]:
        """The place on each axis of combination ``number``."""
        found = []
        for values in reversed(self.axes.values()):
            number, place = divmod(number, len(values))
            found.append(place)
        return found[::-1]

    def at(self, places: Sequence[int]) -> dict[str, Number]:
        """The parameters at these places."""
        chosen = {name: values[at] for (name, values), at in zip(self.axes.items(), places, strict=True)}
        return {**self._base, **chosen}

    def params(self, number: int) -> dict[str, Number]:
        return self.at(self.places(number))

    def searched(self, params: Mapping[str, Number]) -> dict[str, Number]:
        """Of ``params`` those that differ from one combination to the other."""
        return {name: params[name] for name in self.axes}

    def refusal(self, params: Mapping[str, Number]) -> BadInput | None:
        """Why the strategy does not take ``params`` together, such as a fast average that is slower than the slow."""
        try:
            load_strategy(self._strategy, params, self._source)
        except BadInput as error:
            return error
        return None

    def accepted_sample(self) -> list[dict[str, Number]]:
        """Some that the strategy takes, the corners among them; BadInput, the first refusal, if it takes none of many.

        The set that needs the most history is at a corner, since more history is what a longer period means.
        """
        ends = product(*((0, len(values) - 1) for values in self.axes.values()))
        corners = [self.at(places) for places in islice(ends, _SAMPLE)]
        evenly = (self.params(n * self.count // _SAMPLE) for n in range(min(_SAMPLE, self.count)))
        found: list[dict[str, Number]] = []
        first: BadInput | None = None
        for params in chain(corners, evenly if self.count > _SAMPLE else map(self.params, range(self.count))):
            refused = self.refusal(params)
            if refused is None:
                found.append(params)
            first = first or refused
        if not found and first is not None:
            raise first
        return found

    def _check_ranges(self) -> None:
        """Each value by itself: what is outside a range is a mistake, and not merely a set to leave out."""
        module = find_module(self._strategy, self._source)
        entry = STRATEGIES.get(self._strategy)
        defaults = entry.defaults if entry is not None and not self._source else {}
        first = {name: values[0] for name, values in self.axes.items()}
        for name, values in self.axes.items():
            for value in values:
                given = {**self._base, **first, name: value}
                read_params(f"Strategy {self._strategy}", module.Params, module.RANGES, given, defaults)
