"""A small world of drawn scenes, with models of its own, where everything can be tried and measured."""

import os
import sys

from ..engines import waiting

if sys.argv[:1] == ["-m"]:  # `python -m` is looking for one of its programs, which load torch when imported
    os.environ.update(waiting())
