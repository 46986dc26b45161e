"""Random changes of training images: a whole batch of uint8 tensors at a time, on the device that they are on.

Nothing here holds a random state. What happens to an image is a function of the words handed in for it, so it does not
depend on the other images of its batch, on the number of processes, or on where a run was resumed.
"""

from __future__ import annotations

from pemn_compress.augment.batch import BatchAugment

__all__ = ["BatchAugment"]
