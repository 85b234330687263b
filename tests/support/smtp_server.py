"""A local SMTP server as `mail.example.com`, with STARTTLS (or TLS at once) and a login.

It keeps what it takes, and can be told what to answer: `server.will_answer("451 later")`.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST, USER, PASSWORD = "mail.example.com", "dmarc", "correct horse & battery"


@dataclass
class MailServer:
    """The server as a test sees it."""

    url: str = ""
    taken: list[tuple[list[str], bytes]] = field(default_factory=list)
    """recipients and bytes of each mail"""
    planned: deque[str] = field(default_factory=deque)
    """answers to the next mails, instead of taking them"""
    refuses: dict[str, str] = field(default_factory=dict)
    """recipient → answer"""
    goodbye: str = "221 Bye"
    tries: int = 0

    def will_answer(self, answer: str, times: int = 1) -> None:
        """Queues an answer to a mail."""
        self.planned.extend([answer] * times)

    def mail(self, number: int = -1) -> EmailMessage:
        """A mail that was taken."""
        return message_from_bytes(self.taken[number][1], policy=policy.default)  # type: ignore[return-value]

    def subjects(self) -> list[str]:
        """The subjects of the mails that were taken."""
        return [str(self.mail(n)["Subject"]).replace("\u2060", "") for n in range(len(self.taken))]

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.tries += 1
        if self.planned:
            return self.planned.popleft()
        assert isinstance(envelope.content, bytes)
        self.taken.append(([*envelope.rcpt_tos], envelope.content))
        return "250 taken"

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:
        return self.goodbye


def certificate(folder: Path) -> ssl.SSLContext:
    """A context of the server `HOST`; its certificate is in ``folder/ca.pem``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@contextmanager
def mail_server(
    folder: Path, *, tls: bool = True, implicit: bool = False, trusted: bool = True
) -> Iterator[MailServer]:
    """Runs the server on a free port of 127.0.0.1, where `HOST` is found meanwhile."""
    server = MailServer()

    def knows(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
        return AuthResult(success=good, handled=False)

    class OwnPort(Controller):
        def _trigger_server(self) -> None:
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    context = certificate(folder)
    how: dict[str, Any] = {"auth_require_tls": tls and not implicit}
    if tls and not implicit:
        how |= {"tls_context": context, "require_starttls": True}
    controller = OwnPort(
        server, "127.0.0.1", port=0, authenticator=knows,
        ssl_context=context if implicit else None, **how,
    )  # fmt: skip
    plain = socket.getaddrinfo

    def found(host: Any, *arguments: Any, **named: Any) -> Any:
        return plain("127.0.0.1" if host == HOST else host, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", found)
        if trusted:
            patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        controller.start()
        try:
            scheme = "smtps" if implicit else "smtp"
            server.url = f"{scheme}://{USER}@{HOST}:{controller.port}"
            yield server
        finally:
            controller.stop()
