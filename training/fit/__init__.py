"""How a run learns: trainer, optimizers, callbacks, several devices."""
