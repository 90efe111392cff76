"""What the families have in common whose text encoder is a language model of Qwen's, which reads prompts as messages of a
chat."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from torch import Tensor

from dreambooth_trainer.models.base import Tensors
from dreambooth_trainer.models.flow.model import FlowTransformer

MASKED_PROMPTS = {"embeddings": "prompt_embeds", "mask": "prompt_embeds_mask"}
"""The pipelines' names for conditioning with a mask."""

INSTRUCTION = 34
"""Tokens before the prompt in the template of Qwen-Image and Krea 2, an instruction to describe a picture, which their pipelines
leave out of the conditioning."""


class ChatTransformer(FlowTransformer):
    """A loaded model; the common part of the families."""

    rounded_parts: ClassVar[Sequence[str]] = ("text_encoder",)
    text_lengths: ClassVar[Mapping[str, int]] = {"text_encoder": 512}
    word_prefix: ClassVar[str] = "Ġ"
    thinking: ClassVar[bool] = False
    """Whether the answer may begin with thoughts: an argument of the template, which else adds empty ones."""

    def tokenize(self, prompts: Sequence[str]) -> Tensors:
        """Token ids and mask, both [B, L], of the prompts as messages of a chat, padded to the pipeline's length."""
        encoded = self._first_tokenizer(
            [self._message(prompt) for prompt in prompts],
            padding="max_length",
            truncation=True,
            max_length=self._first_tokenizer.model_max_length,
            return_tensors="pt",
        )
        return {"ids": encoded.input_ids.to(self.device), "mask": encoded.attention_mask.to(self.device)}

    def _message(self, prompt: str) -> str:
        """The text that the text encoder reads."""
        return str(
            self._first_tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=self.thinking,
            )
        )

    def _prompt_tokens(self) -> int:
        return int(self._first_tokenizer.model_max_length) - len(self.words_to_ids(self._message("")))

    def _hidden_states(self, tokens: Tensors, **settings: Tensor) -> tuple[Tensor, ...]:
        """Embeddings of the tokens and hidden states of all layers, each [B, L, D].

        Args:
            tokens: token ids and mask.
            settings: further arguments of the text encoder.
        """
        # Without the head, which would compute a number for each word of the vocabulary.
        output = self.text_encoders["text_encoder"].base_model(
            input_ids=tokens["ids"],
            attention_mask=tokens["mask"],
            output_hidden_states=True,
            use_cache=False,
            **settings,
        )
        return cast(tuple[Tensor, ...], output.hidden_states)
