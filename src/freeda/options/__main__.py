"""`python -m freeda.options` prints the lists of docs/options.md."""

from .reference import lists

print(lists(), end="")
