"""Methods at a language model's embeddings, through Captum's LLMGradientAttribution."""

import pytest
import torch
from captum.attr import (
    IntegratedGradients,
    LayerIntegratedGradients,
    LLMGradientAttribution,
    TextTokenInput,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from captum_ext.attr import IDGI, AlignedContribution, AtLayer, GuidedIG, PathAttribution
from captum_ext.path import StraightLine

WORDS = ["<unk>", "the", "cat", "sat", "on", "a", "mat", "dog", "ran"]


@pytest.fixture(scope="module")
def tokenizer():
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


@pytest.fixture(scope="module")
def llm():
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 32, "initializer_range": 0.5}
    config = GPT2Config(vocab_size=len(WORDS), bos_token_id=0, eos_token_id=0, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GPT2LMHeadModel(config).eval()


def asked(layered, tokenizer, **options):
    prompt = TextTokenInput("the cat sat on", tokenizer)
    # As a text, Captum before 0.9 would leave its first word out.
    target = torch.tensor(tokenizer.encode("a mat"))
    return LLMGradientAttribution(layered, tokenizer).attribute(prompt, target=target, **options)


def rises(llm, tokenizer):
    """Of the log-probability of each word of the target, from the baseline to the prompt."""
    prompt, target = (tokenizer.encode(text) for text in ("the cat sat on", "a mat"))
    values = []
    for start in ([0] * len(prompt), prompt):
        with torch.no_grad():
            found = llm(torch.tensor([start + target])).logits.log_softmax(-1)[0]
        values.append(torch.stack([found[len(prompt) - 1 + i, t] for i, t in enumerate(target)]))
    return values[1] - values[0]


def test_the_rule_of_ig_gives_what_captums_own_gives(llm, tokenizer):
    embeddings = llm.transformer.wte
    ours = AtLayer(PathAttribution(llm, StraightLine()), embeddings)
    theirs = LayerIntegratedGradients(llm, embeddings)
    expected = asked(theirs, tokenizer, n_steps=9, method="riemann_left")
    found = asked(ours, tokenizer, n_steps=9)
    torch.testing.assert_close(found.token_attr, expected.token_attr, rtol=1e-5, atol=1e-6)
    assert found.input_tokens == ["the", "cat", "sat", "on"]
    theirs.ig = GuidedIG(llm)
    expected = asked(theirs, tokenizer, n_steps=5)
    found = asked(AtLayer(GuidedIG(llm), embeddings), tokenizer, n_steps=5)
    torch.testing.assert_close(found.token_attr, expected.token_attr, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("over", [IntegratedGradients, GuidedIG])
def test_what_is_complete_sums_to_each_words_rise(over, llm, tokenizer):
    rise = rises(llm, tokenizer)
    aligned = AtLayer(AlignedContribution(over(llm)), llm.transformer.wte)
    found = asked(aligned, tokenizer, n_steps=6).token_attr.sum(1)
    torch.testing.assert_close(found, rise, rtol=0, atol=1e-5)
    # Of the second word IDGI credits the first one, too, and Captum cuts that off.
    idgi = AtLayer(IDGI(over(llm)), llm.transformer.wte)
    found = asked(idgi, tokenizer, n_steps=6).token_attr.sum(1)
    torch.testing.assert_close(found[0], rise[0], rtol=0, atol=1e-5)
    assert 0 < found[1] / rise[1] < 1
