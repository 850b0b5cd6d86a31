"""`python -m freeda.options` prints the tables of docs/options.md."""

from .page import tables

print(tables(), end="")
