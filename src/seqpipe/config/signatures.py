"""The arguments of a `_target_`: of our own classes without importing them, of others by import."""

import ast
import datetime
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import yaml

from seqpipe.config.paths import PACKAGE, conf_dir
from seqpipe.rules import (
    Rule,
    choice,
    either,
    flag,
    list_of,
    mapping_of,
    null,
    or_null,
    real,
    text,
    whole,
)


class TargetError(Exception):
    """A `_target_` that leads nowhere; the message says why."""


@dataclass(frozen=True)
class Signature:
    """What a class or function takes by keyword.

    Args:
        name: as in `_target_`.
        rules: what each parameter may be; None where its annotation says nothing we check.
        required: parameters without a default.
        takes_any: whether it has **kwargs.
    """

    name: str
    rules: dict[str, Rule | None]
    required: frozenset[str] = field(default=frozenset())
    takes_any: bool = False


_MADE = Rule(  # YAML has no word for these
    "what a function of your own makes, as a mapping with _target_",
    lambda value: isinstance(value, dict) and "_target_" in value,
)


def rule_of(annotation: Any) -> Rule | None:
    """The rule a type annotation stands for; None where it stands for none."""
    simple: dict[Any, Callable[[], Rule]] = {
        int: whole,
        float: real,
        bool: flag,
        str: text,
        None: null,
        type(None): null,
    }
    if isinstance(annotation, (type, types.NoneType)) and annotation in simple:
        return simple[annotation]()
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (datetime.timedelta, Callable, typing.Callable) or origin is Callable:
        return _MADE
    if origin is Annotated:
        return next((rule for rule in inner if isinstance(rule, Rule)), rule_of(inner[0]))
    if origin is Literal:
        return choice(*inner)
    if origin in (Union, types.UnionType):
        rules = [rule_of(option) for option in inner]
        known = [rule for rule in rules if rule is not None]
        return either(*known) if len(known) == len(rules) else None
    if origin in (list, Sequence) or (origin is tuple and inner[1:] == (...,)):
        return list_of(rule_of(inner[0]))
    if origin is tuple:
        return list_of(rule_of(inner[0]), length=len(inner))
    if origin in (dict, Mapping):
        return mapping_of(rule_of(inner[1]))
    return None


def signature_of(target: str) -> Signature:
    """The signature behind a `_target_`.

    Raises:
        TargetError: there is no such class or function, or its module cannot be imported.
    """
    if target.split(".")[0] == PACKAGE.name:
        return written_signature(target)
    return _imported_signature(target)


def class_attribute(target: str, name: str) -> Any:
    """A plain class attribute of a `_target_`, its bases included; None where there is none.

    Raises:
        TargetError: as `signature_of`.
    """
    if target.split(".")[0] == PACKAGE.name:
        return written_attribute(target, name)
    return getattr(_imported(target), name, None)


@functools.cache
def _imported(target: str) -> Any:
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise TargetError("it must be written module.Class")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except AttributeError:
        raise TargetError(f"{module_name} has no {name}") from None
    except (Exception, SystemExit) as error:  # the user's module may fail in any way
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise TargetError(f"{module_name} cannot be imported: {reason}") from error
    if not callable(found):
        raise TargetError(f"{name} cannot be called")
    return found


