"""How a credential may stand in a text: as it is, or as a URL, HTML or JSON write it."""

from __future__ import annotations

import functools
import html
import re
from urllib.parse import quote, unquote

MASK = "***"
#: A shorter one stands in too many words by chance.
SHORTEST = 6


@functools.lru_cache(maxsize=256)
def forms(secret: str) -> str:
    """A regular expression that finds ``secret``, each sign of it in any of the forms."""
    return "|".join("".join(map(_sign, form)) for form in sorted({secret, unquote(secret)}))


def _sign(sign: str) -> str:
    # No encoding touches letters and digits, and where they come first the search is fast.
    if sign.isascii() and sign.isalnum():
        return sign
    code, escaped = f"{ord(sign):x}", html.escape(sign)
    found = {
        re.escape(sign),
        re.escape("\\" + sign),
        re.escape(escaped),
        f"(?i:{quote(sign, safe='')})",
        f"(?i:%{code:0>2})",
        rf"(?i:\\u{code:0>4}|\\x{code:0>2})",
        f"(?i:&#{ord(sign)};|&#x0*{code};)",
    }
    if sign == " ":
        found.add(r"\+")
    return f"(?:{'|'.join(sorted(found))})"
