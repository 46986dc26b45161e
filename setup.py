"""The compiled loops of `pemn_formats`; everything else about the package stands in pyproject.toml."""

import sys

from setuptools import Extension, setup

FOLDER = "formats/pemn_formats/csrc"

setup(
    ext_modules=[
        Extension(
            "pemn_formats._native",
            [
                f"{FOLDER}/{name}.c"
                for name in ("module", "addresses", "fill", "coder", "context", "matrix", "training")
            ],
            depends=[f"{FOLDER}/{name}.h" for name in ("addresses", "loops", "coder", "mixing")],
            # Measured with gcc 12: -O3 makes the generator's loop half as fast as -O2 does.
            extra_compile_args=[] if sys.platform == "win32" else ["-O2"],
            # Without a compiler the package installs all the same, and numpy does the same work more slowly.
            optional=True,
        )
    ]
)
