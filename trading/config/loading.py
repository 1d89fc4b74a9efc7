"""From ``manta.yaml`` and ``MANTA__…`` variables to a Config, or to one paragraph for each mistake."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trading.config.keys import allowed, children, plain_type, step
from trading.config.model import Config, DiscordChannel
from trading.config.secrets import MASK, Redactor, environment_secret
from trading.config.yaml_file import Document, parse_value, parse_yaml
from trading.errors import BadInput, ConfigError
from trading.features.registry import load_feature
from trading.parameters import nearest
from trading.strategies.folder import own_names, own_source
from trading.strategies.registry import STRATEGIES, check_entries, load_strategy

__all__ = [
    "CONFIG_NAME",
    "InvalidConfig",
    "Problem",
    "config_path",
    "data_dir",
    "default_config",
    "default_text",
    "effective",
    "json_schema",
    "load_config",
    "parse_config",
    "require_secrets",
    "strategies_folder",
]

CONFIG_NAME = "manta.yaml"
PREFIX = "MANTA__"
_REDACTOR = Redactor()
_SHOWN = 120

Path_ = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: ``key`` as a dotted path, ``value`` as given (masked if it looks like a secret), where it stands."""

    key: str
    value: str | None
    message: str
    fix: str
    where: str

    def __str__(self) -> str:
        return f"{self.key or 'The configuration'} ({self.where}): {self.message} {self.fix}".rstrip()


class InvalidConfig(ConfigError):
    """The configuration has mistakes: ``problems`` lists them all, the message has a paragraph for each."""

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__("\n\n".join(map(str, problems)), field=first.key or None, value=first.value)
        self.problems = tuple(problems)


def config_path(option: Path | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The file to use: the option, else MANTA_CONFIG, else ``manta.yaml`` in the current folder, else None."""
    if option is not None:
        return option
    if named := (environ or {}).get("MANTA_CONFIG", "").strip():
        return Path(named)
    here = Path.cwd() / CONFIG_NAME
    return here if here.is_file() else None


def data_dir(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Where run-time state lives: MANTA_DATA_DIR, else ``var`` beside the configuration file, else in this folder."""
    if named := environ.get("MANTA_DATA_DIR", "").strip():
        return Path(named).expanduser().absolute()
    path = config_path(option, environ)
    return (path.absolute().parent if path is not None else Path.cwd()) / "var"


def default_text() -> str:
    """The documented ``manta.yaml`` that is used when there is no file."""
    return resources.files("trading.config").joinpath(CONFIG_NAME).read_text(encoding="utf-8")


def load_config(option: Path | None, environ: Mapping[str, str]) -> Config:
    """The configuration of the file that ``config_path`` finds, else the documented defaults, under all overrides.

    Raises ConfigError: InvalidConfig when the file could be read and its content is wrong.
    """
    path = config_path(option, environ)
    if path is None:
        return default_config(environ)
    return parse_config(_read(path), str(path), environ, path.absolute().parent)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.", field=str(path), fix="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            field="config",
            value=str(path),
            fix="Give the path of a manta.yaml, or none at all for the defaults.",
        ) from error


