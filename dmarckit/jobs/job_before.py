"""What a job asks of the outside before its page: Postmaster Tools and DNS.

That nobody answers, or that it is not set up, ends no job: the page shows what is known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dmarckit.core.errors import DmarckitError, LakeError, LeaseLost, StorageError, one_line
from dmarckit.core.settings import Settings
from dmarckit.jobs.ending import why_ended

Step = Callable[[str], None]
SHOWN = 3
"""problems of Google that are named; the rest is counted"""

log = logging.getLogger("dmarckit")


@dataclass
class Asked:
    """What did not work, a sentence each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """what is not set up"""


def ask_before(
    settings: Settings, names: Sequence[str], *, now: datetime, run: str, step: Step
) -> Asked:
    """Ask what `names` say (``postmaster``, ``dns``).

    Raises LakeError and StorageError, after which the same can be asked again, and LeaseLost.
    """
    asked = Asked()
    for name in names:
        try:
            asked.problems += _ASK[name](settings, now, run, step)
        except (LakeError, StorageError, LeaseLost):
            raise
        except DmarckitError as error:
            unset = name == "postmaster" and settings.google_credentials is None
            (asked.notes if unset else asked.problems).append(one_line(error, 400))
        except Exception as error:  # a fault in what reads their answers ends no job either
            if why_ended():
                raise
            log.exception("%s was not asked to the end", name)
            asked.problems.append(f"asking {name}: {type(error).__name__}: {one_line(error, 300)}")
    return asked


def _postmaster(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks.postmaster_pull import pull

    step("Asking Google Postmaster Tools")
    problems = pull(settings, now=now, run=run).problems
    rest = len(problems) - SHOWN
    more = [f"Postmaster Tools has {rest} more problems: run dmarckit postmaster pull"]
    return [*problems[:SHOWN], *(more if rest > 0 else [])]


def _dns(settings: Settings, now: datetime, run: str, step: Step) -> list[str]:
    from dmarckit.checks.dns import check

    step("Asking DNS")
    silent = check(settings, now=now, run=run).silent
    if not silent:
        return []
    names = ", ".join(one_line(name, 80) for name in silent[:SHOWN])
    rest = len(silent) - SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return [f"DNS did not answer for {names}{more}; check the setting resolvers"]


_ASK = {"postmaster": _postmaster, "dns": _dns}
