from __future__ import annotations

import json
import math

import pytest

from pemn_compress.config import MaskConfig
from pemn_formats.errors import PemnError

BAD = [
    ({"strategy": "mpp"}, "unknown strategy 'mpp'; known: full, one-layer, mp, rp"),
    ({"mode": "shuffle"}, "unknown mode 'shuffle'"),
    ({"distribution": "cauchy"}, "unknown distribution 'cauchy'"),
    ({"scale": "layer"}, "unknown scale 'layer'"),
    ({"alphabet": "quaternary"}, "unknown alphabet 'quaternary'"),
    ({"learner": "sgd"}, "unknown learner 'sgd'; known: threshold, topk"),
    ({"store": "both"}, "unknown store 'both'"),
    ({"strategy": None}, "unknown strategy None"),
    ({"ratio": 0.1}, "ratio belongs to strategy 'rp', found it with strategy 'full'"),
    ({"values": 3, "strategy": "mp"}, "values belongs to strategy 'rp', found it with strategy 'mp'"),
    ({"mode": "rand", "strategy": "one-layer"}, "mode belongs to strategy 'rp'"),
    ({"strategy": "rp", "ratio": 0.1, "values": 3}, "not both; found ratio 0.1 and values 3"),
    ({"strategy": "rp", "ratio": 0}, "ratio must be greater than 0 and at most 1, found 0"),
    ({"strategy": "rp", "ratio": -1e-3}, "ratio must be greater than 0"),
    ({"strategy": "rp", "ratio": 1.5}, "at most 1, found 1.5"),
    ({"strategy": "rp", "ratio": math.nan}, "found nan"),
    ({"strategy": "rp", "ratio": True}, "found True"),
    ({"strategy": "rp", "ratio": "0.1"}, "found '0.1'"),
    ({"strategy": "rp", "values": 0}, "values must be an integer from 1"),
    ({"strategy": "rp", "values": 2.0}, "found 2.0"),
    ({"strategy": "rp", "values": True}, "found True"),
    ({"learner": "topk", "density": 1.5}, "density must lie between 0 and 1, both excluded, found 1.5"),
    ({"learner": "topk", "density": 0}, "found 0"),
    ({"learner": "topk", "density": 1}, "found 1"),
    ({"learner": "topk", "density": math.nan}, "found nan"),
    ({"density": 0.3}, "starts keep masks at density 0.5 and learns it, found density 0.3; use learner 'topk'"),
    ({"seed": -1}, "seed must be an integer"),
    ({"seed": 1 << 64}, "seed must be an integer"),
    ({"seed": 1.0}, "seed must be an integer"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_a_wrong_option_is_named_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(PemnError) as error:
        MaskConfig(**options)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "config",
    [
        MaskConfig(),
        MaskConfig(strategy="rp", ratio=1e-3, mode="rand", seed=(1 << 64) - 1),
        MaskConfig(strategy="rp", values=24, alphabet="ternary", density=0.25),
        MaskConfig(strategy="mp", distribution="normal", scale="none", learner="topk", density=0.3, store="vector"),
    ],
)
def test_a_configuration_survives_json(config: MaskConfig) -> None:
    assert MaskConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_option_of_another_version_is_refused() -> None:
    with pytest.raises(PemnError, match="unknown mask option 'sparsity'; known: alphabet, density"):
        MaskConfig.from_dict({"sparsity": 0.5})


@pytest.mark.parametrize(
    ("options", "largest", "length"),
    [
        ({}, 65_536, 251),
        ({"values": 7}, 65_536, 7),
        ({"values": 500}, 16, 16),
        ({"ratio": 1e-1}, 65_536, 6_554),
        ({"ratio": 1e-4}, 65_536, 7),
        ({"ratio": 1e-5}, 65_536, 1),
        ({"ratio": 1.0}, 10, 11),
        ({"ratio": 0.1}, 30, 4),
        ({"ratio": 0.29}, 100, 29),  # 100 * 0.29 is 28.999999999999996
    ],
)
def test_the_length_of_the_random_vector(options: dict[str, float], largest: int, length: int) -> None:
    assert MaskConfig(strategy="rp", **options).vector_length(largest) == length  # type: ignore[arg-type]
