"""An evaluation as figures on the screen, JSON, Markdown and pictures."""

from .figures import figures
from .screen import print_report
from .write import write_report

__all__ = ["figures", "print_report", "write_report"]
