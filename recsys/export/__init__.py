"""Write vectors for other programs, and look them up there."""

from recsys.export.files import export

__all__ = ["export"]
