"""The recipe that makes the miniature's weights: `python -m studies.train`."""
