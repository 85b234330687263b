"""A local HTTP server that answers as the Postmaster Tools API v2 and Google's token endpoint do.

What it takes is checked against the discovery document that Google's client brings along:
paths, methods, parameters, the fields of bodies and their types, scopes. It knows domains
and values, gives pages and batches, and can be told to be busy or to refuse.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import googleapiclient
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SCOPE = "https://www.googleapis.com/auth/postmaster"
ACCOUNT = "reader@project.example"
CLIENT_ID = "100000000000000000001"
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}

FILTERS: dict[str, dict[str, set[str] | None]] = {
    "SPAM_RATE": {},
    "AUTH_SUCCESS_RATE": {"auth_type": {"spf", "dkim", "dmarc"}},
    "TLS_ENCRYPTION_RATE": {"traffic_direction": {"inbound", "outbound"}},
    "DELIVERY_ERROR_RATE": {"error_type": {"reject", "temp_fail"}, "error_reason": None},
    "DELIVERY_ERROR_COUNT": {"error_type": {"reject", "temp_fail"}, "error_reason": None},
    "FEEDBACK_LOOP_ID": {"aggregation_key_type": {"FROM_HEADER", "ALL_DKIM"}},
    "FEEDBACK_LOOP_SPAM_RATE": {
        "feedback_loop_id": None,
        "aggregation_key_type": {"FROM_HEADER", "ALL_DKIM"},
    },
}
"""standardMetric → what its filter may hold, as the document's descriptions say"""


class Refused(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, message: str, reason: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.error: dict[str, Any] = {"code": status, "message": message}
        if reason:
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}
            self.error["details"] = [info]

    @property
    def of_item(self) -> dict[str, Any]:
        """The same as a google.rpc.Status."""
        return self.error | {"code": CODES[self.status]}


@cache
def document() -> dict[str, Any]:
    """The discovery document in the installed package."""
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    found: dict[str, Any] = json.loads((folder / "gmailpostmastertools.v2.json").read_text("utf-8"))
    return found


def methods(resources: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Every method of the document."""
    for resource in (document()["resources"] if resources is None else resources).values():
        yield from resource.get("methods", {}).values()
        yield from methods(resource.get("resources", {}))


def faults(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    """What of a value is not as the document says."""
    if "$ref" in schema:
        schema = document()["schemas"][schema["$ref"]]
    kind = schema["type"]
    known = {"object": dict, "array": list, "string": str, "integer": int}.get(kind, (int, float))
    if not isinstance(value, known) or isinstance(value, bool):
        yield f"{where}: {value!r} is no {kind}"
    elif kind == "object" and "properties" in schema:
        fields = schema["properties"]
        for name, about in fields.items():
            needed = about.get("description", "").startswith("Required.")
            if needed and name not in value:
                yield f"{where}.{name} is required"
        for name, part in value.items():
            if name not in fields:
                yield f"{where}: unknown field {name}"
            else:
                yield from faults(part, fields[name], f"{where}.{name}")
    elif kind == "array":
        for number, part in enumerate(value):
            yield from faults(part, schema["items"], f"{where}[{number}]")
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is not one of {schema['enum']}"


def conditions(text: str) -> dict[str, str]:
    """A filter's names and values. Refused when it is written in another way."""
    one = r'(\w+) = "((?:[^"\\]|\\.)*)"'
    if text and not re.fullmatch(f"{one}(?: AND {one})*", text):
        raise Refused(400, f"Invalid filter: {text}")
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in re.findall(one, text)}


def metric_key(definition: dict[str, Any]) -> tuple[str, ...]:
    """Standard metric and the values of its filter: ``("AUTH_SUCCESS_RATE", "spf")``."""
    standard = definition["baseMetric"]["standardMetric"]
    allowed = FILTERS[standard]
    asked = conditions(definition.get("filter", ""))
    for name, value in asked.items():
        if name not in allowed or (allowed[name] is not None and value not in allowed[name]):
            raise Refused(400, f"Invalid filter of {standard}: {name} = {value}")
    if standard in ("AUTH_SUCCESS_RATE", "TLS_ENCRYPTION_RATE") and not asked:
        raise Refused(400, f"{standard} needs a filter")
    return (standard, *(asked[name] for name in allowed if name in asked))


