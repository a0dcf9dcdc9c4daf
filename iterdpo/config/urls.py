"""Web addresses of servers, as settings hold them."""

from __future__ import annotations

from urllib.parse import urlsplit


def names_server(url: str) -> bool:
    """Tell whether ``url`` is an http or https address with a host and, if any, a port."""
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, or a port that is no number up to 65535
        return False
    return sound and parts.scheme in ("http", "https") and url.isprintable()


def may_hold_secret(url: str) -> bool:
    """Tell whether ``url`` has a login or a query in it, sound or not: it is not to be shown."""
    server = url.rpartition("://")[2].partition("/")[0]
    return "@" in server or "?" in url
