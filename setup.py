"""Packaging: installs `deepam_tf` alone; `training` and the like run from a checkout."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "deepam_tf/__init__.py").read_text())[1]

EXTRAS = {
    "heif": ["pillow-heif>=0.18"],  # to read HEIC
    "raw": ["rawpy>=0.24"],  # to read raw photographs
    "tiff": ["imagecodecs>=2024.6.1"],  # TIFF in LZW, JPEG, CCITT and the like: to keep or read it
    "app": ["gradio>=6,<7"],
    "ray": ["ray[data]>=2.50,<2.64"],  # batches on many machines
    "urls": ["fsspec>=2024.6"],  # batches of s3:// with s3fs, of gs:// with gcsfs, and so on
    "zarr": ["zarr>=3"],  # pictures larger than memory, in folders of chunks
    "completion": ["shtab>=1.7"],
    "train": ["keras>=3.14,<3.16", "tensorboard>=2.19"],
    "serve": ["grpcio>=1.60", "tensorflow-serving-api>=2.18"],  # to export and ask; not to run
    "convert": ["ai-edge-litert>=2.0", "onnxruntime>=1.20", "tf2onnx>=1.16"],
    "bench": [
        "bm3d>=4.0",
        "ilupp>=1.0",
        "matplotlib>=3.8",
        "pyamg>=5.0",
        "scikit-image>=0.24",
        "scipy>=1.11",
    ],
    "docs": [
        "latex2mathml>=3.77",
        "l2m4m>=1.0.4",
        "mkdocs>=1.6,<2",
        "mkdocs-jupyter>=0.25",
        "mkdocs-material>=9.6,<10",
        "mkdocstrings[python]>=0.29",
    ],
    "probability": ["tensorflow-probability[tf]>=0.25"],
    "notebooks": ["ipykernel>=6.29", "matplotlib>=3.8", "nbconvert>=7.16", "scikit-image>=0.24"],
    "dev": [
        "imagecodecs>=2024.6.1",
        "moto[s3,server]>=5",
        "pidng>=4.0.9",
        "pillow-heif>=0.18",
        "psutil>=5.9",
        "pyright>=1.1.390",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "rawpy>=0.24",
        "ray[data]>=2.50,<2.64",
        "ruff>=0.9",
        "s3fs>=2024.6",
        "selenium>=4.20",
        "scipy>=1.11",
        "shtab>=1.7",
        "tensorboard>=2.19",
        "tensorflow-probability[tf]>=0.25",
        "zarr>=3",
    ],
}

setup(
    name="deepam-tf",
    version=VERSION,
    description="Image restoration by deeply aggregated alternating minimization (DeepAM)",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["deepam_tf", "deepam_tf.*"]),
    package_data={
        "deepam_tf": [
            "py.typed",
            "app/compare.*",
            "assets/*.png",
            "restoration/weights/*",
            "restoration/weights/uncertainty/*",
        ]
    },
    install_requires=[
        "keras>=3.12,<3.16",  # tests/test_keras.py says what a newer one has to keep
        "numpy>=1.26",
        "opencv-python>=4.10",
        "pillow>=11",
        "rich>=13",
        "tifffile>=2024.8.10",
        "tensorflow>=2.18",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["deepam=deepam_tf.cli.main:main"]},
)
