"""The recipe that makes the miniature's weights: `python -m freeda.miniature.train`."""
