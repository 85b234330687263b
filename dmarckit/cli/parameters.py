"""Parameters of a notebook as they are typed on the command line."""

from __future__ import annotations

from typing import Any


def joined(arguments: list[str]) -> list[str]:
    """``-p name value`` as one option, since Typer has no options of two values.

    >>> joined(["page", "overview", "-p", "days", "7"])
    ['page', 'overview', '-p', 'days=7']
    """
    result: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        result.append(argument)
        if argument == "-p":
            name = next(rest, None)
            if name is not None:
                result.append(name if "=" in name else f"{name}={next(rest, '')}")
    return result


def values(pairs: list[str]) -> dict[str, Any]:
    """Values as YAML has them: 7 is a number, [a, b] a list, the rest text."""
    import yaml

    found: dict[str, Any] = {}
    for name, _, text in (pair.partition("=") for pair in pairs):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        # a date would reach the notebook as an object that papermill cannot write
        found[name] = text if not isinstance(value, int | float | bool | list | dict) else value
    return found
