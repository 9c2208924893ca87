"""What the Hugging Face Hub holds, and what is said where it can't be reached."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from captum_ext._text import reason


@contextmanager
def fetching(name: str, instead: str) -> Iterator[None]:
    """Within, files come from the Hub or its cache; without a network from the cache alone.

    Args:
        name: what is fetched.
        instead: what to do where it can't be, after "download it on a machine that can and".

    Raises:
        ConnectionError: if it can't be fetched, in one sentence.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    # Else every file is asked for six times, over half a minute.
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        yield
    except Exception as error:
        raise ConnectionError(
            f"{name!r} could not be fetched ({reason(error).rstrip('.')}): download it on a "
            f"machine that can and {instead}."
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def is_reachable(address: str) -> bool:
    """Whether the name of a host can be looked up; behind a proxy it need not be.

    >>> is_reachable("https://no-such-host.invalid") or bool(getproxies())
    False
    """
    if getproxies():
        return True
    try:
        socket.getaddrinfo(urlsplit(address).hostname, 443)
    except OSError:
        return False
    return True
