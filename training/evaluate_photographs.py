"""Measure denoisers on photographs with the noise of a real camera.

    python -m training.evaluate_photographs --data FOLDER [--model denoise_camera] [--told 15]

A folder holds pairs, `NAME_real.EXT` and the mean of many photographs of the same scene,
`NAME_mean.EXT`, which is taken for the truth (CC15 and PolyU are published so).

Protocol: nobody tells the noise; PSNR and SSIM over the three channels of the whole picture,
outputs rounded to 8 bit. `default` is what `deepam denoise` does.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import rich.console
import rich.progress

import deepam_tf
from deepam_tf import image_io
from deepam_tf.restoration.tiles import Restorer
from training.evaluation import photographs
from training.evaluation.denoising import denoiser
from training.evaluation.scores import provenance, summary_table, write_csv

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate_photographs",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder of pairs")
    parser.add_argument(
        "--model", nargs="*", default=[], help="weights as well, told the level of --told"
    )
    parser.add_argument(
        "--told", type=float, default=15.0, help="noise level for --model, 0..255 (15)"
    )
    parser.add_argument("--nlm", action="store_true", help="OpenCV's non-local means too")
    parser.add_argument("--bfloat16", action="store_true", help="networks in half precision")
    parser.add_argument("--every", type=int, default=1, help="every so many pairs alone (1)")
    parser.add_argument("--out", type=pathlib.Path, help="CSV; results/DATA.csv by default")
    args = parser.parse_args(argv)
    console = rich.console.Console()
    dtype = "mixed_bfloat16" if args.bfloat16 else "float32"
    try:
        pairs = photographs.read_pairs(args.data)
        pairs = dict(list(pairs.items())[:: args.every])
        methods = {"default": photographs.default(dtype)}
        for name in args.model:
            restorer = Restorer(deepam_tf.load_pretrained(name, dtype=dtype))
            methods[f"{name}, told {args.told:g}"] = denoiser(restorer, args.told / 255)
        if args.nlm:
            methods["NLM, OpenCV"] = photographs.non_local_means
        with rich.progress.Progress(transient=True) as progress:
            task = progress.add_task("images", total=len(pairs) * len(methods))
            scores = photographs.evaluate_pairs(
                pairs, methods, on_image=lambda: progress.advance(task)
            )
        out = args.out or pathlib.Path("results") / f"{args.data.name}.csv"
        write_csv(out, scores, [f"{args.data.name}: {len(pairs)} pairs", *provenance(__doc__)])
    except (image_io.ImageFileError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(summary_table(scores, f"{args.data.name}, {len(pairs)} pairs"))
    console.print(f"each image: {out}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
