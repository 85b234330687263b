"""`dmarckit page` and `open`: a notebook's page, one for each domain, and the newest one shown."""

from __future__ import annotations

import ast
import contextlib
import sys
import webbrowser
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmarckit import core, ingest, lake, pages
from dmarckit.cli.options import OK, PROBLEMS, Dask, parameter_values
from dmarckit.core import SettingsError, one_line, open_storage, plural

if TYPE_CHECKING:
    from dmarckit.pages import FleetPage, Outcome

_BY_MESSAGES = """SELECT domain, sum(messages)::BIGINT AS messages FROM reports
    WHERE domain <> '' GROUP BY domain ORDER BY messages DESC, domain"""
LISTED = 20  # domains that are named where one is to be chosen
WORDS: dict[Outcome, str] = {
    "built": "built", "unchanged": "unchanged, not built again", "failed": "failed"
}  # fmt: skip


def page(
    notebook: Annotated[str, typer.Argument(help="Name of a notebook, such as overview.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="A parameter of the notebook."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Length of the window.")] = None,
    end: Annotated[str | None, typer.Option(help="Its last day, such as 2026-11-23.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option("--domain", "-d", help="About this; may be repeated.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="One page for each domain, where something changed.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --all: build unchanged pages as well.")
    ] = False,
    dask: Dask = None,
) -> None:
    """Run one notebook and publish its page.

    --days, --end and --domain are for the notebooks that have such parameters.
    """
    if dask and not all_:
        raise SettingsError(f"--dask {dask}: only the pages of --all are built on a cluster")
    if end is not None:
        core.last_days(1, end)  # a wrong day is said before anything is started
    settings = core.start_command()
    core.log_step(f"Building the page {notebook}")
    known = pages.known_parameters(pages.find_notebook(notebook))
    parameters = parameter_values(parameter or ())
    for name, value in (("days", days), ("end", end), ("domain", domain)):
        if value is not None:
            _give(notebook, name, value, known, parameters)
    if all_:
        raise typer.Exit(build_fleet(settings, notebook, parameters, force=force, dask=dask))
    if "domain" in known and not parameters.get("domain") and _default(known["domain"]):
        parameters["domain"] = _which_domain(settings, notebook)
    typer.echo(pages.publish_notebook(settings, notebook, parameters).link)


def _give(
    notebook: str, name: str, value: Any, known: Mapping[str, Any], parameters: dict[str, Any]
) -> None:
    """Set a parameter by its option: `domain` also where the notebook takes several."""
    if name == "domain" and "domain" in known and len(value) == 1:
        (value,) = value
    elif name == "domain":
        name = "domains"
    if name not in known:
        what = "more than one domain" if name == "domains" and "domain" in known else name
        has = ", ".join(known) or "none"
        raise core.PageError(f"notebook {notebook} does not take {what}; its parameters: {has}")
    if name in parameters:
        raise core.PageError(f"{name} is given twice, by its option and by -p")
    parameters[name] = value


def _default(about: Mapping[str, str]) -> Any:
    try:
        return ast.literal_eval(about["default"])
    except (ValueError, SyntaxError):
        return None


def _which_domain(settings: core.Settings, notebook: str) -> str:
    """Return the domain that somebody chooses, from those with reports or in the settings."""
    found = lake.Lake(settings.lake_url).arrow(_BY_MESSAGES).to_pylist()
    messages = dict.fromkeys(settings.domain_names, 0) | {r["domain"]: r["messages"] for r in found}
    listed = [f"{one_line(name, 80)} ({core.count(n)})" for name, n in messages.items()][:LISTED]
    more = f" and {len(messages) - LISTED} more" if len(messages) > LISTED else ""
    text = f"which domain? With their messages: {', '.join(listed) or 'none is known'}{more}"
    if not (messages and sys.stdin.isatty() and sys.stdout.isatty()):
        raise core.PageError(f"{text}; write: dmarckit page {notebook} --domain NAME")
    typer.echo(f"W{text[1:]}")
    return str(typer.prompt("Domain", default=next(iter(messages))))


def build_fleet(
    settings: core.Settings,
    notebook: str,
    parameters: Mapping[str, Any],
    *,
    force: bool = False,
    now: datetime | None = None,
    dask: str | None = None,
) -> int:
    """Build the page of every domain and print how each ended; return 1 when one failed.

    Domains are those of the settings, else all that reports speak of. `dask` is the address
    of a scheduler whose workers build them (else that of the settings, if there is one).
    """
    now = now or datetime.now(UTC)
    domains = pages.fleet_domains(settings, pages.fleet_window(notebook, parameters, now))
    if not domains:
        typer.echo("There are no domains yet: dmarckit ingest reads the reports.")
        return OK

    def print_page(page: FleetPage) -> None:
        took = f" ({page.seconds:.1f} s)" if page.seconds else ""
        typer.echo(f"  {page.domain}: {WORDS[page.outcome]}{took}")

    with ingest.cluster_of(settings, "settings", dask) as cluster:
        built = pages.publish_fleet(
            settings,
            domains,
            notebook=notebook,
            parameters=parameters,
            now=now,
            force=force,
            progress=print_page,
            cluster=cluster,
        )
    for page in built:
        if page.outcome == "failed":
            typer.echo(f"{page.domain}: {page.error}")
    count = Counter(page.outcome for page in built)
    parts = [f"{count[outcome]} {words}" for outcome, words in WORDS.items() if count[outcome]]
    typer.echo(f"{plural(len(built), 'page')}: {', '.join(parts)}")
    storage = open_storage(settings.pages_url, settings.presign_keys())
    typer.echo(f"All pages: {pages.link_to(settings, storage, pages.INDEX)}")
    return PROBLEMS if count["failed"] else OK


def open_(
    page: Annotated[
        str | None, typer.Argument(help="Notebook, or how the page's key begins; else overview.")
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Only print its address.")] = False,
) -> None:
    """Open the newest page in the browser.

    Links of a page in S3 that end soon, or have ended, are renewed first.
    """
    settings = core.load_settings()
    storage = pages.open_pages(settings)
    stored = [item for item in storage.list() if item.key.endswith(".html")]
    if not stored:
        raise core.PageError(f"there is no page in {storage.url} yet; make one: dmarckit run daily")
    wanted = page or "overview"
    found = [item for item in stored if f"{item.key}/".startswith(f"{wanted.strip('/')}")]
    if page and not found:
        names = dict.fromkeys(item.key.partition("/")[0] for item in stored)
        raise core.PageError(f"the page {core.unknown_name(page, list(names))}")
    newest = max(found or stored, key=lambda item: item.modified)
    lasting = timedelta(seconds=settings.presign_expires / 2)
    signed = storage.remote and not settings.page_base_url
    if signed and datetime.now(UTC) - newest.modified > lasting:
        with contextlib.suppress(core.DmarckitError):  # who may only read sees it as it is
            pages.link_pages(settings, [newest.key])
            pages.refresh_index(settings)
    address = pages.link_to(settings, storage, newest.key)
    if print_ or not webbrowser.open(address):
        typer.echo(address)
