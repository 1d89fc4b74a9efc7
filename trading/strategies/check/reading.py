"""What the text of a strategy gives away: calls that reach outside its candles, and things it remembers in."""

from __future__ import annotations

import ast
from typing import NamedTuple

__all__ = ["Spot", "memories", "reaches"]

_CLOCK, _CHANCE, _FILE, _OUTSIDE, _INSIDE = (
    "reads a clock", "draws by chance", "reads a file", "reaches outside of its candles",
    "looks into the running program",
)  # fmt: skip
_CALLS = {
    "time": _CLOCK, "datetime.datetime.now": _CLOCK, "datetime.datetime.utcnow": _CLOCK,
    "datetime.datetime.today": _CLOCK, "datetime.date.today": _CLOCK, "random": _CHANCE, "secrets": _CHANCE,
    "uuid": _CHANCE, "numpy.random": _CHANCE, "os.urandom": _CHANCE, "id": _CHANCE, "open": _FILE, "io.open": _FILE,
    "numpy.load": _FILE, "numpy.loadtxt": _FILE, "numpy.genfromtxt": _FILE, "pandas.read_csv": _FILE,
    "pandas.read_parquet": _FILE, "trading.candle_files": _FILE, "os.environ": _OUTSIDE, "os.getenv": _OUTSIDE,
    "socket": _OUTSIDE, "urllib": _OUTSIDE, "http": _OUTSIDE, "requests": _OUTSIDE, "aiohttp": _OUTSIDE,
    "asyncpg": _OUTSIDE, "sqlite3": _OUTSIDE, "subprocess": _OUTSIDE, "threading": _OUTSIDE,
    "multiprocessing": _OUTSIDE, "gc": _INSIDE, "inspect": _INSIDE, "sys._getframe": _INSIDE, "sys.modules": _INSIDE,
    "ctypes": _INSIDE, "eval": _INSIDE, "exec": _INSIDE, "__import__": _INSIDE, "importlib": _INSIDE,
    "globals": _INSIDE,
}  # fmt: skip
_CHANGES = frozenset({"append", "add", "update", "extend", "insert", "setdefault", "pop", "popleft", "appendleft",
                      "clear", "remove"})  # fmt: skip
_CHANGEABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MAKERS = frozenset({"list", "dict", "set", "deque", "defaultdict", "Counter", "OrderedDict"})


class Spot(NamedTuple):
    """A line of the text, and what is wrong with it."""

    line: int
    what: str


def reaches(source: str) -> list[Spot]:
    """Calls and names of modules that a strategy has no use for, each line once."""
    tree = ast.parse(source)
    names = _imports(tree)
    found: dict[int, Spot] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Name):
            continue
        path = _path(node, names)
        if isinstance(node, ast.Name) and node.id not in names and not _is_called(node, tree):
            continue
        for begin, what in _CALLS.items():
            if path == begin or path.startswith(f"{begin}."):
                found.setdefault(node.lineno, Spot(node.lineno, f"{what} ({path})"))
    return sorted(found.values())


def memories(source: str) -> list[Spot]:
    """Where functions change what outlives them: globals, objects of the module, and mutable defaults."""
    tree = ast.parse(source)
    shared = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.Lambda):
            continue
        defaults = [item for item in (*function.args.defaults, *function.args.kw_defaults) if item is not None]
        if any(_is_changeable(item) for item in defaults):
            found.append(Spot(function.lineno, "a default value that all calls share"))
        for node in ast.walk(function):
            name = _changed(node)
            if isinstance(node, ast.Global | ast.Nonlocal):
                found.append(Spot(node.lineno, f"{', '.join(node.names)} outlives the call"))
            elif name in shared:
                found.append(Spot(node.lineno, f"{name} outlives the call"))  # type: ignore[attr-defined]
    return sorted(set(found))


def _imports(tree: ast.Module) -> dict[str, str]:
    """Name in the file → what was imported under it."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.partition(".")[0]
                found[item.asname or top] = item.name if item.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                found[item.asname or item.name] = f"{node.module}.{item.name}"
    return found


def _path(node: ast.expr, names: dict[str, str]) -> str:
    parts: list[str] = []
    at: ast.expr = node
    while isinstance(at, ast.Attribute):
        parts.append(at.attr)
        at = at.value
    if not isinstance(at, ast.Name):
        return ""
    return ".".join((names.get(at.id, at.id), *reversed(parts)))


def _is_called(name: ast.Name, tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Call) and node.func is name for node in ast.walk(tree))


def _is_changeable(node: ast.expr) -> bool:
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS
    return made or isinstance(node, _CHANGEABLE)


def _changed(node: ast.AST) -> str:
    """The name whose object ``node`` changes in place; empty for none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
        return _root(node.func.value)
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Subscript | ast.Attribute):
                return _root(target.value)
    return ""


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
