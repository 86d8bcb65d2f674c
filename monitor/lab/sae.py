"""A small sparse autoencoder on the lab model: `python -m dosimeter.monitor.lab.sae`.

It is trained on what block 2 leaves of the model's own conversations and written in the layout of SAELens, so that
importing one latent can be shown end to end. Which latent stands for a feature is chosen on one set of conversations
and measured on another, beside random directions chosen alike. Tier T1: it says nothing about a large model.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dosimeter.detectors.artefact import dump_tensors
from dosimeter.detectors.evaluate import Interval, auroc_interval, ranks
from dosimeter.detectors.registry import load_features
from dosimeter.monitor.imports.sae import CONFIG, WEIGHTS
from dosimeter.monitor.lab import MODEL, SAE, traffic
from dosimeter.monitor.lab.replies import Lab
from dosimeter.monitor.lab.traffic import Conversation
from dosimeter.monitor.lab.world import FEATURES
from dosimeter.monitor.taps.attach import capture

BLOCK = 2
NOTHING = "nothing"
LABELS = "labels.json"
"""Of the latents that did better than random directions."""

LATENTS = 512
SPARSITY = 2.0
"""Weight of the latents' sum against the squared error, on activations of mean norm sqrt(D)."""

STEPS, BATCH, RATE = 2000, 1024, 1e-3
PER_FEATURE, BENIGN, TEST_PER_FEATURE = 300, 1200, 200

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a block left of conversations.

    tokens  float32 [T, D]  every token of every conversation, prompts too
    means   float32 [N, D]  one row an answer
    labels  [N]             the feature that the answer had, or `nothing`
    """

    tokens: Floats
    means: Floats
    labels: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Sae:
    """w_enc [D, S], b_enc [S], w_dec [S, D], b_dec [D]; float32, in the model's own units."""

    w_enc: Floats
    b_enc: Floats
    w_dec: Floats
    b_dec: Floats

    def before(self, x: Floats) -> Floats:
        """float32 [N, S]: latents before the ReLU, which are what an import reads."""
        return np.asarray((x - self.b_dec) @ self.w_enc + self.b_enc)

    def save(self, folder: Path) -> int:
        """Write the two files, in half precision; returns their size in bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "architecture": "standard",
            "d_in": int(self.w_enc.shape[0]),
            "d_sae": int(self.w_enc.shape[1]),
            "dtype": "float16",
            "device": "cpu",
            "apply_b_dec_to_input": True,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": {
                "model_name": "dosimeter-lab",
                "hook_name": f"blocks.{BLOCK}.hook_resid_post",
                "sae_lens_version": "6.0.0",  # whose layout this is
            },
        }
        parts = {"W_enc": self.w_enc, "b_enc": self.b_enc, "W_dec": self.w_dec, "b_dec": self.b_dec}
        tensors = {name: part.astype(np.float16) for name, part in parts.items()}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        (folder / WEIGHTS).write_bytes(dump_tensors(tensors))
        return sum((folder / name).stat().st_size for name in (CONFIG, WEIGHTS))


def see(lab: Lab, conversations: Sequence[Conversation]) -> Seen:
    """An answer that did two things at once is left out of `means`."""
    tokens, means, labels = [], [], []
    for reply in lab.replies(conversations, functools.partial(capture, layers=(BLOCK,))):
        tokens.append(reply.rows)
        done = traffic.judge(reply.conversation, reply.text)
        if len(done) < 2 and len(reply.answer):
            means.append(reply.answer.mean(axis=0))
            labels.append(next(iter(done), NOTHING))
    return Seen(np.concatenate(tokens), np.stack(means), np.array(labels))


def train(tokens: Floats, seed: int, steps: int = STEPS, latents: int = LATENTS) -> Sae:
    """ReLU latents, squared error, an L1 penalty that a longer decoder row cannot evade.

    tokens float32 [T, D]. Bricken et al. 2023 and the April 2024 update of the Transformer Circuits thread.
    """
    torch.manual_seed(seed)
    width = tokens.shape[1]
    scale = width**0.5 / float(np.linalg.norm(tokens, axis=1).mean())
    x = torch.from_numpy(tokens) * scale
    w_dec = torch.nn.functional.normalize(torch.randn(latents, width), dim=1) * 0.1
    w_enc = w_dec.T.clone().contiguous()
    b_enc, b_dec = torch.zeros(latents), x.mean(dim=0)
    parts = [w_enc, b_enc, w_dec, b_dec]
    for part in parts:
        part.requires_grad_()
    optimiser = torch.optim.Adam(parts, lr=RATE)
    for step in range(steps):
        for group in optimiser.param_groups:  # the last fifth runs out to nothing
            group["lr"] = RATE * min(1.0, 5 * (1 - step / steps))
        batch = x[torch.randint(len(x), (BATCH,))]
        latent = torch.relu((batch - b_dec) @ w_enc + b_enc)
        error = (latent @ w_dec + b_dec - batch).square().sum(dim=1).mean()
        penalty = (latent * w_dec.norm(dim=1)).sum(dim=1).mean()
        optimiser.zero_grad()
        (error + SPARSITY * min(1.0, 5 * step / steps) * penalty).backward()
        optimiser.step()
    with torch.no_grad():  # decoder rows of length 1, then back to the model's own units
        length = w_dec.norm(dim=1).clamp_min(1e-8)
        done = (
            w_enc * length * scale,
            b_enc * length,
            w_dec / length[:, None] / scale,
            b_dec / scale,
        )
    return Sae(*(part.detach().numpy() for part in done))


def quality(sae: Sae, tokens: Floats) -> dict[str, float]:
    """Latents on at a token, share of the variance that the reconstruction keeps, latents never on."""
    on = np.maximum(sae.before(tokens), 0)
    error = np.square(on @ sae.w_dec + sae.b_dec - tokens).sum()
    around = np.square(tokens - tokens.mean(axis=0)).sum()
    return {
        "on_per_token": float((on > 0).sum(axis=1).mean()),
        "variance_kept": float(1 - error / around),
        "never_on": float((~(on > 0).any(axis=0)).sum()),
    }


def aurocs(scores: Floats, positive: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """float64 [S]: of every column of scores [N, S], high meaning positive."""
    n, m = int(positive.sum()), int((~positive).sum())
    sums = np.array([ranks(column)[positive].sum() for column in scores.T])
    return np.asarray((sums - n * (n + 1) / 2) / (n * m), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A latent chosen on one set: its AUROC on another, and that of a random direction chosen alike."""

    latent: int
    held_out: Interval
    random: float

    @property
    def shown(self) -> bool:
        return self.held_out.low > self.random


