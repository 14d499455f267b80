"""What is shown of an address that somebody gave: never the user and password in it."""

import re

_USER = re.compile(r"(://)[^/\s?#'\"]*@")


def masked(text: str) -> str:
    """The text, with `***` in place of what stands before the @ of each URL."""
    return _USER.sub(r"\1***@", text)


def has_user(url: str) -> bool:
    """Whether a URL, or the start of one, holds a user or a password."""
    return masked(url) != url
