"""The thread with the port: waitress, with a bound on everything that a stranger could make grow; a connection is one answer.

Nothing here waits for the loop, and the loop waits for nothing here but, at the end, a second for the threads.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server

from ckptd.health.application import Application
from ckptd.health.listening import BACKLOG, Listener
from ckptd.sandbox.closing import GuestSocket, take_pokes

#: Connections at once; the next ones wait in the kernel until one ends.
MOST_CONNECTIONS = 64
#: From its first byte to its last a connection has so long; who is slow makes room for who is not.
CONNECTION_SECONDS = 60.0
#: A connection that says nothing ends after this.
IDLE_SECONDS = 15
HEADER_BYTES = 8 << 10
THREADS = 2
#: How often at least the thread looks whether something is to end, seconds.
_LOOK_SECONDS = 5.0
_END_SECONDS = 0.5
#: What waitress itself keeps beside connections: the port and the pipe that wakes it.
_OWN_SOCKETS = 2


class Server:
    """Serve an application until `close`.

    Args:
        application: called by two threads.
        listener: bound; closed at the end.
        connection_seconds: how long one connection may last.

    Attributes:
        sockets: what is open, by descriptor: connections, and two of its own.
    """

    def __init__(self, application: Application, listener: Listener, *, connection_seconds: float = CONNECTION_SECONDS) -> None:
        # It warns of each queue and each full house; that is what a flood is, and the log is not to be flooded.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        take_pokes()
        self.listener = listener
        self.sockets: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self.sockets,
            sockets=[listener.sock],
            threads=THREADS,
            backlog=BACKLOG,
            connection_limit=MOST_CONNECTIONS + _OWN_SOCKETS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=_LOOK_SECONDS,
            asyncore_loop_timeout=_LOOK_SECONDS,
            asyncore_use_poll=True,  # select() ends at descriptor 1,023
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=1,  # that is: none
            inbuf_overflow=HEADER_BYTES,
            log_socket_errors=False,
            expose_tracebacks=False,
            clear_untrusted_proxy_headers=True,
            ident=None,
        )
        self._server.channel_class = _make_channel(connection_seconds)
        self._ending = threading.Event()
        self._is_closed = False
        self._pipe_lock = threading.Lock()  # else the thread is woken when the number of its pipe is another's
        self._thread = threading.Thread(target=self._run, name="health-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End every connection and give the place back; a second call does nothing."""
        if self._ending.is_set():
            return
        self._ending.set()
        with self._pipe_lock:
            if not self._is_closed:
                self._server.pull_trigger()
        self._thread.join(2 * _END_SECONDS)
        self.listener.close()

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                wasyncore.loop(timeout=_LOOK_SECONDS, use_poll=True, map=self.sockets, count=1)
                self._end_channels(time.monotonic())
        finally:
            self._end_channels(math.inf)
            self._server.task_dispatcher.shutdown(timeout=_END_SECONDS)
            with self._pipe_lock:
                self._is_closed = True
                self._close_sockets()

    def _close_sockets(self) -> None:
        """Close what is open; one who still answers will write into the pipe at his end, so that it stays his for ever."""
        if self._server.task_dispatcher.threads:
            for own in (self._server, self._server.trigger):
                own.del_channel(self.sockets)
        self.listener.shut()
        wasyncore.close_all(self.sockets)

    def _end_channels(self, now: float) -> None:
        """End the connections whose time is over.

        waitress would wait until such a one can be written to, and who does not read keeps it from that for ever.
        """
        for channel in list(self._server.active_channels.values()):
            if now >= channel.ends_at:
                channel.handle_close()


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Read one request, and take it for the last of its connection: three hundred in one packet are one answer."""

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        self.headers["CONNECTION"] = "close"


def _make_channel(seconds: float) -> type[HTTPChannel]:
    """Make the class of a connection that knows when it ends, whatever goes on in it.

    A unix socket takes descriptors, too, and one that lingers would hold up the thread: who sends one is shown out.
    """

    class Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
        parser_class = _Parser

        def __init__(self, server: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            self.ends_at = time.monotonic() + seconds
            super().__init__(server, GuestSocket(sock) if sock.family == socket.AF_UNIX else sock, *args, **kwargs)

    return Channel
