"""Configurations read from TOML and changed by name, every value checked against its type.

    [optimizer]
    learning_rate = 3e-4

in a file, or `--set optimizer.learning_rate=3e-4` on the command line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import pathlib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import tomllib

from training.configuration.config import TrainingConfig, flat

__all__ = ["nearest", "read_toml", "read_values", "replace", "to_toml"]


def replace(config: TrainingConfig, values: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with some values changed, each checked against its type.

    Args:
        config: where the other values come from.
        values: by dotted name, as `flat` gives them; lists stand for tuples, integers for
            floats.

    Returns:
        The new configuration.

    Raises:
        ValueError: if there is no such name, or a value is of another type or out of range.
    """
    groups = {group.name: {} for group in dataclasses.fields(config)}
    known = flat(config)
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f"A configuration has fixed names. Received: {name!r}."
                + nearest(name, known, "Its values: " + ", ".join(known) + ".")
            )
        group, _, field = name.partition(".")
        hints = typing.get_type_hints(type(getattr(config, group)))
        groups[group][field] = _typed(name, value, hints[field])
    return dataclasses.replace(
        config,
        **{
            name: dataclasses.replace(getattr(config, name), **changes)
            for name, changes in groups.items()
        },
    )


def nearest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """` Did you mean 'x'?` for a name that is close to a known one, else ` ` + `otherwise`."""
    names = {k.casefold(): k for k in known}
    # A group left out or mistaken is as common as a slip in the name itself.
    names |= {k.rpartition(".")[2].casefold(): k for k in known if "." in k}
    keys = {name.casefold(), name.rpartition(".")[2].casefold()}
    found = [(difflib.SequenceMatcher(None, key, x).ratio(), x) for key in keys for x in names]
    ratio, best = max(found, default=(0.0, ""))
    if ratio >= 0.6:
        return f" Did you mean {names[best]!r}?"
    return f" {otherwise}" if otherwise else ""


def read_values(settings: Iterable[str]) -> dict[str, Any]:
    """`NAME=VALUE`, each as `--set` takes it, to values by name.

    Args:
        settings: values are written as in TOML, `3e-4`, `true`, `[0, 75]`, `"adam"`; what is
            none of it is text.

    Returns:
        Values for `replace`.

    Raises:
        ValueError: if an equals sign is missing.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE. Received: {setting!r}.")
        try:
            values[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[name.strip()] = text.strip()
    return values


def read_toml(path: pathlib.Path) -> tuple[str | None, dict[str, Any]]:
    """Read the file of a configuration.

    Args:
        path: TOML with a table for each group, all values optional, and optionally
            `base = "NAME"` of the recipe whose values hold where the file has none.

    Returns:
        The base and the values for `replace`.

    Raises:
        ValueError: if the file is missing or no TOML, or holds something outside the groups.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: not a configuration that can be read ({error}).") from error
    base = tables.pop("base", None)
    values = {}
    for group, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(
                f"{path}: values stand in tables such as [optimizer]. Received: {group!r}."
                + nearest(group, flat(TrainingConfig()))
            )
        values |= {f"{group}.{field}": value for field, value in table.items()}
    return base, values


def to_toml(config: TrainingConfig) -> str:
    """The configuration as a file that `read_toml` reads."""
    lines = []
    for group in dataclasses.fields(config):
        lines += ["", f"[{group.name}]"]
        table = dataclasses.asdict(getattr(config, group.name))
        lines += [f"{name} = {json.dumps(value)}" for name, value in table.items()]
    return "\n".join(lines[1:]) + "\n"


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value as one of the type `kind`, or a `ValueError`."""
    for option in typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        if origin is Literal and value in arguments:
            return value
        if origin is tuple and isinstance(value, (list, tuple)):
            kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
            if len(kinds) == len(value) > 0:
                return tuple(_typed(name, x, k) for x, k in zip(value, kinds, strict=True))
        if option is float and type(value) in (int, float):
            return float(value)
        if option in (int, bool, str) and type(value) is option:
            return value
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        wanted, hint = f"one of {', '.join(choices)}", nearest(str(value), choices)
    else:
        wanted, hint = kind.__name__ if isinstance(kind, type) else str(kind), ""
    raise ValueError(f"`{name}` must be {wanted}. Received: {value!r}.{hint}")