@functools.cache
def _imported_signature(target: str) -> Signature:
    found = _imported(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except ValueError:  # builtins, such as dict
        raise TargetError("what it takes is not known") from None
    try:
        hints = typing.get_type_hints(found.__init__ if inspect.isclass(found) else found)
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    rules = {}
    for parameter in named:
        rule = rule_of(hints.get(parameter.name, Any))
        may_be_null = rule and parameter.default is None and not rule.accepts(None)
        rules[parameter.name] = either(rule, null()) if rule and may_be_null else rule
    required = frozenset(p.name for p in named if p.default is p.empty)
    return Signature(target, rules, required, any(p.kind is p.VAR_KEYWORD for p in parameters))


@functools.cache
def packaged_keys(group: str, target: str) -> frozenset[str]:
    """Keys that the packaged options of a group give to a `_target_`: known to be right."""
    keys: set[str] = set()
    folder = conf_dir() / group
    for file in sorted(folder.glob("*.yaml")):
        node = _read_yaml(file)
        if "default" in node.get("defaults", ()):
            node = {**_read_yaml(folder / "default.yaml"), **node}
        keys |= _keys_given_to(target, node)
    return frozenset(keys)


def _read_yaml(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it is built
    return yaml.load(file.read_text(encoding="utf-8"), Loader=loader) or {}


def _keys_given_to(target: str, node: Any) -> set[str]:
    if not isinstance(node, dict):
        return set()
    below = [_keys_given_to(target, value) for value in node.values()]
    own = set(node) if node.get("_target_") == target else set()
    return own.union(*below) - {"defaults"}


def written_signature(target: str) -> Signature:
    """As `signatures.signature_of`, for a target in this package."""
    return _signature_of_node(target, *_definition(target))


def written_attribute(target: str, name: str) -> Any:
    """As `signatures.class_attribute`, for a target in this package."""
    return _attribute(*_definition(target), name)


class _Module:
    """A parsed source file of this package."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.is_package = name, file.name == "__init__.py"
        self.body = ast.parse(file.read_text(encoding="utf-8")).body

    def find(self, name: str) -> "tuple[_Module, ast.stmt] | None":
        """Where a name is defined, following imports from this package."""
        for node in self.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
                return self, node
            if isinstance(node, ast.Assign) and name in map(_name_of, node.targets):
                return self, node
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        module = _module(self._absolute(node))
                        return module.find(alias.name) if module else None
        return None

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parents = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*parents, *([node.module] if node.module else [])])


@functools.cache
def _module(name: str) -> _Module | None:
    base = PACKAGE.parent.joinpath(*name.split("."))
    for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if file.is_file() and name.split(".")[0] == PACKAGE.name:
            return _Module(name, file)
    return None


def _name_of(node: ast.AST | None) -> str:
    """Last part of a dotted name, of a call or of a subscript: `a.b.C(...)` is C."""
    if isinstance(node, (ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _definition(target: str) -> tuple[_Module, ast.ClassDef | ast.FunctionDef]:
    module_name, _, name = target.rpartition(".")
    module = _module(module_name)
    if module is None:
        raise TargetError(f"there is no module {module_name}")
    found = module.find(name)
    if found is None or not isinstance(found[1], (ast.ClassDef, ast.FunctionDef)):
        raise TargetError(f"{module_name} has no {name}")
    return found[0], found[1]


def _attribute(module: _Module, node: ast.stmt, name: str) -> Any:
    if not isinstance(node, ast.ClassDef):
        return None
    for entry in node.body:
        targets = entry.targets if isinstance(entry, ast.Assign) else []
        targets = [entry.target] if isinstance(entry, ast.AnnAssign) else targets
        value = getattr(entry, "value", None)
        if name in map(_name_of, targets) and isinstance(value, (ast.Constant, ast.Tuple)):
            return ast.literal_eval(value)
    for base in node.bases:
        found = module.find(_name_of(base))
        if found and (value := _attribute(*found, name)) is not None:
            return value
    return None


def _signature_of_node(
    target: str, module: _Module, node: ast.ClassDef | ast.FunctionDef
) -> Signature:
    if isinstance(node, ast.FunctionDef):
        return _signature_of_function(target, module, node, skip_self=False)
    for entry in node.body:
        if isinstance(entry, ast.FunctionDef) and entry.name == "__init__":
            return _signature_of_function(target, module, entry, skip_self=True)
    rules: dict[str, Rule | None] = {}
    required: set[str] = set()
    takes_any = False
    for base in node.bases:
        found = module.find(_name_of(base))
        if found and isinstance(found[1], ast.ClassDef):
            inherited = _signature_of_node(target, found[0], found[1])
            rules |= inherited.rules
            required |= inherited.required
            takes_any = takes_any or inherited.takes_any
    if "dataclass" in map(_name_of, node.decorator_list):
        for entry in node.body:
            if isinstance(entry, ast.AnnAssign) and _name_of(entry.annotation) != "ClassVar":
                parameter = _name_of(entry.target)
                if "init=False" in ast.unparse(entry):
                    rules.pop(parameter, None)
                    required -= {parameter}
                    continue
                rules[parameter] = _rule_of_node(module, entry.annotation, entry.value)
                required = (required - {parameter}) | ({parameter} if not entry.value else set())
    return Signature(target, rules, frozenset(required), takes_any)


def _signature_of_function(
    target: str, module: _Module, node: ast.FunctionDef, skip_self: bool
) -> Signature:
    positional = [*node.args.posonlyargs, *node.args.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    with_default = list(zip(positional, [*missing, *node.args.defaults], strict=True))
    with_default = with_default[1:] if skip_self else with_default
    with_default += list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
    rules = {arg.arg: _rule_of_node(module, arg.annotation, value) for arg, value in with_default}
    required = frozenset(arg.arg for arg, value in with_default if value is None)
    return Signature(target, rules, required, node.args.kwarg is not None)


def _rule_of_node(
    module: _Module, annotation: ast.expr | None, default: ast.expr | None
) -> Rule | None:
    if annotation is None:
        return None
    rule = rule_of(_evaluated(module, annotation))
    if rule and isinstance(default, ast.Constant) and default.value is None:
        return rule if rule.accepts(None) else either(rule, null())
    return rule


class _Names(dict[str, Any]):
    """The names an annotation of ours may use; any other name stands for anything."""

    def __init__(self, module: _Module) -> None:
        super().__init__(int=int, float=float, bool=bool, str=str, list=list, tuple=tuple)
        self.update(Literal=Literal, Optional=Optional, Union=Union, Sequence=Sequence)
        self.update(dict=dict, Mapping=Mapping, Annotated=Annotated, whole=whole)
        self.update(or_null=or_null, real=real, typing=typing)
        self.module = module

    def __missing__(self, name: str) -> Any:
        found = self.module.find(name)
        if found and isinstance(found[1], ast.Assign):
            return _evaluated(found[0], found[1].value)
        return Any


def _evaluated(module: _Module, annotation: ast.expr) -> Any:
    """The type an annotation in our own source stands for; Any where it is not a plain one."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    code = compile(ast.Expression(annotation), module.name, "eval")
    try:
        return eval(code, {"__builtins__": {}}, _Names(module))
    except (TypeError, AttributeError):  # Float[Tensor, "B D"], torch.Tensor: not for YAML
        return Any
