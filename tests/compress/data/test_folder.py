import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pemn_compress.data import load_data, load_test
from pemn_formats.errors import PemnError


def save(path, value, size=(6, 5), mode="RGB"):
    """Write a picture of one value; `size` is (width, height) as PIL has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if mode == "L" else (*size[::-1], 3)
    Image.fromarray(np.full(shape, value, dtype=np.uint8)).save(path)


@pytest.fixture
def top(tmp_path):
    """Two classes, ten training and two test pictures each, 5 high and 6 wide."""
    for label, name in enumerate(("ant", "bee")):
        for index in range(10):
            save(tmp_path / "train" / name / f"{index}.png", 100 * label + index)
        for index in range(2):
            save(tmp_path / "test" / name / f"{index}.png", 100 * label + 50 + index)
    return tmp_path


def values(image_set) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


def refused(top, message, **options):
    with pytest.raises(PemnError, match=message) as caught:
        load_data(f"folder:{top}", **options)
    assert "\n" not in str(caught.value)


def test_images_and_labels_come_in_order(top):
    splits = load_data(f"folder:{top}", validation=0)
    assert splits.spec.name == f"folder:{top}"
    assert splits.spec.class_names == ("ant", "bee")
    assert (splits.spec.channels, splits.spec.size) == (3, (5, 6))
    assert splits.train.images.shape == (20, 3, 5, 6)
    assert values(splits.train) == [*range(10), *range(100, 110)]
    assert splits.train.labels.tolist() == [0] * 10 + [1] * 10
    assert values(splits.test) == [50, 51, 150, 151]
    assert len(splits.validation) == 0


def test_validation_is_held_out_of_training(top):
    splits = load_data(f"folder:{top}", validation=0.2, seed=1)
    assert splits.validation.labels.tolist() == [0, 0, 1, 1]
    assert sorted(values(splits.train) + values(splits.validation)) == [*range(10), *range(100, 110)]


def test_val_serves_where_there_is_no_test(top):
    (top / "test").rename(top / "val")
    assert len(load_data(f"folder:{top}").test) == 4


def test_other_formats_modes_and_depths_of_folder(top):
    save(top / "train" / "ant" / "deep" / "er" / "grey.PNG", 33, mode="L")
    Image.fromarray(np.full((5, 6), 44 << 8, dtype=np.uint16)).save(top / "train" / "ant" / "y16.png")
    palette = Image.new("P", (6, 5), 0)
    palette.putpalette([55, 55, 55, 1, 1, 1])
    palette.save(top / "train" / "ant" / "z_palette.png", transparency=b"\x80\xff")
    save(top / "train" / "ant" / "zz.bmp", 66)
    (top / "train" / "ant" / "notes.txt").write_text("not an image")
    (top / "train" / ".hidden").mkdir()
    splits = load_data(f"folder:{top}", validation=0)
    assert values(splits.train)[:14] == [*range(10), 33, 44, 55, 66]


def test_size_and_grey(top):
    save(top / "train" / "ant" / "big.png", 77, size=(20, 30))
    splits = load_data(f"folder:{top}", size=4, channels=1, validation=0)
    assert splits.train.images.shape == (21, 1, 4, 4)
    assert values(splits.train)[10] == 77


def test_test_images_alone(top):
    splits = load_data(f"folder:{top}", size=4)
    images, spec = load_test(f"folder:{top}", splits.spec)
    assert torch.equal(images.images, splits.test.images)
    assert spec == splits.spec


def test_many_images_keep_their_order(top):
    shutil.rmtree(top / "train" / "ant")
    for index in range(700):
        save(top / "train" / "ant" / f"{index:04}.bmp", index % 251, size=(2, 2))
    splits = load_data(f"folder:{top}", size=2, validation=0)
    assert values(splits.train)[:700] == [index % 251 for index in range(700)]


def test_corrupt_images_are_named_or_skipped_and_counted(top):
    (top / "train" / "ant" / "3.png").write_bytes(b"not a picture")
    whole = (top / "test" / "bee" / "1.png").read_bytes()
    (top / "test" / "bee" / "1.png").write_bytes(whole[: len(whole) // 2])
    refused(top, r"image train/ant/3\.png cannot be read \(cannot identify image file 'the file'\); .* --skip-corrupt")
    splits = load_data(f"folder:{top}", validation=0, skip_corrupt=True)
    assert splits.skipped == ("train/ant/3.png", "test/bee/1.png")
    assert values(splits.train)[:10] == [0, 1, 2, 4, 5, 6, 7, 8, 9, 100]
    assert splits.test.labels.tolist() == [0, 0, 1]


def test_a_corrupt_first_image_is_named_or_skipped(top):
    (top / "train" / "ant" / "0.png").write_bytes(b"")
    refused(top, r"image train/ant/0\.png cannot be read")
    assert load_data(f"folder:{top}", skip_corrupt=True).skipped == ("train/ant/0.png",)


def test_a_class_of_corrupt_images_is_refused_even_when_skipping(top):
    for index in range(2):
        (top / "test" / "bee" / f"{index}.png").write_bytes(b"")
    refused(top, "none of the 2 images of class 'bee' can be read", skip_corrupt=True)
    for index in range(2):
        (top / "test" / "ant" / f"{index}.png").write_bytes(b"")
    refused(top, "none of the 4 images can be read", skip_corrupt=True)


def test_the_first_image_of_another_size_is_named(top):
    save(top / "train" / "ant" / "7.png", 7, size=(9, 8))
    save(top / "train" / "ant" / "8.png", 8, size=(3, 3))
    refused(top, r"image train/ant/7\.png is 8x9 \(height x width\), those before it 5x6; .* such as --size 5")


def test_test_images_of_another_size_are_refused(top):
    for name in ("ant", "bee"):
        for index in range(2):
            save(top / "test" / name / f"{index}.png", 0, size=(9, 8))
    refused(top, r"training images are 5x6, test images 8x9 \(height x width\); .* --size 5")


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "nix", "data folder .*nix does not exist")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "data folder .*file is not a folder")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["train"], r"has no train/ folder; expected train/CLASS/IMAGE"),
        (["test"], r"has train/ but neither test/ nor val/"),
        (["test/bee"], "class 'bee' is in the train images only"),
        (["train/bee"], "class 'bee' is in the test images only"),
        (["train/ant", "train/bee"], "train/ has no class folders"),
        (["test/ant", "test/bee"], "test/ has no class folders"),
    ],
)
def test_missing_parts(top, removed, message):
    for part in removed:
        shutil.rmtree(top / part)
    refused(top, message)


def test_empty_class_folders(top):
    for file in (top / "train" / "bee").iterdir():
        file.unlink()
    refused(top, "class folder train/bee has no images; fill it or remove it")
    for file in (top / "train" / "ant").iterdir():
        file.unlink()
    refused(top, r"train/ has no images; looked for \.bmp")


@pytest.fixture
def tiny(tmp_path):
    top = tmp_path / "tiny-imagenet-200"
    lines = []
    for label, name in enumerate(("n01", "n02")):
        for index in range(3):
            save(top / "train" / name / "images" / f"{name}_{index}.JPEG", 90 * label + index)
        (top / "train" / name / f"{name}_boxes.txt").write_text("")
        save(top / "val" / "images" / f"val_{1 - label}.JPEG", 200 + label)
        lines.append(f"val_{1 - label}.JPEG\t{name}\t0\t0\t5\t4\n")
    save(top / "test" / "images" / "test_0.JPEG", 0)
    (top / "val" / "val_annotations.txt").write_text("".join(reversed(lines)) + "\n")
    return top


def test_tiny_imagenet_layout_under_its_root(tiny):
    splits = load_data("tiny-imagenet", root=tiny.parent, validation=0)
    assert splits.spec.class_names == ("n01", "n02")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert values(splits.test) == [200, 201]
    assert splits.test.labels.tolist() == [0, 1]
    assert splits.spec.mean == ("0.485", "0.456", "0.406")
    assert load_data("tiny-imagenet", root=tiny, channels=1).spec.mean != ("0.485",)
    assert len(load_data(f"folder:{tiny}").test) == 2


@pytest.mark.parametrize("line", ["val_9.JPEG", "val_9.JPEG\tn03\t0", "../val_0.JPEG\tn01\t0"])
def test_tiny_imagenet_annotations_are_checked(tiny, line):
    with (tiny / "val" / "val_annotations.txt").open("a") as file:
        file.write(line + "\n")
    refused(tiny, "val_annotations.txt: line 4 is not IMAGE<tab>CLASS")


def test_tiny_imagenet_that_is_not_there(tmp_path):
    with pytest.raises(PemnError, match=r"tiny-imagenet is not under .*; fetch http.* and unpack it to"):
        load_data("tiny-imagenet", root=tmp_path)
