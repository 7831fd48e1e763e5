"""Exported models behind a real server, MLServer, asked over the loopback interface."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import types
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf

import deepam_tf
from export.graph import artefact, samples, saving, sources
from export.serving import local_server
from tests.export.test_image_bytes import png_of_claimed_size

pytestmark = pytest.mark.slow
ENVIRONMENT = pathlib.Path(__file__).parents[2] / ".venv" / "mlserver"
START_SECONDS = 180


@pytest.fixture(scope="module")
def python():
    """Of an environment with MLServer; without a network there is none, except in CI."""
    try:
        return local_server.make_environment(
            pathlib.Path(os.environ.get("DEEPAM_TF_MLSERVER", ENVIRONMENT))
        )
    except artefact.ExportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no environment for MLServer: {error}")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = tuple(one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(python, served, tmp_path_factory):
    """A running server of version 1 of `tiny`; version 2 lies ready to be put beside it."""
    folder = tmp_path_factory.mktemp("server")
    root = folder / "models"
    shutil.copytree(served / "tiny", root / "tiny")
    keras.utils.set_random_seed(1)
    model = deepam_tf.DeepAM(1, filters=4, depth=3, noise_level=True, pixel_unshuffle=2)
    second = saving.save(sources.Source(model, {"name": "tiny"}), folder / "tiny", version=2)
    ports = free_ports(3)
    log = folder / "log.txt"
    with local_server.server(root, python, ports=ports, max_batch_size=8, log=log) as process:
        running = types.SimpleNamespace(
            url=f"http://127.0.0.1:{ports[0]}",
            grpc=f"127.0.0.1:{ports[1]}",
            metrics=f"http://127.0.0.1:{ports[2]}/metrics",
            root=root,
            second=second,
            python=python,
            process=process,
            folder=folder,
        )
        end = time.monotonic() + START_SECONDS
        while ask(running, "/v2/models/tiny/ready")[0] != 200:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield running


def ask(server, path, body=None):
    """Status and decoded answer of one request; status 0 where nobody listens."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + path, data=data, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def v2(**inputs):
    """A request of the V2 protocol."""
    described = []
    for name, values in inputs.items():
        one = {"name": name, "shape": list(np.shape(values))}
        if name.endswith("_bytes"):
            one |= {"datatype": "BYTES", "data": [base64.b64encode(x).decode() for x in values]}
        else:
            one |= {"datatype": "FP32", "data": np.asarray(values).ravel().tolist()}
        described.append(one)
    return {"inputs": described}


INFER = "/v2/models/tiny/infer"


def restored_by(server, path=INFER, **inputs):
    status, answer = ask(server, path, v2(**inputs))
    assert status == 200, answer
    (output,) = answer["outputs"]
    if output["datatype"] == "BYTES":
        return [base64.b64decode(x) for x in output["data"]]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def noisy(size=(1, 12, 15), seed=0):
    specs = {
        name: tf.TensorSpec([None, None, None, 1], tf.float32) for name in ("image", "noise_stddev")
    }
    return samples.sample_inputs(specs, size, seed=seed)


def files_of(inputs):
    return {k: v.numpy() for k, v in samples.as_files(inputs).items()}


@pytest.fixture(scope="module")
def in_process(served):
    loaded = tf.saved_model.load(str(served / "tiny" / "1"))

    def restored(signature="serving_default", **inputs):
        tensors = {k: tf.constant(x) for k, x in inputs.items()}
        (answer,) = loaded.signatures[signature](**tensors).values()
        return answer.numpy()

    return restored


def test_rest_answers_tensors_and_files(server, in_process):
    inputs = noisy((2, 12, 15))
    np.testing.assert_allclose(restored_by(server, **inputs), in_process(**inputs), atol=1e-6)
    files = files_of(inputs)
    assert restored_by(server, **files) == list(in_process("serving_bytes", **files))


