"""Messages as they are queued: by the program's encoder, which is dramatiq's JSON where it has set none."""

from __future__ import annotations

from types import NoneType
from typing import Any

import dramatiq
import msgspec
from dramatiq.encoder import JSONEncoder
from dramatiq.message import get_encoder

#: What msgspec writes as dramatiq's own encoder does, or not at all, in a quarter of the time. Of other types
#: it has another idea, as of a NaN, or takes what that one refuses.
_PLAIN = frozenset((str, int, bool, NoneType))


def encode(message: dramatiq.Message[Any]) -> bytes:
    """The message as its worker decodes it."""
    if type(message) is not dramatiq.Message:
        return message.encode()
    encoder = get_encoder()
    if type(encoder) is JSONEncoder:
        values = (*message.args, *message.kwargs.values(), *message.options.values())
        if _PLAIN.issuperset(map(type, values)):
            try:  # suppress() would be dearer, and each job that is sent pays for this.
                return msgspec.json.encode(vars(message))
            except (UnicodeEncodeError, TypeError):
                pass  # Or of another type is its name, or a key.
    # A message has its fields and nothing else: dramatiq's own way finds out anew which those are.
    return encoder.encode({**vars(message)})
