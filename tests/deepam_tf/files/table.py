"""The table of docs/files.md: what each format keeps, found out by writing and reading it.

    python -m tests.deepam_tf.files.table

writes it anew; `test_metadata.py` holds that the page has it.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile

import numpy as np
from PIL import Image

from deepam_tf.files import pictures as image_io
from deepam_tf.files.formats import WRITTEN, Written
from deepam_tf.files.picture import Encoding, Metadata, Picture, Resolution
from tests.deepam_tf.files import kinds

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "files.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description tiff:Orientation="6" rdf:about="here"/></rdf:RDF></x:xmpmeta>'
)
IPTC = b"\x1c\x02\x78\x00\x07caption"
ROWS = (
    "8 bits", "16 bits", "floats, signed and long integers", "transparency", "animations", "pages",
    "no loss", "colour profile", "EXIF", "XMP", "IPTC", "resolution", "texts", "comment",
    "gamma and primaries",
)  # fmt: skip


def exif() -> bytes:
    """Camera, date, place, side lengths and an orientation that turns."""
    found = Image.Exif()
    found[0x0110], found[0x0132], found[0x0112] = "TestCam", "2020:01:02 03:04:05", 6
    found.get_ifd(0x8769).update({0x829A: 0.01, 0xA002: 16, 0xA003: 12})
    found.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 15.0)})
    return found.tobytes()


def metadata() -> Metadata:
    """All that a file can say."""
    from deepam_tf.files.metadata import upright_exif, upright_xmp

    return Metadata(
        icc=kinds.display_p3(),
        exif=upright_exif(exif()),
        xmp=upright_xmp(XMP),
        iptc=IPTC,
        resolution=Resolution(300.0, 150.0, "inch"),
        text=(("Comment", "made by hand"), ("Title", "Zwölf Kästchen")),
        color_chunks=((b"gAMA", b"\x00\x00\xb1\x8f"),),
    )


def picture(dtype: str = "uint8", alpha: bool = False, **facts) -> Picture:
    """A smooth picture in colour."""
    ramp = np.linspace(0.2, 0.8, 24 * 32, dtype=np.float32).reshape(24, 32, 1)
    pixels = np.concatenate([ramp, ramp[::-1], ramp[:, ::-1]], -1)
    mask = kinds.alpha_of(dtype)[:1, :1].repeat(24, 0).repeat(32, 1) if alpha else None
    return Picture(pixels, mask, np.dtype(dtype), **facts)


def writes(suffix: str, pictures: list[Picture]) -> list[Picture] | None:
    """What comes back from a file; None if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"a{suffix}")
        try:
            image_io.write_all(path, pictures, count=len(pictures))
        except image_io.ImageFileError:
            return None
        with image_io.open_pictures(path) as back:
            return list(back)


def kept(written: Written) -> dict[str, bool]:
    """Which rows a format has."""
    suffix = written.suffixes[0]
    plain = picture(metadata=metadata(), encoding=Encoding(written.name))
    back = writes(suffix, [plain])
    assert back is not None
    found, told = back[0].metadata, plain.metadata
    frames = [dataclasses.replace(picture(), duration=x) for x in (40.0, 60.0)]
    frames[1] = dataclasses.replace(frames[1], pixels=1 - frames[1].pixels)
    animation = writes(suffix, frames)
    pages = writes(suffix, [dataclasses.replace(x, duration=None) for x in frames])
    texts = dict(found.text)
    return {
        "8 bits": True,
        "16 bits": writes(suffix, [picture("uint16")]) is not None,
        "floats, signed and long integers": all(
            writes(suffix, [picture(dtype)]) is not None
            for dtype in ("float16", "float32", "float64", "int16", "uint32")
        ),
        "transparency": writes(suffix, [picture(alpha=True)]) is not None,
        "animations": animation is not None and [x.duration for x in animation] == [40.0, 60.0],
        "pages": pages is not None and [x.duration for x in pages] == [None, None],
        "no loss": bool(np.array_equal(back[0].numbers(), plain.numbers())),
        "colour profile": found.icc == told.icc,
        "EXIF": _says_the_same(found.exif, told.exif),
        "XMP": found.xmp == told.xmp,
        "IPTC": found.iptc == told.iptc or IPTC in (found.photoshop or b""),
        "resolution": found.resolution is not None
        and np.allclose(found.resolution.per("inch"), (300, 150), atol=0.02),
        "texts": texts.get("Title") == dict(told.text)["Title"],
        "comment": texts.get("Comment") == dict(told.text)["Comment"],
        "gamma and primaries": found.color_chunks == told.color_chunks,
    }


def _says_the_same(one: bytes | None, other: bytes | None) -> bool:
    if one is None or other is None:
        return one is other
    found = []
    for data in (one, other):
        exif = Image.Exif()
        exif.load(b"Exif\x00\x00" + data)
        found.append((exif[0x0110], exif[0x0132], exif.get(0x0112, 1), exif.get_ifd(0x8825),
                      exif.get_ifd(0x8769)[0x829A]))  # fmt: skip
    return found[0] == found[1]


def table() -> str:
    """The table, in Markdown."""
    columns = [kept(written) for written in WRITTEN]
    names = [written.name.replace("WEBP", "WebP") for written in WRITTEN]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for row in ROWS:
        lines.append(f"| {row} | {' | '.join('yes' if x[row] else '' for x in columns)} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table as it is now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
