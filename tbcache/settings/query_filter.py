"""What follows the symbol in a search query, such as ``-is:retweet lang:en``."""

from __future__ import annotations

#: Characters that X takes.
LONGEST = 512
#: The longest text before it: a ticker of 15 characters, as a plan without cashtags is asked for it.
_BEFORE = len('("$" OR ) ') + 2 * 15
#: The word that asks for no filter: an empty variable counts as not set.
NONE = "none"


def check_query_filter(text: str) -> str:
    """``text`` without blanks around it, ``""`` where it is ``none``.

    Raises:
      ValueError: behind a cashtag it would be refused, or mean something else.
    """
    text = text.strip()
    if text.lower() == NONE:
        return ""
    if not text or not text.isprintable():
        raise ValueError(f"it should be like -is:retweet lang:en, or {NONE}")
    if len(text) + _BEFORE > LONGEST:
        raise ValueError(
            f"it has {len(text)} characters; the most is {LONGEST - _BEFORE}, as X takes {LONGEST}"
        )
    if "OR" in _outside(text).split():
        raise ValueError("an OR without parentheses would also find what does not name the symbol")
    return text


def _outside(text: str) -> str:
    """What of ``text`` stands outside of quotes and parentheses."""
    outside, depth, is_quoted = "", 0, False
    for sign in text:
        if sign == '"':
            is_quoted = not is_quoted
        elif not is_quoted and sign in "()":
            depth += 1 if sign == "(" else -1
            if depth < 0:
                break
        elif not is_quoted and not depth:
            outside += sign
            continue
        outside += " "
    if is_quoted:
        raise ValueError("its quotes do not come in pairs")
    if depth:
        raise ValueError("its parentheses do not match")
    return outside
