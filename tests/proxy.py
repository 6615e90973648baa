"""A way to a server that can be cut, for one process of many."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Proxy:
    """Passes bytes between a port of its own and ``port``, both on 127.0.0.1, until it is cut.

    ``refuse()``: connections break and new ones are refused. ``silence()``: connections stay, new
    ones are taken, nothing arrives; what was sent meanwhile arrives after ``mend()``. ``swallow()``: what is
    asked arrives, and its answer never does.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._is_passing = threading.Event()
        self._is_passing.set()
        self._is_swallowing = False
        #: An answer was lost, so what it answers was carried out.
        self.has_swallowed = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Listen, on the port of last time if there was one."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # A thread blocked in accept keeps a socket that is only closed.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            _break(one)

    def silence(self) -> None:
        self._is_passing.clear()

    def swallow(self) -> None:
        self._is_swallowing = True

    def mend(self) -> None:
        """Pass everything again."""
        self._is_swallowing = False
        self._is_passing.set()
        if self._listener is None:
            self.start()

    def close(self) -> None:
        self.refuse()
        self._is_passing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._is_passing.wait()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            _break(near)
            return
        with self._lock:
            self._sockets |= {near, far}
        threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()
        self._pass(near, far, False)

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65536):
                self._is_passing.wait()
                if is_answer and self._is_swallowing:
                    self.has_swallowed.set()
                else:
                    target.sendall(data)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {source, target}
            _break(source)
            _break(target)


def _break(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
