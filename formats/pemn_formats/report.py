"""The byte ledger of a file as a person reads it."""

from __future__ import annotations

from pemn_formats.ledger import Ledger
from pemn_formats.reader import Reader
from pemn_formats.source import Readable

__all__ = ["SizeReport", "size_report"]


class SizeReport(Ledger):
    """A `Ledger` whose text is a table."""

    def __str__(self) -> str:
        rows = [
            ("header", self.header, ""),
            ("prototypes", self.prototypes, ""),
            ("masks", self.masks, self._mask_note()),
            ("residual", self.residual, ", ".join(f"{kind} {size:,}" for kind, size in self.residual_by_kind.items())),
            (
                "file",
                self.file_bytes,
                f"{self.ratio_float32:.1f}x under float32, {self.ratio_float16:.1f}x under float16",
            ),
        ]
        return "\n".join(f"{name:<10} {size:>14,} B  {note}".rstrip() for name, size, note in rows)

    def _mask_note(self) -> str:
        return f"{self.bits_per_weight:.3f} bits a weight, {100 * self.over_shannon:+.2f} % over Shannon"


def size_report(path: Readable) -> SizeReport:
    """Return where every byte of a `.pemn` file goes; print it for a table, `to_dict()` it for JSON.

    Raises `FormatError` for anything but a sound file, `PemnError` for one that cannot be opened.
    """
    with Reader.open(path) as reader:
        reader.verify_payload()
        return SizeReport(**vars(reader.ledger()))
