"""Reports of one attacker: as many different names as fit, of every thing that is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path

from dmarckit.reports.model import AggregateReport, DkimResult, Reason, Record, SpfResult
from tests.support.builders import make_mail, report_xml, zipped
from tests.support.lakes import report
from tests.support.model_builders import make_failing, make_record


def _spf(domain: str, result: str = "pass") -> tuple[SpfResult]:
    return (SpfResult(domain, "mfrom", result),)


def _signed(domain: str, selector: str, result: str) -> tuple[DkimResult]:
    return (DkimResult(domain, selector, result),)


def _token(n: int) -> str:
    """Eight digits that do not pack well: what packs a hundredfold is refused as a bomb."""
    return f"{n * 2654435761 % 2**32:08x}"


def _network(n: int) -> str:
    return f"2001:db8:{_token(n)[4:]}:{_token(n)[:4]}::1"


RECORDS: dict[str, Callable[[int], Record]] = {
    "subdomains": lambda n: make_failing(messages=20, header_from=f"x{_token(n)}.example.com"),
    "addresses": lambda n: make_failing(_network(n), 20),
    "selectors": lambda n: make_record(
        dkim=_signed("example.com", _token(n), "fail"), dkim_aligned=False, messages=20
    ),
    "signing domains": lambda n: make_failing(
        _network(n), 20, dkim=_signed(f"d{_token(n)}.example", "s", "pass")
    ),
    "SPF domains": lambda n: make_failing(_network(n), 20, spf=_spf(f"d{_token(n)}.example")),
    "SPF errors": lambda n: make_failing(
        _network(n), 60, spf=_spf(f"d{_token(n)}.example.com", "permerror"), disposition="reject"
    ),
    "passing subdomains": lambda n: make_record(
        _network(n), 60, header_from=f"x{n // 5}.example.com", dkim=(),
        spf=_spf(f"x{n // 5}.example.com"), dkim_aligned=False
    ),
    "requirements": lambda n: make_failing(
        _network(n), 20, disposition="reject", reasons=(Reason("local_policy",
        f"Sender requirement failed: 550-5.{n // 1000}.{n % 1000}, see the page"),)
    ),
}  # fmt: skip
"""what an attacker writes into the records of one report → its n-th record"""


def of_records(name: str, n: int, days: int = 4) -> Iterator[AggregateReport]:
    """One report a day with n records each."""
    records = [RECORDS[name](i) for i in range(n)]
    for ago in range(1, days + 1):
        yield report(*records, days_ago=ago, report_id=f"{name}-{ago}")


def domains(n: int) -> Iterator[AggregateReport]:
    """One report for each of n policy domains."""
    for i in range(n):
        yield report(make_failing(messages=1 + i % 7), domain=f"d{i}.example", report_id=f"r{i}")


def reporters(n: int) -> Iterator[AggregateReport]:
    """One report by each of n reporters."""
    for i in range(n):
        yield report(make_record(), reporter=f"reporter{i}.example", report_id=f"r{i}")


def usual(days: int = 40) -> Iterator[AggregateReport]:
    """What a domain of ours sends, as two reporters see it."""
    for ago in range(1, days + 1):
        for name in ("google.com", "Example Mail"):
            yield report(
                make_record(messages=100), days_ago=ago, reporter=name, report_id=f"{name}-{ago}"
            )


def spam(n: int, subject: str = "You have won") -> Iterator[bytes]:
    """Mails from n domains, without a report in them."""
    for i in range(n):
        mail = make_mail(b"%PDF", "offer.pdf", "application/pdf", from_=f"a@d{i}.example")
        title = b"Report domain: example.com Submitter: mail.example Report-ID: <r-1>"
        yield mail.replace(title, subject.encode())


def put(folder: Path, reports: Iterable[AggregateReport] = (), mails: Iterable[bytes] = ()) -> None:
    """Write reports, a hundred a file, and mails into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    left = iter(reports)
    for i in count():
        members = [(f"{n}.xml", report_xml(each)) for n, each in enumerate(islice(left, 100))]
        if not members:
            break
        (folder / f"reports-{i}.zip").write_bytes(zipped(*members))
    for i, mail in enumerate(mails):
        (folder / f"mail-{i}.eml").write_bytes(mail)


def flood(folder: Path, name: str, n: int) -> None:
    """Write what a domain of ours sends, and a flood of n names of that kind."""
    some: dict[str, Callable[[int], Iterable[AggregateReport]]]
    some = {"domains": domains, "reporters": reporters, "spam": lambda _: ()}
    known = some.get(name, lambda n: of_records(name, n, days=1 if n >= 50_000 else 4))
    put(folder, [*usual(), *known(n)], spam(n) if name == "spam" else ())
