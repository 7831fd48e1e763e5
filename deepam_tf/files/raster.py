"""Pictures and animations of PNG, JPEG, WebP, GIF, BMP, PPM, AVIF and HEIC, mostly by Pillow."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)

from deepam_tf.files import png
from deepam_tf.files.formats import Written
from deepam_tf.files.metadata import (
    jpeg_segments,
    photoshop_of,
    read_resolution,
    upright_exif,
    upright_xmp,
)
from deepam_tf.files.orientation import TRANSPOSED, turned
from deepam_tf.files.picture import (
    Encoding,
    Metadata,
    Picture,
    UnsupportedImageError,
    from_numbers,
)

__all__ = ["Frame", "RasterFile", "encode", "to_srgb"]

# Not `Image.open`: that holds a limit of its own, of the whole process, to every picture.
_OPENERS = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.jpeg_factory,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_QUALITY = 95
_EXIF_TEXTS = ("Raw profile type exif", "Raw profile type APP1")


class RasterFile:
    """A file whose pictures are decoded one by one.

    Args:
        data: its bytes.
        kind: its format, one of those of `formats.PILLOW_FORMATS`, or HEIC.

    Attributes:
        size: height and width, of the largest if they differ.
        count: how many pictures there are.
        several: what they are: `"frames"` of an animation, or `"pictures"`.
    """

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self._kind = kind
        self.several = "frames"
        if kind == "AVIF" and _bits_of_avif(data) > 8:  # Pillow would make 8 of them
            raise UnsupportedImageError("AVIF of more than 8 bits is not read. Convert it to PNG.")
        if kind == "HEIC":
            self._heif = _open_heif(data)
            width, height = self._heif.size
            self.size = (height, width)
            self.count = len(self._heif)
            self.several = "pictures"
            return
        self._image = _OPENERS[kind](io.BytesIO(data), None)
        self.size = (self._image.height, self._image.width)
        self.count = getattr(self._image, "n_frames", 1)
        if isinstance(self._image, MpoImagePlugin.MpoImageFile):
            self.several = "pictures"
            self.count = _full_pictures(self._image)

    def close(self) -> None:
        """Let go of the file."""
        if self._kind != "HEIC":
            self._image.close()

    def pictures(self, count: int) -> Iterator[Picture]:
        """The first pictures, decoded one after another.

        Args:
            count: how many.

        Yields:
            Each picture, integers as they are in the file, upright.

        Raises:
            ImageFileError: if the file holds a kind of pixels that is not read.
        """
        if self._kind == "HEIC":
            yield from (_of_heif(self._heif, i) for i in range(count))
            return
        image, data = self._image, self._data
        if self._kind == "PNG" and png.is_deep(data):
            if count > 1:
                raise UnsupportedImageError("animations of 16 bit colour are not read.")
            values = png.decode_deep(data)
            image.load()  # the texts behind the pixels
            facts = self._facts()
            values = turned(values, _orientation(image))
            image.close()
            yield _picture(values, facts, ())
            return
        image.load()
        facts = self._facts()
        transparent = count > 1 and self._any_transparency(count)
        for number in range(count):
            image.seek(number)
            image.load()
            values, notes, profile = _values(image, data, transparent)
            fields = facts
            if profile is not None:
                fields = {**facts, "metadata": dataclasses.replace(facts["metadata"], icc=profile)}
            if self.count > 1 and self.several == "frames":
                fields = {**fields, "duration": float(image.info.get("duration", 0.0))}
            values = turned(values, _orientation(image))
            if number == count - 1:
                image.close()  # it takes as much memory as the picture, or more
            yield _picture(values, fields, notes)

    def _any_transparency(self, count: int) -> bool:
        """Whether a frame shows what is behind it: all then get alpha."""
        for number in range(count):
            self._image.seek(number)
            self._image.load()
            if self._image.has_transparency_data:
                alpha = self._image.convert("RGBA").getchannel("A")
                if alpha.getextrema()[0] < 255:
                    return True
        return False

    def _facts(self) -> dict:
        image, info = self._image, self._image.info
        transposed = _orientation(image) in TRANSPOSED
        resolution = read_resolution(image)
        if resolution is not None and transposed:
            resolution = dataclasses.replace(resolution, x=resolution.y, y=resolution.x)
        photoshop = info.get("photoshop")
        metadata = Metadata(
            icc=info.get("icc_profile") or None,
            exif=upright_exif(_exif_of(image), transposed=transposed),
            xmp=upright_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp")),
            photoshop=_resources(image) if photoshop else None,
            resolution=resolution,
            text=_texts(image),
            color_chunks=png.color_chunks(self._data) if self._kind == "PNG" else (),
        )
        encoding = Encoding(
            format=self._kind,
            quantization=getattr(image, "quantization", None),
            progressive=bool(info.get("progressive")),
            lossless=self._kind == "WEBP" and _is_lossless(self._data),
            loop=info.get("loop") if self.count > 1 else None,
            default_image=bool(info.get("default_image")),
        )
        return {"metadata": metadata, "encoding": encoding}


def _values(
    image: Image.Image, data: bytes, transparent: bool
) -> tuple[np.ndarray, tuple[str, ...], bytes | None]:
    """Integers `[H, W, 1..4]` as stored, notes, and the profile of colours that were converted."""
    mode, notes, profile = image.mode, [], None
    if mode.startswith("I;16") or (mode == "I" and image.format == "PPM"):
        values = np.asarray(image).astype(np.uint16)[..., np.newaxis]
        if image.info.get("transparency") is not None:
            hidden = values == int(image.info["transparency"])
            values = np.concatenate([values, np.where(hidden, 0, 65535).astype(np.uint16)], -1)
        return values, (), None
    if image.format == "PPM" and mode == "RGB" and _largest_of_ppm(data) > 255:
        raise UnsupportedImageError("PPM of 16 bits is not read. Convert it to PNG or TIFF.")
    if mode == "CMYK":
        image, profile = to_srgb(image, image.info.get("icc_profile"))
        return np.asarray(image), ("CMYK was converted to sRGB by its profile.",), profile
    if mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"):
        raise UnsupportedImageError(f"pixels of the kind {mode} are not read.")
    gray = mode in ("1", "L", "LA", "La")
    has_alpha = transparent or image.has_transparency_data
    if mode in ("P", "PA") and image.format != "GIF":
        notes.append("its palette becomes colours of their own, 8 bits a channel.")
    if mode == "1":
        notes.append("its pixels of 1 bit become pixels of 8 bits.")
    target = ("L" if gray else "RGB") + ("A" if has_alpha else "")
    if mode == "1" and has_alpha:
        image = image.convert("L")
    return np.atleast_3d(np.asarray(image.convert(target))), tuple(notes), profile


def _largest_of_ppm(data: bytes) -> int:
    """The number that is white, the fourth word of the header."""
    words = re.sub(rb"#[^\n]*", b" ", data[:4096]).split(maxsplit=4)
    return int(words[3])


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes]:
    """CMYK to sRGB by the profile that says what its inks are.

    Args:
        image: CMYK.
        profile: ICC profile.

    Returns:
        RGB, and the profile of sRGB.

    Raises:
        ImageFileError: if there is no profile, or none of CMYK.
    """
    if not profile:
        raise UnsupportedImageError(
            "CMYK without a colour profile: what its inks look like is not told. Convert it to RGB."
        )
    try:
        inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        screen = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        converted = ImageCms.profileToProfile(
            image, inks, screen, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except ImageCms.PyCMSError as error:
        raise UnsupportedImageError(
            f"the CMYK profile cannot be used ({error}). Convert it to RGB."
        ) from error
    if converted is None:  # as where it was told to change the image itself
        raise UnsupportedImageError("the CMYK profile cannot be used. Convert it to RGB.")
    return converted, screen.tobytes()


def _picture(values: np.ndarray, facts: dict, notes: tuple[str, ...]) -> Picture:
    """Colour and alpha of `[H, W, 1..4]` integers."""
    has_alpha = values.shape[-1] in (2, 4)
    return from_numbers(
        values[..., :-1] if has_alpha else values,
        values[..., -1] if has_alpha else None,
        notes=notes,
        **facts,
    )


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _exif_of(image: Image.Image) -> bytes | None:
    """EXIF byte by byte, or from the text that some programs put it into in PNG files."""
    exif = image.info.get("exif")
    if exif is None and any(name in image.info for name in _EXIF_TEXTS):
        exif = image.getexif().tobytes()
    return exif


def _texts(image: Image.Image) -> tuple[tuple[str, str], ...]:
    if isinstance(image, PngImagePlugin.PngImageFile):
        left_out = ("XML:com.adobe.xmp", *_EXIF_TEXTS)
        return tuple((k, str(v)) for k, v in image.text.items() if k not in left_out)
    comment = image.info.get("comment")
    if not comment:
        return ()
    return (("Comment", comment.decode("latin-1") if isinstance(comment, bytes) else comment),)


def _resources(image) -> bytes:
    """Photoshop's image resources of a JPEG file, as they are."""
    header = b"Photoshop 3.0\x00"
    return b"".join(
        content[len(header) :]
        for name, content in image.applist
        if name == "APP13" and content.startswith(header)
    )


