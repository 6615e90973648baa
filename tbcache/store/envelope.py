"""The envelope an entry travels in: until when its value is fresh, and which clears its writer knew of.

``{"f":<fresh until>,"b":<birth>,"v":<JSON>}``: the numbers have 16 digits. Scripts read it by envelope.lua.
"""

from __future__ import annotations

from tbcache.store.codec import DecodeError
from tbcache.store.wire import MICROS

#: Fresh until long after anyone cares: such an entry lives as long as its key.
FOREVER = 9_007_199_254_740_991

#: The birth of what was loaded before there was any clear: the least number of 16 digits, as
#: JSON knows no leading zeros.
UNCLEARED = 1_000_000_000_000_000

#: By so much a process may be wrong about the server's time.
CLOCK_SLACK_SECONDS = 1.0

#: How long an envelope's part before the payload is.
HEAD_BYTES = 47
_FOOT = b"}"
_FRAME = b'{"f":,"b":,"v":'
#: The two numbers and what stands around them: the part by which an entry is known again.
_STAMPS_BYTES = 42


def seal(payload: bytes, fresh_until_us: int = FOREVER, birth: int = UNCLEARED) -> bytes:
    """Put ``payload`` into the envelope that admit.lua reads.

    ``fresh_until_us`` counts since the Unix epoch; ``birth`` is the sequence of the last clear that
    was known when its load began.
    """
    return b'{"f":%016d,"b":%016d,"v":%b}' % (fresh_until_us, birth, payload)


def open_envelope(data: bytes) -> tuple[int, int, bytes]:
    """Until when (us since the Unix epoch) an entry is fresh, its birth, and its payload.

    Raises:
      DecodeError: it is no envelope.
    """
    if data[-1:] != _FOOT:
        raise DecodeError("no envelope")
    return *read_head(data), data[HEAD_BYTES:-1]


def read_head(data: bytes) -> tuple[int, int]:
    """Until when (us since the Unix epoch) an entry is fresh, and its birth, from its first ``HEAD_BYTES``.

    Raises:
      DecodeError: it is no envelope.
    """
    fresh_until, birth = data[5:21], data[26:42]
    is_head = data[:5] + data[21:26] + data[42:HEAD_BYTES] == _FRAME
    if not (is_head and fresh_until.isdigit() and birth.isdigit()):
        raise DecodeError("no envelope")
    return int(fresh_until), int(birth)


def fresh_until(entry: bytes) -> int:
    """Until when (us since the Unix epoch) an entry is fresh; 0 for one that is damaged."""
    return _number(entry[5:21])


def is_credible(fresh_until_us: int, now_us: float, ttl_seconds: float) -> bool:
    """Whether an answer that was written to be fresh for ``ttl_seconds`` at most can be fresh until then: it
    cannot where the server's clock was set back meanwhile. admit.lua says the same.
    """
    return fresh_until_us <= now_us + (ttl_seconds + CLOCK_SLACK_SECONDS) * MICROS


def birth_of(entry: bytes) -> int:
    """The last clear that an entry's writer knew of; 0 for one that is damaged."""
    return _number(entry[26:42])


def value_of(entry: bytes) -> bytes:
    """The payload of an entry, which may be damaged."""
    return entry[HEAD_BYTES:-1]


def stamps_of(entry: bytes) -> bytes:
    """The part of an entry by which it is known again."""
    return entry[:_STAMPS_BYTES]


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else 0
