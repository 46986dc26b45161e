"""Nets by name: registered architectures that a file may name, and nets that a person names."""

from __future__ import annotations

from pemn_compress.models.registry import Architecture, architecture_of, build, check, data_arguments, names
from pemn_compress.models.user import is_user_model, resolve_user_model

__all__ = [
    "Architecture",
    "architecture_of",
    "build",
    "check",
    "data_arguments",
    "is_user_model",
    "names",
    "resolve_user_model",
]