def _is_lossless(data: bytes) -> bool:
    """Whether a WebP file stores its pixels as they are."""
    place, kinds = 12, set()
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        kinds.add(kind)
        # A frame is a container: 16 bytes on, its own chunks begin.
        place += 8 + (16 if kind == b"ANMF" else size + size % 2)
    return b"VP8L" in kinds and b"VP8 " not in kinds


def _full_pictures(image) -> int:
    """How many pictures of a multi-picture file are no previews of the first."""
    kinds = [entry.get("Attribute", {}).get("MPType", "") for entry in image.mpinfo.get(0xB002, [])]
    return max(1, sum("Thumbnail" not in kind for kind in kinds)) if kinds else image.n_frames


def _bits_of_avif(data: bytes) -> int:
    """Bits of a channel, as the box of pixel information says; 8 without one."""
    place = data.find(b"pixi")
    return data[place + 9] if 0 <= place < len(data) - 9 else 8


def _open_heif(data: bytes):
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedImageError(
            "HEIC needs the package pillow-heif. Install it: pip install 'deepam-tf[heif]'."
        ) from error
    return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)


def _of_heif(file, number: int) -> Picture:
    """A picture of a HEIC file; the library turns it upright."""
    image = file[number]
    values = np.atleast_3d(np.asarray(image))
    info = image.info
    metadata = Metadata(
        icc=info.get("icc_profile") or None,
        exif=upright_exif(info.get("exif")),
        xmp=upright_xmp(info.get("xmp")),
    )
    beside = len(info.get("depth_images", ())) + sum(map(len, info.get("aux", {}).values()))
    notes = (f"{beside} maps of depth or light beside it are left out.",) if beside else ()
    return _picture(values, {"metadata": metadata, "encoding": Encoding("HEIC")}, notes)


