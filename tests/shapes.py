"""Checks of the shapes in annotations: each call of a kind is checked once.

A check takes a tenth of a millisecond, as long as a step of a small cell, and a test may make ten
thousand of them. Whether a call passes depends on types, shapes and dtypes alone: one that is like
a call that has passed passes too.
"""

import functools
import inspect
import threading
import types
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jaxtyping
from beartype import beartype
from torch import Tensor

_every_call = jaxtyping.jaxtyped(typechecker=beartype)


def check(packages: Sequence[str]) -> None:
    """Make `Float[Tensor, "B T_x D"]` true or the test fail, in packages not yet imported."""
    jaxtyping.jaxtyped = lambda *, typechecker: checked_by_kind  # by beartype, as here
    jaxtyping.install_import_hook(packages, "beartype.beartype")


class _Passed:
    """What has passed of the functions of one text; one within another is made at each call.

    Args:
        fn: one of them, which is called now: to make its checks takes milliseconds.
    """

    def __init__(self, fn: types.FunctionType) -> None:
        self.answers: dict[Hashable, set[Hashable]] = {}  # of arguments -> kinds
        called = threading.local()

        def stub(*args: Any, **kwargs: Any) -> Any:
            return called.fn(*args, **kwargs)

        self.called = called
        stub = types.FunctionType(stub.__code__, fn.__globals__, closure=stub.__closure__)
        self.checked = _every_call(functools.update_wrapper(stub, fn))

    def of(self, fn: types.FunctionType, args: Any, kwargs: Any) -> Any:
        """What the function answers."""
        given = (_kind(args), _kind(kwargs)) if kwargs else _kind(args)
        kinds = self.answers.get(given)
        if kinds is None:
            self.called.fn = fn
            answer = self.checked(*args, **kwargs)
            self.answers.setdefault(given, set()).add(_kind(answer))
            return answer
        answer = fn(*args, **kwargs)
        kind = _kind(answer)
        if kind not in kinds:
            self.called.fn = lambda *_, **__: answer
            self.checked(*args, **kwargs)
            kinds.add(kind)
        return answer


_all: dict[types.CodeType, _Passed] = {}


def checked_by_kind(fn: Any) -> Any:
    """A function that checks its annotations, once for each kind of call; a class as usual."""
    if not inspect.isfunction(fn):
        return _every_call(fn)
    passed = _all.get(fn.__code__)

    @functools.wraps(fn)
    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        if jaxtyping.config.jaxtyping_disable:
            return fn(*args, **kwargs)
        if passed is None:
            passed = _all[fn.__code__] = _Passed(fn)
        return passed.of(fn, args, kwargs)

    return checked


@functools.cache
def _way(kind: type) -> Callable[[Any], Hashable]:
    """How to describe a value of a type."""
    if issubclass(kind, Tensor):
        return lambda value: (kind, value.shape, value.dtype)
    if kind in (bool, int, str):
        return lambda value: (kind, value)
    if issubclass(kind, tuple | list):
        return lambda value: (kind, *[_way(type(one))(one) for one in value])
    if issubclass(kind, dict):
        return lambda value: (kind, *[(key, _way(type(one))(one)) for key, one in value.items()])
    return lambda value: kind


def _kind(value: Any) -> Hashable:
    """All of a value that an annotation speaks of."""
    return _way(type(value))(value)