@dataclass
class PostmasterServer:
    """The server as a test sees it."""

    url: str = ""
    domains: dict[str, dict[str, str]] = field(default_factory=dict)
    """name → permission and verificationState"""
    values: dict[tuple[str, date], dict[tuple[str, ...], Any]] = field(default_factory=dict)
    """domain and day → metric (see `metric_key`) → StatisticValue"""
    status: dict[str, dict[str, Any]] = field(default_factory=dict)
    """domain → DomainComplianceStatus"""
    granted: set[str] = field(
        default_factory=lambda: {f"{SCOPE}.domain", f"{SCOPE}.traffic.readonly"}
    )
    """scopes that the administrator or user agreed to"""
    subjects: set[str] = field(default_factory=set)
    """users in whose name the service account may ask"""
    planned: deque[Refused] = field(default_factory=deque)
    items: dict[str, deque[Refused]] = field(default_factory=dict)
    """domain → how the next queries about it in a batch are refused"""
    whole_batches: bool = False
    """a domain without permission refuses the batch that it is in"""
    page: int = 200
    """results in a page at most; Google may give fewer than asked for"""
    requests: list[tuple[str, Any]] = field(default_factory=list)
    """method id and body (or parameters) of every request that the document knows"""
    tokens: dict[str, set[str]] = field(default_factory=dict)

    def add(self, domain: str, permission: str = "OWNER", state: str = "VERIFIED") -> None:
        """A domain that the account sees."""
        self.domains[domain] = {"permission": permission, "verificationState": state}

    def says(self, domain: str, day: date, *metric: str, **value: Any) -> None:
        """A value: ``says("example.com", day, "SPAM_RATE", doubleValue=0.001)``."""
        self.values.setdefault((domain, day), {})[metric] = value

    def will_refuse(
        self, status: int, message: str = "no", reason: str = "", times: int = 1, **more: Any
    ) -> None:
        """The next requests are answered like this."""
        self.planned.extend(Refused(status, message, reason, **more) for _ in range(times))

    def asked(self, method: str) -> list[Any]:
        """The bodies or parameters of the requests of one method, such as ``domains.list``."""
        return [body for name, body in self.requests if name == f"gmailpostmastertools.{method}"]

    def answer(self, verb: str, target: str, bearer: str, body: Any) -> dict[str, Any]:
        """The answer to a request. Raises Refused."""
        parts = urlsplit(target)
        method, path = self._method(verb, parts.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        for name in set(query) - {"alt"}:
            if method["parameters"].get(name, {}).get("location") != "query":
                raise Refused(400, f"Unknown parameter {name}")
        wrong = list(faults(body, method["request"], "body")) if "request" in method else []
        if wrong:
            raise Refused(400, "; ".join(wrong))
        if bearer not in self.tokens:
            raise Refused(401, "Request had invalid authentication credentials.")
        self.requests.append((method["id"], query if body is None else body))
        if self.planned:
            raise self.planned.popleft()
        if not self.tokens[bearer] & set(method["scopes"]):
            reason = "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            raise Refused(403, "Request had insufficient authentication scopes.", reason)
        name = method["id"].removeprefix("gmailpostmastertools.").replace(".", "_")
        found: dict[str, Any] = getattr(self, f"_{name}")(path, query, body)
        own = list(faults(found, method["response"], "answer"))
        assert not own, own  # the server too follows the document
        return found

    def _method(self, verb: str, path: str) -> tuple[dict[str, Any], str]:
        for method in methods():
            pattern = re.sub(r"\{\w+\}", "([^/:]+)", method["flatPath"])
            if verb == method["httpMethod"] and (found := re.fullmatch(f"/{pattern}", path)):
                return method, unquote(found[1]) if found.groups() else ""
        raise Refused(404, f"no method {verb} {path}")

    def _domains_list(self, _path: str, query: dict[str, str], _body: Any) -> dict[str, Any]:
        size = int(query.get("pageSize", "10"))
        if size > 200:
            raise Refused(400, "page_size must be at most 200")
        start, names = int(query.get("pageToken", "0")), list(self.domains)
        end = start + min(size, self.page)
        found = [{"name": f"domains/{name}"} | self.domains[name] for name in names[start:end]]
        return {"domains": found} | ({"nextPageToken": str(end)} if names[end:] else {})

    def _domains_getComplianceStatus(self, domain: str, _query: Any, _body: Any) -> dict[str, Any]:
        self._may_read(domain)
        return {"name": f"domains/{domain}/complianceStatus"} | self.status.get(domain, {})

    def _domains_domainStats_query(
        self, domain: str, _query: Any, body: dict[str, Any]
    ) -> dict[str, Any]:
        return self._stats({"parent": f"domains/{domain}"} | body)

    def _domainStats_batchQuery(
        self, _path: str, _query: Any, body: dict[str, Any]
    ) -> dict[str, Any]:
        requests = body["requests"]
        if not 1 <= len(requests) <= 100:
            raise Refused(400, "A maximum of 100 requests can be included in a single batch.")
        results: list[dict[str, Any]] = []
        for request in requests:
            domain = request["parent"].removeprefix("domains/")
            try:
                if self.items.get(domain):
                    raise self.items[domain].popleft()
                results.append({"response": self._stats(request)})
            except Refused as error:
                if self.whole_batches and error.status == 403:
                    raise
                results.append({"error": error.of_item})
        return {"results": results}

    def _stats(self, request: dict[str, Any]) -> dict[str, Any]:
        domain = request["parent"].removeprefix("domains/")
        self._may_read(domain)
        size = request.get("pageSize", 10)
        if not 1 <= size <= 200:
            raise Refused(400, "page_size must be at most 200")
        ((span,),) = (request["timeQuery"]["dateRanges"]["dateRanges"],)
        first, last = (date(**span[edge]) for edge in ("start", "end"))
        if last < first:
            raise Refused(400, "start date is after end date")
        defined = [(m["name"], metric_key(m)) for m in request["metricDefinitions"]]
        found = [
            {"name": f"domains/{domain}/domainStats/x", "metric": name, "value": values[key]}
            | {"date": {"year": day.year, "month": day.month, "day": day.day}}
            for day in (first + timedelta(days=n) for n in range((last - first).days + 1))
            if (values := self.values.get((domain, day)))
            for name, key in defined
            if key in values
        ]
        start = int(request.get("pageToken", "0"))
        end = start + min(size, self.page)
        return {"domainStats": found[start:end]} | (
            {"nextPageToken": str(end)} if found[end:] else {}
        )

    def _may_read(self, domain: str) -> None:
        if domain not in self.domains:
            raise Refused(404, f"Domain {domain} not found.")
        if self.domains[domain]["permission"] == "NONE":
            raise Refused(403, "The caller does not have permission", "PERMISSION_DENIED")

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        """Google's token endpoint: a service account's assertion, or a refresh token."""
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != "known":
                raise Refused(400, "invalid_grant")
            scopes = set(form["scope"].split()) if "scope" in form else self.granted
        else:
            claims = form["assertion"].split(".")[1]
            asked = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
            scopes = set(asked["scope"].split())
            if "sub" in asked and asked["sub"] not in self.subjects:
                raise Refused(401, "unauthorized_client")
        if not scopes <= self.granted:
            raise Refused(401, "unauthorized_client")
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = scopes
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}


