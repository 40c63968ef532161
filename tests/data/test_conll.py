"""Tokens and their tags in columns: CoNLL, CoNLL-U."""

from pathlib import Path

import pytest

from seqpipe.build import build_data
from seqpipe.config.compose import compose
from seqpipe.config.validate import validate
from seqpipe.data.sources.conll import Conll, ConllU
from seqpipe.errors import ConfigError, DataError

NEWS = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
British JJ B-NP B-MISC
. . O O

Peter NNP I-NP I-PER
\t
-DOCSTART- -X- O O

BRUSSELS NNP I-NP I-LOC"""

TREE = """# newdoc id = weblog-1
# sent_id = s1
# text = I don't.
1\tI\tI\tPRON\tPRP\tCase=Nom|Person=1\t3\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t2\tpunct\t_\t_

# sent_id = s2
1\tNew York\tNew York\tPROPN\tNNP\t_\t0\troot\t_\t_
"""


@pytest.fixture
def written(tmp_path):
    """written(text, ...): files, and their folder."""

    def write(*texts, names=("train", "valid", "test")):
        for name, text in zip(names, [*texts, *texts[-1:] * 3], strict=False):
            raw = text if isinstance(text, bytes) else text.encode()
            (tmp_path / name).write_bytes(raw)
        return str(tmp_path)

    return write


def read(source, folder="", split="train"):
    """Records of a split; its problems without the folder before the file."""
    found = []
    for one in getattr(source.read(), split):
        if isinstance(one, DataError):
            found.append([problem.replace(f"{folder}/", "") for problem in one.problems])
        else:
            found.append(one)
    return found


def conll(folder, **options):
    return Conll(train="train", valid="valid", test="test", path=folder, **options)


def conllu(folder, **options):
    return ConllU(train="train", valid="valid", test="test", path=folder, **options)


def refused(source, folder):
    with pytest.raises(DataError) as error:
        read(source)
    return str(error.value).replace(f"{folder}/", "")


def named(name, folder):
    cfg, choices = compose([f"data={name}", f"data.path={folder}"])
    validate(cfg, choices)
    return build_data(cfg)


def test_sentences_end_at_empty_lines_at_lines_of_white_space_and_at_new_documents(written):
    records = read(conll(written(NEWS)))
    assert [record["tokens"] for record in records] == [
        ["EU", "rejects", "German", "British", "."],
        ["Peter"],
        ["BRUSSELS"],
    ]
    assert records[0]["tags"] == ["I-ORG", "O", "I-MISC", "B-MISC", "O"]
    assert [record["document"] for record in records] == ["train:1", "train:1", "train:2"]
    assert [record.line for record in records] == [3, 9, 13]


def test_columns_are_chosen_by_number(written):
    source = conll(written(NEWS), columns={"word": 0, "pos": 1, "chunk": -2})
    assert dict(read(source)[1]) == {
        "word": ["Peter"],
        "pos": ["NNP"],
        "chunk": ["I-NP"],
        "document": "train:1",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tabs_part_columns_where_the_first_line_has_one(written, end):
    text = f"New York\tB-LOC{end}\u00a0\tO{end}\t{end}a b\tO{end}"
    records = read(conll(written(text)))
    assert [record["tokens"] for record in records] == [["New York", "\u00a0"], ["a b"]]
    assert read(conll(written(text), separator="tab")) == records


def test_any_blanks_and_tabs_part_columns_where_that_is_asked_for(written):
    records = read(conll(written("a \t O\n b  O \n"), separator="space"))
    assert records[0]["tokens"] == ["a", "b"]
    assert records[0]["tags"] == ["O", "O"]
    assert read(conll(written("a\u00a0b O")))[0]["tokens"] == ["a\u00a0b"]


def test_comments_are_left_out_only_where_they_are_announced(written):
    text = "# id 1\n#tag O\na O\n"
    assert read(conll(written(text), comment="# "))[0]["tokens"] == ["#tag", "a"]
    folder = written("# O\na O\n")
    assert read(conll(folder))[0]["tokens"] == ["#", "a"]


def test_documents_stay_whole_where_records_are_grouped_by_them(tmp_path):
    documents = [f"-DOCSTART- O\n\na{n} O\n\nb{n} O\n\n" for n in range(20)]
    (tmp_path / "all").write_text("".join(documents))
    splits = (
        Conll(train="all", valid=0.2, test=0.2, path=str(tmp_path), group="document")
        .read()
        .by_name()
    )
    tokens = {split: {r["tokens"][0][1:] for r in records} for split, records in splits.items()}
    assert [len(found) for found in tokens.values()] == [12, 4, 4]
    assert set.union(*tokens.values()) == {str(n) for n in range(20)}
    assert [len(list(records)) for records in splits.values()] == [24, 8, 8]


COMMENTS = "; 'data.source.comment=\"#\"' leaves lines that start with # out"
BAD_LINES = [
    ("a O\nb\nc O\n", ["train:2: 1 column, line 1 has 2; allowed: 2, separated by spaces"]),
    ("# one\na O x\n# of two\nb O\n", [
        "train:2: 3 columns, line 1 has 2; allowed: 2, separated by spaces" + COMMENTS,
        "train:3: 3 columns, line 1 has 2; allowed: 2, separated by spaces" + COMMENTS,
    ]),
    ("a\tO\nb O\n", ["train:2: 1 column, line 1 has 2; allowed: 2, separated by tabs"]),
    ("a\tO\n\tO\nb\t\n", [
        "train:2: tokens is empty; allowed: a token and its tags, or an empty line",
        "train:3: tags is empty; allowed: a token and its tags, or an empty line",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problems"), BAD_LINES)
def test_a_sentence_with_a_bad_line_is_not_used_and_says_which_line(written, text, problems):
    folder = written(text)
    assert read(conll(folder), folder) == [problems]
    folder = written(f"{text}\nc\tO\n")
    found = read(conll(folder), folder)
    assert len(found) == 2
    assert found[0] == problems


@pytest.mark.parametrize(
    ("make", "text", "wanted"),
    [(conll, "-DOCSTART- O\n\n", "in columns separated by tabs or spaces"),
     (conll, "\n \t\n", "in columns separated by tabs or spaces"),
     (conllu, "# newdoc\n\n", "in ten columns separated by tabs")],
)  # fmt: skip
def test_a_file_without_tokens_is_refused(written, make, text, wanted):
    folder = written(text)
    message = f"train: holds no tokens; allowed: one per line, {wanted}"
    assert refused(make(folder), folder) == message


def test_a_column_that_is_not_there_is_refused(written):
    folder = written("\na O\n")
    for column in (2, -3):
        assert refused(conll(folder, columns={"tokens": 0, "tags": column}), folder) == (
            f"train:2: data.source.columns.tags={column}: the line has 2 columns; "
            "allowed: -2 to 1; data.source.separator=tab or space"
        )


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [(Conll, {"scheme": "bio", "spans": "tag"},
      "data.source.spans=tag: not a column; allowed: tokens, tags; did you mean 'tags'?"),
     (ConllU, {"columns": {"tags": "upps"}},
      "data.source.columns.tags=upps: not a column of CoNLL-U; allowed: id, form, lemma, upos, "
      "xpos, feats, head, deprel, deps, misc; did you mean 'upos'?")],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(make, options, message):
    with pytest.raises(ConfigError) as error:
        make(train="train", **options)
    assert str(error.value) == message


def test_parts_of_speech_need_no_other_option_than_the_one_that_the_warning_names(tmp_path):
    """The option data=conll writes convert_to=bio, which is of no effect then."""
    sentences = [f"w{number} NOUN\nv{number} VERB\n\n" for number in range(40)]
    (tmp_path / "pos.conll").write_text("".join(sentences))
    typed = ["data=conll", f"data.path={tmp_path}/pos.conll", "data.cache=null"]
    data = build_data(compose(typed)[0])
    assert [note for note in data.notes if "data.source.scheme=null" in note] != []
    data = build_data(compose([*typed, "data.source.scheme=null"])[0])
    assert data.y.names == ("NOUN", "VERB")
    assert data.notes == []


@pytest.mark.parametrize("scheme", ["iob1", "auto"])
def test_tags_are_converted(written, scheme):
    source = conll(written(NEWS), scheme=scheme, convert_to="bio")
    assert read(source)[0]["tags"] == ["B-ORG", "O", "B-MISC", "B-MISC", "O"]
    source = conll(written(NEWS), scheme=scheme, convert_to="bioes")
    assert read(source)[0]["tags"] == ["S-ORG", "O", "S-MISC", "S-MISC", "O"]
    source = conll(written(NEWS), columns={"tags": 3, "chunk": 2}, scheme=scheme, spans="chunk")
    assert read(source)[0]["chunk"] == ["I-NP", "I-VP", "I-NP", "B-NP", "O"]


def test_what_marks_no_spans_is_left_as_it_is(written):
    source = conll(written("a NOUN\nb I\n"), scheme="auto", convert_to="bio")
    assert read(source)[0]["tags"] == ["NOUN", "I"]


def test_the_scheme_is_that_of_the_training_files(written):
    folder = written("a I-X\nb B-X\n", "a I-X\n", "a B-X\n")
    source = conll(folder, scheme="auto", convert_to="bio")
    assert read(source, split="valid")[0]["tags"] == ["B-X"]
    assert read(source, folder, split="test") == [
        [
            "test:1: tags=B-X: separates no spans at the start; allowed in iob1: I-X "
            "or data.source.invalid=repair"
        ]
    ]


SKIPPED = "; data.on_error=skip leaves such sentences out"
BROKEN = "a O\n# no token\nb I-PER\nc I-PER\n\nd O\n"


def test_tags_that_break_the_scheme_are_refused_with_the_line_of_the_token(written):
    folder = written(BROKEN)
    found = read(conll(folder, scheme="bio", comment="# "), folder)
    assert found[0] == [
        "train:3: tags=I-PER: continues no span after O; allowed in bio: B-PER "
        "or data.source.invalid=repair"
    ]
    assert found[1]["tokens"] == ["d"]


def test_tags_that_break_the_scheme_are_repaired_where_that_is_asked_for(written):
    found = read(conll(written(BROKEN), scheme="bio", comment="# ", invalid="repair"))
    assert found[0]["tags"] == ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize("invalid", ["error", "repair"])
def test_what_is_no_tag_cannot_be_repaired(written, invalid):
    folder = written("a O\nb PER\n")
    assert read(conll(folder, scheme="bio", invalid=invalid), folder) == [
        ["train:2: tags=PER: no tag of bio; allowed: O, B-TYPE, I-TYPE" + SKIPPED]
    ]


def test_words_of_a_treebank_are_read_and_nothing_else(written):
    records = read(conllu(written(TREE)))
    assert [dict(record) for record in records] == [
        {
            "tokens": ["I", "do", "n't", "."],
            "tags": ["PRON", "AUX", "PART", "PUNCT"],
            "sent_id": "s1",
            "document": "weblog-1",
        },
        {
            "tokens": ["New York"],
            "tags": ["PROPN"],
            "sent_id": "s2",
            "document": "weblog-1",
        },
    ]
    assert [record.line for record in records] == [4, 12]


def test_columns_of_a_treebank_are_chosen_by_name(written):
    source = conllu(
        written(TREE), columns={"lemmas": "lemma", "features": "feats", "role": "deprel"}
    )
    assert dict(read(source)[0]) == {
        "lemmas": ["I", "do", "not", "."],
        "features": ["Case=Nom|Person=1", "_", "_", "_"],
        "role": ["nsubj", "root", "advmod", "punct"],
        "sent_id": "s1",
        "document": "weblog-1",
    }


def test_a_treebank_without_comments_has_places_for_names(written):
    text = "\n".join(line for line in TREE.splitlines() if not line.startswith("#"))
    names = [(record["sent_id"], record["document"]) for record in read(conllu(written(text)))]
    assert names == [("train:1", "train:0"), ("train:8", "train:0")]
    text = f"# newdoc\n{text}"
    assert read(conllu(written(text)))[0]["document"] == "train:1"


@pytest.mark.parametrize(
    ("line", "problem"),
    [("1\tI\tI\tPRON", "train:1: 4 columns; allowed: 10, separated by tabs"),
     ("\t".join("xabcdefghi"),
      "train:1: id=x; allowed: the number of a word, 8, or 8-9, or 8.1")],
)  # fmt: skip
def test_a_bad_line_of_a_treebank_is_refused_with_its_number(written, line, problem):
    folder = written(f"{line}\n\n{TREE}")
    found = read(conllu(folder), folder)
    assert found[0] == [problem]
    assert len(found) == 3


def test_your_own_columns_need_no_more_than_a_file(written, tmp_path):
    folder = written("".join(f"a{n} B-X\nb I-X\n\n" for n in range(20)), names=["ner.txt"])
    overrides = [
        *("data=conll", f"data.path={folder}/ner.txt"),
        "+data.source.columns.pos=-2",
    ]
    cfg, choices = compose(overrides)
    validate(cfg, choices)
    data = build_data(cfg)
    assert data.sizes == {"train": 16, "valid": 2, "test": 2}
    assert data.spec.y.scheme == "bio"


def test_a_column_that_is_no_number_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError) as error:
        compose(["data=conll", "data.source.columns.tags=ner"])
    assert str(error.value) == (
        "data.source.columns={tokens:0,tags:ner}: out of range; "
        "allowed: a mapping, each value an integer or null"
    )


def test_conll2003_is_read_as_it_is_distributed(written):
    """Also where a sentence breaks its scheme, as one of the official file does."""
    text = NEWS + "\n\nx NN O O\ny NN I-NP B-PER\n"
    data = named("conll2003", written(text, names=["eng.train", "eng.testa", "eng.testb"]))
    assert data.sizes == {"train": 4, "valid": 4, "test": 4}
    assert data.y.decode(data.examples("train")[0].y) == "B-ORG O B-MISC B-MISC O"
    assert data.y.decode(data.examples("train")[3].y) == "O B-PER"
    assert data.spec.y.scheme == "bio"
    assert data.facts["train"].skipped == 0


@pytest.mark.realdata
def test_wnut17_is_what_its_readme_says(shared_data):
    data = named("wnut17", shared_data / "ner_wnut17")
    counts = data.counts("y")
    tokens = {split: counts[split].sum() for split in data.sizes}
    assert data.sizes == {"train": 3394, "valid": 1009, "test": 1287}
    assert tokens == {"train": 62730, "valid": 15733, "test": 23394}
    outside = data.spec.y.names.index("O")
    assert counts["test"][outside] / 23394 == pytest.approx(0.926, abs=5e-4)
    assert data.y.describe({}) == (
        "one of 13 tags a step (bio: corporation, creative-work, group, location, person, product)"
    )


@pytest.mark.realdata
def test_ud_ewt_is_what_its_readme_says(shared_data):
    data = named("ud_ewt", shared_data / "pos_ud_english_ewt")
    words = {split: counts.sum() for split, counts in data.counts("y").items()}
    assert data.sizes == {"train": 1185, "valid": 334, "test": 347}
    assert words == {"train": 17774, "valid": 4235, "test": 3898}
    assert data.spec.y.size == 17
    documents = {record["document"] for record in data.source.read().train}
    assert len(documents) == 53


BIO = "B-PER I-PER O B-PER B-LOC I-LOC I-LOC"
NOTATIONS = {
    "bilou": "B-PER L-PER O U-PER B-LOC I-LOC L-LOC",
    "bmes": "B-PER E-PER O S-PER B-LOC M-LOC E-LOC",
    "bmewo": "B-PER E-PER O W-PER B-LOC M-LOC E-LOC",
    "iobes": "B-PER E-PER O S-PER B-LOC I-LOC E-LOC",
    "iob1": "I-PER I-PER O I-PER I-LOC I-LOC I-LOC",
    "ioe": "I-PER E-PER O E-PER I-LOC I-LOC E-LOC",
    "under": BIO.replace("-", "_"),
    "lower": BIO.lower(),
    "lower_under": BIO.lower().replace("-", "_"),
    "lower_bilou": "b-per l-per o u-per b-loc i-loc l-loc",
    "type_first": "PER-B PER-I O PER-B LOC-B LOC-I LOC-I",
    "type_first_under": "PER_B PER_I O PER_B LOC_B LOC_I LOC_I",
    "slash": BIO.replace("-", "/"),
    "colon": BIO.replace("-", ":"),
    "bar": BIO.replace("-", "|"),
    "type first, slash": "PER/B PER/I O PER/B LOC/B LOC/I LOC/I",
    "small prefix": BIO.replace("B-", "b-").replace("I-", "i-"),
    "small prefix, slash": BIO.replace("B-", "b/").replace("I-", "i/"),
    "type first, small prefix": "PER-b PER-i O PER-b LOC-b LOC-i LOC-i",
    "small o": BIO.replace("O ", "o "),
    "small o, slash, BILOU": "B/PER L/PER o U/PER B/LOC I/LOC L/LOC",
    "IOE1": "I-PER I-PER O I-PER I-LOC I-LOC I-LOC",
}


def lines_of(tags):
    return "".join(f"w{number} {tag}\n" for number, tag in enumerate(tags.split())) + "\n"


@pytest.mark.parametrize("notation", NOTATIONS)
def test_known_notations_are_read_as_the_same_spans(written, notation):
    """One IOE1 sentence more: its E- stands before another span of its type."""
    ends = "I-LOC E-LOC I-LOC" if notation == "IOE1" else ""
    text = lines_of(NOTATIONS[notation]) * 20 + lines_of(ends)
    source = conll(written(text), scheme="auto", convert_to="bio")
    records = read(source)
    types = str.lower if notation.startswith("lower") else str
    assert records[0]["tags"] == [tag[:2] + types(tag[2:]) for tag in BIO.split()]
    assert not ends or records[20]["tags"] == ["B-LOC", "I-LOC", "B-LOC"]
    assert source.warnings() == []


@pytest.mark.parametrize("tag", ["B-PER", "B/PER", "PER_B", "b-PER"])
def test_a_file_to_predict_is_known_by_its_tags_in_any_notation(written, tag):
    """One sentence, without a blank line."""
    folder = written(f"Ada {tag}\nLovelace {tag}\n")
    source = conll(folder, scheme="auto")
    source.without_y("tags", ["B-PER", "I-PER", "O"])
    file = Path(folder) / "train"
    assert source.holds(file)
    assert read(source)[0]["tokens"] == ["Ada", "Lovelace"]
    file.write_text("Ada sings\nLovelace sings\n")
    assert not source.holds(file)


def test_one_e_that_ends_a_span_is_not_ioe(written):
    folder = written(lines_of(NOTATIONS["iob1"]) * 20 + "a I-PER\nb E-PER\nc O\n")
    found = read(conll(folder, scheme="auto"), folder)
    assert found[20][0].startswith("train:162: tags=E-PER: no tag of iob1; allowed: O, ")


@pytest.mark.parametrize("tags", ["DT NN VB:PAST NN:PL", "S:sg S:pl W:x M:y", "x/B2 y/I2 z/O2"])
def test_classes_that_are_no_spans_stay_as_they_are(written, tags):
    source = conll(written(lines_of(tags) * 3), scheme="auto", convert_to="bio")
    assert read(source)[0]["tags"] == tags.split()
    assert "mark no spans" in source.warnings()[0]


@pytest.mark.parametrize(("scheme", "notation"), [("bioes", "bilou"), ("bio", "under")])
def test_a_scheme_that_is_given_is_read_in_its_notation(written, scheme, notation):
    source = conll(written(lines_of(NOTATIONS[notation])), scheme=scheme, convert_to="bio")
    assert read(source)[0]["tags"] == BIO.split()
    source = conll(written("a U\nb O\n"), scheme="bioes", convert_to="bio")
    assert read(source)[0]["tags"] == ["B", "O"]


@pytest.mark.parametrize(
    ("odd", "shown", "hint"),
    [
        ("0", "0", "; did you mean 'O'?"),
        ("o", "o", "; did you mean 'O'?"),
        ("\uff2f", "'\\uff2f'", "; did you mean 'O'?"),
        ("\u041e", "'\\u041e'", ""),
        ("O\u00a0", "'O\\xa0'", "; did you mean 'O'?"),
        ("\ufeffO", "'\\ufeffO'", "; did you mean 'O'?"),
        ("B/PER", "B/PER", "; did you mean 'B-PER'?"),
        ("\uff22-PER", "'\\uff22-PER'", "; did you mean 'B-PER'?"),
        ("B\u2013PER", "'B\\u2013PER'", "; did you mean 'B-PER'?"),
        ("B_PER", "B_PER", "; did you mean 'B-PER'?"),
        ("b-PER", "b-PER", "; did you mean 'B-PER'?"),
        ("PER-B", "PER-B", "; did you mean 'B-PER'?"),
        ("B-PER.", "B-PER.", "; did you mean 'B-PER'?"),
        ("B-per", "B-per", "; did you mean 'B-PER'?"),
        ("B-PER\u200b", "'B-PER\\u200b'", "; did you mean 'B-PER'?"),
        ("\u200b", "'\\u200b'", ""),
        ("NOUN", "NOUN", ""),
        ("B", "B", ""),
    ],
)
@pytest.mark.parametrize("scheme", ["auto", "bio"])
def test_one_odd_tag_decides_nothing_and_is_refused_with_its_line(
    written, scheme, odd, shown, hint
):
    usual = lines_of(BIO) * 20
    folder = written(f"{usual}odd {odd}\n")
    found = read(conll(folder, scheme=scheme, convert_to="bio"), folder)
    assert [one["tags"] for one in found[:20]] == [BIO.split()] * 20
    [problem] = found[20]
    assert problem.startswith(f"train:161: tags={shown}: no tag of bio; allowed: O, B-TYPE, I-TYPE")
    assert problem.endswith(f"{hint}{SKIPPED}")


def test_two_wrong_tags_of_iob1_leave_all_other_sentences_as_they_are(written):
    wrong = "x O\ny B-PER\n\n"
    text = lines_of(NOTATIONS["iob1"]) * 20 + wrong * 2
    found = read(conll(written(text), scheme="auto", convert_to="bio"))
    assert [one["tags"] for one in found[:20]] == [BIO.split()] * 20
    assert "tags=B-PER: separates no spans after O; allowed in iob1: I-PER" in found[20][0]
    repaired = read(conll(written(text), scheme="auto", convert_to="bio", invalid="repair"))
    assert repaired[20]["tags"] == ["O", "B-PER"]


def test_what_is_wrong_in_a_file_is_reported_before_what_follows_from_it(written):
    folder = written("a O\n\nb O\nc X-PER\n", names=["train", "valid", "test"])
    with pytest.raises(DataError) as error:
        given(folder, "data.source.scheme=bio")
    assert "train:4: tags=X-PER: no tag of bio" in str(error.value)
    with pytest.raises(DataError) as error:
        given(folder, "data.source.scheme=bio", "data.on_error=skip")
    assert "one class only, O (1 records could not be used and were skipped, " in str(error.value)


def given(folder, *overrides):
    names = (f"data.source.{name}={name}" for name in ("train", "valid", "test"))
    cfg, choices = compose(["data=conll", f"data.path={folder}", *names, *overrides])
    validate(cfg, choices)
    cfg.data.cache = None
    return build_data(cfg)


def test_an_odd_tag_never_takes_the_scores_of_spans_away(written):
    folder = written(f"{lines_of(BIO) * 20}odd 0\n", lines_of(BIO))
    with pytest.raises(DataError, match=r"train:161: tags=0: no tag of bio"):
        given(folder)
    data = given(folder, "data.on_error=skip")
    assert data.spec.y.scheme == "bio"
    assert (data.sizes["train"], data.facts["train"].skipped) == (20, 1)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (
            "NOUN VERB",
            "(NOUN, VERB) mark no spans, so no entity_f1 is measured; data.source.scheme",
        ),
        ("O O", "there is nothing but O"),
        ("B I O", "if they do, name their scheme: data.source.scheme=io, iob1, bio, bioes"),
    ],
)
def test_tags_without_spans_are_said_to_have_none(written, tags, text):
    folder = written(lines_of(tags) * 2)
    source = conll(folder, scheme="auto", convert_to="bio")
    read(source)
    (warning,) = source.warnings()
    assert text in warning
    if tags == "NOUN VERB":
        assert given(folder).y.describe({}) == (
            "one of 2 tags a step, which mark no spans (NOUN, VERB)"
        )


def test_a_byte_order_mark_inside_a_file_is_refused_with_its_line(written):
    folder = written("\ufeffa O\n\n\ufeff-DOCSTART- O\n\nb O\n")
    found = read(conll(folder), folder)
    assert found[1][0].startswith("train:3: starts with a byte order mark")
    assert [one["tokens"] for one in (found[0], found[2])] == [["a"], ["b"]]
    folder = written(f"{TREE}\n\ufeff{TREE}")
    assert read(conllu(folder), folder)[2][0].startswith("train:14: starts with a byte order mark")
    folder = written("Dub\ufeff O\n")
    assert read(conll(folder))[0]["tokens"] == ["Dub\ufeff"]


def test_a_treebank_is_recognised_among_columns(written):
    folder = written(TREE)
    records = read(conll(folder, scheme="auto"))
    assert [record["tokens"] for record in records] == [["I", "do", "n't", "."], ["New York"]]
    assert records[0]["tags"] == ["PRON", "AUX", "PART", "PUNCT"]
    assert [record.line for record in records] == [4, 12]
    records = read(conll(folder, columns={"word": 2, "role": -3}, spans="word"))
    assert records[0]["role"] == ["nsubj", "root", "advmod", "punct"]
    assert ".conllu.gz" in Conll.suffixes
