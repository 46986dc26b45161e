"""Patches: what they make of their base is the newer content, bit for bit, and nothing else is let through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from forge import Forge
from hypothesis import given
from hypothesis import strategies as st
from samples import SAMPLES, before_and_after, contents, dense, keep_tile, masked_tensor, one_tensor, random_bits, same

from pemn_formats.bits import pack
from pemn_formats.bundle import join
from pemn_formats.content import Content, MaskedTensor, Prototype
from pemn_formats.delta import apply_delta, make_delta
from pemn_formats.differences import difference
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.reader import Reader, read
from pemn_formats.writer import content_id, encode

MODELS = [name for name in SAMPLES if name != "patch"]


def through_a_file(old: Content, new: Content) -> Content:
    return read(encode(make_delta(old, new)))


@pytest.mark.parametrize("old", MODELS)
@pytest.mark.parametrize("new", ["keep_tile", "ternary_normal", "explicit_prototypes", "int8_layers", "bundle"])
def test_a_patch_between_any_two_gives_the_second(old: str, new: str) -> None:
    before, after = SAMPLES[old](), SAMPLES[new]()
    found = apply_delta(before, through_a_file(before, after))
    same(found, after)
    assert encode(found) == encode(after)


@given(contents(), contents())
def test_a_patch_between_strangers(old: Content, new: Content) -> None:
    same(apply_delta(old, through_a_file(old, new)), new)


@st.composite
def neighbours(draw: Any) -> tuple[Content, Content]:
    """A content and one a few bits and bytes away, with the same names, shapes and types."""
    new = draw(contents())
    flips = draw(st.binary(min_size=1, max_size=8))

    def flipped(tensor: MaskedTensor) -> MaskedTensor:
        noise = np.unpackbits(np.resize(np.frombuffer(flips, np.uint8), tensor.numel))[: tensor.numel]
        bits = np.unpackbits(tensor.planes[0], count=tensor.numel, bitorder="little") ^ noise
        if tensor.kept is None:
            return replace(tensor, planes=(pack(bits),))
        signs = np.resize(np.append(noise, 1), int(bits.sum()))
        return replace(tensor, kept=int(bits.sum()), planes=(pack(bits), pack(signs)))

    residual = tuple(
        replace(each, values=each.values[::-1].copy()) if each.kind == "dense" and each.values.ndim else each
        for each in new.residual
        if each.dtype != "log8"
    )
    kept = {each.name for each in residual if each.kind == "scale"}
    stored = [each for each in new.residual if each.dtype == "log8" and each.kind == "scale"]
    if stored or any(each.scale is None and each.name not in kept for each in new.masked):
        residual = new.residual
    old = replace(new, masked=tuple(map(flipped, new.masked)), residual=residual, aliases={})
    return old, new


@given(neighbours())
def test_a_patch_between_neighbours(pair: tuple[Content, Content]) -> None:
    old, new = pair
    patch = through_a_file(old, new)
    assert patch.delta is not None
    same(apply_delta(old, patch), new)


def test_equal_contents_differ_by_zeros() -> None:
    content = one_tensor(100_000)
    patch = make_delta(content, content)
    assert not patch.masked[0].planes[0].any()
    with Reader.open(encode(patch)) as reader:
        assert reader.prelude.mask_stored == 1
    same(apply_delta(content, patch), content)


def test_a_few_changed_bits_take_a_few_bytes() -> None:
    bits = random_bits(100_000, 0.5, 3)
    changed = bits.copy()
    changed[::5000] ^= 1
    old, new = one_tensor(100_000, bits=bits), one_tensor(100_000, bits=changed)
    patch = encode(make_delta(old, new))
    assert len(patch) < 700 < 12_000 < len(encode(new))


def test_a_sign_that_flips_is_one_bit_of_a_ternary_patch() -> None:
    """The signs of weights that both keep are compared with each other, however many were added before them."""
    bits, negative = random_bits(4000, 0.5, 4), random_bits(4000, 0.5, 5)
    more = bits.copy()
    more[:20] = 1
    signs = negative.copy()
    signs[3999 - np.argmax(bits[::-1])] ^= 1

    def content(kept: np.ndarray, sign: np.ndarray) -> Content:
        tensor = masked_tensor("t", (4000,), kept, alphabet="ternary", negative=sign[kept == 1])
        return Content(1, (Prototype(4000, "signed"),), (tensor,))

    old, new = content(bits, negative), content(more, signs)
    patch = make_delta(old, new)
    added = (more == 1) & (bits == 0)
    assert int(np.unpackbits(patch.masked[0].planes[0]).sum()) == int(added.sum())
    assert int(np.unpackbits(patch.masked[0].planes[1]).sum()) == int(negative[added].sum()) + 1
    same(apply_delta(old, read(encode(patch))), new)


def test_masks_with_nothing_in_common_are_stored_whole() -> None:
    old, new = one_tensor(5000, density=0.05, seed=1), one_tensor(5000, density=0.05, seed=1)
    new = replace(new, masked=(masked_tensor("w", (5000,), random_bits(5000, 0.05, 99)),))
    patch = make_delta(old, new)
    assert patch.delta is not None
    assert patch.delta.masked == (False,)
    same(apply_delta(old, patch), new)


def test_booleans_are_stored_whole() -> None:
    old = replace(one_tensor(), residual=(dense("flags", [True, False], "bool"),))
    new = replace(one_tensor(), residual=(dense("flags", [True, True], "bool"),))
    patch = make_delta(old, new)
    assert patch.delta is not None
    assert patch.delta.residual == (False,)
    same(apply_delta(old, read(encode(patch))), new)


def test_settings_and_names_come_from_the_newer_content() -> None:
    old = keep_tile()
    new = replace(
        old,
        seed=7,
        masked=(replace(old.masked[0], scale=np.float32(3), name="renamed"), old.masked[1]),
        residual=old.residual[:1],
        architecture=None,
        input=None,
        aliases={},
        extra={"n": 2},
    )
    same(apply_delta(old, through_a_file(old, new)), new)


def test_a_bundle_is_patched_like_any_other() -> None:
    old, new = before_and_after()
    old, new = join({"a": old, "b": old}), join({"a": old, "b": replace(old, extra={"n": 1})})
    same(apply_delta(old, through_a_file(old, new)), new)


OLD, NEW = before_and_after()
PATCH = make_delta(OLD, NEW)


def test_another_base_is_refused_with_both_ids() -> None:
    with pytest.raises(PemnError) as caught:
        apply_delta(NEW, PATCH)
    assert str(caught.value) == f"the delta is made for the base {content_id(OLD)}, this one is {content_id(NEW)}"
    assert not isinstance(caught.value, FormatError)


def test_what_is_no_patch_and_what_is_one_too_many() -> None:
    with pytest.raises(PemnError, match=r"^the file to apply is no delta; make one with pemn-compress delta$"):
        apply_delta(OLD, NEW)
    base = content_id(OLD)
    with pytest.raises(PemnError, match=rf"^the base is itself a delta, of content {base}; apply that first$"):
        apply_delta(PATCH, PATCH)
    with pytest.raises(PemnError, match=rf"^the old file is itself a delta, of content {base}; apply that first$"):
        make_delta(PATCH, NEW)
    with pytest.raises(PemnError, match=rf"^the new file is itself a delta, of content {base}; apply that first$"):
        make_delta(OLD, PATCH)


def delta_of(patch: Content, **changes: Any) -> Content:
    assert patch.delta is not None
    return replace(patch, delta=replace(patch.delta, **changes))


def test_a_result_that_is_not_the_promised_one() -> None:
    with pytest.raises(FormatError, match=rf"^the delta gives content {content_id(NEW)}, but promises {'0' * 64}$"):
        apply_delta(OLD, delta_of(PATCH, result="0" * 64))
    changed = replace(PATCH, masked=(replace(PATCH.masked[0], scale=np.float32(9)), *PATCH.masked[1:]))
    with pytest.raises(FormatError, match=r"^the delta gives content .*, but promises"):
        apply_delta(OLD, changed)


def test_a_difference_from_an_entry_that_the_base_lacks() -> None:
    patch = delta_of(PATCH, residual=(True,) * len(PATCH.residual))
    with pytest.raises(FormatError, match=r"^the delta changes 'new', which its base does not hold like that$"):
        apply_delta(OLD, patch)


def hostile(**changes: Any) -> Content:
    """A patch of `OLD` whose newer content says other things of the entries that differ."""
    flags = {"masked": (True,) * 2, "residual": (True,) * 4, "prototypes": (True,)}
    return delta_of(replace(PATCH, **changes), **flags)


@pytest.mark.parametrize(
    ("patch", "what"),
    [
        (hostile(prototypes=(Prototype(5, "float32", np.zeros(5, "<f4")),)), "prototype 0"),
        (hostile(prototypes=(Prototype(20, "float16", np.zeros(20, "<f2")),)), "prototype 0"),
        (hostile(masked=(replace(PATCH.masked[0], name="other"), PATCH.masked[1])), "'other'"),
        (hostile(masked=(replace(PATCH.masked[0], shape=(4, 10)), PATCH.masked[1])), "'keep'"),
        (hostile(masked=(replace(PATCH.masked[0], alphabet="sign"), PATCH.masked[1])), "'keep'"),
        (hostile(residual=(dense("bias", np.zeros(8), "float16"), *PATCH.residual[1:])), "'bias'"),
        (hostile(residual=(dense("bias", np.zeros(9), "float32"), *PATCH.residual[1:])), "'bias'"),
    ],
)
def test_entries_of_another_form_than_the_base_s(patch: Content, what: str) -> None:
    with pytest.raises(FormatError, match=rf"^the delta changes {what}, which its base does not hold like that$"):
        apply_delta(OLD, patch)


def test_a_ternary_mask_that_keeps_another_number() -> None:
    tensor = PATCH.masked[1]
    first = tensor.planes[0].copy()
    first[0] ^= 1
    patch = replace(PATCH, masked=(PATCH.masked[0], replace(tensor, planes=(first, tensor.planes[1]))))
    with pytest.raises(FormatError, match=r"^the delta leaves \d+ weights of 'ternary', not \d+$"):
        apply_delta(OLD, delta_of(patch, masked=(PATCH.delta.masked[0], True)))  # type: ignore[union-attr]


def test_a_result_that_no_file_may_hold() -> None:
    old = replace(one_tensor(), residual=(dense("w", [1.0], "float32", "scale"),))
    old = replace(old, masked=(masked_tensor("w", (1,), np.ones(1, np.uint8), scale=None),))
    old = replace(old, prototypes=(Prototype(1, "signed"),))
    nan = np.array([np.nan], "<f4").tobytes()
    change = np.frombuffer(difference(old.residual[0].values.tobytes(), nan, "float32"), "<f4")
    patch = make_delta(old, old)
    patch = delta_of(replace(patch, residual=(replace(patch.residual[0], values=change),)), residual=(True,))
    patch = read(encode(patch))  # differences obey no rule of their own
    with pytest.raises(FormatError, match=r"^the delta does not give a sound file: the scale of 'w' holds values"):
        apply_delta(old, patch)


def test_a_flag_turned_in_the_file_is_refused_when_applied() -> None:
    forge = Forge.of(encode(PATCH))
    for key, flags in forge.manifest["delta"].items():
        if not isinstance(flags, list):
            continue
        for at, flag in enumerate(flags):
            changed = forge.copy()
            changed.manifest["delta"][key][at] = 1 - flag
            try:
                patch = read(changed.build())
            except FormatError:
                continue
            with pytest.raises(FormatError):
                apply_delta(OLD, patch)


@given(st.integers(0, len(encode(PATCH)) * 8 - 1))
def test_a_patch_with_a_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(encode(PATCH))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError):
        read(bytes(data))
