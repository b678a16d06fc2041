"""The real server on loopback: strangers can make nothing grow, and who is slow makes room for who is not."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import resource
import socket
import threading

import pytest

from ckptd.health.application import Answer, make_application
from ckptd.health.listening import open_listener
from ckptd.health.serving import HEADER_BYTES, MOST_CONNECTIONS, Server
from ckptd.sandbox.closing import GuestSocket, take_pokes
from ckptd.settings.health import SocketAddress, TcpAddress
from tests.e2e.running import wait_for
from tests.sandbox.lingering import send, started

GOOD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
BIG = b"x" * (4 << 20)
PATIENCE_SECONDS = 30


class Served:
    """A server, what its application was asked, and clients of it."""

    def __init__(self, address, **kwargs):
        self.asked = []
        self.routes = routes = {"/healthz": lambda: Answer("200 OK", b"ok\n"), "/big": lambda: Answer("200 OK", BIG)}
        application = make_application(routes, asks_host=True)

        def noting(environ, start_response):
            self.asked.append(environ["REQUEST_METHOD"])
            return application(environ, start_response)

        self.server = Server(noting, open_listener(address, mode=0o600, group=""), **kwargs)

    @property
    def address(self):
        address = self.server.listener.address
        return (address.host, address.port) if isinstance(address, TcpAddress) else address.path

    def connect(self):
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        client.settimeout(PATIENCE_SECONDS)
        client.connect(self.address)
        return client

    def send(self, request):
        """Send bytes, and give all that comes until the other end closes."""
        with self.connect() as client:
            client.sendall(request)
            try:
                client.shutdown(socket.SHUT_WR)
            except OSError as error:  # ENOTCONN
                raise ConnectionResetError("it hung up") from error
            answer = b""
            while part := client.recv(1 << 16):
                answer += part
            return answer

    def get(self, method="GET", path="/healthz", **kwargs):
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS)
        connection.request(method, path, **kwargs)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body


@pytest.fixture
def served():
    opened = Served(TcpAddress("127.0.0.1", 0))
    yield opened
    opened.server.close()


def test_it_answers(served):
    """GET and HEAD; whatever HTTP the client speaks."""
    assert served.get() == (200, b"ok\n")
    assert served.get("HEAD") == (200, b"")
    assert served.send(GOOD).startswith(b"HTTP/1.1 200 ")
    assert served.send(b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nok\n")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_one_answer(served, version):
    """A hundred requests in one packet, whose answers nobody reads, make no more than one of them."""
    request = f"GET /big HTTP/{version}\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n".encode()
    with served.connect() as client:
        client.sendall(request * 100)
        answer = client.makefile("rb").read()
    assert answer.count(b"HTTP/1.") == 1
    assert answer.endswith(BIG)
    assert served.asked == ["GET"]


def test_it_answers_on_a_unix_socket(tmp_path):
    """And takes its file with it."""
    served = Served(SocketAddress(str(tmp_path / "s")))
    assert served.send(GOOD).endswith(b"ok\n")
    served.server.close()
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("flags", [0, socket.MSG_OOB])
def test_a_descriptor_that_takes_its_time_to_close_holds_up_nobody(tmp_path, monkeypatch, flags):
    """Whoever may read the metrics can send one, before or in his request: others are answered all the same."""
    read, may_read = GuestSocket.recv, threading.Event()

    def recv(end, size):  # not before the sender has closed his own: else it is he whom it holds up
        assert may_read.wait(PATIENCE_SECONDS)
        return read(end, size)

    monkeypatch.setattr(GuestSocket, "recv", recv)
    served = Served(SocketAddress(str(tmp_path / "s")))
    kept = []
    for before in (b"", b"GET /heal"):
        kept.append(served.connect())
        kept[-1].sendall(before)
        kept += send(kept[-1], 1, flags)
    may_read.set()
    assert served.send(GOOD).endswith(b"ok\n")
    wait_for(lambda: not served.server._server.active_channels, "everybody to be gone")
    assert served.asked == ["GET"]
    served.server.close()
    assert not served.server._thread.is_alive()
    for end in kept:
        end.close()


def test_who_stands_before_the_door_at_the_end_holds_up_nobody(tmp_path):
    """He has sent what lingers, and was not let in any more."""
    listener = open_listener(SocketAddress(str(tmp_path / "s")), mode=0o600, group="")
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "s"))
    kept = [client, *send(client, 2)]
    take_pokes()
    with started(listener.sock):
        listener.close()
    for end in kept:
        end.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("body", [b"x", b"x" * 100_000, json.dumps({"paused": True}).encode()])
def test_a_body_is_refused_with_whatever_method(served, method, body):
    """Before the application hears of it."""
    status, _ = served.get(method, body=body)
    assert status == 413
    assert served.asked == []


def test_a_body_in_chunks_is_refused(served):
    """Its length is not known before it came."""
    request = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert served.send(request).startswith(b"HTTP/1.1 413 ")
    assert served.asked == []


def test_other_methods_are_refused(served):
    """Also those that nobody knows."""
    for method in ("POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
        assert served.get(method)[0] == 405


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n",
        b"\0" * 4096,
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: a\n\n",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
        b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(12),
)
def test_what_is_no_request_of_ours_gets_no_page_and_does_no_harm(served, request_bytes):
    """Malformed, too long, another protocol, another host: refused, and the next one is served."""
    try:
        answer = served.send(request_bytes)
    except ConnectionError:  # it hung up on us while we were still talking
        answer = b""
    assert b"ok\n" not in answer
    assert b" 500 " not in answer
    assert served.get() == (200, b"ok\n")


def test_headers_have_a_limit(served):
    """More than 8 KiB are never kept."""
    long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * HEADER_BYTES + b"\r\n\r\n"
    with contextlib.suppress(ConnectionError):  # it hangs up while we are still talking
        assert served.send(long).startswith(b"HTTP/1.0 431 ")
    assert served.asked == []


def test_who_says_nothing_or_reads_nothing_ends_in_time():
    """A connection lasts so long and no longer, whether its client drips bytes, is silent, or lets an answer lie."""
    served = Served(TcpAddress("127.0.0.1", 0), connection_seconds=0.3)
    with served.connect() as silent, served.connect() as dripping, served.connect() as deaf:
        dripping.sendall(b"GET /heal")
        deaf.sendall(GOOD.replace(b"/healthz", b"/big"))
        for client in (silent, dripping):
            with contextlib.suppress(ConnectionError):
                assert client.recv(1) == b""
        wait_for(lambda: len(served.server.sockets) <= 2, "all connections to end")
    served.server.close()


def test_a_thousand_connections_leave_nothing_behind(served):
    """More at once than it takes, in four floods: those that wait get their turn, and every descriptor comes back."""
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 400, hard
    for _ in range(4):
        clients = [served.connect() for _ in range(MOST_CONNECTIONS + 60)]
        for number, client in enumerate(clients):
            client.sendall(GOOD if number % 2 else b"GET /heal")
        assert len(served.server.sockets) <= MOST_CONNECTIONS + 2
        for client in clients:
            client.close()
    results = []

    def hammer():
        results.extend(served.get() for _ in range(125))

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(200, b"ok\n")] * 500
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, "every descriptor to come back")


def test_the_end_does_not_wait_for_anybody(served):
    """Open connections, half a request, an answer that nobody reads: the address is free afterwards."""
    clients = [served.connect() for _ in range(3)]
    clients[1].sendall(b"GET /heal")
    clients[2].sendall(GOOD.replace(b"/healthz", b"/big"))
    address = served.server.listener.address
    served.server.close()
    for client in clients:
        client.close()
    open_listener(address, mode=0, group="").close()
    assert not [thread for thread in threading.enumerate() if thread.name == "health-http"]


def test_the_end_wakes_nobody_who_has_ended_by_himself(served, monkeypatch):
    """A client comes in that very moment, and the thread sees the end before it is woken: its pipe may be another's by now."""
    server = served.server
    ends = os.pipe2(os.O_NONBLOCK)
    reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 500) for fd in ends)  # numbers that are not those of before
    number = server._server.trigger.trigger

    class Ending(threading.Event):
        def set(self):
            super().set()
            served.connect().close()
            server._thread.join(PATIENCE_SECONDS)
            os.dup2(writer, number)

    server._ending = Ending()
    monkeypatch.setattr(server._thread, "is_alive", lambda: True)  # as it is in its last instruction
    try:
        server.close()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        for fd in {*ends, reader, writer, number}:
            os.close(fd)


