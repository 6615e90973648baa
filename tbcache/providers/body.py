"""The body of an answer, bounded as it comes and as it is unpacked.

httpx2 would unpack whatever encoding an answer names, several on top of each other too, and keep all
that follows the end of a packed body. Here an answer is plain or packed once by gzip, which is what
we ask for, and no step holds more than a piece beyond the bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tbcache.errors import UpstreamPayloadError
from tbcache.providers.deadline import time_left

#: What we ask for: every upstream and every proxy knows it.
ACCEPTED = "gzip"
_PIECE_BYTES = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16


def read_body(source: str, status: int, encoding: str, stream: Iterable[bytes], max_bytes: int) -> bytes:
    """All of ``stream``, unpacked.

    Raises:
      UpstreamPayloadError: more than ``max_bytes``, packed or unpacked, or packed in another way.
      httpx2.HTTPError: it broke off; httpx2.ReadTimeout: this thread's deadline has passed.
    """
    body = bytearray()
    try:
        for piece in _unpacked(_bounded(stream, max_bytes), encoding):
            time_left()
            body += piece
            if len(body) > max_bytes:
                raise _Refused(f"the answer is larger than {max_bytes} bytes")
    except zlib.error:
        raise UpstreamPayloadError(source, "the answer is wrongly compressed", status=status) from None
    except _Refused as refusal:
        raise UpstreamPayloadError(source, str(refusal), status=status) from None
    return bytes(body)


class _Refused(Exception):
    """The body is not to be read; says why."""


def _bounded(stream: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    # The bound holds for what comes in as well: what is packed may unpack to nothing for ever.
    received = 0
    for chunk in stream:
        received += len(chunk)
        if received > max_bytes:
            raise _Refused(f"the answer is larger than {max_bytes} bytes")
        time_left()
        yield chunk


def _unpacked(chunks: Iterable[bytes], encoding: str) -> Iterable[bytes]:
    named = encoding.strip().lower()
    if named in ("", "identity"):
        return chunks
    if named in ("gzip", "x-gzip"):
        return _gunzipped(chunks)
    raise _Refused(f"the answer is compressed as {named[:40]!r}, and {ACCEPTED} was asked for")


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    for chunk in chunks:
        # What follows the end is not fed to it: it would be kept.
        while chunk and not unpacker.eof:
            yield unpacker.decompress(chunk, _PIECE_BYTES)
            chunk = unpacker.unconsumed_tail
