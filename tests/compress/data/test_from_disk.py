"""Images left in their files are those that are read whole into memory, which is refused where it does not suffice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pemn_compress.data import ImageSet, Splits, decode, load, load_data, load_test
from pemn_compress.data.files import ImageFiles
from pemn_formats.errors import PemnError


def picture(path: Path, rng: np.random.Generator, height: int = 5, width: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two classes, twelve training and three test pictures of noise each."""
    rng = np.random.default_rng(3)
    for name in ("ant", "bée"):
        for part, count in (("train", 12), ("test", 3)):
            for index in range(count):
                picture(tmp_path / part / name / f"{index:02} \udc80.png", rng)
    return tmp_path


def both(top: Path, **options: Any) -> tuple[Splits, Splits]:
    return load_data(f"folder:{top}", **options), load_data(f"folder:{top}", from_disk=True, **options)


def all_blocks(images: ImageSet, size: int) -> torch.Tensor:
    return torch.cat([pixels for pixels, _ in images.blocks(size)])


@pytest.mark.parametrize("options", [{}, {"size": 3}, {"size": (9, 4), "channels": 1}, {"validation": 0}], ids=str)
def test_pixels_labels_and_description_are_those_in_memory(top: Path, options: dict[str, Any]) -> None:
    inside, outside = both(top, seed=2, **options)
    assert inside.spec == outside.spec
    for part in ("train", "validation", "test"):
        here, there = getattr(inside, part), getattr(outside, part)
        assert (here.from_disk, there.from_disk) == (False, True)
        assert here.labels.equal(there.labels)
        assert here.images.equal(there.images)
        assert all(there.image(index).equal(image) for index, image in enumerate(here.images))
    chosen = [3, 0, 7]
    assert inside.train.subset(chosen).images.equal(outside.train.subset(chosen).images)
    assert inside.train.subset(slice(2, 5)).images.equal(outside.train.subset(slice(2, 5)).images)


@pytest.mark.parametrize("size", [1, 7, 24, 100])
def test_blocks_come_in_order_with_their_labels(top: Path, size: int) -> None:
    for splits in both(top, validation=0):
        assert all_blocks(splits.train, size).equal(splits.train.images)
        assert torch.cat([labels for _, labels in splits.train.blocks(size)]).equal(splits.train.labels)
        assert len(next(splits.train.blocks(size))[0]) == min(size, 24)
        assert list(splits.validation.blocks(size)) == []


def test_the_test_images_alone(top: Path) -> None:
    splits = load_data(f"folder:{top}", size=4)
    images, spec = load_test(f"folder:{top}", splits.spec, from_disk=True)
    assert images.from_disk
    assert images.images.equal(splits.test.images)
    assert spec == splits.spec


