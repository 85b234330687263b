"""SPF that cannot be evaluated, and senders that have nothing but SPF."""

from __future__ import annotations

from typing import Any

import pytest

from dmarckit.facts.frames import Facts
from tests.support.finding_facts import (
    FOUR,
    SIGNATURE,
    SPF,
    daily,
    facts,
    messages,
    only,
    policies,
)


def errors(result: str, reporters: Any = FOUR, **fields: Any) -> list[dict[str, Any]]:
    bad = daily({**SPF, "result": result, "messages": 5, **fields}, [1, 2], reporters)
    return bad + daily({**SPF, "messages": 5}, [1, 2])


LOST = {"class": "unidentified", "da": False, "sa": False, "disposition": "reject", "messages": 5}


def test_mail_without_dkim_that_is_lost_is_critical() -> None:
    some = facts(messages=messages() + messages([1, 2], **LOST), spf=errors("permerror"))
    finding = only(some, "spf_errors")
    assert (finding.severity, finding.lost) == ("critical", 40)
    assert "0 delivered, 0 quarantined, 40 rejected (example.com)" in finding.summary
    elsewhere = facts(messages=messages() + messages([4, 5], **LOST), spf=errors("permerror"))
    assert only(elsewhere, "spf_errors").severity == "warning"


def test_one_reporter_is_named_and_blamed_for_what_only_it_sees() -> None:
    finding = only(facts(messages=messages(), spf=errors("temperror", FOUR[:1])), "spf_errors")
    assert finding.severity == "info"
    assert "Only Receiver One reports it." in finding.summary
    assert "Receiver One may have had trouble with its own DNS" in finding.action
    assert "nameservers" not in finding.action
    many = only(facts(messages=messages(), spf=errors("temperror")), "spf_errors")
    assert "Only" not in many.summary


ALONE = {"class": "spf_only", "da": False, "sender": "Microsoft 365", "messages": 20}


def alone(*signatures: dict[str, Any], sender: str = "Microsoft 365") -> Facts:
    rows = messages([1, 2], **{**ALONE, "sender": sender})
    return facts(
        messages=messages() + rows,
        signatures=daily(SIGNATURE) + list(signatures),
        policies=policies(p="reject"),
    )


def test_what_a_known_service_needs_is_said() -> None:
    finding = only(alone(), "spf_only")
    assert finding.severity == "warning"
    assert "the 2 CNAME records" in finding.action
    assert "selector1._domainkey and selector2._domainkey below example.com" in finding.action
    assert "TXT" not in finding.action
    unknown = only(alone(sender="Printer"), "spf_only")
    assert "below _domainkey.example.com" in unknown.action


@pytest.mark.parametrize("aligned", [True, False])
def test_who_signs_is_not_asked_to_sign(aligned: bool) -> None:
    failing = daily(
        {**SIGNATURE, "sender": "Microsoft 365", "passed": False, "aligned": aligned}, [1, 2]
    )
    finding = only(alone(*failing), "spf_only")
    assert ("the signatures do not verify: example.com/s1" in finding.summary) == aligned
    assert finding.severity == ("info" if aligned else "warning")
    assert ("have it sign" in finding.action) != aligned
