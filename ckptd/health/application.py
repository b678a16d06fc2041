"""Answer requests: three paths, two methods, and no request that changes anything.

A body is refused before this is called (`serving`).  On TCP the Host header has to name this machine: else a web page
somewhere, whose name was made to point to 127.0.0.1, could read the answers in the browser of who looks at it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Of WSGI: Source: PEP 3333.
Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent; `status` is the line of HTTP without its version."""

    status: str
    body: bytes
    content_type: str = _PLAIN
    headers: tuple[tuple[str, str], ...] = ()


def make_application(routes: Mapping[str, Callable[[], Answer]], *, asks_host: bool) -> Application:
    """Make the application.

    Threading: called by several threads at once.

    Args:
        routes: path → what gives the answer.
        asks_host: refuse requests to other hosts than this machine; a unix socket has none.
    """

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        given = find_answer(environ, routes, asks_host=asks_host)
        headers = [
            ("Content-Type", given.content_type),
            ("Content-Length", str(len(given.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        start_response(given.status, [*headers, *given.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [given.body]

    return answer


def find_answer(environ: Environ, routes: Mapping[str, Callable[[], Answer]], *, asks_host: bool) -> Answer:
    """Say what is answered to a request; nothing of the request is repeated in it."""
    if asks_host and not _is_local(str(environ.get("HTTP_HOST", ""))):
        return Answer("421 Misdirected Request", b"ask by 127.0.0.1, [::1] or localhost\n")
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return Answer("405 Method Not Allowed", b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
    route = routes.get(str(environ.get("PATH_INFO", "")))
    if route is None:
        return Answer("404 Not Found", "".join(f"{path}\n" for path in routes).encode())
    return route()


def say(reasons: list[str], good: str) -> Answer:
    """Answer yes with one word, or no with the reasons, a line each."""
    if not reasons:
        return Answer("200 OK", f"{good}\n".encode())
    return Answer("503 Service Unavailable", "".join(f"{reason}\n" for reason in reasons).encode())


def _is_local(host: str) -> bool:
    """Say whether a Host header names this machine; HTTP/1.0 may have none, and no browser speaks that."""
    name = host.partition("]")[0][1:] if host.startswith("[") else host.partition(":")[0]
    if not host or name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
