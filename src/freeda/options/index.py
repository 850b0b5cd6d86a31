"""What an approximate index of a bank must find."""

RECALL = 0.97
"""Share (0 to 1) of the true nearest keys of keys of the bank, so that class names, which lie a little apart
from them, are answered with 0.95. Our choice."""
