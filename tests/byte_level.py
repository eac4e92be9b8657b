"""A byte-level tokenizer, as GPT-2 and its heirs have, of a few words."""

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXT = ["the bridge of oslo is old", "ø ø ø å å bær på", "one two three"] * 20


def byte_tokenizer(*, puts_bos: bool = True, has_bos: bool = True) -> transformers.PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=["<s>", "</s>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    if puts_bos:
        raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special = {"bos_token": "<s>"} if has_bos else {}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", **special)