def test_the_pipe_is_not_closed_while_the_thread_is_woken(served, monkeypatch):
    """It ends in that very moment, because a client comes: it waits until it was woken."""
    server = served.server
    wake = server._server.pull_trigger

    def wake_late():
        served.connect().close()
        server._thread.join(0.5)
        wake()

    monkeypatch.setattr(server._server, "pull_trigger", wake_late)
    server.close()
    server._thread.join(PATIENCE_SECONDS)
    assert server.sockets == {}


def test_who_still_answers_after_the_end_wakes_nobody_else(served):
    """He hangs, and wakes the thread when he is done: his pipe stays open, so that its number is nobody else's."""
    asked, may_go = threading.Event(), threading.Event()

    def hang():
        asked.set()
        may_go.wait(PATIENCE_SECONDS)
        return Answer("200 OK", b"ok\n")

    served.routes["/hang"] = hang
    server, client = served.server, served.connect()
    client.sendall(GOOD.replace(b"/healthz", b"/hang"))
    assert asked.wait(PATIENCE_SECONDS)
    pipe = server._server.trigger._fds
    before = [os.fstat(fd).st_ino for fd in pipe]
    address = server.listener.address
    server.close()
    try:
        assert [os.fstat(fd).st_ino for fd in pipe] == before
        open_listener(address, mode=0, group="").close()
    finally:
        client.close()
        may_go.set()
        wait_for(lambda: not server._server.task_dispatcher.threads, "his end")
    for fd in pipe:
        os.close(fd)
