"""``manta cluster``: more machines for sweeps. Each verb is thin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manta.options import AsJson, ConfigPath
from manta.output import finish, guarded

__all__ = ["app"]

app = typer.Typer(help="More machines for sweeps: join, see, leave.", no_args_is_help=True)


@app.command("join")
def cluster_join(
    address: Annotated[str, typer.Argument(help="The head's ray.listen, with ray.port if that is not 6399.")],
    token_file: Annotated[
        Path | None, typer.Option(help="File of mode 0600 with the token; default: as RAY_AUTH_TOKEN_PATH says.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, max=1024, help="CPUs to lend; default: all.")] = None,
    object_store_mb: Annotated[int, typer.Option(min=80, max=65_536, help="Shared memory for candles, in MB.")] = 512,
    as_json: AsJson = False,
) -> None:
    """Lend this machine to the head at ADDRESS until Ctrl-C. It takes tasks of sweeps, never anything that trades."""
    from manta.cluster_join import JoinOptions, join

    result = guarded(lambda: join(JoinOptions(address, token_file, cpus, object_store_mb)), as_json=as_json)
    finish(result, as_json=as_json, words="left")


@app.command("show")
def cluster_show(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """The machines that work for the Manta which runs here, and those that left."""
    from manta.cluster_view import nodes_words, show_nodes

    result = guarded(lambda: show_nodes(config), as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else nodes_words(result))


@app.command("token")
def cluster_token(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Print the token that a PC needs to join; who has it can run anything here, so keep it as you keep a password."""
    from manta.cluster_view import show_token

    result = guarded(lambda: show_token(config), as_json=as_json)
    finish(result, as_json=as_json, words=None if as_json else result["token"])