class Frame(NamedTuple):
    """What an animation is made of.

    Attributes:
        values: `[H, W, 1..4]` integers, the last of an even number being alpha.
        duration: in milliseconds.
    """

    values: np.ndarray
    duration: float

    @classmethod
    def of(cls, picture: Picture) -> Frame:
        """A picture in the numbers of its file."""
        values = picture.numbers()
        if picture.alpha is not None:
            values = np.dstack([values, picture.alpha])
        return cls(values, picture.duration or 0.0)


def encode(
    first: Picture, frames: Sequence[Frame], written: Written, *, quality: int | None = None
) -> bytes:
    """A file of one picture, or of the frames of an animation.

    Args:
        first: what is said of it, and how it was stored.
        frames: of 8 or 16 bits, all of one size.
        written: the format.
        quality: of JPEG and WebP, 1 to 100; by default 95 or what the file had, if that is
            better.

    Returns:
        Its bytes.

    Raises:
        OSError: if the encoder refuses.
    """
    metadata = first.metadata
    values = frames[0].values
    if written.name == "PNG" and values.dtype == np.uint16 and values.shape[-1] > 1:
        return png.with_chunks(png.encode_deep(values), metadata)
    images = [
        Image.fromarray(x.values[..., 0] if x.values.shape[-1] == 1 else x.values) for x in frames
    ]
    options = _OPTIONS[written.name](first, quality)
    if len(images) > 1:
        if written.name == "GIF":
            images = [_with_palette(image) for image in images]
            options["disposal"] = 2
        options |= {
            "save_all": True,
            "append_images": images[1:],
            "duration": [frame.duration for frame in frames],
        }
        if written.name == "PNG":
            # Every frame covers the picture, so nothing depends on it; but Pillow makes one frame
            # of two that are alike in this too.
            ways = (PngImagePlugin.Disposal.OP_NONE, PngImagePlugin.Disposal.OP_BACKGROUND)
            options["disposal"] = [ways[number % 2] for number in range(len(images))]
        if written.name == "PNG" and first.encoding.default_image:
            options["default_image"] = True
            options |= {name: options[name][1:] for name in ("duration", "disposal")}
        if first.encoding.loop is not None:
            options["loop"] = first.encoding.loop
        if written.name != "PNG":
            options["duration"] = [round(duration) for duration in options["duration"]]
    elif written.name == "GIF":
        images = [_with_palette(images[0])]
    buffer = io.BytesIO()
    images[0].save(buffer, format=written.name, **options)
    data = buffer.getvalue()
    if written.name == "PNG":
        return png.with_chunks(data, metadata)
    return _with_density(data, metadata) if written.name == "JPEG" else data


