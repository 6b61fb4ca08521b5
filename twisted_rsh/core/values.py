"""Frozen, slotted dataclasses that are cheap to declare.

:func:`dataclasses.dataclass` writes the source of six methods for each class and compiles it when the class is
declared.  A client that runs one command declares ninety classes, makes objects of half of them, and compares and
prints next to none; a tenth of its processor time went into these methods.  Here ``__init__`` is compiled when the
first object is made, and the other methods are not compiled at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_UNSET = object()
"""Stands for an argument that is made when it is missing."""


def _declare(*, frozen: bool, slots: bool, kw_only: bool = False) -> Callable[[type], type]:
    """Make a class a dataclass, as :func:`dataclasses.dataclass` does with the same arguments.

    The class is a dataclass to the functions of :mod:`dataclasses` and to type checkers.  Only
    :func:`inspect.signature` does not know the parameters of a class before its first object is made.

    :param frozen: ``True``; use :mod:`dataclasses` for objects that change.
    :param slots: ``True``.
    :param kw_only: whether all fields are keyword arguments alone.
    """
    assert frozen
    assert slots

    def declare(shape: type) -> type:
        made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(shape)
        fields = dataclasses.fields(made)
        made._compared = tuple(field.name for field in fields if field.compare)  # noqa: SLF001 - ours
        made._shown = tuple(field.name for field in fields if field.repr)  # noqa: SLF001 - ours

        def initialise_first(self: Any, *arguments: Any, **members: Any) -> None:
            made.__init__ = _compile_init(made)
            made.__init__(self, *arguments, **members)

        methods = {**_METHODS, "__init__": initialise_first}
        for name in methods.keys() - vars(shape).keys():
            setattr(made, name, methods[name])
        return made  # type: ignore[no-any-return]

    return declare


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _declare


def _compile_init(shape: Any) -> Any:
    """Compile the ``__init__`` of a dataclass.

    It stores each field through the descriptor of its slot, since ``__setattr__`` refuses.
    """
    names: dict[str, Any] = {"_unset": _UNSET}
    parameters = {False: ["self"], True: ["*"]}
    lines = []
    for field in dataclasses.fields(shape):
        name = field.name
        names[f"_set_{name}"] = getattr(shape, name).__set__
        value, parameter = name, name
        if field.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = field.default_factory
            value, parameter = f"_make_{name}() if {name} is _unset else {name}", f"{name}=_unset"
        elif field.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        parameters[field.kw_only is True].append(parameter)
        lines.append(f" _set_{name}(self, {value})")
    if hasattr(shape, "__post_init__"):
        lines.append(" self.__post_init__()")
    words = parameters[False] + (parameters[True] if len(parameters[True]) > 1 else [])
    source = f"def __init__({', '.join(words)}):\n" + "\n".join(lines or [" pass"])
    exec(source, names)  # noqa: S102 - of names in our own source, as dataclasses does
    function = names["__init__"]
    function.__qualname__ = f"{shape.__qualname__}.__init__"
    return function


def _refuse(self: Any, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change the field {name!r} of a {type(self).__qualname__}")


def _equals(self: Any, other: object) -> bool:
    if self is other:
        return True
    return _compared_values(self) == _compared_values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared_values(self))


def _compared_values(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, name) for name in value._compared])  # noqa: SLF001 - ours


def _repr(self: Any) -> str:
    shown = [f"{name}={getattr(self, name)!r}" for name in self._shown]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_METHODS: dict[str, Any] = {
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _repr,
    "__getstate__": _state,
    "__setstate__": _set_state,
}
"""The methods that all these classes share."""
