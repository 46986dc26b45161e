import hashlib

import pytest
import torch

from pemn_compress.data import digits as digits_module
from pemn_compress.data import load_data, load_test, normalise
from pemn_formats.errors import PemnError


def digest(images) -> str:
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()


def test_every_image_of_the_source_is_there_once():
    splits = load_data("digits", validation=0)
    images = torch.cat([splits.train.images, splits.test.images])
    labels = torch.cat([splits.train.labels, splits.test.labels])
    assert images.shape == (1797, 1, 8, 8)
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert set(images.unique().tolist()) == {v * 255 // 16 for v in range(17)}
    pixels, _ = digits_module._decoded()
    assert (
        hashlib.sha256(pixels.tobytes()).hexdigest()
        == "c4bdc680ab5d04111f565ffc8882f36b48946a1bd9014929e938204bd72b928f"
    )
    assert pixels[0, 0, 0].tolist() == [v * 255 // 16 for v in (0, 0, 5, 13, 9, 1, 0, 0)]


def test_the_cut_never_changes():
    splits = load_data("digits", validation=0)
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    assert digest(splits.train.images) == "f6aaadd7432306f971ac8d686e223b128f77b8b6eea4a275e53daa25eff586b5"
    assert digest(splits.test.images) == "7866f807c675b6de1de7c355b4629b53b8c28a1d03a9f0429b48383e87306f0f"
    assert splits.test.labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]


def test_spec_and_validation_split():
    splits = load_data("digits")
    assert (splits.spec.name, splits.spec.classes, splits.spec.channels, splits.spec.size) == ("digits", 10, 1, (8, 8))
    assert splits.spec.class_names == tuple("0123456789")
    assert (splits.spec.mean, splits.spec.std) == (("0.3043",), ("0.3759",))
    assert (len(splits.train), len(splits.validation)) == (1293, 145)
    assert splits.validation.labels.bincount().min() >= 14
    assert digest(splits.validation.images) == "391c920fc314035fffb59f626df52107f1f99bd897060c95b0df92f75fdb7fc3"
    assert splits.skipped == ()


def test_validation_follows_the_seed_and_leaves_test_and_constants_alone():
    one, two = load_data("digits", seed=1), load_data("digits", seed=2)
    assert not torch.equal(one.validation.images, two.validation.images)
    assert torch.equal(one.test.images, two.test.images)
    assert one.spec == two.spec


def test_size_and_channels_convert():
    splits = load_data("digits", size=(10, 12), channels=3)
    assert splits.train.images.shape == (1293, 3, 10, 12)
    assert torch.equal(splits.train.images[:, 0], splits.train.images[:, 2])
    assert (splits.spec.channels, splits.spec.size, len(splits.spec.mean)) == (3, (10, 12), 3)


def test_the_test_images_alone_in_the_form_a_net_was_trained_for():
    splits = load_data("digits", size=12)
    images, spec = load_test("digits", splits.spec)
    assert torch.equal(images.images, splits.test.images)
    assert spec == splits.spec


def test_normalised_pixels_have_mean_zero_and_deviation_one():
    splits = load_data("digits", validation=0)
    seen = normalise(splits.train.images, splits.spec)
    assert seen.dtype == torch.float32
    assert abs(float(seen.mean())) < 1e-3
    assert abs(float(seen.std()) - 1) < 1e-3


def test_a_damaged_package_is_reported(monkeypatch):
    monkeypatch.setattr(digits_module, "_COUNT", 1796)
    digits_module._decoded.cache_clear()
    with pytest.raises(PemnError, match="embedded digits have 116805 bytes, expected 116740"):
        load_data("digits")
    digits_module._decoded.cache_clear()