def _with_density(data: bytes, metadata: Metadata) -> bytes:
    """A JPEG file with its resolution in its own unit: Pillow knows inches alone."""
    resolution = metadata.resolution
    if resolution is None or data[6:11] != b"JFIF\x00":
        return data
    unit = {"none": 0, "inch": 1, "cm": 2}[resolution.unit]
    largest = 65535
    x, y = (min(max(round(value), 1), largest) for value in (resolution.x, resolution.y))
    return data[:13] + struct.pack(">BHH", unit, x, y) + data[18:]


def _with_palette(image: Image.Image) -> Image.Image:
    """The 256 colours that are nearest, and one that is transparent."""
    if image.mode == "LA":
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        return image.quantize(256, method=Image.Quantize.FASTOCTREE)
    return image if image.mode == "L" else image.quantize(256, dither=Image.Dither.NONE)


def _png_options(picture: Picture, quality: int | None) -> dict:
    del picture, quality
    return {"blend": PngImagePlugin.Blend.OP_SOURCE}


def _jpeg_options(picture: Picture, quality: int | None) -> dict:
    metadata, encoding = picture.metadata, picture.encoding
    options = {
        "quality": quality or _QUALITY,
        "subsampling": 0,
        "progressive": encoding.progressive,
        "extra": jpeg_segments(photoshop_of(metadata)),
        **_profile_exif_xmp(metadata),
    }
    comment = dict(metadata.text).get("Comment")
    if comment is not None:
        options["comment"] = comment.encode("latin-1", "replace")
    tables = encoding.quantization
    if quality is None and tables and _steps(tables) < _steps(_own_tables()):
        del options["quality"]
        options["qtables"] = tables
    return options


def _own_tables() -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return JpegImagePlugin.JpegImageFile(io.BytesIO(buffer.getvalue())).quantization


def _steps(tables: dict[int, list[int]]) -> float:
    return float(np.mean(tables[0]))


def _webp_options(picture: Picture, quality: int | None) -> dict:
    lossless = picture.encoding.lossless and quality is None
    return {
        "lossless": lossless,
        "quality": 80 if lossless else quality or _QUALITY,
        "exact": True,
        **_profile_exif_xmp(picture.metadata),
    }


def _gif_options(picture: Picture, quality: int | None) -> dict:
    del quality
    comment = dict(picture.metadata.text).get("Comment")
    return {} if comment is None else {"comment": comment.encode("latin-1", "replace")}


def _bmp_options(picture: Picture, quality: int | None) -> dict:
    del quality
    resolution = picture.metadata.resolution
    return {} if resolution is None else {"dpi": resolution.per("inch")}


def _profile_exif_xmp(metadata: Metadata) -> dict:
    found = {
        "icc_profile": metadata.icc,
        "exif": metadata.exif and b"Exif\x00\x00" + metadata.exif,
        "xmp": metadata.xmp,
    }
    return {name: value for name, value in found.items() if value}


_OPTIONS = {
    "PNG": _png_options,
    "JPEG": _jpeg_options,
    "WEBP": _webp_options,
    "GIF": _gif_options,
    "BMP": _bmp_options,
}
