"""A lock on an open file, which whoever opens the file can look at.

It belongs to the open file and not to the process: a forked child has it as well, until it closes its copy.
It ends when the last copy is closed, however a process ends.
"""

from __future__ import annotations


def try_lock(file: int, *, is_shared: bool = False) -> bool:
    """Lock the file of the descriptor ``file``, beside other shared locks if ``is_shared``.

    Returns False when somebody else's lock is in the way.
    """
    # The module is not on every system on which the library can be used.
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: int) -> None:
    """End the lock on the open file ``file``, of which a forked child may have a copy."""
    import fcntl

    fcntl.flock(file, fcntl.LOCK_UN)
