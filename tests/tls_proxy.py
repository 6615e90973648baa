"""A proxy that ends TLS in front of the API, as nginx does by the example of docs/api.md."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

OPENSSL = shutil.which("openssl")


class TlsProxy:
    """Listens by TLS on a port of 127.0.0.1, and asks ``port`` for each connection's one request.

    With ``is_mute`` it says neither for whom it asks, nor of which Host, as nginx does by itself.
    """

    def __init__(self, folder: Path, port: int, *, is_mute: bool = False) -> None:
        self.certificate, key = folder / "proxy.crt", folder / "proxy.key"
        subprocess.run(
            [
                *(str(OPENSSL), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=tests"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate, key)
        self._target, self._is_mute = ("127.0.0.1", port), is_mute
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, (address, _) = self._listener.accept()
                threading.Thread(target=self._serve, args=(near, address), daemon=True).start()

    def _serve(self, plain: socket.socket, address: str) -> None:
        with (
            contextlib.suppress(OSError),
            self._tls.wrap_socket(plain, server_side=True) as near,
            socket.create_connection(self._target) as far,
        ):
            head = b""
            while b"\r\n\r\n" not in head and (data := near.recv(65536)):
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)^content-length: (\d+)", head, re.MULTILINE)
            while length and len(body) < int(length[1]):
                body += near.recv(65536)
            far.sendall(self._rewritten(head, address) + body)
            while data := far.recv(65536):
                near.sendall(data)

    def _rewritten(self, head: bytes, address: str) -> bytes:
        first, *lines = head.decode("latin-1").split("\r\n")
        given = dict(line.split(": ", 1) for line in lines if not line.lower().startswith("connection:"))
        before = given.pop("X-Forwarded-For", None)
        if self._is_mute:
            given["Host"] = f"127.0.0.1:{self._target[1]}"
        else:
            given["X-Forwarded-For"] = f"{before}, {address}" if before else address
            given["X-Forwarded-Proto"] = "https"
        fields = (f"{name}: {value}" for name, value in given.items())
        return "\r\n".join((first, *fields, "Connection: close", "", "")).encode("latin-1")
