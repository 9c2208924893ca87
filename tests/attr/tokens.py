"""A tiny transformer over token ids, with random weights."""

import torch
from torch import nn

LENGTH, VOCABULARY, CLASSES = 6, 12, 3


class TinyTransformer(nn.Module):
    """Embeddings, positions, one block, a mean over tokens, probabilities."""

    def __init__(self, width=8, scale=4.0):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(LENGTH, width)
        self.block = nn.TransformerEncoderLayer(width, 2, 16, dropout=0.0, batch_first=True)
        self.scale = scale
        self.head = nn.Linear(width, CLASSES)

    def forward(self, ids, keep=None):
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        x = self.block(self.embed(ids) + self.position(places))
        if keep is not None:
            x = x * keep[..., None]
        return (self.scale * self.head(x.mean(1))).softmax(1)


def transformer(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TinyTransformer(**settings).eval()


def token_ids(n=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (n, LENGTH), generator=generator)
