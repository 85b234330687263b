"""A command line as a person types it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any, NamedTuple
from unittest import mock

from dmarckit.cli.main import main


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


def run(*arguments: object, **settings: Any) -> Ended:
    """Run ``dmarckit ARGUMENTS`` in this process, with these settings in the environment."""
    variables = {
        f"DMARCKIT_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, variables),
        mock.patch.object(sys, "argv", ["dmarckit", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
    return Ended(status, out.getvalue(), err.getvalue())
