"""Google's own client for the Postmaster Tools API v2, and when it is asked again.

Version 1 of the API is not used: Google has retired it. The methods and fields come from
the discovery document that google-api-python-client brings along, so that nothing is
fetched to begin with.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from http.client import HTTPException
from typing import Any

from dmarckit.checks.postmaster_credentials import Identity, identity
from dmarckit.checks.postmaster_errors import (
    NO_CONNECTION,
    Refusal,
    explained,
    refusal_of_item,
    refusal_of_request,
    refused_token,
)
from dmarckit.checks.postmaster_metrics import Metric, Row, api_date, stat_row
from dmarckit.core.errors import PostmasterAccess, PostmasterError
from dmarckit.core.settings import Settings

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
        """A QueryDomainStatsRequest."""
        dates = {"start": api_date(self.first), "end": api_date(self.last)}
        asked = {
            "parent": f"domains/{self.domain}",
            "metricDefinitions": [
                metric.definition(f"m{number}") for number, metric in enumerate(self.metrics)
            ],
            "timeQuery": {"dateRanges": {"dateRanges": [dates]}},
            "aggregationGranularity": "DAILY",
            "pageSize": PAGE,
        }
        return asked | ({"pageToken": page_token} if page_token else {})

    def rows(self, stats: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
        """Results of this query; what was not asked for is left out."""
        names = {f"m{number}": metric for number, metric in enumerate(self.metrics)}
        for stat in stats:
            metric = names.get(str(stat.get("metric")))
            row = stat_row(self.domain, metric, stat) if metric else None
            if row is not None:
                yield row


def connect(settings: Settings, sleep: Callable[[float], None] = time.sleep) -> PostmasterClient:
    """A client with the credentials of the settings. Google is not asked yet.

    Raises MissingExtra and SettingsError as `postmaster_credentials.identity` does.
    """
    asking = identity(settings)
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
        self._service = service
        self._asking = asking
        self._sleep = sleep

    def close(self) -> None:
        """Ends the connections."""
        self._service.close()

    def domains(self) -> list[dict[str, Any]]:
        """Every Domain that the credentials see, as Google describes it."""
        found: list[dict[str, Any]] = []
        request = self._service.domains().list(pageSize=PAGE)
        while request is not None:
            answer = self._call(request, "the list of domains")
            found += answer.get("domains") or ()
            request = self._service.domains().list_next(request, answer)
        return found

    def compliance(self, domain: str) -> dict[str, Any]:
        """The DomainComplianceStatus of now. Raises PostmasterError about this domain."""
        name = f"domains/{domain}/complianceStatus"
        request = self._service.domains().getComplianceStatus(name=name)
        return self._call(request, "the compliance status", domain)

    def stats(self, queries: Sequence[Query]) -> list[list[Row] | PostmasterError]:
        """For each query all its rows, page after page, or why Google refused it."""
        asked = [_Asked(query) for query in queries]
        while waiting := [one for one in asked if not one.done]:
            before = max(one.tries for one in waiting)
            if before:
                self._sleep(WAITS[before - 1])
            for start in range(0, len(waiting), BATCH):
                self._ask(waiting[start : start + BATCH])
        return [one.error or one.rows for one in asked]

    def _ask(self, batch: Sequence[_Asked]) -> None:
        """The next page of each. Only an item that was refused is asked on its own again."""
        bodies = [one.query.body(one.token) for one in batch]
        request = self._service.domainStats().batchQuery(body={"requests": bodies})
        try:
            results = self._call(request, "statistics").get("results") or []
        except PostmasterAccess:
            raise
        except PostmasterError:  # one domain without permission may take down the whole batch
            for one, body in zip(batch, bodies, strict=True):
                self._ask_alone(one, body)
            return
        if len(results) != len(batch):
            raise PostmasterAccess(
                f"Postmaster Tools answered {len(results)} of {len(batch)} queries of a batch; "
                "run it again later"
            )
        for one, result in zip(batch, results, strict=True):
            if error := result.get("error"):
                self._refused(one, refusal_of_item(error))
            else:
                one.take(result.get("response") or {})

    def _ask_alone(self, one: _Asked, body: dict[str, Any]) -> None:
        query = self._service.domains().domainStats().query
        try:
            request = query(parent=body["parent"], body=body)
            one.take(self._call(request, one.query.name, one.query.domain))
        except PostmasterAccess:
            raise
        except PostmasterError as error:
            one.error = error

    def _refused(self, one: _Asked, refusal: Refusal) -> None:
        if refusal.busy and one.tries < len(WAITS):
            one.tries += 1
            return
        error = explained(
            refusal, what=one.query.name, domain=one.query.domain, who=self._asking.who
        )
        if refusal.of_all:
            raise error
        one.error = error

    def _call(self, request: Any, what: str, domain: str = "") -> dict[str, Any]:
        """The answer to one request, asked for again while Google is busy or out of reach."""
        for wait in (*WAITS, None):
            refusal, retry_after, answer = self._once(request)
            if refusal is None:
                return answer
            if wait is None or not refusal.busy:
                raise explained(refusal, what=what, domain=domain, who=self._asking.who)
            self._sleep(min(max(wait, retry_after), LONGEST_WAIT))
        raise AssertionError("the last wait is None")

    def _once(self, request: Any) -> tuple[Refusal | None, float, dict[str, Any]]:
        from google.auth.exceptions import RefreshError, TransportError
        from googleapiclient.errors import Error, HttpError
        from httplib2 import HttpLib2Error

        try:
            answer = request.execute()
        except HttpError as error:
            wait = str(error.resp.get("retry-after") or "")
            seconds = float(wait) if wait.isdigit() else 0.0
            return refusal_of_request(int(error.resp.status), error.content), seconds, {}
        except RefreshError as error:
            if error.retryable:
                return Refusal(503, "", "no token"), 0.0, {}
            raise refused_token(
                error, who=self._asking.who, client_id=self._asking.client_id
            ) from None
        except (TransportError, HttpLib2Error, HTTPException, OSError) as error:
            return Refusal(504, NO_CONNECTION, f"{type(error).__name__}: {error}"), 0.0, {}
        except (Error, ValueError) as error:  # an answer that is no JSON
            return Refusal(502, "", f"unreadable answer: {error}"), 0.0, {}
        return (None, 0.0, answer) if isinstance(answer, dict) else (_NO_OBJECT, 0.0, {})


_NO_OBJECT = Refusal(502, "", "the answer is no JSON object")


class _Asked:
    """How far a query has come."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.rows: list[Row] = []
        self.error: PostmasterError | None = None
        self.token = ""
        self.tries = 0
        """refusals in a row that may pass"""
        self.done_with_pages = False

    @property
    def done(self) -> bool:
        return self.done_with_pages or self.error is not None

    def take(self, answer: Mapping[str, Any]) -> None:
        self.rows += self.query.rows(answer.get("domainStats") or ())
        token = str(answer.get("nextPageToken") or "")
        self.done_with_pages = not token or token == self.token  # a token that repeats never ends
        self.token, self.tries = token, 0
