"""What every trainer here is made with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from iterdpo.training.spec import Spec

_SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


Arguments = TypeVar("Arguments")


def arguments_of(kind: Callable[..., Arguments], spec: Spec, **own: Any) -> Arguments:
    """Return the arguments of one of TRL's trainers, on the first GPU alone if there are several.

    Args:
        kind: their class.
        spec: of the training, which all of TRL's trainers are told alike.
        own: what this trainer is told besides.
    """
    training = spec.training
    arguments: Any = kind(
        output_dir=tempfile.gettempdir(),
        learning_rate=training.learning_rate,
        lr_scheduler_type=_SCHEDULES[training.schedule],
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.batch_size // training.micro_batch_size,
        max_grad_norm=training.max_grad_norm,
        weight_decay=training.weight_decay,
        optim=training.optimizer,
        gradient_checkpointing=training.gradient_checkpointing,
        bf16=spec.base.dtype == "bfloat16",
        fp16=spec.base.dtype == "float16",
        use_cpu=not torch.cuda.is_available(),
        seed=spec.seed,
        logging_steps=1,
        # The filter would put the mean of earlier losses in the place of one that is not finite.
        logging_nan_inf_filter=False,
        save_strategy="no",  # ``write_checkpoint`` writes them
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **own,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return cast(Arguments, arguments)
