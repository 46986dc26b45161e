"""What does a mask cost in training: a step with masks over the same step of the dense net, for each learner?

    python -m benchmarks.mask_cost [--device cuda] [--amp float16] [--compile] [--nets NET...] [--batches 8 64 256]
    python -m benchmarks.mask_cost --own-loop --nets convmixer-48/4 vit-128/6 --batches 8
        --out benchmarks/results/mask_cost_own_loop.json

A step is forward, backward and AdamW as `train` makes it, on random images of 32 x 32, on one CPU thread or a GPU; with
--own-loop as who calls `backward` on a masked model makes it, so that autograd goes back through the masks.
Every learner of ours and a plain transcription of the reference's layer, which sorts all scores, take turns with the
dense net, in another order each time; all are built anew five times, small nets in every turn. A ratio is the median of
the ratios within a turn. `masks alone` computes all weights and sends a gradient back to their scores. Masks of `topk`
are first proven equal to those of the sort. Batches whose dense step takes more than --limit seconds are left out: all
others take about 20 minutes on one CPU core.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.record import RESULTS, write_results
from benchmarks.table import render
from benchmarks.training_cases import CASES, NETS, SORT, build_case, training_step, weight_of
from pemn_compress import PemnError
from pemn_compress.train.mask_gradients import MaskGradients

__all__ = ["main", "measure"]

Step = Callable[[], None]

_TURN = 0.1  # seconds of dense steps in a row, at least one
_BUILDS = 5  # of all models; of small nets one for each turn: where in memory they come to lie is worth points


def check_equal_masks(net: str) -> None:
    """The sort must give the weights of `topk` at the start."""
    ours, theirs = (weight_of(build_case(net, case)) for case in ("topk keep", SORT))
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        if not torch.equal(one(), other()):
            raise PemnError(f"{net}: the sort gives another mask than topk")


def masks_alone(model: nn.Module, *, own_loop: bool = False) -> Step:
    """Return what computes all weights and sends a gradient of ones back to the scores."""
    found = weight_of(model)
    gradients = [torch.ones_like(score) for score, _ in found]
    block = MaskGradients(model, wanted=not own_loop)

    def step() -> None:
        for score, _ in found:
            score.grad = None
        with block:
            for hook in model._forward_pre_hooks.values():  # a forward begins: where scores decide together
                hook(model, ())
            torch.autograd.backward([weight() for _, weight in found], gradients)

    return step


def measure(
    net: str,
    batch: int,
    device: torch.device,
    repeats: int,
    limit: float,
    *,
    amp: str = "off",
    compiled: bool = False,
    own_loop: bool = False,
) -> dict[str, Any] | None:
    """Return the figures of one net and batch size, or None where the dense step takes too long."""
    clock, how = _clock(device), {"amp": amp, "compiled": compiled, "own_loop": own_loop}
    step = training_step(build_case(net, "dense", device), batch, device, **how)
    step()
    dense = _seconds(step, clock)
    if dense > limit:
        return None
    block = max(1, round(_TURN / dense))
    builds = min(repeats, _BUILDS) if block == 1 else repeats
    whole: dict[str, list[float]] = {case: [] for case in CASES}
    found: dict[str, list[float]] = {case: [] for case in CASES}
    shuffled = random.Random(0)
    for build in range(builds):
        models = {case: build_case(net, case, device) for case in CASES}
        steps = {case: training_step(model, batch, device, **how) for case, model in models.items()}
        alone = {case: masks_alone(model, own_loop=own_loop) for case, model in models.items() if case != "dense"}
        turns = repeats // builds + (build < repeats % builds)
        for times, some in (whole, steps), (found, alone):
            for case, seconds in _in_turn(some, clock, turns, block, shuffled).items():
                times[case] += seconds
    return {
        "net": net,
        "batch": batch,
        "masked_weights": sum(score.numel() for score, _ in weight_of(models["threshold keep"])),
        "cases": {
            case: {
                "step_ms": _spread([1000 * each for each in whole[case]]),
                "over_dense": _spread([one / dense for one, dense in zip(whole[case], whole["dense"], strict=True)]),
                "masks_alone_ms": _spread([1000 * each for each in found[case]]) if found[case] else None,
            }
            for case in CASES
        },
    }


def _clock(device: torch.device) -> Callable[[], float]:
    """Return a clock that waits for the device; on one CPU thread that of the process, which others disturb less."""
    if device.type == "cuda":
        return lambda: (torch.cuda.synchronize(device), time.perf_counter())[1]
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def _in_turn(
    steps: Mapping[str, Step], clock: Callable[[], float], repeats: int, block: int, shuffled: random.Random
) -> dict[str, list[float]]:
    """Return the mean seconds of each turn of each step, after two turns to warm up.

    A turn is `block` steps behind one that is not timed, since training finds its own step's data in the caches. The
    order is another in each turn: what a case leaves to the allocator and the caches the next one has to bear.
    """
    times: dict[str, list[float]] = {case: [] for case in steps}
    order = list(steps)
    for turn in range(repeats + 2):
        shuffled.shuffle(order)
        for case in order:
            step = steps[case]
            if block > 1:
                step()
            seconds = sum(_seconds(step, clock) for _ in range(block)) / block
            if turn >= 2:
                times[case].append(seconds)
    return times


def _seconds(step: Step, clock: Callable[[], float]) -> float:
    began = clock()
    step()
    return clock() - began


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return {"median": round(median, 4), "lower_quartile": round(low, 4), "upper_quartile": round(high, 4)}


def show(found: Sequence[Mapping[str, Any]]) -> str:
    """The ratios as a table."""
    header = ["net, batch", "dense ms", *(case for case in CASES if case != "dense")]
    rows = [
        [
            f"{each['net']}, {each['batch']}",
            f"{each['cases']['dense']['step_ms']['median']:.1f}",
            *(f"{each['cases'][case]['over_dense']['median']:.3f}" for case in CASES if case != "dense"),
        ]
        for each in found
    ]
    return render(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 64, 256])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", choices=["off", "bfloat16", "float16"], default="off")
    parser.add_argument("--compile", action="store_true", help="steps through torch.compile")
    parser.add_argument("--own-loop", action="store_true", help="gradients of scores by autograd, not as in `train`")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--limit", type=float, default=1.5, help="seconds of a dense step beyond which a case is left out"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "mask_cost.json")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for net in options.nets:
        check_equal_masks(net)
        for batch in sorted(options.batches):
            figures = measure(
                net,
                batch,
                device,
                options.repeats,
                options.limit,
                amp=options.amp,
                compiled=options.compile,
                own_loop=options.own_loop,
            )
            if figures is None:
                break
            found.append(figures)
            print(show(found[-1:]), flush=True)
            how = {name: getattr(options, name) for name in ("repeats", "amp", "compile", "own_loop", "limit")}
            write_results(options.out, {"device": device.type, **how, "measured": found})
    print(show(found))


if __name__ == "__main__":
    main()
