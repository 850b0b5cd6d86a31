"""`python -m freeda.options` prints the lists of docs/options.md."""

from .page import lists

print(lists(), end="")
