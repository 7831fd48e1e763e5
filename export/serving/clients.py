"""Clients of a server that speaks TensorFlow Serving's REST or gRPC.

Nothing here computes: files go out as they are and come back as PNG. REST needs the standard
library and NumPy alone, gRPC also tensorflow-serving-api.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

__all__ = ["Client", "GrpcClient", "RestClient", "ServingError", "connect"]

_MAX_MESSAGE_BYTES = 256 * 2**20
_TIMEOUT_SECONDS = 60.0


class ServingError(ValueError):
    """What the server answered in the place of a result."""


class Client(Protocol):
    """What the REST and the gRPC client of a served model can do."""

    def is_ready(self) -> bool:
        """Whether some version of the model can be asked."""
        ...

    def restore(self, **inputs: np.ndarray) -> np.ndarray:
        """Ask `serving_default`: arrays by name, `image` `[B, H, W, C]`; the like comes back.

        Raises:
            ServingError: if the server refuses, with its reason, or cannot be reached.
        """
        ...

    def restore_files(
        self, files: Mapping[str, Sequence[bytes]], noise_stddev: Sequence[float] | None = None
    ) -> list[bytes]:
        """Ask `serving_bytes`: PNG or JPEG files by input (`"image"`, `"guide"`, `"mask"`).

        Returns:
            PNG files, one an image.

        Raises:
            ServingError: if the server refuses, with its reason, or cannot be reached.
        """
        ...


class RestClient:
    """A client of TensorFlow Serving's REST interface.

    Args:
        address: such as `"http://localhost:8501"`.
        model: name it is served under.
        version: version to ask, by default the server's choice.
        timeout: seconds until a request is given up.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._url = f"{address.rstrip('/')}/v1/models/{model}"
        if version is not None:
            self._url += f"/versions/{version}"
        self._timeout = timeout

    def is_ready(self) -> bool:
        """See `Client`."""
        try:
            status = self._ask(self._url, None)["model_version_status"]
        except (ServingError, KeyError):
            return False
        return any(version.get("state") == "AVAILABLE" for version in status)

    def restore(self, **inputs: np.ndarray) -> np.ndarray:
        """See `Client`."""
        values = {name: np.asarray(x).tolist() for name, x in inputs.items()}
        return np.asarray(self._predict("serving_default", values), np.float32)

    def restore_files(
        self, files: Mapping[str, Sequence[bytes]], noise_stddev: Sequence[float] | None = None
    ) -> list[bytes]:
        """See `Client`."""
        values: dict[str, object] = {
            f"{name}_bytes": [{"b64": base64.b64encode(data).decode()} for data in several]
            for name, several in files.items()
        }
        if noise_stddev is not None:
            values["noise_stddev"] = [float(level) for level in noise_stddev]
        restored = self._predict("serving_bytes", values)
        return [base64.b64decode(file["b64"]) for file in restored]

    def _predict(self, signature: str, inputs: dict) -> list:
        body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        answer = self._ask(f"{self._url}:predict", body)
        if "outputs" not in answer:
            raise ServingError(f"{self._url}: no outputs in the answer. Received: {list(answer)}.")
        return answer["outputs"]

    def _ask(self, url: str, body: bytes | None) -> dict:
        request = urllib.request.Request(
            url, data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ServingError(f"{url}: HTTP {error.code}, {_reason(error.read())}") from error
        except (OSError, ValueError) as error:
            raise ServingError(f"{url}: no usable answer ({error}).") from error


class GrpcClient:
    """A client of TensorFlow Serving's gRPC interface.

    Args:
        address: such as `"localhost:8500"`.
        model: name it is served under.
        version: version to ask, by default the server's choice.
        timeout: seconds until a request is given up.

    Raises:
        ServingError: if tensorflow-serving-api is not installed.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import (
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise ServingError(
                f"gRPC needs tensorflow-serving-api ({error}): pip install '.[serve]'."
            ) from error
        size = [
            (f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("send", "receive")
        ]
        self._channel = grpc.insecure_channel(address, options=size)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._status = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._requests = predict_pb2.PredictRequest, get_model_status_pb2.GetModelStatusRequest
        self._tf, self._grpc_error = tf, grpc.RpcError
        self._address, self._model, self._version = address, model, version
        self._timeout = timeout

    def is_ready(self) -> bool:
        """See `Client`."""
        request = self._requests[1]()
        self._name_model(request.model_spec)
        try:
            answer = self._status.GetModelStatus(request, timeout=self._timeout)
        except self._grpc_error:
            return False
        return any(version.state == version.AVAILABLE for version in answer.model_version_status)

    def restore(self, **inputs: np.ndarray) -> np.ndarray:
        """See `Client`."""
        return self._predict("serving_default", inputs)["restored"]

    def restore_files(
        self, files: Mapping[str, Sequence[bytes]], noise_stddev: Sequence[float] | None = None
    ) -> list[bytes]:
        """See `Client`."""
        values: dict[str, object] = {f"{name}_bytes": list(x) for name, x in files.items()}
        if noise_stddev is not None:
            values["noise_stddev"] = np.asarray(noise_stddev, np.float32)
        return list(self._predict("serving_bytes", values)["restored_bytes"])

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _name_model(self, spec) -> None:
        spec.name = self._model
        if self._version is not None:
            spec.version.value = self._version

    def _predict(self, signature: str, inputs: Mapping[str, object]) -> dict[str, np.ndarray]:
        request = self._requests[0]()
        self._name_model(request.model_spec)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(self._tf.make_tensor_proto(value))
        try:
            answer = self._stub.Predict(request, timeout=self._timeout)
        except self._grpc_error as error:
            raise ServingError(
                f"{self._address}: {error.code().name}, {error.details()}"  # pyright: ignore
            ) from error
        return {name: self._tf.make_ndarray(x) for name, x in answer.outputs.items()}


def connect(address: str, model: str, *, version: int | None = None) -> RestClient | GrpcClient:
    """Make the client for the address of a server.

    Args:
        address: `http://...`, `https://...` or `grpc://...`.
        model: name it is served under.
        version: version to ask, by default the server's choice.

    Returns:
        The client.

    Raises:
        ServingError: if the address names no such way.
    """
    scheme, _, place = address.partition("://")
    if scheme in ("http", "https") and place:
        return RestClient(address, model, version=version)
    if scheme == "grpc" and place:
        return GrpcClient(place, model, version=version)
    raise ServingError(f"The address must begin with http:// or grpc://. Received: {address!r}.")


def _reason(body: bytes) -> str:
    try:
        return json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace") or "without a reason"