def test_only_headers_are_read_before_an_image_is_asked_for(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_mean_and_std", lambda images: (("0.5",) * 3, ("0.2",) * 3))
    monkeypatch.setattr(ImageFiles, "read", lambda *_: pytest.fail("decoded"))
    assert len(load_data(f"folder:{top}", from_disk=True).train) == 22


def test_mean_and_deviation_come_from_an_even_sample(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_SAMPLE", 6)
    inside, outside = both(top, validation=0)
    few = inside.train.subset(range(0, 24, 4)).images.double() / 255
    assert outside.spec.mean == tuple(f"{value:.4f}" for value in few.mean((0, 2, 3)))
    assert inside.spec.mean != outside.spec.mean


def broken(file: Path) -> None:
    """Cut a picture short: its header is whole."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - 40])


def test_a_file_that_becomes_unreadable_is_named_when_it_is_asked_for(top: Path) -> None:
    images = load_data(f"folder:{top}", from_disk=True, validation=0).train
    bad = sorted((top / "train" / "ant").iterdir())[3]
    broken(bad)
    message = r"image train/ant/03 .*\.png cannot be read \(.+\); repair it$"
    for use in (lambda: images.image(3), lambda: images.images, lambda: list(images.blocks(5))):
        with pytest.raises(PemnError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert len(next(images.blocks(2))[0]) == 2
    bad.unlink()
    with pytest.raises(PemnError, match=r"train/ant/03 .* cannot be read \(\[Errno 2\] No such file or directory"):
        images.image(3)


@pytest.mark.parametrize("damage", ["no picture", "cut short"])
def test_unreadable_files_are_named_or_skipped_as_in_memory(top: Path, damage: str) -> None:
    files = sorted((top / "train" / "bée").iterdir())
    files[0].write_bytes(b"") if damage == "no picture" else broken(files[0])
    broken(sorted((top / "test" / "ant").iterdir())[1])
    with pytest.raises(
        PemnError, match=r"image train/b.*e/00 .* cannot be read \(.*; repair it, or pass --skip-corrupt"
    ):
        load_data(f"folder:{top}", from_disk=True)
    inside, outside = both(top, skip_corrupt=True, seed=1)
    assert inside.skipped == outside.skipped
    assert len(outside.skipped) == 2
    assert inside.spec == outside.spec
    assert all(getattr(inside, part).images.equal(getattr(outside, part).images) for part in ("train", "test"))


def test_another_size_is_found_before_training_unless_it_is_changed(top: Path) -> None:
    picture(top / "train" / "ant" / "x.png", np.random.default_rng(0), 9, 8)
    with pytest.raises(
        PemnError, match=r"image train/ant/x.png is 9x8 \(height x width\), those before it 5x6; .*--size"
    ):
        load_data(f"folder:{top}", from_disk=True)
    inside, outside = both(top, size=4, validation=0)
    assert inside.train.images.equal(outside.train.images)


def test_a_class_without_readable_images_is_refused(top: Path) -> None:
    for file in (top / "test" / "ant").iterdir():
        broken(file)
    with pytest.raises(PemnError, match="none of the 3 images of class 'ant' can be read"):
        load_data(f"folder:{top}", from_disk=True, skip_corrupt=True)


def test_tiny_imagenet_stays_in_its_files(top: Path) -> None:
    shutil.rmtree(top / "test")
    rng, lines = np.random.default_rng(0), []
    for name in ("ant", "bée"):
        picture(top / "val" / "images" / f"{name}.JPEG", rng)
        lines.append(f"{name}.JPEG\t{name}\t0\t0\t5\t4\n")
    (top / "val" / "val_annotations.txt").write_text("".join(lines))
    splits = load_data("tiny-imagenet", root=top, from_disk=True)
    assert splits.train.from_disk
    assert splits.spec.mean == load.IMAGENET[0]
    assert splits.test.images.equal(load_data("tiny-imagenet", root=top).test.images)


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_sets_that_are_no_files_are_refused(name: str) -> None:
    with pytest.raises(
        PemnError, match=rf"{name} does not lie in image files; leave --from-disk \(from_disk=True\) out"
    ):
        load_data(name, from_disk=True)


@pytest.mark.parametrize(("validation", "held"), [(0, 30), (0.5, 42)])
def test_a_set_larger_than_memory_is_refused_before_it_is_decoded(
    top: Path, monkeypatch: pytest.MonkeyPatch, validation: float, held: int
) -> None:
    needed = held * 3 * 5 * 6
    monkeypatch.setattr(decode, "available_memory", lambda: needed - 1)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFiles, "read", lambda *_: pytest.fail("decoded"))
        with pytest.raises(PemnError) as caught:
            load_data(f"folder:{top}", validation=validation)
    assert str(caught.value) == (
        f"{top}: 30 images of 5x6 would need {needed:,} bytes of memory, over the {needed - 1:,} bytes that this"
        " machine has free; give a smaller --size, or leave them in their files with --from-disk (from_disk=True)"
    )
    outside = load_data(f"folder:{top}", validation=validation, from_disk=True)
    monkeypatch.setattr(decode, "available_memory", lambda: 24 * 90 - 1)
    assert len(all_blocks(outside.train, 4)) == len(outside.train)
    monkeypatch.setattr(decode, "available_memory", lambda: needed)
    assert load_data(f"folder:{top}", validation=validation).train.images.equal(outside.train.images)


def test_where_nothing_tells_the_memory_an_allocation_that_fails_does(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "available_memory", lambda: None)
    monkeypatch.setattr(decode, "_empty", full)
    with pytest.raises(PemnError, match=r"would need 2,160 bytes of memory, more than there is; give a smaller --size"):
        load_data(f"folder:{top}")


def test_images_that_are_kept_move_within_their_memory() -> None:
    images = np.arange(1000 * 2, dtype=np.uint32).astype(np.uint8).reshape(1000, 1, 1, 2)
    kept = np.flatnonzero(np.random.default_rng(0).random(1000) < 0.9)
    wanted = images[kept]
    moved = decode.moved_to_front(images, kept)
    assert np.array_equal(moved, wanted)
    assert np.shares_memory(moved, images)
