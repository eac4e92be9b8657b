"""When is a rhyme chosen? One couplet of the composing organism, with the stream of another put in, word by word.

    pip install packages/silverstain-composing
    python examples/planned_rhyme.py

Two couplets have different rhymes. At one word of the first, the whole stream becomes the second's, and the model says
how the line ends. Where that changes the end word, the rhyme is held there; and where nothing before that word changes
it any more, the line's end is settled, words ahead of its coming.
"""

import torch

import silverstain
from silverstain.models import LanguageModel
from silverstain.organism.interchange import exchanged, next_logits_from, stages, streams
from silverstain.organism.siblings import siblings

SHOWN = ("line-end", ",", "turn", "came", "owner", "adjective", "size")


def main() -> None:
    model = silverstain.load("organism/composing").model
    (spec,) = [one for one in siblings()["composing"].variables() if one.name == "couplets: rhyme (end word)"]
    pair = spec.pairs(1, seed=4)[0]
    base, donor = (" ".join(case.words) for case in (pair.base, pair.donor))
    (own, ends), (other, others) = (streams(model.hf, torch.tensor([model.tokenize(text)])) for text in (base, donor))
    print(f"{base} … {said(model, ends)}")
    print(f"{donor} … {said(model, others)}\n")
    print("exchanged at".ljust(14) + "".join(role.rjust(11) for role in SHOWN))
    for stage, name in enumerate(stages(model.n_layers)):
        row = []
        for role in SHOWN:
            at = spec.roles.index(role) + 1  # behind <bos>
            stream = exchanged(own[stage], [at], other[stage][:, [at]])
            row.append(said(model, next_logits_from(model.hf, stream, stage)))
        print(name.ljust(14) + "".join(word.rjust(11) for word in row))


def said(model: LanguageModel, logits: torch.Tensor) -> str:
    """The likeliest next word."""
    return model.tokenizer.decode([int(logits.reshape(-1, logits.shape[-1])[-1].argmax())]).strip()


if __name__ == "__main__":
    main()