def grpc_answers(server, *requests):
    arrays = {f"{i}/{key}": x for i, r in enumerate(requests) for key, x in r.items()}
    paths = [str(server.folder / name) for name in ("requests.npz", "answers.npz")]
    np.savez(paths[0], **arrays)
    script = pathlib.Path(__file__).with_name("mlserver_grpc.py")
    subprocess.run([str(server.python), str(script), server.grpc, *paths], check=True)
    with np.load(paths[1], allow_pickle=True) as file:
        return dict(file)


def test_grpc_answers_tensors_and_files(server, in_process):
    inputs = noisy((2, 12, 15))
    files = files_of(inputs)
    nan = {**inputs, "image": np.full_like(inputs["image"], np.nan)}
    rank = {**inputs, "image": inputs["image"][0]}
    junk = {**files, "image_bytes": np.array([files["image_bytes"][0], b"junk"], object)}
    answers = grpc_answers(server, inputs, files, nan, rank, junk, inputs)
    for i in (0, 5):
        np.testing.assert_allclose(answers[f"{i}/restored"], in_process(**inputs), atol=1e-6)
    restored = [base64.b64decode(x) for x in answers["1/restored_bytes"]]
    assert restored == list(in_process("serving_bytes", **files))
    for i, message in ((2, "must be finite"), (3, "must have shape"), (4, r"image_bytes\[1\]")):
        assert re.search(f"INVALID_ARGUMENT.*{message}", str(answers[f"{i}/error"])), answers


def test_health_and_metadata(server):
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/versions/1/ready"):
        assert ask(server, path)[0] == 200
    status, metadata = ask(server, "/v2/models/tiny")
    assert status == 200
    assert {x["name"]: x["shape"] for x in metadata["inputs"]} == {
        "image": [-1, -1, -1, 1],
        "noise_stddev": [-1, -1, -1, 1],
    }


def metric(server, name):
    with urllib.request.urlopen(server.metrics, timeout=30) as response:
        text = response.read().decode()
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if re.match(rf"{name}(\{{|\s)", line)
    )


def test_metrics_count_requests(server):
    before = metric(server, "model_infer_request_success_total")
    restored_by(server, **noisy())
    assert metric(server, "model_infer_request_success_total") == before + 1


