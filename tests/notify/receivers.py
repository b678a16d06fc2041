"""Real receivers of alerts on loopback: an HTTP server that verifies signatures, and a mail server; each keeps what it got."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

KEY = "the key of the tests"
PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE_SECONDS) -> Any:
    """Poll until `condition` gives something true, and give that back."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.02)
    return value


def verify(headers: Any, body: bytes, key: str = KEY) -> bool:
    """Check a signature as a receiver does who read the specification and nothing of ckptd."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode()
    is_recent = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return is_recent and hmac.compare_digest(headers.get("webhook-signature", ""), f"v1,{expected}")


@dataclass
class Hook:
    """An HTTP server.

    Attributes:
        got: the messages that it took, as JSON.
        refused: how many requests it answered with another status than 200.
        status: what it answers.
        location: of a redirect.
        hold: set to let requests go that wait; a slow server is one that is not let go.
        end: set to let answers end; one that is not set keeps the connection open behind its thanks.
    """

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    verified: list[bool] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    refused: int = 0
    status: int = 200
    location: str = ""
    drip: bool = False
    hold: threading.Event = field(default_factory=threading.Event)
    end: threading.Event = field(default_factory=threading.Event)
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://localhost:{self.port}/alerts?from=ckptd"

    def kinds(self, what: str = "raised") -> list[str]:
        """Give the kinds of the messages that say so."""
        return [one["kind"] for one in self.got if one["what"] == what]

    def wait(self, kind: str, what: str = "raised") -> dict[str, Any]:
        """Wait for a message and give it."""
        return until(
            lambda: next((one for one in self.got if (one["kind"], one["what"]) == (kind, what)), None),
            f"{kind} {what} among {[(one['kind'], one['what']) for one in self.got]}",
        )


@contextmanager
def http_receiver(port: int = 0, context: ssl.SSLContext | None = None, **values: Any) -> Iterator[Hook]:
    """Run an HTTP server for as long as the block lasts."""
    hook = Hook(**values)
    for name in {"hold", "end"} - set(values):
        getattr(hook, name).set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.hold.wait(PATIENCE_SECONDS)
            hook.ids.append(self.headers["webhook-id"])
            if hook.status == 200:  # noted before it is answered: who sent it goes on at once
                hook.verified.append(verify(self.headers, body))
                hook.got.append(json.loads(body))
            else:
                hook.refused += 1
            self.send_response(hook.status)
            if hook.location:
                self.send_header("Location", hook.location)
            self.end_headers()
            if hook.status == 200:
                self.wfile.write(b"thanks" * (1 << 20 if hook.drip else 1))
                hook.end.wait(PATIENCE_SECONDS)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that went away is no fault of the server's

    server = Server(("127.0.0.1", port), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        hook.scheme = "https"
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        hook.hold.set()
        hook.end.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    """A mail server.

    Attributes:
        mails: what it took.
        raw: the same as bytes.
        logins: who logged in.
        secured: whether each came over TLS.
        answer: to each mail.
        refuses: a recipient that it does not know.
        goodbye: what it says at the end.
    """

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    secured: list[bool] = field(default_factory=list)
    answer: str = "250 taken"
    refuses: str = ""
    goodbye: str = "221 bye"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 — the name is aiosmtpd's
        if address == self.refuses:
            return "550 no such user\x1b[2J"
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 — the name is aiosmtpd's
        return self.goodbye

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 — aiosmtpd's name
        if self.answer.startswith("250"):
            self.raw.append(envelope.content)
            self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]  # of that policy it is an EmailMessage
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
            self.secured.append(session.ssl is not None)
        return self.answer

    def wait(self, kind: str) -> EmailMessage:
        """Wait for a mail about a kind of alert and give it."""
        return until(lambda: next((one for one in self.mails if one["X-Ckptd-Kind"] == kind), None), f"a mail about {kind}")


@contextmanager
def mail_receiver(
    context: ssl.SSLContext | None = None, *, security: str = "starttls", password: str = "", without: str = ""
) -> Iterator[Mailbox]:
    """Run a mail server for as long as the block lasts."""
    box = Mailbox()

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        box.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == password, handled=False)

    options: dict[str, Any] = {"authenticator": authenticate, "auth_required": bool(password), "auth_require_tls": True}
    options["auth_exclude_mechanism"] = [without] if without else []
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": context is not None}
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=0,
        ssl_context=context if security == "tls" else None,
        server_hostname="tests",
        ready_timeout=PATIENCE_SECONDS,
        **options,
    )
    _listen_anywhere(controller)
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


def _listen_anywhere(controller: Controller) -> None:
    """Start on a port that is free; the controller itself wants to know it before."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        controller.port = probe.getsockname()[1]
    controller.start()


@dataclass(frozen=True)
class Certificate:
    """A certificate that only who is told believes, for localhost."""

    file: Path
    context: ssl.SSLContext


def make_certificate(directory: Path, name: str = "localhost") -> Certificate:
    """Make a certificate and what a server needs of it."""
    key, file = directory / f"{name}.key", directory / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)
