"""From a file to `Content`: the one check path that everything reads through."""

from __future__ import annotations

import hashlib
from types import TracebackType

from pemn_formats.bundle import in_task, not_a_model, select_task
from pemn_formats.content import Content
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.handover import Ready
from pemn_formats.header import read_header
from pemn_formats.ledger import Ledger, ledger_of
from pemn_formats.limits import CHUNK_BYTES, DEFAULT_MEMORY_BUDGET
from pemn_formats.manifest import Manifest
from pemn_formats.one_pass import Parts, read_once
from pemn_formats.sections import sections
from pemn_formats.source import Readable, Source
from pemn_formats.stored_entries import Entries
from pemn_formats.streams import Progress

__all__ = ["Reader", "read", "read_model"]


def read(
    origin: Readable,
    *,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
    threads: int = 1,
    mmap: bool = False,
    progress: Progress | None = None,
) -> Content:
    """Return the whole content of a `.pemn` file, file object or byte string, every digest checked.

    Options as `Reader.open`. Raises `FormatError` for anything but a sound file, `PemnError` for one that cannot be
    opened.
    """
    with Reader.open(origin, memory_budget=memory_budget, threads=threads, mmap=mmap, progress=progress) as reader:
        return reader.content()


def read_model(
    origin: Readable,
    *,
    task: str | None = None,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
    threads: int = 1,
    mmap: bool = False,
    progress: Progress | None = None,
) -> Content:
    """Return the content of one model: that of a bundle's `task`, or the only one of a file. Errors as `read`.

    Raises `PemnError` also for a patch, and for a bundle where `task` names none of its models.
    """
    with Reader.open(origin, memory_budget=memory_budget, threads=threads, mmap=mmap, progress=progress) as reader:
        return reader.model(task)


class Reader(Entries):
    """An open `.pemn` file whose header has been checked; tensors are decoded when they are asked for.

    `masked` and `residual` decode only the chunks they need and check those chunks' CRC-32; `content` and
    `verify_payload` read everything and check the payload's SHA-256 as well.
    """

    def __init__(self, source: Source, memory_budget: int, threads: int = 1, progress: Progress | None = None) -> None:
        if threads < 1:
            raise PemnError(f"threads must be at least 1, found {threads}")
        self._source, self._threads, self._progress = source, threads, progress
        header = read_header(source)
        manifest, self.prelude = header.manifest, header.prelude
        needed = manifest.prototype_bytes + manifest.mask_bytes + manifest.residual_bytes
        if needed > memory_budget:
            raise FormatError(
                f"the file decodes to {needed} bytes, over the memory budget of {memory_budget};"
                " raise it with --memory-budget (memory_budget=) if you trust the file"
            )
        super().__init__(manifest, sections(header.prelude, manifest, header.rows, source))

    @classmethod
    def open(
        cls,
        origin: Readable,
        *,
        memory_budget: int = DEFAULT_MEMORY_BUDGET,
        threads: int = 1,
        mmap: bool = False,
        progress: Progress | None = None,
    ) -> Reader:
        """Open a path, bytes, or a seekable binary file object and check its header.

        `memory_budget` bounds the decoded streams in bytes. `threads` decode what is read whole. `mmap` maps a path
        instead of reading it, for files that nobody cuts short meanwhile. `progress` is called with the bytes done and
        the bytes in all while the payload is read. Raises `FormatError` or `PemnError`.
        """
        source = Source(origin, mmap=mmap)
        try:
            return cls(source, memory_budget, threads, progress)
        except BaseException:
            source.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._source.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def content(self) -> Content:
        """Return everything, decoded and checked."""
        return self._whole(self.manifest)

    def model(self, task: str | None = None, *, ready: Ready | None = None) -> Content:
        """Return one model, decoded and checked: that of a bundle's `task`, decoding its chunks only, or the file's.

        `ready` gets its masked tensors while later ones are decoded; what it makes of them counts only if this returns.
        Raises `PemnError` as `pemn_formats.bundle.select_task` does.
        """
        return self._whole(select_task(self.manifest, task), task, ready)

    def _whole(self, part: Manifest, task: str | None = None, ready: Ready | None = None) -> Content:
        """Return what a part of the manifest names, by the names that it has there, in one pass over the file."""

        def held(name: str) -> str:
            return name if task is None else in_task(task, name)

        parts = Parts(
            part,
            [(spec, self._masked_at[held(spec.name)][1]) for spec in part.masked],
            [(spec, self._residual_at[spec.kind, held(spec.name)][1]) for spec in part.residual],
            self._as_prototypes,
            self._as_masked,
            self._as_residual,
        )
        digest = hashlib.sha256()
        content, failure = read_once(
            parts, self._sections, digest.update, threads=self._threads, progress=self._progress, ready=ready
        )
        self._check_payload(digest.digest())
        if failure is not None:
            raise failure
        return content()

    def verify_payload(self) -> None:
        """Check the SHA-256 over all sections; raise `FormatError` naming the damaged part if it differs."""
        digest, end = hashlib.sha256(), self.prelude.file_bytes
        for at in range(self.prelude.header_bytes, end, CHUNK_BYTES):
            digest.update(self._source.read(at, min(CHUNK_BYTES, end - at)))
            if self._progress is not None:
                done = min(at + CHUNK_BYTES, end) - self.prelude.header_bytes
                self._progress(done, end - self.prelude.header_bytes)
        self._check_payload(digest.digest())

    def ledger(self) -> Ledger:
        """Return where every byte of the file goes. Raises `PemnError` for a patch: its bytes are no model's."""
        if self.manifest.delta is not None:
            raise not_a_model(self.manifest.delta)
        return ledger_of(self.prelude, self.manifest, list(self.mask_ones().values()))

    def _check_payload(self, found: bytes) -> None:
        if found != self.prelude.payload_sha256:
            self._source.check_unchanged()
            for section in self._sections:
                section.check_stored()
            raise FormatError("the payload is damaged: its SHA-256 differs")
