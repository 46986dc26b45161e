"""One hostile manifest for each error that the manifest's reader knows, in files whose digests are all right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from forge import Forge
from hypothesis import given
from samples import SAMPLES, any_contents
from two_readers import read

from pemn_formats.content import Content
from pemn_formats.errors import FormatError
from pemn_formats.limits import MAX_EXTRA_DEPTH, MAX_TENSOR_VALUES, MAX_TENSORS
from pemn_formats.manifest import manifest_of, to_json
from pemn_formats.manifest_reader import check, parse
from pemn_formats.writer import encode

FILES = {name: encode(build()) for name, build in SAMPLES.items()}
Change = Callable[[dict[str, Any]], Any]
OVER = MAX_TENSOR_VALUES + 1


def put(*path: Any) -> Change:
    """Put the last of `path` at the place that the others lead to."""
    *steps, key, value = path

    def change(manifest: dict[str, Any]) -> None:
        holder: Any = manifest
        for step in steps:
            holder = holder[step]
        holder[key] = value

    return change


def cut(*path: Any) -> Change:
    """Delete what `path` leads to."""
    *steps, key = path

    def change(manifest: dict[str, Any]) -> None:
        holder: Any = manifest
        for step in steps:
            holder = holder[step]
        del holder[key]

    return change


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


def same_name(manifest: dict[str, Any]) -> None:
    manifest["masked"]["names"] = ["a", "a", "c"]


def scale_of_nothing(manifest: dict[str, Any]) -> None:
    manifest["residual"]["kinds"][1] = "scale"
    manifest["residual"]["names"][1] = "nothing"


def scale_and_channels(manifest: dict[str, Any]) -> None:
    manifest["residual"]["kinds"][1] = "scale"
    manifest["residual"]["names"][1] = "head.weight"


def two_scales(manifest: dict[str, Any]) -> None:
    manifest["residual"]["names"] = ["f32", "f32", "bf16"]


def huge_span(manifest: dict[str, Any]) -> None:
    manifest["masked"]["shapes"][0] = [1 << 41]


def many_spans(manifest: dict[str, Any], spans: int = 65) -> None:
    """A large tensor, and small ones that each draw as many values."""
    large, count = 1 << 28, spans + 1
    manifest["prototypes"] = {"lengths": [large], "sources": ["signed"]}
    manifest["masked"] = {
        "alphabets": ["sign"] * count,
        "kept": [],
        "names": [f"w{index}" for index in range(count)],
        "prototypes": [0] * count,
        "scales": manifest["masked"]["scales"][:1] * count,
        "shapes": [[large], *[[1]] * spans],
        "spans": [0, *[large] * spans],
    }


KEEP, SIGN, TERNARY, CHANNEL = "keep_tile", "sign_permuted", "ternary_normal", "channel_scale"
BUNDLE, PATCH, EIGHT, EVERY = "bundle", "patch", "int8_layers", "every_dtype"
CASES: list[tuple[str, Change, str]] = [
    # The whole.
    (KEEP, cut("seed"), "the manifest lacks the key 'seed'"),
    (KEEP, put("strategy", "rp"), "the manifest has the unknown key 'strategy'"),
    (KEEP, put("generator", "philox"), "the manifest has the unknown key 'generator'"),
    (KEEP, put("\x1b[2J", 0), r"the manifest has the unknown key '\\x1b\[2J'"),
    (KEEP, put("seed", -1), "the seed is -1, expected 0 to 18446744073709551615"),
    (KEEP, put("seed", -1), "the seed is -1, expected 0 to 18446744073709551615"),
    (KEEP, put("seed", 1 << 64), r"the manifest holds the integer 18446744073709551616, expected -2\^63 to 2\^64 - 1$"),
    (KEEP, put("seed", 10**30), "the manifest holds the integer 100000000000000000000000, expected "),
    (KEEP, put("seed", True), "the seed must be an integer, found bool"),
    (KEEP, put("seed", "0"), "the seed must be an integer, found str"),
    (KEEP, put("seed", None), "the seed must be an integer, found NoneType"),
    (KEEP, put("seed", 1.5), r"the manifest holds the number 1\.5; only integers are allowed"),
    (KEEP, put("x", []), "'x' must be an object, found list"),
    (KEEP, put("x", None), "'x' must be an object, found NoneType"),
    (KEEP, put("x", {"a": nested(MAX_EXTRA_DEPTH)}), "'x' is nested too deeply"),
    # Prototypes.
    (KEEP, put("prototypes", []), "'prototypes' must be an object, found list"),
    (KEEP, cut("prototypes", "lengths"), "'prototypes' lacks the key 'lengths'"),
    (KEEP, put("prototypes", "seeds", []), "'prototypes' has the unknown key 'seeds'"),
    (KEEP, put("prototypes", "sources", "signed"), "'sources' must be a list, found str"),
    (KEEP, put("prototypes", "lengths", {}), "'lengths' must be a list, found dict"),
    (KEEP, put("prototypes", "lengths", []), "'lengths' has 0 entries for 1 prototypes"),
    (KEEP, put("prototypes", "sources", 0, "cauchy"), "unknown prototype source 'cauchy'; known: signed, uniform"),
    (KEEP, put("prototypes", "sources", 0, ["signed"]), "unknown prototype source list; known: "),
    (KEEP, put("prototypes", "lengths", 0, 0), "a prototype length is 0, expected 1 to "),
    (KEEP, put("prototypes", "lengths", 0, -7), "a prototype length is -7, expected 1 to "),
    (KEEP, put("prototypes", "lengths", 0, OVER + 1), f"a prototype length is {OVER + 1}, expected 1 to {OVER}"),
    (KEEP, put("prototypes", "lengths", 0, 26), "prototype 0 has 26 values for tensors of at most 24"),
    (KEEP, put("masked", "prototypes", [0, 1]), "'head.weight' uses prototype 1 of 1"),
    (KEEP, put("masked", "prototypes", [0, -1]), "the prototype of 'head.weight' is -1, expected 0 to "),
    (SIGN, put("masked", "prototypes", [0, 0, 0]), "prototype 1 is used by no tensor"),
    (EVERY, put("prototypes", {"lengths": [1], "sources": ["signed"]}), "prototype 0 is used by no tensor"),
    # Masked tensors.
    (KEEP, put("masked", None), "'masked' must be an object, found NoneType"),
    (KEEP, cut("masked", "kept"), "'masked' lacks the key 'kept'"),
    (KEEP, put("masked", "strategy", []), "'masked' has the unknown key 'strategy'"),
    (KEEP, put("masked", "names", 3), "'names' must be a list, found int"),
    (KEEP, put("masked", "names", 0, 3), "a name must be a string, found int"),
    (KEEP, put("masked", "names", ["w"]), "'alphabets' has 2 entries for 1 masked tensors"),
    (KEEP, put("masked", "names", [""] * (MAX_TENSORS + 1)), "the file holds 65537 masked tensors, at most 65536 are"),
    (KEEP, put("masked", "alphabets", ["keep"]), "'alphabets' has 1 entries for 2 masked tensors"),
    (KEEP, put("masked", "alphabets", 0, "flip"), "unknown alphabet 'flip'; known: keep, sign, ternary"),
    (KEEP, put("masked", "alphabets", 0, 1), "unknown alphabet int; known: keep, sign, ternary"),
    (KEEP, put("masked", "shapes", [[24]]), "'shapes' has 1 entries for 2 masked tensors"),
    (KEEP, put("masked", "spans", [0]), "'spans' has 1 entries for 2 masked tensors"),
    (KEEP, put("masked", "scales", [1]), "'scales' has 1 entries for 2 masked tensors"),
    (KEEP, put("masked", "prototypes", [0]), "'prototypes' has 1 entries for 2 masked tensors"),
    (KEEP, put("masked", "kept", [3]), "'kept' has 1 entries for 0 ternary tensors"),
    (TERNARY, put("masked", "kept", [3, 0]), "'kept' has 2 entries for 3 ternary tensors"),
    (TERNARY, put("masked", "kept", 0, 101), "the kept count of 'some' is 101, expected 0 to 100"),
    (TERNARY, put("masked", "kept", 0, -1), "the kept count of 'some' is -1, expected 0 to 100"),
    (TERNARY, put("masked", "kept", 0, False), "the kept count of 'some' must be an integer, found bool"),
    (KEEP, put("masked", "shapes", 0, 24), "'stem.weight' must have 1 to 8 dimensions"),
    (KEEP, put("masked", "shapes", 0, []), "'stem.weight' must have 1 to 8 dimensions"),
    (KEEP, put("masked", "shapes", 0, [1] * 9), "'stem.weight' must have 1 to 8 dimensions"),
    (KEEP, put("masked", "shapes", 0, [0, 24]), "a dimension of 'stem.weight' is 0, expected 1 to "),
    (KEEP, put("masked", "shapes", 0, [-24]), "a dimension of 'stem.weight' is -24, expected 1 to "),
    (KEEP, put("masked", "shapes", 0, ["24"]), "a dimension of 'stem.weight' must be an integer, found str"),
    (KEEP, put("masked", "shapes", 0, [OVER]), f"a dimension of 'stem.weight' is {OVER}, expected 1 to "),
    (KEEP, put("masked", "shapes", 0, [1 << 39, 4]), r"'stem.weight' has more than 2\^40 values"),
    (KEEP, put("masked", "shapes", 0, [1 << 40] * 8), r"'stem.weight' has more than 2\^40 values"),
    (KEEP, put("masked", "scales", 0, 1 << 32), "the scale of 'stem.weight' is 4294967296, expected 0 to 4294967295"),
    (KEEP, put("masked", "scales", 0, -1), "the scale of 'stem.weight' is -1, expected 0 to "),
    (KEEP, put("masked", "scales", 0, "1"), "the scale of 'stem.weight' must be an integer, found str"),
    (KEEP, put("masked", "scales", 0, 0x7F800000), "the scale of 'stem.weight' is not finite"),
    (KEEP, put("masked", "scales", 0, 0xFF800000), "the scale of 'stem.weight' is not finite"),
    (KEEP, put("masked", "scales", 0, 0x7FC00000), "the scale of 'stem.weight' is not finite"),
    (KEEP, put("masked", "scales", 0, None), "'stem.weight' must have either one scale or stored channel scales"),
    (SIGN, put("masked", "spans", 0, 59), "'a' has span 59, expected 60 to 60"),
    (SIGN, put("masked", "spans", 2, 61), "'c' has span 61, expected 18 to 60"),
    (SIGN, many_spans, "tensors with a span draw 17,448,304,640 values .* in all; the most is 17,179,873,344$"),
    (SIGN, put("masked", "spans", 2, -1), "the span of 'c' is -1, expected 0 to "),
    (SIGN, put("masked", "spans", 2, True), "the span of 'c' must be an integer, found bool"),
    (SIGN, same_name, "the tensor 'a' is stored twice"),
    (KEEP, put("masked", "names", 1, "head.bias"), "the tensor 'head.bias' is stored twice"),
    (KEEP, put("masked", "names", 1, "stem.1.running_var"), "the tensor 'stem.1.running_var' is stored twice"),
    # Names.
    (KEEP, put("masked", "names", 0, ""), "a tensor has an empty name"),
    (KEEP, put("masked", "names", 0, "../x"), r"the name '\.\./x' holds '/', "),
    (KEEP, put("masked", "names", 0, "a..b"), r"the name 'a\.\.b' holds '/', "),
    (KEEP, put("masked", "names", 0, "a\0"), r"the name 'a\\x00' holds characters outside printable ASCII"),
    (KEEP, put("masked", "names", 0, "\ud800"), "the manifest holds half of a surrogate pair$"),
    (KEEP, put("masked", "names", 0, "w" * 256), "the name 'w.*' has 256 characters, at most 255 are allowed"),
    (KEEP, put("masked", "names", 0, "pemn:w"), "the name 'pemn:w' starts with the reserved prefix 'pemn:'"),
    (KEEP, put("residual", "names", 0, "norm."), r"the name 'norm\.\.weight' holds '/', "),
    (KEEP, put("residual", "names", 0, "n" * 250), "the name 'n.*' has 257 characters, at most 255 are allowed"),
    # Residual entries.
    (KEEP, put("residual", 0), "'residual' must be an object, found int"),
    (KEEP, cut("residual", "eps"), "'residual' lacks the key 'eps'"),
    (KEEP, put("residual", "means", []), "'residual' has the unknown key 'means'"),
    (KEEP, put("residual", "names", ["b"]), "'kinds' has 1 entries|'kinds' has 2 entries for 1 residual tensors"),
    (KEEP, put("residual", "names", ["b"] * (MAX_TENSORS + 1)), "the file holds 65537 residual tensors, at most"),
    (KEEP, put("residual", "kinds", 0, "gn"), "unknown residual kind 'gn'; known: dense, bn"),
    (KEEP, put("residual", "dtypes", 0, "float8"), "unknown dtype 'float8'; known: float64, float32"),
    (KEEP, put("residual", "dtypes", 0, None), "unknown dtype NoneType; known: "),
    (KEEP, put("residual", "dtypes", ["float16"]), "'dtypes' has 1 entries for 2 residual tensors"),
    (KEEP, put("residual", "shapes", [[5]]), "'shapes' has 1 entries for 2 residual tensors"),
    (KEEP, put("residual", "eps", []), "'eps' has 0 entries for 1 folded BatchNorms"),
    (KEEP, put("residual", "eps", 0, 0x3F800000), r"the eps of 'stem\.1' is 1\.0, expected at least 0 and below 1"),
    (KEEP, put("residual", "eps", 0, 0xB727C5AC), r"the eps of 'stem\.1' is -1e-05|the eps of 'stem\.1' is -9\.99"),
    (KEEP, put("residual", "eps", 0, 0x80000000), r"the eps of 'stem\.1' is -0\.0, expected at least 0 and below 1"),
    (KEEP, put("residual", "eps", 0, 0x7FC00000), r"the eps of 'stem\.1' is not finite"),
    (KEEP, put("residual", "eps", 0, 1 << 32), r"the eps of 'stem\.1' is 4294967296, expected"),
    (
        KEEP,
        put("residual", "shapes", 0, [6]),
        r"the folded BatchNorm 'stem\.1' has shape \[6\], expected \[2, channels\]",
    ),
    (KEEP, put("residual", "shapes", 0, [3, 2]), r"the folded BatchNorm 'stem\.1' has shape \[3, 2\]"),
    (
        KEEP,
        put("residual", "dtypes", 0, "int16"),
        r"'stem\.1' holds int16, expected a floating type of at most 32 bits",
    ),
    (KEEP, put("residual", "dtypes", 0, "float64"), r"'stem\.1' holds float64, expected a floating type of at most 32"),
    (KEEP, put("residual", "shapes", 1, [-5]), r"a dimension of 'head\.bias' is -5, expected 0 to "),
    (KEEP, put("residual", "shapes", 1, "5"), r"'head\.bias' must have 0 to 8 dimensions"),
    (KEEP, put("residual", "shapes", 1, [5] * 9), r"'head\.bias' must have 0 to 8 dimensions"),
    (KEEP, put("residual", "shapes", 1, [1 << 20, 1 << 21]), r"'head\.bias' has more than 2\^40 values"),
    (KEEP, put("residual", "shapes", 1, [0, 1 << 40, 1 << 40]), r"'head\.bias' has more than 2\^40 values"),
    (CHANNEL, put("residual", "shapes", 0, [4]), r"'f32' has channel scales of shape \[4\], expected \[3\]"),
    (CHANNEL, put("residual", "shapes", 0, [3, 1]), r"'f32' has channel scales of shape \[3, 1\], expected \[3\]"),
    (CHANNEL, put("residual", "dtypes", 0, "uint8"), "'f32' holds uint8, expected a floating type"),
    (CHANNEL, put("masked", "scales", 0, 0), "'f32' must have either one scale or stored channel scales"),
    (CHANNEL, two_scales, "the channel scales of a tensor are stored twice"),
    (KEEP, scale_and_channels, r"'head\.weight' must have either one scale or stored channel scales"),
    (KEEP, scale_of_nothing, "channel scales are stored for 'nothing', which is no masked tensor"),
    (EIGHT, put("residual", "dtypes", 0, "int16"), "'stem' is stored in 8 bits, but holds int16, expected int8"),
    (EIGHT, put("residual", "shapes", 1, [3]), r"'stem' is stored in 8 bits without channel scales \[2\]"),
    (EIGHT, put("residual", "names", 1, "other"), r"'stem' is stored in 8 bits without channel scales \[2\]"),
    # Aliases.
    (KEEP, put("aliases", []), "'aliases' must be an object, found list"),
    (KEEP, put("aliases", "tied.weight", 1), r"the alias 'tied\.weight' must name a tensor, found int"),
    (KEEP, put("aliases", "a/b", "head.bias"), "the name 'a/b' holds '/', "),
    (KEEP, put("aliases", "tied.weight", "nothing"), r"the alias 'tied\.weight' names 'nothing', which is no stored"),
    (
        KEEP,
        put("aliases", "tied.weight", "tied.bias"),
        r"the alias 'tied\.weight' names 'tied\.bias', which is no stored",
    ),
    (KEEP, put("aliases", "tied.weight", "tied.weight"), r"the alias 'tied\.weight' names 'tied\.weight', which is no"),
    (KEEP, put("aliases", "head.bias", "head.weight"), r"the alias 'head\.bias' is also a stored tensor"),
    (
        KEEP,
        put("aliases", {f"a{at}": "head.bias" for at in range(MAX_TENSORS + 1)}),
        "the file holds 65537 aliases, at most 65536 are allowed",
    ),
    # Architecture and input.
    (KEEP, put("architecture", "mlp"), "'architecture' must be an object, found str"),
    (KEEP, put("architecture", {"name": "mlp"}), "'architecture' lacks the key 'args'"),
    (KEEP, put("architecture", "code", "import os"), "'architecture' has the unknown key 'code'"),
    (KEEP, put("architecture", "name", ["mlp"]), "the architecture's name must be a string, found list"),
    (KEEP, put("architecture", "name", "os/system"), "the name 'os/system' holds '/', "),
    (KEEP, put("architecture", "args", []), "the architecture's arguments must be an object, found list"),
    (KEEP, put("architecture", "args", "width", [3]), "an architecture's argument must be an integer, a boolean or a"),
    (KEEP, put("architecture", "args", "width", None), "an architecture's argument must be an integer, a boolean or a"),
    (KEEP, put("input", 3), "'input' must be an object, found int"),
    (KEEP, put("input", "size", {}), "'input' has a value for 'size' that is no integer, string or list of them"),
    (
        KEEP,
        put("input", "size", [8, None]),
        "'input' has a value for 'size' that is no integer, string or list of them",
    ),
    # Bundles and patches.
    (KEEP, put("tasks", []), "'tasks' must be an object, found list"),
    (KEEP, put("tasks", {}), "'tasks' is empty; a file without tasks has no such key"),
    (BUNDLE, put("tasks", "first", {}), "the task 'first' lacks the key 'architecture'"),
    (BUNDLE, put("tasks", "a:b", {"architecture": None, "input": None}), "the task 'a:b' holds a ':'"),
    (BUNDLE, put("tasks", "", {"architecture": None, "input": None}), "a task has an empty name"),
    (BUNDLE, put("tasks", "third", {"architecture": None, "input": None}), "the task 'third' holds no tensors"),
    (BUNDLE, put("masked", "names", 0, "third:w"), "'third:w' belongs to no task of the bundle"),
    (BUNDLE, put("masked", "names", 0, "w"), "'w' belongs to no task of the bundle"),
    (BUNDLE, put("input", {}), "a bundle has an architecture and an input for each task, none of its own"),
    (
        BUNDLE,
        put("masked", "names", 0, "first:head.bias"),
        r"in the task 'first', the tensor 'head\.bias' is stored twice",
    ),
    (BUNDLE, put("aliases", "first:tied.bias", "second:weight"), "the alias 'first:tied.bias' names .* another task"),
    (KEEP, put("delta", {}), "'delta' lacks the key 'base'"),
    (PATCH, put("delta", "base", "0" * 63), "the delta's base must be a content id of 64 hexadecimal digits"),
    (PATCH, put("delta", "result", "G" * 64), "the delta's result must be a content id of 64 hexadecimal digits"),
    (PATCH, put("delta", "masked", [1]), "'masked' has 1 entries for 2 masked entries"),
    (PATCH, put("delta", "residual", 0, 2), "a flag of the delta's residual is 2, expected 0 to 1"),
    (
        PATCH,
        put("prototypes", "sources", 0, "signed"),
        "the delta changes prototype 0, whose values come from the seed",
    ),
    (PATCH, put("residual", "dtypes", 0, "bool"), "the delta changes 'bias', whose values are booleans"),
]


@pytest.mark.parametrize(("name", "change", "message"), CASES, ids=[message[:60] for _, _, message in CASES])
def test_each_hostile_manifest_has_its_message(name: str, change: Change, message: str) -> None:
    forge = Forge.of(FILES[name])
    change(forge.manifest)
    with pytest.raises(FormatError, match=rf"^({message})") as caught:
        read(forge.build())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("raw", "found"), [(b"[]", "list"), (b"1", "int"), (b"null", "NoneType"), (b'"x"', "str"), (b"true", "bool")]
)
def test_a_manifest_is_an_object(raw: bytes, found: str) -> None:
    with pytest.raises(FormatError, match=rf"^the manifest must be an object, found {found}$"):
        parse(raw)


def test_the_deepest_nesting_that_is_allowed_is_read() -> None:
    forge = Forge.of(FILES[KEEP])
    forge.manifest["x"] = {"a": nested(MAX_EXTRA_DEPTH - 1)}
    assert read(forge.build()).extra == forge.manifest["x"]


@given(any_contents())
def test_what_is_written_is_parsed_to_the_same_manifest(content: Content) -> None:
    manifest = manifest_of(content)
    raw = to_json(manifest)
    again = parse(raw)
    assert to_json(again) == raw
    check(again)
    assert ("x" in json.loads(raw)) == bool(content.extra)
    assert "x" not in json.loads(to_json(manifest, extra=False))


def test_as_many_values_may_be_drawn_as_are_allowed() -> None:
    manifest = Forge.of(FILES[SIGN]).manifest
    many_spans(manifest, 64)
    manifest["aliases"], manifest["architecture"] = {}, None
    assert len(parse(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).masked) == 65
