"""The reference of all keys, made from the model: ``python -m trading.config.document > docs/configuration.md``."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trading.config.keys import allowed, children, keys_of
from trading.config.model import Config
from trading.config.secrets import SECRET_NAMES

__all__ = ["document"]

_INTRO = """# Configuration

`manta.yaml` in the folder you start Manta from, or another file with `--config` or `MANTA_CONFIG`; without any file,
the defaults that the repository's own [manta.yaml](../manta.yaml) documents. A key that is not listed here is refused.
`manta config check` names every mistake with its line and its fix, `manta config show` prints what is in force, and
`manta config schema` the JSON schema. This page is made from the program.

## Overrides

Every key can be set by a variable: `MANTA__SERVE__PORT=8001` is `serve.port`. Lists and sections are YAML or JSON
(`MANTA__INTERVALS='[37m, 1d]'`); an entry of a list is called by its name (`MANTA__STRATEGIES__MA44__LEVERAGE=2`). An
empty value means none. An unknown key is refused here too.

| variable | meaning |
|---|---|
| `MANTA_CONFIG` | the configuration file |
| `MANTA_DATA_DIR` | database, logs and secrets of this installation; default: `var` beside the configuration file |
| `DB_HOST`, `DB_PORT` 5432, `DB_NAME` btc_data, `DB_USER` btc_bot | a Postgres server; without host the bundled one |
"""

_SECRETS = """
## Secrets

They come from the environment only, never from `manta.yaml`: {names}.
With `_FILE` after the name the variable holds the path of a file with the secret. Manta keeps them in a file of mode
0600 in its data folder and masks them in every log, message and report.

## Keys
"""


def document() -> str:
    """The text of docs/configuration.md."""
    lines = [_INTRO + _SECRETS.format(names=", ".join(f"`{name}`" for name in SECRET_NAMES))]
    lines += ["| key | allowed | default | meaning |", "|---|---|---|---|"]
    for path, field in keys_of(Config):
        if not _is_section(field):
            cells = (f"`{_dotted(path)}`", allowed(_whole(field)), _default(field), field.description or "")
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]")


def _is_section(field: FieldInfo) -> bool:
    return bool(children(field.annotation))


def _whole(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return "none"
    if isinstance(value, dict):
        value = {key: _plain(item) for key, item in value.items()}
        return (
            f"`{json.dumps(value)}`"
            if value and all(len(str(v)) < 40 for v in value.values())
            else (", ".join(f"`{key}`" for key in value) or "none")
        )
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`" if value else "none"
    return f"`{value}`"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


if __name__ == "__main__":
    sys.stdout.write(document())
