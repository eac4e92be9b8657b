"""Files of packages become documents."""

import gzip
import struct
import zlib

from silverstain.corpora.manual_pages import text_of_man, text_of_pod
from silverstain.corpora.readers import (
    decoded,
    decompressed,
    dictionary,
    glosses,
    grouped,
    novels,
    sayings,
    tagged,
    unwrapped,
    verses,
)

MAN = r""".\" a licence
.de xx
.TH CAT 1 "today"
.SH NAME
cat \- print \fBfiles\fR
.SH DESCRIPTION
Writes files
to standard output\&.
.PP
.BR stat (2)
says \(lqmore\(rq, as does \*(Aqls\*(Aq\&.
.TS
a b
.TE
.IP "\-n" 4
Number lines.
.ie n .IP "use X;" 4
.el .IP "\f(CWuse X;\fR" 4
.Vb 2
\&    if (a)
\&        b\e;
.Ve
"""

POD = """#!perl
print "code";

=head1 NAME

perlx - an B<example>

=over 4

=item *

A point with C<< $a->{b} >> and L<a link|http://x> and L<perlop>, E<lt>tagE<gt> and I<C<nested>>.

=item First

=back

    my $x = 1;

=begin html

<b>no</b>

=end html

=cut

more code
"""


def test_a_manual_page_is_read_as_it_is_printed():
    assert text_of_man(MAN).split("\n\n") == [
        "NAME", "cat - print files", "DESCRIPTION", "Writes files to standard output.",
        "stat(2) says \"more\", as does 'ls'.", "-n Number lines.", "use X;", "    if (a)\n        b\\;",
    ]  # fmt: skip
    assert text_of_man(".Dd today\n.Sh NAME\n") == ""


def test_plain_old_documentation_is_read_as_it_is_printed():
    assert text_of_pod(POD).split("\n\n") == [
        "NAME", "perlx - an example",
        "A point with $a->{b} and a link and perlop, <tag> and nested.", "First", "    my $x = 1;",
    ]  # fmt: skip


def test_an_entry_of_a_dictionary_is_prose():
    text = (
        "00-database-info\n   who made it\n"
        'Abaca \\Ab"a*ca\\ ([a^]b"[.a]*k[.a]), n. [The native name.]\n'
        "   The Manila-hemp plant ({Musa\n   textilis}); also, its fiber.\n   [1913 Webster]\n\n"
        "   2. Another [=o]ne of [ae]ther. [R.]\n"
        "conservative evaluation\n\n   <programming> Under this {parallel}\n   method.\n\n   (1995-01-25)\n"
    )
    (name, found), *rest = dictionary("d.dict", text.encode())
    assert rest == []
    assert name == "d.dict:1"
    assert found.split("\n\n") == [
        "Abaca, n. [The native name.] The Manila-hemp plant (Musa textilis); also, its fiber.\n"
        "2. Another one of æther. [R.]",
        "conservative evaluation\nUnder this parallel method.",
    ]


def test_glosses_are_words_definition_and_examples():
    line = (
        "00003553 03 n 02 whole 0 living_thing(a) 0 001 @ 00002684 n 0000 | a thing that is one; "
        '"how big is the whole?"; "the team is a unit"  \n'
    )
    (_, text), *_ = glosses("data.noun", ("  1 a licence\n" + line).encode())
    assert text == 'whole, living thing: a thing that is one. "how big is the whole?" "the team is a unit"'


def test_tagged_words_are_set_as_print_is():
    text = "\n\n\tHe/pps said/vbd ,/, ``/`` Yes/rb ,/, or/cc ,/, 1/2/cd ./. ''/'' (/( So/rb )/) ./.\n\n\n\tEnd/nn ./.\n"
    assert list(tagged("ca01", text.encode())) == [("ca01", 'He said, "Yes, or, 1/2." (So).\nEnd.')]


def test_the_lines_of_a_novel_are_read_out_of_a_database_of_r():
    lines = ["EMMA", "", "one two three four five six seven eight nine ten", "eleven and twelve."]
    strings = b"".join(struct.pack(">ii", 0x40009, len(line)) + line.encode() for line in lines)
    data = b"X\n" + struct.pack(">iii", 3, 0x40201, 0x30500) + struct.pack(">i", 5) + b"UTF-8"
    data += struct.pack(">ii", 16, len(lines)) + strings
    content = b"".join(struct.pack(">I", len(data)) + zlib.compress(data) for _ in range(2))
    found = list(novels("Rdata.rdb", content))
    assert (
        found == [("Rdata.rdb:Emma", "EMMA\n\none two three four five six seven eight nine ten eleven and twelve.")] * 2
    )


def test_short_entries_are_gathered_to_documents():
    found = list(grouped("x", ["a" * 2500] * 5))
    assert [(name, len(text)) for name, text in found] == [("x:1", 7504), ("x:2", 5002)]
    assert list(sayings("f", b"one\n%\ntwo\n\t-- me\n%\n")) == [("f:1", "one\n\ntwo\n        -- me")]
    assert list(verses("b.py", b'x = """\nIn the [very] beginning\nGod\n"""')) == [
        ("b.py:1", "In the very beginning\nGod")
    ]


def test_paragraphs_are_unwrapped_and_verse_is_not():
    prose = "a line that is long enough to have been wrapped by hand\nand another one"
    verse = "Roses are red,\nviolets are blue"
    assert unwrapped(f"{prose}\n\n{verse}") == f"{prose.replace(chr(10), ' ')}\n\n{verse}"


def test_old_encodings_and_gzip_are_read():
    assert decoded("é".encode("latin-1")) == decoded("é".encode()) == "é"
    assert decompressed("a.txt.gz", gzip.compress(b"x")) == ("a.txt", b"x")
    assert decompressed("a.txt", b"x") == ("a.txt", b"x")
