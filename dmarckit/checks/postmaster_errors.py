"""What Google answers when it refuses, in one line that says what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmarckit.core.errors import PostmasterAccess, PostmasterError, one_line

CONSOLE = "https://console.cloud.google.com/apis/library/gmailpostmastertools.googleapis.com"
TOOLS = "https://postmaster.google.com"
SCOPE = "https://www.googleapis.com/auth/postmaster"
LIST_SCOPE = f"{SCOPE}.domain"
STATS_SCOPE = f"{SCOPE}.traffic.readonly"

BUSY_STATUS = (408, 429, 500, 502, 503, 504)
BUSY_CODES = {4: 504, 8: 429, 13: 500, 14: 503}
"""google.rpc.Code of a batch item → the HTTP status that says the same"""
STATUS_OF_CODE = BUSY_CODES | {3: 400, 5: 404, 7: 403, 16: 401}

_NOT_ENABLED = ("SERVICE_DISABLED", "accessNotConfigured")
_SCOPES = ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions", "insufficientScopes")
_RATE = ("RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded")
DENIED_STATUS = (400, 403, 404)
NO_CONNECTION = "no connection"  # a reason of our own, with status 504


@dataclass(frozen=True)
class Refusal:
    """An error as Google gives it, of a request or of one item of a batch."""

    status: int
    """HTTP status"""
    reason: str
    """machine-readable, such as SERVICE_DISABLED; empty: none was given"""
    message: str

    @property
    def busy(self) -> bool:
        """The same question may be answered later: quota, or a fault on Google's side."""
        return self.status in BUSY_STATUS or (self.status == 403 and self.reason in _RATE)

    @property
    def of_all(self) -> bool:
        """It has nothing to do with the domain that was asked about."""
        known = (*_NOT_ENABLED, *_SCOPES, *_RATE)
        return self.busy or self.status not in DENIED_STATUS or self.reason in known


def refusal_of_request(status: int, content: bytes) -> Refusal:
    """The error in the body of an answer; a proxy may have put any text there."""
    try:
        error = json.loads(content)["error"]
        return Refusal(status, _reason(error), str(error.get("message") or ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(status, "", content[:200].decode("utf-8", "replace"))


def refusal_of_item(error: Mapping[str, Any]) -> Refusal:
    """A google.rpc.Status, as a batch gives it for one of its items."""
    code = error.get("code")
    status = STATUS_OF_CODE.get(code, 500) if isinstance(code, int) else 500
    return Refusal(status, _reason(error), str(error.get("message") or ""))


def _reason(error: Mapping[str, Any]) -> str:
    """From ErrorInfo, else from the older list of errors."""
    for entry in (*(error.get("details") or ()), *(error.get("errors") or ())):
        if isinstance(entry, Mapping) and entry.get("reason"):
            return str(entry["reason"])
    return ""


def explained(refusal: Refusal, *, what: str, domain: str = "", who: str) -> PostmasterError:
    """The error to raise: what was wanted, and what a person has to do, in one line.

    `who` is whom Google knows us as. A `PostmasterAccess` when every further request would
    end the same way. A domain that may not be read at all gives the same text for each `what`.
    """
    wanted = what if not domain else f"{what} of {one_line(domain)}"
    if domain and refusal.status in (403, 404) and not refusal.of_all:
        wanted = one_line(domain)
    text = f"cannot read {wanted} from Postmaster Tools: {_advice(refusal, who)}"
    said = one_line(refusal.message, 160)
    source = "" if refusal.reason == NO_CONNECTION else f"HTTP {refusal.status}: "
    whole = f"{text} ({source}{said})"
    return PostmasterAccess(whole) if refusal.of_all else PostmasterError(whole)


def _advice(refusal: Refusal, who: str) -> str:
    if refusal.reason == NO_CONNECTION:
        return "nothing answers; check the network, the proxy and postmaster_url"
    if refusal.busy:
        if refusal.status in (429, 403):
            return "the quota is used up; run it again later, or raise the quota in the console"
        return "Google has a problem of its own; run it again later"
    if refusal.reason in _NOT_ENABLED:
        return f"enable the Gmail Postmaster Tools API for the credentials' project at {CONSOLE}"
    if refusal.reason in _SCOPES:
        return (
            f"the credentials lack a scope; grant {who} the scopes {LIST_SCOPE} (to list domains) "
            f"and {STATS_SCOPE}, or only the second and name the domains in postmaster_domains"
        )
    if refusal.status == 401:
        return "Google does not take the credentials; make a new key, or authorise the user again"
    if refusal.status == 403:
        return f"give {who} access to the domain at {TOOLS} (Manage users)"
    if refusal.status == 404:
        return f"the domain is not there for {who}; add and verify it at {TOOLS}"
    return "Google did not take the request"


def refused_token(error: Exception, *, who: str, client_id: str) -> PostmasterAccess:
    """Why Google gave no token for the credentials (`google.auth.exceptions.RefreshError`)."""
    said = one_line(error.args[0] if error.args else error, 160)
    if "unauthorized_client" in said or "access_denied" in said:
        advice = (
            "allow domain-wide delegation in the Admin console (Security, API controls) for "
            f"client ID {one_line(client_id, 60) or '(in the credentials file)'} with the scopes "
            f"{LIST_SCOPE} and {STATS_SCOPE} (only the second with postmaster_domains), or unset "
            "google_subject"
        )
    elif "invalid_scope" in said:
        advice = f"authorise the user for the scopes {LIST_SCOPE} and {STATS_SCOPE}"
    elif "invalid_grant" in said:
        advice = (
            "the key or the authorisation has been revoked or has expired, google_subject is no "
            "user, or this machine's clock is wrong; make a new key, or authorise the user again"
        )
    else:
        advice = "check the file that google_credentials names"
    return PostmasterAccess(f"Google gives {who} no access: {advice} ({said})")
