"""Alerts to an HTTP server: one POST a message, signed as the Standard Webhooks are, so that common libraries verify it.

    webhook-id         the id of the message, the same at each try
    webhook-timestamp  seconds since the epoch, of this try
    webhook-signature  v1,BASE64(HMAC-SHA256(key, "ID.TIMESTAMP.BODY"))

Source: the specification "Standard Webhooks", version 1.0.0, sections "Webhook headers" and "Signature scheme".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from ckptd import __version__
from ckptd.errors import SettingsError
from ckptd.notify.interface import Options, UndeliveredError
from ckptd.notify.message import Message
from ckptd.notify.secret import KEY_PREFIX, Secret, read_secret
from ckptd.settings.urls import check_url
from ckptd.text import escape


class WebhookNotifier:
    """Post messages.

    Args:
        url: https, or http to this machine.
        key: of the signature; None signs nothing.
        context: what is believed of a server.
        timeout_seconds: for each step of a connection.
        wall: seconds since the epoch.
    """

    def __init__(
        self,
        url: Secret,
        key: Secret | None,
        context: ssl.SSLContext | None,
        timeout_seconds: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._key = key
        self._context = context
        self._timeout = timeout_seconds
        self._wall = wall

    def deliver(self, message: Message) -> str:
        """Post one message; 200 to 299 is taken, everything else is not, a redirect neither."""
        parts = urlsplit(self._url.reveal())
        body = message.to_json().encode("ascii")
        connection = self._connect(parts.scheme, parts.hostname or "", parts.port)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, self._headers(message.id, body))
            status = connection.getresponse().status  # its body may never end, and there is nothing in it for us
        except (OSError, http.client.HTTPException, ValueError) as error:  # TLS, DNS, time-outs; an answer that is none
            raise _undelivered(_describe(error)) from error
        finally:
            connection.close()
        if 300 <= status < 400:
            raise _undelivered(
                f"it answers with status {status}: a redirect, which is not followed; name the last address itself"
            )
        if not 200 <= status < 300:
            raise _undelivered(f"it answers with status {status}")
        return ""

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._context)

    def _headers(self, number: str, body: bytes) -> dict[str, str]:
        at = str(int(self._wall()))
        headers = {"Content-Type": "application/json", "User-Agent": f"ckptd/{__version__}", "Connection": "close"}
        headers |= {"webhook-id": number, "webhook-timestamp": at}
        if self._key is not None:
            headers["webhook-signature"] = sign(self._key, number, at, body)
        return headers


def sign(key: Secret, number: str, at: str, body: bytes) -> str:
    """Give the signature of one try.

    Raises:
        SettingsError: the key says that it is base64, and is not.
    """
    text = key.reveal()
    try:
        raw = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True) if text.startswith(KEY_PREFIX) else text.encode()
    except (binascii.Error, ValueError) as error:
        raise SettingsError((f"secret of the webhook: begins with {KEY_PREFIX} and is no base64",)) from error
    digest = hmac.new(raw, b".".join((number.encode(), at.encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def make_webhook(options: Options, environ: Mapping[str, str]) -> WebhookNotifier:
    """Build the channel.

    Raises:
        SettingsError: a secret can't be had, or the URL is none.
    """
    url_file, secret_file, ca_file = (str(options[name] or "") for name in ("url_file", "secret_file", "ca_file"))
    url = read_secret(url_file, environ) if url_file else Secret(str(options["url"]))
    try:
        check_url(url.reveal())
        context = ssl.create_default_context(cafile=ca_file or None)
    except ValueError as error:
        raise SettingsError((f"notify.webhook.url: {error}",)) from error
    except OSError as error:
        raise SettingsError((f"notify.webhook.ca_file: {ca_file}: {error.strerror or error}",)) from error
    key = read_secret(secret_file, environ) if secret_file else None
    return WebhookNotifier(url, key, context, float(str(options["timeout_seconds"])))


def _describe(error: Exception) -> str:
    """Say what went wrong without the address, which may be a secret."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not believed: {escape(error.verify_message, 200)}"
        case socket.gaierror():
            return "its name is not known here"
        case TimeoutError():
            return "it did not answer in time"
        case OSError():
            return escape(error.strerror or type(error).__name__, 200)
        case _:
            return f"what it answers is no HTTP ({type(error).__name__})"


def _undelivered(why: str) -> UndeliveredError:
    return UndeliveredError("post an alert", path="the webhook", why=why)
