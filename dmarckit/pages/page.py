"""A page as an analyst opens it: every section is a method that shows itself."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go

from dmarckit.core import Settings, SettingsError, last_days, load_settings, one_line
from dmarckit.facts import Lake, open_lake
from dmarckit.pages.sections.base import Section
from dmarckit.pages.sections.coverage import CoverageSections
from dmarckit.pages.sections.domain import DomainSections
from dmarckit.pages.sections.explore import ExploreSections
from dmarckit.pages.sections.findings import FindingSections
from dmarckit.pages.sections.messages import MessageSections
from dmarckit.pages.sections.overview import OverviewSections
from dmarckit.pages.sections.policy import PolicySections
from dmarckit.pages.sections.postmaster import PostmasterSections
from dmarckit.pages.sections.report import ReportSections
from dmarckit.pages.sections.requirements import RequirementSections
from dmarckit.pages.sections.sender import SenderSections
from dmarckit.pages.sections.tls import TlsSections
from dmarckit.pages.slack_note import SlackNote, slack_note


class Page(
    OverviewSections,
    CoverageSections,
    FindingSections,
    MessageSections,
    DomainSections,
    PolicySections,
    SenderSections,
    ReportSections,
    RequirementSections,
    PostmasterSections,
    TlsSections,
    ExploreSections,
):
    """Facts and findings of a window, and the sections that pages are made of.

    `open_page` opens one. A section such as ``page.senders()`` shows itself in a notebook and
    carries the frame it shows (``.data``) and its chart (``.figure``), where it has one. The
    lake is read when the first section is asked for: LakeError says what is wrong with it.
    """

    def tell(
        self, headline: str = "", number: object = None, chart: Section | go.Figure | None = None
    ) -> SlackNote:
        """Put a headline, numbers and a chart into the Slack message of the notebook's run.

        It is taken from the output of the cell, so the call has to be the last line of its
        cell (or be given to ``display``). In JupyterLab it shows what would be sent.

        `headline` is one sentence, `number` a number or text or a dict of several by their
        labels, `chart` a section with a `.figure`, or a plotly figure.

        >>> page = open_page()  # doctest: +SKIP
        >>> page.tell("Forged mail doubled", {"forged": 1200}, page.classes_by_day())
        ... # doctest: +SKIP
        """
        return slack_note(headline, number, chart.figure if isinstance(chart, Section) else chart)

    def __repr__(self) -> str:
        about = ", ".join(self._domains or self.settings.domain_names)
        text = f"Page of {one_line(about, 200) or 'all domains'}, {self.window}"
        return "\n".join([text, *textwrap.wrap("sections: " + ", ".join(SECTIONS), 88)])

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.startswith("_")]


def open_page(
    days: int = 30,
    end: str = "",
    domains: Sequence[str] = (),
    *,
    domain: str = "",
    job: str = "",
    settings: Settings | None = None,
    lake: Lake | None = None,
) -> Page:
    """Open the facts and findings of a window.

    Args:
        days: length of the window, in whole UTC days.
        end: its last day, ``YYYY-MM-DD``; yesterday unless given.
        domains: only these; those of the settings, or all, unless given.
        domain: the one domain that all sections are about.
        job: the schedule with whose last run findings are compared; ``dmarckit findings``
            unless given.
        settings: those in force unless given.
        lake: that of the settings unless given.

    Raises:
        SettingsError: `days` or `end` make no window, or `domain` and `domains` are both given.

    >>> page = open_page(days=7, domain="example.com")  # doctest: +SKIP
    >>> page.senders().data.head()  # doctest: +SKIP
    """
    if domain and domains:
        raise SettingsError("domain and domains are both given: name one or the other")
    settings = settings or load_settings()
    domains = [domains] if isinstance(domains, str) else domains
    window = last_days(days, end)
    lake = lake or open_lake(settings)
    return Page(settings, lake, window, end=end, domain=domain, domains=domains, job=job)


SECTIONS = tuple(  # names of the sections, in the order of their families
    name for family in Page.__bases__ for name in vars(family) if not name.startswith("_")
)
