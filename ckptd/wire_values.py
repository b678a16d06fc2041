"""Read plain JSON that somebody else wrote, believing nothing: each function takes one value out or says what is wrong with it.

All of them raise `WorkerError`, with the key in its message.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from ckptd.errors import WorkerError
from ckptd.model import Identity, Json

#: Keys of one object, and items of one list inside of a free one.
MAX_KEYS = 1_000
#: Characters of one string: a message quotes at most a few names of at most 1 KiB each.
MAX_TEXT = 16_384
#: Nesting of hyperparameters and details.
MAX_DEPTH = 8

_E = TypeVar("_E", bound=StrEnum)
_IDENTITY = frozenset(Identity._fields)


def read_identity(value: object) -> Identity:
    """Read what tells one state of a file from another."""
    item = read_object(value, _IDENTITY, "identity")
    return Identity(**{key: _number_of_file(item[key], key) for key in Identity._fields})


def _number_of_file(value: object, key: str) -> int:
    if key in ("dev", "ino"):  # unsigned in the kernel, and network file systems do use the upper half
        if type(value) is not int or not 0 <= value < 2**64:
            refuse(f"identity.{key}", "is not an unsigned 64-bit integer")
        return value
    return read_integer(value, f"identity.{key}")


def refuse(key: str, why: str) -> NoReturn:
    """Say which key is not as agreed.

    Raises:
        WorkerError: always.
    """
    raise WorkerError("a worker's answer was refused", why=f"{key} {why}")


def read_object(value: object, keys: frozenset[str], key: str) -> dict[str, Any]:
    """Read an object that has just these keys."""
    if type(value) is not dict or value.keys() != keys:
        refuse(key, "does not have the agreed keys")
    return value


def read_mapping(value: object, key: str) -> dict[str, Any]:
    """Read an object whose keys are free."""
    if type(value) is not dict or len(value) > MAX_KEYS:
        refuse(key, f"is not an object of at most {MAX_KEYS} keys")
    return value


def read_list(value: object, most: int, key: str) -> list[Any]:
    """Read a list of at most so many items."""
    if type(value) is not list or len(value) > most:
        refuse(key, f"is not a list of at most {most}")
    return value


def read_text(value: object, key: str) -> str:
    """Read a text of bounded length."""
    if type(value) is not str or len(value) > MAX_TEXT:
        refuse(key, f"is not a text of at most {MAX_TEXT} characters")
    return value


def read_optional_text(value: object, key: str) -> str | None:
    """Read a text or null."""
    return None if value is None else read_text(value, key)


def read_integer(value: object, key: str) -> int:
    """Read an integer that fits a column of the index."""
    # 2^63: the identity of a file and every size must fit a column of the index.
    if type(value) is not int or not -(2**63) <= value < 2**63:
        refuse(key, "is not a 64-bit integer")
    return value


def read_count(value: object, key: str) -> int:
    """Read an integer that is not negative."""
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(key, "is not a count")
    return value


def read_number(value: object, key: str) -> float:
    """Read a finite number."""
    if type(value) is float:
        if value - value != 0.0:  # NaN and the infinities; json.loads accepts their names
            refuse(key, "is not finite")
        return value
    return read_integer(value, key)


def read_optional_number(value: object, key: str) -> float | None:
    """Read a finite number or null."""
    return None if value is None else read_number(value, key)


def read_digest(value: object, key: str) -> str | None:
    """Read a SHA-256 or null."""
    if value is None:
        return None
    if type(value) is not str or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        refuse(key, "is not 64 lower-case hex digits")
    return value


def read_enum(enum: type[_E], value: object, key: str) -> _E:
    """Read one of the words of an enumeration."""
    if type(value) is not str:
        refuse(key, "is not a text")
    try:
        return enum(value)
    except ValueError:
        refuse(key, "is not one of the agreed words")


def read_json_object(value: object, key: str) -> dict[str, Json]:
    """Read an object of plain JSON, bounded in depth, length and number."""
    mapping = read_mapping(value, key)
    check_json(mapping, key, MAX_DEPTH)
    return mapping


def check_json(value: object, key: str, depth: int) -> None:
    """Look at a JSON value and all that is in it."""
    if depth < 0:
        refuse(key, f"is nested deeper than {MAX_DEPTH}")
    if value is None or type(value) is bool:
        return
    if type(value) is str:
        read_text(value, key)
    elif type(value) is int or type(value) is float:
        read_number(value, key)
    elif type(value) is list:
        for item in read_list(value, MAX_KEYS, key):
            check_json(item, key, depth - 1)
    else:
        for name, item in read_mapping(value, key).items():
            read_text(name, key)
            check_json(item, key, depth - 1)
