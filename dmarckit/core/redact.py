"""What must never stand on a page or in a kept notebook: the secrets of an installation.

``python -m dmarckit.core.redact FILE`` ends with an error where a settings file holds one; an image
is not built with it.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from pydantic import SecretStr

from dmarckit.core.settings import PREFIX, Settings

HIDDEN = "•••"
SHORTEST = 6  # characters; what is shorter protects nothing and would be found in ordinary words
_GOOGLE = f"{PREFIX}GOOGLE_CREDENTIALS"
_PART = re.compile(r"(?>(https?(:|%3A)(//|%2F%2F)[^/?%]*)?).{16}", re.DOTALL)
"""a table cuts long texts, so that the beginning of a secret may stand alone: 16 characters, not
counting the host of an address, which is no secret"""
_SECRET_NAME = re.compile(
    r"secret|token|passw|passphrase|credential|private|api_?key|(^|_)(pw|pass|key|auth|salt)$",
    re.IGNORECASE,
)
_PLACE_NAME = re.compile(r"_(FILE|PATH|DIR|URI|URL|ENDPOINT|ID)$", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"://[^/@\s:]*:([^@/\s]+)@")


def secret_names() -> tuple[str, ...]:
    """Return the settings that are secrets."""
    fields = Settings.model_fields.items()
    return tuple(name for name, field in fields if "SecretStr" in str(field.annotation))


def secrets_of(settings: Settings) -> frozenset[str]:
    """Return the values of an installation's secret settings."""
    values = (getattr(settings, name) for name in secret_names())
    found = {v.get_secret_value() for v in values if isinstance(v, SecretStr)}
    within = set()  # keys that are JSON, such as Google's
    for secret in found:
        with contextlib.suppress(ValueError):
            content = json.loads(secret)
            named = content.items() if isinstance(content, dict) else ()
            within |= {v for k, v in named if isinstance(v, str) and _SECRET_NAME.search(k)}
    return frozenset(found | within)


def secrets_in(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the values of variables that are secrets by their name, and passwords in addresses."""
    named = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)
    }
    found = {p for value in environment.values() for p in _PASSWORD_IN_URL.findall(value)}
    return frozenset(named | found | {unquote(password) for password in found})


def withheld_variables() -> dict[str, str]:
    """Return what takes our secrets out of a kernel's environment (empty means unset)."""
    names = [f"{PREFIX}{name.upper()}" for name in secret_names()]
    withheld = dict.fromkeys([*names, *(f"{name}_FILE" for name in names)], "")
    if os.environ.get(_GOOGLE) or os.environ.get(f"{_GOOGLE}_FILE"):
        withheld[_GOOGLE] = HIDDEN  # a page says whether Google is connected, and asks no more
    return withheld


def redacted(value: Any, secrets: Collection[str]) -> Any:
    """Return a copy of a notebook (or of any part of one, or of a text) without these secrets.

    A secret is found as it is and as Python, JSON, HTML and addresses write it; of a long
    one also the beginning. Secrets shorter than six characters are not looked for.
    """
    written: set[str] = set()
    for secret in filter(lambda secret: len(secret) >= SHORTEST, secrets):
        written |= {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}
        written |= {html.escape(secret), quote(secret), quote(secret, safe="")}
    if not written:
        return value
    forms = written | {part[0] for form in written if (part := _PART.match(form))}
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return _replaced(value, re.compile("|".join(map(re.escape, longest_first))))


def _replaced(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(HIDDEN, value)
    if isinstance(value, dict):
        # NotebookNode is a dict that is read by attribute; its class is kept
        return type(value)({k: _replaced(v, pattern) for k, v in value.items()})
    if isinstance(value, list):
        return [_replaced(v, pattern) for v in value]
    return value


def secrets_of_file(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings in a file's content that are, or hold, secrets."""
    found = []
    for name, value in content.items():
        parts = value if isinstance(value, list) else [value]
        tables = [part for part in parts if isinstance(part, dict)]
        texts = (part for part in parts if isinstance(part, str) and part)
        if any(name in secret_names() or secrets_in({name: text}) for text in texts):
            found.append(name)
        found += [f"{name}.{inner}" for table in tables for inner in secrets_of_file(table)]
    return found


if __name__ == "__main__":
    settings_file = Path(sys.argv[1])
    if settings_file.exists() and (
        names := secrets_of_file(tomllib.loads(settings_file.read_text("utf-8")))
    ):
        sys.exit(
            f"{settings_file} holds {', '.join(names)}, and whoever pulls the image could read it; "
            "take it out of the file: DMARCKIT_<NAME> or DMARCKIT_<NAME>_FILE give it to the task"
        )
