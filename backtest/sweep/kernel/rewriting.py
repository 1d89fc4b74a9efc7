"""A strategy's ``step`` in the words that Numba takes: what it means stays what it is.

Numba knows no tuples whose length changes, so those that a step makes of lots become calls of
``backtest.sweep.kernel.lots``:

- ``tuple(lot for lot in state.lots if …)`` becomes a loop, as do ``any`` and ``all`` of such;
- ``(*state.lots, lot)`` becomes an ``append``, and ``for lot in state.lots:`` a loop over places;
- ``State(…)`` and ``state._replace(…)`` become a call that gives every field its one type.

What is not known here is left as it is: Numba refuses it, and the reference engine runs the strategy.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from copy import deepcopy
from types import FunctionType
from typing import Any

__all__ = ["STATE", "rewritten"]

STATE = "State"
_ARENA = "_of_lots"
# Calls whose results are looped over as they are.
_LOOPED = frozenset({"range", "enumerate", "zip"})


def rewritten(step: FunctionType, state: Any, given: dict[str, Any]) -> FunctionType:
    """``step`` for Numba, with ``given`` among its globals: ``State``, and for lots what this module calls.

    Raises TypeError for what cannot be told in other words.
    """
    if step.__closure__ or step.__defaults__:
        raise TypeError(f"{step.__name__} is a closure, or has parameters of its own")
    [found] = ast.parse(textwrap.dedent(inspect.getsource(step))).body
    if not isinstance(found, ast.FunctionDef) or found.decorator_list or len(found.args.args) != 3:
        raise TypeError(f"{step.__name__} is no plain function of three")
    lots = "lots" in state._fields
    name = next((key for key, value in step.__globals__.items() if value is state), STATE)
    first = found.args.args[0].arg
    words = _Words(name, state._fields, lots)
    body = words.block(found.body)
    if lots:
        body = [_assign(_ARENA, ast.Attribute(_name(first), "lots", ast.Load())), *body]
    plain = ast.arguments([], [ast.arg(item.arg) for item in found.args.args], None, [], [], None, [])
    made = ast.Module([ast.FunctionDef(step.__name__, plain, body, [])], [])
    space: dict[str, Any] = {**step.__globals__, **given, name: given[STATE]}
    code = compile(ast.fix_missing_locations(made), step.__code__.co_filename, "exec")
    exec(code, space)  # noqa: S102 - the strategy's own text, which runs anyway
    function: FunctionType = space[step.__name__]
    return function


class _Words(ast.NodeTransformer):
    """Rewrites expressions; statements that have to come before one are gathered in ``before``."""

    def __init__(self, state: str, fields: tuple[str, ...], lots: bool) -> None:
        self._state, self._fields, self._lots = state, fields, lots
        self._before: list[ast.stmt] = []
        self._count = 0

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [made for item in body for made in self._statement(item)]

    def _statement(self, item: ast.stmt) -> list[ast.stmt]:
        outer, self._before = self._before, []
        if isinstance(item, ast.If):
            item.test = self.visit(item.test)
            before = self._before
            item.body, item.orelse = self.block(item.body), self.block(item.orelse)
            self._before = outer
            return [*before, item]
        if isinstance(item, ast.For):
            if item.orelse:
                raise TypeError("a for with an else")
            iterated = self.visit(item.iter)
            before = self._before
            body = self.block(item.body)
            self._before = outer
            return [*before, *self._looped(item.target, iterated, body)]
        if isinstance(item, ast.While):
            item.test = self.visit(item.test)
            if self._before:
                raise TypeError("a loop whose condition goes through lots")
            item.body, item.orelse = self.block(item.body), self.block(item.orelse)
            self._before = outer
            return [item]
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            item = ast.Assign([item.target], item.value)
        if isinstance(item, ast.Assign | ast.AugAssign | ast.Return | ast.Expr | ast.Raise | ast.Assert):
            item = self.visit(item)
        elif not isinstance(item, ast.Pass | ast.Break | ast.Continue):
            raise TypeError(f"a {type(item).__name__} in a step")
        before, self._before = self._before, outer
        return [*before, item]

    def visit_NamedExpr(self, _node: ast.NamedExpr) -> Any:
        raise TypeError("an assignment within an expression")

    def visit_Call(self, node: ast.Call) -> Any:
        called = node.func
        if isinstance(called, ast.Name) and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            if called.id == "tuple" and self._lots:
                return self._filtered(node.args[0])
            if called.id in {"any", "all"}:
                return self._sought(node.args[0], found=called.id == "any")
        self.generic_visit(node)
        if isinstance(called, ast.Name) and called.id == self._state and self._lots:
            node.args.insert(0, _name(_ARENA))
        if isinstance(called, ast.Attribute) and called.attr == "_replace" and isinstance(called.value, ast.Name):
            return self._replaced(called.value.id, node)
        return node

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        self.generic_visit(node)
        if not self._lots or not any(isinstance(item, ast.Starred) for item in node.elts):
            return node
        made: ast.expr = _call("_no_lots", ast.Attribute(_name(_ARENA), "arena", ast.Load()))
        for place, item in enumerate(node.elts):
            if not isinstance(item, ast.Starred):
                made = _call("_append", made, item)
            else:
                made = (
                    _call("_as_lots", _name(_ARENA), item.value) if place == 0 else _call("_concat", made, item.value)
                )
        return made

    def _replaced(self, name: str, node: ast.Call) -> ast.expr:
        """``state._replace(…)`` as the call that makes the state anew."""
        given = {item.arg: item.value for item in node.keywords}
        if node.args or not given.keys() <= set(self._fields):
            raise TypeError(f"{name}._replace with other fields than those of the state")
        values = [given.get(field, ast.Attribute(_name(name), field, ast.Load())) for field in self._fields]
        return _call(self._state, *([_name(_ARENA)] if self._lots else []), *values)

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"_{what}{self._count}"

    def _looped(self, target: ast.expr, iterated: ast.expr, body: list[ast.stmt]) -> list[ast.stmt]:
        """``for target in iterated`` over the places of what has no iterator."""
        if isinstance(iterated, ast.Call) and isinstance(iterated.func, ast.Name) and iterated.func.id in _LOOPED:
            return [ast.For(target, iterated, body, [])]
        whole, place = self._fresh("all"), self._fresh("place")
        first = ast.Assign([target], ast.Subscript(_name(whole), _name(place), ast.Load()))
        return [
            _assign(whole, iterated),
            ast.For(_name(place, ast.Store()), _call("range", _call("len", _name(whole))), [first, *body], []),
        ]

    def _parts(self, found: ast.GeneratorExp) -> tuple[str, ast.expr, list[ast.expr], ast.expr]:
        """The loop's variable, under a name of its own, what it goes through, its conditions and its value."""
        [source, *more] = found.generators
        if more or source.is_async or not isinstance(source.target, ast.Name):
            raise TypeError("a loop within a loop")
        own = self._fresh("each")
        rename = _Renamed(source.target.id, own)
        return own, source.iter, [rename.visit(item) for item in source.ifs], rename.visit(found.elt)

    def _inner(self, expressions: list[ast.expr]) -> tuple[list[ast.stmt], list[ast.expr]]:
        """``expressions`` rewritten, and what has to come before them within a loop."""
        outer, self._before = self._before, []
        made = [self.visit(item) for item in expressions]
        before, self._before = self._before, outer
        return before, made

    def _filtered(self, found: ast.GeneratorExp) -> ast.expr:
        own, source, conditions, value = self._parts(found)
        plain = isinstance(value, ast.Name) and value.id == own
        iterated = self.visit(source)
        before, [*tests, value] = self._inner([*conditions, value])
        test = _all_of(tests)
        made = self._fresh("lots")
        if not plain:
            self._before.append(_assign(made, _call("_no_lots", ast.Attribute(_name(_ARENA), "arena", ast.Load()))))
            taken = _assign(made, _call("_append", _name(made), value))
            body = [*before, ast.If(test, [taken], [])]
            self._before += self._looped(_name(own, ast.Store()), iterated, body)
            return _name(made)
        # While each is kept nothing is copied.
        whole, place, count = self._fresh("all"), self._fresh("place"), self._fresh("count")
        here = _assign(own, ast.Subscript(_name(whole), _name(place), ast.Load()))
        step_on = ast.AugAssign(_name(place, ast.Store()), ast.Add(), ast.Constant(1))
        dropped = ast.If(ast.UnaryOp(ast.Not(), test), [ast.Break()], [])
        kept = ast.If(
            _copied(test),
            [_assign(made, _call("_append_slot", _name(made), _call("_slot_at", _name(whole), _name(place))))],
            [],
        )
        is_less = ast.Compare(_name(place), [ast.Lt()], [_name(count)])
        self._before += [
            _assign(whole, _call("_as_lots", _name(_ARENA), iterated)),
            _assign(count, _call("len", _name(whole))),
            _assign(place, ast.Constant(0)),
            ast.While(is_less, [here, *before, dropped, step_on], []),
            _assign(made, _name(whole)),
            ast.If(
                _copied(is_less),
                [
                    _assign(made, _call("_head", _name(whole), _name(place))),
                    _copied(step_on),
                    ast.While(_copied(is_less), [_copied(here), *map(_copied, before), kept, _copied(step_on)], []),
                ],
                [],
            ),
        ]
        return _name(made)

    def _sought(self, looked: ast.GeneratorExp, *, found: bool) -> ast.expr:
        """``any`` of a loop if ``found``, else ``all``."""
        own, source, conditions, value = self._parts(looked)
        iterated = self.visit(source)
        before, [*tests, value] = self._inner([*conditions, value])
        answer = self._fresh("answer")
        wanted = value if found else ast.UnaryOp(ast.Not(), value)
        ends = ast.If(_all_of([*tests, wanted]), [_assign(answer, ast.Constant(found)), ast.Break()], [])
        self._before.append(_assign(answer, ast.Constant(not found)))
        self._before += self._looped(_name(own, ast.Store()), iterated, [*before, ends])
        return _name(answer)


class _Renamed(ast.NodeTransformer):
    """Gives the variable of a loop that is an expression a name that nothing else has."""

    def __init__(self, old: str, new: str) -> None:
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self._new, node.ctx) if node.id == self._old else node


def _name(text: str, context: ast.expr_context | None = None) -> ast.Name:
    return ast.Name(text, context or ast.Load())


def _assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([_name(name, ast.Store())], value)


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(_name(name), list(arguments), [])


def _all_of(tests: list[ast.expr]) -> ast.expr:
    if not tests:
        return ast.Constant(True)
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)


def _copied(node: Any) -> Any:
    return deepcopy(node)
