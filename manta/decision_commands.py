"""``manta decisions``: why one came out as it did. Each verb is thin."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from manta.options import AsJson, ConfigPath, parse_time
from manta.output import finish, guarded

__all__ = ["app"]

app = typer.Typer(help="Decisions, and why they came out as they did.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps the verb's name although it is the only one."""


@app.command("explain")
def decisions_explain(
    decision_id: Annotated[str | None, typer.Argument(help="As the API, an order or a message names it.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Instead: those of the newest close at or before this UTC time.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="With --at: only of this one, such as binance:BTCUSDT.")] = None,
    interval: Annotated[str | None, typer.Option(help="With --at: only of these candles, such as 37m.")] = None,
    book: Annotated[str | None, typer.Option(help="With --at: of this book; default: all but backtests'.")] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Print what a decision saw, each condition, how sure it was, what the gate said, and its orders and fills."""
    from manta.decisions import Moment, explain_at, explain_id, explained_words
    from trading.errors import BadInput

    def work() -> dict[str, Any]:
        if (decision_id is None) == (at is None):
            raise BadInput(
                "Which decision?", field="decision_id", value=decision_id, fix="Give either its id or --at TIME."
            )
        if at is not None:
            return explain_at(Moment(parse_time(at, "at"), market, interval, book), config)
        for name, value in (("market", market), ("interval", interval), ("book", book)):
            if value is not None:
                raise BadInput(
                    f"--{name} goes with --at: an id says all.", field=name, value=value, fix=f"Leave out --{name}."
                )
        return explain_id(decision_id or "", config)

    result = guarded(work, as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else explained_words(result))
