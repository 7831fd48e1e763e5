"""Files of every kind, with what is in them."""

from __future__ import annotations

import dataclasses
import functools
import io
import pathlib
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

HEIGHT, WIDTH = 12, 16


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: of the file.
        write: writes it to a path.
        values: `[pages, H, W, C]`, what it shows, upright, in its own numbers.
        alpha: `[H, W]`, or None.
        near: how far from `values` its pixels may be, of formats that lose some.
    """

    name: str
    write: Callable[[pathlib.Path], object]
    values: np.ndarray
    alpha: np.ndarray | None = None
    near: float = 0.0


@functools.cache
def display_p3() -> bytes:
    """A profile that is not sRGB's, by its bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return bytes(profile).replace(b"sRGB built-in", b"wide gamut   ")


@functools.cache
def inks() -> bytes:
    """A profile of CMYK: paper is white, an ink takes one colour away, black takes all."""
    colors = Image.new("RGB", (16, 1))
    for number in range(16):
        *others, black = ((number >> bit) & 1 for bit in (3, 2, 1, 0))
        colors.putpixel((number, 0), tuple(0 if black else 255 * (1 - ink) for ink in others))
    lab = ImageCms.applyTransform(
        colors,
        ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        ),
    )
    grid = np.asarray(lab).reshape(16, 3) + np.array([0, 128, 128], np.uint8)
    ramp, one = bytes(range(256)), 65536
    white = struct.pack(">3i", 63190, one, 54061)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(
        ">9i", one, 0, 0, 0, one, 0, 0, 0, one
    )  # fmt: skip
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"CMYK\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none",
        b"wtpt": b"XYZ " + bytes(4) + white,
        b"A2B0": table + 4 * ramp + grid.astype(np.uint8).tobytes() + 3 * ramp,
    }
    places, content = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        places += name + struct.pack(">II", start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    body = struct.pack(">I", len(tags)) + places + content
    header = struct.pack(
        ">I4sI4s4s4s12x4s28x12s48x",
        *(128 + len(body), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp", white),
    )
    return header + body


def pixels(dtype: str = "u1", channels: int = 3, pages: int = 1) -> np.ndarray:
    """Numbers over most of a type's range, `[pages, H, W, channels]`."""
    rng = np.random.default_rng(5)
    unit = rng.uniform(0.05, 0.95, (pages, HEIGHT, WIDTH, channels))
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return unit.astype(dtype)
    limits = np.iinfo(dtype)
    span = float(limits.max) - float(limits.min)
    return (limits.min + unit * span).astype(dtype)


def alpha_of(dtype: str) -> np.ndarray:
    """From opaque to a transparent corner, `[H, W]`."""
    ramp = np.linspace(0.3, 1.0, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    ramp[:3, :3] = 0.0
    dtype = np.dtype(dtype)
    return (ramp if dtype.kind == "f" else ramp * np.iinfo(dtype).max).astype(dtype)


def _tiff(values: np.ndarray, **options) -> Callable[[pathlib.Path], object]:
    def write(path: pathlib.Path) -> None:
        with tifffile.TiffWriter(
            path, bigtiff=options.get("bigtiff", False), byteorder=options.get("byteorder", "<")
        ) as file:
            others = {k: v for k, v in options.items() if k not in ("bigtiff", "byteorder")}
            for page in values:
                file.write(page, **{"metadata": None, "contiguous": False, **others})

    return write


def _gray(values: np.ndarray) -> np.ndarray:
    return values[..., 0]


def _tiff_kinds() -> list[Kind]:
    kinds = []
    for dtype in ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"):
        gray, color = pixels(dtype, 1), pixels(dtype, 3)
        kinds += [
            Kind(f"gray_{dtype}.tif", _tiff(_gray(gray), photometric="minisblack"), gray),
            Kind(f"color_{dtype}.tif", _tiff(color, photometric="rgb"), color),
        ]
    color, gray = pixels("u2", 3), pixels("u2", 1)
    planar = np.moveaxis(color, -1, 1)
    kinds += [
        Kind("planar.tif", _tiff(planar, photometric="rgb", planarconfig="separate"), color),
        Kind("tiled.tif", _tiff(color, photometric="rgb", tile=(16, 16)), color),
        Kind("big_endian.tif", _tiff(color, photometric="rgb", byteorder=">"), color),
        Kind("big_tiff.tif", _tiff(color, photometric="rgb", bigtiff=True), color),
        Kind("strips.tif", _tiff(color, photometric="rgb", rowsperstrip=5), color),
        Kind("deflate.tif", _tiff(color, photometric="rgb", compression="zlib"), color),
        Kind(
            "predictor.tif",
            _tiff(color, photometric="rgb", compression="zlib", predictor=2),
            color,
        ),
        Kind(
            "white_is_zero.tif",
            _tiff(_gray(65535 - gray), photometric="miniswhite"),
            gray,
        ),
        Kind("pages.tif", _tiff(_gray(pixels("u2", 1, 3)), photometric="minisblack"),
             pixels("u2", 1, 3)),
        Kind("float_pages.tif", _tiff(pixels("f4", 3, 2), photometric="rgb"), pixels("f4", 3, 2)),
    ]  # fmt: skip
    for name, options in {
        "lzw": {"compression": "lzw"},
        "lzw_predictor": {"compression": "lzw", "predictor": 2},
        "packbits": {"compression": "packbits"},
    }.items():
        kinds.append(Kind(f"{name}.tif", _tiff(color, photometric="rgb", **options), color))
    for dtype in ("u1", "u2", "f4"):
        color, alpha = pixels(dtype, 3), alpha_of(dtype)
        top = 1.0 if dtype == "f4" else float(np.iinfo(dtype).max)
        stacked = np.concatenate([color, alpha[np.newaxis, ..., np.newaxis]], -1)
        share = alpha[..., np.newaxis].astype(float) / top
        product = color * share
        product = product.astype(dtype) if dtype == "f4" else np.rint(product).astype(dtype)
        times = np.concatenate([product, alpha[np.newaxis, ..., np.newaxis]], -1)
        kinds += [
            Kind(
                f"straight_{dtype}.tif",
                _tiff(stacked, photometric="rgb", extrasamples=["unassalpha"]),
                color,
                alpha,
            ),
            Kind(
                f"associated_{dtype}.tif",
                _tiff(times, photometric="rgb", extrasamples=["assocalpha"]),
                np.where(alpha[..., np.newaxis] > 0, color, 0),
                alpha,
                near=1e-6 if dtype == "f4" else 2.0,
            ),
        ]
    turned = pixels("u2", 3)
    kinds.append(
        Kind(
            "turned.tif",
            _tiff(
                np.rot90(turned, 1, axes=(1, 2)),
                photometric="rgb",
                extratags=[(274, 3, 1, 6, True)],
            ),
            turned,
        )
    )
    low = np.where(pixels("f4", 1) > 0.5, pixels("f4", 1), -1000.0).astype("f4")
    kinds.append(Kind("negative_f4.tif", _tiff(_gray(low), photometric="minisblack"), low))
    large = (pixels("f4", 1) * 5000).astype("f4")
    kinds.append(Kind("large_f4.tif", _tiff(_gray(large), photometric="minisblack"), large))
    return kinds


def _pillow(values: np.ndarray, **options) -> Callable[[pathlib.Path], object]:
    return lambda path: Image.fromarray(values.squeeze()).save(path, **options)


def png(
    values: np.ndarray, color_type: int, *, interlaced: bool = False, extra: bytes = b""
) -> bytes:
    """A PNG file of 16 bits, rows unfiltered: of what other libraries write wrongly or not."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width = values.shape[:2]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    ) + chunk(b"IEND", b"")


def _png_kinds() -> list[Kind]:
    gray, color = pixels("u1", 1), pixels("u1", 3)
    alpha = alpha_of("u1")
    gray16, color16, alpha16 = pixels("u2", 1), pixels("u2", 3), alpha_of("u2")
    one_bit = np.where(gray > 128, 255, 0).astype("u1")
    palette = Image.fromarray(color[0]).quantize(16)
    four = Image.fromarray((gray[0, ..., 0] // 17 * 17).astype("u1"))
    kinds = [
        Kind("gray.png", _pillow(gray), gray),
        Kind("color.png", _pillow(color), color),
        Kind("gray_alpha.png", _pillow(np.dstack([gray[0], alpha])), gray, alpha),
        Kind("color_alpha.png", _pillow(np.dstack([color[0], alpha])), color, alpha),
        Kind("gray16.png", _pillow(gray16), gray16),
        Kind(
            "color16.png",
            lambda path: cv2.imwrite(str(path), np.ascontiguousarray(color16[0, ..., ::-1])),
            color16,
        ),
        Kind(
            "gray_alpha16.png",
            lambda path: path.write_bytes(png(np.dstack([gray16[0], alpha16]), 4)),
            gray16,
            alpha16,
        ),
        Kind(
            "color_alpha16.png",
            lambda path: path.write_bytes(png(np.dstack([color16[0], alpha16]), 6)),
            color16,
            alpha16,
        ),
        Kind(
            "one_bit.png",
            lambda path: Image.fromarray(one_bit[0, ..., 0]).convert("1").save(path),
            one_bit,
        ),
        Kind("palette.png", palette.save, np.asarray(palette.convert("RGB"))[np.newaxis]),
        Kind(
            "four_bits.png",
            lambda path: four.quantize(16, dither=0).save(path, bits=4),
            np.asarray(four.quantize(16, dither=0).convert("RGB"))[np.newaxis],
        ),
    ]
    frames = pixels("u1", 3, 3)
    images = [Image.fromarray(frame) for frame in frames]
    kinds.append(
        Kind(
            "animated.png",
            lambda path: images[0].save(
                path, save_all=True, append_images=images[1:], duration=[50, 70, 90], loop=3
            ),
            frames,
        )
    )
    return kinds


def _lossy_kinds() -> list[Kind]:
    smooth = cv2.resize(pixels("u1", 3)[0, ::4, ::4], (WIDTH, HEIGHT))[np.newaxis]
    gray, frames = smooth[..., :1], np.concatenate([smooth, 255 - smooth])
    alpha = np.where(alpha_of("u1") > 0, 255, 0).astype("u1")
    images = [Image.fromarray(frame) for frame in frames]
    options = {"save_all": True, "append_images": images[1:], "duration": [50, 70]}
    few = [image.quantize(64) for image in images]
    shown = np.stack([np.asarray(image.convert("RGB")) for image in few])
    heif = pixels("u1", 3)

    def write_heif(path: pathlib.Path) -> None:
        import pillow_heif

        data = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(heif[0])).save(data, quality=-1, chroma=444)
        path.write_bytes(data.getvalue())

    return [
        Kind("gray.jpg", _pillow(gray, quality=98), gray, near=6),
        Kind("color.jpg", _pillow(smooth, quality=98, subsampling=0), smooth, near=8),
        Kind("color.bmp", _pillow(smooth), smooth),
        Kind("lossless.webp", _pillow(smooth, lossless=True), smooth),
        Kind(
            "lossless_alpha.webp",
            _pillow(np.dstack([smooth[0], alpha]), lossless=True, exact=True),
            smooth,
            alpha,
        ),
        Kind("lossy.webp", _pillow(smooth, quality=98), smooth, near=40),
        Kind(
            "animated.webp",
            lambda path: images[0].save(path, lossless=True, loop=2, **options),
            frames,
        ),
        Kind(
            "animated.gif",
            lambda path: few[0].save(
                path,
                save_all=True,
                append_images=few[1:],
                duration=[50, 70],
                loop=0,
                optimize=False,
            ),
            shown,
            near=10,
        ),
        Kind("photo.heic", write_heif, heif, near=6),
    ]


def kinds() -> list[Kind]:
    """All of them."""
    return [*_tiff_kinds(), *_png_kinds(), *_lossy_kinds()]


def text_chunk(key: str, value: str) -> PngImagePlugin.PngInfo:
    """A text for a PNG file."""
    info = PngImagePlugin.PngInfo()
    info.add_text(key, value)
    return info