def strategies_folder(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Where the user's own strategies lie, also while one of them, or another key, has a mistake."""
    path = config_path(option, environ)
    document = parse_yaml(default_text() if path is None else _read(path), str(path))
    if not isinstance(document.data, dict):
        document.data = {}
    _apply_overrides(document, environ)
    named = document.data.get("strategies_folder")
    folder = Path(named if isinstance(named, str) else Config.model_fields["strategies_folder"].default)
    return (Path.cwd() if path is None else path.absolute().parent) / folder.expanduser()


def default_config(environ: Mapping[str, str] | None = None) -> Config:
    """The documented defaults under the overrides in ``environ``, whatever files there are."""
    return parse_config(default_text(), "the default manta.yaml", environ or {})


def effective(config: Config) -> dict[str, Any]:
    """Every key with its value in force, as plain data that is itself a valid configuration."""
    return config.model_dump(mode="json")


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``manta.yaml``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def parse_config(text: str, name: str, environ: Mapping[str, str], base: Path | None = None) -> Config:
    """Like ``load_config`` for the text of a file called ``name`` in the folder ``base``, by default this one."""
    document = parse_yaml(text, name)
    if document.data is None:
        document.data = {}
    if not isinstance(document.data, dict):
        raise ConfigError(f"{name} holds no keys.", field=name, fix="Begin with a key such as `markets:`.")
    sources, problems = _apply_overrides(document, environ)
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        raise InvalidConfig(problems + _explain(error, document, sources)) from None
    folder = (base or Path.cwd()) / config.strategies_folder.expanduser()
    config, wrong = _own_strategies(config, folder)
    problems += [_bad(error, ("strategies", number), document, sources) for number, error in wrong]
    problems += _check_names(config, folder, document, sources, {number for number, _ in wrong})
    if problems:
        raise InvalidConfig(problems)
    return config


def require_secrets(config: Config, environ: Mapping[str, str]) -> None:
    """ConfigError when a configured channel lacks its secret."""
    for name, channel in config.notify.channels.items():
        if isinstance(channel, DiscordChannel):
            url = environment_secret(environ, "DISCORD_WEBHOOK_URL").reveal()
            if not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
                raise ConfigError(
                    f"notify.channels.{name} needs the webhook's address in DISCORD_WEBHOOK_URL"
                    f"{', which is no https:// address' if url else ''}.",
                    field="DISCORD_WEBHOOK_URL",
                    fix=f"Set it (Discord: channel settings, Integrations, Webhooks) or remove notify.channels.{name}.",
                )


def _apply_overrides(document: Document, environ: Mapping[str, str]) -> tuple[dict[Path_, str], list[Problem]]:
    """Put every MANTA__A__B into the document; returns which variable each path came from, and what was refused."""
    sources: dict[Path_, str] = {}
    problems = []
    names = [name for name in environ if name.startswith(PREFIX)]
    for name in sorted(names, key=lambda item: (item.count("__"), item)):
        parts = [part.lower() for part in name.removeprefix(PREFIX).split("__")]
        try:
            sources[_put(document, parts, environ[name])] = name
        except ValueError as error:
            message, _, fix = str(error).partition(" Fix: ")
            problems.append(Problem(".".join(parts), _shown(environ[name]), message, fix, f"from {name}"))
    return sources, problems


def _put(document: Document, parts: list[str], text: str) -> Path_:
    annotation: Any = Config
    holder: Any = document.data
    path: Path_ = ()
    for depth, part in enumerate(parts):
        below = step(annotation, part)
        if below is None:
            known = children(annotation)
            raise ValueError(f"there is no key {part!r} here. Fix: {nearest(part, tuple(known))}")
        key: str | int = part
        if isinstance(holder, list):
            key = _index(holder, part)
        elif not isinstance(holder, dict):
            raise ValueError(f"{'.'.join(parts[:depth])} is no section. Fix: Set it as a whole.")
        path, annotation = (*path, key), below
        if depth == len(parts) - 1:
            holder[key] = _read_value(text, annotation)
        else:
            if isinstance(holder, dict) and holder.get(part) is None:
                holder[part] = [] if plain_type(below)[0] is tuple else {}
            holder = holder[key]
    return path


def _index(items: list[Any], part: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if part in names:
        return names.index(part)
    if part.isascii() and part.isdigit() and int(part) < len(items):
        return int(part)
    listed = ", ".join(str(name) for name in names if name) or f"0 to {len(items) - 1}" if items else "(none)"
    raise ValueError(f"there is no entry {part!r} here. Fix: Use one of: {listed}.")


def _read_value(text: str, annotation: Any) -> Any:
    if plain_type(annotation)[0] is str:
        return text
    try:
        return parse_value(text)
    except ValueError as error:
        raise ValueError(f"{error} Fix: Write it as YAML or JSON, such as 5, text or [37m, 1d].") from None


def _explain(error: ValidationError, document: Document, sources: Mapping[Path_, str]) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        path, annotation = _walk(detail["loc"], document.data)
        problem = _problem(detail, path, annotation, document, sources)
        # A union reports each of its members; one paragraph for a key is enough.
        problems.setdefault(problem.key or problem.message, problem)
    return list(problems.values())


def _walk(loc: tuple[int | str, ...], data: Any) -> tuple[Path_, Any]:
    """The path of ``loc`` in the file, without pydantic's names of choices, and the type that stands there."""
    path: Path_ = ()
    annotation: Any = Config
    for part in loc:
        if isinstance(data, dict) and (part in data or part in children(annotation)):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path = (*path, part)
        annotation = step(annotation, str(part)) if annotation is not None else None
    return path, annotation


def _problem(
    detail: ErrorDetails, path: Path_, annotation: Any, document: Document, sources: Mapping[Path_, str]
) -> Problem:
    key = _dotted(path, document.data)
    kind, value = detail["type"], detail.get("input")
    where = _where(path, document, sources)
    shown = None if isinstance(value, dict | list) else _shown(value, str(path[-1]) if path else "")
    if kind == "extra_forbidden":
        known = tuple(children(_walk(path[:-1], document.data)[1] if path[:-1] else Config))
        return Problem(key, shown, "is not a key that Manta knows.", nearest(str(path[-1]), known), where)
    if kind == "missing":
        return Problem(
            key, None, "is missing.", f"Add it: {allowed(annotation) or 'see docs/configuration.md'}.", where
        )
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        kinds = "log or discord"
        return Problem(key, shown, "has no known kind.", f"Give it `kind:` with {kinds}.", where)
    if kind == "value_error":
        message = _REDACTOR.text(detail["msg"].removeprefix("Value error, "))
        return Problem(key, shown, message + ("" if message.endswith(".") else "."), "", where)
    if detail["loc"][-1:] == ("[key]",):
        return Problem(key, None, f"the name {value!r} cannot be used.", "Use small letters, digits, _ and -.", where)
    words = allowed(annotation) if annotation is not None else ""
    fix = f"Allowed: {words}." if words else f"{detail['msg']}."
    return Problem(key, shown, f"cannot be {_given(value, shown)}.", fix, where)


def _given(value: Any, shown: str | None) -> str:
    if value is None:
        return "empty"
    return shown if shown is not None else ("a section with keys" if isinstance(value, dict) else "a list")


def _dotted(path: Path_, data: Any) -> str:
    """``path`` with a list item called by its name where it has one."""
    words = []
    for part in path:
        item = data[part] if isinstance(data, list) and isinstance(part, int) else None
        data = item if isinstance(data, list) else data.get(part) if isinstance(data, dict) else None
        words.append(str(item.get("name", part)) if isinstance(item, dict) else str(part))
    return ".".join(words)


def _where(path: Path_, document: Document, sources: Mapping[Path_, str]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in sources:
            return f"from {sources[path[:length]]}"
    line = document.line(path)
    return f"{document.name}, line {line}" if line is not None else document.name


def _shown(value: Any, key: str = "") -> str:
    text = str(value)
    masked = _REDACTOR.data({key: text})[key] if key else _REDACTOR.text(text)
    if not isinstance(value, str) or masked == MASK:
        return str(masked)[:_SHOWN]
    return repr(masked if len(masked) <= _SHOWN else f"{masked[:_SHOWN]}…")


def _own_strategies(config: Config, folder: Path) -> tuple[Config, list[tuple[int, BadInput]]]:
    """``config`` with the text of each strategy that is the user's own; and which instances' files are unfit."""
    wrong = []
    found = list(config.strategies)
    for number, instance in enumerate(found):
        try:
            source = own_source(folder, instance.strategy, STRATEGIES)
        except BadInput as error:
            wrong.append((number, error))
            continue
        if source:
            found[number] = instance.model_copy(update={"source": source})
    return config.model_copy(update={"strategies": tuple(found)}), wrong


def _check_names(
    config: Config, folder: Path, document: Document, sources: Mapping[Path_, str], skip: Container[int]
) -> list[Problem]:
    """Strategies, features and their parameters, which only the registries know."""
    problems = []
    for number, instance in enumerate(config.strategies):
        if number in skip:
            continue
        try:
            strategy = load_strategy(instance.strategy, instance.params, instance.source, own_names(folder))
            check_entries(strategy, instance.entries)
        except BadInput as error:
            problems.append(_bad(error, ("strategies", number), document, sources))
    for number, spec in enumerate(config.features):
        try:
            load_feature(spec.kind, spec.params, spec.output)
        except BadInput as error:
            problems.append(_bad(error, ("features", number), document, sources))
    return problems


def _bad(error: BadInput, path: Path_, document: Document, sources: Mapping[Path_, str]) -> Problem:
    section = "entries" if error.field in ("order_type", "expires_candles") else "params"
    leaf: Path_ = (error.field,) if error.field in ("strategy", "kind", "output") else (section, error.field or "")
    full = (*path, *leaf)
    return Problem(
        _dotted(full, document.data),
        None if error.value is None else _shown(error.value),
        error.message,
        error.fix or "",
        _where(full, document, sources),
    )
