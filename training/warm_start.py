"""Start a model from the weights of another, which may have fewer iterations."""

from __future__ import annotations

from deepam_tf import DeepAM

__all__ = ["adopt_weights"]


def adopt_weights(model: DeepAM, source: DeepAM) -> None:
    """Give a model the weights of another: each network those of the same iteration.

    Iterations that the source lacks begin with the weights of its last: each iteration does the
    same task, from what the one before has left of it.

    Args:
        model: gets the weights.
        source: gives them.

    Raises:
        ValueError: if the networks differ; nothing has been changed.
    """
    own, others = (
        [_weights(m, k) for k in range(1, m.num_iterations + 1)] for m in (model, source)
    )
    taken = [others[min(k, len(others) - 1)] for k in range(len(own))]
    for number, (old, new) in enumerate(zip(own, taken, strict=True)):
        fits = [x.shape for x in old] == [x.shape for x in new]
        if not fits and number > 0 and len(others) == 1:
            # The first network sees less than the others, where there is more than the image.
            taken[number] = old
        elif not fits:
            raise ValueError(
                "The model to start from must have the architecture of the run, if perhaps fewer "
                f"iterations. Received: {_summary(source)}; the run has {_summary(model)}."
            )
    for k, weights in enumerate(taken, start=1):
        model.get_layer(f"iteration_{k}_aggregation").set_weights(weights)


def _weights(model: DeepAM, k: int) -> list:
    return model.get_layer(f"iteration_{k}_aggregation").get_weights()


def _summary(model: DeepAM) -> str:
    names = ("num_iterations", "image_channels", "filters", "depth", "pixel_unshuffle")
    return ", ".join(f"{name}={getattr(model, name)}" for name in names)
