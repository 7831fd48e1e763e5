"""The client speaks TensorFlow Serving's REST and gRPC, as its own protobufs understand it."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import deepam_tf
import export
from deepam_tf import image_io
from export import client
from export.graph import samples
from export.serving import clients

model_server_config_pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
serving_standin = pytest.importorskip("tests.export.serving_standin")
FOLDER = pathlib.Path(export.__file__).parent / "tensorflow_serving"


@pytest.fixture(scope="module")
def addresses(served):
    with serving_standin.serving(served) as both:
        yield dict(zip(("REST", "gRPC"), both, strict=True))


@pytest.fixture(params=["REST", "gRPC"])
def ask(addresses, request):
    return clients.connect(addresses[request.param], "tiny")


@pytest.fixture(scope="module")
def inputs():
    specs = {
        name: tf.TensorSpec([None, None, None, 1], tf.float32) for name in ("image", "noise_stddev")
    }
    arrays = samples.sample_inputs(specs, (2, 11, 14))
    # What a file of 8 bits holds, too.
    arrays["image"] = np.rint(np.clip(arrays["image"], 0, 1) * 255).astype(np.float32) / 255
    return arrays


@pytest.fixture(scope="module")
def expected(served, inputs):
    loaded = tf.saved_model.load(str(served / "tiny" / "1"))
    return loaded.signatures["serving_default"](**{k: tf.constant(x) for k, x in inputs.items()})[
        "restored"
    ].numpy()


def test_tensors_come_back_restored(ask, inputs, expected):
    np.testing.assert_allclose(ask.restore(**inputs), expected, atol=1e-6)


def test_files_come_back_restored(ask, inputs, expected, tmp_path):
    files = samples.as_files(inputs)
    restored = ask.restore_files(
        {"image": list(files["image_bytes"].numpy())}, list(files["noise_stddev"].numpy())
    )
    assert len(restored) == 2
    for data, image in zip(restored, expected, strict=True):
        (tmp_path / "restored.png").write_bytes(data)
        pixels = image_io.read(tmp_path / "restored.png").pixels
        np.testing.assert_allclose(pixels, np.clip(image, 0, 1), atol=0.51 / 255)


def test_readiness_is_told(ask, addresses):
    assert ask.is_ready()
    assert not clients.connect(addresses["REST"], "another").is_ready()
    assert not clients.connect(addresses["gRPC"], "another").is_ready()


@pytest.mark.parametrize("way", ["REST", "gRPC"])
def test_a_version_that_is_not_there_is_an_error(addresses, way, inputs):
    one = clients.connect(addresses[way], "tiny", version=1)
    assert one.restore(**inputs).shape == (2, 11, 14, 1)
    with pytest.raises(clients.ServingError, match=r"404|NOT_FOUND"):
        clients.connect(addresses[way], "tiny", version=7).restore(**inputs)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"image": np.full([2, 4, 4, 1], np.nan, np.float32)}, "finite"),
        ({"image": np.zeros([2, 0, 4, 1], np.float32)}, "at least one pixel|shape"),
        ({"image": np.zeros([4, 4, 1], np.float32)}, "tiny|rank|shape|[Ii]nput"),
        ({"noise_stddev": np.full([1, 1, 1, 1], -1, np.float32)}, r"in \[0, 1\]"),
    ],
)
def test_the_server_says_what_is_wrong_and_lives_on(ask, inputs, bad, message):
    with pytest.raises(
        clients.ServingError, match=f"(HTTP 400|INVALID_ARGUMENT)(.|\n)*({message})"
    ):
        ask.restore(**{**inputs, **bad})
    assert ask.restore(**inputs).shape == (2, 11, 14, 1)


def test_a_bad_file_is_named_by_its_index(ask, inputs):
    good = samples.as_files(inputs)["image_bytes"].numpy()[0]
    with pytest.raises(clients.ServingError, match=r"image_bytes\[1\]. must be a PNG or JPEG"):
        ask.restore_files({"image": [good, b"no image", good]}, [0.1, 0.1, 0.1])


def test_nobody_there_is_an_error(inputs):
    for address in ("http://127.0.0.1:9", "grpc://127.0.0.1:9"):
        with pytest.raises(clients.ServingError):
            clients.connect(address, "tiny").restore(**inputs)
    with pytest.raises(clients.ServingError, match=r"Received: 'localhost:8501'"):
        clients.connect("localhost:8501", "tiny")


def test_command_restores_a_file(addresses, tmp_path, capsys):
    picture = pathlib.Path(deepam_tf.__file__).parent / "assets" / "astronaut.png"
    out = tmp_path / "restored.png"
    arguments = [addresses["gRPC"], "tiny", str(picture), str(out), "--sigma", "25"]
    assert client.main(arguments) == 0
    assert image_io.read(out).pixels.shape == image_io.read(picture).pixels.shape
    before = out.read_bytes()
    assert client.main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == before
    (tmp_path / "bad.png").write_bytes(b"bad")
    assert client.main([*arguments[:2], str(tmp_path / "bad.png"), str(out), "--force"]) == 2
    assert client.main([*arguments[:2], str(tmp_path / "none.png"), str(out), "--force"]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
    assert out.read_bytes() == before


def test_models_are_configured_as_the_protobuf_has_it():
    config = text_format.Parse(
        (FOLDER / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    models = config.model_config_list.config
    assert {model.name for model in models} >= set(deepam_tf.list_pretrained())
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_version_policy.latest.num_versions == 2


# TensorFlow Serving's API package leaves these two out; field names as in its sources,
# session_bundle_config.proto and monitoring_config.proto.
def message_of(fields: dict[str, str], nested: dict[str, str] | None = None):
    file = descriptor_pb2.FileDescriptorProto(
        name="config.proto",
        package="config",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, described in (("Nested", nested or {}), ("Config", fields)):
        message = file.message_type.add(name=name)
        for number, (key, kind) in enumerate(described.items(), start=1):
            field = message.field.add(name=key, number=number, label=kinds.LABEL_OPTIONAL)
            if kind.startswith("."):
                field.type, field.type_name = kinds.TYPE_MESSAGE, kind
            else:
                field.type = getattr(kinds, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    from google.protobuf import wrappers_pb2

    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("config.Config"))()


def test_batching_and_monitoring_parse():
    number = ".google.protobuf.Int64Value"
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    batching = text_format.Parse(
        (FOLDER / "batching.config").read_text(), message_of(dict.fromkeys(names, number))
    )
    assert batching.max_batch_size.value == 8
    monitoring = text_format.Parse(
        (FOLDER / "monitoring.config").read_text(),
        message_of({"prometheus_config": ".config.Nested"}, {"enable": "BOOL", "path": "STRING"}),
    )
    assert monitoring.prometheus_config.enable
