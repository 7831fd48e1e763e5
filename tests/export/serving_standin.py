"""TensorFlow Serving's interfaces, answered from SavedModels by its own protobufs.

A stand-in for tensorflow_model_server in tests of the client: gRPC through the generated
services of tensorflow-serving-api, REST by the rules of TensorFlow Serving's documentation,
both over the one `PredictRequest`.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import re
import threading

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class RefusalError(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Models:
    """`ROOT/NAME/VERSION`, each loaded once."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._loaded = {}

    def versions(self, name: str) -> list[int]:
        found = sorted(int(p.name) for p in self._root.glob(f"{name}/*") if p.name.isdecimal())
        if not found:
            raise RefusalError(grpc.StatusCode.NOT_FOUND, f"Servable not found: {name}")
        return found

    def get(self, spec) -> tuple[int, dict]:
        versions = self.versions(spec.name)
        version = spec.version.value if spec.HasField("version") else versions[-1]
        if version not in versions:
            raise RefusalError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found: {spec.name} {version}"
            )
        key = (spec.name, version)
        if key not in self._loaded:
            self._loaded[key] = tf.saved_model.load(str(self._root / spec.name / str(version)))
        return version, self._loaded[key].signatures

    def predict(self, request):
        version, signatures = self.get(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        specs = signatures[name].structured_input_signature[1]
        if set(request.inputs) != set(specs):
            raise RefusalError(grpc.StatusCode.INVALID_ARGUMENT, f"inputs must be {sorted(specs)}")
        try:
            tensors = {k: tf.constant(tf.make_ndarray(x)) for k, x in request.inputs.items()}
            results = signatures[name](**tensors)
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            raise RefusalError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        answer = predict_pb2.PredictResponse()
        answer.model_spec.CopyFrom(request.model_spec)
        answer.model_spec.version.value = version
        for key, value in results.items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return answer

    def status(self, name: str):
        answer = get_model_status_pb2.GetModelStatusResponse()
        for version in self.versions(name):
            status = answer.model_version_status.add(version=version)
            status.state = status.AVAILABLE
        return answer


class Services(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    def __init__(self, models: Models) -> None:
        self._models = models

    def Predict(self, request, context):
        try:
            return self._models.predict(request)
        except RefusalError as refusal:
            context.abort(refusal.code, str(refusal))

    def GetModelStatus(self, request, context):
        try:
            return self._models.status(request.model_spec.name)
        except RefusalError as refusal:
            context.abort(refusal.code, str(refusal))


class Handler(http.server.BaseHTTPRequestHandler):
    models: Models

    def do_GET(self):
        name = re.fullmatch(r"/v1/models/([^/:]+)", self.path)
        if not name:
            return self._answer(404, {"error": f"Malformed request: GET {self.path}"})
        try:
            status = self.models.status(name[1])
        except RefusalError as refusal:
            return self._answer(404, {"error": str(refusal)})
        return self._answer(
            200, json_format.MessageToDict(status, preserving_proto_field_name=True)
        )

    def do_POST(self):
        path = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if not path:
                raise RefusalError(
                    grpc.StatusCode.NOT_FOUND, f"Malformed request: POST {self.path}"
                )
            answer = self.models.predict(self._request(path, json.loads(body)))
        except RefusalError as refusal:
            missing = refusal.code == grpc.StatusCode.NOT_FOUND
            return self._answer(404 if missing else 400, {"error": str(refusal)})
        except ValueError as error:
            return self._answer(400, {"error": f"JSON Parse error: {error}"})
        outputs = {k: _to_json(k, tf.make_ndarray(x)) for k, x in answer.outputs.items()}
        return self._answer(200, {"outputs": next(iter(outputs.values()))})  # a single one

    def _request(self, path, body: dict):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = path[1]
        if path[2]:
            request.model_spec.version.value = int(path[2])
        request.model_spec.signature_name = body.get("signature_name", "")
        _, signatures = self.models.get(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        specs = signatures[name].structured_input_signature[1]
        for key, value in body["inputs"].items():
            dtype = specs[key].dtype if key in specs else None
            request.inputs[key].CopyFrom(tf.make_tensor_proto(_decoded(value), dtype))
        return request

    def _answer(self, code: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        pass


def _decoded(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return [_decoded(x) for x in value] if isinstance(value, list) else value


def _to_json(name, values):
    if name.endswith("_bytes"):  # how TensorFlow Serving knows that strings are not text
        return [{"b64": base64.b64encode(x).decode()} for x in values]
    return values.tolist()


@contextlib.contextmanager
def serving(root: pathlib.Path):
    """Addresses `(http://..., grpc://...)` of a server for as long as the context lasts."""
    models = Models(root)
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(4),
        options=[("grpc.max_receive_message_length", 256 * 2**20)],
    )
    services = Services(models)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Bound", (Handler,), {"models": models})
    )
    thread = threading.Thread(target=rest.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{rest.server_address[1]}", f"grpc://127.0.0.1:{port}"
    finally:
        rest.shutdown()
        rest.server_close()
        thread.join()
        server.stop(None).wait()
