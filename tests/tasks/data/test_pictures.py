"""Pictures of every kind become the picture a viewer shows, or are refused by name."""

import numpy as np
import pytest
from PIL import Image

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.pictures import open_picture, pictures_of, with_channels
from platon_compress.tasks.data.tables import read_split

RAMP = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)


def _saved(folder, image, name="one.png", **options):
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["one.png", "one.tif"])
def test_16_bit_grey_is_scaled_by_its_type(tmp_path, name):
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    picture = open_picture(_saved(tmp_path, deep, name))
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, np.repeat(RAMP[..., None], 3, axis=2))


def test_16_bit_big_endian(tmp_path):
    deep = Image.frombytes("I;16B", (12, 10), (RAMP.astype(">u2") * 257).astype(">u2").tobytes())
    assert np.array_equal(open_picture(_saved(tmp_path, deep, "one.tif"))[..., 0], RAMP)


@pytest.mark.parametrize(("dtype", "kind"), [(np.float32, "floating-point"), (np.int32, "32-bit")])
def test_pixels_of_unknown_range_are_refused(tmp_path, dtype, kind):
    path = _saved(tmp_path, Image.fromarray(RAMP.astype(dtype)), "one.tif")
    with pytest.raises(
        InputError, match=rf"one\.tif holds {kind} pixels of unknown range; save it with 8 or 16"
    ):
        open_picture(path)


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "a.png"), ("P", "a.png"), ("LA", "a.png"), ("CMYK", "a.tif"), ("RGBA", "a.png")]
)
def test_every_mode_is_the_same_picture(tmp_path, mode, name):
    image = Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2))
    picture = open_picture(_saved(tmp_path, image.convert("L").convert(mode), name))
    assert picture.shape == (10, 12, 3)
    assert np.abs(picture.astype(int) - RAMP[..., None]).max() <= 1


def test_a_picture_is_turned_as_the_camera_was_held(tmp_path):
    image = Image.fromarray(np.repeat(RAMP[..., None], 3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    picture = open_picture(_saved(tmp_path, image, exif=exif))
    assert np.array_equal(picture[..., 0], np.rot90(RAMP, -1))


@pytest.mark.parametrize("size", [(10_000, 9_500), (20_000, 12_000)])
def test_pictures_of_a_hundred_million_pixels_are_refused(tmp_path, size):
    path = _saved(tmp_path, Image.new("1", size))
    with pytest.raises(InputError, match=r"one\.png is too large: .*; scale it down"):
        open_picture(path)


def test_damaged_pictures_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = _saved(tmp_path, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"one\.png is no image that can be read"):
        open_picture(path)


def _folder(root, classes=("cat", "dog")):
    for number, name in enumerate(classes):
        (root / name).mkdir()
        _saved(root / name, Image.new("RGB", (4, 4), (number, 9, 9)))
    return DataSection(train=str(root), validation=str(root))


def test_hidden_entries_are_no_classes_and_no_pictures(tmp_path):
    section = _folder(tmp_path, ("cat", "dog", ".cache", "__MACOSX"))
    (tmp_path / "cat" / ".DS_Store").write_text("notes")
    (tmp_path / "readme.txt").write_text("about")
    rows = read_split(section, "train", "image-classification", 1)
    assert rows.labels == ["cat", "dog"]
    assert rows.origin.place(1) == str(tmp_path / "dog" / "one.png")


def test_folders_inside_a_class_and_empty_classes_are_refused(tmp_path):
    section = _folder(tmp_path)
    (tmp_path / "dog" / "puppies").mkdir()
    with pytest.raises(InputError, match=r"class folder .*dog holds the folder 'puppies'; put the pictures"):
        read_split(section, "train", "image-classification", 1)
    (tmp_path / "dog" / "puppies").rmdir()
    (tmp_path / "fox").mkdir()
    with pytest.raises(InputError, match=r"class folder .*fox holds no pictures"):
        read_split(section, "train", "image-classification", 1)


def test_arrays_of_pictures():
    colour = np.random.default_rng(0).integers(0, 255, (2, 7, 5, 3), dtype=np.uint8)
    first = np.moveaxis(colour, -1, 1)
    assert np.array_equal(pictures_of(first, "x"), colour)
    assert np.array_equal(pictures_of(colour.astype(np.uint16) * 257, "x"), colour)
    assert pictures_of(colour[..., 0], "x")[0].shape == (7, 5, 1)
    for wrong in (colour.astype(np.float32), colour[..., :2], colour[0, 0]):
        with pytest.raises(InputError, match=r"x holds .*; needed: uint8 or uint16"):
            pictures_of(wrong, "x")


def test_colour_becomes_grey_by_the_eye():
    green = np.zeros((1, 1, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
    assert with_channels(green, 1).tolist() == [[[150]]]
    assert with_channels(green[..., :1], 3).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((2, 4, 4), np.uint8), "label": [1]}, r"2 images, but 1 labels"),
        ({"image": np.zeros((2, 4, 4), np.uint8), "label": [[1, 0], [0, 1]]}, r"row 1 .*list of labels"),
        ({"image": np.zeros((2, 4, 4), np.uint8), "label": [0.5, 1]}, r"row 1 .*fraction"),
        ({"image": np.uint8(3), "label": [1]}, r"'image' holds one value"),
    ],
)
def test_npz_files_that_hold_something_else(tmp_path, arrays, message):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        read_split(DataSection(train=str(path), validation=str(path)), "train", "image-classification", 1)


def test_npz_of_medmnist_and_damaged_ones(tmp_path):
    path = tmp_path / "data.npz"
    section = DataSection(train=str(path), validation=str(path))
    np.savez(path, val_images=np.zeros((3, 4, 4), np.uint8), val_labels=np.array([[1], [0], [1]]))
    assert read_split(section, "validation", "image-classification", 1).labels == ["1", "0", "1"]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cannot read data\.validation 'data\.npz'"):
        read_split(section, "validation", "image-classification", 1)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InputError, match=r"one array without a name"):
        read_split(section, "validation", "image-classification", 1)
