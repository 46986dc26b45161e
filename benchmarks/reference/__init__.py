"""The reference's algorithm (yueb17/PEMN, src/convmixer) as a plain baseline, said in our own words.

What it does is described in its paper and code: images are changed one by one as PIL images in worker processes, every
masked layer sorts its scores in every forward pass, and a step waits for its loss. Nothing here is fast on purpose, and
nothing is slow on purpose.
"""
