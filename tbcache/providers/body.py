"""The body of an answer, bounded as it is unpacked; who reads it bounds what comes in.

httpx2 would unpack whatever encoding an answer names, several on top of each other too, and keep all
that follows the end of a packed body. Here an answer is plain or packed once by gzip, which is what
we ask for, and no step holds more than a piece beyond the bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from tbcache.io.http_deadline import time_left
from tbcache.models.error import UpstreamPayloadError

#: The encoding that we ask for: every upstream and every proxy knows it.
ACCEPTED = "gzip"
_PIECE_BYTES = 64 * 1024
_GZIP = zlib.MAX_WBITS | 16


def unpack(source: str, status: int, encoding: str, packed: bytes, max_bytes: int) -> bytes:
    """All of ``packed``, unpacked.

    Raises:
      UpstreamPayloadError: more than ``max_bytes``, packed or unpacked, or packed in another way.
      httpx2.ReadTimeout: the deadline has passed.
    """
    body = bytearray()
    try:
        # The bound holds for what comes in as well: what is packed may unpack to nothing for ever.
        if len(packed) > max_bytes:
            raise _Refused(f"the answer is larger than {max_bytes} bytes")
        for piece in _unpacked(packed, encoding):
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


def _unpacked(packed: bytes, encoding: str) -> Iterable[bytes]:
    named = encoding.strip().lower()
    if named in ("", "identity"):
        return (packed,)
    if named in ("gzip", "x-gzip"):
        return _gunzipped(packed)
    raise _Refused(f"the answer is compressed as {named[:40]!r}, and {ACCEPTED} was asked for")


def _gunzipped(packed: bytes) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    uncopied = memoryview(packed)
    # It is unpacked piece by piece, as each step copies all that is not unpacked yet. What follows the end
    # is not fed to it.
    for start in range(0, len(uncopied), _PIECE_BYTES):
        piece: bytes | memoryview = uncopied[start : start + _PIECE_BYTES]
        while piece and not unpacker.eof:
            yield unpacker.decompress(piece, _PIECE_BYTES)
            piece = unpacker.unconsumed_tail
