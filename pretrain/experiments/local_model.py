"""A local model that goes on with prompts: causal or encoder-decoder, from a folder, greedily. Nothing is fetched."""

import json
from collections.abc import Sequence
from pathlib import Path


class LocalModel:
    """`pretrain.experiments.in_context.Answers` of a model in a folder."""

    def __init__(self, folder: Path, batch: int = 8) -> None:
        """Read `config.json`, `model.safetensors` (or its parts) and `tokenizer.json`, and a chat template where there is one.

        Args:
            folder: as `save_pretrained` writes it.
            batch: prompts at once.
        Raises:
            ValueError: it holds no such model.
        """
        import tokenizers
        import torch
        import transformers

        from pretrain.devices import best_device

        # Whoever waits is told by item, and what is tied in these weights is none of theirs to mend.
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        self._batch, self._torch, device = batch, torch, best_device()
        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            kind = "AutoModelForSeq2SeqLM" if config.is_encoder_decoder else "AutoModelForCausalLM"
            # No pickled weights and no code from the folder: either could do anything here.
            model = getattr(transformers, kind).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
            )
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the libraries raise whatever they meet, bare Exception included
            raise ValueError(
                f"{folder.name}: holds no causal or encoder-decoder model to prompt; copy the folder again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._model, self._is_causal = model.to(device).eval(), not config.is_encoder_decoder
        self._ends = _ids(model.generation_config.eos_token_id) or _ids(config.eos_token_id)
        self._chat = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True) if _has_chat(folder) else None
        # T5's positions are relative.
        self.longest: int | None = getattr(config, "max_position_embeddings", None)

    def __call__(self, prompts: Sequence[str], most_tokens: int) -> list[str | None]:
        """As `Answers` has it; prompts of like length share a batch."""
        ids = [self._encoded(prompt) for prompt in prompts]
        room = None if self.longest is None else self.longest - (most_tokens if self._is_causal else 0)
        order = sorted((n for n in range(len(ids)) if room is None or len(ids[n]) <= room), key=lambda n: len(ids[n]))
        said: list[str | None] = [None] * len(prompts)
        for at in range(0, len(order), self._batch):
            batch = order[at : at + self._batch]
            for n, text in zip(batch, self._generated([ids[n] for n in batch], most_tokens), strict=True):
                said[n] = text
        return said

    def _encoded(self, prompt: str) -> list[int]:
        if self._chat is not None:
            turns = [{"role": "user", "content": prompt}]
            prompt = self._chat.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = list(self._tokenizer.encode(prompt, add_special_tokens=self._chat is None).ids)
        if self._is_causal:
            # What closes a text would tell a decoder that there is nothing to go on with.
            while ids and ids[-1] in self._ends:
                ids.pop()
        elif self._ends and ids[-1:] != self._ends[:1]:
            ids.append(self._ends[0])
        return ids

    def _generated(self, ids: Sequence[list[int]], most_tokens: int) -> list[str]:
        torch = self._torch
        longest = max(map(len, ids))
        # A decoder goes on after the last position, so its padding stands in front.
        filler = [[0] * (longest - len(row)) for row in ids]
        rows = [pad + row if self._is_causal else row + pad for row, pad in zip(ids, filler, strict=True)]
        masks = [pad + [1] * len(row) if self._is_causal else [1] * len(row) + pad for row, pad in zip(ids, filler, strict=True)]
        device = self._model.device
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=torch.tensor(masks, device=device),
                max_new_tokens=most_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self._ends[0] if self._ends else 0,
            )
        return [self._text(row) for row in out[:, longest if self._is_causal else 1 :].tolist()]

    def _text(self, ids: list[int]) -> str:
        end = next((at for at, number in enumerate(ids) if number in self._ends), len(ids))
        if self._tokenizer.decoder is None:  # a vocabulary made here says only in code how its pieces are joined
            pieces = "".join(self._tokenizer.id_to_token(number) or "" for number in ids[:end])
            return pieces.replace("▁\n", "\n").replace("▁", " ").strip()
        return str(self._tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()


def _ids(ends: int | list[int] | None) -> list[int]:
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _has_chat(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    try:
        return "chat_template" in json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
