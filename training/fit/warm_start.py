"""Start a model from the weights of another, which may have fewer or more iterations."""

from __future__ import annotations

from deepam_tf import DeepAM

__all__ = ["adopt_weights"]


def adopt_weights(model: DeepAM, source: DeepAM) -> None:
    """Give a model the weights of another: each network those of the same iteration.

    Iterations that the source lacks begin with the weights of its last: each iteration does the
    same task, from what the one before has left of it. Those that it has beyond the model's are
    left out: the loss on `u_1 .. u_{K-1}` has taught the first to do without them. Where there is
    a noise level or a mask, the first network sees less than the others; those stay as they are
    if the source has no other.

    Args:
        model: gets the weights.
        source: gives them.

    Raises:
        ValueError: if the networks differ; nothing has been changed.
    """
    if not isinstance(source, DeepAM):
        raise ValueError(
            f"The model to start from must be a DeepAM. Received: {type(source).__name__}."
        )
    if _architecture(source) != _architecture(model):
        raise ValueError(
            "The model to start from must have the architecture of the run, with perhaps more or "
            f"fewer iterations. Received: {_summary(source)}; the run has {_summary(model)}."
        )
    mine, theirs = (
        [_weights(m, k) for k in range(1, m.num_iterations + 1)] for m in (model, source)
    )
    taken = [theirs[min(k, len(theirs) - 1)] for k in range(len(mine))]
    for number, (old, new) in enumerate(zip(mine, taken, strict=True)):
        if [x.shape for x in old] != [x.shape for x in new]:
            taken[number] = old
    for k, weights in enumerate(taken, start=1):
        model.get_layer(f"iteration_{k}_aggregation").set_weights(weights)


def _weights(model: DeepAM, k: int) -> list:
    return model.get_layer(f"iteration_{k}_aggregation").get_weights()


def _architecture(model: DeepAM) -> dict:
    """What the weights are made for; how the solves are done may differ, and the precision."""
    free = {"name", "trainable", "num_iterations", "gamma_min", "dtype"}
    free |= {"method", "preconditioner", "rtol", "max_steps"}
    return {name: value for name, value in model.get_config().items() if name not in free}


def _summary(model: DeepAM) -> str:
    values = {"num_iterations": model.num_iterations, **_architecture(model)}
    return ", ".join(f"{name}={value}" for name, value in values.items())