def best_latents(sae: Sae, chosen_on: Seen, held_out: Seen) -> dict[str, Chosen]:
    """By feature; as many random directions are chosen from as there are latents."""
    rng = np.random.default_rng(0)
    random = rng.standard_normal(sae.w_enc.shape, dtype=np.float32)
    found: dict[str, Chosen] = {}
    for feature in FEATURES:
        positive, truth = chosen_on.labels == feature, held_out.labels == feature
        latent = int(aurocs(sae.before(chosen_on.means), positive).argmax())
        scores = sae.before(held_out.means)[:, latent]
        held = auroc_interval(scores, truth, np.arange(len(truth)), seed=0)
        drawn = int(aurocs(chosen_on.means @ random, positive).argmax())
        null = aurocs(held_out.means @ random[:, [drawn]], truth)[0]
        found[feature] = Chosen(latent, held, float(null))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=SAE, help="folder for weights, config and labels"
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    lab = Lab.load(args.model)
    print("capturing conversations to train on", file=sys.stderr)
    fit = see(
        lab,
        [
            *traffic.of_every_feature("fit", PER_FEATURE, 100),
            *traffic.benign_conversations(BENIGN, 150, "fit"),
        ],
    )
    print("capturing conversations to measure on", file=sys.stderr)
    test = see(lab, traffic.of_every_feature("test", TEST_PER_FEATURE, 200))
    started = time.monotonic()
    sae = train(fit.tokens, args.seed)
    print(f"trained on {len(fit.tokens):,} tokens in {time.monotonic() - started:.0f} s")
    size = sae.save(args.out)
    print(f"{args.out}: {size:,} bytes, {quality(sae, test.tokens)}")
    chosen = best_latents(sae, fit, test)
    for feature, one in chosen.items():
        held = one.held_out
        print(
            f"{feature:<12} latent {one.latent:>3}  AUROC {held.value:.3f} ({held.low:.3f} to {held.high:.3f}) on "
            f"{len(test.labels):,} answers; best of {LATENTS} random directions, chosen alike: {one.random:.3f}"
        )
    titles = load_features()
    labels = {str(one.latent): titles[f].title for f, one in chosen.items() if one.shown}
    (args.out / LABELS).write_text(json.dumps(labels, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
