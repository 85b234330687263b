"""Getting an MTA-STS policy file over HTTPS: bounded in time and size, without redirects."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable

from dmarckit.core.errors import one_line
from dmarckit.facts.ptr import NoAnswer

LARGEST = 64 * 1024  # bytes, as RFC 8461 section 3.2 lets senders refuse more
PATH = "/.well-known/mta-sts.txt"

Fetch = Callable[[str, float], str]
"""Host and seconds → text of its policy file; raises `NoAnswer`."""


def fetch_policy(host: str, seconds: float) -> str:
    """The policy file of a host, got within the seconds, the certificate checked.

    Raises NoAnswer when it cannot be had.
    """
    end = time.monotonic() + seconds
    connection = http.client.HTTPSConnection(
        host, timeout=max(0.01, seconds), context=ssl.create_default_context()
    )
    try:
        connection.request("GET", PATH, headers={"User-Agent": "dmarckit"})
        response = connection.getresponse()
        if response.status != 200:  # redirects are not followed (RFC 8461 section 3.3)
            raise NoAnswer(f"status {response.status}")
        text = b""
        while chunk := response.read1(8192):
            text += chunk
            if len(text) > LARGEST or time.monotonic() > end:
                raise NoAnswer("it is too large or too slow")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(one_line(error)) from error
    finally:
        connection.close()
    return text.decode("utf-8", "replace")
