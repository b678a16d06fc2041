"""URLs that alerts may be posted to.  No pydantic here: who sends asks it too."""

from __future__ import annotations

from urllib.parse import urlsplit

#: Names of this very machine: what goes there is seen by nobody on the way.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NO_URL = "is no URL of a web server; write https://host/path"


def check_url(url: str) -> str:
    """Take a URL that alerts may be posted to.

    Raises:
        ValueError: it is none, anybody on the way could read what is sent, or it holds a password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(_NO_URL) from None  # its words have a part of the URL, which may be the password
    if parts.scheme not in ("https", "http") or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(_NO_URL)
    if parts.username is not None or parts.password is not None:
        raise ValueError('holds a name or a password; put the URL into a file of its own, and name that in "url_file"')
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError("sends alerts in the clear; write https, or name a server on this very machine")
    return url
