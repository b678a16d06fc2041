"""Requests: two methods, three paths, and only for this machine."""

from __future__ import annotations

import pytest

from ckptd.health.application import Answer, find_answer, make_application, say

ROUTES = {"/healthz": lambda: say([], "ok"), "/metrics": lambda: Answer("200 OK", b"m 1\n", "text/x")}


def ask(path="/healthz", method="GET", host="localhost:9476", *, asks_host=True):
    return find_answer({"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": host}, ROUTES, asks_host=asks_host)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True), ("LOCALHOST:80", True), ("127.0.0.1:9476", True), ("127.8.9.1", True), ("[::1]:9476", True),
        ("[::1]", True), ("", True),
        ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example:80", False),
        ("192.168.1.7", False), ("[::ffff:10.0.0.1]", False), ("0.0.0.0", False), ("[fe80::1]", False), ("[", False),
        ("localhost@evil.example", False), ("2130706433", False),
    ],
)  # fmt: skip
def test_a_request_to_another_host_is_refused(host, is_local):
    """A web page whose name was made to point here can't read anything; on a unix socket there is no such page."""
    assert ask(host=host).status.startswith("200" if is_local else "421")
    assert ask(host=host, asks_host=False).status == "200 OK"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"])
def test_a_request_that_could_change_something_is_refused(method):
    """With the two methods that there are."""
    answer = ask(method=method)
    assert answer.status == "405 Method Not Allowed"
    assert ("Allow", "GET, HEAD") in answer.headers


@pytest.mark.parametrize("path", ["", "/", "/healthz/", "/healthz/../metrics", "/HEALTHZ", "//metrics", "/metrics\0", "*"])
def test_other_paths_are_not_found(path):
    """And the answer names those that there are, and nothing of the request."""
    assert ask(path) == Answer("404 Not Found", b"/healthz\n/metrics\n")


def test_a_no_has_its_reasons():
    """One a line, with the status that a load balancer understands."""
    assert say(["a", "b"], "ok") == Answer("503 Service Unavailable", b"a\nb\n")


def test_head_has_the_headers_of_get_and_no_body():
    """Its length is that of the body."""
    told = []
    application = make_application(ROUTES, asks_host=True)
    environ = {"REQUEST_METHOD": "HEAD", "PATH_INFO": "/metrics"}
    assert list(application(environ, lambda status, headers: told.append((status, dict(headers))))) == []
    ((status, headers),) = told
    assert status == "200 OK"
    assert (headers["Content-Length"], headers["Content-Type"], headers["Cache-Control"]) == ("4", "text/x", "no-store")
