"""Errors that a user can cause and mend; the command line prints them as one line and exits with 2."""


class FreedaError(Exception):
    """Base of every error freeda raises on purpose; the message is one clear line."""


class InputError(FreedaError, ValueError):
    """A file, image, caption or class list that cannot be used."""


class ModelError(FreedaError, RuntimeError):
    """Model weights that are missing or do not fit together."""


class BankError(FreedaError, RuntimeError):
    """A bank directory that is missing, half-written, damaged or built with other models."""
