"""What `mask_` refuses, each with its own line, and what `is_maskable` says of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from pemn_compress.masking import is_maskable, mask_, masked_weights
from pemn_formats.errors import PemnError


def conv_net() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 6, 3), norm=nn.BatchNorm2d(6), flat=nn.Flatten(), head=nn.Linear(24, 5))
    )


def tied_embedding() -> nn.Module:
    model = nn.Sequential(OrderedDict(embed=nn.Embedding(7, 4), head=nn.Linear(4, 7)))
    model.head.weight = model.embed.weight
    return model


def tied_linears() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


def cast(dtype: torch.dtype) -> nn.Module:
    model = conv_net()
    model.head.to(dtype)
    return model


def integers() -> nn.Module:
    model = conv_net()
    model.head.weight = nn.Parameter(torch.zeros(5, 24, dtype=torch.int8), requires_grad=False)
    return model


def hooked(method: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = conv_net()
    method(model.head)
    return model


def empty() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].weight = nn.Parameter(torch.ones(0, 3))
    return model


TRAPS: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("nothing", lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), "nothing to mask: .*; Sequential holds none"),
    ("tied", tied_linears, r"0\.weight is tied: 0\.weight and 1\.weight are one parameter; untie them"),
    ("tied to an embedding", tied_embedding, r"head\.weight is tied: embed\.weight and head\.weight are one parameter"),
    ("masked", lambda: mask_(conv_net()), r"conv\.weight is already masked; merge_ the model first"),
    ("meta", lambda: conv_net().to("meta"), r"conv\.weight is on the meta device .*to_empty"),
    ("lazy", lambda: nn.Sequential(nn.LazyLinear(3)), r"0\.weight has no shape yet; run one batch through the lazy"),
    (
        "name",
        lambda: nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"1/x": nn.LayerNorm(2)})),
        r"the name '1\.1/x\.weight' holds '/', .* so a file could not carry it; rename the module",
    ),
    ("empty", empty, "nothing to mask: .*; all 1 are empty"),
    ("float16", lambda: cast(torch.float16), r"head\.weight is torch\.float16, .*model\.float\(\)"),
    ("bfloat16", lambda: cast(torch.bfloat16), r"head\.weight is torch\.bfloat16"),
    ("float64", lambda: cast(torch.float64), r"head\.weight is torch\.float64"),
    ("int8", integers, r"head\.weight is torch\.int8, but scores are learned in torch\.float32"),
    (
        "weight norm",
        lambda: hooked(parametrizations.weight_norm),
        r"head\.weight already has another parametrization; remove it first with torch\.nn\.utils\.parametrize",
    ),
    (
        "pruned",
        lambda: hooked(lambda head: prune.random_unstructured(head, "weight", 0.5)),
        r"head\.weight is not a parameter but computed by a hook \(weight_norm, spectral_norm, prune\)",
    ),
]


@pytest.mark.parametrize(("build", "message"), [trap[1:] for trap in TRAPS], ids=[trap[0] for trap in TRAPS])
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_what_cannot_be_masked_is_named_and_left_untouched(build: Callable[[], nn.Module], message: str) -> None:
    model = build()
    types = [type(module) for module in model.modules()]
    lazy = any(isinstance(p, nn.UninitializedParameter) for p in model.parameters())
    state = {} if lazy else {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(PemnError, match=message) as error:
        mask_(model)
    assert "\n" not in str(error.value)
    assert [type(module) for module in model.modules()] == types
    for name, value in state.items():
        after = model.state_dict()[name]
        assert after.is_meta or torch.equal(after, value)


def test_a_filter_that_leaves_out_everything_is_named() -> None:
    with pytest.raises(PemnError, match=r"nothing to mask: .*; filter_fn left out all 2"):
        mask_(conv_net(), filter_fn=lambda name, module: False)


def test_the_rest_of_a_masked_model_cannot_be_masked_later() -> None:
    model = mask_(conv_net(), filter_fn=lambda name, module: name == "conv")
    with pytest.raises(PemnError, match=r"the model is already masked \(at conv\.weight\); .*all its layers at once"):
        mask_(model, filter_fn=lambda name, module: name == "head")


def test_leaving_out_a_tied_layer_is_a_remedy() -> None:
    model = nn.Sequential(OrderedDict(lm=tied_embedding(), extra=nn.Linear(3, 3)))
    mask_(model, filter_fn=lambda name, module: name == "extra")
    assert [name for name, _, _ in masked_weights(model)] == ["extra.weight"]


def test_is_maskable_agrees_with_mask() -> None:
    assert is_maskable(nn.Linear(2, 2))
    assert is_maskable(nn.MultiheadAttention(4, 2), "in_proj_weight")
    assert not is_maskable(nn.MultiheadAttention(4, 2))
    assert not is_maskable(nn.Linear(2, 2), "bias")
    assert not is_maskable(nn.Embedding(2, 2))
    assert not is_maskable(nn.Linear(2, 2, dtype=torch.float16))
    assert not is_maskable(nn.Linear(2, 2, device="meta"))
    assert not is_maskable(mask_(nn.Linear(2, 2)))
