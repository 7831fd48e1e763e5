from __future__ import annotations

import numpy as np

from deepam_tf.depth.views import turbo, write_point_cloud


def read(path) -> tuple[list[str], np.ndarray]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    names = [line.split()[-1] for line in lines if line.startswith("property")]
    kinds = [{"float": "<f4", "uchar": "u1"}[x.split()[1]] for x in lines if "property" in x]
    return lines, np.frombuffer(body, np.dtype(list(zip(names, kinds, strict=True))))


def test_points_are_seen_where_their_pixels_are(tmp_path, rng):
    depth = rng.uniform(1, 3, (5, 8)).astype(np.float32)
    colors = rng.uniform(size=(5, 8, 3)).astype(np.float32)
    write_point_cloud(tmp_path / "cloud.ply", depth, colors, focal=6.0)
    lines, points = read(tmp_path / "cloud.ply")
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 40"]
    row, column = np.mgrid[:5, :8]
    np.testing.assert_array_equal(points["z"], depth.ravel())
    np.testing.assert_allclose(6 * points["x"] / points["z"] + 3.5, column.ravel(), atol=1e-4)
    np.testing.assert_allclose(6 * points["y"] / points["z"] + 2.0, row.ravel(), atol=1e-4)
    np.testing.assert_allclose(points["green"], 255 * colors[..., 1].ravel(), atol=0.51)


def test_heights_stand_on_their_pixels(tmp_path):
    heights = np.array([[-3.0, 0.0, 5.0]])
    write_point_cloud(tmp_path / "cloud.ply", heights, np.zeros([1, 3, 3]))
    _, points = read(tmp_path / "cloud.ply")
    assert points["x"].tolist() == [0, 1, 2]
    assert points["z"].tolist() == [-3, 0, 5]


def test_colours_grow_from_blue_to_red():
    colors = turbo(np.array([[0.0, 1.0, 5.0, 99.0]]), (1.0, 5.0))
    np.testing.assert_array_equal(colors[0, 0], colors[0, 1])
    np.testing.assert_array_equal(colors[0, 2], colors[0, 3])
    assert colors[0, 1, 2] > colors[0, 1, 0]
    assert colors[0, 2, 0] > colors[0, 2, 2]
    assert (turbo(np.full((2, 2), 7.0)) == colors[0, 0]).all()  # a constant map
