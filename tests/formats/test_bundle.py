"""Bundles: what goes in comes out, what does not fit together is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from samples import SAMPLES, any_contents, contents, keep_tile, one_tensor, same

from pemn_formats.bundle import join, parts, select_task
from pemn_formats.content import Content, Prototype
from pemn_formats.errors import FormatError, PemnError
from pemn_formats.limits import MAX_NAME_BYTES
from pemn_formats.reader import Reader, read, read_model
from pemn_formats.writer import content_id, encode

MODELS = ("keep_tile", "sign_permuted", "ternary_normal", "explicit_prototypes", "channel_scale", "int8_layers")
PATCH = SAMPLES["patch"]()


def holds_something(content: Content) -> bool:
    return bool(content.masked or content.residual)


@pytest.mark.parametrize("name", MODELS)
def test_one_model_comes_out_as_it_went_in(name: str) -> None:
    content = SAMPLES[name]()
    same(read_model(encode(join({"only": content})), task="only"), content)


@given(contents().filter(holds_something))
def test_any_model_comes_out_as_it_went_in(content: Content) -> None:
    other = replace(content, architecture=None, aliases={}, extra={})
    data = encode(join({"b": other, "a": content}))
    with Reader.open(data) as reader:
        same(reader.model("a"), content)
        same(reader.model("b"), other)
        same(join(parts(reader.content())), reader.content())
        assert sorted(reader.manifest.tasks) == ["a", "b"]
    same(select_task(read(data), "a"), content)


def test_the_order_of_the_tasks_makes_no_difference() -> None:
    one, other = one_tensor(seed=1), replace(one_tensor(seed=1), extra={"n": 1})
    assert encode(join({"a": one, "b": other})) == encode(join({"b": other, "a": one}))


def test_a_task_of_its_own_chunk_needs_no_other_chunk() -> None:
    """Damage in one task's chunk is no obstacle to decoding another task, though the whole file is refused."""
    numel = 5 << 20
    data = bytearray(encode(join({"a": one_tensor(numel), "b": one_tensor(numel, density=0.4)})))
    with Reader.open(bytes(data)) as reader:
        at = reader.prelude.header_bytes + reader.prelude.mask_stored - 1
    data[at] ^= 1
    with Reader.open(bytes(data)) as reader:
        assert reader.masked("a:w").numel == numel
        with pytest.raises(FormatError, match=r"^a chunk of the masks \('b:w'\) is damaged"):
            reader.masked("b:w")
        with pytest.raises(FormatError, match=r"^a chunk of the masks \('b:w'\) is damaged"):
            reader.model("a")


def test_a_name_may_hold_the_separator() -> None:
    content = one_tensor()
    content = replace(content, masked=(replace(content.masked[0], name="a:b:w"),))
    same(read_model(encode(join({"a": content, "b": content})), task="a"), content)


def test_notes_that_are_no_task_s_are_kept_in_the_bundle_alone() -> None:
    bundle = replace(join({"a": one_tensor()}), extra={"a": 5, "other": {"n": 1}})
    assert read(encode(bundle)).extra == bundle.extra
    assert read_model(encode(bundle), task="a").extra == {}


@pytest.mark.parametrize(
    ("content", "task", "message"),
    [
        (keep_tile(), "day", "the file holds a single model, there is no task 'day' to choose; name no task"),
        (
            SAMPLES["bundle"](),
            None,
            r"the file is a bundle; choose one of its tasks \(--task or task=\): first, second",
        ),
        (SAMPLES["bundle"](), "third", "the bundle has no task 'third'; it has first, second"),
        (SAMPLES["bundle"](), "", "the bundle has no task ''; it has first, second"),
        (PATCH, None, f"the file is a delta of content {PATCH.delta and PATCH.delta.base}, no model; "),
        (PATCH, "first", "the file is a delta of content"),
    ],
)
def test_a_model_that_is_not_there(content: Content, task: str | None, message: str) -> None:
    with pytest.raises(PemnError, match=rf"^{message}"):
        read_model(encode(content), task=task)
    with pytest.raises(PemnError, match=rf"^{message}"):
        select_task(content, task)


