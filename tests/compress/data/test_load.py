import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from pemn_compress.data import data_names, load_data
from pemn_formats.errors import PemnError


class FakeCifar:
    classes = [f"class {i}" for i in range(10)]

    def __init__(self, root, train, download):
        sys.stdout.write("Downloading\n")
        count = 20 if train else 10
        self.data = np.arange(count * 32 * 32 * 3).reshape(count, 32, 32, 3).astype(np.uint8)
        self.targets = [i % 10 for i in range(count)]


class FakeMnist(FakeCifar):
    def __init__(self, root, train, download):
        super().__init__(root, train, download)
        self.data = torch.from_numpy(self.data[:, :28, :28, 0])
        self.targets = torch.tensor(self.targets)


class Offline:
    def __init__(self, root, train, download):
        Path(root, "raw").mkdir(parents=True)
        raise urllib.error.URLError("Name or service\nnot known")


def test_cifar10_has_its_published_constants(monkeypatch, capsys):
    monkeypatch.setattr(datasets, "CIFAR10", FakeCifar)
    splits = load_data("cifar10", validation=0.5)
    assert splits.spec.mean == ("0.4914", "0.4822", "0.4465")
    assert splits.spec.std == ("0.2471", "0.2435", "0.2616")
    assert splits.spec.class_names[3] == "class 3"
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (10, 10, 10)
    assert splits.test.images[0, :, 0, 0].tolist() == [0, 1, 2]
    assert splits.test.images[0, :, 0, 1].tolist() == [3, 4, 5]
    assert capsys.readouterr().out == ""


def test_mnist_has_computed_constants(monkeypatch):
    monkeypatch.setattr(datasets, "MNIST", FakeMnist)
    splits = load_data("mnist")
    assert splits.train.images.shape[1:] == (1, 28, 28)
    assert len(splits.spec.mean) == 1
    assert splits.test.labels.tolist() == list(range(10))


@pytest.mark.parametrize(("name", "inside"), [("cifar100", "CIFAR100"), ("fashion-mnist", "FashionMNIST")])
def test_no_network_says_what_to_do(monkeypatch, tmp_path, name, inside):
    monkeypatch.setattr(datasets, inside, Offline)
    expected = rf"^{name} is not complete under {tmp_path} and the download failed \(URLError: .* not known>\); connect"
    with pytest.raises(PemnError, match=expected) as caught:
        load_data(name, root=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(PemnError):
        load_data(name, root=tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]  # what was there before is not ours to remove
    assert inside in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_downloads_can_be_forbidden(tmp_path, name):
    with pytest.raises(PemnError, match="downloads are off; allow the download"):
        load_data(name, root=tmp_path, download=False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, r"unknown data 'digit' \(did you mean 'digits'\?\); known: digits, mnist"),
        ("imagenet-21k-w", {}, "unknown data 'imagenet-21k-w'"),
        ("folder:", {}, "unknown data 'folder:'"),
        ("", {}, "unknown data ''"),
        ("digits", {"size": 0}, "image size is 0; expected one side"),
        ("digits", {"size": 5_000}, "image size is 5000"),
        ("digits", {"size": 8.0}, r"image size is 8\.0"),
        ("digits", {"size": (8, -1)}, r"image size is \(8, -1\)"),
        ("digits", {"size": (8, 8, 8)}, "image size is"),
        ("digits", {"channels": 2}, r"channels is 2; expected 1 \(grey\) or 3 \(RGB\)"),
        ("digits", {"validation": 1.0}, "validation fraction is 1.0"),
        ("digits", {"seed": -1}, "seed"),
    ],
)
def test_wrong_requests_are_refused(name, options, message):
    with pytest.raises(PemnError, match=message):
        load_data(name, **options)


def test_names_are_listed():
    expected = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "folder:PATH")
    assert data_names() == expected
