"""Contents to test with: small hand-made ones, and a hypothesis strategy for every kind there is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pemn_formats import log8
from pemn_formats.bits import pack, popcount, unpack
from pemn_formats.bundle import join
from pemn_formats.content import (
    ALPHABETS,
    DTYPES,
    EXPLICIT_SOURCES,
    LOG8,
    RESIDUAL_KINDS,
    Content,
    MaskedTensor,
    Prototype,
    ResidualSpec,
    ResidualTensor,
)
from pemn_formats.delta import make_delta
from pemn_formats.philox import words
from pemn_formats.values import DISTRIBUTIONS

SCALE = np.float32(0.0625)
FLOATS = ("float32", "float16", "bfloat16", LOG8)
STORED_DTYPES = (*DTYPES, LOG8)


def random_bits(count: int, density: float, seed: int) -> np.ndarray:
    """Bits that depend on nothing but the generator of the format."""
    return (words(seed, 1 << 40, 0, count) < density * 2.0**32).astype(np.uint8)


def masked_tensor(
    name: str,
    shape: tuple[int, ...],
    bits: np.ndarray,
    *,
    alphabet: str = "keep",
    prototype: int = 0,
    span: int = 0,
    scale: np.float32 | None = SCALE,
    negative: np.ndarray | None = None,
) -> MaskedTensor:
    """`bits` are zeros and ones for every weight; `negative` says which of the kept ones of a ternary mask are."""
    planes, kept = [pack(bits)], None
    if alphabet == "ternary":
        kept = int(bits.sum())
        planes.append(pack(np.zeros(kept, np.uint8) if negative is None else negative))
    return MaskedTensor(name, shape, prototype, span, alphabet, scale, kept, tuple(planes))


def dense(name: str, values: Any, dtype: str = "float32", kind: str = "dense", eps: float | None = None) -> Any:
    spec = ResidualSpec(name, np.shape(values), kind, dtype, None if eps is None else np.float32(eps))
    array = np.asarray(values, DTYPES.get(dtype, np.dtype("f4")))
    return ResidualTensor(**vars(spec), values=_log8(spec, array) if dtype == LOG8 else array)


def entry_of_bytes(name: str, shape: tuple[int, ...], kind: str, dtype: str, eps: Any, data: bytes) -> ResidualTensor:
    """An entry whose values are made of as many bytes of `data` as it stores."""
    spec = ResidualSpec(name, shape, kind, dtype, eps)
    raw = np.resize(np.frombuffer(data or b"\0", np.uint8), spec.stored_bytes)
    if dtype == LOG8:
        return ResidualTensor(**vars(spec), values=_log8(spec, raw[: spec.numel].view(np.int8).astype(np.float32)))
    raw = raw & 1 if dtype == "bool" else np.where(raw == 128, 0, raw).astype(np.uint8) if kind == "int8" else raw
    return ResidualTensor(**vars(spec), values=raw.view(DTYPES[dtype]).reshape(shape))


def _log8(spec: ResidualSpec, values: np.ndarray) -> np.ndarray:
    return log8.encode(values.reshape(spec.vectors, spec.numel // spec.vectors))


def one_tensor(numel: int = 24, density: float = 0.5, seed: int = 1, **given: Any) -> Content:
    """One masked tensor of `numel` weights over one seeded prototype."""
    source = given.pop("source", "signed")
    bits = given.pop("bits", None)
    tensor = masked_tensor("w", (numel,), random_bits(numel, density, seed) if bits is None else bits, **given)
    return Content(seed, (Prototype(min(numel, 1000), source),), (tensor,))


def keep_tile() -> Content:
    """What an exported network looks like: architecture, input, masks, folded BatchNorm, bias, a tied name, notes."""
    return Content(
        seed=2022,
        prototypes=(Prototype(7, "signed"),),
        masked=(
            masked_tensor("stem.weight", (3, 2, 2, 2), random_bits(24, 0.5, 1)),
            masked_tensor("head.weight", (5, 3), random_bits(15, 0.5, 2), scale=np.float32(-0.1)),
        ),
        residual=(
            dense("stem.1", [[1.5, -0.25, 2.0], [0.0, 3.0, -1.0]], "float16", "bn", 1e-5),
            dense("head.bias", [0.5, -1.0, 0.0, 2.5, -0.125], "float16"),
        ),
        architecture={"name": "mlp", "args": {"width": 3, "bias": True, "act": "gelu"}},
        input={"channels": 2, "classes": 5, "data": "digits", "mean": ["0.305"], "size": [8, 8], "std": ["0.376"]},
        aliases={"tied.weight": "head.weight", "tied.bias": "head.bias"},
        extra={"note": "kept", "nested": {"list": [1, None, True, "\u00fc"]}},
    )


def sign_permuted() -> Content:
    """Permuted fills over uniform values, several tensors and prototypes."""
    return Content(
        seed=(1 << 64) - 1,
        prototypes=(Prototype(5, "uniform"), Prototype(61, "uniform")),
        masked=(
            masked_tensor("a", (60,), random_bits(60, 0.5, 3), alphabet="sign", span=60),
            masked_tensor("b", (3, 7), random_bits(21, 0.4, 4), alphabet="sign", span=60),
            masked_tensor("c", (2, 9), random_bits(18, 0.6, 5), alphabet="sign", span=31, prototype=1),
        ),
    )


def ternary_normal() -> Content:
    """Ternary masks over normal values: some, none and all of the weights kept."""
    return Content(
        seed=3,
        prototypes=(Prototype(100, "normal"),),
        masked=(
            masked_tensor(
                "some",
                (10, 10),
                some := random_bits(100, 0.3, 6),
                alphabet="ternary",
                negative=random_bits(int(some.sum()), 0.5, 7),
            ),
            masked_tensor("none", (17,), np.zeros(17, np.uint8), alphabet="ternary"),
            masked_tensor(
                "all", (2, 8), np.ones(16, np.uint8), alphabet="ternary", negative=random_bits(16, 0.5, 8), span=100
            ),
        ),
    )


def explicit_prototypes() -> Content:
    """Prototypes that the file carries, in both dtypes, with zeros of both signs among the values."""
    single = np.array([0.0, -0.0, 1.5, -2.25, 1e-30, 3e38, 2.0**-149], "<f4")
    half = np.array([1.0, -0.5, 65504.0, 2.0**-24], "<f2")
    return Content(
        seed=0,
        prototypes=(Prototype(7, "float32", single), Prototype(4, "float16", half), Prototype(9, "signed")),
        masked=(
            masked_tensor("single", (4, 7), random_bits(28, 0.5, 9), scale=np.float32(0.5)),
            masked_tensor("half", (3, 3), random_bits(9, 0.5, 10), prototype=1, span=28),
            masked_tensor("seeded", (9,), random_bits(9, 0.5, 11), prototype=2, alphabet="sign"),
        ),
    )


def channel_scale() -> Content:
    """One learned scale per output channel, in each floating type that may hold it."""
    return Content(
        seed=4,
        prototypes=(Prototype(12, "signed"),),
        masked=tuple(
            masked_tensor(name, (3, 4), random_bits(12, 0.5, 12 + at), alphabet=alphabet, scale=None)
            for at, (name, alphabet) in enumerate(zip(("f32", "f16", "bf16"), ALPHABETS, strict=True))
        ),
        residual=(
            dense("f32", [0.1, -0.2, 1e-40], "float32", "scale"),
            dense("f16", [0.1, -0.2, 6e-8], "float16", "scale"),
            dense("bf16", [0x3DCD, 0xBE4D, 0x0001], "bfloat16", "scale"),
        ),
    )


def every_dtype() -> Content:
    """A residual entry of every dtype and kind, scalars and empty tensors, and no mask at all."""
    data = words(5, 0, 0, 64).astype("<u4").tobytes()
    entries = [
        entry_of_bytes(f"{dtype}.{at}", shape, "dense", dtype, None, data)
        for dtype in STORED_DTYPES
        for at, shape in enumerate([(), (3,), (2, 0, 3), (2, 1, 2)])
    ]
    entries += [
        dense("", [[1.0, -1.0], [0.0, 0.5]], "float32", "bn", 1e-3),
        dense("bn.16", [[1.0], [0.5]], "float16", "bn", 0.0),
        dense("bn.b16", [[0x3F80] * 3, [0x8000] * 3], "bfloat16", "bn", 0.999),
        dense("bn.none", np.zeros((2, 0)), "float32", "bn", 1e-5),
    ]
    return Content(seed=5, prototypes=(), masked=(), residual=tuple(entries))


def int8_layers() -> Content:
    """Layers in 8 bits with channel scales, a scale and a folded BatchNorm in logarithms."""
    return Content(
        seed=7,
        prototypes=(Prototype(12, "normal"),),
        masked=(masked_tensor("body", (3, 4), random_bits(12, 0.5, 15), alphabet="sign", scale=None),),
        residual=(
            dense("stem", [[[1, -127], [127, 0]], [[5, 6], [7, 8]]], "int8", "int8"),
            dense("stem", [0.01, -0.5], "float16", "scale"),
            dense("body", [0.25, 0.125, -1e-3], LOG8, "scale"),
            dense("norm", [[1.0, 0.5, -2e-4], [0.0, 1e-9, 3.0]], LOG8, "bn", 1e-5),
        ),
    )


def bundle() -> Content:
    """Two tasks over one prototype, each with its own architecture, tied names and notes."""
    first = replace(keep_tile(), residual=keep_tile().residual[1:])
    second = replace(
        first,
        masked=(replace(first.masked[0], planes=(pack(random_bits(24, 0.5, 16)),)),),
        residual=(dense("", [[1.0], [2.0]], "float16", "bn", 1e-5),),
        architecture=None,
        input=None,
        aliases={"tied": "running_var"},
        extra={},
    )
    return join({"first": first, "second": second})


def patch() -> Content:
    """What turns one content into another: masks, signs, explicit values and residual entries that differ."""
    return make_delta(*before_and_after())


def before_and_after() -> tuple[Content, Content]:
    values = np.arange(20, dtype="<f4")
    old = Content(
        seed=8,
        prototypes=(Prototype(20, "float32", values),),
        masked=(
            masked_tensor("keep", (40,), random_bits(40, 0.5, 17)),
            _ternary("ternary", random_bits(40, 0.5, 18), 19),
        ),
        residual=(dense("bias", np.arange(9), "float16"), dense("steps", 7, "int64"), dense("log", [1.0, 0.5], LOG8)),
    )
    bits = random_bits(40, 0.5, 18)
    bits[5:8] ^= 1
    new = replace(
        old,
        prototypes=(Prototype(20, "float32", values + (values == 7).astype("<f4")),),
        masked=(masked_tensor("keep", (40,), random_bits(40, 0.4, 17)), _ternary("ternary", bits, 20)),
        residual=(*old.residual[:1], dense("steps", 9, "int64"), dense("log", [1.0, 0.25], LOG8), dense("new", [1.0])),
    )
    return old, new


def _ternary(name: str, bits: np.ndarray, seed: int) -> MaskedTensor:
    return masked_tensor(name, bits.shape, bits, alphabet="ternary", negative=random_bits(int(bits.sum()), 0.5, seed))


def sparse_mask() -> Content:
    """Masks that `gap` codes well: few ones, and runs on both sides of every escape."""
    runs = [0, 0, 1, 253, 254, 255, 256, 509, 510, 511, 765, 17]
    ones = np.cumsum(np.array(runs) + 1) - 1
    bits = np.zeros(8192, np.uint8)
    bits[ones] = 1
    return one_tensor(8192, bits=bits, alphabet="sign")


def dense_mask() -> Content:
    """A mask with few zeros, for the inverted codec."""
    bits = 1 - random_bits(4096, 0.01, 13)
    return one_tensor(4096, bits=bits)


def constant_masks() -> Content:
    """Masks that keep everything."""
    return one_tensor(4096, bits=np.ones(4096, np.uint8), seed=6)


SAMPLES = {
    build.__name__: build
    for build in (
        keep_tile,
        sign_permuted,
        ternary_normal,
        explicit_prototypes,
        channel_scale,
        every_dtype,
        int8_layers,
        bundle,
        patch,
        sparse_mask,
        dense_mask,
        constant_masks,
    )
}


def same(left: Content, right: Content) -> None:
    """Assert that two contents say the same, bit for bit."""
    for name in ("seed", "architecture", "input", "aliases", "extra", "tasks", "delta"):
        assert getattr(left, name) == getattr(right, name), name
    for name in ("prototypes", "masked", "residual"):
        assert len(getattr(left, name)) == len(getattr(right, name)), name
        for one, other in zip(getattr(left, name), getattr(right, name), strict=True):
            assert _frozen(one) == _frozen(other)


def _frozen(entry: Any) -> dict[str, Any]:
    out = dict(vars(entry))
    for key, value in out.items():
        if isinstance(value, np.ndarray):
            out[key] = (value.dtype, value.shape, value.tobytes())
        elif key == "planes":
            out[key] = [(plane.dtype, plane.tobytes()) for plane in value]
        elif isinstance(value, np.float32):
            out[key] = value.tobytes()
    return out


def ones_of(content: Content) -> int:
    return sum(popcount(tensor.planes[0]) for tensor in content.masked)


# What hypothesis draws from. Bits and values come from short byte strings, repeated, so that examples shrink well.
_names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/\\.:"), min_size=1, max_size=9)
_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)
_integers = st.integers(-(1 << 63), (1 << 64) - 1)
_json = st.recursive(
    st.none() | st.booleans() | _integers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_flat = _integers | st.text(max_size=8)


def _bits(draw: Any, count: int) -> np.ndarray:
    drawn = draw(st.binary(min_size=1, max_size=24))
    return unpack(np.resize(np.frombuffer(drawn, np.uint8), (count + 7) // 8), count)


@st.composite
def contents(draw: Any) -> Content:
    """Any content that a file can hold, small."""
    names = draw(st.lists(_names, max_size=8, unique_by=lambda name: name.split(".")[0]))
    cut = draw(st.integers(0, len(names)))
    shapes = [tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))) for _ in names[:cut]]
    largest = max((math.prod(shape) for shape in shapes), default=0)
    prototypes = [_draw_prototype(draw, largest) for _ in range(draw(st.integers(1, 3)))] if cut else []
    masked, residual = [], []
    for at, (name, shape) in enumerate(zip(names[:cut], shapes, strict=True)):
        numel = math.prod(shape)
        bits = _bits(draw, numel)
        tensor = masked_tensor(
            name,
            shape,
            bits,
            alphabet=draw(st.sampled_from(ALPHABETS)),
            prototype=at % len(prototypes),
            span=draw(st.just(0) | st.integers(numel, largest)),
            scale=draw(st.none() | _float32),
            negative=_bits(draw, int(bits.sum())),
        )
        masked.append(tensor)
        if tensor.scale is None:
            scales = draw(st.lists(_float32, min_size=shape[0], max_size=shape[0]))
            residual.append(dense(name, scales, "float32", "scale"))
    for name in names[cut:]:
        residual.append(entry := _draw_entry(draw, name))
        if entry.kind == "int8":
            scales = draw(st.lists(_float32, min_size=entry.shape[0], max_size=entry.shape[0]))
            residual.append(dense(name, scales, draw(st.sampled_from(("float32", LOG8))), "scale"))
    stored = [tensor.name for tensor in masked] + [each for entry in residual for each in entry.state_names]
    aliases = {f"tied.{at}": draw(st.sampled_from(stored)) for at in range(draw(st.integers(0, 2)))} if stored else {}
    return Content(
        seed=draw(st.integers(0, (1 << 64) - 1)),
        prototypes=tuple(prototypes[: len(masked)]),
        masked=tuple(masked),
        residual=tuple(residual),
        architecture=draw(
            st.none()
            | st.fixed_dictionaries({"name": _names, "args": st.dictionaries(st.text(max_size=5), _flat, max_size=3)})
        ),
        input=draw(st.none() | st.dictionaries(st.text(max_size=6), _flat | st.lists(_flat, max_size=3), max_size=4)),
        aliases=aliases,
        extra=draw(st.dictionaries(st.text(max_size=6), _json, max_size=3)),
    )


def _draw_prototype(draw: Any, largest: int) -> Prototype:
    length = draw(st.integers(1, largest + 1))
    source = draw(st.sampled_from(DISTRIBUTIONS + EXPLICIT_SOURCES))
    if source in DISTRIBUTIONS:
        return Prototype(length, source)
    width = 8 * DTYPES[source].itemsize
    drawn = draw(st.lists(st.floats(width=width, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
    return Prototype(length, source, np.resize(np.array(drawn, DTYPES[source]), length))


def _draw_entry(draw: Any, name: str) -> ResidualTensor:
    kind = draw(st.sampled_from([kind for kind in RESIDUAL_KINDS if kind != "scale"]))
    dtype = draw(st.sampled_from({"bn": FLOATS, "int8": ("int8",)}.get(kind, STORED_DTYPES)))
    least = int(kind == "int8")
    shape = tuple(draw(st.lists(st.integers(least, 4), min_size=least, max_size=4)))
    if kind == "bn":
        shape = (2, draw(st.integers(0, 5)))
    eps = np.float32(draw(st.floats(0, 0.9375, width=32))) if kind == "bn" else None
    return entry_of_bytes(name, shape, kind, dtype, eps, draw(st.binary(max_size=40)))


@st.composite
def any_contents(draw: Any) -> Content:
    """Any content, bundle or patch."""
    content = draw(contents())
    form = draw(st.sampled_from(("model", "bundle", "patch")))
    if form == "bundle" and (content.masked or content.residual):
        return join({draw(_names): content, "other": replace(content, extra={}, aliases={}, architecture=None)})
    if form == "patch":
        older = [replace(each, planes=tuple(plane & 1 for plane in each.planes)) for each in content.masked]
        older = [each if each.kept is None else new for each, new in zip(older, content.masked, strict=True)]
        return make_delta(replace(content, masked=tuple(older)), content)
    return content
