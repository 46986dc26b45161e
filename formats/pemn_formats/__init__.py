"""Bytes and numpy: the `.pemn` container, its value generator and its codecs. Never imports torch."""

from __future__ import annotations

from pemn_formats.errors import FormatError, PemnError
from pemn_formats.version import __version__

__all__ = ["FormatError", "PemnError", "__version__"]
