"""Files inside a graph are read and written as the command line reads and writes them."""

from __future__ import annotations

import io
import pathlib
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import deepam_tf
from deepam_tf import image_io
from export.graph import image_bytes

ORIENTATION = 0x0112


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode(encoded):
    image = image_bytes.decode(encoded, tf.constant("file"), max_megapixels=1.0)
    return *image, image_bytes.encode(image.pixels, image)


def encoded(pixels, kind="png", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(value, big_endian=False):
    exif = Image.Exif()
    exif.endian = ">" if big_endian else "<"
    exif[0x010E] = "a description that stands before the orientation"
    exif[ORIENTATION] = value
    return exif


def pictures():
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.uniform(0, 255, (4, 5, 4)), (26, 21), interpolation=cv2.INTER_CUBIC)
    color = np.clip(smooth, 0, 255).astype(np.uint8)
    deep = np.clip(smooth * 257, 0, 65535).astype(np.uint16)
    files = {
        "gray": encoded(color[..., 0]),
        "gray and alpha": encoded(color[..., :2]),
        "colour": encoded(color[..., :3]),
        "colour and alpha": encoded(color),
        "gray, 16 bit": encoded(deep[..., 0]),
        "colour, 16 bit": cv2.imencode(".png", deep[..., :3])[1].tobytes(),
        "colour and alpha, 16 bit": cv2.imencode(".png", deep)[1].tobytes(),
        "palette": encoded(np.asarray(Image.fromarray(color[..., :3]).convert("P"))),
        "one bit": encoded(color[..., 0] > 128),
        "JPEG, gray": encoded(color[..., 0], "jpeg"),
        "JPEG": encoded(color[..., :3], "jpeg"),
        "JPEG, progressive": encoded(color[..., :3], "jpeg", progressive=True, subsampling=2),
    }
    buffer = io.BytesIO()
    Image.fromarray(color[..., :3]).convert("P").save(buffer, "png")
    files["palette of colours"] = buffer.getvalue()
    for value in range(1, 9):
        for big_endian in (False, True):
            exif = with_orientation(value, big_endian)
            name = f"orientation {value}, {'big' if big_endian else 'little'} endian"
            files[f"JPEG, {name}"] = encoded(color[..., :3], "jpeg", exif=exif)
            files[f"PNG, {name}"] = encoded(color[..., :3], exif=exif)
    files["nonsense for an orientation"] = encoded(
        color[..., :3], "jpeg", exif=with_orientation(77)
    )
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    files["JPEG, orientation in XMP"] = encoded(color[..., :3], "jpeg", xmp=xmp)
    return files


PICTURES = pictures()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=pytest.mark.slow if "endian" in name and "6, big" not in name else []
        )
        for name in PICTURES
    ],
)
def test_decoding_agrees_with_the_command_line(name, tmp_path):
    path = tmp_path / "file.png"
    path.write_bytes(PICTURES[name])
    expected = image_io.read(path)
    pixels, alpha, peak, written = decode(PICTURES[name])
    # Two builds of the JPEG library may round differently.
    tolerance = 1.001 / 255 if "JPEG" in name or "nonsense" in name else 0.0
    np.testing.assert_allclose(pixels, expected.pixels, rtol=0, atol=tolerance)
    assert float(peak) == np.iinfo(expected.dtype).max
    if expected.alpha is None:
        assert alpha.shape[-1] == 0
    else:
        np.testing.assert_array_equal(alpha[..., 0], expected.alpha)

    path.write_bytes(written.numpy())
    again = image_io.read(path)
    assert again.dtype == expected.dtype
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.alpha is None) == (expected.alpha is None)


def png_of_claimed_size(width, height):
    data = bytearray(PICTURES["gray"])
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def animation():
    frames = [Image.new("L", (40, 40), level) for level in (10, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "png", save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def cmyk():
    buffer = io.BytesIO()
    Image.new("CMYK", (40, 40), (9, 99, 20, 3)).save(buffer, "jpeg")
    return buffer.getvalue()


BAD = {
    "an animation": (animation(), "must hold one picture"),
    "CMYK": (cmyk(), "must be gray or RGB"),
    "empty": (b"", "must be a PNG or JPEG file"),
    "random": (np.random.default_rng(1).bytes(500), "must be a PNG or JPEG file"),
    "another format": (encoded(np.zeros([4, 4, 3], np.uint8), "bmp"), "must be a PNG or JPEG"),
    "truncated PNG": (PICTURES["colour"][:-30], "damaged or truncated"),
    "truncated JPEG": (PICTURES["JPEG"][:-30], "damaged or truncated"),
    "header alone, PNG": (PICTURES["gray"][:33], "damaged or truncated"),
    "header alone, JPEG": (PICTURES["JPEG"][:30], "damaged or truncated"),
    "flipped bits": (
        PICTURES["colour"][:60] + b"\xff" * 20 + PICTURES["colour"][80:],
        "damaged or truncated",
    ),
    "100 megapixels": (png_of_claimed_size(10_000, 10_000), "at most 1 megapixels"),
    "the largest numbers": (png_of_claimed_size(2**31 - 1, 2**31 - 1), "at most 1 megapixels"),
    "no pixels": (png_of_claimed_size(0, 0), "damaged or truncated"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_end_in_an_error_that_names_them(kind):
    data, message = BAD[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"file .*{message}"):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_exif_does_no_harm(kind, rng):
    name = f"{kind}, orientation 6, little endian"
    data = bytearray(PICTURES[name])
    start = data.index(b"II*\0") + 4
    data[start : start + 4] = b"\xff\xff\xff\x7f"  # the directory lies far outside
    if kind == "PNG":
        return_to = data.index(b"eXIf")
        length = int.from_bytes(data[return_to - 4 : return_to], "big")
        end = return_to + 4 + length
        data[end : end + 4] = zlib.crc32(data[return_to:end]).to_bytes(4, "big")
    pixels, *_ = decode(bytes(data))
    assert pixels.shape == (21, 26, 3)


def test_pictures_of_the_package_survive(rng):
    path = pathlib.Path(deepam_tf.__file__).parent / "assets" / "astronaut.png"
    pixels, _, _, written = decode(path.read_bytes())
    np.testing.assert_array_equal(pixels, image_io.read(path).pixels)
    np.testing.assert_array_equal(decode(written)[0], pixels)
