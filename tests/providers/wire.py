"""An upstream at the level of its bytes, for answers that no proper server would give."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: Answers one request, given the connection and what was read of the request.
Answer = Callable[[socket.socket, bytes], None]


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The address of a server that lets ``answer`` answer each connection, and closes it then."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                # What it sends is read, or the client has gone: a test must not hang on it.
                connection.settimeout(5)
                with connection:
                    answer(connection, _request(connection))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        is_over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def _request(connection: socket.socket) -> bytes:
    """A whole request: what is left unread when a connection is closed resets it, and its answer is lost."""
    request = b""
    while part := connection.recv(65536):
        request += part
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        if end and len(body) >= int(length[1] if length else 0):
            break
    return request


def always(head: bytes, *parts: bytes, again: bytes = b"") -> Answer:
    """Sends ``head`` and ``parts``, then ``again`` for as long as somebody reads."""

    def answer(connection: socket.socket, request: bytes) -> None:
        for part in (head, *parts):
            connection.sendall(part)
        while again:
            connection.sendall(again)

    return answer


def ok(*headers: str) -> bytes:
    """The head of a success, with ``headers`` like ``content-encoding: gzip``."""
    return "\r\n".join(("HTTP/1.1 200 OK", *headers, "", "")).encode()
