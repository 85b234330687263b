"""A schedule's file read with its line numbers, so that each fault names file, line and fix."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dmarckit.core.errors import PageError, SettingsError, one_line
from dmarckit.jobs.schedule_dates import EXAMPLES
from dmarckit.pages.pages import find_notebook, known_parameters

Model = TypeVar("Model", bound=BaseModel)
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


@dataclass(frozen=True)
class Source:
    """A YAML file: what it says, and on which line each key stands."""

    path: Path
    content: Mapping[str, Any]
    lines: Mapping[tuple[str, ...], int]

    def error(self, text: str, *where: str) -> SettingsError:
        """``FILE:LINE: text``; the line of the key, or of what holds it."""
        place = where
        while place and place not in self.lines:
            place = place[:-1]
        return SettingsError(f"{self.path}:{self.lines.get(place, 1)}: {one_line(text, 400)}")


def read_yaml(path: Path) -> Source:
    """The file. Raises SettingsError when it cannot be read or holds no mapping."""
    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or error
        raise SettingsError(f"{path}:{line}: this is not YAML: {one_line(problem, 300)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}: {reason}") from error
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise SettingsError(f"{path}:1: write keys and values, such as `notebook: overview`")
    lines: dict[tuple[str, ...], int] = {}
    _note_lines(node, (), lines)
    return Source(path, {str(key): value for key, value in content.items()}, lines)


def _note_lines(node: yaml.Node, above: tuple[str, ...], lines: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*above, str(key.value))
            lines[place] = key.start_mark.line + 1
            _note_lines(value, place, lines)


def checked(model: type[Model], source: Source, content: Mapping[str, Any]) -> Model:
    """The content as a model. Raises SettingsError for the first fault."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    where = tuple(str(part) for part in problem["loc"])
    name = ".".join(where)
    if problem["type"] == "extra_forbidden":
        keys = _keys(model, where[:-1])
        near = nearest(where[-1], keys)
        raise source.error(f"unknown key {name}{near}; keys are {', '.join(keys)}", *where)
    value = repr(problem.get("input"))
    text = str(problem["msg"]).removeprefix("Value error, ")
    shown = "" if value in text or problem["type"] == "missing" else f": {one_line(value, 80)}"
    raise source.error(f"{name}{shown}: {text}", *where)


def _keys(model: type[BaseModel], where: tuple[str, ...]) -> list[str]:
    """The keys that a model (or the model in one of its fields) has."""
    for part in where:
        annotation = model.model_fields[part].annotation
        models = [t for t in (annotation, *get_args(annotation)) if isinstance(t, type)]
        model = next(t for t in models if issubclass(t, BaseModel))
    return list(model.model_fields)


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the most similar known word, or nothing."""
    by_lower = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), list(by_lower), n=1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def check_notebook(source: Source, notebook: str, parameters: Mapping[str, Any]) -> None:
    """Raises SettingsError for a notebook that is not there, or parameters it does not take.

    Parameters and their types are those that papermill reads in the notebook's own cell.
    """
    try:
        known = known_parameters(find_notebook(notebook))
    except PageError as error:
        raise source.error(f"notebook: {error}", "notebook") from None
    for name, value in parameters.items():
        written = source.content.get("parameters", {}).get(name, value)
        if name not in known:
            near = nearest(name, known)
            raise source.error(
                f"notebook {notebook} has no parameter {name}{near}; "
                f"it has {', '.join(known) or 'none'}",
                "parameters",
                name,
            )
        kind = _kind(known[name])
        allowed = _TYPES.get(kind)
        if allowed and (
            not isinstance(value, allowed) or isinstance(value, bool) > (kind == "bool")
        ):
            raise source.error(
                f"{name}: {written!r} is no {kind} as notebook {notebook} takes it "
                f"({known[name]['help'] or 'no help'}); relative dates are {EXAMPLES}",
                "parameters",
                name,
            )


def _kind(about: Mapping[str, str]) -> str:
    """The type that the notebook declares, else that of the default."""
    if about.get("inferred_type_name") in _TYPES:
        return about["inferred_type_name"]
    try:
        return type(ast.literal_eval(about["default"])).__name__
    except (ValueError, SyntaxError):  # an expression: anything may be meant
        return ""
