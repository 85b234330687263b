"""DKIM keys: those of the signatures that reports show, so the ones that are in use."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import date
from typing import Any

from dmarckit.checks.record import DnsRow, Fault, Phrase, dns_row, phrase, tag_list, unanswered_row
from dmarckit.checks.resolver import DnsClient, NoAnswer
from dmarckit.core import count, one_line

SHORT = 1024  # bits below which Google and Yahoo treat an RSA signature as none
WEAK = 2048  # what both advise, and RFC 8301 asks signers to use


@dataclass(frozen=True)
class Key:
    """A key that signatures in reports name: d=, s=, and how much it is used."""

    domain: str
    selector: str
    messages: int
    """messages that carry it and are the domain's own, in the days looked at"""
    last_day: date


def check_dkim(ask: DnsClient, key: Key) -> DnsRow:
    """Check a key."""
    name = f"{key.selector}._domainkey.{key.domain}"
    used: dict[str, Any] = {"messages": key.messages, "last_day": key.last_day.isoformat()}
    try:
        texts = ask.texts(name)
    except NoAnswer:
        return unanswered_row("dkim", name, **used)
    if not texts:
        return _missing(ask, name, key, used)
    records = [text for text in texts if "p" in tag_list(text)]
    if not records:
        faults = [_unreadable(name, phrase("it has no p="))]
    elif len(records) > 1:
        text = phrase("{name} has {n} keys; receivers may take any of them: keep the one in use.")
        faults = [Fault("several", "invalid", text.format(name=one_line(name), n=len(records)))]
    else:
        faults, read = _key_faults(name, tag_list(records[0]))
        used |= read
    return dns_row("dkim", name, records or texts, faults, **used)


def _missing(ask: DnsClient, name: str, key: Key, used: dict[str, Any]) -> DnsRow:
    code, alias = "missing", ask.alias(name)
    if alias:
        code = "dangling"
        used |= {"alias": one_line(alias)}
        text = phrase(
            "{name} points to {alias} (CNAME), where there is no key, and {n} messages carry this "
            "signature (last on {day}): have the service publish the key, or correct the CNAME."
        )
    else:
        text = phrase(
            "{name} has no key, and {n} messages carry this signature (last on {day}): publish the "
            "key of the signing server there, or stop signing with it."
        )
    seen = {"name": one_line(name), "n": count(key.messages), "day": key.last_day}
    fault = Fault(code, "missing", text.format(alias=one_line(alias), **seen))
    return dns_row("dkim", name, [], [fault], **used)


def _unreadable(name: str, why: Phrase) -> Fault:
    text = phrase(
        "The key at {name} cannot be read: {why}; publish it again as the signer gives it."
    )
    return Fault("syntax", "invalid", text.format(name=one_line(name), why=why))


def _key_faults(name: str, tags: dict[str, str]) -> tuple[list[Fault], dict[str, Any]]:
    """Return what is wrong with the one record, and what was read out of it."""
    kind = tags.get("k", "rsa").lower()
    read: dict[str, Any] = {"kind": one_line(kind, 20)}
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return [_unreadable(name, phrase("it does not start with v=DKIM1"))], read
    if not tags["p"]:
        text = phrase("The key at {name} is revoked (p= is empty): stop signing with it.")
        return [Fault("revoked", "invalid", text.format(name=one_line(name)))], read
    try:
        raw = base64.b64decode("".join(tags["p"].split()), validate=True)
    except ValueError:
        return [_unreadable(name, phrase("p= is not base64"))], read
    faults = []
    if tags.get("t") and "y" in tags["t"].lower().split(":"):
        text = phrase(
            "t=y marks the key at {name} as a test, so receivers may ignore it; remove t=y."
        )
        faults.append(Fault("testing", "weak", text.format(name=one_line(name))))
    if kind == "ed25519":
        right = len(raw) == 32  # RFC 8463 section 4.2
        return faults if right else [_unreadable(name, phrase("it is no Ed25519 key"))], read
    if kind != "rsa":
        return [_unreadable(name, phrase("its kind (k=) is neither rsa nor ed25519"))], read
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        public = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, RSAPublicKey):
        return [_unreadable(name, phrase("it is no RSA key"))], read
    bits = public.key_size
    if bits < SHORT:
        text = phrase(
            "The key at {name} is {bits} bits; Google and Yahoo require at least 1024. Sign with "
            "a new 2048-bit key under a new selector."
        )
        faults.insert(0, Fault("short", "invalid", text.format(name=one_line(name), bits=bits)))
    elif bits < WEAK:
        text = phrase(
            "The key at {name} is {bits} bits; 2048 is recommended. Sign with a new 2048-bit key "
            "under a new selector."
        )
        faults.insert(0, Fault("weak_key", "weak", text.format(name=one_line(name), bits=bits)))
    return faults, read | {"bits": bits}
