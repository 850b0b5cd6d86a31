"""What the choices of the method are worth on the miniature world, and how its weights are made.

Run from the project's folder, as `python -m studies.ablations`; each puts what it prints on its page of
`docs/`. Nothing here is part of the package.
"""

import os
import sys

from freeda.engines import waiting

if sys.argv[:1] == ["-m"]:  # `python -m` is looking for one of these programs, which load torch when imported
    os.environ.update(waiting())
