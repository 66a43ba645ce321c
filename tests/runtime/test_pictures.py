import json

import numpy as np
import pytest
import transformers
from PIL import Image

from platon_compress.errors import InputError
from platon_compress.runtime import load
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.pictures import open_processor

SIDE = 24
PROCESSORS = {
    "vit": lambda: transformers.ViTImageProcessor(size={"height": SIDE, "width": SIDE}),
    "vit, no change": lambda: transformers.ViTImageProcessor(do_resize=False, do_normalize=False),
    "vit, raw values": lambda: transformers.ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_rescale=False, do_normalize=False, resample=0
    ),
    "deit": lambda: transformers.DeiTImageProcessor(
        size={"height": 30, "width": 28}, crop_size={"height": SIDE, "width": SIDE}
    ),
    "dinov2": lambda: transformers.BitImageProcessor(
        size={"shortest_edge": 27}, crop_size={"height": SIDE, "width": SIDE}, image_mean=[0.485, 0.456, 0.406]
    ),
    "crop beyond the image": lambda: transformers.BitImageProcessor(
        size={"shortest_edge": 9}, crop_size={"height": SIDE, "width": SIDE + 1}
    ),
    "siglip": lambda: transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}),
}  # fmt: skip


def _pictures():
    """Wide, tall, tiny and of the very size, smooth and noisy."""
    rng = np.random.default_rng(3)
    for height, width in ((40, 61), (61, 40), (7, 9), (SIDE, SIDE), (25, 25)):
        rows, columns = np.mgrid[:height, :width]
        smooth = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=-1)
        yield Image.fromarray(smooth.astype(np.uint8))
        yield Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def _folder(path, processor):
    processor.save_pretrained(path)
    return ModelFolder(path, path / "model.onnx", {})


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_transformers(tmp_path, name):
    processor = PROCESSORS[name]()
    ours = open_processor(_folder(tmp_path, processor))
    for picture in _pictures():
        found = ours.pixels(picture)
        expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"][0])
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_images_get_the_pipelines_labels_and_scores(exported_vit, tmp_path):
    model, processor, folder = exported_vit
    pictures = list(_pictures())
    paths = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    expected = [pipeline(picture, top_k=3) for picture in pictures]
    runner = load(folder, threads=1)
    for given in (pictures, paths, [str(path) for path in paths], [np.asarray(p) for p in pictures]):
        found = runner.classify(given, batch_size=4)
        assert found.labels == [rows[0]["label"] for rows in expected]
        assert np.allclose(found.scores, [rows[0]["score"] for rows in expected], atol=1e-5)
    assert len(set(found.labels)) > 1


def test_colours_and_turns_are_those_of_the_pipeline(exported_vit, tmp_path):
    model, processor, folder = exported_vit
    base = next(_pictures())
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter
    base.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    base.convert("L").save(tmp_path / "grey.png")
    base.convert("RGBA").save(tmp_path / "alpha.png")
    base.convert("P").save(tmp_path / "palette.png")
    paths = sorted(tmp_path.iterdir())
    pipeline = transformers.pipeline("image-classification", model=model, image_processor=processor)
    expected = [pipeline(str(path), top_k=1)[0]["score"] for path in paths]
    assert np.allclose(load(folder).classify(paths).scores, expected, atol=1e-5)


def test_none_at_all(exported_vit):
    assert load(exported_vit[2]).classify([]).logits.shape == (0, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_processor_type": "LayoutLMv3ImageProcessor"}, "LayoutLMv3ImageProcessor is not supported; known are"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "use transformers"),
        ({"size": {"longest_edge": 30}}, "does not fit a ViTImageProcessor"),
        ({"size": None}, "does not fit a ViTImageProcessor"),
        ({"image_mean": None}, "does not fit a ViTImageProcessor"),
    ],
)  # fmt: skip
def test_other_processors_are_refused(tmp_path, settings, message):
    folder = _folder(tmp_path, PROCESSORS["vit"]())
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**saved, **settings}))
    with pytest.raises(InputError, match=message):
        open_processor(folder)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"feature_extractor_type": "ViTFeatureExtractor", "size": 24},
            {"height": 24, "width": 24, "crop": None},
        ),
        (
            {
                "image_processor_type": "BitImageProcessorFast",
                "size": 27,
                "do_center_crop": True,
                "crop_size": 24,
            },
            {"shortest_edge": 27, "crop": (24, 24)},
        ),
    ],
)
def test_settings_of_older_files(tmp_path, settings, expected):
    common = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_resize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**common, **settings}))
    found = open_processor(ModelFolder(tmp_path, tmp_path / "model.onnx", {}))
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.scale == pytest.approx(1 / 255)


def test_pictures_that_are_none(exported_vit, tmp_path):
    runner = load(exported_vit[2])
    (tmp_path / "text.png").write_text("no picture")
    for image in (tmp_path / "text.png", tmp_path / "missing.png", np.zeros((2, 2, 7)), 5):
        with pytest.raises(InputError, match="image 1 cannot be read"):
            runner.classify([next(_pictures()), image])
    with pytest.raises(InputError, match="images must be a list, got a PosixPath"):
        runner.classify(tmp_path / "text.png")
