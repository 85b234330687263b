"""Google's own client for the Postmaster Tools API v2: credentials, questions, refusals.

Methods and fields come from the discovery document that google-api-python-client brings along.
The credentials are a service account's, with `google_subject` in the name of a user, or an
authorised user's. Nothing of their content is ever part of an error or a log line.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any

from pydantic import SecretStr

from dmarckit import core
from dmarckit.checks.postmaster_metrics import Metric, Row, api_date, stat_row
from dmarckit.core import PostmasterAccess, PostmasterError, Settings, SettingsError, one_line

CONSOLE = "https://console.cloud.google.com/apis/library/gmailpostmastertools.googleapis.com"
TOOLS = "https://postmaster.google.com"
LIST_SCOPE = "https://www.googleapis.com/auth/postmaster.domain"
STATS_SCOPE = "https://www.googleapis.com/auth/postmaster.traffic.readonly"

STATUS_OF_CODE = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 13: 500, 14: 503, 16: 401}
"""google.rpc.Code of a batch item → the HTTP status that says the same"""

_NOT_ENABLED = ("SERVICE_DISABLED", "accessNotConfigured")
_SCOPES = ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions", "insufficientScopes")
_RATE = ("RATE_LIMIT_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded")
NO_CONNECTION = "no connection"  # a reason of our own, with status 504


@dataclass(eq=False)
class Refusal(Exception):
    """An error as Google gives it, of a request or of one item of a batch."""

    status: int
    """HTTP status"""
    reason: str
    """machine-readable, such as SERVICE_DISABLED; empty: none was given"""
    message: str
    retry_after: float = 0.0
    """seconds that Google asks to wait"""

    @property
    def busy(self) -> bool:
        """Return True if the same question may be answered later: quota, or Google's fault."""
        busy = self.status in (408, 429, 500, 502, 503, 504)
        return busy or (self.status == 403 and self.reason in _RATE)

    @property
    def of_all(self) -> bool:
        """It has nothing to do with the domain that was asked about."""
        known = (*_NOT_ENABLED, *_SCOPES, *_RATE)
        return self.busy or self.status not in (400, 403, 404) or self.reason in known


def _reason(error: Mapping[str, Any]) -> str:
    """Return the reason from ErrorInfo, else from the older list of errors."""
    entries = (*(error.get("details") or ()), *(error.get("errors") or ()))
    given = (e["reason"] for e in entries if isinstance(e, Mapping) and e.get("reason"))
    return str(next(given, ""))


def _refusal_error(refusal: Refusal, who: str, what: str, domain: str = "") -> PostmasterError:
    """Make the error to raise: what was wanted and what a person has to do, in one line.

    A domain that may not be read at all gives the same text for each `what`.
    """
    wanted = f"{what} of {one_line(domain)}" if domain else what
    if domain and refusal.status in (403, 404) and not refusal.of_all:
        wanted = one_line(domain)
    source = "" if refusal.reason == NO_CONNECTION else f"HTTP {refusal.status}: "
    kind = PostmasterAccess if refusal.of_all else PostmasterError
    return kind(
        f"cannot read {wanted} from Postmaster Tools: {_advice(refusal, who)} "
        f"({source}{one_line(refusal.message, 160)})"
    )


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


def _token_error(error: Exception, asking: Identity) -> PostmasterAccess:
    said = one_line(error.args[0] if error.args else error, 160)
    if "unauthorized_client" in said or "access_denied" in said:
        client = one_line(asking.client_id, 60) or "(in the credentials file)"
        advice = (
            "allow domain-wide delegation in the Admin console (Security, API controls) for "
            f"client ID {client} with the scopes {LIST_SCOPE} and {STATS_SCOPE} "
            "(only the second with postmaster_domains), or unset google_subject"
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
    return PostmasterAccess(f"Google gives {asking.who} no access: {advice} ({said})")


NOT_CONNECTED = (
    "Postmaster Tools is not connected: set google_credentials to the JSON file of a Google "
    "service account or authorised user that may read your domains there"
)
_BROKEN = "setting google_credentials: this is no complete {}; download it again"


@dataclass(frozen=True)
class Identity:
    """Credentials of google.auth, and whom Google knows them as: an address, and a client ID."""

    credentials: Any
    who: str
    client_id: str


def google_identity(settings: Settings) -> Identity:
    """Read the credentials that the settings name. Google is not asked yet.

    Raises MissingExtra without Google's libraries, and SettingsError for credentials that are
    not there or not usable.
    """
    if not all(find_spec(name) for name in ("googleapiclient", "google_auth_httplib2")):
        raise core.MissingExtra(
            "Postmaster Tools needs Google's libraries; install them with: "
            "pip install 'dmarckit[google]'"
        )
    given = settings.google_credentials
    if given is None:
        raise SettingsError(NOT_CONNECTED)
    where, info = "its text", None
    try:
        if isinstance(given, SecretStr):
            info = json.loads(given.get_secret_value())
        else:
            where = one_line(given)
            info = json.loads(given.read_text("utf-8"))
    except OSError as error:
        text = f"setting google_credentials: cannot read {where}: {error.strerror}"
        raise SettingsError(text) from error
    except ValueError:  # it may quote what it read
        pass
    if not isinstance(info, Mapping):
        raise SettingsError(f"setting google_credentials: {where} holds no JSON object")
    kind = info.get("type")
    if kind == "service_account":
        return _service_account(info, settings)
    if kind == "authorized_user" or (kind is None and "refresh_token" in info):
        return _authorised_user(info, settings)
    raise SettingsError(
        f"setting google_credentials: it is of type {one_line(repr(kind), 40)}; "
        "service_account and authorized_user are possible"
    )


def _service_account(info: Mapping[str, Any], settings: Settings) -> Identity:
    from google.oauth2 import service_account

    # the fewest that suffice: the scope for statistics cannot list domains
    scopes = [STATS_SCOPE] if settings.postmaster_domains else [LIST_SCOPE, STATS_SCOPE]
    try:
        made = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            info, scopes=scopes, subject=settings.google_subject
        )
    except Exception:  # what the libraries raise for a broken key may quote it
        raise SettingsError(_BROKEN.format("service account's key")) from None
    email = str(info["client_email"])
    who = f"{settings.google_subject} (through {email})" if settings.google_subject else email
    return Identity(made, one_line(who, 120), str(info.get("client_id") or ""))


