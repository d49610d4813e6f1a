"""The published models of this family: where they are on the Hugging Face hub, and what to expect there.

Apache 2.0, their names and sizes: the model cards, https://huggingface.co/mistralai. Several of them asked for a click on
their conditions from April 2024 on (https://github.com/huggingface/alignment-handbook/issues/166,
https://github.com/TransformerLensOrg/TransformerLens/pull/769, https://github.com/hiyouga/LlamaFactory/issues/4543).
Whether one does today the hub says when it is asked.
"""

from dataclasses import dataclass

from minimistral.checkpoints.errors import CheckpointError
from minimistral.config import ModelConfig

LICENCE = "Apache 2.0"


@dataclass(frozen=True)
class KnownModel:
    """One published model. was_gated: seen to ask for a click on its conditions; None where nobody looked."""

    name: str  # ours, in lower case
    repo: str  # the hub's
    preset: str  # its shape
    n_shards: int | None = None  # files that its weights are cut into; None where no source says
    duplicate: str | None = None  # the same weights a second time, never fetched
    was_gated: bool | None = None
    is_chat: bool = False
    licence: str = LICENCE

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights in bfloat16, which is how all of them are published."""
        return 2 * ModelConfig.preset(self.preset).count_parameters().total


_V3 = dict(preset="mistral-7b-v0.3", n_shards=3, duplicate="consolidated.safetensors")
_MIXTRAL = dict(preset="mixtral-8x7b-v0.1", n_shards=19, duplicate="consolidated.*.pt", was_gated=True)
KNOWN_MODELS = {
    model.name: model
    for model in (
        KnownModel("mistral-7b-v0.1", "mistralai/Mistral-7B-v0.1", "mistral-7b-v0.1", n_shards=2, was_gated=True),
        KnownModel(
            "mistral-7b-instruct-v0.1",
            "mistralai/Mistral-7B-Instruct-v0.1",
            "mistral-7b-v0.1",
            was_gated=True,
            is_chat=True,
        ),
        KnownModel(
            "mistral-7b-instruct-v0.2",
            "mistralai/Mistral-7B-Instruct-v0.2",
            "mistral-7b-v0.2",
            n_shards=3,
            was_gated=True,
            is_chat=True,
        ),
        KnownModel("mistral-7b-v0.3", "mistralai/Mistral-7B-v0.3", **_V3),
        KnownModel(
            "mistral-7b-instruct-v0.3", "mistralai/Mistral-7B-Instruct-v0.3", **_V3, was_gated=True, is_chat=True
        ),
        KnownModel("mixtral-8x7b-v0.1", "mistralai/Mixtral-8x7B-v0.1", **_MIXTRAL),
        KnownModel("mixtral-8x7b-instruct-v0.1", "mistralai/Mixtral-8x7B-Instruct-v0.1", **_MIXTRAL, is_chat=True),
    )
}


def known_model(name: str) -> KnownModel | None:
    """The model of this name, ours or the hub's, in any case; None for one that is not in the table."""
    wanted = name.lower()
    return next((m for m in KNOWN_MODELS.values() if wanted in (m.name, m.repo.lower())), None)


def repo_of(name: str) -> str:
    """The hub id meant: that of a known model, or the id itself; CheckpointError for what is neither, ValueError for no text.

    >>> repo_of("mistral-7b-v0.1")
    'mistralai/Mistral-7B-v0.1'
    """
    if not isinstance(name, str):
        raise ValueError(f"model={name!r}: give a hub id such as 'org/model', or one of {', '.join(KNOWN_MODELS)}.")
    if model := known_model(name):
        return model.repo
    if name.count("/") == 1 and all(name.split("/")):
        return name
    raise CheckpointError(
        f"{name}: no model of that name is known. Give a hub id such as 'org/model', or one of "
        f"{', '.join(KNOWN_MODELS)}."
    )