def test_requests_of_all_sizes_run_together_and_each_gets_its_own(server, in_process):
    requests = [noisy((1, 16 + i, 24 - i // 2), seed=i) for i in range(16)]
    bad = {**requests[3], "noise_stddev": np.full([1, 1, 1, 1], -1.0, np.float32)}
    colored = {**requests[4], "image": np.repeat(requests[4]["image"], 3, axis=-1)}
    images, batches = (f"deepam_batch_images_{x}" for x in ("sum", "count"))
    before = metric(server, images), metric(server, batches)
    with concurrent.futures.ThreadPoolExecutor(18) as threads:
        refused = threads.submit(ask, server, INFER, v2(**bad))
        unlike = threads.submit(ask, server, INFER, v2(**colored))
        answers = list(threads.map(lambda request: restored_by(server, **request), requests))
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer, in_process(**request), atol=1e-5)
    status, message = refused.result()
    assert status == 400
    assert "[0, 1]" in message
    assert 400 <= unlike.result()[0] < 500
    together = metric(server, images) - before[0]
    assert together == 17  # what has other channels is refused before
    assert metric(server, batches) - before[1] < together


def test_what_is_asked_for_is_answered(server):
    asked = v2(**noisy()) | {"outputs": [{"name": "restored"}]}
    status, answer = ask(server, INFER, asked)
    assert (status, [x["name"] for x in answer["outputs"]]) == (200, ["restored"])
    status, message = ask(server, INFER, asked | {"outputs": [{"name": "depth"}]})
    assert (status, "depth" in message and "restored" in message) == (400, True), message


BAD_REQUESTS = {
    "random bytes": np.random.default_rng(0).bytes(300),
    "no JSON object": [1, 2, 3],
    "no inputs": {"inputs": []},
    "wrong rank": v2(**{**noisy(), "image": noisy()["image"][0]}),
    "NaN": v2(**{**noisy(), "image": np.full([1, 4, 4, 1], np.nan)}),
    "0 x 0": v2(**{**noisy(), "image": np.zeros([1, 0, 0, 1])}),
    "fewer values than the shape says": json.loads(
        json.dumps(v2(**noisy())).replace("[1, 12, 15, 1]", "[1, 10000, 10000, 1]")
    ),
    "negative sizes": json.loads(
        json.dumps(v2(**noisy())).replace("[1, 12, 15, 1]", "[1, -12, -15, 1]")
    ),
    "no image": v2(image=np.zeros([0, 4, 4, 1]), noise_stddev=np.zeros([0, 1, 1, 1])),
    "no image of one level": v2(image=np.zeros([0, 4, 4, 1]), noise_stddev=np.full([1] * 4, 0.1)),
    "no file": v2(image_bytes=[], noise_stddev=[]),
    "a picture of 0..255": v2(
        image=np.full([1, 4, 4, 1], 128.0), noise_stddev=np.full([1] * 4, 0.1)
    ),
    "a level of 0..255": v2(image=np.full([1, 4, 4, 1], 0.5), noise_stddev=np.full([1] * 4, 25.0)),
    "wrong name": v2(picture=np.zeros([1, 4, 4, 1])),
    "wrong type": json.loads(json.dumps(v2(**noisy())).replace("FP32", "INT64")),
    "text for numbers": json.loads(
        re.sub(r'"data": \[[^]]*\]', '"data": ["a"]', json.dumps(v2(**noisy())))
    ),
    "100 megapixels": v2(image_bytes=[png_of_claimed_size(10_000, 10_000)], noise_stddev=[0.1]),
    "a file of random bytes": v2(
        image_bytes=[np.random.default_rng(0).bytes(99)], noise_stddev=[0.1]
    ),
    "no base64": {
        "inputs": [
            {"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": ["%%%"]},
            {"name": "noise_stddev", "datatype": "FP32", "shape": [1], "data": [0.1]},
        ]
    },
}


@pytest.mark.parametrize("kind", BAD_REQUESTS)
def test_bad_requests_get_a_clean_refusal(server, kind):
    status, message = ask(server, INFER, BAD_REQUESTS[kind])
    assert 400 <= status < 500, message
    assert message
    assert "Traceback" not in message
    assert restored_by(server, **noisy()).shape == (1, 12, 15, 1)


def test_what_is_not_there_is_not_found(server):
    assert ask(server, "/v2/models/another/infer", v2(**noisy()))[0] == 404
    assert ask(server, "/v2/models/tiny/versions/9/infer", v2(**noisy()))[0] == 404


def test_versions_come_and_go_without_a_request_dropped(server):
    inputs = noisy()
    first = restored_by(server, **inputs)
    load = "/v2/repository/models/tiny/load"
    answers, stop = [], False

    def keep_asking():
        while not stop:
            answers.append(ask(server, INFER, v2(**inputs)))

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(keep_asking) for _ in range(2)]
        try:
            shutil.copytree(server.second, server.root / "tiny" / "2")
            assert ask(server, load, {})[0] == 200
            second = restored_by(server, **inputs)
            by_version = [
                restored_by(server, f"/v2/models/tiny/versions/{i}/infer", **inputs) for i in (1, 2)
            ]
            shutil.rmtree(server.root / "tiny" / "1")
            assert ask(server, load, {})[0] == 200
            gone, _ = ask(server, "/v2/models/tiny/versions/1/infer", v2(**inputs))
        finally:
            stop = True
        for one in asking:
            one.result()
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_allclose(by_version[0], first, atol=1e-6)
    np.testing.assert_allclose(by_version[1], second, atol=1e-6)
    assert gone == 404
    assert len(answers) > 10
    assert {status for status, _ in answers} == {200}
    assert {answer["model_version"] for _, answer in answers} == {"1", "2"}