def _authorised_user(info: Mapping[str, Any], settings: Settings) -> Identity:
    from google.oauth2.credentials import Credentials

    if settings.google_subject:
        raise SettingsError(
            "setting google_subject: only a service account can ask in somebody's name; "
            "google_credentials is an authorised user"
        )
    needed = ("refresh_token", "client_id", "client_secret")
    if any(not isinstance(info.get(name), str) for name in needed):
        raise SettingsError(_BROKEN.format("authorised user"))
    # no scopes are asked for: the refresh token has those that its user agreed to
    made = Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=info["refresh_token"],
        token_uri=str(info.get("token_uri") or "https://oauth2.googleapis.com/token"),
        client_id=info["client_id"],
        client_secret=info["client_secret"],
        quota_project_id=info.get("quota_project_id"),
    )
    who = str(info.get("account") or "the authorised user")
    return Identity(made, one_line(who, 120), info["client_id"])


BATCH = 100  # queries in one request, the most that Google takes
PAGE = 200  # results or domains in one answer, the most that Google gives
WAITS = (2.0, 4.0, 8.0, 16.0, 32.0)  # seconds; quotas are counted by the minute
LONGEST_WAIT = 120.0  # of what Google may ask for with Retry-After


@dataclass(frozen=True)
class Query:
    """Some metrics of a domain, a value a day from `first` to `last`, both included."""

    domain: str
    name: str
    """what it asks for, in an error"""
    metrics: Sequence[Metric]
    first: date
    last: date

    def body(self, page_token: str) -> dict[str, Any]:
        """Return a QueryDomainStatsRequest."""
        dates = {"start": api_date(self.first), "end": api_date(self.last)}
        definitions = [
            {"name": f"m{n}", "baseMetric": {"standardMetric": metric.standard}}
            | ({"filter": metric.filter} if metric.filter else {})
            for n, metric in enumerate(self.metrics)
        ]
        asked = {
            "parent": f"domains/{self.domain}",
            "metricDefinitions": definitions,
            "timeQuery": {"dateRanges": {"dateRanges": [dates]}},
            "aggregationGranularity": "DAILY",
            "pageSize": PAGE,
        }
        return asked | ({"pageToken": page_token} if page_token else {})

    def rows(self, stats: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
        """Yield the results of this query; what was not asked for is left out."""
        names = {f"m{n}": metric for n, metric in enumerate(self.metrics)}
        for stat in stats:
            metric = names.get(str(stat.get("metric")))
            if metric and (row := stat_row(self.domain, metric, stat)):
                yield row


def connect(settings: Settings, sleep: Callable[[float], None] = time.sleep) -> PostmasterClient:
    """Make a client with the credentials of the settings, as `google_identity` reads them."""
    asking = google_identity(settings)
    # it warns of each 403, which we tell in our own words
    logging.getLogger("googleapiclient.http").setLevel(logging.ERROR)
    import google_auth_httplib2
    from googleapiclient.discovery import build
    from googleapiclient.http import build_http

    service = build(
        "gmailpostmastertools",
        "v2",
        http=google_auth_httplib2.AuthorizedHttp(asking.credentials, http=build_http()),
        static_discovery=True,
        client_options={"api_endpoint": f"{settings.postmaster_url.rstrip('/')}/"},
    )
    return PostmasterClient(service, asking, sleep)


class PostmasterClient:
    """The questions that dmarckit asks. Each raises PostmasterAccess when nothing can be asked."""

    def __init__(self, service: Any, asking: Identity, sleep: Callable[[float], None]) -> None:
        self._service, self._asking, self._sleep = service, asking, sleep

    def close(self) -> None:
        """End the connections."""
        self._service.close()

    def domains(self) -> list[dict[str, Any]]:
        """Return every Domain that the credentials see, as Google describes it."""
        found: list[dict[str, Any]] = []
        request = self._service.domains().list(pageSize=PAGE)
        while request is not None:
            answer = self._call(request, "the list of domains")
            found += answer.get("domains") or ()
            request = self._service.domains().list_next(request, answer)
        return found

    def compliance(self, domain: str) -> dict[str, Any]:
        """Return the DomainComplianceStatus of now. Raises PostmasterError about this domain."""
        name = f"domains/{domain}/complianceStatus"
        request = self._service.domains().getComplianceStatus(name=name)
        return self._call(request, "the compliance status", domain)

    def stats(self, queries: Sequence[Query]) -> list[list[Row] | PostmasterError]:
        """Return all rows of each query, page after page, or why Google refused it."""
        asked = [_QueryProgress(query) for query in queries]
        while waiting := [one for one in asked if not one.done]:
            if before := max(one.tries for one in waiting):
                self._sleep(WAITS[before - 1])
            for start in range(0, len(waiting), BATCH):
                self._ask(waiting[start : start + BATCH])
        return [one.error or one.rows for one in asked]

    def _ask(self, batch: Sequence[_QueryProgress]) -> None:
        """Ask for the next page of each; only an item that was refused is asked again alone."""
        bodies = [one.query.body(one.token) for one in batch]
        request = self._service.domainStats().batchQuery(body={"requests": bodies})
        try:
            results = self._call(request, "statistics").get("results") or []
        except PostmasterAccess:
            raise
        except PostmasterError:  # one domain without permission may take down the whole batch
            query = self._service.domains().domainStats().query
            for one, body in zip(batch, bodies, strict=True):
                try:
                    request = query(parent=body["parent"], body=body)
                    one.take(self._call(request, one.query.name, one.query.domain))
                except PostmasterError as error:
                    one.fail(error)
            return
        if len(results) != len(batch):
            raise PostmasterAccess(
                f"Postmaster Tools answered {len(results)} of {len(batch)} queries of a batch; "
                "run it again later"
            )
        for one, result in zip(batch, results, strict=True):
            if not (refused := result.get("error")):
                one.take(result.get("response") or {})
                continue
            code = refused.get("code")
            status = STATUS_OF_CODE.get(code, 500) if isinstance(code, int) else 500
            refusal = Refusal(status, _reason(refused), str(refused.get("message") or ""))
            if refusal.busy and one.tries < len(WAITS):
                one.tries += 1
                continue
            one.fail(_refusal_error(refusal, self._asking.who, one.query.name, one.query.domain))

    def _call(self, request: Any, what: str, domain: str = "") -> dict[str, Any]:
        """Return the answer to one request, asked again while Google is busy or out of reach."""
        try:
            return core.with_retries(
                lambda: self._once(request),
                lambda error: isinstance(error, Refusal) and error.busy,
                WAITS,
                sleep=self._sleep,
                # as planned, or the longer time that Google asks for
                pause=lambda error, planned: min(
                    max(planned, getattr(error, "retry_after", 0.0)), LONGEST_WAIT
                ),
            )
        except Refusal as refusal:
            raise _refusal_error(refusal, self._asking.who, what, domain) from None

    def _once(self, request: Any) -> dict[str, Any]:
        from google.auth.exceptions import RefreshError, TransportError
        from googleapiclient.errors import Error, HttpError
        from httplib2 import HttpLib2Error

        try:
            answer = request.execute()
        except HttpError as error:
            wait = str(error.resp.get("retry-after") or "")
            seconds = float(wait) if wait.isdigit() else 0.0
            try:
                said = json.loads(error.content)["error"]
                reason, message = _reason(said), str(said.get("message") or "")
            except (ValueError, KeyError, TypeError, AttributeError):  # a proxy's text
                reason, message = "", error.content[:200].decode("utf-8", "replace")
            raise Refusal(int(error.resp.status), reason, message, seconds) from None
        except RefreshError as error:
            if error.retryable:
                raise Refusal(503, "", "no token") from None
            raise _token_error(error, self._asking) from None
        except (TransportError, HttpLib2Error, HTTPException, OSError) as error:
            raise Refusal(504, NO_CONNECTION, f"{type(error).__name__}: {error}") from None
        except (Error, ValueError) as error:  # an answer that is no JSON
            raise Refusal(502, "", f"unreadable answer: {error}") from None
        if not isinstance(answer, dict):
            raise Refusal(502, "", "the answer is no JSON object")
        return answer


@dataclass(eq=False)
class _QueryProgress:
    query: Query
    rows: list[Row] = field(default_factory=list)
    error: PostmasterError | None = None
    token: str = ""
    tries: int = 0
    """refusals in a row that may pass"""
    done: bool = False

    def take(self, answer: Mapping[str, Any]) -> None:
        self.rows += self.query.rows(answer.get("domainStats") or ())
        token = str(answer.get("nextPageToken") or "")
        self.done = not token or token == self.token  # a token that repeats never ends
        self.token, self.tries = token, 0

    def fail(self, error: PostmasterError) -> None:
        if isinstance(error, PostmasterAccess):  # it has nothing to do with this query
            raise error
        self.error, self.done = error, True
