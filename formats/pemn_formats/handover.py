"""Masked tensors handed on in groups while later ones are still being decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pemn_formats.content import Content, MaskedSpec, MaskedTensor
from pemn_formats.errors import FormatError

__all__ = ["Handover", "Ready"]

_GROUP_BYTES = 1 << 21  # of packed masks: 2^24 weights

Ready = Callable[[Content, Sequence[MaskedTensor]], None]
"""Called with a content without masked tensors, and with some of those that belong to it.

They are as sound as their chunks, but the payload's digest is not known yet: what is made of them must be dropped if
the reader raises. Every tensor comes once, in the order of the file, except where there is no mask to decode.
"""


class Handover:
    """Cuts tensors out of the stream of masks as far as it is decoded, and hands them on.

    rest: makes the content without masked tensors; asked once, at the first of them. places: every tensor that is
    wanted, with its place in the stream. make: makes a tensor of its bytes. `made` keeps them by name.
    """

    def __init__(
        self,
        ready: Ready,
        rest: Callable[[], Content],
        places: Sequence[tuple[MaskedSpec, int]],
        make: Callable[[MaskedSpec, memoryview], MaskedTensor],
    ) -> None:
        self.made: dict[str, MaskedTensor] = {}
        self._ready, self._rest, self._make = ready, rest, make
        self._places = list(reversed(places))
        self._content: Content | None = None
        self._group: list[MaskedTensor] = []
        self._failed = False

    def __call__(self, masks: memoryview, end: int) -> None:
        """Take the stream of masks, decoded up to `end`."""
        if self._failed:
            return
        try:
            self._cut(masks, end)
            if self._content is None:
                self._content = self._rest()
        except FormatError:
            # The reader meets it again, after the digest that says more surely what is wrong; this looks only once.
            self._failed = True
            return
        held = sum(tensor.mask_bytes for tensor in self._group)
        if self._content is not None and self._group and (held >= _GROUP_BYTES or not self._places):
            self._ready(self._content, self._group)
            self._group = []

    def _cut(self, masks: memoryview, end: int) -> None:
        while self._places and self._places[-1][1] + self._places[-1][0].mask_bytes <= end:
            spec, at = self._places.pop()
            tensor = self._make(spec, masks[at : at + spec.mask_bytes])
            self.made[tensor.name] = tensor
            self._group.append(tensor)