BASE = one_tensor()
EXPLICIT = Prototype(24, "float32", np.arange(24, dtype="<f4"))
SHARED = "the tasks 'a' and 'b' cannot share one set of values: "
REMEDY = "; train them from the same mask options and seed"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (BASE, replace(BASE, seed=9), f"{SHARED}their seeds are 1 and 9{REMEDY}"),
        (BASE, replace(BASE, prototypes=BASE.prototypes * 2), f"{SHARED}they have 1 and 2 prototypes{REMEDY}"),
        (
            BASE,
            replace(BASE, prototypes=(Prototype(23, "signed"),)),
            f"{SHARED}prototype 0 is 24 signed values in one, 23 signed in the other{REMEDY}",
        ),
        (
            BASE,
            replace(BASE, prototypes=(EXPLICIT,)),
            f"{SHARED}prototype 0 is 24 signed values in one, 24 float32 in the other{REMEDY}",
        ),
        (
            replace(BASE, prototypes=(EXPLICIT,)),
            replace(BASE, prototypes=(replace(EXPLICIT, values=np.zeros(24, "<f4")),)),
            f"{SHARED}the values of prototype 0 differ{REMEDY}",
        ),
        (BASE, join({"c": BASE}), "the model of task 'b' is a bundle itself; a bundle is made of single models"),
        (BASE, PATCH, "the model of task 'b' is a delta; a bundle is made of single models"),
    ],
)
def test_models_that_cannot_share(one: Content, other: Content, message: str) -> None:
    with pytest.raises(PemnError) as caught:
        join({"a": one, "b": other})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "a task has an empty name; choose another name"),
        ("a:b", "the task 'a:b' holds a ':'; choose another name"),
        ("a/b", "the name 'a/b' holds '/', '\\' or '..'; choose another name"),
        ("pemn", "the task name 'pemn' is reserved; choose another name"),
        ("n\n", "the name 'n\\n' holds characters outside printable ASCII; choose another name"),
    ],
)
def test_names_that_no_task_can_have(name: str, message: str) -> None:
    with pytest.raises(PemnError) as caught:
        join({name: BASE})
    assert str(caught.value) == message


def test_an_empty_bundle() -> None:
    with pytest.raises(PemnError, match=r"^a bundle needs at least one model$"):
        join({})


def test_a_name_that_the_task_makes_too_long() -> None:
    content = replace(BASE, masked=(replace(BASE.masked[0], name="w" * MAX_NAME_BYTES),))
    encode(content)
    with pytest.raises(PemnError, match=r"^the model cannot be written: .* has 257 characters, at most 255"):
        encode(join({"a": content}))


def damaged(change: Callable[[Content], Content]) -> Any:
    return change(join({"a": keep_tile(), "b": keep_tile()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, masked=(replace(c.masked[0], name="w"), *c.masked[1:])), "'w' belongs to no task"),
        (lambda c: replace(c, architecture={"name": "mlp", "args": {}}), "a bundle has an architecture and an input"),
        (lambda c: replace(c, masked=c.masked[:2], residual=c.residual[:2], aliases={}), "the task 'b' holds no"),
        (lambda c: replace(c, masked=c.masked[2:]), "in the task 'a', prototype 0 is used by no tensor"),
        (lambda c: replace(c, masked=(*c.masked, c.masked[0])), "in the task 'a', the tensor 'stem.weight' is stored"),
        (lambda c: replace(c, aliases={"a:x": "b:head.weight"}), "the alias 'a:x' names 'b:head.weight', which"),
        (lambda c: replace(c, masked=(replace(c.masked[0], name="a:pemn:w"), *c.masked[1:])), "the name 'pemn:w'"),
    ],
)
def test_the_writer_refuses_what_the_reader_would(change: Callable[[Content], Content], message: str) -> None:
    with pytest.raises(PemnError, match=rf"^the model cannot be written: {message}"):
        encode(damaged(change))


@given(any_contents())
def test_without_a_task_there_is_a_single_model_or_an_error(content: Content) -> None:
    if content.tasks or content.delta is not None:
        with pytest.raises(PemnError, match=r"^the file is a (bundle|delta)"):
            select_task(content)
    else:
        assert select_task(content) is content


def test_the_identity_says_which_tasks() -> None:
    ids = {content_id(each) for each in (BASE, join({"a": BASE}), join({"b": BASE}), join({"a": BASE, "b": BASE}))}
    assert len(ids) == 4
