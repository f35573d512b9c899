"""Trains the tiny model on the stories of stories.py, and leaves it as Hugging Face would lay it out.

In: one story a line, as JSON. Out: a folder that `stonechat quantize` reads (config.json, model.safetensors,
tokenizer.json, tokenizer_config.json), and held-out.txt, stories that were not trained on. What is said on the way is
the training log. The same seed gives the same model with the same torch on the same kind of CPU.

    python train.py stories.jsonl tiny
"""

import json
import math
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional as F

from llama import Llama, Shape

SEED = 20261128
SHAPE = Shape(vocabulary=640, embedding=96, layers=5, heads=3, kv_heads=1, feed_forward=256, context=512)
STEPS, BATCH = 600, 8
PEAK, WARM_UP, DECAY = 5e-3, 40, 0.05
# One of so many stories is not trained on; so many of those go into held-out.txt.
HELD_OUT, SHOWN = 100, 24
CHECKED_EVERY = 100
# Begins and ends every story.
END = "<|endoftext|>"
# A story goes on from what it is given: the last that was said is its beginning.
TEMPLATE = "{{ bos_token }}{{ messages[-1].content }}"


def tokenizer(stories):
    """Byte pairs, cut as SmolLM2 cuts text."""
    tokenizer = Tokenizer(models.BPE())
    cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(stories, trainer)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, end)])
    return tokenizer


def tokens(tokenizer, stories):
    return torch.tensor([id for story in tokenizer.encode_batch(stories) for id in story.ids])


def rate(step):
    warm = min(1.0, (step + 1) / WARM_UP)
    return PEAK * warm * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / STEPS)))


class Muon(torch.optim.Optimizer):
    """Moves matrices by the orthogonal matrix that is nearest to the momentum (Jordan et al. 2024, Muon), in steps as large
    as AdamW's (Liu et al. 2025, arXiv:2502.16982). torch's own computes in bfloat16, which most CPUs have to emulate."""

    def __init__(self, matrices):
        super().__init__(matrices, {"lr": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            alike = {}
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                alike.setdefault(p.shape, []).append((p, p.grad.lerp(momentum, 0.95)))
            for shape, pairs in alike.items():
                moves = orthogonal(torch.stack([move for _, move in pairs]))
                for (p, _), move in zip(pairs, moves):
                    p.mul_(1.0 - group["lr"] * DECAY).add_(move, alpha=-0.2 * max(shape) ** 0.5 * group["lr"])


def orthogonal(x):
    """By five steps of Newton and Schulz, with the coefficients of Muon's authors."""
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT if x.shape[-2] <= x.shape[-1] else x.mT @ x
        polynomial = -4.7750 * square + 2.0315 * square @ square
        x = 3.4445 * x + (polynomial @ x if x.shape[-2] <= x.shape[-1] else x @ polynomial)
    return x


@torch.inference_mode()
def loss_on(model, text):
    """Nats a token of text that is cut into contexts."""
    windows = text[: len(text) // SHAPE.context * SHAPE.context].view(-1, SHAPE.context)
    losses = [F.cross_entropy(model(w[:-1][None])[0], w[1:]).item() for w in windows]
    return sum(losses) / len(losses)


def train(model, text, held_out, characters_a_token):
    matrices = [p for p in model.layers.parameters() if p.dim() > 1]
    others = [model.embed_tokens.weight, *(p for p in model.parameters() if p.dim() == 1)]
    optimizers = [Muon(matrices), torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)]
    begin, mean = time.time(), 0.0
    for step in range(STEPS):
        places = torch.randint(len(text) - SHAPE.context, (BATCH,)).tolist()
        windows = torch.stack([text[place : place + SHAPE.context + 1] for place in places])
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.step()
        mean += loss.item()
        if (step + 1) % CHECKED_EVERY == 0:
            held = loss_on(model, held_out)
            print(
                f"step {step + 1}: loss {mean / CHECKED_EVERY:.4f}, held out {held:.4f}, perplexity {math.exp(held):.3f}, "
                f"{held / math.log(2) / characters_a_token:.3f} bits a character, {time.time() - begin:.0f} s",
                flush=True,
            )
            mean = 0.0
            yield


def save(model, tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{name}": weight.detach().contiguous() for name, weight in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    end = tokenizer.token_to_id(END)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": SHAPE.vocabulary, "hidden_size": SHAPE.embedding, "num_hidden_layers": SHAPE.layers,
        "num_attention_heads": SHAPE.heads, "num_key_value_heads": SHAPE.kv_heads, "head_dim": SHAPE.head_dim,
        "intermediate_size": SHAPE.feed_forward, "max_position_embeddings": SHAPE.context, "rms_norm_eps": SHAPE.eps,
        "rope_theta": SHAPE.theta, "tie_word_embeddings": True, "bos_token_id": end, "eos_token_id": end,
    }  # fmt: skip
    settings = {
        "bos_token": END, "eos_token": END, "chat_template": TEMPLATE, "tokenizer_class": "PreTrainedTokenizerFast",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    tokenizer.save(str(folder / "tokenizer.json"))


def main(stories, folder):
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    stories = [json.loads(line) for line in open(stories, encoding="utf-8")]
    held_out, trained = stories[::HELD_OUT], [s for n, s in enumerate(stories) if n % HELD_OUT]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "held-out.txt").write_text("\n".join(held_out[:SHOWN]) + "\n", encoding="utf-8")
    tokens_of = tokenizer(trained)
    text, held = tokens(tokens_of, trained), tokens(tokens_of, held_out)
    model = Llama(SHAPE)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            # What adds to the residual begins smaller, as in GPT-2.
            adds = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(weight, std=0.02 / math.sqrt(2 * SHAPE.layers) if adds else 0.02)
    characters_a_token = sum(map(len, held_out)) / len(held)
    print(
        f"torch {torch.__version__}, seed {SEED}; {SHAPE}; {sum(p.numel() for p in model.parameters())} weights\n"
        f"{len(trained)} stories of {len(text)} tokens, {len(held_out)} of {len(held)} tokens held out, "
        f"{characters_a_token:.3f} characters a token; {STEPS} steps of {BATCH} x {SHAPE.context} tokens",
        flush=True,
    )
    for _ in train(model, text, held, characters_a_token):
        save(model, tokens_of, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
