"""What is left to do by hand once the stack is there: DNS records, and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dmarckit.facts.organisation import organisation

_LOCAL_PART = "dmarc"


@dataclass(frozen=True)
class Record:
    """A DNS record to publish."""

    name: str
    kind: str
    value: str
    why: str


def address_of(recipient: str) -> str:
    """The address to publish for a recipient of the rule, which may be a whole domain.

    >>> address_of("rua.example.com")
    'dmarc@rua.example.com'
    """
    return recipient if "@" in recipient else f"{_LOCAL_PART}@{recipient}"


def hosts_of(recipients: Sequence[str]) -> list[str]:
    """The domains that take the reports, each once."""
    return list(dict.fromkeys(address_of(r).rpartition("@")[2].lower() for r in recipients))


def records(recipients: Sequence[str], region: str, domains: Sequence[str]) -> list[Record]:
    """The MX of the reports' address, the rua tag, and what other domains need beside it.

    `domains` are those that will ask for reports. One that lies outside the organisation of
    the address needs the consent of that host (RFC 7489 section 7.1).
    """
    found = [
        Record(host, "MX", f"10 inbound-smtp.{region}.amazonaws.com", "so that SES gets the mails")
        for host in hosts_of(recipients)
    ]
    address = address_of(recipients[0])
    host = address.rpartition("@")[2].lower()
    for domain in domains or ("example.com",):
        why = "as the rua tag of its record; the other tags stay" + (
            "" if domains else ", for each of your domains"
        )
        found.append(Record(f"_dmarc.{domain}", "TXT", f"rua=mailto:{address}", why))
    for domain in domains:
        if organisation(domain) != organisation(host):
            name = f"{domain}._report._dmarc.{host}"
            found.append(Record(name, "TXT", "v=DMARC1", f"{host} agrees to take its reports"))
    return found


def settings_text(outputs: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """`dmarckit.toml` for a machine that works with the stack's buckets and queue."""
    values = {
        "home": outputs.get("HomeUrl", "").rstrip("/"),
        "mail": outputs.get("MailUrl", "").rstrip("/"),
        "watch_queue": outputs.get("QueueUrl", ""),
        "slack_channel": parameters.get("SlackChannel", ""),
        "presign_key_id": outputs.get("PresignKeyId", ""),
    }
    lines = [f'{name} = "{value}"' for name, value in values.items() if value]
    if values["presign_key_id"]:
        secret = f"{parameters.get('NamePrefix', 'dmarckit')}/link-signer"
        lines.append(f"# presign_secret is in Secrets Manager: {secret}")
    return "\n".join(lines) + "\n"
