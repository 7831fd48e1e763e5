"""Start a model from the weights of another, which may have fewer or more iterations."""

from __future__ import annotations

import keras

from deepam_tf import DeepAM

__all__ = ["adopt_weights"]


def adopt_weights(model: DeepAM, source: DeepAM) -> list[keras.Variable]:
    """Give a model the weights of another: each network those of the same iteration.

    Iterations that the source lacks begin with the weights of its last: each iteration does the
    same task, from what the one before has left of it. Those that it has beyond the model's are
    left out: the loss on `u_1 .. u_{K-1}` has taught the first to do without them. Where there is
    a noise level or a mask, the first network sees less than the others; those stay as they are
    if the source has no other.

    The source may have fewer levels, and no edge weights. Those begin as they are made: what the
    new levels add is zero, and every edge weight is 1, so that the model computes what the source
    does.

    Args:
        model: gets the weights.
        source: gives them.

    Returns:
        The variables of the model that have a counterpart of their own in the source.

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
    if source.levels > model.levels or source.edge_weights > model.edge_weights:
        raise ValueError(
            "The model to start from must have no more levels than the run, and edge weights only "
            f"if the run has them. Received: {_summary(source)}; the run has {_summary(model)}."
        )
    theirs = [_variables(network) for network in source.networks]
    same = []
    for k, network in enumerate(model.networks):
        mine, given = _variables(network), theirs[min(k, len(theirs) - 1)]
        if any(mine[name].shape != variable.shape for name, variable in given.items()):
            continue
        for name, variable in given.items():
            mine[name].assign(variable)
        if k < len(theirs):
            same += [mine[name] for name in given]
    return same


def _variables(network: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Every variable by its path inside the network, which is the same in any model."""
    return {variable.path.partition("/")[2]: variable for variable in network.variables}


def _architecture(model: DeepAM) -> dict:
    """What the weights are made for; how the solves are done may differ, and the precision."""
    free = {"name", "trainable", "num_iterations", "gamma_min", "dtype"}
    free |= {"method", "preconditioner", "rtol", "max_steps"}
    free |= {"levels", "edge_weights"}
    return {name: value for name, value in model.get_config().items() if name not in free}


def _summary(model: DeepAM) -> str:
    values = {name: getattr(model, name) for name in ("num_iterations", "levels", "edge_weights")}
    values |= _architecture(model)
    return ", ".join(f"{name}={value}" for name, value in values.items())
