"""What would masks cost on a GPU if their values were drawn in the kernel, instead of read from a buffer?

    python -m benchmarks.fused_masks [--device cuda] [--weights 65536 1048576 16777216] [--repeats 50] [--save]

For one tensor of the learner `threshold` with seeded values and a fixed scale: the weights of its scores, and the
gradient of its scores from that of its weights. `plain` are the operations that training uses, `fused` the kernels of
`pemn_compress.kernels.training`, which need no buffer of values: four bytes a weight less memory. Both give the same
bits, which is proven before they are timed. Training uses the fused ones as soon as this says that they pay.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.timing import seconds_of
from pemn_compress import PemnError
from pemn_compress.generator import seeded_values
from pemn_compress.kernels import usable
from pemn_compress.learners.threshold import Threshold

_SEED, _STREAM, _SCALE, _BOUND = 7, 3, 0.037, 0.25

Way = Callable[[int], torch.Tensor]


def ways(distribution: str, alphabet: str, weights: int, device: torch.device) -> dict[str, dict[str, Way]]:
    """Both passes in both ways: pass -> way -> function of the call's number."""
    from pemn_compress.kernels.training import Seeded, masked_weight, score_gradient

    generator = torch.Generator().manual_seed(0)
    score = torch.empty(weights).uniform_(-_BOUND, _BOUND, generator=generator).to(device)
    gradient = torch.randn(weights, generator=generator).to(device)
    value = seeded_values(distribution, _SEED, _STREAM, weights, device) * _SCALE
    learner, values = Threshold(alphabet, 0.5, _BOUND), Seeded(distribution, _SEED, _STREAM, _SCALE)
    return {
        "forward": {
            "plain": lambda _: learner.select(score, value),
            "fused": lambda _: masked_weight(score, values, alphabet, learner.margin),
        },
        "backward": {
            "plain": lambda _: value * gradient,
            "fused": lambda _: score_gradient(gradient, values),
        },
    }


def measure(distribution: str, alphabet: str, weights: int, device: torch.device, repeats: int) -> dict[str, Any]:
    """Compare both ways bit by bit and time them."""
    found: dict[str, Any] = {}
    for name, both in ways(distribution, alphabet, weights, device).items():
        plain, fused = (work(0).view(torch.int32) for work in both.values())
        if not torch.equal(plain, fused):
            raise PemnError(f"{distribution} {alphabet} {name}: the fused kernel gives other bits than the plain ones")
        found[name] = {way: seconds_of(work, device, repeats=repeats) for way, work in both.items()}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", nargs="+", type=int, default=[1 << 16, 1 << 20, 1 << 24])
    parser.add_argument("--distributions", nargs="+", default=["signed", "normal"])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/fused_masks.json")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if not usable(device):
        raise SystemExit(f"fused_masks: the kernels need a CUDA device and Triton, found {device}")
    found: dict[str, Any] = {}
    rows = []
    for weights in options.weights:
        for distribution in options.distributions:
            for alphabet in ("keep", "sign", "ternary"):
                case = f"{distribution} {alphabet} {weights:,}"
                found[case] = measure(distribution, alphabet, weights, device, options.repeats)
                times = [found[case][name][way]["median"] * 1e6 for name in found[case] for way in ("plain", "fused")]
                rows.append([case, *times, (times[0] + times[2]) / (times[1] + times[3])])
    header = ["microseconds", "forward plain", "fused", "backward plain", "fused", "plain / fused"]
    print(render(header, rows))
    if options.save:
        print(write_results(RESULTS / "fused_masks.json", {"device": str(device), "cases": found}))


if __name__ == "__main__":
    main()
