"""Nets that a person types: torchvision's, or a factory of their own. Never for names that stand in files."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from pemn_formats.errors import PemnError

__all__ = ["is_user_model", "resolve_user_model"]

_TORCHVISION = "torchvision."


def is_user_model(spec: str) -> bool:
    """Tell whether `spec` has one of the two forms that `resolve_user_model` takes."""
    return spec.startswith(_TORCHVISION) or ":" in spec


def resolve_user_model(spec: str, **kwargs: Any) -> nn.Module:
    """Build `torchvision.NAME` (untrained) or call `package.module:factory`, with `kwargs` (such as num_classes=10).

    This imports and runs code: call it for what a person typed, never for a name that stands in a file.
    Modules are looked up as python does, the current folder first. Raises PemnError when the module or the
    factory is missing, the call fails, or its result is no nn.Module.
    """
    if ":" in spec:
        return _call(spec, _factory(spec), kwargs)
    if spec.startswith(_TORCHVISION):
        return _call(spec, _torchvision(spec), kwargs)
    raise PemnError(f"model {spec!r} is neither torchvision.NAME nor package.module:factory")


def _torchvision(spec: str) -> Callable[..., Any]:
    from torchvision import models

    name = spec[len(_TORCHVISION) :].removeprefix("models.")
    known = models.list_models(module=models)
    if name not in known:
        match = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {_TORCHVISION}{match[0]}?" if match else ""
        raise PemnError(f"torchvision has no classification model {name!r}{hint}")
    builder: Callable[..., Any] = models.get_model_builder(name)
    return builder


def _factory(spec: str) -> Callable[..., Any]:
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise PemnError(f"model {spec!r} is incomplete; expected package.module:factory")
    try:
        with _current_folder_first():
            found: Any = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise PemnError(f"model {spec!r}: no module {error.name!r} here or on the python path") from error
        raise PemnError(f"model {spec!r}: importing {module_name} failed: {_one_line(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise PemnError(f"model {spec!r}: module {module_name} has no {attribute!r}")
        found = getattr(found, part)
    if isinstance(found, nn.Module) or not callable(found):
        raise PemnError(f"model {spec!r} is a {type(found).__name__}; expected a function or class that makes the net")
    factory: Callable[..., Any] = found
    return factory


def _call(spec: str, factory: Callable[..., Any], kwargs: dict[str, Any]) -> nn.Module:
    shown = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
    try:
        inspect.signature(factory).bind(**kwargs)
    except TypeError as error:
        raise PemnError(f"model {spec!r} cannot be called with ({shown}): {error}") from error
    except ValueError:  # a builtin without a signature: the call itself will tell
        pass
    try:
        model = factory(**kwargs)
    except Exception as error:
        raise PemnError(f"model {spec!r}: calling it with ({shown}) failed: {_one_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise PemnError(f"model {spec!r} returned a {type(model).__name__}; expected a torch.nn.Module")
    return model


@contextmanager
def _current_folder_first() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
