"""What mailbox providers ask of senders, with where they say so, and its words.

Sources, as of 2026: Google "Email sender guidelines" (support.google.com/a/answer/81126) and
its FAQ (answer/14229414); Yahoo "Sender best practices" (senders.yahooinc.com); Microsoft
"Outlook's new requirements for high-volume senders" (Tech Community, April 2025). As advice:
Apple "Postmaster information for iCloud Mail" (support.apple.com/102322, 2025), La Poste
(postmaster.laposte.net, 2025), NTT docomo (warnings in docomo mail, 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dmarckit.core import _, later

PROVIDERS = ("Google", "Yahoo", "Microsoft", "Apple", "La Poste", "NTT docomo")

BULK_LINE: Mapping[str, int | None] = {
    "Google": 5000, "Yahoo": 5000, "Microsoft": 5000,
    "Apple": None, "La Poste": None, "NTT docomo": None,
}  # fmt: skip
"""Messages a day to a provider's consumer mailboxes from which a domain is a bulk sender.
Google: "close to 5,000", once is for good; Microsoft: more than 5,000; Yahoo names no number,
and is taken by Google's, with which it made its rules."""

SOURCES: Mapping[str, str] = {
    "Google": "https://support.google.com/a/answer/81126",
    "Yahoo": "https://senders.yahooinc.com/best-practices/",
    "Microsoft": "https://techcommunity.microsoft.com/blog/microsoftdefenderforoffice365blog/"
    "strengthening-email-ecosystem-outlook%E2%80%99s-new-requirements-for-high%E2%80%90volume-senders/4399730",
    "Apple": "https://support.apple.com/102322",
    "La Poste": "https://postmaster.laposte.net/",
    "NTT docomo": "https://www.docomo.ne.jp/binary/pdf/info/news_release/topics_240522_00.pdf",
}

RULES: Mapping[str, Mapping[str, Literal["all", "bulk", "advice"]]] = {
    "authentication": {"Google": "all", "Yahoo": "all", "La Poste": "advice"},
    "spf": {"Google": "bulk", "Yahoo": "bulk", "Microsoft": "bulk", "Apple": "advice"},
    "dkim": {"Google": "bulk", "Yahoo": "bulk", "Microsoft": "bulk", "Apple": "advice"},
    "dmarc_record": {
        "Google": "bulk", "Yahoo": "bulk", "Microsoft": "bulk",
        "Apple": "advice", "La Poste": "advice", "NTT docomo": "advice",
    },
    "alignment": {
        "Google": "bulk", "Yahoo": "bulk", "Microsoft": "bulk",
        "La Poste": "advice", "NTT docomo": "advice",
    },
    "spam_rate": {"Google": "all", "Yahoo": "all"},
    "ptr": {"Google": "all", "Yahoo": "all", "Apple": "advice", "La Poste": "advice"},
    "tls": {"Google": "all"},
    "dkim_key": {"Google": "all", "Yahoo": "all"},
    "spf_lookups": {"Google": "all", "Yahoo": "all", "Microsoft": "all"},
    "one_click_unsubscribe": {"Google": "bulk", "Yahoo": "bulk"},
    "honour_unsubscribe": {"Google": "bulk", "Yahoo": "bulk"},
    "message_format": {"Google": "all", "Yahoo": "all", "Apple": "advice"},
}  # fmt: skip
"""Rule → provider → whom it is for; ``advice`` is for information. Who sends less must pass SPF
or DKIM, not both (`authentication`). SPF lookups: RFC 7208 section 4.6.4; Microsoft names it,
the others apply it."""


@dataclass(frozen=True)
class RuleText:
    """A rule in words: its name, what has to be so, and what to do when it is not."""

    name: str
    asks: str
    action: str


