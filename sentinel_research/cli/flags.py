"""Flags as they were published: with underscores, and lists behind one flag."""

from cyclopts import Parameter

PUBLISHED = Parameter(
    name="*", name_transform=lambda name: name, consume_multiple=True, negative=""
)
"""Of a request whose fields are the flags."""
