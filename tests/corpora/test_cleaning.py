"""What is kept of a source's documents."""

import random

from silverstain.corpora.cleaning import SHORTEST, cleaned

LINE = "this line, which is long enough to count, stands in both documents\n"


def prose(seed: int, n: int = 60) -> str:
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefgh", k=5)) for _ in range(n)]
    return "\n".join(" ".join(words[at : at + 10]) for at in range(0, n, 10))


def test_a_long_line_is_kept_once_and_a_short_one_as_often_as_it_stands():
    found = cleaned([("a", LINE + "}\n" + prose(1)), ("b", prose(2) + "\n" + LINE + "}\nend")], most_characters=10_000)
    assert [document.text.count(LINE.strip()) for document in found] == [1, 0]
    assert [document.text.count("}") for document in found] == [1, 1]


def test_a_document_with_little_new_in_it_goes_whole():
    shreds = prose(1) + "\n" + prose(3, 20)
    assert [document.name for document in cleaned([("a", prose(1)), ("copy", prose(1)), ("shreds", shreds)],
                                                  most_characters=10_000)] == ["a"]  # fmt: skip


def test_short_documents_tables_and_lists_of_names_go():
    found = [
        ("short", "x " * (SHORTEST // 2 - 1)), ("table", "1.0 | 2.0 | 3.0 | 4.5 | 6.7 | 8.9\n" * 1 + "12 | 34\n" * 90),
        ("names", "".join(f"name_of_{n}\n" for n in range(100))), ("text", prose(1)),
    ]  # fmt: skip
    assert [document.name for document in cleaned(found, most_characters=10_000)] == ["text"]


def test_the_frame_of_pages_goes():
    pages = [(f"p{n}", f"The Manual\n« previous | next »\n\n{prose(n)}\n\n« previous | next »\n") for n in range(12)]
    assert [document.text for document in cleaned(pages, most_characters=10**6)] == [prose(n) for n in range(12)]


def test_a_source_is_cut_all_over_and_the_same_everywhere():
    pages = [(f"p{n:03}", prose(n)) for n in range(100)]
    some = cleaned(pages, most_characters=30 * len(prose(0)))
    assert len(some) == 30
    assert {document.name for document in cleaned(pages[::-1], most_characters=30 * len(prose(0)))} == {
        document.name for document in some
    }
    numbers = [int(document.name[1:]) for document in some]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 80