_WORDING: Mapping[str, tuple[str, str, str]] = {
    "authentication": (
        later("SPF or DKIM passes"),
        later("Every message passes SPF or DKIM."),
        later("Sender admin: sign every message, or use a return path that passes SPF."),
    ),
    "spf": (
        later("SPF passes"),
        later("SPF passes for the return path of the mail."),
        later("Sender admin: use a return path whose SPF record lists the sending addresses."),
    ),
    "dkim": (
        later("DKIM passes"),
        later("Every message carries a DKIM signature that passes."),
        later("Sender admin: sign every message; DNS admin: publish the sender's key."),
    ),
    "dmarc_record": (
        later("DMARC record"),
        later("The domain publishes a DMARC record, at least p=none."),
        later("DNS admin: publish one TXT record at _dmarc of the domain."),
    ),
    "alignment": (
        later("From is aligned"),
        later("The From domain agrees with the domain that passes SPF or DKIM."),
        later("Sender admin: sign with DKIM as the From domain, or use a return path below it."),
    ),
    "spam_rate": (
        later("Spam rate"),
        later("Spam complaint rate under 0.10%, never 0.30% or more."),
        later(
            "Sender admin: mail only those who asked for it, and stop the campaign that is "
            "reported."
        ),
    ),
    "ptr": (
        later("PTR record"),
        later("Every sending address has a PTR that resolves back to it."),
        later("Admin of the addresses: set PTR and forward records that agree."),
    ),
    "tls": (
        later("TLS"),
        later("Mail is handed over on an encrypted connection."),
        later("Sender admin: enable TLS for outgoing mail."),
    ),
    "dkim_key": (
        later("DKIM key length"),
        later("DKIM keys have at least 1,024 bits; 2,048 are advised."),
        later("Sender admin: make a key of 2,048 bits; DNS admin: publish it."),
    ),
    "spf_lookups": (
        later("SPF lookups"),
        later("The SPF record needs at most 10 DNS lookups."),
        later("DNS admin: take includes out of the SPF record that nobody needs any more."),
    ),
    "one_click_unsubscribe": (
        later("One-click unsubscribe"),
        later("Marketing mail supports one-click unsubscribe (RFC 8058)."),
        later("Sender admin: enable List-Unsubscribe-Post for marketing mail."),
    ),
    "honour_unsubscribe": (
        later("Unsubscribing works"),
        later("Unsubscribe requests are honoured within two days."),
        later("Sender admin: take unsubscribed addresses off every list within two days."),
    ),
    "message_format": (
        later("Message format"),
        later("Messages follow RFC 5322: one From header, a Message-ID, valid headers."),
        later("Sender admin: mend the headers that the provider names in its log."),
    ),
}
"""Rule → its name, what has to be so, and what to do when it is not."""


def wording(rule: str) -> RuleText:
    """Return the rule in the language in use."""
    return RuleText(*map(_, _WORDING[rule]))


def provider_of(reporter: str) -> str | None:
    """Return whose rules are those of a reporter of the shipped table; None for all others.

    AOL has Yahoo's; Yahoo! JAPAN has not, nor has Microsoft's business mail the consumers'.
    """
    return {"AOL": "Yahoo"}.get(reporter, reporter if reporter in PROVIDERS else None)


VERDICTS = {"not met": later("not met"), "met": later("met"), "unknown": later("unclear")}
"""the one that counts first: a fault, then what is known"""

VIEWS = ("reports", "postmaster", "dns")


def verdict_word(verdict: object) -> str:
    """Return a verdict in the language in use."""
    return _(VERDICTS[str(verdict)])


def view_word(view: str) -> str:
    """Return the name of one of `VIEWS` in the language in use."""
    return {"reports": _("reports"), "postmaster": "Postmaster Tools", "dns": "DNS"}[view]


def views_text(row: Any) -> str:
    """Return what each view says, of a row of `requirement_matrix`."""
    text = ""
    for view in (view for view in VIEWS if row[view] is not None):
        part = _("{view} {verdict}").format(view=view_word(view), verdict=verdict_word(row[view]))
        text = _("{parts}, {part}").format(parts=text, part=part) if text else part
    return text