@cache
def _key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def service_account(server: PostmasterServer, folder: Path) -> Path:
    """A service account's file, as the console gives it, with this server for tokens."""
    path = folder / "service-account.json"
    info = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": _key(),
        "client_email": ACCOUNT,
        "client_id": CLIENT_ID,
        "token_uri": f"{server.url}token",
    }
    path.write_text(json.dumps(info), "utf-8")
    return path


def authorised_user(server: PostmasterServer, folder: Path, refresh_token: str = "known") -> Path:
    """An authorised user's file."""
    path = folder / "user.json"
    info = {
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "secret-of-the-client",
        "refresh_token": refresh_token,
        "token_uri": f"{server.url}token",
    }
    path.write_text(json.dumps(info), "utf-8")
    return path


@contextmanager
def postmaster_server() -> Iterator[PostmasterServer]:
    """Runs the server on a free port of 127.0.0.1 for the length of a ``with``."""
    google = PostmasterServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
            more: dict[str, str] = {}
            try:
                status, said = 200, self._answered(raw)
            except Refused as error:
                status, said = error.status, {"error": error.error}
                if self.path == "/token":
                    said = {"error": str(error), "error_description": "as a test wants it"}
                if error.retry_after is not None:
                    more["Retry-After"] = str(error.retry_after)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(data)))
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _answered(self, raw: bytes) -> dict[str, Any]:
            if self.path == "/token":
                return google.token({k: v[0] for k, v in parse_qs(raw.decode()).items()})
            bearer = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            body = json.loads(raw) if raw else None
            return google.answer(self.command, self.path, bearer, body)

        do_GET = do_POST = _reply

        def log_message(self, *_args: object) -> None:
            """Tests need no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    google.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
