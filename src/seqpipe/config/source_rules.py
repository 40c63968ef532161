"""The rules of arguments, read from the source of a class of this package without importing it.

An import of the class imports torch, which takes seconds, and a value out of its bounds should be
refused at once. `signatures` has the rules of all classes, and imports them; here a rule is read
only where its annotation is written with names of `typing`, `bounds` and `rules`.
"""

import ast
import builtins
import functools
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqpipe.bounds import MADE, rule_of
from seqpipe.config.paths import PACKAGE
from seqpipe.rules import Rule, either, null

_LIGHT = ("typing", "collections.abc", "datetime", "seqpipe.bounds", "seqpipe.rules")
_Defined = ast.ClassDef | ast.FunctionDef
_Argument = tuple[str, ast.expr, ast.expr | None]
"""Name, annotation and default of an argument."""


@functools.cache
def rules_in_source(target: str) -> Mapping[str, Rule]:
    """The rules of the arguments of a class or function, as far as its source tells them.

    Args:
        target: of this package, as in `_target_`.
    """
    module, _, name = target.rpartition(".")
    found = _scope(module).defined(name)
    if found is None:
        return {}
    scope, node = found
    rules: dict[str, Rule] = {}
    made = _constructor(node)
    for base in _bases(node) if made is None else ():  # a dataclass has the arguments of its bases
        if (origin := scope.origin(base)) is not None:
            rules |= rules_in_source(origin)
    for argument, annotation, default in _parameters(made) if made else _fields(node):
        rule = scope.rule(annotation, default)
        rules.pop(argument, None)
        if rule is not None and not _is_no_argument(default):
            rules[argument] = rule
    return rules


def _bases(node: _Defined) -> list[str]:
    """The names of the bases of a class, the last first."""
    bases = node.bases if isinstance(node, ast.ClassDef) else ()
    return [base.id for base in reversed(bases) if isinstance(base, ast.Name)]


def _constructor(node: _Defined) -> ast.FunctionDef | None:
    if isinstance(node, ast.FunctionDef):
        return node
    methods = (one for one in node.body if isinstance(one, ast.FunctionDef))
    return next((one for one in methods if one.name == "__init__"), None)


def _parameters(function: ast.FunctionDef) -> Iterator[_Argument]:
    written = function.args
    plain = [*written.posonlyargs, *written.args]
    missing = [None] * (len(plain) - len(written.defaults))
    defaults = [*missing, *written.defaults, *written.kw_defaults]
    for one, default in zip([*plain, *written.kwonlyargs], defaults, strict=True):
        if one.annotation is not None:
            yield one.arg, one.annotation, default


def _fields(node: _Defined) -> Iterator[_Argument]:
    """Those of a dataclass; other classes without a constructor add no argument."""
    for one in node.body if node.decorator_list else ():
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id, one.annotation, one.value


def _is_no_argument(default: ast.expr | None) -> bool:
    """True for `field(init=False)`."""
    options = default.keywords if isinstance(default, ast.Call) else ()
    return any(one.arg == "init" and ast.unparse(one.value) == "False" for one in options)


class _Scope(Mapping[str, Any]):
    """The names of a module that stand for types and rules; a name of anything else is missing.

    Args:
        module: of this package.
    """

    def __init__(self, module: str) -> None:
        file = Path(*module.split(".")[1:]).with_suffix(".py") if "." in module else Path()
        path = PACKAGE / file
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        self._module = module
        self._defined: dict[str, _Defined] = {}
        self._assigned: dict[str, ast.expr] = {}
        self._imported: dict[str, tuple[str, str]] = {}
        for node in ast.parse(source).body:
            if isinstance(node, _Defined):
                self._defined[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._assigned[node.targets[0].id] = node.value
            elif isinstance(node, ast.ImportFrom) and node.module:
                for one in node.names:
                    self._imported[one.asname or one.name] = (node.module, one.name)

    def __getitem__(self, name: str) -> Any:
        if name in self._assigned:
            return self.value(self._assigned[name])
        if name in self._imported:
            module, imported = self._imported[name]
            if module in _LIGHT:
                return getattr(importlib.import_module(module), imported)
            if module.startswith(f"{PACKAGE.name}."):
                return _scope(module)[imported]
        elif name not in self._defined and hasattr(builtins, name):
            return getattr(builtins, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._assigned, *self._imported))

    def __len__(self) -> int:
        return len(self._assigned) + len(self._imported)

    def defined(self, name: str) -> "tuple[_Scope, _Defined] | None":
        """A class or function, and the scope it is written in."""
        if name in self._defined:
            return self, self._defined[name]
        origin = self.origin(name)
        return None if origin is None else _scope(origin.rpartition(".")[0]).defined(name)

    def origin(self, name: str) -> str | None:
        """The place of a class of this package, as in `_target_`."""
        if name in self._defined:
            return f"{self._module}.{name}"
        module, imported = self._imported.get(name, ("", ""))
        return f"{module}.{imported}" if module.startswith(f"{PACKAGE.name}.") else None

    def value(self, written: ast.expr) -> Any:
        """The value of an expression.

        Raises:
            NameError: it reads a name of anything else.
        """
        code = compile(ast.Expression(written), self._module, "eval")
        return eval(code, {"__builtins__": {}}, self)

    def rule(self, annotation: ast.expr, default: ast.expr | None) -> Rule | None:
        """The rule of an argument; None where its annotation reads other names, or has no rule."""
        try:
            rule = rule_of(self.value(annotation))
        except NameError:
            return None
        if rule is None or rule is MADE:
            return None
        is_null = isinstance(default, ast.Constant) and default.value is None
        return either(rule, null()) if is_null and not rule.accepts(None) else rule


@functools.cache
def _scope(module: str) -> _Scope:
    return _Scope(module)
