"""Checks of the settings by themselves: readable, known, and not at odds with each other."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dmarckit.cli.doctor.doctor import Answer, Context, ok, warn
from dmarckit.core.settings import CONFIG_VARIABLE, DEFAULT_FILE, PREFIX, Settings

OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "DMARCKIT_CORPUS"})
"""variables that begin like settings and are none"""


def readable(context: Context) -> Answer:
    """Where the settings come from; loading them has checked each value."""
    settings = context.settings
    file = os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE
    there = Path(file).is_file()
    variables = sorted(v for v in os.environ if v.startswith(PREFIX) and v not in OTHER_VARIABLES)
    sources = [file] if there else []
    sources += [f"{len(variables)} variables {PREFIX}…"] if variables else []
    where = " and ".join(sources) or f"no {DEFAULT_FILE} and no variables: all defaults"
    return ok(f"{where}; home {settings.home}")


def consistent(context: Context) -> Answer:
    """Settings that say nothing, or against each other."""
    found = list(_odd(context.settings, context))
    if not found:
        return ok("no unknown variable, nothing contradictory")
    return warn("; ".join(what for what, _ in found), "; ".join(fix for _, fix in found))


def _odd(settings: Settings, context: Context) -> Iterator[tuple[str, str]]:
    """What is odd, and what to do about it."""
    for name in _unknown_variables():
        yield f"variable {name} is no setting", f"unset {name}, or correct its name"
    pairs = (
        ("slack_token", "slack_channel"),
        ("presign_key_id", "presign_secret"),
    )
    for one, other in pairs:
        values = bool(getattr(settings, one)), bool(getattr(settings, other))
        if values == (True, False):
            yield f"{one} without {other}", f"set {other} as well"
        if values == (False, True) and one != "slack_token":
            yield f"{other} without {one}", f"set {one} as well"
    needed = (
        ("failures_content", "failures"),
        ("google_subject", "google_credentials"),
        ("postmaster_domains", "google_credentials"),
    )
    for name, base in needed:
        if getattr(settings, name) and not getattr(settings, base):
            yield f"{name} has no effect without {base}", f"set {base}, or take {name} out"
    if settings.trust == "any" and settings.mail_url.startswith("s3://"):
        yield "trust is any: whoever mails to the address is believed", "set trust to pass"
    if settings.mmdb and not settings.mmdb.is_file():
        yield f"mmdb: there is no file {settings.mmdb}", "put it there, or take mmdb out"
    today = context.clock().date()
    ended = [m.fingerprint for m in settings.mute if m.until < today]
    if ended:
        yield f"mute has ended for {', '.join(ended[:5])}", "take these entries out of mute"
    twice = [d for d, n in Counter(_domains(settings)).items() if n > 1]
    if twice:
        yield f"domains names {', '.join(twice[:5])} more than once", "keep one of the entries"


def _unknown_variables() -> list[str]:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | OTHER_VARIABLES
    return [
        name
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and name.partition("__")[0] not in known
    ]


def _domains(settings: Settings) -> list[str]:
    return [
        name.lower().rstrip(".")
        for entry in settings.domains
        for name in ([entry] if isinstance(entry, str) else entry.domains)
    ]
