"""Dataclasses of numbers and arrays as JSON and named arrays, and back exactly as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

_PLAIN = {bool: (bool,), int: (int,), float: (float, int), str: (str,)}
"""What JSON may hold where a type is expected; True and False, which Python counts, are no int."""


def encoded(value: object, name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """As JSON holds it; arrays go into `arrays` under their `name`, which is left in their place.

    Dataclasses, tuples, mappings by words, arrays, numbers, text and None are known. Numbers that
    JSON does not know are words: "nan", "inf", "-inf". Raises TypeError for anything else.
    """

    def inner(part: object, last: object) -> Any:
        return encoded(part, f"{name}.{last}" if name else str(last), arrays)

    if is_dataclass(value):
        return {
            field.name: inner(getattr(value, field.name), field.name) for field in fields(value)
        }
    if isinstance(value, np.ndarray):
        arrays[name] = np.ascontiguousarray(value)
        return name
    if isinstance(value, Mapping):
        return {str(key): inner(part, key) for key, part in value.items()}
    if isinstance(value, tuple):
        return [inner(part, place) for place, part in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name} is {type(value).__name__}, which files do not hold")


def decoded(value: Any, hint: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value of type `hint` that `encoded` made `value` of, equal to the last bit.

    Raises KeyError, TypeError, ValueError or AttributeError where it is of another type.
    """

    def inner(part: Any, of: Any) -> Any:
        return decoded(part, of, arrays)

    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        make: Callable[..., Any] = hint
        # What a later version added has a default.
        known = [f for f in fields(hint) if f.name in value or f.default is MISSING]
        return make(**{f.name: inner(value[f.name], hints[f.name]) for f in known})
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None:
            return None
        (other,) = (argument for argument in arguments if argument is not type(None))
        return inner(value, other)
    if origin is np.ndarray:
        return arrays[value]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: inner(part, arguments[1]) for key, part in value.items()}
    if origin is tuple and isinstance(value, list):
        each = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(inner(part, of) for part, of in zip(value, each, strict=True))
    if hint is float and isinstance(value, str):
        return float(value)
    if origin is Literal and value in arguments:
        return value
    if type(value) in _PLAIN.get(hint, ()):
        return value
    raise TypeError(f"{value!r:.40} is not of the type {hint}")
