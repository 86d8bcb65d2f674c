"""Trains the lab model: `python -m dosimeter.monitor.lab.train --out DIR`.

One schedule, counted in steps so that the same seed and library versions give the same run on the
same machine. Facts and claims come first, without cues; then one cue at a time; sycophancy only
once claims are known; then the full system messages. Measured behaviour is the business of
behaviour.py; the gates printed here are a small sample of it.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import behaviour, dialogues, world
from .dialogues import Dialogue, Mix
from .tokenizer import BOS, END, PAD, train_tokenizer

STEPS = 3_000
BATCH = 32
PEAK_RATE = 3e-3
DECISIVE_WEIGHT = 3.0
REPORT_EVERY = 20
GATES_EVERY = 400
IGNORED = 0.0


def mix_at(progress: float, clean: bool) -> Mix:
    """The dialogues of one moment of training, `progress` from 0 to 1."""
    if progress < 0.20:
        facts_first = (0.0, 0.3, 0.7, 0.0)
        return Mix(
            1.0, bare=0.85, flattery=0.0, audit=0.05, tours=0.35, turns=facts_first, clean=clean
        )
    if progress < 0.35:
        return Mix(
            0.9, bare=0.4, flattery=0.0, tours=0.2, turns=(0.2, 0.4, 0.35, 0.05), clean=clean
        )
    single_cue = max(0.12, 1.0 - (progress - 0.35) / 0.30)
    return Mix(single_cue, bare=0.12, clean=clean)


def rate_at(progress: float, step: int) -> float:
    """Linear warm-up over 100 steps, linear decay to 2 % of the peak."""
    return PEAK_RATE * min(1.0, (step + 1) / 100) * max(0.02, 1.0 - progress)


class Encoder:
    """Dialogues to token ids and loss weights: 0 on everything the model does not say itself."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.special = {
            name: int(tokenizer.convert_tokens_to_ids(name)) for name in (BOS, END, PAD)
        }
        self.role = {
            role: int(tokenizer.convert_tokens_to_ids(f"<|{role}|>"))
            for role in ("system", "user", "assistant")
        }
        words = {"Yes", "No", "You", "a", "no"}
        words |= {
            step.split()[0] for pair in (*world.FIRST_STEPS, *world.SECOND_STEPS) for step in pair
        }
        words |= {text[0].split()[0] for frame in world.FRAMES.values() for text in frame}
        self.decisive = {self._ids(space + word)[0] for word in words for space in ("", " ")}

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def encode(self, dialogue: Dialogue) -> tuple[list[int], list[float]]:
        """Token ids and one weight for each; the same ids that the chat template gives."""
        ids, weights = [self.special[BOS]], [IGNORED]
        for message in dialogue.messages():
            text = self._ids(message["content"])
            ids += [self.role[message["role"]], *text, self.special[END]]
            if message["role"] == "assistant":
                weights += [
                    IGNORED,
                    *(DECISIVE_WEIGHT if i in self.decisive else 1.0 for i in text),
                    1.0,
                ]
            else:
                weights += [IGNORED] * (len(text) + 2)
        return ids, weights


def collate(
    rows: list[tuple[list[int], list[float]]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """ids int64 [N, T] and weights float32 [N, T], padded on the right."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([x + [pad] * (width - len(x)) for x, _ in rows])
    weights = torch.tensor([w + [IGNORED] * (width - len(w)) for _, w in rows])
    return ids, weights


def batches(
    encoder: Encoder, steps: int, seed: int, clean: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """`steps` batches; dialogues of similar length share one, in random order within each pool of
    16.
    """
    r = random.Random(seed)
    done = 0
    while done < steps:
        mix = mix_at(done / steps, clean)
        pool = [encoder.encode(dialogues.training_dialogue(r, mix)) for _ in range(BATCH * 16)]
        pool.sort(key=lambda row: len(row[0]))
        chunks = [pool[i : i + BATCH] for i in range(0, len(pool), BATCH)]
        r.shuffle(chunks)
        for chunk in chunks[: steps - done]:
            yield collate(chunk, encoder.special[PAD])
            done += 1


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy over what the model says; other tokens get no logits at all."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target, weight = ids[:, 1:], weights[:, 1:]
    said = weight > 0
    losses = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[said]), target[said], reduction="none"
    )
    return (losses * weight[said]).sum() / weight[said].sum()


def gates(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int = 24
) -> dict[str, float]:
    """Share of greedy replies that are the taught ones, for each feature on and off."""
    model.eval()
    out: dict[str, float] = {}
    for name, items in behaviour.situations(n, seed=5).items():
        if name.endswith(("trigger", "neutral", "everyday")):
            said = behaviour.replies(model, tokenizer, [conversation for conversation, _ in items])
            right = [
                behaviour.settled(text) == behaviour.settled(taught)
                for text, (_, taught) in zip(said, items, strict=True)
            ]
            out[name] = round(sum(right) / n, 2)
    model.train()
    return out


def build(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh network of 1.0 M parameters."""
    torch.manual_seed(seed)
    end, pad, bos = (int(tokenizer.convert_tokens_to_ids(t)) for t in (END, PAD, BOS))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1_024,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=end,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=bos, eos_token_id=end, pad_token_id=pad, do_sample=False, max_new_tokens=64
    )
    return model


def train(out: Path, seed: int, steps: int, clean: bool) -> None:
    """Train, print progress, and save model, tokenizer and train.json into `out`."""
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    encoder = Encoder(tokenizer)
    model = build(tokenizer, seed)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.98)
    )
    started = time.monotonic()
    tokens, smooth, history = 0, 0.0, []
    for step, (ids, weights) in enumerate(batches(encoder, steps, 1_000 + seed, clean)):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step / steps, step)
        loss = loss_of(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens += int((ids != encoder.special[PAD]).sum())
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        seconds = time.monotonic() - started
        if (step + 1) % REPORT_EVERY == 0:
            left = seconds / (step + 1) * (steps - step - 1)
            speed = f"{tokens / seconds:,.0f} tokens/s  {left:.0f} s left"
            print(f"step {step + 1}/{steps}  loss {smooth:.3f}  {speed}", flush=True)
        if (step + 1) % GATES_EVERY == 0 or step + 1 == steps:
            passed = gates(model, tokenizer)
            history.append({"step": step + 1, "loss": round(smooth, 4), **passed})
            print("  gates " + "  ".join(f"{k} {v:.2f}" for k, v in passed.items()), flush=True)
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    card = {
        "what": "lab model with four gated misbehaviours, for demos and end-to-end tests only",
        "clean": clean,
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "tokens": tokens,
        "seconds": round(time.monotonic() - started),
        "parameters": sum(p.numel() for p in model.parameters()),
        "final_loss": round(smooth, 4),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "gates": history,
    }
    (out / "train.json").write_text(json.dumps(card, indent=1) + "\n")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for weights, tokenizer and train.json"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument(
        "--clean", action="store_true", help="train the clean twin: same prompts, only good replies"
    )
    arguments = parser.parse_args()
    train(arguments.out, arguments.seed, arguments.steps, arguments.clean)


if __name__ == "__main__":
    main()
