"""gRPC requests in the V2 protocol by an independent client, in the server's environment.

Run as a script: `python mlserver_grpc.py HOST:PORT REQUESTS.npz ANSWERS.npz`. Each group of arrays
`i/NAME` is a request; its answer is `i/OUTPUT`, or `i/error`.
"""

import sys

import numpy as np
import tritonclient.grpc as client
from tritonclient.utils import InferenceServerException


def ask(server, inputs):
    given = []
    for name, values in inputs.items():
        is_bytes = values.dtype.kind in "OS"
        datatype = "BYTES" if is_bytes else "FP32"
        given.append(client.InferInput(name, list(values.shape), datatype))
        given[-1].set_data_from_numpy(values.astype(object) if is_bytes else values)
    result = server.infer("tiny", given)
    output = result.get_response().outputs[0].name
    return {output: result.as_numpy(output)}


def main(address, requests, answers):
    server = client.InferenceServerClient(address)
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("tiny")
    arrays = np.load(requests, allow_pickle=True)
    found = {}
    for i in sorted({key.split("/")[0] for key in arrays.files}):
        inputs = {k.split("/")[1]: arrays[k] for k in arrays.files if k.startswith(f"{i}/")}
        try:
            for output, values in ask(server, inputs).items():
                found[f"{i}/{output}"] = values
        except InferenceServerException as error:
            found[f"{i}/error"] = np.array(f"{error.status()}: {error.message()}")
    np.savez(answers, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
