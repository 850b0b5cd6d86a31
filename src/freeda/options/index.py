"""What an approximate index of a bank must find."""

RECALL = 0.97
"""Share (0 to 1) of the true nearest keys of keys of the bank, so that class names, which lie a little apart
from them, are answered with 0.95. Our choice."""
PROTOTYPE_RECALL = 0.9
"""The same of nearest prototypes, of which the values of a few are averaged: what comes in place of the
missing lies nearly as close. Our choice."""
