"""What a page was made from, as its footer tells."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dmarckit.core.settings import load_settings
from dmarckit.core.storage import FolderStorage
from dmarckit.pages.inputs import page_inputs
from dmarckit.pages.publish import publish_notebook
from tests.support.lakes import NOW, lake_of, report
from tests.support.model_builders import make_record
from tests.support.page_notebooks import write_notebook

ONE, TWO = report(make_record(), report_id="1"), report(make_record(), report_id="2")
OTHER = report(make_record(), domain="example.net")


def test_equal_inputs_have_equal_hashes_in_whatever_order_they_came(tmp_path: Path) -> None:
    made = [
        page_inputs(lake_of(tmp_path / str(n), *reports), {}, NOW)
        for n, reports in enumerate([(ONE, TWO), (TWO, ONE), (ONE, OTHER)])
    ]
    assert made[0] == made[1]
    assert [(each.name, each.number) for each in made[0]] == [
        ("aggregate reports", 2),
        ("mails", 2),
    ]
    assert all(a.hash != b.hash for a, b in zip(made[0], made[2], strict=True))


@pytest.mark.parametrize(
    ("parameters", "number"),
    [
        ({}, 2),
        ({"domain": "Example.net"}, 1),
        ({"domains": ["example.com", "example.net"]}, 2),
        ({"domains": []}, 2),
        ({"days": 200}, 3),
        ({"end": "2026-04-15"}, 3),
        ({"end": "soon"}, 2),
    ],
)
def test_they_are_those_of_the_page(
    parameters: dict[str, object], number: int, tmp_path: Path
) -> None:
    lake = lake_of(tmp_path, ONE, OTHER, report(make_record(), days_ago=300))
    found = page_inputs(lake, parameters, NOW)
    assert {each.name: each.number for each in found}["aggregate reports"] == number


def test_a_page_names_them(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, ONE, OTHER)
    write_notebook(
        Path("notebooks/small.ipynb"), "print(1)", parameters='domain: str = "example.net"  # one'
    )
    made = publish_notebook(load_settings(home=str(tmp_path)), "small", {}, NOW)
    page = FolderStorage(tmp_path / "pages").get(made.key).decode()
    (reports, mails) = page_inputs(lake, {"domain": "example.net"}, NOW)
    assert f"<dt>aggregate reports</dt><dd>1 <code>{reports.hash}</code></dd>" in page
    assert mails.hash in page


def test_an_empty_lake_has_none(tmp_path: Path) -> None:
    assert page_inputs(lake_of(tmp_path), {}, NOW + timedelta(days=1)) == ()
