"""Alerts as e-mail, over a connection that nobody else reads."""

from __future__ import annotations

import base64
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

from ckptd.errors import SettingsError
from ckptd.notify.interface import Options, UndeliveredError
from ckptd.notify.message import Message
from ckptd.notify.secret import Secret, read_secret
from ckptd.notify.words import describe
from ckptd.text import escape

#: Answers to a login.  Source: RFC 4954, section 4.
_GO_ON, _LOGGED_IN = 334, 235


@dataclass(frozen=True, slots=True)
class Server:
    """A mail server, and who logs in there.

    Attributes:
        security: starttls, tls or none.
        username: empty for nobody.
    """

    host: str
    port: int
    security: str
    context: ssl.SSLContext
    timeout_seconds: float
    username: str = ""
    password: Secret | None = None


class EmailNotifier:
    """Send messages by e-mail."""

    def __init__(self, server: Server, sender: str, recipients: Sequence[str]) -> None:
        self._server = server
        self._sender = sender
        self._recipients = tuple(recipients)

    def deliver(self, message: Message) -> str:
        """Send one message to all who get it; it is taken when it is for one of them, and the others are told."""
        mail = write_mail(message, self._sender, self._recipients)
        try:
            smtp = self._connect()
            try:
                refused = smtp.send_message(mail, self._sender, self._recipients)
                with suppress(OSError, smtplib.SMTPException):  # it has the mail: how it takes leave changes nothing
                    smtp.quit()
            finally:
                smtp.close()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise UndeliveredError("send an alert", path="the mail server", why=_describe(error)) from error
        return _say_refused(refused)

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        if server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=server.timeout_seconds, context=server.context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=server.timeout_seconds)
        try:
            if server.security == "starttls":
                smtp.starttls(context=server.context)  # raises where the server has none: it is never sent in the clear
            if server.username and server.password is not None:
                _log_in(smtp, server.username, server.password.reveal())
        except BaseException:
            smtp.close()
            raise
        return smtp


def _log_in(smtp: smtplib.SMTP, username: str, password: str) -> None:
    """Log in; smtplib writes logins in ASCII only, and names a character of the password that is none.

    Source: RFC 4616, section 2, for PLAIN; LOGIN is of no standard, and its servers take UTF-8 likewise.
    """
    if username.isascii() and password.isascii():
        smtp.login(username, password)
        return
    name, secret = username.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape")
    smtp.ehlo_or_helo_if_needed()
    ways = smtp.esmtp_features.get("auth", "").split()
    if "PLAIN" in ways:
        code, text = smtp.docmd("AUTH", "PLAIN " + _encode(b"\0".join((b"", name, secret))))
    elif "LOGIN" in ways:
        code, text = smtp.docmd("AUTH", "LOGIN " + _encode(name))
        if code == _GO_ON:
            code, text = smtp.docmd(_encode(secret))
    else:
        raise smtplib.SMTPNotSupportedError("it takes no login that is not ASCII")
    if code != _LOGGED_IN:
        raise smtplib.SMTPAuthenticationError(code, text)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def write_mail(message: Message, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Write a message as an e-mail; its id is the message's, so that a mailbox shows a double as one."""
    mail = EmailMessage(policy=SMTP)  # refuses line breaks in headers, but for those in an encoded word, which it decodes
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _plain(message.headline)
    mail["Date"] = formatdate(message.at)
    mail["Message-ID"] = f"<{_plain(message.id)}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Ckptd-Kind"] = _plain(message.kind)
    mail["X-Ckptd-Severity"] = _plain(message.severity)
    mail.set_content(describe(message))
    return mail


def make_email(options: Options, environ: Mapping[str, str]) -> EmailNotifier:
    """Build the channel.

    Raises:
        SettingsError: the password, or a certificate, can't be had.
    """
    ca_file, password_file = (str(options[name] or "") for name in ("ca_file", "password_file"))
    recipients = options["recipients"]
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SettingsError((f"notify.email.ca_file: {ca_file}: {error.strerror or error}",)) from error
    server = Server(
        host=str(options["host"]),
        port=int(str(options["port"])),
        security=str(options["security"]),
        context=context,
        timeout_seconds=float(str(options["timeout_seconds"])),
        username=str(options["username"] or ""),
        password=read_secret(password_file, environ) if password_file else None,
    )
    return EmailNotifier(
        server, str(options["sender"]), [str(one) for one in recipients] if isinstance(recipients, list) else []
    )


def _plain(text: str) -> str:
    """Break what begins an encoded word, so that nobody decodes what a name holds.  Source: RFC 2047, section 2."""
    return text.replace("=?", "= ?")


def _say_refused(refused: Mapping[str, tuple[int, bytes]]) -> str:
    """Say who does not get a mail that was taken for others; empty when all do."""
    said = (f"{name} ({code} {text.decode('utf-8', 'replace')})" for name, (code, text) in refused.items())
    return f"it refuses {escape(', '.join(said), 300)}" if refused else ""


def _describe(error: Exception) -> str:
    """Say what went wrong; what the server says is a stranger's, and a refused login says nothing of the password."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"it refuses the login (status {error.smtp_code})"
        case smtplib.SMTPRecipientsRefused():
            return "it refuses every recipient: " + escape(", ".join(map(str, error.recipients)), 300)
        case smtplib.SMTPResponseException():
            text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
            return f"it answers with status {error.smtp_code}: {escape(text, 200)}"
        case UnicodeError():  # it names the characters, and they may be a secret's
            return "something in the settings of the channel can't be written as mail servers want it"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not believed: {escape(error.verify_message, 200)}"
        case TimeoutError():
            return "it did not answer in time"
        case smtplib.SMTPException():
            return escape(str(error) or type(error).__name__, 200)
        case _:
            return escape(getattr(error, "strerror", None) or str(error) or type(error).__name__, 200)
